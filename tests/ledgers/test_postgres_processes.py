"""`PostgresLedger` in several processes: the first use of all at once, a fork, and nothing left open."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import require_or_skip
from tests.ledgers.postgres_server import PATIENCE, AnyServer, own_schema

PYTHON = (sys.executable, "-W", "error", "-m", "tests.ledgers.postgres_worker")


@pytest.fixture
def url(postgres: AnyServer) -> Iterator[str]:
    """Return the URL of a schema in which there is no table yet."""
    with own_schema(postgres) as url:
        yield url


def start(work: str, url: str) -> subprocess.Popen[str]:
    """Start a worker."""
    pipe = subprocess.PIPE
    environment = {**os.environ, "LEDGER_URL": url}
    return subprocess.Popen([*PYTHON, work], env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_first_use_by_eight_processes(url: str) -> None:
    """Eight processes that find no table make it once, and one of them wins the job's first slot; none fails."""
    workers = [start("race", url) for _ in range(8)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=PATIENCE) for worker in workers]
    assert [errors for _, errors in said] == [""] * 8
    assert sorted(answer for answer, _ in said) == ["Lost\n"] * 7 + ["Won\n"]


def test_fork(url: str) -> None:
    """A forked child has a connection of its own, and leaves its parent's alone, in the end too."""
    require_or_skip(hasattr(os, "fork"), "not applicable: this system forks no processes")
    said, errors = start("fork", url).communicate(timeout=PATIENCE)
    assert errors == ""
    assert sorted(said.splitlines()) == ["Won", "Won", "Won", "Won", "child ended with 0", "same connection True"]
