"""Does to the workers and the store of a run whatever its seed says, and writes down each deed."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from random import Random
from typing import Final

from tests.proof import history as h
from tests.proof.causes import STALLED
from tests.proof.history import History, Plan
from tests.proof.store import Store
from tests.proof.workers import Workers

SLICE: Final = 0.01
"""How long, in seconds, it sleeps at most; waking much later than that is how it knows that the machine stalled."""
KILLS: Final = 1_700
"""How many ms there are between two kills on average; likewise the others."""
PAUSES: Final = 700
FAULTS: Final = 1_700
"""Where there are two paths; where there is one, a fault is everybody's, and half as frequent."""
HUNTED: Final = 0.12
"""The part of the time that leases may be lost for, because their holders are hunted."""
SHORT: Final = 7
"""A run of fewer leases than this has one hunt or crash, and less of the rest: each costs slots for a while."""
LESS: Final = 1.5
"""By how much the gaps are longer then."""
HUNT: Final = 600
"""How many ms a hunt for the one that has the lease may take."""
QUIET: Final = 500
"""For how many ms at the beginning and at the end nothing is done."""


class Nemesis:
    """
    The deeds of one run.

    Args:
        history: Of the run.
        plan: Likewise, with its first slot.
        store: To disturb.
        workers: Likewise.
    """

    def __init__(self, history: History, plan: Plan, store: Store, workers: Workers) -> None:
        self._history = history
        self._plan = plan
        self._store = store
        self._workers = workers
        self._dice = Random(f"{self._plan.seed}/{self._plan.ledger}")
        self._numbers = count()
        self._deeds: list[tuple[int, int, Callable[[], None]]] = []
        self._disturbed: set[int] = set()
        self._is_crashed = False
        self._is_short = plan.end - plan.first < SHORT * plan.lease

    def act(self) -> None:
        """Do all deeds, until the end of the plan."""
        self._prepare()
        while self._goes_on():
            _, _, deed = heapq.heappop(self._deeds)
            deed()
        for path in tuple(self._disturbed):
            self._heal(path)
        while self._is_crashed:
            self._look_at_store()
            time.sleep(SLICE)

    def _prepare(self) -> None:
        faults = FAULTS * 2 // self._store.paths
        for deed, gap in ((self._kill, KILLS), (self._pause, PAUSES), (self._disturb, faults)):
            for at in self._times(gap):
                self._at(at, deed)
        begin, length = self._plan.first, self._plan.end - self._plan.first
        hunts = max(round(length * HUNTED / self._plan.lease), 1)
        rare: list[tuple[int, Callable[[], None]]] = [
            (begin + int(length * (number + self._dice.uniform(0.2, 0.8)) / hunts), partial(self._hunt, number))
            for number in range(hunts)
        ]
        if self._store.can_crash:
            rare.append((begin + int(length * self._dice.uniform(0.3, 0.7)), self._crash))
        if self._is_short:
            rare = [rare[self._plan.seed % len(rare)]]
        for at, deed in rare:
            self._at(at, deed)

    def _times(self, gap: int) -> Iterator[int]:
        at = self._plan.first + QUIET
        gap = int(gap * LESS) if self._is_short else gap
        while (at := at + int(self._dice.expovariate(1 / gap))) < self._plan.last - QUIET:
            yield at

    def _at(self, at: int, deed: Callable[[], None]) -> None:
        heapq.heappush(self._deeds, (at, next(self._numbers), deed))

    def _after(self, milliseconds: float, deed: Callable[[], None]) -> None:
        self._at(self._history.now() + int(milliseconds), deed)

    def _goes_on(self) -> bool:
        """Return True when the next deed is due, False at the end."""
        while (now := self._history.now()) < self._plan.end:
            left = (self._deeds[0][0] - now) / 1000 if self._deeds else SLICE
            if left <= 0:
                return True
            time.sleep(min(left, SLICE))
            late = self._history.now() - now
            if late >= STALLED:
                self._history.write(h.STALL, note=str(late))
            self._workers.reap()
        return False

    def _kill(self) -> None:
        """Kill one just after a slot has come, when many are about to claim or have just won."""
        edge = self._plan.period - (self._history.now() - self._plan.first) % self._plan.period
        self._after(edge + self._dice.uniform(0, 8), self._kill_any)

    def _kill_any(self) -> None:
        if self._workers.awake:
            self._kill_one(self._dice.choice(self._workers.awake))

    def _kill_one(self, pid: int) -> None:
        index = self._workers.kill(pid)
        self._after(self._dice.uniform(0, 300), partial(self._workers.begin, index))

    def _pause(self) -> None:
        if self._workers.awake:
            self._pause_one(self._dice.choice(self._workers.awake), self._dice.uniform(50, 1600))

    def _pause_one(self, pid: int, milliseconds: float) -> None:
        self._workers.pause(pid)
        self._after(milliseconds, partial(self._workers.resume, pid))

    def _hunt(self, number: int) -> None:
        """Wait for the next run to begin, and kill its worker, or stop it for longer than its lease, by turns."""
        until = self._history.now() + HUNT
        while self._history.now() < until:
            newest = next((record for record in h.newest(self._history.path) if record.job == h.LEASED), None)
            if newest is not None and newest.kind == h.START and newest.pid in self._workers.awake:
                if (self._plan.seed + number) % 2:
                    self._kill_one(newest.pid)
                else:
                    self._pause_one(newest.pid, self._plan.lease * self._dice.uniform(1.1, 1.5))
                return
            time.sleep(0.002)

    def _disturb(self) -> None:
        path = self._dice.randrange(self._store.paths)
        if path in self._disturbed:
            return
        self._disturbed.add(path)
        fault = self._dice.choice(self._store.faults)
        self._history.write(h.FAULT, note=f"{path} {fault}")
        self._store.disturb(path, fault)
        self._after(self._dice.uniform(50, 1000), partial(self._heal, path))

    def _heal(self, path: int) -> None:
        if path in self._disturbed:
            self._store.heal(path)
            self._disturbed.discard(path)
            self._history.write(h.HEALED, note=str(path))

    def _crash(self) -> None:
        self._history.write(h.CRASH)
        self._is_crashed = True
        self._store.crash()
        self._look_at_store()

    def _look_at_store(self) -> None:
        if self._is_crashed and self._store.has_restarted():
            self._is_crashed = False
            self._history.write(h.UP)
        elif self._is_crashed:
            self._after(20, self._look_at_store)
