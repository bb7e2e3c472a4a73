"""
The in-process transport: calls the ASGI app itself, with all its middleware, and no socket.

Knows ASGI and nothing of Starlette, so any ASGI app will do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import Context
from typing import Any, Final, Literal, final
from urllib.parse import unquote

import anyio
import anyio.lowlevel

from loopcron import Request, Response, TransportError, bearer

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_NEVER_SENT: Final = 0
_BODY_LIMIT: Final = 64 * 1024
"""How much of a response's body is kept, in bytes; as much as over loopback."""


@final
class ASGITransport:
    """
    Sends each request to an ASGI app in this very process and worker.

    It needs no port, no TLS and no ``Host``, and works before the server listens, while it drains, and under a
    test client. It passes the app's middleware, but neither the server's limits nor its access log. The app runs in
    a task and a context of its own: context variables leak neither into it nor out of it.

    Args:
        app: The app. May be set later, by whoever makes the app: while it is None, a run is skipped as
            ``no_address``.
        state: What the app's lifespan yielded, seen by endpoints as ``request.state``. Every request gets a copy,
            as servers do it.
        scheme: What the app takes the request's scheme to be; ``https`` passes ``HTTPSRedirectMiddleware``.
    """

    __slots__ = ("app", "scheme", "state")

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        scheme: Literal["http", "https"] = "http",
    ) -> None:
        self.app: ASGIApp | None = app
        self.state: Mapping[str, Any] | None = state
        self.scheme: Final = scheme

    @property
    def origin(self) -> str:
        """What the app takes its own address to be."""
        return f"{self.scheme}://localhost"

    async def send(self, request: Request) -> Response:
        """
        Call the app with *request*, and return its response once the app is done, background tasks included.

        An app that raises gives a 500, as a server would, or the status that it had sent already. Of a body over 64
        KiB the rest is refused, as if the client had gone away.

        Raises:
            TransportError: ``closed``: the app ended without a response. ``token``, ``no_address``: it never ran.

        Cancellation:
            Reaches the app at once; `send` ends when the app does.
        """
        await anyio.lowlevel.checkpoint()
        if self.app is None:
            raise TransportError("no_address", started=False)
        exchange = _Exchange(request)
        scope = {"scheme": self.scheme, **({} if self.state is None else {"state": dict(self.state)})}
        try:
            async with anyio.create_task_group() as tasks:
                # A task copies the context that it is started in: this one is empty.
                Context().run(tasks.start_soon, exchange.serve, self.app, scope)
        except Exception:  # noqa: BLE001 - an app that leaves a cancel scope open breaks the group around it
            exchange.has_crashed = True
        except BaseException as leaving:  # noqa: BLE001 - cancellation; the app's frames, which know the token, go
            raise _bare(leaving)  # noqa: B904
        if exchange.interrupt is not None:
            raise _bare(exchange.interrupt)
        answer = exchange.answer()
        if isinstance(answer, TransportError):
            raise answer from None
        return answer


def _bare(leaving: BaseException) -> BaseException:
    """Return *leaving* without its frames and chain."""
    leaving.__cause__ = leaving.__context__ = None
    return leaving.with_traceback(None)


@final
class _Exchange:
    """One request to the app and what came of it: the server's side of ASGI."""

    def __init__(self, request: Request) -> None:
        self._request: Final = request
        self._is_asked = False
        self._is_over = anyio.Event()
        self._status = _NEVER_SENT
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()
        self._has_token = True
        self.has_crashed = False
        self.interrupt: KeyboardInterrupt | None = None

    async def serve(self, app: ASGIApp, scope: Message) -> None:
        """Run the app to its end; nothing but cancellation by the caller comes out."""
        try:
            full = {**scope, **self._scope()}
        except TransportError:
            self._has_token = False
            return
        try:
            await app(full, self._receive, self._send)
        except Exception:  # noqa: BLE001 - never told on: the app's frames know the token
            self.has_crashed = True
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt  # raised by send: in a task of its own it would end asyncio's loop unrecorded
        except BaseException as leaving:  # the caller's cancellation, or an odd end of the app
            if isinstance(leaving, GeneratorExit) or _is_from_caller(leaving):
                raise
            self.has_crashed = True

    def answer(self) -> Response | TransportError:
        """Return what the app has left behind."""
        if not self._has_token:
            return TransportError("token", started=False)
        if self._status == _NEVER_SENT:
            return Response(500) if self.has_crashed else TransportError("closed")
        return Response(self._status, self._headers, bytes(self._body[:_BODY_LIMIT]))

    def _scope(self) -> Message:
        path, _, query = self._request.path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},  # 2.4: send may raise OSError
            "http_version": "1.1",
            "method": self._request.method,
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": _encoded_headers(self._request),
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "extensions": {},
        }

    async def _receive(self) -> Message:
        if self._is_asked:
            await self._is_over.wait()
            return {"type": "http.disconnect"}
        await anyio.lowlevel.checkpoint()
        self._is_asked = True
        return {"type": "http.request", "body": self._request.body, "more_body": False}

    async def _send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        kind = message["type"]
        if len(self._body) > _BODY_LIMIT:
            self._is_over.set()
            raise OSError("the client has gone away: it reads no more of this body")
        if kind == "http.response.start" and self._status == _NEVER_SENT:
            headers = message.get("headers", ())
            self._headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
            self._status = int(message["status"])
        elif kind == "http.response.body" and self._status != _NEVER_SENT and not self._is_over.is_set():
            if self._request.method != "HEAD":
                self._body += bytes(message.get("body", b""))[: _BODY_LIMIT + 1]
            if not message.get("more_body", False):
                self._is_over.set()
        else:
            raise RuntimeError(f"ASGI message out of turn: {kind}")


def _encoded_headers(request: Request) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in request.headers}
    ours = (("host", "localhost"), ("user-agent", "loopcron"), ("accept-encoding", "identity"))
    headers = [(name, value) for name, value in ours if name not in given]
    headers += [(name.lower(), value) for name, value in request.headers]
    headers.append(("content-length", str(len(request.body))))
    value = bearer(request)
    if value is not None:
        headers.append(("authorization", value))
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


def _is_from_caller(leaving: BaseException) -> bool:
    """Say whether this is the caller's cancellation; on asyncio an app can raise one of its own making."""
    is_cancelled = anyio.get_current_task().has_pending_cancellation()
    return is_cancelled and isinstance(leaving, anyio.get_cancelled_exc_class())
