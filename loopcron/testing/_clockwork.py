"""
A clock with a history: where its two hands stand at any true instant, and when a sleeping loop wakes by them.

True instants are what a clock shows that nobody sets: milliseconds from the epoch, without any of the history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import floor
from typing import NamedTuple, final

from loopcron._clock import MsClock
from loopcron._hands import SLICE_SECONDS
from loopcron._instants import MILLISECOND
from loopcron.testing._histories import ClockEvent, ClockStep, Suspend

_SLICE_MS = round(SLICE_SECONDS * 1000)


class _Piece(NamedTuple):
    """A stretch of true time in which both hands move evenly; it lasts until the next one begins."""

    begin: int
    monotonic: int
    wall: float
    awake: bool
    rate: float

    def wall_ms(self, instant: int) -> int:
        return floor(self.wall + (instant - self.begin) * self.rate)

    def awake_ms(self, instant: int) -> int:
        return self.monotonic + (instant - self.begin if self.awake else 0)


@final
class Clockwork(MsClock):
    """
    Both hands, as a function of true time; a scheduler's shell reads them as it reads any clock.

    Args:
        start: Where true time and the wall hand begin, in ms.
        history: What befalls the clock; see `simulate`.
    """

    def __init__(self, start: int, history: Sequence[ClockEvent]) -> None:
        self._pieces = _pieces(start, history)
        self._begins = [piece.begin for piece in self._pieces]
        self._at = start
        self._piece = self._pieces[0]

    def move(self, at: int) -> None:
        """Let it be this true instant; whoever reads the hands does so first."""
        self._at = at
        self._piece = self._pieces[self._index(at)]

    def now_ms(self) -> int:
        """Return the wall hand, in ms."""
        return self._piece.wall_ms(self._at)

    def monotonic(self) -> float:
        """Return the monotonic hand, in seconds."""
        return self._piece.awake_ms(self._at) / 1000

    def wall_ms(self, instant: int) -> int:
        """Return what the wall hand shows at *instant*, in ms."""
        return self._pieces[self._index(instant)].wall_ms(instant)

    def awake_ms(self, instant: int) -> int:
        """Return for how many ms the machine was awake from the start to *instant*."""
        return self._pieces[self._index(instant)].awake_ms(instant)

    def after(self, instant: int, span: int) -> int:
        """Return the true instant at which the machine has been awake for *span* ms since *instant*, and is awake."""
        for index in range(self._index(instant), len(self._pieces) - 1):
            if self._pieces[index].awake:
                room = self._begins[index + 1] - instant
                if span < room:
                    break
                span -= room
            instant = self._begins[index + 1]
        return instant + span

    def wake(self, wait: int | None) -> int | None:
        """
        Return when a loop wakes that wants to sleep *wait* ms and reads both hands at least every 30 s.

        Slices between which nothing befalls the clock are slept in one go: reading it there would change nothing.

        Args:
            wait: By the wall hand, above 0; None: for ever.

        Returns:
            The true instant; None: never.
        """
        index, piece = self._index(self._at), self._piece
        span = _SLICE_MS if wait is None else min(wait, _SLICE_MS)
        if piece.awake and piece.rate == 1:
            if index + 1 == len(self._pieces):
                return None if wait is None else self._at + wait
            room = self._begins[index + 1] - self._at
            if wait is not None and wait < room:
                return self._at + wait
            span = max(span, room // _SLICE_MS * _SLICE_MS)
        return self.after(self._at, span)

    def _index(self, instant: int) -> int:
        return bisect_right(self._begins, instant) - 1


class _Change(NamedTuple):
    at: int
    step: int = 0
    sleepers: int = 0
    rate: float | None = None


def _pieces(start: int, history: Sequence[ClockEvent]) -> list[_Piece]:
    changes: list[_Change] = []
    for event in history:
        at = start + event.at // MILLISECOND
        if isinstance(event, ClockStep):
            changes.append(_Change(at, step=event.by // MILLISECOND))
        elif isinstance(event, Suspend):
            changes += _Change(at, sleepers=1), _Change(at + event.duration // MILLISECOND, sleepers=-1)
        else:
            changes.append(_Change(at, rate=event.rate))
    pieces = [_Piece(start, 0, start, awake=True, rate=1)]
    sleepers = 0
    for at, step, more, rate in sorted(changes, key=lambda change: change.at):
        last = pieces[-1]
        gone = at - last.begin
        sleepers += more
        monotonic = last.monotonic + (gone if last.awake else 0)
        wall = last.wall + gone * last.rate + step
        pieces.append(_Piece(at, monotonic, wall, awake=sleepers == 0, rate=last.rate if rate is None else rate))
    return pieces
