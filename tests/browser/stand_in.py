"""A server that answers as the status page's own would, with whatever document a test puts in."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from loopcron.status._page import POLICY, page_html


class StandIn(ThreadingHTTPServer):
    """Serves the page at ``/status/`` and `document` beside it; keeps what it was asked."""

    daemon_threads = True

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.document = document
        self.status = 200
        """Of status.json; 0: the connection is closed without an answer."""
        self.polls: list[dict[str, str]] = []
        self.actions: list[tuple[str, str | None]] = []
        self.refusal: tuple[int, str] | None = None
        self.may_act, self.may_answer = threading.Event(), threading.Event()
        self.may_act.set()
        self.may_answer.set()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/status/"

    def selected(self, query: dict[str, str]) -> dict[str, Any]:
        """Return the part of the document that is asked for."""
        text, offset, limit = query.get("q", ""), int(query.get("offset", 0)), int(query.get("limit", 200))
        jobs = [job for job in self.document["jobs"] if text.lower() in job["name"].lower()]
        part = {"jobs": jobs[offset : offset + limit], "total": len(jobs), "offset": offset, "limit": limit}
        return self.document | part


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/status/":
            nonce = secrets.token_urlsafe(16)
            self._answer(200, "text/html; charset=utf-8", page_html(nonce), POLICY.format(nonce=nonce))
        elif parts.path == "/status/status.json":
            query = dict(parse_qsl(parts.query))
            self.server.polls.append(query)
            self.server.may_answer.wait(30)
            if not self.server.status:
                self.close_connection = True
                return
            self._answer(self.server.status, "application/json", json.dumps(self.server.selected(query)))
        else:
            self._answer(404, "text/plain", "")

    def do_POST(self) -> None:
        self.server.may_act.wait(10)
        self.server.actions.append((self.path, self.headers["Loopcron-Action"]))
        status, detail = self.server.refusal or (202, "asked for")
        self._answer(status, "application/json", json.dumps({"detail": detail}))

    def _answer(self, status: int, kind: str, text: str, policy: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 302:
            self.send_header("Location", "/sign-in")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""


@contextmanager
def serving(document: dict[str, Any]) -> Iterator[StandIn]:
    """Serve *document* for as long as the block lasts."""
    with StandIn(document) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.may_act.set()
            server.may_answer.set()
            server.shutdown()
            thread.join()
