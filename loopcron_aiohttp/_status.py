"""
The status page and the probes in an aiohttp app.

What is asked and answered is `loopcron.status`'s business; here requests and responses are translated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from loopcron import Scheduler
from loopcron.status import StatusAnswer, StatusRequest, StatusRoutes, probe

_Verdict = bool | str | None
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status_routes(
    scheduler: Scheduler,
    *,
    authorize: Callable[[web.Request], _Verdict | Awaitable[_Verdict]] | None = None,
    actions: bool = False,
    path: str = "/loopcron",
) -> list[web.RouteDef]:
    """
    Return the routes of the status page: ``app.add_routes(status_routes(scheduler, authorize=...))``.

    They work in a sub-app too, and behind a proxy that adds a prefix, for all their URLs are relative. They need not
    be served by the app in which the scheduler runs; actions do.

    Args:
        scheduler: Whose page this is.
        authorize: Required. Takes the request and returns True, or the name of who asks, for whoever may see the page
            and, with *actions*, act; async or not. All else denies with 403, and so does an exception, except a
            ``web.HTTPException`` of 300 or more, which is answered as it is: a 401 that asks for a password, a
            redirect.
        actions: Whether jobs may be run, paused, resumed and skipped by whoever may see the page.
        path: Where; ``/`` in an app that serves nothing else.

    Raises:
        ConfigError: An argument is none of these, or *authorize* was left out.
    """
    routes = StatusRoutes(scheduler, authorize=authorize, is_own_denial=_is_denial, actions=actions, path=path)

    async def handle(request: web.Request) -> web.StreamResponse:
        rest = request.match_info.get("rest")
        asked = StatusRequest(
            request.method,
            "" if rest is None else f"/{rest}",
            request.rel_url.raw_query_string,
            tuple(request.headers.items()),
            request,
        )
        return _response(await routes.answer(asked))

    own = [web.route("*", routes.path, handle)] if routes.path else []
    return [*own, web.route("*", f"{routes.path}/{{rest:.*}}", handle)]


def liveness(scheduler: Scheduler, *, details: bool = False) -> _Handler:
    """
    Return a handler for a probe that restarts what is dead.

    Answers 503 only where a restart would mend it, else 200, and JSON that says why. Mounted by
    ``web.get("/live", liveness(scheduler))``.

    Args:
        scheduler: Whose health is told.
        details: Whether to quote why a job is not well; see `loopcron.status.probe`.
    """

    async def live(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - a handler takes it
        return _response(probe(scheduler.health(), "live", details=details))

    return live


def readiness(scheduler: Scheduler, *, strict: bool = False, details: bool = False) -> _Handler:
    """
    Return a handler for a probe that takes what is not ready out of service; used as `liveness` is.

    Args:
        scheduler: Whose health is told.
        strict: Whether a ledger that does not answer counts too, and a job that fails, is parked, or waits in vain
            for a lock.
        details: Whether to quote why a job is not well; see `loopcron.status.probe`.
    """

    async def ready(request: web.Request) -> web.StreamResponse:  # noqa: ARG001 - a handler takes it
        return _response(probe(scheduler.health(), "ok" if strict else "ready", details=details))

    return ready


def _is_denial(error: Exception) -> bool:
    return isinstance(error, web.HTTPException) and error.status >= 300


def _response(answer: StatusAnswer) -> web.Response:
    return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)
