"""Judging what several workers wrote down: whether each slot ran once and fences rose, and why a slot is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

LEASE_MS = 2000
"""How long the lease of a killed worker may keep others from running the job."""
MARGIN_MS = 100
"""How much a line of the log may lag behind what it tells."""

Line = Mapping[str, Any]


@dataclass
class Verdict:
    """What became of the slots that were judged."""

    ran: Counter[str] = field(default_factory=Counter)
    """How many slots of each job ran."""
    missing: dict[tuple[str, int], str] = field(default_factory=dict)
    """Why a slot did not run, where that is nobody's fault."""
    faults: list[str] = field(default_factory=list)
    """What may not be."""


@dataclass(frozen=True)
class History:
    """
    What happened.

    Args:
        log: What the workers wrote down; instants in ms from the epoch.
        deaths: When which worker was killed.
        since: From when on slots are judged; all workers have told of a slot.
        until: Up to when; all that became of these slots has been written down.
        period: Of each job, in ms.
        phases: Of each job, likewise.
    """

    log: Sequence[Line]
    deaths: Mapping[int, float]
    since: float
    until: float
    period: int
    phases: Mapping[str, int]

    def of(self, event: str, job: str) -> list[Line]:
        """Return the lines about *job* that tell of this *event*."""
        return [line for line in self.log if line["event"] == event and line["job"] == job]

    def slots(self, job: str) -> range:
        """Return the slots that are judged."""
        first = -(-(self.since - self.phases[job]) // self.period)
        return range(int(first * self.period) + self.phases[job], int(self.until), self.period)

    def up_at(self, instant: float) -> list[int]:
        """Return who was alive then and had told of an earlier slot; for others this one may have been too early."""
        ups: dict[int, float] = {}
        for line in self.log:
            if line["event"] == "Settled":
                ups.setdefault(line["pid"], line["at"])
        return [pid for pid, up in ups.items() if up < instant < self.deaths.get(pid, instant + 1)]

    def settled_at(self, job: str, slot: int, pid: int) -> float | None:
        """Return when this worker knew what became of the slot."""
        ends = (line["at"] for line in self.of("Settled", job) if line["slot"] == slot and line["pid"] == pid)
        return next(ends, None)


def judge(history: History) -> Verdict:
    """Return what became of the slots of all jobs."""
    verdict = Verdict()
    for job in history.phases:
        starts = history.of("start", job)
        times = Counter(line["slot"] for line in starts)
        begun = Counter(line["slot"] for line in history.of("RunStarted", job) if line["attempt"] == 1)
        for slot, count in (times | begun).items():
            if count > 1:
                verdict.faults.append(f"{job} {slot} ran {count} times")
        fences = [line["fence"] for line in sorted(starts, key=lambda line: line["slot"])]
        if any(after <= before for before, after in pairwise(fences)):
            verdict.faults.append(f"the fences of {job} do not rise: {fences}")
        for slot in history.slots(job):
            if times[slot]:
                verdict.ran[job] += 1
                continue
            said = {pid: _said(history, job, slot, pid) for pid in history.up_at(slot)}
            excuse = _excuse(history, job, slot, said)
            if excuse is None:
                verdict.faults.append(f"{job} {slot} did not run: {said}")
            else:
                verdict.missing[job, slot] = excuse
    return verdict


def _excuse(history: History, job: str, slot: int, said: Mapping[int, str]) -> str | None:
    """Return why the slot did not run; None: there is no excuse."""
    for line in history.of("RunStarted", job):
        if line["slot"] == slot:
            return "a worker was killed that ran or served it" if _was_cut(history, job, line) else None
    answers = set(said.values())
    asleep = all(text in {"late", "store"} or _stood_still(history, slot, pid) for pid, text in said.items() if text)
    if not answers <= {"", "taken", "held", "late", "store"}:
        return None
    if any(not text and pid not in history.deaths for pid, text in said.items()):
        return None
    if "held" in answers and _is_running(history, job, slot):
        return "a run was late, and still under way"
    if "held" in answers:
        until = _left_until(history, job, slot)
        # A slot is asked for once more when the lease ends, if that is still within its grace of one period.
        is_held = slot + history.period <= until + MARGIN_MS or (slot < until and asleep)
        return "held by the lease of a killed worker" if is_held else None
    if answers & {"late", "store"}:
        return "nobody was awake, or the store was not" if asleep else None
    return "claimed by a worker that was killed" if _claimants(history, job, slot) else None


def _said(history: History, job: str, slot: int, pid: int) -> str:
    """Return what became of the slot for one worker; nothing if it did not say."""
    for line in history.of("Settled", job):
        if line["pid"] == pid and line["first"] <= slot <= line["slot"]:
            if line["outcome"] == "Taken":
                return "taken"
            if "'overlap'" in line["text"]:
                return "held"
            if "'ledger'" in line["text"]:
                return "store"
            if line["outcome"] == "Missed" and _stood_still(history, slot, pid):
                return "late"
            return str(line["text"])
    return ""


def _stood_still(history: History, slot: int, pid: int) -> bool:
    """Say whether the worker's event loop did not turn for a while when the slot could have begun."""
    stalls = (line for line in history.log if line["event"] == "stall" and line["pid"] == pid)
    return any(line["since"] <= slot + history.period and line["at"] >= slot for line in stalls)


def _was_cut(history: History, job: str, begun: Line) -> bool:
    """Say whether a worker was killed while the run was under way: who ran it, or perhaps who served its request."""
    settled = history.settled_at(job, begun["slot"], begun["pid"])
    if settled is None:
        return begun["pid"] in history.deaths
    return any(begun["at"] - MARGIN_MS <= at <= settled + MARGIN_MS for at in history.deaths.values())


def _claimants(history: History, job: str, slot: int) -> list[int]:
    """Return who was killed when the slot was due, before it said what became of it: it may have claimed it."""
    due = range(slot, slot + history.period + MARGIN_MS)
    killed = [pid for pid in history.up_at(slot) if round(history.deaths.get(pid, 0)) in due]
    return [pid for pid in killed if not _said(history, job, slot, pid)]


def _left_until(history: History, job: str, slot: int) -> float:
    """Return until when, at the latest, the lease of a killed worker may hold up the slot; 0: none does."""
    ends = [0.0]
    for line in history.of("RunStarted", job):
        death = history.deaths.get(line["pid"])
        settled = history.settled_at(job, line["slot"], line["pid"])
        # What became of a run is on its way to the store when it is written down here.
        if line["slot"] < slot and death is not None and (settled is None or death < settled + history.period / 2):
            is_renewed = death - line["at"] > LEASE_MS / 3
            ends.append((death if is_renewed else line["at"]) + LEASE_MS)
    for earlier in range(slot - LEASE_MS - history.period, slot, history.period):
        ends += [history.deaths[pid] + LEASE_MS for pid in _claimants(history, job, earlier)]
    return max(ends)


def _is_running(history: History, job: str, slot: int) -> bool:
    """Say whether a run of an earlier slot was under way at the slot, or its end was still on its way to the store."""
    for line in history.of("RunStarted", job):
        settled = history.settled_at(job, line["slot"], line["pid"])
        if line["slot"] < slot and settled is not None and settled + history.period / 2 > slot:
            return True
    return False
