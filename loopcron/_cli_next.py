"""``python -m loopcron next``: the next slots of a cron line, and what the clocks' changes do to them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

from loopcron._cli_parts import instant, show, whole_number
from loopcron._instants import MILLISECOND, from_ms, to_ms

if TYPE_CHECKING:
    from loopcron._cli_parts import Commands
    from loopcron._local import Cron
    from loopcron._zones import Zone

_MINUTE_MS: Final = 60_000
_NEAR_MS: Final = 8 * 86_400_000
"""A change of the clocks is told beside the slot after it, unless the slot before was longer ago."""


class _Slot(NamedTuple):
    """One line of the table."""

    local: datetime
    gap: timedelta | None
    """From the slot before; None for the first one."""
    notes: tuple[str, ...]


def add_next(commands: Commands) -> None:
    """Add the command."""
    text = "show when a cron line runs next, in local time and UTC"
    parser = commands.add_parser("next", help=text, description=text)
    parser.add_argument("line", metavar="LINE", help="five fields in quotes, such as '30 2 * * 1-5', or @daily")
    parser.add_argument("--tz", default="UTC", metavar="ZONE", help="an IANA name such as Europe/Berlin; default UTC")
    parser.add_argument("--after", metavar="INSTANT", help="such as 2026-03-28T00:00:00Z; default now")
    parser.add_argument("-n", type=whole_number(1, 1000), default=5, metavar="COUNT", help="how many; default 5")
    parser.add_argument("--json", action="store_true", help="a list of objects instead of a table")
    parser.set_defaults(carry_out=_next)


def _next(options: argparse.Namespace) -> int:
    from loopcron._local import cron

    rule = cron(options.line, options.tz)
    after = instant("--after", options.after)
    slots = list(_slots(rule, after, options.n))
    if options.json:
        show([json.dumps([_as_object(number, slot) for number, slot in enumerate(slots, 1)], indent=2)])
        return 0
    end = ("no further slot in the years that are known",) if len(slots) < options.n else ()
    show((rule.describe(), *_table(slots), *end))
    return 0


def _slots(rule: Cron, after: datetime, count: int) -> Iterator[_Slot]:
    from loopcron._zones import zone_of

    zone = zone_of(rule.tz)
    previous, is_first = to_ms(after), True
    for _ in range(count):
        slot = rule.next_ms(previous)
        if slot is None:
            return
        gap = None if is_first else (slot - previous) * MILLISECOND
        yield _Slot(from_ms(slot).astimezone(rule.tz), gap, tuple(_notes(rule, zone, previous, slot)))
        previous, is_first = slot, False


def _notes(rule: Cron, zone: Zone, previous: int, slot: int) -> Iterator[str]:
    """Yield what the clocks' changes since the slot before, and around this one, mean for it."""
    at = max(previous, slot - _NEAR_MS)
    while (stretch := zone.stretch(at)).end <= slot:
        at = stretch.end
        if stretch.offset < stretch.after:
            yield from _gap(rule, at, stretch.offset, stretch.after, slot)
        elif stretch.offset > stretch.after:
            yield f"the clocks go back from {_span(at, stretch.offset, at, stretch.after)}"
    if slot >= stretch.end - (stretch.offset - stretch.after):
        again = rule.latest_ms(slot + stretch.offset - stretch.after) == slot + stretch.offset - stretch.after
        yield "comes twice, and " + ("this is the first time" if again else "runs the first time only")
    if slot < stretch.start + stretch.before - stretch.offset:
        yield "comes twice, and this is the second time"


def _gap(rule: Cron, at: int, before: int, after: int, slot: int) -> Iterator[str]:
    """Yield what becomes of the local times that the clocks skip at an instant, seen from the first slot after it."""
    yield f"the clocks skip {_span(at, before, at, after)}"
    skipped = _named(rule, before, at, at + after - before)
    if skipped is None:
        return
    first, last = skipped
    which = f"{from_ms(first + before):%H:%M}" if first == last else _span(first, before, last, before)
    # Moved, if the slot right at the change is a local time that the line itself does not name.
    moved = slot - at < _MINUTE_MS and _named(rule, after, slot, slot + 1) is None
    yield f"stands for {which}" if moved else f"nothing for {which}"


def _named(rule: Cron, offset: int, start: int, end: int) -> tuple[int, int] | None:
    """Return the first and last instant from *start* to before *end* that the line names where *offset* is in force."""
    from loopcron._local import cron

    there = cron(rule.line, timezone(offset * MILLISECOND))
    first, last = there.next_ms(start - 1), there.latest_ms(end - 1)
    return None if first is None or last is None or first >= end else (first, last)


def _span(first: int, first_offset: int, last: int, last_offset: int) -> str:
    begin, end = from_ms(first + first_offset), from_ms(last + last_offset)
    shown = "%H:%M" if begin.date() == end.date() else "%m-%d %H:%M"
    return f"{begin:{shown}} to {end:{shown}}"


def _table(slots: Sequence[_Slot]) -> Iterator[str]:
    from loopcron._describe import span_text

    rows = [("#", "local time", "UTC", "gap", "")]
    for number, slot in enumerate(slots, 1):
        local = f"{slot.local:%a %Y-%m-%d %H:%M} {_offset(slot.local)} {slot.local:%Z}"
        gap = "" if slot.gap is None else span_text(slot.gap)
        rows.append((str(number), local, _utc(slot), gap, "; ".join(slot.notes)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _offset(local: datetime) -> str:
    return local.isoformat()[19:]


def _utc(slot: _Slot) -> str:
    return f"{slot.local.astimezone(UTC):%Y-%m-%d %H:%MZ}"


def _as_object(number: int, slot: _Slot) -> dict[str, object]:
    return {
        "number": number,
        "local": slot.local.isoformat(),
        "abbreviation": slot.local.tzname(),
        "utc": slot.local.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "gap_seconds": None if slot.gap is None else slot.gap.total_seconds(),
        "notes": list(slot.notes),
    }
