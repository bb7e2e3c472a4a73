"""Reading the clock's two hands together, so that a step of the wall clock is seen."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol, final

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
        self.wall = to_ms(clock.now())
        """In ms from the epoch."""
        self.monotonic = clock.monotonic()
        """In seconds."""
        self._offset = self.wall / 1000 - self.monotonic

    def read(self) -> int:
        """Read both, and return by how many ms the wall clock was set since; 0 if it was not."""
        wall, offset = self._look()
        if abs(offset - self._offset) > STEP_SECONDS:
            wall, offset = self._look()  # again: a process that is stopped between the two hands sees a step in this
        by = offset - self._offset
        stepped = abs(by) > STEP_SECONDS
        if stepped or wall >= self.wall:
            # The offset is followed from reading to reading, so that a slow drift never adds up to a step.
            self.wall, self._offset = wall, offset
        return round(by * 1000) if stepped else 0

    def _look(self) -> tuple[int, float]:
        wall = to_ms(self._clock.now())
        monotonic = self._clock.monotonic()
        self.monotonic = monotonic
        return wall, wall / 1000 - monotonic
