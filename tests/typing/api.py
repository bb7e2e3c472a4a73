"""Never executed: type checkers read it. The public API as its users write it, with the types they get back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import assert_never, assert_type

from hypothesis import given

from loopcron import (
    Between,
    Busy,
    CatchUp,
    Cron,
    Event,
    Failed,
    FunctionJob,
    HttpJob,
    Interrupted,
    LeaseLost,
    Missed,
    Outcome,
    Overlap,
    Policy,
    Retry,
    Run,
    Schedule,
    Scheduler,
    Settled,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    any_of,
    at,
    cron,
    env_token,
    every,
)
from loopcron.testing import (
    Behaviour,
    ClockEvent,
    ClockStep,
    Drift,
    Outage,
    SimulatedAttempt,
    SimulatedRun,
    Suspend,
    Timeline,
    behaviours,
    clock_histories,
    outages,
    outcomes,
    schedules,
    simulate,
)

scheduler = Scheduler()
configured = Scheduler(
    drain=timedelta(seconds=5),
    startup_delay=timedelta(seconds=1),
    observers=(),
    enabled=False,
)

scheduler.add(
    HttpJob(
        "sync",
        every(minutes=15),
        "/api/sync/scheduled",
        json={"issues": True},
        token=env_token("AGENT_TOKEN"),
        retry=Retry(attempts=3, on=frozenset({"transport", 503})),
        overlap="allow",
        catch_up=CatchUp.SKIP,
    )
)
working_hours = cron("*/15 9-17 * * MON-FRI", tz="Europe/Berlin")
assert_type(working_hours, Cron)
assert_type(working_hours.next_after(datetime(2026, 3, 1, tzinfo=UTC)), datetime | None)
assert_type(working_hours.describe(), str)
season = any_of(working_hours, every(hours=1, phase="spread")).between(datetime(2026, 3, 1, tzinfo=UTC), None)
assert_type(season, Between)
scheduler.add(FunctionJob("season", season, print))
scheduler.add(FunctionJob("utc", cron("@daily", UTC), print))
scheduler.add(FunctionJob("once", at(datetime(2026, 3, 1, tzinfo=UTC)), print))


@scheduler.job(every(minutes=5), timeout=timedelta(minutes=1), run_on_start=True)
async def prune(run: Run) -> Outcome | None:
    """Look at all that a run tells, and choose an outcome."""
    assert_type(run.slot, datetime)
    assert_type(run.attempt, int)
    assert_type(run.fence, int)
    assert_type(run.deadline_at, datetime | None)
    await run.sleep(0.5)
    return Busy() if run.attempt > 1 else None


@scheduler.job(every(minutes=5), name="blocking")
def blocking(run: Run) -> int:
    """Return something that is dropped."""
    return run.attempt


def wording(outcome: Outcome) -> str:
    """Tell the members of the closed union apart; a checker sees that none is missing."""
    match outcome:
        case Succeeded() | Busy():
            return str(outcome.status)
        case Failed():
            return f"{outcome.blame}: {outcome.error}"
        case TimedOut():
            return f"after {outcome.after_seconds} s"
        case Skipped() | Missed():
            return f"{outcome.count} slots"
        case Interrupted():
            return outcome.by
        case Taken() | LeaseLost():
            return "elsewhere"
        case _:
            assert_never(outcome)


def last_word(event: Event) -> str | None:
    """Narrow the union of events to the one that tells an outcome."""
    return wording(event.outcome) if isinstance(event, Settled) else None


async def life() -> None:
    """Call every verb of a scheduler."""
    # The decorator gives the function back unchanged.
    assert_type(blocking(await a_run()), int)
    async with scheduler as entered:
        assert_type(entered, Scheduler)
        scheduler.pause("sync")
        scheduler.resume("sync")
        assert_type(await scheduler.trigger("sync"), Outcome)
        scheduler.remove("sync")
    async with scheduler.manual():
        await scheduler.tick()
    await scheduler.run()


async def a_run() -> Run:
    """Stand for a run that somebody has."""
    raise NotImplementedError


policy = Policy(overlap=Overlap.ALLOW, misfire_grace=timedelta(minutes=2), timeout=None)
assert_type(policy.overlap, Overlap)


def simulated(week: Iterable[Outage]) -> timedelta:
    """Simulate with every option, and ask every question."""
    history: list[ClockEvent] = [
        ClockStep(timedelta(hours=1), timedelta(hours=-1)),
        Suspend(timedelta(hours=2), timedelta(hours=1)),
        Drift(timedelta(hours=4), 1.0001),
    ]
    timeline = simulate(
        scheduler,
        start=datetime(2026, 3, 1, tzinfo=UTC),
        duration=timedelta(days=7),
        behave=behave,
        transport=week,
        ledger=Outage(timedelta(hours=5), timedelta(minutes=1)),
        process=(),
        keep_ledger=True,
        clock=history,
    )
    simulate([HttpJob("one", every(hours=1), "/")], start=timeline.start, duration=timedelta(1), behave=[500, Busy()])
    assert_type(timeline, Timeline)
    assert_type(timeline.settled("sync"), tuple[Settled, ...])
    assert_type(timeline.runs()[0].outcome, Outcome | None)
    assert_type(timeline.missed()[0].count, int | None)
    assert_type(timeline.overlaps("sync"), tuple[tuple[SimulatedRun, SimulatedRun], ...])
    assert_type(timeline.text(width=80) + timeline.svg(), str)
    return timeline.longest_silence("sync")


def behave(attempt: SimulatedAttempt) -> Behaviour:
    """Say what an attempt does, in each of the ways there are."""
    ways: tuple[Behaviour, ...] = (200, Busy(), timedelta(seconds=3), (500, timedelta(seconds=3)), None)
    return ways[attempt.attempt % len(ways)]


@given(outages(), clock_histories(), outcomes(), behaviours(), schedules())
def drawn(
    outage: Outage, history: list[ClockEvent], outcome: Outcome, ways: list[Behaviour], schedule: Schedule
) -> None:
    """Take what each strategy draws."""
