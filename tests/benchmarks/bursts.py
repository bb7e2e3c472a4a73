"""What one run costs when many are due at one instant, and for how long the event loop is blocked by them."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from typing import Any

from tests.benchmarks.contenders import Contender, Fire
from tests.benchmarks.gauges import Figures, LateStartError, watch_loop

HOUR_MS = 3_600_000
WARM_UP = 200
"""So many runs half a second earlier have code and caches warm."""
WARM_UP_MS = 500
TAIL = 0.25
"""For how long after the last run work goes on, such as arming it anew; an equal wait before is taken off."""
LIMIT = 120.0


async def measure_burst(contender: Contender, jobs: int, lead: float, *, suspends: bool) -> Figures:
    """Return the CPU time of a run in µs and the longest turn of the loop in ms, at a burst of so many *jobs*."""
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
    warm = -(-WARM_UP_MS // contender.grain) * contender.grain
    fires = [Fire(job, due - warm, HOUR_MS)] * WARM_UP + [Fire(job, due, HOUR_MS)] * jobs
    gc.collect()
    await contender.add(fires)
    await contender.start()
    at = due / 1000 - contender.offset
    took = time.monotonic() - begun
    if time.monotonic() > at - warm / 1000 - 0.05:
        raise LateStartError(took * 1.5 + 1)
    await asyncio.sleep(at - TAIL - 0.1 - time.monotonic())
    before = time.process_time()
    await asyncio.sleep(TAIL)
    if time.monotonic() > at - 0.02 or count < WARM_UP:
        raise LateStartError(took * 2 + 2)
    turns = watch_loop(asyncio.get_running_loop())
    begin = time.process_time()
    await asyncio.wait_for(done.wait(), LIMIT)
    await asyncio.sleep(TAIL)
    spent = time.process_time() - begin - (begin - before)
    return {"cpu_us": spent / jobs * 1e6, "block_ms": turns.longest * 1000}
