"""
The proof that no slot starts twice: real processes, real stores, and a nemesis; judged by a checker of its own.

    python -m tests.proof --ledger postgres --seeds 1 2 3 --slots 200 --processes 8
    python -m tests.proof --short

Each run goes through the ledger under test and, at the same time and under the same faults, through the wrong
formulations that its store allows, each of which must be convicted. It prints what was done and what came of it, and
fails if a slot started twice, if anything has no cause, or if a wrong formulation got away. A seed makes the same plan
of faults each time; what the machine makes of it differs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

from tests.proof import history as h
from tests.proof.causes import STALLED
from tests.proof.checker import Verdict, Violation, judge
from tests.proof.controls import CONTROLS
from tests.proof.history import Plan, Record
from tests.proof.rig import perform
from tests.proof.workers import LIBRARIES

SHOWN: Final = 20
"""No more violations than this are printed for a run; their number is."""
TRIES: Final = 3
"""How often a run is made in which too little started to show anything, while nothing else is wrong."""
SHORT: Final = {"seeds": [1, 2, 3], "slots": 60, "processes": 6}
LONG: Final = {"seeds": [1], "slots": 200, "processes": 8}
LEASES: Final = {"scheduler": 2_000, "direct": 500}
"""Of how many ms they are; those of the scheduler are its own matter."""
ROW: Final = "{:<9}{:>5}{:>7}{:>8}{:>8}{:>9}{:>8}{:>8}{:>9}{:>13}{:>11}{:>11}{:>9}   {:<18}{:>5}"
HEAD: Final = (
    *("ledger", "seed", "kills", "pauses", "faults", "crashes", "stalls", "starts", "doubles"),
    *("not started", "unclaimed", "excused", "overlaps", "late p50/p90/max", "s"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proof; return the exit code."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that whatever was begun is ended
    is_wanted = options.keep is not None
    keep = options.keep if is_wanted else Path(mkdtemp(prefix="loopcron-proof-"))
    try:
        is_proved = _prove_all(options, keep)
        is_wanted = is_wanted or not is_proved
    finally:
        if not is_wanted:
            rmtree(keep)
    if is_wanted:
        print(f"The histories are in {keep}; judge one again with: python -m tests.proof.checker FILE")
    print("Proved." if is_proved else "NOT proved.")
    return 0 if is_proved else 1


def _prove_all(options: argparse.Namespace, keep: Path) -> bool:
    print(f"{options.slots} slots, {options.processes} processes, through the {options.mode}, seeds {options.seeds}")
    if not LIBRARIES:
        print("libfaketime is not installed: all clocks are right")
    print(ROW.format(*HEAD), flush=True)
    runs = [_prove(options, keep, ledger, seed) for ledger in options.ledger for seed in options.seeds]
    return all(runs)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prove that no slot starts twice.")
    parser.add_argument("--ledger", nargs="+", choices=tuple(CONTROLS), default=list(CONTROLS))
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--slots", type=int, help="how many slots of 150 ms")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--mode", choices=tuple(LEASES), default="scheduler", help="who asks the ledger")
    parser.add_argument("--short", action="store_true", help=f"unless said otherwise: {SHORT}")
    parser.add_argument("--keep", type=Path, help="an existing folder for the histories")
    options = parser.parse_args(arguments)
    for name, value in (SHORT if options.short else LONG).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _prove(options: argparse.Namespace, keep: Path, ledger: str, seed: int) -> bool:
    for _ in range(TRIES):
        violations = _run(options, keep, ledger, seed)
        if {violation.kind for violation in violations} != {"excuses"}:
            return not violations
    return False


def _run(options: argparse.Namespace, keep: Path, ledger: str, seed: int) -> list[Violation]:
    begun = time.monotonic()
    plan = Plan(
        ledger,
        seed,
        (h.LEASED, *CONTROLS[ledger]),
        options.slots,
        options.processes,
        options.mode,
        lease=LEASES[options.mode],
    )
    plan, records = h.read(perform(plan, keep))
    (verdict, *controls), others = judge(plan, records)
    violations = [*others, *verdict.violations]
    print(_row(ledger, seed, records, verdict, time.monotonic() - begun))
    for said in (
        *_causes(verdict),
        *(f"{control.job}: {control.doubled()} doubles in {control.starts} starts" for control in controls),
    ):
        print(f"{'':11}{said}")
    violations += [Violation("control", f"{one.job} was not convicted") for one in controls if not one.doubled()]
    for violation in violations[:SHOWN]:
        print(f"  {violation.kind}: {violation.text}")
    if len(violations) > SHOWN:
        print(f"  and {len(violations) - SHOWN} more")
    sys.stdout.flush()
    return violations


def _row(ledger: str, seed: int, records: Sequence[Record], verdict: Verdict, seconds: float) -> str:
    counts = Counter(record.kind for record in records if record.kind != h.STALL or int(record.note) >= STALLED)
    late = verdict.lateness or [0]
    return ROW.format(
        *(ledger, seed, counts[h.KILL], counts[h.PAUSE], counts[h.FAULT], counts[h.CRASH], counts[h.STALL]),
        *(verdict.starts, verdict.doubled(), verdict.not_started.total(), verdict.not_claimed.total()),
        f"{verdict.excused()} of {verdict.budget}",
        verdict.overlaps.total(),
        f"{late[len(late) // 2]}/{late[len(late) * 9 // 10]}/{late[-1]} ms",
        round(seconds),
    )


def _causes(verdict: Verdict) -> list[str]:
    return [
        f"{what}: " + ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
        for what, causes in (
            ("claimed, not started", verdict.not_started),
            ("never claimed", verdict.not_claimed),
            ("overlaps", verdict.overlaps),
            ("started after its grace", verdict.late),
        )
        if causes
    ]


if __name__ == "__main__":
    sys.exit(main())
