"""A ledger that answers wrongly, raises, leaks or hangs costs the slots that it was asked for, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest

from loopcron import (
    Claim,
    Failed,
    Finish,
    FunctionJob,
    InternalFault,
    LedgerFailed,
    Lost,
    MemoryLedger,
    Outcome,
    Register,
    Run,
    Scheduler,
    SchedulerStopped,
    Skipped,
    Succeeded,
    Won,
    every,
)
from loopcron import _engine as engine_module
from loopcron._courier import BATCH, Courier
from loopcron.testing import FakeClock, RecordingObserver

ON_ASYNCIO = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"debug": True}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


class Wrapped:
    """A memory ledger with some of its calls replaced."""

    def __init__(self, clock: FakeClock, **calls: Callable[..., Any]) -> None:
        self.real = MemoryLedger(clock)
        self.calls = calls

    async def register(self, jobs: Sequence[Register]) -> Any:
        return await self.calls.get("register", self.real.register)(jobs)

    async def claim(self, claims: Sequence[Claim]) -> Any:
        return await self.calls.get("claim", self.real.claim)(claims)

    async def finish(self, finishes: Sequence[Finish]) -> None:
        await self.calls.get("finish", self.real.finish)(finishes)


class Play:
    """A scheduler with one job a minute over a bad ledger."""

    def __init__(self, **calls: Callable[..., Any]) -> None:
        self.clock = FakeClock()
        self.seen = RecordingObserver()
        self.ledger = Wrapped(self.clock, **calls)
        self.scheduler = Scheduler(clock=self.clock, ledger=self.ledger, observers=[self.seen])

        @self.scheduler.job(every(minutes=1))
        async def work(run: Run) -> None:
            pass

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of the slots."""
        return [settled.outcome for settled in self.seen.settled()]

    @property
    def failures(self) -> list[LedgerFailed]:
        """What was told of the ledger."""
        return [event for event in self.seen.events if isinstance(event, LedgerFailed)]

    async def live(self, minutes: float = 3) -> None:
        """Live for so long."""
        async with self.scheduler:
            await self.clock.advance(timedelta(minutes=minutes))
        assert isinstance(self.seen.events[-1], SchedulerStopped)
        assert not [event for event in self.seen.events if isinstance(event, InternalFault)]


def answering(answer: Any) -> Callable[..., Any]:
    """Return a call that answers so."""

    async def call(items: Sequence[Any]) -> Any:
        return answer

    return call


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a call that raises."""

    async def call(items: Sequence[Any]) -> Any:
        raise error.with_traceback(None)

    return call


@pytest.mark.parametrize("answer", [[], [Won(1), Won(2)], [None], ["won"], [7], None, 5, (Lost,)], ids=repr)
async def test_wrong_answers_to_claims_skip_their_slots(answer: Any) -> None:
    """Too few, too many or other answers than were due are none: the slots are skipped, and it is told."""
    play = Play(claim=answering(answer))
    await play.live()
    assert play.outcomes == [Skipped("ledger")] * 3
    assert {failed.call for failed in play.failures} == {"claim"}


@pytest.mark.parametrize("answer", [[], [1, 2], [None], ["1"], None], ids=repr)
async def test_wrong_answers_to_registrations_are_asked_again(answer: Any) -> None:
    """A job that could not be registered is registered later, and has its slots from then on."""
    answers = [answer] * 3

    async def register(jobs: Sequence[Register]) -> Any:
        return answers.pop() if answers else await play.ledger.real.register(jobs)

    play = Play(register=register)
    await play.live()
    assert play.outcomes == [Succeeded()] * 3
    assert [failed.call for failed in play.failures] == ["register"] * 3
    assert "1 answers of int were due" in play.failures[0].error or "TypeError" in play.failures[0].error


@pytest.mark.parametrize("error", [OSError("down"), SystemExit(1), GeneratorExit()], ids=repr)
async def test_ledger_that_raises_skips_its_slots(error: BaseException) -> None:
    """Whatever a claim raises means that the store could not be asked: the slot is skipped, the next one asks again."""
    play = Play(claim=raising(error), finish=raising(error))
    await play.live()
    assert play.outcomes == [Skipped("ledger")] * 3
    assert play.failures[0].error.startswith(type(error).__name__)


async def test_ledger_that_cannot_finish_changes_no_outcome() -> None:
    """A store that takes no outcomes is reported, and the runs count as they ended."""
    play = Play(finish=raising(OSError("full")))
    await play.live()
    assert play.outcomes == [Succeeded()] * 3
    assert play.failures == [LedgerFailed("finish", "OSError: full")] * 3


@ON_ASYNCIO
@pytest.mark.parametrize("call", ["register", "claim", "finish"])
async def test_stray_cancellation_out_of_a_ledger_is_a_failure(call: str) -> None:
    """A ``CancelledError`` that leaks out of a driver is a failed call, and ends nothing."""
    leaks = [True]

    async def leak(items: Sequence[Any]) -> Any:
        if leaks:
            leaks.pop()
            raise asyncio.CancelledError
        return await getattr(play.ledger.real, call)(items)

    play = Play(**{call: leak})
    await play.live()
    assert play.outcomes == ([Skipped("ledger")] if call == "claim" else [Succeeded()]) + [Succeeded()] * 2
    assert play.failures == [LedgerFailed(call, "CancelledError")]


async def test_ledger_that_hangs_is_given_two_seconds_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ledger has not answered when all is over is no claim, after a last while of real time."""
    assert engine_module.LEDGER_SECONDS == 2.0
    monkeypatch.setattr(engine_module, "LEDGER_SECONDS", 0.05)
    asked = anyio.Event()

    async def hanging(items: Sequence[Any]) -> Any:
        asked.set()
        await anyio.sleep_forever()

    play = Play(claim=hanging)
    async with play.scheduler:
        async with anyio.create_task_group() as group:
            group.start_soon(play.clock.advance, timedelta(minutes=1))
            await asked.wait()
            group.cancel_scope.cancel()
        assert play.outcomes == []
    assert play.outcomes == [Skipped("ledger")]
    assert isinstance(play.seen.events[-1], SchedulerStopped)


async def test_answer_that_comes_too_late_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that swallows its cancellation and answers after the end answers nobody."""
    monkeypatch.setattr(engine_module, "LEDGER_SECONDS", 0.01)
    asked, answered = anyio.Event(), anyio.Event()

    async def late(items: Sequence[Any]) -> Any:
        asked.set()
        try:
            await anyio.sleep_forever()
        except BaseException:
            answered.set()
            return [Won(1)]

    play = Play(claim=late)
    async with play.scheduler, anyio.create_task_group() as group:
        group.start_soon(play.clock.advance, timedelta(minutes=1))
        await asked.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(5):
        await answered.wait()
    await anyio.wait_all_tasks_blocked()
    assert play.outcomes == [Skipped("ledger")]
    assert not [event for event in play.seen.events if isinstance(event, InternalFault)]


async def test_ledger_that_is_slow_at_the_end_is_heard() -> None:
    """A claim that is answered within the last while counts: the slot was won, and the shutdown interrupted it."""
    asked, go = anyio.Event(), anyio.Event()

    async def slow(items: Sequence[Any]) -> Any:
        asked.set()
        await go.wait()
        return [Won(1)]

    play = Play(claim=slow)
    async with anyio.create_task_group() as outer, play.scheduler:
        async with anyio.create_task_group() as group:
            group.start_soon(play.clock.advance, timedelta(minutes=1))
            await asked.wait()
            group.cancel_scope.cancel()
        outer.start_soon(play.scheduler.stop)
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert [type(outcome).__name__ for outcome in play.outcomes] == ["Interrupted"]


async def test_hanging_ledger_holds_up_no_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store hangs, runs that need no claim go on."""
    monkeypatch.setattr(engine_module, "LEDGER_SECONDS", 0.01)
    asked = anyio.Event()

    async def hanging(items: Sequence[Any]) -> Any:
        asked.set()
        await anyio.sleep_forever()

    play = Play(register=hanging)
    with anyio.move_on_after(5):
        async with play.scheduler:
            await asked.wait()
            assert await play.scheduler.trigger("work") == Succeeded()
            await play.scheduler.stop(drain=timedelta(0))
    assert isinstance(play.seen.events[-1], SchedulerStopped)


async def test_keyboard_interrupt_in_a_ledger_is_let_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``KeyboardInterrupt`` that strikes inside the store's driver ends the life, as everywhere."""
    monkeypatch.setattr(engine_module, "LEDGER_SECONDS", 0.01)
    play = Play(claim=raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes out of the block as a whole
        async with play.scheduler:
            await play.clock.advance(timedelta(minutes=1))
            await anyio.sleep_forever()


async def test_calls_are_batched_in_order() -> None:
    """What waits together goes in calls of at most 500, registrations first and outcomes last."""
    told: list[Any] = []
    calls: list[tuple[str, int]] = []
    clock = FakeClock()

    class Counting(Wrapped):
        async def register(self, jobs: Sequence[Register]) -> Any:
            calls.append(("register", len(jobs)))
            return await super().register(jobs)

        async def claim(self, claims: Sequence[Claim]) -> Any:
            calls.append(("claim", len(claims)))
            return await super().claim(claims)

        async def finish(self, finishes: Sequence[Finish]) -> None:
            calls.append(("finish", len(finishes)))

    courier = Courier(Counting(clock), told.append, told.append)
    assert courier.idle
    courier.take(Finish("a", 1, 1, Failed("job", "x")))
    for number in range(BATCH + 1):
        courier.take(Claim(f"job{number}", 5, str(number)))
    courier.take(Register("a", 0, None))
    assert courier.waiting
    await courier.deliver()
    assert calls == [("register", 1), ("claim", BATCH), ("claim", 1), ("finish", 1)]
    assert courier.idle
    assert len(told) == 3


async def nothing(run: Run) -> None:
    """Do nothing."""


async def test_many_jobs_on_one_instant_are_all_claimed() -> None:
    """More jobs than one call takes are claimed in several, and all run."""
    play = Play()
    for number in range(BATCH + 50):
        play.scheduler.add(FunctionJob(f"job{number}", every(minutes=1), nothing))
    await play.live(1)
    assert len(play.outcomes) == BATCH + 51
