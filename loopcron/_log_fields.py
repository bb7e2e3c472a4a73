"""
What a log record may hold of an event: plain values for JSON, each on one line and of bounded length.

Jobs, endpoints, ledgers, schedules and observers have a say in an event's texts, and would forge lines or hide others
with control characters. Nothing of theirs reaches a record but through here.
"""

from __future__ import annotations

import math
import traceback
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from loopcron._instants import iso
from loopcron._outcomes import printable

if TYPE_CHECKING:
    from loopcron._events import Event

SHOWN_ITEMS: Final = 20
"""How many of a list's items are shown, such as the jobs of a scheduler that starts."""
TRACE_LINES: Final = 100
"""How many lines of a traceback are shown: the first half and the last."""
LONGEST_INT: Final = 2**63
"""From here on an integer is a text: neither Python's own formatting nor a JSON reader takes any number of digits."""
DERIVED: Final = ("duration_seconds", "late_seconds", "run_key")
"""The properties of events that stand in the record besides the fields."""


def plain(value: object) -> str | int | float | bool | list[str] | None:
    """Return *value* as JSON knows it; of texts, and of what is neither text nor number, one printable line."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -LONGEST_INT < value < LONGEST_INT:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [printable(_text(item)) for item in value[:SHOWN_ITEMS]]
    return printable(value if type(value) is str else _text(value))


def shown(argument: object) -> object:
    """Return an argument of a message: numbers as they are, a list as its first items and how many more there are."""
    value = plain(argument)
    if not isinstance(value, list):
        return value
    more = len(argument) - len(value) if isinstance(argument, (list, tuple)) else 0
    return ", ".join(value) + (f" and {more} more" if more else "")


def extra_of(event: Event) -> dict[str, object]:
    """
    Return an event's data as keys that begin with ``loopcron_``; without, logging raises KeyError for one like "name".

    An outcome's fields stand beside the event's; where both have a field of one name, the outcome's begins with
    ``loopcron_outcome_``.
    """
    outcome = getattr(event, "outcome", None)
    kinds: tuple[Any, Any] = type(event), type(outcome)  # a cache takes hashable ones, and mypy is not sure of types
    fields, outcome_fields = _keys(*kinds)
    extra: dict[str, object] = {"loopcron_event": type(event).__name__}
    for field, key in fields:
        extra[key] = plain(getattr(event, field))
    slot = extra.get("loopcron_slot")
    if isinstance(slot, int):
        extra["loopcron_slot_at"] = iso(slot)
    if outcome is not None:
        extra["loopcron_outcome"] = type(outcome).__name__
        for field, key in outcome_fields:
            extra[key] = plain(getattr(outcome, field))
    return extra


_Keys = tuple[tuple[str, str], ...]


@cache  # of types there are few, and the names are what costs most
def _keys(event: type[Event], outcome: type[object]) -> tuple[_Keys, _Keys]:
    """Return the fields of an event and of its outcome, each with its key in the record."""
    own = [name for name in event._fields if name not in ("exception", "outcome")]
    own += [name for name in DERIVED if hasattr(event, name)]
    theirs = getattr(outcome, "__dataclass_fields__", ())
    return (
        tuple((name, f"loopcron_{name}") for name in own),
        tuple((name, f"loopcron_outcome_{name}" if name in own else f"loopcron_{name}") for name in theirs),
    )


def trace_of(error: BaseException) -> str:
    """
    Return an exception's traceback with each line printable, cut to 300 characters, and indented.

    The exception's own message is in there, and what it holds must not begin a line as a log's own lines do.
    """
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    if len(lines) > TRACE_LINES:
        half = TRACE_LINES // 2
        lines[half:-half] = [f"... {len(lines) - 2 * half} lines ..."]
    return "\n".join(f"  {printable(line)}" for line in lines)


def _text(value: object) -> str:
    with suppress(Exception):  # such as an integer of too many digits, or a text of a type with methods of its own
        return str.__str__(value) if isinstance(value, str) else str(value)
    return f"<{type(value).__name__}>"
