"""Timezones: their stretches of constant offset, against the database's own files; names and objects that are none."""

from __future__ import annotations

import struct
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from loopcron._errors import ScheduleError
from loopcron._instants import to_ms
from loopcron._local import cron
from loopcron._zones import Zone, named, zone_of

HOUR = 3_600_000
FROM, UNTIL = to_ms(datetime(1970, 1, 2, tzinfo=UTC)), to_ms(datetime(2037, 12, 31, tzinfo=UTC))
SHORTEST = 167 * HOUR
"""The shortest stretch of all zones since 1970; what is promised rests on there being none below two days."""


def database_file(key: str) -> bytes:
    """Return the compiled file that `zoneinfo` reads for *key*."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder, key)
        if path.is_file():
            return path.read_bytes()
    package, _, name = f"tzdata/zoneinfo/{key}".rpartition("/")
    return resources.files(package.replace("/", ".")).joinpath(name).read_bytes()


def changes_in(data: bytes) -> tuple[list[tuple[int, int]], bool]:
    """
    Return what a TZif file says, read by RFC 8536 alone.

    Returns:
        The changes of offset as (instant, new offset) in ms, and whether its footer has a rule for later ones.
    """
    header = struct.Struct(">4s c 15x 6l")
    utc_count, wall_count, leaps, times, types, characters = header.unpack_from(data)[2:]
    # The first part has 32-bit times; the second one repeats it all in 64 bits.
    start = header.size + times * 5 + types * 6 + characters + leaps * 8 + wall_count + utc_count
    utc_count, wall_count, leaps, times, types, characters = header.unpack_from(data, start)[2:]
    start += header.size
    instants = struct.unpack_from(f">{times}q", data, start)
    start += 8 * times
    kinds = struct.unpack_from(f">{times}B", data, start)
    start += times
    offsets = [struct.unpack_from(">l", data, start + 6 * kind)[0] for kind in range(types)]
    footer = data[start + 6 * types + characters + 12 * leaps + wall_count + utc_count :]
    changes = []
    offset = offsets[0]
    for at, kind in zip(instants, kinds, strict=True):
        if offsets[kind] != offset:
            offset = offsets[kind]
            changes.append((at * 1_000, offset * 1_000))
    return changes, b"," in footer


@cache
def files_of_all_zones() -> list[tuple[str, bytes]]:
    """Return the files of the database by one name each; of those that tell the same from 1970 on, one."""
    files: dict[object, tuple[str, bytes]] = {}
    for key in sorted(zoneinfo.available_timezones()):
        data = database_file(key)
        changes, _ = changes_in(data)
        earlier = [offset for at, offset in changes if at <= FROM]
        footer = data.rpartition(b"\n")[0].rpartition(b"\n")[2]
        files.setdefault((*earlier[-1:], footer, *(each for each in changes if each[0] > FROM)), (key, data))
    return list(files.values())


def region(key: str) -> str:
    return key.partition("/")[0] if "/" in key else "top"


@pytest.mark.parametrize(
    "part",
    [
        *("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"),
        "all others",
    ],
)
def test_stretches_are_those_of_the_database(part: str) -> None:
    """The stretches found by asking any zone for its offset are those that its file in the IANA database lists."""
    named_parts = {"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}
    for key, data in files_of_all_zones():
        if (region(key) if region(key) in named_parts else "all others") != part:
            continue
        changes, goes_on = changes_in(data)
        # A file may leave what follows a rule to its footer; that part is the zone's own word.
        until = min(UNTIL, changes[-1][0]) if goes_on else UNTIL
        expected = [change for change in changes if FROM < change[0] < until]
        zone = Zone(zoneinfo.ZoneInfo(key))
        found = []
        stretch = zone.stretch(FROM)
        while stretch.end < until:
            if stretch.after != stretch.offset:
                found.append((stretch.end, stretch.after))
            following = zone.stretch(stretch.end)
            assert following.offset == stretch.after
            if stretch.after != stretch.offset:
                assert (following.start, following.before) == (stretch.end, stretch.offset)
            stretch = following
        assert found == expected, key
        assert all(later - earlier >= SHORTEST for (earlier, _), (later, _) in pairwise(found)), key


class Shifting(tzinfo):
    """A zone of somebody's own, which changes its offset once; it cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, at: datetime, before: int, after: int) -> None:
        self.at, self.before, self.after = at, timedelta(hours=before), timedelta(hours=after)

    def utcoffset(self, moment: datetime | None) -> timedelta:
        assert moment is not None
        return self.after if moment.fold or moment.replace(tzinfo=None) >= self.at + self.before else self.before

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "Shifting"

    def fromutc(self, moment: datetime) -> datetime:
        passed = moment.replace(tzinfo=None) >= self.at
        return (moment + (self.after if passed else self.before)).replace(fold=passed)

    def __str__(self) -> str:
        return "Shifting"


def test_any_tzinfo_will_do() -> None:
    """A tzinfo of one's own is asked like any other, to the second, even if it cannot be hashed."""
    schedule = cron("30 12 * * *", Shifting(datetime(2026, 6, 1, 12), 0, 1))
    assert schedule.next_after(datetime(2026, 6, 1, tzinfo=UTC)) == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert schedule.next_after(datetime(2026, 6, 1, 12, tzinfo=UTC)) == datetime(2026, 6, 2, 11, 30, tzinfo=UTC)
    assert str(schedule) == "cron 30 12 * * *, Shifting"
    assert schedule.describe() == "at 12:30 every day, Shifting"


@pytest.mark.parametrize("first", [1990, 2024, 2025, 2026, 2027, 2060])
def test_what_was_asked_before_does_not_matter(first: int) -> None:
    """A fold that ends a remembered year is seen from the next one, whatever was looked at before."""
    border = datetime(2025, 12, 18)  # 56 * 365 days from the epoch
    schedule = cron("15 0 * * *", Shifting(border - timedelta(minutes=30), 1, 0))
    schedule.next_after(datetime(first, 6, 1, tzinfo=UTC))
    asked = border.replace(tzinfo=UTC) + timedelta(minutes=5)
    assert schedule.next_after(asked) == datetime(2025, 12, 19, 0, 15, tzinfo=UTC)
    assert schedule.latest_until(asked) == datetime(2025, 12, 17, 23, 15, tzinfo=UTC)


@pytest.mark.parametrize("year", [1, 9999])
def test_first_and_last_year_are_told_alike(year: int) -> None:
    """Where a zone cannot be asked for every day, its offsets still do not depend on what was asked before."""
    zone = Zone(zoneinfo.ZoneInfo("Europe/Berlin"))
    instants = [to_ms(datetime(year, month, 15, tzinfo=UTC)) for month in range(2, 13)]
    fresh = [Zone(zoneinfo.ZoneInfo("Europe/Berlin")).stretch(instant).offset for instant in instants]
    assert [zone.stretch(instant).offset for instant in instants] == fresh
    assert [zone.stretch(instant).offset for instant in reversed(instants)] == fresh[::-1]


def test_fixed_offset_has_one_stretch() -> None:
    """A zone with one offset for ever is one stretch, and its odd microseconds do not reach the slots."""
    there = timezone(timedelta(hours=5, minutes=30))
    schedule = cron("0 9 * * *", there)
    assert schedule.next_after(datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
    odd = cron("0 9 * * *", timezone(timedelta(seconds=7, microseconds=1_500)))
    assert odd.next_after(datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2026, 3, 1, 8, 59, 52, 999_000, tzinfo=UTC)


def test_stretches_are_remembered() -> None:
    """Schedules in one zone share what was found, and what is kept of it is bounded."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    assert zone_of(berlin) is zone_of(berlin)
    zone = Zone(berlin)
    summer = zone.stretch(to_ms(datetime(2026, 7, 1, tzinfo=UTC)))
    assert zone.stretch(summer.start) is summer
    assert zone.stretch(summer.end - 1) is summer
    assert zone.stretch(summer.end) is not summer
    for year in range(1700, 2200):
        zone.stretch(to_ms(datetime(year, 7, 1, tzinfo=UTC)))
        assert len(zone._blocks) <= 256
    assert zone.stretch(summer.start) == summer


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_zone_has_a_name(name: str) -> None:
    """An IANA name is a zone, and the schedule says it."""
    assert str(named(name)) == name
    assert str(cron("5 4 * * *", name)) == f"cron 5 4 * * *, {name}"
    assert cron("5 4 * * *", name) == cron("5 4 * * *", named(name))


def test_utc_is_the_default() -> None:
    """Without a zone a line is in UTC, which needs no timezone data."""
    assert cron("5 4 * * *").tz is UTC


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "europe/nowhere",
        "../Europe/Berlin",
        "/etc/passwd",
        "Europe",
        "Europe/",
        "x\x00y",
        "\ud800",
        "a" * 300,
    ],
    ids=ascii,
)
def test_unknown_zone_is_refused(name: str) -> None:
    """A name that is no zone is refused with what would do and the package that has them all, however odd it is."""
    remedy = "is no timezone known here; write an IANA name such as 'Europe/Berlin'; pip install tzdata supplies all"
    with pytest.raises(ScheduleError, match=f"{remedy}$") as caught:
        cron("* * * * *", name)
    assert caught.value.field == "tz"
    assert str(caught.value).startswith("tz=")


@pytest.mark.parametrize("tz", [None, True, 0, 2.5, b"UTC", timedelta(hours=1), zoneinfo.ZoneInfo])
def test_what_is_no_zone_is_refused(tz: Any) -> None:
    """What is neither a name nor a tzinfo is refused."""
    with pytest.raises(ScheduleError, match="must be an IANA name such as 'Europe/Berlin', or a tzinfo") as caught:
        cron("* * * * *", tz)
    assert caught.value.field == "tz"


class NoOffset(tzinfo):
    """It has no offset, which makes datetimes naive."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None

    dst = tzname = utcoffset

    def fromutc(self, moment: datetime) -> datetime:
        return moment


@pytest.mark.parametrize("tz", [tzinfo(), NoOffset()])  # type: ignore[abstract]
def test_zone_without_an_offset_is_refused(tz: tzinfo) -> None:
    """A tzinfo that cannot tell its offset is refused when the schedule is made."""
    with pytest.raises(ScheduleError, match="must tell its utcoffset for any instant, and raised") as caught:
        cron("* * * * *", tz)
    assert caught.value.field == "tz"


def test_missing_database_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no timezone data is installed at all, the message names the package too, and UTC works."""

    def find_nothing(name: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", find_nothing)
    with pytest.raises(ScheduleError, match=r"is no timezone known here; .*; pip install tzdata"):
        cron("* * * * *", "Europe/Paris")
    assert cron("* * * * *", "UTC").tz is UTC
