"""The SQLite ledger between processes: each slot once, forks that spoil no lock, and files that may not be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

PROCESSES, SLOTS = 8, 300
MAY_FORK = ("-W", "ignore::DeprecationWarning")  # from Python 3.12 on a fork beside a thread is warned of

PREAMBLE = """
import os, sys
from pathlib import Path
import anyio, sqlite3
from anyio._backends import _asyncio  # now: who gives up his rights may find no module any more
from loopcron._errors import LedgerError
from loopcron._ledger import Claim, Won
from loopcron.ledgers import SqliteLedger

path = Path(sys.argv[1])

def claim(ledger, slot, worker):
    async def ask():
        return (await ledger.claim([Claim("a", slot, f"{worker}{slot}")]))[0]
    return anyio.run(ask)
"""

CONTENDER = """
async def contend():
    ledger = SqliteLedger(path, timeout=__import__("datetime").timedelta(seconds=40))
    print("ready", flush=True)
    sys.stdin.readline()
    for slot in range(1, int(sys.argv[2]) + 1):
        (answer,) = await ledger.claim([Claim("a", slot, f"{os.getpid()}-{slot}")])
        if isinstance(answer, Won):
            print(slot, answer.fence)
    await ledger.close()

anyio.run(contend)
"""


def start(script: str, *arguments: object, is_measured: bool = True) -> subprocess.Popen[str]:
    """Start a process that runs *script*, in which coverage may be measured."""
    environment = {name: value for name, value in os.environ.items() if is_measured or not name.startswith("COVERAGE")}
    return subprocess.Popen(
        [sys.executable, *MAY_FORK, "-c", PREAMBLE + script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def output_of(process: subprocess.Popen[str]) -> str:
    """Return what the process prints, once it has ended without complaint."""
    try:
        output, errors = process.communicate("go\n", timeout=50)
    finally:
        process.kill()
    assert (errors, process.returncode) == ("", 0)
    return output


def test_each_slot_is_won_once_by_one_of_many_processes(tmp_path: Path) -> None:
    """Of 8 processes that open a new file and claim 300 slots together one wins each, fences rise, and none fails."""
    processes = [start(CONTENDER, tmp_path / "loopcron.db", SLOTS) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # together: each waits for its own line only
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [line.split() for process in processes for line in output_of(process).splitlines()]
    wins = sorted((int(slot), int(fence)) for slot, fence in lines)
    assert Counter(slot for slot, _ in wins) == Counter(range(1, SLOTS + 1))
    fences = [fence for _, fence in wins]
    assert fences == sorted(set(fences))


FORK = """
ledger = SqliteLedger(path)
assert isinstance(claim(ledger, 1, "parent"), Won)
to_child, to_parent = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert isinstance(claim(ledger, 2, "child"), Won)
    os.write(to_parent[1], b".")
    os.read(to_child[0], 1)
    assert isinstance(claim(ledger, 3, "child"), Won)
    os._exit(0)  # without closing, as one that is killed
os.read(to_parent[0], 1)
assert not isinstance(claim(ledger, 2, "parent"), Won)
anyio.run(ledger.close)  # would be the last to close, and end the log, were the child's locks not its own
os.write(to_child[1], b".")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not isinstance(claim(ledger, 3, "parent"), Won)
assert isinstance(claim(ledger, 4, "parent"), Won)
anyio.run(ledger.close)
print("served")
"""


def test_forked_child_shares_no_connection(tmp_path: Path) -> None:
    """A child that was forked off while the file was open holds locks of its own, so that no win of it is lost."""
    assert output_of(start(FORK, tmp_path / "loopcron.db")) == "served\n"


ONCE = """
ledger = SqliteLedger(path)
claim(ledger, 1, "x")
anyio.run(ledger.close)  # so that no file is left beside it
"""

READ_ONLY = """
opened, closed = SqliteLedger(path / "opened" / "loopcron.db"), SqliteLedger(path / "closed" / "loopcron.db")
new = SqliteLedger(path / "closed" / "new.db")
if os.getuid() == 0:  # who may write anything
    os.setuid(65534)
for ledger in (opened, closed, new):
    for _ in range(2):
        try:
            claim(ledger, 2, "x")
        except LedgerError as error:
            print(error)
    anyio.run(ledger.close)
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """Give a directory that every user may enter, which pytest's own is not."""
    with TemporaryDirectory() as directory:
        path = Path(directory).resolve()
        path.chmod(0o755)
        yield path
        (path / "closed").chmod(0o755)


def test_file_that_may_not_be_written_is_told(root: Path) -> None:
    """A read-only file, and one in a read-only directory, there or not, is an error of each call."""
    for name in ("opened", "closed"):
        (root / name).mkdir()
        assert output_of(start(ONCE, root / name / "loopcron.db")) == ""
        (root / name / "loopcron.db").chmod(0o444)
    (root / "opened").chmod(0o777)
    (root / "closed").chmod(0o555)
    # Nor may it write what coverage measured.
    lines = output_of(start(READ_ONLY, root, is_measured=False)).splitlines()
    cannot = "cannot be written, or its directory cannot"
    assert lines[:4] == [f"{root}/opened/loopcron.db {cannot}"] * 2 + [f"{root}/closed/loopcron.db {cannot}"] * 2
    assert lines[4:] == [f"{root}/closed/new.db cannot be made: Permission denied"] * 2
