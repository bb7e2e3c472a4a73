"""A scheduler on a fake clock, with an observer and a transport that record: what most tests of the shell stand on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from loopcron import Outcome, Run, Scheduler, every
from loopcron.testing import FakeClock, RecordingObserver, RecordingTransport, _fake_clock


class Stage:
    """One scheduler with its surroundings; `build` makes another one in the same."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.seen = RecordingObserver()
        self.transport = RecordingTransport()
        self.scheduler = self.build()

    def build(self, **options: Any) -> Scheduler:
        """Make the scheduler anew, with other *options*."""
        given = {"clock": self.clock, "observers": [self.seen], "transport": self.transport, **options}
        self.scheduler = Scheduler(**given)
        return self.scheduler

    def add(self, function: Callable[[Run], Any], **options: Any) -> None:
        """Add a job of the function's name, once a minute if not said otherwise."""
        self.scheduler.job(options.pop("schedule", every(minutes=1)), **options)(function)

    async def advance(self, **duration: float) -> None:
        """Move the clock on; each whole minute from the start holds one slot of a job that runs every minute."""
        await self.clock.advance(timedelta(**duration))

    def outcomes(self, job: str | None = None) -> list[Outcome]:
        """Return what became of the slots, of one *job* or of all, in the order in which it was told."""
        return [settled.outcome for settled in self.seen.settled(job)]

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the events of this *kind*."""
        return [event for event in self.seen.events if type(event) is kind]


@pytest.fixture
def stage() -> Stage:
    """Return a scheduler that has not started."""
    return Stage()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fake clock give up on a busy run after a blink of real time, where that is what the test is about."""
    monkeypatch.setattr(_fake_clock, "PATIENCE_SECONDS", 0.05)
