"""What one run costs when many are due at one instant, and how long the turns of the event loop get meanwhile."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from typing import Any

from tests.benchmarks.contenders import Contender, Fire
from tests.benchmarks.gauges import Figures, LateStartError, settle, watch_loop

HOUR_MS = 3_600_000
WARM_UP = 200
"""So many runs some time earlier have code and caches warm."""
TAIL = 0.25
"""For how long after the last run work goes on, such as arming it anew; an equal wait before is taken off."""
LIMIT = 120.0


async def measure_burst(contender: Contender, jobs: int, lead: float, *, suspends: bool) -> Figures:
    """
    Return the CPU time of a run in µs and that of the longest turn of the loop in ms, at a burst of so many *jobs*.

    The collector of garbage is on, as it is for users.
    """
    count = 0
    done = asyncio.Event()

    def step() -> None:
        nonlocal count
        count += 1
        if count == jobs + WARM_UP:
            done.set()

    async def work(*_: Any) -> None:
        step()

    async def suspending(*_: Any) -> None:
        await asyncio.sleep(0)
        step()

    begun = time.monotonic()
    due = math.ceil((time.time() + lead) * 1000 / contender.grain) * contender.grain
    job = suspending if suspends else work
    warm = -(-contender.warm_up_ms // contender.grain) * contender.grain
    fires = [Fire(job, due - warm, HOUR_MS)] * WARM_UP + [Fire(job, due, HOUR_MS)] * jobs
    gc.collect()
    await contender.add(fires)
    await contender.start()
    at = due / 1000 - contender.offset
    await settle(at)
    del fires  # no collection shall walk over it, in the longest turn of all
    took = time.monotonic() - begun
    if time.monotonic() > at - warm / 1000 - 0.05:
        raise LateStartError(warm / 1000 + took * 1.5 + 0.5)
    await asyncio.sleep(at - TAIL - 0.1 - time.monotonic())
    before = time.process_time()
    await asyncio.sleep(TAIL)
    if time.monotonic() > at - 0.02 or count < WARM_UP:
        raise LateStartError(warm / 1000 + took * 2 + 1.5)
    turns = watch_loop(asyncio.get_running_loop())
    begin = time.process_time()
    await asyncio.wait_for(done.wait(), LIMIT)
    await asyncio.sleep(TAIL)
    spent = time.process_time() - begin - (begin - before)
    return {
        "cpu_us": spent / jobs * 1e6,
        "block_ms": turns.longest * 1000,
        "block_collecting_ms": turns.collecting * 1000,
        "block_apart_ms": turns.longest_apart * 1000,
    }
