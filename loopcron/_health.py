"""
Whether the scheduler and its jobs are well, judged from stored facts when it is read.

Nothing here is kept up to date by the loop, so a loop that is blocked or dead shows as silent, and its jobs as
overdue, instead of as their last good state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, assert_never, final

from loopcron._entries import JobFacts
from loopcron._history import JobRecord
from loopcron._instants import from_ms, iso, to_ms
from loopcron._ledger import Row
from loopcron._outcomes import Failed, LeaseLost, TimedOut

SILENT_LOOP_SECONDS: Final = 90.0
"""A loop that last ticked longer ago is silent: it wakes at least every 30 s."""
AHEAD_MS: Final = 60_000
"""How far ahead of the clock any job's last slot may lie; also a period ahead it may, as no slot is lost by that."""
BUSY_RUNS: Final = 3
"""So many runs in a row that found the lock taken are too many: a stuck lock looks like this."""
UNSERVED_SLOTS: Final = 3
"""So many slots in a row that were skipped for want of a ledger or an address are too many."""
UNANSWERED_MS: Final = 60_000
"""How long a job may have been there without being registered while the ledger fails."""


class SchedulerState(StrEnum):
    """The state of a scheduler."""

    RUNNING = "running"
    STOPPING = "stopping"
    """It starts nothing new, and waits for what runs."""
    STOPPED = "stopped"
    """It was left, or never entered."""
    DISABLED = "disabled"
    """It was entered with ``enabled=False``, and serves nothing."""
    SILENT = "silent"
    """It should run, but its loop last ticked more than 90 s ago."""


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
    """A slot older than two periods has no outcome, and no run that has time left; or the loop is silent; or the clock
    is so far behind the last slot that two periods pass without one; or the last three slots were skipped because the
    ledger could not be asked, or the app had no address."""
    FAILING = "failing"
    """The last run that succeeded or failed has failed."""
    BUSY_TOO_LONG = "busy_too_long"
    """The last three runs found the lock taken."""
    OK = "ok"


FAILURES: Final = tuple(kind.__name__ for kind in (Failed, TimedOut, LeaseLost))
"""How a ledger's row begins to say that a run failed."""
RESTART_MENDS: Final = frozenset({JobState.STUCK, JobState.OVERDUE})
FINE: Final = frozenset({JobState.OK, JobState.PAUSED, JobState.ENDED})


@final
@dataclass(frozen=True, slots=True)
class JobHealth:
    """Whether one job is well, and why not."""

    job: str
    state: JobState
    why: str
    since_at: datetime | None
    """Since when it is in this state, as far as this process knows; None where it is ok, or nobody knows."""
    overdue: bool
    """Also true of the jobs of a scheduler that is stopped: none of their slots is served."""
    needs_restart: bool
    """Whether a new process would mend it: it is stuck, or overdue for another reason than that a ledger which keeps
    its rows is ahead of the clock or cannot be asked, or that there is no address."""
    consecutive_failures: int
    last_started_at: datetime | None
    last_succeeded_at: datetime | None
    next_slot_at: datetime | None


@final
@dataclass(frozen=True, slots=True)
class LoopHealth:
    """How the scheduler's loop, and the event loop it runs on, keep time."""

    silent_seconds: float | None = None
    """How long ago it last ticked; None if it does not run, or has no loop."""
    lag_seconds: float = 0.0
    """How much later than it asked for it was woken the last time: what else runs on the event loop held it up."""
    worst_lag_seconds: float = 0.0
    """The largest of these since the scheduler was started."""
    clock_steps: int = 0
    """How often the wall clock was set meanwhile, by more than a second."""
    stepped_at: datetime | None = None
    """When that was last; by the clock as it was set to."""
    stepped_seconds: float = 0.0
    """By how much; less than 0 is back."""


@final
@dataclass(frozen=True, slots=True)
class LedgerHealth:
    """Whether the ledger answers."""

    text: str
    """What it says of itself, without secrets."""
    shared: bool
    """Whether other processes see its rows."""
    why: str = ""
    """The newest error of the calls that fail; empty while all are answered."""
    since_at: datetime | None = None
    """Since when some call fails."""
    failures: int = 0
    """How many of those calls have failed since they were last answered."""

    @property
    def reachable(self) -> bool:
        """Whether the newest call of each kind was answered."""
        return not self.failures


@final
@dataclass(frozen=True, slots=True)
class Health:
    """Whether the scheduler is well, and each of its jobs."""

    state: SchedulerState
    why: str
    """Why it does not run, or is silent; empty if it runs."""
    since_at: datetime | None
    """Since when it is in that state; None if it was never entered."""
    loop: LoopHealth
    ledger: LedgerHealth
    jobs: tuple[JobHealth, ...]

    @property
    def running(self) -> bool:
        """Whether it was started and has not stopped yet."""
        return self.state in (SchedulerState.RUNNING, SchedulerState.STOPPING, SchedulerState.SILENT)

    @property
    def live(self) -> bool:
        """False only where a new process would help: it has stopped, is silent, or a job `JobHealth.needs_restart`."""
        dead = self.state in (SchedulerState.STOPPED, SchedulerState.SILENT)
        return not dead and not any(job.needs_restart for job in self.jobs)

    @property
    def ready(self) -> bool:
        """Whether it serves slots, or is not meant to: false before the start, while stopping, and when silent."""
        return self.state in (SchedulerState.RUNNING, SchedulerState.DISABLED)

    @property
    def ok(self) -> bool:
        """Whether it is ready, the ledger answers, and all jobs are ok, paused or ended; a disabled one is ok."""
        if self.state is SchedulerState.DISABLED:
            return True
        return self.ready and self.ledger.reachable and all(job.state in FINE for job in self.jobs)

    def __getitem__(self, job: str) -> JobHealth:
        """Return the health of the job of this name, else raise ``KeyError``."""
        for health in self.jobs:
            if health.job == job:
                return health
        raise KeyError(job)


class Vitals(NamedTuple):
    """What is known of the scheduler as a whole at this moment. Instants are in ms."""

    state: SchedulerState
    since: int | None
    loop: LoopHealth
    ledger: LedgerHealth


class Reading(NamedTuple):
    """What health and snapshots are computed from."""

    now: int
    vitals: Vitals
    facts: Mapping[str, JobFacts | None]
    records: Mapping[str, JobRecord]

    @property
    def is_silent(self) -> bool:
        """Whether the loop has not ticked for too long."""
        return self.vitals.state is SchedulerState.SILENT


def read_health(reading: Reading) -> Health:
    """Return the health of the scheduler and of all its jobs."""
    jobs = tuple(_job_health(name, facts, reading) for name, facts in reading.facts.items())
    state, since, loop, ledger = reading.vitals
    if reading.is_silent:
        since = _last_tick(reading)
    return Health(state, _why_not(reading.vitals), _at(since), loop, ledger, jobs)


def _last_tick(reading: Reading) -> int:
    """Return when the loop of a silent scheduler last ticked."""
    silent = reading.vitals.loop.silent_seconds
    assert silent is not None  # what has no loop is never silent
    return reading.now - round(silent * 1000)


def _why_not(vitals: Vitals) -> str:
    match vitals.state:
        case SchedulerState.STOPPED:
            return "the scheduler was never started" if vitals.since is None else "the scheduler has stopped"
        case SchedulerState.STOPPING:
            return "the scheduler is stopping"
        case SchedulerState.DISABLED:
            return "the scheduler was entered with enabled=False"
        case SchedulerState.SILENT:
            return f"the loop last ticked {vitals.loop.silent_seconds:.0f} s ago"
        case SchedulerState.RUNNING:
            return ""
    assert_never(vitals.state)


class _Verdict(NamedTuple):
    state: JobState
    why: str = ""
    since: int | None = None
    is_mended_by_restart: bool = True


def _job_health(name: str, facts: JobFacts | None, reading: Reading) -> JobHealth:
    record = reading.records.get(name)
    state, why, since, is_mended = _judge(facts, record, reading)
    is_disabled = reading.vitals.state is SchedulerState.DISABLED
    return JobHealth(
        name,
        state,
        why,
        _at(since),
        overdue=state is JobState.OVERDUE or (state is JobState.STOPPED and not is_disabled),
        needs_restart=state in RESTART_MENDS and is_mended,
        consecutive_failures=0 if facts is None else facts.failures,
        last_started_at=_at(None if record is None else record.last_started),
        last_succeeded_at=_at(_last_success(facts, record)),
        next_slot_at=_at(None if facts is None else facts.slot),
    )


def _judge(facts: JobFacts | None, record: JobRecord | None, reading: Reading) -> _Verdict:
    vitals = reading.vitals
    if vitals.state in (SchedulerState.STOPPED, SchedulerState.DISABLED):
        return _Verdict(JobState.STOPPED, _why_not(vitals), vitals.since)
    if facts is None:  # it is added, or removed, at this very moment, or observers are told of the start
        return _Verdict(JobState.STOPPED, "it is not served yet, or no longer")
    if facts.parked is not None:
        return _Verdict(JobState.PARKED, facts.parked, _parked_since(record, vitals.ledger))
    if facts.paused:
        return _Verdict(JobState.PAUSED, "paused", facts.added if record is None else record.paused_at or facts.added)
    if facts.ended:
        ended = None if record is None else record.ended_at
        return _Verdict(JobState.ENDED, "its schedule names no further slot", ended)
    if facts.stuck:
        many = f"{facts.stuck} runs swallowed their cancellation"
        why = many if facts.stuck > 1 else "a run swallowed its cancellation"
        return _Verdict(JobState.STUCK, why, None if record is None else record.stuck_since)
    unserved = _overdue(facts, reading) or _unserved(record) or _unanswered(facts, reading)
    return unserved or _unwell(facts, record) or _Verdict(JobState.OK)


def _parked_since(record: JobRecord | None, ledger: LedgerHealth) -> int | None:
    if record is not None and record.parked_at is not None:
        return record.parked_at
    return _ms(ledger.since_at)  # it could not be registered


def _overdue(facts: JobFacts, reading: Reading) -> _Verdict | None:
    now, loop = reading.now, reading.vitals.loop
    if reading.is_silent:
        return _Verdict(JobState.OVERDUE, _why_not(reading.vitals), _last_tick(reading))
    keeps_rows = facts.row is not None  # the row of a ledger that outlives the process stays ahead after a restart
    ahead = max(AHEAD_MS, facts.period)
    if facts.used is not None and facts.used - now > ahead:
        wait = f"until its last slot, {iso(facts.used)}, has passed again, in {_span(facts.used - now)}"
        why = f"the clock went back; no slot recurs, so it waits {wait}"
        return _Verdict(JobState.OVERDUE, why, _ms(loop.stepped_at), not keeps_rows)
    loses = facts.watermark is not None and facts.slot is not None and facts.slot <= facts.watermark
    if facts.watermark is not None and facts.watermark - now > (AHEAD_MS if loses else ahead):
        why = f"ledger ahead by {_span(facts.watermark - now)}: it holds slots up to {iso(facts.watermark)} as taken"
        return _Verdict(JobState.OVERDUE, why, None, not keeps_rows)
    if facts.oldest is not None and now > (since := max(facts.oldest + 2 * facts.period, facts.patience)):
        why = f"what is due since {iso(facts.oldest)} has no outcome after two periods"
        return _Verdict(JobState.OVERDUE, why, since, not facts.waits_for_store)
    return None


def _unserved(record: JobRecord | None) -> _Verdict | None:
    if record is None or record.unserved < UNSERVED_SLOTS:
        return None
    why = f"its last {record.unserved} slots were skipped: {record.unserved_for}"
    return _Verdict(JobState.OVERDUE, why, record.unserved_since, is_mended_by_restart=False)


def _unanswered(facts: JobFacts, reading: Reading) -> _Verdict | None:
    """Judge a job that the ledger was asked to register and that has heard nothing: it fires no more until then."""
    ledger = reading.vitals.ledger
    if ledger.reachable or not facts.is_registering or reading.now - facts.added < UNANSWERED_MS:
        return None
    return _Verdict(JobState.PARKED, "the ledger has not answered to its registration", _ms(ledger.since_at))


def _unwell(facts: JobFacts, record: JobRecord | None) -> _Verdict | None:
    row = facts.row
    if row is not None and _failed_elsewhere(row, record):
        why = f"the last run that the ledger knows of ended as: {row.outcome}"
        return _Verdict(JobState.FAILING, why, _failing_since(row, record))
    if facts.failures and not (row is not None and _is_newer(row.succeeded, record)):
        many = "the last run failed" if facts.failures == 1 else f"{facts.failures} runs in a row failed; the last one"
        why = f"{many}: {_last_failure(record)}"
        return _Verdict(JobState.FAILING, why, None if record is None else record.failing_since)
    if record is not None and record.busy >= BUSY_RUNS:
        why = f"{record.busy} runs in a row found the lock taken"
        return _Verdict(JobState.BUSY_TOO_LONG, why, record.busy_since)
    return None


def _failing_since(row: Row, record: JobRecord | None) -> int | None:
    """Return since when all runs that are known of failed: ours too if the last of ours did, else the row's."""
    ours = None if record is None else record.failing_since
    return row.ended if ours is None or (row.succeeded is not None and row.succeeded > ours) else ours


def _is_newer(instant: int | None, record: JobRecord | None) -> bool:
    """Return whether what the ledger has shown of another worker came after our own last run that tells anything."""
    ours = None if record is None else record.last_ended
    return instant is not None and (ours is None or instant > ours)


def _failed_elsewhere(row: Row, record: JobRecord | None) -> bool:
    return _is_newer(row.ended, record) and row.outcome.startswith(FAILURES)


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


def _ms(instant: datetime | None) -> int | None:
    return None if instant is None else to_ms(instant)


def _at(instant: int | None) -> datetime | None:
    return None if instant is None else from_ms(instant)
