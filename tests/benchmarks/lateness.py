"""How late runs begin, with a second between the runs of each job."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.contenders import Contender, Fire, Work
from tests.benchmarks.gauges import Figures, LateStartError

SECOND_MS = 1000


def noting(note: Callable[[float], None]) -> Work:
    """Return a job that notes when it ran."""
    monotonic = time.monotonic

    async def work(*_: Any) -> None:
        note(monotonic())

    return work


async def measure_lateness(contender: Contender, jobs: int, lead: float, *, seconds: float, aligned: bool) -> Figures:
    """Return how late the runs within *seconds* began; *aligned*: all are due on the full second, else at random."""
    chance = random.Random(2)
    first = math.ceil(time.time() + lead) * SECOND_MS
    grain = contender.grain
    phases = [0 if aligned else chance.randrange(SECOND_MS) // grain * grain for _ in range(jobs)]
    ran: list[list[float]] = [[] for _ in range(jobs)]
    fires = [Fire(noting(ran[number].append), first + phases[number], SECOND_MS) for number in range(jobs)]
    gc.collect()
    begun = time.monotonic()
    await contender.add(fires)
    await contender.start()
    begin = first / 1000 - contender.offset
    if time.monotonic() > begin - 0.1:
        raise LateStartError((time.monotonic() - begun) * 1.5 + 1)
    await asyncio.sleep(begin - 0.05 - time.monotonic())
    cpu = time.process_time()
    end = begin + seconds
    await asyncio.sleep(end - time.monotonic())
    cpu = time.process_time() - cpu
    late = sorted(
        (at - begin - phase / 1000 + 0.05) % 1.0 - 0.05
        for phase, times in zip(phases, ran, strict=True)
        for at in times
        if begin + phase / 1000 - 0.05 <= at <= end
    )
    count = len(late)
    return {
        "p50_ms": late[count // 2] * 1000,
        "p99_ms": late[min(count - 1, int(count * 0.99))] * 1000,
        "max_ms": late[-1] * 1000,
        "fired": count / (jobs * seconds),
        "cpu_us": cpu / count * 1e6,
    }
