"""
The grammar of a cron line: a line of text becomes bit sets, or a message that says where and what would do.

It knows no calendar and no zone. Sources: crontab(5) of Debian for fields, lists, ranges, steps, names, aliases and the
rule of the two day fields; Quartz for L, W and #. Where those leave a text open (``5/15``, ``FRI-MON``, a step beyond
its range) it is refused, with what to write instead. Pinned in ``tests/core/test_cron_grammar.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

from loopcron._errors import ScheduleError

LAST_DAY: Final = 1 << 32
"""In the days: ``L``."""
NEAREST: Final = 32
"""In the days: bit ``NEAREST + n`` is ``nW``."""
LAST_WEEKDAY: Final = 1 << 64
"""In the days: ``LW``."""
LAST_WEEK: Final = 6
"""In the weekdays: the group of ``DL``; group 0 is plain, group n is ``D#n``."""
ALL_DAYS: Final = (1 << 32) - (1 << 1)
ALL_WEEKDAYS: Final = (1 << 7) - 1

_LONGEST: Final = 1_000
_WORDS: Final = re.compile("[^ \t]+")
# ASCII only, spelled out: \d and IGNORECASE would also let in other alphabets' digits and look-alikes.
_ITEM: Final = re.compile(r"(?:\*|([0-9]+|[A-Za-z]+)(?:-([0-9]+|[A-Za-z]+))?)(?:/([0-9]+))?")
_NEAREST_DAY: Final = re.compile("([0-9]+)[Ww]")
_WEEKDAY_OF_MONTH: Final = re.compile("([0-9]+|[A-Za-z]{3})(?:[Ll]|#([1-5]))")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Fields(NamedTuple):
    """What a line names, as bit sets: bit n stands for the value n."""

    minutes: int
    hours: int
    days: int
    """Days of the month, with ``LAST_DAY``, ``LAST_WEEKDAY`` and the bits from ``NEAREST`` on."""
    months: int
    weekdays: int
    """Groups of eight bits, Sunday first and the last one spare: plain days, then ``D#1`` to ``D#5``, then ``DL``."""
    either: bool
    """Whether a day need match one of the two day fields only: neither of them starts with ``*``."""
    frequent: bool
    """Whether the minute or the hour starts with ``*``, so that real minutes count where a zone shifts."""


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    accepted: str
    names: Mapping[str, int] = {}

    @property
    def whole(self) -> int:
        """The last value of ``*``: in the days of the week 7 is Sunday once more."""
        return 6 if self.high == 7 else self.high


_MINUTE: Final = _Field("minute", 0, 59, "a number from 0 to 59, a range such as 10-20, or a step such as */15")
_HOUR: Final = _Field("hour", 0, 23, "a number from 0 to 23, a range such as 9-17, or a step such as */6")
_DAY: Final = _Field(
    "day of month", 1, 31, "a number from 1 to 31, a range such as 1-7, a step such as */2, or alone L, LW or 15W"
)
_MONTH: Final = _Field(
    "month",
    1,
    12,
    "a number from 1 to 12 or JAN to DEC, a range such as JUN-AUG, or a step such as */3",
    {name: number for number, name in enumerate(_MONTHS, 1)},
)
_WEEKDAY: Final = _Field(
    "day of week",
    0,
    7,
    "a number from 0 to 7 or SUN to SAT, a range such as MON-FRI, a step such as */2, or alone FRIL or FRI#1 to FRI#5",
    {name: number for number, name in enumerate(_WEEKDAYS)},
)
_FIELDS: Final = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


def parse(line: str) -> Fields:
    """
    Return what *line* names.

    Raises:
        ScheduleError: *line* is no cron line. Its ``field`` is ``minute``, ``hour``, ``day of month``, ``month`` or
            ``day of week``, or ``line`` where the whole is meant; the text tells the column, counted from 1.
    """
    words, columns = split(line)
    minutes, hours, days, months, weekdays = map(_values, _FIELDS, words, columns)
    return Fields(
        minutes,
        hours,
        days,
        months,
        (weekdays | weekdays >> 7 & 1) & ~(1 << 7),  # 7 is Sunday once more
        either=not (words[2].startswith("*") or words[4].startswith("*")),
        frequent=words[0].startswith("*") or words[1].startswith("*"),
    )


def split(line: str) -> tuple[list[str], list[int]]:
    """Return the five fields of *line* and the column of each; an alias gives its fields, all in its own column."""
    if not isinstance(line, str):
        raise ScheduleError("line", line, "must be a str of five fields, such as '30 2 * * MON-FRI'")
    if len(line) > _LONGEST:
        raise ScheduleError("line", line, f"must not be longer than {_LONGEST:,} characters")
    found = list(_WORDS.finditer(line))
    words = [word[0] for word in found]
    columns = [word.start() + 1 for word in found]
    if len(words) == 1 and words[0].startswith("@"):
        return _alias(words[0]).split(), columns * 5
    if len(words) != 5:
        hint = (
            "; seconds belong in every(), such as every(seconds=30)" if len(words) == 6 else ", such as '30 2 * * 1-5'"
        )
        fields = ", ".join(field.name for field in _FIELDS)
        raise ScheduleError("line", line, f"has {len(words)} fields; must have five ({fields}){hint}")
    return words, columns


def _alias(word: str) -> str:
    # Compared in ASCII: lower() turns the Kelvin sign into a k.
    meant = _ALIASES.get(word.lower()) if word.isascii() else None
    if meant is not None:
        return meant
    if word.lower() == "@reboot":
        raise ScheduleError("line", word, "names no slot; run_on_start=True runs a job at the start")
    raise ScheduleError("line", word, f"must be one of {', '.join(_ALIASES)}, or five fields")


def _values(field: _Field, text: str, column: int) -> int:
    if text == "*":
        return (2 << field.whole) - (1 << field.low)
    bits = 0
    for item in text.split(","):
        bits |= _item(field, item, column)
        column += len(item) + 1
    return bits


def _item(field: _Field, item: str, column: int) -> int:
    match = _ITEM.fullmatch(item)
    if match is None or item[-1] in "LlWw":
        special = _special(field, item)
        if special is not None:
            return special
    if match is None:
        _refuse(field, item, column)
    first, last, step = match.groups()
    if first is None:
        low, high = field.low, field.whole
    else:
        low = _value(field, first, item, column)
        if last is None:
            if step is not None:
                _refuse(field, item, column, f"has a step without a range; write {first}-{field.whole}/{step}")
            return 1 << low
        high = _value(field, last, item, column)
        if first.upper() == last.upper():
            high = low
        elif last.upper() == "SUN":
            high = 7
        if low > high:
            _refuse(field, item, column, "is a range that falls; write " + _rising(field, first, last, step))
    width = high - low
    every = 1 if step is None else int(step)
    # A width of 0 has room for one step: a-a/1 is a.
    if not 1 <= every <= (width or 1):
        _refuse(field, item, column, f"has a step that must be from 1 to {width or 1}, or only its first value remains")
    if every == 1:
        return (2 << high) - (1 << low)
    return sum(1 << value for value in range(low, high + 1, every))


def _value(field: _Field, text: str, item: str, column: int) -> int:
    value = int(text) if text.isdigit() else field.names.get(text.upper())
    if value is None or not field.low <= value <= field.high:
        _refuse(field, item, column)
    return value


def _special(field: _Field, item: str) -> int | None:
    """Return the bit of ``L``, ``LW``, ``nW``, ``D#n`` or ``DL``; None if *item* is none of them."""
    if field is _DAY:
        if item.upper() in {"L", "LW"}:
            return LAST_DAY if len(item) == 1 else LAST_WEEKDAY
        nearest = _NEAREST_DAY.fullmatch(item)
        if nearest is not None and 1 <= int(nearest[1]) <= 31:
            return 1 << NEAREST + int(nearest[1])
    elif field is _WEEKDAY:
        of_month = _WEEKDAY_OF_MONTH.fullmatch(item)
        if of_month is not None:
            day, number = of_month.groups()
            weekday = int(day) if day.isdigit() else field.names.get(day.upper(), 8)
            if weekday <= 7:
                return 1 << 8 * int(number or LAST_WEEK) + weekday % 7
    return None


def _rising(field: _Field, first: str, last: str, step: str | None) -> str:
    """Return what was meant by a range that falls, such as ``FRI-SUN,MON`` for ``FRI-MON``."""
    if step is not None:
        return "it as two ranges"
    names = {value: name for name, value in field.names.items()} if first.isalpha() else {}
    low = field.low
    if field is _WEEKDAY:
        if first == "7":
            return f"0-{last}"
        names[7] = "SUN" if names else "7"
        if last == "0":
            return f"{first}-7"
        low = 1  # Sunday closes the first range
    start = names.get(low, str(low))
    second = last if last.upper() == start else f"{start}-{last}"
    return f"{first}-{names.get(field.high, str(field.high))},{second}"


def _refuse(field: _Field, item: str, column: int, remedy: str = "") -> NoReturn:
    if not remedy:
        if not item:
            remedy = "is nothing between two commas; leave one out, or write "
        elif item == "?":
            remedy = "stands for no set of values; write *, or "
        else:
            remedy = "must be "
        remedy += field.accepted
    raise ScheduleError(field.name, item, f"{remedy} (column {column})")
