"""Health over the lives of a scheduler, as it comes about, and read from any thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from loopcron import (
    Busy,
    FunctionJob,
    Health,
    JobHealth,
    JobState,
    LoopBlocked,
    MemoryLedger,
    Run,
    Scheduler,
    SchedulerState,
    every,
)
from loopcron.testing import RecordingTransport, hang
from tests.shell.hands import MINUTE, HandClock, Odd, Slipping
from tests.wrapped import WrappedLedger

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

SECOND = timedelta(seconds=1)


async def work(run: Run) -> None:
    """Do nothing."""


def job_health(stage: Stage, job: str = "work") -> JobHealth:
    """Return the health of a job now."""
    return stage.scheduler.health()[job]


def verdict(health: Health) -> tuple[SchedulerState, bool, bool, bool]:
    """Return the state of the scheduler, and whether it is live, ready and ok."""
    return health.state, health.live, health.ready, health.ok


# --- the life of a scheduler


async def test_states_of_a_life(stage: Stage) -> None:
    """Before, in, at the end of and after a life the scheduler says which it is, and since when."""
    stage.add(wait_for_the_end)
    scheduler, clock = stage.scheduler, stage.clock
    assert verdict(scheduler.health()) == (SchedulerState.STOPPED, False, False, False)
    assert scheduler.health().since_at is None
    assert scheduler.snapshot().started_at is None
    await stage.advance(minutes=1)
    begun = clock.now()
    async with scheduler:
        await stage.advance(seconds=90)
        health = scheduler.health()
        assert verdict(health) == (SchedulerState.RUNNING, True, True, True)
        assert (health.why, health.since_at) == ("", begun)
        assert scheduler.snapshot().started_at == begun
        stopping = clock.now()
        async with anyio.create_task_group() as group:
            group.start_soon(scheduler.stop)
            seen: list[Health] = []
            while (health := scheduler.health()).state is not SchedulerState.STOPPED:
                seen.append(health)
                await anyio.lowlevel.checkpoint()
        health = next(health for health in seen if health.state is SchedulerState.STOPPING)
        assert verdict(health) == (SchedulerState.STOPPING, True, False, False)
        assert health.since_at == stopping
        # It has stopped, and the app goes on serving without it.
        stopped = scheduler.health()
        assert verdict(stopped) == (SchedulerState.STOPPED, False, False, False)
        assert stopped.why == "the scheduler has stopped"
        assert stopped.since_at == stopping + timedelta(seconds=10)
        assert stopped["wait_for_the_end"].state is JobState.STOPPED
        await stage.advance(minutes=5)
        assert scheduler.health().since_at == stopped.since_at
    assert (scheduler.health().why, scheduler.health().since_at) == (stopped.why, stopped.since_at)
    assert not scheduler.snapshot().running


async def wait_for_the_end(run: Run) -> None:
    """Hang until the drain is over."""
    await hang()


async def test_disabled_scheduler_says_so(stage: Stage) -> None:
    """Entered with enabled=False it is ready and serves nothing; once left it is stopped as any other."""
    stage.build(enabled=False)
    stage.add(work)
    begun = stage.clock.now()
    async with stage.scheduler:
        await stage.advance(minutes=5)
        health = stage.scheduler.health()
        assert verdict(health) == (SchedulerState.DISABLED, True, True, True)
        assert health.since_at == begun
        assert (health["work"].state, health["work"].overdue) == (JobState.STOPPED, False)
        assert not stage.scheduler.snapshot().running
    assert stage.scheduler.health().state is SchedulerState.STOPPED
    assert stage.scheduler.health().since_at == begun + timedelta(minutes=5)


async def test_disabled_scheduler_lets_go_of_its_ledger(stage: Stage) -> None:
    """Somebody else than the scheduler may have used it, such as a guard; what its end raises hurts nobody."""
    closed: list[str] = []

    class Store(WrappedLedger):
        async def close(self) -> None:
            closed.append("closed")
            raise OSError("no")

    stage.build(ledger=Store(MemoryLedger(stage.clock)), enabled=False)
    async with stage.scheduler:
        assert closed == []
    assert closed == ["closed"]


async def test_disabled_scheduler_is_left_with_a_broken_clock(stage: Stage) -> None:
    """A clock that cannot be read at the end keeps nobody from leaving."""
    clock = Slipping(stage.clock)
    stage.build(enabled=False, clock=clock)
    async with stage.scheduler:
        clock.broken = True
    clock.broken = False
    assert not stage.scheduler.snapshot().running


async def test_manual_life_has_no_loop_that_could_be_silent(stage: Stage) -> None:
    """Without a loop there is no silence: what is due and not ticked for is overdue instead."""
    stage.add(work)
    async with stage.scheduler.manual():
        assert stage.scheduler.health().loop.silent_seconds is None
        await stage.scheduler.tick()
        await stage.advance(hours=1)
        health = stage.scheduler.health()
        assert (health.state, health["work"].state) == (SchedulerState.RUNNING, JobState.OVERDUE)
        assert not health.live


async def test_history_and_marks_over_lives(stage: Stage) -> None:
    """A pause outlives a life with its beginning; what a job has been through does too, what parks it does not."""
    odd = Odd()
    stage.add(work)
    stage.add(work, name="odd", schedule=odd)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        stage.scheduler.pause("work")
        paused = stage.clock.now()
        odd.broken = True
        await stage.advance(minutes=2)
        parked = job_health(stage, "odd")
        assert (parked.state, parked.why) == (JobState.PARKED, "ValueError: odd")
        assert parked.since_at is not None
        assert paused < parked.since_at <= paused + MINUTE
        assert (job_health(stage).state, job_health(stage).since_at) == (JobState.PAUSED, paused)
    odd.broken = False
    async with stage.scheduler:
        await stage.advance(minutes=1)
        assert (job_health(stage).state, job_health(stage).since_at) == (JobState.PAUSED, paused)
        assert job_health(stage, "odd").state is JobState.OK
        stage.scheduler.resume("work")
        await stage.advance(minutes=1)
        assert job_health(stage).state is JobState.OK
        assert len(stage.scheduler.snapshot()["work"].history) == 4  # with two ranges of paused slots


async def test_pause_between_two_lives(stage: Stage) -> None:
    """What is paused while the scheduler does not run is paused since the next start, after a resume too."""
    stage.add(work)
    stage.scheduler.resume("work")  # it has no record yet
    async with stage.scheduler:
        stage.scheduler.pause("work")
    await stage.advance(hours=1)
    stage.scheduler.resume("work")
    stage.scheduler.pause("work")
    begun = stage.clock.now()
    async with stage.scheduler:
        await stage.advance(minutes=5)
        assert job_health(stage).since_at == begun


async def test_job_that_is_removed_while_it_is_parked(stage: Stage) -> None:
    """Nothing is left of it: not its state, not its history, and a new one of its name begins anew."""
    odd = Odd()
    stage.add(work, schedule=odd)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        odd.broken = True
        await stage.advance(minutes=2)
        assert job_health(stage).state is JobState.PARKED
        (before,) = stage.scheduler.snapshot()["work"].history
        stage.scheduler.remove("work")
        assert stage.scheduler.health().jobs == ()
        assert stage.scheduler.snapshot().jobs == ()
        assert stage.scheduler.health().ok
        stage.add(work)
        await stage.advance(seconds=1)
        assert (job_health(stage).state, job_health(stage).since_at) == (JobState.OK, None)
        assert stage.scheduler.snapshot()["work"].description == "every minute"
        assert before not in stage.scheduler.snapshot()["work"].history


async def test_stuck_run_that_ends_in_a_later_life(stage: Stage) -> None:
    """A run that one life gave up as stuck says nothing of the next one, in which another is stuck since it is."""

    async def swallow(run: Run) -> None:
        try:
            await hang()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run.sleep(200)

    stage.add(swallow, schedule=every(hours=1), timeout=timedelta(seconds=5))
    scheduler = stage.scheduler
    async with scheduler:
        scheduler.trigger("swallow")
        await stage.advance(seconds=10)
        assert job_health(stage, "swallow").state is JobState.STUCK
    await stage.advance(seconds=100)
    async with scheduler:
        assert job_health(stage, "swallow").state is JobState.OK
        scheduler.trigger("swallow")
        await stage.advance(seconds=10)
        since = stage.clock.now() - 3 * SECOND
        for _ in range(2):
            health = job_health(stage, "swallow")
            assert (health.state, health.needs_restart, health.since_at) == (JobState.STUCK, True, since)
            assert not scheduler.health().live
            await stage.advance(seconds=100)  # then the one of the life before has ended
        await stage.advance(seconds=10)
        assert job_health(stage, "swallow").state is JobState.FAILING
        assert scheduler.health().live


# --- the states of a job, as they come about


async def test_job_that_fails_and_recovers(stage: Stage) -> None:
    """A job fails since its first failure in a row ended, and is ok after the next success."""
    fine: list[bool] = []

    async def flaky(run: Run) -> None:
        if not fine:
            raise ValueError("no")

    stage.add(flaky)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        first = stage.seen.settled()[0].ended
        await stage.advance(minutes=2)
        health = job_health(stage, "flaky")
        assert (health.state, health.consecutive_failures) == (JobState.FAILING, 3)
        assert health.why == "3 runs in a row failed; the last one: job: ValueError: no"
        assert health.since_at == datetime.fromtimestamp(first / 1000, UTC)
        assert stage.scheduler.health().live
        assert not stage.scheduler.health().ok
        fine.append(True)
        await stage.advance(minutes=1)
        health = job_health(stage, "flaky")
        assert (health.state, health.since_at, health.consecutive_failures) == (JobState.OK, None, 0)


async def test_job_whose_lock_is_stuck(stage: Stage) -> None:
    """A job that finds the lock taken three times in a row is busy too long since the first time."""
    stage.add(lambda run: Busy(), name="busy")
    async with stage.scheduler:
        await stage.advance(minutes=2)
        assert job_health(stage, "busy").state is JobState.OK
        await stage.advance(minutes=1)
        health = job_health(stage, "busy")
        assert (health.state, health.why) == (JobState.BUSY_TOO_LONG, "3 runs in a row found the lock taken")
        assert health.since_at is not None
        assert health.since_at.minute == stage.clock.now().minute - 2


async def test_job_whose_schedule_ends(stage: Stage) -> None:
    """A job ends when its last slot was served, and that is fine."""
    end = stage.clock.now() + timedelta(minutes=2)
    stage.add(work, schedule=every(minutes=1).between(end=end))
    async with stage.scheduler:
        await stage.advance(minutes=5)
        health = job_health(stage)
        assert (health.state, health.next_slot_at) == (JobState.ENDED, None)
        assert health.since_at is not None
        assert health.since_at < end
        assert stage.scheduler.health().ok


async def test_run_that_never_ends_shows_within_two_periods(stage: Stage) -> None:
    """A run without a timeout that hangs turns liveness red two periods after its slot, and not before."""

    async def hangs(run: Run) -> None:
        await hang()

    stage.add(hangs, schedule=every(minutes=15), timeout=None)
    (first,) = stage.scheduler.upcoming("hangs", 1)
    async with stage.scheduler:
        while stage.clock.now() <= first.slot_at + timedelta(minutes=30):
            assert stage.scheduler.health().live
            await stage.advance(minutes=1)
        health = job_health(stage, "hangs")
        assert (health.state, health.since_at) == (JobState.OVERDUE, first.slot_at + timedelta(minutes=30))
        assert not stage.scheduler.health().live
        await stage.advance(hours=15)
        assert not stage.scheduler.health().live


# --- how the loop keeps time


async def test_loop_that_was_held_up_says_so_once(stage: Stage) -> None:
    """A wake-up that is late by a second or more is told once; health shows the last delay and the worst one."""
    clock = Slipping(stage.clock)
    stage.build(clock=clock)
    lags: list[float] = []
    async with stage.scheduler:
        for held_up in (0.0, 0.9, 7.0, 1.0, 0.0):
            clock.move(timedelta(seconds=held_up))
            await stage.advance(seconds=30)
            lags.append(stage.scheduler.health().loop.lag_seconds)
        assert lags == pytest.approx([0.0, 0.9, 7.0, 1.0, 0.0])
        assert stage.scheduler.health().loop.worst_lag_seconds == pytest.approx(7.0)
    assert [event.seconds for event in stage.told(LoopBlocked)] == pytest.approx([7.0, 1.0])
    async with stage.scheduler:
        assert stage.scheduler.health().loop.worst_lag_seconds == 0.0


async def test_clock_that_is_set_is_told(stage: Stage) -> None:
    """Health counts how often the wall clock was set, tells the last time and by how much; a new life begins at 0."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=2)
        loop = stage.scheduler.health().loop
        assert (loop.clock_steps, loop.stepped_at, loop.stepped_seconds) == (0, None, 0.0)
        stage.clock.jump_wall(timedelta(hours=1))
        await stage.advance(seconds=30)
        forward = stage.scheduler.health().loop
        assert (forward.clock_steps, forward.stepped_seconds) == (1, 3600.0)
        stage.clock.jump_wall(timedelta(minutes=-5))
        set_at = stage.clock.now()
        await stage.advance(seconds=30)
        back = stage.scheduler.health().loop
        assert (back.clock_steps, back.stepped_seconds) == (2, -300.0)
        assert back.stepped_at is not None
        assert set_at <= back.stepped_at <= set_at + 30 * SECOND
        health = job_health(stage)
        assert (health.state, health.since_at) == (JobState.OVERDUE, back.stepped_at)
        assert health.why.startswith("the clock went back")
        await stage.advance(minutes=5)
        assert job_health(stage).state is JobState.OK
    async with stage.scheduler:
        assert stage.scheduler.health().loop.clock_steps == 0


# --- from other threads


def test_state_is_read_from_another_thread_while_the_loop_is_blocked(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    """Somebody else's thread sees the run that blocks the loop, and, once that is too long, that the loop is silent."""
    clock = HandClock()
    scheduler = Scheduler(clock=clock, transport=RecordingTransport())
    blocking, looked = threading.Event(), threading.Event()
    seen: list[Health] = []

    async def block(run: Run) -> None:
        blocking.set()
        assert looked.wait(20)

    scheduler.add(FunctionJob("block", every(minutes=1), block))

    def look() -> None:
        assert blocking.wait(20)
        for seconds in (0, 91):
            clock.elapsed += timedelta(seconds=seconds)
            seen.append(scheduler.health())
            assert len(scheduler.snapshot()["block"].runs) == 1
            assert len(scheduler.upcoming("block")) == 5
        looked.set()

    async def live() -> None:
        async with scheduler:
            await clock.move(timedelta(0))
            await clock.move(timedelta(seconds=44))
            assert len(seen) == 2  # the loop was blocked until then

    thread = threading.Thread(target=look)
    thread.start()
    try:
        anyio.run(live, backend=anyio_backend[0], backend_options=anyio_backend[1])
    finally:
        thread.join(20)
    assert [(health.state, health.live) for health in seen] == [
        (SchedulerState.RUNNING, True),
        (SchedulerState.SILENT, False),
    ]
    assert seen[1].why == "the loop last ticked 91 s ago"
    assert seen[1]["block"].state is JobState.OVERDUE


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])  # whatever the loop is
async def test_state_is_read_by_threads_while_the_loop_goes_on(stage: Stage, busy_threads: None) -> None:
    """Reading never raises and never shows half of a thing, however often jobs come, run and go meanwhile."""
    scheduler, over = stage.scheduler, threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        while not over.is_set():
            try:
                health, snapshot = scheduler.health(), scheduler.snapshot()
                assert len(health.jobs) <= 12
                for job in snapshot.jobs:
                    assert len(job.history) <= 30
                    assert {settled.job for settled in job.history} <= {job.name}
            except BaseException as error:
                failures.append(error)
                return

    def fail(run: Run) -> None:
        raise ValueError(f"error {run.slot}")

    stage.add(fail, name="failing", overlap="allow")
    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        async with scheduler:
            for number in range(40):
                scheduler.add(FunctionJob(f"job{number}", every(minutes=1), work))
                scheduler.trigger("failing")
                if number >= 10:
                    scheduler.remove(f"job{number - 10}")
                await stage.advance(seconds=30)
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    assert failures == []


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
