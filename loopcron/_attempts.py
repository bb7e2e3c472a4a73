"""
One live run as the timetable sees it: its attempts, its one deadline, and whether a failed attempt is repeated.

Knows no schedule, no other run and no ledger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

from loopcron._events import CancelledBy, RunStarted, record
from loopcron._outcomes import Failed, Interrupted, LeaseLost, Outcome, Reason, Skipped, TimedOut
from loopcron._policies import REFUSED_BACKOFF, RETRY_AFTER_LIMIT, Retry, doubled_ms, trusted_ms

STUCK_MS: Final = 2_000
"""How long a run may take to end once it is cancelled; then it is stuck and no longer waited for."""


@final
@dataclass(slots=True)
class Lease:
    """What keeps other workers from running the job, as far as this one may rely on it. Instants are in ms."""

    length: Final[int]
    begun: int
    """When it was asked for, with success: it cannot have begun earlier."""
    asked: int | None = None
    """Since when the ledger owes an answer to its renewal; None: it does not."""
    retry_at: int | None = None
    """When the ledger is asked again, after it could not be asked."""

    def renewed(self) -> None:
        """Take note that it was renewed."""
        assert self.asked is not None  # what is answered was asked
        self.begun, self.asked, self.retry_at = self.asked, None, None

    def retry(self, now: int) -> None:
        """Take note that the ledger could not be asked."""
        self.asked, self.retry_at = None, now + self.length // 12

    @property
    def renew_at(self) -> int:
        """When it is to be renewed, or asked for again."""
        return self.begun + self.length // 3 if self.retry_at is None else self.retry_at

    @property
    def trusted(self) -> int:
        """Until when it is relied on: a margin before its end, for clocks that differ and for a request on its way."""
        return self.begun + trusted_ms(self.length)

    def wakeup(self) -> int:
        """Return when it needs a look."""
        return self.trusted if self.asked is not None else min(self.renew_at, self.trusted)

    def shift(self, by: int) -> None:
        """
        Move with the wall clock where that goes back, and never forward.

        Forward it may have been a suspend, which the monotonic clock does not count and the store does.
        """
        back = min(by, 0)
        self.begun += back
        if self.asked is not None:
            self.asked += back
        if self.retry_at is not None:
            self.retry_at += back


@final
@dataclass(slots=True, eq=False)
class LiveRun:
    """A run between its start and its outcome. All instants are in ms."""

    job: Final[str]
    slot: Final[int]
    run_id: Final[int]
    reason: Final[Reason]
    fence: Final[int]
    key: Final[str | None]
    started: int
    deadline: int | None
    retry_until: int
    lease: Lease | None = None
    """None: there is none, or none that is relied on any more."""
    attempt: int = 1
    retry_at: int | None = None
    failure: Outcome | None = None
    """How the last attempt ended, while the run waits for the next one."""
    cancelled_by: CancelledBy | None = None
    cancelled_at: int = 0
    # What each rule for repeating has used up: Retry, never started, Retry-After.
    tries: int = 1
    refused: int = 0
    obeyed: int = 0

    def start(self) -> RunStarted:
        """Return the action that starts the present attempt."""
        fields = (self.job, self.slot, self.attempt, self.reason, self.key, self.run_id, self.fence, self.deadline)
        return record(RunStarted, fields)

    def wakeup(self) -> int | None:
        """Return when this run needs a look; None if only its end matters."""
        at = self.next_step()
        if self.lease is None:
            return at
        wakeup = self.lease.wakeup()
        return wakeup if at is None else min(at, wakeup)

    def next_step(self) -> int | None:
        """Return when something but its lease needs a look."""
        if self.cancelled_by is not None:
            return self.cancelled_at + STUCK_MS
        return self.deadline if self.retry_at is None else self.retry_at

    @property
    def ends_by(self) -> int:
        """When it has an outcome at the latest; 0 where it may go on for ever."""
        end = self.deadline if self.cancelled_by is None else self.cancelled_at
        return 0 if end is None else end + STUCK_MS

    def shift(self, by: int) -> None:
        """Move all instants by a step of the wall clock, so that the run has as long left as before."""
        self.started += by
        self.cancelled_at += by
        self.retry_until += by
        if self.deadline is not None:
            self.deadline += by
        if self.retry_at is not None:
            self.retry_at += by
        if self.lease is not None:
            self.lease.shift(by)

    def retry_delay(self, outcome: Outcome, retry: Retry | None, now: int, *, early: bool) -> int | None:
        """
        Return in how many ms the attempt that ended so is repeated; None if *outcome* is the run's.

        Early on, having no address is repeated like being refused: most servers listen only once start-up is over.
        """
        waiting = early and isinstance(outcome, Skipped) and outcome.reason == "no_address"
        if not waiting and (not isinstance(outcome, Failed) or outcome.status == 409):
            return None
        delay: int
        if not isinstance(outcome, Failed) or not outcome.started:
            self.refused += 1
            delay = doubled_ms(REFUSED_BACKOFF[0], self.refused, REFUSED_BACKOFF[1])
        elif outcome.retry_after_seconds is not None and self.obeyed < RETRY_AFTER_LIMIT:
            self.obeyed += 1
            delay = math.ceil(outcome.retry_after_seconds * 1000)
        elif retry is not None and self.tries < retry.attempts and retry.covers(outcome.status, outcome.blame):
            delay = retry.delay_ms(self.tries, self.key or f"{self.job}@{self.slot}")
            self.tries += 1
        else:
            return None
        return delay if now + delay < self.retry_until else None

    def verdict(self, outcome: Outcome | None, now: int, *, stopping: bool) -> Outcome:
        """
        Return the run's outcome, given how its last attempt ended; None: it was cancelled.

        Cancelled by whom is judged by what we asked for, and by nothing else: a job's libraries count
        ``Task.cancelling`` up and down as they like. An attempt that ended by itself although it was cancelled counts
        as it ended. But once the scheduler stops, what a server answers while it shuts down says nothing about the
        job: the run was interrupted.
        """
        if outcome is None:
            if self.cancelled_by == "timeout":
                return TimedOut((now - self.started) / 1000)
            if self.cancelled_by == "lease":
                return LeaseLost()
            if self.cancelled_by is not None or stopping:  # a server that is told twice to stop cancels all tasks
                return Interrupted(self.cancelled_by or "shutdown")
            return Failed("job", "cancelled inside")
        if stopping and isinstance(outcome, Failed) and outcome.blame in ("endpoint", "transport"):
            return Interrupted("shutdown")
        return outcome
