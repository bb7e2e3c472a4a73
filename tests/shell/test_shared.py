"""Several schedulers on one ledger: each slot runs once, on whichever of them, and what one is told holds for all."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest

from loopcron import (
    Claim,
    ClockDiffers,
    ConfigError,
    Failed,
    Finish,
    FunctionJob,
    HttpJob,
    InternalFault,
    JobPaused,
    JobResumed,
    JobState,
    LeaseLost,
    LedgerFailed,
    LedgerRecovered,
    MemoryLedger,
    Outcome,
    Pause,
    Register,
    Request,
    Response,
    Run,
    RunAbandoned,
    Schedule,
    ScheduleDiffers,
    Scheduler,
    SchedulerClosedError,
    SchedulerStopped,
    Skipped,
    Succeeded,
    Taken,
    every,
)
from loopcron import _engine as engine_module
from loopcron._instants import to_ms
from loopcron._ledger import BATCH
from loopcron.testing import FakeClock, RecordingObserver, RecordingTransport, hang
from tests.loops import ASYNCIO, UVLOOP
from tests.wrapped import WrappedLedger

ON_ASYNCIO = pytest.mark.parametrize(
    "anyio_backend",
    [ASYNCIO, UVLOOP],
    ids=["asyncio", "uvloop"],
)
MINUTELY = every(minutes=1)
SUSPEND = timedelta(seconds=31)


class Store(WrappedLedger):
    """A ledger in memory that says it is shared, keeps what it is asked, and can be down."""

    def __init__(self, clock: Any) -> None:
        super().__init__(MemoryLedger(clock), is_shared=True)
        self.down: set[str] = set()
        """Which calls fail."""
        self.claims: list[Claim] = []
        self.registers: list[Register] = []
        self.closed = 0
        self.claimed: Callable[[], object] = int
        """Called when claims were won and their answers are on the way."""

    def __repr__(self) -> str:
        return "a store"

    def check(self, call: str) -> None:
        if call in self.down:
            raise OSError("down")

    async def register(self, jobs: Sequence[Register]) -> Any:
        self.registers += jobs
        self.check("register")
        return await super().register(jobs)

    async def claim(self, claims: Sequence[Claim]) -> Any:
        self.claims += claims
        self.check("claim")
        answers = await super().claim(claims)
        self.claimed()
        return answers

    async def renew(self, renewals: Any) -> Any:
        self.check("renew")
        return await super().renew(renewals)

    async def finish(self, finishes: Any) -> Any:
        self.check("finish")
        return await super().finish(finishes)

    async def pause(self, pauses: Sequence[Pause]) -> None:
        self.check("pause")
        await super().pause(pauses)

    async def close(self) -> None:
        self.closed += 1
        self.check("close")


class Worker:
    """A scheduler of a fleet, with its surroundings."""

    def __init__(self, clock: FakeClock, store: Any, **options: Any) -> None:
        self.seen = RecordingObserver()
        self.transport = RecordingTransport()
        given = {"observers": [self.seen], "transport": self.transport, **options}
        self.scheduler = Scheduler(clock=clock, ledger=store, **given)

    def add(self, body: Callable[[Run], Any], name: str = "work", schedule: Schedule = MINUTELY, **policy: Any) -> None:
        """Add a job, once a minute if not said otherwise."""
        self.scheduler.add(FunctionJob(name, schedule, body, **policy))

    def outcomes(self, job: str | None = None) -> list[Outcome]:
        """Return what became of the slots here."""
        return [settled.outcome for settled in self.seen.settled(job)]

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the events of this *kind*."""
        return [event for event in self.seen.events if type(event) is kind]


class Fleet:
    """Two workers on one ledger and one clock, whose jobs note what they run."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.first, self.second = self.worker(), self.worker()
        self.runs: list[tuple[str, int]] = []
        """Job and slot of each run, of all workers."""

    def worker(self, **options: Any) -> Worker:
        return Worker(self.clock, self.store, **options)

    async def work(self, run: Run) -> None:
        """Note the run."""
        self.runs.append((run.job, to_ms(run.slot)))

    async def advance(self, **duration: float) -> None:
        await self.clock.advance(timedelta(**duration))

    def slots(self, job: str = "work") -> list[int]:
        """Return the minutes of the day whose slots of this job ran, in order."""
        return [slot // 60_000 % 1440 for name, slot in self.runs if name == job]

    def check(self) -> None:
        """Check that no slot ran twice and nothing is at fault."""
        assert max(Counter(self.runs).values(), default=0) <= 1
        assert not self.first.told(InternalFault)
        assert not self.second.told(InternalFault)


@pytest.fixture
def fleet() -> Fleet:
    """Return two workers that have no jobs yet."""
    return Fleet()


# --- each slot once


async def test_each_slot_runs_once(fleet: Fleet) -> None:
    """Whoever comes first runs it, the other one notes that it is taken, and both do some of the work."""
    fleet.first.add(fleet.work)
    fleet.second.add(fleet.work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=60)
    fleet.check()
    assert len(fleet.runs) == 60
    assert fleet.slots() == sorted(fleet.slots())
    outcomes = [*fleet.first.outcomes(), *fleet.second.outcomes()]
    assert outcomes.count(Succeeded()) == outcomes.count(Taken()) == 60
    assert 0 < fleet.first.outcomes().count(Succeeded()) < 60


async def test_worker_that_stops_leaves_its_slots_to_the_others(fleet: Fleet) -> None:
    """Neither a start nor a stop of one loses or doubles a slot."""
    fleet.first.add(fleet.work)
    fleet.second.add(fleet.work)
    async with fleet.first.scheduler:
        await fleet.advance(minutes=5)
        async with fleet.second.scheduler:
            await fleet.advance(minutes=5)
            await fleet.first.scheduler.stop()
            await fleet.advance(minutes=5)
    fleet.check()
    assert len(fleet.runs) == 15


async def test_slot_waits_for_no_run_elsewhere(fleet: Fleet) -> None:
    """A slot that comes while another worker still runs the job is skipped, as within one process."""

    async def slow(run: Run) -> None:
        await fleet.work(run)
        await run.sleep(100)

    fleet.first.add(slow, timeout=None)
    fleet.second.add(slow, timeout=None)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=8)
        await fleet.first.scheduler.stop()
        await fleet.second.scheduler.stop()
    fleet.check()
    assert len(fleet.runs) == 4
    outcomes = [*fleet.first.outcomes(), *fleet.second.outcomes()]
    assert outcomes.count(Skipped("overlap")) >= 4


async def test_queued_slot_finds_no_lease_of_its_own_worker(fleet: Fleet) -> None:
    """What waits for a run to end is claimed once the lease of that run is given back."""
    begun: list[float] = []

    async def slow(run: Run) -> None:
        begun.append(fleet.clock.monotonic())
        await run.sleep(70)

    fleet.first.add(slow, overlap="queue", timeout=None)
    async with fleet.first.scheduler:
        await fleet.advance(minutes=10)
        await fleet.first.scheduler.stop(drain=timedelta(0))
    assert [later - before for before, later in pairwise(begun)] == [pytest.approx(70, abs=0.05)] * 7


async def test_workers_with_other_jobs(fleet: Fleet) -> None:
    """Each worker serves the jobs that it has; what only one has runs there."""
    fleet.first.add(fleet.work, "both")
    fleet.first.add(fleet.work, "one")
    fleet.second.add(fleet.work, "both")
    fleet.second.add(fleet.work, "two")
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=10)
    fleet.check()
    assert Counter(job for job, _ in fleet.runs) == {"both": 10, "one": 10, "two": 10}


async def test_rolling_deploy_with_a_changed_schedule(fleet: Fleet) -> None:
    """While old and new run side by side the slots of both schedules run, each once, and the change is told."""
    fleet.first.add(fleet.work, schedule=every(minutes=2))
    fleet.second.add(fleet.work, schedule=every(minutes=3))
    async with fleet.first.scheduler:
        await fleet.advance(minutes=1)
        async with fleet.second.scheduler:
            await fleet.advance(minutes=59)
            await fleet.first.scheduler.stop()
            await fleet.advance(minutes=60)
    fleet.check()
    begin = 11 * 60 + 13
    both = [minute for minute in range(begin + 1, begin + 61) if minute % 2 == 0 or minute % 3 == 0]
    after = [minute for minute in range(begin + 61, begin + 121) if minute % 3 == 0]
    assert fleet.slots() == [*both, *after]
    assert fleet.first.told(ScheduleDiffers) == []
    (differs,) = fleet.second.told(ScheduleDiffers)
    assert differs.before == str(every(minutes=2))
    assert differs.schedule == str(every(minutes=3))


async def test_renamed_job_is_a_new_one(fleet: Fleet) -> None:
    """It has a row of its own, and no past: while old and new names live side by side both run."""
    fleet.first.add(fleet.work, "old")
    fleet.second.add(fleet.work, "new")
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=5)
    assert fleet.slots("old") == fleet.slots("new")
    assert len(fleet.slots("new")) == 5


async def test_restart_remembers(fleet: Fleet) -> None:
    """The row outlives the worker: what ran is not run again, and what passed meanwhile is caught up once."""
    fleet.first.add(fleet.work)
    async with fleet.first.scheduler:
        await fleet.advance(minutes=3)
    await fleet.advance(minutes=10)
    fleet.second.add(fleet.work)
    async with fleet.second.scheduler:
        await fleet.advance(minutes=1)
    fleet.check()
    assert len(fleet.runs) == 3 + 1 + 1


async def test_worker_whose_clock_is_ahead_waits_for_the_store(fleet: Fleet) -> None:
    """No slot begins early by the store's clock, and the difference is told once."""

    class Behind:
        def now(self) -> datetime:
            return fleet.clock.now() - timedelta(seconds=3)

    store = Store(Behind())
    worker = Worker(fleet.clock, store)
    begun: list[float] = []

    async def work(run: Run) -> None:
        begun.append((fleet.clock.now() - run.slot).total_seconds())

    worker.add(work)
    async with worker.scheduler:
        await fleet.advance(minutes=5)
    assert worker.outcomes() == [Succeeded()] * 5
    assert begun == [pytest.approx(3, abs=0.03)] * 5
    assert len(worker.told(ClockDiffers)) == 1


async def test_row_that_is_ahead_at_the_start_can_be_mended(fleet: Fleet) -> None:
    """Its slots are lost, and health says why, until somebody resets it: then they run, without another start."""
    ahead = to_ms(fleet.clock.now() + timedelta(days=1))
    await fleet.store.register([Register("work", 0, ahead)])
    fleet.first.add(fleet.work)
    async with fleet.first.scheduler:
        await fleet.advance(minutes=2)
        assert fleet.runs == []
        health = fleet.first.scheduler.health()["work"]
        assert (health.why[:12], health.needs_restart) == ("ledger ahead", False)
        await fleet.store.reset(["work"])
        await fleet.advance(minutes=2)
        assert len(fleet.runs) == 2
        assert fleet.first.scheduler.health()["work"].state is JobState.OK


async def test_run_that_was_left_is_told_of(fleet: Fleet) -> None:
    """A worker that was killed leaves its slot without an outcome: the next one says so, and which that was."""
    fleet.first.add(fleet.work)
    async with fleet.first.scheduler:
        await fleet.advance(minutes=1)
        slot = to_ms(fleet.clock.now())
        await fleet.store.claim([Claim("work", slot, "otherhost:4711:aa-1", 30_000)])
        await fleet.advance(minutes=1)
    assert fleet.first.told(RunAbandoned) == [RunAbandoned("work", slot, "otherhost:4711:aa-1")]


async def test_claim_id_names_host_and_process(fleet: Fleet) -> None:
    """So that a row shows whose claim it holds; two lives of one process differ."""
    fleet.first.add(fleet.work)
    for _ in range(2):
        async with fleet.first.scheduler:
            await fleet.advance(minutes=1)
    begin = f"{socket.gethostname()[:40]}:{os.getpid()}:"
    assert all(claim.claim_id.startswith(begin) for claim in fleet.store.claims)
    assert len({claim.claim_id for claim in fleet.store.claims}) == 2


# --- a slot that is skipped


async def test_skipped_slot_runs_nowhere(fleet: Fleet) -> None:
    """One worker is asked, and all of them leave the slot out."""
    fleet.first.add(fleet.work)
    fleet.second.add(fleet.work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=2)
        skipped = fleet.first.scheduler.skip_next("work")
        await fleet.advance(minutes=2)
    fleet.check()
    assert skipped is not None
    assert len(fleet.runs) == 3
    assert ("work", to_ms(skipped)) not in fleet.runs


async def test_skipped_slot_spares_the_run_that_goes_on(fleet: Fleet) -> None:
    """A run of the slot before keeps its lease and its outcome, whichever worker was asked to skip."""

    async def slow(run: Run) -> None:
        await fleet.work(run)
        await run.sleep(100)

    fleet.first.add(slow, timeout=None)
    fleet.second.add(slow, timeout=None)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(seconds=50)
        assert fleet.first.scheduler.skip_next("work") == fleet.second.scheduler.skip_next("work")
        await fleet.advance(seconds=100)
        outcomes = [*fleet.first.outcomes(), *fleet.second.outcomes()]
        assert (len(fleet.runs), outcomes.count(Succeeded())) == (1, 1)
        assert outcomes.count(Skipped("skip_next")) == 2
        (row,) = await fleet.store.peek(["work"])
        assert row is not None
        assert row.outcome == "Succeeded"
        await fleet.first.scheduler.stop(drain=timedelta(0))
        await fleet.second.scheduler.stop(drain=timedelta(0))
    fleet.check()


async def test_skipped_slot_does_not_fire_without_the_store(fleet: Fleet) -> None:
    """Who asked for no run gets none, though the job may fire while the store is down."""
    worker = fleet.worker(on_ledger_error="fire")
    worker.add(fleet.work)
    async with worker.scheduler:
        await fleet.advance(seconds=1)
        worker.scheduler.skip_next("work")
        fleet.store.down.add("claim")
        await fleet.advance(seconds=100)
        assert fleet.runs == []
        await fleet.advance(seconds=15)
    assert len(fleet.runs) == 1
    assert worker.outcomes() == [Skipped("ledger"), Succeeded()]


# --- a lease that is lost


async def test_process_that_stood_still_sends_nothing(fleet: Fleet) -> None:
    """No request is sent if the process stood still before it for so long that the lease may be over."""

    async def send(run: Run) -> None:
        fleet.clock.jump_wall(SUSPEND)
        await run.send(Request("POST", "/work"))

    fleet.first.add(send)
    async with fleet.first.scheduler:
        await fleet.advance(minutes=1)
    assert fleet.first.transport.requests == []
    assert fleet.first.outcomes()[0] == LeaseLost()


class StampingTransport:
    """A transport that notes when each request was handed to it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.handed: list[datetime] = []

    async def send(self, request: Request) -> Response:
        """Take the time, before anything else can run."""
        self.handed.append(self.clock.now())
        await anyio.lowlevel.checkpoint()
        return Response(204)


async def test_nothing_runs_between_the_look_at_the_lease_and_the_request(fleet: Fleet) -> None:
    """What blocks the event loop meanwhile, as any of the app's code may, would use the lease up unseen."""
    transport = StampingTransport(fleet.clock)
    worker = fleet.worker(transport=transport)

    async def send(run: Run) -> None:
        async def block() -> None:
            fleet.clock.jump_wall(SUSPEND)

        async with anyio.create_task_group() as group:
            group.start_soon(block)
            await run.send(Request("POST", "/work"))

    worker.add(send)
    async with worker.scheduler:
        await fleet.advance(seconds=44)
    (handed,) = transport.handed
    assert handed - worker.seen.settled()[0].slot_at < timedelta(seconds=1)


class SuspendedAtStart:
    """An observer in whose hands the process stands still just before an attempt's task begins."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.times = 0

    def on_event(self, event: Any) -> None:
        """Stand still once."""
        if type(event).__name__ == "RunStarted" and not self.times:
            self.times += 1
            self.clock.jump_wall(SUSPEND)


async def test_process_that_stood_still_begins_no_job(fleet: Fleet) -> None:
    """Neither a function nor a request begins, if the lease is over when its task does."""
    for job in (FunctionJob("work", MINUTELY, fleet.work), HttpJob("work", MINUTELY, "/work")):
        seen = RecordingObserver()
        worker = fleet.worker(observers=[SuspendedAtStart(fleet.clock), seen])
        worker.scheduler.add(job)
        async with worker.scheduler:
            await fleet.advance(seconds=44)
        assert seen.settled()[0].outcome == LeaseLost()
        assert fleet.runs == []
        assert worker.transport.requests == []


async def test_process_that_stood_still_in_a_crowd_begins_no_job(fleet: Fleet) -> None:
    """However many other jobs are due, each attempt's own lease is looked at before it begins."""
    stale = []
    resumed = fleet.clock.now() + SUSPEND

    async def begin(run: Run) -> None:
        if run.fence < to_ms(resumed):  # it was won before the process stood still
            stale.append(run.job)

    seen = RecordingObserver()
    worker = fleet.worker(observers=[SuspendedAtStart(fleet.clock), seen])
    for number in range(2 * BATCH + 1):
        worker.add(begin, f"job-{number:04}")
    async with worker.scheduler:
        await fleet.advance(seconds=44)
    assert {type(settled.outcome) for settled in seen.settled()} == {LeaseLost, Succeeded}
    assert stale == []


async def test_process_that_stood_still_while_it_claimed_asks_again(fleet: Fleet) -> None:
    """The slot is still ours if nobody else took the job, and its lease begins anew."""
    fleet.store.claimed = suspending_once(fleet.clock)
    fleet.first.add(fleet.work, misfire_grace=timedelta(minutes=5))
    async with fleet.first.scheduler:
        await fleet.advance(seconds=45)
    assert len({claim.claim_id for claim in fleet.store.claims[:2]}) == 1
    assert fleet.first.outcomes()[0] == Succeeded()


def suspending_once(clock: FakeClock) -> Callable[[], None]:
    """Return a function in which the process stands still, the first time."""
    left = [SUSPEND]

    def suspend() -> None:
        if left:
            clock.jump_wall(left.pop())

    return suspend


class HangingTransport:
    """A transport whose requests are never answered."""

    def __init__(self) -> None:
        self.cut = 0
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        """Wait to be cut."""
        self.requests.append(request)
        try:
            await hang()
        except BaseException:
            self.cut += 1
            raise
        raise AssertionError("never answered")


async def test_lost_lease_closes_the_request(fleet: Fleet) -> None:
    """A request that is under way when the lease is refused is cut."""
    transport = HangingTransport()
    worker = fleet.worker(transport=transport)
    worker.scheduler.add(HttpJob("work", MINUTELY, "/work", timeout=None))
    async with worker.scheduler:
        await fleet.advance(seconds=45)
        await fleet.store.reset(["work"])
        assert transport.cut == 0
        await fleet.advance(seconds=12)
        assert transport.cut == 1
        assert worker.outcomes() == [LeaseLost()]
        assert "its lease was lost" in worker.scheduler.health()["work"].why


async def test_lease_that_cannot_be_renewed_closes_the_request(fleet: Fleet) -> None:
    """A worker that is cut off from the store stops its run before another one may begin it."""
    transport = HangingTransport()
    worker = fleet.worker(transport=transport)
    worker.scheduler.add(HttpJob("work", MINUTELY, "/work", timeout=None))
    async with worker.scheduler:
        await fleet.advance(seconds=43.03)
        assert len(transport.requests) == 1
        fleet.store.down = {"renew"}
        await fleet.advance(seconds=26.9)
        assert transport.cut == 0
        await fleet.advance(seconds=0.2)
        assert transport.cut == 1
        assert worker.outcomes() == [LeaseLost()]
        assert worker.told(LedgerFailed)[0].call == "renew"


async def test_long_run_keeps_its_lease(fleet: Fleet) -> None:
    """As long as the store renews it, nobody else runs the job."""

    async def slow(run: Run) -> None:
        await fleet.work(run)
        await run.sleep(290)

    fleet.first.add(slow, timeout=None)
    fleet.second.add(slow, timeout=None)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=5)
        assert len(fleet.runs) == 1
        await fleet.advance(minutes=1)
    outcomes = [*fleet.first.outcomes(), *fleet.second.outcomes()]
    assert outcomes.count(Succeeded()) == 1
    assert LeaseLost() not in outcomes


async def test_fence_rises_over_workers(fleet: Fleet) -> None:
    """Whoever runs, its fence is above that of all runs before."""
    fences: list[int] = []

    async def work(run: Run) -> None:
        fences.append(run.fence)

    fleet.first.add(work)
    fleet.second.add(work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=20)
    assert fences == sorted(set(fences))
    assert len(fences) == 20


# --- pauses


async def test_pause_holds_for_all_workers(fleet: Fleet) -> None:
    """Paused on one and resumed on the other: nothing runs in between, on neither, and each tells of one range."""
    fleet.first.add(fleet.work)
    fleet.second.add(fleet.work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=2)
        fleet.first.scheduler.pause("work")
        await fleet.advance(minutes=5)
        assert len(fleet.runs) == 2
        assert fleet.second.scheduler.health()["work"].state is JobState.PAUSED
        fleet.second.scheduler.resume("work")
        await fleet.advance(minutes=3)
        assert fleet.first.scheduler.health()["work"].state is JobState.OK
    fleet.check()
    assert len(fleet.runs) == 5
    for worker in (fleet.first, fleet.second):
        (skipped,) = [outcome for outcome in worker.outcomes() if isinstance(outcome, Skipped)]
        assert (skipped.reason, skipped.count) == ("paused", 5)
        assert len(worker.told(JobPaused)) == len(worker.told(JobResumed)) == 1


async def test_pause_outlives_its_worker(fleet: Fleet) -> None:
    """A worker that starts later finds the job paused."""
    fleet.first.add(fleet.work)
    async with fleet.first.scheduler:
        await fleet.advance(seconds=1)
        fleet.first.scheduler.pause("work")
    fleet.second.add(fleet.work)
    async with fleet.second.scheduler:
        await fleet.advance(minutes=3)
        assert fleet.second.scheduler.health()["work"].state is JobState.PAUSED
        assert fleet.runs == []
        fleet.second.scheduler.resume("work")
        await fleet.advance(minutes=1)
    assert len(fleet.runs) == 1


async def test_pause_while_the_store_is_down_holds_here(fleet: Fleet) -> None:
    """For this worker at once, and for all when the store has heard of it."""
    fleet.first.add(fleet.work)
    fleet.second.add(fleet.work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=1)
        fleet.store.down = {"pause"}
        fleet.first.scheduler.pause("work")
        await fleet.advance(minutes=2)
        assert [type(outcome) for outcome in fleet.first.outcomes()][1:] == []
        assert len(fleet.runs) == 3
        fleet.store.down = set()
        await fleet.advance(minutes=3)
        assert len(fleet.runs) in (3, 4)  # the slot at which the store hears of it may be run before that
        assert fleet.second.scheduler.health()["work"].state is JobState.PAUSED


async def test_what_could_not_be_written_is_written_at_the_stop(fleet: Fleet) -> None:
    """A pause and an outcome of an outage reach the rows, though nothing else was asked of the ledger since."""
    hourly = every(hours=1)
    fleet.first.add(fleet.work, "done", hourly)
    fleet.first.add(fleet.work, "paused", hourly)
    fleet.store.down |= {"finish", "pause"}
    async with fleet.first.scheduler:
        await fleet.advance(minutes=47)
        fleet.first.scheduler.pause("paused")
        await fleet.advance(seconds=1)
        fleet.store.down.clear()
        await fleet.advance(minutes=1)
    done, paused = await fleet.store.peek(["done", "paused"])
    assert done is not None
    assert paused is not None
    assert (done.outcome, done.finished, paused.paused) == ("Succeeded", True, True)


async def test_trigger_works_on_a_job_that_is_paused_elsewhere(fleet: Fleet) -> None:
    """What somebody asks for is no slot."""
    fleet.first.add(fleet.work)
    fleet.second.add(fleet.work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        fleet.first.scheduler.pause("work")
        await fleet.advance(minutes=2)
        assert await fleet.second.scheduler.trigger("work") == Succeeded()


# --- a store that is down


async def test_store_that_is_down_at_start_is_waited_for(fleet: Fleet) -> None:
    """The scheduler starts, says so, keeps trying, and serves its jobs from when the store is there."""
    fleet.first.add(fleet.work)
    fleet.store.down = {"register"}
    async with fleet.first.scheduler:
        await fleet.advance(minutes=3)
        health = fleet.first.scheduler.health()["work"]
        assert health.state is JobState.PARKED
        assert health.why == "the ledger could not be asked to register it"
        assert fleet.first.told(LedgerFailed)[0] == LedgerFailed("register", "OSError: down")
        assert len(fleet.first.told(LedgerFailed)) <= 4
        assert fleet.runs == []
        fleet.store.down = set()
        await fleet.advance(minutes=5)
        assert fleet.first.scheduler.health()["work"].state is JobState.OK
    assert len(fleet.first.told(LedgerRecovered)) == 1
    assert len(fleet.runs) >= 3


async def test_outage_skips_its_slots_and_no_more(fleet: Fleet) -> None:
    """What could not be claimed within its grace is skipped on each worker; after that all goes on."""
    fleet.first.add(fleet.work, misfire_grace=timedelta(seconds=5))
    fleet.second.add(fleet.work, misfire_grace=timedelta(seconds=5))
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=2)
        fleet.store.down = {"claim", "finish", "renew", "register", "pause"}
        await fleet.advance(minutes=2)
        fleet.store.down = set()
        await fleet.advance(minutes=2)
    fleet.check()
    assert len(fleet.runs) == 4
    assert fleet.first.outcomes().count(Skipped("ledger")) == fleet.second.outcomes().count(Skipped("ledger")) == 2


async def test_short_outage_costs_no_slot(fleet: Fleet) -> None:
    """A store that is back within the grace is asked again, and one of the workers runs the slot."""
    fleet.first.add(fleet.work)
    fleet.second.add(fleet.work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        fleet.store.down = {"claim"}
        await fleet.advance(seconds=50)
        fleet.store.down = set()
        await fleet.advance(seconds=10)
    fleet.check()
    assert len(fleet.runs) == 1


async def test_job_may_fire_without_the_store(fleet: Fleet) -> None:
    """Where that is chosen every worker runs the slot after 5 s, for endpoints that have a lock of their own."""
    workers = [fleet.worker(on_ledger_error="fire") for _ in range(2)]
    fences: list[int] = []

    async def work(run: Run) -> None:
        fences.append(run.fence)

    for worker in workers:
        worker.add(work)
    fleet.store.down = {"claim", "register"}
    async with workers[0].scheduler, workers[1].scheduler:
        await fleet.advance(minutes=2)
        assert fences == [0, 0, 0, 0]
        assert all(worker.outcomes() == [Succeeded()] * 2 for worker in workers)


# --- health


async def test_health_counts_runs_of_other_workers(fleet: Fleet) -> None:
    """A job whose last run failed elsewhere is failing here too, and what succeeded there is no silence here."""

    async def fail(run: Run) -> None:
        raise ValueError

    outcome = [fail, fleet.work]

    async def work(run: Run) -> None:
        await outcome[0](run)

    fleet.first.add(work)
    fleet.second.add(work)
    async with fleet.first.scheduler, fleet.second.scheduler:
        await fleet.advance(minutes=20)
        for worker in (fleet.first, fleet.second):
            health = worker.scheduler.health()["work"]
            assert health.state is JobState.FAILING
            assert health.last_succeeded_at is None
        outcome.pop(0)
        await fleet.advance(minutes=20)
        for worker in (fleet.first, fleet.second):
            health = worker.scheduler.health()["work"]
            assert health.state is JobState.OK
            assert health.last_succeeded_at is not None
            assert fleet.clock.now() - health.last_succeeded_at < timedelta(minutes=3)


async def test_row_that_failed_last_shows_at_start(fleet: Fleet) -> None:
    """Before anything ran here, health knows how the last run ended."""
    slot = to_ms(fleet.clock.now())
    await fleet.store.register([Register("work", 0, slot - 1)])
    (won,) = await fleet.store.claim([Claim("work", slot, "other-1", 1_000)])
    await fleet.store.finish([Finish("work", slot, won.fence, Failed("endpoint", "HTTP 503", 503))])
    fleet.first.add(fleet.work)
    async with fleet.first.scheduler:
        await fleet.advance(seconds=0)
        health = fleet.first.scheduler.health()["work"]
        assert health.state is JobState.FAILING
        assert health.why == "the last run that the ledger knows of ended as: Failed endpoint 503"
        await fleet.advance(minutes=1)
        assert fleet.first.scheduler.health()["work"].state is JobState.OK


# --- the ledger itself


def test_ledger_that_was_given_is_shown(fleet: Fleet) -> None:
    """Whether the scheduler runs or not."""
    assert fleet.first.scheduler.ledger is fleet.store


async def test_ledger_of_a_life_is_shown_while_it_lasts() -> None:
    """Without one that was given, each life has its own."""
    scheduler = Scheduler(clock=FakeClock())
    with pytest.raises(SchedulerClosedError, match="only while it runs"):
        scheduler.ledger  # noqa: B018 - reading it is what fails
    async with scheduler:
        ledger = scheduler.ledger
        assert isinstance(ledger, MemoryLedger)
    async with scheduler:
        assert scheduler.ledger is not ledger


def test_slots_of_ones_own_start_are_refused_with_a_shared_ledger(fleet: Fleet) -> None:
    """Workers that count from their own starts have no slot in common."""
    with pytest.raises(ConfigError, match="anchor='start': counts from each worker's own start"):
        fleet.first.add(fleet.work, schedule=every(minutes=1, anchor="start"))


async def test_ledger_is_closed_at_the_end(fleet: Fleet) -> None:
    """Once for each life, after the last outcome was written."""
    fleet.first.add(fleet.work)
    for lives in (1, 2):
        async with fleet.first.scheduler:
            await fleet.advance(minutes=1)
            assert fleet.store.closed == lives - 1
        assert fleet.store.closed == lives


async def test_ledger_that_cannot_be_closed_is_told_of(fleet: Fleet) -> None:
    """That is no reason not to stop."""
    fleet.store.down = {"close"}
    async with fleet.first.scheduler:
        pass
    assert fleet.first.told(LedgerFailed) == [LedgerFailed("close", "OSError: down")]
    assert fleet.first.told(SchedulerStopped)


async def test_ledger_that_hangs_when_it_is_closed_is_left(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits for it for a while of real time only."""
    monkeypatch.setattr(engine_module, "LEDGER_SECONDS", 0.05)

    async def close() -> None:
        await anyio.sleep_forever()

    fleet.store.close = close  # type: ignore[method-assign]
    with anyio.fail_after(5):
        async with fleet.first.scheduler:
            pass


@ON_ASYNCIO
async def test_stray_cancellation_at_the_close_is_told_of(fleet: Fleet) -> None:
    """What leaks out of a driver cancels nobody."""
    import asyncio

    async def close() -> None:
        raise asyncio.CancelledError

    fleet.store.close = close  # type: ignore[method-assign]
    async with fleet.first.scheduler:
        pass
    assert fleet.first.told(LedgerFailed) == [LedgerFailed("close", "CancelledError")]


async def test_keyboard_interrupt_at_the_close_is_let_out(fleet: Fleet) -> None:
    """As everywhere."""

    async def close() -> None:
        raise KeyboardInterrupt

    fleet.store.close = close  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        async with fleet.first.scheduler:
            pass


async def test_start_names_the_ledger(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The first line in the log says which one it is."""
    with caplog.at_level("INFO", "loopcron"):
        async with fleet.first.scheduler:
            pass
    assert f"scheduler started in process {os.getpid()}, ledger a store, 0 jobs: " in caplog.messages


async def test_resume_before_the_start_is_told_to_all() -> None:
    """A pause in the row ends where somebody resumes the job before the scheduler runs; a pause there begins so."""
    clock = FakeClock()
    rows = MemoryLedger(clock)
    ledger = WrappedLedger(rows, is_shared=True)
    await rows.pause([Pause("work", 0, paused=True)])
    scheduler = Scheduler(clock=clock, ledger=ledger)
    scheduler.job(every(minutes=1), name="work")(nothing)
    for paused in (False, True):
        (scheduler.pause if paused else scheduler.resume)("work")
        async with scheduler:
            await clock.advance(timedelta(seconds=1))
        [row] = await rows.peek(["work"])
        assert row is not None
        assert row.paused is paused


async def test_worker_that_waits_for_the_stores_clock_needs_no_restart() -> None:
    """A worker far ahead of the store waits for its slot, which is not owed before it has come there."""
    store, clock = FakeClock(), FakeClock()
    clock.jump_wall(timedelta(hours=6))
    scheduler = Scheduler(clock=clock, ledger=WrappedLedger(MemoryLedger(store), is_shared=True))
    scheduler.job(every(minutes=1), name="work", run_on_start=True)(nothing)
    async with scheduler:
        await clock.advance(timedelta(minutes=10))
        assert scheduler.health().live


async def nothing(run: Run) -> None:
    """Do nothing."""
