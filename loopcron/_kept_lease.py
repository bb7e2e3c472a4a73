"""
A lease that is renewed while a block runs, and whose loss ends the block.

The renewing is an owned task and no child of a task group: that would wrap what the block raises.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, final

import anyio

from loopcron._admission import unreachable
from loopcron._errors import SlotRefusedError
from loopcron._instants import iso, to_ms
from loopcron._ledger import Claim, Renew
from loopcron._outcomes import error_text
from loopcron._policies import trusted_ms
from loopcron._spawn import Handle, make_spawner

if TYPE_CHECKING:
    from loopcron._protocols import Clock, Ledger

END_SECONDS: Final = 1.0
"""How long the renewing may take to end, in real time."""

Hands = tuple[int, float]
"""What both hands of a clock show: ms from the epoch, and seconds of the monotonic one."""

_logger: Final = logging.getLogger("loopcron")


def read_hands(clock: Clock) -> Hands:
    """Return what both hands of *clock* show."""
    return to_ms(clock.now()), clock.monotonic()


@final
class KeptLease:
    """
    The lease of one claim.

    Args:
        ledger: From which it comes.
        clock: Both its hands must show that the lease goes on: one stands while the machine is suspended, and the
            other one can be set.
        claim: With which it was won; where that asked for no lease there is nothing to keep.
        fence: Likewise.
        begun: What the clock showed before the claim was made.
    """

    def __init__(self, ledger: Ledger, clock: Clock, claim: Claim, fence: int, begun: Hands) -> None:
        self._ledger = ledger
        self._clock = clock
        self._claim = claim
        self._fence = fence
        self._begun = begun
        self._scope = anyio.CancelScope()
        self._handle: Handle | None = None
        self._gone = anyio.Event()
        self._ending = False
        self.refusal: SlotRefusedError | None = None
        """Why the block was cut; None: it was not."""

    @contextmanager
    def kept(self) -> Iterator[anyio.CancelScope]:
        """Renew the lease from now on, and cancel the block when it is lost, or is over already."""
        if self._claim.lease is not None:
            if self._left_ms(self._claim.lease) <= 0:
                self._lose(unreachable(self._claim.job), "the answer to its claim came too late")
            self._handle = Handle(None, self)
            make_spawner().spawn(partial(self._keep, self._claim.lease), self._handle)
        with self._scope as scope:
            yield scope

    async def end(self) -> None:
        """Renew no more."""
        self._ending = True
        if self._handle is not None:
            self._handle.cancel()
            with anyio.move_on_after(END_SECONDS):
                await self._gone.wait()

    async def _keep(self, lease_ms: int, handle: Handle) -> None:
        handle.started = True
        try:
            trouble = await self._renew(lease_ms, handle)
        except Exception as error:  # noqa: BLE001 - a user's clock; a lease that nobody renews is as good as lost
            trouble = error_text(error)
        self._lose(unreachable(self._claim.job), trouble)

    async def _renew(self, lease_ms: int, handle: Handle) -> str:
        """Renew until that is over for good, and return what stood in the way last."""
        trouble = "the clock has run past its end"
        renewal = Renew(self._claim.job, self._claim.slot, self._fence, lease_ms)
        while not handle.cancel_requested:
            await self._clock.sleep(max(0, min(self._left_ms(lease_ms), lease_ms / 3)) / 1000)
            left = self._left_ms(lease_ms)
            if left <= 0:
                break
            asked = read_hands(self._clock)
            try:
                with anyio.fail_after(left / 1000):
                    [is_ours] = await self._ledger.renew([renewal])
            except Exception as error:  # noqa: BLE001 - it is asked again until the lease is over
                trouble = error_text(error)
                continue
            if not is_ours:
                lost = SlotRefusedError(renewal.job, "lease_lost", "somebody else may run the job by now")
                self._lose(lost, "it has another holder, or was over")
                break
            self._begun = asked
        return trouble

    def _left_ms(self, lease_ms: int) -> float:
        """Return for how long the lease can be relied on, by the hand of the clock that has moved further."""
        wall, monotonic = read_hands(self._clock)
        passed = max(wall - self._begun[0], (monotonic - self._begun[1]) * 1000)
        return trusted_ms(lease_ms) - passed

    def _lose(self, refusal: SlotRefusedError, trouble: str) -> None:
        if self._ending or self.refusal is not None:
            return
        self.refusal = refusal
        key = f"{self._claim.job}@{iso(self._claim.slot)}"
        _logger.warning("%s: the lease is lost, and the endpoint cut: %s", key, trouble)
        self._scope.cancel()

    def lost(self, _: Handle) -> None:
        """See `Keeper.lost`; somebody may have cancelled every task that he could find."""
        self._gone.set()
        self._lose(unreachable(self._claim.job), "its renewing was cancelled")

    def parking_changed(self) -> None:
        """See `Keeper.parking_changed`; this task never parks."""
