"""
The proof of the cron engine: as many random cases as one has time for, judged by the minute oracle, on two processes.

    python -m tests.cron.prove --cases 200000 --seeds 1

It prints how many cases there were of each kind and what the engine and the oracle disagreed about, and fails if there
was anything. A seed gives the same cases whatever the number of processes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random

from loopcron import cron
from tests.cron.cases import KINDS, Case, Schedule, all_zones, faults, random_cases

PART = 500
"""So many cases have a generator of their own, so that they can be worked on apart."""
SHOWN = 20
"""No more disagreements than this are printed for a seed; their number is."""


@dataclass
class Finding:
    """What came out of some cases."""

    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, other: Finding) -> None:
        self.kinds += other.kinds
        self.faults += other.faults


def engine(line: str, zone: str) -> Schedule:
    """Make the schedule that is judged."""
    return cron(line, tz=zone)


def judge(case: Case) -> list[str]:
    """Judge one case; an error is a fault too."""
    try:
        return faults(case, engine)
    except Exception as error:
        return [f"{case}: {error!r}"]


def prove_part(seed: int, part: int, count: int) -> Finding:
    """Judge the cases of one part."""
    finding = Finding()
    for case in random_cases(Random(f"{seed}/{part}"), count, all_zones()):
        finding.kinds[case.kind] += 1
        finding.faults += judge(case)
    return finding


def prove_seed(pool: ProcessPoolExecutor, seed: int, cases: int) -> Finding:
    """Judge all cases of a seed."""
    counts = [min(PART, cases - begun) for begun in range(0, cases, PART)]
    finding = Finding()
    for result in pool.map(prove_part, [seed] * len(counts), range(len(counts)), counts):
        finding.add(result)
    return finding


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proof; return the exit code."""
    parser = argparse.ArgumentParser(description="Judge the cron engine by the minute oracle.")
    parser.add_argument("--cases", type=int, default=200_000, help="how many for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    failed = False
    with ProcessPoolExecutor(options.processes) as pool:
        for seed in options.seeds:
            begun = time.perf_counter()
            finding = prove_seed(pool, seed, options.cases)
            seconds = time.perf_counter() - begun
            print(f"seed {seed}: {finding.kinds.total()} cases, {len(finding.faults)} disagreements, {seconds:.0f} s")
            for kind in KINDS:
                print(f"  {finding.kinds[kind]:7} {kind}")
            for fault in finding.faults[:SHOWN]:
                print(f"  {fault}")
            sys.stdout.flush()
            failed = failed or bool(finding.faults) or not finding.kinds
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
