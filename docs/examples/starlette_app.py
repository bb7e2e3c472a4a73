"""
A stand-in for Dispatch on Starlette: its endpoints, and its jobs scheduled inside the app.

    DISPATCH_SCHEDULER_ENABLED=true DISPATCH_AGENT_TOKEN=... python docs/examples/starlette_app.py
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from loopcron import Scheduler, dispatch
from loopcron_starlette import lifespan, scheduler_from, status_routes


def has_token(request: Request) -> bool:
    """Say whether the request has the agent's bearer token."""
    expected = f"Bearer {os.environ.get('DISPATCH_AGENT_TOKEN', '')}"
    given = request.headers.get("Authorization", "")
    # An app without a token lets nobody in, not everybody.
    return expected != "Bearer " and hmac.compare_digest(given.encode(), expected.encode())


class RequireToken:
    """Let requests with the agent's bearer token pass, and answer all others with 401."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app if has_token(Request(scope)) else JSONResponse({"error": "unauthorized"}, 401)
        await app(scope, receive, send)


async def health(request: Request) -> JSONResponse:
    """Tell how the jobs are."""
    jobs = scheduler_from(request).health().jobs
    return JSONResponse({"status": "ok", "jobs": {job.job: job.state for job in jobs}})


async def sync(request: Request) -> JSONResponse:
    """Synchronise for a while, or answer 409 while somebody else does."""
    try:
        request.app.state.sync_lock.acquire_nowait()
    except anyio.WouldBlock:
        return JSONResponse({"error": "a synchronisation is running"}, 409)
    try:
        await anyio.sleep(0.6)
    finally:
        request.app.state.sync_lock.release()
    return JSONResponse({"status": "synced"})


async def work(request: Request) -> JSONResponse:
    """Stand for what the other jobs have done."""
    await anyio.sleep(0.1)
    return JSONResponse({"status": "done", "path": request.url.path})


ROUTES = [
    Route("/health", health, methods=["GET"]),
    Route("/sync/scheduled", sync, methods=["POST"]),
    Route("/groomer/run", work, methods=["POST"]),
    Route("/pr-followup/sync", work, methods=["POST"]),
    Route("/ci-failures/sync", work, methods=["POST"]),
    Route("/issues/prune-closed", work, methods=["POST"]),
    Route("/issues/reconcile", work, methods=["POST"]),
    Route("/agent-work/sweep", work, methods=["POST"]),
    Route("/pr-fix-queue/sweep", work, methods=["POST"]),
]


def make_app(scheduler: Scheduler, authorize: Callable[[Request], bool]) -> Starlette:
    """Return the app in which *scheduler* runs, with a status page for those whom *authorize* lets in."""
    api = Mount("/api", routes=ROUTES, middleware=[Middleware(RequireToken)])
    status = status_routes(scheduler, authorize=authorize, actions=True)
    app = Starlette(routes=[api, *status], lifespan=lifespan(scheduler))
    app.state.sync_lock = anyio.Lock()
    return app


if __name__ == "__main__":
    config = dispatch.config_from_env(os.environ)
    uvicorn.run(make_app(dispatch.scheduler(config), has_token), port=config.port)
