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
from loopcron._due import due_at, settle_due
from loopcron._entries import Candidate, Entry, JobFacts
from loopcron._instants import SECOND_MS
from loopcron._live import LiveRuns
from loopcron._outcomes import Interrupted, Missed, Outcome, Skipped, Taken, error_text
from loopcron._places import Places
from loopcron._policies import doubled_ms
from loopcron._schedules import in_ms
from loopcron._tables import OVERLAP_TABLE, CatchUp, Overlap, Verdict

CHUNK: Final = 500
"""How many jobs one poll looks at: 100,000 jobs due on one instant must not block the loop in one go."""
PARKED_BACKOFF: Final = (SECOND_MS, 300 * SECOND_MS)
"""First and longest wait, in ms, before a parked job is asked again."""

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
    """

    def __init__(self, now: int, *, startup_delay: int = 0, max_running: int | None = None, worker: str = "") -> None:
        self._live = LiveRuns(now, now + startup_delay)
        self._places = Places(self._live, max_running, worker)
        self._jobs: dict[str, Entry] = {}
        self._agenda: Agenda[Entry] = Agenda()
        self._drain_at: int | None = None

    def handle(self, fact: e.Fact, now: int) -> None:
        """
        Take note of *fact*; what follows from it comes out of the next `poll`.

        Raises:
            ValueError: *now* is earlier than before, and the fact is no `Stepped`: a bug in the caller.
        """
        if now < self._live.now and type(fact) is not e.Stepped:
            raise self._gone_back(now)
        self._live.now = now
        self._HANDLERS[type(fact)](self, fact)

    def poll(self, now: int) -> tuple[e.Action, ...]:
        """
        Return what is to be done at *now*, and take it as done.

        A slot equal to *now* is due.

        Returns:
            Actions ordered by slot, then by job name; `More` stands last if the caller should let other tasks run
            and poll again at once.

        Raises:
            ValueError: *now* is earlier than before: a bug in the caller.
        """
        if now < self._live.now:
            raise self._gone_back(now)
        self._live.now = now
        if self._drain_at is not None and now >= self._drain_at:
            self._end_drain()
        first = self._agenda.first()
        if (first is not None and first <= now) or self._places.line:
            self._look_at_due(now)
            first = self._agenda.first()
        actions = self._live.out
        if len(actions) > 1:
            actions.sort(key=_in_order)
        if first is not None and first <= now:
            actions.append(e.More("", now))
        if not actions:
            return ()
        self._live.out = []
        return tuple(actions)

    def next_wakeup(self) -> int | None:
        """Return when `poll` is to be called next, at the latest; None: not before another fact."""
        if self._live.out or (self._places.line and self._places.are_free):
            return self._live.now
        first = self._agenda.first()
        if self._drain_at is None:
            return first
        return self._drain_at if first is None else min(first, self._drain_at)

    @property
    def is_over(self) -> bool:
        """Whether no run is alive and no action waits; claims may still be open."""
        return not (self._live or self._live.out)

    def facts(self, name: str) -> JobFacts | None:
        """Return what is known of the job; None if it is not in the timetable."""
        entry = self._jobs.get(name)
        return None if entry is None else entry.facts()

    # --- facts

    def _added(self, fact: e.Added) -> None:
        schedule = in_ms(fact.schedule).bound(fact.job, self._live.now)
        job = Entry(fact.job, fact.schedule, schedule, fact.policy, self._live.now, fact.paused)
        self._jobs[job.name] = job
        self._guarded(job, self._register)
        self._arm(job)

    def _registered(self, fact: e.Registered) -> None:
        for position, name in enumerate(fact.jobs):
            watermark = None if fact.watermarks is None else fact.watermarks[position]
            job = self._jobs.get(name)
            if job is None or not job.registering or self._live.stopping:
                continue  # removed meanwhile, or added anew and answered already; or too late to have slots
            if job.asked_before:
                self._register_again(job)
            elif watermark is None:
                job.faults += 1
                job.retry_at = self._live.now + doubled_ms(PARKED_BACKOFF[0], job.faults, PARKED_BACKOFF[1])
            else:
                self._guarded(job, partial(self._open, watermark=watermark))
            self._arm(job)

    def _removed(self, fact: e.Removed) -> None:
        job = self._jobs[fact.job]
        self._look(job)  # what is due at this instant was due before the removal
        del self._jobs[fact.job]
        self._places.leave_line(job)
        self._places.end_waiting(job, Skipped("removed"))
        self._close(job, partial(Skipped, "removed"))
        job.removed = True
        self._live.cancel(job, "remove")
        self._arm(job)

    def _paused(self, fact: e.Paused) -> None:
        job = self._jobs[fact.job]
        if not job.paused:
            self._look(job)
            self._places.leave_line(job)
            if job.waiting is not None and job.waiting.key is None:  # a manual run goes on waiting
                self._places.end_waiting(job, Skipped("paused"))
            job.paused = True
            self._live.out.append(e.JobPaused(job.name, self._live.now))

    def _resumed(self, fact: e.Resumed) -> None:
        job = self._jobs[fact.job]
        if job.paused:
            self._close(job)
            job.paused = False
            self._live.out.append(e.JobResumed(job.name, self._live.now))
            self._arm(job)

    def _skip_asked(self, fact: e.SkipAsked) -> None:
        job = self._jobs[fact.job]
        if job.skippable is not None:
            job.skips = job.skippable

    def _triggered(self, fact: e.Triggered) -> None:
        job = self._jobs[fact.job]
        run = Candidate(self._live.now, "manual", job.period(job.slot), fact.key)
        # Not subject to the limit: somebody who asks for a run wants it now.
        self._places.enter(job, OVERLAP_TABLE[job.policy.overlap, job.occupancy], run)
        self._arm(job)

    def _answered(self, fact: e.Answered) -> None:
        for position, claim in enumerate(fact.claims):
            answer = None if fact.answers is None else fact.answers[position]
            job = self._places.claiming.pop(claim.claim_id)
            claiming = job.claiming
            assert claiming is not None  # set together with the entry popped above
            job.claiming = None
            if isinstance(answer, e.Won):
                self._won(job, claiming, answer.fence)
            else:
                outcome = Skipped("ledger") if answer is None else Taken()
                self._live.settle(job, claim.slot, outcome, claiming.reason)
                if answer is not None:
                    job.watermark = answer.watermark
            if job.corrected is not None and not (job.removed or self._live.stopping):
                self._register_again(job)
            self._arm(job)

    def _won(self, job: Entry, claiming: Candidate, fence: int) -> None:
        job.watermark = None
        # Asked while the claim was under way: the slot is ours, so its outcome is, and the ledger is told.
        outcome: Outcome
        if job.removed:
            outcome = Skipped("removed")
        elif self._live.stopping:
            outcome = Interrupted("shutdown")
        elif job.waiting is not None and job.policy.overlap is Overlap.REPLACE:
            outcome = Interrupted("replace")
        else:
            self._live.begin(job, claiming.slot, claiming.reason, fence, claiming.period)
            return
        self._live.settle(job, claiming.slot, outcome, claiming.reason, fence=fence)
        self._live.out.append(e.Finish(job.name, claiming.slot, fence, outcome))

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
            for run in (job.runs or {}).values():
                run.shift(fact.by_ms)
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
            self._close(job, closing)
        self._live.stopping = True
        self._live.end_waiting()

    # --- looking at one job

    def _gone_back(self, now: int) -> ValueError:
        return ValueError(f"now went back from {self._live.now} to {now} without a Stepped")

    def _look_at_due(self, now: int) -> None:
        jobs = self._agenda.take(now, CHUNK)
        if self._places.limit is not None:
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
            if job.waiting is not None:
                self._places.start_waiting(job)
            # Guarded only where the schedule is asked: what asks nothing is no proof that a parked job works again.
            at = self._serve_at(job)
            if at is not None and at <= self._live.now:
                self._guarded(job, self._register if job.registering else self._serve_due)
        self._arm(job)

    def _guarded(self, job: Entry, step: Callable[[Entry], None]) -> None:
        """Do a step that asks the job's schedule; what that raises parks this job and hurts no other."""
        now, out = self._live.now, self._live.out
        try:
            step(job)
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
        self._live.out.append(e.Register(job.name, self._live.now, watermark, corrected=job.corrected is not None))

    def _open(self, job: Entry, watermark: int) -> None:
        begun = job.used is not None
        # From what the ledger says a job only begins. After a correction its row may be one that cannot be lowered:
        # then each slot is asked for, and lost, until time passes the row or somebody mends it.
        begin = job.corrected if begun and job.corrected is not None else watermark
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

    # --- serving its slots

    def _serve_at(self, job: Entry) -> int | None:
        """Return when the job is to be registered, or its first slot served; None: something else has to come first."""
        if job.registering:
            return job.retry_at
        if job.slot is None or job.paused or job.claiming is not None or (job.is_catching_up and job.runs):
            return None
        if job.is_limited and job in self._places.line:
            return None  # without the mark it stands there for what waits, and its slots go on
        at = max(job.due, self._live.release)
        return at if job.retry_at is None else max(at, job.retry_at)

    def _serve_due(self, job: Entry) -> None:
        """Give every due slot of *job* its outcome, its claim, or its place among those that wait."""
        now = self._live.now
        assert job.slot is not None  # seen by the caller
        if job.slot == job.skips:
            skipped, (following, at) = job.slot, self._after(job, job.slot)
            self._live.settle(job, skipped, Skipped("skip_next"), "schedule")
            self._move_on(job, skipped, following, at)
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
        if job.runs:
            for run in job.runs.values():
                wakeup = run.wakeup()
                if wakeup is not None and (at is None or wakeup < at):
                    at = wakeup
        if at is None:
            self._agenda.drop(job)
        else:
            self._agenda.put(job, at)

    _HANDLERS: ClassVar[dict[type, Callable[[Timetable, Any], None]]] = {
        e.Added: _added,
        e.Registered: _registered,
        e.Removed: _removed,
        e.Paused: _paused,
        e.Resumed: _resumed,
        e.SkipAsked: _skip_asked,
        e.Triggered: _triggered,
        e.Answered: _answered,
        e.AttemptEnded: _attempt_ended,
        e.Stepped: _stepped,
        e.Stopping: _stop,
    }
