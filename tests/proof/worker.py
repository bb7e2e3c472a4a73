"""
One worker of the proof: a process of its own, killed, stopped and misled about the time as the nemesis likes.

    python -m tests.proof.worker HISTORY URL SKEW LOOP

It runs each job of the plan through a ledger of its own, and appends a record when a run starts and when it ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import anyio

from loopcron import FunctionJob, Run, Scheduler, every
from loopcron._instants import to_ms
from loopcron._protocols import Ledger
from tests.proof import history as h
from tests.proof.controls import SECONDS, control
from tests.proof.direct import Direct
from tests.proof.history import History, Plan
from tests.proof.store import NAMESPACE, die_with_parent

DRAIN: Final = timedelta(milliseconds=200)
"""How long a worker that ends waits for its runs."""
LOOPS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
LONG: Final = 0.06
"""The part of the time that runs take which are longer than a lease."""


def make_ledger(job: str, url: str) -> Ledger:
    """Return the ledger of a job: the one under test, or a wrong formulation."""
    if job != h.LEASED:
        return control(job, url)
    timeout = timedelta(seconds=SECONDS)
    match url.partition(":")[0]:
        case "sqlite":
            from loopcron.ledgers.sqlite import SqliteLedger

            return SqliteLedger(url.removeprefix("sqlite:///"), namespace=NAMESPACE, timeout=timeout)
        case "postgresql":
            from loopcron.ledgers.postgres import PostgresLedger

            return PostgresLedger(url, namespace=NAMESPACE, timeout=timeout)
        case _:
            from loopcron.ledgers.redis import RedisLedger

            return RedisLedger(url, namespace=NAMESPACE, timeout=timeout)


def seconds_of(plan: Plan, job: str, slot: int) -> float:
    """Return how long the run of a slot takes: some ms, seldom longer than a period, once in a while than a lease."""
    dice = Random(f"{plan.seed}/{job}/{slot}")
    kind = dice.random()
    if kind < LONG * plan.period / plan.lease:
        return plan.lease / 1000 * 1.2
    return dice.uniform(0.1, 0.3) if kind > 0.92 else dice.uniform(0.002, 0.03)


class Worker:
    """What the jobs of this process share."""

    def __init__(self, history: History, url: str) -> None:
        self._history = history
        self._plan = history.plan
        self._url = url
        self._pid = os.getpid()

    async def serve(self) -> None:
        """Serve all jobs until the standard input ends."""
        serve = self._serve_directly if self._plan.mode == "direct" else self._serve_by_scheduler
        async with anyio.create_task_group() as group:
            for job in self._plan.jobs:
                group.start_soon(serve, job)
            await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            group.cancel_scope.cancel()

    async def _serve_directly(self, job: str) -> None:
        ledger = make_ledger(job, self._url)
        direct = Direct(self._plan, job, f"proof:{self._pid}:", ledger, partial(self._run, job))
        await direct.register()
        self._say_ready(job)
        try:
            await direct.serve()
        finally:
            with anyio.CancelScope(shield=True):
                await ledger.close()

    async def _serve_by_scheduler(self, job: str) -> None:
        scheduler = Scheduler(ledger=make_ledger(job, self._url), drain=DRAIN)

        async def body(run: Run) -> None:
            await self._run(job, to_ms(run.slot), run.fence)

        grace = timedelta(milliseconds=self._plan.grace)
        schedule = every(milliseconds=self._plan.period)
        scheduler.add(FunctionJob(job, schedule, body, misfire_grace=grace, catch_up="skip", timeout=None))
        async with scheduler:
            self._say_ready(job)
            await anyio.sleep_forever()

    def _say_ready(self, job: str) -> None:
        if job == self._plan.jobs[0]:
            self._history.write(h.READY, pid=self._pid)

    async def _run(self, job: str, slot: int, fence: int) -> None:
        self._history.write(h.START, pid=self._pid, job=job, slot=slot, fence=fence)
        try:
            await anyio.sleep(seconds_of(self._plan, job, slot))
        finally:
            self._history.write(h.END, pid=self._pid, job=job, slot=slot, fence=fence)


def main(arguments: Sequence[str]) -> None:
    """Be a worker until the standard input ends."""
    die_with_parent()
    path, url, skew, loop = arguments
    history = History(Path(path), h.read_plan(Path(path)), int(skew))
    backend, options = LOOPS[loop]
    anyio.run(Worker(history, url).serve, backend=backend, backend_options=options)


if __name__ == "__main__":
    main(sys.argv[1:])
