"""
How long one poll takes to settle 100,000 overdue slots of one job: run by ``make bench-overdue``.

It prints milliseconds, the median of several repetitions, for each kind of schedule and each way to catch up. No test:
what is fast enough on one machine is not on another.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta

from loopcron import CatchUp, Policy, Schedule, cron, every
from loopcron import _events as e
from loopcron._outcomes import Missed
from loopcron._timetable import Timetable
from tests.rows import registered

SLOTS = 100_000
REPETITIONS = 25
MINUTE_MS = 60_000
START = 1_772_323_200_000
"""2026-03-01T00:00:00Z."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Minutely:
    """A user's schedule of every minute; its slots can only be asked for one by one."""

    def next_after(self, instant: datetime) -> datetime | None:
        return EPOCH + ((instant - EPOCH) // MINUTE + 1) * MINUTE

    def latest_until(self, instant: datetime) -> datetime | None:
        return EPOCH + (instant - EPOCH) // MINUTE * MINUTE


def schedules() -> dict[str, Schedule]:
    return {
        "every(minutes=1)": every(minutes=1),
        "user-made, each minute": Minutely(),
        "cron('* * * * *', tz='Europe/Berlin')": cron("* * * * *", tz="Europe/Berlin"),
    }


def settle(schedule: Schedule, catch_up: CatchUp) -> float:
    """Return how many milliseconds the one poll took that found all the slots overdue."""
    timetable = Timetable(START)
    timetable.handle(e.Added("job", schedule, Policy(catch_up=catch_up)), START)
    timetable.handle(registered(["job"], [START]), START)
    timetable.poll(START)
    now = START + SLOTS * MINUTE_MS
    begin = time.perf_counter()
    actions = timetable.poll(now)
    took = time.perf_counter() - begin
    (missed,) = [action for action in actions if isinstance(action, e.Settled)]
    assert isinstance(missed.outcome, Missed)
    assert missed.outcome.first == START + MINUTE_MS
    assert timetable.poll(now) == ()
    return took * 1000


def main() -> None:
    print(f"{SLOTS:,} overdue slots of one job settled in one poll, median of {REPETITIONS}, in ms")
    for name, schedule in schedules().items():
        for catch_up in CatchUp:
            took = statistics.median(settle(schedule, catch_up) for _ in range(REPETITIONS))
            print(f"  {name:40} catch_up={catch_up.value!r:10} {took:8.3f}")


if __name__ == "__main__":
    main()
