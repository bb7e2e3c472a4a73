"""What health and snapshots show of the ledger, and of other workers on it."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from loopcron import (
    Claim,
    Clock,
    FunctionJob,
    JobHealth,
    JobState,
    MemoryLedger,
    Register,
    Run,
    Scheduler,
    SchedulerState,
    Snapshot,
    Taken,
    every,
)
from loopcron import _engine as engine_module
from loopcron._instants import to_ms
from loopcron._view import worker_name
from loopcron.ledgers import SqliteLedger, _sqlite_table
from loopcron.testing import FakeClock, RecordingObserver
from tests.shell.hands import MINUTE, HandClock
from tests.wrapped import WrappedLedger

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

SECOND = timedelta(seconds=1)


async def work(run: Run) -> None:
    """Do nothing."""


def job_health(stage: Stage, job: str = "work") -> JobHealth:
    """Return the health of a job now."""
    return stage.scheduler.health()[job]


# --- the ledger


class Store(WrappedLedger):
    """A ledger in memory that says it is shared, and fails or never answers some calls."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(MemoryLedger(clock), is_shared=True)
        self.down: set[str] = set()
        self.hanging: set[str] = set()
        self.asked = 0

    def __repr__(self) -> str:
        return "a store"

    async def check(self, call: str) -> None:
        self.asked += 1
        if call in self.down:
            raise OSError(f"{call} {self.asked}")
        if call in self.hanging:
            await anyio.sleep_forever()

    async def register(self, jobs: Sequence[Register]) -> Any:
        await self.check("register")
        return await super().register(jobs)

    async def claim(self, claims: Sequence[Claim]) -> Any:
        await self.check("claim")
        return await super().claim(claims)

    async def renew(self, renewals: Any) -> Any:
        await self.check("renew")
        return await super().renew(renewals)

    async def finish(self, finishes: Any) -> Any:
        await self.check("finish")
        return await super().finish(finishes)


async def test_ledger_that_is_down_from_the_start(stage: Stage) -> None:
    """Its jobs are parked since it failed first, health says what fails, and both end when it answers."""
    store = Store(stage.clock)
    store.down = {"register"}
    stage.build(ledger=store)
    stage.add(work)
    begun = stage.clock.now()
    async with stage.scheduler:
        await stage.advance(minutes=5)
        health = stage.scheduler.health()
        assert (health.ledger.text, health.ledger.shared, health.ledger.reachable) == ("a store", True, False)
        assert health.ledger.why == f"OSError: register {store.asked}"
        assert (health.ledger.failures, health.ledger.since_at) == (store.asked, begun)
        job = health["work"]
        assert (job.state, job.why, job.since_at) == (
            JobState.PARKED,
            "the ledger could not be asked to register it",
            begun,
        )
        assert health.live
        assert not health.ok
        store.down = set()
        await stage.advance(minutes=2)
        health = stage.scheduler.health()
        assert health.ok
        assert (health.ledger.reachable, health.ledger.why, health.ledger.since_at) == (True, "", None)


async def test_trouble_of_each_call_is_summed_up(stage: Stage) -> None:
    """What fails is told by the newest error of the calls that still fail, since the oldest of them began to."""
    store = Store(stage.clock)
    stage.build(ledger=store)
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        store.down = {"finish"}
        await stage.advance(minutes=1)
        finish = stage.scheduler.health().ledger
        assert finish.why.startswith("OSError: finish")
        store.down = {"finish", "claim"}
        await stage.advance(minutes=1)
        both = stage.scheduler.health().ledger
        assert both.failures > finish.failures
        assert both.since_at == finish.since_at
        store.down = {"finish"}
        await stage.advance(minutes=1)
        again = stage.scheduler.health().ledger
        assert again.why.startswith("OSError: finish")
        assert again.since_at == finish.since_at
        store.down = set()
        await stage.advance(minutes=1)
        assert stage.scheduler.health().ledger.reachable


async def test_renewals_that_nobody_needs_any_more_are_no_trouble(stage: Stage) -> None:
    """A store that failed while a lease was to be renewed is well again once it answers a claim."""
    store = Store(stage.clock)
    stage.build(ledger=store)

    async def long(run: Run) -> None:
        await run.sleep(25 if not stage.seen.settled() else 0)

    stage.add(long)
    async with stage.scheduler:
        store.down = {"renew"}
        await stage.advance(minutes=1, seconds=20)
        assert not stage.scheduler.health().ledger.reachable
        store.down = set()
        await stage.advance(minutes=2)
        assert len(stage.seen.settled()) >= 2
        assert stage.scheduler.health().ledger.reachable


@pytest.mark.parametrize("call", ["register", "claim", "finish"])
async def test_ledger_that_never_answers_shows_within_two_periods(
    stage: Stage, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe is red two periods after the first slot that got no answer, and not before: no 15 silent hours."""
    monkeypatch.setattr(engine_module, "LEDGER_SECONDS", 0.01)
    clock = HandClock()
    store = Store(clock)
    store.hanging = {call}
    stage.build(ledger=store, clock=clock)
    stage.add(work, schedule=every(minutes=15))
    (first,) = stage.scheduler.upcoming("work", 1)
    # A slot whose outcome cannot be written has one; it is the next one that is never claimed.
    owed = first.slot_at + (timedelta(minutes=15) if call == "finish" else timedelta(0))
    async with stage.scheduler:
        await clock.move(timedelta(0))
        while clock.now() < owed + timedelta(minutes=30):
            assert stage.scheduler.health().live
            await clock.move(timedelta(minutes=1))
        late = clock.now() - owed - timedelta(minutes=30)
        assert late <= MINUTE
        health = stage.scheduler.health()
        assert (health.state, health["work"].state) == (SchedulerState.RUNNING, JobState.OVERDUE)
        assert health["work"].since_at == owed + timedelta(minutes=30)
        assert not health.live
        await clock.move(timedelta(hours=15))
        assert not stage.scheduler.health().live


# --- workers on one ledger


class OnTime:
    """A ledger in an SQLite file that goes by a fake clock."""

    is_shared = True

    def __init__(self, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = SqliteLedger(path)
        self.clock = clock
        self.monkeypatch = monkeypatch

    def __getattr__(self, call: str) -> Any:
        self.monkeypatch.setattr(_sqlite_table, "_NOW", f"select {to_ms(self.clock.now())}")
        return getattr(self.ledger, call)


class Host:
    """A scheduler on a host of its own, as far as names go, with a job of every minute that takes 20 s."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet = fleet
        self.name = f"{name}:{os.getpid()}"
        self.seen = RecordingObserver()
        store = OnTime(fleet.path, fleet.clock, fleet.monkeypatch)
        self.scheduler = Scheduler(clock=fleet.clock, ledger=store, observers=[self.seen])
        self.scheduler.add(FunctionJob("long", every(minutes=1), self.run))

    async def run(self, run: Run) -> None:
        await run.sleep(20)
        if self.fleet.broken:
            raise ValueError("no")

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Live on that host."""
        with self.there():
            await self.scheduler.__aenter__()
        try:
            yield
        finally:
            await self.scheduler.__aexit__(None, None, None)

    @contextmanager
    def there(self) -> Iterator[None]:
        """Let this process be on that host."""
        with self.fleet.monkeypatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda: self.name.partition(":")[0])
            yield

    def look(self) -> Snapshot:
        """Return what the scheduler looks like on its host."""
        with self.there():
            return self.scheduler.snapshot()


class Fleet:
    """What several hosts have in common."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock(datetime(2031, 5, 7, 11, 13, 30, tzinfo=UTC))
        self.path = path
        self.monkeypatch = monkeypatch
        self.broken = False


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Return what several hosts have in common."""
    return Fleet(tmp_path / "loopcron.db", monkeypatch)


async def test_two_workers_see_each_other(fleet: Fleet) -> None:
    """Both show the one lease, the one outcome, and that there are two of them, each from its own side."""
    one, two = Host(fleet, "web-1"), Host(fleet, "web-2")
    slot = fleet.clock.now().replace(second=0) + MINUTE
    async with one.live(), two.live():
        assert one.look().workers == (one.name,)
        await fleet.clock.advance(timedelta(seconds=35))
        winner, loser = (one, two) if one.look()["long"].runs else (two, one)
        ours, theirs = winner.look()["long"].lease, loser.look()["long"].lease
        assert ours is not None
        assert theirs is not None
        assert (ours.worker, ours.slot_at, ours.ours) == (winner.name, slot, True)
        assert (theirs.worker, theirs.slot_at, theirs.ours) == (winner.name, slot, False)
        assert ours.fence == theirs.fence
        assert slot + 20 * SECOND < ours.until_at <= slot + 31 * SECOND
        assert loser.look().workers == (loser.name, winner.name)
        (taken,) = loser.look()["long"].history
        assert (taken.outcome, taken.worker) == (Taken(), winner.name)
        await fleet.clock.advance(timedelta(seconds=20))
        assert (winner.look()["long"].lease, loser.look()["long"].runs) == (None, ())
        outcome = winner.look()["long"].shared_outcome
        assert outcome is not None
        assert (outcome.outcome, outcome.worker) == ("Succeeded", winner.name)
        assert outcome.ended_at is not None
        assert outcome.ended_at == outcome.succeeded_at
        assert timedelta(0) <= outcome.ended_at - slot - 20 * SECOND < 0.1 * SECOND
        # The other one sees it when it asks for the next slot.
        await fleet.clock.advance(timedelta(seconds=65))
        for host in (one, two):
            shared = host.look()["long"].shared_outcome
            assert shared is not None
            assert shared.outcome == "Succeeded"
            assert host.scheduler.health()["long"].last_succeeded_at is not None
            assert host.scheduler.health().ok


async def test_outcome_survives_a_restart(fleet: Fleet) -> None:
    """A new process on the same file knows the last outcome, whose it was, the last success, and that it fails."""
    async with (first := Host(fleet, "web-1")).live():
        await fleet.clock.advance(timedelta(minutes=1))
        fleet.broken = True
        await fleet.clock.advance(timedelta(minutes=1))
        before = first.look()["long"].shared_outcome
        assert before is not None
        assert first.scheduler.health()["long"].state is JobState.FAILING
        succeeded_at = first.scheduler.health()["long"].last_succeeded_at
    await fleet.clock.advance(timedelta(seconds=5))
    async with (second := Host(fleet, "web-2")).live():
        await fleet.clock.advance(timedelta(seconds=1))
        seen = second.look()
        after = seen["long"].shared_outcome
        assert after is not None
        assert seen["long"].history == ()
        assert seen["long"].lease is None
        assert seen.workers == (second.name, first.name)
        assert (after.outcome, after.worker) == ("Failed job", first.name) == (before.outcome, before.worker)
        assert after.ended_at is not None
        assert after.succeeded_at is not None
        health = second.scheduler.health()["long"]
        assert (health.state, health.since_at, health.consecutive_failures) == (JobState.FAILING, after.ended_at, 0)
        assert health.why == "the last run that the ledger knows of ended as: Failed job"
        # By the store's clock, which is asked a moment after ours.
        assert before.ended_at is not None
        assert succeeded_at is not None
        assert timedelta(0) <= after.ended_at - before.ended_at < SECOND
        assert timedelta(0) <= after.succeeded_at - succeeded_at < SECOND
        assert health.last_succeeded_at == after.succeeded_at
        fleet.broken = False
        await fleet.clock.advance(timedelta(minutes=1))
        assert second.scheduler.health().ok


async def test_memory_ledger_forgets_with_the_process(stage: Stage) -> None:
    """Without a store nothing is shared: no lease, no outcome, no other worker; a new process knows nothing."""

    async def short(run: Run) -> None:
        await run.sleep(20)

    stage.add(short)
    async with stage.scheduler:
        await stage.advance(seconds=50)
        seen = stage.scheduler.snapshot()
        assert len(seen["short"].runs) == 1
        assert (seen["short"].lease, seen["short"].shared_outcome) == (None, None)
        assert (seen.worker, seen.workers, seen.shared) == (worker_name(), (worker_name(),), False)
        await stage.advance(seconds=20)
        assert job_health(stage, "short").last_succeeded_at is not None
        assert stage.scheduler.snapshot()["short"].shared_outcome is None
    stage.build()
    stage.add(short)
    async with stage.scheduler:
        await stage.advance(seconds=1)
        assert job_health(stage, "short").last_succeeded_at is None
