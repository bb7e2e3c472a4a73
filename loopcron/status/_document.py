"""
The JSON document that the page shows: the scheduler, and a page of its jobs, worst first.

Made from what `Scheduler.snapshot` and `Scheduler.health` tell, when somebody asks, and from nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from loopcron import Health, JobHealth, JobSnapshot, JobState, Snapshot, UpcomingSlot
from loopcron._instants import iso, to_ms
from loopcron.status._history import entry
from loopcron.status._query import Query
from loopcron.status._redact import shown

VERSION: Final = 1
NEXT_DAY: Final = timedelta(days=1)
NEXT_DAY_SLOTS: Final = 100
"""So many slots of the next 24 hours are told at most."""
UPCOMING: Final = 5

SEVERITY: Final = (
    *(JobState.STUCK, JobState.OVERDUE, JobState.FAILING, JobState.PARKED, JobState.BUSY_TOO_LONG, JobState.STOPPED),
    *(JobState.PAUSED, JobState.ENDED, JobState.OK),
)
"""The worst first."""
_RANK: Final = {state: rank for rank, state in enumerate(SEVERITY)}
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def at(instant: datetime | None) -> str | None:
    """Return *instant* in RFC 3339, in UTC with milliseconds."""
    return None if instant is None else iso(to_ms(instant))


def by_severity(job: JobHealth) -> tuple[int, str]:
    """Return what jobs are sorted by: the worst state first, then by name."""
    return _RANK[job.state], job.job


def selected(health: Health, query: Query) -> list[JobHealth]:
    """Return all jobs whose names hold the text that *query* asks for, in order."""
    return sorted((job for job in health.jobs if query.text in job.job.lower()), key=by_severity)


def document(snapshot: Snapshot, health: Health, query: Query, *, total: int, actions: bool) -> dict[str, Any]:
    """Return the document without its ``jobs``, which are made one by one, as there may be many."""
    counts = Counter(job.state for job in health.jobs)
    return {
        "version": VERSION,
        "at": at(snapshot.at),
        "scheduler": _scheduler(snapshot, health),
        "actions": actions,
        "counts": {state.value: counts[state] for state in SEVERITY},
        "total": total,
        "offset": query.offset,
        "limit": query.limit,
    }


def _scheduler(snapshot: Snapshot, health: Health) -> dict[str, Any]:
    loop, ledger = health.loop, health.ledger
    return {
        "state": health.state.value,
        "why": shown(health.why),
        "since": at(health.since_at),
        "live": health.live,
        "ok": health.ok,
        "worker": shown(snapshot.worker),
        "pid": snapshot.pid,
        "started": at(snapshot.started_at),
        "workers": [shown(worker) for worker in snapshot.workers],
        "ledger": {
            "text": shown(ledger.text),
            "shared": ledger.shared,
            "reachable": ledger.reachable,
            "why": shown(ledger.why),
            "since": at(ledger.since_at),
            "failures": ledger.failures,
        },
        "loop": {
            "silent_seconds": _seconds(loop.silent_seconds),
            "lag_seconds": _seconds(loop.lag_seconds),
            "worst_lag_seconds": _seconds(loop.worst_lag_seconds),
        },
        "clock": {
            "steps": loop.clock_steps,
            "stepped_at": at(loop.stepped_at),
            "stepped_seconds": _seconds(loop.stepped_seconds),
        },
        "observers": [
            {
                "name": shown(observer.name),
                "disabled": observer.disabled,
                "problem": shown(observer.problem),
                "dropped": observer.dropped,
            }
            for observer in snapshot.observers
        ],
    }


def job_document(
    job: JobSnapshot, health: JobHealth, day: Sequence[UpcomingSlot], upcoming: Sequence[UpcomingSlot]
) -> dict[str, Any]:
    """
    Return what the document tells of one job.

    Args:
        job: It.
        health: Its health.
        day: Its slots of the next 24 hours; more than 100 say that there are more.
        upcoming: Its next five slots.
    """
    history = [entry(settled) for settled in job.history]
    lease, shared = job.lease, job.shared_outcome
    return {
        "name": job.name,
        "state": health.state.value,
        "why": shown(health.why),
        "since": at(health.since_at),
        "schedule": {"text": shown(job.schedule), "words": shown(job.description), "zone": shown(job.zone)},
        "paused": job.paused,
        "next": _next(job, upcoming),
        "upcoming": [
            {
                "slot": at(slot.slot_at),
                "local": local_text(slot.local_at),
                "marks": [shown(mark) for mark in slot.marks],
            }
            for slot in upcoming
        ],
        "next_day": [at(slot.slot_at) for slot in day[:NEXT_DAY_SLOTS]],
        "next_day_is_cut": len(day) > NEXT_DAY_SLOTS,
        "last": history[-1] if history else None,
        "consecutive_failures": health.consecutive_failures,
        "last_started": at(health.last_started_at),
        "last_succeeded": at(health.last_succeeded_at),
        "timeout_seconds": _seconds(job.timeout_seconds),
        "running": [
            {
                "slot": at(run.slot_at),
                "attempt": run.attempt,
                "reason": run.reason,
                "started": at(run.started_at),
                "deadline": at(run.deadline_at),
                "key": shown(run.key),
            }
            for run in job.runs
        ],
        "lease": None
        if lease is None
        else {
            "worker": shown(lease.worker),
            "slot": at(lease.slot_at),
            "fence": lease.fence,
            "until": at(lease.until_at),
            "ours": lease.ours,
        },
        "shared_outcome": None
        if shared is None
        else {
            "outcome": shown(shared.outcome),
            "ended": at(shared.ended_at),
            "succeeded": at(shared.succeeded_at),
            "worker": shown(shared.worker),
        },
        "history": history,
    }


def _next(job: JobSnapshot, upcoming: Sequence[UpcomingSlot]) -> dict[str, Any] | None:
    slot = job.next_slot_at
    if slot is None:
        return None
    local = slot.astimezone(upcoming[0].local_at.tzinfo) if upcoming else slot
    return {
        "slot": at(slot),
        "due": at(job.due_at),
        "local": local_text(local),
        "skipped": job.skips_slot_at == slot,
    }


def local_text(local: datetime) -> str:
    """Return *local* as people read it, with its offset, and its zone's letters where it has any."""
    wall = local.replace(tzinfo=None)
    offset = local.isoformat().removeprefix(wall.isoformat())
    precise = "milliseconds" if wall.microsecond else "seconds" if wall.second else "minutes"
    zone = local.tzname() or ""
    letters = f" {shown(zone)}" if zone.isalpha() else ""
    return f"{_WEEKDAYS[local.weekday()]} {wall.isoformat(' ', precise)} {offset}{letters}"


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else round(seconds, 3)
