"""LoopbackTransport beyond the contract: cancellation at every point, TLS, name resolution, and what stays secret."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import h11
import pytest
import trustme

from loopcron import ConfigError, LoopbackTransport, Request, Response, TransportError
from loopcron import _loopback as loopback_module
from loopcron import _sockets as sockets_module
from loopcron._address import Address
from loopcron.testing._misbehaving import MisbehavingServer, Port
from loopcron.testing._transport_case import assert_no_secret, contract_token

POST = Request("POST", "/status/200", token=contract_token)
LARGE = Request("POST", "/early", body=bytes(8 << 20), token=contract_token)


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def assert_shows_nothing(error: BaseException) -> None:
    shown = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
    assert_no_secret("".join(shown.format()))
    assert error.__cause__ is None
    assert error.__context__ is None


async def fail(transport: LoopbackTransport, request: Request = POST) -> tuple[str, bool]:
    with pytest.raises(TransportError) as caught:
        await transport.send(request)
    assert_shows_nothing(caught.value)
    return caught.value.code, caught.value.started


@contextmanager
def full_backlog() -> Iterator[int]:
    """Give a port whose queue is full, so that connecting to it takes for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        queue = [socket.socket() for _ in range(4)]
        try:
            for one in queue:
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for one in queue:
                one.close()


# -- cancellation ------------------------------------------------------------------------------------------------------

CUT: dict[str, tuple[Port, Request]] = {
    "headers": ("main", Request("POST", "/silent/headers", token=contract_token)),
    "body": ("main", Request("POST", "/silent/body", token=contract_token)),
    "drip": ("main", Request("POST", "/drip/headers", token=contract_token)),
    "sending": ("stall", Request("POST", "/", body=bytes(8 << 20), token=contract_token)),
    "handshake": ("stall", POST),
}


class WatchedSocket(socket.socket):
    """Remembers what was opened, so that a test can see it closed."""

    opened: ClassVar[list[WatchedSocket]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened.append(self)


async def cancelled_natively(send: Callable[[], Awaitable[Response]]) -> None:
    """Cancel a plain asyncio task that has come as far as it gets, and judge how it ends."""
    WatchedSocket.opened.clear()
    task = asyncio.ensure_future(send())
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), 0.05)
    assert not task.done()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.5)
    assert done
    assert task.cancelled()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert_shows_nothing(caught.value)
    assert [one.fileno() for one in WatchedSocket.opened] == [-1]


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop] | None:
    return pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None


@pytest.mark.parametrize("point", CUT)
def test_native_cancellation(
    server: MisbehavingServer,
    point: str,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plain asyncio task is cancelled inside send at any point, leaves no descriptor open and shows no token."""
    port, request = CUT[point]
    url = server.url(port).replace("http", "https" if point == "handshake" else "http")
    transport = LoopbackTransport(url)
    monkeypatch.setattr(sockets_module, "socket", SimpleNamespace(**{**vars(socket), "socket": WatchedSocket}))
    with asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
        runner.run(cancelled_natively(lambda: transport.send(request)))


def test_native_cancellation_while_connecting(
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting to a server whose queue is full is cancelled at once too."""
    monkeypatch.setattr(sockets_module, "socket", SimpleNamespace(**{**vars(socket), "socket": WatchedSocket}))
    with full_backlog() as port, asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
        transport = LoopbackTransport(f"http://127.0.0.1:{port}")
        runner.run(cancelled_natively(lambda: transport.send(POST)))


@pytest.mark.parametrize("point", [*CUT, "connecting"])
async def test_scoped_cancellation(server: MisbehavingServer, point: str) -> None:
    """An anyio scope cuts send at any point, and what propagates through it shows no token."""
    with full_backlog() as queue:
        port, request = CUT.get(point, ("main", POST))
        url = f"http://127.0.0.1:{queue}" if point == "connecting" else server.url(port)
        transport = LoopbackTransport(url.replace("http", "https") if point == "handshake" else url)
        with anyio.move_on_after(0.05) as scope:
            try:
                await transport.send(request)
            except BaseException as error:
                assert_shows_nothing(error)
                raise
        assert scope.cancelled_caught


async def test_keyboard_interrupt_in_the_token(server: MisbehavingServer) -> None:
    """What is no exception of ours to judge passes through send, without the frames that it came by."""

    def token() -> str:
        secret = contract_token()
        raise KeyboardInterrupt(len(secret))

    with pytest.raises(KeyboardInterrupt) as caught:
        await LoopbackTransport(server.url()).send(Request("POST", "/status/200", token=token))
    assert_shows_nothing(caught.value)


# -- connecting --------------------------------------------------------------------------------------------------------


async def test_localhost(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name localhost means this machine, without asking a resolver, IPv4 before IPv6."""
    monkeypatch.setattr("anyio.getaddrinfo", None)
    response = await LoopbackTransport(f"http://localhost:{server.port('main')}").send(POST)
    assert response.status == 200
    assert server.seen[0].header("Host") == f"localhost:{server.port('main')}"


async def test_localhost_on_ipv6() -> None:
    """A server that listens on ::1 only is reached as localhost, and its Host has brackets when named by address."""
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        for url, host in ((f"http://localhost:{port}", "localhost"), (f"http://[::1]:{port}", "[::1]")):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail, LoopbackTransport(url))
                await anyio.wait_readable(listener)
                connection, _ = listener.accept()
                with connection:
                    await anyio.wait_readable(connection)
                    assert f"\r\nHost: {host}:{port}\r\n".encode() in connection.recv(65536)


async def test_resolved_name(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the addresses of a name IPv4 ones are tried first, and the next one where nobody listens."""

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        assert host == "app.internal"
        return [(0, 0, 0, "", (address, port)) for address in ("::1", "127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr("anyio.getaddrinfo", getaddrinfo)
    assert (await LoopbackTransport(f"http://app.internal:{server.port('main')}").send(POST)).status == 200
    assert await fail(LoopbackTransport(f"http://app.internal:{server.port('closed')}")) == ("refused", False)


@pytest.mark.parametrize("error", [socket.gaierror(8, "name"), UnicodeError("label too long"), None])
async def test_unknown_name(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """A name that has no address provably started nothing."""

    async def getaddrinfo(*args: Any, **options: Any) -> list[Any]:
        if error is not None:
            raise error
        return []

    monkeypatch.setattr("anyio.getaddrinfo", getaddrinfo)
    assert await fail(LoopbackTransport("http://app.invalid")) == ("resolve", False)


async def test_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs is cut by the caller."""

    async def getaddrinfo(*args: Any, **options: Any) -> list[Any]:
        await anyio.sleep_forever()
        return []

    monkeypatch.setattr("anyio.getaddrinfo", getaddrinfo)
    with anyio.move_on_after(0.05) as scope:
        await LoopbackTransport("http://app.internal").send(POST)
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.EAGAIN, "refused"),
        (errno.ENOENT, "refused"),
        (errno.ECONNRESET, "reset"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.ETIMEDOUT, "unreachable"),
    ],
)
async def test_no_connection(monkeypatch: pytest.MonkeyPatch, code: int, expected: str) -> None:
    """Whatever keeps a connection from being made provably started nothing."""

    class Socket(socket.socket):
        def connect_ex(self, address: Any, /) -> int:
            return code

    monkeypatch.setattr(socket, "socket", Socket)
    assert await fail(LoopbackTransport("http://127.0.0.1:8000")) == (expected, False)


async def test_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can open no more sockets reaches nothing, and may try again."""

    class Socket(socket.socket):
        def __init__(self, *args: object) -> None:
            raise OSError(errno.EMFILE, "too many open files")

    transport = LoopbackTransport("http://127.0.0.1:8000")
    await anyio.lowlevel.checkpoint()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Socket)
        assert await fail(transport) == ("unreachable", False)


async def test_no_unix_socket(tmp_path: Path) -> None:
    """A unix socket that is not there, or that nobody serves, is refused."""
    path = tmp_path / "app.sock"
    assert await fail(LoopbackTransport(uds=path)) == ("refused", False)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
        assert await fail(LoopbackTransport(uds=path)) == ("refused", False)


async def test_no_delay(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nagle's algorithm is off: it would hold back the body for 40 ms."""
    options = []

    class Socket(socket.socket):
        def setsockopt(self, *args: Any) -> None:
            options.append(args)
            super().setsockopt(*args)

    transport = LoopbackTransport(server.url())
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Socket)
        await transport.send(POST)
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options


# -- TLS ---------------------------------------------------------------------------------------------------------------


async def test_verification_is_on(authority: trustme.CA) -> None:
    """A certificate that the system does not trust, or of another host, is refused before anything is sent."""
    with MisbehavingServer(ssl_context=server_side(authority)) as server:
        assert await fail(LoopbackTransport(server.url())) == ("tls", False)
        other = LoopbackTransport(server.url().replace("127.0.0.1", "localhost"), ssl_context=client_side(authority))
        assert await fail(other) == ("tls", False)
        assert server.seen == []


async def test_tls_to_a_plain_port(server: MisbehavingServer) -> None:
    """A server that answers in plain text to a TLS greeting is refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        transport = LoopbackTransport(f"https://127.0.0.1:{listener.getsockname()[1]}")
        async with anyio.create_task_group() as tasks:
            results: list[tuple[str, bool]] = []
            tasks.start_soon(_note, results, transport)
            await anyio.wait_readable(listener)
            connection, _ = listener.accept()
            with connection:
                await anyio.wait_readable(connection)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert results == [("tls", False)]


@pytest.mark.parametrize("end", ["closed", "reset"])
async def test_end_in_handshake(end: str) -> None:
    """A server that leaves during the handshake has provably started nothing."""
    results: list[tuple[str, bool]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_note, results, LoopbackTransport(f"https://127.0.0.1:{listener.getsockname()[1]}"))
            await anyio.wait_readable(listener)
            connection, _ = listener.accept()
            await anyio.wait_readable(connection)
            if end == "closed":
                connection.recv(65536)
            connection.close()  # with the greeting unread that is a reset
    assert results == [(end, False)]


async def _note(results: list[tuple[str, bool]], transport: LoopbackTransport) -> None:
    results.append(await fail(transport))


async def test_client_certificate(authority: trustme.CA) -> None:
    """A server that wants a certificate of us tells so after the handshake, which is a fault of the configuration."""
    context = server_side(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    with MisbehavingServer(ssl_context=context) as server:
        code, started = await fail(LoopbackTransport(server.url(), ssl_context=client_side(authority)))
    assert code in {"tls", "reset", "closed"}
    assert started


async def test_tls_over_a_unix_socket(authority: trustme.CA, tmp_path: Path) -> None:
    """Over a unix socket the base URL says whom the certificate has to name, and what the Host header says."""
    path = str(tmp_path / "app.sock")
    context = client_side(authority)
    with MisbehavingServer(uds=path, ssl_context=server_side(authority, "app.example")) as server:
        transport = LoopbackTransport("https://app.example", uds=path, ssl_context=context)
        assert (await transport.send(POST)).status == 200
        assert server.seen[0].header("Host") == "app.example"
        unfit = LoopbackTransport("https://app.example", uds=path, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        assert await fail(unfit) == ("tls", False)
        assert await fail(LoopbackTransport(uds=path, ssl_context=context)) == ("tls", False)


async def test_tls_on_the_own_socket(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssl_context without a base URL turns on TLS for the address that is found."""
    with MisbehavingServer(ssl_context=server_side(authority)) as server:
        own = frozenset({Address("127.0.0.1", server.port("main"))})
        monkeypatch.setattr(loopback_module, "listening_addresses", lambda: own)
        assert (await LoopbackTransport(ssl_context=client_side(authority)).send(POST)).status == 200


def test_contradiction() -> None:
    """A verifying context beside a plain base URL is refused rather than ignored."""
    with pytest.raises(ConfigError, match="https://"):
        LoopbackTransport("http://127.0.0.1:8000", ssl_context=ssl.create_default_context())


# -- faults and secrets ------------------------------------------------------------------------------------------------


async def test_internal_fault(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the transport itself is told as one, alone, whatever is raised inside."""

    def broken(*args: Any, **options: Any) -> Any:
        raise LookupError(contract_token())

    monkeypatch.setattr(h11, "Connection", broken)
    assert await fail(LoopbackTransport(server.url())) == ("internal", True)


async def test_fault_beside_a_large_body(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault while the rest of a large body is being sent is one plain error, and no group of them."""

    async def broken(*args: Any) -> Any:
        raise LookupError

    monkeypatch.setattr(loopback_module, "_receive", broken)
    assert await fail(LoopbackTransport(server.url()), LARGE) == ("internal", True)


async def test_peer_that_is_gone() -> None:
    """A peer that has left is no error of sending: reading tells what it said before."""
    here, there = socket.socketpair()
    with here:
        here.setblocking(False)
        rest = loopback_module._send_now(here, memoryview(bytes(8 << 20)))
        assert rest
        there.close()
        await loopback_module._send_rest(here, rest)
        assert not loopback_module._send_now(here, rest)


async def test_own_user_agent(server: MisbehavingServer) -> None:
    """A request's own headers replace the transport's, each once."""
    await LoopbackTransport(server.url()).send(Request("GET", "/status/200", (("user-agent", "me"),)))
    assert [value for name, value in server.seen[0].headers if name == "user-agent"] == ["me"]
    assert server.seen[0].header("Content-Length") is None


@pytest.mark.parametrize(
    ("transport", "shown"),
    [
        (LoopbackTransport(), "<LoopbackTransport to this process's own address>"),
        (LoopbackTransport("http://[::1]:80"), "<LoopbackTransport to http://[::1]>"),
        (LoopbackTransport("https://app.example:8443/"), "<LoopbackTransport to https://app.example:8443>"),
        (LoopbackTransport(uds="/run/app.sock"), "<LoopbackTransport to /run/app.sock>"),
    ],
)
def test_repr(transport: LoopbackTransport, shown: str) -> None:
    """A transport shows where it sends to."""
    assert repr(transport) == shown


def test_light_import() -> None:
    """Importing the transport loads neither the parser, nor TLS, nor an event loop."""
    code = "import sys, loopcron._loopback; print({'h11', 'ssl', 'anyio', 'asyncio', 'trio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- what it says of its address ---------------------------------------------------------------------------------------


def test_origin_that_is_given(tmp_path: Path) -> None:
    """A transport that was given its address says so, without asking anybody."""
    assert LoopbackTransport("https://App.example/").origin == "https://app.example"
    assert LoopbackTransport("http://[::1]:8000").origin == "http://[::1]:8000"
    assert LoopbackTransport(uds=tmp_path / "socket").origin == "http://localhost"


async def test_origin_that_is_found(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport that looks for its address knows it once it has sent, and knows none where it found none."""
    found = [None, Address("127.0.0.1", server.port("main"))]
    monkeypatch.setattr(loopback_module, "own_address", lambda *args, **options: found.pop())
    transport = LoopbackTransport(environ={})
    assert transport.origin is None
    assert (await transport.send(POST)).status == 200
    assert transport.origin == server.url()
    assert await fail(transport) == ("no_address", False)
    assert transport.origin is None
