"""
The benchmarks of loopcron: every target with its figure and verdict, beside a baseline of the same round.

Run by ``make bench``, and by ``make bench-full`` with all peers. What is measured goes to a file, one line of JSON for
each process that measured, and the verdicts are printed. No verdict makes it fail, for what is fast enough on one
machine is not on another; a benchmark that breaks does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.cases import CASES, Case
from tests.benchmarks.drawing import shown
from tests.benchmarks.rounds import Measured, measure
from tests.benchmarks.targets import GOALS, GROWTH, TARGETS, Goal, Verdict, verdicts


def chosen(only: str) -> tuple[Goal, ...]:
    """Return the goals of these targets, such as ``P10,P11``; of all if it is empty."""
    wanted = {name.strip().upper() for name in only.split(",") if name.strip()}
    unknown = wanted - set(TARGETS)
    if unknown:
        raise SystemExit(f"there is no target {', '.join(sorted(unknown))}; there are {TARGETS[0]} to {TARGETS[-1]}")
    return tuple(goal for goal in GOALS if not wanted or goal.target in wanted)


def needed(goals: Sequence[Goal]) -> list[Case]:
    """Return the cases that these goals are judged by."""
    names = {name for goal in goals for name in (GROWTH if goal.case == "growth" else (goal.case,))}
    return [case for case in CASES if case.name in names]


def line(verdict: Verdict) -> str:
    """Return what is printed of a goal."""
    goal = verdict.goal
    mark = "x" if goal.ratio else ""
    ratio = "" if verdict.ratio is None else f"{shown(verdict.ratio)}x"
    spread = f"[{shown(verdict.least)}..{shown(verdict.most)}]" if verdict.rounds > 1 else ""
    must, aim = ("" if limit is None else f"{shown(limit)}{mark}" for limit in (goal.must, goal.aim))
    cells = f"{shown(verdict.figure)} {goal.unit:2}", ratio, spread, must, aim
    widths = 12, 7, 16, 7, 7
    notes = f"  ({'; '.join(verdict.notes)})" if verdict.notes else ""
    row = " ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{goal.target:4} {goal.what:46} {row}  {verdict.word}{notes}"


def machine() -> dict[str, Any]:
    """Return what the figures depend on; nothing that tells one machine from others of its class."""
    return {
        "kind": "machine",
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()}, {platform.machine()}",
        "cores": os.cpu_count(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="targets, such as P10,P11; all are measured if it is left out")
    parser.add_argument("--rounds", type=int, help="of each case, instead of the number that it has by itself")
    parser.add_argument("--full", action="store_true", help="ask all peers too")
    parser.add_argument("--brief", action="store_true", help="only show that all of it works: one round, few jobs")
    parser.add_argument("--out", type=Path, default=Path("build/bench.jsonl"), help="where the lines of JSON go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    goals = chosen(options.only)
    runs: dict[str, Measured] = {}
    broken: list[str] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", encoding="utf-8", buffering=1) as out:

        def write(record: dict[str, Any]) -> None:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")

        write(machine())
        for case in needed(goals):
            begin = time.monotonic()
            rounds = 1 if options.brief else options.rounds or case.rounds
            runs[case.name], faults = measure(case, rounds, write, full=options.full, brief=options.brief)
            broken += faults
            print(f"{case.name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    found = verdicts(goals, runs)
    if options.brief:  # its figures are of too few jobs to be judged
        print(f"{len(runs)} cases, of which {len(found)} of {len(goals)} goals could be judged.")
    else:
        print(f"{'':51} {'figure':>12} {'ratio':>7} {'rounds':>16} {'must':>7} {'aim':>7}")
        print("\n".join(map(line, found)))
    for fault in broken:
        print(f"BROKEN: {fault}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
