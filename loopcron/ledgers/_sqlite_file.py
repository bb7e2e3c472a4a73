"""One SQLite file and at most one connection to it: opening, transactions, forks, and what its errors mean in words."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar, final

from loopcron._errors import LedgerError

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID: Final = 0x6C6F6F70
"""Says that a SQLite file is a ledger: "loop"."""
VERSION: Final = 1
"""Of the table; a file of a newer one is left alone."""

_TABLE: Final = """
create table loopcron_slot (
 namespace text not null, job text not null, watermark integer not null, fence integer not null default 0,
 claim_id text not null default '', finished integer not null default 1, lease_until integer,
 outcome text not null default '', ended_at integer, succeeded_at integer, paused integer not null default 0,
 schedule text not null default '', primary key (namespace, job)) without rowid
"""

_REASONS: Final = {
    "SQLITE_BUSY": "stayed locked by another process",
    "SQLITE_CANTOPEN": "cannot be opened, or the files beside it cannot be made",
    "SQLITE_CORRUPT": "is damaged",
    "SQLITE_FULL": "cannot grow: the disk is full",
    "SQLITE_NOTADB": "is no SQLite database",
    "SQLITE_READONLY": "cannot be written, or its directory cannot",
}
"""What a primary error of SQLite means for the file."""

_RETRY_SECONDS: Final = 0.01

_Result = TypeVar("_Result")


@final
class SqliteFile:
    """
    Runs transactions on a file, which is opened on use, and anew after an error, a fork, or when it was replaced.

    Args:
        path: Absolute, without symbolic links.
        seconds: How long to wait for another process's lock.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._in_use = threading.Lock()
        with _REGISTRY_IN_USE:
            _REGISTRY.add(self)

    def transact(
        self, begin: str, work: Callable[[sqlite3.Connection], _Result], wanted: Callable[[], bool]
    ) -> _Result:
        """
        Return what *work* returns, once what it did is committed.

        Args:
            begin: How the transaction begins, such as ``begin immediate``, which takes the lock for writing.
            work: Called when the lock is held.
            wanted: Whether somebody still waits for the result: asked when the lock is held, and before the commit.

        Raises:
            LedgerError: The file could not be read or written; nothing, or everything was done.
        """
        import sqlite3  # on use

        with self._in_use:
            try:
                return _transact(self._opened(), begin, work, wanted)
            except sqlite3.Error as error:
                self._close()
                raise LedgerError(f"{self._path} {_reason(error)}") from error
            except BaseException:
                self._close()
                raise

    def close(self) -> None:
        """Close the connection; the next transaction opens one."""
        with self._in_use:
            self._close()

    def _opened(self) -> sqlite3.Connection:
        # A file that was removed or replaced lives on for who has it open, and nobody else would see what is won.
        if self._connection is None or self._identity != _identity(self._path):
            self._close()
            self._connection = _open(self._path, self._seconds)
            self._identity = _identity(self._path)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def before_fork(self) -> None:
        """
        Wait for the transaction under way, close the connection, and let none begin until `after_fork`.

        A child that inherits an open one spoils its own: SQLite keeps its locks by process and file, and takes those
        for held in the child that only the parent holds. Another process then may end the log under the child.
        """
        self._in_use.acquire()
        self._close()

    def after_fork(self) -> None:
        """Let transactions begin, in the parent and in the child."""
        self._in_use.release()


_REGISTRY: Final[weakref.WeakSet[SqliteFile]] = weakref.WeakSet()
_REGISTRY_IN_USE: Final = threading.Lock()
_forking: Final[list[SqliteFile]] = []


def _before_fork() -> None:
    _REGISTRY_IN_USE.acquire()
    _forking.extend(_REGISTRY)
    for file in _forking:
        file.before_fork()


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()
    _REGISTRY_IN_USE.release()


with suppress(AttributeError):  # where there is no fork there is no need
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _transact(
    connection: sqlite3.Connection,
    begin: str,
    work: Callable[[sqlite3.Connection], _Result],
    wanted: Callable[[], bool],
) -> _Result:
    connection.execute(begin)
    _check_wanted(wanted)
    result = work(connection)
    _check_wanted(wanted)
    connection.execute("commit")
    return result


def _check_wanted(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise LedgerError("nobody waits for it any more")


def _identity(path: str) -> tuple[int, int] | None:
    with suppress(OSError):
        status = os.stat(path)  # noqa: PTH116 - asked before each transaction, and twice as fast
        return status.st_dev, status.st_ino
    return None


def _open(path: str, seconds: float) -> sqlite3.Connection:
    import sqlite3  # on use

    _create(path)
    # Not bound to its thread: whoever forks closes it. Two never use it at once, the lock sees to that.
    connection = sqlite3.connect(path, timeout=seconds, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("begin immediate")
        _prepare(connection, path)
        connection.execute("commit")
        _use_log(connection, path, seconds)
        connection.execute("pragma synchronous = full")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: str) -> None:
    """Make the file for its owner alone; SQLite gives the files beside it the same mode."""
    try:
        # Closing it gives back every lock of this process on the file, so it must be one that nobody has open yet.
        with _CREATING:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise LedgerError(f"{path} cannot be made: {error.strerror}") from error


_CREATING: Final = threading.Lock()


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the table in an empty file, and refuse one that is not ours."""
    ((application_id,),) = connection.execute("pragma application_id").fetchall()
    ((version,),) = connection.execute("pragma user_version").fetchall()
    ((tables,),) = connection.execute("select count(*) from sqlite_master").fetchall()
    if (application_id, version, tables) == (0, 0, 0):
        connection.execute(_TABLE)
        connection.execute(f"pragma application_id = {APPLICATION_ID}")
        connection.execute(f"pragma user_version = {VERSION}")
    elif application_id != APPLICATION_ID:
        raise LedgerError(f"{path} is a database of something else; give the ledger a file of its own")
    elif version != VERSION:
        raise LedgerError(f"{path} was made by a newer loopcron: its table has version {version}, not {VERSION}")


def _use_log(connection: sqlite3.Connection, path: str, seconds: float) -> None:
    """Let SQLite write ahead into a log, which lasts: a commit then costs one write to the disk."""
    import sqlite3  # on use

    # Where two open a new file at once SQLite does not wait by itself, as either could wait for the other; elsewhere
    # it would, and both waits together take too long.
    connection.execute("pragma busy_timeout = 0").fetchall()
    left = seconds
    while True:
        try:
            ((mode,),) = connection.execute("pragma journal_mode = wal").fetchall()
            break
        except sqlite3.OperationalError as error:
            if left <= 0 or _primary(error) != "SQLITE_BUSY":
                raise
        time.sleep(_RETRY_SECONDS)
        left -= _RETRY_SECONDS
    connection.execute(f"pragma busy_timeout = {int(seconds * 1000)}").fetchall()
    if mode != "wal":
        raise LedgerError(f"{path} is on a file system that cannot share memory between processes")


def _reason(error: sqlite3.Error) -> str:
    return _REASONS.get(_primary(error)) or f"could not be used: {error}"


def _primary(error: sqlite3.Error) -> str:
    """Return the name of the error's kind, without what SQLite adds in detail."""
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
