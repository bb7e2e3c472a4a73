"""What is aimed at: a table of goals, and what a set of rounds says of each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.benchmarks.cases import BY_NAME
from tests.benchmarks.gauges import is_quiet

PACE = 1.25
"""A machine that is so much slower or faster than where a goal in absolute terms was set is worth a note."""
OVER = "over:"
"""Before the name of a figure: by how much it is above the baseline's."""

Round = Mapping[str, Mapping[str, float]]
"""The figures of each contender."""
Runs = Mapping[str, Sequence[Round]]
"""The rounds of each case."""


@dataclass(frozen=True)
class Goal:
    """One line of a target."""

    target: str
    what: str
    case: str
    figure: str
    """Its name; see `OVER`."""
    unit: str
    must: float | None
    aim: float | None
    """None: there is none, the line tells more."""
    ratio: bool = False
    """Whether the ratio to the baseline is judged, not the figure."""
    reference: float | None = None
    """What the baseline took where a figure in absolute terms was aimed at: how fast that machine was."""
    contender: str = "loopcron"
    beside: str = ""
    """The baseline, where it is not the case's own."""


GROWTH = {"burst, 1k": 1_000, "burst, 10k": 10_000, "burst, 100k": 100_000}
"""The cases that growth is reckoned from, and how many jobs each has."""


def _claim(store: str, case: str) -> tuple[Goal, Goal]:
    beside = "bare statement, from a thread"
    return (
        Goal("P15", f"a claim in {store}, the median", case, "p50_ms", "ms", 1.5, None, ratio=True),
        Goal("P15", "the same, beside that from a thread", case, "p50_ms", "ms", None, None, ratio=True, beside=beside),
    )


# fmt: off - a table
GOALS = (
    Goal("P1", "a run that suspends, 10k at once", "burst, 10k suspending", "cpu_us", "µs", 2.2, 1.5, ratio=True),
    Goal("P2", "a run that never suspends, 1k at once", "burst, 1k", "cpu_us", "µs", 1.35, 1.1, ratio=True),
    Goal("P2", "a run that never suspends, 10k at once", "burst, 10k", "cpu_us", "µs", 1.35, 1.1, ratio=True),
    Goal("P2", "a run that never suspends, 100k at once", "burst, 100k", "cpu_us", "µs", 1.35, 1.1, ratio=True),
    Goal(
        "P3",
        "lateness of 99 of 100, 1k at random",
        "lateness, 1k at random",
        "p99_ms",
        "ms",
        1.15,
        1.08,
        ratio=True,
    ),
    Goal(
        "P3", "lateness of 99 of 100, 10k at random", "lateness, 10k at random", "p99_ms", "ms", 1.15, 1.08, ratio=True
    ),
    Goal(
        "P4",
        "lateness of 99 of 100, 1k on one second",
        "lateness, 1k on the second",
        "p99_ms",
        "ms",
        3,
        1.5,
        ratio=True,
    ),
    Goal("P5", "wake-ups in 30 s, 10k far-off jobs", "idle", "wakes_per_30s", "", 1, 1),
    Goal("P5", "CPU a minute, more than the bare loop", "idle", "over:cpu_ms_per_min", "ms", None, 1),
    Goal("P6", "to add and start a job, of 10k", "adding", "cpu_us", "µs", 5, 3),
    Goal("P6", "of it, to make and add a job", "adding", "added_us", "µs", None, None),
    Goal("P7", "memory of a job before its first run", "memory", "bytes", "B", 500, 420),
    Goal("P7", "memory of a job with a history of 20 runs", "history", "bytes", "B", 5_000, 4_500),
    Goal("P7", "memory of a job with 20 runs that failed", "history", "failed_bytes", "B", None, None),
    Goal("P8", "growth of a burst, 1k to 100k: exponent", "growth", "exponent", "", 1.15, 1.1),
    Goal("P9", "import loopcron", "import", "cpu_ms", "ms", 1.5, 1.15, ratio=True),
    Goal(
        "P9",
        "import of the names that an app takes",
        "import",
        "cpu_ms",
        "ms",
        None,
        None,
        ratio=True,
        contender="loopcron, its names",
    ),
    Goal("P10", "next slot of */5, UTC", "cron lines", "every5_utc_us", "µs", 5, 4, reference=6.5),
    Goal("P10", "next slot of */5, New York", "cron lines", "every5_new_york_us", "µs", 9, 7, reference=11.2),
    Goal("P11", "next 29 February, UTC", "cron lines", "leap_day_us", "µs", 60, 10, reference=150),
    Goal("P11", "next slot of MON-FRI, UTC", "cron lines", "weekdays_us", "µs", 8, 5, reference=24.4),
    Goal("P12", "to read a cron line, the costliest", "cron lines", "read_us", "µs", 30, 15, reference=11),
    Goal("P12", "to refuse a line without slots, the costliest", "cron lines", "refuse_us", "µs", None, None),
    Goal("P13", "a request in process", "request in process", "cpu_us", "µs", 60, 30, reference=20.3),
    Goal("P14", "a request over a new loopback connection", "request over loopback", "cpu_us", "µs", 3, 2, ratio=True),
    *_claim("SQLite", "claim, sqlite"),
    *_claim("PostgreSQL", "claim, postgres"),
    *_claim("Redis", "claim, redis"),
    Goal("P15", "a slot in a batch of 1,000, SQLite", "claim, sqlite", "batch_us", "µs", None, None),
    Goal("P15", "a slot in a batch of 1,000, PostgreSQL", "claim, postgres", "batch_us", "µs", None, 20),
    Goal("P15", "a slot in a batch of 1,000, Redis", "claim, redis", "batch_us", "µs", None, None),
    Goal("P16", "a simulated year of every(minutes=15)", "simulated year", "every_s", "s", 0.5, 0.15),
    Goal("P16", "a simulated year of a cron line in Berlin", "simulated year", "cron_s", "s", None, None),
    Goal("P16", "a simulated year with an outage a month", "simulated year", "outages_s", "s", None, None),
    Goal("P16", "a simulated year of a clock with a history", "simulated year", "clock_s", "s", None, None),
    Goal("P17", "a tick with 100k overdue slots, every", "overdue slots", "every_ms", "ms", 10, 0.1),
    Goal("P17", "a tick with 100k overdue slots, cron", "overdue slots", "cron_ms", "ms", 10, 0.1),
    Goal("P17", "a tick with 100k overdue slots, own schedule", "overdue slots", "own_schedule_ms", "ms", None, None),
    Goal("P18", "longest turn of the loop, 100k at once", "burst, 100k", "block_ms", "ms", 50, 10),
    Goal("P18", "of it, collecting garbage", "burst, 100k", "block_collecting_ms", "ms", None, None),
    Goal("P18", "longest turn, collections left out", "burst, 100k", "block_apart_ms", "ms", None, None),
    Goal("P18", "longest turn of the bare loop", "burst, 100k", "block_ms", "ms", None, None, contender="call_at"),
    Goal(
        "P18", "of it, collecting garbage", "burst, 100k", "block_collecting_ms", "ms", None, None, contender="call_at"
    ),
)
# fmt: on
TARGETS = tuple(dict.fromkeys(goal.target for goal in GOALS))


@dataclass(frozen=True)
class Verdict:
    """What the rounds say of a goal."""

    goal: Goal
    figure: float
    """The median."""
    ratio: float | None
    """The median of the ratios to the baseline, each within its round."""
    least: float
    most: float
    """Of what is judged, over the rounds."""
    rounds: int
    notes: tuple[str, ...]

    @property
    def judged(self) -> float:
        """What is compared with the goal."""
        return self.ratio if self.goal.ratio and self.ratio is not None else self.figure

    @property
    def word(self) -> str:
        """Say how it went."""
        goal = self.goal
        if goal.aim is not None and self.judged <= goal.aim:
            return "met the aim"
        if goal.must is not None:
            return "met" if self.judged <= goal.must else "missed"
        return "" if goal.aim is None else "aim missed"


class Taken(NamedTuple):
    """One round, as far as it is about one goal."""

    value: float
    base: float | None


def judge(goal: Goal, runs: Runs) -> Verdict | None:
    """Return what the rounds say of *goal*; None if its case was not measured."""
    notes = []
    if goal.case == "growth":
        taken = list(_grown(goal, runs))
    else:
        rounds = rounds_of(goal.case, goal.contender, runs)
        quiet = quiet_ones(goal.case, goal.contender, rounds)
        if len(quiet) < len(rounds):
            notes.append(f"{len(quiet)} of {len(rounds)} rounds quiet" + ("" if quiet else ": doubtful"))
        taken = list(_taken(goal, quiet or rounds))
    if not taken:
        return None
    values = [each.value for each in taken]
    bases = [each.base for each in taken if each.base is not None]
    if goal.reference is not None and bases:
        speed = statistics.median(bases) / goal.reference
        if not 1 / PACE <= speed <= PACE:
            notes.append(f"the baseline took {speed:.2g} times what it took where the goal was set")
    ratios = [each.value / each.base for each in taken if each.base]
    judged = ratios if goal.ratio and ratios else values
    return Verdict(
        goal,
        statistics.median(values),
        statistics.median(ratios) if ratios else None,
        min(judged),
        max(judged),
        len(taken),
        tuple(notes),
    )


def rounds_of(case: str, contender: str, runs: Runs) -> list[Round]:
    """Return the rounds in which this contender was measured."""
    return [each for each in runs.get(case, ()) if contender in each]


def quiet_ones(case: str, contender: str, rounds: Sequence[Round]) -> list[Round]:
    """Return those that count: where time on the wall is measured, others must have let it and the baseline alone."""
    if not BY_NAME[case].wall:
        return list(rounds)
    baseline = BY_NAME[case].contenders[0]
    return [each for each in rounds if is_quiet(each[contender], each.get(baseline, {}))]


def _taken(goal: Goal, rounds: Sequence[Round]) -> Iterator[Taken]:
    baseline = goal.beside or BY_NAME[goal.case].contenders[0]
    name = goal.figure.removeprefix(OVER)
    for each in rounds:
        own = each[goal.contender][name]
        base = each.get(baseline, {}).get(name) if baseline != goal.contender else None
        yield Taken(own - (base or 0.0), None) if goal.figure.startswith(OVER) else Taken(own, base)


def _grown(goal: Goal, runs: Runs) -> Iterator[Taken]:
    for own, base in zip(exponents(runs, goal.contender), exponents(runs, "call_at"), strict=False):
        yield Taken(own, base)


def exponents(runs: Runs, contender: str) -> list[float]:
    """Return for each round how the CPU time of a burst grows: as its size to the power of this."""
    sizes = [math.log(size) for size in GROWTH.values()]
    found = []
    for together in zip(*(runs.get(case, ()) for case in GROWTH), strict=False):
        costs = [each[contender]["cpu_us"] for each in together if contender in each]
        if len(costs) == len(sizes):
            totals = [math.log(cost * jobs) for cost, jobs in zip(costs, GROWTH.values(), strict=True)]
            found.append(statistics.linear_regression(sizes, totals).slope)
    return found


def verdicts(goals: Sequence[Goal], runs: Runs) -> list[Verdict]:
    """Return what the rounds say of those goals that they say anything of."""
    return [verdict for verdict in (judge(goal, runs) for goal in goals) if verdict is not None]
