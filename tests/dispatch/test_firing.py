"""Parity with Dispatch's first scheduler: when its jobs fire, what they report, and that nothing stops them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from loopcron import (
    Busy,
    Failed,
    JobState,
    Outcome,
    Request,
    Response,
    Scheduler,
    Succeeded,
    TimedOut,
    TransportError,
    dispatch,
)
from loopcron.testing import FakeClock, RecordingObserver, RecordingTransport, hang

DELAY = timedelta(seconds=5)
INTERVAL = timedelta(minutes=15)
MILLISECOND = timedelta(milliseconds=1)
HEALTH, SYNC = "/api/health", "/api/sync/scheduled"


class Stage:
    """A scheduler on a fake clock, the app behind it, and what was observed."""

    def __init__(self, env: dict[str, str], *replies: int | TransportError | Callable[[Request], Response]) -> None:
        self.clock = FakeClock()
        self.app = RecordingTransport(*replies)
        self.observer = RecordingObserver()
        self.scheduler: Scheduler = dispatch.scheduler(
            dispatch.config_from_env(env), clock=self.clock, transport=self.app, observers=[self.observer]
        )

    @property
    def paths(self) -> list[str]:
        """What was asked for, oldest first."""
        return [request.path for request in self.app.requests]

    def outcomes(self, job: str) -> list[Outcome]:
        """Return how the job's slots ended."""
        return [settled.outcome for settled in self.observer.settled(job)]


def health_says(reply: int | str) -> Callable[[Request], Response]:
    """Return an app that is well but for its health check: a status, or the code of a transport's error."""

    def answer(request: Request) -> Response:
        if request.path != HEALTH:
            return Response(200)
        if isinstance(reply, int):
            return Response(reply)
        raise TransportError(reply, started=False)  # type: ignore[arg-type]

    return answer


async def test_first_and_second_fire(env: dict[str, str]) -> None:
    """The first fire comes one start-up delay after the start, and the second one interval later."""
    stage = Stage(env)
    async with stage.scheduler:
        await stage.clock.advance(DELAY - MILLISECOND)
        assert stage.paths == []
        await stage.clock.advance(MILLISECOND)
        assert sorted(stage.paths) == [HEALTH, SYNC]
        await stage.clock.advance(INTERVAL - MILLISECOND)
        assert sorted(stage.paths) == [HEALTH, SYNC]
        await stage.clock.advance(MILLISECOND)
        assert sorted(stage.paths) == [HEALTH, SYNC, SYNC]


async def test_interval_is_honoured(env: dict[str, str]) -> None:
    """An hour of a job that is set to one minute holds sixty fires, after the first one."""
    stage = Stage(env | {"DISPATCH_SYNC_INTERVAL_MS": "60000", "DISPATCH_SCHEDULER_STARTUP_DELAY_MS": "0"})
    async with stage.scheduler:
        await stage.clock.advance(timedelta(hours=1))
        assert stage.paths.count(SYNC) == 61


async def test_all_jobs_fire(env: dict[str, str]) -> None:
    """Each of the eight jobs fires at its own interval, one start-up delay after the start for the first time."""
    stage = Stage(env | {"DISPATCH_SCHEDULER_JOBS": "all"})
    async with stage.scheduler:
        await stage.clock.advance(timedelta(hours=24) + DELAY)
        counted = {job: len(stage.outcomes(job)) for job in ("sync", "groomer", "pr-followup", "ci-failures")}
        counted |= {job: len(stage.outcomes(job)) for job in ("prune-closed", "reconcile", "stale-work")}
        assert counted == {
            "sync": 97,
            "groomer": 145,
            "pr-followup": 97,
            "ci-failures": 49,
            "prune-closed": 2,
            "reconcile": 49,
            "stale-work": 289,
        }
        assert len(stage.outcomes("pr-fix-sweep")) == 289


async def test_nothing_fires_when_off(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A scheduler that is off can be entered like any other, says that it is disabled, and fires nothing."""
    stage = Stage(env | {"DISPATCH_SCHEDULER_ENABLED": "TRUE", "DISPATCH_SCHEDULER_JOBS": "all"})
    async with stage.scheduler:
        await stage.clock.advance(timedelta(days=2))
    assert stage.paths == []
    assert "scheduler disabled" in caplog.text


async def test_success_is_logged(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A success is logged too, because a log that shows failures only looks the same when nothing runs."""
    caplog.set_level(logging.INFO, "loopcron")
    stage = Stage(env)
    async with stage.scheduler:
        await stage.clock.advance(DELAY)
        assert "sync 2031-05-07T11:13:22.000Z succeeded with HTTP 200" in caplog.text


async def test_failures_never_stop_it(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A 500 at every fire is logged each time, raises nothing, and the next fire comes all the same."""
    stage = Stage(env, 500)
    async with stage.scheduler:
        await stage.clock.advance(DELAY + 9 * INTERVAL)
        assert stage.outcomes("sync") == [Failed("endpoint", "HTTP 500", 500)] * 10
        assert stage.scheduler.health()["sync"].state is JobState.FAILING
    logged = [record for record in caplog.records if record.getMessage().startswith("sync ")]
    assert [record.levelno for record in logged] == [logging.WARNING] * 10
    assert "HTTP 500 (10 in a row)" in logged[-1].getMessage()


async def test_refused_connections_never_stop_it(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection is asked again until the deadline, then logged, and the next fire comes and succeeds."""
    up_at: list[datetime] = []

    def answer(request: Request) -> Response:
        if stage.clock.now() < up_at[0]:
            raise TransportError("refused", started=False)
        return Response(200)

    stage = Stage(env, answer)
    up_at.append(stage.clock.now() + timedelta(minutes=10))
    async with stage.scheduler:
        await stage.clock.advance(DELAY + INTERVAL)
        assert stage.outcomes("sync") == [Failed("transport", "refused", started=False), Succeeded(200)]
    assert "transport: refused (1 in a row)" in caplog.text


async def test_late_app_is_waited_for(env: dict[str, str]) -> None:
    """An app that listens only some time after the first fire gets that fire, not the one an interval later."""

    def answer(request: Request) -> Response:
        if len(stage.app.requests) < 8:
            raise TransportError("refused", started=False)
        return Response(200 if request.path == HEALTH else 201)

    stage = Stage(env, answer)
    async with stage.scheduler:
        await stage.clock.advance(DELAY + timedelta(seconds=10))
        assert stage.outcomes("sync") == [Succeeded(201)]


async def test_busy_is_expected(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A 409 is no failure and logged as none, and a run like any other in the snapshot."""
    caplog.set_level(logging.INFO, "loopcron")
    stage = Stage(env, 409)
    async with stage.scheduler:
        await stage.clock.advance(DELAY + INTERVAL)
        assert [settled.outcome for settled in stage.scheduler.snapshot()["sync"].history] == [Busy(409)] * 2
        assert stage.scheduler.health()["sync"].state is JobState.OK
    logged = [record for record in caplog.records if record.getMessage().startswith("sync ")]
    assert [record.levelno for record in logged] == [logging.INFO] * 2


async def test_stuck_lock_shows(env: dict[str, str]) -> None:
    """A lock that is never freed shows in the health after three fires, instead of counting as well for ever."""
    stage = Stage(env, 409)
    async with stage.scheduler:
        await stage.clock.advance(DELAY + 2 * INTERVAL)
        assert stage.scheduler.health()["sync"].state is JobState.BUSY_TOO_LONG


# --- the health check at the start


@pytest.mark.parametrize(
    ("reply", "outcome", "hint"),
    [
        (200, Succeeded(200), None),
        (401, Failed("endpoint", "HTTP 401", 401), "was given no valid token: look at DISPATCH_AGENT_TOKEN"),
        (403, Failed("endpoint", "HTTP 403", 403), "was given no valid token: look at DISPATCH_AGENT_TOKEN"),
        (503, Failed("endpoint", "HTTP 503", 503), "is up, but not well: its health check says HTTP 503"),
        ("token", Failed("job", "token"), "was given no valid token: look at DISPATCH_AGENT_TOKEN"),
        ("refused", Failed("transport", "refused", started=False), "nobody listens at http://127.0.0.1:3000"),
        ("closed", Failed("transport", "closed", started=False), None),
    ],
)
async def test_health_check(
    env: dict[str, str], reply: int | str, outcome: Outcome, hint: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """One authenticated GET after the start tells through the log what is wrong, and leaves the jobs alone."""
    caplog.set_level(logging.INFO, "loopcron")
    stage = Stage(env, health_says(reply))
    async with stage.scheduler:
        await stage.clock.advance(DELAY)
        asked = next(request for request in stage.app.requests if request.path == HEALTH)
        assert (asked.method, asked.body) == ("GET", b"")
        assert asked.token is not None
        assert stage.outcomes("sync") == [Succeeded(200)]
        await stage.clock.advance(timedelta(minutes=1))
        assert stage.outcomes(dispatch.HEALTH_JOB) == [outcome]
    texts = [record.getMessage() for record in caplog.records]
    assert any(text.startswith(dispatch.HEALTH_JOB) for text in texts)
    hints = [text for text in texts if text.startswith(("http://", "nobody"))]
    assert [hint in text for text in hints] == [True] if hint is not None else hints == []


@pytest.mark.parametrize("reply", [200, 503])
async def test_health_check_is_no_nuisance(env: dict[str, str], reply: int) -> None:
    """Whatever it was answered, the check is over for good, and takes nothing from the scheduler's health."""
    stage = Stage(env, health_says(reply))
    async with stage.scheduler:
        await stage.clock.advance(timedelta(hours=9))
        assert stage.paths.count(HEALTH) == 1
        health = stage.scheduler.health()
        assert health[dispatch.HEALTH_JOB].state is JobState.ENDED
        assert health.ok
        assert health.live
        assert len(stage.scheduler.snapshot()[dispatch.HEALTH_JOB].history) == 1


async def test_health_check_blocks_nothing(env: dict[str, str]) -> None:
    """An app that never answers its health check holds up no job, and the check is cut after half a minute."""

    class Silent:
        async def send(self, request: Request) -> Response:
            if request.path == HEALTH:
                await hang()
            return Response(200)

    clock, observer = FakeClock(), RecordingObserver()
    scheduler = dispatch.scheduler(dispatch.config_from_env(env), clock=clock, transport=Silent(), observers=[observer])
    async with scheduler:
        await clock.advance(DELAY)
        assert [settled.outcome for settled in observer.settled()] == [Succeeded(200)]
        await clock.advance(timedelta(seconds=30))
        assert [settled.outcome for settled in observer.settled(dispatch.HEALTH_JOB)] == [TimedOut(30.0)]


async def test_health_check_at_every_start(env: dict[str, str]) -> None:
    """A scheduler that is entered again asks again, and only once."""
    stage = Stage(env)
    for start in (1, 2):
        async with stage.scheduler:
            await stage.clock.advance(timedelta(hours=1))
        assert stage.paths.count(HEALTH) == start


async def test_health_check_made_with_the_systems_clock(env: dict[str, str]) -> None:
    """Without a clock of one's own the check's one slot is the instant at which the scheduler was made."""
    scheduler = dispatch.scheduler(dispatch.config_from_env(env))
    slot_at = scheduler.jobs[0].schedule.next_after(datetime.fromisoformat("2026-01-01T00:00Z"))
    assert slot_at is not None
    assert abs(scheduler.snapshot().at - slot_at) < timedelta(minutes=1)


# --- silence is seen


async def test_one_that_stopped_firing_is_overdue(env: dict[str, str]) -> None:
    """A job that has fired and then is fired no more, because the loop is gone, shows as overdue."""
    stage = Stage(env)
    async with stage.scheduler.manual():  # no loop: nothing fires but in a tick
        await stage.scheduler.tick()
        await stage.clock.advance(DELAY)
        await stage.scheduler.tick()
        await stage.scheduler.wait_idle()
        await stage.clock.advance(2 * INTERVAL)
        health = stage.scheduler.health()["sync"]
        assert (health.state, health.last_started_at is None) == (JobState.OK, False)
        await stage.clock.advance(INTERVAL + MILLISECOND)
        health = stage.scheduler.health()["sync"]
        assert (health.state, health.overdue) == (JobState.OVERDUE, True)
        assert not stage.scheduler.health().live


async def test_one_that_never_ran_is_overdue(env: dict[str, str]) -> None:
    """A job that never ran at all shows as overdue two intervals after it should have."""
    stage = Stage(env)
    async with stage.scheduler.manual():
        await stage.scheduler.tick()
        await stage.clock.advance(DELAY + 2 * INTERVAL + MILLISECOND)
        health = stage.scheduler.health()["sync"]
        assert (health.state, health.last_started_at) == (JobState.OVERDUE, None)


class StoppableClock:
    """A fake clock that can run on while the event loop stands."""

    def __init__(self) -> None:
        self.fake = FakeClock()
        self.attach = self.fake.attach
        self.sleep = self.fake.sleep
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self.fake.now() + self.ahead

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self.fake.monotonic() + self.ahead.total_seconds()


async def test_blocked_loop_is_overdue(env: dict[str, str]) -> None:
    """While the event loop is blocked every job shows as overdue, to whoever asks from another thread."""
    clock = StoppableClock()
    transport = RecordingTransport()
    scheduler = dispatch.scheduler(dispatch.config_from_env(env), clock=clock, transport=transport)
    async with scheduler:
        await clock.fake.advance(DELAY)
        assert scheduler.health()["sync"].state is JobState.OK
        clock.ahead = timedelta(seconds=91)  # nothing is awaited here, so the loop stands
        health = scheduler.health()
        assert health["sync"].state is JobState.OVERDUE
        assert "the loop last ticked 91 s ago" in health["sync"].why


async def test_stopped_scheduler_is_overdue(env: dict[str, str]) -> None:
    """The jobs of a scheduler that was stopped say that they are overdue."""
    stage = Stage(env)
    async with stage.scheduler:
        await stage.clock.advance(DELAY)
    health = stage.scheduler.health()["sync"]
    assert (health.state, health.overdue) == (JobState.STOPPED, True)
