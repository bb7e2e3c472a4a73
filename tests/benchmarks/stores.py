"""The ledgers that are measured, each on a store of its own that ends with the measurement, or the reason why not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from loopcron import Ledger, MemoryLedger
from loopcron.ledgers._mounts import MOUNTINFO, kind_of
from tests.benchmarks.claimants import ledger_at
from tests.ledgers.postgres_server import running_postgres
from tests.ledgers.redis_server import RedisServer, require_redis


class Store(NamedTuple):
    """Where ledgers can be made."""

    name: str
    about: str
    """What its figures depend on."""
    url: str
    """"": no other process could share it."""

    def ledger(self, namespace: str) -> Ledger:
        """Return a ledger with no rows, if the namespace is new."""
        return ledger_at(self.url, namespace) if self.url else MemoryLedger()


@contextlib.contextmanager
def memory() -> Iterator[Store]:
    yield Store("memory", "in this process", "")


@contextlib.contextmanager
def sqlite() -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="loopcron-bench-") as name:
        folder = os.path.realpath(name)
        kind, spent = file_system(folder), fsync_ms(Path(folder))
        about = f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL, on {kind}, where a write and its fsync"
        yield Store("sqlite", f"{about} take {spent:.2g} ms", f"sqlite:///{folder}/ledger.db")


@contextlib.contextmanager
def postgres() -> Iterator[Store]:
    with running_postgres() as server:
        ((version, fsync),) = server.admin("select current_setting('server_version'), current_setting('fsync')")
        about = f"PostgreSQL {version}, fsync={fsync}, on {file_system(server.folder)}, over a unix socket"
        yield Store("postgres", about, server.url())


@contextlib.contextmanager
def redis() -> Iterator[Store]:
    require_redis()
    with RedisServer("appendonly yes", "appendfsync everysec") as server:
        version = server.do("INFO", "server")["redis_version"]
        yield Store("redis", f"Redis {version}, appendonly yes, appendfsync everysec, over TCP", server.url)


KINDS: dict[str, Callable[[], contextlib.AbstractContextManager[Store]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "postgres": postgres,
    "redis": redis,
}


def opened(stack: contextlib.ExitStack) -> tuple[list[Store], list[str]]:
    """Return the stores that can be had, which end with *stack*, and for each other one why it cannot."""
    stores, missing = [], []
    for name, kind in KINDS.items():
        try:
            stores.append(stack.enter_context(kind()))
        except (Exception, pytest.skip.Exception) as error:
            missing.append(f"{name} is not measured: {str(error) or repr(error)}")
    return stores, missing


def file_system(folder: str) -> str:
    """Return its kind, such as ``ext4``."""
    return (kind_of(folder, MOUNTINFO.read_text("utf-8")) if MOUNTINFO.exists() else None) or "an unknown file system"


def fsync_ms(folder: Path) -> float:
    """Return what it costs there to write a page and have it on the disk; less than 0.05 ms is no disk."""
    spent = []
    with (folder / "probe").open("wb", buffering=0) as probe:
        for _ in range(25):
            begin = time.perf_counter()
            probe.write(bytes(4096))
            os.fsync(probe.fileno())
            spent.append(time.perf_counter() - begin)
    return statistics.median(spent) * 1000
