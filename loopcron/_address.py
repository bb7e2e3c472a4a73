"""
Where this process can be reached: base URLs that are given, the sockets that it listens on, and ``PORT``.

Nothing here connects to anything. The rule about ``PORT`` lives in `own_address`, because a wrong answer there
hands the token to a stranger.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

from loopcron._errors import ConfigError

Scheme = Literal["http", "https"]

_BASE_URL: Final = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?)(?::([0-9]{1,5}))?/?\Z",
    re.ASCII | re.IGNORECASE,
)
_PORT: Final = re.compile(r"[0-9]{1,5}\Z")
_DESCRIPTORS: Final = "/proc/self/fd"
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is recognised, not bound
_UDS_LIMIT: Final = 107
"""How many bytes the path of a unix socket may have on Linux."""


@final
@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: a TCP host and port, or a unix socket."""

    host: str
    """An IP address or a name; ``localhost`` for a unix socket, as what its ``Host`` header says."""
    port: int = 0
    """The TCP port; 0 for a unix socket."""
    uds: str | None = None
    """The path of a unix socket; an abstract one begins with a NUL."""


def listening_addresses() -> frozenset[Address] | None:
    """
    Return where this process listens right now, as a client on this machine would reach it.

    Empty means that it listens nowhere: not yet, under a test client, or no longer, because the server has begun
    to drain; servers tell the app so only after the last request has ended. Sockets inherited from a parent count.

    Returns:
        The addresses, or None where the platform does not show them (it needs ``/proc``, that is Linux).
    """
    listeners = listening_descriptors()
    if listeners is None:
        return None
    found = set(listeners.values())
    # A server on "all interfaces" or "localhost" holds one socket per address family: that is one place, not two.
    return frozenset(address for address in found if address.host != "::1" or _as_ipv4(address) not in found)


def listening_descriptors() -> dict[int, Address] | None:
    """Return this process's descriptors that listen, and where; None where the platform does not show them."""
    try:
        names = os.listdir(_DESCRIPTORS)  # noqa: PTH208 - pathlib takes five times as long
    except OSError:
        return None
    return {int(name): address for name in names if (address := _listening_on(int(name))) is not None}


def inode(descriptor: int) -> int:
    """Return what tells the descriptor's file or socket from every other one; 0 once it is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


def _as_ipv4(address: Address) -> Address:
    return Address("127.0.0.1", address.port)


def _listening_on(descriptor: int) -> Address | None:
    try:
        if not os.readlink(f"{_DESCRIPTORS}/{descriptor}").startswith("socket:"):  # noqa: PTH115 - likewise
            return None
        # A duplicate, because closing a socket object made of the descriptor itself would close the server's.
        with socket.socket(fileno=os.dup(descriptor)) as probe:
            if not probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
            return _reachable(probe)
    except OSError:
        return None  # gone since the directory was read, or a kind of socket that knows no listening


def _reachable(listener: socket.socket) -> Address | None:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        path = os.fsdecode(name)
        return Address("localhost", uds=path) if path else None
    if listener.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    host, port = name[0], name[1]
    if host == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        host = "0.0.0.0"  # noqa: S104 - a dual-stack socket answers on IPv4 too
    return Address(_WILDCARDS.get(host, host), port)


def own_address(environ: Mapping[str, str], listening: frozenset[Address] | None, *, served: bool) -> Address | None:
    """
    Return the app's own address when none was given, or None if it cannot be told for certain.

    The one place where this process listens, else the port that ``PORT`` names. A ``PORT`` may be inherited from a
    parent that meant another program by it, so in a process that is known to serve it has to be among its own.

    Args:
        environ: Where ``PORT`` is looked up.
        listening: What `listening_addresses` says now.
        served: Whether this process serves the app itself, even if it does not listen yet, or no longer.
    """
    now = listening or frozenset()
    if len(now) == 1:
        return next(iter(now))
    port = _port(environ.get("PORT", "").strip())
    if port is None:
        return None
    if listening is None or not (now or served):
        return Address("127.0.0.1", port)
    # On several interfaces with one port the loopback address comes first.
    fitting = sorted((one for one in now if one.port == port), key=lambda one: (one.host != "127.0.0.1", one.host))
    return fitting[0] if fitting else None


def parse_base_url(url: object) -> tuple[Scheme, Address]:
    """
    Return the scheme and address of a base URL.

    Raises:
        ConfigError: It is none; the message never shows it, because it may hold a password.
    """
    if not isinstance(url, str):
        raise ConfigError("base_url", type(url).__name__, "must be a string, such as 'http://127.0.0.1:8000'")
    match = _BASE_URL.match(url)
    host = match[2].strip("[]") if match else ""
    port = _port(match[3] or ("443" if match[1].lower() == "https" else "80")) if match else None
    if match is None or port is None or (match[2].startswith("[") and not _is_ipv6(host)):
        raise ConfigError("base_url", "...", _complaint(url))
    return ("https" if match[1].lower() == "https" else "http"), Address(host.lower(), port)


def _port(text: str) -> int | None:
    port = int(text) if _PORT.match(text) else 0
    return port if 0 < port < 65536 else None


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _complaint(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in {"http", "https"} or not rest:
        return "must begin with http:// or https://, such as 'http://127.0.0.1:8000'"
    if "@" in rest:
        return "must hold no user information; a token goes into the job's token="
    if "?" in rest or "#" in rest:
        return "must hold neither query nor fragment"
    if "/" in rest[:-1]:
        return "must hold no path; the job's path has it"
    return "must hold a host name or IP address in ASCII and a port from 1 to 65535"


def checked_uds(uds: str | os.PathLike[str]) -> str:
    """
    Return the path of a unix socket as a string.

    Raises:
        ConfigError: It is none, or longer than the kernel allows.
    """
    path: object = os.fspath(uds) if isinstance(uds, (str, os.PathLike)) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if not hasattr(socket, "AF_UNIX"):  # pragma: no cover - Windows
        raise ConfigError("uds", path, "unix sockets are not available on this platform")
    if not isinstance(path, str) or not path or "\0" in path[1:] or path == "\0":
        raise ConfigError("uds", uds, "must be the path of a unix socket")
    if len(os.fsencode(path)) > _UDS_LIMIT:
        raise ConfigError("uds", path, f"must have at most {_UDS_LIMIT} bytes")
    return path
