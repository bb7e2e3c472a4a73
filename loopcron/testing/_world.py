"""
What outlives the process of a simulation: the jobs, the ledger and its rows, the trouble, and the story so far.

It decides nothing; who lives in it is in ``_life``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, final

from loopcron import _events as e
from loopcron._instants import MILLISECOND
from loopcron._ledger import Answer, Claim, Lost, Register, Row, Unavailable, Won
from loopcron.testing._behave import Decide
from loopcron.testing._clockwork import Clockwork
from loopcron.testing._histories import Outage
from loopcron.testing._timeline import Noted, SimulatedRun

if TYPE_CHECKING:
    from loopcron import Scheduler

_DOWN: Final = Unavailable("down")


def edges(begin: int, outages: Iterable[Outage]) -> list[int]:
    """
    Return when outages in order begin and end, in turn, in true time.

    So the part is out of reach at an instant if an odd number of edges lies up to it.
    """
    found: list[int] = []
    for outage in outages:
        opens, closes = begin + outage.at // MILLISECOND, begin + outage.until // MILLISECOND
        if found and opens <= found[-1]:
            found[-1] = max(found[-1], closes)
        else:
            found += opens, closes
    return found


class Settings(NamedTuple):
    """What of a scheduler counts besides its jobs; durations in ms."""

    startup_delay: int
    max_running: int | None
    drain: int
    fires: bool
    paused: frozenset[str]


def _settings(scheduler: Scheduler) -> Settings:
    # Private to the scheduler and its shell; this is another shell.
    return Settings(
        scheduler._startup_delay,  # noqa: SLF001
        scheduler._max_running,  # noqa: SLF001
        scheduler._drain,  # noqa: SLF001
        scheduler._fires,  # noqa: SLF001
        frozenset(name for name, paused in scheduler._pauses.items() if paused),  # noqa: SLF001
    )


@final
class _Row:
    """What the ledger knows of a job."""

    __slots__ = ("fence", "watermark")

    def __init__(self, watermark: int) -> None:
        self.watermark = watermark
        self.fence = 0


@final
class SimulatedLedger:
    """
    The ledger: a row per job.

    Args:
        unanswered: The edges of the times in which it cannot be asked.
        keeps: Whether it is a persistent one.
    """

    def __init__(self, unanswered: list[int], *, keeps: bool) -> None:
        self._unanswered: Final = unanswered
        self._keeps: Final = keeps
        self._rows: Final[dict[str, _Row]] = {}

    def survive(self) -> None:
        """Take note that the process is gone; one in its memory is gone too."""
        if not self._keeps:
            self._rows.clear()

    def claim(self, claim: Claim, at: int, wall: int) -> Answer:
        """Answer to a claim at this true instant, at which its clock shows *wall*."""
        if bisect_right(self._unanswered, at) % 2:
            return _DOWN
        row = self._rows.get(claim.job)
        if row is None:
            row = self._rows[claim.job] = _Row(claim.slot - 1)
        if claim.slot <= row.watermark:
            return Lost(Row(claim.job, row.watermark))
        row.watermark = claim.slot
        row.fence = wall if wall > row.fence else row.fence + 1
        return e.record(Won, (row.fence, None, ""))

    def register(self, asked: Register, at: int, wall: int) -> Row | None:
        """Answer to a registration; None: it cannot be asked."""
        if bisect_right(self._unanswered, at) % 2:
            return None
        mark = wall if asked.watermark is None else asked.watermark
        row = self._rows.setdefault(asked.job, _Row(mark))
        if asked.corrected and not self._keeps:
            row.watermark = min(row.watermark, mark)
        return Row(asked.job, row.watermark)


@final
class World:
    """
    What a process lives in.

    Args:
        scheduler: Whose jobs and settings count.
        ledger: What it asks.
        decide: What attempts do.
        refused: The edges of the times in which nobody listens.
        clockwork: Its clock; None: it has no history, so that it shows true time.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        ledger: SimulatedLedger,
        decide: Decide,
        refused: list[int],
        clockwork: Clockwork | None,
    ) -> None:
        self.jobs: Final = scheduler.jobs
        self.settings: Final = _settings(scheduler)
        self.ledger: Final = ledger
        self.decide: Final = decide
        self.refused: Final = refused
        self.clockwork: Final = clockwork
        self.lives = 0
        self.events: Final[list[e.Report]] = []
        self.runs: Final[list[SimulatedRun]] = []
        self.noted: Final[list[Noted]] = []
        self.reached: Final[dict[str, list[int]]] = {job.name: [] for job in self.jobs}
        """Per job, when an attempt began that got through; in true time."""
