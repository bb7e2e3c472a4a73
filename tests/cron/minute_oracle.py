"""
A second opinion on cron lines: slow, obvious, and sharing nothing with loopcron.

It reads a line into plain sets, walks real time in UTC from one local minute to the next, converts each to the zone,
and matches the five fields. Clock changes are judged by looking at the offsets before and after. Two things keep it
affordable: a day that cannot match is passed in one step, and the days of a month are worked out once.

The promise holds while each offset of the zone lasts a day or longer, as every one does since 1970, and for the years
2 to 9998.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo

HORIZON_YEARS = 50
"""A search gives up this far from the instant it was asked about, and answers None."""

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class RefusedError(ValueError):
    """The line is none that the rules allow."""


@dataclass
class Line:
    """A cron line, read."""

    minutes: set[int]
    hours: set[int]
    months: set[int]
    days: list[str]
    """The items of the day-of-month field."""
    weekdays: list[str]
    """The items of the day-of-week field."""
    both_days: bool
    """Whether a day has to match both day fields; else one is enough."""
    frequent: bool
    """Whether the minute or the hour field begins with a star."""
    known_months: dict[tuple[int, int], set[int]] = field(default_factory=dict, repr=False)

    def matches(self, local: datetime) -> bool:
        """Say whether the fields match a local time, whatever its second."""
        return local.minute in self.minutes and local.hour in self.hours and self.matches_day(local)

    def matches_day(self, day: date) -> bool:
        """Say whether the three day fields match."""
        return day.day in self.matching_days(day.year, day.month)

    def matching_days(self, year: int, month: int) -> set[int]:
        """Return the days of a month that match."""
        if (year, month) not in self.known_months:
            self.known_months[year, month] = self.find_matching_days(year, month) if month in self.months else set()
        return self.known_months[year, month]

    def find_matching_days(self, year: int, month: int) -> set[int]:
        by_date = {day for item in self.days for day in days_of_month_item(item, year, month)}
        by_weekday = {day for item in self.weekdays for day in days_of_week_item(item, year, month)}
        return by_date & by_weekday if self.both_days else by_date | by_weekday

    def never_matches(self) -> bool:
        """Say whether no day ever matches; in 28 years each month begins on each weekday, in leap years too."""
        return not any(self.matching_days(year, month) for year in range(1972, 2000) for month in range(1, 13))


def parse(text: str) -> Line:
    """Read a line or an alias; raise `RefusedError` for any other text."""
    if not text.isascii():  # there are foreign letters whose capitals are ASCII
        raise RefusedError(text)
    fields = re.split(r"[ \t]+", text.strip(" \t"))
    if len(fields) == 1:
        fields = ALIASES.get(fields[0].lower(), "").split(" ")
    if len(fields) != 5:
        raise RefusedError(text)
    minute, hour, day, month, weekday = (part.upper() for part in fields)
    days, weekdays = day.split(","), weekday.split(",")
    for item in days:
        days_of_month_item(item, 2000, 1)
    for item in weekdays:
        days_of_week_item(item, 2000, 1)
    line = Line(
        minutes=numbers(minute, 0, 59),
        hours=numbers(hour, 0, 23),
        months=numbers(month, 1, 12, MONTHS),
        days=days,
        weekdays=weekdays,
        both_days=day.startswith("*") or weekday.startswith("*"),
        frequent=minute.startswith("*") or hour.startswith("*"),
    )
    if line.never_matches():
        raise RefusedError(f"never: {text}")
    return line


def numbers(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> set[int]:
    """Return the numbers that a field of plain items names."""
    return {number for item in text.split(",") for number in item_numbers(item, low, high, names)}


def item_numbers(item: str, low: int, high: int, names: tuple[str, ...] = ()) -> list[int]:
    """Return the numbers of ``*``, ``*/step``, ``a``, ``a-b`` or ``a-b/step``."""
    if found := re.fullmatch(r"\*(?:/([0-9]+))?", item):
        # A week has seven days: the 7 is but another name of Sunday.
        first, last, step = low, 6 if names is DAYS else high, found[1]
    elif found := re.fullmatch(r"([0-9]+|[A-Z]+)-([0-9]+|[A-Z]+)(?:/([0-9]+))?", item):
        first, last, step = number(found[1], low, high, names), number(found[2], low, high, names), found[3]
        # Sunday ends a week as well as it begins one.
        last = 7 if names is DAYS and found[2] == "SUN" != found[1] else last
    else:
        first = last = number(item, low, high, names)
        step = None
    width = int(step) if step else 1
    if first > last or width < 1 or (width > 1 and width > last - first):
        raise RefusedError(item)
    return list(range(first, last + 1, width))


def number(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> int:
    """Return the number that a name or digits stand for."""
    if text in names:
        return names.index(text) + low
    if re.fullmatch(r"[0-9]+", text) and low <= int(text) <= high:
        return int(text)
    raise RefusedError(text)


def days_of_month_item(item: str, year: int, month: int) -> list[int]:
    """Return the days of a month that one item of the day-of-month field names."""
    last = calendar.monthrange(year, month)[1]
    if item == "L":
        return [last]
    if item == "LW":
        return [max(day for day in range(1, last + 1) if is_workday(year, month, day))]
    if found := re.fullmatch(r"([0-9]+)W", item):
        wanted = number(found[1], 1, 31)
        if wanted > last:
            return []
        # The nearest; a Saturday is nearer to its Friday, a Sunday to its Monday.
        workdays = [day for day in range(1, last + 1) if is_workday(year, month, day)]
        return [min(workdays, key=lambda day: abs(day - wanted))]
    return [day for day in item_numbers(item, 1, 31) if day <= last]


def is_workday(year: int, month: int, day: int) -> bool:
    """Say whether a day is one from Monday to Friday."""
    return calendar.weekday(year, month, day) < 5


def days_of_week_item(item: str, year: int, month: int) -> list[int]:
    """Return the days of a month that one item of the day-of-week field names."""
    last = calendar.monthrange(year, month)[1]
    all_days = range(1, last + 1)
    if found := re.fullmatch(r"([0-9]+|[A-Z]+)#([1-5])", item):
        wanted = number(found[1], 0, 7, DAYS) % 7
        nth = int(found[2])
        return [day for day in all_days if cron_weekday(year, month, day) == wanted][nth - 1 : nth]
    if found := re.fullmatch(r"([0-9]+|[A-Z]{3})L", item):
        wanted = number(found[1], 0, 7, DAYS) % 7
        return [max(day for day in all_days if cron_weekday(year, month, day) == wanted)]
    wanted_days = {number % 7 for number in item_numbers(item, 0, 7, DAYS)}
    return [day for day in all_days if cron_weekday(year, month, day) in wanted_days]


def cron_weekday(year: int, month: int, day: int) -> int:
    """Return cron's number of a day's weekday: Sunday is 0."""
    return (calendar.weekday(year, month, day) + 1) % 7


class MinuteOracle:
    """
    The slots of one line in one zone.

    Each rule is a method of its own, so that a test can take it away and see that this is found out.
    """

    correction = timedelta(hours=3)
    """From this shift on the clock was corrected: a fixed job follows the new time, and nothing is made up for."""

    def __init__(self, text: str, zone: tzinfo) -> None:
        self.line = parse(text)
        self.zone = zone

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first slot strictly after *instant*, in UTC; None if there is none within the horizon."""
        instant = instant.astimezone(UTC)
        position = instant.replace(second=0, microsecond=0)
        limit = position + DAY * 366 * HORIZON_YEARS
        while position < limit:
            if self.is_barren_day(position, position + DAY):
                position += DAY
                continue
            for slot in self.slots(position, position + HOUR):
                if slot > instant:
                    return slot
            position += HOUR
        return None

    def latest_until(self, instant: datetime) -> datetime | None:
        """Return the last slot at or before *instant*, in UTC; None if there is none within the horizon."""
        instant = instant.astimezone(UTC)
        position = instant.replace(second=0, microsecond=0) + MINUTE
        limit = position - DAY * 366 * HORIZON_YEARS
        while position > limit:
            if self.is_barren_day(position - DAY, position):
                position -= DAY
                continue
            slots = [slot for slot in self.slots(position - HOUR, position) if slot <= instant]
            if slots:
                return slots[-1]
            position -= HOUR
        return None

    def slots(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the slots in [begin, end), looking at each start of a local minute."""
        if self.is_barren_hour(begin, end):
            return
        for instant in self.minute_starts(begin, end):
            if self.is_slot(instant):
                yield instant

    def minute_starts(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the instants in [begin, end) at which a local minute starts."""
        instant, offset = begin, self.offset(begin)
        while instant < end:
            if (instant + offset).second == 0:
                yield instant
                after = instant + MINUTE
                if self.offset(after) == offset:
                    instant = after
                    continue
            # Not aligned yet, or no longer, because the offset changes by seconds too.
            instant += SECOND
            offset = self.offset(instant)

    def is_slot(self, instant: datetime) -> bool:
        """Judge the start of a local minute."""
        local = self.local(instant)
        if self.line.matches(local):
            return self.line.frequent or not self.was_seen_before(instant)
        return not self.line.frequent and self.makes_up_for_a_gap(instant)

    def was_seen_before(self, instant: datetime) -> bool:
        """Say whether the wall clock showed the same time already before it was set back, by less than 3 h."""
        shift = self.offset(instant - self.correction) - self.offset(instant)
        if not timedelta(0) < shift < self.correction:
            return False
        return self.local(instant - shift) == self.local(instant)

    def makes_up_for_a_gap(self, instant: datetime) -> bool:
        """Say whether this is the first minute after the clock was set forward, by less than 3 h, over a match."""
        before, after = self.offset(instant - MINUTE), self.offset(instant)
        if not timedelta(0) < after - before < self.correction:
            return False
        change = instant
        while self.offset(change - SECOND) == after:
            change -= SECOND
        # The wall clock would have shown this at the change, had it not been set forward; and it shows that instead.
        skipped, shown = (change + before).replace(tzinfo=None), (change + after).replace(tzinfo=None)
        while skipped < shown:
            if skipped.second == 0 and self.line.matches(skipped):
                return True
            skipped += SECOND
        return False

    def is_barren_day(self, begin: datetime, end: datetime) -> bool:
        """Say whether no slot can be in [begin, end), a day, by its two dates."""
        first, last = self.local(begin), self.local(end)
        return self.is_steady(begin, end) and not (self.line.matches_day(first) or self.line.matches_day(last))

    def is_barren_hour(self, begin: datetime, end: datetime) -> bool:
        """Say whether no slot can be in [begin, end), an hour at most, by what the wall clock calls it."""
        first, last = self.local(begin).hour, self.local(end).hour
        return self.is_steady(begin, end) and not (first in self.line.hours or last in self.line.hours)

    def is_steady(self, begin: datetime, end: datetime) -> bool:
        """Say whether the offset does not change; the minute before counts, for a change in its midst shows later."""
        return self.offset(begin - MINUTE) == self.offset(end)

    def local(self, instant: datetime) -> datetime:
        """Return what the wall clock shows, without a zone."""
        return instant.astimezone(self.zone).replace(tzinfo=None)

    def offset(self, instant: datetime) -> timedelta:
        """Return how far the wall clock is ahead of UTC."""
        offset = instant.astimezone(self.zone).utcoffset()
        assert offset is not None
        return offset


def next_after(text: str, zone: tzinfo, instant: datetime) -> datetime | None:
    """Return the first slot of a line strictly after *instant*; None if there is none within 50 years."""
    return MinuteOracle(text, zone).next_after(instant)


def latest_until(text: str, zone: tzinfo, instant: datetime) -> datetime | None:
    """Return the last slot of a line at or before *instant*; None if there is none within 50 years."""
    return MinuteOracle(text, zone).latest_until(instant)
