"""What the scheduler makes of a wall clock that is set while something else goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from loopcron import (
    Answer,
    Claim,
    ClockStepped,
    Event,
    InternalFault,
    Interrupted,
    JobState,
    MemoryLedger,
    Missed,
    Register,
    Row,
    Run,
    RunStarted,
    Scheduler,
    Settled,
    Skipped,
    Succeeded,
    Taken,
    Unavailable,
    every,
)
from loopcron._events import Fact, Stepped
from loopcron._instants import from_ms
from loopcron._timetable import Timetable
from loopcron.testing import FakeClock, RecordingObserver, hang
from tests.wrapped import WrappedLedger

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

FOUR_HOURS = timedelta(hours=4)


async def work(run: Run) -> None:
    """Do nothing."""


async def hang_on(run: Run) -> None:
    """Hang."""
    await hang()


class Ears:
    """An observer that does something at the first event of a kind."""

    def __init__(self, kind: type[Any], act: Callable[[], object]) -> None:
        self.kind = kind
        self.act = act
        self.acted = False

    def on_event(self, event: Event) -> None:
        if isinstance(event, self.kind) and not self.acted:
            self.acted = True
            self.act()


class SlowLedger(WrappedLedger):
    """A memory ledger that waits for its gate before each call, and may be unable to lower a row."""

    def __init__(self, clock: FakeClock, *, lowers: bool = True) -> None:
        super().__init__(MemoryLedger(clock))
        self.lowers = lowers
        self.gate = anyio.Event()
        self.gate.set()
        self.asked: list[str] = []

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row | Unavailable]:
        jobs = jobs if self.lowers else [job._replace(corrected=False) for job in jobs]
        await self.pass_gate("register")
        return await self.ledger.register(jobs)

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        answers = await self.ledger.claim(claims)
        await self.pass_gate("claim")
        return answers

    async def pass_gate(self, call: str) -> None:
        self.asked.append(call)
        await self.gate.wait()


def slots(stage: Stage, outcome: type[Any] = Succeeded) -> list[datetime]:
    return [settled.slot_at for settled in stage.seen.settled() if isinstance(settled.outcome, outcome)]


# --- noticing


async def test_small_steps_back_add_up(stage: Stage) -> None:
    """Steps too small to be told, but quicker than the clock makes up for them, are told together once they are not."""
    stage.add(work, schedule=every(milliseconds=100))
    async with stage.scheduler:
        await stage.advance(seconds=1)
        for _ in range(3):
            stage.clock.jump_wall(timedelta(seconds=-0.5))
            await stage.advance(seconds=0.1)
        assert [event.by_ms for event in stage.told(ClockStepped)] == [-1500]
        await stage.advance(seconds=2)
    assert [event.by_ms for event in stage.told(ClockStepped)] == [-1500]
    assert not stage.told(InternalFault)
    assert slots(stage) == sorted(set(slots(stage)))


async def test_small_steps_that_cancel_out_are_none(stage: Stage) -> None:
    """A small step back and another one forward leave things as they were, and no slot runs twice."""
    stage.add(work, schedule=every(milliseconds=100))
    async with stage.scheduler:
        await stage.advance(seconds=1)
        for by in (-0.9, 0.9, -0.6, -0.4, 1.0):
            stage.clock.jump_wall(timedelta(seconds=by))
            await stage.advance(seconds=0.1)
    assert not stage.told(ClockStepped)
    assert not stage.told(InternalFault)
    assert slots(stage) == sorted(set(slots(stage)))


async def test_process_that_is_stopped_between_the_hands_sees_no_step(stage: Stage) -> None:
    """Time that passes between the readings of the two hands is no step: what looks like one is read again."""

    class Stopped:
        def __init__(self, clock: FakeClock) -> None:
            self.now = clock.now
            self.sleep = clock.sleep
            self.attach = clock.attach
            self.clock = clock
            self.stop = False

        def monotonic(self) -> float:
            if self.stop:
                self.stop = False
                self.clock._move_to(self.clock._monotonic + timedelta(seconds=20))
            return self.clock.monotonic()

    clock = Stopped(stage.clock)
    stage.build(clock=clock)
    stage.add(work, schedule=every(hours=1))
    async with stage.scheduler:
        await stage.advance(hours=1)
        clock.stop = True
        await stage.advance(hours=1)
    assert not clock.stop
    assert not stage.told(ClockStepped)
    assert len(slots(stage)) == 2


async def test_step_that_is_seen_before_sleeping_is_told_at_once(stage: Stage) -> None:
    """A clock that is set while the loop takes its turn is told before the loop sleeps, and not half a minute later."""
    stage.build(observers=[stage.seen, Ears(Settled, lambda: stage.clock.jump_wall(timedelta(hours=-1)))])
    stage.add(hang_on, timeout=None)
    async with stage.scheduler:
        await stage.advance(seconds=43)
        assert len(stage.told(RunStarted)) == 1
        await stage.advance(seconds=60)
        assert stage.outcomes()[0] == Skipped("overlap")
        assert [event.by_ms for event in stage.told(ClockStepped)] == [-3_600_000]


async def test_step_that_trips_the_timetable_is_a_fault(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in the handling of a step is reported, and the loop goes on."""
    handle = Timetable.handle

    def fail(self: Timetable, fact: Fact, now: int) -> None:
        handle(self, fact, now)
        if isinstance(fact, Stepped):
            raise RuntimeError("no")

    monkeypatch.setattr(Timetable, "handle", fail)
    stage.add(work)
    async with stage.scheduler:
        stage.clock.jump_wall(timedelta(seconds=30))
        await stage.advance(minutes=2)
    assert [event.where for event in stage.told(InternalFault)] == ["Stepped"]
    assert stage.outcomes() == [Succeeded()] * 2


# --- forward, and suspended


async def test_suspended_machine_runs_within_a_slice_of_waking(stage: Stage) -> None:
    """After a night asleep the newest slot runs within 30 s, the others were missed, and the job is well."""
    stage.add(work, schedule=every(minutes=15))
    async with stage.scheduler:
        await stage.advance(minutes=2)
        stage.clock.jump_wall(timedelta(hours=8))
        await stage.advance(seconds=30)
        assert [type(outcome) for outcome in stage.outcomes()] == [Succeeded, Missed, Succeeded]
        assert stage.scheduler.health()["work"].state is JobState.OK


@pytest.mark.parametrize("by", [timedelta(hours=1), -FOUR_HOURS], ids=str)
async def test_startup_delay_is_as_long_as_it_was(stage: Stage, by: timedelta) -> None:
    """A clock that is set during the start-up delay makes it neither longer nor shorter, and loses no first run."""
    stage.build(startup_delay=timedelta(minutes=2))
    stage.add(work, schedule=every(hours=1), run_on_start=True)
    stage.add(work, name="anchored", schedule=every(hours=1, anchor="start"))
    async with stage.scheduler:
        await stage.advance(minutes=1)
        stage.clock.jump_wall(by)
        await stage.advance(seconds=59)
        assert stage.outcomes() == []
        await stage.advance(seconds=1)
    assert Succeeded() in stage.outcomes("anchored")
    assert Succeeded() in stage.outcomes("work")


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1), -FOUR_HOURS], ids=str)
async def test_drain_is_as_long_as_it_was(stage: Stage, by: timedelta) -> None:
    """A clock that is set during the drain makes it neither longer nor shorter."""
    ended: list[float] = []
    stage.add(hang_on, timeout=None)
    async with stage.scheduler:
        await stage.advance(seconds=43)
        begin = stage.clock.monotonic()
        stage.clock.jump_wall(by)
    ended.append(stage.clock.monotonic() - begin)
    assert ended == [10.0]
    assert stage.outcomes()[-1] == Interrupted("shutdown")


async def test_paused_job_skips_what_a_step_passed(stage: Stage) -> None:
    """Slots that a forward step passes while the job is paused are skipped as all others of the pause."""
    stage.add(work, schedule=every(hours=1))
    async with stage.scheduler:
        await stage.advance(seconds=1)
        stage.scheduler.pause("work")
        stage.clock.jump_wall(timedelta(hours=5))
        await stage.advance(minutes=1)
        stage.scheduler.resume("work")
        await stage.advance(minutes=1)
    (outcome,) = stage.outcomes()
    assert isinstance(outcome, Skipped)
    assert (outcome.reason, outcome.count) == ("paused", 5)


# --- back


async def test_job_waits_after_a_step_back_and_says_so(stage: Stage) -> None:
    """After a step back no slot runs twice: overdue at once, until when is said, and well after that."""
    stage.add(work, schedule=every(minutes=15))
    async with stage.scheduler:
        await stage.advance(minutes=17)
        assert len(slots(stage)) == 2
        stage.clock.jump_wall(timedelta(minutes=-72))
        await stage.advance(seconds=30)
        assert [event.is_correction for event in stage.told(ClockStepped)] == [False]
        health = stage.scheduler.health()["work"]
        assert (health.state, health.overdue) == (JobState.OVERDUE, True)
        assert health.why == (
            "the clock went back; no slot recurs, so it waits until its last slot, 2031-05-07T11:30:00.000Z, "
            "has passed again, in 1:11:13"
        )
        assert not stage.scheduler.health().live
        await stage.advance(minutes=70, seconds=13)
        assert stage.scheduler.health()["work"].state is JobState.OK
        assert len(slots(stage)) == 2
        await stage.advance(minutes=16)
    assert len(slots(stage)) == 3
    assert slots(stage) == sorted(set(slots(stage)))


async def test_new_job_says_that_the_clock_went_back(stage: Stage) -> None:
    """A job that has run nothing yet waits too, because its row begins at the old now; health says by how much."""
    stage.add(work, schedule=every(hours=1))
    async with stage.scheduler:
        await stage.advance(seconds=1)
        stage.clock.jump_wall(timedelta(hours=-2))
        await stage.advance(seconds=30)
        assert stage.scheduler.health()["work"].why.startswith("ledger ahead by 1:59:29")


# --- corrections


async def test_job_goes_on_after_a_correction(stage: Stage) -> None:
    """A clock that was hours ahead and is set right: each job runs at the first slot after that, and is well."""
    stage.add(work, schedule=every(minutes=15))
    stage.add(work, name="anchored", schedule=every(minutes=10, anchor="start"))
    async with stage.scheduler:
        await stage.advance(minutes=32)
        count = len(slots(stage))
        stage.clock.jump_wall(-FOUR_HOURS)
        await stage.advance(seconds=30)
        assert [event.is_correction for event in stage.told(ClockStepped)] == [True]
        assert {health.state for health in stage.scheduler.health().jobs} == {JobState.OK}
        corrected = stage.clock.now()
        await stage.advance(minutes=15)
    again = list(stage.seen.settled())[count:]
    assert [(settled.job, settled.outcome) for settled in again[:2]] == [
        ("anchored", Succeeded()),
        ("work", Succeeded()),
    ]
    assert all(settled.slot_at > corrected for settled in again)


async def test_removed_job_comes_back_after_a_correction(stage: Stage) -> None:
    """A name that was removed before the clock was corrected, and is added again after, begins at the new now."""
    stage.add(work)
    stage.add(work, name="other")
    async with stage.scheduler:
        await stage.advance(minutes=1)
        stage.scheduler.remove("work")
        stage.clock.jump_wall(-FOUR_HOURS)
        await stage.advance(seconds=30)
        stage.add(work)
        await stage.advance(minutes=1)
    assert stage.outcomes("work") == [Succeeded()] * 2


async def test_claim_that_is_under_way_runs_and_then_the_job_goes_on(stage: Stage) -> None:
    """A claim that a slow ledger answers after the correction counts; the row is lowered only after it."""
    ledger = SlowLedger(stage.clock)
    stage.build(ledger=ledger)
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(seconds=1)
        ledger.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.clock.advance, timedelta(seconds=43))
            while ledger.asked != ["register", "claim"]:
                await anyio.lowlevel.checkpoint()
            stage.clock.jump_wall(-FOUR_HOURS)
            stage.scheduler._engine.turn()  # type: ignore[union-attr]
            assert len(stage.told(ClockStepped)) == 1
            ledger.gate.set()
        assert ledger.asked == ["register", "claim", "register"]
        assert len(slots(stage)) == 1
        await stage.advance(minutes=2)
    first, second, *_ = slots(stage)
    assert first - second == FOUR_HOURS - timedelta(minutes=1)


async def test_ledger_that_keeps_its_rows_is_said_to_be_ahead(stage: Stage) -> None:
    """A ledger that cannot be lowered loses every slot up to its row; health says by how much it is ahead."""
    ledger = SlowLedger(stage.clock, lowers=False)
    stage.build(ledger=ledger)
    stage.add(work, schedule=every(minutes=15))
    async with stage.scheduler:
        await stage.advance(minutes=17)
        stage.clock.jump_wall(-FOUR_HOURS)
        await stage.advance(seconds=30)
        health = stage.scheduler.health()["work"]
        assert health.state is JobState.OVERDUE
        assert health.why == "ledger ahead by 3:59:13: it holds slots up to 2031-05-07T11:30:00.000Z as taken"
        await stage.advance(minutes=16)
        assert stage.outcomes()[-1] == Taken()
        await ledger.reset(["work"])
        await stage.advance(minutes=15)
        assert stage.outcomes()[-1] == Succeeded()
        assert stage.scheduler.health()["work"].state is JobState.OK


async def test_two_schedulers_on_one_ledger_go_on_after_a_correction() -> None:
    """Two schedulers that share rows notice the correction at different moments, and each slot still runs once."""
    clock, seen = FakeClock(), RecordingObserver()
    ledger = MemoryLedger(clock)
    first, second = (Scheduler(clock=clock, ledger=ledger, observers=[seen]) for _ in range(2))
    first.job(every(seconds=7), name="job")(work)
    second.job(every(seconds=7), name="job")(work)
    second.job(every(seconds=5), name="own")(work)
    async with first, second:
        await clock.advance(timedelta(minutes=3, seconds=1))
        clock.jump_wall(-FOUR_HOURS)
        corrected = clock.now()
        await clock.advance(timedelta(minutes=3))
    ran = [settled.slot_at for settled in seen.settled("job") if settled.outcome == Succeeded()]
    again = [slot for slot in ran if corrected < slot < corrected + timedelta(minutes=10)]
    assert again == [again[0] + number * timedelta(seconds=7) for number in range(len(again))]
    assert len(again) >= 24
    assert len(set(ran)) == len(ran)


async def test_live_run_outlives_a_correction(stage: Stage) -> None:
    """A run that is alive goes on as if nothing was, and ends in its own time."""

    async def nap(run: Run) -> None:
        await run.sleep(90)

    stage.add(nap, schedule=every(hours=1), timeout=timedelta(seconds=100), run_on_start=True)
    async with stage.scheduler:
        await stage.advance(seconds=20)
        stage.clock.jump_wall(-FOUR_HOURS)
        await stage.advance(seconds=90)
    assert stage.outcomes() == [Succeeded()]
    (settled,) = stage.seen.settled()
    assert settled.duration_seconds == 90.0
    assert settled.slot_at == from_ms(settled.slot)
