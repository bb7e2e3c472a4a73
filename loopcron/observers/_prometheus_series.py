"""The metrics of one registry under one prefix: shared by all observers of that, so that an app may be made twice."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from loopcron._errors import ConfigError
from loopcron.observers._words import OUTCOMES
from loopcron.status._metrics import HELP, Gauge, gauges

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

    from loopcron._scheduler import Scheduler

OTHER: Final = "_OTHER"
"""Stands for the jobs that get no series of their own; no job's name begins like this."""
_collectors: Final[weakref.WeakKeyDictionary[CollectorRegistry, dict[str, Collector]]] = weakref.WeakKeyDictionary()
_logger: Final = logging.getLogger("loopcron")


class Series(NamedTuple):
    """What the metrics of one registry and prefix have in common."""

    prefix: str
    labels: tuple[str, ...]
    """The names of the constant labels."""
    duration_buckets: tuple[float, ...]
    lateness_buckets: tuple[float, ...]


class Source:
    """The series of one set of constant labels, and the scheduler that they tell of."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels: Final = labels
        self.most_jobs = 0
        self.jobs: set[str] = set()
        """Those that have series of their own."""
        self.is_told = False
        self.scheduler: weakref.ref[Scheduler] | None = None
        """Weak, because a registry outlives an app that is made anew, as tests do; its series go with it."""

    def read(self) -> Scheduler | None:
        """Return the scheduler, if there is one still."""
        return None if self.scheduler is None else self.scheduler()

    def label(self, job: str) -> str:
        """Return the label of *job*; that two threads may admit one too many does no harm."""
        if job in self.jobs:
            return job
        if len(self.jobs) < self.most_jobs:
            self.jobs.add(job)
            return job
        if not self.is_told:
            self.is_told = True
            text = "no more than %s jobs have metrics of their own; the runs of others are counted as job %s"
            _logger.warning(text, self.most_jobs, OTHER, extra={"loopcron_most_jobs": self.most_jobs})
        return OTHER


@final
class Collector:
    """
    Counters and histograms that events feed, and gauges that each scrape computes; a collector of prometheus-client.

    In its multiprocess mode the package keeps counters and histograms in files, which its own collector reads and adds
    up; of ours there are the gauges only, of the worker that answers.
    """

    def __init__(self, client: Any, series: Series) -> None:
        self.series: Final = series
        self._client = client
        self._sources: dict[tuple[str, ...], Source] = {}
        self._in_files = any(name in os.environ for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"))
        prefix, labels = series.prefix, [*series.labels, "job"]
        self._runs = client.Counter(
            f"{prefix}_runs",
            "Slots that have their outcome, and manual runs; a range counts as all its slots.",
            [*labels, "outcome"],
            registry=None,
        )
        self._duration = client.Histogram(
            f"{prefix}_run_duration_seconds",
            "How long runs took, over all their attempts.",
            labels,
            registry=None,
            buckets=series.duration_buckets,
        )
        self._lateness = client.Histogram(
            f"{prefix}_run_lateness_seconds",
            "How long after their slot runs started; of manual runs nothing is told.",
            labels,
            registry=None,
            buckets=series.lateness_buckets,
        )
        self._kept = () if self._in_files else (self._runs, self._duration, self._lateness)

    # --- what the observer tells

    def source(self, labels: tuple[str, ...], most_jobs: int) -> Source:
        """Return the series of these constant labels, with at most so many jobs from now on."""
        source = self._sources.setdefault(labels, Source(labels))
        source.most_jobs = most_jobs
        return source

    def attach(self, source: Source, scheduler: Scheduler) -> None:
        """Let scrapes read *scheduler*; ConfigError if another one runs under these labels."""
        other = source.read()
        if other is not None and other is not scheduler and other.health().running:
            labels = dict(zip(self.series.labels, source.labels, strict=True))
            remedy = "belongs to another scheduler that runs, in this registry; tell the two apart by a label, such as"
            raise ConfigError("labels", labels, f"{remedy} labels={{'scheduler': 'billing'}} of this one's observer")
        source.scheduler = weakref.ref(scheduler)

    def count(self, source: Source, job: str, outcome: str, count: int) -> None:
        """Count so many slots of *job* that ended like this."""
        self._runs.labels(*source.labels, source.label(job), outcome).inc(count)

    def observe(self, source: Source, job: str, duration: float, late: float | None) -> None:
        """Take note of how long a run took, and how late it was; less than 0, where the clock was set, is 0."""
        labels = (*source.labels, source.label(job))
        self._duration.labels(*labels).observe(max(0.0, duration))
        if late is not None:
            self._lateness.labels(*labels).observe(max(0.0, late))

    # --- what prometheus-client asks

    def describe(self) -> Iterator[Metric]:
        """Yield all metrics without a value, by which a registry finds out that a name is taken."""
        for kept in self._kept:
            yield from kept.describe()
        for name in HELP:
            yield self._family(name)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; what a removed job has left is forgotten after this."""
        families = {name: self._family(name) for name in HELP}
        jobs = [(source, self._read(source, families)) for source in tuple(self._sources.values())]
        for kept in self._kept:
            yield from kept.collect()
        yield from (family for family in families.values() if family.samples)
        for source, present in jobs:
            if present is not None:
                self._forget(source, present)

    def _read(self, source: Source, families: dict[str, Metric]) -> set[str] | None:
        """Add the gauges of *source*, and return its scheduler's jobs; None if that cannot be asked."""
        scheduler = source.read()
        if scheduler is None:
            return None if source.scheduler is None else set()  # never there, so that events are all there is; or gone
        try:
            snapshot, health = scheduler.snapshot(), scheduler.health()
        except Exception:  # noqa: BLE001 - such as a user's clock that fails; the app's other metrics are not ours to hide
            self._add(source, families, Gauge("scheduler_up", [({}, 0)]))
            return None
        names = [job.name for job in snapshot.jobs]
        shown = {name for name in names if source.label(name) != OTHER}
        for gauge in gauges(snapshot, health, shown):
            self._add(source, families, gauge)
        return set(names)

    def _add(self, source: Source, families: dict[str, Metric], gauge: Gauge) -> None:
        constant = dict(zip(self.series.labels, source.labels, strict=True))
        family = families[gauge.name]
        for labels, value in gauge.samples:
            family.add_sample(f"{self.series.prefix}_{gauge.name}", {**constant, **labels}, float(value))

    def _family(self, name: str) -> Metric:
        family: Metric = self._client.GaugeMetricFamily(f"{self.series.prefix}_{name}", HELP[name])
        return family

    def _forget(self, source: Source, present: set[str]) -> None:
        for job in tuple(source.jobs - present):
            source.jobs.discard(job)
            for kept in self._kept:
                ends = [(outcome,) for outcome in OUTCOMES.values()] if kept is self._runs else [()]
                for end in ends:
                    with suppress(KeyError):  # no such outcome was counted
                        kept.remove(*source.labels, job, *end)


def series_in(client: Any, registry: CollectorRegistry, series: Series) -> Collector:
    """
    Return the collector of this registry and prefix, made and registered if there is none.

    Raises:
        ConfigError: There is one with other labels or buckets, or other metrics have its names.
    """
    collectors = _collectors.setdefault(registry, {})
    found = collectors.get(series.prefix)
    if found is None:
        found = Collector(client, series)
        try:
            registry.register(found)
        except ValueError as error:
            remedy = f"begins names that are in the registry already; choose another one ({error})"
            raise ConfigError("prefix", series.prefix, remedy) from None
        collectors[series.prefix] = found
    for field, value, there in zip(series._fields, series, found.series, strict=True):
        if value != there:
            remedy = f"differs from {there!r}, which this registry has under the prefix {series.prefix}; give the same"
            raise ConfigError(field, value, f"{remedy}, or another prefix or registry")
    return found
