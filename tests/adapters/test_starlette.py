"""Schedulers in Starlette and FastAPI apps: every shape of lifespan, its state, its order, and what can go wrong."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from types import TracebackType
from typing import Annotated, Any

import anyio
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.exceptions import StarletteDeprecationWarning
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

import loopcron
from loopcron import FunctionJob, LifecycleError, Run, Scheduler, every
from loopcron.testing import RecordingObserver
from loopcron_starlette import ASGITransport, get_scheduler, install, lifespan, scheduler_from

Backend = tuple[str, dict[str, Any]]
Enter = Callable[[ASGIApp], TestClient]
State = Mapping[str, Any] | None

INNERMOST = ["pool up", "SchedulerStarted", "SchedulerStopping", "SchedulerStopped", "pool down"]


@pytest.fixture
def enter(anyio_backend: Backend) -> Enter:
    """Return what makes a test client on the loop that this test is run on."""
    name, options = anyio_backend
    return functools.partial(TestClient, backend=name, backend_options=options)  # type: ignore[arg-type]


class Story:
    """What happened, in order; an observer that notes the life of a scheduler in it, and a pool that is set up."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_event(self, event: loopcron.Event) -> None:
        """Note the events of the scheduler's life."""
        if type(event).__name__ in INNERMOST:
            self.told.append(type(event).__name__)

    @asynccontextmanager
    async def pool(self, app: object) -> AsyncGenerator[dict[str, Any], None]:
        """Stand for the lifespan of the user's app."""
        self.told.append("pool up")
        yield {"pool": "the pool"}
        self.told.append("pool down")


async def trigger(request: Request) -> JSONResponse:
    """Run a job from a request, and tell its outcome."""
    outcome = await scheduler_from(request).trigger("job").wait()
    return JSONResponse({"outcome": type(outcome).__name__, "pool": getattr(request.state, "pool", None)})


def make_scheduler(*observers: loopcron.Observer, job: Callable[[Run], object] | None = None) -> Scheduler:
    """Return a scheduler with one job, due in years only."""

    async def work(run: Run) -> None:
        """Do nothing."""

    scheduler = Scheduler(observers=observers)
    scheduler.add(FunctionJob("job", every(days=3650), job or work))
    return scheduler


# --- shapes of lifespans


@asynccontextmanager
async def shape_context(app: object, state: State) -> AsyncGenerator[State, None]:
    """Be the usual shape."""
    yield state


class ShapeClass:
    """Be a class that is entered."""

    def __init__(self, app: object, state: State) -> None:
        self._state = state

    async def __aenter__(self) -> State:
        """Set up."""
        return self._state

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tear down."""


async def shape_async_generator(app: object, state: State) -> AsyncIterator[State]:
    """Be the deprecated shape."""
    yield state


def shape_generator(app: object, state: State) -> Generator[State]:
    """Be the deprecated shape that is not even async."""
    yield state


class ShapeInstance:
    """Be an object that is called and entered, as the frameworks' own default."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __call__(self, app: object) -> AbstractAsyncContextManager[State]:
        """Be called with the app."""
        return ShapeClass(app, self._state)


def shaped(shape: Any, state: State) -> Any:
    """Return a lifespan of this shape that yields *state*."""
    if shape is ShapeInstance:
        return ShapeInstance(state)

    @functools.wraps(shape)
    def made(app: object) -> Any:
        return shape(app, state)

    return functools.partial(shape, state=state) if shape in DEPRECATED else made


DEPRECATED = (shape_async_generator, shape_generator)
SHAPES = (shape_context, ShapeClass, ShapeInstance, *DEPRECATED)


def expecting_deprecation(shape: Any) -> AbstractContextManager[object]:
    """Return a context in which Starlette deprecates what it deprecates."""
    return pytest.warns(StarletteDeprecationWarning) if shape in DEPRECATED else nullcontext()


@pytest.mark.parametrize("state", [None, {}, {"pool": "the pool", "other": 1}], ids=["none", "empty", "mapping"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_state_of_every_shape_is_kept(framework: Any, shape: Any, state: State) -> None:
    """Around a lifespan of any shape the state holds all that it yields, and the scheduler."""
    scheduler = make_scheduler()
    with expecting_deprecation(shape):
        app = framework(lifespan=lifespan(scheduler, shaped(shape, state)))
    async with app.router.lifespan_context(app) as merged:
        assert dict(merged) == {**(state or {}), "loopcron_scheduler": scheduler}
        assert get_scheduler(app) is scheduler


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
@pytest.mark.parametrize("shape", SHAPES)
async def test_install_wraps_every_shape(framework: Any, shape: Any) -> None:
    """An app with a lifespan of any shape can be given its scheduler afterwards."""
    scheduler = make_scheduler()
    with expecting_deprecation(shape if framework is Starlette else None):
        app = framework(lifespan=shaped(shape, {"pool": 1}))
    install(app, scheduler)
    async with app.router.lifespan_context(app) as merged:
        assert dict(merged) == {"pool": 1, "loopcron_scheduler": scheduler}


# --- a scheduler in an app


@pytest.mark.parametrize("how", ["lifespan", "install"])
@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_scheduler_is_innermost(framework: Any, how: str, enter: Enter) -> None:
    """The user's lifespan is up before the scheduler starts, and goes down after it has stopped."""
    story = Story()
    scheduler = make_scheduler(story)
    if how == "lifespan":
        app = framework(lifespan=lifespan(scheduler, story.pool), routes=[Route("/", trigger)])
    else:
        app = framework(lifespan=story.pool, routes=[Route("/", trigger)])
        install(app, scheduler)
    with enter(app) as client:
        assert client.get("/").json() == {"outcome": "Succeeded", "pool": "the pool"}
    assert story.told == INNERMOST


def test_app_without_lifespan_gets_one(enter: Enter) -> None:
    """Without a lifespan of its own an app has the scheduler's."""
    app = Starlette(lifespan=lifespan(make_scheduler()), routes=[Route("/", trigger)])
    with enter(app) as client:
        assert client.get("/").json() == {"outcome": "Succeeded", "pool": None}


def test_app_is_entered_three_times(enter: Enter) -> None:
    """The same app, entered by one test client after the other, starts and stops its scheduler each time."""
    seen = RecordingObserver()
    scheduler = make_scheduler(seen)
    app = Starlette(lifespan=lifespan(scheduler), routes=[Route("/", trigger)])
    for _ in range(3):
        with enter(app) as client:
            assert client.get("/").json()["outcome"] == "Succeeded"
            assert len(scheduler._stop_conditions) == 1
    assert [type(event).__name__ for event in seen.events].count("SchedulerStopped") == 3
    assert scheduler._stop_conditions == []


def test_failing_job_hurts_nobody(enter: Enter) -> None:
    """A job that fails is an outcome: the endpoint that triggered it and the next request are answered."""

    async def fails(run: Run) -> None:
        raise RuntimeError("on purpose")

    app = Starlette(lifespan=lifespan(make_scheduler(job=fails)), routes=[Route("/", trigger)])
    with enter(app) as client:
        assert [client.get("/").json()["outcome"] for _ in range(2)] == ["Failed", "Failed"]


def test_websocket_finds_the_scheduler(enter: Enter) -> None:
    """``scheduler_from`` takes a WebSocket as well as a Request."""

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"jobs": [job.name for job in scheduler_from(websocket).jobs]})
        await websocket.close()

    app = Starlette(lifespan=lifespan(make_scheduler()), routes=[WebSocketRoute("/", talk)])
    with enter(app) as client, client.websocket_connect("/") as websocket:
        assert websocket.receive_json() == {"jobs": ["job"]}


def test_bare_router_needs_no_app(enter: Enter) -> None:
    """A router that is served without an app around it has a lifespan and a state, and that is enough."""
    with enter(Router(lifespan=lifespan(make_scheduler()), routes=[Route("/", trigger)])) as client:
        assert client.get("/").json()["outcome"] == "Succeeded"


async def test_in_process_request_needs_no_state() -> None:
    """A request that brings no state along finds the scheduler in the app that serves it."""
    app = Starlette(lifespan=lifespan(make_scheduler()), routes=[Route("/", trigger)])
    async with app.router.lifespan_context(app):
        response = await ASGITransport(app).send(loopcron.Request("GET", "/"))
    assert response.status == 200


def test_get_scheduler_knows_the_running_one_only(enter: Enter) -> None:
    """``get_scheduler`` finds the scheduler while the app runs; before and after it says that none does."""
    scheduler = make_scheduler()
    app = Starlette(lifespan=lifespan(scheduler))
    with pytest.raises(LifecycleError, match="after it has started"):
        get_scheduler(app)
    with enter(app):
        assert get_scheduler(app) is scheduler
    with pytest.raises(LifecycleError, match="no scheduler runs in this app"):
        get_scheduler(app)


# --- mounted apps


def test_mounted_app_uses_the_outer_scheduler(enter: Enter) -> None:
    """An endpoint of a mounted app finds the scheduler of the app around it."""
    inner = Starlette(routes=[Route("/job", trigger)])
    app = Starlette(lifespan=lifespan(make_scheduler()), routes=[Mount("/inner", inner)])
    with enter(app) as client:
        assert client.get("/inner/job").json()["outcome"] == "Succeeded"


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_scheduler_of_a_mounted_app_is_explained(framework: Any, enter: Enter) -> None:
    """The lifespan of a mounted app never runs; whoever asks for its scheduler is told so."""
    inner = framework(lifespan=lifespan(make_scheduler()), routes=[Route("/job", trigger)])
    app = framework()
    app.mount("/inner", inner)
    with enter(app) as client:
        with pytest.raises(LifecycleError, match="lifespan of a mounted app never runs"):
            client.get("/inner/job")
        with pytest.raises(LifecycleError, match="install the scheduler in the outermost app"):
            get_scheduler(inner)


# --- what can go wrong at the start and at the end


def test_users_start_up_fails(enter: Enter) -> None:
    """If the user's start-up fails the scheduler never starts, and the app can be started again."""
    story = Story()
    attempts: list[str] = []

    @asynccontextmanager
    async def fails_once(app: object) -> AsyncGenerator[None, None]:
        attempts.append("started")
        if len(attempts) == 1:
            raise RuntimeError("no database")
        yield

    app = Starlette(lifespan=lifespan(make_scheduler(story), fails_once), routes=[Route("/", trigger)])
    with pytest.raises(RuntimeError, match="no database"), enter(app):
        pass
    assert story.told == []
    with enter(app) as client:
        assert client.get("/").json()["outcome"] == "Succeeded"


def test_users_clean_up_fails(enter: Enter) -> None:
    """If the user's clean-up fails the scheduler has stopped before, and the error comes out."""
    story = Story()

    @asynccontextmanager
    async def fails(app: object) -> AsyncGenerator[None, None]:
        yield
        raise RuntimeError("no goodbye")

    with (
        pytest.raises(RuntimeError, match="no goodbye"),
        enter(Starlette(lifespan=lifespan(make_scheduler(story), fails))),
    ):
        pass
    assert story.told[-1] == "SchedulerStopped"


async def test_running_scheduler_is_refused() -> None:
    """An app whose scheduler runs elsewhere does not start, and takes its own lifespan down again."""
    scheduler = make_scheduler()
    told: list[str] = []

    @asynccontextmanager
    async def pool(app: object) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            told.append("closed")

    app = Starlette(lifespan=lifespan(scheduler, pool))
    async with scheduler:
        with pytest.raises(LifecycleError, match="entered already"):
            async with app.router.lifespan_context(app):
                pass
    assert told == ["closed"]
    with pytest.raises(LifecycleError):
        get_scheduler(app)
    async with app.router.lifespan_context(app):
        assert get_scheduler(app) is scheduler


async def test_cancelled_lifespan_leaves_nothing_behind() -> None:
    """A server that cancels the lifespan ends the scheduler without a drain, and the app forgets it."""
    seen = RecordingObserver()
    started = anyio.Event()

    async def hangs(run: Run) -> None:
        started.set()
        await anyio.sleep_forever()

    scheduler = make_scheduler(seen, job=hangs)
    app = Starlette(lifespan=lifespan(scheduler))
    with anyio.CancelScope() as scope:
        async with app.router.lifespan_context(app):
            scheduler.trigger("job")
            await started.wait()
            scope.cancel()
            await anyio.sleep_forever()
    assert [type(event.outcome).__name__ for event in seen.settled("job")] == ["Interrupted"]
    with pytest.raises(LifecycleError):
        get_scheduler(app)


@pytest.mark.parametrize("where", ["state", "app"])
def test_taken_key_is_an_error(where: str, enter: Enter) -> None:
    """A key of ours that the user's lifespan yields or sets is an error that names it, not a value lost."""

    @asynccontextmanager
    async def taken(app: Starlette) -> AsyncGenerator[dict[str, Any], None]:
        if where == "app":
            app.state.loopcron_scheduler = "mine"
        yield {"loopcron_scheduler": "mine"} if where == "state" else {}

    story = Story()
    app = Starlette(lifespan=lifespan(make_scheduler(story), taken))
    with pytest.raises(LifecycleError, match="'loopcron_scheduler'"), enter(app):
        pass
    assert story.told == []


# --- installing


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_installing_twice_is_an_error(framework: Any) -> None:
    """An app takes one scheduler, whether it came by ``install`` or by ``lifespan``."""
    installed = framework()
    install(installed, make_scheduler())
    made = framework(lifespan=lifespan(make_scheduler()))
    for app in (installed, made):
        with pytest.raises(LifecycleError, match="install one scheduler, once"):
            install(app, make_scheduler())


def test_second_scheduler_of_a_router_is_an_error(enter: Enter) -> None:
    """Two schedulers that FastAPI's merging of lifespans hides from each other are found when the app starts."""
    app = FastAPI(lifespan=lifespan(make_scheduler()))
    app.include_router(APIRouter(lifespan=lifespan(make_scheduler())))
    with pytest.raises(LifecycleError, match="install one scheduler, once"), enter(app):
        pass
    other = FastAPI()
    install(other, make_scheduler())
    other.include_router(APIRouter())
    install(other, make_scheduler())
    with pytest.raises(LifecycleError, match="install one scheduler, once"), enter(other):
        pass


# --- FastAPI


def test_fastapi_event_handlers_are_kept(enter: Enter) -> None:
    """FastAPI's deprecated start-up and shutdown handlers run around an installed scheduler, however late added."""
    story = Story()
    app = FastAPI(on_startup=[lambda: story.told.append("pool up")])
    with pytest.deprecated_call():
        app.on_event("shutdown")(lambda: story.told.append("early down"))
    install(app, make_scheduler(story))
    with pytest.deprecated_call():
        app.on_event("shutdown")(lambda: story.told.append("late down"))
    with enter(app):
        pass
    assert story.told == [*INNERMOST[:-1], "early down", "late down"]


@pytest.mark.parametrize("how", ["lifespan", "install"])
def test_router_lifespans_are_merged(how: str, enter: Enter) -> None:
    """The lifespan of an included router runs, and its state is there beside the app's and the scheduler."""
    story = Story()

    @asynccontextmanager
    async def own(app: object) -> AsyncGenerator[dict[str, str], None]:
        yield {"own": "the app's"}

    scheduler = make_scheduler(story)
    app = FastAPI(lifespan=own if how == "install" else lifespan(scheduler, own))
    app.include_router(APIRouter(lifespan=story.pool))
    if how == "install":
        install(app, scheduler)

    @app.get("/")
    async def state(request: Request, found: Annotated[Scheduler, Depends(scheduler_from)]) -> list[str]:
        assert found is scheduler
        return [request.state.own, request.state.pool]

    with enter(app) as client:
        assert client.get("/").json() == ["the app's", "the pool"]
    if how == "install":  # included before it, so outside of it
        assert story.told == INNERMOST
