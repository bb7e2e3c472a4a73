"""What jobs and workers take up in the stores: a row after many slots, its index, and a connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from loopcron import Claim, Finish, Ledger, Register, Succeeded, Won
from tests.benchmarks.claimants import ledger_at
from tests.benchmarks.scale_costs import LEASE, WORKER, names
from tests.ledgers.postgres_server import PostgresServer, own_schema
from tests.ledgers.redis_server import RedisServer

BATCH = 500
CASES = {10: 1_000, 1_000: 100, 100_000: 2}
"""How many slots of how many jobs are run one after the other before the rows are measured."""
SHORT_CASES = {10: 50, 1_000: 5}


class PostgresRows(NamedTuple):
    """Bytes for each job, and the share of updates that touched no index."""

    jobs: int
    slots: int
    fillfactor: int
    new_heap: float
    heap: float
    own_index: float
    hot: float
    vacuumed_heap: float


class RedisRows(NamedTuple):
    """Bytes for each job."""

    jobs: int
    new_row: float
    row: float
    """As the server reckons one key."""
    used: float
    """By which its memory grew for each."""


async def in_batches(call: Any, asked: Sequence[Any]) -> list[Any]:
    return [answer for first in range(0, len(asked), BATCH) for answer in await call(asked[first : first + BATCH])]


async def run_slots(ledger: Ledger, jobs: list[str], first: int, slots: int) -> None:
    """Win every slot of all jobs, and write the outcomes."""
    for slot in range(first, first + slots):
        won = await in_batches(ledger.claim, [Claim(job, slot, f"{WORKER}-{slot}", LEASE) for job in jobs])
        assert all(isinstance(answer, Won) for answer in won)
        pairs = zip(jobs, won, strict=True)
        await in_batches(ledger.finish, [Finish(job, slot, answer.fence, Succeeded(200)) for job, answer in pairs])


async def postgres_rows(server: PostgresServer, jobs: int, slots: int, *, fillfactor: int = 100) -> PostgresRows:
    """Run the slots in a table of their own, as autovacuum leaves it, and measure that."""
    with own_schema(server) as url, psycopg.connect(url, autocommit=True) as connection:

        def sizes() -> tuple[float, float]:
            ask = "select pg_relation_size('loopcron_slot'), pg_relation_size('loopcron_slot_pkey')"
            ((heap, index),) = connection.execute(ask).fetchall()
            return heap / jobs, index / jobs

        ledger = ledger_at(url, "shop")
        await ledger.peek(["none"])
        connection.execute(f"alter table loopcron_slot set (fillfactor = {fillfactor})".encode())
        registers = [Register(job, 0, 0, schedule="every 0:01:00") for job in names(jobs)]
        await in_batches(ledger.register, registers)
        new, _ = sizes()
        await run_slots(ledger, names(jobs), 1, slots)
        await ledger.close()  # with which its connection tells what it has counted
        counted = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relid = 'loopcron_slot'::regclass"
        updated, hot = 0, 0
        while updated < jobs * slots * 2:
            ((updated, hot),) = connection.execute(counted).fetchall()
        heap, index = sizes()
        connection.execute("vacuum loopcron_slot")
        return PostgresRows(jobs, slots, fillfactor, new, heap, index, hot / updated, sizes()[0])


async def redis_rows(server: RedisServer, jobs: int, slots: int) -> RedisRows:
    """Run the slots in an empty database, and measure the rows."""
    server.do("FLUSHALL")
    before = server.do("INFO", "memory")["used_memory"]
    ledger = ledger_at(server.url, "shop")
    of_one = ("MEMORY", "USAGE", f"loopcron:{{shop:{names(1)[0]}}}", "SAMPLES", "0")
    await in_batches(ledger.register, [Register(job, 0, 0, schedule="every 0:01:00") for job in names(jobs)])
    new = server.do(*of_one)
    await run_slots(ledger, names(jobs), 1, slots)
    await ledger.close()
    used = (server.do("INFO", "memory")["used_memory"] - before) / jobs
    return RedisRows(jobs, new, server.do(*of_one), used)


async def postgres_connection(server: PostgresServer) -> int:
    """Return how many bytes of memory of its own the server's process for a ledger's connection has."""
    ledger = ledger_at(server.url(), "shop")
    await ledger.register([Register(job, 0, 0, schedule="every 0:01:00") for job in names(BATCH)])
    await run_slots(ledger, names(BATCH), 1, 2)
    ((pid,),) = server.admin("select pid from pg_stat_activity where application_name = 'loopcron'")
    told = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").split("\n")
    await ledger.close()
    own = [line.split()[1] for line in told if line.startswith(("Private_Dirty:", "Private_Clean:"))]
    return sum(int(kilobytes) for kilobytes in own) * 1024


async def redis_connection(server: RedisServer) -> int:
    """Return how many bytes a ledger's connection takes."""
    ledger = ledger_at(server.url, "shop")
    await ledger.register([Register(job, 0, 0, schedule="every 0:01:00") for job in names(BATCH)])
    clients = server.do("CLIENT", "LIST")
    await ledger.close()
    told = clients.decode("ascii") if isinstance(clients, bytes) else str(clients)
    return max(int(found) for found in re.findall(r"tot-mem[=': ]+(\d+)", told))
