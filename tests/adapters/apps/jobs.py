"""
The jobs of the apps that the adapters' tests run under real servers, and the observer that writes down what came of
them. A test tells an app what to do by its environment; the app prints nothing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from loopcron import Event, FunctionJob, HttpJob, Run, RunStarted, Scheduler, Settled, at, env_token, every

TOKEN = "TEST_TOKEN"
"""The environment variable that holds the bearer token, for the jobs and for the app's auth alike."""
LOG = "TEST_LOG"
"""The environment variable that names the file in which the app writes down what happens, one JSON object a line."""
SCENARIO = "TEST_SCENARIO"
"""The environment variable that names the set of jobs: ``faults``, ``calls`` or ``works``."""
DRAIN = timedelta(seconds=0.5)
ON_PURPOSE = "on purpose"
"""What every exception of a job says."""


class Journal:
    """An observer that appends what happens to the file that `LOG` names."""

    def __init__(self) -> None:
        self._file = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, event: str, **facts: Any) -> None:
        """Append one line; a single write, so that nothing is lost however the process ends."""
        os.write(self._file, json.dumps({"event": event, **facts}).encode() + b"\n")

    def on_event(self, event: Event) -> None:
        """See `loopcron.Observer.on_event`."""
        if isinstance(event, Settled):
            facts = {"outcome": type(event.outcome).__name__, "slot": event.slot, "text": repr(event.outcome)}
            self.write("Settled", job=event.job, **facts)
        elif isinstance(event, RunStarted):
            self.write("RunStarted", job=event.job)
        else:
            self.write(type(event).__name__)


async def raises(run: Run) -> None:
    """Fail as jobs usually do."""
    raise RuntimeError(ON_PURPOSE)


async def exits(run: Run) -> None:
    """End as a command line does."""
    sys.exit(ON_PURPOSE)


async def leaks(run: Run) -> None:
    """Let a cancellation out that nobody asked for."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        scope = trio.CancelScope()
        scope.__enter__()
        scope.cancel()
        await trio.sleep(0)
    import asyncio

    inner = asyncio.ensure_future(asyncio.sleep(60))
    inner.cancel()
    await inner


async def hangs(run: Run) -> None:
    """Wait for what never comes."""
    await anyio.sleep_forever()


def blocks(run: Run) -> None:
    """Keep a thread for ever."""
    threading.Event().wait()


async def works(run: Run) -> None:
    """Take longer than any test."""
    await anyio.sleep(60)


OFTEN = every(milliseconds=250)
ONCE = every(hours=1)
FIRST = tuple(f"first-{number}" for number in range(8))
"""The jobs that call the app as soon as the scheduler starts, which is before most servers listen."""


def make_scheduler(journal: Journal) -> Scheduler:
    """Return the scheduler for the scenario that the environment names."""
    scheduler = Scheduler(observers=[journal], drain=DRAIN)
    token = env_token(TOKEN)
    scenario = os.environ[SCENARIO]
    if scenario == "calls":
        # The only job: nothing else comes due that would notice that the server drains. Not at the start, because
        # most servers do not listen yet then.
        scheduler.add(HttpJob("calls", at(datetime.now(UTC) + timedelta(seconds=2)), "/slow", token=token))
        return scheduler
    scheduler.add(HttpJob("good", OFTEN, "/work", json={"issues": True}, token=token))
    for name in FIRST:
        scheduler.add(HttpJob(name, ONCE, "/work", token=token, run_on_start=True))
    scheduler.add(FunctionJob("works", ONCE, works, run_on_start=True))
    if scenario == "faults":
        scheduler.add(HttpJob("locked", OFTEN, "/locked", token=token, overlap="allow"))
        scheduler.add(HttpJob("stranger", OFTEN, "/work", token=lambda: "wrong"))
        scheduler.add(FunctionJob("raises", OFTEN, raises))
        scheduler.add(FunctionJob("exits", OFTEN, exits))
        scheduler.add(FunctionJob("leaks", OFTEN, leaks))
        scheduler.add(FunctionJob("hangs", OFTEN, hangs, timeout=timedelta(seconds=0.3)))
        scheduler.add(FunctionJob("blocks", ONCE, blocks, run_on_start=True, timeout=timedelta(seconds=0.3)))
    return scheduler
