"""Health as an answer to a probe: the status for machines, the reasons for people."""

from __future__ import annotations

from heapq import nsmallest
from typing import Any, Final, Literal

from loopcron import Health, JobHealth
from loopcron.status._document import at, by_severity
from loopcron.status._exchange import StatusAnswer, json_answer
from loopcron.status._redact import shown

JOBS: Final = 100
"""How many jobs an answer tells of, the worst ones first."""


def probe(health: Health, question: Literal["live", "ready", "ok"], *, details: bool = False) -> StatusAnswer:
    """
    Return 200 if *health* is so, else 503, and JSON that says why.

    Args:
        health: Of the scheduler, read for this answer.
        question: ``live``: false only where a restart would mend it. ``ready``: it runs, or is disabled on purpose.
            ``ok``: that, and every job is ok, paused or ended.
        details: Whether to say why each job is not well, which may quote what a job raised. Without it the answer
            holds names, states and times only, for a probe is seldom behind a login.
    """
    passed = {"live": health.live, "ready": health.ready, "ok": health.ok}[question]
    content = {
        "status": "ok" if passed else "failing",
        "state": health.state.value,
        "why": shown(health.why),
        "since": at(health.since_at),
        "jobs": [_job(job, details=details) for job in nsmallest(JOBS, health.jobs, key=by_severity)],
        "total": len(health.jobs),
    }
    return json_answer(200 if passed else 503, content)


def _job(job: JobHealth, *, details: bool) -> dict[str, Any]:
    told = {
        "job": job.job,
        "state": job.state.value,
        "since": at(job.since_at),
        "consecutive_failures": job.consecutive_failures,
        "last_started": at(job.last_started_at),
        "last_succeeded": at(job.last_succeeded_at),
        "next_slot": at(job.next_slot_at),
    }
    return told | {"why": shown(job.why)} if details else told
