"""Real servers with several workers: how each is started, its workers killed, and the whole life of one."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.adapters.apps.workers import JOBS, LEDGER, PERIOD_MS
from tests.adapters.servers import Life, Process, wait_until
from tests.adapters.workers_judge import History, Verdict, judge

WORKERS = 4
PHASES = dict(zip(JOBS, (0, PERIOD_MS // 2), strict=True))
_SETTLING_MS = 2.5 * PERIOD_MS
"""How long after a slot all workers have told what became of it."""

_STARLETTE = "tests.adapters.apps.workers_starlette:app"
_AIOHTTP = "tests.adapters.apps.workers_aiohttp:app"
_GUNICORN = (sys.executable, "-m", "gunicorn", "--no-control-socket", "--graceful-timeout=3", f"-w{WORKERS}")
_UVICORN_WORKER = (*_GUNICORN, _STARLETTE, "-kuvicorn_worker.UvicornWorker", "-b127.0.0.1:{port}")

COMMANDS = {
    "uvicorn": (sys.executable, "-m", "uvicorn", _STARLETTE, f"--workers={WORKERS}", "--port={port}"),
    "gunicorn": _UVICORN_WORKER,
    "gunicorn-preload": (*_UVICORN_WORKER, "--preload"),
    "granian": (
        *(sys.executable, "-m", "granian", _STARLETTE, "--interface=asgi", f"--workers={WORKERS}"),
        *("--respawn-failed-workers", "--host=127.0.0.1", "--port={port}"),
    ),
    "aiohttp": (*_GUNICORN, _AIOHTTP, "-kaiohttp.GunicornWebWorker", "-b127.0.0.1:{port}"),
}
"""How each server is started."""
NEEDS = {
    "uvicorn": ("uvicorn", "starlette"),
    "gunicorn": ("gunicorn", "uvicorn_worker", "starlette"),
    "gunicorn-preload": ("gunicorn", "uvicorn_worker", "starlette"),
    "granian": ("granian", "starlette"),
    "aiohttp": ("gunicorn", "aiohttp"),
}
"""What must be installed for each."""


@dataclass
class FleetLife:
    """What the workers of one server did."""

    life: Life
    deaths: dict[int, float] = field(default_factory=dict)
    """When which worker was killed, in ms from the epoch."""
    since: float = 0.0
    """When all workers had had to do with a slot."""
    until: float = 0.0
    """When the server was told to stop."""

    def verdict(self) -> Verdict:
        """Return what became of the slots while the workers were killed and after that."""
        until = self.until - _SETTLING_MS
        return judge(History(self.life.log, self.deaths, self.since, until, PERIOD_MS, PHASES))

    def workers(self) -> set[int]:
        """Return all that ever ran."""
        return {line["pid"] for line in self.life.events("SchedulerStarted")}

    def took_part(self, since: float) -> set[int]:
        """Return who has told of a slot after *since*, and was not killed."""
        told = {line["pid"] for line in self.life.events("Settled") if line["at"] > since}
        return told - self.deaths.keys()

    def ran_since(self, at: float) -> dict[str, set[int]]:
        """Return the slots that ran after *at*, by job."""
        starts = [line for line in self.life.events("start") if line["slot"] > at]
        return {job: {line["slot"] for line in starts if line["job"] == job} for job in JOBS}


class Fleet:
    """A server that runs, with its workers."""

    def __init__(self, server: str, name: str, folder: Path, ledger: str | None) -> None:
        environment = {} if ledger is None else {LEDGER: ledger}
        self._name = name
        self._process = Process(server, name, folder, command=COMMANDS[server], environment=environment)
        self._kills_newcomers = server != "granian"  # which takes a worker that dies young for a crash loop
        self.lived = FleetLife(self._process.life)

    def up(self) -> set[int]:
        """Return the workers that are alive and whose scheduler runs."""
        self._process.read()
        return {pid for pid in self.lived.workers() - self.lived.deaths.keys() if _parent(pid) == self._process.pid}

    def is_complete(self) -> bool:
        """Say whether all workers are up."""
        assert not self._process.has_ended(), f"{self._name} has ended: {self._process.read().stderr[-2000:]}"
        return len(self.up()) == WORKERS

    def start(self) -> None:
        """Wait until all workers are up, and have had to do with a slot."""
        wait_until(self.is_complete, f"all workers of {self._name} are up")
        self.watch(lambda lived: len(lived.took_part(0.0)) == WORKERS, "had a slot in each worker")
        self.lived.since = _now()

    def kill(self, times: int, seed: int) -> None:
        """Kill workers, at instants and in an order that the seed decides, and wait until others have replaced them."""
        dice = random.Random(seed)
        first = self.up()
        for _ in range(times):
            # Half of them are left, so that some worker can run what comes due.
            wait_until(lambda: len(self.up()) > WORKERS / 2, f"workers of {self._name} are up again")
            self._rest(dice)
            workers = self.up() if self._kills_newcomers else self.up() & first
            victim = dice.choice(sorted(workers))
            if _parent(victim) == self._process.pid:
                self.lived.deaths[victim] = _now()
                os.kill(victim, signal.SIGKILL)
        wait_until(self.is_complete, f"all workers of {self._name} are up again")

    @staticmethod
    def _rest(dice: random.Random) -> None:
        """Wait for some time, or for the moment at which some worker claims and runs a slot."""
        if dice.random() < 0.5:
            time.sleep(dice.uniform(0.05, 1.0))
        else:
            time.sleep((PERIOD_MS - _now() % PERIOD_MS + dice.uniform(0.0, 25.0)) / 1000)

    def watch(self, enough: Callable[[FleetLife], bool], what: str) -> None:
        """Wait until the workers have done *enough*."""

        def is_enough() -> bool:
            self._process.read()
            return enough(self.lived)

        wait_until(is_enough, f"{self._name} has {what}")

    def stop(self) -> None:
        """Tell the server to stop, and wait until it has."""
        self.lived.until = start = _now()
        self._process.signal()
        wait_until(self._process.has_ended, f"{self._name} ends")
        self.lived.life.stop_seconds = (_now() - start) / 1000

    def end(self) -> None:
        """See to it that nothing is left."""
        self._process.end()


def live(server: str, name: str, folder: Path, ledger: str | None, *, kills: int, seed: int, slots: int) -> FleetLife:
    """Start a server, kill workers, let *slots* slots of each job run after that and after all, and stop it."""
    fleet = Fleet(server, name, folder, ledger)
    try:
        fleet.start()
        fleet.kill(kills, seed)
        now = _now()
        fleet.watch(lambda lived: all(len(ran) >= slots for ran in lived.ran_since(now).values()), f"run {slots} more")
        fleet.stop()
    finally:
        fleet.end()
    return fleet.lived


def live_apart(server: str, name: str, folder: Path) -> FleetLife:
    """Start a server whose workers share no ledger, wait until all have run two slots and told so, and stop it."""
    fleet = Fleet(server, name, folder, None)

    def have_told(lived: FleetLife) -> bool:
        told = {line["pid"] for line in lived.life.events("LedgerNotShared")}
        return len(told) == WORKERS and all(len(fourfold(lived, job)) >= 2 for job in JOBS)

    try:
        fleet.start()
        fleet.watch(have_told, "run each slot in each worker")
        fleet.stop()
    finally:
        fleet.end()
    return fleet.lived


def fourfold(lived: FleetLife, job: str) -> set[int]:
    """Return the slots that every worker has begun."""
    began: dict[int, set[int]] = {}
    for line in lived.life.events("RunStarted"):
        if line["job"] == job:
            began.setdefault(line["slot"], set()).add(line["pid"])
    return {slot for slot, pids in began.items() if len(pids) == WORKERS}


def _now() -> float:
    return time.time() * 1000


def _parent(pid: int) -> int | None:
    """Return whose child a process is; None: it has ended, though perhaps nobody has asked for its exit code yet."""
    with contextlib.suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return None if state in "ZX" else int(parent)
    return None
