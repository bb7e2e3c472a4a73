"""
A stand-in for Dispatch on aiohttp: its endpoints, and its jobs scheduled inside the app.

    DISPATCH_SCHEDULER_ENABLED=true DISPATCH_AGENT_TOKEN=... python docs/examples/aiohttp_app.py
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable

from aiohttp import web

from loopcron import Scheduler, dispatch
from loopcron_aiohttp import install, scheduler_from, status_routes

SYNC_LOCK = web.AppKey("sync_lock", asyncio.Lock)


def has_token(request: web.Request) -> bool:
    """Say whether the request has the agent's bearer token."""
    expected = f"Bearer {os.environ.get('DISPATCH_AGENT_TOKEN', '')}"
    given = request.headers.get("Authorization", "")
    # An app without a token lets nobody in, not everybody.
    return expected != "Bearer " and hmac.compare_digest(given.encode(), expected.encode())


@web.middleware
async def require_token(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let requests with the agent's bearer token reach /api, and answer all others there with 401."""
    if request.path.startswith("/api/") and not has_token(request):
        return web.json_response({"error": "unauthorized"}, status=401)
    return await handler(request)


async def health(request: web.Request) -> web.Response:
    """Tell how the jobs are."""
    jobs = scheduler_from(request).health().jobs
    return web.json_response({"status": "ok", "jobs": {job.job: job.state for job in jobs}})


async def sync(request: web.Request) -> web.Response:
    """Synchronise for a while, or answer 409 while somebody else does."""
    lock = request.app[SYNC_LOCK]
    if lock.locked():
        return web.json_response({"error": "a synchronisation is running"}, status=409)
    async with lock:
        await asyncio.sleep(0.6)
    return web.json_response({"status": "synced"})


async def work(request: web.Request) -> web.Response:
    """Stand for what the other jobs have done."""
    await asyncio.sleep(0.1)
    return web.json_response({"status": "done", "path": request.path})


ROUTES = [
    web.get("/api/health", health),
    web.post("/api/sync/scheduled", sync),
    web.post("/api/groomer/run", work),
    web.post("/api/pr-followup/sync", work),
    web.post("/api/ci-failures/sync", work),
    web.post("/api/issues/prune-closed", work),
    web.post("/api/issues/reconcile", work),
    web.post("/api/agent-work/sweep", work),
    web.post("/api/pr-fix-queue/sweep", work),
]


def make_app(scheduler: Scheduler, authorize: Callable[[web.Request], bool]) -> web.Application:
    """Return the app in which *scheduler* runs, with a status page for those whom *authorize* lets in."""
    app = web.Application(middlewares=[require_token])
    app[SYNC_LOCK] = asyncio.Lock()
    app.add_routes(ROUTES)
    app.add_routes(status_routes(scheduler, authorize=authorize, actions=True))
    install(app, scheduler)
    return app


if __name__ == "__main__":
    config = dispatch.config_from_env(os.environ)
    web.run_app(make_app(dispatch.scheduler(config), has_token), host="127.0.0.1", port=config.port)
