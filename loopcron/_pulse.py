"""
How one life of a scheduler keeps time: when its loop ticked, how late it was woken, how often the clock was set.

Kept as it happens, and read from any thread; what it means is judged in ``_health``.
"""

from __future__ import annotations

from typing import Final, final

from loopcron._health import SILENT_LOOP_SECONDS, LedgerHealth, LoopHealth, SchedulerState, Vitals
from loopcron._instants import from_ms


@final
class Pulse:
    """
    The facts of one life.

    Args:
        now: Its start, in ms.
        monotonic: The same in seconds, on the scheduler's monotonic clock.
    """

    def __init__(self, now: int, monotonic: float) -> None:
        self.started: Final = now
        self.ticked = monotonic
        """When the loop last turned, in seconds."""
        self._lag = self._worst_lag = 0.0
        self._steps = 0
        self._stepped_at: int | None = None
        self._stepped_by = 0
        self._stopping_since: int | None = None
        self.stopped_at: int | None = None
        """In ms; None: it goes on."""

    def woke(self, late_seconds: float) -> None:
        """Take note of how much later than asked for the loop woke."""
        self._lag = late_seconds
        self._worst_lag = max(self._worst_lag, late_seconds)

    def stepped(self, now: int, by: int) -> None:
        """Take note that the wall clock was set to *now*, by so many ms."""
        self._steps += 1
        self._stepped_at, self._stepped_by = now, by

    def stopping(self, now: int) -> None:
        """Take note that the life comes to its end."""
        self._stopping_since = now

    def stopped(self, now: int) -> None:
        """Take note that it has ended."""
        self.stopped_at = now

    def vitals(self, silent_seconds: float | None, ledger: LedgerHealth) -> Vitals:
        """
        Return how this life fares.

        Args:
            silent_seconds: How long ago the loop last ticked; None: there is none.
            ledger: How that fares.
        """
        stepped_at = None if self._stepped_at is None else from_ms(self._stepped_at)
        stepped_seconds = self._stepped_by / 1000
        loop = LoopHealth(silent_seconds, self._lag, self._worst_lag, self._steps, stepped_at, stepped_seconds)
        return Vitals(*self._state(silent_seconds), loop, ledger)

    def _state(self, silent_seconds: float | None) -> tuple[SchedulerState, int | None]:
        if self.stopped_at is not None:
            return SchedulerState.STOPPED, self.stopped_at
        if silent_seconds is not None and silent_seconds > SILENT_LOOP_SECONDS:
            return SchedulerState.SILENT, None
        if self._stopping_since is not None:
            return SchedulerState.STOPPING, self._stopping_since
        return SchedulerState.RUNNING, self.started
