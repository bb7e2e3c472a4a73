"""
Requests and responses as plain records, checked when made.

What carries them is a `Transport`; the default one is in ``_loopback``. No I/O here, and nothing of h11.
"""

from __future__ import annotations

import json as json_module
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from loopcron._errors import ConfigError, TransportError

Token = Callable[[], str]
"""Gives the bearer token at the moment of sending; never stored, so that it can be rotated and cannot leak."""

BODY_LIMIT: Final = 64 * 1024
"""How much of a response's body a transport reads before it closes the connection, in bytes."""

_METHOD: Final = re.compile(r"[A-Z]{1,16}\Z")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,4000}\Z")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8000}\Z")
_OURS: Final = frozenset({"authorization", "connection", "content-length", "transfer-encoding"})
"""Headers a user may not set: the framing ones are the transport's, and a token belongs in a callable."""


@final
@dataclass(frozen=True, slots=True)
class Request:
    """
    One HTTP request to the app's own origin, which the transport knows.

    Raises:
        ConfigError: A field cannot be sent as it stands.
    """

    method: str
    path: str
    """Path and query, from one leading ``/``; no ``//``, backslash, ``@``, control character or space."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    token: Token | None = field(default=None, repr=False)
    """Called inside `Transport.send`; its value goes into ``Authorization: Bearer``."""

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or not _METHOD.match(self.method):
            raise ConfigError("method", self.method, "must be an HTTP method in capitals, such as 'POST'")
        checked_path(self.path)
        if not isinstance(self.body, bytes):
            raise ConfigError("body", type(self.body).__name__, "must be bytes; json= takes other values")
        if self.token is not None and not callable(self.token):
            # The value is not shown: it is most likely the secret itself.
            raise ConfigError("token", type(self.token).__name__, "must be a callable, such as env_token('NAME')")
        names = [_checked_header(name, value) for name, value in self.headers]
        if names.count("host") > 1:
            raise ConfigError("headers", "Host", "is given twice")

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> Request:
        """Return the same request with *headers* behind its own."""
        return Request(self.method, self.path, (*self.headers, *headers), self.body, self.token)


@final
@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Its ``repr`` shows the status only: a hostile endpoint may echo secrets in all the rest."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Names in lower case, in the order they came."""
    body: bytes = field(default=b"", repr=False)
    """At most the first 64 KiB, as sent: never decompressed."""

    def header(self, name: str) -> str | None:
        """Return the first header of this *name*, in any case; None if there is none."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key == wanted), None)


def checked_path(path: object) -> str:
    """
    Return *path* if it stays within the origin, else raise ``ConfigError``.

    ``//host``, a backslash and ``user@host`` are what clients and servers read differently, which is how a token
    reaches a stranger.
    """
    if not isinstance(path, str):
        raise ConfigError("path", path, "must be a string, such as '/api/sync'")
    if not path.startswith("/"):
        raise ConfigError("path", path, "must begin with one '/'; the origin belongs to the transport")
    for bad in ("//", "\\", "@", "#"):
        if bad in path:
            raise ConfigError("path", path, f"must not hold {bad!r}; percent-encode it")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ConfigError("path", path, "must hold printable ASCII without spaces; percent-encode the rest")
    return path


def header_pairs(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return a mapping of headers as pairs, each checked."""
    if not isinstance(headers, Mapping):
        raise ConfigError("headers", type(headers).__name__, "must be a mapping of names to values")
    for name, value in headers.items():
        _checked_header(name, value)
    return tuple(headers.items())


def _checked_header(name: object, value: object) -> str:
    """Return the header's name in lower case if it can be sent, else raise ``ConfigError``."""
    if not isinstance(name, str) or not _HEADER_NAME.match(name):
        raise ConfigError("headers", name, "is no header name")
    lower = name.lower()
    if lower in _OURS:
        raise ConfigError("headers", name, "is set by loopcron; a token goes into token=")
    if not isinstance(value, str) or not _HEADER_VALUE.match(value):
        # The value is not shown: headers are where people put secrets.
        raise ConfigError("headers", name, "has a value with control or non-latin characters, or is over 4000 long")
    return lower


def encode_json(value: object) -> bytes:
    """Return *value* as compact JSON, else raise ``ConfigError``: at `add`, not when the job first fires."""
    try:
        return json_module.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ConfigError("json", type(value).__name__, "cannot be written as JSON") from None


def bearer(request: Request) -> str | None:
    """
    Return the value for ``Authorization``; to be called inside `Transport.send`, and kept in no outer frame.

    Raises:
        TransportError: ``token``: the callable failed, or what it gave cannot stand in a header.
    """
    if request.token is None:
        return None
    try:
        value: Any = request.token()
    except Exception:  # noqa: BLE001 - and never chained: a secret store's error may show the secret
        value = None
    if not isinstance(value, str) or not _TOKEN.match(value):
        del value  # an unusable token is a secret still, and a traceback may show this frame's locals
        raise TransportError("token", started=False)
    return f"Bearer {value}"


@final
class EnvToken:
    """Reads a token from an environment variable each time it is called; its ``repr`` shows the name only."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name: Final = name

    def __call__(self) -> str:
        return os.environ.get(self.name, "")

    def __repr__(self) -> str:
        return f"env_token({self.name!r})"


def env_token(name: str) -> EnvToken:
    """
    Return a token callable that reads the environment variable *name* at each send.

    An unset or empty variable makes the run fail with ``job: token``; nothing is sent.

    Raises:
        ConfigError: *name* is empty or holds ``=`` or a NUL.
    """
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise ConfigError("name", name, "must be the name of an environment variable")
    return EnvToken(name)
