"""
A Starlette app whose schedulers are each unwell in another way, for the tests under a real server.

Each scheduler has its probes and its status page under its own name: ``/jobs/live``, ``/jobs/loopcron/status.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from loopcron import Claim, FunctionJob, HttpJob, MemoryLedger, Run, Scheduler, SystemClock, at, env_token, every
from loopcron_starlette import lifespan, liveness, readiness, status_routes
from tests.adapters.apps.jobs import TOKEN
from tests.wrapped import WrappedLedger

FLAG = "TEST_FLAG"
"""The environment variable that names the file whose coming ends the blocking of the event loop."""
OFTEN = every(milliseconds=200)
BLOCKED_SECONDS = 2.0
"""How long the event loop is blocked at least: a second longer than its watchdog waits."""


# --- endpoints


async def health(request: Request) -> Response:
    """Answer whoever asks whether the server is up."""
    return PlainTextResponse("up")


async def work(request: Request) -> Response:
    """Do nothing, behind the token."""
    given = request.headers.get("authorization", "")
    right = hmac.compare_digest(given.encode(), f"Bearer {os.environ[TOKEN]}".encode())
    return PlainTextResponse("done" if right else "who are you?", 200 if right else 401)


async def locked(request: Request) -> Response:
    """Find the lock taken, for ever: whoever had it was killed."""
    return PlainTextResponse("somebody else holds the lock", 409)


async def block(request: Request) -> Response:
    """Let a job block the event loop, once this is answered."""
    asyncio.get_running_loop().call_later(0.05, SCHEDULERS["blocked"].trigger, "blocks")
    return PlainTextResponse("soon")


# --- jobs


class Odd:
    """A schedule that fails after its first slots."""

    def __init__(self) -> None:
        self.asked = 0

    def next_after(self, instant: datetime) -> datetime:
        self.asked += 1
        if self.asked > 3:
            raise ValueError("on purpose")
        return OFTEN.next_after(instant) or instant

    def latest_until(self, instant: datetime) -> datetime | None:
        return OFTEN.latest_until(instant)


class Hanging(WrappedLedger):
    """A ledger that answers no claim, until the server ends."""

    def __init__(self) -> None:
        super().__init__(MemoryLedger(SystemClock()))

    def __repr__(self) -> str:
        return "a store that hangs"

    async def claim(self, claims: Sequence[Claim]) -> Any:
        await ending.wait()
        return await super().claim(claims)


async def nothing(run: Run) -> None:
    """Do nothing."""


async def swallow(run: Run) -> None:
    """Swallow every cancellation, until the server ends."""
    while not ending.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await ending.wait()


async def blocks(run: Run) -> None:
    """Block the event loop."""
    begun, flag = time.monotonic(), Path(os.environ[FLAG])
    while not flag.exists() or time.monotonic() < begun + BLOCKED_SECONDS:
        time.sleep(0.01)


def make(name: str) -> Scheduler:
    """Return one of the schedulers, with its jobs."""
    ledger = Hanging() if name == "ledger" else None
    watchdog = timedelta(seconds=1) if name == "blocked" else None
    scheduler = Scheduler(ledger=ledger, watchdog=watchdog, enabled=name != "disabled", drain=timedelta(0))
    match name:
        case "jobs":
            token = env_token(TOKEN)
            scheduler.add(HttpJob("ok", OFTEN, "/work", token=token))
            scheduler.add(HttpJob("failing", OFTEN, "/work", token=lambda: "wrong"))
            scheduler.add(HttpJob("busy", OFTEN, "/locked", token=token))
            scheduler.add(FunctionJob("paused", OFTEN, nothing))
            scheduler.add(FunctionJob("ended", at(datetime.now(UTC) + timedelta(seconds=0.5)), nothing))
            scheduler.add(FunctionJob("parked", Odd(), nothing))
            scheduler.pause("paused")
        case "stuck":
            timeout = timedelta(seconds=0.1)
            scheduler.add(FunctionJob("swallow", every(hours=1), swallow, timeout=timeout, run_on_start=True))
        case "blocked":
            scheduler.add(FunctionJob("blocks", every(hours=1), blocks))
        case _:
            scheduler.add(FunctionJob("nothing", OFTEN, nothing))
    return scheduler


ending = asyncio.Event()
SCHEDULERS = {name: make(name) for name in ("jobs", "stuck", "ledger", "dead", "stopped", "disabled", "blocked")}


async def kill(scheduler: Scheduler) -> None:
    """Enter the scheduler, and cancel whatever task that has begun, until none begins anew."""
    before = asyncio.all_tasks()
    await scheduler.__aenter__()
    for _ in range(20):  # it is begun anew three times, each time some turns of the event loop later
        for task in asyncio.all_tasks() - before:
            task.cancel()
        await asyncio.sleep(0)


@asynccontextmanager
async def live(app: Starlette) -> AsyncIterator[None]:
    """Live with all schedulers; one is stopped and another one killed before the app serves."""
    async with AsyncExitStack() as stack:
        # First, while the tasks that begin are its own; nobody leaves it, for that would begin them once more.
        await kill(SCHEDULERS["dead"])
        for name in ("stuck", "ledger", "stopped", "disabled", "blocked"):
            await stack.enter_async_context(SCHEDULERS[name])
        await SCHEDULERS["stopped"].stop()
        stack.callback(ending.set)
        yield


def routes(scheduler: Scheduler) -> list[Route]:
    """Return what is served of a scheduler."""
    return [
        Route("/live", liveness(scheduler)),
        Route("/ready", readiness(scheduler)),
        Route("/strict", readiness(scheduler, strict=True, details=True)),
        *status_routes(scheduler, authorize=lambda _: True),
    ]


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/work", work, methods=["POST"]),
        Route("/locked", locked, methods=["POST"]),
        Route("/block", block, methods=["POST"]),
        *[Mount(f"/{name}", routes=routes(scheduler)) for name, scheduler in SCHEDULERS.items()],
    ],
    lifespan=lifespan(SCHEDULERS["jobs"], live),
)
