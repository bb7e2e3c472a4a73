"""The fault proxy does what it says, because the ledgers' fault tests stand on it."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ledgers.proxy import Proxy


class Store(socketserver.ThreadingUnixStreamServer):
    """A store that remembers what it is sent, and answers with the same."""

    def __init__(self, path: str) -> None:
        super().__init__(path, Echo)
        self.path = path
        self.sent = b""
        self.heard = threading.Event()


class Echo(socketserver.BaseRequestHandler):
    """One connection to the store."""

    server: Store

    def handle(self) -> None:
        try:
            while data := self.request.recv(1000):
                self.server.sent += data
                self.server.heard.set()
                self.request.sendall(data)
        except OSError:  # the proxy has cut it
            return


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store that runs."""
    with Store(str(tmp_path / "socket")) as store:
        thread = threading.Thread(target=lambda: store.serve_forever(poll_interval=0.01))
        thread.start()
        yield store
        store.shutdown()
        thread.join()


@pytest.fixture
def proxy(store: Store) -> Iterator[Proxy]:
    """Return a proxy in front of the store."""
    with Proxy(store.path) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Callable[[], socket.socket]]:
    """Return what makes a connection through the proxy."""
    made: list[socket.socket] = []

    def connect() -> socket.socket:
        made.append(socket.create_connection((proxy.host, proxy.port), timeout=20))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def answer(client: socket.socket) -> bytes:
    """Return what comes, nothing where the connection is closed."""
    try:
        return client.recv(1000)
    except ConnectionResetError:
        return b""


def test_forwards_both_ways(connect: Callable[[], socket.socket], proxy: Proxy) -> None:
    """Without a fault it forwards, and counts the connections."""
    client = connect()
    client.sendall(b"hello")
    assert (answer(client), proxy.connections) == (b"hello", 1)


def test_forwards_to_a_port() -> None:
    """The store may listen on a port, too."""
    with (
        socket.create_server(("127.0.0.1", 0)) as store,
        Proxy(store.getsockname()) as proxy,
        socket.create_connection((proxy.host, proxy.port)) as client,
    ):
        accepted, _ = store.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(1000) == b"hello"


def test_cut_closes_all(connect: Callable[[], socket.socket], proxy: Proxy) -> None:
    """A cut closes what is open, and what is opened while it lasts."""
    client = connect()
    client.sendall(b"hello")
    assert answer(client) == b"hello"
    proxy.fault = "cut"
    assert answer(client) == b""
    assert answer(connect()) == b""
    proxy.fault = None
    client = connect()
    client.sendall(b"again")
    assert answer(client) == b"again"


def test_dropped_replies(connect: Callable[[], socket.socket], proxy: Proxy, store: Store) -> None:
    """With dropped replies the store hears of it, and the client nothing."""
    client = connect()
    proxy.fault = "drop_replies"
    client.sendall(b"hello")
    assert store.heard.wait(20)
    assert proxy.swallowed.wait(20)
    assert store.sent == b"hello"
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(1000)


def test_cut_after_the_request(connect: Callable[[], socket.socket], proxy: Proxy, store: Store) -> None:
    """Cut after the request: the store hears of it, and the client's connection is closed."""
    client = connect()
    proxy.fault = "cut_after_request"
    client.sendall(b"hello")
    assert answer(client) == b""
    assert store.heard.wait(20)


def test_blackhole(connect: Callable[[], socket.socket], proxy: Proxy, store: Store) -> None:
    """A black hole takes all and forwards nothing, and nothing is closed."""
    client = connect()
    proxy.fault = "blackhole"
    client.sendall(b"hello")
    assert proxy.swallowed.wait(20)
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(1000)
    assert store.sent == b""


def test_store_that_is_down(tmp_path: Path) -> None:
    """Where the store is down the client's connection is closed."""
    with (
        Proxy(str(tmp_path / "nobody")) as proxy,
        socket.create_connection((proxy.host, proxy.port), timeout=20) as client,
    ):
        assert answer(client) == b""
