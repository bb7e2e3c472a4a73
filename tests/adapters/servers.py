"""
Real servers in processes of their own: how each is started, asked, told to stop, and what it leaves behind.

The one place that waits (`wait_until`), starts a process and ends one. A whole life is driven by `observe`, so that
many can be lived at once and be judged afterwards.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.adapters.apps.jobs import LOG, SCENARIO, TOKEN

ROOT = Path(__file__).resolve().parents[2]
STARLETTE = "tests.adapters.apps.starlette_app"
AIOHTTP = "tests.adapters.apps.aiohttp_app"
GRACE = 3
"""What each server is given for ending its requests, in seconds."""
PATIENCE = 40.0
"""How long anything may take before a test gives up, in seconds; only a failure takes so long."""

_PYTHON = (sys.executable, "-X", "dev", "-W", "error")
_UVICORN = (*_PYTHON, "-m", "uvicorn", f"{STARLETTE}:app", f"--timeout-graceful-shutdown={GRACE}")
_HYPERCORN = (*_PYTHON, "-m", "hypercorn", f"{STARLETTE}:app", f"--graceful-timeout={GRACE}")
_GUNICORN = (*_PYTHON, "-m", "gunicorn", f"--graceful-timeout={GRACE}", "--no-control-socket")

COMMANDS = {
    "uvicorn-asyncio": (*_UVICORN, "--loop=asyncio", "--port={port}"),
    "uvicorn-uvloop": (*_UVICORN, "--loop=uvloop", "--port={port}"),
    "hypercorn-asyncio": (*_HYPERCORN, "--worker-class=asyncio", "--bind=127.0.0.1:{port}"),
    "hypercorn-trio": (*_HYPERCORN, "--worker-class=trio", "--bind=127.0.0.1:{port}"),
    "gunicorn-uvicorn": (*_GUNICORN, f"{STARLETTE}:app", "-k", "uvicorn_worker.UvicornWorker", "-b127.0.0.1:{port}"),
    "aiohttp-run_app": (*_PYTHON, "-m", AIOHTTP, "{port}"),
    "gunicorn-aiohttp": (*_GUNICORN, f"{AIOHTTP}:app", "-k", "aiohttp.GunicornWebWorker", "-b127.0.0.1:{port}"),
}
"""How each server is started."""
SERVERS = tuple(COMMANDS)


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> float:
    """Return how many seconds it took until *condition* held; AssertionError when it takes too long."""
    start = time.monotonic()
    while not condition():
        waited = time.monotonic() - start
        assert waited < seconds, f"after {waited:.1f} s still not so: {what}"
        time.sleep(0.02)
    return time.monotonic() - start


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Life:
    """What one server did from its start to its end."""

    server: str
    statuses: list[int | str] = field(default_factory=list)
    """What it answered when asked for its health, from the first answer to the signal."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """What the app has written down."""
    exit_code: int = 0
    stop_seconds: float = 0.0
    """From the first signal to the end of the process."""
    stderr: str = ""

    def outcomes(self, job: str) -> list[str]:
        """Return the names of the job's outcomes, oldest first."""
        return [line["outcome"] for line in self.log if line["event"] == "Settled" and line["job"] == job]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of this name."""
        return [line for line in self.log if line["event"] == name]

    def stray_noise(self) -> list[str]:
        """Return what stands on stderr that a clean life does not leave there; failures of jobs are no noise."""
        last_lines = re.findall(r"^Traceback .*\n(?:[ \t].*\n)+(.*)$", self.stderr, re.MULTILINE)
        noise = [line for line in last_lines if "on purpose" not in line]
        warned = re.findall(
            r"^.*(?:Warning|was never|never retrieved|was destroyed|Exception ignored).*$", self.stderr, re.MULTILINE
        )
        return noise + warned


class Process:
    """A server that runs."""

    def __init__(
        self,
        server: str,
        scenario: str,
        folder: Path,
        *,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.life = Life(server)
        self.port = free_port()
        self._log = folder / f"{server}-{scenario}.jsonl"
        self._stderr = folder / f"{server}-{scenario}.stderr"
        self._read = 0
        inherited = {name: value for name, value in os.environ.items() if name not in {"PORT", "WEB_CONCURRENCY"}}
        inherited |= {TOKEN: secrets.token_hex(), LOG: str(self._log), SCENARIO: scenario}
        with self._stderr.open("wb") as stderr:
            # A session of its own, so that workers can be ended with it should it fail to.
            self._process = subprocess.Popen(
                [part.format(port=self.port) for part in command or COMMANDS[server]],
                cwd=ROOT,
                env=inherited | dict(environment or {}),
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process that was started; of a server with workers the parent of these."""
        return self._process.pid

    def ask(self) -> int | str:
        """Return the status of the health check, or what came instead."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()

    def is_up(self) -> bool:
        """Say whether the server answers; asked until it does."""
        assert self._process.poll() is None, f"{self.life.server} has ended: {self._stderr.read_text()[-2000:]}"
        return self.ask() == 200

    def read(self) -> Life:
        """Return its life so far."""
        if self._log.exists():
            with self._log.open("rb") as log:
                log.seek(self._read)
                text, complete, _ = log.read().rpartition(b"\n")
            self._read += len(text) + len(complete)
            self.life.log += map(json.loads, text.splitlines())
        self.life.stderr = self._stderr.read_text()
        return self.life

    def signal(self) -> None:
        """Tell it to stop."""
        self._process.send_signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Say whether it has ended, and been reaped."""
        return self._process.poll() is not None

    def end(self) -> Life:
        """See to it that nothing is left of it, and return its life."""
        with contextlib.suppress(ProcessLookupError):  # as it should be
            os.killpg(self._process.pid, signal.SIGKILL)
        self.life.exit_code = self._process.wait()
        return self.read()


def observe(server: str, scenario: str, folder: Path, enough: Callable[[Life], bool], *, signals: int = 1) -> Life:
    """Live a server's whole life: start it, ask it until its life has *enough*, and tell it to stop."""
    process = Process(server, scenario, folder)
    life = process.life
    try:
        wait_until(process.is_up, f"{server} answers")

        def is_enough() -> bool:
            life.statuses.append(process.ask())
            return enough(process.read())

        wait_until(is_enough, f"{server} has seen enough of {scenario}")
        process.signal()
        start = time.monotonic()
        for _ in range(signals - 1):
            wait_until(lambda: process.has_ended() or time.monotonic() - start > 0.15, f"{server} is told again")
            if not process.has_ended():
                process.signal()
        wait_until(process.has_ended, f"{server} ends after {scenario}")
        life.stop_seconds = time.monotonic() - start
    finally:
        process.end()
    return life
