"""The slots to come: in the schedule's own local time, with what the clocks' changes do to them, in plain words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from loopcron._combined import any_of
from loopcron._every import at, every
from loopcron._instants import to_ms
from loopcron._local import cron
from loopcron._schedules import MsSchedule, in_ms
from loopcron._upcoming import UpcomingSlot, local_zone, upcoming

BERLIN = "Europe/Berlin"
SKIPPED = "the clocks skip 02:00 to 03:00"
BACK = "the clocks go back from 03:00 to 02:00"
FIRST, SECOND = "comes twice, and this is the first time", "comes twice, and this is the second time"


def coming(schedule: MsSchedule, after: str, count: int, before: str | None = None) -> list[UpcomingSlot]:
    """Return the slots after an instant, and before another one."""
    end = None if before is None else to_ms(datetime.fromisoformat(before))
    return list(islice(upcoming(schedule, to_ms(datetime.fromisoformat(after)), end), count))


def marks(schedule: MsSchedule, after: str, count: int) -> list[tuple[str, ...]]:
    """Return the marks beside each slot."""
    return [slot.marks for slot in coming(schedule, after, count)]


class Hourly:
    """A schedule of a user's own."""

    def next_after(self, instant: datetime) -> datetime:
        return instant.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)

    def latest_until(self, instant: datetime) -> datetime:
        return instant.replace(minute=0, second=0, microsecond=0)


# --- which slots


def test_slot_in_both_times() -> None:
    """Each slot comes in UTC, and as the same instant in the schedule's zone."""
    (slot,) = coming(cron("30 9 * * *", BERLIN), "2026-07-01T00:00Z", 1)
    assert slot == UpcomingSlot(
        datetime(2026, 7, 1, 7, 30, tzinfo=UTC), datetime(2026, 7, 1, 9, 30, tzinfo=ZoneInfo(BERLIN)), ()
    )
    assert slot.slot_at.tzinfo is UTC
    assert str(slot.local_at) == "2026-07-01 09:30:00+02:00"
    assert slot.local_at.tzname() == "CEST"


def test_slots_begin_after_and_end_before() -> None:
    """A slot at the instant itself has passed, and one at the end no longer counts."""
    hours = [slot.slot_at.hour for slot in coming(cron("0 * * * *"), "2026-03-01T01:00Z", 99, "2026-03-01T04:00Z")]
    assert hours == [2, 3]
    assert coming(cron("0 * * * *"), "2026-03-01T01:00Z", 99, "2026-03-01T02:00Z") == []


def test_schedule_that_ends() -> None:
    """Where the schedule names no further slot there is none."""
    once = at(datetime(2026, 3, 1, 2, tzinfo=UTC))
    assert [slot.slot_at.hour for slot in coming(once, "2026-03-01T01:00Z", 5)] == [2]
    assert coming(once, "2026-03-01T02:00Z", 5) == []


def test_schedule_that_fails_names_the_slots_before() -> None:
    """What a user's schedule raises comes out when that slot is asked for, and not earlier."""

    class Failing(Hourly):
        def next_after(self, instant: datetime) -> datetime:
            if instant.hour >= 2:
                raise ValueError("no more")
            return super().next_after(instant)

    slots = upcoming(in_ms(Failing()), to_ms(datetime(2026, 3, 1, tzinfo=UTC)))
    assert [next(slots).slot_at.hour for _ in range(2)] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(slots)


# --- in which zone


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        (cron("0 9 * * *"), "UTC"),
        (cron("0 9 * * *", BERLIN), BERLIN),
        (cron("0 9 * * *", timezone(timedelta(hours=2))), "UTC+02:00"),
        (every(minutes=15), "UTC"),
        (at(datetime(2026, 3, 1, tzinfo=ZoneInfo(BERLIN))), "UTC"),
        pytest.param(in_ms(Hourly()), "UTC", id="hourly"),
        (cron("0 9 * * *", BERLIN).between(end=datetime(2027, 1, 1, tzinfo=UTC)), BERLIN),
        (any_of(cron("0 9 * * *", BERLIN), cron("0 21 * * *", BERLIN)), BERLIN),
        (any_of(cron("0 9 * * *", BERLIN), cron("0 9 * * *", "Asia/Kolkata")), "UTC"),
        (any_of(cron("0 9 * * *", BERLIN), every(hours=1)), "UTC"),
        (
            any_of(cron("0 9 * * *", BERLIN), cron("1 * * * *", BERLIN)).between(
                start=datetime(2026, 1, 1, tzinfo=UTC)
            ),
            BERLIN,
        ),
    ],
    ids=str,
)
def test_zone_of_each_schedule(schedule: MsSchedule, zone: str) -> None:
    """A cron line has its zone, also within bounds and beside others of the same zone; all else is told in UTC."""
    assert str(local_zone(schedule)) == zone
    slots = coming(schedule, "2026-02-27T00:00Z", 1)
    assert [str(slot.local_at.tzinfo) for slot in slots] == [zone]


# --- what the clocks do


@pytest.mark.parametrize(
    ("line", "zone", "after", "expected"),
    [
        ("15,45 2 * * *", BERLIN, "2026-03-28T12:00Z", [(SKIPPED, "stands for 02:15 to 02:45")]),
        ("30 2 * * *", BERLIN, "2026-03-28T12:00Z", [(SKIPPED, "stands for 02:30"), ()]),
        ("0 3 * * *", BERLIN, "2026-03-28T12:00Z", [(SKIPPED,)]),
        ("*/30 * * * *", BERLIN, "2026-03-29T00:10Z", [(), (SKIPPED, "nothing for 02:00 to 02:30"), ()]),
        ("10 * * * *", BERLIN, "2026-03-29T00:10Z", [(SKIPPED, "nothing for 02:10")]),
        ("30 2 * * *", BERLIN, "2026-10-25T00:00Z", [("comes twice, and runs the first time only",)]),
        ("0 9 * * *", BERLIN, "2026-10-24T12:00Z", [(BACK,), ()]),
        ("30 * * * *", BERLIN, "2026-10-25T00:00Z", [(FIRST,), (BACK, SECOND), ()]),
        (
            "5 0 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00Z",
            [("the clocks skip 12-30 00:00 to 12-31 00:00", "nothing for 00:05")],
        ),
        ("0 12 1 * *", BERLIN, "2026-03-02T00:00Z", [(SKIPPED,), ()]),
        ("0 12 1 6 *", BERLIN, "2026-03-02T00:00Z", [(), ()]),
        ("*/15 * * * *", "UTC", "2026-03-29T00:10Z", [()] * 3),
        ("@daily", "Asia/Kolkata", "2026-03-29T00:10Z", [()] * 400),
        ("0 9 * * *", "Australia/Lord_Howe", "2026-04-03T12:00Z", [(), ("the clocks go back from 02:00 to 01:30",)]),
    ],
)
def test_marks_of_a_cron_line(line: str, zone: str, after: str, expected: list[tuple[str, ...]]) -> None:
    """Beside a slot stands what a change of the clocks shortly before or around it means for it."""
    assert marks(cron(line, zone), after, len(expected)) == expected


def test_marks_within_bounds() -> None:
    """A cron line between two instants is marked as the line itself."""
    line = cron("30 2 * * *", BERLIN)
    bounds = line.between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert marks(bounds, "2026-03-28T12:00Z", 2) == [(SKIPPED, "stands for 02:30"), ()]
    assert marks(bounds, "2026-10-25T00:00Z", 1) == [("comes twice, and runs the first time only",)]


def test_marks_of_a_union() -> None:
    """A union of lines of one zone tells what the clocks did, and of no slot whose line it would have to guess."""
    union = any_of(cron("30 2 * * *", BERLIN), cron("30 * * * *", BERLIN))
    assert marks(union, "2026-03-29T00:00Z", 3) == [(), (SKIPPED,), ()]
    assert marks(union, "2026-10-25T00:00Z", 3) == [(), (BACK,), ()]
    assert marks(union.between(end=datetime(2027, 1, 1, tzinfo=UTC)), "2026-10-25T00:00Z", 2) == [(), (BACK,)]


@pytest.mark.parametrize(
    "schedule",
    [every(hours=1), in_ms(Hourly()), any_of(every(hours=1), cron("30 2 * * *", BERLIN))],
    ids=["every", "own", "several zones"],
)
def test_schedule_without_local_time_has_no_marks(schedule: MsSchedule) -> None:
    """What goes by no zone's clocks is touched by none of their changes."""
    assert set(marks(schedule, "2026-03-28T12:00Z", 60)) == {()}
    assert set(marks(schedule, "2026-10-24T12:00Z", 60)) == {()}


def test_last_change_of_the_clocks_is_told_for_eight_days() -> None:
    """A change is told beside the slot after it, unless that comes more than eight days later."""
    assert marks(cron("0 0 6 4 *", BERLIN), "2026-01-01T00:00Z", 1) == [(SKIPPED,)]
    assert marks(cron("0 0 7 4 *", BERLIN), "2026-01-01T00:00Z", 1) == [()]
