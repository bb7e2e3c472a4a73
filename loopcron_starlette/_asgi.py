"""
The in-process transport: calls the ASGI app itself, with all its middleware, and no socket.

Knows ASGI and nothing of Starlette, so any ASGI app will do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final, Literal, final
from urllib.parse import unquote

import anyio
import anyio.lowlevel

from loopcron import Request, Response, TransportError, bearer
from loopcron_starlette._apart import call_apart

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_NEVER_SENT: Final = 0
_BODY_LIMIT: Final = 64 * 1024
"""How much of a response's body is kept, in bytes; as much as over loopback."""
_OURS: Final = ((b"host", b"localhost"), (b"user-agent", b"loopcron"), (b"accept-encoding", b"identity"))
"""Headers that a request has unless it brings its own."""


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
        if self.app is None:
            await anyio.lowlevel.checkpoint()
            raise TransportError("no_address", started=False)
        exchange = _Exchange(request, self.scheme, self.state)
        try:
            await call_apart(partial(exchange.serve, self.app))
        except Exception:  # noqa: BLE001 - an app that leaves a cancel scope open breaks what is around it in its task
            exchange.has_crashed = True
        except BaseException as leaving:  # noqa: BLE001 - cancellation; the app's frames, which know the token, go
            raise _bare(exchange.interrupt or leaving)  # noqa: B904
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
    """
    One request to the app and what came of it: the server's side of ASGI.

    The request and the two messages of a usual response are passed on at once, as servers do it: a turn of the event
    loop for each would cost more than all else in here. Whatever comes more often lets others run.
    """

    def __init__(self, request: Request, scheme: str, state: Mapping[str, Any] | None) -> None:
        self._request: Final = request
        self._scheme: Final = scheme
        self._state: Final = state
        self._is_asked = False
        self._is_over = False
        self._left: anyio.Event | None = None  # made where somebody waits for it, because one is not cheap
        self._sent = 0
        self._status = _NEVER_SENT
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()
        self._has_token = True
        self.has_crashed = False
        self.interrupt: KeyboardInterrupt | None = None

    async def serve(self, app: ASGIApp) -> None:
        """Run the app to its end; nothing but cancellation by the caller comes out."""
        try:
            scope = self._scope()
        except TransportError:
            self._has_token = False
            return
        try:
            await app(scope, self._receive, self._send)
        except (Exception, GeneratorExit):  # noqa: BLE001 - never told on: the app's frames know the token
            self.has_crashed = True  # also where this is closed with an event loop that has ended, and nobody looks
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt  # raised by send: in a task of its own it would end asyncio's loop unrecorded
        except BaseException as leaving:  # the caller's cancellation, or an odd end of the app
            if _is_from_caller(leaving):
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
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},  # 2.4: send may raise OSError
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": self._scheme,
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": _encoded_headers(self._request),
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "extensions": {},
        }
        if self._state is not None:
            scope["state"] = dict(self._state)
        return scope

    async def _receive(self) -> Message:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        if self._is_over:
            await anyio.lowlevel.checkpoint()
        else:
            self._left = self._left or anyio.Event()
            await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self._sent += 1
        if self._sent > 2:
            await anyio.lowlevel.checkpoint()
        kind = message["type"]
        if len(self._body) > _BODY_LIMIT:
            self._leave()
            raise OSError("the client has gone away: it reads no more of this body")
        if kind == "http.response.start" and self._status == _NEVER_SENT:
            pairs = message.get("headers", ())
            self._headers = tuple([(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs])
            self._status = int(message["status"])
        elif kind == "http.response.body" and self._status != _NEVER_SENT and not self._is_over:
            if self._request.method != "HEAD":
                self._body += bytes(message.get("body", b""))[: _BODY_LIMIT + 1]
            if not message.get("more_body", False):
                self._leave()
        else:
            raise RuntimeError(f"ASGI message out of turn: {kind}")

    def _leave(self) -> None:
        self._is_over = True
        if self._left is not None:
            self._left.set()


def _encoded_headers(request: Request) -> list[tuple[bytes, bytes]]:
    own = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in request.headers]
    given = {name for name, _ in own}
    headers = [ours for ours in _OURS if ours[0] not in given]
    headers += own
    headers.append((b"content-length", b"%d" % len(request.body)))
    value = bearer(request)
    if value is not None:
        headers.append((b"authorization", value.encode("ascii")))
    return headers


def _is_from_caller(leaving: BaseException) -> bool:
    """Say whether this is the caller's cancellation; on asyncio an app can raise one of its own making."""
    is_cancelled = anyio.get_current_task().has_pending_cancellation()
    return is_cancelled and isinstance(leaving, anyio.get_cancelled_exc_class())
