"""A Starlette app for several workers, whose endpoint writes down that it was called."""

from __future__ import annotations

from datetime import datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from loopcron_starlette import lifespan
from tests.adapters.apps.workers import WorkersJournal, make_scheduler


async def health(request: Request) -> Response:
    """Answer what a load balancer asks."""
    return PlainTextResponse("well")


async def call(request: Request) -> Response:
    """Do what the job ``call`` asks for."""
    slot = datetime.fromisoformat(request.headers["Loopcron-Slot"])
    await journal.do("call", slot, int(request.headers["Loopcron-Fence"]))
    return PlainTextResponse("done")


journal = WorkersJournal()
app = Starlette(
    routes=[Route("/health", health), Route("/call", call, methods=["POST"])],
    lifespan=lifespan(make_scheduler(journal)),
)
