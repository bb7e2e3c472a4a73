"""Which days a cron line names: weekdays of the month, last and nearest days, and the ends of the calendar."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import pytest

from loopcron._calendar import DAY_MINUTES, EPOCH_DAY, LAST_ORDINAL, Calendar
from loopcron._cron import parse
from loopcron._instants import to_ms
from loopcron._local import cron


def days(year: int, month: int, line: str) -> list[int]:
    """Return the days of this month on which *line* has a slot, by asking forward and backward."""
    calendar = Calendar(parse(line))
    first = (date(year, month, 1).toordinal() - EPOCH_DAY) * DAY_MINUTES
    last = first + monthrange(year, month)[1] * DAY_MINUTES
    forward, backward = [], []
    minute = calendar.after(first - 1)
    while minute is not None and minute < last:
        forward.append((minute - first) // DAY_MINUTES + 1)
        minute = calendar.after(minute)
    minute = calendar.until(last - 1)
    while minute is not None and minute >= first:
        backward.append((minute - first) // DAY_MINUTES + 1)
        minute = calendar.until(minute - 1)
    assert forward == backward[::-1]
    return forward


# 2026: January begins on a Thursday, February on a Sunday, March on a Sunday, May on a Friday, August on a Saturday.
@pytest.mark.parametrize(
    ("year", "month", "fields", "expected"),
    [
        (2026, 1, "L * *", [31]),
        (2026, 2, "L * *", [28]),
        (2028, 2, "L * *", [29]),
        (2100, 2, "L * *", [28]),
        (2000, 2, "L * *", [29]),
        (2026, 4, "1,15,L * *", [1, 15, 30]),
        (2026, 1, "LW * *", [30]),  # the 31st is a Saturday
        (2026, 5, "LW * *", [29]),  # the 31st is a Sunday
        (2026, 3, "LW * *", [31]),
        (2026, 5, "15W * *", [15]),
        (2026, 8, "15W * *", [14]),  # Saturday: the day before
        (2026, 3, "15W * *", [16]),  # Sunday: the day after
        (2026, 8, "1W * *", [3]),  # Saturday the 1st: not into July
        (2026, 2, "1W * *", [2]),
        (2026, 5, "31W * *", [29]),  # Sunday the 31st: not into June
        (2026, 1, "31W * *", [30]),
        (2026, 2, "28W * *", [27]),
        (2026, 2, "29W * *", []),
        (2026, 4, "31W * *", []),
        (2026, 3, "1W,15W,31W * *", [2, 16, 31]),
        (2026, 3, "14W,15W,16 * *", [13, 16]),
        (2026, 3, "* * FRI#1", [6]),
        (2026, 3, "* * SUN#1", [1]),
        (2026, 3, "* * SUN#5", [29]),
        (2026, 3, "* * FRI#5", []),
        (2026, 5, "* * FRI#5,SUN#2", [10, 29]),
        (2026, 3, "* * FRIL", [27]),
        (2026, 3, "* * SUNL", [29]),
        (2026, 2, "* * SATL", [28]),
        (2026, 2, "* * 7L,1#1", [2, 22]),
        (2026, 3, "1-7 * MON", [1, 2, 3, 4, 5, 6, 7, 9, 16, 23, 30]),
        (2026, 3, "*/10 * MON", []),
        (2026, 6, "*/10 * MON", [1]),
        (2026, 3, "13 * */5", [13]),
        (2026, 2, "13 * */5", [13]),
        (2026, 4, "13 * */5", []),
        (2026, 4, "L * FRI#1", [3, 30]),
        (2026, 4, "* 4 *", list(range(1, 31))),
        (2026, 4, "* MAY-JUL *", []),
        (2026, 4, "1-31 * MON", list(range(1, 31))),
        (2026, 4, "3 * 0-7", list(range(1, 31))),
    ],
)
def test_days_of_a_month(year: int, month: int, fields: str, expected: list[int]) -> None:
    """The day fields name just these days of this month."""
    assert days(year, month, f"0 12 {fields}") == expected


def test_minutes_of_a_day() -> None:
    """Within a day the next minute is the lowest of the rest, and the previous one the highest of what has passed."""
    calendar = Calendar(parse("10,50 6,18 * * *"))
    day = 20_000 * DAY_MINUTES
    expected = [day + 370, day + 410, day + 1_090, day + 1_130]
    for minute in range(day, day + DAY_MINUTES):
        later = [slot for slot in expected if slot > minute]
        assert calendar.after(minute) == (later or [expected[0] + DAY_MINUTES])[0]
        earlier = [slot for slot in expected if slot <= minute]
        assert calendar.until(minute) == (earlier or [expected[-1] - DAY_MINUTES])[-1]


@pytest.mark.parametrize("line", ["0 0 * * *", "0 0 1 * *", "0 0 31 12 *", "0 0 1 1 *", "0 0 29 2 *"])
def test_calendar_has_two_ends(line: str) -> None:
    """Beyond the year 9999 and before the year 1 there is nothing, however far beyond one asks."""
    calendar = Calendar(parse(line))
    end = (LAST_ORDINAL - EPOCH_DAY + 1) * DAY_MINUTES
    start = (1 - EPOCH_DAY) * DAY_MINUTES
    last, first = calendar.until(end + 10**9), calendar.after(start - 10**9)
    assert last is not None
    assert first is not None
    assert start <= first
    assert last < end
    assert calendar.after(last) is None
    assert calendar.after(end + 10**9) is None
    assert calendar.until(first - 1) is None
    assert calendar.until(start - 10**9) is None
    assert calendar.after(first - 1) == first
    assert calendar.until(last) == last


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("line", ["* * * * *", "0 12 * * *", "0 0 31 12 *", "0 0 1 1 *"])
def test_instants_at_the_ends_are_handled(line: str, tz: str) -> None:
    """At the first and last instants that can be told, and beyond, a question has an answer or None, and no error."""
    schedule = cron(line, tz)
    least, most = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for days_in in (0, 1, 2, 3, 400):
        for asked in (least + timedelta(days=days_in), most - timedelta(days=days_in)):
            following, latest = schedule.next_after(asked), schedule.latest_until(asked)
            assert following is None or following > asked
            assert latest is None or latest <= asked
    assert schedule.next_after(least) is not None
    assert schedule.next_after(most) is None
    assert schedule.latest_until(least - timedelta(0)) in {None, least}
    assert schedule.latest_until(most) is not None
    for beyond in (to_ms(most) + 1, to_ms(least) - 1, 10**20, -(10**20)):
        assert schedule.next_ms(beyond) is None
        assert schedule.latest_ms(beyond) is None
