"""
A stand-in for Dispatch on aiohttp: its endpoints, and its jobs scheduled inside the app.

    DISPATCH_SCHEDULER_ENABLED=true DISPATCH_AGENT_TOKEN=... python docs/examples/aiohttp_app.py
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from loopcron import Observer, dispatch
from loopcron_aiohttp import install, scheduler_from

SYNC_LOCK = web.AppKey("sync_lock", asyncio.Lock)


@web.middleware
async def require_token(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let requests with the agent's bearer token reach /api, and answer all others there with 401."""
    expected = f"Bearer {os.environ.get('DISPATCH_AGENT_TOKEN', '')}"
    given = request.headers.get("Authorization", "")
    # An app without a token lets nobody in, not everybody.
    allowed = expected != "Bearer " and hmac.compare_digest(given.encode(), expected.encode())
    if request.path.startswith("/api/") and not allowed:
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


def make_app(observers: Sequence[Observer] = ()) -> web.Application:
    """Return the app with its scheduler, configured by the environment."""
    app = web.Application(middlewares=[require_token])
    app[SYNC_LOCK] = asyncio.Lock()
    app.add_routes(ROUTES)
    install(app, dispatch.scheduler(dispatch.config_from_env(os.environ), observers=observers))
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=dispatch.config_from_env(os.environ).port)
