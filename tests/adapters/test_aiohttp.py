"""Schedulers in aiohttp apps: starting, stopping in another task, sub-apps, and what can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import loopcron
from loopcron import FunctionJob, LifecycleError, Run, Scheduler, every
from loopcron.testing import RecordingObserver
from loopcron_aiohttp import SCHEDULER, get_scheduler, install, scheduler_from
from tests.conftest import require_or_skip
from tests.loops import ASYNCIO, UVLOOP


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ASYNCIO, id="asyncio"),
        pytest.param(UVLOOP, id="uvloop"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on asyncio only, which is all that aiohttp knows."""
    backend: tuple[str, dict[str, Any]] = request.param
    if backend[1].get("use_uvloop"):
        require_or_skip("uvloop", "uvloop is not installed")
    return backend


def make_scheduler(*observers: loopcron.Observer, job: Callable[[Run], object] | None = None) -> Scheduler:
    """Return a scheduler with one job, due in years only."""

    async def work(run: Run) -> None:
        """Do nothing."""

    scheduler = Scheduler(observers=observers)
    scheduler.add(FunctionJob("job", every(days=3650), job or work))
    return scheduler


async def trigger(request: web.Request) -> web.Response:
    """Run a job from a request, and tell its outcome."""
    outcome = await scheduler_from(request).trigger("job").wait()
    return web.Response(text=type(outcome).__name__)


def make_app(scheduler: Scheduler | None = None) -> web.Application:
    """Return an app with an endpoint that triggers the job."""
    app = web.Application()
    app.router.add_get("/job", trigger)
    if scheduler is not None:
        install(app, scheduler)
    return app


def told(seen: RecordingObserver) -> list[str]:
    """Return the names of the events of a scheduler's life."""
    names = [type(event).__name__ for event in seen.events]
    return [name for name in names if name.startswith("Scheduler")]


LIFE = ["SchedulerStarted", "SchedulerStopping", "SchedulerStopped"]


# --- a scheduler in an app


async def test_scheduler_runs_while_the_app_does() -> None:
    """The scheduler runs from the app's start to its clean-up, and requests find it."""
    seen = RecordingObserver()
    scheduler = make_scheduler(seen)
    app = make_app(scheduler)
    assert get_scheduler(app) is scheduler
    assert app[SCHEDULER] is scheduler
    async with TestClient(TestServer(app)) as client:
        assert await (await client.get("/job")).text() == "Succeeded"
    assert told(seen) == LIFE


async def test_failing_job_hurts_nobody() -> None:
    """A job that fails is an outcome: the endpoint that triggered it and the next request are answered."""

    async def fails(run: Run) -> None:
        raise RuntimeError("on purpose")

    async with TestClient(TestServer(make_app(make_scheduler(job=fails)))) as client:
        assert [await (await client.get("/job")).text() for _ in range(2)] == ["Failed", "Failed"]


async def test_scheduler_is_innermost() -> None:
    """Installed last, the scheduler starts after the app's own clean-up contexts and stops before them."""
    seen = RecordingObserver()

    async def pool(app: web.Application) -> AsyncIterator[None]:
        assert told(seen) == []
        yield
        assert told(seen) == LIFE

    app = web.Application()
    app.cleanup_ctx.append(pool)
    install(app, make_scheduler(seen))
    async with TestServer(app):
        assert told(seen) == LIFE[:1]


async def test_start_and_clean_up_in_different_tasks() -> None:
    """An app may be started by one task and cleaned up by another one."""
    seen = RecordingObserver()
    runner = web.AppRunner(make_app(make_scheduler(seen)))
    await asyncio.create_task(runner.setup())
    await asyncio.create_task(runner.cleanup())
    assert told(seen) == LIFE


async def test_clean_up_twice() -> None:
    """Cleaning up twice stops the scheduler once, and raises nothing."""
    seen = RecordingObserver()
    runner = web.AppRunner(make_app(make_scheduler(seen)))
    await runner.setup()
    await runner.cleanup()
    await runner.cleanup()
    assert told(seen) == LIFE


async def test_app_is_started_three_times() -> None:
    """The same app, started three times, starts and stops its scheduler each time."""
    seen = RecordingObserver()
    scheduler = make_scheduler(seen)
    app = make_app(scheduler)
    for _ in range(3):
        runner = web.AppRunner(app)
        await runner.setup()
        assert len(scheduler._stop_conditions) == 1
        await runner.cleanup()
    assert told(seen) == LIFE * 3
    assert scheduler._stop_conditions == []


async def test_stops_claiming_when_the_server_shuts_down() -> None:
    """The scheduler begins to stop as soon as the server does, before that waits for the requests in flight."""
    seen = RecordingObserver()
    app = make_app(make_scheduler(seen))
    stopping: list[list[str]] = []

    async def look(app: web.Application) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        stopping.append(told(seen))

    app.on_shutdown.append(look)
    async with TestServer(app):
        pass
    assert "SchedulerStopping" in stopping[0]


# --- sub-apps


async def test_sub_app_uses_the_scheduler_around_it() -> None:
    """A request of a sub-app, however deep, finds the scheduler of the nearest app around it."""
    inner, middle, app = make_app(), web.Application(), make_app(make_scheduler())
    middle.add_subapp("/inner", inner)
    app.add_subapp("/middle", middle)
    async with TestClient(TestServer(app)) as client:
        assert await (await client.get("/middle/inner/job")).text() == "Succeeded"
    with pytest.raises(LifecycleError, match="sub-app"):
        get_scheduler(inner)


async def test_request_without_a_scheduler_is_explained() -> None:
    """``scheduler_from`` in an app that has none says how to install one."""

    async def ask(request: web.Request) -> web.Response:
        with pytest.raises(LifecycleError, match=r"install\(app, scheduler\)"):
            scheduler_from(request)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", ask)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/")).status == 200


async def test_installing_into_a_joined_sub_app_is_an_error() -> None:
    """A sub-app that is part of another app takes no scheduler, and the error says where it belongs."""
    inner, app = web.Application(), web.Application()
    app.add_subapp("/inner", inner)
    with pytest.raises(LifecycleError, match="outermost app"):
        install(inner, make_scheduler())


# --- what can go wrong


async def test_installing_twice_is_an_error() -> None:
    """An app takes one scheduler."""
    app = make_app(make_scheduler())
    with pytest.raises(LifecycleError, match="install one, once"):
        install(app, make_scheduler())


async def test_installing_into_a_running_app_is_an_error() -> None:
    """An app that has started takes no scheduler."""
    app = web.Application()
    async with TestServer(app):
        with pytest.raises(LifecycleError, match="before it starts"):
            install(app, make_scheduler())


async def test_users_start_up_fails() -> None:
    """If the user's start-up fails after the scheduler has started, the clean-up stops it."""
    seen = RecordingObserver()

    async def fails(app: web.Application) -> None:
        raise RuntimeError("no database")

    app = make_app(make_scheduler(seen))
    app.on_startup.append(fails)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="no database"):
        await runner.setup()
    await runner.cleanup()
    assert told(seen) == LIFE


async def test_running_scheduler_is_refused() -> None:
    """An app whose scheduler runs elsewhere does not start; it does once that has ended."""
    scheduler = make_scheduler()
    app = make_app(scheduler)
    async with scheduler:
        with pytest.raises(LifecycleError, match="entered already"):
            await web.AppRunner(app).setup()
    async with TestClient(TestServer(app)) as client:
        assert await (await client.get("/job")).text() == "Succeeded"


async def test_cancelled_start_leaves_nothing_behind() -> None:
    """A start-up that is cancelled while the scheduler is being entered leaves it stopped."""
    seen = RecordingObserver()
    scheduler = make_scheduler(seen)
    starting = asyncio.create_task(web.AppRunner(make_app(scheduler)).setup())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with scheduler:
        assert told(seen)[-1] == "SchedulerStarted"


async def test_cancelled_clean_up_ends_the_drain() -> None:
    """A clean-up that is cancelled drains no longer: the run in flight is interrupted, and the scheduler stopped."""
    seen = RecordingObserver()
    started = asyncio.Event()

    async def hangs(run: Run) -> None:
        started.set()
        await asyncio.sleep(60)

    scheduler = make_scheduler(seen, job=hangs)
    runner = web.AppRunner(make_app(scheduler))
    await runner.setup()
    scheduler.trigger("job")
    await started.wait()
    cleaning = asyncio.create_task(runner.cleanup())
    while "SchedulerStopping" not in told(seen):
        await asyncio.sleep(0)
    cleaning.cancel()
    await asyncio.wait({cleaning})
    assert [type(event.outcome).__name__ for event in seen.settled("job")] == ["Interrupted"]
    assert told(seen) == LIFE


async def test_cancelled_scheduler_ends_alone() -> None:
    """If somebody cancels the scheduler's own task the app goes on, and its clean-up finds nothing left to do."""
    seen = RecordingObserver()
    async with TestClient(TestServer(make_app(make_scheduler(seen)))) as client:
        own = next(task for task in asyncio.all_tasks() if task.get_name() == "loopcron")
        own.cancel()
        await asyncio.wait({own})
        assert told(seen) == LIFE
        assert (await client.get("/job")).status == 500
