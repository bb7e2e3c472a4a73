"""The command simulate: a picture and a line per job."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loopcron._cli import main
from loopcron._clock import SystemClock

JOBS = """
from datetime import datetime, timedelta, UTC
from loopcron import FunctionJob, HttpJob, Scheduler, at, every

class Odd:
    def next_after(self, instant):
        second = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=1)
        return second if instant < second else instant.replace(microsecond=0) + timedelta(seconds=1)
    def latest_until(self, instant):
        return instant.replace(microsecond=0)

scheduler = Scheduler()
scheduler.add(HttpJob("sync", every(hours=6), "/api/sync"))
scheduler.add(FunctionJob("report", every(days=1), print))

late = Scheduler(startup_delay=timedelta(hours=5))
late.add(HttpJob("hourly", every(hours=1), "/api/sync"))
late.add(FunctionJob("odd", Odd(), print, catch_up="skip"))
late.add(FunctionJob("halted", every(hours=1), print))
late.pause("halted")

class Gone:
    def next_after(self, instant):
        raise OSError("gone")
    latest_until = next_after

broken = Scheduler()
broken.add(FunctionJob("lame", Gone(), print))
broken.add(FunctionJob("sound", every(hours=6), print))
"""


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module with schedulers where it can be imported."""
    (tmp_path / "simulated_app.py").write_text(JOBS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "70")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the lines that the command prints."""
    assert main(["simulate", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_picture_and_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the timeline as wide as the terminal is, and counts what became of each job."""
    lines = shown(capsys, "simulated_app:scheduler", "--days", "2", "--start", "2026-03-01T00:00:00Z")
    assert lines == [
        "2026-03-01 00:00 to 2026-03-03 00:00 UTC; one column is 0:48:49",
        "           |03-01        |12:00         |03-02         |12:00",
        "sync       .......o......o.......o......o......o.......o......o......o",
        "report     .............................o............................o",
        "o succeeded",
        "",
        "job     runs  failed  skipped  missed  longest silence",
        "sync       8       0        0       0          6:00:00",
        "report     2       0        0       0   1 day, 0:00:00",
    ]


def test_slots_without_a_run_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Missed and skipped slots are counted, and where they cannot be the number has a plus."""
    lines = shown(capsys, "simulated_app:late", "--days", "1", "--start", "2026-03-01T00:30:00Z")
    rows = {line.split()[0]: line.split()[1:5] for line in lines[lines.index("") + 1 :]}
    assert rows["hourly"] == ["20", "0", "0", "4"]
    assert rows["odd"][2:] == ["0", "0+"]
    assert rows["halted"] == ["0", "0", "24", "0"]


def test_parked_job_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A job whose schedule fails has a mark, and a line after the table that says why."""
    lines = shown(capsys, "simulated_app:broken", "--days", "1", "--start", "2026-03-01T00:30:00Z")
    assert lines[2].split()[1].startswith("P")
    assert "P parked" in lines[4]
    assert lines[-1] == "lame was parked: OSError: gone"


def test_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without options it shows seven days from now on, and in a narrow terminal at least 60 columns."""
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime(2026, 5, 1, tzinfo=UTC))
    monkeypatch.setenv("COLUMNS", "10")
    lines = shown(capsys, "simulated_app:scheduler")
    assert lines[0].startswith("2026-05-01 00:00 to 2026-05-08 00:00 UTC")
    assert len(lines[2]) == 60


def test_svg(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With --svg it writes the picture into a file besides."""
    shown(capsys, "simulated_app:scheduler", "--svg", "week.svg")
    assert ET.parse(tmp_path / "week.svg").getroot().get("role") == "img"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["simulated_app:nothing"], "module 'simulated_app' has no 'nothing'"),
        (["simulated_app:scheduler", "--days", "0"], "'0' is no whole number from 1 to 3,653"),
        (["simulated_app:scheduler", "--start", "1950-01-01T00:00:00Z"], "years 1970 to 2199"),
        (["simulated_app:scheduler", "--start", "now"], "--start: 'now' is no instant"),
        (
            ["simulated_app:scheduler", "--svg", "no/such/folder.svg"],
            "--svg: cannot write 'no/such/folder.svg': No such",
        ),
    ],
)
def test_error_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be carried out is one line on stderr and the exit status 2."""
    assert main(["simulate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("loopcron: ")
    assert err.count("\n") == 1
    assert says in err
