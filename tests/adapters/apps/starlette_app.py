"""A Starlette app behind a bearer token, with jobs that go through it, for the tests under real servers."""

from __future__ import annotations

import hmac
import os

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from loopcron_starlette import lifespan, scheduler_from
from tests.adapters.apps.jobs import TOKEN, Journal, make_scheduler


class Auth:
    """Lets only requests with the token pass, except to the health check."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and scope["path"] != "/health":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, f"Bearer {os.environ[TOKEN]}".encode()):
                await PlainTextResponse("who are you?", 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def health(request: Request) -> Response:
    """Answer what a load balancer asks."""
    return JSONResponse({"jobs": len(scheduler_from(request).jobs)})


async def work(request: Request) -> Response:
    """Do nothing, behind the token."""
    await request.body()
    return PlainTextResponse("done")


async def locked(request: Request) -> Response:
    """Hold a lock for longer than one slot; whoever comes meanwhile is told so."""
    if lock.locked():
        return PlainTextResponse("somebody else holds the lock", 409)
    async with lock:
        await anyio.sleep(0.4)
    return PlainTextResponse("done")


async def slow(request: Request) -> Response:
    """Take longer than any test."""
    journal.write("slow")
    await anyio.sleep(60)
    return PlainTextResponse("done")


lock = anyio.Lock()
journal = Journal()
app = Starlette(
    routes=[
        Route("/health", health),
        Route("/work", work, methods=["POST"]),
        Route("/locked", locked, methods=["POST"]),
        Route("/slow", slow, methods=["POST"]),
    ],
    middleware=[Middleware(Auth)],
    lifespan=lifespan(make_scheduler(journal)),
)
