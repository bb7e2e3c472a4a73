"""Snapshots: what the scheduler and its jobs look like from outside, as plain data made when it is read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loopcron._attempts import Lease, LiveRun
from loopcron._entries import JobFacts
from loopcron._health import LedgerHealth, Reading, SchedulerState
from loopcron._history import JobRecord
from loopcron._instants import from_ms
from loopcron._ledger import Row
from loopcron._outcomes import Failed, Succeeded, Taken
from loopcron._policies import Policy
from loopcron._status import (
    JobSnapshot,
    LeaseSnapshot,
    ObserverSnapshot,
    RunSnapshot,
    SharedOutcome,
    Snapshot,
    Static,
    Worker,
    take_snapshot,
)
from tests.core.readings import MINUTE, START, facts, record_of, settled, vitals

HERE = Worker("web-1:4711", 4711, START - 10 * MINUTE)
STATIC = Static("every 0:01:00", "every minute", "UTC", Policy())
THEIRS = Row("job", START, 7, "web-2:4712:abcd-3", finished=False, lease=30_000)


def look(
    record: JobRecord | None = None, *, known: JobFacts | None, static: Static = STATIC, now: int = START
) -> JobSnapshot:
    """Return the snapshot of one job of which this is *known*."""
    records = {} if record is None else {"job": record}
    return take_snapshot(Reading(now, vitals(), {"job": known}, records), {"job": static}, HERE, ())["job"]


def whole(state: SchedulerState = SchedulerState.RUNNING, **jobs: JobFacts | None) -> Snapshot:
    """Return the snapshot of a scheduler in this *state* with these *jobs*."""
    reading = Reading(START, vitals(state, ledger=LedgerHealth("a store", shared=True)), jobs, {})
    return take_snapshot(reading, dict.fromkeys(jobs, STATIC), HERE, (ObserverSnapshot("Page", False, "", 3),))


def live(slot: int, lease: Lease | None = None, **fields: Any) -> LiveRun:
    """Return a live run of the slot."""
    given = {"reason": "schedule", "key": None, "started": START - 500, "deadline": START + 500, **fields}
    return LiveRun("job", slot, 1, fence=7, retry_until=START + 500, lease=lease, **given)


# --- the scheduler


@pytest.mark.parametrize("state", list(SchedulerState))
def test_snapshot_of_the_scheduler(state: SchedulerState) -> None:
    """A snapshot says when and where it was taken, of what ledger, and whether the scheduler runs."""
    seen = whole(state, job=facts())
    assert (seen.at, seen.state) == (datetime(2026, 3, 1, tzinfo=UTC), state)
    assert seen.running == (state not in (SchedulerState.STOPPED, SchedulerState.DISABLED))
    assert (seen.worker, seen.pid, seen.started_at) == ("web-1:4711", 4711, from_ms(START - 10 * MINUTE))
    assert (seen.ledger, seen.shared) == ("a store", True)
    assert seen.observers == (ObserverSnapshot("Page", False, "", 3),)


def test_snapshot_is_had_by_name() -> None:
    """A job's snapshot is had by its name, and an unknown one raises KeyError."""
    seen = whole(a=facts(), b=facts())
    assert seen["b"].name == "b"
    with pytest.raises(KeyError, match="c"):
        seen["c"]


def test_workers_are_those_whose_claims_were_seen() -> None:
    """This worker comes first, then whoever stands in a row, each once and sorted; nobody stands in a new row."""
    assert whole(a=facts(), b=None).workers == ("web-1:4711",)
    seen = whole(
        a=facts(row=THEIRS),
        b=facts(row=THEIRS._replace(claim_id="web-0:4713:abcd-4")),
        c=facts(row=THEIRS._replace(claim_id="web-2:4712:abcd-9")),
        d=facts(row=THEIRS._replace(claim_id="")),
        e=facts(row=THEIRS._replace(claim_id="web-1:4711:abcd-1")),
    )
    assert seen.workers == ("web-1:4711", "web-0:4713", "web-2:4712")


# --- a job


def test_job_that_waits() -> None:
    """A job shows its schedule in both ways, its next slot, and when that is due with its jitter."""
    static = Static("cron 0 9 * * 1-5, Europe/Berlin", "at 09:00 on weekdays, Europe/Berlin", "Europe/Berlin", Policy())
    seen = look(known=facts(due=START + MINUTE + 7_000), static=static)
    assert (seen.schedule, seen.description, seen.zone) == static[:3]
    assert (seen.next_slot_at, seen.due_at) == (from_ms(START + MINUTE), from_ms(START + MINUTE + 7_000))
    assert (seen.paused, seen.skips_slot_at, seen.runs, seen.history) == (False, None, (), ())
    assert (seen.lease, seen.shared_outcome) == (None, None)


def test_job_that_is_paused_or_skips() -> None:
    """What somebody asked for shows: that it is paused, and which slot is to be skipped."""
    assert look(known=facts(paused=True)).paused
    assert look(known=facts(skips=START + MINUTE)).skips_slot_at == from_ms(START + MINUTE)


def test_job_without_a_next_slot_is_due_never() -> None:
    """A job that has ended, or is not registered yet, has no slot and no instant at which that is due."""
    seen = look(known=facts(slot=None, due=0))
    assert (seen.next_slot_at, seen.due_at) == (None, None)


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Policy(), Policy().timeout_ms(MINUTE)),
        (Policy(timeout=None), None),
    ],
)
def test_timeout_as_things_are(policy: Policy, seconds: int | None) -> None:
    """The timeout is what a run that begins now would have, by its policy and period."""
    seen = look(known=facts(), static=STATIC._replace(policy=policy))
    assert seen.timeout_seconds == (None if seconds is None else seconds / 1000)


def test_runs_and_history() -> None:
    """Live runs and outcomes come as plain data, all instants as aware datetimes."""
    runs = (live(START - MINUTE), live(START, reason="manual", key="job@manual-1", deadline=None, attempt=2))
    record = record_of(Succeeded(), Taken())
    seen = look(record, known=facts(runs=runs))
    assert seen.history == (settled(Succeeded()), settled(Taken(), 1))
    begun = from_ms(START - 500)
    assert seen.runs == (
        RunSnapshot(
            from_ms(START - MINUTE), 1, "schedule", begun, from_ms(START + 500), "job@2026-02-28T23:59:00.000Z"
        ),
        RunSnapshot(from_ms(START), 2, "manual", begun, None, "job@manual-1"),
    )


def test_snapshot_of_a_stopped_scheduler_keeps_the_history() -> None:
    """While the scheduler does not run, its jobs and what they have been through can still be seen."""
    seen = look(record_of(Succeeded()), known=None)
    assert len(seen.history) == 1
    assert (seen.schedule, seen.description) == ("every 0:01:00", "every minute")
    assert (seen.paused, seen.next_slot_at, seen.due_at, seen.timeout_seconds) == (False, None, None, None)
    assert look(known=None).history == ()


# --- the lease


def test_lease_of_ours() -> None:
    """A live run of ours that has a lease shows it, whatever the row said of others before."""
    runs = (live(START - MINUTE, key="job@manual-1"), live(START, Lease(30_000, START - 10)))
    expected = LeaseSnapshot("web-1:4711", from_ms(START), 7, from_ms(START + 29_990), ours=True)
    assert look(known=facts(runs=runs)).lease == expected
    assert look(known=facts(runs=runs, row=THEIRS, row_at=START)).lease == expected


def test_run_without_a_lease_shows_none() -> None:
    """A run of a ledger that is not shared has no lease."""
    assert look(known=facts(runs=(live(START),))).lease is None


@pytest.mark.parametrize(("elapsed", "holds"), [(0, True), (29_999, True), (30_000, False), (90_000, False)])
def test_lease_of_theirs_lasts_as_long_as_the_row_said(elapsed: int, holds: bool) -> None:
    """What another worker has shows from when the row was read until it ends if it was not renewed."""
    seen = look(known=facts(row=THEIRS, row_at=START), now=START + elapsed)
    assert seen.lease == (
        LeaseSnapshot("web-2:4712", from_ms(START), 7, from_ms(START + 30_000), ours=False) if holds else None
    )


@pytest.mark.parametrize("change", [{"finished": True}, {"lease": None}, {"lease": 0}, {"lease": -5}])
def test_row_without_a_live_lease_shows_none(change: dict[str, Any]) -> None:
    """Where the run is over, or its lease was when the row was read, nobody is known to have one."""
    assert look(known=facts(row=THEIRS._replace(**change), row_at=START)).lease is None


# --- the outcome that workers share


ENDED = Row("job", START, 7, "web-2:4712:abcd-3", outcome="Failed endpoint 503", ended=START + 500, succeeded=START)


def test_outcome_of_another_worker() -> None:
    """What the row said of the newest run that has ended shows, with whose it was."""
    assert look(known=facts(row=ENDED)).shared_outcome == SharedOutcome(
        "Failed endpoint 503", from_ms(START + 500), from_ms(START), "web-2:4712"
    )


def test_outcome_of_an_earlier_run_is_nobodys() -> None:
    """While a newer run is alive the row names that one's worker, and no longer whose outcome it shows."""
    seen = look(known=facts(row=ENDED._replace(finished=False, lease=30_000), row_at=START)).shared_outcome
    assert seen is not None
    assert (seen.outcome, seen.worker) == ("Failed endpoint 503", "")


def test_no_run_has_ended_yet() -> None:
    """A new row, and a ledger that is not shared, have no outcome."""
    assert look(known=facts(row=THEIRS)).shared_outcome is None
    assert look(record_of(Succeeded()), known=facts()).shared_outcome is None
    assert look(known=None).shared_outcome is None


def test_outcome_of_ours_is_known_before_the_row_is_read_again() -> None:
    """What this worker has told the ledger shows at once; manual runs and what others took it was not told of."""
    record = JobRecord("job")
    record.note(settled(Succeeded(), fence=8))
    record.note(settled(Failed("endpoint", "HTTP 500", 500), 1, fence=9))
    record.note(settled(Taken(), 2, started=None))
    ours = SharedOutcome("Failed endpoint 500", from_ms(START + MINUTE + 200), from_ms(START + 200), "web-1:4711")
    assert look(record, known=facts(row=ENDED)).shared_outcome == ours
    assert look(record, known=facts(row=THEIRS)).shared_outcome == ours
    newer = ENDED._replace(ended=START + 2 * MINUTE, succeeded=START + 300)
    assert look(record, known=facts(row=newer)).shared_outcome == SharedOutcome(
        "Failed endpoint 503", from_ms(START + 2 * MINUTE), from_ms(START + 300), "web-2:4712"
    )
