"""Each policy once through the real scheduler, and what the scheduler adds to them: skip_next, limits, log lines."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import (
    ConfigError,
    Interrupted,
    LoggingObserver,
    LoopcronError,
    Missed,
    Outcome,
    Run,
    Scheduler,
    Settled,
    Skipped,
    Succeeded,
    UnknownJobError,
    at,
    every,
)
from loopcron.testing import hang

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

MINUTE = timedelta(minutes=1)


async def work(run: Run) -> None:
    """Do nothing."""


class Long:
    """A job body that takes some minutes, and remembers when it was called: the first slot's minute is 1."""

    def __init__(self, stage: Stage, minutes: float) -> None:
        self.clock = stage.clock
        self.start = stage.clock.now().replace(second=0)
        self.seconds = minutes * 60
        self.called: list[tuple[float, str]] = []

    async def __call__(self, run: Run) -> None:
        self.called.append(((self.clock.now() - self.start) / MINUTE, run.reason))
        await run.sleep(self.seconds)


def add(stage: Stage, minutes: float, **options: Any) -> Long:
    """Add a job of every minute whose runs take so long."""
    body = Long(stage, minutes)
    stage.add(body, name="job", timeout=None, **options)
    return body


async def test_overlap_queue(stage: Stage) -> None:
    """A slot that comes during a run begins when it has ended, and one that comes while it waits is skipped."""
    body = add(stage, 2.5, overlap="queue")
    async with stage.scheduler:
        await stage.advance(minutes=6)
        assert body.called == [(1.0, "schedule"), (3.5, "schedule"), (6.0, "schedule")]
        assert stage.outcomes() == [Skipped("overlap"), Succeeded(), Skipped("overlap"), Succeeded()]


async def test_overlap_replace(stage: Stage) -> None:
    """A slot that comes during a run cancels it and begins once it has ended."""
    body = add(stage, 2.5, overlap="replace")
    async with stage.scheduler:
        await stage.advance(minutes=3)
        assert body.called == [(1.0, "schedule"), (2.0, "schedule"), (3.0, "schedule")]
        assert stage.outcomes() == [Interrupted("replace")] * 2


async def test_overlap_replace_of_a_run_that_does_not_end(stage: Stage) -> None:
    """A run that swallows its cancellation is given up after two seconds, and the slot begins then."""
    began: list[datetime] = []
    released: list[bool] = []

    async def job(run: Run) -> None:
        began.append(stage.clock.now())
        while not released and len(began) == 1:
            with contextlib.suppress(BaseException):
                await hang()

    stage.add(job, overlap="replace", timeout=None)
    async with stage.scheduler:
        await stage.advance(minutes=2)
        assert began[1] - began[0] == timedelta(minutes=1, seconds=2)
        assert stage.outcomes() == [Interrupted("replace"), Succeeded()]
        released.append(True)


async def test_overlap_allow(stage: Stage) -> None:
    """Slots run beside each other up to the job's own limit; beyond, they are skipped."""
    body = add(stage, 2.5, overlap="allow", max_running=2)
    async with stage.scheduler:
        await stage.advance(minutes=5)
        assert [when for when, _ in body.called] == [1.0, 2.0, 4.0, 5.0]
        assert stage.outcomes().count(Skipped("limit")) == 1


async def test_catch_up_all(stage: Stage) -> None:
    """After a suspend the passed slots run one after the other, oldest first, and then the schedule goes on."""
    body = add(stage, 0.1, catch_up="all", catch_up_max=2)
    async with stage.scheduler:
        await stage.advance(minutes=1, seconds=10)
        stage.clock.jump_wall(timedelta(minutes=5))
        await stage.advance(seconds=50)
        reasons = [reason for _, reason in body.called]
        assert reasons == ["schedule", "catch_up", "catch_up", "schedule", "schedule"]
        slots = [settled.slot_at for settled in stage.seen.settled() if isinstance(settled.outcome, Succeeded)]
        assert slots == sorted(slots)
        assert [outcome.count for outcome in stage.outcomes() if isinstance(outcome, Missed)] == [2]


async def test_limit_of_all_jobs(stage: Stage) -> None:
    """With a place for one run, jobs due together run one after the other, in the order of their names."""
    order: list[str] = []

    async def job(run: Run) -> None:
        order.append(run.job)
        await run.sleep(5)

    stage.build(max_running=1)
    for name in ("c", "a", "b"):
        stage.add(job, name=name)
    async with stage.scheduler:
        await stage.advance(minutes=1, seconds=20)
    assert order == ["a", "b", "c"]
    assert stage.outcomes() == [Succeeded()] * 3


async def test_slots_that_pass_for_want_of_a_place_say_so(stage: Stage) -> None:
    """Slots that pass while another job has the only place end as skipped for the limit, at the stop too."""
    stage.build(max_running=1, drain=timedelta(0))
    stage.add(work)
    stage.add(hang_on, name="long", schedule=at(stage.clock.now()), timeout=timedelta(minutes=3))
    async with stage.scheduler:
        await stage.advance(seconds=1)
        stage.scheduler.trigger("long")
        await stage.advance(minutes=3)
        assert [getattr(outcome, "count", None) for outcome in stage.outcomes("work")] == [2, None]
        long = stage.scheduler.trigger("long")
        await stage.advance(minutes=2)
    skipped, done, at_the_stop = stage.outcomes("work")
    assert isinstance(skipped, Skipped)
    assert isinstance(at_the_stop, Skipped)
    assert [skipped.reason, at_the_stop.reason, at_the_stop.count] == ["limit", "limit", 2]
    assert done == Succeeded()
    assert await long == Interrupted("shutdown")


async def hang_on(run: Run) -> None:
    """Hang."""
    await hang()


async def test_jitter(stage: Stage) -> None:
    """A run begins at its slot plus a jitter that is the same in every life, and its slot is the schedule's."""
    lates: list[list[timedelta]] = []
    for _ in range(2):
        start = stage.clock.now()
        stage.build()
        body: list[timedelta] = []

        async def job(run: Run, body: list[timedelta] = body) -> None:
            body.append(stage.clock.now() - run.slot)

        stage.add(job, jitter=timedelta(seconds=30))
        async with stage.scheduler:
            await stage.advance(minutes=4)
        lates.append(body)
        stage.clock.jump_wall(start - stage.clock.now())
    assert lates[0] == lates[1]
    assert all(timedelta(0) <= late < timedelta(seconds=30) for late in lates[0])
    assert len(set(lates[0])) == len(lates[0]) >= 3


@pytest.mark.parametrize(
    ("overlap", "outcome"),
    [("queue", Succeeded()), ("replace", Succeeded()), ("skip", Skipped("overlap")), ("allow", Succeeded())],
)
async def test_trigger_is_answered_under_every_overlap(stage: Stage, overlap: str, outcome: Outcome) -> None:
    """Awaiting a run asked for gives its outcome, be it begun, waiting, replacing or skipped."""
    add(stage, 0.5, schedule=at(stage.clock.now()), overlap=overlap)
    async with stage.scheduler:
        first = stage.scheduler.trigger("job")
        await stage.advance(seconds=1)
        second = stage.scheduler.trigger("job")
        await stage.advance(minutes=2)
        assert await second == outcome
        assert await first == (Interrupted("replace") if overlap == "replace" else Succeeded())


async def test_trigger_that_never_begins_is_answered(stage: Stage) -> None:
    """A run asked for beyond the one that waits is answered as skipped; one that waits at the stop, as interrupted."""
    stage.build(drain=timedelta(0))
    stage.add(hang_on, name="job", schedule=at(stage.clock.now()), overlap="queue", timeout=None)
    async with stage.scheduler:
        running = stage.scheduler.trigger("job")
        waiting = stage.scheduler.trigger("job")
        skipped = stage.scheduler.trigger("job")
        assert await skipped == Skipped("overlap")
    assert await running == Interrupted("shutdown")
    assert await waiting == Interrupted("shutdown")


# --- skip_next


async def test_skip_next_skips_one_slot(stage: Stage) -> None:
    """The next slot is named, shown in the snapshot until it has come, and ends as skipped; the others run."""
    stage.add(work)
    async with stage.scheduler as scheduler:
        await stage.advance(minutes=1)
        skipped = scheduler.skip_next("work")
        assert skipped is not None
        assert skipped == scheduler.snapshot()["work"].next_slot_at
        await stage.advance(seconds=1)
        assert scheduler.snapshot()["work"].skips_slot_at == skipped
        assert scheduler.skip_next("work") == skipped
        await stage.advance(minutes=1)
        assert scheduler.snapshot()["work"].skips_slot_at is None
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded(), Skipped("skip_next"), Succeeded()]
    assert stage.seen.settled()[1].slot_at == skipped


async def test_skip_next_of_nothing_says_so(stage: Stage) -> None:
    """None is answered where no slot is skipped: not registered yet, ended or paused."""
    stage.add(work)
    stage.add(work, name="ended", schedule=at(stage.clock.now() - MINUTE))
    async with stage.scheduler as scheduler:
        assert scheduler.skip_next("work") is None, "not registered yet"
        await stage.advance(seconds=1)
        assert scheduler.skip_next("ended") is None
        scheduler.pause("work")
        assert scheduler.skip_next("work") is None
        scheduler.resume("work")
        assert scheduler.skip_next("work") is not None


async def test_skip_next_while_stopping_skips_nothing(stage: Stage) -> None:
    """A scheduler that drains has no next slot, and says so."""
    asked: list[datetime | None] = []

    async def job(run: Run) -> None:
        await run.sleep(25)
        asked.append(stage.scheduler.skip_next("job"))

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert asked == [None]


async def test_skip_next_needs_a_job_and_a_life(stage: Stage) -> None:
    """An unknown name and a scheduler that does not run are refused."""
    stage.add(work)
    with pytest.raises(UnknownJobError, match="nobody"):
        stage.scheduler.skip_next("nobody")
    with pytest.raises(LoopcronError, match="run"):
        stage.scheduler.skip_next("work")


# --- refused, and told


@pytest.mark.parametrize("value", [0, -1, 1_001, True, 2.0, "2", timedelta(1)])
def test_limit_of_all_jobs_refuses_bad_input(value: Any) -> None:
    """A limit is a whole number from 1 to 1,000, or None; the message names field, value and what would do."""
    with pytest.raises(ConfigError) as caught:
        Scheduler(max_running=value)
    assert str(caught.value) == f"max_running={value!r}: must be a whole number from 1 to 1000"


@pytest.mark.parametrize(
    ("outcome", "level", "text"),
    [
        (Skipped("skip_next"), "INFO", "skipped: skip_next"),
        (Skipped("limit"), "WARNING", "skipped: limit"),
        (Skipped("limit", 0, 60_000, 2), "WARNING", "skipped: limit (2 slots from"),
        (Skipped("overlap"), "WARNING", "skipped: overlap"),
    ],
)
async def test_new_skips_have_their_level(
    stage: Stage, caplog: pytest.LogCaptureFixture, outcome: Outcome, level: str, text: str
) -> None:
    """What somebody asked for is told at INFO, what the limits cost at WARNING."""
    caplog.set_level(logging.DEBUG, "loopcron")
    LoggingObserver().on_event(Settled("job", 60_000, outcome, "schedule", 0, None, 60_000, 0))
    (record,) = caplog.records
    assert record.levelname == level
    assert text in record.getMessage()


async def test_replaced_run_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The log says that a run was interrupted by what replaced it."""
    caplog.set_level(logging.INFO, "loopcron")
    add(stage, 2, overlap="replace", schedule=every(minutes=1))
    async with stage.scheduler:
        await stage.advance(minutes=2)
        assert any("replace" in record.getMessage() for record in caplog.records)
