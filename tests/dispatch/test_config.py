"""Parity with Dispatch's first scheduler: what its environment variables mean."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from loopcron import ConfigError, dispatch, every

DEFAULTS = {
    "sync": ("DISPATCH_SYNC_INTERVAL_MS", timedelta(minutes=15)),
    "groomer": ("DISPATCH_GROOMER_INTERVAL_MS", timedelta(minutes=10)),
    "pr-followup": ("DISPATCH_PR_FOLLOWUP_INTERVAL_MS", timedelta(minutes=15)),
    "ci-failures": ("DISPATCH_CI_FAILURES_INTERVAL_MS", timedelta(minutes=30)),
    "prune-closed": ("DISPATCH_PRUNE_CLOSED_INTERVAL_MS", timedelta(hours=24)),
    "reconcile": ("DISPATCH_RECONCILE_INTERVAL_MS", timedelta(minutes=30)),
    "stale-work": ("DISPATCH_STALE_WORK_INTERVAL_MS", timedelta(minutes=5)),
    "pr-fix-sweep": ("DISPATCH_PR_FIX_SWEEP_INTERVAL_MS", timedelta(minutes=5)),
}


_LEDGER = "DISPATCH_SCHEDULER_LEDGER"


def names(config: dispatch.Config) -> list[str]:
    """Return the names of the jobs that are to be scheduled."""
    return [job.name for job in dispatch.jobs(config)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings on loopcron's logger."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("value", ["TRUE", "True", "1", "yes", " true", "false", "", "  ", None])
def test_off_unless_exactly_true(env: dict[str, str], value: str | None) -> None:
    """Nothing is scheduled unless the switch is exactly ``true``."""
    del env["DISPATCH_SCHEDULER_ENABLED"]
    if value is not None:
        env["DISPATCH_SCHEDULER_ENABLED"] = value
    config = dispatch.config_from_env(env)
    assert not config.enabled
    assert config.idle_because == "DISPATCH_SCHEDULER_ENABLED is not 'true'"
    assert dispatch.jobs(config) == ()
    assert dispatch.scheduler(config).jobs == ()


def test_off_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A scheduler that is off warns of nothing, not even of a token that is not there."""
    dispatch.config_from_env({})
    assert caplog.records == []


def test_on(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """With the switch and a token the job ``sync`` is scheduled, and the health check."""
    config = dispatch.config_from_env(env)
    assert config.idle_because is None
    assert names(config) == ["sync"]
    assert [job.name for job in dispatch.scheduler(config).jobs] == [dispatch.HEALTH_JOB, "sync"]
    assert caplog.records == []


@pytest.mark.parametrize("value", ["", " ", None])
def test_no_token(env: dict[str, str], value: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Without a token there is a warning that names its variable, and nothing is scheduled."""
    del env["DISPATCH_AGENT_TOKEN"]
    if value is not None:
        env["DISPATCH_AGENT_TOKEN"] = value
    config = dispatch.config_from_env(env)
    assert warnings(caplog) == ["no job is scheduled: DISPATCH_AGENT_TOKEN is unset or empty"]
    assert names(config) == []
    assert dispatch.scheduler(config).jobs == ()


def test_defaults(env: dict[str, str]) -> None:
    """All eight jobs have their intervals by default, and their slots begin one start-up delay after the start."""
    config = dispatch.config_from_env(env | {"DISPATCH_SCHEDULER_JOBS": "all"})
    delay = timedelta(seconds=5)
    assert {job.name: job.schedule for job in dispatch.jobs(config)} == {
        name: every(interval, anchor="start", phase=delay) for name, (_, interval) in DEFAULTS.items()
    }
    assert config.startup_delay == delay


@pytest.mark.parametrize("name", DEFAULTS)
def test_interval(env: dict[str, str], name: str) -> None:
    """A set interval is that job's, and no other's."""
    variable, _ = DEFAULTS[name]
    config = dispatch.config_from_env(env | {variable: "90000"})
    assert dict(config.intervals) == {key: interval for key, (_, interval) in DEFAULTS.items()} | {
        name: timedelta(seconds=90)
    }


@pytest.mark.parametrize(
    "value", ["soon", "-1", "-0.5", "inf", "-Infinity", "nan", "1_000", "0x10", "5 m", "1e999", "1e15", "٣", "."]
)
def test_garbage_interval(env: dict[str, str], value: str, caplog: pytest.LogCaptureFixture) -> None:
    """An interval that is no finite number above 0, or longer than ten years, is the default, with a warning."""
    config = dispatch.config_from_env(env | {"DISPATCH_SYNC_INTERVAL_MS": value})
    assert config.intervals["sync"] == timedelta(minutes=15)
    (warning,) = warnings(caplog)
    assert "DISPATCH_SYNC_INTERVAL_MS" in warning
    assert "900000" in warning


@pytest.mark.parametrize("value", ["", "   "])
def test_blank_interval(env: dict[str, str], value: str, caplog: pytest.LogCaptureFixture) -> None:
    """A blank interval counts as unset."""
    config = dispatch.config_from_env(env | {"DISPATCH_SYNC_INTERVAL_MS": value})
    assert config.intervals["sync"] == timedelta(minutes=15)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [("1500.4", 1500), ("1500.5", 1501), ("2.5", 3), ("0.001", 1), (".4", 1), ("1e3", 1000), (" 250 ", 250), ("+7", 7)],
)
def test_fractional_interval(env: dict[str, str], value: str, milliseconds: int) -> None:
    """A fraction is rounded to milliseconds, and is one at least."""
    config = dispatch.config_from_env(env | {"DISPATCH_SYNC_INTERVAL_MS": value})
    assert config.intervals["sync"] == timedelta(milliseconds=milliseconds)
    assert dispatch.sync_job(config).schedule == every(
        milliseconds=milliseconds, anchor="start", phase=timedelta(seconds=5)
    )


@pytest.mark.parametrize("value", ["0", "0.0", "-0", "0e5"])
def test_zero_turns_off(env: dict[str, str], value: str, caplog: pytest.LogCaptureFixture) -> None:
    """An interval of 0 turns that job off, without a warning, and leaves the others on."""
    config = dispatch.config_from_env(env | {"DISPATCH_SCHEDULER_JOBS": "all", "DISPATCH_GROOMER_INTERVAL_MS": value})
    assert names(config) == [name for name in DEFAULTS if name != "groomer"]
    assert caplog.records == []


def test_all_off(env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """If every job that was picked is turned off there is a warning, and no health check either."""
    config = dispatch.config_from_env(env | {"DISPATCH_SYNC_INTERVAL_MS": "0"})
    assert dispatch.scheduler(config).jobs == ()
    (warning,) = warnings(caplog)
    assert "DISPATCH_SCHEDULER_JOBS" in warning
    with pytest.raises(ConfigError, match="DISPATCH_SYNC_INTERVAL_MS=0: turns the job sync off"):
        dispatch.sync_job(config)


@pytest.mark.parametrize(
    ("value", "delay"), [(None, 5000), ("", 5000), ("0", 0), ("250", 250), ("0.4", 1), ("-1", 5000), ("now", 5000)]
)
def test_startup_delay(env: dict[str, str], value: str | None, delay: int) -> None:
    """The start-up delay is five seconds unless set, and may be 0."""
    if value is not None:
        env["DISPATCH_SCHEDULER_STARTUP_DELAY_MS"] = value
    config = dispatch.config_from_env(env)
    assert config.startup_delay == timedelta(milliseconds=delay)
    assert dispatch.sync_job(config).schedule == every(minutes=15, anchor="start", phase=config.startup_delay)


@pytest.mark.parametrize(("value", "port"), [(None, 3000), ("", 3000), ("  ", 3000), ("8080", 8080), (" 81 ", 81)])
def test_port(env: dict[str, str], value: str | None, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """The app is asked on the loopback address, at PORT if that is set and at 3000 else."""
    if value is not None:
        env["PORT"] = value
    config = dispatch.config_from_env(env)
    assert (config.port, config.base_url) == (port, f"http://127.0.0.1:{port}")
    assert caplog.records == []


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1", "3000.0", "123456", "٣٠٠٠"])
def test_garbage_port(env: dict[str, str], value: str, caplog: pytest.LogCaptureFixture) -> None:
    """A PORT that is no port number is the default, with a warning."""
    assert dispatch.config_from_env(env | {"PORT": value}).port == 3000
    assert warnings(caplog) == ["PORT is no port number from 1 to 65535; taking 3000"]


@pytest.mark.parametrize(
    ("value", "picked"),
    [
        (None, ["sync"]),
        ("", ["sync"]),
        (" , ", ["sync"]),
        ("groomer", ["groomer"]),
        ("stale-work, sync ,,sync", ["sync", "stale-work"]),
        ("all", list(DEFAULTS)),
        ("sync,all", list(DEFAULTS)),
    ],
)
def test_jobs(env: dict[str, str], value: str | None, picked: list[str]) -> None:
    """The jobs are ``sync`` unless a list picks others, or ``all`` of them, and come in the order of the table."""
    if value is not None:
        env["DISPATCH_SCHEDULER_JOBS"] = value
    config = dispatch.config_from_env(env)
    assert names(config) == picked
    assert dispatch.sync_job(config).name == "sync"


@pytest.mark.parametrize("value", ["cleanup", "sync,cleanup", "SYNC", "All", dispatch.HEALTH_JOB])
def test_unknown_job(env: dict[str, str], value: str) -> None:
    """A name that is no job's is refused with the known ones, whether the scheduler is on or off."""
    for switch in ("true", "false"):
        with pytest.raises(ConfigError, match=r"DISPATCH_SCHEDULER_JOBS=.*: there is no such job") as refused:
            dispatch.config_from_env(env | {"DISPATCH_SCHEDULER_ENABLED": switch, "DISPATCH_SCHEDULER_JOBS": value})
        assert all(name in str(refused.value) for name in DEFAULTS)


def test_ledger_is_named_and_shows_no_password(env: dict[str, str]) -> None:
    """A ledger URL makes the ledger, whose password shows nowhere; a blank one makes none."""
    config = dispatch.config_from_env(env | {_LEDGER: "postgresql://dispatch:hunter2@db/dispatch"})
    assert repr(config.ledger) == "postgresql at db:5432/dispatch, namespace dispatch"
    assert "hunter2" not in repr(config)
    assert dispatch.scheduler(config).ledger is config.ledger
    assert dispatch.config_from_env(env | {_LEDGER: " "}).ledger is None


def test_ledger_that_is_none_is_refused(env: dict[str, str]) -> None:
    """A value that names no ledger is refused, not ignored: every replica would run every job."""
    with pytest.raises(ConfigError, match="must be a URL that begins with") as refused:
        dispatch.config_from_env(env | {_LEDGER: "mysql://dispatch:hunter2@db/dispatch"})
    assert "hunter2" not in str(refused.value)


def test_replicas_with_a_ledger_agree_on_the_slots(env: dict[str, str], tmp_path: Path) -> None:
    """With a ledger the jobs' slots count from the epoch, and the newest one runs at a start unless it was served."""
    config = dispatch.config_from_env(env | {_LEDGER: f"sqlite:///{tmp_path}/ledger.db"})
    job = dispatch.sync_job(config)
    assert str(job.schedule) == str(every(minutes=15))
    assert job.policy.run_on_start


def test_config_is_a_value(env: dict[str, str]) -> None:
    """Two readings of one environment are equal and hash alike, and nothing in them can be set."""
    config = dispatch.config_from_env(env)
    assert config == dispatch.config_from_env(env)
    assert hash(config) == hash(dispatch.config_from_env(env))
    with pytest.raises(TypeError):
        config.intervals["sync"] = timedelta(0)  # type: ignore[index]
    with pytest.raises(AttributeError):
        config.port = 1  # type: ignore[misc]
