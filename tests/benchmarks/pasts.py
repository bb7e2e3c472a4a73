"""Long stretches of time at once: a year that is simulated, and 100,000 slots that passed unserved."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from loopcron import CatchUp, FunctionJob, HttpJob, Missed, Run, Schedule, Scheduler, Settled, cron, every
from loopcron.testing import ClockEvent, ClockStep, Outage, Suspend, simulate
from tests.benchmarks.gauges import Figures
from tests.benchmarks.moved import MovedClock

START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OVERDUE = 100_000
REPETITIONS = 3
QUARTERLY = HttpJob("sync", every(minutes=15), "/api/sync")
BERLIN = HttpJob("sync", cron("*/15 * * * *", tz="Europe/Berlin"), "/api/sync")


def measure_simulation() -> Figures:
    """Return the CPU time, in seconds, of simulating a year of a job that runs every 15 minutes."""
    outages = [Outage(day * 24 * HOUR, HOUR) for day in range(0, 365, 30)]
    clock: list[ClockEvent] = [
        *(Suspend(out.at + 3 * HOUR, HOUR) for out in outages),
        ClockStep(200 * 24 * HOUR, -HOUR),
    ]
    years: dict[str, Callable[[], object]] = {
        "every_s": lambda: simulate([QUARTERLY], start=START, duration=YEAR),
        "cron_s": lambda: simulate([BERLIN], start=START, duration=YEAR),
        "outages_s": lambda: simulate([QUARTERLY], start=START, duration=YEAR, transport=outages),
        "clock_s": lambda: simulate([QUARTERLY], start=START, duration=YEAR, clock=clock),
    }
    simulate([BERLIN], start=START, duration=HOUR)  # all of it is imported now
    figures = {}
    for name, year in years.items():
        begin = time.process_time()
        year()
        figures[name] = time.process_time() - begin
    return figures


class Minutely:
    """A user's schedule of every minute; its slots can only be asked for one by one."""

    def next_after(self, instant: datetime) -> datetime | None:
        return EPOCH + ((instant - EPOCH) // MINUTE + 1) * MINUTE

    def latest_until(self, instant: datetime) -> datetime | None:
        return EPOCH + (instant - EPOCH) // MINUTE * MINUTE


class Heard:
    """Hears which slots have been missed."""

    def __init__(self) -> None:
        self.missed: list[Missed] = []

    def on_event(self, event: object) -> None:
        if isinstance(event, Settled) and isinstance(event.outcome, Missed):
            self.missed.append(event.outcome)


async def measure_overdue() -> Figures:
    """Return the CPU time, in ms, of the tick that finds 100,000 slots of a job overdue; the worst way to catch up."""
    schedules: dict[str, Schedule] = {
        "every_ms": every(minutes=1),
        "cron_ms": cron("* * * * *", tz="Europe/Berlin"),
        "own_schedule_ms": Minutely(),
    }
    return {
        name: max([await _settled(schedule, catch_up) for catch_up in CatchUp]) for name, schedule in schedules.items()
    }


async def _settled(schedule: Schedule, catch_up: CatchUp) -> float:
    async def nothing(_: Run) -> None:
        pass

    spent = []
    for _ in range(REPETITIONS):
        clock, heard = MovedClock(), Heard()
        scheduler = Scheduler(clock=clock, observers=[heard])
        scheduler.add(FunctionJob("job", schedule, nothing, catch_up=catch_up))
        async with scheduler.manual():
            await scheduler.tick()
            clock.move(OVERDUE * MINUTE)
            begin = time.process_time()
            await scheduler.tick()
            spent.append(time.process_time() - begin)
        assert heard.missed, "nothing was missed"
    return statistics.median(spent) * 1000
