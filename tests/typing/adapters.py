"""Never executed: type checkers read it. Both adapters, with the same verbs, as an app uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_type

from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse

import loopcron_aiohttp
import loopcron_starlette
from loopcron import Scheduler

scheduler = Scheduler()


@asynccontextmanager
async def own_lifespan(app: Starlette) -> AsyncIterator[dict[str, int]]:
    """Stand for the lifespan that the user's app has already."""
    yield {"pool": 1}


starlette_app = Starlette(lifespan=loopcron_starlette.lifespan(scheduler))
composed_app = Starlette(lifespan=loopcron_starlette.lifespan(scheduler, wrap=own_lifespan))
fastapi_app = FastAPI(lifespan=loopcron_starlette.lifespan(scheduler))
assert_type(loopcron_starlette.get_scheduler(starlette_app), Scheduler)


async def starlette_endpoint(request: Request) -> PlainTextResponse:
    """Reach the scheduler from a request."""
    assert_type(loopcron_starlette.scheduler_from(request), Scheduler)
    return PlainTextResponse("ok")


aiohttp_app = web.Application()
loopcron_aiohttp.install(aiohttp_app, scheduler)
assert_type(loopcron_aiohttp.get_scheduler(aiohttp_app), Scheduler)


async def aiohttp_endpoint(request: web.Request) -> web.Response:
    """Reach the scheduler from a request."""
    assert_type(loopcron_aiohttp.scheduler_from(request), Scheduler)
    return web.Response()
