"""The status page and the probes in Starlette and FastAPI apps: the contract, and each way to mount them."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from loopcron_starlette import install, lifespan, liveness, readiness, status_routes
from tests.adapters.status_contract import PERMISSIVE, Ask, Reply, StatusContract, World


def asking(app: ASGIApp, prefix: str = "") -> Ask:
    """Return what asks *app* in process."""

    async def send(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        transport = httpx2.ASGITransport(app, root_path=prefix)
        async with httpx2.AsyncClient(transport=transport, base_url="http://ops.example") as client:
            with anyio.fail_after(20):
                got = await client.request(method, prefix + path, headers=dict(headers))
            return Reply(got.status_code, {name.lower(): value for name, value in got.headers.items()}, got.content)

    return Ask(send)


class TestStarlette(StatusContract):
    """The contract in a Starlette app."""

    def serve(
        self, world: World, authorize: Any, *, actions: bool = True, permissive: bool = False
    ) -> AbstractAsyncContextManager[Ask]:
        """Serve a Starlette app in process."""
        scheduler = world.scheduler
        kind = Middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=True,
        )
        app = Starlette(
            routes=[
                *status_routes(scheduler, authorize=authorize, actions=actions),
                Route("/live", liveness(scheduler)),
                Route("/ready", readiness(scheduler)),
                Route("/strict", readiness(scheduler, strict=True, details=True)),
            ],
            middleware=[kind] if permissive else [],
            lifespan=lifespan(scheduler),
        )
        return served(app)

    def denial(self, status: int, headers: Mapping[str, str]) -> Exception:
        """Return Starlette's own exception."""
        return HTTPException(status, headers=dict(headers))


@asynccontextmanager
async def served(app: Starlette, prefix: str = "") -> AsyncIterator[Ask]:
    """Run the app's lifespan, and let it be asked."""
    async with app.router.lifespan_context(app):
        yield asking(app, prefix)


# --- each way to mount it


def in_fastapi(world: World) -> Starlette:
    """Return a FastAPI app to whose routes those of the page were added."""
    app = FastAPI()
    app.router.routes.extend(status_routes(world.scheduler, authorize=lambda request: True, actions=True))
    app.add_api_route("/live", liveness(world.scheduler))
    app.add_api_route("/ready", readiness(world.scheduler), include_in_schema=False)
    install(app, world.scheduler)
    return app


def mounted_in_fastapi(world: World) -> Starlette:
    """Return a FastAPI app in which an app with the page is mounted, at the page's path."""
    app = FastAPI()
    page = Starlette(routes=[*status_routes(world.scheduler, authorize=lambda request: True, actions=True, path="/")])
    app.mount("/loopcron", page)
    app.add_route("/live", liveness(world.scheduler))
    install(app, world.scheduler)
    return app


def mounted_below(world: World) -> Starlette:
    """Return a Starlette app with a mount around the routes."""
    routes = status_routes(world.scheduler, authorize=lambda request: True, actions=True)
    below = Mount("/ops", routes=[*routes, Route("/live", liveness(world.scheduler))])
    return Starlette(routes=[below], lifespan=lifespan(world.scheduler))


@pytest.mark.parametrize(
    ("make", "prefix", "below"),
    [
        (in_fastapi, "", ""),
        (in_fastapi, "/behind/a/proxy", ""),
        (mounted_in_fastapi, "", ""),
        (mounted_in_fastapi, "/behind", ""),
        (mounted_below, "", "/ops"),
        (mounted_below, "/behind", "/ops"),
    ],
    ids=lambda value: getattr(value, "__name__", value) or "-",
)
async def test_each_way_to_mount(make: Callable[[World], Starlette], prefix: str, below: str) -> None:
    """Wherever it is mounted, and whatever prefix a proxy adds, the page, its data and its actions are there."""
    world = World()
    async with served(make(world), prefix) as ask:
        moved = await ask("GET", f"{below}/loopcron")
        assert moved.status == 307
        assert moved.headers["location"].endswith("loopcron/")
        assert (await ask("GET", f"{below}/loopcron/")).headers["content-type"] == "text/html; charset=utf-8"
        assert (await ask("GET", f"{below}/loopcron/status.json")).json["total"] == 1
        assert (await ask("HEAD", f"{below}/loopcron/metrics")).status == 200
        done = await ask("POST", f"{below}/loopcron/jobs/job/pause", **{"Loopcron-Action": "1"})
        assert done.status == 202
        assert world.scheduler.snapshot()["job"].paused
        assert (await ask("GET", f"{below}/live")).json["status"] == "ok"


async def test_page_stays_out_of_the_schema() -> None:
    """FastAPI's schema tells nothing of the page, and a probe stands in it unless it is to be left out."""
    async with served(in_fastapi(World())) as ask:
        paths = (await ask("GET", "/openapi.json")).json["paths"]
    assert list(paths) == ["/live"]


async def test_head_has_no_body() -> None:
    """To HEAD the app itself sends no body, as not every server takes it away, and yet tells its length."""
    app = Starlette(routes=[*status_routes(World().scheduler, authorize=lambda request: True)])
    sent: dict[str, list[Any]] = {"GET": [], "HEAD": []}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    for method, messages in sent.items():

        async def send(message: Any, messages: list[Any] = messages) -> None:
            messages.append(message)

        scope = {"type": "http", "method": method, "path": "/loopcron/metrics", "query_string": b"", "headers": []}
        await app(scope, receive, send)
    (got, body), (head, no_body) = sent.values()
    assert (got["status"], got["headers"]) == (head["status"], head["headers"])
    assert dict(got["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert (no_body["body"], len(body["body"]) > 0) == (b"", True)


# --- a real server


def test_over_a_real_server() -> None:
    """uvicorn serves all of it: bodies of their length, none to HEAD, actions on the loop on which the scheduler is."""
    world = World()
    app = Starlette(
        routes=[*status_routes(world.scheduler, authorize=lambda request: "ann", actions=True)],
        lifespan=lifespan(world.scheduler),
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, loop="asyncio", ws="none", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            ours = {"Loopcron-Action": "1", "Origin": f"http://127.0.0.1:{port}"}
            theirs = {"Loopcron-Action": "1", "Origin": PERMISSIVE}
            replies = [
                ask_over(port, method, path, headers)
                for method, path, headers in (
                    ("GET", "/loopcron/", {}),
                    ("HEAD", "/loopcron/", {}),
                    ("GET", "/loopcron", {}),
                    ("POST", "/loopcron/jobs/job/pause", theirs),
                    ("POST", "/loopcron/jobs/job/pause", ours),
                    ("GET", "/loopcron/status.json", {}),
                )
            ]
        finally:
            server.should_exit = True
            thread.join(30)
    assert [reply.status for reply in replies] == [200, 200, 307, 403, 202, 200]
    page, head, moved, _, _, document = replies
    assert (len(page.body), head.body) == (int(page.headers["content-length"]), b"")
    assert head.headers["content-length"] == page.headers["content-length"]
    assert moved.headers["location"] == "./loopcron/"
    assert json.loads(document.body)["jobs"][0]["paused"] is True
    assert world.audit == [("pause", "ann", False), ("pause", "ann", True)]


def ask_over(port: int, method: str, path: str, headers: Mapping[str, str]) -> Reply:
    """Ask over a socket; the server may still be starting, its listener is there already."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=dict(headers))
        got = connection.getresponse()
        return Reply(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
    finally:
        connection.close()
