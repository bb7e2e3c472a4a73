"""The command next: when a cron line runs, and what changes of the clocks do to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from loopcron._cli import main
from loopcron._clock import SystemClock

BERLIN = ("--tz", "Europe/Berlin")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the lines that the command prints."""
    assert main(["next", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def notes(capsys: pytest.CaptureFixture[str], line: str, zone: str, after: str, count: int) -> list[list[str]]:
    """Return the notes beside each slot."""
    arguments = (line, "--tz", zone, "--after", after, "-n", str(count), "--json")
    return [found["notes"] for found in json.loads("\n".join(shown(capsys, *arguments)))]


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The table says the rule in words, then each slot in local time and UTC, its gap, and what is odd about it."""
    lines = shown(capsys, "30 2 * * *", *BERLIN, "--after", "2026-03-28T00:00:00Z", "-n", "3")
    moved = "23 hours 30 minutes  the clocks skip 02:00 to 03:00; stands for 02:30"
    assert lines == [
        "at 02:30 every day, Europe/Berlin",
        "#  local time                        UTC                gap",
        "1  Sat 2026-03-28 02:30 +01:00 CET   2026-03-28 01:30Z",
        f"2  Sun 2026-03-29 03:00 +02:00 CEST  2026-03-29 01:00Z  {moved}",
        "3  Mon 2026-03-30 02:30 +02:00 CEST  2026-03-30 00:30Z  23 hours 30 minutes",
    ]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON it is a list of objects."""
    text = "\n".join(shown(capsys, "@daily", *BERLIN, "--after", "2026-03-28T12:00:00+01:00", "-n", "2", "--json"))
    assert json.loads(text) == [
        {
            "number": 1,
            "local": "2026-03-29T00:00:00+01:00",
            "abbreviation": "CET",
            "utc": "2026-03-28T23:00:00Z",
            "gap_seconds": None,
            "notes": [],
        },
        {
            "number": 2,
            "local": "2026-03-30T00:00:00+02:00",
            "abbreviation": "CEST",
            "utc": "2026-03-29T22:00:00Z",
            "gap_seconds": 82800.0,
            "notes": ["the clocks skip 02:00 to 03:00"],
        },
    ]


@pytest.mark.parametrize(
    ("line", "zone", "after", "expected"),
    [
        (
            "15,45 2 * * *",
            BERLIN[1],
            "2026-03-28T12:00Z",
            [["the clocks skip 02:00 to 03:00", "stands for 02:15 to 02:45"]],
        ),
        ("0 3 * * *", BERLIN[1], "2026-03-28T12:00Z", [["the clocks skip 02:00 to 03:00"]]),
        (
            "*/30 * * * *",
            BERLIN[1],
            "2026-03-29T00:10Z",
            [[], ["the clocks skip 02:00 to 03:00", "nothing for 02:00 to 02:30"], []],
        ),
        ("10 * * * *", BERLIN[1], "2026-03-29T00:10Z", [["the clocks skip 02:00 to 03:00", "nothing for 02:10"]]),
        ("30 2 * * *", BERLIN[1], "2026-10-25T00:00Z", [["comes twice, and runs the first time only"]]),
        ("0 9 * * *", BERLIN[1], "2026-10-24T12:00Z", [["the clocks go back from 03:00 to 02:00"], []]),
        (
            "30 * * * *",
            BERLIN[1],
            "2026-10-25T00:00Z",
            [
                ["comes twice, and this is the first time"],
                ["the clocks go back from 03:00 to 02:00", "comes twice, and this is the second time"],
                [],
            ],
        ),
        (
            "5 0 * * *",
            "Pacific/Apia",
            "2011-12-29T12:00Z",
            [["the clocks skip 12-30 00:00 to 12-31 00:00", "nothing for 00:05"]],
        ),
        ("0 12 1 * *", BERLIN[1], "2026-03-02T00:00Z", [["the clocks skip 02:00 to 03:00"], []]),
        ("0 12 1 6 *", BERLIN[1], "2026-03-02T00:00Z", [[], []]),
        ("*/15 * * * *", "UTC", "2026-03-29T00:10Z", [[], [], []]),
        ("@daily", "Asia/Kolkata", "2026-03-29T00:10Z", [[]] * 400),
    ],
)
def test_notes(capsys: pytest.CaptureFixture[str], line: str, zone: str, after: str, expected: list[list[str]]) -> None:
    """Beside a slot stands what a change of the clocks shortly before or around it means for it."""
    assert notes(capsys, line, zone, after, len(expected)) == expected


def test_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without options it shows the next five from now on, in UTC."""
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime(2026, 5, 1, 12, 7, tzinfo=UTC))
    lines = shown(capsys, "*/5 * * * *")
    assert len(lines) == 7
    assert lines[2].startswith("1  Fri 2026-05-01 12:10 +00:00 UTC  2026-05-01 12:10Z")


def test_end_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are no more slots it says so."""
    lines = shown(capsys, "0 0 1 1 *", "--after", "9990-01-01T00:00:00Z", "-n", "50")
    assert lines[-1] == "no further slot in the years that are known"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["61 * * * *"], "minute='61'"),
        (["* * * * * *"], "seconds belong in every()"),
        (["0 2 * * *", "--tz", "Mars/Base"], "tz='Mars/Base'"),
        (["0 2 * * *", "--after", "tomorrow"], "--after: 'tomorrow' is no instant"),
        (["0 2 * * *", "--after", "2026-03-28T00:00"], "--after: '2026-03-28T00:00' has no timezone"),
        (["0 2 * * *", "--after", "2026-03-28"], "write an offset or Z, such as 2026-03-28T00:00:00Z\n"),
        (["0 2 * * *", "-n", "0"], "'0' is no whole number from 1 to 1,000"),
        (["0 2 * * *", "-n", "many"], "'many' is no whole number"),
        ([], "the following arguments are required: LINE"),
    ],
)
def test_error_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be shown is one line on stderr and the exit status 2."""
    assert main(["next", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("loopcron: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize("count", ["1", "1000"])
def test_reader_that_has_seen_enough(count: str) -> None:
    """When nobody reads the output any more, as after ``| head -1``, the command ends without a word, with 0."""
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "loopcron", "next", "* * * * *", "-n", count]
        done = subprocess.run(command, check=False, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
