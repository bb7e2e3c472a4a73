"""
A little server that answers pings as the documentation of healthchecks.io has it, and keeps each check's state.

Real sockets, on a thread of its own. Its rules: a ping is success, ``/start``, ``/fail`` or ``/log`` of a check, by
UUID or by ping key and slug; ``rid`` must be a UUID (400); an unknown check is 404, an ambiguous slug 409. A start
begins the grace time; it ends with a failure, a success of the same run id, or a success without one.
"""

from __future__ import annotations

import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

CODE: Final = "d1665499-e827-441f-bf13-8f15e8f4c0b9"
OTHER: Final = "4a7b2f5e-90c1-4d63-8a55-0f2f6f1f7a11"
KEY: Final = "fqOOd6-F4MMNuCEnzTU01w"
PREFIX: Final = "/ping"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


@dataclass
class Ping:
    """One ping as it came in."""

    name: str
    action: str
    run_id: str | None
    body: str
    method: str


@dataclass
class Check:
    """The state of one check."""

    status: str = "new"
    started: bool = False
    started_id: str | None = None
    timed: int = 0
    """How many runs had a start and an end that fit together."""

    def ping(self, ping: Ping) -> None:
        """Do what a ping does to a check."""
        if ping.action == "start":
            self.started, self.started_id = True, ping.run_id
        elif ping.action in {"success", "fail"}:
            fits = self.started and self.started_id == ping.run_id
            self.timed += fits
            if fits or ping.action == "fail" or ping.run_id is None:
                self.started = False
            self.status = "up" if ping.action == "success" else "down"

    def grace_is_over(self) -> bool:
        """Say whether the check is down once the grace time of what has started is over."""
        return self.started or self.status == "down"


@dataclass
class Healthchecks:
    """The server; it has the checks ``CODE`` and ``OTHER``, and those in ``slugs`` of the project ``KEY``."""

    slugs: set[str] = field(default_factory=set)
    ambiguous: set[str] = field(default_factory=set)
    ssl_context: ssl.SSLContext | None = None
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    """What to answer instead of doing as told, first come first served."""

    def __post_init__(self) -> None:
        self.pings: list[Ping] = []
        self.requests = 0
        self.checks: dict[str, Check] = {CODE: Check(), OTHER: Check()}
        self.hold = threading.Event()
        self.hold.set()
        """Cleared, nothing is answered until it is set."""
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                with world._changed:
                    world.requests += 1
                    world._changed.notify_all()
                world.hold.wait(10)
                status, text = world.answer("POST", self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that went away is what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        if self.ssl_context is not None:
            self._server.socket = self.ssl_context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        scheme = "http" if self.ssl_context is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def url(self, code: str = CODE) -> str:
        """Return the ping URL of a check."""
        return f"{self.origin}{PREFIX}/{code}"

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Take one request."""
        if self.replies:
            return self.replies.pop(0)
        parts = urlsplit(target)
        names = parts.path.removeprefix(PREFIX + "/").split("/")
        name, rest = (names[0], names[1:]) if _UUID.match(names[0]) else ("/".join(names[:2]), names[2:])
        action = rest[0] if rest else "success"
        if name in {f"{KEY}/{slug}" for slug in self.ambiguous}:
            return 409, b"ambiguous slug"
        known = name in self.checks or name in {f"{KEY}/{slug}" for slug in self.slugs}
        if not known or len(rest) > 1 or action not in {"success", "start", "fail", "log"}:
            return 404, b"not found"
        run_id = parse_qs(parts.query).get("rid", [None])[0]
        if run_id is not None and not _UUID.match(run_id):
            return 400, b"invalid uuid format"
        ping = Ping(name, action, run_id, body.decode(), method)
        with self._changed:
            self.pings.append(ping)
            self.checks.setdefault(name, Check()).ping(ping)
            self._changed.notify_all()
        return 200, b"OK"

    def wait(self, *, pings: int = 0, requests: int = 0) -> None:
        """Return once so many pings, and so many requests, have come in."""
        with self._changed:
            done = self._changed.wait_for(lambda: len(self.pings) >= pings and self.requests >= requests, 10)
        assert done, self.pings

    def told(self, name: str = CODE) -> list[str]:
        """Return the actions of a check's pings."""
        return [ping.action for ping in self.pings if ping.name == name]
