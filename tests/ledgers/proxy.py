"""A TCP proxy between a ledger and its store that misbehaves on demand: cuts, drops replies, or swallows all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

Fault = Literal["cut", "drop_replies", "cut_after_request", "blackhole"]
"""
What the proxy does to each connection while it is set; None: it forwards.

``cut``: closes those that are open, and each new one. ``drop_replies``: forwards requests, and no answer ever comes.
``cut_after_request``: forwards the next request of a connection and closes the client's side at once, so that the store
does what nobody hears of. ``blackhole``: takes all and forwards nothing, in neither direction.
"""

_CHUNK = 65_536


class Proxy:
    """
    Forwards connections to ``127.0.0.1:port`` to a store, with faults; a context manager.

    Args:
        target: The store: ``(host, port)``, or the path of its unix socket.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1"
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        """How many were accepted so far."""
        self.swallowed = threading.Event()
        """Set once a fault has swallowed or cut something; cleared when a fault is set."""
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def fault(self) -> Fault | None:
        """What it does to the connections now."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self.swallowed.clear()
        self._fault = fault
        if fault == "cut":
            self.cut()

    def cut(self) -> None:
        """Close every open connection, once; new ones are forwarded."""
        with self._lock:
            sockets = tuple(self._open)
        for one in sockets:
            _end(one)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._closed = True
        socket.create_connection((self.host, self.port)).close()  # so that it looks up from accept
        self._threads[0].join()  # then nobody adds connections or threads
        self.cut()
        for thread in self._threads[1:]:
            thread.join()

    def _start(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with self._listener:
            while True:
                client, _ = self._listener.accept()
                if self._closed:
                    client.close()
                    return
                self.connections += 1
                if self._fault == "cut":
                    client.close()
                    self.swallowed.set()
                else:
                    self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        try:
            store = self._connect()
        except OSError:  # what a client sees of a store that is down
            client.close()
            return
        with self._lock:
            self._open |= {client, store}
        # Both are closed by the one that ends last, so that no number is used again while the other still reads.
        barrier = threading.Barrier(2, action=lambda: self._forget(client, store))
        self._start(lambda: self._pump(client, store, barrier, is_request=True))
        self._start(lambda: self._pump(store, client, barrier, is_request=False))

    def _connect(self) -> socket.socket:
        if isinstance(self._target, str):
            store = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                store.connect(self._target)
            except OSError:
                store.close()
                raise
            return store
        return socket.create_connection(self._target)

    def _pump(
        self, source: socket.socket, sink: socket.socket, barrier: threading.Barrier, *, is_request: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                fault = self._fault
                if fault == "blackhole" or (fault in {"drop_replies", "cut_after_request"} and not is_request):
                    self.swallowed.set()
                    continue
                sink.sendall(data)
                if fault == "cut_after_request":
                    self.swallowed.set()
                    _end(source)
        _end(sink)
        _end(source)
        barrier.wait()

    def _forget(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._open -= set(sockets)
        for one in sockets:
            one.close()


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
