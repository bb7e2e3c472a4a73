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
        watermarks: list[int] = []
        for job in jobs:
            row = self._rows.get(job.job)
            if row is None:
                row = self._rows[job.job] = _Row(now if job.watermark is None else job.watermark)
            watermarks.append(row.watermark)
        return watermarks

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
