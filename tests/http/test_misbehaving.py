"""The misbehaving server itself: that it records, survives rude clients, and closes cleanly."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from loopcron.testing._misbehaving import MisbehavingServer, hold


def talk(server: MisbehavingServer, said: bytes) -> bytes:
    """Say something to the server, then listen until it closes."""
    with socket.create_connection(("127.0.0.1", server.port("main"))) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return answer


def test_unknown_path() -> None:
    """A path without a behaviour is a 404, and is recorded as any other."""
    with MisbehavingServer() as server:
        assert talk(server, b"POST /nowhere HTTP/1.1\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi").startswith(
            b"HTTP/1.1 404"
        )
        (seen,) = server.seen
    assert (seen.method, seen.path, seen.header("X-A"), seen.header("X-B"), seen.body) == (
        "POST",
        "/nowhere",
        "1",
        None,
        b"hi",
    )
    assert repr(seen) == "Seen(method='POST', path='/nowhere')"


@pytest.mark.parametrize("said", [b"", b"POST /", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhi", b"x" * (1 << 21)])
def test_rude_client(said: bytes) -> None:
    """A client that leaves within its request gets no answer and is not recorded."""
    with MisbehavingServer() as server:
        try:
            assert talk(server, said) == b""
        except ConnectionError:
            assert len(said) > 1 << 20
        assert server.seen == []


def test_close() -> None:
    """Closing ends every thread, also those that wait for a silent client or keep one waiting."""
    before = threading.active_count()
    with ExitStack() as stack, MisbehavingServer() as server:
        server.open_late()
        server.open_late()
        for port in ("main", "stall", "late", "sink"):
            client = socket.create_connection(("127.0.0.1", server.port(port)))
            stack.enter_context(client).sendall(b"GET /silent/before HTTP/1.1\r\n\r\n")
    assert threading.active_count() == before


def test_hold() -> None:
    """A silent server takes what a client goes on to say, until the client leaves."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"are you there?")
        there.shutdown(socket.SHUT_WR)
        hold(here)


def test_sink() -> None:
    """The sink counts what reaches it and answers as if all were well."""
    with MisbehavingServer() as server:
        with socket.create_connection(("127.0.0.1", server.port("sink"))) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert server.connections["sink"] == 1
        assert server.seen == []


def test_unix_socket(tmp_path: Path) -> None:
    """Over a unix socket its URL says what the Host header would, and the socket's file is gone afterwards."""
    path = tmp_path / "app.sock"
    with MisbehavingServer(uds=str(path)) as server:
        assert server.url() == "http://localhost"
        assert server.url("sink").startswith("http://127.0.0.1:")
        assert path.exists()
    assert not path.exists()
