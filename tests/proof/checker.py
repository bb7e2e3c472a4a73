"""
Judges the history of a run: a pure function of the plan and the records, and a program of its own.

    python -m tests.proof.checker FILE

It knows neither the scheduler nor the ledgers. What must not be is a violation: a slot that started twice, a fence
that did not rise, a start that the store has no claim of, an end without a start. What may be must have a cause among
the records: a slot without a start, a claim that nobody began, two runs at once.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from tests.proof import history as h
from tests.proof.causes import WAKING, Causes, Span
from tests.proof.history import Plan, Record

EARLY: Final = 60
"""How early, in ms, a slot may start: a ledger allows 50 ms, and clocks are read in whole milliseconds."""
LATE: Final = 250
"""How much later than its grace, in ms, a slot may start: clocks are up to 150 ms behind."""
ASKING: Final = 1_000
"""How long after a slot's grace, in ms, a worker that was stopped may still ask for it; then it gives it up."""
GIVING_BACK: Final = 120
"""How long, in ms, a worker may take after a run until the store has the lease back."""
BUDGET: Final = 0.6
"""The part of the slots that may be excused; where more are, the run shows nothing, however good each excuse."""


class Violation(NamedTuple):
    """Something that must not be."""

    kind: str
    text: str


@dataclass
class Verdict:
    """What came out for one job."""

    job: str
    violations: list[Violation] = field(default_factory=list)
    starts: int = 0
    not_started: Counter[str] = field(default_factory=Counter)
    """Slots that were claimed and did not start, by cause."""
    not_claimed: Counter[str] = field(default_factory=Counter)
    """Slots that nobody claimed, by cause."""
    budget: int = 0
    """How many slots may be excused, of either kind."""
    overlaps: Counter[str] = field(default_factory=Counter)
    """Runs that began while another was alive, by cause."""
    late: Counter[str] = field(default_factory=Counter)
    """Slots that started after their grace, by cause."""
    lateness: list[int] = field(default_factory=list)
    """Of each start, in ms, sorted."""

    def accuse(self, kind: str, text: str) -> None:
        """Add a violation."""
        self.violations.append(Violation(kind, f"{self.job}: {text}"))

    def doubled(self) -> int:
        """Return how many slots started more than once."""
        return sum(violation.kind == "doubled" for violation in self.violations)

    def excused(self) -> int:
        """Return how many slots did not start, with a cause."""
        return self.not_started.total() + self.not_claimed.total()


class _Run(NamedTuple):
    start: Record
    end: int
    """When nothing of it was alive any more."""
    ended: bool
    """Whether it said so."""


class Judge:
    """Judges one job of a run."""

    def __init__(self, plan: Plan, records: Sequence[Record], causes: Causes, job: str) -> None:
        self._plan = plan
        self._causes = causes
        mine = [record for record in records if record.job == job]
        self._starts = [record for record in mine if record.kind == h.START]
        self._ends = [record for record in mine if record.kind == h.END]
        self._audit = [record for record in mine if record.kind == h.AUDIT]
        self._has_audit = job == h.LEASED
        self._by_slot: defaultdict[int, list[Record]] = defaultdict(list)
        for start in self._starts:
            self._by_slot[start.slot].append(start)
        self.verdict = Verdict(job, starts=len(self._starts))

    def judge(self) -> Verdict:
        """Return what came out."""
        self._judge_starts()
        self._judge_ends()
        if self._has_audit:
            self._judge_audit()
            self._judge_overlaps()
            self._judge_missing()
        self.verdict.lateness = sorted(start.at - start.slot for start in self._starts)
        return self.verdict

    def _judge_starts(self) -> None:
        for slot, starts in self._by_slot.items():
            if len(starts) > 1:
                self.verdict.accuse("doubled", f"slot {slot} started {len(starts)} times: {starts}")
        for start in self._starts:
            if self._has_audit:
                self._judge_time(start)
        for before, after in pairwise(sorted(self._starts, key=lambda start: (start.slot, start.fence))):
            if before.slot < after.slot and before.fence >= after.fence:
                self.verdict.accuse("fence", f"did not rise: {before}, then {after}")

    def _judge_time(self, start: Record) -> None:
        if start.at < start.slot - EARLY:
            self.verdict.accuse("early", f"{start.slot - start.at} ms before its slot: {start}")
        if start.at > start.slot + self._plan.grace + LATE:
            cause = self._causes.of(start.pid, start.slot, start.at)
            if cause is None:
                self.verdict.accuse("late", f"{start.at - start.slot} ms after its slot: {start}")
            else:
                self.verdict.late[cause] += 1

    def _judge_ends(self) -> None:
        begun = Counter((start.slot, start.fence, start.pid) for start in self._starts)
        for end in self._ends:
            begun[end.slot, end.fence, end.pid] -= 1
            if begun[end.slot, end.fence, end.pid] < 0:
                self.verdict.accuse("end", f"without a start: {end}")

    def _judge_audit(self) -> None:
        for before, after in pairwise(self._audit):
            if before.slot >= after.slot:
                self.verdict.accuse("audit", f"the watermark did not rise: {before}, then {after}")
            if before.fence >= after.fence:
                self.verdict.accuse("fence", f"did not rise in the store: {before}, then {after}")
        audited = {(won.slot, won.fence) for won in self._audit}
        for start in self._starts:
            if (start.slot, start.fence) not in audited:
                self.verdict.accuse("audit", f"the store knows of no such claim: {start}")
        for won in self._audit:
            if self._plan.first <= won.slot <= self._plan.last and not self._by_slot[won.slot]:
                self._judge_not_started(won)

    def _judge_not_started(self, won: Record) -> None:
        # A fence is the store's now in ms, or just above: so it tells when the claim was won.
        cause = self._causes.of(won.pid, won.fence - WAKING, won.fence + self._plan.grace)
        if cause is None:
            self.verdict.accuse("not started", f"claimed by a worker that nothing kept from it: {won}")
        else:
            self.verdict.not_started[cause] += 1

    def _runs(self) -> list[_Run]:
        ends = {(end.slot, end.fence, end.pid): end.at for end in self._ends}
        runs = []
        for start in self._starts:
            end = ends.get((start.slot, start.fence, start.pid))
            dead = self._causes.dead.get(start.pid, self._plan.end)
            runs.append(_Run(start, dead if end is None else end, ended=end is not None))
        return sorted(runs, key=lambda run: run.start.at)

    def _judge_overlaps(self) -> None:
        alive: list[_Run] = []
        for run in self._runs():
            alive = [other for other in alive if other.end > run.start.at]
            for other in alive:
                zombie = min(run, other, key=lambda one: one.start.fence)
                self._judge_overlap(zombie.start.pid, max(run, other, key=lambda one: one.start.fence).start)
            alive.append(run)

    def _judge_overlap(self, zombie: int, successor: Record) -> None:
        if any(span.meets(successor.at - WAKING, successor.at) for span in self._causes.paused[zombie]):
            self.verdict.overlaps["paused past its lease"] += 1
        elif self._causes.of_all(successor.at - WAKING, successor.at) == "stall":
            self.verdict.overlaps["stall"] += 1
        else:
            self.verdict.accuse("overlap", f"pid {zombie} was awake when its successor began: {successor}")

    def _judge_missing(self) -> None:
        claimed = {won.slot for won in self._audit}
        held = self._held()
        slots = range(self._plan.first, self._plan.last + 1, self._plan.period)
        for slot in slots:
            if slot in claimed:
                continue
            cause = self._causes.nobody(slot, slot + self._plan.period)
            if cause is None and any(span.meets(slot - EARLY, slot + self._plan.period) for span in held):
                cause = "leased"
            if cause is None:
                self.verdict.accuse("missing", f"slot {slot} was never claimed, and nothing kept everybody from it")
            else:
                self.verdict.not_claimed[cause] += 1
        excused, self.verdict.budget = self.verdict.excused(), int(len(slots) * BUDGET)
        if excused > self.verdict.budget:
            self.verdict.accuse("excuses", f"{excused} of {len(slots)} slots are excused, which shows nothing")

    def _held(self) -> list[Span]:
        """Return when somebody had the lease, or may have had it: a run that could not give it back keeps it."""
        runs = {(run.start.slot, run.start.fence): run for run in self._runs()}
        return [Span(won.fence, self._held_until(won, runs.get((won.slot, won.fence)))) for won in self._audit]

    def _held_until(self, won: Record, run: _Run | None) -> int:
        lease = self._plan.lease
        if run is None:  # asked for again by a worker that has not heard the answer, the lease begins anew each time
            last_ask = min(won.slot + self._plan.grace + ASKING, self._causes.dead.get(won.pid, self._plan.end))
            return max(won.fence, last_ask) + lease
        end = run.end
        causes = set(self._causes.each_of(won.pid, won.fence, end + GIVING_BACK))
        if not run.ended or causes - {"paused"}:
            return end + lease  # it may not have been given back
        # The last renewal was before it was stopped; it gave the lease back after it was let go on.
        pauses = (span for span in self._causes.paused[won.pid] if span.meets(won.fence, end + GIVING_BACK))
        untils = (min(max(span.begin, won.fence) + lease, max(span.end, end) + WAKING) for span in pauses)
        return max(untils, default=end)


def judge(plan: Plan, records: Sequence[Record]) -> tuple[list[Verdict], list[Violation]]:
    """Return what came out for each job, and what concerns none of them."""
    causes = Causes(plan, records)
    verdicts = [Judge(plan, records, causes, job).judge() for job in plan.jobs]
    return verdicts, [
        *(
            Violation("worker", f"ended by itself: {record}")
            for record in records
            if record.kind == h.EXIT and record.pid not in causes.killed and record.note != "0"
        ),
        *(
            Violation("worker", f"did not end when it was told to: {record}")
            for record in records
            if record.kind == h.KILL and record.note
        ),
    ]


def main(arguments: Sequence[str]) -> int:
    """Judge the history of one file; return the exit code."""
    plan, records = h.read(Path(arguments[0]))
    verdicts, others = judge(plan, records)
    for violation in [*others, *(violation for verdict in verdicts for violation in verdict.violations)]:
        print(f"{violation.kind}: {violation.text}")
    return int(bool(others) or any(verdict.violations for verdict in verdicts if verdict.job == h.LEASED))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
