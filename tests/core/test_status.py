"""Health, snapshot and history: plain data computed when read."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from loopcron._attempts import LiveRun
from loopcron._entries import JobFacts
from loopcron._events import Settled
from loopcron._instants import from_ms
from loopcron._ledger import Row
from loopcron._outcomes import Busy, Failed, Interrupted, LeaseLost, Outcome, Skipped, Succeeded, Taken, TimedOut
from loopcron._status import (
    HISTORY,
    Health,
    JobHealth,
    JobRecord,
    JobState,
    Reading,
    read_health,
    take_snapshot,
)

START = 1_772_323_200_000
MINUTE = 60_000

FINE: dict[str, Any] = {
    "row": None,
    "added": START,
    "slot": START + MINUTE,
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
# Each makes its state hold; those that come later in the order hold beside it and are not shown.
WRONG: dict[JobState, dict[str, Any]] = {
    JobState.PARKED: {"parked": "ValueError: no"},
    JobState.PAUSED: {"paused": True},
    JobState.ENDED: {"ended": True},
    JobState.STUCK: {"stuck": 2},
    JobState.OVERDUE: {"oldest": START - 2 * MINUTE - 1},
    JobState.FAILING: {"failures": 3},
}


def settled(outcome: Outcome, number: int = 0, **fields: Any) -> Settled:
    slot = START + number * MINUTE
    values: dict[str, Any] = {"started": slot + 100, "ended": slot + 200, "failures": 0, **fields}
    return Settled("job", slot, outcome, "schedule", 1, **values)


def record_of(*outcomes: Outcome) -> JobRecord:
    record = JobRecord()
    for number, outcome in enumerate(outcomes):
        record.note(settled(outcome, number))
    return record


def read(
    record: JobRecord | None = None, *, running: bool = True, silent: float | None = 1.0, **fields: Any
) -> JobHealth:
    facts = JobFacts(**{**FINE, **fields})
    records = {} if record is None else {"job": record}
    return read_health(Reading(START, running, silent, {"job": facts}, records))["job"]


def test_well_job_is_ok() -> None:
    """A job with nothing wrong is ok, has no reason to tell, and knows its next slot."""
    health = read()
    assert (health.state, health.why, health.overdue) == (JobState.OK, "", False)
    assert health.next_slot_at == from_ms(START + MINUTE)
    assert (health.last_started_at, health.last_succeeded_at) == (None, None)


@pytest.mark.parametrize("state", list(WRONG))
def test_first_state_that_holds_is_shown(state: JobState) -> None:
    """Of all that is wrong with a job, the first in the order of the states is its state."""
    order = list(WRONG)
    fields: dict[str, Any] = {}
    for later in reversed(order[order.index(state) :]):
        fields |= WRONG[later]
    health = read(record_of(*[Busy()] * 3), **fields)
    assert health.state is state
    assert health.why
    assert health.overdue == (state is JobState.OVERDUE)


def test_states_stand_in_their_order() -> None:
    """The enumeration lists the states in the order in which they are judged."""
    assert list(JobState) == [JobState.STOPPED, *WRONG, JobState.BUSY_TOO_LONG, JobState.OK]


def test_stopped_scheduler_is_said_first_and_overdue() -> None:
    """Of a scheduler that does not run every job is stopped and overdue, whatever else is wrong."""
    health = read(running=False, silent=None, parked="x", paused=True)
    assert (health.state, health.overdue) == (JobState.STOPPED, True)
    unknown = read_health(Reading(START, False, None, {"job": None}, {}))
    assert unknown["job"].state is JobState.STOPPED
    assert unknown["job"].next_slot_at is None
    assert unknown["job"].consecutive_failures == 0


FAILED_ELSEWHERE = Row("job", START, outcome="Failed endpoint 503", ended=START + 500, succeeded=START + 300)
FINE_ELSEWHERE = Row("job", START, outcome="Succeeded 200", ended=START + 500, succeeded=START + 500)


@pytest.mark.parametrize("outcome", ["Failed job", "Failed endpoint 503", "TimedOut", "LeaseLost"])
def test_failure_that_the_ledger_shows_counts(outcome: str) -> None:
    """A job whose last run failed is failing, whichever worker ran it and whether this one ever did."""
    row = FAILED_ELSEWHERE._replace(outcome=outcome)
    for record in (None, record_of(Succeeded())):
        health = read(record, row=row)
        assert health.state is JobState.FAILING
        assert health.why == f"the last run that the ledger knows of ended as: {outcome}"
        assert health.consecutive_failures == 0


@pytest.mark.parametrize("outcome", ["", "Succeeded", "Succeeded 200", "Busy", "Skipped paused", "Interrupted"])
def test_other_outcomes_in_the_ledger_are_no_failures(outcome: str) -> None:
    """What succeeded, or says nothing of the job, leaves it well."""
    assert read(row=FAILED_ELSEWHERE._replace(outcome=outcome)).state is JobState.OK


def test_failure_in_the_ledger_that_is_older_than_our_last_run_is_over() -> None:
    """What this worker saw last is newer, and counts."""
    row = FAILED_ELSEWHERE._replace(ended=START + 200)
    assert read(record_of(Succeeded()), row=row).state is JobState.OK
    assert read(record_of(Succeeded()), row=row._replace(ended=START + 201)).state is JobState.FAILING


def test_run_elsewhere_ends_a_failure_here() -> None:
    """A job that failed here and has succeeded elsewhere since is well, but still counts its failures here."""
    record = record_of(Failed("job", "x"))
    assert read(record, failures=1).state is JobState.FAILING
    assert read(record, failures=1, row=FINE_ELSEWHERE._replace(ended=START + 200)).state is JobState.FAILING
    health = read(record, failures=1, row=FINE_ELSEWHERE)
    assert health.state is JobState.OK
    assert health.consecutive_failures == 1


def test_row_without_an_end_says_nothing() -> None:
    """Of a job that was only registered, nothing is known."""
    assert read(record_of(Failed("job", "x")), failures=1, row=Row("job", START)).state is JobState.FAILING
    assert read(row=Row("job", START)).state is JobState.OK


def test_last_success_is_the_newest_of_all_workers() -> None:
    """Ours or the row's, whichever is later; None if there is none."""
    ours = record_of(Succeeded())
    assert read(ours).last_succeeded_at == from_ms(START + 200)
    assert read(ours, row=FINE_ELSEWHERE).last_succeeded_at == from_ms(START + 500)
    assert read(ours, row=FINE_ELSEWHERE._replace(succeeded=START + 1)).last_succeeded_at == from_ms(START + 200)
    assert read(row=FINE_ELSEWHERE).last_succeeded_at == from_ms(START + 500)
    assert read(row=Row("job", START)).last_succeeded_at is None


def test_lost_lease_is_a_failure_and_said_so() -> None:
    """A run whose lease was lost did not do its work, as far as this worker knows."""
    health = read(record_of(LeaseLost()), failures=1)
    assert health.state is JobState.FAILING
    assert health.why == "1 runs in a row failed; the last one: its lease was lost"


@pytest.mark.parametrize(("age", "state"), [(2 * MINUTE, JobState.OK), (2 * MINUTE + 1, JobState.OVERDUE)])
def test_slot_is_overdue_after_two_periods(age: int, state: JobState) -> None:
    """A slot without an outcome is overdue when it is older than two periods, also of a job that never ran."""
    health = read(oldest=START - age)
    assert health.state is state
    assert state is JobState.OK or "has no outcome after two periods" in health.why


@pytest.mark.parametrize(("silent", "state"), [(90.0, JobState.OK), (90.1, JobState.OVERDUE)])
def test_silent_loop_makes_all_jobs_overdue(silent: float, state: JobState) -> None:
    """A loop that last ticked over 90 s ago serves nobody, whatever the slots say."""
    assert read(silent=silent).state is state
    assert read(silent=silent, oldest=None, slot=None).state is state


@pytest.mark.parametrize(("ahead", "state"), [(60_000, JobState.OK), (60_001, JobState.OVERDUE)])
def test_clock_behind_the_last_slot_makes_overdue(ahead: int, state: JobState) -> None:
    """A job whose last slot lies over a minute ahead is overdue, and says that the clock went back and until when."""
    health = read(used=START + ahead, watermark=START + ahead)
    assert health.state is state
    assert health.why == (
        ""
        if state is JobState.OK
        else "the clock went back; no slot recurs, so it waits until its last slot, 2026-03-01T00:01:00.001Z, "
        "has passed again, in 0:01:01"
    )


@pytest.mark.parametrize(("ahead", "state"), [(60_000, JobState.OK), (4_320_000, JobState.OVERDUE)])
def test_ledger_ahead_of_the_clock_makes_overdue(ahead: int, state: JobState) -> None:
    """A row over a minute ahead keeps the job from running: it is overdue, and says by how much the row is ahead."""
    for used in (None, START):
        health = read(used=used, watermark=START + ahead)
        assert health.state is state
        assert health.why == (
            ""
            if state is JobState.OK
            else "ledger ahead by 1:12:00: it holds slots up to 2026-03-01T01:12:00.000Z as taken"
        )


def test_failing_names_the_last_failure() -> None:
    """A failing job tells how often in a row and how the last one failed, past outcomes that say nothing of it."""
    record = record_of(Failed("job", "old"), Failed("endpoint", "HTTP 401", 401), Busy(), Skipped("overlap"), Taken())
    assert read(record, failures=2).why == "2 runs in a row failed; the last one: endpoint: HTTP 401"
    assert (
        read(record_of(TimedOut(1.5)), failures=1).why
        == "1 runs in a row failed; the last one: timed out after 1.500 s"
    )
    assert read(failures=1).why == "1 runs in a row failed; the last one: no longer in the history"
    assert read(record_of(Busy()), failures=1).why.endswith("no longer in the history")


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([Busy()] * 2, JobState.OK),
        ([Busy()] * 3, JobState.BUSY_TOO_LONG),
        ([Busy(), Busy(), Skipped("overlap"), Busy()], JobState.BUSY_TOO_LONG),
        ([Busy(), Busy(), Interrupted("shutdown"), Busy()], JobState.BUSY_TOO_LONG),
        ([Busy()] * 3 + [Succeeded()], JobState.OK),
        ([Busy(), Busy(), Failed("job", "x"), Busy()], JobState.OK),
        ([Busy(), Busy(), TimedOut(1.0), Busy()], JobState.OK),
    ],
)
def test_lock_found_taken_three_times_is_too_long(outcomes: list[Outcome], state: JobState) -> None:
    """Three busy runs with no other run between look like a stuck lock."""
    assert read(record_of(*outcomes)).state is state


def test_record_tells_last_start_and_success() -> None:
    """The last start counts every run, the last success only those; what never started is no start."""
    record = record_of(Succeeded(), Failed("job", "x"))
    record.note(settled(Skipped("overlap"), 5, started=None))
    health = read(record, failures=1)
    assert health.last_started_at == from_ms(START + MINUTE + 100)
    assert health.last_succeeded_at == from_ms(START + 200)
    assert health.consecutive_failures == 1


def test_history_is_a_ring() -> None:
    """The newest twenty outcomes are kept, oldest first."""
    record = record_of(*[Succeeded(number) for number in range(100, 150)])
    assert [kept.outcome for kept in record.ring] == [Succeeded(number) for number in range(150 - HISTORY, 150)]
    assert HISTORY == 20


def test_history_keeps_no_exception() -> None:
    """An exception's frames would keep half the app alive: the history drops it, the event keeps it."""
    record = JobRecord()
    event = settled(Failed("job", "ValueError"), exception=ValueError("x"))
    record.note(event)
    assert record.ring[0].exception is None
    assert record.ring[0] == event._replace(exception=None)
    assert event.exception is not None


@pytest.mark.parametrize("state", list(JobState))
def test_health_of_the_whole_follows_from_its_jobs(state: JobState) -> None:
    """Liveness is red only for what a restart mends; ok also wants no job to be failing, busy or parked."""
    needs_restart = state in (JobState.STUCK, JobState.OVERDUE)
    job = JobHealth("job", state, "", False, needs_restart, 0, None, None, None)
    health = Health(True, 1.0, (job,))
    assert health.live is not needs_restart
    assert health.ok == (state in (JobState.OK, JobState.PAUSED, JobState.ENDED))
    assert not dataclasses.replace(health, running=False).live
    assert not dataclasses.replace(health, running=False).ok


def test_health_is_had_by_name() -> None:
    """A job's health and snapshot are had by its name, and an unknown one raises KeyError."""
    reading = Reading(START, True, 1.0, {"a": JobFacts(**FINE), "b": JobFacts(**FINE)}, {})
    assert read_health(reading)["b"].job == "b"
    snapshot = take_snapshot(reading, {"a": "every 0:01:00", "b": "every 0:01:00"})
    assert snapshot["b"].name == "b"
    with pytest.raises(KeyError, match="c"):
        read_health(reading)["c"]
    with pytest.raises(KeyError, match="c"):
        snapshot["c"]


def test_snapshot_shows_jobs_and_runs() -> None:
    """A snapshot holds each job with its runs and history, all instants as aware datetimes."""
    run = LiveRun("job", START - MINUTE, 1, "schedule", 7, None, START - 500, START + 500, START + 500)
    endless = LiveRun("job", START, 2, "manual", 0, "job@manual-1", START, None, START + 500)
    facts = JobFacts(**{**FINE, "paused": True, "runs": (run, endless)})
    record = record_of(Succeeded())
    snapshot = take_snapshot(Reading(START, True, 1.0, {"job": facts}, {"job": record}), {"job": "every 0:01:00"})
    assert snapshot.at == datetime(2026, 3, 1, tzinfo=UTC)
    job = snapshot["job"]
    assert (job.schedule, job.paused, job.next_slot_at) == ("every 0:01:00", True, from_ms(START + MINUTE))
    assert job.history == (settled(Succeeded()),)
    assert [
        (shown.slot_at, shown.attempt, shown.reason, shown.started_at, shown.deadline_at) for shown in job.runs
    ] == [
        (from_ms(START - MINUTE), 1, "schedule", from_ms(START - 500), from_ms(START + 500)),
        (from_ms(START), 1, "manual", from_ms(START), None),
    ]


def test_snapshot_of_a_stopped_scheduler_keeps_the_history() -> None:
    """While the scheduler does not run, its jobs and what they have been through can still be seen."""
    reading = Reading(START, False, None, {"job": None, "new": None}, {"job": record_of(Succeeded())})
    snapshot = take_snapshot(reading, {"job": "every 0:01:00", "new": "every 0:02:00"})
    assert not snapshot.running
    assert len(snapshot["job"].history) == 1
    assert snapshot["new"].history == ()
    assert snapshot["new"].runs == ()
