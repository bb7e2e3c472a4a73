"""The default ledger: rows in this process's memory, so that one process never runs a slot twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from loopcron._clock import SystemClock
from loopcron._instants import to_ms
from loopcron._ledger import (
    EARLY_MS,
    Answer,
    Claim,
    Finish,
    Held,
    Lost,
    Pause,
    Paused,
    Register,
    Renew,
    Row,
    TooEarly,
    Won,
    outcome_text,
)
from loopcron._outcomes import Outcome, Succeeded

if TYPE_CHECKING:
    from loopcron._protocols import Clock

__all__ = ("MemoryLedger",)


@final
class _Entry:
    """A row that changes in place: one is changed twice for every run."""

    __slots__ = (
        "claim_id",
        "ended",
        "fence",
        "finished",
        "job",
        "lease_until",
        "outcome",
        "paused",
        "schedule",
        "succeeded",
        "watermark",
    )

    def __init__(self, job: str, watermark: int, schedule: str = "") -> None:
        self.job = job
        self.watermark = watermark
        self.schedule = schedule
        self.fence = 0
        self.claim_id = ""
        self.finished = True
        self.lease_until: int | None = None
        self.outcome: Outcome | None = None
        self.ended: int | None = None
        self.succeeded: int | None = None
        self.paused = False

    def lower(self, mark: int) -> None:
        self.watermark = min(self.watermark, mark)

    def row(self, now: int) -> Row:
        return Row(
            self.job,
            self.watermark,
            self.fence,
            self.claim_id,
            self.finished,
            None if self.lease_until is None else self.lease_until - now,
            "" if self.outcome is None else outcome_text(self.outcome),
            self.ended,
            self.succeeded,
            self.paused,
            self.schedule,
        )


@final
class MemoryLedger:
    """
    Keeps one row per job in memory; forgotten when the process ends, and not shared with other workers.

    So when the wall clock is corrected, set back by 3 h or more, it forgets what lies ahead of the new now.

    A scheduler makes one for each of its lives; give it one to keep the rows from one life to the next, or to let
    two schedulers of one process share them.

    Args:
        clock: Its now, the store's time; the system's if left out.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = SystemClock() if clock is None else clock
        self._entries: dict[str, _Entry | int] = {}
        """An int is the watermark of a row in which nobody has written yet: a ninth of what 10,000 idle jobs hold."""

    @property
    def is_shared(self) -> bool:
        """See `Ledger.is_shared`."""
        return False

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row]:
        """See `Ledger.register`."""
        now = to_ms(self._clock.now())
        if any(job.corrected for job in jobs):
            for name in self._entries:  # of removed jobs too, which may be added again
                self._sure_entry(name, now).lower(now)
        return [self._register(job, now) for job in jobs]

    def _register(self, job: Register, now: int) -> Row:
        mark = now if job.watermark is None else job.watermark
        if job.job not in self._entries and not job.schedule:
            self._entries[job.job] = mark
            return Row(job.job, mark)
        entry = self._sure_entry(job.job, mark, job.schedule)
        if job.corrected:
            entry.lower(mark)
        before = entry.row(now)
        entry.schedule = job.schedule or entry.schedule
        return before

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        """See `Ledger.claim`."""
        now = to_ms(self._clock.now())
        return [self._claim(claim, now) for claim in claims]

    def _claim(self, claim: Claim, now: int) -> Answer:
        job, slot, claim_id, lease = claim
        entry = self._entry(job) or _Entry(job, slot - 1)
        until = entry.lease_until
        if entry.claim_id == claim_id:
            if until is not None and lease is not None:
                entry.lease_until = now + lease
            return Won(entry.fence)
        if slot <= entry.watermark:
            return Lost(entry.row(now))
        if entry.paused:
            return Paused()
        if slot > now + EARLY_MS:
            return TooEarly(slot - now)
        if until is not None and until > now and lease is not None:
            return Held(until - now)
        fence = max(entry.fence + 1, now)
        is_abandoned = until is not None and until <= now  # given back it would be None
        won = Won(fence, entry.watermark, entry.claim_id) if is_abandoned else Won(fence)
        self._entries[job] = entry
        entry.watermark, entry.fence, entry.claim_id, entry.finished = slot, fence, claim_id, False
        entry.lease_until = None if lease is None else now + lease
        return won

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        """See `Ledger.renew`."""
        now = to_ms(self._clock.now())
        return [self._renew(renewal, now) for renewal in renewals]

    def _renew(self, renewal: Renew, now: int) -> bool:
        entry = self._entry(renewal.job)
        if entry is None or entry.fence != renewal.fence:
            return False
        if entry.lease_until is None or entry.lease_until <= now:
            return entry.finished and entry.fence > 0
        entry.lease_until = now + renewal.lease
        return True

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        """See `Ledger.finish`."""
        now = to_ms(self._clock.now())
        return [self._finish(finish, now) for finish in finishes]

    def _finish(self, finish: Finish, now: int) -> bool:
        job, _, fence, outcome = finish
        entry = self._entry(job)
        if entry is None or entry.fence != fence or entry.finished:
            return False
        entry.finished, entry.lease_until, entry.outcome, entry.ended = True, None, outcome, now
        if isinstance(outcome, Succeeded):
            entry.succeeded = now
        return True

    async def pause(self, pauses: Sequence[Pause]) -> None:
        """See `Ledger.pause`."""
        now = to_ms(self._clock.now())
        for pause in pauses:
            self._sure_entry(pause.job, now).paused = pause.paused

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.peek`."""
        now = to_ms(self._clock.now())
        found = (self._entry(job) for job in jobs)
        return [None if entry is None else entry.row(now) for entry in found]

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.reset`."""
        now = to_ms(self._clock.now())
        for job in jobs:
            entry = self._entry(job)
            if entry is not None:
                entry.lower(now)
                entry.lease_until = None
        return await self.peek(jobs)

    async def close(self) -> None:
        """See `Ledger.close`: there is nothing to let go of, and the rows stay."""

    def _entry(self, job: str) -> _Entry | None:
        """Return the row as one that can be written into; None: there is none."""
        entry = self._entries.get(job)
        if isinstance(entry, int):
            entry = self._entries[job] = _Entry(job, entry)
        return entry

    def _sure_entry(self, job: str, mark: int, schedule: str = "") -> _Entry:
        """Return the row likewise; one that begins at *mark* where there was none."""
        entry = self._entry(job)
        if entry is None:
            entry = self._entries[job] = _Entry(job, mark, schedule)
        return entry

    def __repr__(self) -> str:
        return "memory"
