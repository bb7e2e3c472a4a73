"""
Models of the two stores for `scale_fleet`: when a call is answered, given what its parts cost, and what others do.

PostgreSQL: a process for each connection, all on the same cores. A claim reads the rows as they were committed when it
began, so that what is lost by then is cheap; what is not is tried, waits for whoever has the row, and writes to the log
even where it is lost after all. Rows are locked in the order of their names until the commit is on the disk. Redis: one
thread, one call after the other.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from loopcron._instants import from_ms
from loopcron._ledger import EARLY_MS, Won
from loopcron.ledgers.memory import MemoryLedger
from tests.benchmarks.scale_costs import Cost

Done = Callable[[], None]
AGAIN_MS = 20
"""After how long a claim that waits for nobody asks again."""


class World:
    """Simulated time, in µs from the epoch, and what is to happen when."""

    def __init__(self, start_ms: int) -> None:
        self.us = float(start_ms * 1000)
        self._heap: list[tuple[float, int, Done]] = []
        self._serial = 0

    @property
    def ms(self) -> int:
        return int(self.us // 1000)

    def now(self) -> Any:
        """Be a ledger's clock."""
        return from_ms(self.ms)

    def at(self, us: float, then: Done) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (max(us, self.us), self._serial, then))

    def after(self, us: float, then: Done) -> None:
        self.at(self.us + us, then)

    def run(self, until_ms: int) -> None:
        while self._heap and self._heap[0][0] <= until_ms * 1000:
            self.us, _, then = heapq.heappop(self._heap)
            then()


class Cores:
    """Some cores that all who have work share evenly."""

    def __init__(self, world: World, count: float) -> None:
        self._world = world
        self._count = count
        self._shared = 0.0
        """How much work each of those who had some all the time has had done, in µs."""
        self._since = world.us
        self._heap: list[tuple[float, int, Done]] = []
        self._serial = 0
        self.spent = 0.0

    def run(self, work: float, then: Done) -> None:
        """Do so many µs of work among the others', and *then* that."""
        self._go_on()
        self.spent += work
        self._serial += 1
        heapq.heappush(self._heap, (self._shared + work, self._serial, then))
        self._arm()

    def _go_on(self) -> None:
        self._shared += (self._world.us - self._since) * self._speed
        self._since = self._world.us

    @property
    def _speed(self) -> float:
        return min(1.0, self._count / len(self._heap)) if self._heap else 1.0

    def _arm(self) -> None:
        serial = self._serial
        if self._heap:
            self._world.after((self._heap[0][0] - self._shared) / self._speed, lambda: self._look(serial))

    def _look(self, serial: int) -> None:
        if serial != self._serial:
            return  # somebody came meanwhile, and it was armed anew
        self._go_on()
        _, _, then = heapq.heappop(self._heap)
        self._serial += 1
        self._arm()
        then()


class Prices(NamedTuple):
    """The part of a call, and that of each job in it."""

    call: Cost
    job: Cost


class Call:
    """A call under way."""

    def __init__(self, name: str, items: Sequence[Any], answer: Callable[[Any], None]) -> None:
        self.name = name
        self.items = items
        self.answer = answer
        self.answers: Any = None
        self.held: list[str] = []
        self.is_over = False
        """Whether nobody waits for its answer any more."""
        self.is_decided = False


class Store:
    """
    A store whose rows are a ledger's in memory.

    Args:
        world: The time.
        prices: What calls cost, by name.
        cores: Where the work is done.
        weight: For how many jobs each one stands.
        timeout_ms: After how long a call is given up.
    """

    def __init__(
        self, world: World, prices: dict[str, Prices], cores: Cores, *, weight: int = 1, timeout_ms: float = 2_000
    ) -> None:
        self.world = world
        self.rows = MemoryLedger(world)  # type: ignore[arg-type]
        self.prices = prices
        self.cores = cores
        self.weight = weight
        self.timeout_us = timeout_ms * 1000
        self.calls: Counter[str] = Counter()
        self.items: Counter[str] = Counter()
        self.bytes = 0.0
        self.log = 0.0
        self.busy_us = 0.0

    def ask(self, name: str, items: Sequence[Any], answer: Callable[[Any], None]) -> None:
        """Answer when the call is done, or None when it took too long."""
        call = Call(name, items, answer)
        self.calls[name] += 1
        self.world.after(self.timeout_us, lambda: self._give_up(call))
        self.begin(call)

    def begin(self, call: Call) -> None:
        raise NotImplementedError

    def charge(self, what: str, jobs: int, *, calls: int = 1) -> float:
        """Take note of jobs with this answer, and return what they cost the store, in µs."""
        price = self.prices[what]
        number = jobs * self.weight
        self.items[what] += number
        cost = price.call.times(calls).and_also(price.job.times(number))
        self.bytes += cost.sent + cost.received
        self.log += cost.log
        self.busy_us += cost.store_us
        return cost.store_us

    def reply(self, call: Call) -> None:
        if not call.is_over:
            call.is_over = True
            call.answer(call.answers)

    def _give_up(self, call: Call) -> None:
        if not call.is_over:
            call.is_over = True
            self.calls["timeout"] += 1
            self.given_up(call)
            call.answer(None)

    def given_up(self, call: Call) -> None:
        """Let go of a call for whose answer nobody waits any more."""

    def decide(self, name: str, items: Sequence[Any]) -> list[Any]:
        coroutine: Any = getattr(self.rows, name)(items)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return list(end.value)
        raise AssertionError("a ledger in memory awaits nothing")


class RedisModel(Store):
    """One thread; what has been sent is carried out, whoever still waits."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._line: deque[Call] = deque()

    def begin(self, call: Call) -> None:
        self._line.append(call)
        if len(self._line) == 1:
            self._next()

    def _next(self) -> None:
        call = self._line[0]
        call.answers = self.decide(call.name, call.items)
        work = 0.0
        if call.name == "claim":
            won = sum(isinstance(answer, Won) for answer in call.answers)
            work += self.charge("won", won, calls=1 if won else 0)
            work += self.charge("lost", len(call.items) - won, calls=0 if won else 1)
        else:
            work += self.charge(call.name, len(call.items))
        self.cores.run(work, self._served)

    def _served(self) -> None:
        call = self._line.popleft()
        self.reply(call)
        if self._line:
            self._next()


class PostgresModel(Store):
    """
    A process for each connection.

    Args:
        disk_ms: What it takes until a commit is on the disk.
        skips_locked: Whether a claim that finds a row locked asks again in a moment, and waits for nobody; not built.
    """

    def __init__(self, *args: Any, disk_ms: float = 1.0, skips_locked: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self._skips_locked = skips_locked
        self._disk_us = disk_ms * 1000
        self._committed: dict[str, int] = {}
        self._locks: dict[str, deque[tuple[Call, Done]]] = {}

    def begin(self, call: Call) -> None:
        if call.name != "claim":
            self._lock(call, [item.job for item in call.items], lambda: self._write(call))
            return
        early = self.world.ms + EARLY_MS
        tried = [item for item in call.items if self._committed.get(item.job, -1) < item.slot and item.slot <= early]
        seen = len(call.items) - len(tried)
        # The statement is read and planned before it tries anything; its price is that of one that loses.
        work = self.charge("lost", seen, calls=1)

        def then() -> None:
            if call.is_over and tried:
                return  # cancelled in time
            if self._skips_locked and any(item.job in self._locks for item in tried):
                self.world.after(AGAIN_MS * 1000, lambda: None if call.is_over else self.begin(call))
                return
            self._lock(call, [item.job for item in tried], lambda: self._claim(call, len(tried)))

        self.cores.run(work, then)

    def _claim(self, call: Call, tried: int) -> None:
        call.is_decided = True
        call.answers = self.decide("claim", call.items)
        if not tried:
            self.reply(call)
            return
        won = sum(isinstance(answer, Won) for answer in call.answers)
        raced = max(0, tried - won)
        work = 0.0
        for what, jobs in (("won", won), ("raced", raced)):
            if jobs:  # less what was charged when it began
                work += self.charge(what, jobs) + self.charge("lost", 0, calls=-1)
        self.cores.run(max(0.0, work), lambda: self._to_disk(call))

    def _write(self, call: Call) -> None:
        call.is_decided = True
        call.answers = self.decide(call.name, call.items)
        self.cores.run(self.charge(call.name, len(call.items)), lambda: self._to_disk(call))

    def _to_disk(self, call: Call) -> None:
        self.world.after(self._disk_us, lambda: self._commit(call))

    def _commit(self, call: Call) -> None:
        if call.name == "claim":
            for item, answer in zip(call.items, call.answers, strict=True):
                if isinstance(answer, Won):
                    self._committed[item.job] = max(item.slot, self._committed.get(item.job, -1))
        self._release(call)
        self.reply(call)

    def _lock(self, call: Call, jobs: list[str], then: Done) -> None:
        """Take the rows one after the other, in the order of their names, each when nobody has it."""
        rest = sorted(set(jobs) - set(call.held))

        def take() -> None:
            if call.is_over:
                self._release(call)
                return
            for place, job in enumerate(rest):
                if job in self._locks:
                    del rest[: place + 1]  # it is handed over
                    self._locks[job].append((call, take))
                    return
                self._locks[job] = deque()
                call.held.append(job)
            rest.clear()
            then()

        take()

    def _release(self, call: Call) -> None:
        held, call.held = call.held, []
        woken: list[Done] = []
        for job in held:
            waiting = self._locks.pop(job)
            while waiting:
                other, take = waiting.popleft()
                if other.is_over:
                    continue
                self._locks[job] = waiting
                other.held.append(job)  # handed over, so that nobody comes between
                woken.append(take)
                break
        for take in woken:
            take()

    def given_up(self, call: Call) -> None:
        if call.held and not call.is_decided:
            self._release(call)
