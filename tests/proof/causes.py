"""What befell the workers and the store of a run, as spans of time, and whom it kept from their work."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from tests.proof import history as h
from tests.proof.history import Plan, Record

WAKING: Final = 300
"""How long, in ms, a process may take to be itself again after it was stopped."""
STALLED: Final = 100
"""From how many ms on the machine counts as stalled."""


class Span(NamedTuple):
    """From when to when something was so."""

    begin: int
    end: int

    def meets(self, begin: int, end: int) -> bool:
        """Return whether any moment is in both."""
        return self.begin <= end and begin <= self.end


class Causes:
    """What was done to the workers and the store, as spans of time."""

    def __init__(self, plan: Plan, records: Iterable[Record]) -> None:
        self._plan = plan
        self._end = plan.end + 60_000
        self.dead: dict[int, int] = {}
        """When a worker was gone for certain."""
        self.killed: dict[int, int] = {}
        """When its end began."""
        self.paused: defaultdict[int, list[Span]] = defaultdict(list)
        self.disturbed: defaultdict[str, list[Span]] = defaultdict(list)
        """By path."""
        self.crashed: list[Span] = []
        self.stalled: list[Span] = []
        self.path: dict[int, str] = {}
        self.skew: dict[int, int] = {}
        self.ready: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        self._read(records)

    def _read(self, records: Iterable[Record]) -> None:
        opened: dict[tuple[str, int | str], int] = {}
        for record in records:
            path = record.note.partition(" ")[0]
            self.counts[record.kind] += 1
            match record.kind:
                case h.SPAWN:
                    self.path[record.pid] = path
                    self.skew[record.pid] = int(record.note.partition(" ")[2])
                case h.READY:
                    self.ready[record.pid] = record.at
                case h.KILL:
                    self.killed[record.pid] = record.at
                case h.EXIT:
                    self.dead[record.pid] = record.at
                case h.PAUSE | h.FAULT | h.CRASH:
                    opened[record.kind, record.pid or path] = record.at
                case h.RESUME:
                    self.paused[record.pid].append(Span(opened.pop((h.PAUSE, record.pid)), record.at))
                case h.HEALED:
                    self.disturbed[path].append(Span(opened.pop((h.FAULT, path)), record.at))
                case h.UP:
                    self.crashed.append(Span(opened.pop((h.CRASH, "")), record.at))
                case h.STALL if int(record.note) >= STALLED:
                    self.stalled.append(Span(record.at - int(record.note), record.at))
        for (kind, of), begin in opened.items():  # what was never ended lasts
            if kind == h.PAUSE:
                self.paused[int(of)].append(Span(begin, self.dead.get(int(of), self._end)))
            elif kind == h.FAULT:
                self.disturbed[str(of)].append(Span(begin, self._end))
            else:
                self.crashed.append(Span(begin, self._end))

    def of(self, pid: int, begin: int, end: int) -> str | None:
        """Return what kept this worker from its work in that time, or None."""
        return next(self.each_of(pid, begin, end), None)

    def each_of(self, pid: int, begin: int, end: int) -> Iterator[str]:
        """Yield all that kept this worker from its work in that time."""
        if self.killed.get(pid, self._end) <= end:
            yield "killed"
        if any(span.meets(begin - WAKING, end) for span in self.paused[pid]):
            yield "paused"
        if any(span.meets(begin - self._plan.settling, end) for span in self.disturbed[self.path.get(pid, "")]):
            yield "store fault"
        everybody = self.of_all(begin, end)
        if everybody is not None:
            yield everybody

    def of_all(self, begin: int, end: int) -> str | None:
        """Return what kept everybody from their work in that time, or None."""
        if any(span.meets(begin - self._plan.settling, end) for span in self.crashed):
            return "store crash"
        if any(span.meets(begin, end) for span in self.stalled):
            return "stall"
        return None

    def nobody(self, begin: int, end: int) -> str | None:
        """Return why there was a moment in that time at which no worker could have claimed, or None."""
        reason = self.of_all(begin, end)
        if reason is not None:
            return reason
        edges = {begin, end}
        spans = [span for pid in self.ready for span in self._unable(pid)]
        edges |= {edge for span in spans for edge in span if begin <= edge <= end}
        instants = sorted(edges)
        # Between two edges nothing changes, so the middle stands for all of it.
        return next(("no worker able" for a, b in pairwise(instants) if not self._anybody((a + b) / 2)), None)

    def _anybody(self, instant: float) -> bool:
        return any(not any(span.begin <= instant <= span.end for span in self._unable(pid)) for pid in self.ready)

    def _unable(self, pid: int) -> list[Span]:
        if self.skew.get(pid, 0) > self._plan.period:  # its clock has it pass slots that have not come
            return [Span(0, self._end)]
        spans = [Span(0, self.ready[pid]), Span(min(self._down(pid), self._end), self._end)]
        spans += [Span(begin, end + WAKING) for begin, end in self.paused[pid]]
        spans += [Span(begin, end + self._plan.settling) for begin, end in self.disturbed[self.path.get(pid, "")]]
        return spans

    def _down(self, pid: int) -> int:
        return min(self.killed.get(pid, self._end), self.dead.get(pid, self._end))
