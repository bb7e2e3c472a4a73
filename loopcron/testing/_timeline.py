"""What a simulation found: every slot's outcome, every run, and what they say about a job. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar, final

from loopcron._errors import UnknownJobError
from loopcron._events import JobParked, Report, Settled
from loopcron._instants import MILLISECOND, from_ms, to_ms
from loopcron._outcomes import Missed, Outcome, Reason
from loopcron.testing._clockwork import Clockwork
from loopcron.testing._histories import ClockEvent, Outage

_by_start: Final = attrgetter("started", "slot")


class SimulatedRun(NamedTuple):
    """
    A run that was started. `started` and `ended` are in ms of true time: what a clock shows that nobody sets.

    The slot is an instant of the simulated wall clock, as it is everywhere else.
    """

    job: str
    slot: int
    """In ms from the epoch."""
    reason: Reason
    attempts: int
    """How many there were."""
    outcome: Outcome | None
    """None: the process was killed while the run was alive, so nobody knows."""
    started: int
    """When the first attempt began."""
    ended: int
    """When the outcome was known, or the process was killed."""

    @property
    def slot_at(self) -> datetime:
        """The slot, in UTC."""
        return from_ms(self.slot)

    @property
    def started_at(self) -> datetime:
        """When the first attempt began, in true time, in UTC."""
        return from_ms(self.started)

    @property
    def ended_at(self) -> datetime:
        """When the outcome was known, or the process was killed, in true time, in UTC."""
        return from_ms(self.ended)


@final
@dataclass(frozen=True, slots=True)
class MissedRange:
    """Slots in a row that passed unserved and were not caught up."""

    job: str
    first_at: datetime
    """The first of them, in UTC."""
    last_at: datetime
    """The last of them, in UTC."""
    count: int | None
    """How many; None where counting them would take too long."""


class Noted(NamedTuple):
    """What befell a job besides its runs: slots that were settled without one, or that it was parked; and when."""

    event: Settled | JobParked
    at: int
    """In ms of true time."""


_Record = TypeVar("_Record", SimulatedRun, Report)


@final
@dataclass(frozen=True, slots=True)
class Timeline:
    """
    What became of the jobs of a simulation; made by `simulate`.

    Its axis is *true time*, what a clock shows that nobody sets, so that a clock history does not bend it. What takes
    a job raises `UnknownJobError` for one that was not simulated; without one it is about all jobs.
    """

    start: datetime
    """In the timezone that was given, which is the one of the pictures too."""
    end: datetime
    """Start + duration, in the same timezone."""
    jobs: tuple[str, ...]
    """Their names, in the order given."""
    events: tuple[Report, ...] = field(repr=False)
    """All that observers would have been told, in order; instants in them are the simulated wall clock's."""
    outages: Mapping[str, tuple[Outage, ...]] = field(repr=False)
    """What was out of reach, by part: ``process``, ``transport``, ``ledger``."""
    clock: tuple[ClockEvent, ...] = field(repr=False)
    """What befell the clock, in order."""
    _runs: tuple[SimulatedRun, ...] = field(repr=False)
    _noted: tuple[Noted, ...] = field(repr=False)
    _reached: Mapping[str, Sequence[int]] = field(repr=False)
    """Per job, when an attempt began that got through, in ms of true time."""

    def settled(self, job: str | None = None) -> tuple[Settled, ...]:
        """Return every outcome in the order in which it was known, the ranges of slots among them."""
        return tuple(event for event in self._of(job, self.events) if isinstance(event, Settled))

    def runs(self, job: str | None = None) -> tuple[SimulatedRun, ...]:
        """Return every run that was started, in the order in which they ended."""
        return tuple(self._of(job, self._runs))

    def missed(self, job: str | None = None) -> tuple[MissedRange, ...]:
        """Return the ranges of slots that passed unserved, in the order in which that was known."""
        return tuple(
            MissedRange(settled.job, from_ms(outcome.first), from_ms(outcome.last), outcome.count)
            for settled in self.settled(job)
            if isinstance(outcome := settled.outcome, Missed)
        )

    def overlaps(self, job: str | None = None) -> tuple[tuple[SimulatedRun, SimulatedRun], ...]:
        """
        Return the pairs of runs of one job that were alive at the same time, the earlier one first.

        A run that ends at the instant at which another one starts does not overlap it.
        """
        pairs: list[tuple[SimulatedRun, SimulatedRun]] = []
        alive: dict[str, list[SimulatedRun]] = {}
        for run in sorted(self._of(job, self._runs), key=_by_start):
            others = [other for other in alive.get(run.job, ()) if other.ended > run.started]
            pairs += [(other, run) for other in others]
            alive[run.job] = [*others, run]
        return tuple(pairs)

    def longest_silence(self, job: str) -> timedelta:
        """
        Return the longest time in which no attempt of *job* got through.

        It counts from the start of one attempt to the start of the next one, and also from the start of the
        simulation to the first and from the last to the end. An attempt got through unless it was provably never
        started, as one that is refused during an outage of the transport; so ``Busy`` and an HTTP 500 break the
        silence, because somebody answered. Time in which the machine was suspended does not count: nothing could
        have run then.
        """
        self._known(job)
        instants = (to_ms(self.start), *self._reached[job], to_ms(self.end))
        if self.clock:
            instants = tuple(map(Clockwork(instants[0], self.clock).awake_ms, instants))
        return max(later - earlier for earlier, later in pairwise(instants)) * MILLISECOND

    def text(self, *, width: int = 100) -> str:
        """
        Return the picture for a terminal: a lane per job, one character per span of time, and what the marks mean.

        Args:
            width: Of a line, in characters; 40 and more.
        """
        from loopcron.testing._text import draw

        return draw(self, self._noted, width)

    def svg(self) -> str:
        """Return the picture as an SVG document of its own, for light and dark pages; details are its tooltips."""
        from loopcron.testing._svg import draw

        return draw(self, self._noted)

    def __str__(self) -> str:
        """Return the picture for a terminal."""
        return self.text()

    def _known(self, job: str) -> None:
        if job not in self.jobs:
            raise UnknownJobError(job, self.jobs)

    def _of(self, job: str | None, records: Iterable[_Record]) -> Iterable[_Record]:
        if job is None:
            return records
        self._known(job)
        return (record for record in records if record.job == job)
