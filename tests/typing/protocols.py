"""
Never executed: type checkers read it. Each implementation that ships is assigned to the protocol it claims to meet.

mypy --strict and basedpyright in strict mode must both accept every line of this folder without an ignore. A line
that one of them refuses is a fault of loopcron's annotations, or of the line; never something to silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

from loopcron import (
    Clock,
    Event,
    FunctionJob,
    HttpJob,
    Job,
    Ledger,
    LoggingObserver,
    LoopbackTransport,
    MemoryLedger,
    Observer,
    Outcome,
    Policy,
    Request,
    Response,
    Run,
    Schedule,
    Succeeded,
    SystemClock,
    Tracer,
    Transport,
    at,
    every,
)
from loopcron.observers import OpenTelemetryObserver
from loopcron.testing import FakeClock, RecordingTransport


async def work(run: Run) -> None:
    """Stand for a user's job."""
    await run.sleep(1)


system_clock: Clock = SystemClock()
fake_clock: Clock = FakeClock()

loopback: Transport = LoopbackTransport()
explicit_loopback: Transport = LoopbackTransport("http://127.0.0.1:8000")
recording: Transport = RecordingTransport()

observer: Observer = LoggingObserver()

ledger: Ledger = MemoryLedger(SystemClock())

each_quarter: Schedule = every(minutes=15)
once: Schedule = at(datetime(2026, 3, 1, tzinfo=UTC))

http_job: Job = HttpJob("sync", every(minutes=15), "/api/sync", json={"issues": True})
function_job: Job = FunctionJob("prune", every(hours=1), work)


class OwnSchedule:
    """A user's own rule: two methods, nothing to inherit from."""

    def next_after(self, instant: datetime, /) -> datetime | None:
        """Say that there is no slot ever."""

    def latest_until(self, instant: datetime, /) -> datetime | None:
        """Say that there was none."""


class OwnJob:
    """A user's own job, with plain attributes where the protocol asks for properties."""

    def __init__(self) -> None:
        self.name = "own"
        self.schedule: Schedule = OwnSchedule()
        self.policy = Policy()

    async def run(self, run: Run, /) -> Outcome | None:
        """Choose an outcome."""
        response: Response = await run.send(Request("GET", "/api/health"))
        return Succeeded(response.status)


class OwnTransport:
    """A user's own transport."""

    async def send(self, request: Request, /) -> Response:
        """Hand the request on to another one."""
        return await LoopbackTransport().send(request)


class OwnClock:
    """A user's own clock."""

    def now(self) -> datetime:
        """Return a fixed instant."""
        return datetime(2026, 3, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """Return a fixed reading."""
        return 0.0

    async def sleep(self, seconds: float, /) -> None:
        """Wake early, as a clock may."""


class OwnObserver:
    """A user's own observer."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def on_event(self, event: Event, /) -> None:
        """Remember the event."""
        self.seen.append(event)


class OwnTracer:
    """A user's own observer that sees runs from the inside."""

    def on_event(self, event: Event, /) -> None:
        """Take no note."""

    def around_attempt(self, run: Run, /) -> AbstractContextManager[object]:
        """Put nothing around it."""
        return nullcontext()

    def wrap_transport(self, transport: Transport, /) -> Transport:
        """Leave it as it is."""
        return transport


own_schedule: Schedule = OwnSchedule()
own_job: Job = OwnJob()
own_transport: Transport = OwnTransport()
own_clock: Clock = OwnClock()
own_observer: Observer = OwnObserver()
own_observers: Sequence[Observer] = (OwnObserver(), LoggingObserver())
own_tracer: Tracer = OwnTracer()
tracer_as_observer: Observer = OwnTracer()
open_telemetry: Observer = OpenTelemetryObserver()
open_telemetry_tracer: Tracer = OpenTelemetryObserver()
