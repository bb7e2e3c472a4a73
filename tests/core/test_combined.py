"""Schedules of schedules: the union of several, and what lies between two instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from loopcron import _events as e
from loopcron._combined import any_of
from loopcron._errors import ScheduleError
from loopcron._every import at, every
from loopcron._instants import to_ms
from loopcron._ledger import Register
from loopcron._local import cron
from loopcron._policies import Policy
from loopcron._schedules import COUNT_LIMIT, MsSchedule
from loopcron._timetable import Timetable
from tests.rows import registered

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MS = timedelta(milliseconds=1)


def slots(schedule: MsSchedule, start: datetime = NOON, hours: int = 3) -> list[float]:
    """Return the slots of some hours as hours from *start*; both questions must name the same."""
    end = to_ms(start + hours * HOUR)
    forward, backward = [], []
    slot = schedule.next_ms(to_ms(start) - 1)
    while slot is not None and slot < end:
        forward.append((slot - to_ms(start)) / 3_600_000)
        slot = schedule.next_ms(slot)
    slot = schedule.latest_ms(end - 1)
    while slot is not None and slot >= to_ms(start):
        backward.append((slot - to_ms(start)) / 3_600_000)
        slot = schedule.latest_ms(slot - 1)
    assert forward == backward[::-1]
    return forward


class Theirs:
    """A user's schedule: noon of each day in UTC."""

    def next_after(self, instant: datetime) -> datetime | None:
        noon = instant.replace(hour=12, minute=0, second=0, microsecond=0)
        return noon if noon > instant else noon + timedelta(days=1)

    def latest_until(self, instant: datetime) -> datetime | None:
        noon = instant.replace(hour=12, minute=0, second=0, microsecond=0)
        return noon if noon <= instant else noon - timedelta(days=1)

    def __str__(self) -> str:
        return "at noon"


class Backwards(Theirs):
    def next_after(self, instant: datetime) -> datetime | None:
        return instant


def test_union_names_each_slot_once() -> None:
    """The union has the slots of all its schedules, in order; an instant that two of them name is one slot."""
    union = any_of(every(minutes=30), every(minutes=45), at(NOON + HOUR / 4))
    assert slots(union) == [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.25, 2.5]


def test_union_ends_with_its_last_schedule() -> None:
    """The union goes on while one of its schedules does, and begins with the first of them."""
    union = any_of(at(NOON), at(NOON + HOUR))
    assert union.next_after(NOON) == NOON + HOUR
    assert union.next_after(NOON + HOUR) is None
    assert union.latest_until(NOON + HOUR - MS) == NOON
    assert union.latest_until(NOON - MS) is None


def test_unions_of_unions() -> None:
    """A union can be part of another one, and of anything else."""
    inner = any_of(at(NOON), at(NOON + HOUR))
    assert slots(any_of(inner, at(NOON + 2 * HOUR)).between(NOON + MS, None)) == [1, 2]


def test_union_takes_schedules_of_its_users() -> None:
    """A user's schedule is welcome, and what it answers is checked."""
    union = any_of(Theirs(), cron("30 12 * * *"))
    assert slots(union) == [0, 0.5]
    with pytest.raises(ScheduleError, match="is not after the instant asked for"):
        any_of(Backwards(), every(hours=1)).next_after(NOON)


@pytest.mark.parametrize(
    ("schedules", "remedy"),
    [
        ((), "must be at least two"),
        ((every(hours=1),), "must be at least two"),
        ((every(hours=1), None), "must be every"),
        ((every(hours=1), "0 9 * * *"), r"cron\(\.\.\.\) makes a schedule of it"),
        ((every(hours=1), timedelta(hours=1)), r"every\(\.\.\.\) makes a schedule of it"),
        (([every(hours=1), every(hours=2)], every(hours=3)), "must be every"),
    ],
)
def test_union_refuses_what_is_no_schedule(schedules: Any, remedy: str) -> None:
    """Fewer than two schedules, or what is none, is refused."""
    with pytest.raises(ScheduleError, match=remedy) as caught:
        any_of(*schedules)
    assert caught.value.field == "schedules"


def test_count_of_a_union_is_bounded() -> None:
    """Slots of a union are counted by walking, so exactly up to a hundred, then not at all."""
    union = any_of(every(minutes=1), every(minutes=2))
    first = to_ms(NOON)
    assert union.count(first, first + (COUNT_LIMIT - 1) * 60_000) == COUNT_LIMIT
    assert union.count(first, first + COUNT_LIMIT * 60_000) is None


def test_count_of_a_cron_line_is_bounded() -> None:
    """So are those of a cron line."""
    first = to_ms(NOON)
    assert cron("* * * * *").count(first, first + (COUNT_LIMIT - 1) * 60_000) == COUNT_LIMIT
    assert cron("* * * * *").count(first, first + COUNT_LIMIT * 60_000) is None


@pytest.mark.parametrize(
    "schedule", [every(hours=1), cron("0 * * * *"), any_of(every(hours=1), every(hours=2))], ids=str
)
def test_bounds_include_the_start_only(schedule: MsSchedule) -> None:
    """A slot on the start belongs to it, one on the end does not."""
    assert slots(schedule.between(NOON + HOUR, NOON + 3 * HOUR), hours=5) == [1, 2]
    assert slots(schedule.between(NOON + HOUR + MS, NOON + 3 * HOUR + MS), hours=5) == [2, 3]
    assert slots(schedule.between(start=NOON + 3 * HOUR), hours=5) == [3, 4]
    assert slots(schedule.between(end=NOON + 2 * HOUR), hours=5) == [0, 1]


def test_bounds_of_one_slot() -> None:
    """Of a schedule with one slot the bounds leave it or nothing."""
    assert slots(at(NOON + HOUR).between(NOON, NOON + 2 * HOUR)) == [1]
    assert slots(at(NOON + HOUR).between(NOON, NOON + HOUR)) == []
    assert slots(at(NOON + HOUR).between(NOON + 2 * HOUR, None)) == []


def test_bounds_seen_from_far() -> None:
    """Asked long before the start or long after the end, the first and the last slot are found."""
    year = cron("0 12 * * *").between(datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))
    assert year.next_after(datetime(1900, 1, 1, tzinfo=UTC)) == datetime(2030, 1, 1, 12, tzinfo=UTC)
    assert year.latest_until(datetime(1900, 1, 1, tzinfo=UTC)) is None
    assert year.latest_until(datetime(9000, 1, 1, tzinfo=UTC)) == datetime(2030, 12, 31, 12, tzinfo=UTC)
    assert year.next_after(datetime(9000, 1, 1, tzinfo=UTC)) is None


def test_bounds_within_bounds() -> None:
    """Bounds of bounds are both, whichever is narrower."""
    wide = every(hours=1).between(NOON, NOON + 4 * HOUR)
    assert slots(wide.between(NOON + HOUR, None), hours=9) == [1, 2, 3]
    assert slots(wide.between(None, NOON + 9 * HOUR), hours=9) == [0, 1, 2, 3]


def test_bounds_take_any_timezone_and_round_up() -> None:
    """Bounds in another zone are the same instants, and a fraction of a millisecond begins with the next one."""
    there = timezone(timedelta(hours=-5))
    assert slots(every(hours=1).between(NOON.astimezone(there), None), hours=2) == [0, 1]
    assert slots(every(hours=1).between(NOON + timedelta(microseconds=1), None), hours=2) == [1]
    assert slots(every(hours=1).between(None, NOON + timedelta(microseconds=1)), hours=2) == [0]


def test_count_within_bounds() -> None:
    """Slots within bounds are counted as the schedule itself counts."""
    bounded = every(minutes=1).between(NOON, None)
    assert bounded.count(to_ms(NOON), to_ms(NOON + 1_000 * HOUR)) == 60_001


@pytest.mark.parametrize(
    ("start", "end", "field", "remedy"),
    [
        (None, None, "start", "must be given, or end"),
        (datetime(2026, 3, 1), None, "start", "has no timezone"),
        (None, datetime(2026, 3, 1), "end", "has no timezone"),
        ("2026-03-01", None, "start", "must be a datetime"),
        (NOON, 5, "end", "must be a datetime"),
        (NOON, datetime.max.replace(tzinfo=UTC), "end", "must lie within the years 1 to 9999 in UTC"),
        (datetime.min.replace(tzinfo=timezone(HOUR)), None, "start", "must lie within the years 1 to 9999 in UTC"),
        (NOON, NOON, "end", "must be later than start"),
        (NOON, NOON - HOUR, "end", "must be later than start"),
        (NOON, NOON.astimezone(timezone(timedelta(hours=5))), "end", "must be later than start"),
    ],
)
def test_bounds_refuse_bad_input(start: Any, end: Any, field: str, remedy: str) -> None:
    """Bounds that are no instants, or that leave nothing, are refused."""
    with pytest.raises(ScheduleError, match=remedy) as caught:
        every(hours=1).between(start, end)
    assert caught.value.field == field


def test_open_rules_are_bound_wherever_they_are() -> None:
    """A rule that waits for a start or a name is found within unions and bounds, and everything else stays."""
    rule = any_of(every(minutes=7, anchor="start"), cron("0 9 * * *")).between(None, NOON + 9 * HOUR)
    assert rule.is_from_start
    with pytest.raises(ScheduleError, match="before a scheduler has started"):
        rule.next_after(NOON)
    bound = rule.bound("job", to_ms(NOON) + 7)
    assert bound.is_from_start
    assert bound.next_ms(to_ms(NOON)) == to_ms(NOON) + 7
    steady = any_of(every(minutes=7), Theirs()).between(NOON, None)
    assert not steady.is_from_start
    assert steady.bound("job", 5) == steady


def first_slot(schedule: MsSchedule, name: str) -> int | None:
    """Return the first slot of a job that is added to a timetable at noon and registered without a past."""
    timetable = Timetable(to_ms(NOON))
    timetable.handle(e.Added(name, schedule, Policy()), to_ms(NOON))
    (register,) = timetable.poll(to_ms(NOON))
    assert isinstance(register, Register)
    watermark = to_ms(NOON) if register.watermark is None else register.watermark
    timetable.handle(registered([name], [watermark]), to_ms(NOON))
    facts = timetable.facts(name)
    assert facts is not None
    return facts.slot


def test_timetable_binds_what_it_is_given() -> None:
    """A job that is added has its own phase; and the start itself is the first slot even within a union."""
    assert first_slot(every(minutes=15, phase="spread"), "sync") == to_ms(NOON) + 155_291
    assert first_slot(any_of(every(minutes=7, anchor="start"), cron("0 9 * * *")), "sync") == to_ms(NOON)
    assert first_slot(every(minutes=7, anchor="start").between(NOON + HOUR, None), "sync") == to_ms(NOON) + 63 * 60_000
    assert first_slot(cron("0 * * * *"), "sync") == to_ms(NOON + HOUR)


def test_rules_say_themselves() -> None:
    """A combined schedule's text is made of its parts'."""
    union = any_of(every(minutes=15), Theirs())
    assert str(union) == "any of (every 0:15:00; at noon)"
    assert str(union.between(NOON, None)) == "any of (every 0:15:00; at noon), from 2026-03-01T12:00:00.000Z"
    assert str(every(minutes=15).between(NOON, NOON + HOUR)) == (
        "every 0:15:00, from 2026-03-01T12:00:00.000Z, until 2026-03-01T13:00:00.000Z"
    )
