"""
Drives a ledger without the scheduler: claims each slot of a grid, runs, renews, and finishes, with nothing in between.

This is the stress of the ledger's statements alone, with short leases. It follows the scheduler's rules in as few
lines as can be.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Final

import anyio

from loopcron._ledger import Answer, Claim, Finish, Held, Register, Renew, TooEarly, Unavailable, Won
from loopcron._outcomes import Succeeded
from loopcron._protocols import Ledger
from tests.proof.history import Plan

AGAIN: Final = 0.05
"""How long, in seconds, a worker waits before it asks a store again that could not be asked."""
MARGIN: Final = 0.25
"""The part of a lease by which a worker trusts it less long than the store does."""


class Direct:
    """
    One worker of one job.

    Args:
        plan: What is to be done.
        job: The job.
        worker: How claim ids begin.
        ledger: Whom to ask.
        body: The run, for a slot and a fence.
    """

    def __init__(
        self, plan: Plan, job: str, worker: str, ledger: Ledger, body: Callable[[int, int], Awaitable[None]]
    ) -> None:
        self._plan = plan
        self._job = job
        self._ids = (f"{worker}-{number}" for number in count())
        self._ledger = ledger
        self._body = body

    async def serve(self) -> None:
        """Serve all slots from now on, forever."""
        period = self._plan.period
        slot = _wall() // period * period
        while True:
            slot = max(slot + period, _wall() // period * period)  # of those that are due, the newest
            await anyio.sleep(max(slot - _wall(), 0) / 1000)
            await self._serve(Claim(self._job, slot, next(self._ids), self._plan.lease))

    async def register(self) -> None:
        """Make the row, however often it takes."""
        while True:
            try:
                await self._ledger.register([Register(self._job, 0, None)])
                return
            except Exception:
                await anyio.sleep(AGAIN)

    async def _serve(self, claim: Claim) -> None:
        while _wall() <= claim.slot + self._plan.grace:
            trusted_until = anyio.current_time() + self._plan.lease * (1 - MARGIN) / 1000
            match await self._ask(claim):
                case Won(fence):
                    return await self._run(claim.slot, fence, trusted_until)
                case Held(for_ms):
                    await anyio.sleep(min(for_ms, self._plan.period) / 1000)
                case TooEarly(by_ms):
                    await anyio.sleep(by_ms / 1000)
                case Unavailable():
                    await anyio.sleep(AGAIN)
                case _:
                    return None
        return None

    async def _ask(self, claim: Claim) -> Answer:
        try:
            return (await self._ledger.claim([claim]))[0]
        except Exception as error:
            return Unavailable(str(error))

    async def _run(self, slot: int, fence: int, trusted_until: float) -> None:
        if trusted_until <= anyio.current_time():
            return
        with anyio.CancelScope(deadline=trusted_until) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(partial(self._renew, slot, fence, scope))
                await self._body(slot, fence)
                group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._finish(slot, fence)

    async def _renew(self, slot: int, fence: int, scope: anyio.CancelScope) -> None:
        while True:
            await anyio.sleep(self._plan.lease / 3000)
            asked_at = anyio.current_time()
            try:
                (is_renewed,) = await self._ledger.renew([Renew(self._job, slot, fence, self._plan.lease)])
            except Exception:
                continue
            if not is_renewed:
                scope.cancel()
            scope.deadline = asked_at + self._plan.lease * (1 - MARGIN) / 1000

    async def _finish(self, slot: int, fence: int) -> None:
        for _ in range(3):
            try:
                await self._ledger.finish([Finish(self._job, slot, fence, Succeeded())])
                return
            except Exception:
                await anyio.sleep(AGAIN)


def _wall() -> int:
    return time.time_ns() // 1_000_000
