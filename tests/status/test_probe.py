"""Health as an answer to a probe: which question turns red when, and what is told to whoever asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from loopcron import FunctionJob, Health, JobState, Run, Scheduler, SchedulerState, every
from loopcron.status import probe
from loopcron.status._probe import JOBS
from loopcron.testing import FakeClock

SECRET = "hunter2-hunter2"


def health_of(state: SchedulerState, *jobs: JobState) -> Health:
    """Return the health of a scheduler in that state whose jobs are in these."""
    scheduler = Scheduler(clock=FakeClock())
    scheduler.add(FunctionJob("job", every(minutes=1), lambda run: None))
    health = scheduler.health()
    one = health["job"]
    told = tuple(
        replace(one, job=f"job-{number}", state=job, needs_restart=job in (JobState.STUCK, JobState.OVERDUE))
        for number, job in enumerate(jobs)
    )
    return replace(health, state=state, jobs=told)


RUNNING = SchedulerState.RUNNING


@pytest.mark.parametrize(
    ("health", "red"),
    [
        (health_of(RUNNING, JobState.OK, JobState.PAUSED, JobState.ENDED), set()),
        (health_of(RUNNING, JobState.OK, JobState.FAILING), {"ok"}),
        (health_of(RUNNING, JobState.PARKED), {"ok"}),
        (health_of(RUNNING, JobState.BUSY_TOO_LONG), {"ok"}),
        (health_of(RUNNING, JobState.OK, JobState.STUCK), {"live", "ok"}),
        (health_of(RUNNING, JobState.OVERDUE), {"live", "ok"}),
        (health_of(SchedulerState.STOPPING, JobState.OK), {"ready", "ok"}),
        (health_of(SchedulerState.SILENT, JobState.OVERDUE), {"live", "ready", "ok"}),
        (health_of(SchedulerState.STOPPED, JobState.STOPPED), {"live", "ready", "ok"}),
        (health_of(SchedulerState.DISABLED, JobState.STOPPED), set()),
    ],
    ids=lambda value: "-".join([value.state, *(job.state for job in value.jobs)]) if isinstance(value, Health) else "",
)
def test_which_question_turns_red(health: Health, red: set[str]) -> None:
    """A probe is 503 where its question is answered by no, and its JSON says the same."""
    questions = ("live", "ready", "ok")
    for question in questions:
        answer = probe(health, question)  # type: ignore[arg-type]
        expected = (503, "failing") if question in red else (200, "ok")
        assert (answer.status, json.loads(answer.body)["status"]) == expected
        assert dict(answer.headers)["Cache-Control"] == "no-store"


async def test_what_is_told() -> None:
    """Names, states and times are told to everybody; what jobs raised only where details are asked for, redacted."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock)

    def fails(run: Run) -> None:
        """Fail, with a secret."""
        raise ValueError(f"customer 4711\n of redis://:{SECRET}@store")

    async def fail(run: Run) -> None:
        """Fail on the loop."""
        fails(run)

    scheduler.add(FunctionJob("good", every(hours=1), lambda run: None))
    scheduler.add(FunctionJob("bad", every(minutes=1), fail))
    async with scheduler:
        await clock.advance(timedelta(minutes=1))
        health = scheduler.health()
        now = clock.now()
    plain, full = (json.loads(probe(health, "ok", details=details).body) for details in (False, True))
    bad, good = plain["jobs"]
    assert bad == {
        "job": "bad",
        "state": "failing",
        "since": bad["last_started"],
        "consecutive_failures": 1,
        "last_started": "2031-05-07T11:14:00.000Z",
        "last_succeeded": None,
        "next_slot": "2031-05-07T11:15:00.000Z",
    }
    assert (good["job"], good["state"], plain["total"], plain["state"], plain["why"]) == (
        "good",
        "ok",
        2,
        "running",
        "",
    )
    assert (plain["since"], f"{now:%H:%M:%S}") == ("2031-05-07T11:13:17.000Z", "11:14:17")
    assert "4711" not in json.dumps(plain)
    assert "customer 4711\\n of redis://…@store" in full["jobs"][0]["why"]
    assert SECRET not in json.dumps(full)


def test_answer_is_bounded() -> None:
    """Of many jobs the worst are told, and how many there are."""
    jobs = [JobState.OK] * JOBS + [JobState.FAILING, JobState.STUCK]
    told: Mapping[str, Any] = json.loads(probe(health_of(RUNNING, *jobs), "live").body)
    assert (len(told["jobs"]), told["total"]) == (JOBS, JOBS + 2)
    assert [job["state"] for job in told["jobs"][:3]] == ["stuck", "failing", "ok"]
