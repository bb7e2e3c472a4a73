"""Reading the clock's two hands together, so that a step of the wall clock is seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol, final

from loopcron._clock import SystemClock
from loopcron._instants import to_ms

STEP_SECONDS: Final = 1.0
"""A change of wall clock minus monotonic clock above this is a clock step."""
SLICE_SECONDS: Final = 30.0
"""The longest sleep: both hands are read again after it, so a suspended machine or a set clock is noticed."""


class Face(Protocol):
    """What can be read of a `Clock`."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


@final
class Hands:
    """
    What the clock showed when it was read last.

    The wall hand never goes back in here without a step: what is less is taken for jitter, and waited out. While it is,
    the clock is measured against the last reading before, so that many small steps back add up to one that is told.

    Raises:
        Exception: Whatever a user's clock raises, here and in `read`.
    """

    def __init__(self, clock: Face) -> None:
        self._clock = clock
        # Without a datetime where that can be: it is a twentieth of a fire. Not for whatever has that method: a clock
        # that wraps another one and passes on what it does not know would be passed by.
        self._now_ms: Callable[[], int] = clock.now_ms if isinstance(clock, SystemClock) else self._ms
        self.wall = self._now_ms()
        """In ms from the epoch."""
        self.monotonic = clock.monotonic()
        """In seconds."""
        self._offset = self.wall / 1000 - self.monotonic

    def read(self) -> int:
        """Read both, and return by how many ms the wall clock was set since; 0 if it was not."""
        wall = self._now_ms()
        self.monotonic = self._clock.monotonic()
        by = wall / 1000 - self.monotonic - self._offset
        stepped = abs(by) > STEP_SECONDS
        if stepped:  # again: a process that is stopped between the two hands sees a step in this
            wall = self._now_ms()
            self.monotonic = self._clock.monotonic()
            by = wall / 1000 - self.monotonic - self._offset
            stepped = abs(by) > STEP_SECONDS
        if stepped or wall >= self.wall:
            # The offset is followed from reading to reading, so that a slow drift never adds up to a step.
            self.wall = wall
            self._offset += by
        return round(by * 1000) if stepped else 0

    def _ms(self) -> int:
        return to_ms(self._clock.now())
