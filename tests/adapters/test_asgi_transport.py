"""The in-process transport: the same contract as over a socket, and what only a call in-process can get wrong."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
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


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError, GeneratorExit, BaseException])
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


async def test_keyboard_interrupt_while_cancelled() -> None:
    """A KeyboardInterrupt of an app that is being cancelled is not lost."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        cancelling.cancel()
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), anyio.CancelScope() as cancelling:
        await ASGITransport(app).send(Request("POST", "/", token=contract_token))


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


async def test_disconnect_after_the_response() -> None:
    """An app that asks once its response is complete hears that the client has left, as often as it asks."""
    heard = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await answer(send)
        heard.extend([(await receive())["type"], (await receive())["type"]])

    await ASGITransport(app).send(Request("POST", "/"))
    assert heard == ["http.disconnect"] * 2


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.body", "more_body": True},
        {"type": "http.response.body", "body": b"x" * 65536, "more_body": True},
        {"type": "http.response.start", "status": 200},
        {},
        None,
    ],
    ids=["nothing", "too much", "start", "malformed", "receive"],
)
async def test_an_app_in_a_loop(message: Message | None) -> None:
    """An app that sends or receives for ever, whatever it is told, lets others run and can be cut."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        if message is None:
            await answer(send)
        else:
            await send({"type": "http.response.start", "status": 200})
        while True:
            with suppress(OSError, RuntimeError, KeyError):
                await (receive() if message is None else send(message))

    with anyio.move_on_after(0.05) as scope:
        await ASGITransport(app).send(Request("POST", "/"))
    assert scope.cancelled_caught


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


async def test_answer_after_the_cancellation() -> None:
    """A response that an app has shielded from the caller's cancellation comes too late, on any event loop."""
    ended: list[bool] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        with anyio.CancelScope(shield=True):
            cancelling.cancel()
            await anyio.lowlevel.checkpoint()
            await answer(send)
            ended.append(True)

    with anyio.CancelScope() as cancelling:
        await ASGITransport(app).send(Request("POST", "/"))
    assert ended == [True]
    assert cancelling.cancelled_caught


async def test_scope_left_open_after_the_cancellation() -> None:
    """An app that spoils its own task keeps the caller's cancellation from nobody, on any event loop."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        anyio.CancelScope().__enter__()
        cancelling.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as cancelling:
        await ASGITransport(app).send(Request("POST", "/", token=contract_token))
    assert cancelling.cancelled_caught


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


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("times", [1, 2])
def test_native_cancellation_waits_for_what_is_shielded(times: int) -> None:
    """However often a plain task is cancelled inside send, what the app has shielded goes on, and is waited for."""
    ended: list[str] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        with anyio.CancelScope(shield=True):
            await release.wait()
            ended.append("shielded")
        await anyio.sleep_forever()

    async def main() -> None:
        task = asyncio.create_task(ASGITransport(app).send(Request("POST", "/")))
        await settle()
        for _ in range(times):
            task.cancel()
            await settle()
        assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["shielded"]

    release = asyncio.Event()
    asyncio.run(main(), debug=True)


def test_native_cancellation_after_that_of_a_scope() -> None:
    """A plain cancellation that comes while a scope's is under way is what comes out, for a scope to let through."""
    seen = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        with anyio.CancelScope(shield=True):
            await release.wait()

    async def caller(scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await ASGITransport(app).send(Request("POST", "/"))
            except asyncio.CancelledError as error:
                seen.append(error.args)
                raise

    async def main() -> None:
        scope = anyio.CancelScope()
        task = asyncio.create_task(caller(scope))
        await settle()
        scope.cancel()
        await settle()
        task.cancel("plain")
        await settle()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == [("plain",)]

    release = asyncio.Event()
    asyncio.run(main(), debug=True)


def test_native_cancellation_before() -> None:
    """A plain task that is cancelled before it sends does not call the app."""
    called = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        called.append(True)

    async def caller() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await ASGITransport(app).send(Request("POST", "/"))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(caller(), debug=True)
    assert called == []


def test_cancelled_with_a_scope_left_open() -> None:
    """The caller's cancellation, and nothing else, comes out of send even where the app has spoilt its own task."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        anyio.CancelScope().__enter__()
        await anyio.sleep_forever()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        task = asyncio.create_task(ASGITransport(app).send(Request("POST", "/")))
        await settle()
        (apart,) = asyncio.all_tasks() - {task, asyncio.current_task()}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "RuntimeError" in repr(apart)
        apart.__del__()

    told: list[dict[str, Any]] = []
    asyncio.run(main(), debug=True)
    assert told == []


@pytest.mark.parametrize("steps", [0, 1], ids=["before its first step", "later"])
def test_the_task_of_the_app_is_cancelled(steps: int) -> None:
    """Where somebody cancels the app's task behind send's back, send ends with what there is."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    async def main() -> int | str:
        task = asyncio.create_task(ASGITransport(app).send(Request("POST", "/")))
        await asyncio.sleep(0)
        (apart,) = asyncio.all_tasks() - {task, asyncio.current_task()}
        for _ in range(steps):
            await asyncio.sleep(0)
        apart.cancel()
        try:
            return (await task).status
        except TransportError as error:
            return error.code

    assert asyncio.run(main()) == ["closed", 500][steps]


def test_all_tasks_are_cancelled() -> None:
    """Where all tasks are cancelled, as at the end of the event loop, before the app was called, send is too."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    async def main() -> None:
        task = asyncio.create_task(ASGITransport(app).send(Request("POST", "/")))
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == 2
        for other in others:
            other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main(), debug=True)
