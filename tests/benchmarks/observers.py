"""
What observers cost per run, in CPU time of the process: run by ``make bench-observers``.

Many jobs fall due at one instant, and each suspends once. Every way to observe has a scheduler of its own; they take
turns, so that whatever else the machine does meets all of them alike. No test: what is fast enough on one machine is
not on another.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, generate_latest
from pythonjsonlogger.json import JsonFormatter

from loopcron import LoopbackTransport, Observer, Request, Response, Run, Scheduler, every
from loopcron.observers import HealthchecksObserver, OpenTelemetryObserver, PrometheusObserver, WebhookObserver
from loopcron.testing import FakeClock

MINUTE = timedelta(minutes=1)
LOG_LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"

PINGED = """
import asyncio

async def answer(reader, writer):
    try:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        length = [line for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nOK")
        await writer.drain()
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, input)

try:
    asyncio.run(main())
except EOFError:
    pass
"""
"""A server that answers pings, in a process of its own, so that its work is not counted; ends when its stdin does."""


class Nowhere(SpanExporter):
    """Exports spans to nobody."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Carrier:
    """Carries pings through *inner*, or nowhere, and knows when all are delivered."""

    def __init__(self, inner: LoopbackTransport | None) -> None:
        self._inner = inner
        self.sent = self.flying = 0

    async def send(self, request: Request) -> Response:
        self.flying += 1
        try:
            return Response(200) if self._inner is None else await self._inner.send(request)
        finally:
            self.flying -= 1
            self.sent += 1


class Way(NamedTuple):
    """One way to observe, with all that it needs."""

    observers: list[Observer]
    handler: logging.Handler | None = None
    """Of the logger ``loopcron``, at INFO; None: as in an app that configures nothing."""
    carrier: Carrier | None = None


def prometheus() -> Observer:
    """Return the observer of Prometheus."""
    return PrometheusObserver(CollectorRegistry())


def opentelemetry() -> Observer:
    """Return the observer of OpenTelemetry, on the SDK with batches of spans and the metrics of a reader."""
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(Nowhere()))
    return OpenTelemetryObserver(tracer_provider=traces, meter_provider=MeterProvider([InMemoryMetricReader()]))


def healthchecks(carrier: Carrier) -> Observer:
    """Return the observer that pings."""
    return HealthchecksObserver(ping_key="a" * 22, base_url="http://127.0.0.1:1/ping", transport=carrier)


def webhook(carrier: Carrier) -> Observer:
    """Return the observer that posts changes, of which there are none while runs succeed."""
    return WebhookObserver("http://127.0.0.1:1/hook", transport=carrier)


def to_file(formatter: logging.Formatter) -> logging.Handler:
    """Return a handler that writes to a file, which keeps nothing."""
    handler = logging.FileHandler(os.devnull, encoding="utf-8")
    handler.setFormatter(formatter)
    return handler


def ways(port: int) -> dict[str, Callable[[], Way]]:
    """Return all ways to observe; the first one is what the others are compared with."""

    def plain() -> logging.Handler:
        return to_file(logging.Formatter(LOG_LINE))

    def json() -> logging.Handler:
        return to_file(JsonFormatter(LOG_LINE))

    def nowhere(make: Callable[[Carrier], Observer]) -> Way:
        carrier = Carrier(None)
        return Way([make(carrier)], carrier=carrier)

    def over_http() -> Carrier:
        return Carrier(LoopbackTransport(f"http://127.0.0.1:{port}"))

    def everything(carrier: Carrier) -> Way:
        return Way([prometheus(), opentelemetry(), healthchecks(carrier), webhook(carrier)], json(), carrier)

    def pings() -> Way:
        carrier = over_http()
        return Way([healthchecks(carrier)], carrier=carrier)

    return {
        "none, but the log at WARNING": lambda: Way([]),
        "log at INFO, text": lambda: Way([], plain()),
        "log at INFO, JSON": lambda: Way([], json()),
        "Prometheus": lambda: Way([prometheus()]),
        "OpenTelemetry": lambda: Way([opentelemetry()]),
        "webhook": lambda: nowhere(webhook),
        "healthchecks, pings not sent": lambda: nowhere(healthchecks),
        "healthchecks, one HTTP ping per run": pings,
        "all, JSON, pings not sent": lambda: everything(Carrier(None)),
        "all, JSON, one HTTP ping per run": lambda: everything(over_http()),
    }


async def work(run: Run) -> None:
    """Suspend once, as all that waits for something does."""
    await anyio.lowlevel.checkpoint()


@contextmanager
def logging_to(handler: logging.Handler | None) -> Iterator[None]:
    """Let the logger ``loopcron`` write to *handler* at INFO, or nowhere."""
    logger = logging.getLogger("loopcron")
    logger.propagate = False
    if handler is None:
        yield
        return
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


@asynccontextmanager
async def living(way: Way, jobs: int) -> AsyncIterator[FakeClock]:
    """Let a scheduler live that is observed like this; return its clock."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock, observers=way.observers)
    for number in range(jobs):
        scheduler.job(every(MINUTE), name=f"job-{number}")(work)
    with logging_to(way.handler):
        async with scheduler:
            yield clock
    if way.handler is not None:
        way.handler.close()


async def turn(way: Way, clock: FakeClock, jobs: int) -> float:
    """Return the CPU time of one run in µs, its share of what is told and sent included."""
    wanted = (
        0 if way.carrier is None or not any(isinstance(each, HealthchecksObserver) for each in way.observers) else jobs
    )
    sent = 0 if way.carrier is None else way.carrier.sent
    gc.collect()
    with logging_to(way.handler):
        begin = time.process_time()
        await clock.advance(MINUTE)
        while way.carrier is not None and way.carrier.sent < sent + wanted:
            await anyio.sleep(0.002)
        return (time.process_time() - begin) / jobs * 1e6


async def measure(port: int, jobs: int, rounds: int) -> None:
    """Print the medians over all rounds, and what a scrape takes."""
    took: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        alive = {}
        for name, make in ways(port).items():
            way = make()
            clock = await stack.enter_async_context(living(way, jobs))
            alive[name] = way, clock
            await turn(way, clock, jobs)
        for _ in range(rounds):
            for name, (way, clock) in alive.items():
                took.setdefault(name, []).append(await turn(way, clock, jobs))
        for way, _ in alive.values():
            assert all(getattr(observer, "dropped", 0) == 0 for observer in way.observers)
    first, *_ = took.values()
    base = statistics.median(first)
    print(f"CPU time per run, median of {rounds} rounds of {jobs} runs at one instant, asyncio")
    print(f"  {'observed by':38} {'µs':>8} {'more':>8} {'ratio':>7}")
    for name, values in took.items():
        median = statistics.median(values)
        print(f"  {name:38} {median:8.1f} {median - base:8.1f} {median / base:7.2f}")


async def measure_scrapes(jobs: int, rounds: int) -> None:
    """Print what a scrape of the Prometheus observer takes."""
    registry = CollectorRegistry()
    async with living(Way([PrometheusObserver(registry)]), jobs) as clock:
        await clock.advance(MINUTE)
        took = []
        for _ in range(rounds):
            begin = time.process_time()
            text = generate_latest(registry)
            took.append((time.process_time() - begin) * 1e3)
    print(f"A scrape of {jobs} jobs: {statistics.median(took):.1f} ms, {len(text) / 1e3:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few rounds, to see that it works")
    options = parser.parse_args()
    jobs, rounds = (50, 3) if options.short else (200, 40)
    with ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", PINGED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert server.stdin is not None
        stack.callback(server.stdin.close)
        assert server.stdout is not None
        anyio.run(measure, int(server.stdout.readline()), jobs, rounds)
    for some in (100, 1_000):
        anyio.run(measure_scrapes, some, rounds)


if __name__ == "__main__":
    main()
