"""
The records that cross the timetable's border: facts that it is told, actions that it asks for, events for observers.

All are named tuples: a frozen dataclass costs three times as much to make, and a fire makes several. Slots and
instants are integer milliseconds from the epoch in UTC; the ``..._at`` properties give them as aware datetimes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

from loopcron._instants import HOUR_MS, from_ms, iso
from loopcron._ledger import Answer, Claim, Finish, Pause, Register, Renew, Row
from loopcron._outcomes import Outcome, Reason
from loopcron._policies import Policy
from loopcron._schedules import Schedule

CORRECTION_MS: Final = 3 * HOUR_MS
"""A step back by this or more is a correction: what the clock showed before was wrong."""

record: Final = tuple.__new__
"""
Makes a named tuple in half the time that its own constructor takes, which is a Python function around this one.

For the records that every slot needs, in the timetable and in a simulation: a twelfth of what a slot costs. It checks
no field, so all others go without.
"""


def run_key(job: str, slot: int, key: str | None) -> str:
    """Return the idempotency key of a run; *key* is a manual run's own."""
    return key or f"{job}@{iso(slot)}"


# --- facts: what the timetable is told


class Added(NamedTuple):
    """A job was added."""

    job: str
    schedule: Schedule
    policy: Policy
    paused: bool | None = None
    """Whether somebody wants it to be paused, or not to be; None: as the ledger has it."""


class Removed(NamedTuple):
    """A job was removed."""

    job: str


class PauseAsked(NamedTuple):
    """Somebody wants the job's slots not to run, until `ResumeAsked`."""

    job: str


class ResumeAsked(NamedTuple):
    """Somebody wants the job's slots to run again."""

    job: str


class SkipAsked(NamedTuple):
    """Somebody wants the job's next slot not to run."""

    job: str


class Triggered(NamedTuple):
    """Somebody wants a job to run now."""

    job: str
    key: str


class Registered(NamedTuple):
    """The ledger was asked to register these jobs; None: it could not be asked for that one."""

    jobs: Sequence[str]
    rows: Sequence[Row | None]


class Answered(NamedTuple):
    """The ledger answered these claims."""

    claims: Sequence[Claim]
    answers: Sequence[Answer]


class Renewed(NamedTuple):
    """The ledger was asked to renew these leases; None: it could not be asked."""

    renewals: Sequence[Renew]
    answers: Sequence[bool] | None


class LeaseAsked(NamedTuple):
    """An attempt is about to act, which it may not where its lease is no longer relied on."""

    run_id: int


class AttemptEnded(NamedTuple):
    """An attempt is over."""

    run_id: int
    outcome: Outcome | None
    """None: it was cancelled; whether the timetable had asked for that, it knows itself."""
    exception: BaseException | None = None


class Stepped(NamedTuple):
    """The wall clock moved against the monotonic one by this many milliseconds, either way."""

    by_ms: int


class Stopping(NamedTuple):
    """The scheduler stops; runs may go on for this long."""

    drain_ms: int


Fact = (
    Added
    | Removed
    | PauseAsked
    | ResumeAsked
    | SkipAsked
    | Triggered
    | Registered
    | Answered
    | Renewed
    | LeaseAsked
    | AttemptEnded
    | Stepped
    | Stopping
)


# --- actions: what the timetable asks for, besides what the ledger is asked


CancelledBy = Literal["timeout", "shutdown", "replace", "remove", "lease"]


class Cancel(NamedTuple):
    """Action: cut the run's attempt."""

    job: str
    slot: int
    run_id: int
    by: CancelledBy


class Abandon(NamedTuple):
    """Action: wait for the run no longer; its slot has its outcome."""

    job: str
    slot: int
    run_id: int


class More(NamedTuple):
    """Action: let other tasks run, then poll again at once: more is due at this very now."""

    job: str
    slot: int


# --- events: what observers are told


class Settled(NamedTuple):
    """A slot, a range of slots, or a manual run has its outcome."""

    job: str
    slot: int
    """The slot; the last one of a range."""
    outcome: Outcome
    reason: Reason
    attempt: int
    """How many attempts were made; 0 if it never started."""
    started: int | None
    """When the first attempt started."""
    ended: int
    """When the outcome was known."""
    failures: int
    """Consecutive failed runs of the job, this one included."""
    fence: int = 0
    key: str | None = None
    """Of a manual run; None: it follows from job and slot."""
    exception: BaseException | None = None
    """What the job raised, for this delivery only: history and `repr` never hold it, nor do its frames live on."""
    worker: str = ""
    """Of a slot that is `Taken`: the host and process that has it, if that is known."""

    @property
    def run_key(self) -> str:
        """What names the run, the same on all workers and for all attempts; see `Run.key`."""
        return run_key(self.job, self.slot, self.key)

    @property
    def slot_at(self) -> datetime:
        """The slot as an aware datetime in UTC."""
        return from_ms(self.slot)

    @property
    def duration_seconds(self) -> float | None:
        """How long the run took over all attempts; None if it never started."""
        return None if self.started is None else (self.ended - self.started) / 1000

    @property
    def late_seconds(self) -> float | None:
        """How long after its slot the run started; None if it never started."""
        return None if self.started is None else (self.started - self.slot) / 1000

    def __repr__(self) -> str:
        return f"Settled(job={self.job!r}, slot_at={self.slot_at}, outcome={self.outcome!r}, reason={self.reason!r})"


class RunStarted(NamedTuple):
    """Action and event: an attempt begins. Observers hear of it just before its task is made."""

    job: str
    slot: int
    attempt: int
    reason: Reason
    key: str | None = None
    """Of a manual run; None: it follows from job and slot."""
    run_id: int = 0
    """The same for all attempts of a run, within one life of a scheduler."""
    fence: int = 0
    """That of the claim, 0 where there is none."""
    deadline: int | None = None
    """When the run is cut; None: never."""

    @property
    def run_key(self) -> str:
        """What names the run, the same on all workers and for all attempts; see `Run.key`."""
        return run_key(self.job, self.slot, self.key)


class AttemptFailed(NamedTuple):
    """An attempt failed and will be repeated within its run."""

    job: str
    slot: int
    attempt: int
    outcome: Outcome
    retry_ms: int
    key: str | None = None
    """Of a manual run; None: it follows from job and slot."""

    @property
    def run_key(self) -> str:
        """What names the run, the same on all workers and for all attempts; see `Run.key`."""
        return run_key(self.job, self.slot, self.key)


class RunStuck(NamedTuple):
    """A run swallows its cancellation and is no longer waited for."""

    job: str
    slot: int
    run_id: int


class RunUnstuck(NamedTuple):
    """A run that was given up as stuck has ended after all."""

    job: str
    slot: int
    run_id: int


class JobParked(NamedTuple):
    """The job's schedule, or loopcron itself, failed; the job is asked again later and the others go on."""

    job: str
    slot: int
    """When it happened."""
    error: str
    retry_ms: int
    exception: BaseException | None = None

    def __repr__(self) -> str:
        return f"JobParked(job={self.job!r}, error={self.error!r}, retry_ms={self.retry_ms})"


class JobUnparked(NamedTuple):
    """A parked job works again."""

    job: str
    slot: int


class JobEnded(NamedTuple):
    """The job's schedule names no further slot."""

    job: str
    slot: int
    """When that was seen."""
    last: int | None
    """Its last slot, if it ever had one."""
    served: bool
    """False: it had none left when it was added, so that it never runs."""


class JobPaused(NamedTuple):
    """The job was paused."""

    job: str
    slot: int


class JobResumed(NamedTuple):
    """The job was resumed."""

    job: str
    slot: int


class RunAbandoned(NamedTuple):
    """Some worker won a slot and its lease ran out without an outcome: it was killed, or cut off from the ledger."""

    job: str
    slot: int
    claim_id: str
    """It begins with the host and the process that had claimed it."""


class ScheduleDiffers(NamedTuple):
    """The job's row was registered by another schedule: a deploy has changed it, or two apps share a name."""

    job: str
    slot: int
    """When that was seen."""
    before: str
    schedule: str


class ClockDiffers(NamedTuple):
    """The ledger's clock is behind ours, so that a slot came too early."""

    job: str
    slot: int
    by_ms: int


class ClockStepped(NamedTuple):
    """The wall clock was set; what follows depends on the way and on how far, see `is_correction`."""

    job: str
    slot: int
    by_ms: int

    @property
    def is_correction(self) -> bool:
        """
        Whether it went back by 3 h or more: slots after the new now count anew, with a ledger that can forget.

        After a smaller step back no slot recurs, and every job waits until the clock passes its last one again.
        """
        return self.by_ms <= -CORRECTION_MS


class SchedulerStarted(NamedTuple):
    """The scheduler runs."""

    jobs: tuple[str, ...]
    ledger: str
    pid: int


class SchedulerStopping(NamedTuple):
    """Nothing new is started any more."""

    drain_seconds: float


class SchedulerStopped(NamedTuple):
    """All runs are over or given up."""


class SchedulerDisabled(NamedTuple):
    """The scheduler was entered with ``enabled=False`` and starts nothing."""

    jobs: tuple[str, ...]


class LoopBlocked(NamedTuple):
    """The loop woke later than it asked for, by a second or more: something held up the event loop it runs on."""

    seconds: float


class LedgerFailed(NamedTuple):
    """The ledger could not be asked; told when it begins, when the reason changes, and every minute."""

    call: str
    error: str


class LedgerRecovered(NamedTuple):
    """The ledger answers such calls again."""

    call: str
    failures: int
    """How many calls had failed."""


class LedgerNotShared(NamedTuple):
    """The scheduler's ledger is its own, though this process seems to be one of several workers, which all run all."""

    reason: str


class ActionAsked(NamedTuple):
    """Somebody asked for something on the status page: for an audit."""

    job: str
    slot: int
    """When."""
    action: str
    """``run``, ``pause``, ``resume`` or ``skip``."""
    by: str
    """Who, as the app's authorisation named him; "": it did not."""
    refused: str
    """Why it was not done; "": it was."""


class ObserverFailed(NamedTuple):
    """An observer raised or was slow; disabled after three times in a row."""

    observer: str
    problem: str
    disabled: bool


class InternalFault(NamedTuple):
    """A fault of loopcron itself, or of the clock it was given; the loop goes on."""

    where: str
    error: str
    exception: BaseException | None = None

    def __repr__(self) -> str:
        return f"InternalFault(where={self.where!r}, error={self.error!r})"


Report = (
    Settled
    | RunStarted
    | AttemptFailed
    | RunStuck
    | RunUnstuck
    | JobParked
    | JobUnparked
    | JobEnded
    | JobPaused
    | JobResumed
    | RunAbandoned
    | ScheduleDiffers
    | ClockDiffers
    | ClockStepped
)
"""The events that come out of the timetable."""

Event = (
    Report
    | SchedulerStarted
    | SchedulerStopping
    | SchedulerStopped
    | SchedulerDisabled
    | LoopBlocked
    | ActionAsked
    | LedgerFailed
    | LedgerRecovered
    | LedgerNotShared
    | ObserverFailed
    | InternalFault
)
"""All that an observer is told."""

Action = Register | Claim | Renew | Finish | Pause | Cancel | Abandon | More | Report
"""What the timetable asks for, and what `Scheduler.tick` returns."""
