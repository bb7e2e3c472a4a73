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
    LedgerRecovered,
    Lost,
    MemoryLedger,
    Outcome,
    Pause,
    Register,
    Renew,
    Run,
    Scheduler,
    SchedulerStopped,
    Skipped,
    Succeeded,
    Unavailable,
    Won,
    every,
)
from loopcron import _engine as engine_module
from loopcron._courier import Courier, Trouble
from loopcron._events import Renewed
from loopcron._ledger import BATCH, LOCAL_BATCH
from loopcron.testing import FakeClock, RecordingObserver
from tests.loops import ASYNCIO, UVLOOP
from tests.wrapped import WrappedLedger

ON_ASYNCIO = pytest.mark.parametrize(
    "anyio_backend",
    [ASYNCIO, UVLOOP],
    ids=["asyncio", "uvloop"],
)


class Wrapped(WrappedLedger):
    """A memory ledger with some of its calls replaced."""

    def __init__(self, clock: FakeClock, **calls: Callable[..., Any]) -> None:
        super().__init__(MemoryLedger(clock))
        for name, call in calls.items():
            setattr(self, name, call)


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


class Down(Unavailable):
    """An answer that is one of ours by descent only."""


@pytest.mark.parametrize("answer", [[], [Won(1), Won(2)], [None], ["won"], [7], None, 5, (Lost,), [Down("")]], ids=repr)
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
        return answers.pop() if answers else await play.ledger.ledger.register(jobs)

    play = Play(register=register)
    await play.live()
    assert play.outcomes == [Succeeded()] * 3
    assert [failed.call for failed in play.failures] == ["register"]  # told once, and that it is over
    assert [event.failures for event in play.seen.events if isinstance(event, LedgerRecovered)] == [3]
    assert "1 answers of Row were due" in play.failures[0].error or "TypeError" in play.failures[0].error


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
    """A ``CancelledError`` that leaks out of a driver is a failed call, is asked again, and ends nothing."""
    leaks = [True]

    async def leak(items: Sequence[Any]) -> Any:
        if leaks:
            leaks.pop()
            raise asyncio.CancelledError
        return await getattr(play.ledger.ledger, call)(items)

    play = Play(**{call: leak})
    await play.live()
    assert play.outcomes == [Succeeded()] * 3
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


@pytest.mark.parametrize(("shared", "batch"), [(True, BATCH), (False, LOCAL_BATCH)])
async def test_calls_are_batched_in_order(*, shared: bool, batch: int) -> None:
    """What waits together goes in calls of limited size, registrations first and outcomes last."""
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

        async def finish(self, finishes: Sequence[Finish]) -> Any:
            calls.append(("finish", len(finishes)))
            return await super().finish(finishes)

    ledger = Counting(clock)
    ledger.is_shared = shared
    courier = Courier(ledger, told.append, told.append, clock.monotonic)
    assert courier.idle
    courier.take(Finish("a", 1, 1, Failed("job", "x")))
    for number in range(batch + 1):
        courier.take(Claim(f"job{number}", 5, str(number)))
    courier.take(Register("a", 0, None))
    assert courier.waiting
    await courier.deliver()
    assert calls == [("register", 1), ("claim", batch), ("claim", 1), ("finish", 1)]
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


class Desk:
    """A courier in front of a ledger whose calls are recorded and can be made to fail."""

    def __init__(self, *failing: str) -> None:
        self.clock = FakeClock()
        self.failing = set(failing)
        """Which calls fail."""
        self.calls: list[tuple[str, list[str]]] = []
        """Each call with its jobs."""
        self.items: list[Any] = []
        """What was asked, one after the other."""
        self.facts: list[Any] = []
        self.reports: list[Any] = []
        self.ledger = MemoryLedger(self.clock)
        self.during: Callable[[str], object] = str
        """Called in each call."""
        self.courier = Courier(self, self.facts.append, self.reports.append, self.clock.monotonic)

    def __getattr__(self, call: str) -> Any:
        async def answer(items: Sequence[Any]) -> Any:
            self.calls.append((call, [item.job for item in items]))
            self.items += items
            self.during(call)
            if call in self.failing:
                raise OSError("down")
            return await getattr(self.ledger, call)(items)

        return answer

    async def ask(self, *actions: Any) -> list[tuple[str, list[str]]]:
        """Take these actions, deliver, and return the calls."""
        for action in actions:
            self.courier.take(action)
        self.calls.clear()
        await self.courier.deliver()
        return self.calls


def claim(job: str, slot: int = 5) -> Claim:
    """Return a claim of this slot."""
    return Claim(job, slot, f"{job}-{slot}", 2_000)


def finish(job: str, fence: int = 1) -> Finish:
    """Return an outcome under this fence."""
    return Finish(job, 1, fence, Succeeded())


async def test_calls_go_in_order_of_need() -> None:
    """Renewals first, then registrations, pauses, claims, and outcomes."""
    desk = Desk()
    asked = (finish("a"), claim("b"), Pause("c", 0, True), Register("d", 0, None), Renew("e", 1, 1, 9))
    calls = await desk.ask(*asked)
    assert calls == [("renew", ["e"]), ("register", ["d"]), ("pause", ["c"]), ("claim", ["b"]), ("finish", ["a"])]


async def test_renewal_that_is_asked_meanwhile_comes_next() -> None:
    """What is queued while the store is asked goes by the same order, not by when it came."""
    desk = Desk()

    def during(call: str) -> None:
        if call == "claim" and len(desk.calls) == 1:
            desk.courier.take(Renew("e", 1, 1, 9))

    desk.during = during
    claims = [claim(f"job{number}") for number in range(BATCH + 1)]
    calls = await desk.ask(*claims)
    assert [call for call, _ in calls] == ["claim", "renew", "claim"]


async def test_lease_is_given_back_before_the_job_is_claimed_again() -> None:
    """A claim that comes with the outcome of its job's last run must not find the lease of that run."""
    desk = Desk()
    await desk.ask(claim("a"))
    (won,) = desk.facts.pop().answers
    calls = await desk.ask(claim("a", 6), claim("b"), Finish("a", 5, won.fence, Succeeded()))
    assert [call for call, _ in calls] == ["finish", "claim"]
    assert [type(answer) for answer in desk.facts.pop().answers] == [Won, Won]


async def test_outcome_holds_up_no_other_claims() -> None:
    """It is written before the call in which its job is claimed again, and not before those that go earlier."""
    desk = Desk()
    claims = [claim(f"job{number}") for number in range(BATCH + 1)]
    calls = await desk.ask(*claims, finish(f"job{BATCH}"))
    assert [(call, len(jobs)) for call, jobs in calls] == [("claim", BATCH), ("finish", 1), ("claim", 1)]


async def test_outcome_that_cannot_be_written_holds_up_no_claim_of_its_job() -> None:
    """It is tried before the claim, once."""
    desk = Desk("finish")
    calls = await desk.ask(claim("a"), finish("a"))
    assert [call for call, _ in calls] == ["finish", "claim"]


@pytest.mark.parametrize("call", ["finish", "pause"])
async def test_what_could_not_be_written_goes_along_before_the_next_claim(call: str) -> None:
    """It is not tried alone and for ever, but as soon as something else is asked, and before that."""
    desk = Desk(call)
    kept = finish("a") if call == "finish" else Pause("a", 0, True)
    assert await desk.ask(kept) == [(call, ["a"])]
    assert not desk.courier.waiting
    assert desk.courier.idle
    assert await desk.ask() == []
    assert await desk.ask(claim("b")) == [(call, ["a"]), ("claim", ["b"])]
    desk.failing.clear()
    assert await desk.ask(claim("b", 6)) == [(call, ["a"]), ("claim", ["b"])]
    assert await desk.ask(claim("b", 7)) == [("claim", ["b"])]


@pytest.mark.parametrize("call", ["finish", "pause"])
async def test_more_than_one_call_takes_cannot_be_written(call: str) -> None:
    """However much there is, a store that is down is asked once, and all of it goes along later, nothing twice."""
    desk = Desk(call)
    jobs = [f"job{number}" for number in range(2 * BATCH + 1)]
    many = [finish(job) if call == "finish" else Pause(job, 0, True) for job in jobs]
    with anyio.fail_after(5):
        assert await desk.ask(*many, claim("b")) == [
            *([("pause", jobs[:BATCH])] if call == "pause" else []),
            ("claim", ["b"]),
            *([("finish", jobs[:BATCH])] if call == "finish" else []),
        ]
        desk.failing.clear()
        calls = await desk.ask(claim("b", 6))
    assert [job for name, batch in calls if name == call for job in batch] == jobs
    assert await desk.ask(claim("b", 7)) == [("claim", ["b"])]


async def test_newest_pause_is_the_one_that_is_written() -> None:
    """What was kept is overtaken by what somebody wants now, also where that comes while the store is asked."""
    desk = Desk("pause")
    await desk.ask(Pause("a", 0, True))
    await desk.ask(Pause("a", 1, False))

    def during(call: str) -> None:
        if call == "pause" and len(desk.calls) == 1:
            desk.courier.take(Pause("a", 3, True))

    desk.during = during
    await desk.ask(Pause("a", 2, False))
    assert [call for call, _ in desk.calls] == ["pause", "pause"]
    assert desk.items[-1] == Pause("a", 3, True)
    desk.during = str
    desk.failing.clear()
    desk.items.clear()
    await desk.ask(claim("b"))
    assert [item for item in desk.items if isinstance(item, Pause)] == [Pause("a", 3, True)]


async def test_pauses_of_one_job_are_one_question() -> None:
    """Each job comes at most once in a call."""
    desk = Desk()
    await desk.ask(Pause("a", 0, True), Pause("b", 0, True), Pause("a", 1, False))
    assert desk.items == [Pause("a", 1, False), Pause("b", 0, True)]


async def test_claims_of_a_job_whose_pause_is_not_written_are_refused() -> None:
    """The store would answer as if nobody had paused it; other jobs are asked for as ever."""
    desk = Desk("pause")
    calls = await desk.ask(Pause("a", 0, True), claim("a"), claim("b"))
    assert calls == [("pause", ["a"]), ("claim", ["b"])]
    answers = {
        asked.job: answer for fact in desk.facts for asked, answer in zip(fact.claims, fact.answers, strict=True)
    }
    assert answers["a"] == Unavailable("its pause could not be written")
    assert isinstance(answers["b"], Won)
    desk.failing.clear()
    desk.facts.clear()
    assert await desk.ask(claim("a")) == [("pause", ["a"]), ("claim", ["a"])]
    assert desk.facts.pop().answers[0].row.paused


async def test_store_is_asked_for_nothing_where_all_is_refused() -> None:
    """A call without claims would only tell that the store can be asked, which it cannot."""
    desk = Desk("pause")
    assert await desk.ask(Pause("a", 0, True), claim("a")) == [("pause", ["a"])]
    assert desk.courier.idle


async def test_failure_is_told_once_a_minute_and_when_the_reason_changes() -> None:
    """A store that is down is asked far more often than it is told of."""
    desk = Desk()
    errors = ["down"]

    def during(call: str) -> None:
        if errors[0]:
            raise OSError(errors[0])

    desk.during = during
    told: list[tuple[int, Any]] = []
    for second in range(0, 200, 10):
        if second == 30:
            errors[0] = "full"
        if second == 190:
            errors[0] = ""
        await desk.ask(claim("a", second))
        told += [(second, report) for report in desk.reports]
        desk.reports.clear()
        await desk.clock.advance(timedelta(seconds=10))
    down, full = LedgerFailed("claim", "OSError: down"), LedgerFailed("claim", "OSError: full")
    assert told == [(0, down), (30, full), (90, full), (150, full), (190, LedgerRecovered("claim", 19))]
    errors[0] = "full"
    await desk.ask(claim("a", 999))
    assert desk.reports == [full]


async def test_each_call_has_its_own_trouble() -> None:
    """A store that claims but cannot finish is told of for that, and what works ends no other trouble."""
    desk = Desk("finish", "renew")
    await desk.ask(Renew("a", 1, 1, 9), claim("b"), finish("c"))
    assert [report.call for report in desk.reports] == ["renew", "finish"]
    desk.failing = {"finish"}
    await desk.ask(Renew("a", 1, 1, 9), claim("b", 6))
    assert desk.reports[2:] == [LedgerRecovered("renew", 1)]


async def test_trouble_of_all_calls_is_summed_up() -> None:
    """For health: the newest error of the calls that still fail, since the oldest of them does, and how often."""
    desk = Desk("finish")
    assert desk.courier.trouble is None
    await desk.ask(finish("a"))
    await desk.clock.advance(timedelta(seconds=10))
    desk.failing = {"finish", "claim"}
    await desk.ask(finish("b"), claim("b"))
    await desk.clock.advance(timedelta(seconds=10))
    began = desk.clock.monotonic() - 20
    assert desk.courier.trouble == Trouble("OSError: down", began, 3)
    desk.failing = {"claim"}
    await desk.ask(finish("b"))
    assert desk.courier.trouble == Trouble("OSError: down", began + 10, 1)
    desk.failing = set()
    await desk.ask(claim("b", 6))
    assert desk.courier.trouble is None


async def test_error_of_a_call_that_works_again_is_no_reason() -> None:
    """What is told is why a call fails that still does."""
    desk = Desk()

    def during(call: str) -> None:
        if call in desk.failing:
            raise OSError(call)

    desk.during = during
    desk.failing = {"finish", "claim"}
    await desk.ask(finish("a"))
    await desk.ask(claim("b"))
    assert desk.courier.trouble is not None
    assert desk.courier.trouble.why == "OSError: claim"
    desk.failing = {"finish"}
    await desk.ask(claim("b", 6))
    assert desk.courier.trouble is not None
    assert desk.courier.trouble.why == "OSError: finish"


async def test_claim_that_is_answered_ends_the_trouble_of_renewals() -> None:
    """The run whose lease could not be renewed is over soon, and then nothing may be renewed for days."""
    desk = Desk("renew")
    await desk.ask(Renew("a", 1, 1, 9))
    assert desk.courier.trouble is not None
    await desk.ask(claim("b"))
    assert desk.courier.trouble is None
    await desk.ask(Renew("a", 1, 1, 9))
    assert desk.courier.trouble is not None
    desk.failing = {"renew", "finish"}
    await desk.ask(claim("b", 6), finish("c"))
    assert desk.courier.trouble is not None
    assert desk.courier.trouble.failures == 1
    desk.failing = set()
    await desk.ask(finish("c"), Renew("a", 1, 1, 9))
    assert desk.courier.trouble is None


async def test_unavailable_answers_are_told() -> None:
    """A store that could not ask for some jobs says why, once for each reason; the others have their answers."""
    told: list[Any] = []
    reports: list[Any] = []
    clock = FakeClock()
    answers = [Unavailable("too long"), Won(1), Unavailable("too long"), Unavailable("odd")]
    ledger = Wrapped(clock, claim=answering(answers))
    courier = Courier(ledger, told.append, reports.append, clock.monotonic)
    for job in "abcd":
        courier.take(claim(job))
    await courier.deliver()
    assert told[0].answers == answers
    assert reports == [LedgerFailed("claim", "too long"), LedgerFailed("claim", "odd")]
    for job in "abcd":
        courier.take(claim(job))
    await courier.deliver()
    assert len(reports) == 2
    ledger.claim = answering([Won(2)])  # type: ignore[method-assign]
    courier.take(claim("a", 6))
    await courier.deliver()
    assert reports[2:] == [LedgerRecovered("claim", 4)]


async def test_renewals_are_answered() -> None:
    """What the store says to each, or that it could not be asked."""
    desk = Desk()
    renewal = Renew("a", 1, 1, 9)
    await desk.ask(renewal)
    desk.failing.add("renew")
    await desk.ask(renewal)
    assert desk.facts == [Renewed([renewal], [False]), Renewed([renewal], None)]


@pytest.mark.parametrize("answer", [[], [1], [None], ["yes"], None], ids=repr)
async def test_wrong_answers_to_renewals_are_none(answer: Any) -> None:
    """Nothing but a truth value for each is an answer."""
    told: list[Any] = []
    reports: list[Any] = []
    clock = FakeClock()
    courier = Courier(Wrapped(clock, renew=answering(answer)), told.append, reports.append, clock.monotonic)
    courier.take(Renew("a", 1, 1, 9))
    await courier.deliver()
    assert told[-1].answers is None


async def test_store_that_is_down_for_days_fills_no_memory() -> None:
    """Of each job only the newest outcome and pause are kept, and few reasons are remembered."""
    desk = Desk("finish", "pause", "claim")
    number = 0

    def during(call: str) -> None:
        nonlocal number
        number += 1
        raise OSError(f"failure {number}")

    desk.during = during
    for fence in range(2 * BATCH):
        jobs = [f"job{fence % 3}", "a"]
        await desk.ask(*(finish(job, fence) for job in jobs), *(Pause(job, fence, True) for job in jobs), claim("b"))
        desk.facts.clear()
    courier = desk.courier
    assert len(courier._finishes.kept) == len(courier._pauses.kept) == 4
    assert {kept.fence for kept in courier._finishes.kept} == {2 * BATCH - 1, 2 * BATCH - 2, 2 * BATCH - 3}
    assert not courier.waiting
    assert len(courier._trouble._told) <= BATCH


async def test_call_that_is_cut_is_asked_again() -> None:
    """What was under way when somebody cancelled it is asked the next time, before what came since, and once."""
    desk = Desk()
    asked = anyio.Event()

    async def hanging(items: Sequence[Any]) -> Any:
        asked.set()
        await anyio.sleep_forever()

    courier = Courier(Wrapped(desk.clock, claim=hanging), desk.facts.append, desk.reports.append, desk.clock.monotonic)
    courier.take(claim("a"))
    async with anyio.create_task_group() as group:
        group.start_soon(courier.deliver)
        await asked.wait()
        group.cancel_scope.cancel()
    assert courier.waiting
    assert desk.facts == desk.reports == []
    assert courier.give_up() == [claim("a")]
    assert courier.idle
