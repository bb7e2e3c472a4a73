"""The system's clock: with the fake one in ``loopcron.testing`` the only source of now and of sleeping."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import final


class MsClock(ABC):
    """
    A clock of ours, which tells its wall hand without a datetime too.

    A base class and no protocol: a clock that wraps another one and passes on what it does not know would be passed by.
    """

    @abstractmethod
    def now_ms(self) -> int:
        """Return the wall clock in whole ms from the epoch: what the loop reads at each end of a run."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return the monotonic clock, in seconds."""


@final
class SystemClock(MsClock):
    """The wall clock and the monotonic clock of this machine; see `Clock` for the contract."""

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds of CLOCK_MONOTONIC, which on Linux stops while the machine is suspended."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Return the wall clock in whole ms from the epoch."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop that runs; uvloop may wake up to a millisecond early."""
        import anyio  # on use: importing anyio costs more than all of loopcron

        await anyio.sleep(seconds)
