"""
The stores of the ledgers under test, on this machine and of one's own.

Each keeps an audit of the claims that were won, written with the claim or not at all: SQLite and PostgreSQL by a
trigger, Redis by its append-only file.
"""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, cast

import psycopg

from tests.ledgers.postgres_server import running_postgres
from tests.ledgers.proxy import Fault, Proxy
from tests.ledgers.redis_server import KEPT, RedisServer
from tests.proof.store import Store, Won


class SqliteStore(Store):
    """A file. Its clock is that of each process, so the processes must agree; it has no server that could crash."""

    is_skewed = False
    faults = ("locked",)
    can_crash = False
    paths = 1

    def start(self) -> None:
        """See `Store.start`: the ledger makes the file."""
        self._path = self.folder / "ledger.db"
        self._locks: dict[int, sqlite3.Connection] = {}

    def stop(self) -> None:
        """See `Store.stop`."""
        for path in tuple(self._locks):
            self.heal(path)

    def url(self, path: int) -> str:
        """See `Store.url`."""
        return f"sqlite:///{self._path}"

    def disturb(self, path: int, fault: str) -> None:
        """See `Store.disturb`: somebody writes for long."""
        if self._locks:
            return
        lock = self._locks[path] = sqlite3.connect(self._path, isolation_level=None, timeout=1)
        with contextlib.suppress(sqlite3.OperationalError):  # somebody writes already
            lock.execute("begin immediate")

    def heal(self, path: int) -> None:
        """See `Store.heal`."""
        lock = self._locks.pop(path, None)
        if lock is not None:
            lock.close()

    def watch(self) -> None:
        """See `Store.watch`."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as connection:
            connection.execute("create table audit (job text, slot integer, fence integer, claim_id text)")
            for event in ("insert", "update"):
                connection.execute(
                    f"create trigger audit_{event} after {event} on loopcron_slot when new.claim_id <> '' and "
                    + ("true" if event == "insert" else "new.fence <> old.fence")
                    + " begin insert into audit values (new.job, new.watermark, new.fence, new.claim_id); end"
                )

    def audit(self) -> list[Won]:
        """See `Store.audit`."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=5)) as connection:
            rows = connection.execute("select job, slot, fence, claim_id from audit order by rowid").fetchall()
        return [Won(*row) for row in rows]


class _Server(Store):
    """A server behind one proxy for each path, in a process of its own."""

    faults = ("cut", "drop_replies", "cut_after_request", "blackhole")
    socket: str
    """Where it listens."""

    def start(self) -> None:
        """See `Store.start`."""
        self._closing = contextlib.ExitStack()
        self._threads = self._closing.enter_context(ThreadPoolExecutor(1))
        self._restart: Future[None] | None = None
        self.open(self._closing)
        self._proxies = [self._closing.enter_context(Proxy(self.socket)) for _ in range(self.paths)]

    def open(self, closing: contextlib.ExitStack) -> None:
        """Start the server, and let it be ended with the others."""
        raise NotImplementedError

    def restart(self) -> None:
        """Crash it, start it, and return when it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """See `Store.stop`."""
        self._closing.close()

    def disturb(self, path: int, fault: str) -> None:
        """See `Store.disturb`."""
        self._proxies[path].fault = cast("Fault", fault)

    def heal(self, path: int) -> None:
        """See `Store.heal`: what was swallowed is lost, so the connections of that time are of no use any more."""
        self._proxies[path].fault = None

    def port(self, path: int) -> int:
        """Return where the proxy of this path listens."""
        return self._proxies[path].port

    def crash(self) -> None:
        """See `Store.crash`."""
        self._restart = self._threads.submit(self.restart)

    def has_restarted(self) -> bool:
        """See `Store.has_restarted`."""
        if self._restart is None or not self._restart.done():
            return False
        self._restart.result()
        return True


class PostgresStore(_Server):
    """A server whose crash is an immediate stop: nothing is written any more, and it recovers by its log."""

    settling = 2_800  # the driver tries for 2 s at least to connect, and then its ledger is asked again with a back-off

    def open(self, closing: contextlib.ExitStack) -> None:
        """See `_Server.open`."""
        self._server = closing.enter_context(running_postgres())
        # Else it syncs its thousand files one by one before it recovers, which takes seconds on a busy disk.
        self._server.admin("alter system set recovery_init_sync_method = 'syncfs'")
        self.socket = self._server.socket_path

    def restart(self) -> None:
        """See `_Server.restart`."""
        self._server.crash()
        self._server.start()

    def url(self, path: int) -> str:
        """See `Store.url`."""
        return self._server.url(port=self.port(path))

    def watch(self) -> None:
        """See `Store.watch`."""
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(
                "create table audit (id bigserial, job text, slot bigint, fence bigint, claim_id text);"
                " create function audit() returns trigger language plpgsql as $$ begin"
                " if new.claim_id <> '' and (tg_op = 'INSERT' or new.fence <> old.fence) then"
                " insert into audit (job, slot, fence, claim_id)"
                " values (new.job, new.watermark, new.fence, new.claim_id);"
                " end if; return new; end $$;"
                " create trigger audit after insert or update on loopcron_slot for each row execute function audit()"
            )

    def audit(self) -> list[Won]:
        """See `Store.audit`: the numbers are taken under the lock of the row, so they are in its order."""
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            rows = connection.execute("select job, slot, fence, claim_id from audit order by id").fetchall()
        return [Won(*row) for row in rows]


class RedisStore(_Server):
    """A server with an append-only file, which holds the effects of each script: that is the audit."""

    def open(self, closing: contextlib.ExitStack) -> None:
        """See `_Server.open`: a file that is written anew would hold the last state only."""
        self._server = closing.enter_context(RedisServer(*KEPT, "auto-aof-rewrite-percentage 0"))
        self.socket = self._server.socket

    def restart(self) -> None:
        """See `_Server.restart`."""
        self._server.restart()

    def url(self, path: int) -> str:
        """See `Store.url`."""
        return f"redis://127.0.0.1:{self.port(path)}/0"

    def watch(self) -> None:
        """See `Store.watch`: the file is written from the start."""

    def audit(self) -> list[Won]:
        """See `Store.audit`: each claim that is won writes a fence and a claim id, and nothing else writes them."""
        won: list[Won] = []
        for command in _commands(Path(self.socket).with_name("appendonly.aof").read_bytes()):
            if command[0].upper() not in {"HSET", "HMSET"}:
                continue
            fields = dict(zip(command[2::2], command[3::2], strict=True))
            if "fence" in fields:
                job = command[1].rpartition(":")[2].rstrip("}")
                won.append(Won(job, int(fields["watermark"]), int(fields["fence"]), fields["claim_id"]))
        return won


STORES: Final[dict[str, type[Store]]] = {"sqlite": SqliteStore, "postgres": PostgresStore, "redis": RedisStore}


def _commands(written: bytes) -> Iterator[list[str]]:
    """Yield the commands of an append-only file; of one that a crash cut off, the server has dropped the rest."""
    file = io.BytesIO(written)
    while line := file.readline():
        words = []
        for _ in range(int(line[1:])):
            size = int(file.readline()[1:])
            words.append(file.read(size).decode())
            file.read(2)  # the end of the line
        yield words
