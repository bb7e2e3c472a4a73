"""Runs as metrics of the package ``prometheus-client``: counted when they end, and health as each scrape reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, final

from loopcron import ConfigError, Event, Missed, Settled, Skipped
from loopcron.ledgers._arguments import driver
from loopcron.observers._prometheus_series import Series, series_in
from loopcron.observers._words import OUTCOMES
from loopcron.status._metrics import MOST_JOBS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from loopcron import Scheduler

__all__ = ("DURATION_BUCKETS", "LATENESS_BUCKETS", "PrometheusObserver")

DURATION_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""The upper bounds of ``run_duration_seconds`` if none are given: up to the default timeout in steps, and on to 1 h."""
LATENESS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)
"""The upper bounds of ``run_lateness_seconds`` if none are given: from a healthy event loop to a catch-up."""
MOST_BUCKETS: Final = 50
PREFIX: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}")
LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,63}")
TAKEN_LABELS: Final = frozenset({"job", "outcome", "state", "schedule", "timezone", "observer", "le", "quantile"})


@final
class PrometheusObserver:
    """
    Counts runs as they end, and lets each scrape read the health of the scheduler, so that a dead loop shows.

    Give it to `Scheduler`; the application exposes the registry as ever. Counters and histograms are
    ``loopcron_runs_total``, ``loopcron_run_duration_seconds`` and ``loopcron_run_lateness_seconds``; the gauges are
    those of the status page's metrics. A scrape may come from any thread; one that is served by the event loop itself
    does not answer while that is blocked, so let ``prometheus_client.start_http_server`` serve it.

    Schedulers that run at the same time in one registry need `labels` that tell them apart. A scheduler that is
    started again, and one that is made anew with the same labels, goes on with the same series. The series of a
    removed job are shown by one more scrape, then they go away.

    Args:
        registry: Where the metrics go. Default: ``prometheus_client.REGISTRY``.
        prefix: How all names begin: letters, digits and ``_``, at most 64, a letter first.
        labels: Constant labels of all series, such as ``{"scheduler": "billing"}``.
        duration_buckets: The upper bounds of the histogram of durations, in seconds: 1 to 50, rising, more than 0.
        lateness_buckets: The same for how late runs start.
        max_jobs: How many jobs have series of their own, 1 to 100,000. The runs of further ones are counted as job
            ``_OTHER``, which the log tells once; health is theirs in ``loopcron_jobs`` only.

    Raises:
        ConfigError: An argument is none of these, the registry has other metrics of these names, or
            prometheus-client is not installed.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        prefix: str = "loopcron",
        labels: Mapping[str, str] | None = None,
        duration_buckets: Sequence[float] = DURATION_BUCKETS,
        lateness_buckets: Sequence[float] = LATENESS_BUCKETS,
        max_jobs: int = MOST_JOBS,
    ) -> None:
        client = driver("prometheus_client.core", "prometheus")
        if registry is not None and not isinstance(registry, client.CollectorRegistry):
            raise ConfigError("registry", registry, "must be a prometheus_client.CollectorRegistry")
        if not isinstance(prefix, str) or not PREFIX.fullmatch(prefix):
            raise ConfigError("prefix", prefix, "must be letters, digits and _, at most 64, a letter first")
        if isinstance(max_jobs, bool) or not isinstance(max_jobs, int) or not 1 <= max_jobs <= 100_000:
            raise ConfigError("max_jobs", max_jobs, "must be a whole number from 1 to 100,000")
        constant = _labels(labels)
        series = Series(
            prefix,
            tuple(constant),
            _buckets("duration_buckets", duration_buckets),
            _buckets("lateness_buckets", lateness_buckets),
        )
        self._collector = series_in(client, client.REGISTRY if registry is None else registry, series)
        self._source = self._collector.source(tuple(constant.values()), max_jobs)

    def on_event(self, event: Event) -> None:
        """Count *event* if it is the outcome of a slot, a range of slots or a manual run."""
        if isinstance(event, Settled):
            outcome = event.outcome
            # A range has many slots; one that is too long to be counted stands for one, as does a job's own odd count.
            count = outcome.count if isinstance(outcome, (Skipped, Missed)) else 1
            count = count if isinstance(count, int) and count > 0 else 1
            self._collector.count(self._source, event.job, OUTCOMES[type(outcome)], count)
            if event.duration_seconds is not None and event.late_seconds is not None:
                late = None if event.reason == "manual" else event.late_seconds  # nothing names when it was due
                self._collector.observe(self._source, event.job, event.duration_seconds, late)

    def attach(self, scheduler: Scheduler) -> None:
        """
        Let scrapes read this scheduler from now on.

        Raises:
            ConfigError: Another scheduler that runs has these labels in this registry.
        """
        self._collector.attach(self._source, scheduler)


def _labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the constant labels, sorted, so that their order makes no difference."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise ConfigError("labels", labels, "must map names of labels to texts")
    for name, value in labels.items():
        if not isinstance(name, str) or not LABEL.fullmatch(name):
            raise ConfigError("labels", name, "is no name of a label: letters, digits and _, no digit first, no __")
        if name in TAKEN_LABELS:
            raise ConfigError("labels", name, "is a label of loopcron's own; choose another name")
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ConfigError("labels", value, f"is no value for {name}; it must be a printable text")
    return dict(sorted(labels.items()))


def _buckets(field: str, bounds: Sequence[float]) -> tuple[float, ...]:
    remedy = f"must be a list of 1 to {MOST_BUCKETS} numbers of seconds, each more than 0 and than the one before"
    if not isinstance(bounds, (list, tuple)) or not 1 <= len(bounds) <= MOST_BUCKETS:
        raise ConfigError(field, bounds, remedy)
    before = 0.0
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not before < bound < math.inf:
            raise ConfigError(field, bounds, remedy)
        before = bound
    return tuple(map(float, bounds))
