"""
The timetable: a pure, synchronous, deterministic planner.

It is told facts and the time, and answers with actions. It never awaits, logs, draws a random number or asks for
now: all of that is the scheduler's. Choices of policy are looked up in the tables of ``_policies``; what concerns
one run alone is in ``_attempts``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, ClassVar, Final, final

from loopcron import _events as e
from loopcron._agenda import Agenda
from loopcron._attempts import LiveRun
from loopcron._due import settle_due
from loopcron._entries import Claiming, Entry, JobFacts
from loopcron._instants import SECOND_MS
from loopcron._outcomes import (
    Failed,
    Interrupted,
    Missed,
    Outcome,
    Reason,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    error_text,
)
from loopcron._policies import EARLY_MS, OVERLAP_TABLE, Verdict, doubled_ms
from loopcron._schedules import in_ms

CHUNK: Final = 500
"""How many jobs one poll looks at: 100,000 jobs due on one instant must not block the loop in one go."""
PARKED_BACKOFF: Final = (SECOND_MS, 300 * SECOND_MS)
"""First and longest wait, in ms, before a parked job is asked again."""

_in_order = attrgetter("slot", "job")


@final
class Timetable:
    """
    Plans the runs of jobs.

    Laws, each one pinned by a property in ``tests/property``:

    1. The same facts and polls give the same actions.
    2. Polling again at the same now gives nothing, unless a fact came between or the answer ended with `More`.
    3. After a poll without `More` the next wake-up is later than now.
    4. Every slot after registration, up to removal or stop, is covered by exactly one outcome; ranges count.
    5. Every run that is started is answered by exactly one outcome.
    6. The actions of a poll are ordered by slot, then by job name.
    7. One poll at the end covers the same slots as many on the way.
    8. Time does not go back, except by a `Stepped`.

    Args:
        now: The start, in ms from the epoch.
        startup_delay: For how many ms nothing is claimed.
        worker: The prefix of claim ids; unique per start of a scheduler.
    """

    def __init__(self, now: int, *, startup_delay: int = 0, worker: str = "") -> None:
        self._now = now
        self._release = now + startup_delay
        self._worker = worker
        self._jobs: dict[str, Entry] = {}
        self._claiming: dict[str, Entry] = {}
        self._running: dict[int, Entry] = {}
        self._stuck: dict[int, Entry] = {}
        self._agenda: Agenda[Entry] = Agenda()
        self._serial = 0
        self._out: list[e.Action] = []
        self._stopping = False
        self._drain_at: int | None = None

    def handle(self, fact: e.Fact, now: int) -> None:
        """
        Take note of *fact*; what follows from it comes out of the next `poll`.

        Raises:
            ValueError: *now* is earlier than before, and the fact is no `Stepped`: a bug in the caller.
        """
        if type(fact) is e.Stepped:
            self._now = now
        self._advance(now)
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
        self._advance(now)
        if self._drain_at is not None and now >= self._drain_at:
            self._end_drain()
        for job in self._agenda.take(now, CHUNK):
            self._look(job)
        actions = self._out
        if len(actions) > 1:
            actions.sort(key=_in_order)
        first = self._agenda.first
        if first is not None and first <= now:
            actions.append(e.More("", now))
        if not actions:
            return ()
        self._out = []
        return tuple(actions)

    def next_wakeup(self) -> int | None:
        """Return when `poll` is to be called next, at the latest; None: not before another fact."""
        if self._out:
            return self._now
        first = self._agenda.first
        if self._drain_at is None:
            return first
        return self._drain_at if first is None else min(first, self._drain_at)

    @property
    def is_over(self) -> bool:
        """Whether no run is alive and no action waits; claims may still be open."""
        return not (self._running or self._out)

    def facts(self, name: str) -> JobFacts | None:
        """Return what is known of the job; None if it is not in the timetable."""
        entry = self._jobs.get(name)
        return None if entry is None else entry.facts()

    # --- facts

    def _added(self, fact: e.Added) -> None:
        schedule = in_ms(fact.schedule).bound(fact.job, self._now)
        job = Entry(fact.job, schedule, fact.policy, self._now, fact.paused)
        self._jobs[job.name] = job
        self._guarded(job, self._register)
        self._arm(job)

    def _registered(self, fact: e.Registered) -> None:
        for position, name in enumerate(fact.jobs):
            watermark = None if fact.watermarks is None else fact.watermarks[position]
            job = self._jobs.get(name)
            if job is None or not job.registering or self._stopping:
                continue  # removed meanwhile, or added anew and answered already; or too late to have slots
            if watermark is None:
                job.faults += 1
                job.retry_at = self._now + doubled_ms(PARKED_BACKOFF[0], job.faults, PARKED_BACKOFF[1])
            else:
                self._guarded(job, partial(self._open, watermark=watermark))
            self._arm(job)

    def _removed(self, fact: e.Removed) -> None:
        job = self._jobs[fact.job]
        self._look(job)  # what is due at this instant was due before the removal
        del self._jobs[fact.job]
        self._close(job, partial(Skipped, "removed"))
        job.removed = True
        self._agenda.drop(job)
        for run in list((job.runs or {}).values()):
            self._cancel(job, run, "remove")
        self._arm(job)

    def _paused(self, fact: e.Paused) -> None:
        job = self._jobs[fact.job]
        if not job.paused:
            self._look(job)
            job.paused = True
            self._out.append(e.JobPaused(job.name, self._now))

    def _resumed(self, fact: e.Resumed) -> None:
        job = self._jobs[fact.job]
        if job.paused:
            self._close(job)
            job.paused = False
            self._out.append(e.JobResumed(job.name, self._now))
            self._arm(job)

    def _triggered(self, fact: e.Triggered) -> None:
        job = self._jobs[fact.job]
        if OVERLAP_TABLE[job.policy.overlap, bool(job.runs or job.claiming)] is Verdict.SKIP:
            self._settle(job, self._now, Skipped("overlap"), "manual", key=fact.key)
        else:
            self._begin(job, self._now, "manual", 0, job.period(job.slot), key=fact.key)
            self._arm(job)

    def _answered(self, fact: e.Answered) -> None:
        for position, claim in enumerate(fact.claims):
            answer = None if fact.answers is None else fact.answers[position]
            job = self._claiming.pop(claim.claim_id)
            claiming = job.claiming
            assert claiming is not None  # set together with the entry popped above
            job.claiming = None
            if isinstance(answer, e.Won):
                self._won(job, claiming, answer.fence)
            else:
                outcome = Skipped("ledger") if answer is None else Taken()
                self._settle(job, claim.slot, outcome, claiming.reason)
            self._arm(job)

    def _won(self, job: Entry, claiming: Claiming, fence: int) -> None:
        # Asked while the claim was under way: the slot is ours, so its outcome is, and the ledger is told.
        if job.removed or self._stopping:
            outcome = Skipped("removed") if job.removed else Interrupted("shutdown")
            self._settle(job, claiming.slot, outcome, claiming.reason, fence=fence)
            self._out.append(e.Finish(job.name, claiming.slot, fence, outcome))
        else:
            self._begin(job, claiming.slot, claiming.reason, fence, claiming.period)

    def _attempt_ended(self, fact: e.AttemptEnded) -> None:
        job = self._running.get(fact.run_id)
        if job is None:
            job = self._stuck.pop(fact.run_id)
            job.stuck -= 1
            self._out.append(e.RunUnstuck(job.name, self._now, fact.run_id))
            return
        assert job.runs is not None  # a running job has runs
        run = job.runs[fact.run_id]
        outcome = run.verdict(fact.outcome, self._now, stopping=self._stopping)
        if run.cancelled_by is None and not self._stopping:
            early = self._now < self._release + EARLY_MS
            delay = run.retry_delay(outcome, job.policy.retry, self._now, early=early)
            if delay is not None:
                run.retry_at, run.failure = self._now + delay, outcome
                self._out.append(e.AttemptFailed(job.name, run.slot, run.attempt, outcome, delay))
                self._arm(job)
                return
        self._end(job, run, outcome, fact.exception)
        self._arm(job)

    def _stepped(self, fact: e.Stepped) -> None:
        # Slots are instants of the wall clock and stay; what was measured from a start moves with the clock.
        self._release += fact.by_ms
        if self._drain_at is not None:
            self._drain_at += fact.by_ms
        # A dict, not a set: the order of a set of jobs differs from process to process, and claim ids follow from it.
        for job in dict.fromkeys((*self._jobs.values(), *self._running.values())):
            if job.retry_at is not None:
                job.retry_at += fact.by_ms
            for run in (job.runs or {}).values():
                run.shift(fact.by_ms)
            self._arm(job)
        self._out.append(e.ClockStepped("", self._now, fact.by_ms))

    def _stop(self, fact: e.Stopping) -> None:
        drain_at = self._now + fact.drain_ms
        if self._stopping:  # asked again: the drain may become shorter, never longer
            self._drain_at = None if self._drain_at is None else min(self._drain_at, drain_at)
            return
        self._drain_at = drain_at
        for job in self._jobs.values():
            self._close(job, Missed)
        self._stopping = True
        for run_id, job in list(self._running.items()):
            assert job.runs is not None
            run = job.runs[run_id]
            if run.retry_at is not None:
                self._cancel(job, run, "shutdown")

    # --- looking at one job

    def _advance(self, now: int) -> None:
        if now < self._now:
            raise ValueError(f"now went back from {self._now} to {now} without a Stepped")
        self._now = now

    def _look(self, job: Entry) -> None:
        """Do what is due for *job* and arm it for what comes next."""
        if job.runs:
            for run in list(job.runs.values()):
                self._look_at_run(job, run)
        if not (job.removed or self._stopping) and (job.retry_at is None or job.retry_at <= self._now):
            self._serve(job)
        self._arm(job)

    def _look_at_run(self, job: Entry, run: LiveRun) -> None:
        at = run.wakeup()
        if at is None or at > self._now:
            return
        if run.cancelled_by is not None:
            self._give_up(job, run)
        elif run.failure is not None:  # between two attempts
            if self._now >= run.retry_until:  # looked at too late, as after a suspend: no time is left for another one
                self._end(job, run, run.failure)
            else:
                run.retry_at = run.failure = None
                run.attempt += 1
                self._start(run)
        else:
            self._cancel(job, run, "timeout")

    def _guarded(self, job: Entry, step: Callable[[Entry], None]) -> None:
        """Do a step that asks the job's schedule; what that raises parks this job and hurts no other."""
        try:
            step(job)
        except BaseException as error:  # noqa: BLE001 - a fence of design section 6: schedule and planner calls
            job.faults += 1
            wait = doubled_ms(PARKED_BACKOFF[0], job.faults, PARKED_BACKOFF[1])
            job.retry_at = self._now + wait
            job.parked = error_text(error)
            self._out.append(e.JobParked(job.name, self._now, job.parked, wait, error))
        else:
            if job.parked is not None and not job.registering:
                self._out.append(e.JobUnparked(job.name, self._now))
                job.parked = None
                job.faults = 0
                job.retry_at = None

    def _serve(self, job: Entry) -> None:
        # Guarded only where the schedule is asked: what asks nothing is no proof that a parked job works again.
        if job.registering:
            if job.retry_at is not None:
                self._guarded(job, self._register)
        elif (
            job.slot is not None
            and job.slot <= self._now
            and self._now >= self._release
            and not (job.paused or job.claiming)
        ):
            self._guarded(job, self._serve_due)

    def _register(self, job: Entry) -> None:
        watermark: int | None = None
        if job.policy.run_on_start:
            newest = job.schedule.latest_ms(job.added)
            watermark = None if newest is None else newest - 1
        if watermark is None and job.schedule.is_from_start:
            watermark = job.added - 1  # its first slot may be the start itself
        job.retry_at = None
        self._out.append(e.Register(job.name, self._now, watermark))

    def _open(self, job: Entry, watermark: int) -> None:
        slot = job.schedule.next_ms(watermark)
        last = job.schedule.latest_ms(watermark) if slot is None else None
        # All that can fail is behind us.
        job.slot = slot
        job.registering = False
        job.faults = 0
        job.retry_at = None  # an answer to an earlier registration under this name may have failed meanwhile
        if slot is None:
            self._out.append(e.JobEnded(job.name, self._now, last, served=False))

    def _serve_due(self, job: Entry) -> None:
        """Give every due slot of *job* its outcome or its claim."""
        assert job.slot is not None  # seen by the caller
        due = settle_due(job.schedule, job.policy, job.slot, self._now, job.added)
        # All that can fail is behind us: from here on the next slot is armed, whatever becomes of this one.
        job.slot = due.following
        if due.missed is not None:
            self._settle(job, due.missed.last, due.missed, due.reason)
        if due.runs and OVERLAP_TABLE[job.policy.overlap, bool(job.runs)] is Verdict.SKIP:
            self._settle(job, due.newest, Skipped("overlap"), due.reason)
        elif due.runs:
            self._serial += 1
            claim = e.Claim(job.name, due.newest, f"{self._worker}-{self._serial}")
            job.claiming = Claiming(claim.claim_id, due.newest, due.reason, due.period)
            self._claiming[claim.claim_id] = job
            self._out.append(claim)
        if due.following is None:
            self._out.append(e.JobEnded(job.name, self._now, due.newest, served=True))

    def _close(self, job: Entry, outcome: Callable[[int, int, int | None], Outcome] | None = None) -> None:
        """
        Settle all slots that are due as one range; those of a paused job as skipped, all others as *outcome* says.

        Without an *outcome* the job goes on afterwards, so where its schedule fails nothing is settled here and the
        slots are served when it works again. With one the job is at its end, and what is known has to do.
        """
        first = job.slot
        if first is None or first > self._now or self._stopping:
            return  # nothing is due; or the stop has closed what was, and later slots are not ours
        measured: list[tuple[int, int | None, int | None]] = []

        def measure(job: Entry) -> None:
            last = max(first, job.schedule.latest_ms(self._now) or first)
            measured.append((last, job.schedule.count(first, last), job.schedule.next_ms(last)))

        self._guarded(job, measure)
        if not measured and outcome is None:
            return
        last, count, job.slot = measured[0] if measured else (first, None, None)
        make = partial(Skipped, "paused") if job.paused or outcome is None else outcome
        self._settle(job, last, make(first, last, count), "schedule")
        if outcome is None and job.slot is None:
            self._out.append(e.JobEnded(job.name, self._now, last, served=True))

    # --- runs

    def _begin(self, job: Entry, slot: int, reason: Reason, fence: int, period: int, *, key: str | None = None) -> None:
        now = self._now
        timeout = job.policy.timeout_ms(period)
        deadline = None if timeout is None else now + timeout
        if job.policy.retry is not None and job.slot is not None:
            # A slow ledger or a pause can have let the first unserved slot pass already.
            following = job.slot if job.slot > now else now + job.period(now)
            deadline = following if deadline is None else min(deadline, following)
        self._serial += 1
        until = now + period if deadline is None else deadline
        run = LiveRun(job.name, slot, self._serial, reason, fence, key, now, deadline, until)
        if job.runs is None:
            job.runs = {}
        job.runs[run.run_id] = run
        self._running[run.run_id] = job
        self._start(run)

    def _start(self, run: LiveRun) -> None:
        self._out.append(e.RunStarted(run.job, run.slot, run.attempt, run.reason))
        self._out.append(run.start())

    def _cancel(self, job: Entry, run: LiveRun, by: e.CancelledBy) -> None:
        if run.retry_at is not None and by != "timeout":  # between two attempts there is nothing to cut
            self._end(job, run, Interrupted(by))
        elif run.cancelled_by is None:
            run.cancelled_by = by
            run.cancelled_at = self._now
            self._out.append(e.Cancel(job.name, run.slot, run.run_id, by))

    def _give_up(self, job: Entry, run: LiveRun) -> None:
        self._end(job, run, run.verdict(None, self._now, stopping=self._stopping))
        job.stuck += 1
        self._stuck[run.run_id] = job
        self._out.append(e.RunStuck(job.name, run.slot, run.run_id))
        self._out.append(e.Abandon(job.name, run.slot, run.run_id))

    def _end(self, job: Entry, run: LiveRun, outcome: Outcome, exception: BaseException | None = None) -> None:
        assert job.runs is not None
        del job.runs[run.run_id]
        del self._running[run.run_id]
        self._settle(job, run.slot, outcome, run.reason, run=run, exception=exception, fence=run.fence, key=run.key)
        if run.key is None:
            self._out.append(e.Finish(job.name, run.slot, run.fence, outcome))

    def _settle(
        self,
        job: Entry,
        slot: int,
        outcome: Outcome,
        reason: Reason,
        *,
        run: LiveRun | None = None,
        exception: BaseException | None = None,
        fence: int = 0,
        key: str | None = None,
    ) -> None:
        if isinstance(outcome, Succeeded):
            job.failures = 0
        elif isinstance(outcome, (Failed, TimedOut)):
            job.failures += 1
        attempt, started = (0, None) if run is None else (run.attempt, run.started)
        self._out.append(
            e.Settled(job.name, slot, outcome, reason, attempt, started, self._now, job.failures, fence, key, exception)
        )

    def _end_drain(self) -> None:
        self._drain_at = None
        for run_id, job in list(self._running.items()):
            assert job.runs is not None
            self._cancel(job, job.runs[run_id], "shutdown")
            self._arm(job)

    def _arm(self, job: Entry) -> None:
        """See to it that *job* is looked at when it next needs it."""
        at: int | None = None
        if not (job.removed or self._stopping or job.claiming is not None):
            if job.registering:
                at = job.retry_at
            elif job.slot is not None and not job.paused:
                at = max(job.slot, self._release)
                if job.retry_at is not None:
                    at = max(at, job.retry_at)
        if job.runs:
            for run in job.runs.values():
                wakeup = run.wakeup()
                if wakeup is not None and (at is None or wakeup < at):
                    at = wakeup
        if at is not None:
            self._agenda.put(job, at)

    _HANDLERS: ClassVar[dict[type, Callable[[Timetable, Any], None]]] = {
        e.Added: _added,
        e.Registered: _registered,
        e.Removed: _removed,
        e.Paused: _paused,
        e.Resumed: _resumed,
        e.Triggered: _triggered,
        e.Answered: _answered,
        e.AttemptEnded: _attempt_ended,
        e.Stepped: _stepped,
        e.Stopping: _stop,
    }
