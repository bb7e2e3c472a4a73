"""The tables and plots of ``docs/scale.md``, made from the figures that `scale` has measured and simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import floor, log10
from typing import Any, NamedTuple

from tests.benchmarks.scale_costs import Cost
from tests.benchmarks.scale_fleet import Plan, Told
from tests.benchmarks.scale_plot import Line, log_plot
from tests.benchmarks.scale_rows import PostgresRows, RedisRows
from tests.benchmarks.scale_workers import Seen
from tests.blocks import ROOT, write_block

PAGE = ROOT / "docs" / "scale.md"
NAMES = {"postgres": "PostgreSQL", "redis": "Redis"}
WORKERS = (1, 20, 1_000)
JOBS = (10, 1_000, 100_000)
LEGS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
"""Numbers of workers in the plots."""


class Race(NamedTuple):
    """Real workers; *period* is in seconds."""

    workers: int
    processes: int
    jobs: int
    period: float
    slots: int


RACES = (Race(8, 4, 10, 1.0, 6), Race(16, 4, 10, 1.0, 6), Race(16, 4, 100, 2.0, 4), Race(8, 4, 500, 2.0, 4))


def _grid(store: Any, workers: int, jobs: int) -> Plan:
    slots = 1 if workers * jobs > 10_000_000 else 2
    return Plan(store, workers, jobs, weight=min(jobs, 500), slots=slots)


def _plans() -> dict[str, Plan]:
    plans: dict[str, Plan] = {}
    for store in NAMES:
        for jobs in JOBS:
            for workers in WORKERS:
                plans[f"{store} {workers} x {jobs}"] = _grid(store, workers, jobs)
        for jobs in (10, 1_000):
            for workers in LEGS:
                plans[f"{store} {workers} x {jobs}"] = _grid(store, workers, jobs)
        for base in (_grid(store, workers, jobs) for workers, jobs in BASES):
            for label, change in KNOBS.items():
                if base.jobs < 1_000 and label in DIVIDING:
                    continue
                changed = change(base)
                if changed is not None:
                    plans[f"{store} {base.workers} x {base.jobs}, {label}"] = changed
    return plans


def _few(base: Plan) -> Plan | None:
    return replace(base, workers=5) if base.workers > 5 else None


def _each_alone(base: Plan, **changes: Any) -> Plan | None:
    # Then no job stands for others, and a million of them in one process are too many.
    return replace(base, weight=1, **changes) if base.workers <= 20 else None


KNOBS: dict[str, Callable[[Plan], Plan | None]] = {
    "as it is": lambda base: base,
    "5 workers with `enabled=True`": _few,
    "10 namespaces, each with its jobs and workers": lambda base: replace(base, weight=100, groups=10),
    "phases on 60 whole seconds": lambda base: replace(base, phase="seconds", weight=17),
    '`phase="spread"`': lambda base: _each_alone(base, phase="spread"),
    "`jitter` of 10 s": lambda base: _each_alone(base, jitter=10_000),
    "`timeout` of 20 s": lambda base: replace(base, timeout=20_000),
    "not built: asked within 250 ms, not 25": lambda base: replace(base, spread=250),
    "not built: asked within 2.5 s": lambda base: replace(base, spread=2_500),
    "not built: rows that are locked are asked for again": lambda base: (
        replace(base, skips_locked=True) if base.store == "postgres" else None
    ),
}
BASES = ((20, 1_000), (1_000, 10), (1_000, 1_000))
"""For how many workers and jobs the knobs are turned."""
DIVIDING = list(KNOBS)[2:6]
"""What ten jobs are too few for."""
PLANS = _plans()


def number(value: float, digits: int = 2) -> str:
    """Return it with two digits, for no more of them come out the same the next time; whole numbers as they are."""
    if value == 0:
        return "0"
    if float(value).is_integer() and value < 1e4:
        return f"{value:,.0f}"
    places = digits - 1 - floor(log10(abs(value)))
    return f"{round(value, places):,.{max(0, places)}f}"


def size(value: float) -> str:
    """Return bytes as people say them."""
    for unit in ("B", "KB", "MB"):
        if abs(value) < 1_000:
            return f"{number(value)} {unit}"
        value /= 1_000
    return f"{number(value)} GB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _told(figures: dict[str, Any], name: str) -> Told | None:
    found = figures["told"].get(name)
    return None if found is None else Told(*found)


def verdict(plan: Plan, told: Told) -> str:
    """Say in words whether the store keeps up."""
    if told.missed > 0.001:
        return f"**{told.missed:.0%} of the slots are not run**"
    if told.timeouts:
        return f"{number(told.timeouts)} calls time out"
    share = told.cpu_ms / (plan.period * (1 if plan.store == "redis" else plan.cores))
    return f"{share:.1%} busy" if share >= 0.001 else "idle"


def costs(figures: dict[str, Any]) -> str:
    words = {"won": "a claim that is won", "lost": "lost", "raced": "lost while another wins", "renew": "a renewal"}
    rows = []
    for store, calls in figures["costs"].items():
        for call, by_size in calls.items():
            one, many = Cost(*by_size["1"]), Cost(*by_size["500"]).times(1 / 500)
            rows.append(
                [
                    NAMES[store],
                    words.get(call, "an outcome"),
                    f"{number(one.store_us)} / {number(many.store_us)}",
                    f"{number(one.worker_us)} / {number(many.worker_us)}",
                    f"{size(one.sent + one.received)} / {size(many.sent + many.received)}",
                    f"{size(max(0, one.log))} / {size(many.log)}",
                ]
            )
    return table(["", "call", "CPU of the store, µs", "CPU of the worker, µs", "on the wire", "in the log"], rows)


def rows(figures: dict[str, Any]) -> str:
    lines = []
    for told in figures["rows"]["postgres"]:
        row = PostgresRows(*told)
        lines.append([
            f"PostgreSQL, fillfactor {row.fillfactor}", number(row.jobs), number(row.slots), size(row.new_heap),
            size(row.heap), size(row.own_index), f"{row.hot:.0%}",
        ])  # fmt: skip
    for told in figures["rows"]["redis"]:
        one = RedisRows(*told)
        lines.append(["Redis", number(one.jobs), "2", size(one.new_row), size(one.row), size(one.used - one.row), ""])
    head = ["", "jobs", "slots run", "a new row", "one that has run", "index and the like", "updates in place"]
    return table(head, lines)


def races(figures: dict[str, Any]) -> str:
    lines = []
    for store, seen_ones in figures["races"].items():
        for race, told, counted in zip(RACES, seen_ones, figures["raced"][store], strict=False):
            seen, made = Seen(*told), Told(*counted)
            pairs = [
                (seen.claims, made.claims), (seen.calls, made.calls), (seen.cpu_ms, made.cpu_ms),
                (seen.late_ms, made.late_ms), (seen.last_answer_ms, made.last_answer_ms),
            ]  # fmt: skip
            cells = [f"{number(measured)} / {number(modelled)}" for measured, modelled in pairs]
            lines.append([NAMES[store], f"{race.workers} x {race.jobs}", *cells])
    head = ["", "workers x jobs", "claims", "round trips", "CPU of the store, ms", "start, ms late", "all know, ms"]
    return table(head, lines)


def _line(first: list[str], plan: Plan, told: Told) -> list[str]:
    return [
        *first,
        number(told.claims), number(told.calls), number(told.raced), number(told.cpu_ms), size(told.wire),
        size(told.log), f"{number(told.late_ms)} / {number(told.worst_ms)}", verdict(plan, told),
    ]  # fmt: skip


HEAD = ["claims", "round trips", "raced", "CPU, ms", "on the wire", "log", "start, ms late", "the store"]


def grid(figures: dict[str, Any], store: str) -> str:
    lines = []
    for jobs in JOBS:
        for workers in WORKERS:
            name = f"{store} {workers} x {jobs}"
            told = _told(figures, name)
            if told is not None:
                lines.append(_line([f"{workers:,}", f"{jobs:,}"], PLANS[name], told))
    return table(["workers", "jobs", *HEAD], lines)


def knobs(figures: dict[str, Any], store: str, workers: int, jobs: int) -> str:
    lines = []
    for label in KNOBS:
        name = f"{store} {workers} x {jobs}, {label}"
        told = _told(figures, name)
        if told is not None:
            lines.append(_line([label], PLANS[name], told))
    return table(["", *HEAD], lines)


def ends(figures: dict[str, Any]) -> str:
    lines = []
    for store, name in NAMES.items():
        cores = 1 if store == "redis" else 2
        calls = figures["costs"][store]

        def most(call: str, at: int) -> str:
            return number(cores * 1e6 * at / Cost(*calls[call][str(at)]).store_us)  # noqa: B023 - used in this turn only

        wave = cores * 2e6 / Cost(*calls["lost"]["500"]).store_us
        lines.append([
            name, f"{most('won', 1)} / {most('won', 500)}", f"{most('lost', 1)} / {most('lost', 500)}",
            number(wave), size(figures["connections"][store]),
        ])  # fmt: skip
    head = [
        "", "claims won a second", "claims lost a second", "workers whose batch of 500 is answered in 2 s",
        "memory of a connection",
    ]  # fmt: skip
    return table(head, lines)


def blocks(figures: dict[str, Any]) -> dict[str, str]:
    """Return the page's tables by their names."""
    about = "\n".join(f"- {line}" for line in figures["about"])
    made = {
        "about": f"{about}\n- a write and its fsync: {number(figures['fsync_ms'])} ms; load average: {figures['load']}",
        "costs": costs(figures),
        "rows": rows(figures),
        "races": races(figures),
        "ends": ends(figures),
    }
    for store in NAMES:
        made[f"grid-{store}"] = grid(figures, store)
        for workers, jobs in BASES:
            made[f"knobs-{store}-{workers}-{jobs}"] = knobs(figures, store, workers, jobs)
    return made


def plots(figures: dict[str, Any]) -> dict[str, str]:
    """Return the page's plots by the names of their files."""
    cpu, late = [], []
    for store, name in NAMES.items():
        for jobs in (10, 1_000):
            points = [(workers, _told(figures, f"{store} {workers} x {jobs}")) for workers in LEGS]
            found = [(workers, told) for workers, told in points if told is not None]
            label = f"{name}, {jobs:,} jobs"
            cpu.append(Line(label, [(workers, told.cpu_ms) for workers, told in found]))
            served = [(workers, told.last_answer_ms) for workers, told in found if told.missed <= 0.001]
            late.append(Line(label, served))
    return {
        "scale-cpu.svg": log_plot("CPU of the store per slot of all jobs, in ms", "workers", cpu),
        "scale-late.svg": log_plot("Until the last worker knows, in ms", "workers", late),
    }


def write(figures: dict[str, Any]) -> None:
    """Write all into the documentation."""
    for name, text in blocks(figures).items():
        write_block(PAGE, name, text)
    for file, text in plots(figures).items():
        PAGE.with_name(file).write_text(text, "utf-8")
