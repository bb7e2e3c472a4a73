"""What health and snapshots are computed from, with nothing wrong of which a test does not say so."""

from __future__ import annotations

from typing import Any

from loopcron._entries import JobFacts
from loopcron._events import Settled
from loopcron._health import JobHealth, LedgerHealth, LoopHealth, Reading, SchedulerState, Vitals, read_health
from loopcron._history import JobRecord
from loopcron._outcomes import Outcome

START = 1_772_323_200_000
MINUTE = 60_000

WELL: dict[str, Any] = {
    "row": None,
    "row_at": 0,
    "added": START - 10 * MINUTE,
    "slot": START + MINUTE,
    "due": START + MINUTE,
    "oldest": START + MINUTE,
    "skippable": START + MINUTE,
    "skips": None,
    "period": MINUTE,
    "paused": False,
    "parked": None,
    "ended": False,
    "failures": 0,
    "stuck": 0,
    "runs": (),
    "used": START,
    "watermark": None,
}
"""A job every minute that has nothing to do at the start."""


def facts(**fields: Any) -> JobFacts:
    """Return the facts of a job that is well but for these *fields*."""
    return JobFacts(**{**WELL, **fields})


def vitals(
    state: SchedulerState = SchedulerState.RUNNING,
    since: int | None = START - 10 * MINUTE,
    *,
    loop: LoopHealth | None = None,
    ledger: LedgerHealth | None = None,
) -> Vitals:
    """Return the vitals of a scheduler that runs, or is in this *state*, and whose loop and ledger are well."""
    return Vitals(state, since, loop or LoopHealth(1.0), ledger or LedgerHealth("memory", shared=False))


def silent(seconds: float) -> Vitals:
    """Return the vitals of a scheduler whose loop has not ticked for so long, which is too long."""
    return vitals(SchedulerState.SILENT, START - round(seconds * 1000), loop=LoopHealth(seconds))


def settled(outcome: Outcome, number: int = 0, **fields: Any) -> Settled:
    """Return what is told of the slot of this *number*, whose run took 100 ms, 100 ms late."""
    slot = START + number * MINUTE
    values: dict[str, Any] = {"started": slot + 100, "ended": slot + 200, "failures": 0, **fields}
    return Settled("job", slot, outcome, "schedule", 1, **values)


def record_of(*outcomes: Outcome) -> JobRecord:
    """Return what a job has been through, from slot 0 on."""
    record = JobRecord("job")
    for number, outcome in enumerate(outcomes):
        record.note(settled(outcome, number))
    return record


def reading(
    record: JobRecord | None = None, *, known: JobFacts | None, of: Vitals | None = None, now: int = START
) -> Reading:
    """Return a reading of one job of which this is *known*."""
    return Reading(now, of or vitals(), {"job": known}, {} if record is None else {"job": record})


def read(record: JobRecord | None = None, *, of: Vitals | None = None, now: int = START, **fields: Any) -> JobHealth:
    """Return the health of a job that is well but for these *fields*."""
    return read_health(reading(record, known=facts(**fields), of=of, now=now))["job"]
