"""
The same questions to the cron engines of Python: what they answer around a change of the clock.

    make peers

The answers go into the table in docs/semantics; what they cost is the benchmarks' business. Each engine is driven as
the library that it comes with, or that it is known from, drives it. It runs in an environment of its own:
tests/peers/requirements.txt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo

from loopcron import cron
from tests.blocks import SEMANTICS, write_block
from tests.cron.minute_oracle import MinuteOracle, parse

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Situation:
    """A line, and the part of a day in which its slots are looked at."""

    what: str
    zone: str
    line: str
    begin: str
    """In UTC, inclusive."""
    end: str
    """Exclusive."""

    @property
    def window(self) -> tuple[datetime, datetime]:
        return datetime.fromisoformat(self.begin + "Z"), datetime.fromisoformat(self.end + "Z")


SITUATIONS = (
    Situation("Berlin, gap", BERLIN, "30 2 * * *", "2026-03-29 00:00", "2026-03-29 03:00"),
    Situation("Berlin, gap", BERLIN, "15 * * * *", "2026-03-29 00:00", "2026-03-29 02:30"),
    Situation("Berlin, gap", BERLIN, "*/30 * * * *", "2026-03-29 00:30", "2026-03-29 02:00"),
    Situation("Berlin, gap", BERLIN, "30 */2 * * *", "2026-03-29 00:00", "2026-03-29 03:00"),
    Situation("Berlin, fold", BERLIN, "30 2 * * *", "2026-10-25 00:00", "2026-10-25 03:00"),
    Situation("Berlin, fold", BERLIN, "15 * * * *", "2026-10-24 23:00", "2026-10-25 02:30"),
    Situation("Berlin, fold", BERLIN, "*/30 * * * *", "2026-10-25 00:00", "2026-10-25 02:30"),
    Situation("Berlin, fold", BERLIN, "30 */2 * * *", "2026-10-25 00:00", "2026-10-25 04:00"),
    Situation("Lord Howe, gap", LORD_HOWE, "15 2 * * *", "2026-10-03 14:00", "2026-10-03 17:00"),
    Situation("Lord Howe, gap", LORD_HOWE, "*/30 * * * *", "2026-10-03 15:00", "2026-10-03 16:30"),
    Situation("Lord Howe, gap", LORD_HOWE, "*/15 3 * * *", "2026-10-03 15:00", "2026-10-03 17:00"),
    Situation("Lord Howe, fold", LORD_HOWE, "45 1 * * *", "2026-04-04 14:00", "2026-04-04 17:00"),
    Situation("Lord Howe, fold", LORD_HOWE, "*/30 * * * *", "2026-04-04 14:00", "2026-04-04 16:00"),
    Situation("Lord Howe, fold", LORD_HOWE, "*/15 2 * * *", "2026-04-04 14:00", "2026-04-04 16:30"),
)

Slots = Callable[[str, str, datetime], Iterator[datetime]]
"""The slots of a line in a zone, from the first one after an instant on."""


def loopcron_slots(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Ask for one slot after the other."""
    schedule = cron(line, tz=zone)
    slot = schedule.next_after(after)
    while slot is not None:
        yield slot
        slot = schedule.next_after(slot)


def cronsim_slots(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Iterate over it."""
    slots: Iterator[datetime] = import_module("cronsim").CronSim(line, after.astimezone(ZoneInfo(zone)))
    return slots


def croniter_slots(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Iterate over it."""
    schedule = import_module("croniter").croniter(line, after.astimezone(ZoneInfo(zone)), ret_type=datetime)
    while True:
        yield schedule.get_next()


def apscheduler_slots(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Tell it the slot before, as its scheduler does."""
    trigger = import_module("apscheduler.triggers.cron").CronTrigger.from_crontab(line, timezone=ZoneInfo(zone))
    slot = trigger.get_next_fire_time(None, after.astimezone(ZoneInfo(zone)))
    while slot is not None:
        yield slot
        slot = trigger.get_next_fire_time(slot, slot)


def pycron_slots(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Ask it once a minute whether it is time."""
    is_now = import_module("pycron").is_now
    now = after.replace(second=0, microsecond=0)
    while True:
        now += timedelta(minutes=1)
        if is_now(line, now.astimezone(ZoneInfo(zone))):
            yield now


def arq_slots(line: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Do what its worker does twice a second: compare wall times, queue a run for then, and queue none twice."""
    following = arq_following(line)
    rules = ZoneInfo(zone)
    now = after
    slot = following(now.astimezone(rules))
    queued = set()
    while True:
        now += SECOND / 2
        if slot < now.astimezone(rules) + SECOND:
            instant = slot.astimezone(UTC)
            if instant not in queued:
                queued.add(instant)
                yield max(instant, now)
            slot = following(slot)


def arq_following(line: str) -> Callable[[datetime], datetime]:
    """Return what names the slot after another one, in wall time; arq takes keywords, not lines."""
    next_cron = import_module("arq.cron").next_cron
    read = parse(line)
    days: dict[str, dict[str, Any]] = {
        "0 0 29 2 *": {"day": 29, "month": 2},
        "0 9 * * MON-FRI": {"weekday": {0, 1, 2, 3, 4}},
    }
    hours = None if len(read.hours) == 24 else read.hours
    return partial(next_cron, hour=hours, minute=read.minutes, **days.get(line, {}))


ENGINES: dict[str, Slots] = {
    "loopcron": loopcron_slots,
    "cronsim": cronsim_slots,
    "croniter": croniter_slots,
    "APScheduler": apscheduler_slots,
    "pycron": pycron_slots,
    "arq": arq_slots,
}


def answer(slots: Slots, situation: Situation) -> str:
    """Return the engine's slots within the window, as the wall clock shows them."""
    begin, end = situation.window
    found: list[str] = []
    for slot in slots(situation.line, situation.zone, begin - SECOND):
        instant = slot.astimezone(UTC)
        if instant >= end or len(found) > 20:
            break
        found.append(shown(instant, situation.zone))
    return ", ".join(found) or "none"


def shown(instant: datetime, zone: str) -> str:
    """Return what the wall clock shows, and whether it does so again."""
    local = instant.astimezone(ZoneInfo(zone))
    return f"{local:%H:%M}" + (" again" if local.fold else "")


def ruled(situation: Situation) -> str:
    """Return what the rules say, by the oracle."""
    begin, end = situation.window
    slots = MinuteOracle(situation.line, ZoneInfo(situation.zone)).slots(begin, end)
    return ", ".join(shown(slot, situation.zone) for slot in slots) or "none"


def render() -> str:
    """Return the table; an answer that is not as the rules say is bold."""
    rows = [f"| Where | Line | {' | '.join(ENGINES)} |", "|---|---|" + "---|" * len(ENGINES)]
    for situation in SITUATIONS:
        answers = [answer(slots, situation) for slots in ENGINES.values()]
        cells = [said if said == ruled(situation) else f"**{said}**" for said in answers]
        rows.append(f"| {situation.what} | `{situation.line}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> int:
    """Write the table."""
    write_block(SEMANTICS, "peers", render())
    print(f"The table in {SEMANTICS.name} is written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
