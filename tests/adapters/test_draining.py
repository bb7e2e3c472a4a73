"""What adapters rely on in a scheduler: it notices that a server drains, and waits for one that does not listen yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import anyio
import pytest

from loopcron import (
    FunctionJob,
    HttpJob,
    Interrupted,
    Run,
    Scheduler,
    SchedulerStopping,
    Skipped,
    Succeeded,
    TransportError,
    every,
)
from loopcron.testing import FakeClock, RecordingObserver, RecordingTransport, hang

NO_ADDRESS = TransportError("no_address", started=False)


async def hangs(run: Run) -> None:
    """Be in flight for ever."""
    await hang()


async def test_drain_is_noticed_while_a_run_is_in_flight() -> None:
    """A server that drains is noticed within a second while something runs, though nothing else comes due."""
    seen, clock = RecordingObserver(), FakeClock()
    scheduler = Scheduler(clock=clock, observers=[seen], drain=timedelta(seconds=2))
    scheduler.add(FunctionJob("job", every(hours=1), hangs, run_on_start=True))
    draining: list[bool] = []
    async with scheduler:
        scheduler.stop_when(lambda: bool(draining))
        await clock.advance(timedelta(seconds=90))
        draining.append(True)
        await clock.advance(timedelta(seconds=1))
        assert any(isinstance(event, SchedulerStopping) for event in seen.events)
        await clock.advance(timedelta(seconds=2))
    assert [event.outcome for event in seen.settled("job")] == [Interrupted("shutdown")]


async def test_condition_holds_for_one_life() -> None:
    """What a scheduler is told to stop at is forgotten when it has stopped, so that nothing piles up."""
    clock = FakeClock()
    seen = RecordingObserver()
    scheduler = Scheduler(clock=clock, observers=[seen])
    scheduler.add(FunctionJob("job", every(seconds=10), lambda run: None))
    async with scheduler:
        scheduler.stop_when(lambda: True)
        await clock.advance(timedelta(seconds=10))
    assert Succeeded() not in [event.outcome for event in seen.settled("job")]
    async with scheduler:
        await clock.advance(timedelta(seconds=10))
    assert seen.settled("job")[-1].outcome == Succeeded()


@pytest.mark.parametrize(("replies", "outcome"), [(3, Succeeded(200)), (100, Skipped("no_address"))])
async def test_first_runs_wait_for_an_address(replies: int, outcome: object) -> None:
    """Right after the start a run waits for an address, as most servers listen only later; but not for ever."""
    clock, seen = FakeClock(), RecordingObserver()
    transport = RecordingTransport(*[NO_ADDRESS] * replies, 200)
    scheduler = Scheduler(clock=clock, observers=[seen], transport=transport)
    scheduler.add(HttpJob("job", every(hours=1), "/", run_on_start=True))
    async with scheduler:
        await clock.advance(timedelta(seconds=30))
        assert [event.outcome for event in seen.settled("job")] == [outcome]


async def test_later_runs_do_not_wait_for_an_address() -> None:
    """Once the start is long over a run without an address is skipped at once."""
    clock, seen = FakeClock(), RecordingObserver()
    scheduler = Scheduler(clock=clock, observers=[seen], transport=RecordingTransport(NO_ADDRESS))
    scheduler.add(HttpJob("job", every(hours=1), "/"))
    async with scheduler:
        await clock.advance(timedelta(hours=1))
        assert [(event.outcome, event.attempt) for event in seen.settled("job")] == [(Skipped("no_address"), 1)]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_run_cancelled_by_the_server_is_interrupted(anyio_backend: str) -> None:
    """While the scheduler stops, a cancellation from outside is the server's, and interrupts the run."""
    seen = RecordingObserver()
    scheduler = Scheduler(observers=[seen])
    tasks: list[asyncio.Task[object] | None] = []

    async def job(run: Run) -> None:
        tasks.append(asyncio.current_task())
        await anyio.sleep_forever()

    scheduler.add(FunctionJob("job", every(days=3650), job))

    async def cancel() -> None:
        while not any(isinstance(event, SchedulerStopping) for event in seen.events):
            await anyio.lowlevel.checkpoint()
        assert tasks[0] is not None
        tasks[0].cancel()

    async with anyio.create_task_group() as group, scheduler:
        scheduler.trigger("job")
        while not tasks:
            await anyio.lowlevel.checkpoint()
        group.start_soon(cancel)
    assert [event.outcome for event in seen.settled("job")] == [Interrupted("shutdown")]
