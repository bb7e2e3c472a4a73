"""
What a claim takes, by the ledgers and by the barest statement that each store could do the same with.

That one is sent by who just waits for the answer; and from a thread, as a ledger has to send it so that no event loop
waits: what is above that is what a claim does beyond the barest one.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tests.benchmarks.gauges import Figures, Others

CLAIMS = 200
WARM_UP = 20
LOOK = 0.3
"""For how long it is looked at what others do, in seconds: while it is measured the store is one of them."""
BATCH = 1000
TABLE = "create table if not exists bare (job text primary key, slot bigint not null, fence bigint not null)"
CLAIM = "update bare set slot = {0}, fence = fence + 1 where job = 'job' and slot < {0} returning fence"

Statement = Callable[[int], Any]
"""Claims the slot, and answers something true if it was free."""


@contextlib.contextmanager
def bare_sqlite(url: str) -> Iterator[Statement]:
    """Update a row."""
    path = url.partition(":///")[2] + "-bare"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute(TABLE)
        connection.execute("insert or replace into bare values ('job', 0, 0)")
        statement = CLAIM.format("?1")
        yield lambda slot: connection.execute(statement, (slot,)).fetchall()


@contextlib.contextmanager
def bare_postgres(url: str) -> Iterator[Statement]:
    """Update a row by a prepared statement."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute("delete from bare")
        connection.execute("insert into bare values ('job', 0, 0)")
        statement = CLAIM.format("%(slot)s")
        yield lambda slot: connection.execute(statement, {"slot": slot}, prepare=True).fetchall()


@contextlib.contextmanager
def bare_redis(url: str) -> Iterator[Statement]:
    """Set a key of the slot if there is none."""
    from redis import Redis

    with contextlib.closing(Redis.from_url(url)) as connection:
        run = time.monotonic_ns()
        yield lambda slot: connection.set(f"bare-{run}-{slot}", "worker", nx=True, px=60_000)


BARE = {"sqlite": bare_sqlite, "postgres": bare_postgres, "redis": bare_redis}


def others_busy() -> float:
    """Return how many cores others keep busy just now."""
    others = Others()
    time.sleep(LOOK)
    return others.busy()


async def measure_bare(store: str, url: str, *, thread: bool) -> Figures:
    """Return what half of the statements took at most, in ms; sent from a *thread* like a ledger's, or from here."""
    from loopcron.ledgers._thread import StoreThread, nothing

    took = []
    worker = StoreThread("bare", 30)
    with BARE[store](url) as statement:
        for slot in range(1, CLAIMS + WARM_UP):
            begin = time.perf_counter()
            answer = await worker.call(partial(statement, slot)) if thread else statement(slot)
            took.append(time.perf_counter() - begin)
            assert answer, "a free slot was not claimed"
    await worker.close(nothing)
    return {"p50_ms": statistics.median(took[WARM_UP:]) * 1000, "others_busy": others_busy()}


async def measure_claims(url: str) -> Figures:
    """Return what half of the claims took at most, in ms, and what a slot of a batch of 1,000 took, in µs."""
    from loopcron import Claim, Won
    from tests.benchmarks.claimants import ledger_at

    name = f"claims-{time.monotonic_ns()}"
    ledger = ledger_at(url, name)
    await ledger.peek(["job"])  # connected
    took, batches = [], []
    for slot in range(1, CLAIMS + WARM_UP):
        begin = time.perf_counter()
        (answer,) = await ledger.claim([Claim("job", slot, f"worker-{slot}", None)])
        took.append(time.perf_counter() - begin)
        assert isinstance(answer, Won), answer
    for slot in range(1, 6):
        claims = [Claim(f"job-{number}", slot, f"worker-{slot}", None) for number in range(BATCH)]
        begin = time.perf_counter()
        answers = await ledger.claim(claims)
        batches.append(time.perf_counter() - begin)
        assert all(isinstance(answer, Won) for answer in answers)
    await ledger.close()
    return {
        "p50_ms": statistics.median(took[WARM_UP:]) * 1000,
        "batch_us": statistics.median(batches[1:]) / BATCH * 1e6,
        "others_busy": others_busy(),
    }
