"""What is measured: a table of cases, each with its contenders, the baseline first."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.contenders import SECOND_MS
from tests.benchmarks.worker import scheduler_class

ROOT = Path(__file__).resolve().parents[2]
LOOP = ("call_at", "loopcron")
SCHEDULERS = (
    "task_sleep",
    "scheduler",
    "schedule",
    "apscheduler3",
    "apscheduler4",
    "aiocron",
    "taskiq",
    "fastapi_crons, no state",
    "fastapi_crons",
)
IMPORTED = ("aiocron", "schedule", "scheduler", "apscheduler3", "apscheduler4", "taskiq", "fastapi_crons", "rocketry")
CLIENTS = ("aiohttp", "http.client", "urllib3", "httpcore", "httpx", "niquests")
APART = ("apscheduler4", "rocketry", "niquests")
"""Peers that stand no others beside them, so that each has an environment of its own."""


def python_of(peer: str) -> str:
    """Return the interpreter of the environment that has this peer."""
    folder = f".venv-peers-{peer}" if peer in APART else ".venv-peers"
    return str(ROOT / folder / "bin" / "python")


@dataclass(frozen=True)
class Case:
    """One question that is put to all its contenders in turn."""

    name: str
    measure: str
    contenders: tuple[str, ...]
    """The first one is the baseline."""
    options: Mapping[str, Any] = field(default_factory=dict)
    brief: Mapping[str, Any] = field(default_factory=dict)
    """Other options where it is only to be seen that it works."""
    place: str = ""
    """What it needs beside itself: ``server``, or the store of this name."""
    rounds: int = 5
    extra: int = 0
    """How many rounds more there are at most, until as many as there should be were quiet."""
    peers: tuple[str, ...] = ()
    """Who is asked too if all are to be compared."""
    peer_rounds: int = 3
    """In how many rounds, the first ones: most of them take many times what the baseline does."""
    side_by_side: int = 1
    """How many contenders of a round may run at once: more than one if CPU and time are not what is measured."""
    wall: bool = False
    """Whether it measures time on the wall, which others on the machine spoil."""

    def asked(self, *, full: bool) -> dict[str, str]:
        """Return who is asked, and by which interpreter."""
        own = dict.fromkeys(self.contenders, sys.executable)
        return {**own, **{peer: python_of(peer) for peer in self.peers}} if full else own


def able(jobs: int, grain: int = SECOND_MS) -> tuple[str, ...]:
    """Return the peers that can have so many jobs, due at multiples of so many ms."""
    classes = {name: scheduler_class(name) for name in SCHEDULERS}
    return tuple(name for name, each in classes.items() if each.most >= jobs and grain % each.grain == 0)


def burst(name: str, jobs: int, lead: float, *, suspends: bool, rounds: int = 5, peer_rounds: int = 3) -> Case:
    options = {"jobs": jobs, "lead": lead, "suspends": suspends}
    brief = {**options, "jobs": 500, "lead": 1.2}
    return Case(
        f"burst, {name}", "burst", LOOP, options, brief, rounds=rounds, peers=able(jobs), peer_rounds=peer_rounds
    )


def lateness(name: str, jobs: int, lead: float, *, aligned: bool) -> Case:
    options = {"jobs": jobs, "lead": lead, "seconds": 4, "aligned": aligned}
    brief = {**options, "jobs": 100, "lead": 0.3, "seconds": 1}
    peers = able(jobs, SECOND_MS if aligned else 1)
    name = f"lateness, {name}"
    return Case(name, "lateness", LOOP, options, brief, rounds=3, wall=True, peers=peers, peer_rounds=2)


def claims(store: str) -> Case:
    contenders = ("bare statement", "bare statement, from a thread", "loopcron")
    return Case(f"claim, {store}", "claims", contenders, {"store": store}, place=store, wall=True, extra=5)


TEN_THOUSAND = {"jobs": 10_000}
FEW = {"jobs": 200}
IDLE = {"jobs": 10_000, "seconds": 65}
CASES = (
    burst("10k suspending", 10_000, 1.6, suspends=True),
    burst("1k", 1_000, 1.2, suspends=False),
    burst("10k", 10_000, 1.6, suspends=False),
    burst("100k", 100_000, 3.5, suspends=False, rounds=3, peer_rounds=2),
    lateness("1k at random", 1_000, 0.5, aligned=False),
    lateness("10k at random", 10_000, 1.5, aligned=False),
    lateness("1k on the second", 1_000, 0.5, aligned=True),
    Case("idle", "idleness", LOOP, IDLE, {"jobs": 100, "seconds": 1}, rounds=1, side_by_side=99, peers=able(10_000)),
    Case("adding", "adding", LOOP, TEN_THOUSAND, FEW, peers=able(10_000)),
    Case("memory", "memory", LOOP, TEN_THOUSAND, FEW, rounds=1, side_by_side=2, peers=able(10_000)),
    Case("history", "history", ("loopcron",), {"jobs": 200}, {"jobs": 5}, rounds=1),
    Case("import", "import", ("asyncio", "loopcron", "loopcron, its names"), peers=IMPORTED),
    Case("cron lines", "lines", ("cronsim", "loopcron"), peers=("croniter", "APScheduler", "arq")),
    Case(
        "request in process", "requests", ("bare call", "loopcron"), {"way": "in_process", "port": 0}, peers=("httpx",)
    ),
    Case(
        "request over loopback",
        "requests",
        ("bare protocol", "loopcron"),
        {"way": "loopback"},
        place="server",
        peers=CLIENTS,
    ),
    claims("sqlite"),
    claims("postgres"),
    claims("redis"),
    Case("simulated year", "simulation", ("loopcron",), rounds=3),
    Case("overdue slots", "overdue", ("loopcron",), rounds=3),
)
BY_NAME = {case.name: case for case in CASES}
