"""Reading the clock's two hands together, so that a step of the wall clock is seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final, Protocol, final

from loopcron._clock import MsClock
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

    def __init__(self, clock: Face | MsClock) -> None:
        self._clock = clock
        # Without a datetime where that can be: it is a twentieth of a fire.
        self._now_ms: Callable[[], int] = clock.now_ms if isinstance(clock, MsClock) else partial(_ms, clock)
        self.wall = self._now_ms()
        """In ms from the epoch."""
        self.monotonic = self._clock.monotonic()
        """In seconds."""
        self._offset = self.wall / 1000 - self.monotonic

    def read(self) -> int:
        """Read both, and return by how many ms the wall clock was set since; 0 if it was not."""
        wall = self._now_ms()
        self.monotonic = monotonic = self._clock.monotonic()
        offset = wall / 1000 - monotonic
        if not -STEP_SECONDS <= offset - self._offset <= STEP_SECONDS:
            return self._read_again()
        if wall >= self.wall:
            # The offset is followed from reading to reading, so that a slow drift never adds up to a step.
            self.wall = wall
            self._offset = offset
        return 0

    def _read_again(self) -> int:
        """Return the step that was seen, if it is there still: a process stopped between the two hands sees one too."""
        wall = self._now_ms()
        self.monotonic = self._clock.monotonic()
        offset = wall / 1000 - self.monotonic
        by = offset - self._offset
        stepped = abs(by) > STEP_SECONDS
        if stepped or wall >= self.wall:
            self.wall = wall
            self._offset = offset
        return round(by * 1000) if stepped else 0


def _ms(clock: Face) -> int:
    return to_ms(clock.now())
