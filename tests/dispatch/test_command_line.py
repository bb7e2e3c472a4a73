"""The command line: Dispatch's jobs beside any server, and a scheduler without a web app."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from loopcron._cli import main

if TYPE_CHECKING:
    from tests.dispatch.conftest import RecordingApp

    Until = Callable[[Callable[[], object]], None]

COMMAND = [sys.executable, "-m", "loopcron"]

OWN_SCHEDULER = """
from datetime import timedelta
from pathlib import Path
from loopcron import Scheduler, every

scheduler = Scheduler(drain=timedelta(minutes=5))
off = Scheduler(enabled=False)

@scheduler.job(every(seconds=1), timeout=None)
async def work(run):
    Path("begun").touch()
    while not Path("end").exists():
        await run.sleep(0.02)
    Path("ended").touch()
"""


def environment(env: dict[str, str], **more: str) -> dict[str, str]:
    """Return the environment of a process of its own."""
    return {**os.environ, **env, **more}


@contextmanager
def started(arguments: list[str], env: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in *folder*, its stderr being written to a file there; it is ended in any case."""
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment(env), cwd=folder, stderr=stderr, stdin=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"DISPATCH_SCHEDULER_ENABLED": "TRUE"}, "DISPATCH_SCHEDULER_ENABLED is not 'true'"),
        ({"DISPATCH_AGENT_TOKEN": ""}, "DISPATCH_AGENT_TOKEN is unset or empty"),
        ({"DISPATCH_SYNC_INTERVAL_MS": "0"}, "DISPATCH_SCHEDULER_JOBS"),
    ],
    ids=["off", "no token", "all jobs off"],
)
def test_dispatch_with_nothing_to_do(env: dict[str, str], change: dict[str, str], says: str) -> None:
    """Off, without a token or without a job, the sidecar says why there is nothing to do, and exits with 0."""
    done = subprocess.run(
        [*COMMAND, "dispatch"], env=environment(env, **change), check=True, capture_output=True, text=True, timeout=60
    )
    assert says in done.stderr
    assert "nothing to do" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_dispatch(env: dict[str, str], app: RecordingApp, until: Until, tmp_path: Path, number: signal.Signals) -> None:
    """The sidecar runs the jobs against the app's port, logs their success, and ends with 0 on a signal."""
    env |= {"PORT": str(app.port), "DISPATCH_SYNC_INTERVAL_MS": "200", "DISPATCH_SCHEDULER_STARTUP_DELAY_MS": "0"}
    with started(["dispatch"], env, tmp_path) as process:
        until(lambda: app.paths.count("/api/sync/scheduled") >= 2)
        process.send_signal(number)
        assert process.wait(30) == 0
    logged = (tmp_path / "stderr").read_text()
    assert "INFO loopcron: scheduler started" in logged
    assert "dispatch-health" in logged
    assert "succeeded with HTTP 200" in logged
    assert logged.rstrip().endswith("INFO loopcron: scheduler stopped")
    assert env["DISPATCH_AGENT_TOKEN"] not in logged


def test_run_ends_gracefully(env: dict[str, str], until: Until, tmp_path: Path) -> None:
    """A scheduler of one's own runs without a web app, and a signal lets the run that is alive come to its end."""
    (tmp_path / "own.py").write_text(OWN_SCHEDULER)
    with started(["run", "own:scheduler"], env, tmp_path) as process:
        until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGTERM)
        until(lambda: "scheduler stopping" in (tmp_path / "stderr").read_text())
        (tmp_path / "end").touch()
        assert process.wait(30) == 0
    assert (tmp_path / "ended").exists()


def test_second_signal_cuts_the_drain(env: dict[str, str], until: Until, tmp_path: Path) -> None:
    """A second signal does not wait for the runs that the first one let go on."""
    (tmp_path / "own.py").write_text(OWN_SCHEDULER)
    with started(["run", "own:scheduler"], env, tmp_path) as process:
        until((tmp_path / "begun").exists)
        process.send_signal(signal.SIGINT)
        until(lambda: "scheduler stopping" in (tmp_path / "stderr").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not (tmp_path / "ended").exists()
    assert "interrupted by shutdown" in (tmp_path / "stderr").read_text()


def test_run_of_a_disabled_scheduler(env: dict[str, str], tmp_path: Path) -> None:
    """A scheduler that is disabled says so and ends at once, with 0."""
    (tmp_path / "own.py").write_text(OWN_SCHEDULER)
    with started(["run", "own:off"], env, tmp_path) as process:
        assert process.wait(30) == 0
    assert "scheduler disabled" in (tmp_path / "stderr").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "MODULE:SCHEDULER"),
        (["run", "module"], "'module' is no place of a scheduler"),
        (["run", "module:"], "'module:' is no place of a scheduler"),
        (["run", "no_such_module:scheduler"], "No module named 'no_such_module'"),
        (["run", "broken:scheduler"], "cannot import 'broken': ZeroDivisionError: division by zero"),
        (["run", "quitting:scheduler"], "cannot import 'quitting': SystemExit: 7"),
        (["run", "lazy:app.scheduler"], "cannot get 'app.scheduler' of module 'lazy': KeyError: 'token'"),
        (["run", "json:scheduler"], "module 'json' has no 'scheduler'"),
        (["run", "json:decoder.JSONDecoder"], "'json:decoder.JSONDecoder' is no Scheduler"),
        (["dispatch", "--fast"], "unrecognized arguments: --fast"),
        (["dispatch"], "DISPATCH_SCHEDULER_JOBS='fly': there is no such job"),
    ],
    ids=" ".join,
)
def test_error_is_one_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be carried out is one line on stderr and the exit status 2."""
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "quitting.py").write_text("import sys; sys.exit(7)")
    (tmp_path / "lazy.py").write_text("class App:\n    scheduler = property(lambda self: {}['token'])\napp = App()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DISPATCH_SCHEDULER_JOBS", "fly")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("loopcron: ")
    assert err.count("\n") == 1
    assert says in err


def test_error_of_the_process() -> None:
    """The exit status and the one line are those of the process too."""
    done = subprocess.run([*COMMAND, "run", "no_such:thing"], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists the commands."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "dispatch" in out
    assert "run" in out
