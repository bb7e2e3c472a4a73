"""
What many workers with many jobs cost a ledger: measured where this machine can, simulated where it cannot.

Run by ``make bench-scale``: it measures, simulates, and writes ``scale.json`` beside it, the tables of
``docs/scale.md`` and its plots. ``--simulate`` takes what was measured before from the file, ``--render`` what was
simulated too; with ``--short`` little is measured, all is printed, and nothing is written. A test holds the page
against the file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from tests.benchmarks import scale_page
from tests.benchmarks.scale_costs import Cost, fitted, measure_costs, measure_worker
from tests.benchmarks.scale_fleet import Plan, Told, simulate_fleet
from tests.benchmarks.scale_page import PLANS, RACES
from tests.benchmarks.scale_rows import (
    CASES,
    SHORT_CASES,
    postgres_connection,
    postgres_rows,
    redis_connection,
    redis_rows,
)
from tests.benchmarks.scale_stores import Prices
from tests.benchmarks.scale_workers import Seen, run_workers
from tests.benchmarks.stores import file_system, fsync_ms
from tests.ledgers.postgres_server import PostgresServer, running_postgres
from tests.ledgers.redis_server import RedisServer

FILE = Path(__file__).with_name("scale.json")


def prices_of(figures: dict[str, Any], store: str) -> dict[str, Prices]:
    """Return what was measured as the simulation takes it."""
    told = {
        call: {int(size): Cost(*cost) for size, cost in costs.items()}
        for call, costs in figures["costs"][store].items()
    }
    return {call: Prices(*fitted(costs)) for call, costs in told.items()}


def simulated(figures: dict[str, Any], plan: Plan) -> Told:
    """Return what comes of a plan at the measured costs."""
    return simulate_fleet(plan, prices_of(figures, plan.store), figures["worker"])


def race_plan(figures: dict[str, Any], store: Any, race: scale_page.Race) -> Plan:
    """Return the plan of what real workers did on this machine."""
    return Plan(
        store,
        race.workers,
        race.jobs,
        period=int(race.period * 1000),
        slots=race.slots,
        rtt=0.1,
        disk=figures["fsync_ms"],
        shares_cores=True,
        processes=race.processes,
    )


@contextlib.contextmanager
def servers() -> Iterator[dict[str, tuple[Any, str, Callable[[], float]]]]:
    """Give both servers, with their URL and how long their CPUs have worked for ledgers, in µs."""
    with running_postgres() as postgres, RedisServer("appendonly yes", "appendfsync everysec") as redis:

        def ran(pids: list[int]) -> float:
            return sum(int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) for pid in pids) / 1000

        def postgres_us() -> float:
            found = postgres.admin("select pid from pg_stat_activity where application_name = 'loopcron'")
            return ran([pid for (pid,) in found])

        def redis_us() -> float:
            assert redis._process is not None
            return ran([redis._process.pid])

        yield {"postgres": (postgres, postgres.url(), postgres_us), "redis": (redis, redis.url, redis_us)}


def middle(seen: list[Seen]) -> list[float]:
    return [statistics.median(values) for values in zip(*seen, strict=True)]


def measure(*, short: bool) -> dict[str, Any]:
    """Measure on real stores all that the simulation stands on and is held against."""
    rounds = 2 if short else 15
    figures: dict[str, Any] = {"costs": {}, "connections": {}, "races": {}, "rows": {}}
    cases = SHORT_CASES if short else CASES
    with servers() as found:
        postgres: PostgresServer = found["postgres"][0]
        redis: RedisServer = found["redis"][0]
        ((version,),) = postgres.admin("select current_setting('server_version')")
        figures["about"] = [
            f"Python {platform.python_version()}, {os.cpu_count()} cores, shared with other work",
            f"PostgreSQL {version}, over a unix socket, on {file_system(postgres.folder)}",
            f"Redis {redis.do('INFO', 'server')['redis_version']}, over TCP, appendonly yes, appendfsync everysec",
        ]
        figures["worker"] = anyio.run(measure_worker, rounds)
        for store, (server, url, cpu) in found.items():
            figures["costs"][store] = anyio.run(measure_costs, server, rounds)
            figures["fsync_ms"] = fsync_ms(Path(postgres.folder))
            figures["races"][store] = []
            for race in RACES[:1] if short else RACES:
                asked = dict(race._asdict())
                seen = [run_workers(url, cpu, **asked) for _ in range(1 if short else 3)]
                figures["races"][store].append(middle(seen))
        figures["rows"]["postgres"] = [
            anyio.run(partial(postgres_rows, postgres, jobs, slots, fillfactor=factor))
            for jobs, slots in cases.items()
            for factor in (100, 50)
        ]
        figures["rows"]["redis"] = [anyio.run(redis_rows, redis, jobs, 2) for jobs in cases]
        figures["connections"]["postgres"] = anyio.run(postgres_connection, postgres)
        figures["connections"]["redis"] = anyio.run(redis_connection, redis)
    figures["load"] = round(os.getloadavg()[1], 1)
    plain: dict[str, Any] = json.loads(json.dumps(figures))
    return plain


def simulate(figures: dict[str, Any], *, short: bool) -> None:
    """Simulate all plans, and what the real workers did."""
    figures["raced"] = {
        store: [simulated(figures, race_plan(figures, store, race)) for race in RACES[: len(seen)]]
        for store, seen in figures["races"].items()
    }
    figures["told"] = {
        name: simulated(figures, plan)
        for name, plan in PLANS.items()
        if not short or plan.workers * plan.jobs / plan.weight < 1_000
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="What many workers with many jobs cost a ledger.")
    parser.add_argument("--short", action="store_true", help="only show that it works, in less than a minute")
    parser.add_argument("--simulate", action="store_true", help="with the costs that were measured before")
    parser.add_argument("--render", action="store_true", help="only write tables and plots anew")
    options = parser.parse_args()
    known = options.simulate or options.render
    figures = json.loads(FILE.read_text("utf-8")) if known else measure(short=options.short)
    if not options.render:
        simulate(figures, short=options.short)
        figures = json.loads(json.dumps(figures))
    for title, text in scale_page.blocks(figures).items():
        print(f"\n{title}\n\n{text}")
    if not options.short:
        FILE.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        scale_page.write(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
