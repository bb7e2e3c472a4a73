"""How late runs begin, with a second between the runs of each job; in seconds in which others were quiet, if it can."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.contenders import SECOND_MS, Contender, Fire, Work
from tests.benchmarks.gauges import QUIET, Figures, LateStartError, Others

EARLY = 0.05
"""For how long before each full second it is looked what others do, so that the look does not meet the runs."""
PATIENCE = 2
"""For how many times the wanted seconds it is waited at most until so many were quiet."""


def noting(note: Callable[[float], None]) -> Work:
    """Return a job that notes when it ran."""
    monotonic = time.monotonic

    async def work(*_: Any) -> None:
        note(monotonic())

    return work


async def measure_lateness(contender: Contender, jobs: int, lead: float, *, seconds: int, aligned: bool) -> Figures:
    """Return how late runs began in the quietest *seconds*; *aligned*: all are due on the full one, else at random."""
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
    # Not when it rests: it may never do, for what knows but a phase runs jobs from now on, not only from the first due.
    if time.monotonic() > begin - 2 * EARLY:
        raise LateStartError((time.monotonic() - begun) * 1.5 + 1)
    await asyncio.sleep(begin - EARLY - time.monotonic())
    cpu = time.process_time()
    busy = await _watch_seconds(begin, seconds)
    cpu = time.process_time() - cpu
    quietest = sorted(range(len(busy)), key=busy.__getitem__)[:seconds]
    late: list[list[float]] = [[] for _ in busy]
    for phase, times in zip(phases, ran, strict=True):
        for at in times:
            second, over = divmod(at - begin - phase / 1000 + EARLY, 1.0)
            if 0 <= second < len(busy):
                late[int(second)].append(over - EARLY)
    found = sorted(each for second in quietest for each in late[second])
    count = len(found)
    return {
        "p50_ms": found[count // 2] * 1000,
        "p99_ms": found[min(count - 1, int(count * 0.99))] * 1000,
        "max_ms": found[-1] * 1000,
        "fired": count / (jobs * seconds),
        "cpu_us": cpu / sum(map(len, late)) * 1e6,
        "others_busy": max(busy[second] for second in quietest),
    }


async def _watch_seconds(begin: float, wanted: int) -> list[float]:
    """Return of each second how many cores others kept busy; there are more than *wanted* if too few were quiet."""
    busy: list[float] = []
    while sum(each <= QUIET for each in busy) < wanted and len(busy) < wanted * PATIENCE:
        others = Others()
        await asyncio.sleep(begin + len(busy) + 1 - EARLY - time.monotonic())
        busy.append(others.busy())
    await asyncio.sleep(begin + len(busy) - time.monotonic())  # what is due before the last second's end may run
    return busy
