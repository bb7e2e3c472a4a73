"""
Dispatch's configuration as data: its eight jobs in one table, and the environment variables that rule them.

Reading the environment is kept apart from making jobs of it. A value that makes no sense never keeps the app from
starting: it falls back to its default with a warning on the logger ``loopcron``. The token is no part of a
configuration; jobs know the name of its variable and read it at each send.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, final

from loopcron import ConfigError, Failed, HttpJob, Scheduler, Settled, SystemClock, at, env_token, every
from loopcron.ledgers import open_ledger

if TYPE_CHECKING:
    from loopcron import Clock, Event, Ledger, Observer, Schedule, Transport

HEALTH_JOB: Final = "dispatch-health"
"""The job that asks the app once, after the start, whether it can be reached and takes the token."""

_ENABLED: Final = "DISPATCH_SCHEDULER_ENABLED"
_TOKEN: Final = "DISPATCH_AGENT_TOKEN"  # noqa: S105 - the name of the variable
_JOBS: Final = "DISPATCH_SCHEDULER_JOBS"
_LEDGER: Final = "DISPATCH_SCHEDULER_LEDGER"
_NAMESPACE: Final = "dispatch"
_STARTUP_DELAY: Final = "DISPATCH_SCHEDULER_STARTUP_DELAY_MS"
_PORT: Final = "PORT"

_DEFAULT_PORT: Final = 3000
_DEFAULT_STARTUP_DELAY: Final = timedelta(seconds=5)
_LONGEST_MS: Final = timedelta(days=3653) / timedelta(milliseconds=1)
"""The longest interval that a schedule takes; what is above it is a slip, or a trick to say "never", which is 0."""
_HEALTH_TIMEOUT: Final = timedelta(seconds=30)
"""How long the health check asks again while nobody listens; then it reports so."""
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")

_logger: Final = logging.getLogger("loopcron")


class _Row(NamedTuple):
    name: str
    path: str
    body: Mapping[str, bool]
    variable: str
    interval: timedelta


# fmt: off - a table
_TABLE: Final = (
    _Row("sync", "/api/sync/scheduled", {"issues": True}, "DISPATCH_SYNC_INTERVAL_MS", timedelta(minutes=15)),
    _Row("groomer", "/api/groomer/run", {}, "DISPATCH_GROOMER_INTERVAL_MS", timedelta(minutes=10)),
    _Row("pr-followup", "/api/pr-followup/sync", {}, "DISPATCH_PR_FOLLOWUP_INTERVAL_MS", timedelta(minutes=15)),
    _Row("ci-failures", "/api/ci-failures/sync", {}, "DISPATCH_CI_FAILURES_INTERVAL_MS", timedelta(minutes=30)),
    _Row("prune-closed", "/api/issues/prune-closed", {}, "DISPATCH_PRUNE_CLOSED_INTERVAL_MS", timedelta(hours=24)),
    _Row("reconcile", "/api/issues/reconcile", {}, "DISPATCH_RECONCILE_INTERVAL_MS", timedelta(minutes=30)),
    _Row("stale-work", "/api/agent-work/sweep", {}, "DISPATCH_STALE_WORK_INTERVAL_MS", timedelta(minutes=5)),
    _Row("pr-fix-sweep", "/api/pr-fix-queue/sweep", {}, "DISPATCH_PR_FIX_SWEEP_INTERVAL_MS", timedelta(minutes=5)),
)
# fmt: on
_ROWS: Final = {row.name: row for row in _TABLE}


@final
@dataclass(frozen=True, slots=True)
class Config:
    """What the environment says; made by `config_from_env`. It holds no secret."""

    enabled: bool
    """Whether ``DISPATCH_SCHEDULER_ENABLED`` is exactly ``true``."""
    has_token: bool
    """Whether ``DISPATCH_AGENT_TOKEN`` is set and not blank."""
    port: int
    """The app's own port."""
    startup_delay: timedelta
    """How long after the start the first slot of every job is; 0 or more."""
    intervals: Mapping[str, timedelta] = field(hash=False)
    """The interval of each of the eight jobs; 0 turns a job off."""
    names: tuple[str, ...]
    """The jobs that ``DISPATCH_SCHEDULER_JOBS`` picks, in the order of the table, be they on or off."""
    ledger: Ledger | None = field(default=None, compare=False)
    """What ``DISPATCH_SCHEDULER_LEDGER`` names; None: each replica runs every job. It shows no password."""

    @property
    def base_url(self) -> str:
        """Where the app is asked."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def idle_because(self) -> str | None:
        """Why nothing is scheduled, naming the variable that says so; None if something is."""
        if not self.enabled:
            return f"{_ENABLED} is not 'true'"
        if not self.has_token:
            return f"{_TOKEN} is unset or empty"
        if not any(self.intervals[name] for name in self.names):
            return f"an interval of 0 turns off every job that {_JOBS} picks ({', '.join(self.names)})"
        return None


def config_from_env(env: Mapping[str, str]) -> Config:
    """
    Return what the variables in *env* say; blank ones count as unset.

    Numbers that make no sense are replaced by their defaults, with a warning that names the variable; so is the lack
    of a token in a scheduler that is enabled.

    Args:
        env: Such as ``os.environ``, where the token is to be at run time in any case.

    Raises:
        ConfigError: ``DISPATCH_SCHEDULER_JOBS`` names a job that does not exist, or ``DISPATCH_SCHEDULER_LEDGER`` is
            no URL of a ledger, or of one whose driver is not installed.
    """
    url = env.get(_LEDGER, "").strip()
    config = Config(
        enabled=env.get(_ENABLED) == "true",
        has_token=bool(env.get(_TOKEN, "").strip()),
        port=_port(env),
        startup_delay=_duration(env, _STARTUP_DELAY, _DEFAULT_STARTUP_DELAY, "starts at once"),
        intervals=MappingProxyType(
            {row.name: _duration(env, row.variable, row.interval, "turns the job off") for row in _TABLE}
        ),
        names=_names(env.get(_JOBS, "")),
        ledger=open_ledger(url, namespace=_NAMESPACE) if url else None,
    )
    if config.enabled and config.idle_because is not None:
        _logger.warning("no job is scheduled: %s", config.idle_because)
    return config


def sync_job(config: Config) -> HttpJob:
    """
    Return the job ``sync``, whichever jobs the configuration picks.

    Raises:
        ConfigError: Its interval is 0, which turns it off.
    """
    return _job(config, _ROWS["sync"])


def jobs(config: Config) -> tuple[HttpJob, ...]:
    """Return the jobs that are to be scheduled, in the order of the table; none if `Config.idle_because` says why."""
    if config.idle_because is not None:
        return ()
    return tuple(_job(config, _ROWS[name]) for name in config.names if config.intervals[name])


def scheduler(
    config: Config,
    *,
    transport: Transport | None = None,
    clock: Clock | None = None,
    observers: Sequence[Observer] = (),
) -> Scheduler:
    """
    Return a scheduler with these jobs and one health check; disabled if there is nothing to schedule.

    Args:
        config: What to schedule.
        transport: Carries the requests; default: a `LoopbackTransport` to ``http://127.0.0.1:PORT``.
        clock: See `Scheduler`.
        observers: See `Scheduler`.
    """
    picked = jobs(config)
    if not picked:
        return Scheduler(clock=clock, observers=observers, enabled=False)
    if transport is None:
        from loopcron import LoopbackTransport

        # Said outright: an address that is looked up could be another program's, and get the token.
        transport = LoopbackTransport(config.base_url)
    made = Scheduler(
        ledger=config.ledger,
        transport=transport,
        clock=clock,
        observers=(_HealthReport(config), *observers),
        startup_delay=config.startup_delay,
    )
    made.add(_health_job((SystemClock() if clock is None else clock).now()))
    for job in picked:
        made.add(job)
    return made


def _job(config: Config, row: _Row) -> HttpJob:
    interval = config.intervals[row.name]
    if not interval:
        raise ConfigError(row.variable, 0, f"turns the job {row.name} off; give a number of milliseconds above 0")
    make = partial(HttpJob, row.name, path=row.path, json=row.body, token=env_token(_TOKEN))
    if config.ledger is None:
        return make(schedule=every(interval, anchor="start", phase=config.startup_delay))
    # Replicas have to agree on the slots, and a deploy every few minutes must not starve the job.
    return make(schedule=every(interval), run_on_start=True)


@final
class _Once:
    """A schedule that says nothing of itself: each replica has an instant of its own, which is no other schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self.next_after = schedule.next_after
        self.latest_until = schedule.latest_until


def _health_job(made_at: datetime) -> HttpJob:
    # One slot, the instant at which the scheduler was made: run_on_start makes it due once per start, when the start-up
    # delay is over. Then the job has ended, which is the truth and no alarm: health takes ended for well, whatever
    # the answer was, and the answer stays in the history. Any recurring schedule would show as failing for ever
    # after one bad answer. Removing the job instead would drop its outcome, and the check of the next start.
    return HttpJob(
        HEALTH_JOB,
        _Once(at(made_at)),
        "/api/health",
        method="GET",
        token=env_token(_TOKEN),
        run_on_start=True,
        timeout=_HEALTH_TIMEOUT,
    )


@final
class _HealthReport:
    """Says what to look at when the health check fails; that it failed is in the log already."""

    def __init__(self, config: Config) -> None:
        self._base_url = config.base_url

    def on_event(self, event: Event) -> None:
        """Add a line about a health check that failed."""
        if not isinstance(event, Settled) or event.job != HEALTH_JOB:
            return
        match event.outcome:
            case Failed(status=401 | 403) | Failed(error="token"):
                _logger.warning("%s was given no valid token: look at %s", self._base_url, _TOKEN)
            case Failed(status=int(status)):
                _logger.warning("%s is up, but not well: its health check says HTTP %s", self._base_url, status)
            case Failed(error="refused"):
                _logger.warning("nobody listens at %s: look at %s, and whether the app is up", self._base_url, _PORT)
            case _:
                pass


def _names(text: str) -> tuple[str, ...]:
    wanted = {name for part in text.split(",") if (name := part.strip())} or {"sync"}
    unknown = sorted(wanted - {"all", *_ROWS})
    if unknown:
        raise ConfigError(_JOBS, unknown[0], f"there is no such job; known are {', '.join(_ROWS)}, or all")
    return tuple(name for name in _ROWS if name in wanted or "all" in wanted)


def _port(env: Mapping[str, str]) -> int:
    text = env.get(_PORT, "").strip()
    if not text:
        return _DEFAULT_PORT
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if 0 < port < 65536:
        return port
    # No value is shown, here and below: what stands in the wrong variable may be a secret.
    _logger.warning("%s is no port number from 1 to 65535; taking %s", _PORT, _DEFAULT_PORT)
    return _DEFAULT_PORT


def _duration(env: Mapping[str, str], variable: str, default: timedelta, zero: str) -> timedelta:
    """Return the milliseconds that *variable* holds, 0 among them; *zero* says what that does."""
    text = env.get(variable, "").strip()
    if not text:
        return default
    value = float(text) if _NUMBER.match(text) else math.nan
    if not 0 <= value <= _LONGEST_MS:  # false for nan too
        shown = round(default / timedelta(milliseconds=1))
        message = "%s is no number of milliseconds above 0 and up to ten years (0 %s); taking %s"
        _logger.warning(message, variable, zero, shown)
        return default
    return timedelta(milliseconds=max(1, math.floor(value + 0.5)) if value else 0)


__all__ = ("Config", "HEALTH_JOB", "config_from_env", "jobs", "scheduler", "sync_job")
