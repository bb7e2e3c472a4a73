"""What cron lines cost, by several engines: to read one, and to name its next slot."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from zoneinfo import ZoneInfo

from loopcron import ScheduleError, cron
from tests.benchmarks.gauges import Figures
from tests.peers.compare import ENGINES, Slots, arq_following

START = datetime(2025, 1, 1, tzinfo=UTC)
# name: line, zone, how many slots in a row, how often
ASKED = {
    "every5_utc": ("*/5 * * * *", "UTC", 2000, 1),
    "every5_new_york": ("*/5 * * * *", "America/New_York", 2000, 1),
    "leap_day": ("0 0 29 2 *", "UTC", 10, 20),
    "weekdays": ("0 9 * * MON-FRI", "UTC", 500, 1),
}
READ = 200
NEVER = ("0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * 30,31 FEB *", "0 0 30W 2 *", "0 0 31 2 */2", "1-59/7 */5 30-31 2 *")
"""Lines without a slot, to be refused."""


def arq_walk(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Only reckon one slot after the other; its worker would look at the clock twice a second."""
    following = arq_following(line)
    slot = after.astimezone(ZoneInfo(zone))
    while True:
        slot = following(slot)
        yield slot


WALKS: dict[str, Slots] = {**ENGINES, "arq": arq_walk}
"""How each engine is asked for one slot after the other; pycron cannot be."""
READERS: dict[str, Callable[[str], object]] = {
    "cronsim": lambda line: import_module("cronsim").CronSim(line, START),
    "loopcron": lambda line: cron(line, tz="UTC"),
    "croniter": lambda line: import_module("croniter").croniter(line, START),
    "APScheduler": lambda line: import_module("apscheduler.triggers.cron").CronTrigger.from_crontab(line, "UTC"),
}
"""How each reads a line; arq takes none."""


def measure_lines(engine: str) -> Figures:
    """Return CPU time in µs: of the next slot of each line, of reading the costliest, of refusing the costliest."""
    figures: Figures = {}
    for name, (line, zone, count, times) in ASKED.items():
        spent = 0.0
        for _ in range(times):
            slots = WALKS[engine](line, zone, START)
            next(slots)  # reads the line, and the zone
            begin = time.process_time()
            for _ in range(count):
                next(slots)
            spent += time.process_time() - begin
        figures[f"{name}_us"] = spent / count / times * 1e6
    if engine in READERS:
        figures["read_us"] = max(_cpu_us(READERS[engine], line) for line, *_ in ASKED.values())
    if engine == "loopcron":
        figures["refuse_us"] = max(_cpu_us(_refuse, line, times=20) for line in NEVER)
    return figures


def _cpu_us(function: Callable[[str], object], line: str, *, times: int = READ) -> float:
    """Return the median of five."""
    spent = []
    for _ in range(5):
        begin = time.process_time()
        for _ in range(times):
            function(line)
        spent.append(time.process_time() - begin)
    return statistics.median(spent) / times * 1e6


def _refuse(line: str) -> None:
    try:
        cron(line, tz="Europe/Berlin")
    except ScheduleError:
        return
    raise AssertionError(line)
