"""``python -m loopcron ledger reset``: people lower a row that a wrong clock has put ahead."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loopcron import Claim, MemoryLedger, Register, Scheduler, SqliteLedger, Won
from loopcron._cli import main

AHEAD = 4_102_444_800_000
"""The year 2100."""

memory = Scheduler()
given_memory = Scheduler(ledger=MemoryLedger())


class Broken:
    """A ledger of somebody's own, whose store is not there."""

    is_shared = True

    async def refuse(self, _: object, /) -> Any:
        raise OSError("no route to the store")

    register = claim = renew = finish = pause = peek = reset = refuse

    async def close(self) -> None:
        pass


broken = Scheduler(ledger=Broken())


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a ledger in which the job ``sync`` is ahead, and ``fine`` is not."""
    ledger = SqliteLedger(tmp_path / "ledger.db")

    async def fill() -> None:
        await ledger.register([Register("sync", 0, AHEAD), Register("fine", 0, 77)])
        await ledger.close()

    asyncio.run(fill())
    return f"sqlite:///{tmp_path}/ledger.db"


def test_reset_lowers_what_is_ahead(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that is ahead is lowered to now, another one stays, and a slot that has come can be won again."""
    assert main(["ledger", "reset", "sync", "fine", "--ledger", url]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("sync: slots after 20")
    assert not first.startswith("sync: slots after 2100")
    assert second == "fine: slots after 1970-01-01T00:00:00.077Z can be won"

    async def win() -> object:
        ledger = SqliteLedger(url.removeprefix("sqlite:///"))
        try:
            [row] = await ledger.peek(["sync"])
            assert row is not None
            return (await ledger.claim([Claim("sync", row.watermark + 1, "x", 1000)]))[0]
        finally:
            await ledger.close()

    assert isinstance(asyncio.run(win()), Won)


def test_url_may_stand_in_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL can come from LOOPCRON_LEDGER, where no list of processes shows its password."""
    monkeypatch.setenv("LOOPCRON_LEDGER", url)
    assert main(["ledger", "reset", "sync"]) == 0


def test_scheduler_names_its_ledger(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ledger can be that of an app's scheduler."""
    monkeypatch.setitem(globals(), "shared", Scheduler(ledger=url))
    assert main(["ledger", "reset", "sync", "--scheduler", f"{__name__}:shared"]) == 0
    assert "sync: slots after" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ledger"], "the following arguments are required: VERB"),
        (["ledger", "reset"], "the following arguments are required: JOB"),
        (["ledger", "reset", "a"], "which ledger? Give --scheduler or --ledger, or set LOOPCRON_LEDGER"),
        (["ledger", "reset", "a", "--ledger", "mysql://u:hunter2@x"], "ledger='mysql:...': must be a URL"),
        (["ledger", "reset", "a", "--ledger", "redis://:hunter2@x"], "namespace=None: is wanted with redis://"),
        (["ledger", "reset", "a", "--ledger", "sqlite:///x", "--scheduler", "m:s"], "and not both"),
        (["ledger", "reset", "a", "--scheduler", f"{__name__}:memory"], "keeps its rows in the memory"),
        (["ledger", "reset", "a", "--scheduler", f"{__name__}:given_memory"], "keeps its rows in the memory"),
        (["ledger", "reset", "a", "--scheduler", f"{__name__}:broken"], "OSError: no route to the store"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command line lacks, or the store refuses, is one line on stderr and the exit status 2."""
    monkeypatch.delenv("LOOPCRON_LEDGER", raising=False)
    assert main(arguments) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert line in told
    assert "hunter2" not in told


def test_unknown_job_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that has no row is named, after the others were reset."""
    assert main(["ledger", "reset", "sync", "nobody", "--ledger", url]) == 2
    told = capsys.readouterr()
    assert "sync: slots after" in told.out
    assert "no such job in sqlite" in told.err
    assert told.err.endswith(": nobody\n")


def test_store_that_cannot_be_opened_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no ledger is refused in one line, in the ledger's own words."""
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 1000)
    assert main(["ledger", "reset", "sync", "--ledger", f"sqlite:///{tmp_path}/garbage.db"]) == 2
    assert "the ledger could not be asked: " in capsys.readouterr().err
