"""The oracle is right about what is known, agrees with a way of counting that is dumber still, and convicts faults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from random import Random
from zoneinfo import ZoneInfo

import pytest

from tests.cron.cases import MS, ODD_ZONES, Schedule, changes, faults, random_cases, random_line
from tests.cron.minute_oracle import MINUTE, MinuteOracle, RefusedError, latest_until, next_after, parse

DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    """Return an instant, written without its zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


STORIES = [
    # Berlin sets the clock from 02:00 to 03:00 at 01:00Z on 29 March 2026, and from 03:00 back at 01:00Z on 25 October.
    ("30 2 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 01:00", "2026-03-30 00:30"),
    ("0,30 2 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 01:00", "2026-03-30 00:00"),
    ("30 2,3 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 01:00", "2026-03-29 01:30"),
    ("30 */2 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 02:30", "2026-03-29 04:30"),
    ("*/30 * * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 00:30", "2026-03-29 01:00"),
    ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 00:30", "2026-10-26 01:30"),
    ("15 1-3 * * *", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 00:15", "2026-10-25 02:15"),
    ("30 */2 * * *", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 01:30"),
    # Lord Howe shifts by half an hour at 02:00.
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 15:00", "2026-10-03 15:30", "2026-10-04 15:15"),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 14:00", "2026-04-04 14:45", "2026-04-05 15:15"),
    ("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04 14:40", "2026-04-04 14:45", "2026-04-04 15:00"),
    # Troll shifts by two hours: from 01:00 to 03:00, and back.
    ("30 1,2 * * *", "Antarctica/Troll", "2026-03-29 00:40", "2026-03-29 01:00", "2026-03-29 23:30"),
    # A gap before midnight and after it makes up on the next day, which the line need not name.
    ("0 0 4 11 *", "America/Sao_Paulo", "2018-11-04 00:00", "2018-11-04 03:00", "2019-11-04 03:00"),
    # Apia had no 30 December 2011, which is a correction.
    ("0 12 30 12 *", "Pacific/Apia", "2011-12-29 12:00", "2012-12-29 22:00", "2013-12-29 22:00"),
    # Casey went back three hours in 2010, on 5 March at 02:00: what recurs fires again.
    ("30 1 * * *", "Antarctica/Casey", "2010-03-04 14:00", "2010-03-04 14:30", "2010-03-04 17:30"),
    # Liberia was 44:30 behind until the 7th of January 1972.
    ("30 0 7 1 *", "Africa/Monrovia", "1972-01-06 00:00", "1972-01-07 00:45", "1973-01-07 00:30"),
    ("* * * * *", "Africa/Monrovia", "1972-01-07 00:43", "1972-01-07 00:43:30", "1972-01-07 00:45"),
]


@pytest.mark.parametrize(("line", "zone", "asked", "first", "second"), STORIES)
def test_known_slots_around_a_change(line: str, zone: str, asked: str, first: str, second: str) -> None:
    """Two slots in a row are those that people worked out from the rules."""
    rules = ZoneInfo(zone)
    assert next_after(line, rules, utc(asked)) == utc(first)
    assert next_after(line, rules, utc(first)) == utc(second)
    assert latest_until(line, rules, utc(second) - MS) == utc(first)
    assert latest_until(line, rules, utc(second)) == utc(second)


@pytest.mark.parametrize(
    ("days", "weekdays", "month", "expected"),
    [
        ("L", "*", 5, [31]),
        ("L", "*", 2, [28]),
        ("LW", "*", 5, [29]),
        ("31W", "*", 5, [29]),
        ("31W", "*", 2, []),
        ("1W", "*", 8, [3]),
        ("1W,23w,24W", "*", 5, [1, 22, 25]),
        ("*", "sunl,FRI#2", 5, [8, 31]),
        ("*", "5#5,1#5", 5, [29]),
        ("*", "0", 5, [3, 10, 17, 24, 31]),
        ("*", "Sat-Sun,7", 2, [1, 7, 8, 14, 15, 21, 22, 28]),
        ("13", "FRI", 2, [6, 13, 20, 27]),
        ("*/10", "MON-FRI", 5, [1, 11, 21]),
        ("1-7", "*/3", 5, [2, 3, 6]),
        ("9-9,20-30/5", "*", 5, [9, 20, 25, 30]),
    ],
)
def test_days_of_a_month(days: str, weekdays: str, month: int, expected: list[int]) -> None:
    """The days of a month of 2026 are those that a calendar on the wall shows."""
    assert sorted(parse(f"0 0 {days} * {weekdays}").matching_days(2026, month)) == expected


@pytest.mark.parametrize(
    ("line", "minutes", "hours", "months"),
    [
        ("*/15 9-17/4 * JAN,Mar-APR *", {0, 15, 30, 45}, {9, 13, 17}, {1, 3, 4}),
        ("5,7-9,58-59/1 0,23 * */6 *", {5, 7, 8, 9, 58, 59}, {0, 23}, {1, 7}),
        ("\t4-4  22-23\t* 12 * ", {4}, {22, 23}, {12}),
        ("@Yearly", {0}, {0}, {1}),
    ],
)
def test_plain_fields(line: str, minutes: set[int], hours: set[int], months: set[int]) -> None:
    """Lists, ranges, steps, names and aliases are the numbers that one writes down for them."""
    read = parse(line)
    assert (read.minutes, read.hours, read.months) == (minutes, hours, months)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@reboot",
        "60 * * * *",
        "5/15 * * * *",
        "*/0 * * * *",
        "*/60 * * * *",
        "1-5/5 * * * *",
        "10-5 * * * *",
        "1, * * * *",
        "+1 * * * *",
        "1.0 * * * *",
        "\u0661 * * * *",
        "JAN * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32W * *",
        "* * L-3 * *",
        "* * 1-5W * *",
        "* * ? * *",
        "* * * 13 *",
        "* * * FOO *",
        "* * * * 8",
        "* * * * */7",
        "* * * * FRI-MON",
        "* * * * FRI#6",
        "* * * * L",
        "* * * * \u017fUN",
        "0 0 30 2 *",
        "0 0 31 4,6 */2",
        "0 0 31W 2 *",
        "0 0 */15 * MON#2",
    ],
)
def test_refuses_what_the_rules_refuse(line: str) -> None:
    """A line outside the grammar, or one that never matches, is refused."""
    with pytest.raises(RefusedError):
        parse(line)


def test_gives_up_after_fifty_years() -> None:
    """A search without a result ends with None, in either direction."""
    oracle = MinuteOracle("0 0 1 1 *", UTC)
    oracle.line.months = set()
    assert oracle.next_after(utc("2026-01-01")) is None
    assert oracle.latest_until(utc("2026-01-01")) is None


def slots_by_the_calendar(oracle: MinuteOracle, begin: datetime, end: datetime) -> list[datetime]:
    """
    Return the slots in [begin, end), counted the other way round, from the wall clock to real time.

    Each minute that stands in the calendar is looked up as an instant: there may be none, one or two.
    """
    slots = set()
    zone = oracle.zone
    local = (begin - DAY).astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
    while local <= (end + DAY).astimezone(zone).replace(tzinfo=None):
        if oracle.line.matches(local):
            passes = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
            real = [instant for instant in passes if instant.astimezone(zone).replace(tzinfo=None) == local]
            if oracle.line.frequent or abs(passes[1] - passes[0]) >= MinuteOracle.correction:
                slots.update(real)
            elif real:
                slots.add(real[0])
            else:
                # Python reads such a time by the offset from before first, and the change lies in between.
                instant = passes[1]
                while instant.astimezone(zone).utcoffset() == passes[1].astimezone(zone).utcoffset():
                    instant += timedelta(seconds=1)
                while instant.astimezone(zone).second:
                    instant += timedelta(seconds=1)
                slots.add(instant)
        local += MINUTE
    return sorted(slot for slot in slots if begin <= slot < end)


def slots_by_asking(oracle: MinuteOracle, begin: datetime, end: datetime) -> list[datetime]:
    """Return the slots in [begin, end) by asking for one after the other, forth and back."""
    forth, back = [], []
    slot = oracle.next_after(begin - MS)
    while slot is not None and slot < end:
        forth.append(slot)
        slot = oracle.next_after(slot)
    slot = oracle.latest_until(end - MS)
    while slot is not None and slot >= begin:
        back.append(slot)
        slot = oracle.latest_until(slot - MS)
    assert forth == back[::-1]
    return forth


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_agrees_with_a_dumber_count(zone: str) -> None:
    """Around changes of a zone all slots are the same whether one counts from real time or from the wall clock."""
    rng = Random(zone)
    counted = 0
    for _ in range(16):
        change = rng.choice(changes(zone)) if changes(zone) else None
        middle = change.at if change is not None else utc("2026-01-01")
        # Lines with more slots than this only cost time: two questions for each.
        oracle = MinuteOracle(random_line(rng, change), ZoneInfo(zone))
        if len(oracle.line.minutes) * len(oracle.line.hours) > 200:
            continue
        begin, end = middle - timedelta(hours=5), middle + timedelta(hours=28)
        slots = slots_by_the_calendar(oracle, begin, end)
        assert slots_by_asking(oracle, begin, end) == slots
        counted += 1
    assert counted > 8


class NoGapRule(MinuteOracle):
    def makes_up_for_a_gap(self, instant: datetime) -> bool:
        return False


class NoFoldRule(MinuteOracle):
    def was_seen_before(self, instant: datetime) -> bool:
        return False


class ZoneIgnored(MinuteOracle):
    def __init__(self, text: str, zone: ZoneInfo) -> None:
        super().__init__(text, UTC)


class OffsetKept(MinuteOracle):
    """It stays with the offset of the instant it is asked about."""

    def next_after(self, instant: datetime) -> datetime | None:
        zone, self.zone = self.zone, timezone(self.offset(instant))
        try:
            return super().next_after(instant)
        finally:
            self.zone = zone


class EitherDay(MinuteOracle):
    def __init__(self, text: str, zone: ZoneInfo) -> None:
        super().__init__(text, zone)
        self.line.both_days = False


class BothDays(MinuteOracle):
    def __init__(self, text: str, zone: ZoneInfo) -> None:
        super().__init__(text, zone)
        self.line.both_days = True


class AllFixed(MinuteOracle):
    def __init__(self, text: str, zone: ZoneInfo) -> None:
        super().__init__(text, zone)
        self.line.frequent = False


class AllFrequent(MinuteOracle):
    def __init__(self, text: str, zone: ZoneInfo) -> None:
        super().__init__(text, zone)
        self.line.frequent = True


class NoCorrections(MinuteOracle):
    correction = timedelta(days=2)


class CorrectionsFromTwoHours(MinuteOracle):
    correction = timedelta(hours=2)


class NotAfter(MinuteOracle):
    def next_after(self, instant: datetime) -> datetime | None:
        return super().next_after(instant - MS)


class NotAt(MinuteOracle):
    def latest_until(self, instant: datetime) -> datetime | None:
        return super().latest_until(instant - MS)


class ReplacedBySecond(MinuteOracle):
    """It makes up at the very second of the change, where that is no minute."""

    def next_after(self, instant: datetime) -> datetime | None:
        slot = super().next_after(instant)
        return slot and slot.replace(second=0)


class LocalTimes(MinuteOracle):
    def next_after(self, instant: datetime) -> datetime | None:
        slot = super().next_after(instant)
        return slot and slot.astimezone(self.zone)


FAULTS: list[type[MinuteOracle]] = [
    NoGapRule,
    NoFoldRule,
    ZoneIgnored,
    OffsetKept,
    EitherDay,
    BothDays,
    AllFixed,
    AllFrequent,
    NoCorrections,
    CorrectionsFromTwoHours,
    NotAfter,
    NotAt,
    ReplacedBySecond,
    LocalTimes,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: type[MinuteOracle]) -> None:
    """An engine with one rule missing is convicted within a thousand cases."""

    def engine(line: str, zone: str) -> Schedule:
        return fault(line, ZoneInfo(zone))

    assert any(faults(case, engine) for case in random_cases(Random(1), 1000, ODD_ZONES))


def test_faultless_engine_is_not_convicted() -> None:
    """The judge has nothing to say against the oracle itself."""

    def engine(line: str, zone: str) -> Schedule:
        return MinuteOracle(line, ZoneInfo(zone))

    assert not [fault for case in random_cases(Random(2), 100, ODD_ZONES) for fault in faults(case, engine)]
