"""
The grammar of a cron line, as tables: what is accepted and which values it names, what is refused and in which words.

Source of what is accepted: crontab(5) of Debian; Quartz for L, W and #.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from loopcron._cron import LAST_DAY, LAST_WEEK, LAST_WEEKDAY, NEAREST, parse
from loopcron._errors import ScheduleError
from loopcron._local import cron

POSITIONS = ("minute", "hour", "day of month", "month", "day of week")


def line_with(field: str, text: str) -> str:
    """Return a line of stars with *text* in one field."""
    return " ".join(text if field == here else "*" for here in POSITIONS)


def column_of(field: str) -> int:
    """Return where the field begins in `line_with`."""
    return 2 * POSITIONS.index(field) + 1


def bits(values: Iterable[int]) -> int:
    return sum(1 << value for value in values)


def nearest(*days: int) -> int:
    return bits(NEAREST + day for day in days)


def of_month(weekday: int, week: int) -> int:
    return 1 << 8 * week + weekday


ACCEPTED: list[tuple[str, str, int]] = [
    ("minute", "*", bits(range(60))),
    ("minute", "0", bits([0])),
    ("minute", "59", bits([59])),
    ("minute", "05", bits([5])),
    ("minute", "007", bits([7])),
    ("minute", "*/1", bits(range(60))),
    ("minute", "*/15", bits([0, 15, 30, 45])),
    ("minute", "*/7", bits([0, 7, 14, 21, 28, 35, 42, 49, 56])),
    ("minute", "*/59", bits([0, 59])),
    ("minute", "5-59/15", bits([5, 20, 35, 50])),
    ("minute", "10-20/10", bits([10, 20])),
    ("minute", "10-20/9", bits([10, 19])),
    ("minute", "10-10", bits([10])),
    ("minute", "10-10/1", bits([10])),
    ("minute", "0-59", bits(range(60))),
    ("minute", "3,1,2,1", bits([1, 2, 3])),
    ("minute", "0-5,*/30,59", bits([0, 1, 2, 3, 4, 5, 30, 59])),
    ("hour", "*", bits(range(24))),
    ("hour", "23", bits([23])),
    ("hour", "*/6", bits([0, 6, 12, 18])),
    ("hour", "9-17", bits(range(9, 18))),
    ("hour", "8-18/2,0", bits([0, 8, 10, 12, 14, 16, 18])),
    ("day of month", "*", bits(range(1, 32))),
    ("day of month", "1", bits([1])),
    ("day of month", "31", bits([31])),
    ("day of month", "*/10", bits([1, 11, 21, 31])),
    ("day of month", "1-7,15", bits([1, 2, 3, 4, 5, 6, 7, 15])),
    ("day of month", "L", LAST_DAY),
    ("day of month", "l", LAST_DAY),
    ("day of month", "LW", LAST_WEEKDAY),
    ("day of month", "lW", LAST_WEEKDAY),
    ("day of month", "1W", nearest(1)),
    ("day of month", "31w", nearest(31)),
    ("day of month", "015W", nearest(15)),
    ("day of month", "1,15,L", bits([1, 15]) | LAST_DAY),
    ("day of month", "15W,1-3,LW,7W,L", bits([1, 2, 3]) | nearest(7, 15) | LAST_DAY | LAST_WEEKDAY),
    ("month", "*", bits(range(1, 13))),
    ("month", "12", bits([12])),
    ("month", "JAN", bits([1])),
    ("month", "dec", bits([12])),
    ("month", "Jul", bits([7])),
    ("month", "JUN-AUG", bits([6, 7, 8])),
    ("month", "jun-8", bits([6, 7, 8])),
    ("month", "JAN-DEC/3", bits([1, 4, 7, 10])),
    ("month", "*/5", bits([1, 6, 11])),
    ("month", "Feb,APR,6,SEP,11", bits([2, 4, 6, 9, 11])),
    ("day of week", "*", bits(range(7))),
    ("day of week", "0", bits([0])),
    ("day of week", "7", bits([0])),
    ("day of week", "7-7", bits([0])),
    ("day of week", "SUN", bits([0])),
    ("day of week", "SUN-SUN", bits([0])),
    ("day of week", "MON-FRI", bits([1, 2, 3, 4, 5])),
    ("day of week", "mon-Fri", bits([1, 2, 3, 4, 5])),
    ("day of week", "5-7", bits([0, 5, 6])),
    ("day of week", "0-7", bits(range(7))),
    ("day of week", "1-7", bits(range(7))),
    ("day of week", "SAT-SUN", bits([0, 6])),
    ("day of week", "SUN-TUE", bits([0, 1, 2])),
    ("day of week", "SUN-SAT", bits(range(7))),
    ("day of week", "*/2", bits([0, 2, 4, 6])),
    ("day of week", "*/6", bits([0, 6])),
    ("day of week", "1-7/2", bits([0, 1, 3, 5])),
    ("day of week", "0-7/7", bits([0])),
    ("day of week", "6,7,MON", bits([0, 1, 6])),
    ("day of week", "FRI#1", of_month(5, 1)),
    ("day of week", "5#5", of_month(5, 5)),
    ("day of week", "sun#2", of_month(0, 2)),
    ("day of week", "7#2", of_month(0, 2)),
    ("day of week", "FRIL", of_month(5, LAST_WEEK)),
    ("day of week", "fril", of_month(5, LAST_WEEK)),
    ("day of week", "0L", of_month(0, LAST_WEEK)),
    ("day of week", "7L", of_month(0, LAST_WEEK)),
    ("day of week", "MON,WED#1,WED#3,SATL", bits([1]) | of_month(3, 1) | of_month(3, 3) | of_month(6, LAST_WEEK)),
]


@pytest.mark.parametrize(("field", "text", "expected"), ACCEPTED, ids=str)
def test_field_names_its_values(field: str, text: str, expected: int) -> None:
    """A field that is accepted names just these values, and the other fields all of theirs."""
    fields = parse(line_with(field, text))
    expectation = [bits(range(60)), bits(range(24)), bits(range(1, 32)), bits(range(1, 13)), bits(range(7))]
    expectation[POSITIONS.index(field)] = expected
    assert list(fields[:5]) == expectation


MINUTE = "a number from 0 to 59, a range such as 10-20, or a step such as */15"
HOUR = "a number from 0 to 23, a range such as 9-17, or a step such as */6"
DAY = "a number from 1 to 31, a range such as 1-7, a step such as */2, or alone L, LW or 15W"
MONTH = "a number from 1 to 12 or JAN to DEC, a range such as JUN-AUG, or a step such as */3"
WEEKDAY = (
    "a number from 0 to 7 or SUN to SAT, a range such as MON-FRI, a step such as */2, or alone FRIL or FRI#1 to FRI#5"
)
ACCEPTS = {"minute": MINUTE, "hour": HOUR, "day of month": DAY, "month": MONTH, "day of week": WEEKDAY}

NOT_ONE_OF_THEM: list[tuple[str, str]] = [
    *[
        ("minute", text)
        for text in ["60", "99999999999", "-1", "+5", "1.5", "5-", "-5", "--", "5-60", "a", "JAN", "5W"]
    ],
    *[
        ("minute", text)
        for text in ["H", "R", "L", "*/", "/5", "*/*", "*/-1", "**", "*5", "5*", "5-6-7", "1/2/3", "1_0"]
    ],
    *[
        ("minute", text)
        for text in ["*-5", "0x5", "1e1", "\u0663", "\uff15", "5\n", "5\x00", "5\u00a0", "\u00bd", "'5'"]
    ],
    *[("hour", text) for text in ["24", "0-24", "MON", "12h", "9:30", "~"]],
    *[("day of month", text) for text in ["0", "32", "0W", "32W", "W", "WL", "L-3", "1-15W", "15W-20", "L/2", "LL"]],
    *[("day of month", text) for text in ["L15", "MON", "1W/2", "1#2", "5L"]],
    *[("month", text) for text in ["0", "13", "JANUARY", "JA", "JAN#1", "L", "1L", "MON", "F\u0415B"]],
    *[("day of week", text) for text in ["8", "L", "LW", "5W", "FRI#0", "FRI#6", "FRI#", "#2", "8#1", "8L", "XYZL"]],
    *[("day of week", text) for text in ["MON-FRI#2", "FRI#2-3", "FRIL/2", "FRI#1#2", "JAN", "MONDAY", "FR\u0131"]],
    *[("day of week", text) for text in ["\u017fUN", "XYZ#1", "FRI#02"]],
]


@pytest.mark.parametrize(("field", "text"), NOT_ONE_OF_THEM, ids=ascii)
def test_what_is_none_of_them_is_refused(field: str, text: str) -> None:
    """An item that is no value of its field is refused with the field, the item, what is accepted, and the column."""
    with pytest.raises(ScheduleError) as caught:
        parse(line_with(field, text))
    assert caught.value.field == field
    assert str(caught.value) == f"{field}={text!r}: must be {ACCEPTS[field]} (column {column_of(field)})"


FIVE = "must have five (minute, hour, day of month, month, day of week)"
SECONDS = "seconds belong in every(), such as every(seconds=30)"
ALIASES = "must be one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, or five fields"
NO_DAY = "names a day that no year has; change day of month (column {}), month (column {}) or day of week (column {})"

REFUSED: list[tuple[str, str]] = [
    # A step wants a range, because a/n has no agreed meaning.
    ("5/15 * * * *", "minute='5/15': has a step without a range; write 5-59/15 (column 1)"),
    ("* 2/3 * * *", "hour='2/3': has a step without a range; write 2-23/3 (column 3)"),
    ("* * * MAR/2 *", "month='MAR/2': has a step without a range; write MAR-12/2 (column 7)"),
    ("* * * * 1/2", "day of week='1/2': has a step without a range; write 1-6/2 (column 9)"),
    # Ranges rise.
    ("10-5 * * * *", "minute='10-5': is a range that falls; write 10-59,0-5 (column 1)"),
    ("30-0 * * * *", "minute='30-0': is a range that falls; write 30-59,0 (column 1)"),
    ("50-10/5 * * * *", "minute='50-10/5': is a range that falls; write it as two ranges (column 1)"),
    ("* 22-6 * * *", "hour='22-6': is a range that falls; write 22-23,0-6 (column 3)"),
    ("* * 25-5 * *", "day of month='25-5': is a range that falls; write 25-31,1-5 (column 5)"),
    ("* * * NOV-FEB *", "month='NOV-FEB': is a range that falls; write NOV-DEC,JAN-FEB (column 7)"),
    ("* * * 11-1 *", "month='11-1': is a range that falls; write 11-12,1 (column 7)"),
    ("* * * * FRI-MON", "day of week='FRI-MON': is a range that falls; write FRI-SUN,MON (column 9)"),
    ("* * * * sat-wed", "day of week='sat-wed': is a range that falls; write sat-SUN,MON-wed (column 9)"),
    ("* * * * 6-3", "day of week='6-3': is a range that falls; write 6-7,1-3 (column 9)"),
    ("* * * * 5-0", "day of week='5-0': is a range that falls; write 5-7 (column 9)"),
    ("* * * * 7-2", "day of week='7-2': is a range that falls; write 0-2 (column 9)"),
    # A step beyond its range would leave its first value only.
    ("*/60 * * * *", "minute='*/60': has a step that must be from 1 to 59, or only its first value remains (column 1)"),
    ("*/0 * * * *", "minute='*/0': has a step that must be from 1 to 59, or only its first value remains (column 1)"),
    (
        "* 9-17/9 * * *",
        "hour='9-17/9': has a step that must be from 1 to 8, or only its first value remains (column 3)",
    ),
    (
        "* * * * */7",
        "day of week='*/7': has a step that must be from 1 to 6, or only its first value remains (column 9)",
    ),
    (
        "4-4/3 * * * *",
        "minute='4-4/3': has a step that must be from 1 to 1, or only its first value remains (column 1)",
    ),
    # Odd items, each with its own column.
    (
        "0,15,,45 * * * *",
        f"minute='': is nothing between two commas; leave one out, or write {MINUTE} (column 6)",
    ),
    (", * * * *", f"minute='': is nothing between two commas; leave one out, or write {MINUTE} (column 1)"),
    ("* 5, * * *", f"hour='': is nothing between two commas; leave one out, or write {HOUR} (column 5)"),
    ("0 0 ? * 1", f"day of month='?': stands for no set of values; write *, or {DAY} (column 5)"),
    ("0 0 1,2,77 * *", f"day of month='77': must be {DAY} (column 9)"),
    ("  0\t24   * * *", f"hour='24': must be {HOUR} (column 5)"),
    ("0 9 * * MON,TUE,FOO", f"day of week='FOO': must be {WEEKDAY} (column 17)"),
    # The line as a whole.
    ("", f"line='': has 0 fields; {FIVE}, such as '30 2 * * 1-5'"),
    (" \t ", f"line=' \\t ': has 0 fields; {FIVE}, such as '30 2 * * 1-5'"),
    ("5 4 * *", f"line='5 4 * *': has 4 fields; {FIVE}, such as '30 2 * * 1-5'"),
    ("@daily UTC", f"line='@daily UTC': has 2 fields; {FIVE}, such as '30 2 * * 1-5'"),
    ("0 30 2 * * *", f"line='0 30 2 * * *': has 6 fields; {FIVE}; {SECONDS}"),
    ("0 0 30 2 * * 2026", f"line='0 0 30 2 * * 2026': has 7 fields; {FIVE}, such as '30 2 * * 1-5'"),
    ("@reboot", "line='@reboot': names no slot; run_on_start=True runs a job at the start"),
    ("@dayly", f"line='@dayly': {ALIASES}"),
    ("@wee\u212aly", f"line='@wee\u212aly': {ALIASES}"),
    # Days that no year has.
    ("0 0 30 2 *", f"line='0 0 30 2 *': {NO_DAY.format(5, 8, 10)}"),
    ("0 0 31 4,6,9,11 *", f"line='0 0 31 4,6,9,11 *': {NO_DAY.format(5, 8, 17)}"),
    ("0 0 31W 2 *", f"line='0 0 31W 2 *': {NO_DAY.format(5, 9, 11)}"),
    ("0 0 30W 2 */2", f"line='0 0 30W 2 */2': {NO_DAY.format(5, 9, 11)}"),
    ("* * */30 * MON#2", f"line='* * */30 * MON#2': {NO_DAY.format(5, 10, 12)}"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=ascii)
def test_line_is_refused_with_what_would_do(line: str, message: str) -> None:
    """A line that cannot be meant is refused with the field, the item, what to write instead, and where."""
    with pytest.raises(ScheduleError) as caught:
        cron(line)
    assert str(caught.value) == message
    assert message.startswith(f"{caught.value.field}=")


@pytest.mark.parametrize("line", [None, 5, True, b"* * * * *", ["*"] * 5, datetime(2026, 1, 1, tzinfo=UTC)])
def test_line_is_a_text(line: Any) -> None:
    """What is no str is refused with an example."""
    with pytest.raises(ScheduleError, match=r"^line=.*: must be a str of five fields, such as '30 2 \* \* MON-FRI'$"):
        cron(line)


def test_long_line_is_refused() -> None:
    """A line of more than 1,000 characters is refused unread; one of 1,000 is not."""
    line = "0," * 495 + "0  * * * *"
    assert len(line) == 1_000
    assert parse(line) == parse("0 * * * *")
    with pytest.raises(ScheduleError, match="must not be longer than 1,000 characters"):
        parse(line + " ")
    with pytest.raises(ScheduleError, match=r"must be a number from 0 to 59"):
        parse("9" * 900 + " * * * *")


@pytest.mark.parametrize(
    ("alias", "line"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@Daily", "0 0 * * *"),
        (" @HOURLY\t", "0 * * * *"),
    ],
)
def test_alias_stands_for_its_line(alias: str, line: str) -> None:
    """An alias, in any case, is the line that crontab(5) gives for it."""
    assert parse(alias) == parse(line)


@pytest.mark.parametrize("line", ["\t5  4 * *\t* ", " 5 4 * * *", "5\t4\t*\t*\t*", "05 04 1-31 1-12 0-7"])
def test_blanks_and_spelling_do_not_matter(line: str) -> None:
    """Spaces and tabs separate in any number, and equal sets are equal."""
    assert parse(line)[:5] == parse("5 4 * * *")[:5]


@pytest.mark.parametrize(
    ("days", "weekdays", "either"),
    [
        ("1", "MON", True),
        ("1", "*", False),
        ("*", "MON", False),
        ("*", "*", False),
        ("*/2", "MON", False),
        ("1", "*/2", False),
        ("*,1", "MON", False),
        ("1,*", "MON", True),
        ("1-31", "MON", True),
        ("L", "FRIL", True),
    ],
)
def test_day_fields_are_either_unless_one_starts_with_a_star(days: str, weekdays: str, either: bool) -> None:
    """Day of month and day of week are alternatives, unless the text of one of them starts with a star."""
    assert parse(f"0 0 {days} * {weekdays}").either is either


@pytest.mark.parametrize(
    ("minute", "hour", "frequent"),
    [
        ("*", "*", True),
        ("*/5", "2", True),
        ("30", "*", True),
        ("30", "*/2", True),
        ("*,1", "2", True),
        ("30", "2", False),
        ("0-59", "2", False),
        ("0-59", "0-23", False),
        ("1,*", "2,*", False),
        ("0,15,30,45", "1-3", False),
    ],
)
def test_frequent_lines_start_with_a_star(minute: str, hour: str, frequent: bool) -> None:
    """A line is frequent if the text of its minute or hour starts with a star, and else a fixed time of day."""
    assert parse(f"{minute} {hour} * * *").frequent is frequent
