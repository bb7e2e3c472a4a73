"""A ledger around another one, to be subclassed by tests that replace some of its calls."""

from __future__ import annotations

from collections.abc import Sequence

from loopcron import Answer, Claim, Finish, Ledger, Pause, Register, Renew, Row, Unavailable


class WrappedLedger:
    """Passes every call on."""

    def __init__(self, ledger: Ledger, *, is_shared: bool | None = None) -> None:
        self.ledger = ledger
        self.is_shared = ledger.is_shared if is_shared is None else is_shared

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row | Unavailable]:
        return await self.ledger.register(jobs)

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        return await self.ledger.claim(claims)

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        return await self.ledger.renew(renewals)

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        return await self.ledger.finish(finishes)

    async def pause(self, pauses: Sequence[Pause]) -> None:
        await self.ledger.pause(pauses)

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        return await self.ledger.peek(jobs)

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        return await self.ledger.reset(jobs)

    async def close(self) -> None:
        await self.ledger.close()
