"""
What the calls of each ledger cost, and a tick that has them made: run by ``make bench-ledger``.

It prints tables that can stand in the documentation: medians over rounds in which the ledgers take turns, so that what
else the machine does meets all of them. No test: what is fast enough on one machine is not on another. ``--short`` only
shows that it works.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from math import floor, log10
from typing import Any, NamedTuple

import anyio

from loopcron import Answer, Claim, Finish, FunctionJob, Ledger, Register, Renew, Run, Scheduler, Succeeded, Won, every
from tests.benchmarks.claimants import PATIENCE, Claimants, claimants
from tests.benchmarks.moved import MovedClock
from tests.benchmarks.stores import Store, opened
from tests.conftest import REQUIRE_ALL
from tests.wrapped import WrappedLedger

BATCH = 500
"""How many jobs a scheduler puts into one call."""
LEASE = 30_000
CLAIMANTS = 8
PERIOD = timedelta(hours=1)
SPREAD = timedelta(milliseconds=25)
"""Within which workers that share a ledger ask for a slot; the clock is moved, so the wait itself is not measured."""


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    singles: int
    """How many calls of one job there are in a round."""
    slots: int
    """How many slots the processes claim in a round."""
    gap: float
    """How long they have for one, in seconds."""
    ticks: dict[int, int]
    """How many ticks with so many due slots there are in a round."""


FULL = Size(3, 100, 50, 0.03, {1: 10, 100: 5, 10_000: 1})
SHORT = Size(1, 10, 10, 0.02, {1: 2, 100: 1, 1_000: 1})

Spent = defaultdict[tuple[str, ...], list[float]]
"""What was measured, in ms, by the ledger's name and what was done."""


class Watched(WrappedLedger):
    """Counts the calls, each of which is one round trip, and notes when the last claim was answered."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.calls: Counter[str] = Counter()
        self.won = self.written = 0
        self.answered = 0.0

    async def register(self, jobs: Sequence[Register]) -> Any:
        self.calls["register"] += 1
        return await super().register(jobs)

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        self.calls["claim"] += 1
        answers = await super().claim(claims)
        self.answered = time.perf_counter()
        self.won += sum(isinstance(answer, Won) for answer in answers)
        return answers

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        self.calls["renew"] += 1
        return await super().renew(renewals)

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        self.calls["finish"] += 1
        answers = await super().finish(finishes)
        self.written += sum(answers)
        return answers


async def nothing(_: Run) -> None:
    pass


class Ticks:
    """A scheduler whose jobs are all due on the hour, by a clock that is moved."""

    def __init__(self, store: Store, count: int) -> None:
        self._count = count
        self.ledger = Watched(store.ledger(f"tick-{count}"))
        self._clock = MovedClock()
        self.scheduler = Scheduler(ledger=self.ledger, clock=self._clock)
        schedule = every(hours=1)
        for number in range(count):
            self.scheduler.add(FunctionJob(f"job-{number}", schedule, nothing, run_on_start=True))

    async def begin(self) -> None:
        """Register, and run the slot of the start."""
        await self._serve()

    async def tick(self) -> tuple[float, float]:
        """Return how many ms it took until all slots were claimed, and until all outcomes were written."""
        self._clock.move(PERIOD - SPREAD)
        return await self._serve()

    async def _serve(self) -> tuple[float, float]:
        ledger = self.ledger
        ledger.calls.clear()
        ledger.won = ledger.written = 0
        begin = time.perf_counter()
        await self.scheduler.tick()
        self._clock.move(SPREAD)
        with anyio.fail_after(PATIENCE.total_seconds()):
            while ledger.written < self._count:
                await self.scheduler.tick()
                await anyio.lowlevel.checkpoint()
        end = time.perf_counter()
        assert ledger.won == self._count
        return (ledger.answered - begin) * 1000, (end - begin) * 1000


class Subject:
    """A store under measurement, with what lives through all rounds."""

    def __init__(self, store: Store, size: Size) -> None:
        self.store = store
        self.name = store.name
        self.ledger = store.ledger("calls")
        self.ticks = {count: Ticks(store, count) for count in size.ticks}
        self.turn = 0

    async def calls(self, count: int, spent: Spent, *, all_calls: bool = True) -> None:
        """Register and claim the first slot of *count* jobs that are new, and make the other calls for them."""
        self.turn += 1
        jobs = [f"job-{self.turn}-{number}" for number in range(count)]
        fences: list[int] = []

        async def measured(call: str, make: Callable[[], Coroutine[Any, Any, Sequence[Any]]]) -> Sequence[Any]:
            begin = time.perf_counter()
            answers = await make()
            spent[self.name, call, str(count)].append((time.perf_counter() - begin) * 1000)
            return answers

        ledger = self.ledger
        registers = [Register(job, 0, 0, schedule="every hour") for job in jobs]
        await measured("register", lambda: in_batches(ledger.register, registers))
        for worker in ("won", "lost"):
            claims = [Claim(job, 1, f"{worker}-{job}", LEASE) for job in jobs]
            answers = await measured(worker, lambda claims=claims: in_batches(ledger.claim, claims))  # type: ignore[misc]
            fences += [answer.fence for answer in answers if isinstance(answer, Won)]
        assert len(fences) == count
        if not all_calls:
            return
        pairs = list(zip(jobs, fences, strict=True))
        renewals = [Renew(job, 1, fence, LEASE) for job, fence in pairs]
        assert all(await measured("renew", lambda: in_batches(ledger.renew, renewals)))
        finishes = [Finish(job, 1, fence, Succeeded()) for job, fence in pairs]
        assert all(await measured("finish", lambda: in_batches(ledger.finish, finishes)))
        await measured("peek", lambda: in_batches(ledger.peek, jobs))


async def in_batches(call: Callable[[Any], Coroutine[Any, Any, Sequence[Any]]], asked: Sequence[Any]) -> list[Any]:
    return [answer for first in range(0, len(asked), BATCH) for answer in await call(asked[first : first + BATCH])]


async def measure(stores: Sequence[Store], racing: Claimants, size: Size) -> tuple[Spent, dict[tuple[str, int], str]]:
    spent: Spent = defaultdict(list)
    trips: dict[tuple[str, int], str] = {}
    async with contextlib.AsyncExitStack() as stack:
        subjects = [Subject(store, size) for store in stores]
        for subject in subjects:
            for ticks in subject.ticks.values():
                await stack.enter_async_context(ticks.scheduler.manual())
                await ticks.begin()
            stack.push_async_callback(subject.ledger.close)
            await subject.calls(1, defaultdict(list))
        for number in range(size.rounds):
            for subject in subjects:
                await one_round(subject, size, spent, trips)
                if subject.store.url:
                    took = racing.race(subject.store.url, f"race-{number}", size.slots, size.gap)
                    spent[subject.name, "won", "contended"] += took.won
                    spent[subject.name, "lost", "contended"] += took.lost
    return spent, trips


async def one_round(subject: Subject, size: Size, spent: Spent, trips: dict[tuple[str, int], str]) -> None:
    for _ in range(size.singles):
        await subject.calls(1, spent)
    for _ in range(3):
        await subject.calls(BATCH, spent)
    for count, times in size.ticks.items():
        if count not in (1, BATCH):
            await subject.calls(count, spent, all_calls=False)
        for _ in range(times):
            claimed, written = await subject.ticks[count].tick()
            spent[subject.name, "claimed", str(count)].append(claimed)
            spent[subject.name, "written", str(count)].append(written)
        calls = subject.ticks[count].ledger.calls
        trips[subject.name, count] = f"{calls['claim']} + {calls.total() - calls['claim']}"


# --- printing


def ms(value: float) -> str:
    """Two digits, for no more of them come out the same the next time."""
    places = 1 - floor(log10(value))
    return f"{round(value, places):,.{max(0, places)}f}"


def middle(values: Sequence[float]) -> str:
    return ms(statistics.median(values))


def tail(values: Sequence[float]) -> str:
    """The median, and what 99 of 100 do not exceed."""
    ordered = sorted(values)
    return f"{middle(values)} / {ms(ordered[-(-len(ordered) * 99 // 100) - 1])}" if values else "not shared"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [head, ["---"] * len(head), *rows]
    print(f"\n{title}\n")
    print("\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines))


def show(names: Sequence[str], spent: Spent, trips: dict[tuple[str, int], str], size: Size) -> None:
    columns = [("won", "1"), ("lost", "1"), ("won", "contended"), ("lost", "contended")]
    table(
        f"A claim, alone and among {CLAIMANTS} processes that ask for the slot at once: median / 99 of 100, in ms",
        ["", "won, alone", "lost, alone", f"won, of {CLAIMANTS}", f"lost, of {CLAIMANTS}"],
        [[name, *(tail(spent[name, what, how]) for what, how in columns)] for name in names],
    )
    calls = ("register", "won", "lost", "renew", "finish", "peek")
    table(
        f"A call for 1 job / for {BATCH} jobs, median in ms",
        ["", *calls],
        [
            [name, *(f"{middle(spent[name, c, '1'])} / {middle(spent[name, c, str(BATCH)])}" for c in calls)]
            for name in names
        ],
    )
    rows = []
    for name in names:
        for count in size.ticks:
            key = str(count)
            claimed = statistics.median(spent[name, "claimed", key])
            alone = middle(spent[name, "won", key])
            written = middle(spent[name, "written", key])
            rows.append(
                [name, f"{count:,}", ms(claimed), ms(claimed * 1000 / count), alone, written, trips[name, count]]
            )
    table(
        "A tick of a scheduler, whose jobs return at once; median in ms. Round trips: claims + all others",
        ["", "due slots", "all claimed", "per slot, in µs", "the claims alone", "outcomes written too", "round trips"],
        rows,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="What the calls of each ledger cost.")
    parser.add_argument("--short", action="store_true", help="only show that it works, in some 15 s")
    size = SHORT if parser.parse_args().short else FULL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    with contextlib.ExitStack() as stack:
        stores, missing = opened(stack)
        racing = stack.enter_context(claimants(CLAIMANTS))
        spent, trips = anyio.run(measure, stores, racing, size)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    place = f"Python {platform.python_version()}, asyncio, {os.cpu_count()} cores, load average {load}"
    print(f"{place}; {size.rounds} rounds")
    print("\n".join([f"- {store.name}: {store.about}" for store in stores] + [f"- {why}" for why in missing]))
    show([store.name for store in stores], spent, trips, size)
    return 1 if missing and REQUIRE_ALL else 0


if __name__ == "__main__":
    sys.exit(main())
