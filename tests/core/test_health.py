"""Health: the state of the scheduler and of each job, why, and since when, judged from facts when it is read."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from loopcron._entries import JobFacts
from loopcron._events import JobEnded, JobParked, JobPaused, RunStuck
from loopcron._health import (
    Health,
    JobHealth,
    JobState,
    LedgerHealth,
    LoopHealth,
    Reading,
    SchedulerState,
    read_health,
)
from loopcron._history import JobRecord
from loopcron._instants import from_ms
from loopcron._ledger import Row
from loopcron._outcomes import Busy, Failed, Interrupted, LeaseLost, Outcome, Skipped, Succeeded, Taken, TimedOut
from tests.core.readings import MINUTE, START, facts, read, reading, record_of, settled, silent, vitals

# Each makes its state hold; those that come later in the order hold beside it and are not shown.
WRONG: dict[JobState, dict[str, Any]] = {
    JobState.PARKED: {"parked": "ValueError: no"},
    JobState.PAUSED: {"paused": True},
    JobState.ENDED: {"ended": True},
    JobState.STUCK: {"stuck": 2},
    JobState.OVERDUE: {"oldest": START - 2 * MINUTE - 1},
    JobState.FAILING: {"failures": 3},
}


def through_all() -> JobRecord:
    """Return the record of a job on which everything has come, each at another instant."""
    record = record_of(Failed("job", "x"), Busy(), Busy(), Busy())
    record.mark(JobParked("job", 0, "ValueError: no", 1), START + 1)
    record.mark(JobPaused("job", 0), START + 2)
    record.mark(JobEnded("job", 0, None, served=True), START + 3)
    record.mark(RunStuck("job", 0, 7), START + 4)
    return record


SINCE = {
    JobState.PARKED: START + 1,
    JobState.PAUSED: START + 2,
    JobState.ENDED: START + 3,
    JobState.STUCK: START + 4,
    JobState.OVERDUE: START - 1,
    JobState.FAILING: START + 200,
    JobState.BUSY_TOO_LONG: START + MINUTE + 200,
    JobState.OK: None,
}
"""Since when `through_all` has each state."""
WHY = {
    JobState.PARKED: "ValueError: no",
    JobState.PAUSED: "paused",
    JobState.ENDED: "its schedule names no further slot",
    JobState.STUCK: "2 runs swallowed their cancellation",
    JobState.OVERDUE: "what is due since 2026-02-28T23:57:59.999Z has no outcome after two periods",
    JobState.FAILING: "3 runs in a row failed; the last one: job: x",
    JobState.BUSY_TOO_LONG: "3 runs in a row found the lock taken",
    JobState.OK: "",
}


def verdicts(health: Health) -> tuple[bool, bool, bool, bool]:
    """Return whether it runs, is live, ready and ok."""
    return health.running, health.live, health.ready, health.ok


# --- a job


def test_well_job_is_ok() -> None:
    """A job with nothing wrong is ok, has no reason to tell, and knows its next slot."""
    assert read() == JobHealth(
        "job",
        JobState.OK,
        why="",
        since_at=None,
        overdue=False,
        needs_restart=False,
        consecutive_failures=0,
        last_started_at=None,
        last_succeeded_at=None,
        next_slot_at=from_ms(START + MINUTE),
    )


@pytest.mark.parametrize("state", [*WRONG, JobState.BUSY_TOO_LONG, JobState.OK])
def test_first_state_that_holds_is_shown(state: JobState) -> None:
    """Of all that is wrong with a job, the first in the order of the states is its state, with its reason and start."""
    order = [*WRONG, JobState.BUSY_TOO_LONG, JobState.OK]
    fields: dict[str, Any] = {}
    for later in order[order.index(state) :]:
        fields |= WRONG.get(later, {})
    health = read(through_all() if state is not JobState.OK else None, **fields)
    assert (health.state, health.why) == (state, WHY[state])
    assert health.since_at == (None if SINCE[state] is None else from_ms(SINCE[state] or 0))
    assert health.overdue == (state is JobState.OVERDUE)
    assert health.needs_restart == (state in (JobState.STUCK, JobState.OVERDUE))


def test_states_stand_in_their_order() -> None:
    """The enumeration lists the states in the order in which they are judged."""
    assert list(JobState) == [JobState.STOPPED, *WRONG, JobState.BUSY_TOO_LONG, JobState.OK]


@pytest.mark.parametrize("state", [JobState.PARKED, JobState.ENDED, JobState.STUCK, JobState.FAILING])
def test_since_when_is_not_made_up(state: JobState) -> None:
    """Where the record does not say since when a state holds, nobody does."""
    for record in (None, JobRecord("job")):
        health = read(record, **WRONG[state])
        assert (health.state, health.since_at) == (state, None)


def test_pause_from_before_the_start_is_since_the_job_was_added() -> None:
    """A job that was added paused serves no slots since then."""
    for record in (None, JobRecord("job")):
        assert read(record, paused=True, added=START - MINUTE).since_at == from_ms(START - MINUTE)


def test_job_that_cannot_be_registered_is_parked_since_the_ledger_fails() -> None:
    """What parks a job without its schedule having failed is the ledger, whose trouble has a beginning."""
    ledger = LedgerHealth("a store", shared=True, why="OSError: down", since_at=from_ms(START - 5), failures=2)
    fields: dict[str, Any] = {"parked": "the ledger could not be asked to register it"}
    assert read(of=vitals(ledger=ledger), **fields).since_at == from_ms(START - 5)
    assert read(record_of(Succeeded()), of=vitals(ledger=ledger), **fields).since_at == from_ms(START - 5)
    assert read(through_all(), of=vitals(ledger=ledger), **fields).since_at == from_ms(START + 1)


# --- the scheduler


@pytest.mark.parametrize("known", [None, facts(parked="x", paused=True)], ids=["forgotten", "known"])
def test_stopped_scheduler_is_said_first_and_overdue(known: JobFacts | None) -> None:
    """Of a scheduler that was left every job is stopped and overdue since then, whatever else is wrong."""
    health = read_health(reading(through_all(), known=known, of=vitals(SchedulerState.STOPPED, START - 9)))
    job = health["job"]
    assert (health.why, health.since_at) == ("the scheduler has stopped", from_ms(START - 9))
    assert (job.state, job.why, job.since_at) == (JobState.STOPPED, health.why, health.since_at)
    assert job.overdue
    assert not job.needs_restart
    assert job.consecutive_failures == 0
    assert (job.next_slot_at is None) == (known is None)
    assert verdicts(health) == (False, False, False, False)


def test_scheduler_that_was_never_started_is_stopped() -> None:
    """Before the first life the scheduler is stopped, since nobody knows when, and neither live nor ready."""
    health = read_health(reading(known=None, of=vitals(SchedulerState.STOPPED, None)))
    assert (health.why, health.since_at) == ("the scheduler was never started", None)
    assert (health["job"].why, health["job"].since_at) == ("the scheduler was never started", None)
    assert verdicts(health) == (False, False, False, False)


def test_disabled_scheduler_is_fine_and_serves_nothing() -> None:
    """A scheduler with enabled=False is live, ready and ok; its jobs are stopped, and not held to be overdue."""
    health = read_health(reading(known=None, of=vitals(SchedulerState.DISABLED, START)))
    job = health["job"]
    assert (health.why, health.since_at) == ("the scheduler was entered with enabled=False", from_ms(START))
    assert (job.state, job.why, job.since_at) == (JobState.STOPPED, health.why, from_ms(START))
    assert not job.overdue
    assert verdicts(health) == (False, True, True, True)


def test_stopping_scheduler_is_live_and_not_ready() -> None:
    """While it stops it serves nothing new, and no new process would mend that."""
    health = read_health(reading(known=facts(), of=vitals(SchedulerState.STOPPING, START - 3)))
    assert (health.why, health.since_at) == ("the scheduler is stopping", from_ms(START - 3))
    assert health["job"].state is JobState.OK
    assert verdicts(health) == (True, True, False, False)


def test_job_that_is_being_added_is_not_served_yet() -> None:
    """A running scheduler whose loop has not heard of a job says so, and asks for no restart."""
    health = read_health(reading(known=None))
    job = health["job"]
    assert (job.state, job.why, job.since_at) == (JobState.STOPPED, "it is not served yet, or no longer", None)
    assert not job.needs_restart
    assert health.live
    assert not health.ok


def test_silent_loop_makes_all_jobs_overdue() -> None:
    """A loop that does not tick serves nobody, whatever the slots say: a new process would."""
    for fields in ({}, {"oldest": None, "slot": None}, {"failures": 1}):
        health = read(of=silent(90.6), **fields)
        assert (health.state, health.why) == (JobState.OVERDUE, "the loop last ticked 91 s ago")
        assert health.since_at == from_ms(START - 90_600)
        assert health.needs_restart


@pytest.mark.parametrize("jobs", [{}, {"job": facts(paused=True)}], ids=["none", "paused"])
def test_silent_loop_shows_without_a_job(jobs: dict[str, JobFacts | None]) -> None:
    """A scheduler without jobs, or whose jobs are all paused, is red too when its loop is silent."""
    health = read_health(Reading(START, silent(100), jobs, {}))
    assert (health.state, health.why) == (SchedulerState.SILENT, "the loop last ticked 100 s ago")
    assert health.since_at == from_ms(START - 100_000)
    assert verdicts(health) == (True, False, False, False)
    assert all(job.state is JobState.PAUSED and not job.needs_restart for job in health.jobs)


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("scheduler", list(SchedulerState))
def test_health_of_the_whole(scheduler: SchedulerState, state: JobState) -> None:
    """Live is red only for what a restart mends, ready asks for a scheduler that serves, ok for jobs that are well."""
    needs_restart = state in (JobState.STUCK, JobState.OVERDUE)
    job = dataclasses.replace(read(), state=state, needs_restart=needs_restart)
    health = Health(scheduler, "", None, LoopHealth(), LedgerHealth("memory", shared=False), (read(), job))
    running, disabled = scheduler is SchedulerState.RUNNING, scheduler is SchedulerState.DISABLED
    assert health.running == (running or scheduler in (SchedulerState.STOPPING, SchedulerState.SILENT))
    assert health.live == (scheduler not in (SchedulerState.STOPPED, SchedulerState.SILENT) and not needs_restart)
    assert health.ready == (running or disabled)
    assert health.ok == (disabled or (running and state in (JobState.OK, JobState.PAUSED, JobState.ENDED)))


def test_ledger_is_reachable_until_a_call_fails() -> None:
    """The ledger answers unless some call of it fails."""
    assert LedgerHealth("memory", shared=False).reachable
    assert not LedgerHealth("memory", shared=False, why="OSError: down", failures=1).reachable


def test_health_is_had_by_name() -> None:
    """A job's health is had by its name, and an unknown one raises KeyError."""
    health = read_health(Reading(START, vitals(), {"a": facts(), "b": facts()}, {}))
    assert health["b"].job == "b"
    with pytest.raises(KeyError, match="c"):
        health["c"]


# --- overdue


@pytest.mark.parametrize(("age", "state"), [(2 * MINUTE, JobState.OK), (2 * MINUTE + 1, JobState.OVERDUE)])
def test_slot_is_overdue_after_two_periods(age: int, state: JobState) -> None:
    """A slot without an outcome is overdue when it is older than two periods, since then, also if it never ran."""
    health = read(oldest=START - age, used=None)
    assert health.state is state
    if state is JobState.OVERDUE:
        assert "has no outcome after two periods" in health.why
        assert health.since_at == from_ms(START - 1)


CLOCK_WENT_BACK = (
    "the clock went back; no slot recurs, so it waits until its last slot, 2026-03-01T00:01:00.001Z, "
    "has passed again, in 0:01:01"
)


@pytest.mark.parametrize(("ahead", "state"), [(60_000, JobState.OK), (60_001, JobState.OVERDUE)])
def test_clock_behind_the_last_slot_makes_overdue(ahead: int, state: JobState) -> None:
    """A job whose last slot lies over a minute ahead is overdue since the clock was set, and says until when."""
    loop = LoopHealth(1.0, clock_steps=1, stepped_at=from_ms(START - 500), stepped_seconds=-90.0)
    for known, since in ((loop, from_ms(START - 500)), (LoopHealth(1.0), None)):
        health = read(of=vitals(loop=known), used=START + ahead, watermark=START + ahead)
        assert health.state is state
        assert (health.why, health.since_at) == (("", None) if state is JobState.OK else (CLOCK_WENT_BACK, since))


@pytest.mark.parametrize(("ahead", "state"), [(60_000, JobState.OK), (4_320_000, JobState.OVERDUE)])
def test_ledger_ahead_of_the_clock_makes_overdue(ahead: int, state: JobState) -> None:
    """A row over a minute ahead keeps the job from running: it is overdue, and says by how much the row is ahead."""
    for used in (None, START):
        health = read(used=used, watermark=START + ahead)
        assert health.state is state
        assert health.since_at is None
        assert health.why == (
            ""
            if state is JobState.OK
            else "ledger ahead by 1:12:00: it holds slots up to 2026-03-01T01:12:00.000Z as taken"
        )


@pytest.mark.parametrize("field", ["used", "watermark"])
def test_restart_mends_no_row_that_is_ahead(field: str) -> None:
    """What a ledger holds that outlives the process is still ahead afterwards; what only this one knows is not."""
    ahead: dict[str, Any] = {field: START + 2 * MINUTE}
    assert read(**ahead).needs_restart
    kept = read(row=Row("job", START + 2 * MINUTE), **ahead)
    assert kept.state is JobState.OVERDUE
    assert not kept.needs_restart
    assert read(of=silent(91), row=Row("job", START + 2 * MINUTE), **ahead).needs_restart


@pytest.mark.parametrize("period", [timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1)])
def test_fifteen_silent_hours_show_within_two_periods(period: timedelta) -> None:
    """A run, a claim or a loop that never comes back turns the probe red after two periods, and not before."""
    span = period // timedelta(milliseconds=1)
    known = facts(slot=START + span, oldest=START, period=span, used=START - span)
    for elapsed, live in ((span, True), (2 * span, True), (2 * span + 1, False), (15 * 60 * MINUTE, False)):
        health = read_health(reading(known=known, now=START + elapsed))
        assert health.live is live, elapsed
        assert health.ok is live


# --- failing and busy


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
        assert health.since_at == from_ms(START + 500)
        assert health.consecutive_failures == 0


@pytest.mark.parametrize("outcome", ["", "Succeeded", "Succeeded 200", "Busy", "Skipped paused", "Interrupted"])
def test_other_outcomes_in_the_ledger_are_no_failures(outcome: str) -> None:
    """What succeeded, or says nothing of the job, leaves it well."""
    assert read(row=FAILED_ELSEWHERE._replace(outcome=outcome)).state is JobState.OK


def test_failures_here_and_elsewhere_are_one_row() -> None:
    """What fails here and then elsewhere fails since the first of both, unless a run succeeded in between."""
    record = record_of(Failed("job", "x"))
    row = FAILED_ELSEWHERE._replace(succeeded=START + 100)
    assert read(record, failures=1, row=row).since_at == from_ms(START + 200)
    assert read(record, failures=1, row=row._replace(succeeded=None)).since_at == from_ms(START + 200)
    assert read(record, failures=1, row=FAILED_ELSEWHERE).since_at == from_ms(START + 500)


def test_failure_in_the_ledger_that_is_older_than_our_last_run_is_over() -> None:
    """What this worker saw last is newer, and counts."""
    row = FAILED_ELSEWHERE._replace(ended=START + 200)
    assert read(record_of(Succeeded()), row=row).state is JobState.OK
    assert read(record_of(Succeeded()), row=row._replace(ended=START + 201)).state is JobState.FAILING


@pytest.mark.parametrize("outcome", [Busy(), Interrupted("shutdown"), Skipped("overlap")], ids=repr)
def test_run_here_that_tells_nothing_ends_no_failure_elsewhere(outcome: Outcome) -> None:
    """A job that failed elsewhere is failing until a run succeeds, and not only until one found the lock taken."""
    record = record_of(Succeeded(), outcome)
    assert read(record, row=FAILED_ELSEWHERE).state is JobState.FAILING


def test_run_elsewhere_ends_a_failure_here() -> None:
    """A job that failed here and has succeeded elsewhere since is well, but still counts its failures here."""
    record = record_of(Failed("job", "x"))
    assert read(record, failures=1).state is JobState.FAILING
    earlier = FINE_ELSEWHERE._replace(ended=START + 200, succeeded=START + 200)
    assert read(record, failures=1, row=earlier).state is JobState.FAILING
    health = read(record, failures=1, row=FINE_ELSEWHERE)
    assert health.state is JobState.OK
    assert health.consecutive_failures == 1


def test_run_elsewhere_that_tells_nothing_ends_no_failure_here() -> None:
    """A job that failed here is failing until a run succeeds, wherever; one that was busy elsewhere is none."""
    row = Row("job", START, outcome="Busy", ended=START + 500, succeeded=START + 100)
    assert read(record_of(Failed("job", "x")), failures=1, row=row).state is JobState.FAILING


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
    assert health.why == "the last run failed: its lease was lost"


def test_failing_names_the_last_failure() -> None:
    """A failing job tells how often in a row and how the last one failed, past outcomes that say nothing of it."""
    record = record_of(Failed("job", "old"), Failed("endpoint", "HTTP 401", 401), Busy(), Skipped("overlap"), Taken())
    health = read(record, failures=2)
    assert health.why == "2 runs in a row failed; the last one: endpoint: HTTP 401"
    assert health.since_at == from_ms(START + 200)
    timed_out = read(record_of(TimedOut(1.5)), failures=1)
    assert timed_out.why == "the last run failed: timed out after 1.500 s"
    assert read(failures=1).why == "the last run failed: no longer in the history"
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
    """Three busy runs with no other run between look like a stuck lock, since the first of them."""
    health = read(record_of(*outcomes))
    assert health.state is state
    assert health.since_at == (from_ms(START + 200) if state is JobState.BUSY_TOO_LONG else None)


def test_record_tells_last_start_and_success() -> None:
    """The last start counts every run, the last success only those; what never started is no start."""
    record = record_of(Succeeded(), Failed("job", "x"))
    record.note(settled(Skipped("overlap"), 5, started=None))
    health = read(record, failures=1)
    assert health.last_started_at == from_ms(START + MINUTE + 100)
    assert health.last_succeeded_at == from_ms(START + 200)
    assert health.consecutive_failures == 1
