"""Documents as status.json tells them, made by hand: whatever a page may have to show, at an instant of our choice."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

AT = datetime(2026, 3, 28, 14, 20, 7, 412_000, UTC)
"""The evening before Europe's clocks go forward."""
STATES = ("stuck", "overdue", "failing", "parked", "busy_too_long", "stopped", "paused", "ended", "ok")
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

Json = dict[str, Any]


def iso(instant: datetime) -> str:
    """Return *instant* as the document tells it."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def local(instant: datetime, zone: ZoneInfo | None) -> str:
    """Return *instant* in its zone, as the document tells it."""
    there = instant.astimezone(zone or UTC)
    offset = f"{there:%z}"
    return f"{there:%a %Y-%m-%d %H:%M} {offset[:3]}:{offset[3:]} {there:%Z}"


def entry(slot: datetime, outcome: str = "Succeeded", detail: str = "HTTP 200", **fields: Any) -> Json:
    """Return one line of a history."""
    kinds = {"Succeeded": "ok", "Busy": "expected", "Interrupted": "expected", "Taken": "taken"}
    kind = kinds.get(outcome, "skipped" if outcome in ("Skipped", "Missed") else "failed")
    took, late = fields.pop("took", 0.132), fields.pop("late", 0.003)
    ran = kind not in ("skipped", "taken")
    started = slot + timedelta(seconds=late)
    return {
        "slot": iso(slot),
        "first": None,
        "count": 1,
        "outcome": outcome,
        "kind": kind,
        "detail": detail,
        "status": 200 if outcome == "Succeeded" else None,
        "reason": "schedule",
        "attempt": 1,
        "started": iso(started) if ran else None,
        "ended": iso(started + timedelta(seconds=took)),
        "duration_seconds": took if ran else 0.0,
        "late_seconds": late,
        "worker": "",
        "failures": 0,
    } | fields


def job(name: str, state: str = "ok", *, every: timedelta = 15 * MINUTE, **fields: Any) -> Json:
    """Return one job, by default one that runs every 15 minutes and is well."""
    zone = fields.pop("tz", None)
    following = fields.pop("following", AT.replace(second=0, microsecond=0) + every)
    history = fields.pop("history", None)
    if history is None:
        history = [entry(following - every * back) for back in range(30, 0, -1)]
    coming = [following + every * ahead for ahead in range(5)]
    day = [following + every * ahead for ahead in range(1 + (AT + DAY - following) // every)]
    minutes = every // MINUTE
    words = {1: "every minute", 60: "every hour", 1440: "every day"}.get(minutes, f"every {minutes} minutes")
    ran = [one for one in history if one["started"]]
    fine = [one for one in history if one["kind"] == "ok"]
    return {
        "name": name,
        "state": state,
        "why": "",
        "since": None,
        "schedule": {"text": f'every("{minutes}m")', "words": words, "zone": str(zone or "UTC")},
        "paused": state == "paused",
        "next": {"slot": iso(following), "due": iso(following), "local": local(following, zone), "skipped": False},
        "upcoming": [{"slot": iso(slot), "local": local(slot, zone), "marks": []} for slot in coming],
        "next_day": [iso(slot) for slot in day[:100]],
        "next_day_is_cut": len(day) > 100,
        "last": history[-1] if history else None,
        "consecutive_failures": 0,
        "last_started": ran[-1]["started"] if ran else None,
        "last_succeeded": fine[-1]["ended"] if fine else None,
        "timeout_seconds": 300.0,
        "running": [],
        "lease": None,
        "shared_outcome": None,
        "history": history,
    } | fields


def document(*jobs: Json, actions: bool = True, **fields: Any) -> Json:
    """Return a document of these jobs; *fields* of ``scheduler`` replace those of a scheduler that is well."""
    counts = Counter(one["state"] for one in jobs)
    return {
        "version": 1,
        "at": iso(AT),
        "scheduler": {
            "state": "running",
            "why": "",
            "since": iso(AT - 4 * DAY - 2 * HOUR),
            "live": True,
            "ok": not any(counts[state] for state in STATES[:6]),
            "worker": "app-1:4711",
            "pid": 4711,
            "started": iso(AT - 4 * DAY - 2 * HOUR),
            "workers": ["app-1:4711", "app-2:4712", "app-3:4709"],
            "ledger": {
                "text": "PostgresLedger(db.internal/app)",
                "shared": True,
                "reachable": True,
                "why": "",
                "since": None,
                "failures": 0,
            },
            "loop": {"silent_seconds": 0.4, "lag_seconds": 0.002, "worst_lag_seconds": 0.034},
            "clock": {"steps": 0, "stepped_at": None, "stepped_seconds": 0.0},
            "observers": [
                {"name": "LoggingObserver", "disabled": False, "problem": "", "dropped": 0},
                {"name": "PrometheusObserver", "disabled": False, "problem": "", "dropped": 0},
            ],
        }
        | fields,
        "actions": actions,
        "counts": {state: counts[state] for state in STATES},
        "total": len(jobs),
        "offset": 0,
        "limit": 200,
        "jobs": sorted(jobs, key=lambda one: (STATES.index(one["state"]), one["name"])),
    }


def many_states() -> Json:
    """Return a document with something of everything, which the pictures show."""
    night = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    return document(
        _nightly(night),
        _flaky(),
        _stuck(),
        job("prune-closed", every=HOUR, following=AT.replace(minute=45, second=0, microsecond=0)),
        job("sync", history=_mixed(), running=[_running(AT - timedelta(seconds=42), 300)]),
        job("heartbeat", every=MINUTE, following=AT.replace(minute=21, second=0, microsecond=0)),
        job(
            "newsletter",
            "paused",
            why="paused",
            since=iso(AT - 7 * HOUR),
            every=DAY,
            following=AT + 18 * HOUR,
            history=[entry(AT - back * DAY, took=8.4) for back in (4, 3, 2, 1)],
        ),
        _locked(),
    )


def _nightly(night: datetime) -> Json:
    slots = [night - DAY * back for back in range(12, 0, -1)]
    history = [entry(slot, took=71.3) for slot in slots[:-1]]
    history.append(entry(slots[-1], "Skipped", "another run of the job was alive"))
    upcoming = [(night, ["this local time does not exist: the clock goes from 02:00 to 03:00, so it runs at 03:30"])]
    upcoming += [(night + DAY * ahead - HOUR, []) for ahead in range(1, 5)]
    return job(
        "nightly-report",
        every=DAY,
        following=night,
        tz=BERLIN,
        schedule={
            "text": 'cron("30 2 * * *", zone="Europe/Berlin")',
            "words": "at 02:30 every day",
            "zone": "Europe/Berlin",
        },
        history=history,
        upcoming=[{"slot": iso(slot), "local": local(slot, BERLIN), "marks": marks} for slot, marks in upcoming],
        lease={
            "worker": "app-2:4712",
            "slot": iso(slots[-1]),
            "fence": 4117,
            "until": iso(slots[-1] + 5 * MINUTE),
            "ours": False,
        },
        shared_outcome={
            "outcome": "Succeeded 200",
            "ended": iso(slots[-1] + MINUTE),
            "succeeded": iso(slots[-1] + MINUTE),
            "worker": "app-2:4712",
        },
    )


def _flaky() -> Json:
    following = AT.replace(minute=30, second=0, microsecond=0)
    slots = [following - 10 * MINUTE * back for back in range(30, 0, -1)]
    error = "endpoint: HTTP 503 Service Unavailable"
    history = [entry(slot) for slot in slots[:9]]
    history += [entry(slots[9], "Failed", error, status=503, attempt=3, took=6.2)]
    history += [entry(slot) for slot in slots[10:27]]
    history += [
        entry(slot, "Failed", error, status=503, attempt=3, took=6.2, failures=number)
        for number, slot in enumerate(slots[27:], start=1)
    ]
    return job(
        "invoice-mail",
        "failing",
        every=10 * MINUTE,
        following=following,
        why="3 runs in a row failed; the last one: endpoint: HTTP 503 Service Unavailable",
        since=iso(slots[27]),
        consecutive_failures=3,
        history=history,
    )


def _stuck() -> Json:
    following = AT.replace(minute=25, second=0, microsecond=0)
    slots = [following - 5 * MINUTE * back for back in range(30, 0, -1)]
    history = [entry(slot, took=2.2) for slot in slots[:26]]
    history += [entry(slots[26], "TimedOut", "cut after 60.002 s", took=60.002, failures=1)]
    history += [entry(slot, "Skipped", "another run of the job was alive") for slot in slots[27:]]
    return job(
        "groomer",
        "stuck",
        every=5 * MINUTE,
        following=following,
        why="a run swallowed its cancellation",
        since=iso(slots[26] + MINUTE),
        consecutive_failures=1,
        timeout_seconds=60.0,
        history=history,
        running=[_running(slots[26], 60)],
    )


def _mixed() -> list[Json]:
    slots = [AT.replace(minute=15, second=0, microsecond=0) - 15 * MINUTE * back for back in range(31, -1, -1)]
    history = [entry(slot, took=1.9) for slot in slots]
    for at in (4, 12, 20):
        history[at] = entry(slots[at], "Busy", "somebody else holds the lock", status=409, took=0.011)
    for at in (5, 6, 15, 24):
        history[at] = entry(slots[at], "Taken", "by app-3:4709", worker="app-3:4709")
    history[18] = entry(slots[18], "Interrupted", "the scheduler stopped", took=4.1)
    history[9] = entry(slots[9], "Missed", "passed unserved, and is not caught up", first=iso(slots[7]), count=3)
    del history[7:9]
    return history


def _locked() -> Json:
    slots = [AT.replace(minute=15, second=0, microsecond=0) - 15 * MINUTE * back for back in range(29, -1, -1)]
    history = [entry(slot, took=0.4) for slot in slots[:25]]
    history += [entry(slot, "Busy", "somebody else holds the lock", status=409, took=0.012) for slot in slots[25:]]
    return job(
        "reconcile",
        "busy_too_long",
        why="5 runs in a row found the lock taken",
        since=iso(slots[25]),
        history=history,
        following=slots[-1] + 15 * MINUTE,
    )


def _running(started: datetime, limit: int) -> Json:
    return {
        "slot": iso(started),
        "attempt": 1,
        "reason": "schedule",
        "started": iso(started),
        "deadline": iso(started + timedelta(seconds=limit)),
        "key": f"run@{iso(started)}",
    }
