"""The status page and the probes in aiohttp apps, over a real server: the contract, and sub-apps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from loopcron_aiohttp import install, liveness, readiness, status_routes
from tests.adapters.status_contract import PERMISSIVE, Ask, Reply, StatusContract, World
from tests.loops import ASYNCIO


@pytest.fixture(scope="module", params=[pytest.param(ASYNCIO, id="asyncio")])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on asyncio only, which is all that aiohttp knows."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@web.middleware
async def kind(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let every other site pass, as those do who want CORS to be quiet."""
    preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    response = web.Response() if preflight else await handler(request)
    response.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
    response.headers["Access-Control-Allow-Headers"] = "*"
    return response


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[Ask]:
    """Serve *app*, and let it be asked."""
    async with TestClient(TestServer(app)) as client:

        async def send(method: str, path: str, headers: Mapping[str, str]) -> Reply:
            async with (
                asyncio.timeout(20),
                client.request(method, URL(path, encoded=True), headers=dict(headers), allow_redirects=False) as got,
            ):
                body = await got.read()
                return Reply(got.status, {name.lower(): value for name, value in got.headers.items()}, body)

        yield Ask(send)


class TestAiohttp(StatusContract):
    """The contract in an aiohttp app."""

    def serve(
        self, world: World, authorize: Any, *, actions: bool = True, permissive: bool = False
    ) -> AbstractAsyncContextManager[Ask]:
        """Serve an app on a real port."""
        app = web.Application(middlewares=[kind] if permissive else [])
        app.add_routes(status_routes(world.scheduler, authorize=authorize, actions=actions))
        app.add_routes(
            [
                web.get("/live", liveness(world.scheduler)),
                web.get("/ready", readiness(world.scheduler)),
                web.get("/strict", readiness(world.scheduler, strict=True, details=True)),
            ]
        )
        install(app, world.scheduler)
        return served(app)

    def denial(self, status: int, headers: Mapping[str, str]) -> Exception:
        """Return aiohttp's own exception."""
        if status == 303:
            return web.HTTPSeeOther(headers["Location"])
        return {401: web.HTTPUnauthorized, 200: web.HTTPOk}[status](headers=dict(headers))


@pytest.mark.parametrize("path", ["/loopcron", "/"])
async def test_in_a_sub_app(path: str) -> None:
    """In a sub-app the page, its data and its actions are below that app's prefix; in one of its own at its root."""
    world = World()
    sub = web.Application()
    sub.add_routes(status_routes(world.scheduler, authorize=lambda request: True, actions=True, path=path))
    app = web.Application()
    install(app, world.scheduler)
    app.add_subapp("/ops", sub)
    below = "/ops" if path == "/" else f"/ops{path}"
    async with served(app) as ask:
        if path != "/":
            assert (await ask("GET", below)).headers["location"] == f".{path}/"
        assert (await ask("GET", f"{below}/")).headers["content-type"] == "text/html; charset=utf-8"
        assert (await ask("GET", f"{below}/status.json")).json["total"] == 1
        done = await ask("POST", f"{below}/jobs/job/pause", **{"Loopcron-Action": "1"})
        assert (done.status, world.scheduler.snapshot()["job"].paused) == (202, True)


async def test_origin_of_the_server_itself() -> None:
    """A browser that tells its origin only, as over plain HTTP, may act if that is the host it asks."""
    world = World()
    app = web.Application()
    install(app, world.scheduler)
    app.add_routes(status_routes(world.scheduler, authorize=lambda request: True, actions=True))
    async with served(app) as ask:
        assert (await ask.act("pause", Origin="http://ops.example:8000", Host="ops.example:8000")).status == 202
        assert (await ask.act("pause", Origin=PERMISSIVE, Host="ops.example:8000")).status == 403
