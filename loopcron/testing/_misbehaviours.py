"""What `MisbehavingServer` does on each of its paths: one small function per behaviour, and the table of them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from loopcron.testing._misbehaving import hold, reset

if TYPE_CHECKING:
    import socket

    from loopcron.testing._misbehaving import MisbehavingServer, Seen

RETRY_AFTER: Final = {
    "seconds": "7",
    "date": "Mon, 23 Nov 2026 08:00:30 GMT",
    "rubbish": "soon",
    "negative": "-5",
    "huge": "99999999999999999999",
}
DATE: Final = "Mon, 23 Nov 2026 08:00:00 GMT"
"""What the server says the time is, 30 s before the date above."""
OK: Final = b"HTTP/1.1 200 OK\r\n"
_DRIP_SECONDS: Final = 0.02
_EARLY_SECONDS: Final = 2.0
_BOMB_BYTES: Final = 64 << 20
_PADDING: Final = b"x" * 65536


@final
@dataclass(frozen=True, slots=True)
class Visit:
    """One request and the connection it came on."""

    server: MisbehavingServer
    connection: socket.socket
    seen: Seen

    @property
    def words(self) -> list[str]:
        """The parts of the path behind the behaviour's name."""
        return self.seen.path.partition("?")[0].split("/")[2:]

    def say(self, *parts: bytes) -> None:
        """Send *parts* as they stand."""
        self.connection.sendall(b"".join(parts))

    def answer(self, status: int, *headers: tuple[str, str], body: bytes = b"", reason: str = "Because") -> None:
        """Send a well-formed response."""
        usual = (("Date", DATE), ("Content-Length", str(len(body))), ("Connection", "close"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in (*usual, *headers))
        self.say(f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1"), body)


def misbehave(visit: Visit) -> None:
    """Do what the path asks for; the connection is closed by the caller."""
    name = visit.seen.path.partition("?")[0].split("/")[1]
    PATHS.get(name, _missing)(visit)


def _missing(visit: Visit) -> None:
    visit.answer(404)


def _status(visit: Visit) -> None:
    visit.answer(int(visit.words[0]))


def _lock(visit: Visit) -> None:
    visit.answer(200 if visit.words[0] in visit.server.freed else 409)


def _recovers(visit: Visit) -> None:
    asked = sum(seen.path == visit.seen.path for seen in tuple(visit.server.seen))
    visit.answer(500 if asked <= int(visit.words[0]) else 200)


def _retry(visit: Visit) -> None:
    visit.answer(int(visit.words[0]), ("Retry-After", RETRY_AFTER[visit.words[1]]))


def _redirect(visit: Visit) -> None:
    kind, status = visit.words
    targets = {
        "same": "/status/200",
        "sink": visit.server.url("sink") + "/status/200",
        "login": "/login?next=%2F",
        "loop": visit.seen.path,
    }
    visit.answer(int(status), ("Location", targets[kind]))


def _silent(visit: Visit) -> None:
    said = {"before": b"", "headers": OK + b"X-Half: ", "body": OK + b"Content-Length: 100\r\n\r\nabc"}
    visit.say(said[visit.words[0]])
    hold(visit.connection)


def _drip(visit: Visit) -> None:
    in_body = OK + b"Content-Length: 1000000\r\n\r\n"
    visit.say(in_body if visit.words[0] == "body" else OK + b"X-Drip: ")
    while not visit.server.closing.wait(_DRIP_SECONDS):
        visit.say(b"x")


def _endless(visit: Visit) -> None:
    visit.say(OK, b"Connection: close\r\n\r\n")
    while True:
        visit.say(_PADDING)


def _huge_headers(visit: Visit) -> None:
    visit.say(OK)
    while True:
        visit.say(b"X-Pad: ", _PADDING, b"\r\n")


def _continue_flood(visit: Visit) -> None:
    while True:
        visit.say(b"HTTP/1.1 100 Continue\r\n\r\n")


def _continue(visit: Visit) -> None:
    visit.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    visit.answer(200)


def _switch(visit: Visit) -> None:
    visit.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: upgrade\r\n\r\n")
    hold(visit.connection)


def _reset(visit: Visit) -> None:
    said = {"request": b"", "headers": OK + b"X-Half: ", "body": OK + b"Content-Length: 100\r\n\r\nabc"}
    visit.say(said[visit.words[0]])
    if visit.words[0] == "body":
        # A reset overtakes what the client has not read yet, headers included: let them arrive.
        visit.server.closing.wait(_DRIP_SECONDS)
    reset(visit.connection)


def _close(visit: Visit) -> None:
    del visit  # the caller closes, and that is all


def _short(visit: Visit) -> None:
    visit.say(OK, b"Content-Length: 100\r\n\r\nabc")


def _bad_chunk(visit: Visit) -> None:
    visit.say(OK, b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnot a length\r\n")


def _two_lengths(visit: Visit) -> None:
    visit.say(OK, b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")


def _banner(visit: Visit) -> None:
    visit.say(b"SSH-2.0-OpenSSH_9.9\r\n")
    hold(visit.connection)


@functools.cache
def _bomb() -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join((*(packer.compress(zeros) for _ in range(_BOMB_BYTES >> 20)), packer.flush()))


def _gzip_bomb(visit: Visit) -> None:
    visit.answer(200, ("Content-Encoding", "gzip"), body=_bomb())


def _keep_alive(visit: Visit) -> None:
    visit.say(OK, b"Content-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\nok")
    visit.connection.recv(1)  # the next request begins to arrive, and finds the door closing


def _cookie(visit: Visit) -> None:
    came_back = visit.seen.header("cookie") is not None
    visit.answer(400 if came_back else 200, ("Set-Cookie", "session=stranger; Path=/"))


def _echo(visit: Visit) -> None:
    told = visit.seen.header("authorization") or "nothing"
    visit.answer(500, ("X-Echo", told), body=told.encode(), reason=told)


def _markup(visit: Visit) -> None:
    evil = "<script>alert(1)</script>"
    tail = "\r\n\x1b[2Kforged line \u202e \u2028 \u2066".encode()
    visit.answer(500, ("X-Markup", evil), body=evil.encode() + tail, reason=evil)


def _early(visit: Visit) -> None:
    visit.answer(413)
    visit.server.closing.wait(_EARLY_SECONDS)  # the body stays unread: the client hears us while it is sending


PATHS: Final[dict[str, Callable[[Visit], None]]] = {
    "status": _status,
    "lock": _lock,
    "recovers": _recovers,
    "retry": _retry,
    "redirect": _redirect,
    "silent": _silent,
    "drip": _drip,
    "endless": _endless,
    "huge-headers": _huge_headers,
    "continue-flood": _continue_flood,
    "continue": _continue,
    "switch": _switch,
    "reset": _reset,
    "close": _close,
    "short": _short,
    "bad-chunk": _bad_chunk,
    "two-lengths": _two_lengths,
    "banner": _banner,
    "gzip-bomb": _gzip_bomb,
    "keep-alive": _keep_alive,
    "cookie": _cookie,
    "echo": _echo,
    "markup": _markup,
    "early": _early,
}
