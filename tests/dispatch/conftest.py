"""What the tests of Dispatch's jobs share: an environment, an app that records, and the one way to wait for it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

TOKEN = "s3cr3t+/=%&?t0ken"
"""Made of characters that look different once they are quoted or encoded."""


class Seen(NamedTuple):
    """A request, as the app saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class RecordingApp:
    """An app on a real socket that keeps what it is sent, and gives all it knows away in its answers."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.replies: dict[str, int] = {}
        """The statuses to answer, by path; 200 for all others."""
        app = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                app.seen.append(Seen(self.command, self.path, dict(self.headers.items()), body))
                echo = self.headers.get("Authorization", "")
                self.send_response(app.replies.get(self.path, 200), echo)
                self.send_header("X-Echo", echo)
                self.end_headers()
                self.wfile.write(echo.encode())

            do_GET = do_POST = answer

            def log_message(self, *args: object) -> None:
                """Keep stderr clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    @property
    def paths(self) -> list[str]:
        """What was asked for, oldest first."""
        return [seen.path for seen in self.seen]

    def close(self) -> None:
        """Listen no longer; closing twice is once."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def app() -> Iterator[RecordingApp]:
    """Return an app that records."""
    recording = RecordingApp()
    yield recording
    recording.close()


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return an environment that turns the scheduler on; the process's own one holds the token and no more of it."""
    for name in [name for name in os.environ if name == "PORT" or name.startswith("DISPATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DISPATCH_AGENT_TOKEN", TOKEN)
    return {"DISPATCH_SCHEDULER_ENABLED": "true", "DISPATCH_AGENT_TOKEN": TOKEN}


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Return what waits for another process: it asks a condition again until it holds, and fails after 30 s."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "waited 30 s in vain"
            time.sleep(0.02)

    return wait
