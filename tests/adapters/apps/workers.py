"""
The jobs of the apps that run in several workers, and the journal into which all of these write.

One line of JSON is one write to one file, so that the lines of workers never mix and none is lost with its worker.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from typing import Any

import anyio

from loopcron import Event, FunctionJob, HttpJob, LedgerNotShared, Run, RunStarted, Scheduler, Settled, every
from tests.adapters.apps.jobs import LOG

LEDGER = "TEST_LEDGER"
"""The environment variable that names the ledger's URL; the memory of each worker if it is not set."""
PERIOD_MS = 500
JOBS = ("tick", "call")
"""A function that takes 10 ms, and a request to the app's own endpoint, half a period later."""
STALL_SECONDS = 0.2
"""How long a worker's loop must have stood still to be worth a line."""


class WorkersJournal:
    """Writes down what the workers do; an observer and a service of the scheduler, and asked by the jobs."""

    def __init__(self) -> None:
        self._file = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, event: str, **facts: Any) -> None:
        """Append one line, by one write."""
        line = {"event": event, "pid": os.getpid(), "at": time.time() * 1000, **facts}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def on_event(self, event: Event) -> None:
        """See `loopcron.Observer.on_event`."""
        if isinstance(event, Settled):
            outcome = event.outcome
            first = getattr(outcome, "first", None)
            facts = {"slot": event.slot, "first": event.slot if first is None else first}
            self.write("Settled", job=event.job, outcome=type(outcome).__name__, text=repr(outcome), **facts)
        elif isinstance(event, RunStarted):
            self.write("RunStarted", job=event.job, slot=event.slot, attempt=event.attempt)
        elif isinstance(event, LedgerNotShared):
            self.write("LedgerNotShared", reason=event.reason)
        else:
            self.write(type(event).__name__, text=repr(event))

    async def run(self) -> None:
        """Write down when this worker's loop stood still, as on a busy machine: judged without the scheduler."""
        before = time.time()
        while True:
            await anyio.sleep(STALL_SECONDS / 4)
            now = time.time()
            if now - before > STALL_SECONDS:
                self.write("stall", since=before * 1000)
            before = now

    async def do(self, job: str, slot: datetime, fence: int) -> None:
        """Do what a job does."""
        facts = {"job": job, "slot": round(slot.timestamp() * 1000), "fence": fence}
        self.write("start", **facts)
        await anyio.sleep(0.01)
        self.write("end", **facts)


def make_scheduler(journal: WorkersJournal) -> Scheduler:
    """Return the scheduler of each worker."""

    async def tick(run: Run) -> None:
        await journal.do("tick", run.slot, run.fence)

    scheduler = Scheduler(
        ledger=os.environ.get(LEDGER), observers=[journal], drain=timedelta(seconds=1), namespace=_namespace()
    )
    period = timedelta(milliseconds=PERIOD_MS)
    scheduler.add(FunctionJob("tick", every(period), tick))
    scheduler.add(HttpJob("call", every(period, phase=period / 2), "/call"))
    return scheduler


def _namespace() -> str | None:
    """Return whose jobs these are: wanted with a store that other apps use too."""
    return "workers" if os.environ.get(LEDGER, "").startswith("postgresql:") else None
