"""A desk for tests of the timetable: it keeps the time, answers for the ledger, and sorts what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from loopcron import _events as e
from loopcron._claims import SPREAD_MS
from loopcron._entries import JobFacts
from loopcron._every import every
from loopcron._ledger import Answer, Claim, Register, Renew, Row, Unavailable, Won
from loopcron._outcomes import Outcome
from loopcron._policies import Policy
from loopcron._schedules import Schedule
from loopcron._timetable import Timetable
from tests.rows import lost, registered

START = 1_772_323_200_000
"""2026-03-01T00:00:00Z, a slot of any schedule that divides the day."""
_A = TypeVar("_A")


class Desk:
    """A timetable with its time. All times are in ms from the start."""

    def __init__(self, startup_delay: int = 0, now: int = START, **options: Any) -> None:
        self.start = now
        self.now = now
        self.timetable = Timetable(now, startup_delay=startup_delay, worker="w", **options)
        self.actions: list[e.Action] = []
        """All that was asked for and not taken."""
        self.claims: list[Claim] = []
        self.starts: dict[int, e.RunStarted] = {}
        self.renews = True
        """Whether each lease is renewed as soon as that is asked for."""

    def turn(self) -> None:
        while actions := self.timetable.poll(self.now):
            self.actions += actions
            for action in actions:
                if isinstance(action, Claim):
                    self.claims.append(action)
                elif isinstance(action, e.RunStarted):
                    self.starts[action.run_id] = action
                elif isinstance(action, Renew) and self.renews:
                    self.timetable.handle(e.Renewed([action], [True]), self.now)

    def at(self, elapsed: int) -> None:
        """Poll at this time, and at no other on the way."""
        self.now = self.start + elapsed
        self.turn()

    def go(self, elapsed: int) -> None:
        """Poll at each wake-up up to this time."""
        end = self.start + elapsed
        while (wakeup := self.timetable.next_wakeup()) is not None and wakeup <= end:
            self.now = wakeup
            self.turn()
        self.at(elapsed)

    def tell(self, fact: e.Fact, elapsed: int | None = None) -> None:
        if elapsed is not None:
            self.now = self.start + elapsed
        self.timetable.handle(fact, self.now)
        self.turn()

    def add(
        self,
        schedule: Schedule | None = None,
        *,
        name: str = "job",
        behind: int = 0,
        paused: bool = False,
        **policy: Any,
    ) -> None:
        """Add a job, every minute if not said otherwise, and register it with the watermark that it asks for."""
        self.tell(e.Added(name, every(minutes=1) if schedule is None else schedule, Policy(**policy), paused))
        for register in self.take(Register):
            watermark = self.now if register.watermark is None else register.watermark
            self.tell(registered([name], [watermark - behind]))

    def register(self, row: Row, schedule: Schedule | None = None) -> None:
        """Add a job, every minute if not said otherwise, and let the ledger answer with this row."""
        self.tell(e.Added(row.job, every(minutes=1) if schedule is None else schedule, Policy()))
        self.tell(e.Registered([row.job], [row]))

    def ask(self, elapsed: int) -> None:
        """Poll at each wake-up up to this time and the moment after, in which all workers ask for its slots."""
        self.go(elapsed + SPREAD_MS)

    def win(self, elapsed: int | None = None) -> None:
        """Win all open claims."""
        claims, self.claims = self.claims, []
        self.tell(e.Answered(claims, [Won(7) for _ in claims]), elapsed)

    def lose(self) -> None:
        """Lose all open claims."""
        claims, self.claims = self.claims, []
        self.tell(e.Answered(claims, [lost(claim) for claim in claims]))

    def give_up(self) -> None:
        """Hear that the ledger cannot be asked, until nobody asks it any more about what is open now."""
        asked = {claim.claim_id for claim in self.claims}
        while asked & {claim.claim_id for claim in self.claims}:
            self.hear(Unavailable("down"))
            while not self.claims and (wakeup := self.timetable.next_wakeup()) is not None and self.waits(asked):
                self.now = wakeup
                self.turn()

    def waits(self, claim_ids: set[str]) -> bool:
        """Return whether the ledger is to be asked again about any of these claims."""
        return not claim_ids.isdisjoint(self.timetable._claims._open)

    def hear(self, answer: Answer, elapsed: int | None = None) -> None:
        """Hear the same answer to all open claims."""
        claims, self.claims = self.claims, []
        self.tell(e.Answered(claims, [answer] * len(claims)), elapsed)

    def trigger(self, elapsed: int | None = None, *, name: str = "job", number: int = 1) -> None:
        """Ask for a manual run."""
        self.tell(e.Triggered(name, f"{name}@manual-{number}"), elapsed)

    def end(self, outcome: Outcome | None, elapsed: int | None = None, run_id: int | None = None) -> None:
        """End the attempt of the run started last, or of the one named."""
        self.tell(e.AttemptEnded(max(self.starts) if run_id is None else run_id, outcome), elapsed)

    def take(self, kind: type[_A]) -> list[_A]:
        """Return and forget all actions of this kind."""
        taken: list[_A] = [action for action in self.actions if isinstance(action, kind)]
        self.actions = [action for action in self.actions if not isinstance(action, kind)]
        return taken

    def begun(self) -> list[tuple[str, int, str]]:
        """Take the runs that began: job, slot in ms from the start, and reason."""
        return [
            (start.job, start.slot - self.start, start.reason)
            for start in self.take(e.RunStarted)
            if start.attempt == 1
        ]

    def claimed(self) -> list[tuple[str, int]]:
        """Take the claims: job and slot in ms from the start; they stay open."""
        return [(claim.job, claim.slot - self.start) for claim in self.take(Claim)]

    def told(self) -> list[tuple[str, int, Outcome]]:
        """Take the outcomes with their jobs and slots in ms from the start."""
        return [(settled.job, settled.slot - self.start, settled.outcome) for settled in self.take(e.Settled)]

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Take the outcomes, with their slots in ms from the start."""
        return [(settled.slot - self.start, settled.outcome) for settled in self.take(e.Settled)]

    def facts(self, name: str = "job") -> JobFacts:
        facts = self.timetable.facts(name)
        assert facts is not None
        return facts


@pytest.fixture
def desk() -> Desk:
    """A desk whose timetable starts now, without delay."""
    return Desk()


@pytest.fixture
def late_desk() -> Desk:
    """A desk with a start-up delay of 5 s."""
    return Desk(startup_delay=5_000)


@pytest.fixture
def narrow() -> Desk:
    """A desk whose timetable has a place for one run of all jobs."""
    return Desk(max_running=1)


@pytest.fixture
def make_desk() -> Callable[..., Desk]:
    """Make a desk with other options."""
    return Desk


@pytest.fixture
def shared() -> Desk:
    """A desk whose ledger other workers share."""
    return Desk(shared=True)


@pytest.fixture
def firing() -> Desk:
    """A desk whose ledger other workers share, and whose slots run without it once it was down for a while."""
    return Desk(shared=True, fires=True)
