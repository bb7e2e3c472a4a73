"""The in-process transport: the same contract as over a socket, and what only a call in-process can get wrong."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from loopcron import Request, TransportError
from loopcron.testing._misbehaving import MisbehavingServer, Port, Seen
from loopcron.testing._misbehaviours import DATE, RETRY_AFTER, _bomb
from loopcron.testing._transport_case import assert_no_secret, contract_token
from loopcron.testing._transport_contract import TransportContract
from loopcron_starlette._asgi import ASGIApp, ASGITransport

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LEAK: ContextVar[str] = ContextVar("LEAK", default="nobody's")


def misbehaving_app(server: MisbehavingServer) -> ASGIApp:
    """Return an app that does on each path what the server does, as far as an app can."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        headers = tuple((name.decode(), value.decode()) for name, value in scope["headers"])
        query = "?" + scope["query_string"].decode() if scope["query_string"] else ""
        body = (await receive())["body"]
        server.seen.append(Seen(scope["method"], scope["raw_path"].decode() + query, headers, body))
        _, name, *words = scope["path"].split("/")
        given = dict(headers)

        async def start(status: int, *extra: tuple[str, str]) -> None:
            pairs = [(key.encode(), value.encode()) for key, value in (("Date", DATE), *extra)]
            await send({"type": "http.response.start", "status": status, "headers": pairs})

        async def answer(status: int, *extra: tuple[str, str], body: bytes = b"") -> None:
            await start(status, *extra)
            await send({"type": "http.response.body", "body": body})

        if name == "status":
            await answer(int(words[0]))
        elif name == "lock":
            await answer(200 if words[0] in server.freed else 409)
        elif name == "recovers":
            await answer(500 if len(server.seen) <= int(words[0]) else 200)
        elif name == "retry":
            await answer(int(words[0]), ("Retry-After", RETRY_AFTER[words[1]]))
        elif name == "redirect":
            await answer(int(words[1]), ("Location", server.url("sink")))
        elif name == "cookie":
            await answer(400 if "cookie" in given else 200, ("Set-Cookie", "session=stranger"))
        elif name in {"echo", "markup"}:
            told = given["authorization"]
            await answer(500, ("X-Echo", told), body=told.encode())
        elif name == "gzip-bomb":
            await answer(200, ("Content-Encoding", "gzip"), body=_bomb())
        elif name in {"silent", "drip"}:
            if words == ["body"]:
                await start(200)
            await anyio.sleep_forever()
        elif name == "endless":
            await start(200)
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        elif name != "close":
            await start(200)
            raise RuntimeError(f"the database says: {given['authorization']}")

    return app


class TestInProcess(TransportContract):
    """No socket at all."""

    has_wire = False
    has_ports = False

    def transport(self, server: MisbehavingServer, port: Port = "main") -> ASGITransport:
        assert port == "main"
        return ASGITransport(misbehaving_app(server))


async def fail(transport: ASGITransport, path: str = "/") -> TransportError:
    with pytest.raises(TransportError) as caught:
        await transport.send(Request("POST", path, token=contract_token))
    shown = traceback.TracebackException(caught.type, caught.value, caught.tb, capture_locals=True)
    assert_no_secret("".join(shown.format()))
    assert caught.value.__context__ is None
    return caught.value


async def answer(send: Send, status: int = 200, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status})
    await send({"type": "http.response.body", "body": body})


async def test_context() -> None:
    """Context variables leak neither from the caller into the app nor back."""
    seen = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(LEAK.get())
        LEAK.set("the app's")
        await answer(send)

    LEAK.set("the caller's")
    await ASGITransport(app).send(Request("POST", "/"))
    assert (seen, LEAK.get()) == (["nobody's"], "the caller's")


async def test_middleware_and_state() -> None:
    """A Starlette app is called with all its middleware, and its endpoints see a copy of the lifespan's state."""
    order = []

    class Noting(BaseHTTPMiddleware):
        async def dispatch(self, request: StarletteRequest, call_next: Any) -> Any:
            order.append("middleware")
            return await call_next(request)

    async def endpoint(request: StarletteRequest) -> PlainTextResponse:
        order.append(request.state.pool)
        request.state.pool = "overwritten"
        assert await request.json() == {"issues": True}
        return PlainTextResponse("done", background=BackgroundTask(order.append, "background"))

    state: dict[str, object] = {"pool": "the pool"}
    app = Starlette(routes=[Route("/a b", endpoint, methods=["POST"])], middleware=[Middleware(Noting)])
    response = await ASGITransport(app, state=state).send(Request("POST", "/a%20b", body=b'{"issues": true}'))
    assert (response.status, response.body, response.header("Content-Length")) == (200, b"done", "4")
    assert order == ["middleware", "the pool", "background"]
    assert state == {"pool": "the pool"}


async def test_scheme() -> None:
    """A scheme of https passes a middleware that redirects to it."""
    app = Starlette(
        routes=[Route("/", lambda request: PlainTextResponse(request.url.scheme))],
        middleware=[Middleware(HTTPSRedirectMiddleware)],
    )
    assert (await ASGITransport(app).send(Request("GET", "/"))).status == 307
    assert (await ASGITransport(app, scheme="https").send(Request("GET", "/"))).body == b"https"


async def test_app_comes_later() -> None:
    """Without an app there is no address; once it is set it is called."""
    transport = ASGITransport()
    error = await fail(transport)
    assert (error.code, error.started) == ("no_address", False)
    transport.app = Starlette()
    assert (await transport.send(Request("GET", "/"))).status == 404


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError, BaseException])
async def test_app_raises(error: type[BaseException]) -> None:
    """An app that raises, whatever it is, gives a 500 and nothing of the exception."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        raise error

    assert (await ASGITransport(app).send(Request("POST", "/", token=contract_token))).status == 500


async def test_keyboard_interrupt() -> None:
    """A KeyboardInterrupt of the app is let out by send, so that the run's fence can record it."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        await ASGITransport(app).send(Request("POST", "/", token=contract_token))
    shown = traceback.TracebackException(caught.type, caught.value, caught.tb, capture_locals=True)
    assert_no_secret("".join(shown.format()))


async def test_app_leaves_a_scope_open() -> None:
    """An app that enters a cancel scope and never leaves it spoils only its own response."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        anyio.CancelScope().__enter__()

    assert (await ASGITransport(app).send(Request("POST", "/"))).status == 500
    await anyio.lowlevel.checkpoint()


async def test_out_of_turn() -> None:
    """Messages out of turn are refused, and a status that was sent counts."""
    refused = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        for kind in ("http.response.body", "http.response.zerocopysend"):
            with pytest.raises(RuntimeError, match="out of turn"):
                await send({"type": kind})
        await answer(send, 202)
        for kind in ("http.response.body", "http.response.start"):
            with pytest.raises(RuntimeError, match="out of turn"):
                await send({"type": kind, "status": 500})
        refused.append("all")

    assert (await ASGITransport(app).send(Request("POST", "/"))).status == 202
    assert refused == ["all"]


async def test_disconnect() -> None:
    """An app that waits for the client to leave is told so once its response is complete."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, send)
            assert (await receive())["type"] == "http.disconnect"

    assert (await ASGITransport(app).send(Request("POST", "/"))).status == 200


async def test_endless_stream_of_starlette() -> None:
    """A streaming response without end is closed as by a client that goes away."""

    class Endless:  # no async generator: under trio nobody would close it
        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> bytes:
            return b"x" * 1000

    app = Starlette(routes=[Route("/", lambda _: StreamingResponse(Endless()))])
    response = await ASGITransport(app).send(Request("GET", "/"))
    assert (response.status, len(response.body)) == (200, 65536)


async def test_cancellation_reaches_the_app() -> None:
    """The caller's cancellation ends the app at once."""
    ended = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    begun = time.perf_counter()
    with anyio.move_on_after(0.05) as scope:
        await ASGITransport(app).send(Request("POST", "/", token=contract_token))
    assert scope.cancelled_caught
    assert ended == [True]
    assert time.perf_counter() - begun < 0.5


def test_native_cancellation() -> None:
    """A plain asyncio task can be cancelled inside send, and its exception shows nothing of the app's frames."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        started.set()
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(ASGITransport(app).send(Request("POST", "/", token=contract_token)))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        shown = traceback.TracebackException(caught.type, caught.value, caught.tb, capture_locals=True)
        assert_no_secret("".join(shown.format()))

    started = asyncio.Event()
    asyncio.run(main(), debug=True)
