"""How a scheduler is entered, run, stopped, and entered again."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from loopcron import (
    Event,
    FunctionJob,
    InternalFault,
    Interrupted,
    LifecycleError,
    LoopbackTransport,
    MemoryLedger,
    Run,
    RunStarted,
    Scheduler,
    SchedulerClosedError,
    SchedulerDisabled,
    SchedulerStarted,
    SchedulerStopped,
    SchedulerStopping,
    Skipped,
    Succeeded,
    SystemClock,
    TransportError,
    every,
)
from loopcron import _loopback as loopback_module
from loopcron._ledger import LOCAL_BATCH
from loopcron.testing import FakeClock, RecordingObserver, RecordingTransport, hang
from tests.wrapped import WrappedLedger

if TYPE_CHECKING:
    from tests.shell.conftest import Stage


async def work(run: Run) -> None:
    """Do nothing."""


async def wait(run: Run) -> None:
    """Hang."""
    await hang()


# --- entering and leaving


async def test_entered_scheduler_runs_its_slots(stage: Stage) -> None:
    """Between entering and leaving each slot runs, and outside of that none does."""
    stage.add(work)
    await stage.advance(minutes=3)
    async with stage.scheduler as entered:
        assert entered is stage.scheduler
        await stage.advance(minutes=3)
    await stage.advance(minutes=3)
    assert stage.outcomes("work") == [Succeeded()] * 3


async def test_life_is_told(stage: Stage) -> None:
    """Start and end of a life are events, the first and the last ones."""
    stage.add(work)
    async with stage.scheduler:
        pass
    first, *_, stopping, last = stage.seen.events
    assert isinstance(first, SchedulerStarted)
    assert (first.jobs, first.ledger) == (("work",), "memory")
    assert stopping == SchedulerStopping(10.0)
    assert isinstance(last, SchedulerStopped)


async def test_entering_twice_is_refused(stage: Stage) -> None:
    """A scheduler that is entered refuses to be entered again, and goes on."""
    stage.add(work)
    async with stage.scheduler:
        with pytest.raises(LifecycleError, match="entered already"):
            await stage.scheduler.__aenter__()
        with pytest.raises(LifecycleError, match="entered already"):
            async with stage.scheduler.manual():
                pytest.fail("entered")
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded()]


def test_same_scheduler_starts_on_another_loop(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    """A scheduler that was left starts again on an event loop of its own, as a web test client makes it do."""
    clock, seen = FakeClock(), RecordingObserver()
    scheduler = Scheduler(clock=clock, observers=[seen], transport=RecordingTransport())
    scheduler.add(FunctionJob("work", every(minutes=1), work))
    scheduler.job(every(minutes=1), name="blocking")(lambda run: None)

    async def life() -> None:
        async with scheduler:
            await clock.advance(timedelta(minutes=2))
            assert await scheduler.trigger("work") == Succeeded()

    for number in (1, 2, 3):
        anyio.run(life, backend=anyio_backend[0], backend_options=anyio_backend[1])
        assert len(seen.settled("work")) == 3 * number
        assert len(seen.settled("blocking")) == 2 * number
    assert {type(settled.outcome) for settled in seen.settled()} == {Succeeded}


async def test_history_outlives_a_life(stage: Stage) -> None:
    """What a job has been through in an earlier life still shows in the next one."""
    stage.add(work)
    for _ in range(2):
        async with stage.scheduler:
            await stage.advance(minutes=2)
    snapshot = stage.scheduler.snapshot()
    assert not snapshot.running
    assert len(snapshot["work"].history) == 4
    assert stage.scheduler.health()["work"].state == "stopped"


async def test_health_and_snapshot_of_a_life(stage: Stage) -> None:
    """While it runs, health is ok and the snapshot tells the next slot."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=2)
        health = stage.scheduler.health()
        assert health.ok
        assert health.loop.silent_seconds is not None
        assert health["work"].next_slot_at == stage.scheduler.snapshot()["work"].next_slot_at
    async with stage.scheduler.manual():
        assert stage.scheduler.health().loop.silent_seconds is None


async def test_clock_that_cannot_be_read_at_the_start_is_raised(stage: Stage) -> None:
    """Entering raises what the clock raises, because nothing can be planned; later it can be entered."""

    class Broken:
        broken = True
        sleep = stage.clock.sleep
        attach = stage.clock.attach
        monotonic = stage.clock.monotonic

        def now(self) -> Any:
            if self.broken:
                raise OSError("no clock")
            return stage.clock.now()

    clock = Broken()
    stage.build(clock=clock)
    with pytest.raises(OSError, match="no clock"):
        await stage.scheduler.__aenter__()
    clock.broken = False
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded()]


async def test_clock_that_is_no_fake_needs_no_attaching() -> None:
    """A clock without ``attach`` will do: the system's has none."""
    async with Scheduler(clock=SystemClock()) as scheduler:
        assert scheduler.health().running


# --- stopping


async def test_run_lasts_until_stop(stage: Stage) -> None:
    """`run` starts the scheduler, and returns after `stop`."""
    stage.add(work)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.scheduler.run)
        while not stage.seen.events:
            await anyio.lowlevel.checkpoint()
        await stage.advance(minutes=1)
        await stage.scheduler.stop()
    assert stage.outcomes() == [Succeeded()]
    assert stage.told(SchedulerStopped)


async def test_scheduler_that_has_stopped_stays_so(stage: Stage) -> None:
    """Between `stop` and the end of the block nothing begins anew, and the end is told once."""
    stage.add(work)
    async with stage.scheduler:
        await stage.scheduler.stop()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
    assert len(stage.told(SchedulerStopped)) == 1
    assert not stage.told(InternalFault)


async def test_stop_before_the_start_does_nothing(stage: Stage) -> None:
    """Stopping a scheduler that does not run returns at once, and it can be entered."""
    await stage.scheduler.stop()
    async with stage.scheduler:
        pass
    await stage.scheduler.stop()
    assert len(stage.told(SchedulerStopping)) == 1


async def test_stop_lets_runs_end_within_the_drain(stage: Stage) -> None:
    """A run that ends within the drain has its own outcome, and stopping takes no longer than that."""

    async def short(run: Run) -> None:
        await run.sleep(3)

    stage.add(short)
    async with stage.scheduler:
        await stage.advance(seconds=44)
        before = stage.clock.monotonic()
        await stage.scheduler.stop(drain=timedelta(seconds=5))
    assert stage.outcomes() == [Succeeded()]
    assert stage.clock.monotonic() - before == 2


async def test_stop_cancels_after_the_drain(stage: Stage) -> None:
    """A run that outlasts the drain is cancelled and recorded as interrupted by the shutdown."""
    stage.add(wait, timeout=None)
    async with stage.scheduler:
        await stage.advance(seconds=44)
        before = stage.clock.monotonic()
        await stage.scheduler.stop(drain=timedelta(seconds=5))
        assert stage.clock.monotonic() - before == 5
    assert stage.outcomes() == [Interrupted("shutdown")]


async def test_leaving_drains_as_configured(stage: Stage) -> None:
    """Leaving gives runs the scheduler's own drain."""
    stage.build(drain=timedelta(seconds=7))
    stage.add(wait, timeout=None)
    async with stage.scheduler:
        await stage.advance(seconds=44)
        before = stage.clock.monotonic()
    assert stage.clock.monotonic() - before == 7
    assert stage.outcomes() == [Interrupted("shutdown")]


async def test_second_stop_can_only_shorten_the_drain(stage: Stage) -> None:
    """Stopping twice is once; the second call may cut the drain, and both return."""
    stage.add(wait, timeout=None)
    returned = []

    async def stop(seconds: float) -> None:
        await stage.scheduler.stop(drain=timedelta(seconds=seconds))
        returned.append(seconds)

    async with stage.scheduler:
        await stage.advance(seconds=44)
        before = stage.clock.monotonic()
        async with anyio.create_task_group() as group:
            for seconds in (60, 2, 90):
                group.start_soon(stop, seconds)
        assert stage.clock.monotonic() - before == 2
    assert sorted(returned) == [2, 60, 90]
    assert len(stage.told(SchedulerStopping)) == 1
    assert stage.outcomes() == [Interrupted("shutdown")]


async def test_stop_from_inside_a_job(stage: Stage) -> None:
    """A job may stop the scheduler: its own run is cut when the drain is over, and the life ends."""

    async def quit_now(run: Run) -> None:
        await stage.scheduler.stop(drain=timedelta(0))

    stage.add(quit_now)
    stage.add(wait, timeout=None)
    async with stage.scheduler:
        await stage.advance(seconds=44)
        await stage.scheduler.stop()
    assert stage.outcomes("quit_now") == [Interrupted("shutdown")]
    assert stage.outcomes("wait") == [Interrupted("shutdown")]


async def test_nothing_is_claimed_after_stop(stage: Stage) -> None:
    """Slots that come after the stop are not run, while the block goes on."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        await stage.scheduler.stop()
        await stage.advance(minutes=3)
        assert not stage.scheduler.health().running
    assert stage.outcomes() == [Succeeded()]


async def test_adding_and_triggering_while_stopping_is_refused(stage: Stage) -> None:
    """From the stop on nothing new is taken, and the message says when it would be."""
    stage.add(work)
    async with stage.scheduler:
        await stage.scheduler.stop()
        with pytest.raises(SchedulerClosedError, match="before it starts or while it runs"):
            stage.scheduler.add(FunctionJob("late", every(minutes=1), work))
        with pytest.raises(SchedulerClosedError, match="while it runs"):
            stage.scheduler.trigger("work")
    assert [job.name for job in stage.scheduler.jobs] == ["work"]


async def test_cancelled_block_has_no_drain(stage: Stage) -> None:
    """If the block is cancelled its runs are cut at once, and the cancellation goes on."""
    stage.add(wait, timeout=None)
    with anyio.CancelScope() as scope:
        async with stage.scheduler:
            await stage.advance(seconds=44)
            before = stage.clock.monotonic()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert stage.clock.monotonic() == before
    assert stage.outcomes() == [Interrupted("shutdown")]


async def test_cancellation_ends_the_drain() -> None:
    """A scheduler that is being left cuts its drain when whoever leaves it is cancelled."""
    seen, begun = RecordingObserver(), anyio.Event()
    scheduler = Scheduler(observers=[seen], drain=timedelta(minutes=10))

    async def long(run: Run) -> None:
        begun.set()
        await anyio.sleep_forever()

    scheduler.job(every(minutes=1))(long)
    with anyio.fail_after(20), anyio.CancelScope() as scope:
        async with scheduler:
            scheduler.trigger("long")
            await begun.wait()
            scope.deadline = anyio.current_time() + 0.05
    assert scope.cancelled_caught
    assert [settled.outcome for settled in seen.settled()] == [Interrupted("shutdown")]


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_scheduler_in_the_background_ends_with_its_event_loop(uvloop: bool) -> None:
    """``asyncio.run`` cancels all that is left, the scheduler's own tasks too; leaving it must not wait for those."""
    seen = RecordingObserver()
    scheduler = Scheduler(observers=[seen])
    scheduler.job(every(minutes=1))(wait)
    left: list[object] = []

    async def main() -> None:
        left.append(asyncio.get_running_loop().create_task(scheduler.run()))
        while not seen.events:
            await asyncio.sleep(0)
        scheduler.trigger("wait")
        await asyncio.sleep(0)

    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": uvloop})
    assert isinstance(seen.events[-1], SchedulerStopped)
    assert len(seen.settled()) == 1


def test_loop_outlives_a_job_that_cancels_every_task(stage: Stage) -> None:
    """The scheduler's own tasks begin anew when someone cancels all he can find; too often, and it is a fault."""

    async def main() -> None:
        me = asyncio.current_task()

        async def vandal(run: Run) -> None:
            for task in asyncio.all_tasks() - {me, asyncio.current_task()}:
                task.cancel()

        stage.add(vandal, timeout=None)
        async with stage.scheduler:
            for number in range(1, 5):
                assert await stage.scheduler.trigger("vandal") == Succeeded()
                for _ in range(5):  # the new tasks' first steps
                    await asyncio.sleep(0)
                assert bool(stage.told(InternalFault)) == (number > 1)  # two tasks, three times in all

    asyncio.run(main())
    assert stage.outcomes("vandal") == [Succeeded()] * 4
    assert stage.told(InternalFault)[0].error == "cancelled again and again"
    assert stage.told(SchedulerStopped)


def test_loop_that_cannot_be_begun_anew_is_begun_to_leave(stage: Stage) -> None:
    """If the loop's task is cancelled and no other can be made it is told, and whoever leaves begins one to stop."""

    async def main() -> None:
        async with stage.scheduler:
            engine: Any = stage.scheduler._engine
            await asyncio.sleep(0)
            kind, spawn = type(engine.tasks._spawner), engine.tasks._spawner.spawn
            kind.spawn = lambda self, body, handle: 1 / 0
            try:
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            finally:
                kind.spawn = spawn.__func__

    asyncio.run(main())
    assert [fault.error for fault in stage.told(InternalFault)] == ["ZeroDivisionError: division by zero"] * 2
    assert stage.told(SchedulerStopped)


def test_abandoned_scheduler_does_not_hold_up_the_end_of_trio(stage: Stage) -> None:
    """A scheduler that was entered and never left ends with its event loop."""

    async def main() -> None:
        stage.add(wait, timeout=None)
        await stage.scheduler.__aenter__()
        stage.scheduler.trigger("wait")
        await anyio.wait_all_tasks_blocked()

    anyio.run(main, backend="trio")
    assert len(stage.outcomes()) == 1


async def test_adapter_may_supply_a_transport(stage: Stage) -> None:
    """An adapter's transport is taken where the scheduler was given none."""
    from loopcron import HttpJob

    supplied = RecordingTransport()
    for given in (None, stage.transport):
        stage.build(transport=given)
        stage.scheduler.supply_transport(supplied)
        stage.scheduler.add(HttpJob("call", every(minutes=1), "/"))
        async with stage.scheduler:
            await stage.advance(minutes=1)
    assert (len(supplied.requests), len(stage.transport.requests)) == (1, 1)


async def test_request_waits_for_the_server_to_listen(stage: Stage) -> None:
    """Early in a life a request that knows no address is repeated: most servers listen once start-up is over."""
    from loopcron import HttpJob

    stage.build(transport=RecordingTransport(TransportError("no_address", started=False), 200))
    stage.scheduler.add(HttpJob("call", every(minutes=1), "/"))
    async with stage.scheduler:
        trigger = stage.scheduler.trigger("call")
        await stage.advance(seconds=1)
        assert await trigger == Succeeded(200)


async def test_stop_condition_ends_the_life(stage: Stage) -> None:
    """A server that drains is asked before anything is claimed, and what is due then is not run."""
    draining: list[bool] = []
    stage.add(work)
    stage.scheduler.stop_when(lambda: bool(draining))
    async with stage.scheduler:
        await stage.advance(minutes=1)
        draining.append(True)
        await stage.advance(minutes=1)
        assert stage.told(SchedulerStopping)
    assert stage.outcomes("work")[0] == Succeeded()
    assert Succeeded() not in stage.outcomes("work")[1:]


async def test_stop_condition_is_asked_when_a_request_fails(stage: Stage) -> None:
    """A request that fails because the server is going down interrupts the run instead of failing it."""
    draining: list[bool] = []

    def refuse(request: object) -> Any:
        draining.append(True)
        raise TransportError("refused", started=False)

    from loopcron import HttpJob

    stage.build(transport=RecordingTransport(refuse))
    stage.scheduler.add(HttpJob("call", every(minutes=1), "/"))
    stage.scheduler.stop_when(lambda: bool(draining))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Interrupted("shutdown")]


async def test_stop_condition_that_raises_stops_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A condition that fails says nothing; the scheduler goes on, and the fault is in the log."""
    stage.add(work)
    stage.scheduler.stop_when(lambda: 1 / 0 > 0)
    async with stage.scheduler:
        await stage.advance(minutes=2)
        assert stage.outcomes() == [Succeeded()] * 2
    assert "a fault in loopcron (stop_when), please report it: ZeroDivisionError" in caplog.text


# --- off, late, by hand


async def test_disabled_scheduler_starts_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """With ``enabled=False`` nothing runs, the log says so, and `run` returns."""
    stage.build(enabled=False)
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=3)
        assert not stage.scheduler.health().running
        await stage.scheduler.stop()
        with pytest.raises(SchedulerClosedError, match="does not run"):
            stage.scheduler.trigger("work")
    await stage.scheduler.run()
    assert stage.seen.events == [SchedulerDisabled(("work",))] * 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "scheduler disabled: none of its 1 jobs will run" in caplog.text


async def test_startup_delay_holds_slots_back(stage: Stage) -> None:
    """Nothing runs before the delay is over; then the slot of that time does, late."""
    started: list[float] = []
    stage.build(startup_delay=timedelta(seconds=50))
    stage.scheduler.job(every(minutes=1), name="late")(lambda run: started.append(stage.clock.monotonic()))
    begin = stage.clock.monotonic()
    async with stage.scheduler:
        await stage.advance(seconds=49)
        assert started == []
        await stage.advance(seconds=60)
    assert [at - begin for at in started] == [50, 103]


async def test_manual_life_moves_in_ticks_only(stage: Stage) -> None:
    """Without a loop a slot runs when `tick` is called, and not before."""
    stage.add(work)
    async with stage.scheduler.manual():
        await stage.scheduler.tick()
        await stage.advance(minutes=1)
        assert stage.outcomes() == []
        await stage.scheduler.tick()
        await stage.scheduler.wait_idle()
        assert stage.outcomes() == [Succeeded()]


async def test_tick_returns_what_it_did_and_waits_for_no_run(stage: Stage) -> None:
    """`tick` returns its actions at once, while the run that it started goes on."""
    stage.add(wait, timeout=None)
    async with stage.scheduler.manual():
        assert await stage.scheduler.tick() == ()  # asks the ledger to register, which entering had queued
        await stage.advance(minutes=1)
        done = await stage.scheduler.tick()
        assert [type(action).__name__ for action in done] == ["Claim", "RunStarted"]
        assert isinstance(done[-1], RunStarted)
        assert done[-1].job == "wait"
        assert await stage.scheduler.tick() == ()
        assert stage.outcomes() == []
    assert stage.outcomes() == [Interrupted("shutdown")]


async def test_tick_works_beside_a_loop(stage: Stage) -> None:
    """In a life with a loop `tick` is one more turn."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        assert await stage.scheduler.tick() == ()
    assert stage.outcomes() == [Succeeded()]


async def test_tick_hands_out_very_many_jobs_in_chunks(stage: Stage) -> None:
    """When more jobs are due on one instant than one poll takes, a tick still does them all."""
    for number in range(600):
        stage.scheduler.add(FunctionJob(f"job{number}", every(minutes=1), work))
    async with stage.scheduler.manual():
        await stage.scheduler.tick()
        await stage.advance(minutes=1)
        done = await stage.scheduler.tick()
        assert sum(isinstance(action, RunStarted) for action in done) == 600
        await stage.scheduler.wait_idle()
    assert len(stage.outcomes()) == 600


async def test_loop_lets_others_run_between_chunks(stage: Stage) -> None:
    """More jobs on one instant than one poll takes all run under the loop too."""
    for number in range(600):
        stage.scheduler.add(FunctionJob(f"job{number}", every(minutes=1), work))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded()] * 600


async def test_tick_does_not_raise_for_job_or_ledger(stage: Stage) -> None:
    """A store and a job that raise are outcomes; `tick` returns as always."""

    class Down(WrappedLedger):
        async def claim(self, claims: Any) -> Any:
            raise OSError("down")

        async def finish(self, finishes: Any) -> Any:
            raise OSError("down")

    async def bad(run: Run) -> None:
        raise ValueError("bad")

    stage.build(ledger=Down(MemoryLedger(stage.clock)))
    stage.add(bad)
    async with stage.scheduler.manual():
        await stage.scheduler.tick()
        await stage.advance(minutes=1)
        assert "Settled" not in [type(action).__name__ for action in await stage.scheduler.tick()]  # asked again
        await stage.advance(minutes=1)
        assert "Settled" in [type(action).__name__ for action in await stage.scheduler.tick()]
        trigger = stage.scheduler.trigger("bad")
        assert "ValueError" in str(await trigger)
        await stage.scheduler.tick()
    assert stage.outcomes()[0] == Skipped("ledger")


async def test_cancelled_tick_loses_no_claim(stage: Stage) -> None:
    """If `tick` is cut while the ledger is asked, the next one asks again."""

    class Slow(WrappedLedger):
        slow = True

        async def claim(self, claims: Any) -> Any:
            if self.slow:
                self.slow = False
                await anyio.sleep_forever()
            return await super().claim(claims)

    stage.build(ledger=Slow(MemoryLedger(stage.clock)))
    stage.add(work)
    async with stage.scheduler.manual():
        await stage.scheduler.tick()
        await stage.advance(minutes=1)
        with anyio.move_on_after(0.01):
            await stage.scheduler.tick()
        assert stage.outcomes() == []
        await stage.scheduler.tick()
        await stage.scheduler.wait_idle()
    assert stage.outcomes() == [Succeeded()]


async def test_wait_idle_waits_for_runs_that_do_not_sleep(stage: Stage) -> None:
    """`wait_idle` returns when a live run waits for the clock, and not while it does something else."""
    gate, order = anyio.Event(), []

    async def gated(run: Run) -> None:
        await gate.wait()
        order.append("through")
        await run.sleep(5)

    stage.add(gated)
    async with stage.scheduler:
        stage.scheduler.trigger("gated")

        async def idle() -> None:
            await stage.scheduler.wait_idle()
            order.append("idle")

        async with anyio.create_task_group() as group:
            group.start_soon(idle)
            group.start_soon(idle)
            await anyio.wait_all_tasks_blocked()
            assert order == []
            gate.set()
        assert order == ["through", "idle", "idle"]


@pytest.mark.parametrize("call", ["tick", "wait_idle"])
async def test_life_is_needed(stage: Stage, call: str) -> None:
    """Outside of a life there is nothing to tick or to wait for."""
    with pytest.raises(SchedulerClosedError, match="enter it first"):
        await getattr(stage.scheduler, call)()


# --- threads


@pytest.mark.parametrize(
    "call",
    [
        lambda scheduler: scheduler.add(FunctionJob("more", every(minutes=1), work)),
        lambda scheduler: scheduler.remove("work"),
        lambda scheduler: scheduler.pause("work"),
        lambda scheduler: scheduler.resume("work"),
        lambda scheduler: scheduler.trigger("work"),
    ],
    ids=["add", "remove", "pause", "resume", "trigger"],
)
async def test_other_threads_are_refused(stage: Stage, call: Callable[[Scheduler], object]) -> None:
    """A verb called from another thread raises, and names the way in."""
    stage.add(work)
    async with stage.scheduler:
        with pytest.raises(LifecycleError, match=r"anyio\.from_thread\.run_sync"):
            await anyio.to_thread.run_sync(call, stage.scheduler)
        assert await anyio.to_thread.run_sync(stage.scheduler.health)
    assert [job.name for job in stage.scheduler.jobs] == ["work"]


async def test_way_in_from_another_thread_works(stage: Stage) -> None:
    """What the message names does what was wanted."""

    def elsewhere() -> None:
        anyio.from_thread.run_sync(stage.scheduler.add, FunctionJob("more", every(minutes=1), work))

    async with stage.scheduler:
        await anyio.to_thread.run_sync(elsewhere)
        await stage.advance(minutes=1)
    assert stage.outcomes("more") == [Succeeded()]


async def test_stop_from_another_thread_is_refused(stage: Stage) -> None:
    """`stop` belongs to the scheduler's thread as the others do."""
    refused: list[LifecycleError] = []

    def elsewhere() -> None:
        try:
            stage.scheduler.stop().send(None)
        except LifecycleError as error:
            refused.append(error)

    async with stage.scheduler:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert "anyio.from_thread.run_sync" in str(refused[0])


async def test_default_transport_is_made_on_first_use(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a transport the loopback one is made when a run first sends, once."""
    from loopcron import HttpJob

    made: list[RecordingTransport] = []

    def make() -> RecordingTransport:
        made.append(RecordingTransport())
        return made[-1]

    assert issubclass(LoopbackTransport, object)
    monkeypatch.setattr(loopback_module, "LoopbackTransport", make)
    stage.build(transport=None)
    stage.scheduler.add(HttpJob("call", every(minutes=1), "/"))
    async with stage.scheduler:
        assert made == []
        await stage.advance(minutes=2)
    assert [len(transport.requests) for transport in made] == [2]


class Removing:
    """An observer that removes each job whose run begins."""

    def __init__(self) -> None:
        self.scheduler: Scheduler | None = None

    def attach(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def on_event(self, event: Event) -> None:
        if isinstance(event, RunStarted) and self.scheduler is not None:
            self.scheduler.remove(event.job)


async def test_what_observers_ask_for_waits_for_no_chunk(stage: Stage) -> None:
    """A job that is removed when its run begins is not begun, though more jobs are due than one poll takes."""
    stage.build(observers=[Removing(), stage.seen])
    for number in range(3 * LOCAL_BATCH):
        stage.scheduler.add(FunctionJob(f"job{number}", every(minutes=1), work))
    async with stage.scheduler.manual():
        await stage.scheduler.tick()
        await stage.advance(minutes=1)
        await stage.scheduler.tick()
        await stage.scheduler.wait_idle()
    assert stage.outcomes() == [Interrupted("remove")] * 3 * LOCAL_BATCH
    assert stage.told(InternalFault) == []
