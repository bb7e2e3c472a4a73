"""What health must not take for a reason to restart: a healthy app that is killed for it would be killed for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from loopcron import JobState, MemoryLedger, Run, Schedule, every
from loopcron.testing import Faults, FaultyLedger

if TYPE_CHECKING:
    from tests.shell.conftest import Stage


async def work(run: Run) -> None:
    """Do nothing."""


async def test_long_start_up_delay_is_no_reason_to_restart(stage: Stage) -> None:
    """Before the delay is over nothing is late, however many slots have come."""
    stage.build(startup_delay=timedelta(minutes=10))
    stage.add(work, schedule=every(seconds=1))
    async with stage.scheduler:
        await stage.advance(minutes=9)
        health = stage.scheduler.health()
        assert (health["work"].state, health.live) == (JobState.OK, True)


async def test_run_that_may_take_long_is_no_reason_to_restart(stage: Stage) -> None:
    """A run with time left by its own timeout is not late, for it ends by itself; one that may go on for ever is."""

    async def long(run: Run) -> None:
        await run.sleep(1200)

    stage.add(long, name="limited", timeout=timedelta(minutes=30))
    stage.add(long, name="unlimited", timeout=None)
    async with stage.scheduler:
        await stage.advance(minutes=10)
        health = stage.scheduler.health()
        assert (health["limited"].state, health["unlimited"].state) == (JobState.OK, JobState.OVERDUE)


async def test_run_that_is_cut_is_no_reason_to_restart(stage: Stage) -> None:
    """A run that cleans up for a moment after its timeout is not late yet, though its period was short."""

    async def untidy(run: Run) -> None:
        try:
            await run.sleep(60)
        finally:
            assert stage.scheduler.health()["untidy"].state is JobState.OK
            looked.append(run.slot)

    looked: list[object] = []
    stage.add(untidy, schedule=every(seconds=0.25), timeout=timedelta(seconds=3))
    async with stage.scheduler:
        await stage.advance(seconds=4)
    assert looked


async def test_store_that_is_down_is_no_reason_to_restart(stage: Stage) -> None:
    """A slot with a long grace waits for the store: overdue, and said so, but a new process could not ask it either."""
    stage.build(ledger=FaultyLedger(MemoryLedger(stage.clock), Faults(4, forever=True)))
    stage.add(work, misfire_grace=timedelta(hours=1))
    async with stage.scheduler:
        await stage.advance(minutes=10)
        health = stage.scheduler.health()
        assert (health["work"].state, health.live, health.ok) == (JobState.OVERDUE, True, False)


@pytest.mark.parametrize(("schedule", "state"), [(every(minutes=5), JobState.OVERDUE), (every(hours=1), JobState.OK)])
async def test_step_back_by_less_than_a_period_loses_nothing(stage: Stage, schedule: Schedule, state: JobState) -> None:
    """A job whose last slot is less than a period ahead of the clock has nothing to wait for but its next slot."""
    stage.add(work, schedule=schedule)
    async with stage.scheduler:
        await stage.advance(minutes=48)  # until 12:01:17
        stage.clock.jump_wall(timedelta(minutes=-20))
        await stage.advance(seconds=31)
        health = stage.scheduler.health()
        assert (health["work"].state, health.live) == (state, state is JobState.OK)


@pytest.mark.parametrize("by", [timedelta(hours=5), timedelta(hours=-5)])
async def test_clock_that_was_just_set_is_no_reason_to_restart(stage: Stage, by: timedelta) -> None:
    """Between a step of the clock and the loop's next look nothing is judged by a time that the loop has not seen."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=2)
        stage.clock.jump_wall(by)
        assert (stage.scheduler.health()["work"].state, stage.scheduler.health().live) == (JobState.OK, True)
        await stage.advance(seconds=30)
        assert (stage.scheduler.health()["work"].state, stage.scheduler.health().live) == (JobState.OK, True)
