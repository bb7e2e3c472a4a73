"""
Processes that claim the same slots at the same moments, and how long each of their claims took.

Each is this file, run as ``python -m tests.benchmarks.claimants``: it takes one race per line on stdin, writes what
came of it as one line, and ends when stdin does, so it outlives nobody.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import anyio

from loopcron import Claim, Ledger, PostgresLedger, RedisLedger, SqliteLedger, Won

PATIENCE = timedelta(seconds=30)
"""How long a call may take: on a busy machine the figures are to be bad, not missing."""
HEAD_START = 0.2
"""How long after it is announced a race begins, in seconds: all have read its line by then."""


class Race(NamedTuple):
    """What all claimants do: at *begin*, and every *gap* after, claim the next slot of the job."""

    url: str
    namespace: str
    slots: int
    begin: float
    """On the monotonic clock, in seconds; the processes of one machine share it."""
    gap: float


class Took(NamedTuple):
    """How long claims took, in ms."""

    won: list[float]
    lost: list[float]


class Claimants:
    """Processes that are ready to race."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def race(self, url: str, namespace: str, slots: int, gap: float) -> Took:
        """Let them race, and return what all their claims took."""
        race = Race(url, namespace, slots, time.monotonic() + HEAD_START, gap)
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(race) + "\n")
            process.stdin.flush()
        took = Took([], [])
        for process in self._processes:
            assert process.stdout is not None
            won, lost = json.loads(process.stdout.readline())
            took.won.extend(won)
            took.lost.extend(lost)
        assert len(took.won) == slots, f"{len(took.won)} claims of {slots} slots were won"
        return took


@contextlib.contextmanager
def claimants(count: int) -> Iterator[Claimants]:
    """Give *count* processes, and end them."""
    command = [sys.executable, "-m", "tests.benchmarks.claimants"]
    with contextlib.ExitStack() as stack:
        yield Claimants([
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(count)
        ])  # fmt: skip


def ledger_at(url: str, namespace: str) -> Ledger:
    """Return the ledger that `Scheduler` would make of the URL, with more patience."""
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite":
        return SqliteLedger(path, namespace=namespace, timeout=PATIENCE)
    made = RedisLedger if url.startswith("redis") else PostgresLedger
    return made(url, namespace=namespace, timeout=PATIENCE)


async def run(race: Race, name: str) -> Took:
    """Claim every slot once, without a lease, so that none is held."""
    ledger = ledger_at(race.url, race.namespace)
    await ledger.peek(["contended"])  # connected, before it counts
    took = Took([], [])
    for slot in range(1, race.slots + 1):
        await anyio.sleep(max(0.0, race.begin + slot * race.gap - time.monotonic()))
        begin = time.perf_counter()
        (answer,) = await ledger.claim([Claim("contended", slot, f"{name}-{slot}")])
        spent = (time.perf_counter() - begin) * 1000
        (took.won if isinstance(answer, Won) else took.lost).append(spent)
    await ledger.close()
    return took


def main() -> None:
    from os import getpid

    for line in sys.stdin:
        print(json.dumps(anyio.run(run, Race(*json.loads(line)), str(getpid()))), flush=True)


if __name__ == "__main__":
    main()
