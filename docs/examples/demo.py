"""
The demo: a stand-in for Dispatch whose scheduler calls its own endpoints, one line per run.

    python docs/examples/demo.py --server starlette|aiohttp

``PORT`` chooses the port, ``DEMO_SECONDS`` ends the demo by itself; Ctrl-C ends it as well. The intervals are
Dispatch's own ``DISPATCH_..._MS`` variables, and may be set. Every third run of ``sync`` finds its lock taken, as if
somebody had just pressed a button: that is the 409, which is expected. Two more jobs show what trouble looks like on
the status page: ``flaky`` fails two times of three, ``stuck`` swallows its cancellation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp_app
import starlette_app
import uvicorn
from aiohttp import web

from loopcron import (
    Busy,
    Event,
    FunctionJob,
    LoopbackTransport,
    LoopcronError,
    Request,
    Run,
    Scheduler,
    Settled,
    Skipped,
    TransportError,
    dispatch,
    env_token,
    every,
)

LIVELY = {
    "DISPATCH_SCHEDULER_JOBS": "all",
    "DISPATCH_SCHEDULER_STARTUP_DELAY_MS": "500",
    "DISPATCH_SYNC_INTERVAL_MS": "2000",
    "DISPATCH_GROOMER_INTERVAL_MS": "3000",
    "DISPATCH_PR_FOLLOWUP_INTERVAL_MS": "5000",
    "DISPATCH_CI_FAILURES_INTERVAL_MS": "7000",
    "DISPATCH_PRUNE_CLOSED_INTERVAL_MS": "30000",
    "DISPATCH_RECONCILE_INTERVAL_MS": "11000",
    "DISPATCH_STALE_WORK_INTERVAL_MS": "4000",
    "DISPATCH_PR_FIX_SWEEP_INTERVAL_MS": "6000",
}
COLUMNS = "{:<12}  {:<15}  {:<12}  {:<11}  {:>6}  {:>9}"
GREEN, YELLOW, RED, PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[0m"
FLAKY_SECONDS = 2
PRESS_EVERY, PRESS_AHEAD_SECONDS = 3, 0.3


class Board:
    """An observer that prints each run when it has ended, and adds them up."""

    def __init__(self) -> None:
        self.colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def begin(self) -> None:
        """Print the head of the table."""
        self._line(COLUMNS.format("time (UTC)", "job", "slot (UTC)", "outcome", "status", "duration"))

    def on_event(self, event: Event) -> None:
        """Print the line of a run, or of slots that did not run."""
        if not isinstance(event, Settled):
            return
        outcome, took = event.outcome, event.duration_seconds
        kind = type(outcome).__name__.lower()
        status = getattr(outcome, "status", None) or getattr(outcome, "error", None) or "-"
        duration = "-" if took is None else f"{took:.3f} s"
        line = COLUMNS.format(_clock(event.ended), event.job, _clock(event.slot), kind, str(status)[:20], duration)
        self._line(line, GREEN if kind == "succeeded" else YELLOW if isinstance(outcome, (Busy, Skipped)) else RED)
        self.outcomes[event.job][kind] += 1
        self.seconds[event.job] += took or 0.0

    def end(self) -> bool:
        """Print the summary, and return whether any job has succeeded; asking for the app's health is none."""
        columns = "{:<15}  {:>5}  {:>9}  {:>5}  {:>6}  {:>6}  {:>13}"
        print()
        self._line(columns.format("job", "runs", "succeeded", "busy", "failed", "others", "mean duration"))
        for job, counts in sorted(self.outcomes.items()):
            runs = counts.total()
            good, busy, failed = counts["succeeded"], counts["busy"], counts["failed"] + counts["timedout"]
            mean = f"{self.seconds[job] / runs:.3f} s"
            self._line(columns.format(job, runs, good, busy, failed, runs - good - busy - failed, mean))
        return any(counts["succeeded"] for job, counts in self.outcomes.items() if job != dispatch.HEALTH_JOB)

    def _line(self, text: str, colour: str = "") -> None:
        print(f"{colour}{text}{PLAIN}" if self.colours and colour else text, flush=True)


def _clock(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


async def flaky(run: Run) -> None:
    """Fail, but for each third time."""
    if run.slot.second // FLAKY_SECONDS % 3:
        raise ConnectionError("the weather service does not answer")


class Stuck:
    """A job that swallows its cancellation until the demo ends."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self, _run: Run) -> None:
        while not self.released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.released.wait()


def from_here(request: Any) -> bool:
    """Let whoever asks see the status page: the demo listens on loopback only. Not so a page of another origin."""
    return request.headers.get("Host", "").rpartition(":")[0] in ("127.0.0.1", "localhost")


class Uvicorn(uvicorn.Server):
    """A server that says when it is up, and leaves signals to the demo."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_starlette(scheduler: Scheduler, listener: socket.socket) -> AsyncIterator[None]:
    """Serve the Starlette app under uvicorn."""
    app = starlette_app.make_app(scheduler, from_here)
    server = Uvicorn(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.up.wait()
        yield
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def serve_aiohttp(scheduler: Scheduler, listener: socket.socket) -> AsyncIterator[None]:
    """Serve the aiohttp app under aiohttp's own runner."""
    app = aiohttp_app.make_app(scheduler, from_here)
    # Of a connection that comes while it stops, aiohttp drops the request and keeps the connection for so long.
    runner = web.AppRunner(app, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def add_trouble(scheduler: Scheduler, stuck: Stuck) -> None:
    """Add the two jobs of the demo's own."""
    scheduler.add(FunctionJob("flaky", every(seconds=FLAKY_SECONDS), flaky))
    later = every(hours=1, anchor="start", phase=timedelta(seconds=5))
    scheduler.add(FunctionJob("stuck", later, stuck, timeout=timedelta(seconds=2)))


def serve(server: str, scheduler: Scheduler, listener: socket.socket) -> AbstractAsyncContextManager[None]:
    """Serve the app under the server of this name."""
    return serve_starlette(scheduler, listener) if server == "starlette" else serve_aiohttp(scheduler, listener)


async def press_button(scheduler: Scheduler, base_url: str) -> None:
    """Synchronise by hand shortly before every third slot of ``sync``, so that it finds the lock taken."""
    transport = LoopbackTransport(base_url)
    request = Request("POST", "/api/sync/scheduled", token=env_token("DISPATCH_AGENT_TOKEN"))
    seen: set[datetime] = set()
    while True:
        now = scheduler.snapshot()
        slot_at = next((job.next_slot_at for job in now.jobs if job.name == "sync"), None)
        soon = slot_at is not None and (slot_at - now.at).total_seconds() <= PRESS_AHEAD_SECONDS
        if slot_at is not None and soon and slot_at not in seen:
            seen.add(slot_at)
            if len(seen) % PRESS_EVERY == 0:
                with contextlib.suppress(TransportError):
                    await transport.send(request)
        await asyncio.sleep(0.05)


async def run(server: str, board: Board, listener: socket.socket, base_url: str, seconds: float) -> None:
    """Serve, and print what happens, until the time is over or a signal comes."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    scheduler, stuck = dispatch.scheduler(dispatch.config_from_env(os.environ), observers=[board]), Stuck()
    add_trouble(scheduler, stuck)
    async with serve(server, scheduler, listener):
        pressing = asyncio.create_task(press_button(scheduler, base_url))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), seconds if math.isfinite(seconds) else None)
        pressing.cancel()
        stuck.released.set()


class CannotBeginError(Exception):
    """The demo cannot begin; the message is the line to show."""


def configure() -> dispatch.Config:
    """Set the environment that Dispatch would have, and return what it says."""
    for name, value in LIVELY.items():
        os.environ.setdefault(name, value)
    os.environ["DISPATCH_SCHEDULER_ENABLED"] = "true"
    os.environ["DISPATCH_AGENT_TOKEN"] = secrets.token_urlsafe(32)  # a new one each time, and never shown
    try:
        return dispatch.config_from_env(os.environ)
    except LoopcronError as error:
        raise CannotBeginError(str(error)) from None


def seconds_to_run() -> float:
    """Return how long the demo is to run."""
    text = os.environ.get("DEMO_SECONDS", "").strip() or "inf"
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise CannotBeginError("DEMO_SECONDS is no number above 0")
    return seconds


def listen(port: int) -> socket.socket:
    """Return the socket that the server is to serve; opened here, so that both servers fail alike."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise CannotBeginError(f"cannot listen on port {port}: {why}; choose another one: PORT=3001 ...") from None


def main() -> int:
    """Run the demo, and return its exit status: 0 if any job has succeeded, 1 if none, 2 if it could not begin."""
    parser = argparse.ArgumentParser(description="A stand-in for Dispatch whose scheduler calls its own endpoints.")
    parser.add_argument("--server", choices=("starlette", "aiohttp"), default="starlette")
    server = parser.parse_args().server
    try:
        seconds, config = seconds_to_run(), configure()
        listener = listen(config.port)
    except CannotBeginError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    # The board shows how runs end; what else there is to warn of stays visible.
    logging.getLogger("loopcron").addFilter(lambda record: getattr(record, "loopcron_event", "") != "Settled")
    board = Board()
    with listener:
        print(f"Dispatch's stand-in on {server}, at {config.base_url}; Ctrl-C ends it")
        print(f"Its status page: {config.base_url}/loopcron/")
        board.begin()
        asyncio.run(run(server, board, listener, config.base_url, seconds))
    return 0 if board.end() else 1


if __name__ == "__main__":
    sys.exit(main())
