"""
The scheduler's place in a Starlette app: the innermost part of its lifespan, and a key in its state.

Adds nothing to what a scheduler does. All shapes of lifespans are Starlette's business: what its router makes of one
is what is wrapped here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar, final

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Router
from starlette.types import Lifespan, StatefulLifespan

from loopcron import LifecycleError, ListenerWatch, LoopbackTransport, Scheduler

_App = TypeVar("_App")

_KEY: Final = "loopcron_scheduler"
"""Where the scheduler is found: in the state that the lifespan yields, and in the app's own."""
_TWICE: Final = (
    f"this app has a scheduler already, or its own lifespan yields or sets {_KEY!r}: "
    "install one scheduler, once, and rename a key of yours"
)
_NONE: Final = (
    "no scheduler runs in this app: give it lifespan=loopcron_starlette.lifespan(scheduler), or install(app, scheduler)"
    ", and ask after it has started. Is it mounted in another app? The lifespan of a mounted app never runs, so "
    "install the scheduler in the outermost app"
)


def lifespan(scheduler: Scheduler, wrap: Lifespan[_App] | None = None) -> StatefulLifespan[_App]:
    """
    Return a lifespan for ``Starlette(lifespan=...)`` or ``FastAPI(lifespan=...)`` in which *scheduler* runs.

    It starts after *wrap* has started and stops before *wrap* does, so jobs may use what that sets up. The scheduler
    is added to the state that *wrap* yields, of which nothing is lost. An app may be entered again after it was left.

    Args:
        scheduler: For the whole app; `get_scheduler` and `scheduler_from` find it.
        wrap: The app's own lifespan, in any shape that Starlette accepts.

    Raises:
        LifecycleError: When the app starts: it has a scheduler already, or the scheduler runs already.
    """
    return _SchedulerLifespan(scheduler, Router(lifespan=wrap).lifespan_context)


def install(app: Starlette, scheduler: Scheduler) -> None:
    """
    Let *scheduler* run in the lifespan of an app that is made already, inside the lifespan that it has.

    FastAPI's deprecated ``on_event`` handlers go on working, before and after it. In FastAPI, install after
    ``include_router``: lifespans of routers that are included later start after the scheduler and end before it.

    Args:
        app: The outermost one; the lifespan of a mounted app never runs.
        scheduler: For the whole app.

    Raises:
        LifecycleError: The app has a scheduler already. Where only its start can tell, it is raised there.
    """
    if isinstance(app.router.lifespan_context, _SchedulerLifespan):
        raise LifecycleError(_TWICE)
    app.router.lifespan_context = _SchedulerLifespan(scheduler, app.router.lifespan_context)


def get_scheduler(app: Starlette) -> Scheduler:
    """
    Return the scheduler that runs in *app*.

    Raises:
        LifecycleError: None does: it has not started yet, or it has ended, or the app is mounted in another one.
    """
    return _checked(getattr(app.state, _KEY, None))


def scheduler_from(connection: HTTPConnection) -> Scheduler:
    """
    Return the scheduler of the app that serves *connection*: a ``Request`` or a ``WebSocket``, of mounted apps too.

    Raises:
        LifecycleError: There is none.
    """
    state: Mapping[str, Any] = connection.scope.get("state") or {}
    # The app itself is asked for callers that are no server and pass no state on, such as an in-process transport.
    app_state = getattr(connection.scope.get("app"), "state", None)
    return _checked(state.get(_KEY) or getattr(app_state, _KEY, None))


@final
class _SchedulerLifespan:
    """A lifespan around another one; a class so that `install` can tell it from the user's."""

    def __init__(self, scheduler: Scheduler, inner: Lifespan[Any]) -> None:
        self._scheduler = scheduler
        self._inner = inner

    @asynccontextmanager
    async def __call__(self, app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with self._inner(app) as state:
            merged = _merged(state, self._scheduler)
            with _attached(app, self._scheduler):
                self._scheduler.supply_transport(LoopbackTransport(served=True))
                async with self._scheduler:
                    self._scheduler.stop_when(ListenerWatch())
                    yield merged


def _merged(state: Mapping[str, Any] | None, scheduler: Scheduler) -> dict[str, Any]:
    merged = dict(state or {})
    if _KEY in merged:
        raise LifecycleError(_TWICE)
    merged[_KEY] = scheduler
    return merged


@contextmanager
def _attached(app: Any, scheduler: Scheduler) -> Iterator[None]:
    state = getattr(app, "state", None)
    if state is None:  # a bare Router is served without an app
        yield
        return
    if hasattr(state, _KEY):
        raise LifecycleError(_TWICE)
    setattr(state, _KEY, scheduler)
    try:
        yield
    finally:
        delattr(state, _KEY)


def _checked(found: object) -> Scheduler:
    if not isinstance(found, Scheduler):
        raise LifecycleError(_NONE)
    return found
