"""
What a scheduler shows to Prometheus: gauges computed from one reading, and their text, which needs no package.

Gauges only: history is a ring, so what could be counted from it would fall, and Prometheus takes a counter that falls
for a restart. Counters and histograms are the `PrometheusObserver`'s, which adds these gauges under the same names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple

from loopcron._health import Health, JobHealth, JobState, SchedulerState
from loopcron._outcomes import printable
from loopcron._status import JobSnapshot, ObserverSnapshot, Snapshot
from loopcron.status._redact import shown

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `metrics_text` returns."""
MOST_JOBS: Final = 1_000
"""How many jobs have series of their own; ``jobs`` counts all of them."""

HELP: Final[Mapping[str, str]] = {
    "scheduler_up": "1 if the scheduler runs and its loop ticks, else 0.",
    "scheduler_state": "1 for the state that the scheduler is in, 0 for the others.",
    "loop_silent_seconds": "How long ago the scheduler's loop last ticked.",
    "loop_lag_seconds": "How much later than it asked for the loop was woken the last time.",
    "loop_worst_lag_seconds": "The largest lag since the scheduler was started.",
    "clock_steps": "How often the wall clock was set since the scheduler was started.",
    "ledger_reachable": "1 if the ledger answers, else 0.",
    "ledger_failures": "How many calls the ledger has failed to answer since it last did.",
    "observer_disabled": "1 if an observer of this type was disabled, being slow or raising, else 0.",
    "observer_dropped_events": "How many events observers of this type have dropped since they were made.",
    "jobs": "How many jobs are in this state.",
    "job_info": "The job's schedule and timezone; always 1.",
    "job_state": "1 for the state that the job is in, 0 for the others.",
    "consecutive_failures": "How many runs of the job have failed in a row.",
    "running": "How many runs of the job are alive in this process.",
    "last_success_timestamp_seconds": "When the job last succeeded, in seconds from the epoch; absent if it never did.",
    "next_run_timestamp_seconds": "The job's next slot, in seconds from the epoch; absent if there is none.",
}
"""The gauges in the order in which they are shown, without prefix, and what each is."""

Sample = tuple[dict[str, str], float]
"""Labels and value."""


class Gauge(NamedTuple):
    """One gauge with all its series."""

    name: str
    """A key of `HELP`."""
    samples: list[Sample]


def metrics_text(snapshot: Snapshot, health: Health, *, most_jobs: int = MOST_JOBS) -> str:
    """
    Return a scheduler's gauges in Prometheus's text format.

    Args:
        snapshot: What the scheduler holds.
        health: How it is, read at the same time.
        most_jobs: How many jobs have series of their own, in the order in which they were added.
    """
    jobs = {job.name for job in islice(snapshot.jobs, most_jobs)}
    return "".join(_lines(gauges(snapshot, health, jobs)))


def gauges(snapshot: Snapshot, health: Health, jobs: Collection[str]) -> Iterator[Gauge]:
    """Yield all gauges that have a value; those of a job only for *jobs*."""
    samples: dict[str, list[Sample]] = {name: [] for name in HELP}
    _add_scheduler(samples, health)
    _add_observers(samples, snapshot.observers)
    states = Counter(job.state for job in health.jobs)
    samples["jobs"] = [({"state": state.value}, states[state]) for state in JobState]
    judged = {job.job: job for job in health.jobs}
    for job in snapshot.jobs:
        if job.name in jobs and job.name in judged:
            _add_job(samples, job, judged[job.name])
    return (Gauge(name, found) for name, found in samples.items() if found)


def _add_scheduler(samples: dict[str, list[Sample]], health: Health) -> None:
    loop, ledger = health.loop, health.ledger
    samples["scheduler_state"] = [({"state": state.value}, health.state is state) for state in SchedulerState]
    values = {
        "scheduler_up": health.state is SchedulerState.RUNNING,
        "loop_silent_seconds": loop.silent_seconds,
        "loop_lag_seconds": loop.lag_seconds,
        "loop_worst_lag_seconds": loop.worst_lag_seconds,
        "clock_steps": loop.clock_steps,
        "ledger_reachable": ledger.reachable,
        "ledger_failures": ledger.failures,
    }
    for name, value in values.items():
        if value is not None:
            samples[name] = [({}, value)]


def _add_observers(samples: dict[str, list[Sample]], observers: Iterable[ObserverSnapshot]) -> None:
    disabled: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for observer in observers:
        # Added up by type: two of one type would be one series twice, and then no scrape would be read at all.
        name = printable(observer.name)
        disabled[name] |= observer.disabled
        dropped[name] += observer.dropped
    samples["observer_disabled"] = [({"observer": name}, value) for name, value in disabled.items()]
    samples["observer_dropped_events"] = [({"observer": name}, value) for name, value in dropped.items()]


def _add_job(samples: dict[str, list[Sample]], job: JobSnapshot, health: JobHealth) -> None:
    labels = {"job": job.name}
    info = {**labels, "schedule": shown(job.schedule), "timezone": printable(job.zone)}
    samples["job_info"].append((info, 1))
    samples["job_state"] += [({**labels, "state": state.value}, health.state is state) for state in JobState]
    samples["consecutive_failures"].append((labels, health.consecutive_failures))
    samples["running"].append((labels, len(job.runs)))
    _add_instant(samples["last_success_timestamp_seconds"], labels, health.last_succeeded_at)
    _add_instant(samples["next_run_timestamp_seconds"], labels, health.next_slot_at)


def _add_instant(samples: list[Sample], labels: dict[str, str], at: datetime | None) -> None:
    if at is not None:
        samples.append((labels, at.timestamp()))


def _lines(told: Iterable[Gauge]) -> Iterator[str]:
    for gauge in told:
        name = f"loopcron_{gauge.name}"
        yield f"# HELP {name} {HELP[gauge.name]}\n# TYPE {name} gauge\n"
        for labels, value in gauge.samples:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{name}{{{pairs}}} {float(value)!r}\n" if pairs else f"{name} {float(value)!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
