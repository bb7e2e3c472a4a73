"""An aiohttp app for several workers, whose endpoint writes down that it was called."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from loopcron_aiohttp import install
from tests.adapters.apps.workers import WorkersJournal, make_scheduler


async def health(request: web.Request) -> web.Response:
    """Answer what a load balancer asks."""
    return web.Response()


async def call(request: web.Request) -> web.Response:
    """Do what the job ``call`` asks for."""
    slot = datetime.fromisoformat(request.headers["Loopcron-Slot"])
    await journal.do("call", slot, int(request.headers["Loopcron-Fence"]))
    return web.Response()


journal = WorkersJournal()
app = web.Application()
app.router.add_get("/health", health)
app.router.add_post("/call", call)
install(app, make_scheduler(journal))
