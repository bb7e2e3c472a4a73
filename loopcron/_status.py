"""
What the scheduler looks like from outside: history, snapshot and health, as plain data computed when read.

Nothing here is kept up to date by the loop, so a loop that is blocked or dead shows as overdue instead of as its
last good state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, final

from loopcron._entries import JobFacts
from loopcron._events import Settled
from loopcron._instants import from_ms, iso
from loopcron._ledger import Row
from loopcron._outcomes import Busy, Failed, LeaseLost, Succeeded, TimedOut

HISTORY: Final = 20
"""How many outcomes are kept per job."""
SILENT_LOOP_SECONDS: Final = 90.0
"""A loop that last ticked longer ago is silent: it wakes at least every 30 s."""
AHEAD_MS: Final = 60_000
"""How far ahead of the clock a job's last slot may lie: what every job may be silent for besides its period."""
BUSY_RUNS: Final = 3
"""So many runs in a row that found the lock taken are too many: a stuck lock looks like this."""


class JobState(StrEnum):
    """The state of a job; the first one that holds, in this order."""

    STOPPED = "stopped"
    """The scheduler does not run."""
    PARKED = "parked"
    """Its schedule, or loopcron, failed; it is asked again with a back-off."""
    PAUSED = "paused"
    ENDED = "ended"
    """Its schedule names no further slot."""
    STUCK = "stuck"
    """A run swallowed its cancellation and still lives."""
    OVERDUE = "overdue"
    """A slot older than two periods has no outcome, or the loop is silent, or the clock is behind the last slot."""
    FAILING = "failing"
    """The last run that succeeded or failed has failed."""
    BUSY_TOO_LONG = "busy_too_long"
    """The last three runs found the lock taken."""
    OK = "ok"


FAILURES: Final = tuple(kind.__name__ for kind in (Failed, TimedOut, LeaseLost))
"""How a ledger's row begins to say that a run failed."""
RESTART_MENDS: Final = frozenset({JobState.STUCK, JobState.OVERDUE})


@final
@dataclass(frozen=True, slots=True)
class JobHealth:
    """Whether one job is well, and why not."""

    job: str
    state: JobState
    why: str
    overdue: bool
    """Also true of the jobs of a scheduler that is stopped: none of their slots is served."""
    needs_restart: bool
    """Whether a new process would mend it: it is stuck, or overdue for another reason than that a ledger which keeps
    its rows is ahead of the clock."""
    consecutive_failures: int
    last_started_at: datetime | None
    last_succeeded_at: datetime | None
    next_slot_at: datetime | None


@final
@dataclass(frozen=True, slots=True)
class Health:
    """Whether the scheduler is well."""

    running: bool
    silent_seconds: float | None
    """How long ago the loop last ticked; None if it does not run."""
    jobs: tuple[JobHealth, ...]

    @property
    def live(self) -> bool:
        """False only where a restart of the process would mend it; see `JobHealth.needs_restart`."""
        return self.running and not any(job.needs_restart for job in self.jobs)

    @property
    def ok(self) -> bool:
        """Whether it runs, and every job is ok, paused or ended."""
        fine = (JobState.OK, JobState.PAUSED, JobState.ENDED)
        return self.running and all(job.state in fine for job in self.jobs)

    def __getitem__(self, job: str) -> JobHealth:
        """Return the health of the job of this name, else raise ``KeyError``."""
        for health in self.jobs:
            if health.job == job:
                return health
        raise KeyError(job)


@final
@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run that is alive."""

    slot_at: datetime
    attempt: int
    reason: str
    started_at: datetime
    deadline_at: datetime | None


@final
@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """One job at this moment."""

    name: str
    schedule: str
    paused: bool
    next_slot_at: datetime | None
    skips_slot_at: datetime | None
    """The slot that `Scheduler.skip_next` was asked to skip, until it has come."""
    runs: tuple[RunSnapshot, ...]
    history: tuple[Settled, ...]
    """The newest outcomes, oldest first, at most 20."""


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """The scheduler at this moment."""

    at: datetime
    running: bool
    jobs: tuple[JobSnapshot, ...]

    def __getitem__(self, job: str) -> JobSnapshot:
        """Return the snapshot of the job of this name, else raise ``KeyError``."""
        for snapshot in self.jobs:
            if snapshot.name == job:
                return snapshot
        raise KeyError(job)


@final
class JobRecord:
    """What one job has been through; made on its first outcome, because an empty ring is not cheap."""

    __slots__ = ("busy", "last_ended", "last_started", "last_succeeded", "ring")

    def __init__(self) -> None:
        self.ring: deque[Settled] = deque(maxlen=HISTORY)
        self.busy = 0
        self.last_started: int | None = None
        self.last_ended: int | None = None
        self.last_succeeded: int | None = None

    def note(self, settled: Settled) -> None:
        """Keep *settled*, without the exception: its frames would keep half the application alive."""
        self.ring.append(settled if settled.exception is None else settled._replace(exception=None))
        if settled.started is not None:
            self.last_started, self.last_ended = settled.started, settled.ended
        if isinstance(settled.outcome, Busy):
            self.busy += 1
        elif isinstance(settled.outcome, (Succeeded, Failed, TimedOut, LeaseLost)):
            self.busy = 0
        if isinstance(settled.outcome, Succeeded):
            self.last_succeeded = settled.ended


class Reading(NamedTuple):
    """What health is computed from."""

    now: int
    running: bool
    silent_seconds: float | None
    facts: Mapping[str, JobFacts | None]
    records: Mapping[str, JobRecord]


def read_health(reading: Reading) -> Health:
    """Return the health of all jobs."""
    jobs = tuple(_job_health(name, facts, reading) for name, facts in reading.facts.items())
    return Health(reading.running, reading.silent_seconds, jobs)


def _job_health(name: str, facts: JobFacts | None, reading: Reading) -> JobHealth:
    record = reading.records.get(name)
    state, why = _judge(facts, record, reading)
    return JobHealth(
        name,
        state,
        why,
        overdue=state in (JobState.OVERDUE, JobState.STOPPED),
        needs_restart=state in RESTART_MENDS and not (state is JobState.OVERDUE and _is_ahead(facts, reading)),
        consecutive_failures=0 if facts is None else facts.failures,
        last_started_at=_at(None if record is None else record.last_started),
        last_succeeded_at=_at(_last_success(facts, record)),
        next_slot_at=_at(None if facts is None else facts.slot),
    )


def _judge(facts: JobFacts | None, record: JobRecord | None, reading: Reading) -> tuple[JobState, str]:
    if facts is None or not reading.running:
        return JobState.STOPPED, "the scheduler does not run"
    if facts.parked is not None:
        return JobState.PARKED, facts.parked
    if facts.paused:
        return JobState.PAUSED, "paused"
    if facts.ended:
        return JobState.ENDED, "its schedule names no further slot"
    if facts.stuck:
        return JobState.STUCK, f"{facts.stuck} runs swallowed their cancellation"
    silent = reading.silent_seconds
    if silent is not None and silent > SILENT_LOOP_SECONDS:
        return JobState.OVERDUE, f"the loop last ticked {silent:.0f} s ago"
    if facts.used is not None and facts.used - reading.now > AHEAD_MS:
        wait = f"until its last slot, {iso(facts.used)}, has passed again, in {_span(facts.used - reading.now)}"
        return JobState.OVERDUE, f"the clock went back; no slot recurs, so it waits {wait}"
    if facts.watermark is not None and facts.watermark - reading.now > AHEAD_MS:
        ahead = _span(facts.watermark - reading.now)
        return JobState.OVERDUE, f"ledger ahead by {ahead}: it holds slots up to {iso(facts.watermark)} as taken"
    if facts.oldest is not None and reading.now - facts.oldest > 2 * facts.period:
        return JobState.OVERDUE, f"what is due since {from_ms(facts.oldest)} has no outcome after two periods"
    elsewhere = _failure_elsewhere(facts.row, record)
    if elsewhere is not None:
        return JobState.FAILING, f"the last run that the ledger knows of ended as: {elsewhere}"
    if facts.failures and not _is_newer(facts.row, record):
        return JobState.FAILING, f"{facts.failures} runs in a row failed; the last one: {_last_failure(record)}"
    if record is not None and record.busy >= BUSY_RUNS:
        return JobState.BUSY_TOO_LONG, f"{record.busy} runs in a row found the lock taken"
    return JobState.OK, ""


def _is_ahead(facts: JobFacts | None, reading: Reading) -> bool:
    """Return whether a row that outlives the process is ahead of the clock, while the loop itself goes on."""
    if facts is None or facts.row is None or (reading.silent_seconds or 0) > SILENT_LOOP_SECONDS:
        return False
    marks = (mark for mark in (facts.used, facts.watermark) if mark is not None)
    return any(mark - reading.now > AHEAD_MS for mark in marks)


def _is_newer(row: Row | None, record: JobRecord | None) -> bool:
    """Return whether another worker has finished a run since our own last one, as far as the ledger has shown."""
    ours = None if record is None else record.last_ended
    return row is not None and row.ended is not None and (ours is None or row.ended > ours)


def _failure_elsewhere(row: Row | None, record: JobRecord | None) -> str | None:
    if row is None or not _is_newer(row, record) or not row.outcome.startswith(FAILURES):
        return None
    return row.outcome


def _last_success(facts: JobFacts | None, record: JobRecord | None) -> int | None:
    ours = None if record is None else record.last_succeeded
    theirs = None if facts is None or facts.row is None else facts.row.succeeded
    return max((at for at in (ours, theirs) if at is not None), default=None)


def _span(milliseconds: int) -> timedelta:
    return timedelta(seconds=-(-milliseconds // 1000))


def _last_failure(record: JobRecord | None) -> str:
    for settled in reversed(() if record is None else record.ring):
        match settled.outcome:
            case Failed(blame, error):
                return f"{blame}: {error}"
            case TimedOut(seconds):
                return f"timed out after {seconds:.3f} s"
            case LeaseLost():
                return "its lease was lost"
            case _:
                pass
    return "no longer in the history"


def take_snapshot(reading: Reading, schedules: Mapping[str, str]) -> Snapshot:
    """Return a snapshot of all jobs."""
    jobs = tuple(_job_snapshot(name, facts, reading, schedules[name]) for name, facts in reading.facts.items())
    return Snapshot(from_ms(reading.now), reading.running, jobs)


def _job_snapshot(name: str, facts: JobFacts | None, reading: Reading, schedule: str) -> JobSnapshot:
    record = reading.records.get(name)
    history: Sequence[Settled] = () if record is None else record.ring
    if facts is None:
        return JobSnapshot(name, schedule, False, None, None, (), tuple(history))
    runs = tuple(
        RunSnapshot(from_ms(run.slot), run.attempt, run.reason, from_ms(run.started), _at(run.deadline))
        for run in facts.runs
    )
    return JobSnapshot(name, schedule, facts.paused, _at(facts.slot), _at(facts.skips), runs, tuple(history))


def _at(instant: int | None) -> datetime | None:
    return None if instant is None else from_ms(instant)
