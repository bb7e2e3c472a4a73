"""
One job's place in the timetable: what it waits for and what of it is alive.

Plain state; what happens to it is decided in ``_timetable``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, final

from loopcron._attempts import LiveRun
from loopcron._instants import HOUR_MS
from loopcron._ledger import Row
from loopcron._outcomes import Outcome, Reason, Skipped
from loopcron._policies import Policy
from loopcron._schedules import MsSchedule, Schedule
from loopcron._tables import Occupancy, Overlap


@final
@dataclass(slots=True)  # as `Due` is, and for the same reason
class Candidate:
    """A slot, or a manual run, that is to run: its claim is under way, or it waits for the job's live runs to end."""

    slot: int
    reason: Reason
    period: int
    key: str | None
    """Of a manual run."""
    claim_id: str = ""
    first_asked: int | None = None
    """When the ledger was asked first; None: it was not yet."""
    asked: int = 0
    """When the ledger was asked last, on a clock that goes forward with either hand but back with each: a lease that
    begins then is trusted no longer than it lasts."""
    ask_at: int | None = None
    """When the ledger is asked, or asked again; None: its answer is awaited."""
    failures: int = 0
    is_early: bool = False
    """Whether it waits for the store's clock, so that it is not owed yet."""
    was_held: bool = False
    undecided: Outcome | None = None
    """What becomes of the slot if the ledger is not asked again; None: as things are."""
    skips: bool = False
    """Whether it is asked for only so that nobody runs it; see `Scheduler.skip_next`."""
    probes: Probe | None = None
    """Of a paused job: it is asked whether another worker has ended the pause."""


class Probe(NamedTuple):
    """What is to be said of a paused job's slots once its pause proves to be over."""

    passed: Skipped | None
    """All before the slot that is asked for; None: there are none."""
    following: int | None
    """The slot after it."""
    due: int


class JobFacts(NamedTuple):
    """What is known of a job at this moment, for health and snapshots."""

    added: int
    slot: int | None
    """The next slot, or the oldest that is due and unserved."""
    due: int
    """When that one is due."""
    oldest: int | None
    """Since when the job owes an outcome: its oldest slot that is due or runs. What waits for a run to end, or for a
    place, is not owed yet; what is caught up is so from its start."""
    skippable: int | None
    """The slot that would be skipped if somebody asked for it."""
    skips: int | None
    """The slot that somebody asked to skip and that has not come yet."""
    period: int
    paused: bool
    parked: str | None
    ended: bool
    failures: int
    stuck: int
    runs: tuple[LiveRun, ...]
    used: int | None
    """The newest slot that was handed out or passed; None: none yet."""
    watermark: int | None
    """See `Entry.watermark`."""
    row: Row | None
    """See `Entry.row`."""
    row_at: int
    patience: int = 0
    """Until when nothing of it is overdue, whatever its period: it may not start yet, or its run has time left."""
    waits_for_store: bool = False
    """Whether its slot would run if the ledger could be asked, which answers with errors."""
    is_registering: bool = False
    """Whether the ledger was asked to register it and has not answered yet."""


@final
@dataclass(slots=True, eq=False)
class Entry:
    """One job's place in the timetable. Instants are in ms."""

    name: Final[str]
    rule: Final[Schedule]
    """The schedule as it was given."""
    schedule: MsSchedule
    """The same as the timetable asks it, bound to `added`."""
    policy: Final[Policy]
    added: int
    """When it was added, by the clock as it stands now."""
    paused: bool
    registering: bool = True
    removed: bool = False
    slot: int | None = None
    """The first slot that has no outcome yet, is not being run and is not `waiting`; None before registration and
    after the last."""
    due: int = 0
    """When that slot is due: it, or later by its jitter."""
    skips: int | None = None
    """The slot that somebody asked to skip; it counts for nothing once `slot` has moved on."""
    used: int | None = None
    """The newest slot that was handed out or passed, or the correction after which slots count; None: none yet."""
    watermark: int | None = None
    """What the ledger said of its row when it registered or refused; None: it stands where we put it."""
    row: Row | None = None
    """The row as the ledger showed it last, where other workers write into it too."""
    row_at: int = 0
    """When that was."""
    probe: int | None = None
    """While it is paused: when the ledger is asked next whether it still is, by its newest slot; None: it is not."""
    corrected: int | None = None
    """The corrected now, until the ledger was asked to register the job again and has answered."""
    asked_before: bool = False
    """Whether the registration under way was asked for before the correction."""
    armed: int | None = None
    """The instant in whose bucket of the agenda the job stands."""
    claiming: Candidate | None = None
    """What the ledger was asked for and has not answered yet."""
    waiting: Candidate | None = None
    """What waits for the job's live runs to end; it comes before `slot`."""
    is_catching_up: bool = False
    """Whether passed slots are caught up one after the other: then slots wait while a run of the job is alive."""
    is_limited: bool = False
    """Whether its slot was due, found no place below the limit of all jobs, and was not judged since."""
    runs: tuple[LiveRun, ...] = ()
    """Those that are alive; a tuple, because it is one run or none nearly always, and other threads look."""
    pause_asked: bool | None = None
    """What somebody wants of the pause, until the job is registered and the ledger can be told."""
    abandoned: int | None = None
    """The newest slot that was told to be abandoned by another worker."""
    stuck: int = 0
    failures: int = 0
    faults: int = 0
    parked: str | None = None
    retry_at: int | None = None
    """When a parked job, or a registration that failed, is tried again."""

    @property
    def skippable(self) -> int | None:
        """The slot that would be skipped if somebody asked for it; while the job is paused all are."""
        return None if self.paused else self.slot

    @property
    def occupancy(self) -> Occupancy:
        """What of the job is alive, in the words the overlap table is indexed by."""
        if self.waiting is not None:
            return Occupancy.FULL
        # What waits for a store that is down is not alive: a manual run must not wait for the store too.
        is_claiming = self.claiming is not None and not (self.claiming.failures and self.claiming.ask_at is not None)
        if not self.runs and not is_claiming:
            return Occupancy.FREE
        alive = len(self.runs) + is_claiming
        full = self.policy.overlap is Overlap.ALLOW and alive >= self.policy.places
        return Occupancy.FULL if full else Occupancy.BUSY

    def period(self, slot: int | None) -> int:
        """Return the gap from *slot* to the next one; an hour where there is none, or the schedule cannot say."""
        if slot is None:
            return HOUR_MS
        try:
            following = self.schedule.next_ms(slot)
        except BaseException:  # noqa: BLE001 - asked only for a default; the schedule's next real answer parks the job
            return HOUR_MS
        return HOUR_MS if following is None else following - slot

    def facts(self, release: int) -> JobFacts:
        """Return what is known of the job at this moment; before *release* nothing of it runs."""
        runs = self.runs  # at once, because another thread may ask
        oldest = self._oldest()
        period, claim = self.period(oldest), self.claiming
        has_more = self.slot is not None or self.claiming is not None or self.waiting is not None
        return JobFacts(
            added=self.added,
            slot=self.slot,
            due=self.due,
            oldest=oldest,
            skippable=self.skippable,
            skips=self.slot if self.slot == self.skips else None,
            period=period,
            paused=self.paused,
            parked=self.parked or self._unregistered(),
            ended=not (has_more or runs or self.registering),
            failures=self.failures,
            stuck=self.stuck,
            runs=runs,
            used=self.used,
            watermark=self.watermark,
            row=self.row,
            row_at=self.row_at,
            patience=max((release + 2 * period, *(run.ends_by for run in runs))),
            waits_for_store=claim is not None and claim.failures > 0,
            is_registering=self.registering,
        )

    def _oldest(self) -> int | None:
        slots = [run for run in self.runs if run.key is None]
        owed = [run.started if run.reason == "catch_up" else run.slot for run in slots]
        run = self.claiming
        if run is not None and not (run.is_early or run.reason == "catch_up" or run.probes is not None):
            owed.append(run.slot)
        # A job that catches up is late by nature, the line is as long as the other jobs' runs make it, and what the
        # store's clock holds up no restart hastens.
        waits = self.is_limited or (self.is_catching_up and (self.runs or run)) or (run is not None and run.is_early)
        slot = self._first() if self.registering and self.slot is None else self.slot
        if slot is not None and not waits:
            owed.append(slot)
        return min(owed, default=None)

    def _first(self) -> int | None:
        """Return the first slot of a job that the ledger has not answered yet: it may never do so."""
        begin = self.added if self.used is None else self.used
        try:
            return self.schedule.next_ms(begin if self.corrected is None else self.corrected)
        except BaseException:  # noqa: BLE001 - as in `period`
            return None

    def _unregistered(self) -> str | None:
        return "the ledger could not be asked to register it" if self.registering and self.faults else None
