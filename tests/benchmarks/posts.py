"""What a request to the app costs the process that sends it: without a socket, and over a connection of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.benchmarks.gauges import Figures

Post = Callable[[], Awaitable[None]]
Client = Callable[[int], Any]
"""Gives, as a context manager, what makes one request to the port."""

BODY = b'{"job": "nightly", "at": "2025-01-01T00:00:00Z", "n": 1, "pad": "' + b"x" * 40 + b'"}'
JSON = (("Content-Type", "application/json"),)
REQUESTS = {"in_process": 3000, "loopback": 400}


def make_app() -> Any:
    """Return an app that answers with the body."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    return Starlette(routes=[Route("/echo", echo, methods=["POST"])])


def check(status: int, body: bytes) -> None:
    """A wrong answer is not to count as a fast one."""
    assert (status, body) == (200, BODY), (status, body)


@asynccontextmanager
async def bare_call(_: int) -> AsyncIterator[Post]:
    """Call the app as ASGI has it, and do nothing else."""
    app = make_app()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/echo",
        "raw_path": b"/echo",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"app"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(BODY)),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("app", 80),
    }

    async def post() -> None:
        status, parts = 0, []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": BODY, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await app(dict(scope), receive, send)
        check(status, b"".join(parts))

    yield post


@asynccontextmanager
async def loopcron_call(_: int) -> AsyncIterator[Post]:
    """Send by the transport that the adapter for Starlette brings."""
    from loopcron import Request
    from loopcron_starlette import ASGITransport

    transport = ASGITransport(make_app())
    request = Request("POST", "/echo", JSON, BODY)

    async def post() -> None:
        response = await transport.send(request)
        check(response.status, response.body)

    yield post


class _Bare(asyncio.Protocol):
    """One prepared request, and the response until the server closes."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._parts: list[bytes] = []
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.answer.set_result(b"".join(self._parts))


@asynccontextmanager
async def bare_protocol(port: int) -> AsyncIterator[Post]:
    """Open a connection by hand for each request."""
    loop = asyncio.get_running_loop()
    request = (
        b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (port, len(BODY), BODY)
    )

    async def post() -> None:
        _, protocol = await loop.create_connection(lambda: _Bare(request), "127.0.0.1", port)
        head, _, body = (await protocol.answer).partition(b"\r\n\r\n")
        check(int(head[9:12]), body)

    yield post


@asynccontextmanager
async def loopcron_loopback(port: int) -> AsyncIterator[Post]:
    """Send by the default transport."""
    from loopcron import LoopbackTransport, Request

    transport = LoopbackTransport(f"http://127.0.0.1:{port}")
    request = Request("POST", "/echo", JSON, BODY)

    async def post() -> None:
        response = await transport.send(request)
        check(response.status, response.body)

    yield post


CLIENTS: dict[str, dict[str, Client]] = {
    "in_process": {"bare call": bare_call, "loopcron": loopcron_call},
    "loopback": {"bare protocol": bare_protocol, "loopcron": loopcron_loopback},
}


def client_of(name: str, way: str) -> Client:
    """Return it."""
    if name in CLIENTS[way]:
        return CLIENTS[way][name]
    from tests.benchmarks import peers_http  # makes its clients of what is here

    return peers_http.CLIENTS[way][name]


async def measure_requests(client: str, way: str, port: int) -> Figures:
    """Return the CPU time of a request in µs, in this process, and what half of them took at most."""
    count = REQUESTS[way]
    took = []
    async with client_of(client, way)(port) as post:
        for _ in range(count // 10):
            await post()
        begin = time.process_time()
        for _ in range(count):
            at = time.perf_counter()
            await post()
            took.append(time.perf_counter() - at)
        spent = time.process_time() - begin
    return {"cpu_us": spent / count * 1e6, "p50_us": sorted(took)[count // 2] * 1e6}
