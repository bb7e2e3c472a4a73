"""No job stops firing without a word: a store that never answers, slots that are skipped one after the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from loopcron import (
    Event,
    Failed,
    HttpJob,
    InternalFault,
    JobState,
    LedgerFailed,
    LedgerRecovered,
    LoggingObserver,
    MemoryLedger,
    Register,
    Row,
    Run,
    Scheduler,
    SchedulerStopped,
    Succeeded,
    every,
)
from loopcron._instants import to_ms
from loopcron._observe import Observers
from loopcron.testing import Faults, FaultyLedger, RecordingObserver
from tests.shell.hands import MINUTE, HandClock
from tests.wrapped import WrappedLedger

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

SLICE = timedelta(seconds=30)


async def work(run: Run) -> None:
    """Do nothing."""


class Hanging(WrappedLedger):
    """A memory ledger whose calls of one name wait for a gate."""

    def __init__(self, clock: HandClock, call: str) -> None:
        super().__init__(MemoryLedger(clock))
        self.gate = anyio.Event()
        method: Any = getattr(self, call)

        async def hang(items: Sequence[Any]) -> Any:
            await self.gate.wait()
            return await method(items)

        setattr(self, call, hang)


@pytest.mark.parametrize("call", ["register", "claim"])
async def test_store_that_never_answers_is_told(call: str) -> None:
    """A call that hangs is a ledger that fails, within three minutes, though no job is overdue for hours yet."""
    clock, seen = HandClock(), RecordingObserver()
    ledger = Hanging(clock, call)
    scheduler = Scheduler(clock=clock, ledger=ledger, observers=[seen])
    scheduler.job(every(hours=12) if call == "register" else every(minutes=5))(work)
    async with scheduler:
        for _ in range(8):
            assert scheduler.health().ledger.reachable is not any(isinstance(it, LedgerFailed) for it in seen.events)
            await clock.move(SLICE)
        health = scheduler.health()
        assert (health.ledger.reachable, health.ledger.why) == (False, "no answer for more than 30 s")
        assert health["work"].state is (JobState.PARKED if call == "register" else JobState.OK)
        assert not health.ok
        ledger.gate.set()
        await clock.move(SLICE)
        assert (scheduler.health().ledger.reachable, scheduler.health().ok) == (True, True)
    told = [event.call for event in seen.events if isinstance(event, (LedgerFailed, LedgerRecovered))]
    assert set(told) == {call}


async def test_blocked_loop_is_not_blamed_on_the_store() -> None:
    """A call that is under way when the event loop is blocked is not late by that."""
    clock, seen = HandClock(), RecordingObserver()
    ledger = Hanging(clock, "register")
    scheduler = Scheduler(clock=clock, ledger=ledger, observers=[seen])
    scheduler.job(every(hours=12))(work)
    async with scheduler:
        await clock.move(10 * MINUTE)
        assert scheduler.health().ledger.reachable
        ledger.gate.set()
        await clock.move(SLICE)
    assert not [event for event in seen.events if isinstance(event, LedgerFailed)]


async def test_job_whose_slots_are_all_skipped_for_want_of_a_store_is_overdue(stage: Stage) -> None:
    """With the ledger down each slot has its outcome, and yet nothing runs: overdue from the third one on."""
    stage.build(ledger=FaultyLedger(MemoryLedger(stage.clock), Faults(4, forever=True)))
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=4, seconds=30)
        assert stage.scheduler.health()["work"].state is JobState.OK
        await stage.advance(minutes=1)
        health = stage.scheduler.health()
        assert (health["work"].state, health.live, health.ok) == (JobState.OVERDUE, True, False)
        assert health["work"].why == "its last 3 slots were skipped: ledger"
        assert health["work"].since_at is not None


async def test_job_without_an_address_is_overdue(stage: Stage) -> None:
    """An app that listens nowhere lets every slot be skipped, which is no health; another life begins anew."""
    scheduler = stage.build(transport=None)
    scheduler.add(HttpJob("sync", every(minutes=1), "/sync"))
    async with scheduler:
        await stage.advance(minutes=4)
        health = scheduler.health()
        assert (health["sync"].state, health.live) == (JobState.OVERDUE, True)
        assert health["sync"].why.endswith("slots were skipped: no_address")
    async with scheduler:
        assert scheduler.health()["sync"].state is JobState.OK


async def test_watchdog_without_a_thread_leaves_no_loop_behind(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process has no thread left for it, entering fails, and nothing of the life goes on unseen."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    stage.build(watchdog=timedelta(seconds=5))
    stage.add(work)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            await stage.scheduler.__aenter__()
    assert len(stage.told(SchedulerStopped)) == 1
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded()]


def test_log_that_is_left_out_has_its_last_words(caplog: pytest.LogCaptureFixture) -> None:
    """A log that was slow three times says itself that it ends: there may be no other observer to tell."""
    times = iter(range(100))
    observers = Observers([LoggingObserver()], lambda: float(next(times)))
    for _ in range(4):
        observers.notify(SchedulerStopped())
    words = "observer LoggingObserver {}: took 1.000 s"
    assert [record.message for record in caplog.records] == [*[words.format("kept")] * 2, words.format("disabled")]


class Closed:
    """An observer that raises for every name but one."""

    def on_event(self, event: Event) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


async def test_observer_may_raise_for_what_it_has_not(stage: Stage) -> None:
    """What an observer need not have may be asked of it all the same, and keeps no scheduler from its start."""
    stage.build(observers=[Closed(), stage.seen])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        assert [observer.disabled for observer in stage.scheduler.snapshot().observers] == [False] * 3
    assert stage.outcomes() == [Succeeded()]


class Odd(str):
    """A text that nothing can be compared with."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise ValueError("odd")


async def test_outcome_that_the_history_cannot_keep_is_told(stage: Stage) -> None:
    """A job may make its outcome of anything; observers and whoever asked for the run hear of it all the same."""

    async def odd(run: Run) -> Failed:
        return Failed("job", Odd("x"))

    stage.add(odd, schedule=every(hours=12))
    outcomes = []
    async with stage.scheduler:
        for _ in range(2):
            with anyio.fail_after(5):
                outcomes.append(await stage.scheduler.trigger("odd"))
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed]
    assert len(stage.outcomes()) == 2
    assert [fault.where for fault in stage.told(InternalFault)] == ["history"]


async def test_lease_of_another_worker_moves_with_the_clock(stage: Stage) -> None:
    """How long somebody else has a lease is known by what has passed since, however the clock is set meanwhile."""
    held = Row("work", to_ms(stage.clock.now()), 1, "web-1:7:x-1", finished=False, lease=20_000)

    class Elsewhere(WrappedLedger):
        async def register(self, jobs: Sequence[Register]) -> Sequence[Row]:
            return [held for _ in jobs]

    stage.build(ledger=Elsewhere(MemoryLedger(stage.clock), is_shared=True))
    stage.add(work, schedule=every(hours=12))
    async with stage.scheduler:
        await stage.advance(seconds=1)
        stage.clock.jump_wall(timedelta(hours=1))
        await stage.scheduler.tick()
        lease = stage.scheduler.snapshot()["work"].lease
        assert lease is not None
        assert lease.until_at == stage.clock.now() + timedelta(seconds=19)
