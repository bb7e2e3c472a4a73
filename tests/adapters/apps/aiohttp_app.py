"""
An aiohttp app behind a bearer token, with jobs that go through it, for the tests under real servers.

Run with a port as its argument it serves itself with ``web.run_app``.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys

from aiohttp import web
from aiohttp.typedefs import Handler

from loopcron_aiohttp import install, scheduler_from
from tests.adapters.apps.jobs import TOKEN, Journal, make_scheduler


@web.middleware
async def auth(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only requests with the token pass, except to the health check."""
    given = request.headers.get("Authorization", "")
    if request.path != "/health" and not hmac.compare_digest(given, f"Bearer {os.environ[TOKEN]}"):
        raise web.HTTPUnauthorized
    return await handler(request)


async def health(request: web.Request) -> web.Response:
    """Answer what a load balancer asks."""
    return web.json_response({"jobs": len(scheduler_from(request).jobs)})


async def work(request: web.Request) -> web.Response:
    """Do nothing, behind the token."""
    await request.read()
    return web.Response()


async def locked(request: web.Request) -> web.Response:
    """Hold a lock for longer than one slot; whoever comes meanwhile is told so."""
    if lock.locked():
        raise web.HTTPConflict
    async with lock:
        await asyncio.sleep(0.4)
    return web.Response()


async def slow(request: web.Request) -> web.Response:
    """Take longer than any test."""
    journal.write("slow")
    await asyncio.sleep(60)
    return web.Response()


lock = asyncio.Lock()
journal = Journal()
app = web.Application(middlewares=[auth])
app.router.add_get("/health", health)
app.router.add_post("/work", work)
app.router.add_post("/locked", locked)
app.router.add_post("/slow", slow)
install(app, make_scheduler(journal))

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), shutdown_timeout=3, print=None)
