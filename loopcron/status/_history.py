"""One line of a job's history: what became of a slot, in words and as one of five kinds."""

from __future__ import annotations

from typing import Any, Final, assert_never

from loopcron import (
    Busy,
    Failed,
    Interrupted,
    LeaseLost,
    Missed,
    Outcome,
    Settled,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
)
from loopcron._errors import text_of
from loopcron._instants import iso
from loopcron.status._redact import shown

_SKIPPED: Final = {
    "overlap": "another run of the job was alive",
    "paused": "the job was paused",
    "limit": "no place below the limit of runs became free in time",
    "skip_next": "somebody asked to skip it",
    "ledger": "the ledger could not be asked in time",
    "no_address": "this process can be reached under no address",
    "removed": "the job was removed",
}
_LARGEST: Final = 2**53 - 1
_INTERRUPTED: Final = {
    "shutdown": "the scheduler stopped",
    "replace": "a newer run took its place",
    "remove": "the job was removed",
}


def entry(settled: Settled) -> dict[str, Any]:
    """Return *settled* as the document tells it. A job may make its outcome itself, and put anything into it."""
    outcome = settled.outcome
    kind, detail = _judged(settled)
    span = outcome if isinstance(outcome, (Skipped, Missed)) else None
    first = None if span is None else _instant(span.first)
    return {
        "slot": iso(settled.slot),
        "first": first,
        "count": 1 if span is None else _integer(span.count),
        "outcome": type(outcome).__name__,
        "kind": kind,
        "detail": shown(detail),
        "status": _integer(outcome.status) if isinstance(outcome, (Succeeded, Busy, Failed)) else None,
        "reason": settled.reason,
        "attempt": settled.attempt,
        "started": None if settled.started is None else iso(settled.started),
        "ended": iso(settled.ended),
        "duration_seconds": settled.duration_seconds,
        "late_seconds": settled.late_seconds,
        "worker": shown(settled.worker),
        "failures": settled.failures,
    }


def _judged(settled: Settled) -> tuple[str, str]:
    outcome: Outcome = settled.outcome
    match outcome:
        case Succeeded(status):
            return "ok", "" if status is None else f"HTTP {text_of(status)}"
        case Busy():
            return "expected", "somebody else holds the lock"
        case Failed(blame, error):
            return "failed", f"{text_of(blame)}: {error}"
        case TimedOut(seconds):
            return "failed", f"cut after {text_of(seconds)} s"
        case LeaseLost():
            return "failed", "its lease may be over, and another worker may run it"
        case Skipped(reason):
            return "skipped", _SKIPPED.get(text_of(reason), text_of(reason))
        case Missed():
            return "skipped", "passed unserved, and is not caught up"
        case Interrupted(by):
            return "expected", _INTERRUPTED.get(text_of(by), text_of(by))
        case Taken():
            return "taken", f"by {settled.worker}" if settled.worker else "by another worker"
        case _:
            assert_never(outcome)


def _integer(value: object) -> int | None:
    # Beyond that JSON's readers have no whole numbers, and json itself refuses those of thousands of digits.
    return value if isinstance(value, int) and abs(value) <= _LARGEST else None


def _instant(value: object) -> str | None:
    milliseconds = _integer(value)
    try:
        return None if milliseconds is None else iso(milliseconds)
    except OverflowError:  # in no year that a datetime knows
        return None
