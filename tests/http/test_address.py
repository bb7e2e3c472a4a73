"""Where this process can be reached: base URLs, its own listening sockets, and ``PORT``."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loopcron import ConfigError, LoopbackTransport, Request, TransportError
from loopcron import _address as address_module
from loopcron._address import Address, checked_uds, listening_addresses, own_address, parse_base_url
from loopcron.testing._misbehaving import MisbehavingServer

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="not applicable: only Linux has /proc")
NOWHERE: frozenset[Address] = frozenset()
ONE = Address("127.0.0.1", 8000)
TWO = Address("127.0.0.1", 9090)


@contextmanager
def listening(host: str, port: int = 0, *, v6only: bool = False) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        listener.bind((host, port))
        listener.listen()
        yield listener.getsockname()[1]


def mine(before: frozenset[Address]) -> set[Address]:
    """Return what this process listens on beyond what the test runner did."""
    return set((listening_addresses() or NOWHERE) - before)


@pytest.fixture
def before() -> frozenset[Address]:
    return listening_addresses() or NOWHERE


# -- the process's own sockets -----------------------------------------------------------------------------------------


@needs_proc
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("::", "127.0.0.1"),
    ],
)
def test_listening(before: frozenset[Address], host: str, expected: str) -> None:
    """A listening socket is found as a client on this machine reaches it, and gone once it is closed."""
    with listening(host) as port:
        assert mine(before) == {Address(expected, port)}
    assert mine(before) == set()


@needs_proc
def test_listening_on_ipv6_only(before: frozenset[Address]) -> None:
    """A wildcard socket that takes no IPv4 is reached by IPv6."""
    with listening("::", v6only=True) as port:
        assert mine(before) == {Address("::1", port)}


@needs_proc
@pytest.mark.parametrize("hosts", [("0.0.0.0", "::"), ("127.0.0.1", "::1")])
def test_both_families(before: frozenset[Address], hosts: tuple[str, str]) -> None:
    """One port on both address families, as asyncio binds it, is one place."""
    with listening(hosts[0]) as port, listening(hosts[1], port, v6only=True):
        assert mine(before) == {Address("127.0.0.1", port)}


@needs_proc
def test_listening_on_unix_sockets(before: frozenset[Address], tmp_path: Path) -> None:
    """Unix sockets are found by path, abstract ones included."""
    path, abstract = str(tmp_path / "app.sock"), f"\0loopcron-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(path)
        two.bind(abstract)
        assert mine(before) == set()
        one.listen()
        two.listen()
        assert mine(before) == {Address("localhost", uds=path), Address("localhost", uds=abstract)}


@needs_proc
def test_other_sockets(before: frozenset[Address]) -> None:
    """Sockets that do not listen for streams are passed over."""
    with (
        socket.socket(type=socket.SOCK_DGRAM),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        socket.socket(socket.AF_UNIX) as nameless,
    ):
        nameless.bind("")
        assert mine(before) == {Address("127.0.0.1", server.getsockname()[1])}


@needs_proc
def test_unknown_family() -> None:
    """A listening socket of a family that HTTP does not use has no address."""

    class Listener:
        family = socket.AF_NETLINK

        def getsockname(self) -> tuple[int, int]:
            return (1, 2)

    assert address_module._reachable(Listener()) is None  # type: ignore[arg-type]
    Listener.family = socket.AF_UNIX
    Listener.getsockname = lambda self: ""  # type: ignore[assignment, return-value]
    assert address_module._reachable(Listener()) is None  # type: ignore[arg-type]


def test_descriptor_that_is_gone() -> None:
    """A descriptor that was closed since the directory was read is passed over."""
    assert address_module._listening_on(1 << 20) is None


def test_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the platform does not show sockets the answer is None, which is not the same as nowhere."""
    monkeypatch.setattr(address_module, "_DESCRIPTORS", "/nonexistent")
    assert listening_addresses() is None


# -- which address is the app's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "now", "served", "expected"),
    [
        # The one own socket wins, whatever PORT says.
        (None, {ONE}, True, ONE),
        ("9999", {ONE}, True, ONE),
        (None, {Address("localhost", uds="/run/a.sock")}, False, Address("localhost", uds="/run/a.sock")),
        # Several: PORT may choose among them, and may not point anywhere else.
        (None, {ONE, TWO}, True, None),
        ("9090", {ONE, TWO}, True, TWO),
        ("3000", {ONE, TWO}, False, None),
        ("8000", {Address("10.0.0.5", 8000), ONE, TWO}, False, ONE),
        # None in a side process, or on a platform that does not tell.
        ("3000", NOWHERE, False, Address("127.0.0.1", 3000)),
        ("3000", None, False, Address("127.0.0.1", 3000)),
        ("3000", None, True, Address("127.0.0.1", 3000)),
        (None, NOWHERE, False, None),
        # None yet or any more in a process that serves: PORT may be a stranger's.
        ("3000", NOWHERE, True, None),
        *[(bad, NOWHERE, False, None) for bad in ("", "  ", "0", "65536", "-1", "http", "3000.0", "٣", "99999999")],
        (" 3000 ", NOWHERE, False, Address("127.0.0.1", 3000)),
    ],
)
def test_own_address(port: str | None, now: set[Address] | None, served: bool, expected: Address | None) -> None:
    """The one own socket is the app's address; PORT only counts where it cannot be a stranger's."""
    environ = {} if port is None else {"PORT": port}
    assert own_address(environ, None if now is None else frozenset(now), served=served) == expected


@needs_proc
async def test_server_that_does_not_listen_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that serves, PORT is not believed before it listens: there is no address yet."""
    monkeypatch.setattr("loopcron._loopback.listening_addresses", lambda: NOWHERE)
    transport = LoopbackTransport(environ={"PORT": "9"}, served=True)
    with pytest.raises(TransportError, match="no_address"):
        await transport.send(Request("GET", "/"))


@needs_proc
async def test_found_at_each_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is looked up at each send, and a server that has closed its socket leaves none."""
    listens: list[frozenset[Address] | None] = [NOWHERE]
    monkeypatch.setattr("loopcron._loopback.listening_addresses", lambda: listens[0])
    transport = LoopbackTransport(environ={})
    with MisbehavingServer() as server:
        for port in ("main", "late"):
            server.open_late()
            listens[0] = frozenset({Address("127.0.0.1", server.port(port))})
            assert (await transport.send(Request("POST", "/status/200"))).status == 200
        assert [seen.header("Host") for seen in server.seen] == [
            f"127.0.0.1:{server.port('main')}",
            f"127.0.0.1:{server.port('late')}",
        ]
        listens[0] = NOWHERE
        with pytest.raises(TransportError, match="no_address") as caught:
            await transport.send(Request("POST", "/status/200"))
        assert not caught.value.started


@needs_proc
async def test_stranger_gets_nothing(before: frozenset[Address]) -> None:
    """An inherited PORT beside this process's own ports gets no request, and so no token."""
    with MisbehavingServer() as server, socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger_port = str(stranger.getsockname()[1])
        with pytest.raises(TransportError, match="no_address"):
            await LoopbackTransport(environ={"PORT": stranger_port}).send(Request("POST", "/", token=str))
        transport = LoopbackTransport(environ={"PORT": str(server.port("main"))})
        assert (await transport.send(Request("POST", "/status/200"))).status == 200


async def test_port_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environ of its own a transport reads the process's environment, at each send."""
    monkeypatch.setattr("loopcron._loopback.listening_addresses", lambda: None)
    transport = LoopbackTransport()
    monkeypatch.delenv("PORT", raising=False)
    with pytest.raises(TransportError, match="no_address"):
        await transport.send(Request("POST", "/status/200"))
    with MisbehavingServer() as server:
        monkeypatch.setenv("PORT", str(server.port("main")))
        assert (await transport.send(Request("POST", "/status/200"))).status == 200


# -- base URLs and unix sockets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("http://127.0.0.1:8000", "http", "127.0.0.1", 8000),
        ("http://127.0.0.1:8000/", "http", "127.0.0.1", 8000),
        ("HTTP://LOCALHOST", "http", "localhost", 80),
        ("https://app.example", "https", "app.example", 443),
        ("https://[::1]:8443", "https", "::1", 8443),
        ("http://my_service-1.internal:1", "http", "my_service-1.internal", 1),
    ],
)
def test_base_url(url: str, scheme: str, host: str, port: int) -> None:
    """A base URL is scheme, host and port; the port defaults to the scheme's."""
    assert parse_base_url(url) == (scheme, Address(host, port))


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (8000, "string"),
        (None, "string"),
        ("", "begin with http"),
        ("127.0.0.1:8000", "begin with http"),
        ("localhost:hunter2", "begin with http"),
        ("ftp://127.0.0.1", "begin with http"),
        ("http://", "begin with http"),
        ("//127.0.0.1", "begin with http"),
        ("http://user:hunter2@127.0.0.1:8000", "user information"),
        ("http://hunter2@127.0.0.1", "user information"),
        ("http://127.0.0.1/?token=hunter2", "query"),
        ("http://127.0.0.1#hunter2", "fragment"),
        ("http://127.0.0.1/hunter2", "path"),
        ("http://127.0.0.1//", "path"),
        ("http://127.0.0.1:0", "port"),
        ("http://127.0.0.1:65536", "port"),
        ("http://127.0.0.1:hunter2", "port"),
        ("http://127.0.0.1:8000\r\nX-Forged: hunter2", "ASCII"),
        ("http://127.0.0.1\n", "ASCII"),
        (" http://127.0.0.1", "begin with http"),
        ("http://b\u00fccher.example", "ASCII"),
        ("http://\u212aelvin.example", "ASCII"),
        ("http://.example", "ASCII"),
        ("http://a..b", "ASCII"),
        (f"http://{'a' * 64}.example", "ASCII"),
        ("http://[::1", "ASCII"),
        ("http://[1:2]", "ASCII"),
        ("http://::1:8000", "ASCII"),
        ("http://127.0.0.1\\@hunter2", "user information"),
    ],
)
def test_bad_base_url(url: object, remedy: str) -> None:
    """What is more or less than scheme, host and port is refused, by a message that shows no part of it."""
    with pytest.raises(ConfigError, match=remedy) as caught:
        LoopbackTransport(url) if url is not None else parse_base_url(url)  # type: ignore[arg-type]
    assert caught.value.field == "base_url"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("uds", ["", "\0", "a\0b", 7, b"/run/app.sock", "/" + "a" * 107])
def test_bad_uds(uds: object) -> None:
    """What cannot be the path of a unix socket is refused."""
    with pytest.raises(ConfigError) as caught:
        LoopbackTransport(uds=uds)  # type: ignore[arg-type]
    assert caught.value.field == "uds"


def test_uds(tmp_path: Path) -> None:
    """A unix socket may be given as a path object."""
    assert checked_uds(Path("/run/app.sock")) == checked_uds("/run/app.sock") == "/run/app.sock"
