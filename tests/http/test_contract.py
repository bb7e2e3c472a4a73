"""The transport contract, passed by LoopbackTransport over TCP, a unix socket and TLS."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from loopcron import LoopbackTransport
from loopcron.testing._misbehaving import MisbehavingServer, Port
from loopcron.testing._transport_contract import TransportContract


def test_transport_is_to_be_said() -> None:
    """A subclass has to say how its transport reaches the server."""
    with MisbehavingServer() as server, pytest.raises(NotImplementedError):
        TransportContract().transport(server)


class TestOverTCP(TransportContract):
    """A loopback port."""

    def transport(self, server: MisbehavingServer, port: Port = "main") -> LoopbackTransport:
        return LoopbackTransport(server.url(port))


class TestOverUnixSocket(TransportContract):
    """A unix socket."""

    has_ports = False
    reset_codes = ("reset", "closed")

    @pytest.fixture
    def server(self) -> Iterator[MisbehavingServer]:
        with tempfile.TemporaryDirectory() as folder, MisbehavingServer(uds=str(Path(folder) / "app.sock")) as server:
            yield server

    def transport(self, server: MisbehavingServer, port: Port = "main") -> LoopbackTransport:
        assert port == "main"
        return LoopbackTransport(uds=server.uds)


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what the server and what the client needs; made once, for keys take their time."""
    authority = trustme.CA()
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(client_side)
    return server_side, client_side


class TestOverTLS(TransportContract):
    """A loopback port with TLS, verified."""

    reset_codes = ("reset", "closed")  # CPython tells a reset under TLS as the end of the stream

    @pytest.fixture
    def server(self, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[MisbehavingServer]:
        server_side, self.context = tls
        with MisbehavingServer(ssl_context=server_side) as server:
            yield server

    def transport(self, server: MisbehavingServer, port: Port = "main") -> LoopbackTransport:
        return LoopbackTransport(server.url(port).replace("http:", "https:"), ssl_context=self.context)
