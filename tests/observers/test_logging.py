"""What stands in the log: constant messages, plain data, one line each, whatever jobs and stores say."""

from __future__ import annotations

import ast
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from pythonjsonlogger.json import JsonFormatter

from loopcron import (
    ActionAsked,
    Event,
    Failed,
    Interrupted,
    LoggingObserver,
    MemoryLedger,
    Missed,
    Outcome,
    Run,
    Scheduler,
    SchedulerStarted,
    Settled,
    Skipped,
    Succeeded,
    TimedOut,
    every,
)
from loopcron import _observe as observe_module
from loopcron.testing import FakeClock
from tests.observers.every_event import KINDS, SLOT, LoudError, every_event

FORGED = "2031-01-01 WARNING all is well"
HOSTILE = f"a\r\n{FORGED}\x1b[2J\x00\x07\x7f\x85\u2028\u2029\u202e\u2066\ud800%s%(name)s{{}}" + "x" * 1000
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
LONGEST_LINE = 7_000
"""Of 20 names and some other texts, each of at most 300 characters."""


class Page(logging.Handler):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def page() -> Iterator[Page]:
    """Return all that the logger ``loopcron`` is told."""
    handler, logger = Page(), logging.getLogger("loopcron")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def tell(page: Page, events: Sequence[Event] | Iterator[Event]) -> list[logging.LogRecord]:
    """Return the records of these events, one each."""
    before, count, observer = len(page.records), 0, LoggingObserver()
    for event in events:
        observer.on_event(event)
        count += 1
    assert len(page.records) == before + count
    return page.records[before:]


def settled(outcome: Outcome, error: BaseException | None = None) -> Settled:
    """Return the event of a slot that took a quarter of a second."""
    return Settled("sync", SLOT, outcome, "schedule", 1, SLOT + 40, SLOT + 290, 1, exception=error)


def data(record: logging.LogRecord) -> dict[str, Any]:
    """Return what stands in the record besides what every record has."""
    return {key: value for key, value in vars(record).items() if key not in STANDARD}


def assert_on_one_line(text: str) -> None:
    """Say that nothing in *text* forges, hides or breaks a line, and that it ends."""
    assert text.isprintable(), text
    assert len(text) <= LONGEST_LINE


def test_messages_are_a_closed_set(page: Page) -> None:
    """Every event's message is a constant that stands in the source, and no data is ever part of it."""
    constants = {
        node.value
        for node in ast.walk(ast.parse(Path(observe_module.__file__).read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    some = [record.msg for record in tell(page, every_event("lorem", 1_000))]
    other = [record.msg for record in tell(page, every_event(HOSTILE, 2_000_000_000_000))]
    assert set(some) <= constants
    assert some == other
    assert len(some) > len(KINDS)


def test_every_record_is_plain_data(page: Page) -> None:
    """What stands in ``extra`` has a prefix, is as JSON knows it, and no text in it is hostile or long."""
    for event, record in zip(every_event(HOSTILE), tell(page, every_event(HOSTILE)), strict=True):
        extra = data(record)
        assert extra["loopcron_event"] == type(event).__name__
        for key, value in extra.items():
            assert key.startswith("loopcron_")
            for text in value if isinstance(value, list) else [value]:
                assert text is None or type(text) in {str, int, float, bool}
                assert_on_one_line(str(text))


def test_every_line_is_one_line(page: Page) -> None:
    """Whatever a job, endpoint, ledger, schedule, observer or claim says, a formatted line begins once and ends."""
    formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")
    for record in tell(page, every_event(HOSTILE)):
        first, *trace = formatter.format(record).split("\n")
        assert_on_one_line(first)
        for line in trace:
            assert line.startswith("  ")
            assert_on_one_line(line)
        assert bool(trace) == (record.exc_info is not None)


def python_json(stream: io.StringIO) -> logging.Handler:
    """Return a handler with the formatter of python-json-logger."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(["message", "levelname"]))
    return handler


def structlog_json(stream: io.StringIO) -> logging.Handler:
    """Return a handler with structlog's formatter for records of the standard library."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    return handler


def refuse(constant: str) -> None:
    """Fail for what Python reads as a number and no other reader of JSON does."""
    raise AssertionError(constant)


@pytest.mark.parametrize("text", ["lorem", HOSTILE], ids=["tame", "hostile"])
@pytest.mark.parametrize("make", [python_json, structlog_json], ids=["python-json-logger", "structlog"])
def test_json_formatters_keep_the_data(page: Page, make: Callable[[io.StringIO], logging.Handler], text: str) -> None:
    """Formatters that people use write one JSON object per event, with all that stands in the record."""
    stream = io.StringIO()
    logger, handler = logging.getLogger("loopcron"), make(stream)
    logger.addHandler(handler)
    try:
        records = tell(page, every_event(text))
    finally:
        logger.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(records)
    for line, record in zip(lines, records, strict=True):
        read = json.loads(line, parse_constant=refuse)
        assert {key: read[key] for key in data(record)} == data(record)
        assert read["message"] == record.getMessage()
        assert ("exc_info" in read or "exception" in read) == (record.exc_info is not None)


def test_numbers_are_kept_as_they_are(page: Page) -> None:
    """A run's record tells its instants, its duration, how late it was, and its key."""
    found = data(tell(page, [settled(Failed("endpoint", "HTTP 503", 503, retry_after_seconds=2.5))])[0])
    wanted = {
        "event": "Settled",
        "job": "sync",
        "slot": SLOT,
        "slot_at": "2031-04-26T20:00:00.000Z",
        "reason": "schedule",
        "failures": 1,
        "duration_seconds": 0.25,
        "late_seconds": 0.04,
        "outcome": "Failed",
        "blame": "endpoint",
        "error": "HTTP 503",
        "status": 503,
        "retry_after_seconds": 2.5,
        "key": None,
    }
    assert {key: found[f"loopcron_{key}"] for key in wanted} == wanted


def test_reasons_of_run_and_skip_stand_apart(page: Page) -> None:
    """Why a run exists and why its slot was skipped are two keys."""
    found = data(tell(page, [settled(Skipped("overlap"))])[0])
    assert (found["loopcron_reason"], found["loopcron_outcome_reason"]) == ("schedule", "overlap")


class Loud:
    """Says what nobody wants to hear, or nothing at all."""

    def __str__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Succeeded(Loud()), "an event cannot be shown, Settled: ValueError: no"),  # type: ignore[arg-type]
        (Succeeded(10**5000), "an event cannot be shown, Settled: ValueError: Exceeds the limit"),
        (Failed("\x1b[2J", "bad"), "sync 2031-04-26T20:00:00.000Z failed in 0.250 s: \\x1b[2J: bad (1 in a row)"),  # type: ignore[arg-type]
        (TimedOut("\n"), "an event cannot be shown, Settled: TypeError: must be real number, not str"),  # type: ignore[arg-type]
        (TimedOut(float("nan")), "an event cannot be shown, Settled: TypeError: must be real number, not str"),
        (Missed("a", "b", 3), "an event cannot be shown, Settled: TypeError: "),  # type: ignore[arg-type]
        (Interrupted("\u202e"), "sync 2031-04-26T20:00:00.000Z interrupted by \\u202e in 0.250 s"),  # type: ignore[arg-type]
        (Interrupted(Loud()), "sync 2031-04-26T20:00:00.000Z interrupted by <Loud> in 0.250 s"),  # type: ignore[arg-type]
    ],
    ids=["no text", "digits", "blame", "no number", "nan", "range", "by", "by no text"],
)
def test_outcome_of_rubbish_is_logged(page: Page, outcome: Outcome, message: str) -> None:
    """A job may return an outcome that holds what no outcome does: there is a line all the same."""
    (record,) = tell(page, [settled(outcome)])
    assert record.getMessage().startswith(message)
    json.dumps(data(record), allow_nan=False)


def test_actions_are_told_with_who_asked(page: Page) -> None:
    """What somebody did to a job is told at INFO with the name, and what was refused as a warning with the reason."""
    done, refused = tell(
        page, [ActionAsked("sync", SLOT, "pause", "ann", ""), ActionAsked("sync", SLOT, "run", "", "it is stopping")]
    )
    assert (done.levelname, done.getMessage()) == ("INFO", "pause of sync was asked for by ann")
    assert (refused.levelname, refused.getMessage()) == (
        "WARNING",
        "run of sync was asked for by somebody, and refused: it is stopping",
    )


def test_start_shows_some_jobs_of_many(page: Page) -> None:
    """The line at the start names the first 20 jobs, and how many more there are."""
    names = tuple(f"job-{number}" for number in range(1_000))
    (record,) = tell(page, [SchedulerStarted(names, "MemoryLedger", 7)])
    assert record.getMessage().endswith("1000 jobs: " + ", ".join(names[:20]) + " and 980 more")
    assert data(record)["loopcron_jobs"] == list(names[:20])


def test_long_traceback_is_cut(page: Page) -> None:
    """Of a traceback with very many lines the first and the last ones are shown."""
    message = "\n".join(f"line {number}" for number in range(10_000))
    try:
        raise LoudError(message)
    except LoudError as error:
        (record,) = tell(page, [settled(Failed("job", "LoudError"), error)])
    lines = (record.exc_text or "").split("\n")
    assert len(lines) == 101
    assert lines[0] == "  Traceback (most recent call last):"
    assert lines[50].endswith(" lines ...")
    assert lines[-1] == "  line 9999"


def test_line_points_at_who_logged(page: Page) -> None:
    """The record's file and function are those of the observer, as with any other logger."""
    (record,) = tell(page, [settled(Succeeded())])
    assert (record.filename, record.funcName) == ("_observe.py", "_log")


class Rule:
    """A schedule with a text that would forge a line."""

    rule = every(minutes=1)

    def next_after(self, instant: datetime) -> datetime | None:
        return self.rule.next_after(instant)

    def latest_until(self, instant: datetime) -> datetime | None:
        return self.rule.latest_until(instant)

    def __str__(self) -> str:
        return HOSTILE


class Store:
    """A ledger with a text that would forge a line, and with errors that would."""

    def __init__(self, clock: FakeClock) -> None:
        self.ledger = MemoryLedger(clock)
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    def __str__(self) -> str:
        return HOSTILE

    async def claim(self, claims: Sequence[Any]) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise LoudError(HOSTILE)
        return await self.ledger.claim(claims)


async def test_nobody_forges_a_line(page: Page) -> None:
    """Through a whole life no job, schedule, ledger or observer gets more than its one line."""

    def on_event(self: object, event: Event) -> None:
        raise LoudError(HOSTILE)

    clock = FakeClock()
    observer = type(f"a\r\n{FORGED}\x1b\u202e", (), {"on_event": on_event})()
    scheduler = Scheduler(clock=clock, ledger=Store(clock), observers=[observer])

    async def bad(run: Run) -> None:
        raise LoudError(HOSTILE)

    async def odd(run: Run) -> Outcome:
        return Failed(HOSTILE, HOSTILE)  # type: ignore[arg-type]

    scheduler.job(Rule())(bad)
    scheduler.job(Rule())(odd)
    async with scheduler:
        await clock.advance(timedelta(minutes=3))
    told = {str(record.msg) for record in page.records}
    assert {
        "scheduler started in process %s, ledger %s, %s jobs: %s",
        "the ledger could not %s: %s",
        "observer %s %s: %s",
        "%s %s failed%s: %s: %s (%s in a row)",
    } <= told
    formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")
    for record in page.records:
        first, *trace = formatter.format(record).split("\n")
        assert_on_one_line(first)
        assert all(line.startswith("  ") and line.isprintable() for line in trace)


SILENT_APP = """
import logging
from datetime import timedelta

import anyio

from loopcron import Scheduler, every
from loopcron.testing import FakeClock

clock = FakeClock()
scheduler = Scheduler(clock=clock)

@scheduler.job(every(minutes=1))
async def good(run): ...

@scheduler.job(every(minutes=1))
async def bad(run):
    raise ValueError("broken")

async def main():
    async with scheduler:
        await clock.advance(timedelta(minutes=1))

anyio.run(main)
assert logging.getLogger("loopcron").handlers == []
"""


def test_failures_reach_stderr_of_an_app_that_configures_nothing() -> None:
    """Without a handler Python shows warnings on stderr, so failures are seen, and nothing else is."""
    done = subprocess.run([sys.executable, "-c", SILENT_APP], capture_output=True, text=True, check=True, timeout=60)
    first, *trace = done.stderr.splitlines()
    assert first.startswith("bad 20")
    assert first.endswith(" failed in 0.000 s: job: ValueError: broken (1 in a row)")
    assert trace[0] == "  Traceback (most recent call last):"
    assert trace[-1] == "  ValueError: broken"
    assert all(line.startswith("  ") for line in trace)
    assert done.stdout == ""
