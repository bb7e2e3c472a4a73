"""
What a zone's shifts do to a cron line: stories, each with the facts of the world first.

Instants are UTC, written ``day hour:minute``. "Fixed" is a line whose minute and hour do not start with a star,
"frequent" any other. Source of the rules: cron(8) of Debian, for shifts of less than three hours.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loopcron._instants import from_ms, to_ms
from loopcron._local import cron

MS = timedelta(milliseconds=1)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(moment: datetime) -> str:
    return f"{moment:%d %H:%M:%S}".removesuffix(":00")


def slots(line: str, tz: str, start: str, end: str) -> list[str]:
    """Return the slots of [*start*, *end*) as forward questions name them; backward ones must name the same."""
    schedule = cron(line, tz)
    first, last = to_ms(instant(start)), to_ms(instant(end))
    forward = []
    slot = schedule.next_ms(first - 1)
    while slot is not None and slot < last:
        forward.append(slot)
        slot = schedule.next_ms(slot)
    backward = []
    slot = schedule.latest_ms(last - 1)
    while slot is not None and slot >= first:
        backward.append(slot)
        slot = schedule.latest_ms(slot - 1)
    assert forward == backward[::-1]
    return [told(from_ms(slot)) for slot in forward]


class TestBerlin:
    """
    One hour, the common case.

    Spring: 2026-03-29T01:00Z, +1 to +2: 02:00 to 03:00 does not exist.
    Autumn: 2026-10-25T01:00Z, +2 to +1: 02:00 to 03:00 comes twice, at 00:00Z and at 01:00Z.
    """

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 2 * * *", ["29 01:00"]),
            ("0 2 * * *", ["29 01:00"]),
            ("59 2 * * *", ["29 01:00"]),
            ("0 3 * * *", ["29 01:00"]),
            ("0 2,3 * * *", ["29 01:00"]),
            ("5 3 * * *", ["29 01:05"]),
            ("59 1 * * *", ["29 00:59"]),
            ("0-59 2 * * *", ["29 01:00"]),
            ("15 1-3 * * *", ["29 00:15", "29 01:00", "29 01:15"]),
            ("0,30 1,2,3 * * *", ["29 00:00", "29 00:30", "29 01:00", "29 01:30"]),
            ("30 2 29 3 *", ["29 01:00"]),
            ("30 2 * * SUNL", ["29 01:00"]),
            ("30 2 * * MON", []),
            ("30 2 28 3 *", []),
            ("*/30 2 * * *", []),
            ("* 2 * * *", []),
            ("*/30 1-3 * * *", ["29 00:00", "29 00:30", "29 01:00", "29 01:30"]),
            ("30 * * * *", ["28 22:30", "28 23:30", "29 00:30", "29 01:30", "29 02:30"]),
            ("30 */2 * * *", ["28 23:30", "29 02:30"]),
            ("0 */3 * * *", ["28 23:00", "29 01:00"]),
        ],
    )
    def test_spring(self, line: str, expected: list[str]) -> None:
        """A fixed time in the gap is one slot at its end, a frequent one has nothing in it."""
        assert slots(line, "Europe/Berlin", "2026-03-28T22:00", "2026-03-29T03:00") == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 2 * * *", ["25 00:30"]),
            ("0 2 * * *", ["25 00:00"]),
            ("59 2 * * *", ["25 00:59"]),
            ("0 3 * * *", ["25 02:00"]),
            ("59 1 * * *", ["24 23:59"]),
            ("0-59/20 2 * * *", ["25 00:00", "25 00:20", "25 00:40"]),
            ("15 1-3 * * *", ["24 23:15", "25 00:15", "25 02:15"]),
            ("0,30 1,2,3 * * *", ["24 23:00", "24 23:30", "25 00:00", "25 00:30", "25 02:00", "25 02:30"]),
            ("30 2 25 10 *", ["25 00:30"]),
            ("30 2 * * SUNL", ["25 00:30"]),
            ("*/30 2 * * *", ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),
            ("30 * * * *", ["24 22:30", "24 23:30", "25 00:30", "25 01:30", "25 02:30", "25 03:30"]),
            ("30 */2 * * *", ["24 22:30", "25 00:30", "25 01:30", "25 03:30"]),
            ("0 */3 * * *", ["24 22:00", "25 02:00"]),
        ],
    )
    def test_autumn(self, line: str, expected: list[str]) -> None:
        """Of a fixed time the first pass counts, of a frequent one both."""
        assert slots(line, "Europe/Berlin", "2026-10-24T22:00", "2026-10-25T04:00") == expected

    @pytest.mark.parametrize(
        ("asked", "latest", "following"),
        [
            ("2026-10-25T00:29", "24 00:30", "25 00:30"),
            ("2026-10-25T00:30", "25 00:30", "26 01:30"),
            ("2026-10-25T00:59", "25 00:30", "26 01:30"),
            ("2026-10-25T01:00", "25 00:30", "26 01:30"),
            ("2026-10-25T01:29", "25 00:30", "26 01:30"),
            ("2026-10-25T01:30", "25 00:30", "26 01:30"),
            ("2026-10-25T01:31", "25 00:30", "26 01:30"),
            ("2026-03-29T00:59", "28 01:30", "29 01:00"),
            ("2026-03-29T01:00", "29 01:00", "30 00:30"),
            ("2026-03-29T01:30", "29 01:00", "30 00:30"),
        ],
    )
    def test_asked_around_the_shift(self, asked: str, latest: str, following: str) -> None:
        """Asked at any instant around a shift, both questions name the one slot that stands for 02:30."""
        schedule = cron("30 2 * * *", "Europe/Berlin")
        before, after = schedule.latest_until(instant(asked)), schedule.next_after(instant(asked))
        assert before is not None
        assert after is not None
        assert (told(before), told(after)) == (latest, following)

    def test_always_in_the_gap(self) -> None:
        """A frequent line that only ever falls into gaps has no slot for fifty years on; nor back, from 2050."""
        schedule = cron("* 2 * MAR SUNL", "Europe/Berlin")
        assert schedule.next_after(instant("2026-01-01")) is None
        assert schedule.latest_until(instant("2026-01-01")) == instant("1980-03-30T01:59")
        assert schedule.latest_until(instant("2050-01-01")) is None

    def test_fixed_line_always_in_the_gap(self) -> None:
        """The same line as a fixed time of day has one slot a year, at the gap's end."""
        schedule = cron("30 2 * MAR SUNL", "Europe/Berlin")
        assert schedule.next_after(instant("2026-01-01")) == instant("2026-03-29T01:00")
        assert schedule.next_after(instant("2026-03-29T01:00")) == instant("2027-03-28T01:00")


class TestNewYork:
    """
    West of Greenwich.

    Spring: 2026-03-08T07:00Z, -5 to -4: 02:00 to 03:00 does not exist.
    Autumn: 2026-11-01T06:00Z, -4 to -5: 01:00 to 02:00 comes twice, at 05:00Z and at 06:00Z.
    """

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 2 * * *", ["08 07:00"]),
            ("30 * * * *", ["08 05:30", "08 06:30", "08 07:30"]),
            ("0 1-3 * * *", ["08 06:00", "08 07:00"]),
        ],
    )
    def test_spring(self, line: str, expected: list[str]) -> None:
        """A fixed time in the gap is one slot at its end."""
        assert slots(line, "America/New_York", "2026-03-08T05:00", "2026-03-08T08:00") == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 1 * * *", ["01 05:30"]),
            ("30 * * * *", ["01 04:30", "01 05:30", "01 06:30", "01 07:30"]),
            ("0 1-3 * * *", ["01 05:00", "01 07:00"]),
        ],
    )
    def test_autumn(self, line: str, expected: list[str]) -> None:
        """Of a fixed time the first pass counts."""
        assert slots(line, "America/New_York", "2026-11-01T04:00", "2026-11-01T08:00") == expected


class TestLordHowe:
    """
    Half an hour.

    Spring: 2026-10-03T15:30Z, +10:30 to +11: 02:00 to 02:30 does not exist.
    Autumn: 2026-04-04T15:00Z, +11 to +10:30: 01:30 to 02:00 comes twice, at 14:30Z and at 15:00Z.
    """

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("15 2 * * *", ["03 15:30"]),
            ("30 2 * * *", ["03 15:30"]),
            ("45 2 * * *", ["03 15:45"]),
            ("15 1-3 * * *", ["03 14:45", "03 15:30", "03 16:15"]),
            ("0,30 1-3 * * *", ["03 14:30", "03 15:00", "03 15:30", "03 16:00", "03 16:30"]),
            ("*/15 2 * * *", ["03 15:30", "03 15:45"]),
            ("0 * * * *", ["03 14:30", "03 16:00"]),
            ("30 * * * *", ["03 14:00", "03 15:00", "03 15:30", "03 16:30"]),
        ],
    )
    def test_spring(self, line: str, expected: list[str]) -> None:
        """Half an hour is made up for at its end, and a frequent line goes on from the middle of its hour."""
        assert slots(line, "Australia/Lord_Howe", "2026-10-03T14:00", "2026-10-03T17:00") == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("45 1 * * *", ["04 14:45"]),
            ("15 1 * * *", ["04 14:15"]),
            ("0 2 * * *", ["04 15:30"]),
            ("45 0-2 * * *", ["04 13:45", "04 14:45", "04 16:15"]),
            ("0-59/15 1 * * *", ["04 14:00", "04 14:15", "04 14:30", "04 14:45"]),
            ("*/15 1 * * *", ["04 14:00", "04 14:15", "04 14:30", "04 14:45", "04 15:00", "04 15:15"]),
            ("0 * * * *", ["04 13:00", "04 14:00", "04 15:30", "04 16:30"]),
            ("30 * * * *", ["04 13:30", "04 14:30", "04 15:00", "04 16:00"]),
        ],
    )
    def test_autumn(self, line: str, expected: list[str]) -> None:
        """Half an hour that repeats is skipped by a fixed line and run by a frequent one."""
        assert slots(line, "Australia/Lord_Howe", "2026-04-04T13:00", "2026-04-04T17:00") == expected


class TestTroll:
    """
    Two hours.

    Spring: 2026-03-29T01:00Z, +0 to +2: 01:00 to 03:00 does not exist.
    Autumn: 2026-10-25T01:00Z, +2 to +0: 01:00 to 03:00 comes twice, at 23:00Z and at 01:00Z.
    """

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 1 * * *", ["29 01:00"]),
            ("30 2 * * *", ["29 01:00"]),
            ("30 1,2 * * *", ["29 01:00"]),
            ("0 0-4 * * *", ["29 00:00", "29 01:00", "29 02:00"]),
            ("*/30 1,2 * * *", []),
            ("0 * * * *", ["28 23:00", "29 00:00", "29 01:00", "29 02:00"]),
            ("0 */2 * * *", ["29 00:00", "29 02:00"]),
        ],
    )
    def test_spring(self, line: str, expected: list[str]) -> None:
        """Whatever two hours swallow of a fixed line is one slot."""
        assert slots(line, "Antarctica/Troll", "2026-03-28T23:00", "2026-03-29T03:00") == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 1 * * *", ["24 23:30"]),
            ("30 2 * * *", ["25 00:30"]),
            ("0 0-4 * * *", ["24 22:00", "24 23:00", "25 00:00", "25 03:00", "25 04:00"]),
            ("*/30 2 * * *", ["25 00:00", "25 00:30", "25 02:00", "25 02:30"]),
            ("0 */2 * * *", ["24 22:00", "25 00:00", "25 02:00", "25 04:00"]),
        ],
    )
    def test_autumn(self, line: str, expected: list[str]) -> None:
        """Two hours that repeat are skipped by a fixed line and run by a frequent one."""
        assert slots(line, "Antarctica/Troll", "2026-10-24T22:00", "2026-10-25T05:00") == expected


class TestApia:
    """
    A day that was not: 2011-12-30T10:00Z, -10 to +14, from the end of the 29th to the start of the 31st.

    Three hours or more is a correction: what lay in the gap is lost.
    """

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 2 * * *", ["29 12:30", "30 12:30"]),
            ("0 0 * * *", ["29 10:00", "30 10:00"]),
            ("0 12 * * FRI", []),
            ("0 12 30 12 *", []),
            ("0 12 * * THU,SAT", ["29 22:00", "30 22:00"]),
            ("0 */12 * * *", ["29 10:00", "29 22:00", "30 10:00", "30 22:00"]),
            ("0 0-23/8 * * *", ["29 10:00", "29 18:00", "30 02:00", "30 10:00", "30 18:00", "31 02:00"]),
        ],
    )
    def test_day_is_lost(self, line: str, expected: list[str]) -> None:
        """What was to run on the day that was skipped has no slot."""
        assert slots(line, "Pacific/Apia", "2011-12-29T10:00", "2011-12-31T03:00") == expected

    def test_next_year(self) -> None:
        """A line of that very day goes on a year later."""
        assert cron("0 0 30 12 *", "Pacific/Apia").next_after(instant("2011-01-01")) == instant("2012-12-29T10:00")

    def test_year_before(self) -> None:
        """Backwards it goes on a year earlier."""
        assert cron("0 0 30 12 *", "Pacific/Apia").latest_until(instant("2012-01-01")) == instant("2010-12-30T10:00")


class TestCasey:
    """
    Three hours, twice.

    Gap: 2009-10-17T18:00Z, +8 to +11: 02:00 to 05:00 does not exist.
    Fold: 2010-03-04T15:00Z, +11 to +8: 23:00 to 02:00 comes twice.
    """

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 3 * * *", []),
            ("0 5 * * *", ["17 18:00"]),
            ("30 1,3,5 * * *", ["17 17:30", "17 18:30"]),
            ("0 * * * *", ["17 16:00", "17 17:00", "17 18:00", "17 19:00"]),
        ],
    )
    def test_gap_of_a_correction(self, line: str, expected: list[str]) -> None:
        """Three hours are a correction: what lay in the gap is lost."""
        assert slots(line, "Antarctica/Casey", "2009-10-17T16:00", "2009-10-17T20:00") == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("30 23 * * *", ["04 12:30", "04 15:30"]),
            ("30 1 * * *", ["04 14:30", "04 17:30"]),
            ("0 2 * * *", ["04 18:00"]),
            ("*/30 23 * * *", ["04 12:00", "04 12:30", "04 15:00", "04 15:30"]),
        ],
    )
    def test_fold_of_a_correction(self, line: str, expected: list[str]) -> None:
        """Three hours are a correction: what recurs fires again."""
        assert slots(line, "Antarctica/Casey", "2010-03-04T12:00", "2010-03-04T19:00") == expected


class TestMonrovia:
    """
    An offset with odd seconds: until 1972-01-07T00:44:30Z it was -0:44:30, then 0.

    So a local minute began at 30 seconds of a UTC one, and 00:00:00 to 00:44:30 of that day does not exist.
    """

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("0 0 * * *", ["06 00:44:30", "07 00:45", "08 00:00"]),
            ("44 0 * * *", ["06 01:28:30", "07 00:45", "08 00:44"]),
            ("45 0 * * *", ["06 01:29:30", "07 00:45", "08 00:45"]),
            ("46 0 * * *", ["06 01:30:30", "07 00:46", "08 00:46"]),
            ("59 23 * * *", ["06 00:43:30", "07 00:43:30", "07 23:59"]),
            ("0 */12 * * *", ["06 00:44:30", "06 12:44:30", "07 12:00", "08 00:00"]),
        ],
    )
    def test_slots_begin_local_minutes(self, line: str, expected: list[str]) -> None:
        """Slots are starts of local minutes; the gap's end is the first such start at or after the shift."""
        assert slots(line, "Africa/Monrovia", "1972-01-06T00:00", "1972-01-08T01:00") == expected

    def test_asked_between_the_shift_and_the_first_minute(self) -> None:
        """Asked within the half minute after the shift, the slot that makes up for the gap is still to come."""
        schedule = cron("0 0 * * *", "Africa/Monrovia")
        asked = instant("1972-01-07T00:44:45")
        assert schedule.next_after(asked) == instant("1972-01-07T00:45")
        assert schedule.latest_until(asked) == instant("1972-01-06T00:44:30")

    def test_frequent(self) -> None:
        """A frequent line follows the local minutes that there really were."""
        found = slots("*/15 * * * *", "Africa/Monrovia", "1972-01-07T00:00", "1972-01-07T01:10")
        assert found == ["07 00:14:30", "07 00:29:30", "07 00:45", "07 01:00"]


class TestNoSummerTime:
    """
    Zones that changed their offset for good.

    Pyongyang: 2015-08-14T15:00Z, +9 to +8:30: 23:30 to 24:00 came twice; 2018-05-04T15:00Z back: it did not exist.
    Caracas: 2007-12-09T07:00Z, -4 to -4:30: 02:30 to 03:00 came twice; 2016-05-01T07:00Z back: it did not exist.
    """

    @pytest.mark.parametrize(
        ("line", "tz", "start", "end", "expected"),
        [
            ("45 23 * * *", "Asia/Pyongyang", "2018-05-04T14:00", "2018-05-04T16:00", ["04 15:00"]),
            ("0 0 * * *", "Asia/Pyongyang", "2018-05-04T14:00", "2018-05-04T16:00", ["04 15:00"]),
            ("*/30 23 * * *", "Asia/Pyongyang", "2018-05-04T14:00", "2018-05-04T16:00", ["04 14:30"]),
            ("45 2 * * *", "America/Caracas", "2016-05-01T06:00", "2016-05-01T08:00", ["01 07:00"]),
        ],
    )
    def test_gap(self, line: str, tz: str, start: str, end: str, expected: list[str]) -> None:
        """Clocks set forward for good are a gap like any other, even across midnight."""
        assert slots(line, tz, start, end) == expected

    @pytest.mark.parametrize(
        ("line", "tz", "start", "end", "expected"),
        [
            ("45 23 * * *", "Asia/Pyongyang", "2015-08-14T14:00", "2015-08-14T16:00", ["14 14:45"]),
            ("0 0 * * *", "Asia/Pyongyang", "2015-08-14T14:00", "2015-08-14T16:00", ["14 15:30"]),
            (
                "*/30 23 * * *",
                "Asia/Pyongyang",
                "2015-08-14T14:00",
                "2015-08-14T16:00",
                ["14 14:00", "14 14:30", "14 15:00"],
            ),
            ("45 2 * * *", "America/Caracas", "2007-12-09T06:00", "2007-12-09T08:00", ["09 06:45"]),
        ],
    )
    def test_fold(self, line: str, tz: str, start: str, end: str, expected: list[str]) -> None:
        """Clocks set back for good are a fold like any other."""
        assert slots(line, tz, start, end) == expected


class TestShiftsInARow:
    """
    Summer times that lasted days or weeks.

    Recife: 2000-10-08T03:00Z, -3 to -2: 00:00 to 01:00 did not exist; 2000-10-15T02:00Z back: 23:00 came twice.
    Hebron: 2011-07-31T21:00Z, +3 to +2: 23:00 came twice; 2011-08-29T22:00Z, +2 to +3: 00:00 did not exist.
    Gaza: 2011-03-31T22:01Z, +2 to +3: 00:01 to 01:01 did not exist.
    Casablanca: 2026-02-15T02:00Z, +1 to 0: 02:00 comes twice; 2026-03-22T02:00Z, 0 to +1: 02:00 does not exist.
    """

    def test_week_of_recife_after_midnight(self) -> None:
        """A fixed time in the gap that opens the week runs at its end, and once a day until the week is over."""
        assert slots("30 0 * * *", "America/Recife", "2000-10-07T00:00", "2000-10-17T00:00") == [
            *["07 03:30", "08 03:00", "09 02:30", "10 02:30", "11 02:30", "12 02:30", "13 02:30", "14 02:30"],
            *["15 03:30", "16 03:30"],
        ]

    def test_week_of_recife_before_midnight(self) -> None:
        """A fixed time in the fold that closes the week runs in the first pass."""
        assert slots("30 23 * * *", "America/Recife", "2000-10-13T00:00", "2000-10-17T00:00") == [
            *["13 01:30", "14 01:30", "15 01:30", "16 02:30"],
        ]

    def test_ramadan_in_hebron(self) -> None:
        """A summer time that pauses for a month gives each fixed time one slot a day."""
        assert slots("30 23 * * *", "Asia/Hebron", "2011-07-31T00:00", "2011-08-02T00:00") == ["31 20:30", "01 21:30"]
        assert slots("30 0 * * *", "Asia/Hebron", "2011-08-28T22:00", "2011-08-31T00:00") == [
            *["28 22:30", "29 22:00", "30 21:30"],
        ]

    def test_minute_past_midnight_in_gaza(self) -> None:
        """A gap that begins at an odd minute loses nothing before it and makes up for what it swallows at its end."""
        assert slots("0,30 0 * * *", "Asia/Gaza", "2011-03-31T20:00", "2011-04-01T20:00") == ["31 22:00", "31 22:01"]
        assert slots("*/30 0 * * *", "Asia/Gaza", "2011-03-31T20:00", "2011-04-01T20:00") == ["31 22:00"]

    def test_ramadan_in_casablanca(self) -> None:
        """So does one whose winter time is the exception."""
        assert slots("30 2 * * *", "Africa/Casablanca", "2026-02-14T00:00", "2026-02-17T00:00") == [
            *["14 01:30", "15 01:30", "16 02:30"],
        ]
        assert slots("30 2 * * *", "Africa/Casablanca", "2026-03-21T00:00", "2026-03-24T00:00") == [
            *["21 02:30", "22 02:00", "23 01:30"],
        ]
        assert slots("30 * * * *", "Africa/Casablanca", "2026-02-15T01:00", "2026-02-15T03:00") == [
            "15 01:30",
            "15 02:30",
        ]

    def test_midnight_that_does_not_exist(self) -> None:
        """Where the gap is at midnight (Beirut, 2026-03-28T22:00Z), a daily job still runs on that day."""
        assert slots("0 0 * * *", "Asia/Beirut", "2026-03-27T00:00", "2026-03-30T00:00") == [
            "27 22:00",
            "28 22:00",
            "29 21:00",
        ]


class TestFarApart:
    """Rare lines, whose search passes many shifts."""

    @pytest.mark.parametrize(
        ("line", "tz", "asked", "expected"),
        [
            ("0 0 29 2 *", "UTC", "2026-01-01", "2028-02-29T00:00"),
            ("0 0 29 2 *", "America/New_York", "2026-01-01", "2028-02-29T05:00"),
            ("0 0 29 2 *", "UTC", "2096-03-01", "2104-02-29T00:00"),
            ("0 0 29 2 *", "UTC", "1896-03-01", "1904-02-29T00:00"),
            ("0 0 * 2 MON#5", "UTC", "2068-01-01", "2072-02-29T00:00"),
            ("0 0 * 2 MON#5", "UTC", "2072-02-29T00:00", "2112-02-29T00:00"),
            ("0 0 29W 2 *", "Europe/Berlin", "2026-01-01", "2028-02-28T23:00"),
            ("30 2 25 10 SUN#4", "Europe/Berlin", "2026-10-25T00:30", "2027-10-24T00:30"),
        ],
    )
    def test_next(self, line: str, tz: str, asked: str, expected: str) -> None:
        """The next slot is found however many years it is away, up to the forty that the calendar can take."""
        schedule = cron(line, tz)
        assert schedule.next_after(instant(asked)) == instant(expected)
        assert schedule.latest_until(instant(expected)) == instant(expected)
        assert schedule.next_after(instant(expected) - MS) == instant(expected)
        previous = schedule.latest_until(instant(expected) - MS)
        assert previous is not None
        assert previous <= instant(asked)
