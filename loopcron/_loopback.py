"""
The default transport: one HTTP/1.1 request to the app's own address, over a socket of its own, anyio and h11.

What goes wrong is passed on as a value and raised once, in `LoopbackTransport.send`: so no library's exception is in
its chain, and no frame that has known the token is in its traceback.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, final

from loopcron._address import Address, Scheme, checked_uds, listening_addresses, own_address, parse_base_url
from loopcron._errors import ConfigError, TransportCode, TransportError
from loopcron._http import BODY_LIMIT, Request, Response, bearer
from loopcron._sockets import connect, handshake, when_ready

if TYPE_CHECKING:
    import ssl

    import h11

_CHUNK: Final = 16 * 1024
_HEAD_LIMIT: Final = 32 * 1024
"""How many bytes the status line and headers of a response may have."""
_INTERIM_LIMIT: Final = 16
"""How many 1xx responses are read before the final one."""
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods that say how long their body is even where it is empty (RFC 9110, 8.6)."""
_STATUS_LINE: Final = b"HTTP/1."


@final
class LoopbackTransport:
    """
    Sends each request over a connection of its own to the app's own address.

    The address is, in this order: *base_url* or *uds*; the one place where this process listens (Linux); the port
    in the environment's ``PORT``, unless this process's own sockets tell that it is somebody else's. It is looked up
    anew at each send. Neither redirects, proxies, cookies nor compression are known here.

    Args:
        base_url: Such as ``http://127.0.0.1:8000``: scheme, host and port. A scheme of ``https`` turns on TLS, with
            the certificate verified against the host.
        uds: The path of a unix socket to connect to; *base_url* then only gives the scheme and the ``Host`` header.
        ssl_context: For ``https``; default `ssl.create_default_context`. Without a *base_url* it makes the
            address that is found an ``https`` one.
        environ: Where ``PORT`` is looked up; default ``os.environ``.
        served: Whether this process serves the app itself, as it does where an adapter made the transport. Then
            ``PORT`` alone is not believed: before the server listens there is no address.

    Raises:
        ConfigError: *base_url* holds more than scheme, host and port, or an argument contradicts another one. The
            message never shows a URL, because it may hold a password.
    """

    __slots__ = ("_address", "_environ", "_found", "_scheme", "_served", "_ssl_context", "_uds")

    def __init__(
        self,
        base_url: str | None = None,
        *,
        uds: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        environ: Mapping[str, str] | None = None,
        served: bool = False,
    ) -> None:
        self._scheme: Scheme = "http" if ssl_context is None else "https"
        self._address: Address | None = None
        self._found: Address | None = None
        if base_url is not None:
            self._scheme, self._address = parse_base_url(base_url)
        if self._scheme == "http" and ssl_context is not None:
            raise ConfigError("ssl_context", type(ssl_context).__name__, "needs a base_url that begins with https://")
        self._uds: Final = None if uds is None else checked_uds(uds)
        self._ssl_context = ssl_context
        self._environ: Final[Mapping[str, str]] = os.environ if environ is None else environ
        self._served = served

    @property
    def origin(self) -> str | None:
        """Where requests go, such as ``http://127.0.0.1:8000``; None until the first one had to find the address."""
        is_given = self._uds is not None or self._address is not None
        address = self._where() if is_given else self._found
        return None if address is None else f"{self._scheme}://{_host_header(self._scheme, address)}"

    async def send(self, request: Request) -> Response:
        """
        Make one attempt to bring *request* to the app.

        Once the headers of a final response are in, its status is the answer, whatever happens to its body.

        Raises:
            TransportError: No response; ``started`` is False where no byte of the request was sent.

        Cancellation:
            Closes the connection at once, at any point; the app may or may not have run.
        """
        try:
            answer = await self._attempt(request)
        except Exception:  # noqa: BLE001 - our own fault by definition, and its frames must not reach a log
            answer = TransportError("internal")
        except BaseException as leaving:  # noqa: BLE001 - cancellation above all; let out, without what it has seen
            raise _bare(leaving)  # noqa: B904 - its chain is what has to go
        if isinstance(answer, TransportError):
            raise answer from None
        return answer

    async def _attempt(self, request: Request) -> Response | TransportError:
        from anyio.lowlevel import checkpoint

        await checkpoint()
        address = self._found = self._where()
        if address is None:
            return TransportError("no_address", started=False)
        context = self._tls() if self._scheme == "https" else None
        connection = await connect(address)
        if isinstance(connection, TransportError):
            return connection
        if context is not None:
            connection = await handshake(connection, context, address.host)
            if isinstance(connection, TransportError):
                return connection
        with connection:
            return await _exchange(connection, request, _host_header(self._scheme, address))

    def _where(self) -> Address | None:
        if self._uds is not None:
            given = self._address or Address("localhost")
            return Address(given.host, given.port, self._uds)
        if self._address is not None:
            return self._address
        listening = listening_addresses()
        if listening:
            # From now on it is known: a server that drains has closed its sockets, and PORT is a stranger's again.
            self._served = True
        return own_address(self._environ, listening, served=self._served)

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            import ssl

            self._ssl_context = ssl.create_default_context()  # kept: reading the system's certificates takes 20 ms
        return self._ssl_context

    def __repr__(self) -> str:
        place = "this process's own address" if self._uds is None else self._uds
        if self._uds is None and self._address is not None:
            place = f"{self._scheme}://{_host_header(self._scheme, self._address)}"
        return f"<LoopbackTransport to {place}>"


def _bare(leaving: BaseException) -> BaseException:
    """Return *leaving* without its frames and chain; theirs are locals that may know what was being sent."""
    leaving.__cause__ = leaving.__context__ = None
    return leaving.with_traceback(None)


def _host_header(scheme: Scheme, address: Address) -> str:
    host = address.host.partition("%")[0]  # a zone is this machine's own business (RFC 6874, 1)
    name = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[scheme]
    return name if address.port in {0, usual} else f"{name}:{address.port}"


async def _exchange(connection: socket.socket, request: Request, host: str) -> Response | TransportError:
    import h11
    from anyio import create_task_group

    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT)
    try:
        rest = _send_now(connection, _serialised(parser, request, host))
    except TransportError as error:
        return TransportError(error.code, started=error.started)
    if not rest:
        return await _receive(connection, parser)
    # A body larger than the socket's buffer: an answer that comes before all of it is sent (401, 413) counts.
    answer: Response | TransportError = TransportError("internal")  # type checkers: a group may swallow
    async with create_task_group() as tasks:
        tasks.start_soon(_send_rest, connection, rest)
        answer = await _receive(connection, parser)
        tasks.cancel_scope.cancel()
    return answer


def _serialised(parser: h11.Connection, request: Request, host: str) -> memoryview:
    """Return the request's bytes, as what a traceback does not show; they and the token stay in this one frame."""
    import h11

    given = {name.lower() for name, _ in request.headers}
    ours = (("Host", host), ("User-Agent", "loopcron"), ("Accept-Encoding", "identity"))
    headers = [(name, value) for name, value in ours if name.lower() not in given]
    headers += [*request.headers, ("Connection", "close")]
    if request.body or request.method in _WITH_BODY:
        headers.append(("Content-Length", str(len(request.body))))
    value = bearer(request)
    if value is not None:
        headers.append(("Authorization", value))
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    head = parser.send(h11.Request(method=request.method, target=request.path, headers=encoded))
    body = parser.send(h11.Data(request.body)) if request.body else b""
    parser.send(h11.EndOfMessage())
    return memoryview(b"".join((head or b"", body or b"")))


def _send_now(connection: socket.socket, data: memoryview) -> memoryview:
    """Send what the socket takes without waiting, and return the rest."""
    import ssl

    try:
        while data:
            data = data[connection.send(data) :]
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return data
    except OSError:
        pass  # the peer went away; it may have answered before, and reading tells
    return memoryview(b"")


async def _send_rest(connection: socket.socket, data: memoryview) -> None:
    from anyio import wait_writable

    try:
        while data:
            sent = await when_ready(connection, partial(connection.send, data), wait_writable)
            data = data[sent:]
    except OSError:
        pass  # as in _send_now


async def _receive(connection: socket.socket, parser: h11.Connection) -> Response | TransportError:
    import h11

    head: h11.Response | None = None
    body = bytearray()
    interim = 0
    failure: TransportCode | None = None
    while failure is None and len(body) < BODY_LIMIT:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            failure = "closed" if parser.trailing_data[1] else "protocol"
            continue
        if event is h11.NEED_DATA:
            failure = await _feed(connection, parser)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.InformationalResponse) and interim < _INTERIM_LIMIT:
            interim += 1
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            failure = "protocol"  # a flood of 1xx, or another protocol's turn (101)
    if head is None:
        return TransportError(failure or "protocol")
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
    return Response(head.status_code, headers, bytes(body[:BODY_LIMIT]))


async def _feed(connection: socket.socket, parser: h11.Connection) -> TransportCode | None:
    """Give the parser what comes next, or say what came instead."""
    import ssl

    import h11
    from anyio import wait_readable

    try:
        data = await when_ready(connection, partial(connection.recv, _CHUNK), wait_readable)
    except ssl.SSLError:
        return "tls"
    except OSError:
        return "reset"
    parser.receive_data(data)
    if parser.their_state is h11.SEND_RESPONSE and not _STATUS_LINE.startswith(parser.trailing_data[0][:7]):
        return "protocol"  # said at once: a peer of another protocol may wait for us to speak first
    return None
