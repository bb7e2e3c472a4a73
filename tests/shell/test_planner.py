"""The shell adds nothing: what the scheduler does is what the timetable, driven by hand, asks for."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from loopcron import (
    Action,
    Claim,
    Failed,
    FunctionJob,
    MemoryLedger,
    Register,
    Run,
    Scheduler,
    Settled,
    Succeeded,
    every,
)
from loopcron import _events as e
from loopcron._instants import from_ms, to_ms
from loopcron._timetable import Timetable
from loopcron.testing import FakeClock, RecordingObserver

NAMES = ("a", "b", "c")
SECONDS = {"a": 7, "b": 10, "c": 30}


class Step(NamedTuple):
    """One thing that happens: what, to which job, or for how many seconds."""

    what: str
    job: str
    seconds: int


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(("wait", "wait", "wait", "add", "remove", "pause", "resume", "trigger")),
        st.sampled_from(NAMES),
        st.integers(1, 45),
    ),
    max_size=12,
)


def result(run: Run) -> Any:
    """Return what a run of a slot comes to: every third one fails."""
    return Failed("job", "third") if to_ms(run.slot) // 1000 % 3 == 0 else Succeeded()


class Hand:
    """The timetable with the simplest hands that can serve it: each answer comes at once."""

    def __init__(self, clock: FakeClock) -> None:
        self.at = to_ms(clock.now())
        self.timetable = Timetable(self.at)
        self.ledger = MemoryLedger(self)  # type: ignore[arg-type]
        self.settled: list[Settled] = []

    def now(self) -> datetime:
        """Be the ledger's clock."""
        return from_ms(self.at)

    def tell(self, fact: e.Fact) -> None:
        self.timetable.handle(fact, self.at)
        self.turn()

    def turn(self) -> None:
        while actions := self.timetable.poll(self.at):
            for action in actions:
                self.do(action)

    def do(self, action: Action) -> None:
        if isinstance(action, Register):
            self.timetable.handle(e.Registered([action.job], at_once(self.ledger.register([action]))), self.at)
        elif isinstance(action, Claim):
            self.timetable.handle(e.Answered([action], at_once(self.ledger.claim([action]))), self.at)
        elif isinstance(action, e.RunStarted):
            run = Run(action.job, action.slot, action.run_id, 1, action.reason, action.fence, None, None, None)  # type: ignore[arg-type]
            self.timetable.handle(e.AttemptEnded(action.run_id, result(run)), self.at)
        elif isinstance(action, Settled):
            self.settled.append(action)

    def wait(self, seconds: int) -> None:
        target = self.at + seconds * 1000
        while (at := self.timetable.next_wakeup()) is not None and at <= target:
            self.at = max(self.at, at)
            self.turn()
        self.at = target
        self.turn()


def at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine returns that never waits."""
    try:
        answer.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def told(events: list[Settled]) -> list[tuple[Any, ...]]:
    """Return what is the same in both: all but the random key of a manual run, and the fence."""
    return sorted(
        (event.ended, event.job, event.slot, event.reason, repr(event.outcome), event.failures) for event in events
    )


@settings(max_examples=max(10, settings().max_examples // 3))
@given(history=steps)
async def test_scheduler_does_what_the_timetable_says(history: list[Step]) -> None:
    """Any small history through the real scheduler has the outcomes of the planner alone, at the same instants."""
    clock, seen = FakeClock(), RecordingObserver()
    scheduler = Scheduler(clock=clock, observers=[seen], drain=timedelta(0))
    hand = Hand(clock)

    async def work(run: Run) -> Any:
        return result(run)

    present: set[str] = set()
    async with scheduler:
        for step in history:
            if step.what == "wait":
                await clock.advance(timedelta(seconds=step.seconds))
                hand.wait(step.seconds)
            elif step.what == "add":
                if step.job not in present:
                    present.add(step.job)
                    rule = every(seconds=SECONDS[step.job])
                    job = FunctionJob(step.job, rule, work)
                    scheduler.add(job)
                    hand.tell(e.Added(step.job, rule, job.policy))
            elif step.job in present:
                if step.what == "trigger":
                    await scheduler.trigger(step.job)
                    hand.tell(e.Triggered(step.job, "key"))
                else:
                    await clock.advance(timedelta(0))
                    getattr(scheduler, step.what)(step.job)
                    fact: dict[str, Any] = {"pause": e.PauseAsked, "resume": e.ResumeAsked, "remove": e.Removed}
                    hand.tell(fact[step.what](step.job))
                    present -= {step.job} if step.what == "remove" else set()
            await clock.advance(timedelta(0))
            assert told(seen.settled()) == told(hand.settled)
    assert not [event for event in seen.events if isinstance(event, e.InternalFault)]
