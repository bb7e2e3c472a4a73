"""The SQLite ledger and its file: what it takes, what it makes, and what it says when the file fails it."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from loopcron._clock import SystemClock
from loopcron._errors import ConfigError, LedgerError
from loopcron._instants import to_ms
from loopcron._ledger import Answer, Claim, Lost, Register, Won
from loopcron.ledgers import SqliteLedger, _sqlite_file, sqlite

LONG = timedelta(seconds=40)
"""A time limit that no test reaches."""
LEASE = 60_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger's file is to be."""
    return tmp_path / "loopcron.db"


async def claim(ledger: SqliteLedger, slot: int, claim_id: str, job: str = "a", lease: int | None = None) -> Answer:
    """Claim one slot."""
    (answer,) = await ledger.claim([Claim(job, slot, claim_id, lease)])
    return answer


async def until(condition: Callable[[], bool]) -> None:
    """Return once *condition* holds."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.002)


def is_at_work(ledger: SqliteLedger) -> bool:
    """Say whether the ledger's thread is within a call."""
    return ledger._thread._worker._current is not None


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file's lock for writing, as another process may."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield connection


def change(path: Path, *statements: str) -> None:
    """Run statements on the file, as another program may."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("", "must be the path of a file"),
        ("a\0b", "must be the path of a file"),
        (b"loopcron.db", "must be the path of a file"),
        (None, "must be the path of a file"),
        (":memory:", r"must be a file; MemoryLedger\(\) keeps its rows in memory"),
        ("missing/loopcron.db", "its directory does not exist"),
        (".", "is a directory"),
    ],
    ids=str,
)
def test_path_that_cannot_work_is_refused(
    value: Any, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that names no file is refused when the ledger is made, with what would do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^path=.*{remedy}"):
        SqliteLedger(value)


def test_other_arguments_are_checked(path: Path) -> None:
    """A namespace that is none, and a time limit that is none, are refused."""
    with pytest.raises(ConfigError, match=r"^namespace="):
        SqliteLedger(path, namespace="a b")
    with pytest.raises(ConfigError, match=r"^timeout="):
        SqliteLedger(path, timeout=timedelta(0))


def test_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path on a network file system is refused, which is named, as is what to do."""
    monkeypatch.setattr(sqlite, "network_of", lambda path: "nfs4")
    with pytest.raises(ConfigError, match=r"network file system \(nfs4\).* use a local one, or another ledger"):
        SqliteLedger(path)


async def test_relative_path_counts_from_where_the_ledger_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is resolved at once; nothing is made before the first call, and nothing is expanded."""
    monkeypatch.chdir(tmp_path)
    ledger = SqliteLedger("~$HOME.db")
    monkeypatch.chdir("/")
    assert list(tmp_path.iterdir()) == []
    assert isinstance(await claim(ledger, 1, "x"), Won)
    await ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == ["~$HOME.db"]


def test_ledger_says_where_it_is(path: Path) -> None:
    """Its `repr` shows kind, place and namespace, and it is shared."""
    ledger = SqliteLedger(path, namespace="web")
    assert repr(ledger) == f"sqlite at {path.resolve()}, namespace web"
    assert ledger.is_shared


async def test_files_are_for_their_owner_alone(path: Path) -> None:
    """The file and those that SQLite puts beside it are readable by their owner only, whatever the umask."""
    ledger, mask = SqliteLedger(path), os.umask(0)
    try:
        await claim(ledger, 1, "x")
    finally:
        os.umask(mask)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["loopcron.db", "loopcron.db-wal", "loopcron.db-shm"], 0o600)
    await ledger.close()


async def test_rows_outlive_the_ledger(path: Path) -> None:
    """What was won stays won when the ledger is closed and the next one opens the file; the log is durable."""
    first = SqliteLedger(path)
    assert isinstance(await claim(first, 5, "x"), Won)
    connection = first._file._connection
    assert connection is not None
    assert connection.execute("pragma journal_mode").fetchall() == [("wal",)]
    assert connection.execute("pragma synchronous").fetchall() == [(2,)]
    await first.close()
    assert first._file._connection is None
    second = SqliteLedger(path)
    assert isinstance(await claim(second, 5, "y"), Lost)
    assert isinstance(await claim(first, 6, "z"), Won)
    for ledger in (first, second):
        await ledger.close()
        await ledger.close()


async def test_namespaces_share_a_file_and_no_row(path: Path) -> None:
    """A slot that is won in one namespace can be won in another of the same file."""
    ledgers = [SqliteLedger(path, namespace=name) for name in ("one", "two")]
    assert [type(await claim(ledger, 5, "x")) for ledger in ledgers] == [Won, Won]
    for ledger in ledgers:
        await ledger.close()


async def test_now_is_the_machines(path: Path) -> None:
    """The store's now is this machine's, to the millisecond."""
    ledger = SqliteLedger(path)
    before = to_ms(SystemClock().now())
    (row,) = await ledger.register([Register("a", 0, None)])
    assert before <= row.watermark <= to_ms(SystemClock().now()) + 1  # rounded, not cut
    await ledger.close()


async def test_existing_empty_file_is_taken(path: Path) -> None:
    """A file that was made beforehand becomes the ledger, and keeps the mode it was given."""
    path.touch(0o640)
    path.chmod(0o640)
    ledger = SqliteLedger(path)
    assert isinstance(await claim(ledger, 1, "x"), Won)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    await ledger.close()


OURS = f"pragma application_id = {_sqlite_file.APPLICATION_ID}"


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (["create table theirs (a)"], "is a database of something else; give the ledger a file of its own"),
        (["pragma application_id = 77"], "is a database of something else"),
        (["pragma user_version = 1"], "is a database of something else"),
        ([OURS, "pragma user_version = 2"], "was made by a newer loopcron: its table has version 2, not 1"),
    ],
    ids=["table", "application", "version", "newer"],
)
async def test_foreign_file_is_refused_and_left_alone(path: Path, statements: list[str], error: str) -> None:
    """A database of something else, or of a newer version, is refused in every call, and not a byte of it changes."""
    change(path, *statements)
    content = path.read_bytes()
    ledger = SqliteLedger(path)
    for _ in range(2):
        with pytest.raises(LedgerError, match=f"^{path.resolve()} {error}"):
            await claim(ledger, 1, "x")
    await ledger.close()
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["loopcron.db"]


async def test_garbage_is_refused_until_it_is_gone(path: Path) -> None:
    """A file that is no database is refused in every call, and once it is out of the way the same ledger works."""
    path.write_bytes(b"garbage " * 1000)
    ledger = SqliteLedger(path)
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"is no SQLite database$"):
            await claim(ledger, 1, "x")
    path.unlink()
    assert isinstance(await claim(ledger, 1, "x"), Won)
    await ledger.close()


async def test_table_that_is_gone_is_told(path: Path) -> None:
    """What SQLite says beyond the known reasons is shown."""
    ledger = SqliteLedger(path)
    await claim(ledger, 1, "x")
    change(path, "drop table loopcron_slot")
    with pytest.raises(LedgerError, match=r"could not be used: no such table: loopcron_slot$"):
        await claim(ledger, 2, "x")
    await ledger.close()


async def test_full_disk_is_told_and_undoes_the_batch(path: Path) -> None:
    """Where the file cannot grow the whole batch is an error and leaves nothing; with room again the next one works."""
    ledger = SqliteLedger(path)
    await claim(ledger, 1, "x")
    connection = ledger._file._connection
    assert connection is not None
    connection.execute("pragma max_page_count = 8").fetchall()
    batch = [Register(f"job{number}", 0, 1, schedule="s" * 1000) for number in range(100)]
    with pytest.raises(LedgerError, match=r"cannot grow: the disk is full$"):
        await ledger.register(batch)
    assert await ledger.peek([job.job for job in batch]) == [None] * 100
    assert len(await ledger.register(batch)) == 100
    await ledger.close()


async def test_removed_file_is_made_anew(path: Path) -> None:
    """A file that was removed while it was open is made anew, so that all who call see the same rows; fences rise."""
    ledger, other = SqliteLedger(path), SqliteLedger(path)
    first = await claim(ledger, 1, "x")
    for file in path.parent.iterdir():
        file.unlink()
    again = await claim(ledger, 1, "x")
    assert isinstance(first, Won)
    assert isinstance(again, Won)
    assert again.fence > first.fence
    assert isinstance(await claim(other, 1, "y"), Lost)
    for each in (ledger, other):
        await each.close()


async def test_removed_directory_is_told_until_it_is_back(tmp_path: Path) -> None:
    """Where the directory is gone every call is an error, and the first one after its return works."""
    directory = tmp_path / "state"
    directory.mkdir()
    ledger = SqliteLedger(directory / "loopcron.db")
    directory.rmdir()
    with pytest.raises(LedgerError, match=r"cannot be made: No such file or directory$"):
        await claim(ledger, 1, "x")
    directory.mkdir()
    assert isinstance(await claim(ledger, 1, "x"), Won)
    await ledger.close()


async def test_fault_of_ours_is_no_ledger_error(path: Path) -> None:
    """What is no error of SQLite comes through as it is, changes nothing, and the next call works."""
    ledger = SqliteLedger(path)
    with pytest.raises(OverflowError):
        await ledger.claim([Claim("a", 1, "x"), Claim("b", 1 << 80, "x")])
    assert await ledger.peek(["a"]) == [None]
    await ledger.close()


async def test_loop_turns_while_a_call_waits(path: Path) -> None:
    """While another process holds the lock the event loop is not blocked; once it is given back the call goes on."""
    ledger = SqliteLedger(path, timeout=LONG)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await claim(ledger, 1, "x"))

    async with anyio.create_task_group() as group:
        with locked(path):
            group.start_soon(ask)
            await until(lambda: is_at_work(ledger))
            for _ in range(20):
                await anyio.sleep(0.001)
            assert is_at_work(ledger)
    assert [type(answer) for answer in answers] == [Won]
    await ledger.close()


async def test_lock_that_is_held_too_long_is_an_error_in_time(path: Path) -> None:
    """While another process keeps the lock a call ends within its limit and has done nothing; then the next works."""
    ledger = SqliteLedger(path, timeout=timedelta(seconds=0.2))
    with locked(path), anyio.fail_after(30), pytest.raises(LedgerError, match=r"stayed locked by|gave no answer"):
        await claim(ledger, 1, "x")
    await ledger.close()
    patient = SqliteLedger(path, timeout=LONG)
    assert await patient.peek(["a"]) == [None]
    assert isinstance(await claim(patient, 1, "y"), Won)
    await patient.close()


async def leave_while_it_waits(ledger: SqliteLedger, path: Path) -> None:
    """Claim slot 1, give up while the claim waits for the lock of another process, and give the lock back."""
    with locked(path):
        async with anyio.create_task_group() as group:
            group.start_soon(claim, ledger, 1, "mine")
            await until(lambda: is_at_work(ledger))
            group.cancel_scope.cancel()
    await until(lambda: not is_at_work(ledger))


async def test_claim_whose_caller_left_while_it_waited_is_not_made(path: Path) -> None:
    """A claim that gets the lock after its caller has gone changes nothing."""
    ledger = SqliteLedger(path, timeout=LONG)
    await claim(ledger, 0, "before")
    await leave_while_it_waits(ledger, path)
    (row,) = await ledger.peek(["a"])
    assert row is not None
    assert (row.watermark, row.claim_id) == (0, "before")
    await ledger.close()


async def test_claim_that_is_committed_late_is_settled_by_its_id(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that was committed although its caller had gone is won by asking again, and lost for all others."""
    ledger = SqliteLedger(path, timeout=LONG)
    await claim(ledger, 0, "before")
    monkeypatch.setattr(_sqlite_file, "_check_wanted", lambda wanted: None)  # as if it had left just after
    await leave_while_it_waits(ledger, path)
    assert isinstance(await claim(ledger, 1, "other"), Lost)
    assert isinstance(await claim(ledger, 1, "mine"), Won)
    await ledger.close()


async def test_caller_who_leaves_before_the_commit_changes_nothing(path: Path) -> None:
    """Whether somebody waits is asked again just before the commit."""
    file = _sqlite_file.SqliteFile(str(path), 1)
    answers = iter([True, False])
    with pytest.raises(LedgerError, match="nobody waits"):
        file.transact("begin immediate", lambda connection: connection.execute("create table a (b)"), answers.__next__)
    file.close()
    ledger = SqliteLedger(path)  # refuses a file that holds another table
    assert await ledger.peek(["a"]) == [None]
    await ledger.close()


async def test_reader_delays_the_change_of_mode_only(path: Path) -> None:
    """A file in another journal mode is changed back as soon as its readers let go, and until then is locked."""
    change(path, _sqlite_file._TABLE, OURS, "pragma user_version = 1")
    hurried, patient = SqliteLedger(path, timeout=timedelta(seconds=0.2)), SqliteLedger(path, timeout=LONG)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await claim(patient, 1, "x"))

    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select * from loopcron_slot").fetchall()
        with pytest.raises(LedgerError, match=r"stayed locked by another|gave no answer"):
            await claim(hurried, 1, "x")
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await until(lambda: is_at_work(patient))
            reader.execute("commit")
    assert [type(answer) for answer in answers] == [Won]
    for each in (hurried, patient):
        await each.close()


def test_change_of_mode_is_tried_until_the_readers_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite does not wait for a lock by itself the change of mode is tried again, and not for ever."""
    change(path, _sqlite_file._TABLE)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        reader.execute("begin")
        reader.execute("select * from loopcron_slot").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            _sqlite_file._use_log(connection, str(path), 0.02)
        monkeypatch.setattr("time.sleep", lambda seconds: reader.execute("commit"))
        _sqlite_file._use_log(connection, str(path), 0.02)
        assert connection.execute("pragma journal_mode").fetchall() == [("wal",)]
        assert connection.execute("pragma busy_timeout").fetchall() == [(20,)]


async def test_file_system_without_shared_memory_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite cannot keep its log the ledger says so, and does not go on with less."""
    connect = sqlite3.connect

    def connect_without(database: str, **options: Any) -> sqlite3.Connection:
        without: sqlite3.Connection = connect(f"file:{database}?vfs=unix-dotfile", uri=True, **options)
        return without

    monkeypatch.setattr(sqlite3, "connect", connect_without)
    ledger = SqliteLedger(path)
    with pytest.raises(LedgerError, match=r"cannot share memory between processes$"):
        await claim(ledger, 1, "x")
    await ledger.close()


async def test_no_file_stays_open(path: Path) -> None:
    """After closing, and after a call that failed, no descriptor of the file is left open."""
    opened = Path("/proc/self/fd") if sys.platform == "linux" else Path("/dev/fd")
    ledger = SqliteLedger(path)
    await claim(ledger, 1, "x")
    change(path, "drop table loopcron_slot")
    with pytest.raises(LedgerError):
        await claim(ledger, 2, "x")
    await ledger.close()
    targets = [str(link.readlink()) for link in opened.iterdir() if link.is_symlink()]
    assert [target for target in targets if target.startswith(str(path))] == []


def test_several_loops_in_a_row(path: Path) -> None:
    """One ledger serves one event loop after the other, closed in between or not."""
    ledger = SqliteLedger(path)
    for slot, backend in enumerate(["asyncio", "trio", "asyncio"]):
        assert isinstance(anyio.run(claim, ledger, slot, f"x{slot}", backend=backend), Won)
        if slot:
            anyio.run(ledger.close, backend=backend)
