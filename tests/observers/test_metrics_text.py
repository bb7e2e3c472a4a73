"""The metrics of the status page: text that Prometheus reads, made without any package."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import prometheus_client as prometheus
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from loopcron import Event, Run, Scheduler, every
from loopcron.observers import PrometheusObserver
from loopcron.status import metrics_text
from loopcron.status._metrics import HELP
from loopcron.testing import FakeClock
from tests.loops import ASYNCIO


@pytest.fixture(scope="module", params=[pytest.param(ASYNCIO, id="asyncio")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run on one loop: nothing in here waits."""
    return request.param


class Silent:
    """An observer that says how much it has dropped."""

    def __init__(self, dropped: int) -> None:
        self.dropped = dropped

    def on_event(self, event: Event) -> None:
        pass


class Broken:
    """An observer that always fails."""

    def on_event(self, event: Event) -> None:
        raise ValueError("bad")


async def work(run: Run) -> None:
    """Do nothing."""


async def bad(run: Run) -> None:
    """Fail."""
    raise ValueError("bad")


def read(text: str) -> dict[str, float]:
    """Return the series of a text by their names and labels; each family is there once, and a gauge."""
    found: dict[str, float] = {}
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            assert sample.name == family.name
            found[f"{sample.name}{sorted(sample.labels.items())}"] = sample.value
    assert len(found) == sum(len(family.samples) for family in families)
    return found


def stage(*observers: Any) -> tuple[Scheduler, FakeClock]:
    """Return a scheduler with two jobs, and its clock."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock, observers=observers)
    for function in (work, bad):
        scheduler.job(every(minutes=1))(function)
    return scheduler, clock


def text_of(scheduler: Scheduler, **options: Any) -> str:
    """Return the scheduler's metrics."""
    return metrics_text(scheduler.snapshot(), scheduler.health(), **options)


async def test_text_and_observer_agree() -> None:
    """Under each name the text has what the observer has, and every name is there once a job has run."""
    registry = prometheus.CollectorRegistry()
    scheduler, clock = stage(PrometheusObserver(registry))
    async with scheduler:
        await clock.advance(timedelta(minutes=2))
        found = read(text_of(scheduler))
        shown = prometheus.generate_latest(registry).decode()
    assert {name.split("[")[0] for name in found} == {f"loopcron_{name}" for name in HELP}
    theirs = {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
        if not sample.name.startswith("loopcron_run_") and not sample.name.startswith("loopcron_runs")
    }
    assert found == theirs
    assert found["loopcron_job_state[('job', 'bad'), ('state', 'failing')]"] == 1
    assert found["loopcron_consecutive_failures[('job', 'bad')]"] == 2


def test_scheduler_that_never_ran_has_metrics() -> None:
    """Before the start it is not up, its jobs are stopped, and what nobody knows is not there."""
    scheduler, _ = stage()
    found = read(text_of(scheduler))
    assert found["loopcron_scheduler_up[]"] == 0
    assert found["loopcron_scheduler_state[('state', 'stopped')]"] == 1
    assert found["loopcron_jobs[('state', 'stopped')]"] == 2
    names = {name.split("[")[0] for name in found}
    assert not {"loopcron_loop_silent_seconds", "loopcron_last_success_timestamp_seconds"} & names


async def test_observers_of_one_type_are_added_up() -> None:
    """Two observers of one type are one series, and a disabled one shows."""
    scheduler, clock = stage(Silent(3), Silent(4), Broken())
    async with scheduler:
        await clock.advance(timedelta(minutes=5))
        found = read(text_of(scheduler))
    assert found["loopcron_observer_dropped_events[('observer', 'Silent')]"] == 7
    assert found["loopcron_observer_disabled[('observer', 'Silent')]"] == 0
    assert found["loopcron_observer_disabled[('observer', 'Broken')]"] == 1


def test_number_of_series_is_bounded() -> None:
    """So many jobs have series of their own, and all of them are counted."""
    scheduler, _ = stage()
    found = read(text_of(scheduler, most_jobs=1))
    assert [name for name in found if name.startswith("loopcron_running")] == ["loopcron_running[('job', 'work')]"]
    assert found["loopcron_jobs[('state', 'stopped')]"] == 2


def test_job_that_was_added_between_the_readings_waits() -> None:
    """A job that only one of the two readings knows is left out, this time."""
    scheduler, _ = stage()
    health = scheduler.health()
    scheduler.job(every(minutes=1), name="late")(work)
    assert 'job="late"' not in metrics_text(scheduler.snapshot(), health)


@given(st.text(), st.text(st.sampled_from('\\"\n\r{}, \u2028\ud800#=')))
def test_no_text_forges_a_series(schedule: str, zone: str) -> None:
    """Whatever a schedule and a zone say, the text is read, has the same series, and gives back what is printable."""
    scheduler, _ = stage()
    snapshot, health = scheduler.snapshot(), scheduler.health()
    hostile = replace(snapshot, jobs=(replace(snapshot.jobs[0], schedule=schedule, zone=zone), snapshot.jobs[1]))
    text = metrics_text(hostile, health)
    text.encode()
    infos = [
        sample.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "loopcron_job_info"
    ]
    assert len(text.splitlines()) == len(metrics_text(snapshot, health).splitlines())
    assert len(read(text)) == len(read(metrics_text(snapshot, health)))
    assert infos[0]["job"] == "work"
    if schedule.isprintable() and len(schedule) <= 300:
        assert infos[0]["schedule"] == schedule
