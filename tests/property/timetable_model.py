"""
A dumb model of the timetable, told as the design tells it: docs/design.md, sections 5 to 7, and the tables of policies.

It lists slots and looks at every job at every turn; it has no heap, no laziness and no schedule of ours.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from loopcron._events import CancelledBy
from loopcron._instants import from_ms, to_ms
from loopcron._outcomes import (
    Failed,
    Interrupted,
    Missed,
    Outcome,
    Reason,
    Skipped,
    SkipReason,
    Succeeded,
    Taken,
    TimedOut,
)
from loopcron._policies import Policy
from loopcron._tables import CATCH_UP_TABLE, OVERLAP_TABLE, Lateness, Occupancy, Verdict

START = 1_772_323_207_123
HOUR = 3_600_000
DAY = 24 * HOUR
LIES = ("raises", "past", "same", "naive", "fraction", "contradicts")
Seen = tuple[object, ...]
"""One action, as both sides tell it."""


class Moody:
    """A user's schedule: it works, raises or lies as its mood says, and counts how often it is asked."""

    def __init__(self, interval: int, mood: str) -> None:
        self.interval = interval
        self.mood = mood
        self.asked = 0

    def next_after(self, instant: datetime) -> datetime | None:
        self.asked += 1
        slot = from_ms((to_ms(instant) // self.interval + 1) * self.interval)
        match self.mood:
            case "raises":
                raise RuntimeError("no schedule today")
            case "past":
                return instant - timedelta(seconds=1)
            case "same":
                return instant
            case "naive":
                return slot.replace(tzinfo=None)
            case "fraction":
                return slot + timedelta(microseconds=1)
            case _:
                return slot

    def latest_until(self, instant: datetime) -> datetime | None:
        self.asked += 1
        slot = from_ms(to_ms(instant) // self.interval * self.interval)
        match self.mood:
            case "raises":
                raise RuntimeError("no schedule today")
            case "past" | "same":
                return instant + timedelta(hours=1)
            case "naive":
                return slot.replace(tzinfo=None)
            case "fraction":
                return slot + timedelta(microseconds=1)
            case "contradicts":
                return None
            case _:
                return slot


@dataclass(eq=False)
class ModelRun:
    """A run as the design tells it."""

    slot: int
    reason: Reason
    key: str | None
    started: int
    deadline: int | None
    limit: int
    """Before this an attempt may begin."""
    attempt: int = 1
    waits_until: int | None = None
    failure: Outcome | None = None
    cut_by: CancelledBy | None = None
    cut_at: int = 0
    refused: int = 0
    obeyed: int = 0
    retried: int = 0


class ModelWaiter(NamedTuple):
    """A slot, or a manual run, that waits for the end of its job's runs."""

    slot: int
    reason: Reason
    period: int
    key: str | None


@dataclass(eq=False)
class ModelClaim:
    """A slot that the ledger has not decided yet."""

    slot: int
    reason: Reason
    period: int
    first: int
    """When it was asked first."""
    again: int | None = None
    """When the ledger is asked again; None: its answer is awaited."""
    failures: int = 0


def grace_end(job: ModelJob, claim: ModelClaim) -> int:
    """Return until when the ledger is asked again: what was late when it was asked first has its grace from then on."""
    grace = min(claim.period, HOUR)
    if isinstance(job.policy.misfire_grace, timedelta):
        grace = in_ms(job.policy.misfire_grace)
    due = claim.slot + job.policy.jitter_ms(job.name, claim.slot, claim.period)
    return grace + (due if claim.reason == "schedule" else claim.first)


@dataclass(eq=False)
class ModelJob:
    """A job as the design tells it."""

    name: str
    slots: Sequence[int]
    """All that it names; a list where its schedule has no arithmetic to count them with."""
    policy: Policy
    added: int
    moody: Moody | None
    from_start: bool
    paused: bool
    countable: bool
    """Whether arithmetic counts its slots; if not, none are counted beyond a hundred."""
    registering: bool = True
    asks_again: int | None = None
    """When a parked job, or a registration that failed, is tried again."""
    parked: bool = False
    faults: int = 0
    next: int | None = None
    skips: int | None = None
    """The slot that somebody asked to skip."""
    claim: ModelClaim | None = None
    waiter: ModelWaiter | None = None
    stands: Literal["slot", "waiter"] | None = None
    """What of it stands in line."""
    catching: bool = False
    """Whether passed slots are caught up one after the other, as judged last."""
    stood: bool = False
    """Whether its next slot stood in line and was not judged since: what passes then has passed for the limit."""
    runs: list[ModelRun] = field(default_factory=list)
    stuck: int = 0
    failures: int = 0
    removed: bool = False
    has_lied: bool = False
    end: int | None = None
    newest: int | None = None
    """The newest slot that was handed out, or the correction after which slots count anew; None: none yet."""
    corrected: int | None = None
    """The corrected now, while the ledger is still to be asked."""
    void: bool = False
    """Whether the answer on its way was asked for before the correction."""
    since: int | None = None
    """After which instant slots count; None: the ledger has not said it yet."""
    handed: list[tuple[int, int]] = field(default_factory=list)
    """First and last of all that was claimed, that waits or was settled since then, in that order."""

    def hand(self, first: int, last: int) -> None:
        self.handed.append((first, last))
        self.newest = last

    @property
    def is_broken(self) -> bool:
        return self.moody is not None and self.moody.mood not in ("works", "contradicts")

    @property
    def contradicts(self) -> bool:
        return self.moody is not None and self.moody.mood == "contradicts"

    def after(self, instant: int) -> int | None:
        position = bisect_right(self.slots, instant)
        return self.slots[position] if position < len(self.slots) else None

    def until(self, instant: int) -> int | None:
        position = bisect_right(self.slots, instant)
        return self.slots[position - 1] if position else None

    def within(self, first: int, last: int) -> Sequence[int]:
        return self.slots[bisect_left(self.slots, first) : bisect_right(self.slots, last)]

    def counted(self, first: int, last: int) -> int | None:
        held = len(self.within(first, last))
        return held if self.countable or held <= 100 else None

    def due_of(self, slot: int) -> int:
        """When a slot is due: at its instant, or later by its jitter."""
        following = self.after(slot)
        return slot + self.policy.jitter_ms(self.name, slot, None if following is None else following - slot)

    @property
    def alive(self) -> int:
        """How many places it takes."""
        return len(self.runs) + (self.claim is not None)

    @property
    def occupancy(self) -> Occupancy:
        if self.waiter is not None:
            return Occupancy.FULL
        waits_for_store = self.claim is not None and self.claim.again is not None
        alive = self.alive - waits_for_store
        if not alive:
            return Occupancy.FREE
        return Occupancy.FULL if self.policy.overlap == "allow" and alive >= self.most else Occupancy.BUSY

    @property
    def most(self) -> int:
        """How many runs may be alive at once."""
        if self.policy.overlap != "allow":
            return 1
        return 10 if self.policy.max_running is None else self.policy.max_running

    @property
    def catches_up(self) -> bool:
        """Whether passed slots are to be caught up and a run is alive, so that all slots wait for its end."""
        return self.catching and bool(self.runs)

    @property
    def owed(self) -> list[int]:
        """Since when it owes each of its outcomes; what waits for a run to end, or for a place, is not owed yet."""
        owed = [run.started if run.reason == "catch_up" else run.slot for run in self.runs if run.key is None]
        if self.claim is not None and self.claim.reason != "catch_up":
            owed.append(self.claim.slot)
        following = self.first if self.registering and self.next is None else self.next
        if following is not None and not (self.stood or (self.catching and self.alive)):
            owed.append(following)
        return owed

    @property
    def first(self) -> int | None:
        """The first slot of a job that the ledger has not answered yet, and may never answer."""
        begin = self.added if self.newest is None else self.newest
        return None if self.is_broken else self.after(begin if self.corrected is None else self.corrected)

    @property
    def skippable(self) -> int | None:
        return None if self.paused else self.next

    def gap(self, slot: int | None) -> int:
        """The period: an hour where there is no next slot, or nobody can say."""
        following = None if slot is None or self.is_broken else self.after(slot)
        return HOUR if slot is None or following is None else following - slot


class Model:
    """All jobs, and what is to be asked for."""

    def __init__(self, startup_delay: int, max_running: int | None = None) -> None:
        self.now = START
        self.max_running = max_running
        self.line: list[ModelJob] = []
        """Who waits for a place; the first one gets the next."""
        self.release = START + startup_delay
        self.jobs: list[ModelJob] = []
        """Removed ones too: their runs and claims are still to end."""
        self.stopping = False
        self.drain_at: int | None = None
        self.out: list[Seen] = []

    # --- facts

    def add(self, job: ModelJob) -> None:
        self.jobs.append(job)
        self.ask_to_register(job)

    def ask_to_register(self, job: ModelJob) -> None:
        if job.newest is not None:
            job.asks_again = None
            self.out.append(("register", job.name, job.corrected, True))
            return
        if job.policy.run_on_start and job.is_broken:
            self.park(job)
            return
        newest = None
        if job.policy.run_on_start and not job.contradicts:
            newest = job.until(job.added)
        job.asks_again = None
        watermark = None if newest is None else newest - 1
        if watermark is None and job.from_start:
            watermark = job.added - 1
        self.out.append(("register", job.name, watermark, job.corrected is not None))

    def registered(self, job: ModelJob, watermark: int | None) -> None:
        if job.removed or not job.registering or self.stopping:
            return
        if job.void:
            self.register_again(job)
        elif watermark is None:
            job.faults += 1
            job.asks_again = self.now + min(backoff(job.faults), 10_000)
        elif job.is_broken:
            self.park(job)
        else:
            has_begun = job.newest is not None
            if not has_begun:
                job.since = min(watermark, self.now)
            begin = job.corrected if has_begun and job.corrected is not None else min(watermark, self.now)
            if job.next is None:
                job.next = job.after(begin)
            job.newest = job.corrected if has_begun else None
            job.corrected = None
            job.registering = False
            self.works_again(job)
            job.faults = 0
            if job.next is None and not has_begun:
                self.out.append(("ended", job.name, job.until(begin), False))

    def register_again(self, job: ModelJob) -> None:
        job.registering = True
        job.void = False
        self.ask_to_register(job)

    def remove(self, job: ModelJob) -> None:
        self.look(job)
        self.withdraw(job, Skipped("removed"))
        self.leave_line(job)
        self.end_waiter(job, Skipped("removed"))
        self.close(job, "removed")
        job.removed = True
        if not self.stopping:
            job.end = self.now
        for run in list(job.runs):
            self.cut(job, run, "remove")

    def pause(self, job: ModelJob) -> None:
        if not job.paused:
            self.look(job)
            self.withdraw(job, Skipped("paused"))
            self.leave_line(job)
            if job.waiter is not None and job.waiter.key is None:
                self.end_waiter(job, Skipped("paused"))
            job.paused = True
            self.out.append(("paused", job.name))

    def resume(self, job: ModelJob) -> None:
        if job.paused:
            self.close(job, "resumed")
            job.paused = False
            self.out.append(("resumed", job.name))

    def skip_next(self, job: ModelJob) -> None:
        job.skips = job.skips if job.skippable is None else job.skippable

    def trigger(self, job: ModelJob, key: str) -> None:
        run = ModelWaiter(self.now, "manual", job.gap(job.next), key)
        verdict = OVERLAP_TABLE[job.policy.overlap, job.occupancy]
        if verdict is Verdict.RUN:
            self.begin(job, run.slot, "manual", run.period, key)
        else:
            self.give_way(job, verdict, run)

    def answered(self, job: ModelJob, answer: str) -> None:
        claim = job.claim
        assert claim is not None
        slot, reason, period = claim.slot, claim.reason, claim.period
        if answer == "unavailable" and not (job.removed or self.stopping):
            claim.failures += 1
            claim.again = self.now + min(100 << (claim.failures - 1), 10_000)
            if claim.again <= grace_end(job, claim) and not job.paused and job.corrected is None:
                return
            if claim.again <= grace_end(job, claim) and job.paused:
                answer = "paused"
        job.claim = None
        replaced = job.waiter is not None and job.policy.overlap == "replace"
        if answer == "won" and (job.removed or self.stopping or replaced):
            ended = Interrupted("shutdown") if self.stopping else Interrupted("replace")
            outcome: Outcome = Skipped("removed") if job.removed else ended
            self.settle(job, slot, outcome, reason)
            self.out.append(("finish", job.name, slot, outcome))
        elif answer == "won":
            self.begin(job, slot, reason, period, None)
        else:
            others: dict[str, Outcome] = {"lost": Taken(), "paused": Skipped("paused")}
            self.settle(job, slot, others.get(answer, Skipped("ledger")), reason)
        if job.corrected is not None and not (job.removed or self.stopping):
            self.register_again(job)

    def unstuck(self, job: ModelJob) -> None:
        job.stuck -= 1
        self.out.append(("unstuck", job.name))

    def ended(self, job: ModelJob, run: ModelRun, outcome: Outcome | None) -> None:
        if outcome is None and run.cut_by is None:  # somebody else cancelled it
            stray: Outcome = Interrupted("shutdown") if self.stopping else Failed("job", "cancelled inside")
            outcome = stray
        early = outcome == Skipped("no_address") and self.now < self.release + 10_000
        if (early or isinstance(outcome, Failed)) and run.cut_by is None and not self.stopping:
            wait = self.wait_before_repeating(job, run, outcome)
            if wait is not None and self.now + wait < run.limit:
                run.waits_until, run.failure = self.now + wait, outcome
                self.out.append(("attempt failed", job.name, run.slot, run.attempt, wait))
                return
        if outcome is None:
            self.finish(job, run, self.cut_outcome(run))
        elif self.stopping and isinstance(outcome, Failed) and outcome.blame in ("endpoint", "transport"):
            self.finish(job, run, Interrupted("shutdown"))
        else:
            self.finish(job, run, outcome)

    def wait_before_repeating(self, job: ModelJob, run: ModelRun, failed: Outcome | None) -> int | None:
        retry = job.policy.retry
        if not isinstance(failed, Failed) or not failed.started:
            run.refused += 1
            return min(5_000, 50 << (run.refused - 1))
        if failed.retry_after_seconds is not None and run.obeyed < 3:
            run.obeyed += 1
            return math.ceil(failed.retry_after_seconds * 1000)
        if retry is None or run.retried + 1 >= retry.attempts or retry.on.isdisjoint({failed.status, failed.blame}):
            return None
        run.retried += 1
        return retry.delay_ms(run.retried, run.key or f"{job.name}@{run.slot}")

    def step(self, by: int) -> None:
        self.release += by
        self.drain_at = None if self.drain_at is None else self.drain_at + by
        for job in self.jobs:
            job.asks_again = None if job.asks_again is None else job.asks_again + by
            if job.claim is not None:
                job.claim.first += by
                job.claim.again = None if job.claim.again is None else job.claim.again + by
            for run in job.runs:
                run.started += by
                run.limit += by
                run.cut_at += by
                run.deadline = None if run.deadline is None else run.deadline + by
                run.waits_until = None if run.waits_until is None else run.waits_until + by
        self.out.append(("stepped", by))
        if by <= -3 * HOUR and not self.stopping:
            for job in self.jobs:
                if not job.removed:
                    self.correct(job, by)

    def correct(self, job: ModelJob, by: int) -> None:
        """Slots after now count anew; those up to now that wait for their outcome still do."""
        if not job.has_lied:
            check_cover(job)
        self.withdraw(job, Skipped("ledger"))
        has_begun = job.newest is not None
        newest = job.handed[-1][1] if job.handed else job.since
        job.since = min(self.now, newest) if has_begun and newest is not None else None
        job.handed = []
        job.corrected = self.now if job.corrected is None else min(self.now, job.corrected)
        if job.skips != job.next:
            job.skips = None
        if job.waiter is not None and job.waiter.key is None:
            self.leave_line(job)
            self.end_waiter(job, Skipped("overlap"))
        if not has_begun or (job.next is not None and job.next > self.now):
            self.leave_line(job)
            job.next = None
        if job.added > self.now:
            job.added += by
            if isinstance(job.slots, range) and job.from_start:
                job.slots = range(job.slots.start + by, job.slots.stop + by, job.slots.step)
        if job.registering:
            job.void = job.asks_again is None
        elif job.claim is None:
            self.register_again(job)

    def stop(self, drain: int) -> None:
        if self.stopping:
            self.drain_at = None if self.drain_at is None else min(self.drain_at, self.now + drain)
            return
        self.stopping = True
        self.drain_at = self.now + drain
        for job in self.jobs:
            if not job.removed:
                job.end = self.now
                stood = job.stood
                self.leave_line(job)
                self.end_waiter(job, Interrupted("shutdown"))
                self.withdraw(job, Skipped("ledger"))
                self.close(job, "stopped", stood=stood)
            for run in list(job.runs):
                if run.waits_until is not None:
                    self.finish(job, run, Interrupted("shutdown"))

    # --- turns

    def turn(self) -> None:
        if self.drain_at is not None and self.drain_at <= self.now:
            self.drain_at = None
            for job in self.jobs:
                for run in list(job.runs):
                    self.cut(job, run, "shutdown")
        before: object = None
        while before != (before := [(len(self.out), job.next, job.waiter, job.stands) for job in self.jobs]):
            for job in sorted(self.jobs, key=order):
                self.look(job)
            while self.line and self.has_room:
                self.admit()

    def look(self, job: ModelJob, *, admitted: bool = False) -> None:
        for run in list(job.runs):
            self.look_at_run(job, run)
        if job.removed or self.stopping:
            return
        if job.claim is not None and job.claim.again is not None and job.claim.again <= self.now:
            claim = job.claim
            claim.again = None
            if self.now > grace_end(job, claim) + 1_000:  # as after a suspend
                job.claim = None
                self.settle(job, claim.slot, Skipped("ledger"), claim.reason)
            elif len(job.runs) >= job.most:  # somebody started one meanwhile
                job.claim = None
                late = ModelWaiter(claim.slot, claim.reason, claim.period, None)
                self.give_way(job, OVERLAP_TABLE[job.policy.overlap, job.occupancy], late)
            else:
                self.out.append(("claim", job.name, claim.slot))
        self.start_waiter(job, admitted=admitted)
        if job.asks_again is not None and job.asks_again > self.now:
            return
        if job.registering:
            if job.asks_again is not None:
                self.ask_to_register(job)
        elif self.is_due(job):
            self.serve(job, admitted=admitted)

    def is_open(self, job: ModelJob) -> bool:
        """Whether nothing else has to happen before its next slot."""
        return not (job.paused or job.claim or job.catches_up or job.stands == "slot")

    def is_due(self, job: ModelJob) -> bool:
        return job.next is not None and self.is_open(job) and max(job.due_of(job.next), self.release) <= self.now

    def look_at_run(self, job: ModelJob, run: ModelRun) -> None:
        if run.cut_by is not None:
            if self.now >= run.cut_at + 2_000:
                self.finish(job, run, self.cut_outcome(run))
                job.stuck += 1
                self.out += [("stuck", job.name, run.slot), ("abandon", job.name, run.slot)]
        elif run.waits_until is not None and run.failure is not None:
            if run.waits_until <= self.now and self.now >= run.limit:
                self.finish(job, run, run.failure)
            elif run.waits_until <= self.now:
                run.waits_until = None
                run.attempt += 1
                self.start(job, run)
        elif run.deadline is not None and run.deadline <= self.now:
            self.cut(job, run, "timeout")

    def serve(self, job: ModelJob, *, admitted: bool) -> None:
        assert job.next is not None
        if job.is_broken:
            self.park(job)
            return
        if job.next == job.skips:
            self.settle(job, job.next, Skipped("skip_next"), "schedule")
            job.hand(job.next, job.next)
            self.move_on(job, job.next)
            if job.next is None or job.due_of(job.next) > self.now:
                job.stood = False
                self.works_again(job)
                return
        due = job.within(job.next, self.now)
        if job.contradicts and len(due) > 1:
            self.park(job)
            return
        self.works_again(job)
        if job.due_of(due[-1]) > self.now:
            due = due[:-1]
        chosen, reason = self.chosen(job, due)
        job.catching = job.policy.catch_up == "all" and reason == "catch_up"
        if job.catches_up:
            return
        missed = due if chosen is None else due[: due.index(chosen)]
        if missed:
            first, last = missed[0], missed[-1]
            count = job.counted(first, last)
            passed = Skipped("limit", first, last, count) if job.stood else Missed(first, last, count)
            self.settle(job, last, passed, reason)
            job.hand(first, last)
        job.stood = False
        if chosen is None:
            self.move_on(job, due[-1])
            return
        verdict = OVERLAP_TABLE[job.policy.overlap, job.occupancy]
        if verdict is Verdict.RUN and not self.finds_place(admitted=admitted):
            job.next = chosen
            job.stood = True
            self.stand_in_line(job, "slot")
            return
        run = ModelWaiter(chosen, reason, job.gap(chosen), None)
        job.hand(chosen, chosen)
        self.move_on(job, chosen)
        if verdict is Verdict.RUN:
            self.claim(job, run)
        else:
            self.give_way(job, verdict, run)

    def chosen(self, job: ModelJob, due: Sequence[int]) -> tuple[int | None, Reason]:
        """Return which of these due slots runs, if any, and why; the later ones of them are due again after it."""
        newest = due[-1]
        late = self.now - job.due_of(newest)
        grace = min(job.gap(newest), HOUR)
        if isinstance(job.policy.misfire_grace, timedelta):
            grace = in_ms(job.policy.misfire_grace)
        within = in_ms(job.policy.catch_up_within)
        state = Lateness.IN_GRACE if late <= grace else Lateness.PASSED if late <= within else Lateness.BEYOND
        reason: Reason = "schedule" if late <= grace else "catch_up"
        if job.policy.run_on_start and newest <= job.added:
            reason = "start"
        elif CATCH_UP_TABLE[job.policy.catch_up, state] is Verdict.MISS:
            return None, reason
        if job.policy.catch_up == "all":
            most = 10 if job.policy.catch_up_max is None else job.policy.catch_up_max
            candidates = (due if reason == "catch_up" else due[:-1])[-most:]
            oldest = next((slot for slot in candidates if self.now - job.due_of(slot) <= within), newest)
            if oldest < newest:
                return oldest, "catch_up"
        return newest, reason

    def move_on(self, job: ModelJob, last: int) -> None:
        job.next = job.after(last)
        if job.next is None:
            self.out.append(("ended", job.name, last, True))

    def claim(self, job: ModelJob, run: ModelWaiter) -> None:
        job.claim = ModelClaim(run.slot, run.reason, run.period, self.now)
        self.out.append(("claim", job.name, run.slot))

    def withdraw(self, job: ModelJob, outcome: Outcome) -> None:
        """End a claim that waits to be asked for again."""
        if job.claim is not None and job.claim.again is not None:
            slot, reason = job.claim.slot, job.claim.reason
            job.claim = None
            self.settle(job, slot, outcome, reason)

    # --- waiting for a run to end, or for a place

    def give_way(self, job: ModelJob, verdict: Verdict, run: ModelWaiter) -> None:
        if verdict is Verdict.WAIT:
            job.waiter = run
        elif verdict is Verdict.REPLACE:
            self.end_waiter(job, Skipped("overlap"))
            job.waiter = run
            for live in list(job.runs):
                self.cut(job, live, "replace")
            self.start_waiter(job, admitted=False)
        else:
            reason: SkipReason = "limit" if verdict is Verdict.LIMIT else "overlap"
            self.settle(job, run.slot, Skipped(reason), run.reason, key=run.key)

    def start_waiter(self, job: ModelJob, *, admitted: bool) -> None:
        run = job.waiter
        if run is None or job.alive:
            return
        if run.key is not None:
            job.waiter = None
            if job.stands == "waiter":  # for the slot that this one has replaced
                self.leave_line(job)
            self.begin(job, run.slot, run.reason, run.period, run.key)
        elif job.stands is None and self.finds_place(admitted=admitted):
            job.waiter = None
            self.claim(job, run)
        elif job.stands is None:
            self.stand_in_line(job, "waiter")

    def end_waiter(self, job: ModelJob, outcome: Outcome) -> None:
        if job.waiter is not None:
            self.settle(job, job.waiter.slot, outcome, job.waiter.reason, key=job.waiter.key)
            job.waiter = None

    @property
    def has_room(self) -> bool:
        return self.max_running is None or sum(job.alive for job in self.jobs) < self.max_running

    def finds_place(self, *, admitted: bool) -> bool:
        """First come, first served: a free place belongs to those who stand in line."""
        return self.has_room and (admitted or not self.line)

    def stand_in_line(self, job: ModelJob, what: Literal["slot", "waiter"]) -> None:
        job.stands = what
        self.line.append(job)

    def leave_line(self, job: ModelJob) -> None:
        job.stood = False
        if job.stands is not None:
            job.stands = None
            self.line.remove(job)

    def admit(self) -> None:
        job = self.line.pop(0)
        job.stands = None
        self.look(job, admitted=True)

    # --- the end of a job, of a pause, and of its schedule's good behaviour

    def close(self, job: ModelJob, why: str, *, stood: bool = False) -> None:
        """All slots that are due end as one range."""
        first = job.next
        if first is None or first > self.now or (self.stopping and why != "stopped"):
            return  # the law counts up to the stop
        if job.is_broken:
            self.park(job)
            if why == "resumed":
                return
            last, count, job.next = first, None, None
        else:
            job.has_lied = job.has_lied or job.contradicts
            last = first if job.contradicts else job.within(first, self.now)[-1]
            count, job.next = job.counted(first, last), job.after(last)
            self.works_again(job)
        job.hand(first, last)
        outcome: Outcome
        if job.paused:
            outcome = Skipped("paused", first, last, count)
        elif why == "removed":
            outcome = Skipped("removed", first, last, count)
        elif stood:
            outcome = Skipped("limit", first, last, count)
        else:
            outcome = Missed(first, last, count)
        self.settle(job, last, outcome, "schedule")
        if why == "resumed" and job.next is None:
            self.out.append(("ended", job.name, last, True))

    def park(self, job: ModelJob) -> None:
        job.has_lied = True
        job.faults += 1
        job.parked = True
        job.asks_again = self.now + backoff(job.faults)
        self.out.append(("parked", job.name, backoff(job.faults)))

    def works_again(self, job: ModelJob) -> None:
        if job.registering:  # again, after a correction: what the ledger answers shows it
            return
        if job.parked:
            job.parked = False
            job.faults = 0
            self.out.append(("unparked", job.name))
        job.asks_again = None

    # --- runs

    def begin(self, job: ModelJob, slot: int, reason: Reason, period: int, key: str | None) -> None:
        deadline: int | None
        if isinstance(job.policy.timeout, timedelta):
            deadline = self.now + job.policy.timeout // timedelta(milliseconds=1)
        else:
            deadline = None if job.policy.timeout is None else self.now + max(1_000, min(period, 300_000))
        if job.policy.retry is not None and job.next is not None:
            next_due = job.next if job.is_broken else job.due_of(job.next)
            following = next_due if next_due > self.now else self.now + job.gap(self.now)
            deadline = following if deadline is None else min(deadline, following)
        limit = self.now + period if deadline is None else deadline
        run = ModelRun(slot, reason, key, self.now, deadline, limit)
        job.runs.append(run)
        self.start(job, run)

    def start(self, job: ModelJob, run: ModelRun) -> None:
        self.out.append(("start", job.name, run.slot, run.attempt, run.reason, run.deadline, run.key))

    def cut(self, job: ModelJob, run: ModelRun, by: CancelledBy) -> None:
        if run.waits_until is not None:
            assert by in ("remove", "replace")
            self.finish(job, run, Interrupted(by))
        elif run.cut_by is None:
            run.cut_by, run.cut_at = by, self.now
            self.out.append(("cancel", job.name, run.slot, by))

    def cut_outcome(self, run: ModelRun) -> Outcome:
        assert run.cut_by is not None
        assert run.cut_by != "lease", "its ledger is nobody else's"
        return TimedOut((self.now - run.started) / 1000) if run.cut_by == "timeout" else Interrupted(run.cut_by)

    def finish(self, job: ModelJob, run: ModelRun, outcome: Outcome) -> None:
        job.runs.remove(run)
        job.catching = job.catching and bool(job.runs)
        self.settle(job, run.slot, outcome, run.reason, key=run.key, attempt=run.attempt)
        if run.key is None:
            self.out.append(("finish", job.name, run.slot, outcome))

    def settle(
        self, job: ModelJob, slot: int, outcome: Outcome, reason: Reason, *, key: str | None = None, attempt: int = 0
    ) -> None:
        if isinstance(outcome, Succeeded):
            job.failures = 0
        elif isinstance(outcome, (Failed, TimedOut)):
            job.failures += 1
        self.out.append(("settled", job.name, slot, outcome, reason, key, attempt, job.failures))

    def wakeup(self) -> int | None:
        """When something happens next by itself."""
        instants: list[int] = [] if self.drain_at is None else [self.drain_at]
        for job in self.jobs:
            if not (job.removed or self.stopping):
                if job.registering and job.asks_again is not None:
                    instants.append(job.asks_again)
                elif not job.registering and job.next is not None and self.is_open(job):
                    instants.append(max(job.due_of(job.next), self.release, job.asks_again or 0))
            for run in job.runs:
                if run.cut_by is not None:
                    instants.append(run.cut_at + 2_000)
                elif run.waits_until is not None:
                    instants.append(run.waits_until)
                elif run.deadline is not None:
                    instants.append(run.deadline)
        return min(instants, default=None)


def check_cover(job: ModelJob) -> None:
    """See that what was handed out covers every slot once: each part begins where the one before it has ended."""
    assert job.since is not None or not job.handed
    position = bisect_right(job.slots, job.since or 0)
    for first, last in job.handed:
        assert job.slots[position] == first
        position = bisect_right(job.slots, last)
    if job.end is not None and not job.registering and job.corrected is None:
        assert position == len(job.slots) or job.slots[position] > job.end


def backoff(faults: int) -> int:
    return min(300_000, 1_000 << (faults - 1))


def in_ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def order(job: ModelJob) -> tuple[int, str]:
    """Who comes first among several at one instant: by when what waits or comes next is due, then by name."""
    if job.waiter is not None:
        return job.waiter.slot, job.name
    return (0 if job.next is None else job.due_of(job.next)), job.name
