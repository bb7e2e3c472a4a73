"""The demo is what people see first: it shows runs, ends with a summary, and says plainly why it cannot begin."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from loopcron import Busy, Failed, Scheduler, Settled, Skipped, Succeeded
from loopcron.testing import FakeClock, RecordingObserver

DEMO = Path(__file__).resolve().parents[2] / "docs" / "examples" / "demo.py"
SERVERS = pytest.mark.parametrize("server", ["starlette", "aiohttp"])
SLOT = 1_900_000_000_000
TOKEN_LIKE = re.compile(r"[A-Za-z0-9_-]{43}")
SLOW_OBSERVER = re.compile(r"^observer \w+ kept: took \d+\.\d+ s\n", re.MULTILINE)
"""What stands on stderr when the machine let the demo's own log wait: its load, and no fault of the demo."""


def free_port() -> str:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def begin(server: str = "starlette", **env: str) -> subprocess.Popen[str]:
    """Start the demo."""
    command = [sys.executable, str(DEMO), "--server", server]
    pipe = subprocess.PIPE
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DISPATCH_", "DEMO_"))}
    return subprocess.Popen(
        command, env={**inherited, "PORT": free_port(), **env}, stdout=pipe, stderr=pipe, text=True, stdin=pipe
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit status and what was written, once the demo has ended; not that the machine was busy."""
    try:
        out, err = process.communicate(timeout=50)
    finally:
        process.kill()
    return process.returncode, out, SLOW_OBSERVER.sub("", err)


SIGNALLED = [("starlette", signal.SIGINT), ("aiohttp", signal.SIGINT), ("starlette", signal.SIGTERM)]
Demos = dict[tuple[str, signal.Signals | None], subprocess.Popen[str]]


@pytest.fixture(scope="module")
def demos() -> Iterator[Demos]:
    """Return a demo for each end, by itself or on a signal; all begun at once, because each takes its seconds."""
    with ExitStack() as stack:

        def begun(server: str, **settings: str) -> subprocess.Popen[str]:
            process = stack.enter_context(begin(server, **settings))
            stack.callback(process.kill)  # one that no test has ended would be waited for in vain
            return process

        started: Demos = {(server, None): begun(server, DEMO_SECONDS="2.7") for server in ("starlette", "aiohttp")}
        for server, number in SIGNALLED:
            started[server, number] = begun(server, DISPATCH_SYNC_INTERVAL_MS="1000")
        yield started


@SERVERS
def test_demo_ends_by_itself(demos: Demos, server: str) -> None:
    """The demo shows its runs in aligned columns, without colours and its token, and ends with a summary and 0."""
    status, out, err = finish(demos[server, None])
    assert (status, err) == (0, "")
    page, head, *lines = out.splitlines()[1:]
    assert re.fullmatch(r"Its status page: http://127\.0\.0\.1:\d+/loopcron/", page)
    runs, summary = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert runs
    assert all(line[head.index(column) - 1] == " " for line in runs for column in ("job", "slot", "outcome"))
    assert re.search(
        r"^\S+  stale-work +\d\d:\d\d:\d\d\.\d{3}  succeeded +200 +\d\.\d{3} s$", "\n".join(runs), re.MULTILINE
    )
    assert re.search(r"^sync +\d", "\n".join(summary), re.MULTILINE)
    assert len(summary) == 1 + 10  # the head, eight jobs, the health check and one that is flaky
    assert "\033" not in out
    assert TOKEN_LIKE.search(out) is None


@pytest.mark.parametrize(
    ("server", "number"),
    SIGNALLED,
    ids=["starlette-SIGINT", "aiohttp-SIGINT", "starlette-SIGTERM"],
)
def test_demo_ends_on_a_signal(demos: Demos, server: str, number: signal.Signals) -> None:
    """The demo shows successes and now and then a 409; Ctrl-C ends it with the summary, and with 0."""
    process = demos[server, number]
    assert process.stdout is not None
    wanted = {"succeeded", "busy"}
    for line in process.stdout:
        if "  sync  " in line:
            wanted -= {word for word in wanted if word in line}
        if not wanted:
            break
    process.send_signal(number)
    status, out, err = finish(process)
    assert (status, err) == (0, "")
    assert "mean duration" in out


def test_demo_without_a_success() -> None:
    """A demo in which nothing has succeeded ends with 1."""
    status, out, _ = finish(begin(DEMO_SECONDS="0.01", DISPATCH_SCHEDULER_STARTUP_DELAY_MS="60000"))
    assert status == 1
    assert "mean duration" in out


@SERVERS
def test_busy_port(server: str, listener: socket.socket) -> None:
    """A port that is taken is said in one line, with the way out, and the exit status is 2."""
    port = listener.getsockname()[1]
    status, out, err = finish(begin(server, PORT=str(port)))
    assert (status, out) == (2, "")
    assert err == f"demo: cannot listen on port {port}: Address already in use; choose another one: PORT=3001 ...\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEMO_SECONDS", "soon"), ("DEMO_SECONDS", "-1"), ("DEMO_SECONDS", "nan"), ("DISPATCH_SCHEDULER_JOBS", "fly")],
)
def test_demo_refuses(demo: ModuleType, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that makes no sense is refused, by its name."""
    monkeypatch.setattr(os, "environ", {name: value})  # a copy: the demo sets what Dispatch would have
    ask = demo.seconds_to_run if name == "DEMO_SECONDS" else demo.configure
    with pytest.raises(demo.CannotBeginError, match=name):
        ask()


@pytest.mark.parametrize(
    ("no_color", "coloured"), [(None, True), ("", True), ("1", False)], ids=["unset", "empty", "set"]
)
def test_colours(
    demo: ModuleType,
    no_color: str | None,
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal outcomes have colours, unless NO_COLOR is set and not empty."""
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    board = demo.Board()
    for outcome in (Succeeded(200), Busy(409), Failed("transport", "refused"), Skipped("overlap")):
        board.on_event(Settled("sync", SLOT, outcome, "schedule", 1, SLOT, SLOT + 2, 0))
    lines = capsys.readouterr().out.splitlines()
    colours = ["\033[32m", "\033[33m", "\033[31m", "\033[33m"]
    assert [line.startswith(colour) for line, colour in zip(lines, colours, strict=True)] == [coloured] * 4
    assert board.end()
    out = capsys.readouterr().out
    assert re.search(r"sync +4 +1 +1 +1 +1 +0\.002 s", out)


async def test_flaky_job_fails_two_times_of_three(demo: ModuleType) -> None:
    """One job of the demo fails two times of three."""
    clock, seen = FakeClock(), RecordingObserver()
    scheduler = Scheduler(clock=clock, observers=[seen])
    demo.add_trouble(scheduler, demo.Stuck())
    scheduler.remove("stuck")
    async with scheduler:
        await clock.advance(timedelta(seconds=12))
    kinds = [type(settled.outcome) for settled in seen.settled("flaky")]
    assert len(kinds) == 6
    assert kinds.count(Failed) == 4


async def test_stuck_job_swallows_its_cancellation(demo: ModuleType) -> None:
    """Another job of the demo goes on however often it is cancelled, until the demo ends."""
    stuck = demo.Stuck()
    task = asyncio.create_task(stuck(None))
    for _ in range(3):
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
    stuck.released.set()
    await task
