"""
What a timeline's picture shows where, apart from how it is drawn: marks, columns of time, and the ticks of the scale.

Marks differ by shape, not by colour alone. Where several fall into one column the gravest is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from loopcron._events import JobParked
from loopcron._instants import MILLISECOND, from_ms, to_ms
from loopcron._outcomes import (
    Busy,
    Failed,
    Interrupted,
    LeaseLost,
    Missed,
    Outcome,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
)

if TYPE_CHECKING:
    from loopcron.testing._timeline import Noted, SimulatedRun, Timeline


Sight: TypeAlias = Outcome | JobParked | None
"""What has a mark: an outcome, or that the job was parked. None: the process was killed while the run was alive."""
Kind: TypeAlias = type[Outcome] | type[JobParked] | None
"""Of a sight."""


class Mark(NamedTuple):
    """How one kind is shown."""

    name: str
    char: str
    shape: str
    """The path of an SVG, in a box of 8 by 16 around its middle."""
    filled: bool


MARKS: Final[dict[Kind, Mark]] = {
    # From the gravest to the mildest.
    JobParked: Mark("parked", "P", "M-2.5 6V-6H0A3 3 0 0 1 0 0H-2.5", filled=False),
    None: Mark("lost", "?", "M-3-6H3V6H-3ZM-3-6L3 6", filled=False),
    TimedOut: Mark("timed out", "T", "M-3.5-6H3.5L-3.5 6H3.5Z", filled=True),
    Failed: Mark("failed", "X", "M-3-5L3 5M3-5L-3 5", filled=False),
    Missed: Mark("missed", "!", "M0-6V1M0 4V6", filled=False),
    Interrupted: Mark("interrupted", "/", "M-2 6L2-6", filled=False),
    LeaseLost: Mark("lease lost", "\\", "M-2-6L2 6", filled=False),
    Skipped: Mark("skipped", "-", "M0-5L3 0L0 5L-3 0Z", filled=False),
    Busy: Mark("busy", "b", "M-2.5-6H2.5V6H-2.5Z", filled=False),
    Succeeded: Mark("succeeded", "o", "M-2.5-6H2.5V6H-2.5Z", filled=True),
    Taken: Mark("taken", "t", "M-2 0A2 2 0 1 0 2 0A2 2 0 1 0-2 0Z", filled=True),
}

GRAVITY: Final = {kind: rank for rank, kind in enumerate(MARKS)}


@dataclass(slots=True)
class Column:
    """What falls into one span of time of a job's lane."""

    counts: Counter[Kind] = field(default_factory=Counter)
    """How many of each kind; a range of slots counts once in each column that it touches."""
    first: Sight = None
    """The first one of the gravest kind; None too if that kind is None."""
    alive: bool = False
    """Whether a run that began earlier is alive."""

    @property
    def gravest(self) -> Kind:
        """The kind whose mark is shown, given that there is one."""
        return min(self.counts, key=GRAVITY.__getitem__)

    def add(self, sight: Sight) -> None:
        """Put one in."""
        kind = None if sight is None else type(sight)
        if not self.counts or GRAVITY[kind] < GRAVITY[self.gravest]:
            self.first = sight
        self.counts[kind] += 1


class Axis:
    """
    The time of a picture, cut into columns of the same span.

    Args:
        timeline: Whose time it is.
        columns: How many there are.
    """

    def __init__(self, timeline: Timeline, columns: int) -> None:
        self.begin: Final = to_ms(timeline.start)
        self.end: Final = to_ms(timeline.end)
        self.columns: Final = columns
        self._zone = timeline.start.tzinfo
        self.span: Final = self.end - self.begin

    def column(self, instant: int) -> int:
        """Return the column of an instant in ms; what lies outside counts in the first or last one."""
        return min(max((instant - self.begin) * self.columns // self.span, 0), self.columns - 1)

    def part(self, instant: int) -> float:
        """Return where an instant lies, from 0 at the begin to 1 at the end; what lies outside counts as there."""
        return min(max((instant - self.begin) / self.span, 0.0), 1.0)

    def opens_at(self, column: int) -> timedelta:
        """Return where a column begins, from the begin."""
        return column * self.span // self.columns * MILLISECOND

    def local(self, since: timedelta) -> str:
        """Return the local time at a time since the begin, as people write it."""
        return f"{from_ms(self.begin + since // MILLISECOND).astimezone(self._zone):%Y-%m-%d %H:%M:%S}"


def lane(axis: Axis, runs: Sequence[SimulatedRun], noted: Sequence[Noted]) -> dict[int, Column]:
    """Return the columns of one job in which something is, by number."""
    columns: dict[int, Column] = {}
    for run in runs:
        first, last = axis.column(run.started), axis.column(run.ended)
        columns.setdefault(first, Column()).add(run.outcome)
        for number in range(first + 1, last + 1):
            columns.setdefault(number, Column()).alive = True
    for event, at in noted:
        if isinstance(event, JobParked):
            columns.setdefault(axis.column(at), Column()).add(event)
            continue
        outcome = event.outcome
        first_slot = event.slot
        if isinstance(outcome, (Missed, Skipped)) and outcome.first is not None:
            first_slot = outcome.first
        # Slots are the wall clock's: they are shown as long before the moment when they were settled as it says.
        shift = at - event.ended
        for number in range(axis.column(first_slot + shift), axis.column(event.slot + shift) + 1):
            columns.setdefault(number, Column()).add(outcome)
    return columns


_STEPS: Final = (
    *(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30)),
    *(timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)),
    *(timedelta(days=days) for days in (1, 2, 7, 14)),
)
_MONTHS: Final = (1, 3, 6, 12, 24)
"""How many months lie between two ticks, where days are too many."""


def ticks(timeline: Timeline, room: int) -> Iterator[tuple[int, str]]:
    """
    Yield instants in ms with their labels of local time, at round times and about *room* of them at most.

    A label is an hour, or the day where a new one begins.
    """
    end = to_ms(timeline.end)
    latest = to_ms(timeline.start) - 1
    length = (end - latest) * MILLISECOND
    step = next((step for step in _STEPS if length / step <= room), None)
    times = _months(timeline.start, length, room) if step is None else _even(timeline.start, step)
    while (instant := to_ms(next(times))) <= end:
        if instant > latest:
            latest = instant
            # Of the instant, because local times that the clocks skip do not exist.
            yield instant, _label(from_ms(instant).astimezone(timeline.start.tzinfo), with_year=step is None)


def _even(start: datetime, step: timedelta) -> Iterator[datetime]:
    # Within one timezone datetimes are added by the wall clock, which is what a label shows.
    local = start.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    while True:
        yield local
        local += step


def _months(start: datetime, length: timedelta, room: int) -> Iterator[datetime]:
    step = next((step for step in _MONTHS if length / timedelta(days=30 * step) <= room), _MONTHS[-1])
    month = (start.year * 12 + start.month - 1) // step * step
    while True:
        yield datetime(month // 12, month % 12 + 1, 1, tzinfo=start.tzinfo)
        month += step


def _label(local: datetime, *, with_year: bool) -> str:
    if with_year:
        return f"{local:%Y-%m-%d}"
    return f"{local:%m-%d}" if (local.hour, local.minute) == (0, 0) else f"{local:%H:%M}"
