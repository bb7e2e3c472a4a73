"""One run of the proof: a store, workers and a nemesis for as long as the plan says, and the history that is left."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

from loopcron._ledger import Register
from tests.proof import history as h
from tests.proof.history import History, Plan
from tests.proof.nemesis import Nemesis
from tests.proof.store import Store
from tests.proof.stores import STORES
from tests.proof.worker import make_ledger
from tests.proof.workers import Workers

STARTING: Final = 30.0
"""How long, in seconds, the workers may take to start."""


def perform(plan: Plan, keep: Path) -> Path:
    """
    Run once, and return the file of the history.

    Args:
        plan: What is to be done.
        keep: Where the history is put, and beside it what the workers complained of.
    """
    path, complaints = (keep / f"{plan.ledger}-{plan.seed}-{kind}" for kind in ("history", "complaints"))
    for old in (path, complaints):
        old.unlink(missing_ok=True)
    with _folder() as folder, STORES[plan.ledger](folder) as store:
        history = History(path, plan._replace(settling=store.settling))
        anyio.run(_prepare, plan, store)
        store.watch()
        with Workers(history, store, complaints) as workers:
            for index in range(plan.processes):
                workers.begin(index)
            Nemesis(history, _await_all(history, workers), store, workers).act()
            workers.finish()
        for won in store.audit():
            pid = int(won.claim_id.rsplit(":", 2)[1])  # host:pid:rest
            history.write(
                h.AUDIT, at=won.fence, pid=pid, job=won.job, slot=won.slot, fence=won.fence, note=won.claim_id
            )
        history.close()
    return path


def _await_all(history: History, workers: Workers) -> Plan:
    """Wait until all workers are ready, and return the plan with its first slot."""
    deadline = time.monotonic() + STARTING
    while sum(record.kind == h.READY for record in h.read(history.path)[1]) < history.plan.processes:
        workers.reap()
        if time.monotonic() > deadline:
            raise TimeoutError("not all workers came to be ready")
        time.sleep(0.02)
    plan = history.plan
    first = (history.now() // plan.period + 2) * plan.period
    history.write(h.BEGIN, slot=first)
    return plan._replace(first=first)


async def _prepare(plan: Plan, store: Store) -> None:
    """Make the rows, so that the audit has something to watch, and no worker comes first."""
    for job in plan.jobs:
        ledger = make_ledger(job, store.url(0))
        await ledger.register([Register(job, 0, None)])
        await ledger.close()


@contextmanager
def _folder() -> Iterator[Path]:
    # Not under pytest's or the user's own: a socket's path must be short, and a server's account must reach it.
    path = Path(tempfile.mkdtemp(prefix="loopcron-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
