"""
Non-blocking sockets: to connect one, to turn on TLS, and to wait until it is ready.

Plain sockets, and not anyio's streams: closing one is a synchronous call that nothing can hold up or cancel, TLS
included, and no frame of a library ever holds what is being sent. Failures are returned, not raised: their
exceptions belong to nobody's chain.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from loopcron._address import Address
from loopcron._errors import TransportCode, TransportError

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

_LOCALHOST: Final = ("127.0.0.1", "::1")
"""What ``localhost`` means (RFC 6761, 6.3): asking a resolver could only bring delay, or another machine."""
_NOBODY_LISTENS: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN})
"""No listener; no file of that unix socket; its queue is full. None of them has started anything."""
_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)})


async def connect(address: Address) -> socket.socket | TransportError:
    """Return a socket connected to *address*, or what kept it from being so; the caller closes it."""
    if address.uds is not None:
        return await _connect_to(socket.AF_UNIX, address.uds)
    hosts: tuple[str, ...] = _LOCALHOST if address.host == "localhost" else (address.host,)
    if not all(_is_ip(host) for host in hosts):
        hosts = await _resolved(address)
    failure = TransportError("resolve", started=False)
    # One after the other: on this machine a refusal comes at once. The first one's failure is the one to tell.
    for index, host in enumerate(hosts):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        tried = await _connect_to(family, (host, address.port))
        if isinstance(tried, socket.socket):
            return tried
        failure = tried if index == 0 else failure
    return failure


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _resolved(address: Address) -> tuple[str, ...]:
    from anyio import getaddrinfo

    try:
        found = await getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    hosts = [str(place[0]) for _, _, _, _, place in found]
    return tuple(sorted(hosts, key=lambda host: ":" in host))  # IPv4 first, for a server on "0.0.0.0"


async def _connect_to(family: int, place: tuple[str, int] | str) -> socket.socket | TransportError:
    from anyio import wait_writable

    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return TransportError("unreachable", started=False)  # no descriptor left, or no such family here
    try:
        connection.setblocking(False)
        if isinstance(place, tuple):  # not by AF_UNIX, which not every platform has
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connection.connect_ex(place)
        if code in _UNDER_WAY:
            await wait_writable(connection)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:  # cancelled, above all
        connection.close()
        raise
    if code == 0:
        return connection
    connection.close()
    failure: TransportCode = "reset" if code == errno.ECONNRESET else "unreachable"
    return TransportError("refused" if code in _NOBODY_LISTENS else failure, started=False)


async def handshake(plain: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket | TransportError:
    """Return *plain* with TLS turned on and the peer verified as *host*; closes it where that fails or is cancelled."""
    import ssl

    from anyio import wait_readable

    with plain:  # wrapping takes the descriptor out of it; where wrapping fails, this closes it
        try:
            connection = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError):
            return TransportError("tls", started=False)
    try:
        await when_ready(connection, connection.do_handshake, wait_readable)
    except OSError as error:
        connection.close()
        gone = isinstance(error, ssl.SSLEOFError)
        code: TransportCode = "closed" if gone else "tls" if isinstance(error, ssl.SSLError) else "reset"
        return TransportError(code, started=False)
    except BaseException:
        connection.close()
        raise
    return connection


async def when_ready(
    connection: socket.socket, operation: Callable[[], T], wait: Callable[[socket.socket], Awaitable[None]]
) -> T:
    """Return what the non-blocking *operation* gives, once it no longer has to *wait*."""
    import ssl

    from anyio import wait_readable, wait_writable

    while True:
        try:
            return operation()
        except BlockingIOError:
            ready = wait
        except ssl.SSLWantReadError:
            ready = wait_readable
        except ssl.SSLWantWriteError:
            ready = wait_writable
        await ready(connection)
