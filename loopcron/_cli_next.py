"""``python -m loopcron next``: the next slots of a cron line, and what the clocks' changes do to them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from loopcron._cli_parts import instant, show, whole_number
from loopcron._instants import to_ms

if TYPE_CHECKING:
    from loopcron._cli_parts import Commands
    from loopcron._local import Cron


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
    from loopcron._upcoming import upcoming

    previous: datetime | None = None
    for slot in islice(upcoming(rule, to_ms(after)), count):
        yield _Slot(slot.local_at, None if previous is None else slot.slot_at - previous, slot.marks)
        previous = slot.slot_at


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
