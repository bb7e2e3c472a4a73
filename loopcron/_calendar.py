"""
The days and minutes that a cron line names, on the proleptic Gregorian calendar of one place: no zones, no DST.

Minutes are whole numbers from 1970-01-01T00:00 of that place. The next and the previous one are found by arithmetic on
bit sets, day by month, so that the search takes at most one step per month however rare the line is.
"""

from __future__ import annotations

from datetime import date
from typing import Final, final

from loopcron._cron import ALL_DAYS, ALL_WEEKDAYS, LAST_DAY, LAST_WEEK, LAST_WEEKDAY, NEAREST, Fields

DAY_MINUTES: Final = 1_440
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
LAST_ORDINAL: Final = date.max.toordinal()

_MONTH_LENGTHS: Final = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ALL_MONTHS: Final = (1 << 13) - (1 << 1)
_EVERY_HOUR: Final = sum(1 << 60 * hour for hour in range(24))
_WEEKS: Final = sum(1 << 7 * week for week in range(7))
"""Times a set of weekdays: that set repeated for as many weeks as a month can touch."""


@final
class Calendar:
    """
    What a line names, ready to be searched.

    Args:
        fields: The line's bit sets.
    """

    __slots__ = ("_days", "_every_day", "_first", "_months", "_times", "fields")

    def __init__(self, fields: Fields) -> None:
        self.fields: Final = fields
        self._times = fields.minutes * _spread(fields.hours)
        """The minutes of a day."""
        self._first = _lowest(self._times)
        self._months = fields.months
        # A month is known by its first weekday and its length: there are 28 of them in all years.
        self._days: list[int | None] = [None] * 28
        by_date, by_weekday = fields.days & ALL_DAYS == ALL_DAYS, fields.weekdays & ALL_WEEKDAYS == ALL_WEEKDAYS
        every = by_date or by_weekday if fields.either else by_date and by_weekday
        self._every_day = every and fields.months == _ALL_MONTHS

    def matches_ever(self) -> bool:
        """Return whether any year has a day of this line; in all years a month begins on each day of the week."""
        return any(
            self.days_in(first, length)
            for month in range(1, 13)
            if self._months >> month & 1
            for length in ((29, 28) if month == 2 else (_MONTH_LENGTHS[month],))
            for first in range(7)
        )

    def days_in(self, first: int, length: int) -> int:
        """Return the days of a month of *length* days whose 1st is the weekday *first*, 0 being Sunday."""
        position = (length - 28) * 7 + first
        known = self._days[position]
        if known is None:
            known = self._days[position] = _days_in(self.fields, first, length)
        return known

    def after(self, minute: int) -> int | None:
        """Return the first minute of the line strictly after *minute*; None beyond the year 9999."""
        day, passed = divmod(minute, DAY_MINUTES)
        rest = self._times >> passed + 1
        today = day + EPOCH_DAY
        found = self._day_from(today if rest else today + 1)
        if found is None:
            return None
        if found == today:  # and so rest is not empty
            return minute + (rest & -rest).bit_length()
        return (found - EPOCH_DAY) * DAY_MINUTES + self._first

    def until(self, minute: int) -> int | None:
        """Return the last minute of the line at or before *minute*; None before the year 1."""
        day, passed = divmod(minute, DAY_MINUTES)
        rest = self._times & (2 << passed) - 1
        today = day + EPOCH_DAY
        found = self._day_until(today if rest else today - 1)
        if found is None:
            return None
        times = rest if found == today else self._times
        return (found - EPOCH_DAY) * DAY_MINUTES + times.bit_length() - 1

    def _day_from(self, ordinal: int) -> int | None:
        if ordinal > LAST_ORDINAL:
            return None
        ordinal = max(ordinal, 1)
        if self._every_day:
            return ordinal
        begin = date.fromordinal(ordinal)
        year, month, day = begin.year, begin.month, begin.day
        while True:
            if self._months >> month & 1:
                before, days = self._month(year, month)
                days >>= day
                if days:
                    return before + day + _lowest(days)
            later = self._months >> month + 1
            if later:
                month += 1 + _lowest(later)
            elif year == date.max.year:
                return None
            else:
                year, month = year + 1, _lowest(self._months)
            day = 1

    def _day_until(self, ordinal: int) -> int | None:
        if ordinal < 1:
            return None
        ordinal = min(ordinal, LAST_ORDINAL)
        if self._every_day:
            return ordinal
        end = date.fromordinal(ordinal)
        year, month, day = end.year, end.month, end.day
        while True:
            if self._months >> month & 1:
                before, days = self._month(year, month)
                days &= (2 << day) - 1
                if days:
                    return before + days.bit_length() - 1
            earlier = self._months & (1 << month) - 1
            if earlier:
                month = earlier.bit_length() - 1
            elif year == 1:
                return None
            else:
                year, month = year - 1, self._months.bit_length() - 1
            day = 31

    def _month(self, year: int, month: int) -> tuple[int, int]:
        """Return the ordinal of the day before this month, and the month's days."""
        first = date(year, month, 1).toordinal()
        length = _MONTH_LENGTHS[month]
        if month == 2 and year % 4 == 0 and (year % 100 or year % 400 == 0):
            length = 29
        return first - 1, self.days_in(first % 7, length)  # ordinal 7 is a Sunday


def _spread(hours: int) -> int:
    """Return the first minutes of *hours*; times the minutes of an hour that is the minutes of a day."""
    if hours == (1 << 24) - 1:
        return _EVERY_HOUR
    return sum(1 << 60 * hour for hour in range(24) if hours >> hour & 1)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _days_in(fields: Fields, first: int, length: int) -> int:
    days = _by_date(fields.days, first, length)
    weekdays = _by_weekday(fields.weekdays, first, length)
    matching = days | weekdays if fields.either else days & weekdays
    return matching & (2 << length) - 2


def _by_date(wanted: int, first: int, length: int) -> int:
    days = wanted & ALL_DAYS
    if wanted & LAST_DAY:
        days |= 1 << length
    if wanted & LAST_WEEKDAY:
        days |= 1 << _nearest_weekday(length, first, length)
    nearest = wanted >> NEAREST & ALL_DAYS
    while nearest:
        day = _lowest(nearest)
        nearest &= nearest - 1
        if day <= length:
            days |= 1 << _nearest_weekday(day, first, length)
    return days


def _nearest_weekday(day: int, first: int, length: int) -> int:
    """Return the day from Monday to Friday nearest to *day* that is in the same month, as Quartz has it."""
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else 3
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


def _by_weekday(wanted: int, first: int, length: int) -> int:
    days = _recurring(wanted & ALL_WEEKDAYS, first)
    if wanted > ALL_WEEKDAYS:
        for week in range(1, LAST_WEEK):
            days |= _recurring(wanted >> 8 * week & ALL_WEEKDAYS, first) & ALL_WEEKDAYS << 7 * week - 6
        days |= _recurring(wanted >> 8 * LAST_WEEK, first) & ALL_WEEKDAYS << length - 6
    return days


def _recurring(weekdays: int, first: int) -> int:
    """Return the days on these weekdays in a month whose 1st is the weekday *first*; bits past its end may be set."""
    return weekdays * _WEEKS >> first + 6
