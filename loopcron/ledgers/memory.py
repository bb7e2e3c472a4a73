"""The default ledger: rows in this process's memory, so that one process never runs a slot twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from loopcron._clock import SystemClock
from loopcron._events import Answer, Claim, Finish, Lost, Register, Won
from loopcron._instants import to_ms

if TYPE_CHECKING:
    from loopcron._protocols import Clock

__all__ = ("MemoryLedger",)


@final
class _Row:
    __slots__ = ("claim_id", "fence", "watermark")

    def __init__(self, watermark: int) -> None:
        self.watermark = watermark
        self.fence = 0
        self.claim_id = ""


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
        self._rows: dict[str, _Row] = {}

    async def register(self, jobs: Sequence[Register]) -> Sequence[int]:
        """See `Ledger.register`."""
        now = to_ms(self._clock.now())
        if any(job.corrected for job in jobs):
            for row in self._rows.values():  # of removed jobs too, which may be added again
                row.watermark = min(row.watermark, now)
        return [self._register(job, now) for job in jobs]

    def _register(self, job: Register, now: int) -> int:
        mark = now if job.watermark is None else job.watermark
        row = self._rows.get(job.job)
        if row is None:
            row = self._rows[job.job] = _Row(mark)
        elif job.corrected:
            row.watermark = min(row.watermark, mark)
        return row.watermark

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        """See `Ledger.claim`; the fence is at least the store's now in ms, so it rises even over a restart."""
        now = to_ms(self._clock.now())
        return [self._claim(claim, now) for claim in claims]

    def _claim(self, claim: Claim, now: int) -> Answer:
        row = self._rows.setdefault(claim.job, _Row(claim.slot - 1))
        if claim.slot > row.watermark:
            row.watermark = claim.slot
            row.fence = max(row.fence + 1, now)
            row.claim_id = claim.claim_id
            return Won(row.fence)
        return Won(row.fence) if row.claim_id == claim.claim_id else Lost(row.watermark)

    async def finish(self, finishes: Sequence[Finish]) -> None:
        """See `Ledger.finish`; nothing is kept, because the scheduler's own history holds every outcome."""

    def __repr__(self) -> str:
        return "memory"
