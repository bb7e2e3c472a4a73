"""The next slots of a schedule in its own local time, and what the clocks' changes do to them, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timezone, tzinfo
from typing import Final, final

from loopcron._combined import AnyOf
from loopcron._instants import MILLISECOND, from_ms
from loopcron._local import Cron, cron
from loopcron._schedules import Between, MsSchedule
from loopcron._zones import Zone, zone_of

_MINUTE_MS: Final = 60_000
_NEAR_MS: Final = 8 * 86_400_000
"""A change of the clocks is told beside the slot after it, unless the slot before was longer ago."""


@final
@dataclass(frozen=True, slots=True)
class UpcomingSlot:
    """A slot that a schedule names next."""

    slot_at: datetime
    """Aware, in UTC."""
    local_at: datetime
    """The same instant in the schedule's zone; in UTC where it has none."""
    marks: tuple[str, ...]
    """What the clocks' changes since the slot before, and around this one, mean for it; empty almost always."""


def local_zone(schedule: MsSchedule) -> tzinfo:
    """Return the zone of the schedule's local times; UTC where it has none, or several."""
    match schedule:
        case Cron():
            return schedule.tz
        case Between():
            return local_zone(schedule.schedule)
        case AnyOf():
            zones = {str(zone): zone for zone in map(local_zone, schedule.schedules)}
            return next(iter(zones.values())) if len(zones) == 1 else UTC
        case _:
            return UTC


def upcoming(schedule: MsSchedule, after: int, before: int | None = None) -> Iterator[UpcomingSlot]:
    """Yield the slots strictly after an instant, and before another one; both in ms from the epoch."""
    tz, rule = local_zone(schedule), _cron_of(schedule)
    zone = zone_of(tz)
    previous = after
    while (slot := schedule.next_ms(previous)) is not None and (before is None or slot < before):
        at = from_ms(slot)
        yield UpcomingSlot(at, at.astimezone(tz), tuple(_marks(rule, zone, previous, slot)))
        previous = slot


def _cron_of(schedule: MsSchedule) -> Cron | None:
    """Return the cron line behind the schedule, if all its slots are of one."""
    if isinstance(schedule, Between):
        return _cron_of(schedule.schedule)
    return schedule if isinstance(schedule, Cron) else None


def _marks(rule: Cron | None, zone: Zone, previous: int, slot: int) -> Iterator[str]:
    at = max(previous, slot - _NEAR_MS)
    while (stretch := zone.stretch(at)).end <= slot:
        at = stretch.end
        if stretch.offset < stretch.after:
            yield from _gap(rule, at, stretch.offset, stretch.after, slot)
        elif stretch.offset > stretch.after:
            yield f"the clocks go back from {_span(at, stretch.offset, at, stretch.after)}"
    if rule is None:
        return
    if slot >= stretch.end - (stretch.offset - stretch.after):
        again = rule.latest_ms(slot + stretch.offset - stretch.after) == slot + stretch.offset - stretch.after
        yield "comes twice, and " + ("this is the first time" if again else "runs the first time only")
    if slot < stretch.start + stretch.before - stretch.offset:
        yield "comes twice, and this is the second time"


def _gap(rule: Cron | None, at: int, before: int, after: int, slot: int) -> Iterator[str]:
    """Yield what becomes of the local times that the clocks skip at an instant, seen from the first slot after it."""
    yield f"the clocks skip {_span(at, before, at, after)}"
    skipped = None if rule is None else _named(rule, before, at, at + after - before)
    if rule is None or skipped is None:
        return
    first, last = skipped
    which = f"{from_ms(first + before):%H:%M}" if first == last else _span(first, before, last, before)
    # Moved, if the slot right at the change is a local time that the line itself does not name.
    moved = slot - at < _MINUTE_MS and _named(rule, after, slot, slot + 1) is None
    yield f"stands for {which}" if moved else f"nothing for {which}"


def _named(rule: Cron, offset: int, start: int, end: int) -> tuple[int, int] | None:
    """Return the first and last instant from *start* to before *end* that the line names where *offset* is in force."""
    there = cron(rule.line, timezone(offset * MILLISECOND))
    first, last = there.next_ms(start - 1), there.latest_ms(end - 1)
    return None if first is None or last is None or first >= end else (first, last)


def _span(first: int, first_offset: int, last: int, last_offset: int) -> str:
    begin, end = from_ms(first + first_offset), from_ms(last + last_offset)
    shown = "%H:%M" if begin.date() == end.date() else "%m-%d %H:%M"
    return f"{begin:{shown}} to {end:{shown}}"
