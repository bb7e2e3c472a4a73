"""What the scheduler looks like from outside: every job with its runs, history and lease, computed when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, final

from loopcron._attempts import LiveRun
from loopcron._entries import JobFacts
from loopcron._events import Settled, run_key
from loopcron._health import Reading, SchedulerState
from loopcron._history import JobRecord, Ring
from loopcron._instants import from_ms
from loopcron._ledger import Row, outcome_text, worker_of
from loopcron._policies import Policy


@final
@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run that is alive."""

    slot_at: datetime
    attempt: int
    reason: str
    started_at: datetime
    deadline_at: datetime | None
    key: str
    """Its idempotency key; see `Run.key`."""


@final
@dataclass(frozen=True, slots=True)
class LeaseSnapshot:
    """Who may run the job at this moment, and nobody else, as far as this process knows."""

    worker: str
    """Its host and process: ``web-1:4711``."""
    slot_at: datetime
    fence: int
    until_at: datetime
    """When it ends if it is not renewed."""
    ours: bool


@final
@dataclass(frozen=True, slots=True)
class SharedOutcome:
    """What became of the newest run that has ended, of any worker, as the ledger showed it last, or we told it."""

    outcome: str
    """Its kind and what can be counted: ``Failed endpoint 503``."""
    ended_at: datetime | None
    succeeded_at: datetime | None
    """When a run last succeeded."""
    worker: str
    """Whose run it was; empty where another one has begun since."""


@final
@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """One job at this moment."""

    name: str
    schedule: str
    """As it was written: ``cron 30 2 * * 1-5, Europe/Berlin``."""
    description: str
    """In plain English: ``at 02:30 on weekdays, Europe/Berlin``."""
    zone: str
    """Of its local times; ``UTC`` where it has none."""
    paused: bool
    next_slot_at: datetime | None
    due_at: datetime | None
    """When that slot is due: then, or later by its jitter."""
    skips_slot_at: datetime | None
    """The slot that `Scheduler.skip_next` was asked to skip, until it has come."""
    timeout_seconds: float | None
    """How long a run may take, as things are; None: for ever, or the scheduler does not run."""
    runs: tuple[RunSnapshot, ...]
    _past: Ring | None = field(repr=False, compare=False)
    """What `history` is read from."""
    lease: LeaseSnapshot | None
    """None: nobody is known to have one, or the ledger is not shared."""
    shared_outcome: SharedOutcome | None
    """None: the ledger is not shared, or no run has ended yet."""

    @property
    def history(self) -> tuple[Settled, ...]:
        """The newest outcomes, oldest first, at most 30; made when asked for, because most readers want few."""
        return () if self._past is None else tuple(self._past)


@final
@dataclass(frozen=True, slots=True)
class ObserverSnapshot:
    """One observer at this moment."""

    name: str
    """Of its type."""
    disabled: bool
    """Whether it was slow, or raised, three times in a row, and is left out since."""
    problem: str
    """What was wrong the last time; empty: nothing ever was."""
    dropped: int
    """How many events it had no room for, in so far as it counts them."""


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """The scheduler at this moment."""

    at: datetime
    state: SchedulerState
    running: bool
    worker: str
    """The host and process that answers: ``web-1:4711``."""
    pid: int
    started_at: datetime | None
    """When this life began; None if it does not run."""
    ledger: str
    shared: bool
    """Whether other processes see the ledger's rows."""
    workers: tuple[str, ...]
    """This one, and those whose claims stand in the rows that were seen, sorted; others may be there besides."""
    observers: tuple[ObserverSnapshot, ...]
    jobs: tuple[JobSnapshot, ...]

    def __getitem__(self, job: str) -> JobSnapshot:
        """Return the snapshot of the job of this name, else raise ``KeyError``."""
        for snapshot in self.jobs:
            if snapshot.name == job:
                return snapshot
        raise KeyError(job)


class Static(NamedTuple):
    """What of a job never changes."""

    schedule: str
    description: str
    zone: str
    policy: Policy


class Worker(NamedTuple):
    """What of the answering process does not change during a life."""

    name: str
    pid: int
    started: int | None


def take_snapshot(
    reading: Reading, static: Mapping[str, Static], worker: Worker, observers: Sequence[ObserverSnapshot]
) -> Snapshot:
    """Return a snapshot of the scheduler and of all its jobs."""
    state, ledger = reading.vitals.state, reading.vitals.ledger
    jobs = tuple(_job_snapshot(name, reading, kept, worker) for name, kept in static.items())
    rows = (facts.row for facts in reading.facts.values() if facts is not None and facts.row is not None)
    others = {worker_of(row.claim_id) for row in rows} - {"", worker.name}
    return Snapshot(
        from_ms(reading.now),
        state,
        state in (SchedulerState.RUNNING, SchedulerState.STOPPING, SchedulerState.SILENT),
        worker.name,
        worker.pid,
        _at(worker.started),
        ledger.text,
        ledger.shared,
        (worker.name, *sorted(others)),
        tuple(observers),
        jobs,
    )


def _job_snapshot(name: str, reading: Reading, static: Static, worker: Worker) -> JobSnapshot:
    facts = reading.facts[name]
    record = reading.records.get(name)
    past = None if record is None else record.ring.copy()
    text, words, zone, policy = static
    if facts is None:
        return JobSnapshot(name, text, words, zone, False, None, None, None, None, (), past, None, None)
    timeout = policy.timeout_ms(facts.period)
    return JobSnapshot(
        name,
        text,
        words,
        zone,
        facts.paused,
        _at(facts.slot),
        None if facts.slot is None else from_ms(facts.due),
        _at(facts.skips),
        None if timeout is None else timeout / 1000,
        tuple(_run_snapshot(run) for run in facts.runs),
        past,
        _our_lease(facts.runs, worker) or _their_lease(facts, reading.now),
        _shared_outcome(facts.row, record, worker),
    )


def _run_snapshot(run: LiveRun) -> RunSnapshot:
    return RunSnapshot(
        from_ms(run.slot),
        run.attempt,
        run.reason,
        from_ms(run.started),
        _at(run.deadline),
        run_key(run.job, run.slot, run.key),
    )


def _our_lease(runs: Sequence[LiveRun], worker: Worker) -> LeaseSnapshot | None:
    for run in runs:
        lease = run.lease
        if lease is not None:
            until = from_ms(lease.begun + lease.length)
            return LeaseSnapshot(worker.name, from_ms(run.slot), run.fence, until, ours=True)
    return None


def _their_lease(facts: JobFacts, now: int) -> LeaseSnapshot | None:
    row = facts.row
    if row is None or row.finished or row.lease is None or facts.row_at + row.lease <= now:
        return None
    until = from_ms(facts.row_at + row.lease)
    return LeaseSnapshot(worker_of(row.claim_id), from_ms(row.watermark), row.fence, until, ours=False)


def _shared_outcome(row: Row | None, record: JobRecord | None, worker: Worker) -> SharedOutcome | None:
    if row is None:
        return None
    succeeded = [row.succeeded, None if record is None else record.last_succeeded]
    succeeded_at = _at(max((at for at in succeeded if at is not None), default=None))
    ours = _last_written(record)  # the row is not read again after what we write
    if ours is not None and (row.ended is None or ours.ended > row.ended):
        return SharedOutcome(outcome_text(ours.outcome), from_ms(ours.ended), succeeded_at, worker.name)
    if not row.outcome:
        return None
    return SharedOutcome(row.outcome, _at(row.ended), succeeded_at, worker_of(row.claim_id) if row.finished else "")


def _last_written(record: JobRecord | None) -> Settled | None:
    """Return our newest outcome that the ledger was told of: of a slot that was won there."""
    written = (settled for settled in reversed(() if record is None else record.ring) if settled.fence)
    return next(written, None)


def _at(instant: int | None) -> datetime | None:
    return None if instant is None else from_ms(instant)
