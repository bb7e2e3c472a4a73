"""
What one call to a ledger costs its store and its worker, measured on a real PostgreSQL and a real Redis.

Each call is made alone and by one worker, so that what it costs is all its own: CPU of the store by what the kernel
counts for its process, CPU of the worker likewise, bytes on the wire, bytes in the log, the time until the answer.
What many of them do to each other is `scale_fleet`'s to say. The figures of a call are told as a part for the call
itself and a part for each of its jobs.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import psycopg

from loopcron import (
    Claim,
    Finish,
    FunctionJob,
    Ledger,
    Lost,
    MemoryLedger,
    Register,
    Renew,
    Row,
    Run,
    Scheduler,
    Succeeded,
    Won,
    every,
)
from tests.benchmarks.claimants import ledger_at
from tests.benchmarks.ledgers import PERIOD, SPREAD
from tests.benchmarks.moved import MovedClock
from tests.ledgers.postgres_server import PostgresServer, wait_until
from tests.ledgers.redis_server import RedisServer
from tests.wrapped import WrappedLedger

LEASE = 30_000
WORKER = "web-7d4b9c6f5d-x2x7p:12:0e72c596447d1660"
"""A claim id begins so: the name of a pod, a process, and a random part."""
SIZES = (1, 50, 500)
"""How many jobs the measured calls hold; the last is what a scheduler puts into one at most."""
CALLS = ("won", "lost", "raced", "renew", "finish")
"""Raced is a claim that another worker wins while it is under way; in Redis there is no such moment."""

Call = Callable[[], Coroutine[Any, Any, Sequence[Any]]]


class Cost(NamedTuple):
    """What a call costs: in ms of time, µs of CPU, and bytes."""

    answer_ms: float
    store_us: float
    worker_us: float
    sent: float
    """By the worker; the statement or the script's calls are in it."""
    received: float
    log: float
    """What the store writes of it to its log on the disk."""

    def times(self, number: float) -> Cost:
        """Return what so many of it cost."""
        return Cost(*(number * value for value in self))

    def and_also(self, other: Cost) -> Cost:
        """Return what both cost."""
        return Cost(*(one + more for one, more in zip(self, other, strict=True)))


@dataclass
class PostgresMeter:
    """Reads what the server has done so far for the ledger's one connection."""

    server: PostgresServer
    ledger: Any

    def __post_init__(self) -> None:
        ((pid,),) = self.server.admin("select pid from pg_stat_activity where application_name = 'loopcron'")
        self._schedule = Path(f"/proc/{pid}/schedstat")
        self._trace = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with the meter
        self.ledger._store._connection.pgconn.trace(self._trace.fileno())

    def store_us(self) -> float:
        """Return how long the server's process for the connection has run."""
        return int(self._schedule.read_text("ascii").split()[0]) / 1000

    def wire(self) -> tuple[int, int]:
        """Return how many bytes went to the server and came from it, by the client library's own record."""
        self._trace.seek(0)
        told = re.findall(rb"^\S+ \S+\t([FB])\t(\d+)\t", self._trace.read(), re.MULTILINE)
        ways = [sum(int(size) + 1 for kind, size in told if kind == way) for way in (b"F", b"B")]
        return ways[0], ways[1]

    def log(self) -> int:
        """Return how far the write-ahead log has come."""
        ((position,),) = self.server.admin("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(position)


@dataclass
class RedisMeter:
    """Reads what the server has done so far; but for the meter itself it has one client."""

    server: RedisServer

    def __post_init__(self) -> None:
        process = self.server._process
        assert process is not None
        self._schedule = Path(f"/proc/{process.pid}/schedstat")

    def store_us(self) -> float:
        """Return how long the server's thread has run."""
        return int(self._schedule.read_text("ascii").split()[0]) / 1000

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.server.do("INFO", "all")
        return info

    def wire(self) -> tuple[int, int]:
        """Return how many bytes came to the server and went from it."""
        info = self._info()
        return info["total_net_input_bytes"], info["total_net_output_bytes"]

    def log(self) -> int:
        """Return how long the append-only file is."""
        return int(self._info()["aof_current_size"])


class Subject:
    """A ledger whose calls are measured one by one."""

    def __init__(self, url: str, meter: Callable[[Ledger], Any], server: PostgresServer | RedisServer) -> None:
        self.ledger = ledger_at(url, "costs")
        self._make_meter = meter
        self._server = server
        self._slot = 0

    async def begin(self) -> None:
        """Register the jobs that all calls are about, and connect."""
        jobs = [Register(job, 0, 0, schedule="every 0:01:00") for job in names(max(SIZES))]
        await self.ledger.register(jobs)
        await self.ledger.claim([Claim(job, 1, f"{WORKER}-0", LEASE) for job in names(max(SIZES))])
        self.meter = self._make_meter(self.ledger)
        self._slot = 1

    async def measure(self, rounds: int) -> dict[str, dict[int, Cost]]:
        """Return the medians of all calls, by their name and size."""
        found: dict[str, dict[int, Cost]] = {call: {} for call in CALLS}
        for size in SIZES:
            taken: dict[str, list[Cost]] = {call: [] for call in CALLS}
            for _ in range(rounds if size > 50 else rounds * 4):
                await self._one_round(size, taken)
            for call, costs in taken.items():
                if costs:
                    found[call][size] = Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))
        return {call: costs for call, costs in found.items() if costs}

    async def _one_round(self, size: int, taken: dict[str, list[Cost]]) -> None:
        jobs = names(size)
        self._slot += 1
        slot, ledger = self._slot, self.ledger

        def claims(worker: str, at: int) -> list[Claim]:
            return [Claim(job, at, f"{worker}-{at}", LEASE) for job in jobs]

        # What was won in the round before may still be leased.
        await ledger.reset(jobs)
        won = await self._measured(taken["won"], lambda: ledger.claim(claims(WORKER, slot)))
        fences = [answer.fence for answer in won if isinstance(answer, Won)]
        assert len(fences) == size
        other = WORKER.replace("x2x7p", "k9f4q")
        lost = await self._measured(taken["lost"], lambda: ledger.claim(claims(other, slot)))
        assert all(isinstance(answer, Lost) for answer in lost)
        pairs = list(zip(jobs, fences, strict=True))
        renewals = [Renew(job, slot, fence, LEASE) for job, fence in pairs]
        assert all(await self._measured(taken["renew"], lambda: ledger.renew(renewals)))
        finishes = [Finish(job, slot, fence, Succeeded(200)) for job, fence in pairs]
        assert all(await self._measured(taken["finish"], lambda: ledger.finish(finishes)))
        if isinstance(self._server, PostgresServer):
            self._slot += 1
            with winner(self._server, jobs, slot + 1) as log:
                raced = await self._measured(
                    taken["raced"], lambda: ledger.claim(claims(other, slot + 1)), before_log=log
                )
            assert all(isinstance(answer, Lost) for answer in raced)

    async def _measured(
        self, taken: list[Cost], call: Call, before_log: Callable[[], int] | None = None
    ) -> Sequence[Any]:
        meter = self.meter
        sent, received = meter.wire()
        log = meter.log()
        store, worker, begin = meter.store_us(), time.process_time(), time.perf_counter()
        answers = await call()
        spent, used = (time.perf_counter() - begin) * 1000, (time.process_time() - worker) * 1e6
        store = meter.store_us() - store
        if before_log is not None:
            log = before_log()
        log = meter.log() - log
        after = meter.wire()
        wire = after[0] - sent - self._own_wire[0], after[1] - received - self._own_wire[1]
        taken.append(Cost(spent, store, used, *wire, log))
        return answers

    _own_wire = (0, 0)

    def calibrate(self) -> None:
        """Find out what the meter's own questions put on Redis' wire: they are counted there too."""
        before = self.meter.wire()
        self.meter.log()
        self.meter.log()
        after = self.meter.wire()
        self._own_wire = after[0] - before[0], after[1] - before[1]


@contextmanager
def winner(server: PostgresServer, jobs: list[str], slot: int) -> Iterator[Callable[[], int]]:
    """
    Let another worker be about to win the slot: it has the rows, and commits once somebody waits for them.

    Gives a function that returns where the log stood before it committed, so that its own share is not counted.
    """
    position: list[int] = []
    connection = psycopg.connect(server.url(), autocommit=False)
    connection.execute(
        "update loopcron_slot set watermark = %s, claim_id = %s, fence = fence + 1, lease_until = null"
        " where namespace = 'costs' and job = any(%s)",
        (slot, f"{WORKER}-raced", jobs),
    )

    def commit() -> None:
        waiting = "select 1 from pg_stat_activity where application_name = 'loopcron' and wait_event_type = 'Lock'"
        wait_until(lambda: bool(server.admin(waiting)), "the claim waits for the row")
        ((now,),) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()
        position.append(int(now))
        connection.commit()  # its own record, some forty bytes, is counted too: the other one goes on at once

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        yield lambda: (thread.join(), position[0])[1]  # type: ignore[func-returns-value]
    finally:
        thread.join()
        connection.close()


def names(count: int) -> list[str]:
    return [f"report-of-shop-{number:05}" for number in range(count)]


def fitted(costs: dict[int, Cost]) -> tuple[Cost, Cost]:
    """Return the part of the call and the part of each job: the line through the smallest and the largest size."""
    small, large = min(costs), max(costs)
    each = costs[large].and_also(costs[small].times(-1)).times(1 / (large - small))
    return costs[small].and_also(each.times(-1)), each


class _Rival(WrappedLedger):
    """A shared ledger that costs next to nothing, in which another worker may have been first."""

    is_first = False

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Any]:
        if not self.is_first:
            return await super().claim(claims)
        return [Lost(Row(claim.job, claim.slot, 1, f"{WORKER}-{claim.slot}")) for claim in claims]


async def _nothing(_: Run) -> None:
    pass


async def measure_worker(rounds: int) -> dict[str, float]:
    """Return what a slot costs a worker's CPU beside the ledger's call: planned, told, and run if it is won; in µs."""
    clock = MovedClock()
    ledger = _Rival(MemoryLedger(clock), is_shared=True)
    scheduler = Scheduler(ledger=ledger, clock=clock)
    jobs = names(max(SIZES))
    for job in jobs:
        scheduler.add(FunctionJob(job, every(hours=1), _nothing))
    spent: dict[str, list[float]] = {"won": [], "lost": []}
    async with scheduler.manual():
        await scheduler.tick()
        clock.move(SPREAD)
        for number in range(2 * rounds + 2):
            what = "lost" if number % 2 else "won"
            ledger.is_first = what == "lost"
            begin = time.process_time()
            for move in (PERIOD - SPREAD, SPREAD):  # the slot comes, and a moment later it is asked for
                clock.move(move)
                for _ in range(40):  # until all is answered, run and written
                    await scheduler.tick()
                    await anyio.lowlevel.checkpoint()
            if number > 1:
                spent[what].append((time.process_time() - begin) * 1e6 / len(jobs))
        told = scheduler.snapshot().jobs[0].history
        assert {type(settled.outcome).__name__ for settled in told} == {"Succeeded", "Taken"}, told
    return {what: statistics.median(values) for what, values in spent.items()}


async def measure_costs(server: PostgresServer | RedisServer, rounds: int) -> dict[str, dict[int, Cost]]:
    """Measure all calls on *server*."""
    if isinstance(server, PostgresServer):
        subject = Subject(server.url(), lambda ledger: PostgresMeter(server, ledger), server)
    else:
        subject = Subject(server.url, lambda _: RedisMeter(server), server)
    await subject.begin()
    if isinstance(server, RedisServer):
        subject.calibrate()
    try:
        return await subject.measure(rounds)
    finally:
        await subject.ledger.close()
