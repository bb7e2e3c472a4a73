"""
What cron lines cost: run by ``make bench-cron``.

It prints microseconds, the median of several repetitions: to read a line, to name the next and the latest slot, and to
refuse a line that can never match, which is to take less than 10 ms. No test: what is fast enough on one machine is not
on another.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from loopcron import ScheduleError, cron

REPETITIONS = 25
SLOTS = 200
"""So many instants are asked about in one repetition, a bit over a week from one to the next."""
BERLIN = "Europe/Berlin"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(days=7, hours=5, minutes=3)
LINES = ["* * * * *", "*/15 * * * *", "30 2 * * *", "0 9 * * 1-5", "0 0 LW * *", "0 12 * * FRI#2", "0 0 29 2 *"]
NEVER = ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * 30,31 FEB *", "0 0 30W 2 *", "0 0 31 2 */2", "1-59/7 */5 30-31 2 *"]


def microseconds(function: Callable[[], object], times: int = 1) -> float:
    """Return what one of the *times* that *function* does its work took, the median of the repetitions."""
    spent = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        function()
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent) / times * 1_000_000


def refuse(line: str) -> None:
    try:
        cron(line, BERLIN)
    except ScheduleError:
        return
    raise AssertionError(line)


def main() -> None:
    instants = [START + number * STEP for number in range(SLOTS)]
    print(f"Cron lines in {BERLIN}, median of {REPETITIONS}, in µs")
    print(f"  {'':24}{'read':>12}{'next_after':>14}{'latest_until':>14}")
    for line in LINES:
        rule = cron(line, BERLIN)
        costs = [
            microseconds(lambda line=line: cron(line, BERLIN)),  # type: ignore[misc]
            microseconds(lambda rule=rule: [rule.next_after(instant) for instant in instants], SLOTS),  # type: ignore[misc]
            microseconds(lambda rule=rule: [rule.latest_until(instant) for instant in instants], SLOTS),  # type: ignore[misc]
        ]
        print(f"  {line:24}{costs[0]:12.1f}{costs[1]:14.1f}{costs[2]:14.1f}")
    print(f"  {'can never match':24}{'refused':>12}")
    for line in NEVER:
        print(f"  {line:24}{microseconds(lambda line=line: refuse(line)):12.1f}")  # type: ignore[misc]


if __name__ == "__main__":
    main()
