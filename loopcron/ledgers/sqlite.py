"""The ledger for one host: a SQLite file, which all processes that open it share, and which outlasts them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar, final

from loopcron._errors import ConfigError
from loopcron._ledger import Answer, Claim, Finish, Pause, Register, Renew, Row
from loopcron.ledgers._arguments import checked_namespace, checked_timeout
from loopcron.ledgers._mounts import network_of
from loopcron.ledgers._sqlite_file import SqliteFile
from loopcron.ledgers._sqlite_table import SqliteTable
from loopcron.ledgers._thread import StoreThread

__all__ = ("SqliteLedger",)

_PATIENCE: Final = 0.75
"""Which part of a call's time goes at most into waiting for a lock: SQLite then lets go before the caller does."""

_WRITE: Final = "begin immediate"
_READ: Final = "begin"

_Result = TypeVar("_Result")


@final
class SqliteLedger:
    """
    Keeps one row per job in a SQLite file, shared by all processes of one host that open the same file.

    It promises at most one start per slot, also over a crash of the machine, provided the disk keeps what it has
    acknowledged. The file is made on first use, for its owner alone, with two more beside it, ``-wal`` and ``-shm``;
    it holds nothing but the ledger. Processes of several hosts, or of containers that do not share a kernel, need
    another ledger.

    Args:
        path: The file; a relative path counts from the directory that is current now. Its directory must exist, on a
            file system of this machine.
        namespace: Whose rows these are: 1 to 64 letters, digits, dots, underscores and hyphens.
        timeout: How long each call may take, in real time.

    Raises:
        ConfigError: An argument cannot work. What is wrong with the file itself is an error of each call, so that
            the scheduler starts, and goes on once it is mended.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str = "default",
        timeout: timedelta = timedelta(seconds=2),
    ) -> None:
        seconds = checked_timeout(timeout)
        self._namespace = checked_namespace(namespace)
        self._path = _checked_path(path)
        self._file = SqliteFile(self._path, seconds * _PATIENCE)
        self._thread = StoreThread("loopcron sqlite", seconds)

    @property
    def is_shared(self) -> bool:
        """See `Ledger.is_shared`."""
        return True

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row]:
        """See `Ledger.register`."""
        return await self._ask(lambda table: [table.register(job) for job in jobs])

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        """See `Ledger.claim`."""
        return await self._ask(lambda table: [table.claim(claim) for claim in claims])

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        """See `Ledger.renew`."""
        return await self._ask(lambda table: [table.renew(renewal) for renewal in renewals])

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        """See `Ledger.finish`."""
        return await self._ask(lambda table: [table.finish(finish) for finish in finishes])

    async def pause(self, pauses: Sequence[Pause]) -> None:
        """See `Ledger.pause`."""

        def pause_all(table: SqliteTable) -> None:
            for pause in pauses:
                table.pause(pause)

        await self._ask(pause_all)

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.peek`."""
        return await self._ask(lambda table: [table.peek(job) for job in jobs], _READ)

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.reset`."""
        return await self._ask(lambda table: [table.reset(job) for job in jobs])

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._thread.close(self._file.close)

    async def _ask(self, work: Callable[[SqliteTable], _Result], begin: str = _WRITE) -> _Result:
        wanted = True

        def transact() -> _Result:
            return self._file.transact(
                begin, lambda connection: work(SqliteTable(connection, self._namespace)), lambda: wanted
            )

        try:
            return await self._thread.call(transact)
        finally:
            # A work that waited for a lock beyond its caller's time begins nothing, though nothing interrupts it.
            wanted = False

    def __repr__(self) -> str:
        return f"sqlite at {self._path}, namespace {self._namespace}"


def _checked_path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError("path", path, "must be the path of a file, such as loopcron.db")
    if text == ":memory:":
        raise ConfigError("path", path, "must be a file; MemoryLedger() keeps its rows in memory")
    resolved = os.path.realpath(text)
    # Not Path.is_dir, which raises where it may not look.
    if not os.path.isdir(Path(resolved).parent):  # noqa: PTH112 - see above
        raise ConfigError("path", resolved, "its directory does not exist; make it first")
    if os.path.isdir(resolved):  # noqa: PTH112 - see above
        raise ConfigError("path", resolved, "is a directory; name a file in it")
    network = network_of(resolved)
    if network is not None:
        remedy = (
            f"is on a network file system ({network}), where SQLite's locks fail; use a local one, or another ledger"
        )
        raise ConfigError("path", resolved, remedy)
    return resolved
