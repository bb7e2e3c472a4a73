"""
The runs that are alive, as the timetable sees them: each begun, cut, given up or ended, and then settled.

Asks no schedule but for a period, and knows neither claims nor who waits.
"""

from __future__ import annotations

from itertools import count
from typing import Final, final

from loopcron import _events as e
from loopcron._attempts import Lease, LiveRun
from loopcron._entries import Entry
from loopcron._ledger import Finish, Renew
from loopcron._outcomes import Failed, Interrupted, LeaseLost, Outcome, Reason, Succeeded, TimedOut
from loopcron._policies import EARLY_MS


@final
class LiveRuns:
    """
    All live runs, and what is to be done about them and about the slots that have their outcome.

    Args:
        now: The start, in ms from the epoch; moved on by the timetable.
        release: Until then nothing runs but what somebody asks for.
    """

    def __init__(self, now: int, release: int) -> None:
        self.now = now
        self.release = release
        self.out: list[e.Action] = []
        """What the next poll hands out."""
        self.stopping = False
        self._running: dict[int, tuple[Entry, LiveRun]] = {}
        self._stuck: dict[int, Entry] = {}
        self._renewing: dict[Renew, tuple[Entry, LiveRun]] = {}
        self.serial: Final = count(1).__next__
        """Returns a number that was not given out before."""

    def __len__(self) -> int:
        """Return how many runs are alive; those given up as stuck do not count."""
        return len(self._running)

    @property
    def jobs(self) -> tuple[Entry, ...]:
        """The jobs of all live runs; one with several runs comes several times."""
        return tuple(job for job, _ in self._running.values())

    def begin(
        self,
        job: Entry,
        slot: int,
        reason: Reason,
        fence: int,
        period: int,
        *,
        key: str | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Start the first attempt of a run."""
        now = self.now
        timeout = job.policy.timeout_ms(period)
        deadline = None if timeout is None else now + timeout
        if job.policy.retry is not None and job.slot is not None:
            # A slow ledger or a pause can have let the first unserved slot pass already.
            following = job.due if job.due > now else now + job.period(now)
            deadline = following if deadline is None else min(deadline, following)
        until = now + period if deadline is None else deadline
        run_id = self.serial()
        run = LiveRun(job.name, slot, run_id, reason, fence, key, now, deadline, until, lease)
        job.runs += (run,)
        self._running[run_id] = job, run
        self.out.append(run.start())

    def look(self, job: Entry) -> None:
        """Do what is due for the runs of *job*."""
        for run in job.runs:
            self._look(job, run)

    def look_at(self, run_id: int) -> Entry | None:
        """Do what is due for this run, and return its job; None: it is over."""
        if run_id not in self._running:
            return None
        job, run = self._running[run_id]
        self._look(job, run)
        return job

    def attempt_ended(self, fact: e.AttemptEnded) -> Entry:
        """Repeat the attempt or end its run, and return the job."""
        run_id, outcome, exception = fact
        if run_id in self._stuck:
            job = self._stuck.pop(run_id)
            job.stuck -= 1
            self.out.append(e.RunUnstuck(job.name, self.now, run_id))
            return job
        job, run = self._running[run_id]
        if isinstance(outcome, Succeeded):  # which stands, whatever we asked for
            self._end(job, run, outcome)
            return job
        outcome = run.verdict(outcome, self.now, stopping=self.stopping)
        if run.cancelled_by is None and not self.stopping:
            early = self.now < self.release + EARLY_MS
            delay = run.retry_delay(outcome, job.policy.retry, self.now, early=early)
            if delay is not None:
                run.retry_at, run.failure = self.now + delay, outcome
                self.out.append(e.AttemptFailed(job.name, run.slot, run.attempt, outcome, delay, run.key))
                return job
        self._end(job, run, outcome, exception)
        return job

    def cancel(self, job: Entry, by: e.CancelledBy) -> None:
        """Cut all runs of *job*."""
        for run in job.runs:
            self._cancel(job, run, by)

    def end_waiting(self) -> None:
        """End all runs that are between two attempts: there will be no other one."""
        for job, run in tuple(self._running.values()):
            if run.retry_at is not None:
                self._cancel(job, run, "shutdown")

    def settle(
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
        worker: str = "",
    ) -> None:
        """Tell what became of the slot, of the range that ends with it, or of a manual run."""
        if isinstance(outcome, Succeeded):
            job.failures = 0
        elif isinstance(outcome, (Failed, TimedOut, LeaseLost)):
            job.failures += 1
        attempt, started = (0, None) if run is None else (run.attempt, run.started)
        now, failures = self.now, job.failures
        fields = (job.name, slot, outcome, reason, attempt, started, now, failures, fence, key, exception, worker)
        self.out.append(e.record(e.Settled, fields))

    def renewed(self, renewal: Renew, answer: bool | None) -> Entry:
        """Take note of what the ledger said to a renewal, None: it could not be asked; and return the job."""
        job, run = self._renewing.pop(renewal)
        lease = run.lease
        if lease is not None and run.run_id in self._running:  # else it is over
            if answer is None:
                lease.retry(self.now)
            elif answer:
                lease.renewed()
            else:
                self._lose(job, run)
        return job

    def _keep_lease(self, job: Entry, run: LiveRun, lease: Lease) -> None:
        if self.now >= lease.trusted:
            self._lose(job, run)
        elif lease.asked is None and self.now >= lease.renew_at:
            lease.asked = self.now
            renewal = Renew(run.job, run.slot, run.fence, lease.length)
            self._renewing[renewal] = job, run
            self.out.append(renewal)

    def _lose(self, job: Entry, run: LiveRun) -> None:
        """Cut the run, unless that is under way already."""
        run.lease = None
        self._cancel(job, run, "lease")

    def _look(self, job: Entry, run: LiveRun) -> None:
        at = run.wakeup()
        if at is None or at > self.now:
            return
        if run.lease is not None:
            self._keep_lease(job, run, run.lease)
            step = run.next_step()
            if run.run_id not in self._running or step is None or step > self.now:
                return
        if run.cancelled_by is not None:
            self._give_up(job, run)
        elif run.failure is not None:  # between two attempts
            if self.now >= run.retry_until:  # looked at too late, as after a suspend: no time is left for another one
                self._end(job, run, run.failure)
            else:
                run.retry_at = run.failure = None
                run.attempt += 1
                self.out.append(run.start())
        else:
            self._cancel(job, run, "timeout")

    def _cancel(self, job: Entry, run: LiveRun, by: e.CancelledBy) -> None:
        if run.retry_at is not None and by != "timeout":  # between two attempts there is nothing to cut
            self._end(job, run, LeaseLost() if by == "lease" else Interrupted(by))
        elif run.cancelled_by is None:
            run.cancelled_by = by
            run.cancelled_at = self.now
            self.out.append(e.Cancel(job.name, run.slot, run.run_id, by))

    def _give_up(self, job: Entry, run: LiveRun) -> None:
        self._end(job, run, run.verdict(None, self.now, stopping=self.stopping))
        job.stuck += 1
        self._stuck[run.run_id] = job
        self.out.append(e.RunStuck(job.name, run.slot, run.run_id))
        self.out.append(e.Abandon(job.name, run.slot, run.run_id))

    def _end(self, job: Entry, run: LiveRun, outcome: Outcome, exception: BaseException | None = None) -> None:
        if len(job.runs) == 1:
            job.runs = ()
            job.is_catching_up = False  # until its slots are judged anew
        else:
            job.runs = tuple(other for other in job.runs if other is not run)
        del self._running[run.run_id]
        self.settle(job, run.slot, outcome, run.reason, run=run, exception=exception, fence=run.fence, key=run.key)
        if run.fence and run.key is None:  # without a fence it ran without the ledger
            self.out.append(e.record(Finish, (job.name, run.slot, run.fence, outcome)))
