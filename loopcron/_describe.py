"""
Schedules in plain English, for people: command line, status page, reviews.

A cron line is told from its bit sets, so that lines with equal slots read alike, and two that differ never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final

from loopcron._cron import ALL_DAYS, ALL_WEEKDAYS, LAST_DAY, LAST_WEEK, LAST_WEEKDAY, NEAREST, Fields
from loopcron._instants import from_ms

_WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS: Final = (
    *("", "January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_FEW: Final = 4
"""So many times of day are listed; of more the pattern is told."""


def cron_text(fields: Fields) -> str:
    """Return what the line of *fields* names, without its zone: ``at 02:30 on weekdays in June``."""
    times = _times(_members(fields.minutes), _members(fields.hours))
    days = _days(fields)
    if not days and times[3].isdigit():  # it lists times of day
        days = "every day"
    months = _members(fields.months)
    in_months = "in " + _listed(months, _MONTHS.__getitem__, "month") if len(months) < 12 else ""
    return " ".join(part for part in (times, days, in_months) if part)


def span_text(span: timedelta, *, one: str = "1 ") -> str:
    """Return *span* in words, ``1 hour 30 minutes``; *one* stands before a unit that stands alone and is one."""
    milliseconds = span // timedelta(milliseconds=1)
    words = []
    for unit, size in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000)):
        number, milliseconds = divmod(milliseconds, size)
        if number:
            words.append(f"{number} {unit}{'s' if number > 1 else ''}")
    if milliseconds:
        words.append(f"{milliseconds} ms")
    text = " ".join(words)
    return one + text[2:] if len(words) == 1 and text.startswith("1 ") else text


def instant_text(instant: int) -> str:
    """Return an instant in ms as people read it: ``2026-03-01 00:00 UTC``, with seconds where there are any."""
    moment = from_ms(instant)
    precise = "milliseconds" if moment.microsecond else "seconds" if moment.second else "minutes"
    return f"{moment.replace(tzinfo=None).isoformat(' ', precise)} UTC"


def _times(minutes: Sequence[int], hours: Sequence[int]) -> str:
    if len(minutes) * len(hours) <= _FEW:
        return "at " + _joined([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes])
    gap = _gap(minutes, 60)
    if gap is None:
        at = "at " + _listed(minutes, str, "minute", "minute ")
        return f"{at} of " + ("every hour" if len(hours) == 24 else _listed(hours, str, "hour", "hour "))
    if gap == 60 and (step := _gap(hours, 24)) is not None:
        return "every hour" if step == 1 else f"every {step} hours"
    often = {1: "every minute", 60: "every hour"}.get(gap, f"every {gap} minutes")
    if len(hours) == 24:
        return often
    if hours[-1] - hours[0] == len(hours) - 1:
        return f"{often} from {hours[0]:02}:00 to {hours[-1]:02}:{0 if gap == 60 else 59:02}"
    if gap == 60:
        return "on the hour at " + _joined([f"{hour:02}:00" for hour in hours])
    return f"{often} of " + _listed(hours, str, "hour", "hour ")


def _days(fields: Fields) -> str:
    dates = "" if fields.days & ALL_DAYS == ALL_DAYS else "on " + _dates(fields.days)
    weekdays = "" if fields.weekdays & ALL_WEEKDAYS == ALL_WEEKDAYS else "on " + _weekdays(fields.weekdays)
    if not fields.either:
        return ", but only ".join(part for part in (weekdays, dates) if part)
    return f"{dates} and {weekdays}" if dates and weekdays else ""


def _dates(days: int) -> str:
    plain = _members(days & ALL_DAYS)
    parts = [_listed(plain, lambda day: f"the {_ordinal(day)}", "day")] if plain else []
    parts += [f"the weekday nearest the {_ordinal(day)}" for day in _members(days >> NEAREST & ALL_DAYS)]
    if days & LAST_DAY:
        parts.append("the last day of the month")
    if days & LAST_WEEKDAY:
        parts.append("the last weekday of the month")
    return _joined(parts)


def _weekdays(weekdays: int) -> str:
    plain = _members(weekdays & ALL_WEEKDAYS)
    names = {(1, 2, 3, 4, 5): "weekdays", (0, 6): "weekends"}.get(tuple(plain))
    parts = [names] if names else [_WEEKDAYS[day] + "s" for day in sorted(plain, key=lambda day: (day + 6) % 7)]
    of_month = [
        f"the {'last' if week == LAST_WEEK else _ordinal(week)} {_WEEKDAYS[day]}"
        for week in range(1, LAST_WEEK + 1)
        for day in _members(weekdays >> 8 * week & ALL_WEEKDAYS)
    ]
    if of_month:
        of_month[-1] += " of the month"
    return _joined(parts + of_month)


def _members(bits: int) -> list[int]:
    return [value for value in range(bits.bit_length()) if bits >> value & 1]


def _gap(values: Sequence[int], whole: int) -> int | None:
    """Return the step of *values* if they go from 0 round the *whole* evenly; a single 0 goes round in one step."""
    gap = whole // len(values)
    return gap if list(values) == list(range(0, whole, gap)) else None


def _listed(values: Sequence[int], say: Callable[[int], str], unit: str, one: str = "") -> str:
    """Return *values* as ``minutes 1, 2 and 9 to 30``, or ``every 7th minute from 3 to 59`` where they step evenly."""
    gaps = {later - earlier for earlier, later in pairwise(values)}
    if len(values) > _FEW and len(gaps) == 1 and gaps != {1}:
        return f"every {_ordinal(gaps.pop())} {unit} from {say(values[0])} to {say(values[-1])}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts = []
    for run in runs:
        parts += [f"{say(run[0])} to {say(run[-1])}"] if len(run) > 2 else [say(value) for value in run]
    plural = one.rstrip() + "s " if one and len(values) > 1 else one
    return plural + _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if number in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
