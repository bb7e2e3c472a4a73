"""
Many workers on one simulated store: the real timetables and couriers, with all that they do with an answer.

Only time, the store's speed and the network are made up: each worker has a `Timetable` and a `Courier`, asks when and
in the batches in which these do, and hears answers of a ledger in memory when a model of the store gives them. What
is random, names and how late a worker wakes up, comes from a seed: the same arguments give the same figures on any
machine.

Where jobs are many, one stands for *weight* others that are due with it: batches hold fewer, and cost as much.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple
from unittest import mock

from loopcron import LedgerError, Schedule, Succeeded, Taken, every
from loopcron import _claims as claims_module
from loopcron import _courier as courier_module
from loopcron import _events as e
from loopcron import _ledger as ledger_module
from loopcron._courier import Courier
from loopcron._ledger import BATCH, Claim, Finish, Pause, Register, Renew, Row
from loopcron._policies import Policy
from loopcron._timetable import Timetable
from tests.benchmarks.scale_stores import Cores, PostgresModel, Prices, RedisModel, Store, World

MANY_CORES = 1e9


@dataclass(frozen=True)
class Plan:
    """What is simulated. Times are in ms."""

    store: Literal["postgres", "redis"]
    workers: int
    jobs: int
    period: int = 60_000
    slots: int = 2
    """How many slots of each job come."""
    weight: int = 1
    phase: Literal["same", "seconds", "spread"] = "same"
    """All on one instant, on sixty instants of the period, or each on its own."""
    jitter: int = 0
    spread: int = claims_module.SPREAD_MS
    cores: float = 2
    rtt: float = 0.5
    disk: float = 1.0
    run: int = 0
    """How long a run takes."""
    seed: int = 1
    shares_cores: bool = False
    """Whether the workers are on the store's machine."""
    processes: int = 0
    """Into how many processes they are put; 0: one each."""
    timeout: float = 2_000
    skips_locked: bool = False
    """What is not built: a claim that finds a row locked asks again in a moment and waits for nobody."""
    groups: int = 1
    """Into how many namespaces jobs and workers are divided; what is told is the sum."""


class Told(NamedTuple):
    """What came of it, per slot of all jobs."""

    claims: float
    won: float
    lost: float
    raced: float
    """Of those that were lost: while the winner was not ready."""
    calls: float
    """Round trips, all kinds together."""
    claim_calls: float
    cpu_ms: float
    """Of the store."""
    wire: float
    log: float
    late_ms: float
    """How late half of the runs began, at most."""
    worst_ms: float
    """And 99 of 100."""
    last_answer_ms: float
    """How long after the slot the last worker knew."""
    timeouts: float
    missed: float
    """The share of slots that no worker started."""


class _Asked:
    """Waits for the world to answer."""

    def __init__(self, name: str, items: Sequence[Any]) -> None:
        self.name = name
        self.items = items

    def __await__(self) -> Generator[_Asked, Any, Any]:
        return (yield self)


class _Calls:
    """The ledger that a courier knows."""

    is_shared = True

    async def register(self, items: Sequence[Register], /) -> Any:
        return await _Asked("register", items)

    async def claim(self, items: Sequence[Claim], /) -> Any:
        return await _Asked("claim", items)

    async def renew(self, items: Sequence[Renew], /) -> Any:
        return await _Asked("renew", items)

    async def finish(self, items: Sequence[Finish], /) -> Any:
        return await _Asked("finish", items)

    async def pause(self, items: Sequence[Pause], /) -> Any:
        return await _Asked("pause", items)


@dataclass
class Process:
    """What does one thing after the other: a worker's own work for its calls."""

    world: World
    cores: Cores
    free_at: float = 0.0
    line: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def work(self, us: float, then: Callable[[], None]) -> None:
        self.line.append((us, then))
        if len(self.line) == 1:
            self._next()

    def _next(self) -> None:
        self.cores.run(self.line[0][0], self._done)

    def _done(self) -> None:
        _, then = self.line.pop(0)
        if self.line:
            self._next()
        then()


class Worker:
    """A scheduler without an event loop."""

    def __init__(self, fleet: Fleet, name: str, process: Process, wakes_late_us: float) -> None:
        self.fleet = fleet
        self.world = fleet.world
        self.process = process
        self.wakes_late_us = wakes_late_us
        self.timetable = Timetable(self.world.ms, worker=name, shared=True)
        self.courier = Courier(_Calls(), self.tell, fleet.report, lambda: self.world.us / 1e6)  # type: ignore[arg-type]
        self._errand: Any = None
        self._armed: float | None = None
        self._turns = False

    def tell(self, fact: e.Fact) -> None:
        self.timetable.handle(fact, self.world.ms)

    def turn(self) -> None:
        """Poll, do what comes out, ask what is to be asked, and wake up for the rest."""
        self._turns = False
        actions = self.timetable.poll(self.world.ms)
        while actions:
            for action in actions:
                self._perform(action)
            actions = self.timetable.poll(self.world.ms)
        if self._errand is None and self.courier.waiting:
            self._errand = self.courier.deliver()
            self._step(None)
        wakeup = self.timetable.next_wakeup()
        if wakeup is not None and wakeup != self._armed:
            self._armed = wakeup
            self.world.at(max(wakeup, self.world.ms) * 1000 + self.wakes_late_us, lambda: self._wake(wakeup))

    def _wake(self, wakeup: float) -> None:
        if wakeup == self._armed:
            self._armed = None
            self.turn()

    def _perform(self, action: Any) -> None:
        if isinstance(action, Claim | Renew | Finish | Pause):
            self.courier.take(action)
        elif isinstance(action, Register):
            # How a fleet begins is not what is simulated.
            self.tell(e.Registered([action.job], [Row(action.job, self.fleet.begin)]))
        elif isinstance(action, e.RunStarted):
            self.fleet.started(action)
            self.world.after(self.fleet.plan.run * 1000, lambda: self._end(action.run_id))
        elif isinstance(action, e.Settled):
            self.fleet.settled(action)

    def _end(self, run_id: int) -> None:
        self.tell(e.AttemptEnded(run_id, Succeeded()))
        if not self._turns:  # once for all that end on one instant
            self._turns = True
            self.world.after(0, self.turn)

    def _step(self, answer: Any) -> None:
        try:
            errand = self._errand
            asked = errand.throw(answer) if isinstance(answer, LedgerError) else errand.send(answer)
        except StopIteration:
            self._errand = None
            return
        half_way = self.fleet.plan.rtt * 500
        work = self.fleet.worker_us(asked) / 2

        def answered(answer: Any) -> None:
            heard = LedgerError("gave no answer in time") if answer is None else answer
            self.world.after(half_way, lambda: self.process.work(work, lambda: self._heard(heard)))

        def send() -> None:
            self.world.after(half_way, lambda: self.fleet.store.ask(asked.name, asked.items, answered))

        self.process.work(work, send)

    def end(self) -> None:
        """Let go of a call that has no answer yet."""
        if self._errand is not None:
            with suppress(KeyboardInterrupt):  # a courier takes anything less for a store's fault
                self._errand.throw(KeyboardInterrupt())

    def _heard(self, answer: Any) -> None:
        self._step(answer)
        self.turn()


class Fleet:
    """The workers, and what is counted of them."""

    def __init__(self, plan: Plan, prices: dict[str, Prices], own_us: dict[str, float]) -> None:
        self.plan = plan
        self.own_us = own_us
        self.begin = 1_772_323_200_000 // plan.period * plan.period
        self.world = World(self.begin)
        self.prices = prices
        self.late: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.last_answer: dict[int, int] = {}
        cores = Cores(self.world, plan.cores)
        own = cores if plan.shares_cores else Cores(self.world, MANY_CORES)
        self.store: Store
        if plan.store == "redis":
            thread = cores if plan.shares_cores else Cores(self.world, 1)
            self.store = RedisModel(self.world, prices, thread, weight=plan.weight, timeout_ms=plan.timeout)
        else:
            self.store = PostgresModel(
                self.world,
                prices,
                cores,
                weight=plan.weight,
                timeout_ms=plan.timeout,
                disk_ms=plan.disk,
                skips_locked=plan.skips_locked,
            )
        rng = random.Random(plan.seed)
        count = plan.processes or plan.workers
        processes = [Process(self.world, own) for _ in range(count)]
        policy = Policy(jitter=timedelta(milliseconds=plan.jitter))
        self.workers: list[Worker] = []
        names = [f"job-{number:06}" for number in range(-(-plan.jobs // plan.weight))]
        schedules = {job: self._schedule(place) for place, job in enumerate(names)}
        for number in range(plan.workers):
            name = f"web-{rng.getrandbits(32):08x}:{number}:{rng.getrandbits(64):016x}"
            worker = Worker(self, name, processes[number % count], rng.uniform(0, 1_000))
            for job, schedule in schedules.items():
                if int(job[4:]) % plan.groups == number % plan.groups:
                    worker.tell(e.Added(job, schedule, policy))
            worker.turn()
            self.workers.append(worker)
        self.store.decide("register", [Register(job, 0, self.begin) for job in names])

    def _schedule(self, place: int) -> Schedule:
        sixtieth = timedelta(milliseconds=self.plan.period // 60)
        phases: dict[str, Any] = {"same": timedelta(0), "seconds": place % 60 * sixtieth, "spread": "spread"}
        return every(milliseconds=self.plan.period, phase=phases[self.plan.phase])

    def worker_us(self, asked: _Asked) -> float:
        """Return what a call is for its worker: the driver's work, and all the scheduler does for these slots."""
        price = self.prices["lost" if asked.name == "claim" else asked.name]
        planned = self.own_us["lost"] if asked.name == "claim" else 0.0
        if asked.name == "finish":  # they have run
            planned = self.own_us["won"] - self.own_us["lost"]
        return price.call.worker_us + (price.job.worker_us + planned) * len(asked.items) * self.plan.weight

    def report(self, _: object) -> None:
        """Take no note of a store that is down: its calls are counted."""

    def started(self, start: e.RunStarted) -> None:
        self.late.append(self.world.us / 1000 - start.slot)

    def settled(self, told: e.Settled) -> None:
        outcome = told.outcome
        count = getattr(outcome, "count", None) or 1
        self.outcomes[type(outcome).__name__] += count
        if isinstance(outcome, Taken | Succeeded):
            slot = told.slot
            self.last_answer[slot] = max(self.last_answer.get(slot, 0), self.world.ms - slot)

    def run(self) -> Told:
        plan, store = self.plan, self.store
        # With phases spread each job has one in any period; else all come at its end, and have until the next one.
        end = self.begin + plan.period * plan.slots + (plan.period - 1 if plan.phase == "same" else 100)
        self.world.run(end)
        for worker in self.workers:
            worker.end()
        slots = plan.slots
        due = -(-plan.jobs // plan.weight) * slots
        late = sorted(self.late) or [float("nan")]
        claimed = {what: store.items[what] / slots for what in ("won", "lost", "raced")}
        calls = sum(store.calls[name] for name in ("claim", "renew", "finish"))
        return Told(
            claims=sum(claimed.values()),
            won=claimed["won"],
            lost=claimed["lost"] + claimed["raced"],
            raced=claimed["raced"],
            calls=calls / slots,
            claim_calls=store.calls["claim"] / slots,
            cpu_ms=store.busy_us / 1000 / slots,
            wire=store.bytes / slots,
            log=store.log / slots,
            late_ms=late[len(late) // 2],
            worst_ms=late[-(-len(late) * 99 // 100) - 1],
            last_answer_ms=max(self.last_answer.values(), default=0),
            timeouts=store.calls["timeout"] / slots,
            missed=max(0.0, 1 - len(self.late) / due),
        )


async def _breathe() -> None:
    """Let other tasks run, of which there are none: no event loop is here."""


@contextmanager
def patched(plan: Plan) -> Iterator[None]:
    """Let couriers put as many jobs into a batch as stand for 500, and workers ask within another spread."""
    lowlevel = SimpleNamespace(checkpoint=_breathe)
    with (
        mock.patch.object(ledger_module, "BATCH", max(1, BATCH // plan.weight)),
        mock.patch.object(courier_module, "anyio", SimpleNamespace(lowlevel=lowlevel)),
        mock.patch.object(claims_module, "SPREAD_MS", plan.spread),
    ):
        yield


def simulate_fleet(plan: Plan, prices: dict[str, Prices], own_us: dict[str, float]) -> Told:
    """Return what came of the plan; *own_us* is what a slot costs a worker, won or lost, beside the call."""
    with patched(plan):
        return Fleet(plan, prices, own_us).run()
