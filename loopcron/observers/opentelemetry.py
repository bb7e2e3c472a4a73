"""OpenTelemetry: a span per run, a client span per request that it sends, and metrics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, final, get_args

from loopcron._errors import ConfigError, TransportCode
from loopcron._events import AttemptFailed, Event, RunStarted, SchedulerStarted, SchedulerStopped, Settled
from loopcron._instants import iso
from loopcron._outcomes import (
    Blame,
    Failed,
    Interrupted,
    InterruptedBy,
    LeaseLost,
    Missed,
    Outcome,
    Reason,
    Run,
    Skipped,
    SkipReason,
    TimedOut,
    printable,
)
from loopcron._schedules import COUNT_LIMIT
from loopcron.ledgers._arguments import driver
from loopcron.observers._opentelemetry_http import OTHER, HttpTracing
from loopcron.observers._words import OUTCOMES

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from loopcron._protocols import Transport

__all__ = ("OpenTelemetryObserver",)

SCOPE: Final = "loopcron"
"""What instrumentation scope all spans and metrics have."""
JOBS_LIMIT: Final = 1_000
"""How many names of jobs become values of metrics; those of later ones are told as ``_OTHER``."""
RUN_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""The bounds of the histograms' buckets: jobs take from milliseconds to hours."""

_CAUSES: Final = frozenset({*get_args(Blame), *get_args(SkipReason), *get_args(InterruptedBy)})
_REASONS: Final = frozenset(get_args(Reason))
_CODES: Final = frozenset(get_args(TransportCode))

_P = TypeVar("_P")


@final
class OpenTelemetryObserver:
    """
    Makes a trace of each run, which goes on in the app's own server span, and metrics of all slots.

    A run is a span ``loopcron.run <job>`` from its first attempt to its outcome, the root of a trace of its own. Each
    request is a client span in it, with the HTTP attributes of OpenTelemetry's stable conventions, and carries the
    header ``traceparent``; failed attempts are events. What a job's own code traces, on a thread too, is a child of
    the run's span. A slot that never started has no span and is counted.

    Neither tokens, headers, bodies, queries nor the texts of errors are told, only statuses, codes and types.

    Give each scheduler one of its own. Spans must be exported from another thread, as the SDK's
    ``BatchSpanProcessor`` does it: everything here happens on the event loop.

    Args:
        tracer_provider: Where spans go; the global one if left out, whenever the app sets it.
        meter_provider: Where metrics go, likewise.

    Raises:
        ConfigError: A provider is none, or the package is missing: ``pip install loopcron[opentelemetry]``.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        driver("opentelemetry.context", "opentelemetry")
        from opentelemetry import metrics, trace
        from opentelemetry.context import Context

        tracer = trace.get_tracer(SCOPE, tracer_provider=_provider("tracer_provider", tracer_provider, "get_tracer"))
        meter = metrics.get_meter(SCOPE, meter_provider=_provider("meter_provider", meter_provider, "get_meter"))
        self._trace = trace
        self._root = Context()
        self._tracer = tracer
        self._http = HttpTracing(tracer, meter)
        self._spans: dict[str, Span] = {}
        """Of the runs that are alive, by key."""
        self._jobs: set[str] = set()
        text = "Slots and manual runs, by what became of them"
        self._runs = meter.create_counter("loopcron.runs", "{run}", text)
        self._active = meter.create_up_down_counter("loopcron.runs.active", "{run}", "Runs that are alive")
        self._duration = meter.create_histogram(
            "loopcron.run.duration",
            "s",
            "How long runs took, over all attempts",
            explicit_bucket_boundaries_advisory=RUN_SECONDS,
        )
        self._lateness = meter.create_histogram(
            "loopcron.run.lateness",
            "s",
            "How long after its slot a run started",
            explicit_bucket_boundaries_advisory=RUN_SECONDS,
        )

    def on_event(self, event: Event, /) -> None:
        """See `Observer.on_event`."""
        told = self._TOLD.get(type(event))
        if told is not None:
            told(self, event)

    def around_attempt(self, run: Run, /) -> AbstractContextManager[object]:
        """See `Tracer.around_attempt`: the run's span is the current one inside."""
        span = self._spans.get(run.key)
        if span is None:
            return nullcontext()
        # The SDK would put the text of what the job raised, and its whole traceback, into the span.
        return self._trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def wrap_transport(self, transport: Transport, /) -> Transport:
        """See `Tracer.wrap_transport`: the request has a client span, and ``traceparent``."""
        return self._http.over(transport)

    def _run_started(self, event: RunStarted) -> None:
        key = event.run_key
        if event.attempt > 1:
            span = self._spans.get(key)
            if span is not None:
                span.add_event("loopcron.attempt.started", {"loopcron.attempt": event.attempt})
            return
        self._end(key)  # after a correction of the clock a slot may come again while its run is alive
        self._spans[key] = self._tracer.start_span(
            f"loopcron.run {event.job}",
            context=self._root,  # not what happens to be current where the scheduler turns: a request, another run
            attributes={
                "loopcron.job": event.job,
                "loopcron.slot": iso(event.slot),
                "loopcron.run_key": key,
                "loopcron.reason": event.reason,
            },
        )
        self._active.add(1, {"loopcron.job": self._job(event.job)})

    def _attempt_failed(self, event: AttemptFailed) -> None:
        span = self._spans.get(event.run_key)
        if span is not None:
            told = {
                "loopcron.attempt": event.attempt,
                "loopcron.retry_seconds": event.retry_ms / 1000,
                **_told(event.outcome),
            }
            error_type = _error_type(event.outcome, None)
            if error_type is not None:
                told["error.type"] = error_type
            span.add_event("loopcron.attempt.failed", told)

    def _settled(self, event: Settled) -> None:
        job, outcome = self._job(event.job), event.outcome
        told = _told(outcome)
        count = 1
        if event.started is None and isinstance(outcome, (Skipped, Missed)):
            count = COUNT_LIMIT if outcome.count is None else max(1, outcome.count)
        self._runs.add(count, {"loopcron.job": job, **told})
        if event.duration_seconds is None or event.late_seconds is None:
            return
        key = event.run_key
        span = self._spans.get(key)
        # With the span, so that an example of a slow run leads to its trace.
        context = self._root if span is None else self._trace.set_span_in_context(span, self._root)
        named = {"loopcron.job": job, "loopcron.outcome": told["loopcron.outcome"]}
        self._duration.record(max(0.0, event.duration_seconds), named, context)
        reason = event.reason if event.reason in _REASONS else OTHER
        self._lateness.record(max(0.0, event.late_seconds), {"loopcron.job": job, "loopcron.reason": reason}, context)
        if span is not None:
            span.set_attributes(
                {
                    **told,
                    "loopcron.attempts": event.attempt,
                    "loopcron.late_seconds": event.late_seconds,
                    "loopcron.failures": event.failures,
                    "loopcron.fence": event.fence,
                }
            )
            self._end(key, _error_type(outcome, event.exception))

    def _scheduler_changed(self, _: SchedulerStarted | SchedulerStopped) -> None:
        """End what a life has left behind whose event loop was torn down: nobody will say what came of it."""
        for key in tuple(self._spans):
            self._end(key, "lost")

    def _end(self, key: str, error_type: str | None = None) -> None:
        span = self._spans.pop(key, None)
        if span is None:
            return
        if error_type is not None:
            span.set_attribute("error.type", error_type)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()
        self._active.add(-1, {"loopcron.job": self._job(key.rpartition("@")[0])})

    def _job(self, name: str) -> str:
        """Return the job's name, as the value of a metric: an app may add ever new jobs, and none is forgotten."""
        if name not in self._jobs:
            if len(self._jobs) >= JOBS_LIMIT:
                return OTHER
            self._jobs.add(name)
        return name

    _TOLD: ClassVar[dict[type, Callable[[OpenTelemetryObserver, Any], None]]] = {
        RunStarted: _run_started,
        AttemptFailed: _attempt_failed,
        Settled: _settled,
        SchedulerStarted: _scheduler_changed,
        SchedulerStopped: _scheduler_changed,
    }
    """What is done for each event; any other one is none of its business."""


def _provider(field: str, value: _P | None, method: str) -> _P | None:
    if value is not None and not callable(getattr(value, method, None)):
        raise ConfigError(field, value, f"has no method {method}")
    return value


def _told(outcome: Outcome) -> dict[str, Any]:
    """Return what of an outcome is told: values of closed sets, though a job may have made it of anything."""
    told = {"loopcron.outcome": OUTCOMES[type(outcome)]}
    cause = _cause(outcome)
    return told if cause is None else {**told, "loopcron.cause": cause}


def _cause(outcome: Outcome) -> str | None:
    cause: object
    match outcome:
        case Failed(blame):
            cause = blame
        case Skipped(reason):
            cause = reason
        case Interrupted(by):
            cause = by
        case _:
            return None
    return cause if isinstance(cause, str) and cause in _CAUSES else OTHER


def _error_type(outcome: Outcome, exception: BaseException | None) -> str | None:
    """Return what went wrong, as a status, a code or a type and never a text; None: nothing did."""
    match outcome:
        case TimedOut():
            return "timeout"
        case LeaseLost():
            return "lease_lost"
        case Failed(_, error, status):
            if status is not None and 100 <= status <= 599:
                return str(int(status))
            if exception is not None:
                kind = type(exception)
                return printable(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
            return error if error in _CODES else _cause(outcome)
        case _:
            return None
