"""
The timetable: a pure, synchronous, deterministic planner.

It is told facts and the time, and answers with actions. It never awaits, logs, draws a random number or asks for
now: all of that is the scheduler's. Choices of policy are looked up in ``_tables``; which of the due slots runs is
found in ``_due``, and what becomes of a run that has begun is in ``_live`` and ``_attempts``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar, Final, final

from loopcron import _events as e
from loopcron._agenda import Agenda
from loopcron._claims import SKIP_EARLY_MS, Claims
from loopcron._due import due_at, settle_due
from loopcron._entries import Candidate, Entry, JobFacts, Probe
from loopcron._errors import text_of
from loopcron._instants import HOUR_MS, SECOND_MS
from loopcron._ledger import Answer, Finish, Lost, Pause, Paused, Register, Row, Unavailable, Won, batch_size
from loopcron._live import LiveRuns
from loopcron._outcomes import Interrupted, Missed, Outcome, Skipped, error_text
from loopcron._places import Places
from loopcron._policies import doubled_ms
from loopcron._schedules import MsSchedule, in_ms
from loopcron._tables import OVERLAP_TABLE, CatchUp, Lateness, Verdict

PARKED_BACKOFF: Final = (SECOND_MS, 300 * SECOND_MS)
"""First and longest wait, in ms, before a parked job is asked again."""
STORE_BACKOFF: Final = 10 * SECOND_MS
"""The longest wait before a job is registered again where the ledger was down, by which its first slot may be late."""

_in_order = itemgetter(1, 0)
"""By slot, then by job: every action begins with its job and its slot."""


def _by_need(job: Entry) -> tuple[int, str]:
    """Return who comes first among several: by what waits or else by when the next slot is due, then by name."""
    return job.due if job.waiting is None else job.waiting.slot, job.name


@final
class Timetable:
    """
    Plans the runs of jobs.

    Laws, each one pinned by a property in ``tests/property``:

    1. The same facts and polls give the same actions.
    2. Polling again at the same now gives nothing, unless a fact came between or the answer ended with `More`.
    3. After a poll without `More` the next wake-up is later than now.
    4. Every slot after registration, up to removal or stop, is covered by exactly one outcome; ranges count. After a
       correction of the clock the slots after the corrected now count anew.
    5. Every run that is started is answered by exactly one outcome.
    6. The actions of a poll are ordered by slot, then by job name.
    7. One poll at the end covers the same slots as many on the way.
    8. Time does not go back, except by a `Stepped`.

    Args:
        now: The start, in ms from the epoch.
        startup_delay: For how many ms nothing is claimed.
        max_running: How many runs of all jobs together may be alive before slots wait for a place; None: any number.
        worker: The prefix of claim ids; unique per start of a scheduler.
        shared: Whether other workers claim in the same ledger: then runs hold leases, and a pause is in the row.
        fires: Whether a slot runs without the ledger when that could not be asked for a while; else it is skipped.
    """

    def __init__(
        self,
        now: int,
        *,
        startup_delay: int = 0,
        max_running: int | None = None,
        worker: str = "",
        shared: bool = False,
        fires: bool = False,
    ) -> None:
        self._live = LiveRuns(now, now + startup_delay)
        self._claims = Claims(self._live, worker, shared=shared, fires=fires)
        self._places = Places(self._live, self._claims, max_running)
        self._jobs: dict[str, Entry] = {}
        self._agenda: Agenda[Entry] = Agenda()
        # As many in one poll as go in one call: 100,000 jobs due on one instant must not block the loop in one go.
        # Where there are few places it is more of them, because who gets one is decided among those.
        self._chunk = batch_size(shared=shared or max_running is not None)
        self._drain_at: int | None = None

    def handle(self, fact: e.Fact, now: int) -> None:
        """
        Take note of *fact*; what follows from it comes out of the next `poll`.

        Raises:
            ValueError: *now* is earlier than before, and the fact is no `Stepped`: a bug in the caller.
        """
        live = self._live
        if now < live.now and type(fact) is not e.Stepped:
            raise self._gone_back(now)
        live.now = now
        self._HANDLERS[type(fact)](self, fact)

    def poll(self, now: int, *, facts_only: bool = False) -> tuple[e.Action, ...]:
        """
        Return what is to be done at *now*, and take it as done.

        A slot equal to *now* is due.

        Args:
            now: In ms from the epoch.
            facts_only: Return what follows from the facts so far, and look at no job whose time has come: for who has
                been told `More` and has not let other tasks run yet.

        Returns:
            Actions ordered by slot, then by job name; `More` stands last if the caller should let other tasks run
            and poll again at once.

        Raises:
            ValueError: *now* is earlier than before: a bug in the caller.
        """
        live = self._live
        if now < live.now:
            raise self._gone_back(now)
        live.now = now
        if self._drain_at is not None and now >= self._drain_at:
            self._end_drain()
        actions, has_more = live.out, False
        if not facts_only and (self._agenda.may_be_due(now) or self._places.line):
            self._look_at_due(now)
            first = self._agenda.first()
            has_more = first is not None and first <= now
        if len(actions) > 1:
            actions.sort(key=_in_order)
        if has_more:
            actions.append(e.More("", now))
        if not actions:
            return ()
        live.out = []
        return tuple(actions)

    def next_wakeup(self) -> int | None:
        """Return when `poll` is to be called next, at the latest; None: not before another fact."""
        if self._live.out or (self._places.line and self._places.are_free):
            return self._live.now
        first = self._agenda.first()
        if self._drain_at is None:
            return first
        return self._drain_at if first is None else min(first, self._drain_at)

    def may_wake_before(self, at: int) -> bool:
        """Return False if `next_wakeup` is surely not before *at*, at a tenth of what that takes."""
        live, places = self._live, self._places
        return bool(live.out or places.line or self._drain_at is not None) or self._agenda.may_be_due(at - 1)

    @property
    def is_over(self) -> bool:
        """Whether no run is alive and no action waits; claims may still be open."""
        return not (self._live or self._live.out)

    def facts(self, name: str) -> JobFacts | None:
        """Return what is known of the job; None if it is not in the timetable."""
        entry = self._jobs.get(name)
        return None if entry is None else entry.facts(self._live.release)

    # --- facts

    def _added(self, fact: e.Added) -> None:
        schedule = in_ms(fact.schedule).bound(fact.job, self._live.now)
        job = Entry(fact.job, fact.schedule, schedule, fact.policy, self._live.now, fact.paused is True)
        self._jobs[job.name] = job
        job.pause_asked = fact.paused
        self._guarded(job, self._register)
        if job.retry_at is not None:  # else it waits for nothing but the ledger
            self._arm(job)

    def _registered(self, fact: e.Registered) -> None:
        for name, row in zip(fact.jobs, fact.rows, strict=True):
            job = self._jobs.get(name)
            if job is None or not job.registering or self._live.stopping:
                continue  # removed meanwhile, or added anew and answered already; or too late to have slots
            if job.asked_before:
                self._register_again(job)
            elif row is not None:
                self._guarded(job, self._open, row)
            elif self._claims.fires and job.used is None and job.faults:
                # Asked twice in vain. Its slots are not to wait for the store: each is asked for, and then runs.
                unknown = Row(name, job.added, paused=job.pause_asked is False)  # so that a resume is told as well
                self._guarded(job, self._open, unknown)
            else:
                job.faults += 1
                job.retry_at = self._live.now + doubled_ms(PARKED_BACKOFF[0], job.faults, STORE_BACKOFF)
            self._arm(job)

    def _removed(self, fact: e.Removed) -> None:
        job = self._jobs[fact.job]
        self._look(job)  # what is due at this instant was due before the removal
        del self._jobs[fact.job]
        self._claims.withdraw(job, Skipped("removed"))
        self._places.leave_line(job)
        self._places.end_waiting(job, Skipped("removed"))
        self._close(job, partial(Skipped, "removed"))
        job.removed = True
        self._live.cancel(job, "remove")
        self._arm(job)

    def _pause_asked(self, fact: e.PauseAsked) -> None:
        job = self._jobs[fact.job]
        if not job.paused:
            self._look(job)
            self._claims.withdraw(job, Skipped("paused"))
            self._pause(job)
        self._tell_pause(job)

    def _pause(self, job: Entry) -> None:
        self._places.leave_line(job)
        if job.waiting is not None and job.waiting.key is None:  # a manual run goes on waiting
            self._places.end_waiting(job, Skipped("paused"))
        job.paused = True
        job.probe = job.due if self._claims.shared and job.slot is not None else None
        self._live.out.append(e.JobPaused(job.name, self._live.now))

    def _resume_asked(self, fact: e.ResumeAsked) -> None:
        job = self._jobs[fact.job]
        if job.paused:
            self._claims.withdraw(job, Skipped("paused"))
            self._places.leave_line(job)
            self._close(job)
            self._resume(job)
        self._tell_pause(job)

    def _resume(self, job: Entry) -> None:
        job.paused, job.probe = False, None
        self._live.out.append(e.JobResumed(job.name, self._live.now))

    def _tell_pause(self, job: Entry) -> None:
        """Let all workers know, even where nothing changes here: another one may have paused or resumed it."""
        if job.registering:
            job.pause_asked = job.paused
        elif self._claims.shared:
            self._live.out.append(Pause(job.name, self._live.now, job.paused))
        self._arm(job)

    def _skip_asked(self, fact: e.SkipAsked) -> None:
        job = self._jobs[fact.job]
        if job.skippable is not None:
            job.skips = job.skippable
            self._arm(job)

    def _triggered(self, fact: e.Triggered) -> None:
        job = self._jobs[fact.job]
        run = Candidate(self._live.now, "manual", job.period(job.slot), fact.key)
        # Not subject to the limit: somebody who asks for a run wants it now.
        self._places.enter(job, OVERLAP_TABLE[job.policy.overlap, job.occupancy], run)
        self._arm(job)

    def _answered(self, fact: e.Answered) -> None:
        for claim, answer in zip(fact.claims, fact.answers, strict=True):
            job = self._claims.whose(claim.claim_id)
            run = job.claiming
            assert run is not None  # as long as the claim is open
            if run.probes is not None and not self._is_resumed(job, run, run.probes, answer):
                pass  # nothing is served
            elif isinstance(answer, Paused):
                self._found_paused(job, run)
            else:
                self._claims.answered(job, run, answer)
            if job.paused:
                self._claims.withdraw(job, Skipped("paused"))  # asked again it could be won in the middle of the pause
            if job.corrected is not None and not (job.removed or self._live.stopping):
                self._claims.withdraw(job, Skipped("ledger"))
                self._register_again(job)
            self._arm(job)

    def _found_paused(self, job: Entry, run: Candidate) -> None:
        if job.removed or self._live.stopping:
            self._claims.decide(job, run, Skipped("paused"))
            return
        if job.slot is None or job.used != run.slot:
            self._claims.decide(job, run, Skipped("paused"))
        else:  # no slot after it was handed out yet, so it is the first of the paused ones
            self._claims.close(job, run)
            job.slot = job.due = run.slot
        if not job.paused:
            self._pause(job)
        self._guarded(job, self._probe_next)

    def _renewed(self, fact: e.Renewed) -> None:
        for position, renewal in enumerate(fact.renewals):
            self._arm(self._live.renewed(renewal, None if fact.answers is None else fact.answers[position]))

    # --- a pause that other workers see

    def _probe(self, job: Entry) -> None:
        """Ask for the newest due slot of a paused job: only the ledger knows whether another worker has resumed it."""
        job.is_limited = not self._places.admit(job)
        if job.is_limited:
            self._places.stand_in_line(job)
            return
        first, now = job.slot, self._live.now
        assert first is not None  # what has no slot is not probed
        newest = max(first, job.schedule.latest_ms(now) or first)
        before = job.schedule.latest_ms(newest - 1) if newest > first else None
        passed = None if before is None else Skipped("paused", first, before, job.schedule.count(first, before))
        following, due = self._after(job, newest)
        period = HOUR_MS if following is None else following - newest
        late = now - due_at(job.schedule, job.policy, job.name, newest)
        if job.policy.lateness(late, period) is not Lateness.IN_GRACE:
            self._probe_next(job)  # if it were won it would have to run
            return
        job.probe = None
        self._claims.open(job, Candidate(newest, "schedule", period, None, probes=Probe(passed, following, due)))

    def _probe_next(self, job: Entry) -> None:
        """Ask again with the next slot."""
        slot = job.schedule.next_ms(self._live.now) if self._claims.shared and job.slot is not None else None
        job.probe = None if slot is None else due_at(job.schedule, job.policy, job.name, slot)

    def _is_resumed(self, job: Entry, run: Candidate, probe: Probe, answer: Answer) -> bool:
        """Say what the answer to a probe means for the pause, and return whether the slot that it names is served."""
        is_closed = job.slot is None or job.slot > run.slot  # resumed here, removed or stopped meanwhile
        # What is behind the watermark is lost before the pause is looked at; what is too early only after that.
        is_open = isinstance(answer, (Paused, Unavailable)) or (isinstance(answer, Lost) and answer.row.paused)
        if not is_closed and is_open:
            self._claims.close(job, run)
            self._guarded(job, self._probe_next)
        elif is_closed:
            self._claims.close(job, run)
            if isinstance(answer, Won):
                self._live.out.append(Finish(job.name, run.slot, answer.fence, Skipped("paused")))
        else:
            if probe.passed is not None:
                assert probe.passed.last is not None  # a range
                self._live.settle(job, probe.passed.last, probe.passed, "schedule")
            self._move_on(job, run.slot, probe.following, probe.due)
            if job.paused:  # else it was resumed here as well, while its schedule could not say what had passed
                self._resume(job)
            run.probes = None
            return True
        return False

    def _lease_asked(self, fact: e.LeaseAsked) -> None:
        # By itself: among all that is due its turn may come too late, for hundreds of jobs may stand before it.
        job = self._live.look_at(fact.run_id)
        if job is not None:
            self._arm(job)

    def _attempt_ended(self, fact: e.AttemptEnded) -> None:
        self._arm(self._live.attempt_ended(fact))

    def _stepped(self, fact: e.Stepped) -> None:
        # Slots are instants of the wall clock and stay; what was measured from a start moves with the clock.
        self._live.release += fact.by_ms
        if self._drain_at is not None:
            self._drain_at += fact.by_ms
        # A dict, not a set: the order of a set of jobs differs from process to process, and claim ids follow from it.
        for job in dict.fromkeys((*self._jobs.values(), *self._live.jobs)):
            if job.retry_at is not None:
                job.retry_at += fact.by_ms
            for run in job.runs:
                run.shift(fact.by_ms)
            self._claims.shift(job, fact.by_ms)
            job.row_at += fact.by_ms
            self._arm(job)
        event = e.ClockStepped("", self._live.now, fact.by_ms)
        self._live.out.append(event)
        if event.is_correction and not self._live.stopping:
            for job in self._jobs.values():
                self._correct(job, fact.by_ms)

    def _correct(self, job: Entry, by: int) -> None:
        """
        Let the slots after now count anew, once the ledger has lowered its row.

        Those up to now that have no outcome yet still wait for theirs. A job that has not begun begins anew.
        """
        now = self._live.now
        self._claims.withdraw(job, Skipped("ledger"))  # asked for later it would raise the row again
        job.corrected = now if job.corrected is None else min(now, job.corrected)
        if job.skips != job.slot:
            job.skips = None  # it has come and gone, and must not count when it comes again
        if job.waiting is not None and job.waiting.key is None:
            self._places.leave_line(job)
            self._places.end_waiting(job, Skipped("overlap"))  # claimed later it would raise the row again
        if job.slot is not None and (job.slot > now or job.used is None):
            self._places.leave_line(job)
            job.slot = None
        if job.added > now:  # what counts from a start must not wait for the start to come again
            job.added += by
            job.schedule = in_ms(job.rule).bound(job.name, job.added)
        if job.registering:
            job.asked_before = job.retry_at is None
        elif job.claiming is None:  # else the claim could come after and raise the row again
            self._register_again(job)
        self._arm(job)

    def _register_again(self, job: Entry) -> None:
        job.registering = True
        job.asked_before = False
        self._guarded(job, self._register)

    def _stop(self, fact: e.Stopping) -> None:
        drain_at = self._live.now + fact.drain_ms
        if self._live.stopping:  # asked again: the drain may become shorter, never longer
            self._drain_at = None if self._drain_at is None else min(self._drain_at, drain_at)
            return
        self._drain_at = drain_at
        for job in self._jobs.values():
            closing = partial(Skipped, "limit") if job.is_limited else Missed
            self._places.leave_line(job)
            self._places.end_waiting(job, Interrupted("shutdown"))
            self._claims.withdraw(job, Interrupted("shutdown"))
            self._close(job, closing)
        self._live.stopping = True
        self._live.end_waiting()

    # --- looking at one job

    def _gone_back(self, now: int) -> ValueError:
        return ValueError(f"now went back from {self._live.now} to {now} without a Stepped")

    def _look_at_due(self, now: int) -> None:
        jobs = self._agenda.take(now, self._chunk)
        if self._places.limit is None:
            for job in jobs:
                self._look(job)
            return
        jobs.sort(key=_by_need)  # who gets one of few places must not hang on the order of a bucket
        for job in jobs:
            self._look(job)
        while (admitted := self._places.next_in_line()) is not None:
            self._look(admitted)

    def _look(self, job: Entry) -> None:
        """Do what is due for *job* and arm it for what comes next."""
        if job.runs:
            self._live.look(job)
        if not (job.removed or self._live.stopping):
            late = None if job.claiming is None else self._claims.look(job)
            if late is not None:
                self._places.enter(job, OVERLAP_TABLE[job.policy.overlap, job.occupancy], late)
            if job.waiting is not None:
                self._places.start_waiting(job)
            # Guarded only where the schedule is asked: what asks nothing is no proof that a parked job works again.
            at = self._serve_at(job)
            if at is not None and at <= self._live.now:
                serve = self._probe if job.paused else self._serve_due
                self._guarded(job, self._register if job.registering else serve)
        self._arm(job)

    def _guarded(self, job: Entry, step: Callable[..., None], *told: Row) -> None:
        """Do a step that asks the job's schedule; what that raises parks this job and hurts no other."""
        now, out = self._live.now, self._live.out
        try:
            step(job, *told)
        except BaseException as error:  # noqa: BLE001 - a fence of design section 6: schedule and planner calls
            job.faults += 1
            wait = doubled_ms(PARKED_BACKOFF[0], job.faults, PARKED_BACKOFF[1])
            job.retry_at = now + wait
            job.parked = error_text(error)
            out.append(e.JobParked(job.name, now, job.parked, wait, error))
        else:
            if job.parked is not None and not job.registering:
                out.append(e.JobUnparked(job.name, now))
                job.parked = None
                job.faults = 0
                job.retry_at = None

    def _register(self, job: Entry) -> None:
        watermark: int | None = None
        if job.used is not None:
            watermark = job.corrected
        elif job.policy.run_on_start:
            newest = job.schedule.latest_ms(job.added)
            watermark = None if newest is None else newest - 1
        if watermark is None and job.schedule.is_from_start:
            watermark = job.added - 1  # its first slot may be the start itself
        job.retry_at = None
        # A user's own schedule may say of itself where it lies in memory, which differs from process to process.
        text = text_of(job.rule) if self._claims.shared and isinstance(job.rule, MsSchedule) else ""
        fields = (job.name, self._live.now, watermark, job.corrected is not None, text)
        self._live.out.append(e.record(Register, fields))

    def _open(self, job: Entry, row: Row) -> None:
        begun, watermark = job.used is not None, row.watermark
        # From what the ledger says a job only begins. A row ahead of now, also after a correction where it cannot
        # be lowered, keeps no slot from being asked for: each is lost until time passes the row or it is mended.
        begin = job.corrected if begun and job.corrected is not None else min(watermark, self._live.now)
        slot = job.schedule.next_ms(begin)
        if job.slot is not None:
            slot = job.slot
        last = job.schedule.latest_ms(begin) if slot is None else None
        due = due_at(job.schedule, job.policy, job.name, slot)
        # All that can fail is behind us.
        job.slot, job.due = slot, due
        job.watermark = watermark
        job.used = job.corrected if begun else None
        job.corrected = None
        job.registering = False
        job.faults = 0
        job.retry_at = None  # an answer to an earlier registration under this name may have failed meanwhile
        if slot is None and not begun:
            self._live.out.append(e.JobEnded(job.name, self._live.now, last, served=False))
        if self._claims.shared:
            self._learn(job, row)

    def _learn(self, job: Entry, row: Row) -> None:
        """Take note of what other workers have written into the row."""
        job.row, job.row_at = row, self._live.now
        ours = text_of(job.rule) if isinstance(job.rule, MsSchedule) else ""
        if row.schedule and ours and row.schedule != ours:
            self._live.out.append(e.ScheduleDiffers(job.name, self._live.now, row.schedule, ours))
        if not row.finished and row.lease is not None and row.lease <= 0:
            self._claims.note_abandoned(job, row.watermark, row.claim_id)
        asked, job.pause_asked = job.pause_asked, None
        if job.paused:
            job.probe = None if job.slot is None else job.due
        elif row.paused and asked is None:
            self._pause(job)
        if asked is not None and asked != row.paused:
            self._tell_pause(job)

    # --- serving its slots

    def _serve_at(self, job: Entry) -> int | None:
        """Return when the job is to be registered, or its first slot served; None: something else has to come first."""
        if job.registering:
            return job.retry_at
        if job.slot is None or job.claiming is not None or (job.is_catching_up and job.runs):
            return None
        if job.is_limited and job in self._places.line:
            return None  # without the mark it stands there for what waits, and its slots go on
        if job.paused:
            if job.probe is None or OVERLAP_TABLE[job.policy.overlap, job.occupancy] is not Verdict.RUN:
                return None  # beside a live run no slot is asked for that could not run anyway
            return max(job.probe, self._live.release, job.retry_at or 0)
        at, release = job.due, self._live.release
        if job.slot == job.skips and self._claims.shared:
            at = job.slot - SKIP_EARLY_MS  # before any other worker asks for it
        elif at < release:
            at = release
        return at if job.retry_at is None else max(at, job.retry_at)

    def _serve_due(self, job: Entry) -> None:
        """Give every due slot of *job* its outcome, its claim, or its place among those that wait."""
        now = self._live.now
        assert job.slot is not None  # seen by the caller
        if job.slot == job.skips:
            skipped, (following, at) = job.slot, self._after(job, job.slot)
            self._move_on(job, skipped, following, at)
            if self._claims.shared:
                period = HOUR_MS if following is None else following - skipped
                self._claims.open(job, Candidate(skipped, "schedule", period, None, skips=True))
                return
            self._live.settle(job, skipped, Skipped("skip_next"), "schedule")
            if following is None or at > now:
                job.is_limited = False
                return
        due = settle_due(job.schedule, job.policy, job.name, job.slot, now, job.added)
        job.is_catching_up = due.reason == "catch_up" and job.policy.catch_up is CatchUp.ALL
        if job.is_catching_up and job.runs:
            return  # all wait for its end, whatever overlap says, and are judged anew
        verdict = OVERLAP_TABLE[job.policy.overlap, job.occupancy]
        stands = due.runs and verdict is Verdict.RUN and not self._places.admit(job)
        due_again = due_at(job.schedule, job.policy, job.name, due.slot) if stands else 0
        # All that can fail is behind us: from here on the next slot is armed, whatever becomes of this one.
        missed = due.missed
        if missed is not None:
            # What has stood in line has passed for want of a place, and says so.
            passed = Skipped("limit", missed.first, missed.last, missed.count) if job.is_limited else missed
            self._live.settle(job, missed.last, passed, due.reason)
            job.used = missed.last
        job.is_limited = stands
        if stands:
            job.slot, job.due = due.slot, due_again
            self._places.stand_in_line(job)
            return
        self._move_on(job, due.slot, due.following, due.due)
        if due.runs:
            self._places.enter(job, verdict, Candidate(due.slot, due.reason, due.period, None))

    def _after(self, job: Entry, slot: int) -> tuple[int | None, int]:
        """Return the slot after *slot*, and when it is due."""
        following = job.schedule.next_ms(slot)
        return following, due_at(job.schedule, job.policy, job.name, following)

    def _move_on(self, job: Entry, last: int, following: int | None, due: int) -> None:
        job.slot, job.due, job.used = following, due, last
        if following is None:
            self._live.out.append(e.JobEnded(job.name, self._live.now, last, served=True))

    def _close(self, job: Entry, outcome: Callable[[int, int, int | None], Outcome] | None = None) -> None:
        """
        Settle all slots that are due as one range; those of a paused job as skipped, all others as *outcome* says.

        Without an *outcome* the job goes on afterwards, so where its schedule fails nothing is settled here and the
        slots are served when it works again. With one the job is at its end, and what is known has to do.
        """
        first, now = job.slot, self._live.now
        if first is None or first > now or self._live.stopping:
            return  # nothing is due; or the stop has closed what was, and later slots are not ours
        measured: list[tuple[int, int | None, int | None, int]] = []

        def measure(job: Entry) -> None:
            last = max(first, job.schedule.latest_ms(now) or first)
            measured.append((last, job.schedule.count(first, last), *self._after(job, last)))

        self._guarded(job, measure)
        if not measured and outcome is None:
            return
        last, count, following, at = measured[0] if measured else (first, None, None, 0)
        make = partial(Skipped, "paused") if job.paused or outcome is None else outcome
        self._live.settle(job, last, make(first, last, count), "schedule")
        if following is None and outcome is not None:
            job.slot, job.used = None, last  # removed or stopped, so that nobody needs to hear of its end
        else:
            self._move_on(job, last, following, at)

    # --- the end of a look

    def _end_drain(self) -> None:
        self._drain_at = None
        for job in dict.fromkeys(self._live.jobs):
            self._live.cancel(job, "shutdown")
            self._arm(job)

    def _arm(self, job: Entry) -> None:
        """See to it that *job* is looked at when it next needs it."""
        at: int | None = None
        if not (job.removed or self._live.stopping):
            is_ready = job.waiting is not None and self._places.is_ready(job)
            at = self._live.now if is_ready else self._serve_at(job)
            claim = job.claiming
            if claim is not None and claim.ask_at is not None and (at is None or claim.ask_at < at):
                at = claim.ask_at
        for run in job.runs:
            wakeup = run.wakeup()
            if wakeup is not None and (at is None or wakeup < at):
                at = wakeup
        if at is not None:
            self._agenda.put(job, at)
        elif job.armed is not None:
            self._agenda.drop(job)

    _HANDLERS: ClassVar[dict[type, Callable[[Timetable, Any], None]]] = {
        e.Added: _added,
        e.Registered: _registered,
        e.Removed: _removed,
        e.PauseAsked: _pause_asked,
        e.ResumeAsked: _resume_asked,
        e.SkipAsked: _skip_asked,
        e.Triggered: _triggered,
        e.Answered: _answered,
        e.Renewed: _renewed,
        e.LeaseAsked: _lease_asked,
        e.AttemptEnded: _attempt_ended,
        e.Stepped: _stepped,
        e.Stopping: _stop,
    }
