"""Outcomes, their texts, the run as its body sees it, errors, and the records for observers."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcron import _events as e
from loopcron._errors import (
    ConfigError,
    DuplicateJobError,
    LifecycleError,
    LoopcronError,
    ScheduleError,
    SchedulerClosedError,
    TransportError,
    UnknownJobError,
)
from loopcron._http import Request, Response
from loopcron._outcomes import (
    OUTCOMES,
    TEXT_LIMIT,
    Busy,
    Failed,
    Outcome,
    Run,
    Skipped,
    Succeeded,
    error_text,
    printable,
)

START = 1_772_323_200_123


# --- texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("ümläut → ok", "ümläut → ok"),
        ("two\nlines\r\n\ttabbed", r"two\nlines\r\n\ttabbed"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("nul\x00", r"nul\x00"),
        ("line\u2028para\u2029", r"line\u2028para\u2029"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u2066isolate\u2069", r"\u2066isolate\u2069"),
        ("\ufeffbom", r"\ufeffbom"),
        ("half \ud83d", r"half \ud83d"),
        ("\x85next", r"\x85next"),
    ],
)
def test_texts_are_one_printable_line(text: str, shown: str) -> None:
    """What could forge a log line is escaped: controls, ESC, line separators, bidirectional marks, lone surrogates."""
    assert printable(text) == shown
    assert Failed("job", text).error == shown


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Cs"]), min_size=250))
def test_texts_are_always_printable_and_short(text: str) -> None:
    """Any text comes out printable, on one line, at most 300 characters long, and encodable."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= TEXT_LIMIT
    shown.encode()


@pytest.mark.parametrize("char", ["x", "\x00"])
def test_long_texts_are_cut(char: str) -> None:
    """A text longer than 300 characters, or that becomes so by escaping, is cut and says so."""
    shown = printable(char * 1_000_000)
    assert len(shown) == TEXT_LIMIT
    assert shown.endswith("...")
    assert printable("x" * TEXT_LIMIT) == "x" * TEXT_LIMIT


class Unspeakable(Exception):
    """An exception whose message cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class Odd(Exception):
    """An exception whose message is no text."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307 - that is the point


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (ValueError("two\nlines"), r"ValueError: two\nlines"),
        (SystemExit(3), "SystemExit: 3"),
        (Unspeakable(), "Unspeakable: its message cannot be shown"),
        (Odd(), "Odd: its message cannot be shown"),
        (ExceptionGroup("many", [ValueError("x")]), "ExceptionGroup: many (1 sub-exception)"),
    ],
)
def test_errors_are_told_in_one_line(error: BaseException, shown: str) -> None:
    """An exception is told by its type and message, and a broken message harms nobody."""
    assert error_text(error) == shown


# --- records


def test_outcomes_are_a_closed_union() -> None:
    """The tuple for isinstance holds exactly the members of the union, and all are frozen."""
    assert set(OUTCOMES) == set(typing.get_args(Outcome))
    for kind in OUTCOMES:
        assert getattr(kind, "__dataclass_params__").frozen  # noqa: B009 - typeshed does not know it
        assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Succeeded().status = 5  # type: ignore[misc]


def test_outcomes_have_their_defaults() -> None:
    """The plain form of each outcome says what it most often is."""
    assert Succeeded().status is None
    assert Busy().status == 409
    assert Skipped("overlap") == Skipped("overlap", None, None, 1)
    assert Failed("job", "x") == Failed("job", "x", None, started=True, retry_after_seconds=None)


@pytest.mark.parametrize(
    ("given_", "kept"), [(0, 0), (1.5, 1.5), (1e9, 1e9), (-1, None), (float("nan"), None), (2e9, None)]
)
def test_failed_keeps_sensible_waits_only(given_: float, kept: float | None) -> None:
    """A wait that is negative, endless or longer than thirty years is none."""
    assert Failed("endpoint", "x", retry_after_seconds=given_).retry_after_seconds == kept


def settled(**fields: Any) -> e.Settled:
    values: dict[str, Any] = {
        "job": "job",
        "slot": START,
        "outcome": Succeeded(),
        "reason": "schedule",
        "attempt": 1,
        "started": START + 500,
        "ended": START + 2_000,
        "failures": 0,
    }
    return e.Settled(**{**values, **fields})


def test_settled_tells_its_times() -> None:
    """The event of an outcome gives instants as aware datetimes and durations in seconds, None if nothing started."""
    event = settled()
    assert event.slot_at == datetime(2026, 3, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    assert (event.late_seconds, event.duration_seconds) == (0.5, 1.5)
    assert (settled(started=None).late_seconds, settled(started=None).duration_seconds) == (None, None)


@pytest.mark.parametrize(
    "event",
    [
        settled(exception=ValueError("secret")),
        e.JobParked("job", START, "ValueError", 1_000, ValueError("secret")),
        e.InternalFault("turn", "ValueError", ValueError("secret")),
    ],
)
def test_reprs_hold_no_exception(event: e.Event) -> None:
    """An event's text never shows the exception that it delivers."""
    assert "secret" not in repr(event)
    assert repr(event).startswith(type(event).__name__)


# --- the run


class Stage:
    """Stands in for the scheduler behind a run, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def send(self, run: Run, request: Request, /) -> Response:
        self.asked.append(("send", run, request))
        return Response(204)

    async def sleep(self, run: Run, seconds: float, /) -> None:
        self.asked.append(("sleep", run, seconds))

    async def call(self, run: Run, function: Callable[[Run], object], /) -> object:
        self.asked.append(("call", run, function))
        return function(run)


def result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Drive a coroutine that waits for nothing, with no event loop."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def make_run(stage: Stage, key: str | None = None, deadline: int | None = START + 60_000) -> Run:
    return Run("sync", START, 3, 2, "catch_up", 7, deadline, key, stage)


def test_run_shows_what_it_is() -> None:
    """A run gives its slot and deadline as aware datetimes, and its key follows from job and slot."""
    run = make_run(Stage())
    assert (run.job, run.run_id, run.attempt, run.reason, run.fence) == ("sync", 3, 2, "catch_up", 7)
    assert run.slot == datetime(2026, 3, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    assert run.deadline_at == datetime(2026, 3, 1, 0, 1, 0, 123_000, tzinfo=UTC)
    assert run.key == "sync@2026-03-01T00:00:00.123Z"
    assert repr(run) == "<Run sync@2026-03-01T00:00:00.123Z attempt 2, catch_up>"


def test_manual_run_has_a_key_of_its_own() -> None:
    """A manual run's key is the one it was triggered with; a run without timeout has no deadline."""
    run = make_run(Stage(), key="sync@manual-1", deadline=None)
    assert run.key == "sync@manual-1"
    assert run.deadline_at is None


def test_run_names_itself_in_headers() -> None:
    """The headers tell the endpoint which job, slot, attempt, reason and fence it is, all in plain text."""
    assert make_run(Stage()).headers() == (
        ("Idempotency-Key", "sync@2026-03-01T00:00:00.123Z"),
        ("Loopcron-Job", "sync"),
        ("Loopcron-Slot", "2026-03-01T00:00:00.123Z"),
        ("Loopcron-Attempt", "2"),
        ("Loopcron-Reason", "catch_up"),
        ("Loopcron-Fence", "7"),
    )


def test_run_reaches_the_scheduler() -> None:
    """Sending, sleeping and calling are the scheduler's, told by which run."""
    stage = Stage()
    run = make_run(stage)
    request = Request("POST", "/api/sync")
    assert result_of(run.send(request)) == Response(204)
    assert result_of(run.sleep(1.5)) is None
    assert result_of(run.call(lambda run: run.job)) == "sync"
    assert [asked[:2] for asked in stage.asked] == [("send", run), ("sleep", run), ("call", run)]
    assert (stage.asked[0][2], stage.asked[1][2]) == (request, 1.5)


# --- errors


class Unshowable:
    """A value whose repr is broken."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_config_error_names_field_value_and_remedy() -> None:
    """The message of a bad setting names the field, the value, cut where it is long, and what would do."""
    assert str(ConfigError("timeout", 5, "must be a timedelta")) == "timeout=5: must be a timedelta"
    long = str(ConfigError("on", "x" * 100, "no"))
    assert long == f"on='{'x' * 76}...: no"
    assert str(ConfigError("on", Unshowable(), "no")) == "on=<Unshowable>: no"


def test_errors_can_be_caught_by_what_they_are() -> None:
    """Every error is a LoopcronError and the builtin that its nature suggests."""
    for error, builtin in (
        (ConfigError("a", 1, "b"), ValueError),
        (ScheduleError("a", 1, "b"), ConfigError),
        (DuplicateJobError("sync"), ConfigError),
        (UnknownJobError("sync", ()), LookupError),
        (LifecycleError("x"), RuntimeError),
        (SchedulerClosedError("x"), LifecycleError),
        (TransportError("refused"), LoopcronError),
    ):
        assert isinstance(error, builtin)
        assert isinstance(error, LoopcronError)


def test_names_that_clash_or_miss_are_told() -> None:
    """A name that is taken says so, and one that nobody knows comes with the known ones."""
    assert str(DuplicateJobError("sync")).startswith("name='sync': is taken")
    assert str(UnknownJobError("snyc", ("sync", "prune"))) == "name='snyc': no such job; known jobs: sync, prune"
    assert str(UnknownJobError("snyc", ())) == "name='snyc': no such job; known jobs: none"


def test_transport_error_says_its_code_only() -> None:
    """A transport's error carries a code of a fixed set and whether an application may have started."""
    error = TransportError("reset")
    assert (str(error), error.code, error.started) == ("reset", "reset", True)
    assert TransportError("refused", started=False).started is False
