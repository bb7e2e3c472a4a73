"""Never executed: type checkers read it. Both adapters, with the same verbs, as an app uses them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, assert_type

from aiohttp import web
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.websockets import WebSocket

import loopcron_aiohttp
import loopcron_starlette
from loopcron import Scheduler, SlotPass

scheduler = Scheduler()


@asynccontextmanager
async def own_lifespan(app: Starlette) -> AsyncGenerator[dict[str, int], None]:
    """Stand for the lifespan that the user's app has already."""
    yield {"pool": 1}


starlette_app = Starlette(lifespan=loopcron_starlette.lifespan(scheduler))
composed_app = Starlette(lifespan=loopcron_starlette.lifespan(scheduler, wrap=own_lifespan))
fastapi_app = FastAPI(lifespan=loopcron_starlette.lifespan(scheduler))
composed_fastapi_app = FastAPI(lifespan=loopcron_starlette.lifespan(scheduler, own_lifespan))
made_app = FastAPI()
loopcron_starlette.install(made_app, scheduler)
assert_type(loopcron_starlette.get_scheduler(starlette_app), Scheduler)


async def starlette_endpoint(request: Request) -> PlainTextResponse:
    """Reach the scheduler from a request."""
    assert_type(loopcron_starlette.scheduler_from(request), Scheduler)
    return PlainTextResponse("ok")


async def fastapi_endpoint(found: Annotated[Scheduler, Depends(loopcron_starlette.scheduler_from)]) -> None:
    """Reach the scheduler as a dependency."""
    assert_type(found, Scheduler)


async def websocket_endpoint(websocket: WebSocket) -> None:
    """Reach the scheduler from a WebSocket."""
    assert_type(loopcron_starlette.scheduler_from(websocket), Scheduler)


@loopcron_starlette.guarded("sync")
async def guarded_starlette_endpoint(request: Request) -> PlainTextResponse:
    """Be called once for each slot."""
    assert_type(loopcron_starlette.pass_from(request), SlotPass)
    return PlainTextResponse("ok")


@loopcron_starlette.guarded("sync", on_ledger_error="fire")
def guarded_sync_endpoint(request: Request) -> PlainTextResponse:
    """Be called on a thread."""
    return PlainTextResponse("ok")


guarded_routes = [Route("/sync", guarded_starlette_endpoint), Route("/thread", guarded_sync_endpoint)]


async def guarded_fastapi_endpoint(
    slot_pass: Annotated[SlotPass, Depends(loopcron_starlette.slot_guard("sync"))],
) -> None:
    """Get the pass as a dependency."""
    assert_type(slot_pass, SlotPass)


aiohttp_app = web.Application()
loopcron_aiohttp.install(aiohttp_app, scheduler)
assert_type(loopcron_aiohttp.get_scheduler(aiohttp_app), Scheduler)
assert_type(aiohttp_app[loopcron_aiohttp.SCHEDULER], Scheduler)


async def aiohttp_endpoint(request: web.Request) -> web.Response:
    """Reach the scheduler from a request."""
    assert_type(loopcron_aiohttp.scheduler_from(request), Scheduler)
    return web.Response()


@loopcron_aiohttp.guarded("sync")
async def guarded_handler(request: web.Request) -> web.Response:
    """Be called once for each slot."""
    assert_type(loopcron_aiohttp.pass_from(request), SlotPass)
    return web.Response()


guarded_table = [web.post("/sync", guarded_handler)]


def see(request: Request) -> bool | str | None:
    """Say who may see the status page."""
    return request.headers.get("X-User")


async def see_later(request: web.Request) -> bool:
    """Say it later."""
    return "X-User" in request.headers


status_app = Starlette(
    routes=[
        *loopcron_starlette.status_routes(scheduler, authorize=see, actions=True, path="/ops"),
        Route("/live", loopcron_starlette.liveness(scheduler)),
        Route("/ready", loopcron_starlette.readiness(scheduler, strict=True, details=True)),
    ]
)
made_app.router.routes.extend(loopcron_starlette.status_routes(scheduler, authorize=see))
made_app.add_api_route("/live", loopcron_starlette.liveness(scheduler))
aiohttp_app.add_routes(loopcron_aiohttp.status_routes(scheduler, authorize=see_later))
aiohttp_app.add_routes([web.get("/ready", loopcron_aiohttp.readiness(scheduler))])
