"""
Real workers on a real store, to hold the simulation of `scale_fleet` against: run as a module, it is some of them.

Each process runs several schedulers, as an app would start them, on ledgers of their own. It takes what to do as one
line on stdin, writes what came of it as one line, and ends by itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import anyio

from loopcron import Answer, Claim, Finish, FunctionJob, Ledger, Lost, Renew, Run, Scheduler, Won, every
from tests.benchmarks.claimants import ledger_at
from tests.benchmarks.scale_costs import names
from tests.wrapped import WrappedLedger

HEAD_START = 1.0
"""How long before the first slot that counts it is announced, at least, in seconds."""


class Work(NamedTuple):
    """What a process does."""

    url: str
    namespace: str
    workers: int
    jobs: int
    period: float
    """In seconds."""
    slots: int


class Seen(NamedTuple):
    """What came of all of it, per slot of all jobs."""

    claims: float
    won: float
    lost: float
    calls: float
    cpu_ms: float
    late_ms: float
    worst_ms: float
    last_answer_ms: float


class Counted(WrappedLedger):
    """Counts what is asked for the slots from *begin* on, in seconds from the epoch."""

    def __init__(self, ledger: Ledger, period: float) -> None:
        super().__init__(ledger)
        self.begin = float("inf")
        self.period = period
        self.counts: Counter[str] = Counter()
        self.last: Counter[int] = Counter()

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        answers = await super().claim(claims)
        since = time.time() - self.begin
        if since > -self.period / 2:
            self.counts["calls"] += 1
            self.counts["won"] += sum(isinstance(answer, Won) for answer in answers)
            self.counts["lost"] += sum(isinstance(answer, Lost) for answer in answers)
            slot = int(since / self.period)
            self.last[slot] = max(self.last[slot], round((since - slot * self.period) * 1000))
        return answers

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        self.counts["calls"] += 1
        return await super().renew(renewals)

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        self.counts["calls"] += 1
        return await super().finish(finishes)


async def be_workers(work: Work) -> dict[str, Any]:
    """Run the schedulers until half a period after the last slot."""
    late: list[float] = []

    async def note(run: Run) -> None:
        late.append((time.time() - run.slot.timestamp()) * 1000)

    ledgers = [Counted(ledger_at(work.url, work.namespace), work.period) for _ in range(work.workers)]
    async with contextlib.AsyncExitStack() as stack:
        for ledger in ledgers:
            scheduler = Scheduler(ledger=ledger)
            for job in names(work.jobs):
                scheduler.add(FunctionJob(job, every(timedelta(seconds=work.period)), note))
            await stack.enter_async_context(scheduler)
        print("ready", flush=True)
        begin = float(await anyio.to_thread.run_sync(sys.stdin.readline))
        await anyio.sleep(begin - work.period / 2 - time.time())
        late.clear()
        for ledger in ledgers:
            ledger.begin = begin
            ledger.counts.clear()
        await anyio.sleep(begin + (work.slots - 0.5) * work.period - time.time())
        counts: Counter[str] = sum((ledger.counts for ledger in ledgers), Counter())
        last = Counter[int]()
        for ledger in ledgers:
            last |= ledger.last
        told = {"late": list(late), "counts": counts, "last": list(last.values())}
    for ledger in ledgers:
        await ledger.close()
    return told


def run_workers(
    url: str, cpu_us: Callable[[], float], *, workers: int, processes: int, jobs: int, period: float, slots: int
) -> Seen:
    """Run so many workers in so many processes, and return what they saw and what the store's CPUs did meanwhile."""
    work = Work(url, f"fleet-{workers}-{jobs}-{time.time_ns()}", workers // processes, jobs, period, slots)
    command = [sys.executable, "-m", "tests.benchmarks.scale_workers"]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(processes)
        ]
        for process in started:
            assert process.stdin is not None
            process.stdin.write(json.dumps(work) + "\n")
            process.stdin.flush()
        assert all(process.stdout.readline() == "ready\n" for process in started if process.stdout)
        begin = (time.time() + HEAD_START) // period * period + period
        for process in started:
            assert process.stdin is not None
            process.stdin.write(f"{begin}\n")
            process.stdin.flush()
        time.sleep(max(0.0, begin - 0.4 * period - time.time()))
        before = cpu_us()
        time.sleep(max(0.0, begin + (slots - 0.6) * period - time.time()))
        spent = cpu_us() - before
        told = [json.loads(process.stdout.readline()) for process in started if process.stdout]
    late = sorted(value for one in told for value in one["late"])
    last = sorted(max(values) for values in zip(*(one["last"] for one in told), strict=True))
    counts: Counter[str] = sum((Counter(one["counts"]) for one in told), Counter())
    assert len(late) == jobs * slots, f"{len(late)} of {jobs * slots} slots were run"
    return Seen(
        claims=(counts["won"] + counts["lost"]) / slots,
        won=counts["won"] / slots,
        lost=counts["lost"] / slots,
        calls=counts["calls"] / slots,
        cpu_ms=spent / 1000 / slots,
        late_ms=late[len(late) // 2],
        worst_ms=late[-(-len(late) * 99 // 100) - 1],
        last_answer_ms=last[len(last) // 2],
    )


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    print(json.dumps(anyio.run(be_workers, Work(*json.loads(sys.stdin.readline())))), flush=True)


if __name__ == "__main__":
    main()
