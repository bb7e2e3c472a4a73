"""What snapshots show of observers, schedules and the slots to come."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from loopcron import (
    ActionAsked,
    Event,
    JobState,
    LifecycleError,
    ObserverFailed,
    ObserverSnapshot,
    Run,
    Schedule,
    ScheduleError,
    Scheduler,
    SchedulerStarted,
    SchedulerState,
    Succeeded,
    UnknownJobError,
    cron,
    every,
)
from loopcron.testing import RecordingObserver
from tests.shell.hands import Odd

if TYPE_CHECKING:
    from tests.shell.conftest import Stage


async def work(run: Run) -> None:
    """Do nothing."""


# --- what a user's parts do to it


class Told:
    """An observer that is given the scheduler, and keeps what it saw then."""

    def __init__(self) -> None:
        self.dropped = 0
        self.schedulers: list[Scheduler] = []
        self.seen: list[tuple[str, SchedulerState, JobState, str]] = []

    def attach(self, scheduler: Scheduler) -> None:
        self.schedulers.append(scheduler)
        self.look("attach")

    def on_event(self, event: Event) -> None:
        if isinstance(event, SchedulerStarted):
            self.look("event")

    def look(self, when: str) -> None:
        health = self.schedulers[-1].health()
        self.seen.append((when, health.state, health["work"].state, health["work"].why))


async def test_observer_is_attached_at_each_start(stage: Stage) -> None:
    """An observer that wants to look in is given the scheduler before it is told of the start, in each life."""
    told = Told()
    stage.build(observers=[told])
    stage.add(work)
    for _ in range(2):
        async with stage.scheduler:
            await stage.advance(minutes=1)
    assert told.schedulers == [stage.scheduler] * 2
    unserved = (SchedulerState.RUNNING, JobState.STOPPED, "it is not served yet, or no longer")
    assert told.seen == [("attach", *unserved), ("event", *unserved)] * 2


async def test_attaching_is_fenced(stage: Stage) -> None:
    """An observer that raises when it is attached is told of all the same, and keeps nobody from starting."""

    class Bad:
        def __init__(self) -> None:
            self.seen = RecordingObserver()
            self.on_event = self.seen.on_event

        def attach(self, scheduler: Scheduler) -> None:
            raise ValueError("not to me")

    bad = Bad()
    stage.build(observers=[bad, stage.seen])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        assert stage.scheduler.snapshot().observers[1:] == (
            ObserverSnapshot("Bad", disabled=False, problem="ValueError: not to me", dropped=0),
            ObserverSnapshot("RecordingObserver", disabled=False, problem="", dropped=0),
        )
    assert stage.told(ObserverFailed) == [ObserverFailed("Bad", "ValueError: not to me", disabled=False)]
    assert stage.outcomes() == [Succeeded()]
    assert len(bad.seen.settled()) == 1


async def test_how_observers_fare(stage: Stage) -> None:
    """Each shows with the log first: whether it is left out and why, and how much it had no room for."""

    class Bad:
        def __init__(self) -> None:
            self.dropped = 7

        def on_event(self, event: Event) -> None:
            raise ValueError("no")

    class Odd:
        dropped = "many"

        def on_event(self, event: Event) -> None: ...

    class Worse:
        @property
        def dropped(self) -> int:
            raise OSError("no")

        def on_event(self, event: Event) -> None: ...

    stage.build(observers=[Bad(), Odd(), Worse()])
    stage.add(work)
    before = stage.scheduler.snapshot().observers
    assert [(seen.name, seen.disabled) for seen in before] == [
        ("LoggingObserver", False),
        ("Bad", False),
        ("Odd", False),
        ("Worse", False),
    ]
    async with stage.scheduler:
        await stage.advance(minutes=3)
        assert stage.scheduler.snapshot().observers[1:] == (
            ObserverSnapshot("Bad", disabled=True, problem="ValueError: no", dropped=7),
            ObserverSnapshot("Odd", disabled=False, problem="", dropped=0),
            ObserverSnapshot("Worse", disabled=False, problem="", dropped=0),
        )
    async with stage.scheduler:
        assert not stage.scheduler.snapshot().observers[1].disabled


async def test_event_of_an_apps_own(stage: Stage) -> None:
    """An app may tell all observers of what it did, before a life, in it, and from the scheduler's thread only."""
    asked = ActionAsked("work", 1, "run", "ann", "")
    stage.scheduler.notify(asked)
    async with stage.scheduler:
        stage.scheduler.notify(asked)
        with pytest.raises(LifecycleError, match="another thread"):
            await anyio.to_thread.run_sync(stage.scheduler.notify, asked)
    assert stage.told(ActionAsked) == [asked] * 2


class Speechless(tzinfo):
    """A timezone that cannot say what it is."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, when: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, when: datetime | None) -> str:
        return "ODD"

    def __str__(self) -> str:
        raise ValueError("no")


def test_schedule_that_cannot_be_described(stage: Stage) -> None:
    """A snapshot has the schedule's type at least, and hurts nobody."""
    stage.add(work, schedule=cron("0 9 * * *", Speechless()))
    (job,) = stage.scheduler.snapshot().jobs
    assert (job.schedule, job.description, job.zone) == ("<Cron>", "<Cron>", "UTC")


# --- the slots to come


@pytest.mark.parametrize(
    "schedule",
    [every(minutes=7), every(minutes=7, anchor="start"), cron("*/7 * * * *", "Europe/Berlin"), every(minutes=1)],
    ids=str,
)
async def test_slots_to_come_are_those_that_run(stage: Stage, schedule: Schedule) -> None:
    """What is named is what is served, whether the scheduler runs or not, and whether the job is paused or not."""
    stage.add(work, schedule=schedule)
    before = stage.scheduler.upcoming("work", 3)
    async with stage.scheduler:
        await stage.advance(seconds=1)
        begun = stage.scheduler.upcoming("work", 3)
        assert begun == before
        assert begun[0].slot_at == stage.scheduler.health()["work"].next_slot_at
        stage.scheduler.pause("work")
        assert stage.scheduler.upcoming("work", 3) == begun
        stage.scheduler.resume("work")
        await stage.advance(minutes=22)
    served = [settled.slot_at for settled in stage.seen.settled() if settled.slot_at >= begun[0].slot_at]
    assert served[:3] == [slot.slot_at for slot in begun]


def test_number_and_end_of_the_slots_to_come(stage: Stage) -> None:
    """Five of them if not said otherwise, and none at or after the end."""
    stage.add(work)
    now = stage.clock.now()
    assert len(stage.scheduler.upcoming("work")) == 5
    assert stage.scheduler.upcoming("work", 0) == ()
    until = now.replace(second=0) + timedelta(minutes=3)
    assert [slot.slot_at for slot in stage.scheduler.upcoming("work", 9, until=until)] == [
        now.replace(second=0) + timedelta(minutes=minute) for minute in (1, 2)
    ]


def test_slots_to_come_of_a_schedule_that_fails(stage: Stage) -> None:
    """What it names before it fails shows, and nothing is raised; the job's state tells the rest."""
    odd = Odd()
    stage.add(work, schedule=odd)
    assert len(stage.scheduler.upcoming("work", 2)) == 2
    odd.broken = True
    assert stage.scheduler.upcoming("work", 2) == ()


def test_slots_to_come_of_what_is_not_there(stage: Stage) -> None:
    """A name that no job has, and an end without a timezone, are refused."""
    stage.add(work)
    with pytest.raises(UnknownJobError, match="wrok"):
        stage.scheduler.upcoming("wrok")
    with pytest.raises(ScheduleError, match="until"):
        stage.scheduler.upcoming("work", until=datetime(2031, 5, 7))
