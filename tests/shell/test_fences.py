"""Nothing that a job does can hurt the scheduler or another job: the rows of the fault catalogue, one by one."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
import sniffio
import trio

from loopcron import (
    Failed,
    InternalFault,
    Interrupted,
    JobParked,
    JobPaused,
    Run,
    RunStuck,
    RunUnstuck,
    SchedulerStopped,
    Succeeded,
    TimedOut,
    every,
)
from loopcron._events import AttemptEnded, Fact
from loopcron._history import JobRecord
from loopcron._timetable import Timetable
from loopcron.testing import FakeClock, hang
from tests.loops import ASYNCIO, TRIO, UVLOOP

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

ON_ASYNCIO = pytest.mark.parametrize(
    "anyio_backend",
    [ASYNCIO, UVLOOP],
    ids=["asyncio", "uvloop"],
)


async def nothing(run: Run) -> None:
    """Do nothing."""


class Odd(BaseException):
    """An exception that is no Exception."""


class Unspeakable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


async def sibling(run: Run) -> None:
    """Do nothing, at each slot: whoever hurts it is found out."""


async def live(stage: Stage, bad: Callable[[Run], Any], **policy: Any) -> None:
    """Let *bad* run at three slots beside a sibling, and check that the sibling and the end of the life are as ever."""
    stage.add(bad, name="bad", **policy)
    stage.add(sibling)
    async with stage.scheduler:
        await stage.advance(minutes=3)
        assert stage.outcomes("sibling") == [Succeeded()] * 3
    assert isinstance(stage.seen.events[-1], SchedulerStopped)


def cancel_own_task() -> None:
    """Cancel the run's own task, as asyncio and trio have it."""
    if sniffio.current_async_library() == "trio":
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        nursery.cancel_scope.cancel()
    else:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Let others run until *condition* holds."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.lowlevel.checkpoint()


class Bare:
    """The hands of a fake clock that waits for nobody: for runs that are busy and stay so."""

    def __init__(self, clock: FakeClock) -> None:
        self.now = clock.now
        self.monotonic = clock.monotonic
        self.sleep = clock.sleep


# --- raising


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (ValueError("two\nlines\x1b[31m"), "ValueError: two\\nlines\\x1b[31m"),
        (ExceptionGroup("many", [ValueError("bad")]), "ExceptionGroup: many (1 sub-exception)"),
        (Unspeakable(), "Unspeakable: its message cannot be shown"),
        (StopIteration(), "RuntimeError: coroutine raised StopIteration"),
        (StopAsyncIteration("end"), "StopAsyncIteration: end"),
        (Odd("odd"), "Odd: odd"),
        (GeneratorExit(), "GeneratorExit"),
        (SystemExit(3), "SystemExit: 3"),
        (BaseExceptionGroup("many", [Odd("odd")]), "BaseExceptionGroup: many (1 sub-exception)"),
        (RecursionError("deep"), "RecursionError: deep"),
        (MemoryError(), "MemoryError"),
    ],
)
async def test_whatever_a_job_raises_is_its_failure(stage: Stage, error: BaseException, text: str) -> None:
    """A run that raises has failed, by the job's own fault, and every further slot runs as if nothing had been."""

    async def bad(run: Run) -> None:
        raise error.with_traceback(None)

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", text)] * 3
    assert stage.seen.settled("bad")[-1].failures == 3


@pytest.mark.parametrize("error", [ValueError("bad"), Odd("bad"), SystemExit("bad"), GeneratorExit("bad")], ids=repr)
async def test_whatever_a_blocking_job_raises_is_its_failure(stage: Stage, error: BaseException) -> None:
    """What a function raises in its thread comes back as the run's failure, ``SystemExit`` too."""

    def bad(run: Run) -> None:
        raise error.with_traceback(None)

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", f"{type(error).__name__}: bad")] * 3


async def test_only_exceptions_are_delivered_to_observers(stage: Stage) -> None:
    """The exception of a failed run is in its event, for reporters, and gone from the history."""

    async def bad(run: Run) -> None:
        raise ValueError("bad")

    await live(stage, bad)
    assert [str(settled.exception) for settled in stage.seen.settled("bad")] == ["bad"] * 3
    assert [settled.exception for settled in stage.scheduler.snapshot()["bad"].history] == [None] * 3


async def test_history_that_fails_hides_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be noted of a job is told all the same, as is that it could not be noted."""

    def fail(*_: object) -> None:
        raise ValueError("full")

    monkeypatch.setattr(JobRecord, "mark", fail)
    stage.add(nothing)
    async with stage.scheduler:
        stage.scheduler.pause("nothing")
    assert len(stage.told(JobPaused)) == 1
    assert [(fault.where, fault.error) for fault in stage.told(InternalFault)] == [("history", "ValueError: full")]


# --- cancellations that are not the scheduler's


@ON_ASYNCIO
async def test_body_that_is_over_before_its_task_is_known_has_its_outcome(stage: Stage) -> None:
    """A loop whose tasks take their first step at once, as Python 3.12 can have it, runs jobs that never wait."""
    loop, ended = asyncio.get_running_loop(), []

    def make_eager(loop: Any, body: Any, context: Any = None) -> Any:
        try:
            context.run(body.send, None)
        except StopIteration:
            over = loop.create_future()
            over.set_result(None)
            ended.append(over)
            return over
        raise AssertionError("only what never waits can be run so")

    stage.add(nothing)
    async with stage.scheduler.manual():
        await stage.scheduler.tick()
        await stage.advance(minutes=1)
        loop.set_task_factory(make_eager)
        try:
            await stage.scheduler.tick()
        finally:
            loop.set_task_factory(None)
    assert stage.outcomes() == [Succeeded()]
    assert len(ended) == 1


@ON_ASYNCIO
async def test_raised_cancelled_error_is_stray(stage: Stage) -> None:
    """A ``CancelledError`` that a job raises by itself is a failure, and ends nothing else."""

    async def bad(run: Run) -> None:
        raise asyncio.CancelledError

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", "cancelled inside")] * 3


@ON_ASYNCIO
async def test_cancelled_inner_task_is_stray(stage: Stage) -> None:
    """Awaiting a task that somebody else cancelled is a failure of this run only."""

    async def bad(run: Run) -> None:
        inner = asyncio.ensure_future(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", "cancelled inside")] * 3


@ON_ASYNCIO
async def test_cancelled_error_out_of_a_thread_is_stray(stage: Stage) -> None:
    """A blocking job that asks a cancelled future for its result has failed."""

    def bad(run: Run) -> None:
        raise asyncio.CancelledError

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", "cancelled inside")] * 3


async def test_run_that_cancels_its_own_task_has_failed(stage: Stage) -> None:
    """A run that cancels the task it is in, and awaits on, was cancelled inside."""

    async def bad(run: Run) -> None:
        cancel_own_task()
        await anyio.sleep(0)

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", "cancelled inside")] * 3


async def test_cancelling_its_own_task_as_the_last_act_hurts_nobody(stage: Stage) -> None:
    """A run that cancels its task and returns has succeeded: nothing is awaited behind it."""

    async def bad(run: Run) -> None:
        cancel_own_task()

    await live(stage, bad)
    assert stage.outcomes("bad") == [Succeeded()] * 3


async def test_own_cancelled_scope_is_the_jobs_own_affair(stage: Stage) -> None:
    """A job that cancels a scope of its own and comes out of it goes on to its end."""

    async def bad(run: Run) -> Any:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(3600)
        return Failed("job", "given up") if scope.cancelled_caught else None

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", "given up")] * 3


@ON_ASYNCIO
async def test_task_cancelled_before_its_first_step_has_an_outcome(stage: Stage) -> None:
    """A run whose task somebody cancels before it began is a failure at once, not a slot without an outcome."""
    stage.add(sibling)
    async with stage.scheduler:
        before = asyncio.all_tasks()
        trigger = stage.scheduler.trigger("sibling")
        (task,) = asyncio.all_tasks() - before
        task.cancel()
        assert await trigger == Failed("job", "cancelled inside")
        await stage.advance(minutes=1)
    assert stage.outcomes("sibling")[1:] == [Succeeded()]


# --- leaks


async def test_leaked_cancel_scope_stays_in_its_run(stage: Stage) -> None:
    """A scope that was entered and never left, and is cancelled, ends with its run."""

    async def bad(run: Run) -> None:
        scope = anyio.CancelScope()
        scope.__enter__()
        scope.cancel()

    await live(stage, bad)
    assert len(stage.outcomes("bad")) == 3


async def test_leaked_deadline_cuts_its_run_only(stage: Stage) -> None:
    """A leaked scope that cancels the run from inside makes it fail, and nobody else."""

    async def bad(run: Run) -> None:
        anyio.move_on_after(0).__enter__()
        await anyio.sleep(3600)

    await live(stage, bad)
    assert stage.outcomes("bad") == [Failed("job", "cancelled inside")] * 3


async def test_leaked_task_group_stays_in_its_run(stage: Stage) -> None:
    """A task group that was entered and never left, with a task that never ends, hurts nobody."""
    groups = []

    async def bad(run: Run) -> None:
        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(anyio.sleep_forever)
        groups.append(group)

    await live(stage, bad)
    assert len(stage.outcomes("bad")) == 3
    for group in groups:  # on asyncio the inner tasks live on, as any task without an owner does
        group.cancel_scope.cancel()
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("anyio_backend", [TRIO], ids=["trio"])
async def test_leaked_nursery_stays_in_its_run(stage: Stage) -> None:
    """A nursery of trio's that was entered and never left, with a task that never ends, hurts nobody."""

    async def bad(run: Run) -> None:
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep_forever)

    await live(stage, bad)
    assert len(stage.outcomes("bad")) == 3


# --- hanging


async def test_hanging_job_is_cut_at_every_slot(stage: Stage) -> None:
    """A job that never ends is cut at its timeout, each time."""

    async def bad(run: Run) -> None:
        await hang()

    await live(stage, bad, timeout=timedelta(seconds=10))
    assert stage.outcomes("bad") == [TimedOut(10.0)] * 3


async def test_swallowed_cancellation_is_stuck_and_not_waited_for(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that swallows its cancellation is reported two seconds later, and hurts neither slots nor the end."""
    released: list[bool] = []

    async def bad(run: Run) -> None:
        while not released:
            with contextlib.suppress(BaseException):
                await hang()

    await live(stage, bad, timeout=timedelta(seconds=10))
    assert stage.outcomes("bad") == [TimedOut(12.0)] * 3
    assert len(stage.told(RunStuck)) == 3
    assert "bad 2031-05-07T11:14:00.000Z is stuck" in caplog.text
    released.append(True)


async def test_swallowing_run_does_not_hold_up_the_stop(stage: Stage) -> None:
    """Stopping waits two seconds for a run that swallows its cancellation, and leaves it behind."""
    released: list[bool] = []

    async def bad(run: Run) -> None:
        while not released:
            with contextlib.suppress(BaseException):
                await hang()

    stage.add(bad, timeout=None)
    async with stage.scheduler:
        stage.scheduler.trigger("bad")
        await stage.advance(seconds=1)
        assert stage.scheduler.health()["bad"].state == "ok"
        before = stage.clock.monotonic()
    assert stage.clock.monotonic() - before == 12
    assert stage.outcomes("bad") == [Interrupted("shutdown")]
    released.append(True)


async def test_stuck_run_that_ends_is_told(stage: Stage) -> None:
    """A run that was given up and ends after all is told once, and its slot keeps its outcome."""

    async def bad(run: Run) -> None:
        try:
            await hang()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run.sleep(5)

    stage.add(bad, timeout=timedelta(seconds=10))
    async with stage.scheduler:
        await stage.advance(seconds=43 + 13)
        assert stage.scheduler.health()["bad"].state == "stuck"
        assert not stage.scheduler.health().live
        await stage.advance(seconds=5)
        assert stage.scheduler.health()["bad"].state == "failing"
    assert stage.outcomes("bad")[0] == TimedOut(12.0)
    assert [len(stage.told(RunStuck)), len(stage.told(RunUnstuck))] == [1, 1]


async def test_job_that_blocks_the_loop_loses_no_slot(stage: Stage) -> None:
    """A job that holds the event loop makes the others late, and that is all."""

    async def bad(run: Run) -> None:
        time.sleep(0.02)

    await live(stage, bad)
    assert stage.outcomes("bad") == [Succeeded()] * 3


# --- blocking jobs


async def test_blocking_jobs_run_four_at_a_time(stage: Stage) -> None:
    """At most four threads run at once; the others wait for a place, and all have their turn."""
    begun, gate = threading.Semaphore(0), threading.Event()
    lock, now, most = threading.Lock(), [0], [0]

    def blocking(run: Run) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        begun.release()
        gate.wait(20)
        with lock:
            now[0] -= 1

    stage.add(blocking, overlap="allow")
    async with stage.scheduler:
        triggers = [stage.scheduler.trigger("blocking") for _ in range(7)]
        for _ in range(4):
            assert await anyio.to_thread.run_sync(begun.acquire, True, 20)
        assert not begun.acquire(blocking=False)
        gate.set()
        assert [await trigger for trigger in triggers] == [Succeeded()] * 7
    assert most == [4]


async def test_waiting_for_a_place_can_be_cut(stage: Stage) -> None:
    """A blocking job that finds all four places taken is cut at its timeout without having begun."""
    gate, begun = threading.Event(), threading.Semaphore(0)
    ran: list[Run] = []
    stage.build(clock=Bare(stage.clock))

    def blocking(run: Run) -> None:
        begun.release()
        gate.wait(20)

    stage.add(blocking, overlap="allow", timeout=None)
    stage.add(ran.append, name="waiting", timeout=timedelta(seconds=10))
    async with stage.scheduler:
        for _ in range(4):
            stage.scheduler.trigger("blocking")
        for _ in range(4):
            assert await anyio.to_thread.run_sync(begun.acquire, True, 20)
        trigger = stage.scheduler.trigger("waiting")
        await anyio.wait_all_tasks_blocked()
        await stage.advance(seconds=10)
        assert await trigger == TimedOut(10.0)
        gate.set()
    assert ran == []


async def test_hung_thread_is_given_up_and_told_when_it_ends(stage: Stage) -> None:
    """A blocking job is cut, waited for, given up as stuck, and reported when its thread ends at last."""
    gate, begun = threading.Event(), threading.Semaphore(0)
    stage.build(clock=Bare(stage.clock))

    def blocking(run: Run) -> None:
        begun.release()
        gate.wait(20)

    stage.add(blocking, timeout=timedelta(seconds=10))
    async with stage.scheduler:
        trigger = stage.scheduler.trigger("blocking")
        assert await anyio.to_thread.run_sync(begun.acquire, True, 20)
        await anyio.wait_all_tasks_blocked()
        await stage.advance(seconds=10)
        await anyio.wait_all_tasks_blocked()
        await stage.advance(seconds=2)
        assert await trigger == TimedOut(12.0)
        await until(lambda: stage.told(RunStuck))
        assert not stage.told(RunUnstuck)
        gate.set()
        await until(lambda: stage.told(RunUnstuck))
        assert await stage.scheduler.trigger("blocking") == Succeeded()
    assert len(stage.told(RunUnstuck)) == 1


async def test_thread_that_ends_in_time_counts_as_it_ended(stage: Stage) -> None:
    """A blocking job that ends between its cancellation and being given up has what it returned."""
    gate, begun = threading.Event(), threading.Semaphore(0)
    stage.build(clock=Bare(stage.clock))

    def blocking(run: Run) -> Any:
        begun.release()
        gate.wait(20)
        return Succeeded(202)

    stage.add(blocking, timeout=timedelta(seconds=10))
    async with stage.scheduler:
        trigger = stage.scheduler.trigger("blocking")
        assert await anyio.to_thread.run_sync(begun.acquire, True, 20)
        await anyio.wait_all_tasks_blocked()
        await stage.advance(seconds=10)
        await anyio.wait_all_tasks_blocked()
        gate.set()
        assert await trigger == Succeeded(202)
    assert not stage.told(RunStuck)


@pytest.mark.usefixtures("impatient")
async def test_hung_thread_does_not_hold_up_the_stop(stage: Stage) -> None:
    """Stopping waits two seconds for a hung thread once the drain is over, and leaves it behind."""
    gate, begun = threading.Event(), threading.Semaphore(0)

    def blocking(run: Run) -> None:
        begun.release()
        gate.wait(20)

    stage.add(blocking, timeout=None)
    async with stage.scheduler:
        stage.scheduler.trigger("blocking")
        assert await anyio.to_thread.run_sync(begun.acquire, True, 20)
        before = stage.clock.monotonic()
        await stage.scheduler.stop(drain=timedelta(seconds=3))
        assert stage.clock.monotonic() - before == 5
    assert stage.outcomes() == [Interrupted("shutdown")]
    gate.set()
    await until(lambda: stage.told(RunUnstuck))


@ON_ASYNCIO
async def test_job_that_cancels_itself_while_its_thread_runs_has_failed(stage: Stage) -> None:
    """A cancellation that is not the scheduler's leaves the thread behind and is a failure."""
    gate, begun = threading.Event(), threading.Semaphore(0)

    def blocking(run: Run) -> None:
        begun.release()
        gate.wait(20)

    async def bad(run: Run) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0, task.cancel)
        await run.call(blocking)

    stage.add(bad)
    async with stage.scheduler:
        assert await stage.scheduler.trigger("bad") == Failed("job", "cancelled inside")
        gate.set()


async def test_thread_that_cannot_start_is_a_failure(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no further thread the run fails, and its place is free again."""

    def blocking(run: Run) -> None:
        pass

    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    stage.add(blocking)
    async with stage.scheduler:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_more)
            for _ in range(5):
                outcome = await stage.scheduler.trigger("blocking")
                assert outcome == Failed("job", "RuntimeError: can't start new thread")
        assert await stage.scheduler.trigger("blocking") == Succeeded()


async def test_task_that_cannot_start_is_an_outcome(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no task can be made for a run, its slot fails as loopcron's own fault, and the next one runs."""
    stage.add(sibling)
    async with stage.scheduler:
        spawner: Any = stage.scheduler._engine.tasks._spawner  # type: ignore[union-attr]

        def refuse(body: Any, handle: Any) -> None:
            raise RuntimeError("no task")

        with monkeypatch.context() as patch:
            patch.setattr(type(spawner), "spawn", staticmethod(refuse))
            assert await stage.scheduler.trigger("sibling") == Failed("internal", "RuntimeError: no task")
        assert await stage.scheduler.trigger("sibling") == Succeeded()


async def test_action_that_fails_takes_no_other_along(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If performing an action fails, by a bug of loopcron's, it is told, and the other job's actions are performed."""
    stage.add(sibling)
    stage.add(sibling, name="unlucky")
    async with stage.scheduler:
        courier: Any = stage.scheduler._engine.courier  # type: ignore[union-attr]
        take = courier.take

        def refuse(action: Any) -> None:
            if action.job == "unlucky":
                raise LookupError("bug")
            take(action)

        monkeypatch.setattr(courier, "take", refuse)
        await stage.advance(minutes=1)
    assert stage.outcomes("sibling") == [Succeeded()]
    assert [(fault.where, fault.error) for fault in stage.told(InternalFault)] == [("Claim", "LookupError: bug")]


@ON_ASYNCIO
async def test_task_cancelled_while_the_scheduler_stops_is_interrupted(stage: Stage) -> None:
    """A stray cancellation during the drain is the shutdown's: a server that is told twice cancels every task."""

    async def bad(run: Run) -> None:
        await run.sleep(1)
        raise asyncio.CancelledError

    stage.add(bad)
    async with stage.scheduler:
        stage.scheduler.trigger("bad")
        await stage.advance(seconds=0)
    assert stage.outcomes() == [Interrupted("shutdown")]


# --- KeyboardInterrupt


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_keyboard_interrupt_is_recorded_and_let_out(stage: Stage, blocking: bool) -> None:
    """A job's ``KeyboardInterrupt`` is its failure, ends the life, and comes out of the block."""

    async def bad(run: Run) -> None:
        raise KeyboardInterrupt

    def bad_too(run: Run) -> None:
        raise KeyboardInterrupt

    async def alive(run: Run) -> None:
        await hang()

    stage.add(bad_too if blocking else bad, name="bad")
    stage.add(alive, schedule=every(hours=1), timeout=None)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes out of the block as a whole
        async with stage.scheduler:
            stage.scheduler.trigger("alive")
            await stage.advance(minutes=1)
            await anyio.sleep_forever()
    assert stage.outcomes("bad") == [Failed("job", "KeyboardInterrupt")]
    assert stage.outcomes("alive") == [Interrupted("shutdown")]
    assert isinstance(stage.seen.events[-1], SchedulerStopped)
    async with stage.scheduler:
        assert stage.scheduler.health().running


async def test_keyboard_interrupt_comes_out_of_run(stage: Stage) -> None:
    """`run` ends with the ``KeyboardInterrupt`` of a job."""

    async def bad(run: Run) -> None:
        raise KeyboardInterrupt

    async def trigger() -> None:
        await until(lambda: stage.seen.events)
        stage.scheduler.trigger("bad")

    stage.add(bad)
    async with anyio.create_task_group() as group:
        group.start_soon(trigger)
        with pytest.raises(KeyboardInterrupt):  # in the main task: from another one asyncio lets it break the loop
            await stage.scheduler.run()


async def test_keyboard_interrupt_comes_out_of_tick(stage: Stage) -> None:
    """In a manual life it comes out of the next `tick`, once it was recorded, and out of the life itself."""

    async def bad(run: Run) -> None:
        raise KeyboardInterrupt

    stage.add(bad)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes out of the block as a whole
        async with stage.scheduler.manual():
            await stage.scheduler.trigger("bad")
            assert stage.outcomes() == [Failed("job", "KeyboardInterrupt")]
            with pytest.raises(KeyboardInterrupt):
                await stage.scheduler.tick()


async def test_keyboard_interrupt_in_an_observer_is_let_out(stage: Stage) -> None:
    """An interrupt that happens to strike while an observer is told ends the life as a job's does."""

    class Struck:
        def on_event(self, event: object) -> None:
            if type(event).__name__ == "Settled":
                raise KeyboardInterrupt

    stage.build(observers=[Struck()])
    stage.add(sibling)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes out of the block as a whole
        async with stage.scheduler:
            await stage.advance(minutes=1)
            await anyio.sleep_forever()


async def test_keyboard_interrupt_in_a_schedule_is_let_out(stage: Stage) -> None:
    """An interrupt that strikes while a schedule is asked parks the job and ends the life."""

    class Struck:
        def next_after(self, instant: datetime) -> datetime | None:
            raise KeyboardInterrupt

        def latest_until(self, instant: datetime) -> datetime | None:
            return None

    stage.add(sibling, schedule=Struck())
    with pytest.raises(KeyboardInterrupt):
        async with stage.scheduler:
            await anyio.sleep_forever()
    assert [parked.error for parked in stage.told(JobParked)] == ["KeyboardInterrupt"]


# --- whole processes

PROCESS = """
import sys, threading, time
from datetime import timedelta
import anyio
from loopcron import Scheduler, every

told = []

class Observer:
    def on_event(self, event):
        told.append(event)

scheduler = Scheduler(observers=[Observer()], drain=timedelta(0))

@scheduler.job(every(hours=1))
async def sibling(run):
    print("sibling", flush=True)

{job}

async def main():
    async with scheduler:
        scheduler.trigger("bad")
        {body}
        await scheduler.trigger("sibling")

try:
    anyio.run(main, backend={backend!r})
finally:
    print(*[type(event.outcome).__name__ for event in told if hasattr(event, "outcome")], flush=True)
"""


def process(backend: str, job: str, body: str) -> subprocess.CompletedProcess[str]:
    """Run a scheduler in a process of its own."""
    code = PROCESS.format(backend=backend, job=job, body=body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_system_exit_of_a_job_ends_no_process(backend: str) -> None:
    """A job that exits has failed; the process goes on and ends well."""
    job = "@scheduler.job(every(hours=1))\nasync def bad(run): sys.exit(3)"
    ended = process(backend, job, "await anyio.sleep(0.01)")
    assert (ended.returncode, ended.stdout) == (0, "sibling\nFailed Succeeded\n"), ended.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_keyboard_interrupt_of_a_job_ends_the_process(backend: str) -> None:
    """A job's ``KeyboardInterrupt`` ends the process as Ctrl-C would, after it was recorded."""
    job = "@scheduler.job(every(hours=1))\nasync def bad(run): raise KeyboardInterrupt"
    ended = process(backend, job, "await anyio.sleep_forever()")
    assert ended.returncode not in {0, 1}
    assert ended.stdout == "Failed\n"
    assert "KeyboardInterrupt" in ended.stderr


def test_hung_thread_does_not_hold_up_the_exit() -> None:
    """The process ends although a blocking job never does, on asyncio and on trio."""
    job = "@scheduler.job(every(hours=1))\ndef bad(run): begun.set(); threading.Event().wait()"
    job += "\nbegun = threading.Event()"
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:  # both at once, for each takes its two seconds
        body = "await anyio.to_thread.run_sync(begun.wait)"
        lives = [pool.submit(process, backend, job, body) for backend in ("asyncio", "trio")]
    for ended in [life.result() for life in lives]:
        assert (ended.returncode, ended.stdout) == (0, "sibling\nSucceeded Interrupted\n"), ended.stderr
    assert time.monotonic() - started < 15


async def test_fact_that_the_timetable_cannot_take_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours at the end of a run is reported, and hurts neither the run's task nor the next slots."""
    handle = Timetable.handle

    def stumble(timetable: Timetable, fact: Fact, now: int) -> None:
        handle(timetable, fact, now)
        if isinstance(fact, AttemptEnded) and len(stage.outcomes()) == 0:
            raise RuntimeError("bug")

    monkeypatch.setattr(Timetable, "handle", stumble)
    stage.add(sibling)
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert stage.outcomes() == [Succeeded()] * 2
    assert [(fault.where, fault.error) for fault in stage.told(InternalFault)] == [
        ("AttemptEnded", "RuntimeError: bug")
    ]
