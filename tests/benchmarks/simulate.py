"""
How long a year takes to simulate: run by ``make bench-simulate``.

It prints CPU seconds, the best and the median of several repetitions. No test: what is fast enough on one machine is
not on another.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from loopcron import HttpJob, cron, every
from loopcron.testing import ClockStep, Outage, Suspend, simulate

REPETITIONS = 9
START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
HOUR = timedelta(hours=1)
QUARTERLY = HttpJob("sync", every(minutes=15), "/api/sync")
BERLIN = HttpJob("sync", cron("*/15 * * * *", tz="Europe/Berlin"), "/api/sync")


def years() -> dict[str, Callable[[], object]]:
    def year(job: HttpJob, **options: Any) -> Callable[[], object]:
        return lambda: simulate([job], start=START, duration=YEAR, **options)

    outages = [Outage(day * 24 * HOUR, HOUR) for day in range(0, 365, 30)]
    clock = [*(Suspend(out.at + 3 * HOUR, HOUR) for out in outages), ClockStep(200 * 24 * HOUR, -HOUR)]
    return {
        "every 15 minutes": year(QUARTERLY),
        "the same as a cron line, Europe/Berlin": year(BERLIN),
        "runs that take 3 s": year(QUARTERLY, behave=lambda _: timedelta(seconds=3)),
        "an hour's outage of the transport a month": year(QUARTERLY, transport=outages),
        "a clock with a history": year(QUARTERLY, clock=clock),
    }


def cpu_seconds(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def main() -> None:
    print(f"A year of a job that runs every 15 minutes, best and median of {REPETITIONS}, in CPU seconds")
    for name, function in years().items():
        took = [cpu_seconds(function) for _ in range(REPETITIONS)]
        print(f"  {name:45} {min(took):6.3f} {statistics.median(took):6.3f}")


if __name__ == "__main__":
    main()
