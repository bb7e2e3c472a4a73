"""
A server on loopback that misbehaves on request: what every transport has to survive, one path per behaviour.

Daemon threads and plain blocking sockets, so that it serves a client on any event loop and shares none of its
faults. What it answers stands in ``_misbehaviours``; this file listens, records and closes.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self, final

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

Port = Literal["main", "sink", "closed", "stall", "late", "reset"]

_PORTS: Final[tuple[Port, ...]] = ("main", "sink", "closed", "stall", "late", "reset")
_HEAD_LIMIT: Final = 1 << 20
_CLOSING_SECONDS: Final = 5.0


@final
@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it reached the server. Its ``repr`` leaves out what may be secret."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Names in lower case, in the order they came."""
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return the first header of this *name*, in any case; None if there is none."""
        return next((value for key, value in self.headers if key == name.lower()), None)


@final
class MisbehavingServer:
    """
    Misbehaves on 127.0.0.1 while it is entered; `loopcron.testing` has the contract that is judged with it.

    Its paths: ``/status/<code>``, ``/lock/<name>`` (409 until `free`), ``/recovers/<n>`` (500 n times, then 200),
    ``/retry/<code>/<seconds|date|rubbish|negative|huge>``, ``/redirect/<same|sink|login|loop>/<code>``,
    ``/silent/<before|headers|body>``, ``/drip/<headers|body>``, ``/endless``, ``/huge-headers``, ``/continue-flood``,
    ``/switch``, ``/reset/<request|headers|body>``, ``/close``, ``/short``, ``/bad-chunk``, ``/two-lengths``,
    ``/banner``, ``/gzip-bomb``, ``/keep-alive``, ``/cookie``, ``/echo``, ``/markup`` and ``/early`` (answers 413
    before it has read the body). Any other path is a 404.

    Its ports: *main* has the paths; *sink* counts what reaches it and answers 200; *closed* refuses; *stall* accepts
    and never speaks; *late* refuses until `open_late`, then is another *main*; *reset* resets on accept.

    Args:
        uds: Where to listen as *main* instead of on TCP.
        ssl_context: Turns on TLS on *main* and *late*.
    """

    def __init__(self, *, uds: str | None = None, ssl_context: ssl.SSLContext | None = None) -> None:
        self.uds: Final = uds
        self.seen: list[Seen] = []
        """The requests that reached *main* and *late*, in order."""
        self.connections: Counter[str] = Counter()
        """How many connections each port has accepted."""
        self.freed: set[str] = set()
        self.closing: Final = threading.Event()
        self._ssl_context = ssl_context
        self._listeners: dict[Port, socket.socket] = {}
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_late_open = False
        self._lock = threading.Lock()
        self._wake: tuple[socket.socket, socket.socket] | None = None

    def __enter__(self) -> Self:
        for port in _PORTS:
            uds = self.uds if port == "main" else None
            listener = socket.socket(socket.AF_INET if uds is None else socket.AF_UNIX)
            listener.bind(("127.0.0.1", 0) if uds is None else uds)
            self._listeners[port] = listener
            # Bound but not listening: the port is refused, and nobody else can take it meanwhile.
            if port not in {"closed", "late"}:
                listener.listen()
        self._wake = socket.socketpair()
        self._start(self._accept_all, self._wake[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._wake_up()
        self._threads[0].join(_CLOSING_SECONDS)  # first, so that no connection comes in behind our back
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)  # wakes the thread that reads or writes
        for thread in self._threads:
            thread.join(_CLOSING_SECONDS)
        for one in (*self._listeners.values(), *(self._wake or ())):
            one.close()
        if self.uds is not None:
            os.unlink(self.uds)  # noqa: PTH108 - an abstract or relative path is not pathlib's business

    def port(self, port: Port) -> int:
        """Return the number of a TCP port."""
        number: int = self._listeners[port].getsockname()[1]
        return number

    def url(self, port: Port = "main") -> str:
        """Return the base URL of a port; of a unix socket what its ``Host`` header would say."""
        scheme = "https" if self._ssl_context is not None and port in {"main", "late"} else "http"
        return f"{scheme}://localhost" if port == "main" and self.uds else f"{scheme}://127.0.0.1:{self.port(port)}"

    def free(self, name: str) -> None:
        """Free the lock *name*: ``/lock/<name>`` answers 200 from now on."""
        self.freed.add(name)

    def open_late(self) -> None:
        """Let the port *late* listen from now on."""
        if not self._is_late_open:
            self._is_late_open = True
            self._listeners["late"].listen()
            self._wake_up()

    def _wake_up(self) -> None:
        assert self._wake is not None, "enter the server first"
        self._wake[1].send(b"!")

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True, name="misbehaving server")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept_all(self, wake: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(wake, selectors.EVENT_READ)
            for port in ("main", "sink", "stall", "reset"):
                selector.register(self._listeners[port], selectors.EVENT_READ, port)
            while not self.closing.is_set():
                for key, _ in selector.select():
                    if key.data is not None:
                        self._accept(key.data)
                    elif wake.recv(1) and not self.closing.is_set():
                        selector.register(self._listeners["late"], selectors.EVENT_READ, "late")

    def _accept(self, port: Port) -> None:
        connection, _ = self._listeners[port].accept()
        if connection.family != socket.AF_UNIX:
            # A reset discards what Nagle holds back: what was said before it would never arrive.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections[port] += 1
        with self._lock:
            self._open.add(connection)
        self._start(self._serve, port, connection)

    def _serve(self, port: Port, plain: socket.socket) -> None:
        connection = plain
        try:
            if port in {"main", "late"} and self._ssl_context is not None:
                connection = self._ssl_context.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.add(connection)
            self._speak(port, connection)
        except OSError:
            pass  # the client went away, as clients do that have seen enough
        finally:
            with self._lock:
                self._open -= {plain, connection}
                plain.close()
                connection.close()

    def _speak(self, port: Port, connection: socket.socket) -> None:
        from loopcron.testing._misbehaviours import Visit, misbehave

        if port == "reset":
            reset(connection)
        elif port == "stall":
            self.closing.wait()  # not even reading, so that a large request gets stuck half-way
        elif (seen := read_request(connection)) is not None:
            if port == "sink":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                self.seen.append(seen)
                misbehave(Visit(self, connection, seen))


def read_request(connection: socket.socket) -> Seen | None:
    """Read one request, without its body for ``/early``; None if the client leaves before it is complete."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536) if len(data) < _HEAD_LIMIT else b""
        if not chunk:
            return None
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, *_ = (*first.split(" "), "")
    pairs = (line.partition(":") for line in lines)
    headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
    body = bytearray(rest)
    length = 0 if path == "/early" else int(dict(headers).get("content-length", "0"))
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        body += chunk
    return Seen(method, path, headers, bytes(body))


def hold(connection: socket.socket) -> None:
    """Say nothing until the client leaves or the server closes."""
    while connection.recv(65536):
        pass


def reset(connection: socket.socket) -> None:
    """Close with a reset (RST); a unix socket knows none and just closes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
