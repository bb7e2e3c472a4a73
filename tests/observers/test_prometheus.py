"""`PrometheusObserver` on the real package: what it counts, what a scrape reads, and how many series there can be."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import prometheus_client as prometheus
import pytest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from loopcron import (
    Busy,
    ConfigError,
    Failed,
    Interrupted,
    LeaseLost,
    Missed,
    ObserverFailed,
    Outcome,
    Run,
    RunStarted,
    Scheduler,
    Settled,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    every,
)
from loopcron.observers import PrometheusObserver
from loopcron.testing import FakeClock, RecordingObserver
from tests.loops import ASYNCIO

SLOT = 1_935_000_000_000


@pytest.fixture(scope="module", params=[pytest.param(ASYNCIO, id="asyncio")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run on one loop: nothing in here waits, and what the scheduler does on each is its own tests' business."""
    return request.param


@pytest.fixture
def registry() -> prometheus.CollectorRegistry:
    """Return a registry of its own."""
    return prometheus.CollectorRegistry()


class LateClock:
    """A fake clock that can be moved on under the scheduler, which sees its loop silent then; or that fails."""

    def __init__(self) -> None:
        self.fake = FakeClock()
        self.attach = self.fake.attach
        self.sleep = self.fake.sleep
        self.late = 0.0
        self.broken = False

    def now(self) -> datetime:
        if self.broken:
            raise OSError("no clock")
        return self.fake.now()

    def monotonic(self) -> float:
        return self.fake.monotonic() + self.late


async def work(run: Run) -> None:
    """Do nothing."""


def settled(
    outcome: Outcome, job: str = "sync", *, started: int | None = SLOT + 40, reason: Any = "schedule"
) -> Settled:
    """Return the event of a slot of which the run took a quarter of a second."""
    return Settled(job, SLOT, outcome, reason, 1, started, SLOT + 290, 0)


def series(registry: prometheus.CollectorRegistry) -> dict[str, float]:
    """Return what a scrape reads, series by series as the text has them; of ``_created`` nothing."""
    text = prometheus.generate_latest(registry).decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found, f"{name} is there twice"
            if not sample.name.endswith("_created"):
                found[name] = sample.value
    return found


def starting(registry: prometheus.CollectorRegistry, begin: str) -> dict[str, float]:
    """Return the series whose names begin like this, but those of no value."""
    return {name: value for name, value in series(registry).items() if name.startswith(begin) and value}


@pytest.mark.parametrize(
    ("outcome", "label", "count"),
    [
        (Succeeded(200), "succeeded", 1),
        (Busy(), "busy", 1),
        (Failed("job", "bad"), "failed", 1),
        (TimedOut(1.0), "timed_out", 1),
        (Skipped("overlap"), "skipped", 1),
        (Skipped("paused", SLOT - 9_000, SLOT, 4), "skipped", 4),
        (Missed(SLOT - 9_000, SLOT, 10), "missed", 10),
        (Missed(SLOT - 9_000, SLOT, None), "missed", 1),
        (Missed(SLOT - 9_000, SLOT, -5), "missed", 1),
        (Taken(), "taken", 1),
        (Interrupted("shutdown"), "interrupted", 1),
        (LeaseLost(), "lease_lost", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, tuple) else None,
)
def test_every_outcome_is_counted(
    registry: prometheus.CollectorRegistry, outcome: Outcome, label: str, count: int
) -> None:
    """Each outcome is counted under its name, a range by its slots, and one that was not counted as one."""
    observer = PrometheusObserver(registry)
    observer.on_event(settled(outcome))
    observer.on_event(settled(outcome))
    assert starting(registry, "loopcron_runs_total") == {
        f"loopcron_runs_total{{job=sync,outcome={label}}}": 2 * count,
    }


def test_run_is_timed(registry: prometheus.CollectorRegistry) -> None:
    """Duration and lateness go into histograms of the job; of a run that never started there is neither."""
    observer = PrometheusObserver(registry, duration_buckets=[0.1, 1], lateness_buckets=(0.01, 0.05))
    observer.on_event(RunStarted("sync", SLOT, 1, "schedule"))
    observer.on_event(settled(Succeeded()))
    observer.on_event(settled(Skipped("overlap"), started=None))
    observer.on_event(settled(Succeeded(), reason="manual"))
    assert starting(registry, "loopcron_run_") == {
        "loopcron_run_duration_seconds_bucket{job=sync,le=1.0}": 2,
        "loopcron_run_duration_seconds_bucket{job=sync,le=+Inf}": 2,
        "loopcron_run_duration_seconds_count{job=sync}": 2,
        "loopcron_run_duration_seconds_sum{job=sync}": 0.5,
        "loopcron_run_lateness_seconds_bucket{job=sync,le=0.05}": 1,
        "loopcron_run_lateness_seconds_bucket{job=sync,le=+Inf}": 1,
        "loopcron_run_lateness_seconds_count{job=sync}": 1,
        "loopcron_run_lateness_seconds_sum{job=sync}": 0.04,
    }


def test_clock_that_was_set_back_makes_no_negative_time(registry: prometheus.CollectorRegistry) -> None:
    """A run that ended before it began, by a clock that was set, took no time."""
    observer = PrometheusObserver(registry)
    observer.on_event(settled(Succeeded(), started=SLOT + 60_000))
    observer.on_event(settled(Succeeded(), started=SLOT - 60_000))
    found = series(registry)
    assert found["loopcron_run_duration_seconds_sum{job=sync}"] == 60.29
    assert found["loopcron_run_lateness_seconds_sum{job=sync}"] == 60.0


async def test_scrape_reads_the_scheduler(registry: prometheus.CollectorRegistry) -> None:
    """The gauges are those of this moment: state, runs, next slot, last success, ledger."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])

    async def bad(run: Run) -> None:
        raise ValueError("bad")

    async def slow(run: Run) -> None:
        await run.sleep(90)

    for function in (work, bad, slow):
        scheduler.job(every(minutes=1), timeout=timedelta(minutes=5))(function)
    assert series(registry) == {}
    async with scheduler:
        begun = clock.now().timestamp()
        await clock.advance(timedelta(minutes=1))
        next_slot = scheduler.health()["work"].next_slot_at
        assert next_slot is not None
        found = series(registry)
        wanted = {
            "loopcron_scheduler_up": 1,
            "loopcron_scheduler_state{state=running}": 1,
            "loopcron_scheduler_state{state=stopped}": 0,
            "loopcron_ledger_reachable": 1,
            "loopcron_loop_silent_seconds": 17,
            "loopcron_loop_lag_seconds": 0,
            "loopcron_jobs{state=ok}": 2,
            "loopcron_jobs{state=failing}": 1,
            "loopcron_job_state{job=work,state=ok}": 1,
            "loopcron_job_state{job=bad,state=failing}": 1,
            "loopcron_job_state{job=bad,state=ok}": 0,
            "loopcron_consecutive_failures{job=bad}": 1,
            "loopcron_running{job=slow}": 1,
            "loopcron_running{job=work}": 0,
            "loopcron_job_info{job=work,schedule=every 0:01:00,timezone=UTC}": 1,
            "loopcron_next_run_timestamp_seconds{job=work}": next_slot.timestamp(),
            "loopcron_observer_disabled{observer=PrometheusObserver}": 0,
            "loopcron_runs_total{job=bad,outcome=failed}": 1,
        }
        assert {name: found.get(name) for name in wanted} == wanted
        assert begun < found["loopcron_last_success_timestamp_seconds{job=work}"] <= clock.now().timestamp()
        assert "loopcron_last_success_timestamp_seconds{job=bad}" not in found
    found = series(registry)
    assert found["loopcron_scheduler_up"] == 0
    assert found["loopcron_scheduler_state{state=stopped}"] == 1
    assert found["loopcron_job_state{job=work,state=stopped}"] == 1


async def test_dead_loop_shows(registry: prometheus.CollectorRegistry) -> None:
    """A scrape that a thread serves is answered while the event loop is blocked, and says that it is."""
    clock = LateClock()
    scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])
    scheduler.job(every(minutes=1))(work)
    server, thread = prometheus.start_http_server(0, "127.0.0.1", registry)
    try:
        async with scheduler:
            await clock.fake.advance(timedelta(minutes=1))
            clock.late = 100.0
            # On the event loop itself: it stands still until the answer is there.
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            clock.late = 0.0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "\nloopcron_scheduler_up 0.0\n" in text
    assert '\nloopcron_scheduler_state{state="silent"} 1.0\n' in text
    assert '\nloopcron_job_state{job="work",state="overdue"} 1.0\n' in text
    assert "\nloopcron_loop_silent_seconds 117.0\n" in text


async def test_scheduler_that_cannot_be_read_is_down(registry: prometheus.CollectorRegistry) -> None:
    """A clock that fails hides neither the counters nor the application's own metrics: the scheduler is not up."""
    clock = LateClock()
    prometheus.Gauge("app", "Its own.", registry=registry).set(7)
    scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])
    scheduler.job(every(minutes=1))(work)
    async with scheduler:
        await clock.fake.advance(timedelta(minutes=1))
        clock.broken = True
        found = series(registry)
        clock.broken = False
    assert found["app"] == 7
    assert found["loopcron_runs_total{job=work,outcome=succeeded}"] == 1
    assert {name: value for name, value in found.items() if name.startswith("loopcron_scheduler")} == {
        "loopcron_scheduler_up": 0
    }


async def test_removed_job_goes_away(registry: prometheus.CollectorRegistry) -> None:
    """A removed job's gauges are gone at once, and what it counted is shown once more, then never again."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])
    scheduler.job(every(minutes=1), name="stays")(work)
    scheduler.job(every(minutes=1), name="goes")(work)
    async with scheduler:
        await clock.advance(timedelta(minutes=1))
        scheduler.remove("goes")
        first = [name for name in series(registry) if "job=goes" in name]
        second = [name for name in series(registry) if "job=goes" in name]
        stays = series(registry)["loopcron_runs_total{job=stays,outcome=succeeded}"]
    assert "loopcron_runs_total{job=goes,outcome=succeeded}" in first
    assert {name.split("{")[0].rsplit("_", 1)[0] for name in first} == {
        "loopcron_runs",
        "loopcron_run_duration_seconds",
        "loopcron_run_lateness_seconds",
    }
    assert second == []
    assert stays == 1


async def test_series_go_on_over_a_restart(registry: prometheus.CollectorRegistry) -> None:
    """A scheduler that is started again counts on where it was."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])
    scheduler.job(every(minutes=1))(work)
    for life in (1, 2):
        async with scheduler:
            await clock.advance(timedelta(minutes=1))
            assert series(registry)["loopcron_runs_total{job=work,outcome=succeeded}"] == life
            assert series(registry)["loopcron_scheduler_up"] == 1


async def test_app_that_is_made_anew_goes_on(registry: prometheus.CollectorRegistry) -> None:
    """Making app, scheduler and observer again on one registry works, as tests and reloads do; the old one is gone."""
    clock = FakeClock()
    for turn in (1, 2):
        scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])
        scheduler.job(every(minutes=1), name=f"job-{turn}")(work)
        async with scheduler:
            await clock.advance(timedelta(minutes=1))
            found = series(registry)
            assert found[f"loopcron_runs_total{{job=job-{turn},outcome=succeeded}}"] == 1
            assert found["loopcron_scheduler_up"] == 1
    assert not any("job=job-1" in name for name in series(registry))
    del scheduler
    gc.collect()
    series(registry)
    assert series(registry) == {}


async def test_two_schedulers_in_one_registry(registry: prometheus.CollectorRegistry) -> None:
    """Two that run at once are told apart by a constant label, jobs of one name included."""
    clock = FakeClock()
    both = [
        Scheduler(clock=clock, observers=[PrometheusObserver(registry, labels={"zone": "x", "app": app})])
        for app in ("shop", "mail")
    ]
    for scheduler in both:
        scheduler.job(every(minutes=1))(work)
    async with both[0]:
        await clock.advance(timedelta(minutes=1))
        async with both[1].manual():
            found = series(registry)
    assert found["loopcron_scheduler_up{app=shop,zone=x}"] == 1
    assert found["loopcron_scheduler_up{app=mail,zone=x}"] == 1
    assert found["loopcron_runs_total{app=shop,job=work,outcome=succeeded,zone=x}"] == 1
    assert "loopcron_runs_total{app=mail,job=work,outcome=succeeded,zone=x}" not in found
    assert found["loopcron_job_state{app=mail,job=work,state=ok,zone=x}"] == 1


async def test_second_scheduler_without_a_label_is_told(registry: prometheus.CollectorRegistry) -> None:
    """A second scheduler that runs under the same labels is reported with what to do, and the first one is kept."""
    seen = RecordingObserver()
    first = Scheduler(clock=FakeClock(), observers=[PrometheusObserver(registry)])
    second = Scheduler(clock=FakeClock(), observers=[PrometheusObserver(registry), seen])
    first.job(every(minutes=1), name="first")(work)
    async with first.manual():
        async with second.manual():
            (failed,) = [event for event in seen.events if isinstance(event, ObserverFailed)]
            assert any("job=first" in name for name in series(registry))
        assert "labels={'scheduler': 'billing'}" in failed.problem
    async with second.manual():
        assert not any("job=first" in name for name in series(registry))
        assert series(registry)["loopcron_scheduler_up"] == 1


async def test_number_of_series_is_bounded(
    registry: prometheus.CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs beyond the limit are counted together, and the log says so once; all of them count in the states."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry, max_jobs=2)])
    for number in range(5):
        scheduler.job(every(minutes=1), name=f"job-{number}")(work)
    async with scheduler:
        await clock.advance(timedelta(minutes=2))
        found = series(registry)
        assert {name: value for name, value in found.items() if name.startswith("loopcron_runs_total")} == {
            "loopcron_runs_total{job=job-0,outcome=succeeded}": 2,
            "loopcron_runs_total{job=job-1,outcome=succeeded}": 2,
            "loopcron_runs_total{job=_OTHER,outcome=succeeded}": 6,
        }
        assert found["loopcron_jobs{state=ok}"] == 5
        assert {name for name in found if name.startswith("loopcron_running")} == {
            "loopcron_running{job=job-0}",
            "loopcron_running{job=job-1}",
        }
        scheduler.remove("job-0")
        series(registry)
        assert "loopcron_running{job=job-2}" in series(registry)
    said = [record.getMessage() for record in caplog.records if "metrics" in record.getMessage()]
    assert said == [
        "no more than 2 jobs have metrics of their own; the runs of others are counted as job _OTHER",
    ]


class Rule:
    """A schedule with a text that would end a line of the exposition, and begin another."""

    rule = every(minutes=1)

    def next_after(self, instant: datetime) -> datetime | None:
        return self.rule.next_after(instant)

    def latest_until(self, instant: datetime) -> datetime | None:
        return self.rule.latest_until(instant)

    def __str__(self) -> str:
        return 'a"} 1\nloopcron_scheduler_up 7\r\n\\ \x1b\u2028\u202e\ud800 # HELP x'


async def test_hostile_schedule_is_escaped(registry: prometheus.CollectorRegistry) -> None:
    """A schedule's text makes no series and no line of its own, and breaks no scrape, in either text format."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])
    scheduler.job(Rule())(work)
    async with scheduler:
        await clock.advance(timedelta(minutes=1))
        assert series(registry)["loopcron_scheduler_up"] == 1
        families = openmetrics_families(openmetrics_text(registry).decode())  # type: ignore[no-untyped-call]
    (info,) = [sample for family in families for sample in family.samples if sample.name == "loopcron_job_info"]
    assert info.labels["schedule"] == 'a"} 1\\nloopcron_scheduler_up 7\\r\\n\\ \\x1b\\u2028\\u202e\\ud800 # HELP x'


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"registry": object()}, "registry=<object object at", id="registry"),
        ({"prefix": ""}, "prefix='': must be letters"),
        ({"prefix": "7up"}, "prefix='7up': must be letters"),
        ({"prefix": "my-app"}, "prefix='my-app': must be letters"),
        ({"prefix": "app:jobs"}, "prefix='app:jobs': must be letters"),
        ({"prefix": None}, "prefix=None: must be letters"),
        ({"labels": ["a"]}, "labels=['a']: must map"),
        ({"labels": {"a-b": "c"}}, "labels='a-b': is no name of a label"),
        ({"labels": {"__a": "c"}}, "labels='__a': is no name of a label"),
        ({"labels": {7: "c"}}, "labels=7: is no name of a label"),
        ({"labels": {"job": "c"}}, "labels='job': is a label of loopcron's own"),
        ({"labels": {"le": "c"}}, "labels='le': is a label of loopcron's own"),
        ({"labels": {"app": 7}}, "labels=7: is no value for app"),
        ({"labels": {"app": ""}}, "labels='': is no value for app"),
        ({"labels": {"app": "a\nb"}}, "labels='a\\nb': is no value for app"),
        ({"duration_buckets": ()}, "duration_buckets=(): must be a list of 1 to 50 numbers"),
        ({"duration_buckets": range(1, 60)}, "duration_buckets=range(1, 60): must be a list"),
        ({"duration_buckets": [1.0] * 51}, "duration_buckets=[1.0, 1.0, "),
        ({"duration_buckets": [0.0, 1.0]}, "duration_buckets=[0.0, 1.0]: must be"),
        ({"duration_buckets": [1.0, 1.0]}, "duration_buckets=[1.0, 1.0]: must be"),
        ({"lateness_buckets": [1.0, float("inf")]}, "lateness_buckets=[1.0, inf]: must be"),
        ({"lateness_buckets": [float("nan")]}, "lateness_buckets=[nan]: must be"),
        ({"lateness_buckets": [True]}, "lateness_buckets=[True]: must be"),
        ({"lateness_buckets": ["1"]}, "lateness_buckets=['1']: must be"),
        ({"max_jobs": 0}, "max_jobs=0: must be a whole number from 1 to 100,000"),
        ({"max_jobs": True}, "max_jobs=True: must be"),
        ({"max_jobs": 1.5}, "max_jobs=1.5: must be"),
    ],
    ids=str,
)
def test_wrong_argument_is_refused(
    registry: prometheus.CollectorRegistry, arguments: dict[str, Any], message: str
) -> None:
    """What cannot work is refused when the observer is made, by field, value and remedy, and registers nothing."""
    with pytest.raises(ConfigError) as refused:
        PrometheusObserver(**{"registry": registry, **arguments})
    assert str(refused.value).startswith(message)
    assert series(registry) == {}


def test_name_that_is_taken_is_refused(registry: prometheus.CollectorRegistry) -> None:
    """A metric of the application's own that has one of the names is told, and another prefix does."""
    prometheus.Gauge("loopcron_running", "The application's own.", registry=registry)
    with pytest.raises(ConfigError, match="prefix='loopcron': begins names that are in the registry already"):
        PrometheusObserver(registry)
    PrometheusObserver(registry, prefix="cron")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"labels": {"app": "shop"}}, "labels"),
        ({"duration_buckets": [1.0]}, "duration_buckets"),
        ({"lateness_buckets": [1.0]}, "lateness_buckets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_observer_that_differs_is_refused(
    registry: prometheus.CollectorRegistry, arguments: dict[str, Any], field: str
) -> None:
    """Two observers of one registry and prefix have the same labels and buckets."""
    PrometheusObserver(registry)
    with pytest.raises(ConfigError) as refused:
        PrometheusObserver(registry, **arguments)
    assert refused.value.field == field
    assert "which this registry has under the prefix loopcron; give the same" in str(refused.value)


def test_default_registry_is_the_package_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a registry the metrics are in the package's own."""
    own = prometheus.CollectorRegistry()
    monkeypatch.setattr("prometheus_client.core.REGISTRY", own)
    PrometheusObserver().on_event(settled(Succeeded()))
    assert series(own)["loopcron_runs_total{job=sync,outcome=succeeded}"] == 1


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prometheus-client the observer says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(ConfigError) as refused:
        PrometheusObserver()
    assert str(refused.value) == (
        "driver='prometheus_client.core': cannot be imported (ModuleNotFoundError); "
        "install it with: pip install loopcron[prometheus]"
    )


# --- several processes

WORKER = """
import sys
from datetime import timedelta

import anyio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from loopcron import Scheduler, every
from loopcron.observers import PrometheusObserver
from loopcron.testing import FakeClock

registry = CollectorRegistry()
MultiProcessCollector(registry)
clock = FakeClock()
scheduler = Scheduler(clock=clock, observers=[PrometheusObserver(registry)])
for name in ("stays", "goes"):
    scheduler.job(every(minutes=1), name=name)(lambda run: None)

async def main():
    async with scheduler:
        await clock.advance(timedelta(minutes=3))
        scheduler.remove("goes")
        generate_latest(registry)
        sys.stdout.buffer.write(generate_latest(registry))

anyio.run(main)
"""


def test_multiprocess_mode_adds_up_what_is_counted(tmp_path: Path) -> None:
    """In the package's multiprocess mode counters and histograms are all workers', and gauges those of who answers."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", WORKER],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert '\nloopcron_runs_total{job="stays",outcome="succeeded"} 6.0\n' in done.stdout
    assert '\nloopcron_runs_total{job="goes",outcome="succeeded"} 6.0\n' in done.stdout
    assert '\nloopcron_run_duration_seconds_count{job="stays"} 6.0\n' in done.stdout
    assert "\nloopcron_scheduler_up 1.0\n" in done.stdout
    assert '\nloopcron_running{job="goes"} ' not in done.stdout
    assert done.stdout.count("# TYPE loopcron_runs_total ") == 1
    assert done.stderr == ""
