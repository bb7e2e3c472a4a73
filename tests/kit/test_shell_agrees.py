"""Simulating is what the real shell does on a fake clock, only without an event loop: both tell the same story."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loopcron import FunctionJob, Outcome, Retry, Run, Scheduler, Settled, Succeeded, every
from loopcron.testing import (
    ClockEvent,
    ClockStep,
    FakeClock,
    RecordingObserver,
    Suspend,
    clock_histories,
    outcomes,
    simulate,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = timedelta(hours=5)
ZERO = timedelta(0)
Script = Sequence[tuple[Outcome, timedelta]]
SCRIPTS = st.lists(st.tuples(outcomes(), st.integers(0, 1_500).map(lambda s: timedelta(seconds=s))), max_size=8)
HISTORIES = clock_histories(
    timedelta(hours=3), forward=timedelta(hours=8), back=timedelta(hours=8), suspended=timedelta(minutes=20), drift=0
)
"""All of it is over before the simulation ends. Drift is left out: the two reckon it with different precision."""
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "overlap": st.sampled_from(["skip", "queue", "replace", "allow"]),
        "catch_up": st.sampled_from(["skip", "latest", "all"]),
        "jitter": st.sampled_from([ZERO, timedelta(seconds=90)]),
        "retry": st.just(Retry(on=frozenset({"job", "endpoint", "transport"}))),
        "run_on_start": st.booleans(),
    },
)


def told(settled: Sequence[Settled]) -> list[tuple[Any, ...]]:
    """Return what both stories can be compared by: all but the fence, which is the ledger's affair."""
    return [event[:8] for event in settled]


def nothing_happens_asleep(history: Sequence[ClockEvent]) -> bool:
    """Say whether each event finds the machine awake; the fake clock knows no suspend inside of another one."""
    wakes = ZERO
    for event in history:
        if event.at <= wakes:
            return False
        wakes = event.at + event.duration if isinstance(event, Suspend) else event.at
    return True


async def in_earnest(policy: dict[str, Any], script: Script, history: Sequence[ClockEvent]) -> list[tuple[Any, ...]]:
    """Return what becomes of the job on the real shell."""
    clock, seen = FakeClock(START), RecordingObserver()
    scheduler = Scheduler(clock=clock, observers=[seen])
    rest = iter(script)

    async def work(run: Run) -> Outcome:
        outcome, lasts = next(rest, (Succeeded(), ZERO))
        if lasts:
            await run.sleep(lasts.total_seconds())
        return outcome

    scheduler.add(FunctionJob("work", every(minutes=10), work, **policy))
    async with scheduler:
        passed = slept = ZERO
        for event in history:
            # A hair before, because what happens at one instant happens to the clock first.
            until = max(event.at - slept - timedelta(microseconds=1), passed)
            await clock.advance(until - passed)
            passed = until
            if isinstance(event, Suspend):
                slept += event.duration
                clock.jump_wall(event.duration)
            elif isinstance(event, ClockStep):
                clock.jump_wall(event.by)
        await clock.advance(max(HOURS - slept - passed, ZERO))
    return told(seen.settled())


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough: that the shell does the same on all of them is shown elsewhere."""
    return "asyncio"


@settings(max_examples=25)
@given(POLICIES, SCRIPTS)
async def test_same_story(policy: dict[str, Any], script: Script) -> None:
    """Whatever attempts do, the simulated outcomes are those of the real shell, instant by instant."""
    job = FunctionJob("work", every(minutes=10), print, **policy)
    timeline = simulate([job], start=START, duration=HOURS, behave=script)
    assert told(timeline.settled()) == await in_earnest(policy, script, ())


@settings(max_examples=25)
@given(POLICIES, SCRIPTS, HISTORIES)
async def test_same_story_by_a_clock_with_a_history(
    policy: dict[str, Any], script: Script, history: list[ClockEvent]
) -> None:
    """Steps and suspends are seen at the same instant, and have the same consequences."""
    assume(nothing_happens_asleep(history))
    job = FunctionJob("work", every(minutes=10), print, **policy)
    timeline = simulate([job], start=START, duration=HOURS, behave=script, clock=history)
    assert told(timeline.settled()) == await in_earnest(policy, script, history)
