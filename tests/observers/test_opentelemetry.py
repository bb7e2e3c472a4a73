"""OpenTelemetry, with the real SDK: one trace from the run to the app's own server span, and metrics of all slots."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest
import uvicorn
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route

from loopcron import (
    AttemptFailed,
    Busy,
    ConfigError,
    Event,
    Failed,
    HttpJob,
    Interrupted,
    LeaseLost,
    LoopbackTransport,
    Missed,
    Observer,
    ObserverFailed,
    Outcome,
    Request,
    Response,
    Retry,
    Run,
    RunStarted,
    RunStuck,
    Scheduler,
    SchedulerStarted,
    SchedulerStopped,
    Settled,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    Transport,
    TransportError,
    every,
)
from loopcron.observers import OpenTelemetryObserver
from loopcron.observers import opentelemetry as module
from loopcron.testing import FakeClock, RecordingObserver, RecordingTransport, hang
from loopcron_starlette import ASGITransport

SECRET = "hunter2-s3cret"
SLOT = 1_935_000_000_000
WHEN = "2031-04-26T20:00:00.000Z"
STARTED = RunStarted("job", SLOT, 1, "schedule")


class Telemetry:
    """An SDK that exports into memory, with an observer of its own."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.observer = OpenTelemetryObserver(tracer_provider=self.provider, meter_provider=self.meters)
        self.seen = RecordingObserver()
        self.clock = FakeClock()

    def scheduler(self, transport: Transport | None = None, **options: Any) -> Scheduler:
        """Return a scheduler that is observed."""
        observers: list[Observer] = [self.observer, self.seen]
        return Scheduler(clock=self.clock, transport=transport, observers=observers, **options)

    def spans(self, kind: SpanKind | None = None) -> list[ReadableSpan]:
        """Return the spans that have ended, oldest first, of one *kind* or of all."""
        return [span for span in self.exporter.get_finished_spans() if kind in {None, span.kind}]

    def points(self) -> dict[str, list[Any]]:
        """Return the points of every metric, by its name."""
        data = self.reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "loopcron"
                found |= {metric.name: list(metric.data.data_points) for metric in scope.metrics}
        return found

    def counted(self, name: str) -> dict[str, Any]:
        """Return what a counter has for the values of its attributes, or how often a histogram was told."""
        return {
            " ".join(str(value) for _, value in sorted(point.attributes.items())): getattr(
                point, "value", getattr(point, "count", None)
            )
            for point in self.points().get(name, [])
        }

    def everything(self) -> str:
        """Return all that was exported, as one text."""
        spans = "".join(span.to_json() for span in self.exporter.get_finished_spans())
        data = self.reader.get_metrics_data()
        return spans + (data.to_json() if data is not None else "")


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def told(span: ReadableSpan) -> dict[str, Any]:
    """Return the span's attributes."""
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int | None:
    """Return the id of the span's parent."""
    return None if span.parent is None else span.parent.span_id


def own_id(span: ReadableSpan) -> int:
    """Return the id of the span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def work(run: Run) -> None:
    """Do nothing."""


def add(scheduler: Scheduler, function: Callable[[Run], Any], **policy: Any) -> None:
    """Add a job of the function's name, once a minute."""
    scheduler.job(policy.pop("schedule", every(minutes=1)), **policy)(function)


# --- one trace, from the run into the app


def make_app(telemetry: Telemetry) -> Any:
    """Return an app with server spans of its own, that answers with the status its path asks for."""

    async def answer(request: StarletteRequest) -> StarletteResponse:
        return PlainTextResponse(SECRET, int(request.path_params["status"]))

    app = Starlette(routes=[Route("/status/{status}", answer, methods=["GET", "POST"])])
    return OpenTelemetryMiddleware(
        app,
        tracer_provider=telemetry.provider,
        meter_provider=metrics.NoOpMeterProvider(),
        exclude_spans=["receive", "send"],
    )


@pytest.fixture
def address(telemetry: Telemetry) -> Iterator[str]:
    """Serve the app by a real server, on a loop of its own, and return where."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(make_app(telemetry), log_config=None, lifespan="off", loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


async def test_server_span_of_a_real_app_joins_the_trace(telemetry: Telemetry, address: str) -> None:
    """Over a real server: the run is the root, its request a client span in it, the app's server span in that."""
    scheduler = telemetry.scheduler(LoopbackTransport(address))
    scheduler.add(HttpJob("sync", every(minutes=1), f"/status/202?key={SECRET}", token=lambda: SECRET))
    async with scheduler:
        outcome = await scheduler.trigger("sync")
    assert outcome == Succeeded(202)
    [run], [client] = telemetry.spans(SpanKind.INTERNAL), telemetry.spans(SpanKind.CLIENT)
    while not telemetry.spans(SpanKind.SERVER):  # it ends after its answer has been sent
        await anyio.sleep(0.001)
    [server] = telemetry.spans(SpanKind.SERVER)
    assert (parent(run), parent(client), parent(server)) == (None, own_id(run), own_id(client))
    assert len({span.get_span_context().trace_id for span in (run, client, server)}) == 1  # type: ignore[union-attr]
    assert (run.name, client.name) == ("loopcron.run sync", "POST")
    assert {span.status.status_code for span in (run, client)} == {StatusCode.UNSET}
    port = int(address.rpartition(":")[2])
    place = {"server.address": "127.0.0.1", "server.port": port}
    assert told(client) == {
        "http.request.method": "POST",
        "http.response.status_code": 202,
        "url.full": f"{address}/status/202?REDACTED",
        **place,
    }
    [settled] = telemetry.seen.settled()
    assert told(run) == {
        "loopcron.job": "sync",
        "loopcron.slot": settled.slot_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "loopcron.run_key": settled.run_key,
        "loopcron.reason": "manual",
        "loopcron.outcome": "succeeded",
        "loopcron.attempts": 1,
        "loopcron.late_seconds": 0.0,
        "loopcron.failures": 0,
        "loopcron.fence": 0,
    }
    points = telemetry.points()
    [point] = points["http.client.request.duration"]
    assert dict(point.attributes) == {"http.request.method": "POST", "http.response.status_code": 202, **place}
    assert point.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    [exemplar] = points["loopcron.run.duration"][0].exemplars
    assert exemplar.span_id == own_id(run)
    assert SECRET not in run.to_json() + client.to_json()  # the app's own span has the query: its own matter


async def test_server_span_joins_in_process(telemetry: Telemetry) -> None:
    """The in-process transport, whose app has a context of its own, carries the trace in the same header."""
    scheduler = telemetry.scheduler(ASGITransport(make_app(telemetry)))
    scheduler.add(HttpJob("sync", every(minutes=1), "/status/200", method="GET"))
    async with scheduler:
        await telemetry.clock.advance(timedelta(minutes=1))
    [run], [client], [server] = (
        telemetry.spans(kind) for kind in (SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.SERVER)
    )
    assert (parent(client), parent(server)) == (own_id(run), own_id(client))
    assert told(client)["url.full"] == "http://localhost/status/200"
    assert (told(client)["server.address"], told(client)["server.port"]) == ("localhost", 80)


async def test_attempts_are_one_span(telemetry: Telemetry) -> None:
    """A run that is repeated is one span, with its failed attempts as events and a client span for each request."""
    transport = RecordingTransport(500, TransportError("reset"), 200)
    scheduler = telemetry.scheduler(transport)
    retry = Retry(attempts=3, backoff=timedelta(seconds=1), on=frozenset({500, "transport"}))
    scheduler.add(HttpJob("sync", every(minutes=1), "/sync", retry=retry))
    async with scheduler:
        await telemetry.clock.advance(timedelta(seconds=55))
    [run] = telemetry.spans(SpanKind.INTERNAL)
    clients = telemetry.spans(SpanKind.CLIENT)
    assert [parent(client) for client in clients] == [own_id(run)] * 3
    assert [told(client).get("http.request.resend_count") for client in clients] == [None, 1, 2]
    assert [told(client).get("error.type") for client in clients] == ["500", "reset", None]
    assert [client.status.status_code for client in clients] == [StatusCode.ERROR] * 2 + [StatusCode.UNSET]
    assert {client.status.description for client in clients} == {None}
    failed = [dict(event.attributes or {}) for event in run.events if event.name == "loopcron.attempt.failed"]
    assert [event.pop("loopcron.retry_seconds") for event in failed] > [0, 0]
    assert failed == [
        {"loopcron.attempt": 1, "loopcron.outcome": "failed", "loopcron.cause": "endpoint", "error.type": "500"},
        {"loopcron.attempt": 2, "loopcron.outcome": "failed", "loopcron.cause": "transport", "error.type": "reset"},
    ]
    assert [event.name for event in run.events].count("loopcron.attempt.started") == 2
    assert (told(run)["loopcron.attempts"], told(run)["loopcron.outcome"]) == (3, "succeeded")
    assert run.status.status_code is StatusCode.UNSET
    sent = [dict(request.headers)["traceparent"] for request in transport.requests]
    assert [header.split("-")[2] for header in sent] == [f"{own_id(client):016x}" for client in clients]
    assert telemetry.counted("loopcron.runs") == {"sync succeeded": 1}


async def test_spans_of_the_job_are_children(telemetry: Telemetry) -> None:
    """What a job's own code traces is a child of the run's span: async, on a thread, and around its requests."""
    tracer = telemetry.provider.get_tracer("app")

    async def direct(run: Run) -> None:
        with tracer.start_as_current_span("own"):
            await run.send(Request("GET", "/"))

    def blocking(run: Run) -> None:
        with tracer.start_as_current_span("own"):
            pass

    scheduler = telemetry.scheduler(RecordingTransport())
    add(scheduler, direct)
    add(scheduler, blocking)
    async with scheduler:
        await telemetry.clock.advance(timedelta(minutes=1))
    runs = {own_id(span): span.name for span in telemetry.spans() if span.name.startswith("loopcron.run ")}
    owns = [span for span in telemetry.spans() if span.name == "own"]
    assert sorted(runs[parent(span)] for span in owns) == [  # type: ignore[index]
        "loopcron.run blocking",
        "loopcron.run direct",
    ]
    [client] = telemetry.spans(SpanKind.CLIENT)
    assert parent(client) in {own_id(span) for span in owns}


async def test_each_run_is_a_trace_of_its_own(telemetry: Telemetry) -> None:
    """Neither the span in which the scheduler was started nor the request that triggers a run is its parent."""
    tracer = telemetry.provider.get_tracer("app")

    async def outer(run: Run) -> None:
        scheduler.trigger("work")

    scheduler = telemetry.scheduler()
    add(scheduler, work, schedule=every(hours=1))
    add(scheduler, outer)
    with tracer.start_as_current_span("start-up"):
        async with scheduler:
            with tracer.start_as_current_span("request"):
                await scheduler.trigger("work")
            await telemetry.clock.advance(timedelta(minutes=1))
    runs = [span for span in telemetry.spans() if span.name.startswith("loopcron.run")]
    assert [parent(span) for span in runs] == [None] * 3
    assert len({span.get_span_context().trace_id for span in runs}) == 3  # type: ignore[union-attr]


# --- outcomes


OUTCOMES: list[tuple[Outcome, str, str | None]] = [
    (Succeeded(), "succeeded", None),
    (Busy(), "busy", None),
    (Failed("endpoint", "HTTP 503", 503), "failed endpoint", "503"),
    (Failed("transport", "refused", started=False), "failed transport", "refused"),
    (Failed("transport", SECRET), "failed transport", "transport"),
    (Failed("job", SECRET), "failed job", "job"),
    (Failed("endpoint", "", 10**5000), "failed endpoint", "endpoint"),
    (Failed(SECRET, SECRET), "failed _OTHER", "_OTHER"),  # type: ignore[arg-type]
    (Failed(["no text"], ""), "failed _OTHER", "_OTHER"),  # type: ignore[arg-type]
    (TimedOut(1), "timed_out", "timeout"),
    (Interrupted("shutdown"), "interrupted shutdown", None),
    (Skipped("no_address"), "skipped no_address", None),
    (Missed(SLOT, SLOT, 10**9), "missed", None),
    (Taken(), "taken", None),
    (LeaseLost(), "lease_lost", "lease_lost"),
]


@pytest.mark.parametrize(("outcome", "named", "error_type"), OUTCOMES, ids=range(len(OUTCOMES)))
def test_outcome_of_a_run(telemetry: Telemetry, outcome: Outcome, named: str, error_type: str | None) -> None:
    """A run's span and metrics tell its outcome in words of a closed set, and errors by status, code or kind only."""
    telemetry.observer.on_event(STARTED)
    telemetry.observer.on_event(Settled("job", SLOT, outcome, "schedule", 2, SLOT + 250, SLOT + 1000, 3, 7))
    [span] = telemetry.spans()
    assert span.status.status_code is (StatusCode.UNSET if error_type is None else StatusCode.ERROR)
    assert span.status.description is None
    word, _, cause = named.partition(" ")
    expected = {
        "loopcron.job": "job",
        "loopcron.slot": WHEN,
        "loopcron.run_key": f"job@{WHEN}",
        "loopcron.reason": "schedule",
        "loopcron.outcome": word,
        "loopcron.cause": cause,
        "loopcron.attempts": 2,
        "loopcron.late_seconds": 0.25,
        "loopcron.failures": 3,
        "loopcron.fence": 7,
        "error.type": error_type,
    }
    assert told(span) == {key: value for key, value in expected.items() if value not in {None, ""}}
    assert telemetry.counted("loopcron.runs") == {" ".join(filter(None, (cause, "job", word))): 1}
    assert telemetry.counted("loopcron.run.duration") == {f"job {word}": 1}
    assert telemetry.counted("loopcron.run.lateness") == {"job schedule": 1}
    assert telemetry.counted("loopcron.runs.active") == {"job": 0}
    points = telemetry.points()
    assert (points["loopcron.run.duration"][0].sum, points["loopcron.run.lateness"][0].sum) == (0.75, 0.25)
    assert SECRET not in telemetry.everything()


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (Skipped("paused", SLOT, SLOT, 12), {"paused job skipped": 12}),
        (Missed(SLOT, SLOT, 3), {"job missed": 3}),
        (Missed(SLOT, SLOT, None), {"job missed": 100}),
        (Taken(), {"job taken": 1}),
    ],
)
def test_slot_that_never_started(telemetry: Telemetry, outcome: Outcome, counted: dict[str, int]) -> None:
    """A slot that never started, or a range of them, makes no span and is counted, by its lower bound if unknown."""
    telemetry.observer.on_event(Settled("job", SLOT, outcome, "schedule", 0, None, SLOT, 0))
    assert telemetry.spans() == []
    assert telemetry.counted("loopcron.runs") == counted
    assert "loopcron.run.duration" not in telemetry.points()


def test_clock_that_goes_back_makes_no_negative_measure(telemetry: Telemetry) -> None:
    """A run that ended before it started, by a clock that was set, is measured as 0."""
    telemetry.observer.on_event(STARTED)
    telemetry.observer.on_event(Settled("job", SLOT, Succeeded(), "odd", 1, SLOT - 9, SLOT - 99, 0))  # type: ignore[arg-type]
    points = telemetry.points()
    assert (points["loopcron.run.duration"][0].sum, points["loopcron.run.lateness"][0].sum) == (0, 0)
    assert telemetry.counted("loopcron.run.lateness") == {"job _OTHER": 1}


async def test_what_a_job_raises_is_told_by_its_type(telemetry: Telemetry) -> None:
    """An exception's type is told, and neither its text nor its traceback, whoever of the SDK would add them."""

    class Odd(ValueError):
        pass

    Odd.__qualname__ = "Odd\x1b[31m\nforged"

    async def odd(run: Run) -> None:
        raise Odd(SECRET)

    async def plain(run: Run) -> None:
        raise LookupError(SECRET)

    scheduler = telemetry.scheduler()
    add(scheduler, odd)
    add(scheduler, plain)
    async with scheduler:
        await telemetry.clock.advance(timedelta(minutes=1))
    found = {told(span)["loopcron.job"]: told(span)["error.type"] for span in telemetry.spans()}
    assert found == {"odd": f"{__name__}.Odd\\x1b[31m\\nforged", "plain": "LookupError"}
    assert [span.events for span in telemetry.spans()] == [(), ()]
    assert SECRET not in telemetry.everything()


# --- requests


class Answering:
    """A transport that says where it sends, or says something else."""

    def __init__(self, answer: Callable[[], int], **attributes: object) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.__dict__ |= attributes

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(self.answer())


async def fire(telemetry: Telemetry, transport: Transport, job: HttpJob) -> ReadableSpan:
    """Run the job once, and return its client span."""
    scheduler = telemetry.scheduler(transport)
    scheduler.add(job)
    async with scheduler:
        scheduler.trigger(job.name)
        await telemetry.clock.advance(timedelta(seconds=10))
    [client] = telemetry.spans(SpanKind.CLIENT)
    return client


async def test_busy_is_no_error(telemetry: Telemetry) -> None:
    """A 409 is expected, so neither its client span nor its run is an error."""
    client = await fire(telemetry, RecordingTransport(409), HttpJob("job", every(minutes=1), "/job"))
    assert {span.status.status_code for span in telemetry.spans()} == {StatusCode.UNSET}
    assert (told(client)["http.response.status_code"], "error.type" in told(client)) == (409, False)


async def test_method_that_nobody_knows(telemetry: Telemetry) -> None:
    """An unknown method is ``_OTHER``, as the conventions have it; the original is on the span and no metric."""
    client = await fire(telemetry, RecordingTransport(), HttpJob("job", every(minutes=1), "/job", method="FROB"))
    assert client.name == "HTTP"
    assert (told(client)["http.request.method"], told(client)["http.request.method_original"]) == ("_OTHER", "FROB")
    assert telemetry.counted("http.client.request.duration") == {"_OTHER 200": 1}


async def test_known_methods_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conventions' environment variable names the methods that are known."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, FROB")
    client = await fire(Telemetry(), RecordingTransport(), HttpJob("job", every(minutes=1), "/job", method="FROB"))
    assert (client.name, "http.request.method_original" in told(client)) == ("FROB", False)


async def test_own_traceparent_is_kept(telemetry: Telemetry) -> None:
    """A header that the job gives itself is not given twice."""
    transport = RecordingTransport()
    await fire(telemetry, transport, HttpJob("job", every(minutes=1), "/job", headers={"Traceparent": "mine"}))
    [request] = transport.requests
    assert [value for name, value in request.headers if name.lower() == "traceparent"] == ["mine"]


@pytest.mark.parametrize("origin", [f"http://user:{SECRET}@app", f"http://app/{SECRET}", 7, None, "no url"])
async def test_address_that_is_none(telemetry: Telemetry, origin: object) -> None:
    """What a transport says of its address is told only if it is an origin and nothing more."""
    transport = Answering(lambda: 200, origin=origin)
    client = await fire(telemetry, transport, HttpJob("job", every(minutes=1), "/job"))
    assert told(client) == {"http.request.method": "POST", "http.response.status_code": 200}
    assert SECRET not in telemetry.everything()


async def test_address_that_is_found_on_the_way(telemetry: Telemetry) -> None:
    """A transport that finds its address when it first sends has it in that span too."""

    def answer() -> int:
        transport.__dict__["origin"] = "https://[::1]/"
        return 200

    transport = Answering(answer)
    client = await fire(telemetry, transport, HttpJob("job", every(minutes=1), "/job"))
    assert told(client)["url.full"] == "https://[::1]/job"
    assert (told(client)["server.address"], told(client)["server.port"]) == ("::1", 443)
    assert telemetry.counted("http.client.request.duration") == {"POST 200 ::1 443": 1}


async def test_request_that_is_cut(telemetry: Telemetry) -> None:
    """A request that is cut at the deadline ends its span as cancelled, and the run's as timed out."""

    class Slow:
        async def send(self, request: Request) -> Response:
            await hang()
            raise NotImplementedError

    client = await fire(telemetry, Slow(), HttpJob("job", every(hours=1), "/job", timeout=timedelta(seconds=5)))
    [run] = telemetry.spans(SpanKind.INTERNAL)
    assert (told(client)["error.type"], told(run)["error.type"]) == ("cancelled", "timeout")


async def test_transport_with_a_fault_of_its_own(telemetry: Telemetry) -> None:
    """What a transport raises against its promise is told by its type, and its text is not."""

    def broken() -> int:
        raise ValueError(SECRET)

    client = await fire(telemetry, Answering(broken), HttpJob("job", every(minutes=1), "/job"))
    assert (told(client)["error.type"], client.events) == ("ValueError", ())
    assert telemetry.seen.settled()[0].outcome == Failed("transport", "internal")
    assert SECRET not in telemetry.everything()


async def test_run_that_is_not_sampled() -> None:
    """Where the sampler drops a run the app is told so, and the metrics go on."""
    telemetry, transport = Telemetry(sampler=ALWAYS_OFF), RecordingTransport()
    scheduler = telemetry.scheduler(transport)
    scheduler.add(HttpJob("job", every(minutes=1), "/job"))
    async with scheduler:
        await telemetry.clock.advance(timedelta(minutes=1))
    assert telemetry.spans() == []
    assert dict(transport.requests[0].headers)["traceparent"][-1] in "02"  # the last bit says sampled
    assert telemetry.counted("loopcron.runs") == {"job succeeded": 1}


async def test_without_an_sdk_nothing_is_added() -> None:
    """Where an app has the API and no SDK, runs go on and their requests are as before."""
    transport, clock, seen = RecordingTransport(), FakeClock(), RecordingObserver()
    observer = OpenTelemetryObserver(
        tracer_provider=trace.NoOpTracerProvider(), meter_provider=metrics.NoOpMeterProvider()
    )
    scheduler = Scheduler(clock=clock, transport=transport, observers=[observer, seen])
    scheduler.add(HttpJob("job", every(minutes=1), "/job"))
    async with scheduler:
        await clock.advance(timedelta(minutes=1))
    assert [settled.outcome for settled in seen.settled()] == [Succeeded(200)]
    assert "traceparent" not in dict(transport.requests[0].headers)


# --- nothing is left behind


async def test_no_run_leaves_a_span_open(telemetry: Telemetry) -> None:
    """Many runs at once, manual, stuck, replaced, removed or cut by the end: each span ends, and nothing is kept."""
    released: list[bool] = []

    async def allowed(run: Run) -> None:
        await hang()

    async def stubborn(run: Run) -> None:
        while not released:
            with suppress(BaseException):
                await hang()

    scheduler = telemetry.scheduler(drain=timedelta(0))
    add(scheduler, allowed, overlap="allow", max_running=50, timeout=None)
    add(scheduler, allowed, name="replaced", overlap="replace", timeout=None)
    add(scheduler, allowed, name="removed", timeout=None)
    add(scheduler, stubborn, timeout=timedelta(seconds=10))
    try:
        async with scheduler:
            for _ in range(20):
                scheduler.trigger("allowed")
            await telemetry.clock.advance(timedelta(minutes=5, seconds=20))
            scheduler.remove("removed")
            alive = len(telemetry.observer._spans)
            assert alive >= 20 + 5
            assert sum(telemetry.counted("loopcron.runs.active").values()) == alive
    finally:
        released.append(True)
    assert telemetry.observer._spans == {}
    assert set(telemetry.counted("loopcron.runs.active").values()) == {0}
    ran = [settled for settled in telemetry.seen.settled() if settled.started is not None]
    assert len(telemetry.spans()) == len(ran) >= 20 + 5 + 5 + 1 + 5
    assert {told(span)["loopcron.outcome"] for span in telemetry.spans()} == {"interrupted", "timed_out"}
    assert any(isinstance(event, RunStuck) for event in telemetry.seen.events)
    assert not [event for event in telemetry.seen.events if isinstance(event, ObserverFailed)]


@pytest.mark.parametrize("event", [SchedulerStarted(("job",), "memory", 1), SchedulerStopped()])
def test_span_of_a_life_that_was_torn_down(telemetry: Telemetry, event: Event) -> None:
    """A run whose outcome nobody told, because its event loop was ended, is ended as lost by the next start or end."""
    telemetry.observer.on_event(STARTED)
    telemetry.observer.on_event(event)
    [span] = telemetry.spans()
    assert (told(span)["error.type"], telemetry.observer._spans) == ("lost", {})
    assert telemetry.counted("loopcron.runs.active") == {"job": 0}


def test_slot_that_comes_again(telemetry: Telemetry) -> None:
    """A slot that recurs after a correction of the clock while its run is alive begins a span anew."""
    telemetry.observer.on_event(STARTED)
    telemetry.observer.on_event(STARTED)
    assert (len(telemetry.spans()), len(telemetry.observer._spans)) == (1, 1)
    assert telemetry.counted("loopcron.runs.active") == {"job": 1}


async def test_run_whose_start_was_not_told(telemetry: Telemetry) -> None:
    """Events of a run whose start was not told make no span, and what its code does is as if nobody observed it."""
    telemetry.observer.on_event(RunStarted("job", SLOT, 2, "schedule"))
    telemetry.observer.on_event(AttemptFailed("job", SLOT, 2, Succeeded(), 1))
    telemetry.observer.on_event(Settled("job", SLOT, Succeeded(), "schedule", 2, SLOT, SLOT, 0))
    scheduler, spans = telemetry.scheduler(RecordingTransport()), telemetry.observer._spans
    ran: list[object] = []

    async def job(run: Run) -> None:
        ran.append(trace.get_current_span().get_span_context().is_valid)

    add(scheduler, job)
    async with scheduler:
        telemetry.observer.__dict__["_spans"] = {}
        telemetry.observer.__dict__["_tracer"] = None
        await telemetry.clock.advance(timedelta(minutes=1))
    assert (ran, telemetry.spans(), spans) == ([False], [], {})
    assert telemetry.counted("loopcron.runs") == {"job succeeded": 2}


def test_attempt_that_failed_without_a_fault(telemetry: Telemetry) -> None:
    """An attempt that is repeated for want of an address is told by its outcome, and is no error."""
    telemetry.observer.on_event(STARTED)
    telemetry.observer.on_event(AttemptFailed("job", SLOT, 1, Skipped("no_address"), 250))
    telemetry.observer.on_event(SchedulerStopped())
    [event] = telemetry.spans()[0].events
    assert dict(event.attributes or {}) == {
        "loopcron.attempt": 1,
        "loopcron.retry_seconds": 0.25,
        "loopcron.outcome": "skipped",
        "loopcron.cause": "no_address",
    }


def test_metrics_know_so_many_jobs(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that adds ever new jobs makes no more values than a limit; later jobs are counted together."""
    monkeypatch.setattr(module, "JOBS_LIMIT", 2)
    for name in ("a", "b", "c", "d", "a"):
        telemetry.observer.on_event(Settled(name, SLOT, Succeeded(), "schedule", 0, None, SLOT, 0))
    counted = {"a succeeded": 2, "b succeeded": 1, "_OTHER succeeded": 2}
    assert telemetry.counted("loopcron.runs") == counted


# --- bad configuration


@pytest.mark.parametrize("field", ["tracer_provider", "meter_provider"])
def test_provider_that_is_none(field: str) -> None:
    """What cannot be a provider is refused when the observer is made."""
    with pytest.raises(ConfigError, match=f"{field}.* has no method get_"):
        OpenTelemetryObserver(**{field: "a provider"})  # type: ignore[arg-type]


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the observer says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(ConfigError, match=r"pip install loopcron\[opentelemetry\]"):
        OpenTelemetryObserver()


def test_global_providers_are_the_default() -> None:
    """An observer that is given no providers takes the app's, which may be set later."""
    observer = OpenTelemetryObserver()
    observer.on_event(STARTED)
    observer.on_event(Settled("job", SLOT, Succeeded(), "schedule", 1, SLOT, SLOT, 0))
    assert observer._spans == {}
