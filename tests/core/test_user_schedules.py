"""Schedules that users make: every answer is checked, and one that fails or lies parks its job and never spins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import _events as e
from loopcron._combined import any_of
from loopcron._errors import ScheduleError
from loopcron._every import every
from loopcron._instants import from_ms, to_ms
from loopcron._jobs import FunctionJob, HttpJob
from loopcron._ledger import Register
from loopcron._outcomes import Missed, Skipped
from loopcron._scheduler import Scheduler
from loopcron._schedules import COUNT_LIMIT, in_ms
from tests.rows import registered

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Question = Callable[[datetime], datetime | None]


class Minutely:
    """Every whole minute; either answer can be replaced."""

    def __init__(self, next_after: Question | None = None, latest_until: Question | None = None) -> None:
        self.ask_next = next_after
        self.ask_latest = latest_until
        self.asked = 0

    def next_after(self, instant: datetime) -> datetime | None:
        self.asked += 1
        if self.ask_next is not None:
            return self.ask_next(instant)
        return from_ms((to_ms(instant) // MINUTE + 1) * MINUTE)

    def latest_until(self, instant: datetime) -> datetime | None:
        self.asked += 1
        if self.ask_latest is not None:
            return self.ask_latest(instant)
        return from_ms(to_ms(instant) // MINUTE * MINUTE)


def raising(_: datetime) -> datetime:
    raise RuntimeError("no schedule today")


def overflowing(_: datetime) -> datetime:
    return datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-5)))


def saying_soon(_: datetime) -> Any:
    return "soon"


LIES: list[tuple[str, Question, str]] = [
    ("raises", raising, "RuntimeError: no schedule today"),
    ("past", lambda instant: instant - timedelta(seconds=1), "is not after the instant asked for"),
    ("same", lambda instant: instant, "is not after the instant asked for"),
    ("naive", lambda instant: instant.replace(tzinfo=None) + timedelta(seconds=1), "has no timezone"),
    ("fraction", lambda instant: instant + timedelta(microseconds=1500), "must be whole milliseconds"),
    ("text", saying_soon, "must be a datetime"),
    ("beyond UTC", overflowing, "OverflowError"),
]


@pytest.mark.parametrize(("lie", "message"), [(lie, message) for _, lie, message in LIES], ids=[x for x, *_ in LIES])
def test_job_whose_schedule_lies_is_parked_and_never_spins(desk: Desk, lie: Question, message: str) -> None:
    """A lying schedule parks its job with the reason and is asked again after 1 s doubling to 5 min, until it heals."""
    schedule = Minutely()
    desk.add(schedule)
    desk.add(name="other")
    desk.actions.clear()
    schedule.ask_next, schedule.asked = lie, 0
    desk.go(3_600_000)
    actions = desk.actions
    parked = [action for action in actions if isinstance(action, e.JobParked)]
    assert message in parked[0].error
    assert [action.retry_ms for action in parked[:10]] == [1_000 * 2**n for n in range(9)] + [300_000]
    assert {action.retry_ms for action in parked[9:]} == {300_000}
    assert schedule.asked <= 2 * len(parked) < 50
    assert desk.facts().parked == parked[-1].error
    assert len([claim for claim in desk.claims if claim.job == "other"]) == 1, "it waits for its claim only"
    desk.actions.clear()
    schedule.ask_next = None
    desk.go(3_600_000 + 300_000)
    assert any(isinstance(action, e.JobUnparked) for action in desk.actions)
    assert desk.facts().parked is None
    healed = [claim.slot for claim in desk.claims if claim.job == "job"]
    missed = [action.outcome for action in desk.actions if isinstance(action, e.Settled) and action.job == "job"]
    assert missed == [Missed(desk.start + MINUTE, healed[0] - MINUTE, (healed[0] - desk.start) // MINUTE - 1)]


def test_exception_travels_with_the_parking(desk: Desk) -> None:
    """The schedule's exception is in the event, for this delivery, and its text only once in the event's own."""
    desk.add(Minutely(next_after=raising))
    (parked,) = desk.take(e.JobParked)
    assert isinstance(parked.exception, RuntimeError)
    assert repr(parked) == "JobParked(job='job', error='RuntimeError: no schedule today', retry_ms=1000)"


def test_failing_at_registration_asks_the_ledger_again(desk: Desk) -> None:
    """A schedule that fails when the job is opened is parked, and the job registers anew when it is asked again."""
    schedule = Minutely(next_after=raising)
    desk.add(schedule)
    assert [parked.retry_ms for parked in desk.take(e.JobParked)] == [1_000]
    assert desk.facts().slot is None
    assert not desk.facts().ended
    schedule.ask_next = None
    desk.at(1_000)
    assert len(desk.take(Register)) == 1
    assert desk.facts().parked is not None, "asking the ledger is no proof that the schedule works"
    desk.tell(registered(["job"], [desk.start]))
    assert len(desk.take(e.JobUnparked)) == 1
    assert desk.facts().slot == desk.start + MINUTE


def test_failing_before_registration_parks_too(desk: Desk) -> None:
    """With run_on_start the schedule is asked before the ledger; if that fails the job is parked and tried again."""
    schedule = Minutely(latest_until=raising)
    desk.add(schedule, run_on_start=True)
    assert len(desk.take(e.JobParked)) == 1
    schedule.ask_latest = None
    desk.at(1_000)
    assert [register.watermark for register in desk.take(Register)] == [desk.start - 1]


def test_failing_at_its_end_parks_until_the_last_slot_is_known(desk: Desk) -> None:
    """A schedule without slots that cannot name its last one is asked again until the end can be reported."""
    schedule = Minutely(next_after=lambda _: None, latest_until=raising)
    desk.add(schedule)
    assert len(desk.take(e.JobParked)) == 1
    schedule.ask_latest = None
    desk.at(1_000)
    desk.tell(registered(["job"], [desk.start]))
    assert [(ended.last, ended.served) for ended in desk.take(e.JobEnded)] == [(desk.start, False)]
    assert desk.facts().ended


def test_latest_that_contradicts_next_is_refused(desk: Desk) -> None:
    """A latest_until that denies the slots which next_after named parks the job with both named."""
    schedule = Minutely(latest_until=lambda _: None)
    desk.add(schedule)
    desk.at(MINUTE)
    assert len(desk.claims) == 1, "with one slot due there is nothing to contradict"
    desk.win()
    desk.end(None)
    desk.at(3 * MINUTE)
    (parked,) = desk.take(e.JobParked)
    assert parked.error == (
        "ScheduleError: latest_until=None: contradicts next_after, which named '2026-03-01T00:03:00.000Z'"
    ).replace("'", "")


def test_newest_older_than_the_second_is_refused(desk: Desk) -> None:
    """A latest_until that names an older slot than next_after did is shown with its answer."""
    desk.add(Minutely(latest_until=lambda instant: instant - timedelta(days=1)))
    desk.at(3 * MINUTE)
    (parked,) = desk.take(e.JobParked)
    assert "latest_until='2026-02-28T00:03:00.000Z': contradicts next_after" in parked.error


def test_next_that_contradicts_latest_is_refused(desk: Desk) -> None:
    """A next_after that finds a slot between the newest due one and now parks the job."""
    schedule = Minutely(latest_until=lambda instant: from_ms((to_ms(instant) // MINUTE - 1) * MINUTE))
    desk.add(schedule)
    desk.at(5 * MINUTE)
    (parked,) = desk.take(e.JobParked)
    assert "next_after='2026-03-01T00:05:00.000Z': contradicts latest_until" in parked.error


@pytest.mark.parametrize("passed", [None, NOON - timedelta(days=2)])
def test_one_before_the_newest_is_checked(desk: Desk, passed: datetime | None) -> None:
    """A latest_until that names the newest slot but denies the first unserved one parks the job."""
    newest = desk.start + 3 * MINUTE

    def latest(instant: datetime) -> datetime | None:
        return from_ms(newest) if to_ms(instant) >= newest else passed

    desk.add(Minutely(latest_until=latest))
    desk.at(3 * MINUTE)
    (parked,) = desk.take(e.JobParked)
    shown = "latest_until=None" if passed is None else "latest_until='2026-02-27T12:00:00.000Z'"
    assert f"{shown}: contradicts next_after, which named 2026-03-01T00:01:00.000Z" in parked.error


def test_latest_after_the_question_is_refused() -> None:
    """A latest_until may not answer with what comes later than it was asked."""
    with pytest.raises(ScheduleError, match="is after the instant asked for"):
        in_ms(Minutely(latest_until=lambda instant: instant + timedelta(minutes=1))).latest_ms(to_ms(NOON))


def test_answers_in_any_timezone_are_the_same_instant() -> None:
    """An aware answer in another timezone counts as the instant that it is."""
    eastern = timezone(timedelta(hours=-5))
    there = Minutely(next_after=lambda instant: (instant + timedelta(minutes=1)).astimezone(eastern))
    assert in_ms(there).next_ms(to_ms(NOON)) == to_ms(NOON) + MINUTE


def test_counting_is_bounded() -> None:
    """A count without arithmetic is exact up to 100 slots, then None, however long the range is."""
    schedule = Minutely()
    first = to_ms(NOON)
    asked = in_ms(schedule)
    assert asked.count(first, first) == 1
    assert asked.count(first, first + (COUNT_LIMIT - 1) * MINUTE) == COUNT_LIMIT
    schedule.asked = 0
    assert asked.count(first, first + COUNT_LIMIT * MINUTE) is None
    assert asked.count(first, first + 3650 * 1440 * MINUTE) is None
    assert schedule.asked == 2 * COUNT_LIMIT
    assert in_ms(Minutely(next_after=lambda _: None)).count(first, first + 1) == 1


def test_ten_silent_years_are_found_by_search(desk: Desk) -> None:
    """Five million missed slots become one record with an unknown count, and few questions."""
    schedule = Minutely()
    desk.add(schedule)
    schedule.asked = 0
    years = 3650 * 1440 * MINUTE
    desk.at(years)
    assert desk.outcomes() == [(years - MINUTE, Missed(desk.start + MINUTE, desk.start + years - MINUTE, None))]
    assert [claim.slot for claim in desk.claims] == [desk.start + years]
    assert schedule.asked < 110


def test_period_of_a_failing_schedule_is_an_hour(desk: Desk) -> None:
    """Where the schedule cannot say the gap, reading health and triggering still work, with a period of one hour."""
    schedule = Minutely()
    desk.add(schedule)
    schedule.ask_next = raising
    assert desk.facts().period == 3_600_000
    desk.tell(e.Triggered("job", "job@manual-1"))
    assert [start.deadline for start in desk.take(e.RunStarted)] == [desk.start + 300_000]


def test_resume_with_a_failing_schedule_settles_nothing(desk: Desk) -> None:
    """A schedule that fails at resume parks the job; the slots meanwhile are served when it works again."""
    schedule = Minutely()
    desk.add(schedule, paused=True)
    schedule.ask_next = raising
    desk.tell(e.ResumeAsked("job"), 2 * MINUTE)
    assert desk.outcomes() == []
    assert not desk.facts().paused
    assert desk.facts().parked is not None
    schedule.ask_next = None
    desk.go(2 * MINUTE + 1_000)
    assert desk.outcomes() == [(MINUTE, Missed(desk.start + MINUTE, desk.start + MINUTE, 1))]
    assert len(desk.claims) == 1


def test_paused_job_is_not_asked_and_so_stays_parked(desk: Desk) -> None:
    """While a parked job is paused its schedule is not asked, and nobody claims that it works again."""
    schedule = Minutely()
    desk.add(schedule)
    schedule.ask_next = raising
    desk.at(MINUTE)
    desk.tell(e.PauseAsked("job"))
    desk.actions.clear()
    schedule.asked = 0
    desk.go(60 * MINUTE)
    assert desk.take(e.JobUnparked) == []
    assert schedule.asked == 0
    assert desk.timetable.next_wakeup() is None
    schedule.ask_next = None
    desk.tell(e.ResumeAsked("job"))
    assert [type(action) for action in desk.actions] == [e.JobUnparked, e.Settled, e.JobResumed]


def test_removal_with_a_failing_schedule_settles_what_is_known(desk: Desk) -> None:
    """At removal a failing schedule cannot name the range: the first open slot stands for it, uncounted."""
    schedule = Minutely()
    desk.add(schedule)
    schedule.ask_next = raising
    desk.at(MINUTE)
    desk.actions.clear()
    desk.tell(e.Removed("job"), 3 * MINUTE)
    assert desk.outcomes() == [(MINUTE, Skipped("removed", desk.start + MINUTE, desk.start + MINUTE, None))]


def test_back_off_begins_anew_once_the_schedule_has_worked(desk: Desk) -> None:
    """A schedule that fails, heals and fails again is asked after 1 s again: old faults do not count for ever."""
    schedule = Minutely()
    desk.add(schedule, overlap="allow")
    schedule.ask_next = raising
    desk.go(MINUTE + 10_000)
    assert [parked.retry_ms for parked in desk.take(e.JobParked)] == [1_000, 2_000, 4_000, 8_000]
    schedule.ask_next = None
    desk.go(MINUTE + 15_000)
    assert len(desk.take(e.JobUnparked)) == 1
    desk.win()
    schedule.ask_next = raising
    desk.at(2 * MINUTE)
    assert [parked.retry_ms for parked in desk.take(e.JobParked)] == [1_000]


class Speechless(Minutely):
    """It works, and cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_schedule_that_cannot_say_itself_is_shown_by_its_type() -> None:
    """Where a schedule's text is wanted and raises, its type stands for it: in jobs, unions and the snapshot."""
    rule = Speechless()
    union = any_of(rule, every(hours=1)).between(NOON)
    assert str(union) == "any of (<Speechless>; every 1:00:00), from 2026-03-01T12:00:00.000Z"
    assert union.describe().startswith("<Speechless>; or every hour")
    jobs: list[FunctionJob | HttpJob] = [FunctionJob("a", rule, print), HttpJob("b", rule, "/api")]
    assert [repr(job) for job in jobs] == ["<FunctionJob a, <Speechless>>", "<HttpJob b, <Speechless>, POST /api>"]
    scheduler = Scheduler()
    for job in jobs:
        scheduler.add(job)
    assert {job.schedule for job in scheduler.snapshot().jobs} == {"<Speechless>"}
