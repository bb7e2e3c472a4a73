"""What a run is to its job, what becomes of it, and what pausing, removing and triggering do to it."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from loopcron import (
    AttemptFailed,
    Busy,
    ClockStepped,
    ConfigError,
    Failed,
    FunctionJob,
    HttpJob,
    Interrupted,
    JobEnded,
    JobPaused,
    JobResumed,
    LoopcronError,
    Missed,
    Request,
    Response,
    Retry,
    Run,
    RunStarted,
    Settled,
    Skipped,
    Succeeded,
    TimedOut,
    TransportError,
    at,
    every,
)
from loopcron.testing import RecordingTransport, hang

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

variable: ContextVar[str] = ContextVar("variable", default="untouched")


async def work(run: Run) -> None:
    """Do nothing."""


async def wait(run: Run) -> None:
    """Hang."""
    await hang()


# --- what a job returns


@pytest.mark.parametrize(
    ("returned", "outcome"),
    [
        (None, Succeeded()),
        ("a value", Succeeded()),
        (False, Succeeded()),
        (Succeeded, Succeeded()),
        (Succeeded(201), Succeeded(201)),
        (Busy(), Busy()),
        (Failed("job", "said so"), Failed("job", "said so")),
        (Skipped("overlap"), Skipped("overlap")),
        (Interrupted("shutdown"), Interrupted("shutdown")),
    ],
)
async def test_returned_outcome_counts_and_nothing_else(stage: Stage, returned: Any, outcome: Any) -> None:
    """A job that returns an outcome has chosen it; any other value is dropped and the run succeeded."""

    async def job(run: Run) -> Any:
        return returned

    stage.add(job)
    stage.add(lambda run: returned, name="blocking")
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes("job") == [outcome]
    assert stage.outcomes("blocking") == [outcome]


async def test_transport_error_left_alone_is_the_outcome(stage: Stage) -> None:
    """A `TransportError` that a job lets pass is told with blame transport, not as the job's fault."""

    async def job(run: Run) -> None:
        raise TransportError("reset")

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Failed("transport", "reset")]


# --- the run


async def test_run_knows_what_it_is(stage: Stage) -> None:
    """A run tells job, slot, attempt, reason, fence, key and deadline."""
    runs: list[Run] = []

    async def job(run: Run) -> None:
        runs.append(run)

    stage.add(job)
    stage.add(job, name="endless", timeout=None)
    async with stage.scheduler:
        await stage.advance(minutes=2)
    endless, first, _, second = sorted(runs, key=lambda run: (run.slot, -len(run.job)))
    assert (first.job, first.attempt, first.reason) == ("job", 1, "schedule")
    assert first.slot.isoformat() == "2031-05-07T11:14:00+00:00"
    assert first.deadline_at == first.slot + timedelta(minutes=1)
    assert first.key == "job@2031-05-07T11:14:00.000Z"
    assert 0 < first.fence < second.fence
    assert endless.deadline_at is None
    assert repr(first) == "<Run job@2031-05-07T11:14:00.000Z attempt 1, schedule>"


async def test_run_sleeps_on_the_schedulers_clock(stage: Stage) -> None:
    """`Run.sleep` takes as long as the clock says, and no real time."""
    slept: list[float] = []

    async def job(run: Run) -> None:
        before = stage.clock.monotonic()
        for seconds in (0, 0.25, 30):
            await run.sleep(seconds)
        slept.append(stage.clock.monotonic() - before)

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert slept == [30.25]


async def test_tasks_of_a_run_sleep_side_by_side(stage: Stage) -> None:
    """A run may sleep in several tasks of its own at once, and time moves on until the last one wakes."""
    woken: list[float] = []

    async def job(run: Run) -> None:
        before = stage.clock.monotonic()

        async def nap(seconds: float) -> None:
            await run.sleep(seconds)
            woken.append(stage.clock.monotonic() - before)

        async with anyio.create_task_group() as group:
            for seconds in (5, 10, 2):
                group.start_soon(nap, seconds)

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert woken == [2, 5, 10]
    assert stage.outcomes() == [Succeeded()]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), True, "1", None])
async def test_run_sleeps_finite_seconds_only(stage: Stage, seconds: Any) -> None:
    """A sleep that would be none, or for ever, is the job's mistake."""

    async def job(run: Run) -> None:
        with pytest.raises(ConfigError, match="must be a finite number of seconds"):
            await run.sleep(seconds)

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded()]


async def test_run_sends_with_the_headers_that_name_it(stage: Stage) -> None:
    """`Run.send` goes through the scheduler's transport and puts six headers behind the request's own."""

    async def job(run: Run) -> None:
        response = await run.send(Request("POST", "/api", (("X-Own", "1"),), b"body"))
        assert response.status == 200

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        fence = stage.seen.settled("job")[0].fence
    assert stage.outcomes() == [Succeeded()]
    (request,) = stage.transport.requests
    assert (request.method, request.path, request.body) == ("POST", "/api", b"body")
    assert request.headers == (
        ("X-Own", "1"),
        ("Idempotency-Key", "job@2031-05-07T11:14:00.000Z"),
        ("Loopcron-Job", "job"),
        ("Loopcron-Slot", "2031-05-07T11:14:00.000Z"),
        ("Loopcron-Attempt", "1"),
        ("Loopcron-Reason", "schedule"),
        ("Loopcron-Fence", str(fence)),
    )


async def test_run_calls_a_blocking_function(stage: Stage) -> None:
    """`Run.call` gives an async job what a blocking function returns or raises."""

    def twice(run: Run) -> object:
        return run.job * 2

    def fail(run: Run) -> object:
        raise LookupError("nothing")

    async def job(run: Run) -> None:
        assert await run.call(twice) == "jobjob"
        await run.call(fail)

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Failed("job", "LookupError: nothing")]


async def test_context_of_a_run_is_its_own(stage: Stage) -> None:
    """What a run sets in its context reaches neither the next run nor the task that triggered it."""
    found: list[str] = []

    async def job(run: Run) -> None:
        found.append(variable.get())
        variable.set("by the run")

    stage.add(job)
    variable.set("by the one who entered")
    async with stage.scheduler:
        await stage.advance(minutes=2)
        variable.set("by the one who triggers")
        await stage.scheduler.trigger("job")
        assert variable.get() == "by the one who triggers"
    assert found == ["by the one who entered"] * 3


async def test_runs_survive_the_garbage_collector(stage: Stage) -> None:
    """A run whose task nobody else refers to is not collected while it waits."""
    stage.add(wait, schedule=every(minutes=1), timeout=timedelta(minutes=5), overlap="allow")

    async def nap(run: Run) -> None:
        await run.sleep(10)

    stage.add(nap)
    async with stage.scheduler:
        for _ in range(3):
            await stage.advance(minutes=1)
            gc.collect()
        assert len(stage.scheduler.snapshot()["wait"].runs) == 3
    assert stage.outcomes("nap") == [Succeeded()] * 3


async def test_runs_that_are_over_need_no_garbage_collector(stage: Stage) -> None:
    """What belonged to a run is freed with it: a full collection stops the whole app, the longer the more there is."""
    stage.add(work, name="freed")  # of no other test, whose runs may be left
    async with stage.scheduler:
        await stage.advance(minutes=1)
        gc.collect()
        gc.disable()
        try:
            await stage.advance(minutes=3)
            left = [found for found in gc.get_objects() if type(found) is Run and found.job == "freed"]
        finally:
            gc.enable()
    assert len(stage.outcomes()) == 4
    assert not left


# --- trigger


async def test_trigger_runs_now_and_gives_the_outcome(stage: Stage) -> None:
    """Awaiting what `trigger` returns gives the outcome of a run that is no slot."""
    runs: list[Run] = []

    async def job(run: Run) -> Any:
        runs.append(run)
        return Busy()

    stage.add(job)
    async with stage.scheduler:
        assert await stage.scheduler.trigger("job") == Busy()
        assert await stage.scheduler.trigger("job").wait() == Busy()
        assert stage.transport.requests == []
        await stage.advance(minutes=1)
    first, second, slot = runs
    assert (first.reason, first.attempt, first.fence) == ("manual", 1, 0)
    assert first.slot == stage.clock.now() - timedelta(minutes=1)
    assert first.key.startswith("job@manual-")
    assert first.key != second.key
    assert slot.reason == "schedule"


async def test_trigger_obeys_overlap(stage: Stage) -> None:
    """With a run alive, a manual one is skipped by the default policy and runs where overlap is allowed."""
    stage.add(wait)
    stage.add(wait, name="allowing", overlap="allow")
    async with stage.scheduler:
        stage.scheduler.trigger("wait")
        stage.scheduler.trigger("allowing")
        assert await stage.scheduler.trigger("wait") == Skipped("overlap")
        stage.scheduler.trigger("allowing")
        await stage.advance(seconds=1)
        assert len(stage.scheduler.snapshot()["allowing"].runs) == 2


async def test_trigger_works_while_paused(stage: Stage) -> None:
    """A paused job can still be run by hand."""
    stage.add(work)
    async with stage.scheduler:
        stage.scheduler.pause("work")
        await stage.advance(minutes=2)
        assert await stage.scheduler.trigger("work") == Succeeded()
    assert Succeeded() in stage.outcomes("work")


async def test_given_up_wait_leaves_the_run_alone(stage: Stage) -> None:
    """Who no longer waits for a manual run does not cancel it."""

    async def nap(run: Run) -> None:
        await run.sleep(5)

    stage.add(nap)
    async with stage.scheduler:
        trigger = stage.scheduler.trigger("nap")
        with anyio.move_on_after(0.01):
            await trigger
        await stage.advance(seconds=6)
        assert await trigger == Succeeded()


async def test_trigger_from_an_observer_joins_the_turn(stage: Stage) -> None:
    """An observer may trigger a job in answer to an event."""

    class Chain:
        def on_event(self, event: object) -> None:
            if isinstance(event, Settled) and event.job == "first":
                stage.scheduler.trigger("then")

    stage.build(observers=[stage.seen, Chain()])
    stage.add(work, name="first")
    stage.add(work, name="then", schedule=every(hours=24))
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert [(settled.job, settled.reason) for settled in stage.seen.settled()] == [
        ("first", "schedule"),
        ("then", "manual"),
    ] * 2


# --- pause, resume, remove, add


async def test_paused_slots_end_as_one_range(stage: Stage) -> None:
    """Slots of a pause are skipped as one range at the end of it, and never caught up."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        stage.scheduler.pause("work")
        stage.scheduler.pause("work")
        await stage.advance(minutes=3)
        assert stage.scheduler.snapshot()["work"].paused
        assert stage.outcomes() == [Succeeded()]
        stage.scheduler.resume("work")
        stage.scheduler.resume("work")
        await stage.advance(minutes=1)
    first, skipped, last = stage.outcomes()
    assert isinstance(skipped, Skipped)
    assert (skipped.reason, skipped.count) == ("paused", 3)
    assert first == last == Succeeded()
    assert (len(stage.told(JobPaused)), len(stage.told(JobResumed))) == (1, 1)


async def test_pause_lets_a_live_run_go_on(stage: Stage) -> None:
    """A run that is alive when its job is paused ends as it would have."""

    async def nap(run: Run) -> None:
        await run.sleep(30)

    stage.add(nap)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        stage.scheduler.pause("nap")
        await stage.advance(minutes=2)
    assert Succeeded() in stage.outcomes("nap")


async def test_pause_holds_over_a_restart(stage: Stage) -> None:
    """A job paused in one life, or before the first one, is paused in the next."""
    stage.add(work)
    stage.scheduler.pause("work")
    for _ in range(2):
        async with stage.scheduler:
            await stage.advance(minutes=2)
            assert stage.scheduler.health()["work"].state == "paused"
    assert Succeeded() not in stage.outcomes()
    stage.scheduler.resume("work")
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes()[-1] == Succeeded()


async def test_removed_job_ends_as_interrupted(stage: Stage) -> None:
    """Removing cuts the live run, drops the history for good, and lets the others go on."""
    stage.add(wait)
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        stage.scheduler.remove("wait")
        assert [job.name for job in stage.scheduler.jobs] == ["work"]
        await stage.advance(minutes=2)
        assert stage.outcomes("wait") == [Interrupted("remove")]
        stage.add(wait)
        assert stage.scheduler.snapshot()["wait"].history == ()
    assert stage.outcomes("work") == [Succeeded()] * 3


async def test_removed_before_its_first_step_never_runs(stage: Stage) -> None:
    """A run that is removed before its task took a step is interrupted without having run."""
    ran: list[Run] = []

    async def job(run: Run) -> None:
        ran.append(run)

    stage.add(job)
    async with stage.scheduler:
        trigger = stage.scheduler.trigger("job")
        stage.scheduler.remove("job")
        assert await trigger == Interrupted("remove")
    assert ran == []


async def test_job_may_remove_itself(stage: Stage) -> None:
    """A run that removes its own job is cancelled at its next await, as any other."""

    async def once(run: Run) -> None:
        stage.scheduler.remove("once")
        await run.sleep(1)

    stage.add(once)
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=3)
    assert stage.outcomes("once") == [Interrupted("remove")]
    assert stage.outcomes("work") == [Succeeded()] * 3


async def test_job_added_while_running_is_served(stage: Stage) -> None:
    """A job that is added to a running scheduler has its next slot, even before the old wake-up."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(seconds=1)
        stage.add(work, name="fast", schedule=every(seconds=1))
        await stage.advance(seconds=3)
        assert stage.outcomes("fast") == [Succeeded()] * 3
        assert stage.outcomes("work") == []


async def test_job_without_a_slot_left_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A job whose only slot is past never runs, and the log says so."""
    stage.add(work, schedule=at(stage.clock.now() - timedelta(days=1)))
    async with stage.scheduler:
        await stage.advance(minutes=1)
        assert stage.scheduler.health()["work"].state == "ended"
    assert [event.served for event in stage.told(JobEnded)] == [False]
    assert "work never runs: its last slot is past: 2031-05-06T11:13:17.000Z" in caplog.text


# --- retries, timeouts, lateness


async def test_failed_attempts_are_repeated(stage: Stage) -> None:
    """With `Retry` a run makes further attempts after its back-off, and all of them share one key."""
    stage.build(transport=RecordingTransport(503, 500, 200))
    retry = Retry(attempts=3, backoff=timedelta(seconds=2))
    stage.scheduler.add(HttpJob("call", every(minutes=1), "/", retry=retry))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    (settled,) = stage.seen.settled()
    assert settled.outcome == Succeeded(200)
    assert settled.attempt == 3
    assert settled.duration_seconds == 6
    assert [event.attempt for event in stage.told(RunStarted)] == [1, 2, 3]
    assert [event.retry_ms for event in stage.told(AttemptFailed)] == [2000, 4000]


async def test_attempts_share_the_key(stage: Stage) -> None:
    """Every attempt of a run carries the same idempotency key and fence, and its own number."""
    transport = RecordingTransport(TransportError("refused", started=False), Response(200))
    stage.build(transport=transport)
    stage.scheduler.add(HttpJob("call", every(minutes=1), "/"))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    first, second = (dict(request.headers) for request in transport.requests)
    assert (first.pop("Loopcron-Attempt"), second.pop("Loopcron-Attempt")) == ("1", "2")
    assert first == second


async def test_run_is_cut_at_its_timeout(stage: Stage) -> None:
    """A run that takes longer than its timeout is cancelled, timed out, and the next slot runs."""
    stage.add(wait, timeout=timedelta(seconds=10))
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert stage.outcomes() == [TimedOut(10.0), TimedOut(10.0)]


async def test_default_timeout_is_one_period(stage: Stage) -> None:
    """Without a timeout of its own a job gets one period, and the slot that comes with its end finds it alive."""
    stage.add(wait)
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert stage.outcomes() == [Skipped("overlap"), TimedOut(60.0)]


async def test_run_that_ends_although_it_was_cut_counts_as_it_ended(stage: Stage) -> None:
    """A job that turns its cancellation into a result has that result."""

    async def stubborn(run: Run) -> Any:
        try:
            await hang()
        except BaseException:
            return Succeeded(299)

    stage.add(stubborn, timeout=timedelta(seconds=10))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded(299)]


async def test_slots_in_a_suspend_are_missed_as_a_range(stage: Stage) -> None:
    """After a jump of the wall clock the newest slot runs and the others are one range; the step is told once."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        stage.clock.jump_wall(timedelta(hours=10))
        await stage.advance(minutes=2)
    assert [event.by_ms for event in stage.told(ClockStepped)] == [36_000_000]
    outcomes = stage.outcomes()
    (missed,) = (outcome for outcome in outcomes if isinstance(outcome, Missed))
    assert missed.count == 599
    assert outcomes.count(Succeeded()) == len(outcomes) - 1 == 4


async def test_no_slot_recurs_after_a_step_back(stage: Stage) -> None:
    """When the clock is set back, the job waits until it passes its last slot again."""
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=3)
        stage.clock.jump_wall(timedelta(minutes=-2))
        await stage.advance(minutes=2)
        assert len(stage.outcomes()) == 3
        await stage.advance(minutes=1)
    slots = [settled.slot for settled in stage.seen.settled()]
    assert len(slots) == 4
    assert sorted(set(slots)) == slots


async def test_hang_is_for_the_inside_of_a_run() -> None:
    """Outside of a run there is nothing to hang."""
    with pytest.raises(LoopcronError, match="inside of a job's run"):
        await hang()


@pytest.mark.parametrize("verb", ["pause", "remove", "add", "trigger"])
async def test_run_may_use_the_scheduler(stage: Stage, verb: str) -> None:
    """Every verb may be called from inside a run."""
    calls: dict[str, Callable[[], object]] = {
        "pause": lambda: stage.scheduler.pause("work"),
        "remove": lambda: stage.scheduler.remove("work"),
        "add": lambda: stage.scheduler.add(FunctionJob("new", every(minutes=1), work)),
        "trigger": lambda: stage.scheduler.trigger("work"),
    }

    async def acting(run: Run) -> None:
        outcome = calls.pop(verb, lambda: None)()
        if isinstance(outcome, Awaitable):
            assert await outcome == Succeeded()

    stage.add(acting)
    stage.add(work, schedule=every(hours=1))
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert stage.outcomes("acting") == [Succeeded()] * 2
