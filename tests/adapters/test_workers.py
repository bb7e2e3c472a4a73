"""
Under real servers with four workers: each slot runs once, however many workers are killed.

A few servers live at once, in processes of their own; what each test does is judge one of them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.adapters.apps.workers import JOBS
from tests.adapters.fleet import COMMANDS, NEEDS, WORKERS, FleetLife, fourfold, live, live_apart
from tests.conftest import NOT_APPLICABLE, require_or_skip
from tests.ledgers.postgres_server import AnyServer, own_schema

SEED = 4
KILLS = 4
SLOTS = 5
"""How many slots of each job have to run when all kills are over."""
SHOWN = Path("/proc/self/stat").exists()
"""Whether the platform shows whose child a process is; nothing else is ever killed."""

Lives = dict[tuple[str, str], Future[FleetLife]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the servers of this file keep what they write."""
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Give threads that drive a few servers at a time: more would measure how the machine bears it."""
    with ThreadPoolExecutor(max_workers=3) as made:
        yield made
        made.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def lives(folder: Path, pool: ThreadPoolExecutor) -> Lives:
    """Start all servers that are installed, with a ledger that their workers share, and without one."""
    if not SHOWN:
        return {}
    installed = [server for server in COMMANDS if all(map(importlib.util.find_spec, NEEDS[server]))]
    started: Lives = {}
    for server in installed:
        url = f"sqlite:///{folder}/{server}.db"
        options = {"kills": KILLS, "seed": SEED, "slots": SLOTS}
        started[server, "shared"] = pool.submit(live, server, f"{server}-shared", folder, url, **options)
    for server in installed:
        started[server, "apart"] = pool.submit(live_apart, server, f"{server}-apart", folder)
    return started


@pytest.fixture(params=COMMANDS)
def server(request: pytest.FixtureRequest) -> str:
    """Name a server that is installed."""
    require_or_skip(SHOWN, f"{NOT_APPLICABLE} this platform does not show whose child a process is")
    name: str = request.param
    for module in NEEDS[name]:
        require_or_skip(module, f"{module} is not installed")
    return name


@pytest.fixture
def shared(server: str, lives: Lives) -> FleetLife:
    """Return the life in which workers share a ledger, and are killed."""
    return lives[server, "shared"].result()


@pytest.fixture
def apart(server: str, lives: Lives) -> FleetLife:
    """Return the life in which each worker has a ledger of its own."""
    return lives[server, "apart"].result()


def check_once(lived: FleetLife) -> None:
    """Check that no slot ran twice, fences rose, and each slot that is missing has an excuse."""
    verdict = lived.verdict()
    assert verdict.faults == []
    assert len(lived.deaths) == KILLS
    assert all(verdict.ran[job] >= SLOTS / 2 for job in JOBS)  # the last ones are too young to be judged


@pytest.mark.usefixtures("lives")
def test_each_slot_runs_once_with_postgres(folder: Path, postgres: AnyServer) -> None:
    """Workers that share a PostgreSQL database run each slot once; the first test, while all other lives begin."""
    require_or_skip(SHOWN, f"{NOT_APPLICABLE} this platform does not show whose child a process is")
    for module in NEEDS["uvicorn"]:
        require_or_skip(module, f"{module} is not installed")
    with own_schema(postgres) as url:
        check_once(live("uvicorn", "uvicorn-postgres", folder, url, kills=KILLS, seed=SEED, slots=SLOTS))


def test_each_slot_runs_once(shared: FleetLife) -> None:
    """While workers are killed again and again no slot runs twice, and none is missed that a live worker could run."""
    check_once(shared)


def test_all_workers_go_on(shared: FleetLife) -> None:
    """When the last one was killed and replaced, every worker takes part, and the server ends as it should."""
    took_part = shared.took_part(max(shared.deaths.values()))
    assert took_part == shared.workers() - shared.deaths.keys()
    assert len(took_part) == WORKERS
    assert shared.life.exit_code == 0


def test_nobody_warns(shared: FleetLife) -> None:
    """Workers that share a ledger are told nothing about their number."""
    assert shared.life.events("LedgerNotShared") == []


def test_workers_without_a_ledger_run_every_slot(apart: FleetLife) -> None:
    """Workers with a ledger each all run each slot, for which the check above convicts them."""
    assert all(fourfold(apart, job) for job in JOBS)
    assert any(fault.endswith(f"ran {WORKERS} times") for fault in apart.verdict().faults)


def test_each_worker_without_a_ledger_warns(apart: FleetLife) -> None:
    """Each of these workers says once what is wrong, and what to do about it."""
    told = [line["pid"] for line in apart.life.events("LedgerNotShared")]
    assert len(told) == WORKERS
    assert set(told) == apart.workers()
    assert apart.life.stderr.count("let them share one, such as Scheduler(ledger=") == WORKERS
