"""What jobs cost that do not run: to add and start, to hold in memory, and while nothing is due."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import tracemalloc
from datetime import timedelta
from typing import Any

from tests.benchmarks.contenders import Contender, Fire, Work
from tests.benchmarks.gauges import Figures, settle, watch_loop

DAY_MS = 86_400_000
WINDOW = 30.0
"""For how long a scheduler may sleep at most, in seconds, if it is to see soon that the wall clock was set."""
RUNS = 20
FEW = 10


async def work(*_: Any) -> None:
    """Do nothing."""


def far_off(jobs: int) -> list[Fire]:
    """Return daily jobs, none of which is due within an hour."""
    chance = random.Random(3)
    now = int(time.time() * 1000)
    return [Fire(work, now + 4_000_000 + chance.randrange(3_000_000), DAY_MS) for _ in range(jobs)]


async def measure_adding(contender: Contender, jobs: int) -> Figures:
    """Return what a job costs until the scheduler runs, in µs of CPU time."""
    fires = far_off(jobs)
    gc.collect()
    begin = time.process_time()
    await contender.add(fires)
    added = time.process_time()
    await contender.start()
    await settle()  # the first ticks register them
    end = time.process_time()
    return {"cpu_us": (end - begin) / jobs * 1e6, "added_us": (added - begin) / jobs * 1e6}


async def measure_memory(contender: Contender, jobs: int) -> Figures:
    """Return how many bytes a job takes before its first run."""
    fires = far_off(jobs)
    gc.collect()
    tracemalloc.start()
    await contender.add(fires)
    await contender.start()
    await settle()
    gc.collect()
    return {"bytes": tracemalloc.get_traced_memory()[0] / jobs}


async def measure_idleness(contender: Contender, jobs: int, *, seconds: float) -> Figures:
    """Return how often the loop wakes while nothing is due, and what that costs."""
    await contender.add(far_off(jobs))
    await contender.start()
    await settle()
    gc.collect()
    turns = watch_loop(asyncio.get_running_loop())
    cpu, begin = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, passed = time.process_time() - cpu, time.monotonic() - begin
    woke = turns.woke[:-1]  # the last time was this function's own
    gap = (woke[-1] - woke[0]) / (len(woke) - 1) if len(woke) > 1 else passed / max(1, len(woke))
    return {
        "wakes_per_30s": round(WINDOW / gap, 2) if woke else 0.0,
        "wakes": len(woke),
        "cpu_ms_per_min": cpu / passed * 60_000,
    }


async def measure_history(jobs: int) -> Figures:
    """Return how many bytes a job of loopcron takes with a history of 20 runs, and with one of 20 that failed."""
    await _history(1, work)  # all of it is imported now
    return {"bytes": await _more(jobs, work), "failed_bytes": await _more(jobs, failing)}


async def failing(_: object) -> None:
    """Raise what a job would."""
    raise ValueError("no such row")


async def _more(jobs: int, function: Work) -> float:
    """Return what each of *jobs* takes beside a few that there are already: without the scheduler's own share."""
    return (await _history(FEW + jobs, function) - await _history(FEW, function)) / jobs


async def _history(jobs: int, function: Work) -> int:
    from loopcron import FunctionJob, Scheduler, every
    from loopcron.testing import FakeClock

    gc.collect()
    tracemalloc.start()
    clock = FakeClock()
    scheduler = Scheduler(clock=clock)
    for number in range(jobs):
        scheduler.add(FunctionJob(f"job-{number}", every(minutes=1), function))
    async with scheduler:
        await clock.advance(timedelta(minutes=RUNS))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        history = scheduler.snapshot().jobs[0].history
        assert len(history) == RUNS, f"{len(history)} of {RUNS} runs are in the history"
    tracemalloc.stop()
    return held
