"""
The status page and the probes in a Starlette or FastAPI app.

What is asked and answered is `loopcron.status`'s business; here requests and responses are translated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from loopcron import Scheduler
from loopcron.status import StatusAnswer, StatusRequest, StatusRoutes, probe

_Verdict = bool | str | None


def status_routes(
    scheduler: Scheduler,
    *,
    authorize: Callable[[Request], _Verdict | Awaitable[_Verdict]] | None = None,
    actions: bool = False,
    path: str = "/loopcron",
) -> list[Route]:
    """
    Return the routes of the status page: ``Starlette(routes=[*status_routes(scheduler, authorize=...), ...])``.

    For FastAPI: ``app.router.routes.extend(status_routes(...))``. They work in a mounted app too, and behind a proxy
    that adds a prefix, for all their URLs are relative. They need not be served by the app in which the scheduler
    runs; actions do.

    Args:
        scheduler: Whose page this is.
        authorize: Required. Takes the request and returns True, or the name of who asks, for whoever may see the page
            and, with *actions*, act; async or not. All else denies with 403, and so does an exception, except an
            ``HTTPException`` of 300 or more, which is answered as it is: a 401 that asks for a password, a redirect.
        actions: Whether jobs may be run, paused, resumed and skipped by whoever may see the page.
        path: Where; ``/`` in an app that serves nothing else.

    Raises:
        ConfigError: An argument is none of these, or *authorize* was left out.
    """
    routes = StatusRoutes(scheduler, authorize=authorize, is_own_denial=_is_denial, actions=actions, path=path)
    # With an endpoint that is an ASGI app a route takes every method: which may be used is decided in one place.
    endpoint = _Endpoint(routes)
    own = [Route(routes.path, endpoint)] if routes.path else []
    return [*own, Route(f"{routes.path}/{{rest:path}}", endpoint)]


def liveness(scheduler: Scheduler, *, details: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """
    Return an endpoint for a probe that restarts what is dead.

    Answers 503 only where a restart would mend it, else 200, and JSON that says why. Mounted by
    ``Route("/live", liveness(scheduler))``, in FastAPI by ``app.add_api_route("/live", liveness(scheduler))``.

    Args:
        scheduler: Whose health is told.
        details: Whether to quote why a job is not well; see `loopcron.status.probe`.
    """

    async def live(request: Request) -> Response:  # noqa: ARG001 - an endpoint takes it
        return _response(probe(scheduler.health(), "live", details=details))

    return live


def readiness(
    scheduler: Scheduler, *, strict: bool = False, details: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    """
    Return an endpoint for a probe that takes what is not ready out of service; used as `liveness` is.

    Args:
        scheduler: Whose health is told.
        strict: Whether a ledger that does not answer counts too, and a job that fails, is parked, or waits in vain
            for a lock.
        details: Whether to quote why a job is not well; see `loopcron.status.probe`.
    """

    async def ready(request: Request) -> Response:  # noqa: ARG001 - an endpoint takes it
        return _response(probe(scheduler.health(), "ok" if strict else "ready", details=details))

    return ready


@final
class _Endpoint:
    """An ASGI app that asks the routes."""

    def __init__(self, routes: StatusRoutes) -> None:
        self._routes: Final = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        rest = scope.get("path_params", {}).get("rest")
        asked = StatusRequest(
            request.method,
            "" if rest is None else f"/{rest}",
            scope.get("query_string", b"").decode("latin-1"),
            request.headers.items(),
            request,
        )
        answer = await self._routes.answer(asked)
        await _response(answer, is_head=request.method == "HEAD")(scope, receive, send)


def _is_denial(error: Exception) -> bool:
    return isinstance(error, HTTPException) and error.status_code >= 300


def _response(answer: StatusAnswer, *, is_head: bool = False) -> Response:
    headers = {**dict(answer.headers), "Content-Length": str(len(answer.body))}
    return Response(b"" if is_head else answer.body, answer.status, headers)
