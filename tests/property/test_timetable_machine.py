"""
The timetable beside a dumb model of the design, step by step: after each one both must have asked for the same.

The model lists slots and looks at every job at every turn; it has no heap, no laziness and no schedule of ours. Its
sentences are those of docs/design.md, "Never raises, never silent" and "the sans-IO heart".
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loopcron import _events as e
from loopcron._attempts import LiveRun
from loopcron._events import CancelledBy
from loopcron._instants import from_ms, to_ms
from loopcron._outcomes import (
    Busy,
    Failed,
    Interrupted,
    Missed,
    Outcome,
    Reason,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
)
from loopcron._policies import Policy, Retry
from loopcron._schedules import Schedule, at, every
from loopcron._timetable import Timetable

START = 1_772_323_207_123
HOUR = 3_600_000
DAY = 24 * HOUR
LIES = ("raises", "past", "same", "naive", "fraction", "contradicts")
Seen = tuple[object, ...]
"""One action, as both sides tell it."""


class Moody:
    """A user's schedule: it works, raises or lies as its mood says, and counts how often it is asked."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.mood = "works"
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


@dataclass(eq=False)
class ModelJob:
    """A job as the design tells it."""

    name: str
    slots: Sequence[int]
    policy: Policy
    added: int
    moody: Moody | None
    from_start: bool
    paused: bool
    registering: bool = True
    asks_again: int | None = None
    """When a parked job, or a registration that failed, is tried again."""
    parked: bool = False
    faults: int = 0
    next: int | None = None
    claim: tuple[int, Reason, int] | None = None
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
    """First and last of all that was claimed or settled since then, in that order."""

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
        return held if self.moody is None or held <= 100 else None

    def gap(self, slot: int | None) -> int:
        """The period: an hour where there is no next slot, or nobody can say."""
        following = None if slot is None or self.is_broken else self.after(slot)
        return HOUR if slot is None or following is None else following - slot


class Model:
    """All jobs, and what is to be asked for."""

    def __init__(self, startup_delay: int) -> None:
        self.now = START
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
            job.asks_again = self.now + backoff(job.faults)
        elif job.is_broken:
            self.park(job)
        else:
            has_begun = job.newest is not None
            if not has_begun:
                job.since = watermark
            assert job.since is not None
            if job.next is None:
                job.next = job.after(job.corrected if has_begun and job.corrected is not None else watermark)
            job.newest = job.corrected if has_begun else None
            job.corrected = None
            job.registering = False
            self.works_again(job)
            job.faults = 0
            if job.next is None and not has_begun:
                self.out.append(("ended", job.name, job.until(watermark), False))

    def register_again(self, job: ModelJob) -> None:
        job.registering = True
        job.void = False
        self.ask_to_register(job)

    def remove(self, job: ModelJob) -> None:
        self.look(job)
        self.close(job, "removed")
        job.removed = True
        if not self.stopping:
            job.end = self.now
        for run in list(job.runs):
            self.cut(job, run, "remove")

    def pause(self, job: ModelJob) -> None:
        if not job.paused:
            self.look(job)
            job.paused = True
            self.out.append(("paused", job.name))

    def resume(self, job: ModelJob) -> None:
        if job.paused:
            self.close(job, "resumed")
            job.paused = False
            self.out.append(("resumed", job.name))

    def trigger(self, job: ModelJob, key: str) -> None:
        if job.policy.overlap == "skip" and (job.runs or job.claim):
            self.settle(job, self.now, Skipped("overlap"), "manual", key=key)
        elif len(job.runs) + (job.claim is not None) >= 10:
            self.settle(job, self.now, Skipped("limit"), "manual", key=key)
        else:
            self.begin(job, self.now, "manual", job.gap(job.next), key)

    def answered(self, job: ModelJob, answer: str) -> None:
        assert job.claim is not None
        slot, reason, period = job.claim
        job.claim = None
        if answer == "won" and (job.removed or self.stopping):
            outcome = Skipped("removed") if job.removed else Interrupted("shutdown")
            self.settle(job, slot, outcome, reason)
            self.out.append(("finish", job.name, slot, outcome))
        elif answer == "won":
            self.begin(job, slot, reason, period, None)
        else:
            self.settle(job, slot, Taken() if answer == "lost" else Skipped("ledger"), reason)
        if job.corrected is not None and not (job.removed or self.stopping):
            self.register_again(job)

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
        return min(retry.longest, retry.backoff * (1 << (run.retried - 1))) // timedelta(milliseconds=1)

    def step(self, by: int) -> None:
        self.release += by
        self.drain_at = None if self.drain_at is None else self.drain_at + by
        for job in self.jobs:
            job.asks_again = None if job.asks_again is None else job.asks_again + by
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
        has_begun = job.newest is not None
        newest = job.handed[-1][1] if job.handed else job.since
        job.since = min(self.now, newest) if has_begun and newest is not None else None
        job.handed = []
        job.corrected = self.now if job.corrected is None else min(self.now, job.corrected)
        if not has_begun or (job.next is not None and job.next > self.now):
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
                self.close(job, "stopped")
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
        for job in self.jobs:
            self.look(job)

    def look(self, job: ModelJob) -> None:
        for run in list(job.runs):
            self.look_at_run(job, run)
        if job.removed or self.stopping or (job.asks_again is not None and job.asks_again > self.now):
            return
        if job.registering:
            if job.asks_again is not None:
                self.ask_to_register(job)
        elif self.is_due(job):
            self.serve(job)

    def is_due(self, job: ModelJob) -> bool:
        waits = job.paused or job.claim is not None or self.now < self.release
        return job.next is not None and job.next <= self.now and not waits

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

    def serve(self, job: ModelJob) -> None:
        assert job.next is not None
        due = job.within(job.next, self.now)
        if job.is_broken or (job.contradicts and len(due) > 1):
            self.park(job)
            return
        self.works_again(job)
        newest = due[-1]
        following = job.after(newest)
        period = HOUR if following is None else following - newest
        late = self.now - newest
        grace = min(period, HOUR)
        if isinstance(job.policy.misfire_grace, timedelta):
            grace = job.policy.misfire_grace // timedelta(milliseconds=1)
        within = late <= job.policy.catch_up_within // timedelta(milliseconds=1)
        reason: Reason = "schedule" if late <= grace else "catch_up"
        if job.policy.run_on_start and newest <= job.added:
            runs, reason = True, "start"
        else:
            runs = late <= grace or (job.policy.catch_up == "latest" and within)
        missed = due[:-1] if runs else due
        job.hand(due[0], newest)
        if missed:
            count = job.counted(missed[0], missed[-1])
            self.settle(job, missed[-1], Missed(missed[0], missed[-1], count), reason)
        if runs and job.policy.overlap == "skip" and job.runs:
            self.settle(job, newest, Skipped("overlap"), reason)
        elif runs and len(job.runs) >= 10:
            self.settle(job, newest, Skipped("limit"), reason)
        elif runs:
            job.claim = (newest, reason, period)
            self.out.append(("claim", job.name, newest))
        job.next = following
        if following is None:
            self.out.append(("ended", job.name, newest, True))

    def close(self, job: ModelJob, why: str) -> None:
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
            following = job.next if job.next > self.now else self.now + job.gap(self.now)
            deadline = following if deadline is None else min(deadline, following)
        limit = self.now + period if deadline is None else deadline
        run = ModelRun(slot, reason, key, self.now, deadline, limit)
        job.runs.append(run)
        self.start(job, run)

    def start(self, job: ModelJob, run: ModelRun) -> None:
        self.out.append(("begins", job.name, run.slot, run.attempt, run.reason))
        self.out.append(("start", job.name, run.slot, run.attempt, run.reason, run.deadline, run.key))

    def cut(self, job: ModelJob, run: ModelRun, by: CancelledBy) -> None:
        if run.waits_until is not None:
            assert by == "remove"
            self.finish(job, run, Interrupted(by))
        elif run.cut_by is None:
            run.cut_by, run.cut_at = by, self.now
            self.out.append(("cancel", job.name, run.slot, by))

    def cut_outcome(self, run: ModelRun) -> Outcome:
        assert run.cut_by is not None
        return TimedOut((self.now - run.started) / 1000) if run.cut_by == "timeout" else Interrupted(run.cut_by)

    def finish(self, job: ModelJob, run: ModelRun, outcome: Outcome) -> None:
        job.runs.remove(run)
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
                elif not job.registering and job.next is not None and job.claim is None and not job.paused:
                    instants.append(max(job.next, self.release, job.asks_again or 0))
            for run in job.runs:
                if run.cut_by is not None:
                    instants.append(run.cut_at + 2_000)
                elif run.waits_until is not None:
                    instants.append(run.waits_until)
                elif run.deadline is not None:
                    instants.append(run.deadline)
        return min(instants, default=None)


def backoff(faults: int) -> int:
    return min(300_000, 1_000 << (faults - 1))


AMOUNTS = st.sampled_from([0, 1, 49, 1_000, 2_000, 5_000, 60_000, 300_000, HOUR, DAY, 3 * DAY]) | st.integers(
    1, 100_000
)
LITTLE = st.sampled_from([0, 0, 0, 1, 500, 1_999, 30_000])
"""How long after the last poll a fact is told, without another poll between."""
PICK = st.integers(0, 30)
SPANS = st.sampled_from([0, 1, 1_000, 60_000, HOUR, DAY]).map(lambda value: timedelta(milliseconds=value))
POLICIES = st.builds(
    Policy,
    overlap=st.sampled_from(["skip", "allow"]),
    catch_up=st.sampled_from(["skip", "latest"]),
    catch_up_within=SPANS,
    misfire_grace=st.just(Policy().misfire_grace) | SPANS,
    timeout=st.sampled_from([Policy().timeout, None, *(timedelta(milliseconds=t) for t in (1, 900, 2_500, 400_000))]),
    retry=st.sampled_from(
        [
            None,
            Retry(),
            Retry(4, timedelta(milliseconds=300), timedelta(milliseconds=700), frozenset({"job", "endpoint"})),
        ]
    ),
    run_on_start=st.booleans(),
)
ENDS: list[Outcome | None] = [Succeeded(), Succeeded(204), Busy(), Skipped("no_address"), None]
"""None: its task was cancelled, by us or by somebody else."""
FAILURES: list[Outcome] = [
    Failed("job", "ValueError: x"),
    Failed("endpoint", "HTTP 503", 503),
    Failed("endpoint", "HTTP 404", 404),
    Failed("endpoint", "HTTP 503", 503, retry_after_seconds=0.7),
    Failed("transport", "refused", started=False),
    Failed("transport", "refused", started=False),
]


class TimetableMachine(RuleBasedStateMachine):
    """Tells both the same, answers for ledger and runs, and compares."""

    @initialize(startup_delay=st.sampled_from([0, 0, 5_000]))
    def begin(self, startup_delay: int) -> None:
        self.timetable = Timetable(START, startup_delay=startup_delay, worker="w")
        self.model = Model(startup_delay)
        self.registers: list[e.Register] = []
        self.claims: list[e.Claim] = []
        self.alive: dict[int, tuple[ModelJob, ModelRun]] = {}
        self.stuck: list[int] = []
        self.keys = 0

    @property
    def present(self) -> list[ModelJob]:
        return [job for job in self.model.jobs if not job.removed]

    def job(self, name: str) -> ModelJob:
        return next(job for job in self.model.jobs if job.name == name)

    def pass_time(self, amount: int) -> None:
        self.model.now += amount

    def tell(self, fact: e.Fact) -> None:
        self.timetable.handle(fact, self.model.now)

    def compare(self) -> None:
        """Let both take their turn, and compare what they ask for."""
        asked_before = sum(job.moody.asked for job in self.model.jobs if job.moody)
        actions = self.timetable.poll(self.model.now)
        self.model.turn()
        expected, self.model.out = self.model.out, []
        assert sorted(map(told, actions), key=repr) == sorted(expected, key=repr)
        keys = [(action.slot, action.job) for action in actions]
        assert keys == sorted(keys)
        assert self.timetable.poll(self.model.now) == ()
        for action in actions:
            self.note(action)
        asked = sum(job.moody.asked for job in self.model.jobs if job.moody) - asked_before
        assert asked <= 110 * len(self.model.jobs), "a schedule is not asked without end"

    def note(self, action: e.Action) -> None:
        match action:
            case e.Register():
                self.registers.append(action)
            case e.Claim():
                self.claims.append(action)
            case e.Start(job, slot, run_id, attempt, key=key):
                if attempt == 1:
                    owner = self.job(job)
                    self.alive[run_id] = owner, [r for r in owner.runs if (r.slot, r.key) == (slot, key)][-1]
            case e.Abandon(run_id=run_id):
                del self.alive[run_id]
                self.stuck.append(run_id)
            case _:
                pass

    # --- rules

    @rule(amount=AMOUNTS)
    def advance(self, amount: int) -> None:
        self.pass_time(amount)
        self.compare()

    @rule()
    def sleep_until_wakeup(self) -> None:
        wakeup = self.timetable.next_wakeup()
        if wakeup is not None:
            self.model.now = wakeup
        self.compare()

    @rule(by=AMOUNTS, back=st.booleans())
    def set_clock(self, by: int, back: bool) -> None:
        by = -by if back else by
        self.model.now += by
        self.tell(e.Stepped(by))
        self.model.step(by)
        self.compare()

    @precondition(lambda self: len(self.model.jobs) < 8 and not self.model.stopping)
    @rule(
        kind=st.sampled_from(["every", "start", "at", "moody", "moody"]),
        interval=st.sampled_from([1_000, 7_001, 60_000, 900_000, 2 * HOUR, DAY]),
        phase=st.integers(0, 999),
        policy=POLICIES,
        mood=st.sampled_from(["works", "works", "works", *LIES]),
        paused=st.sampled_from([False, False, False, True]),
        little=LITTLE,
    )
    def add(self, kind: str, interval: int, phase: int, policy: Policy, mood: str, paused: bool, little: int) -> None:
        self.pass_time(little)
        now = self.model.now
        name = f"j{len(self.model.jobs)}"
        moody: Moody | None = None
        schedule: Schedule
        slots: Sequence[int]
        first = interval * ((START - 400 * DAY) // interval)
        if kind == "every":
            schedule = every(timedelta(milliseconds=interval), phase=timedelta(milliseconds=phase))
            slots = range(first + phase, START + 1000 * DAY, interval)
        elif kind == "start":
            schedule = every(timedelta(milliseconds=interval), phase=timedelta(milliseconds=phase), anchor="start")
            slots = range(now + phase, START + 1000 * DAY, interval)
        elif kind == "at":
            slots = (now + (phase - 300) * 1_000,)
            schedule = at(from_ms(slots[0]))
        else:
            schedule = moody = Moody(interval)
            moody.mood = mood
            slots = range(first, START + 1000 * DAY, interval)
        self.tell(e.Added(name, schedule, policy, paused))
        self.model.add(ModelJob(name, slots, policy, now, moody, kind == "start", paused))
        self.compare()

    @precondition(lambda self: self.present)
    @rule(pick=PICK, little=LITTLE)
    def remove(self, pick: int, little: int) -> None:
        self.pass_time(little)
        job = self.present[pick % len(self.present)]
        self.tell(e.Removed(job.name))
        self.model.remove(job)
        self.compare()
        assert self.timetable.facts(job.name) is None

    @precondition(lambda self: self.present)
    @rule(pick=PICK, little=LITTLE)
    def pause(self, pick: int, little: int) -> None:
        self.pass_time(little)
        job = self.present[pick % len(self.present)]
        self.tell(e.Paused(job.name))
        self.model.pause(job)
        self.compare()

    @precondition(lambda self: self.present)
    @rule(pick=PICK, little=LITTLE)
    def resume(self, pick: int, little: int) -> None:
        self.pass_time(little)
        job = self.present[pick % len(self.present)]
        self.tell(e.Resumed(job.name))
        self.model.resume(job)
        self.compare()

    @precondition(lambda self: self.present and not self.model.stopping)
    @rule(pick=PICK, little=LITTLE)
    def trigger(self, pick: int, little: int) -> None:
        self.pass_time(little)
        job = self.present[pick % len(self.present)]
        self.keys += 1
        key = f"{job.name}@manual-{self.keys}"
        self.tell(e.Triggered(job.name, key))
        self.model.trigger(job, key)
        self.compare()

    @precondition(lambda self: self.registers)
    @rule(
        works=st.sampled_from([True, True, True, False]),
        behind=st.sampled_from([0, 0, 0, 60_000, DAY, -4 * HOUR]),
        little=LITTLE,
    )
    def answer_registers(self, works: bool, behind: int, little: int) -> None:
        self.pass_time(little)
        asked, self.registers = self.registers, []
        watermarks = [(self.model.now if one.watermark is None else one.watermark) - behind for one in asked]
        self.tell(e.Registered([one.job for one in asked], watermarks if works else None))
        for one, watermark in zip(asked, watermarks, strict=True):
            self.model.registered(self.job(one.job), watermark if works else None)
        self.compare()

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, answer=st.sampled_from(["won", "won", "won", "lost"]), little=LITTLE)
    def answer_claim(self, pick: int, answer: str, little: int) -> None:
        self.pass_time(little)
        claim = self.claims.pop(pick % len(self.claims))
        self.tell(e.Answered([claim], [e.Won(pick) if answer == "won" else e.Lost(claim.slot)]))
        self.model.answered(self.job(claim.job), answer)
        self.compare()

    @precondition(lambda self: self.claims)
    @rule(works=st.booleans(), little=LITTLE)
    def answer_all_claims(self, works: bool, little: int) -> None:
        self.pass_time(little)
        claims, self.claims = self.claims, []
        self.tell(e.Answered(claims, [e.Won(number) for number in range(len(claims))] if works else None))
        for claim in claims:
            self.model.answered(self.job(claim.job), "won" if works else "unavailable")
        self.compare()

    @rule()
    def go_on(self) -> None:
        """What mostly happens, so that histories come to runs: the ledger answers, the next slot comes and is won."""
        if self.registers:
            self.answer_registers(works=True, behind=0, little=0)
        self.sleep_until_wakeup()
        if self.claims:
            self.answer_all_claims(works=True, little=0)

    @precondition(lambda self: any(run.waits_until is None for _, run in self.alive.values()))
    @rule(pick=PICK, outcome=st.sampled_from(ENDS) | st.sampled_from(FAILURES), little=LITTLE)
    def end_attempt(self, pick: int, outcome: Outcome | None, little: int) -> None:
        self.pass_time(little)
        acting = [run_id for run_id, (_, run) in self.alive.items() if run.waits_until is None]
        self.tell_end(acting[pick % len(acting)], outcome)

    @precondition(lambda self: any(run.cut_by is not None for _, run in self.alive.values()))
    @rule(pick=PICK, little=LITTLE)
    def obey_cancellation(self, pick: int, little: int) -> None:
        self.pass_time(little)
        cut = [run_id for run_id, (_, run) in self.alive.items() if run.cut_by is not None]
        self.tell_end(cut[pick % len(cut)], None)

    def tell_end(self, run_id: int, outcome: Outcome | None) -> None:
        job, run = self.alive[run_id]
        self.tell(e.AttemptEnded(run_id, outcome))
        self.model.ended(job, run, outcome)
        self.compare()

    @precondition(lambda self: self.stuck)
    @rule(pick=PICK, little=LITTLE)
    def end_stuck_run(self, pick: int, little: int) -> None:
        self.pass_time(little)
        run_id = self.stuck.pop(pick % len(self.stuck))
        self.tell(e.AttemptEnded(run_id, Succeeded()))
        actions = self.timetable.poll(self.model.now)
        unstuck = [action for action in actions if isinstance(action, e.RunUnstuck)]
        assert [action.run_id for action in unstuck] == [run_id]
        self.job(unstuck[0].job).stuck -= 1
        self.model.turn()
        expected, self.model.out = self.model.out, []
        rest = [action for action in actions if not isinstance(action, e.RunUnstuck)]
        assert sorted(map(told, rest), key=repr) == sorted(expected, key=repr)
        for action in rest:
            self.note(action)

    @precondition(lambda self: any(job.moody for job in self.present))
    @rule(pick=PICK, mood=st.sampled_from(["works", "works", *LIES]))
    def change_mood(self, pick: int, mood: str) -> None:
        moodies = [job.moody for job in self.present if job.moody]
        moodies[pick % len(moodies)].mood = mood

    @precondition(lambda self: len(self.model.jobs) > 3)
    @rule(drain=st.sampled_from([0, 1_000, 10_000]), little=LITTLE, sure=st.integers(0, 4))
    def stop(self, drain: int, little: int, sure: int) -> None:
        if sure:  # rarely, or few histories would be long
            return
        self.pass_time(little)
        self.tell(e.Stopping(drain))
        self.model.stop(drain)
        self.compare()

    # --- invariants

    @invariant()
    def wakes_in_time(self) -> None:
        """The next wake-up is later than now and not later than what the model knows to happen."""
        wakeup = self.timetable.next_wakeup()
        assert wakeup is None or wakeup > self.model.now
        due = self.model.wakeup()
        assert due is None or (wakeup is not None and wakeup <= due)

    @invariant()
    def knows_the_same(self) -> None:
        """Health is told what the model knows."""
        for job in self.present:
            facts = self.timetable.facts(job.name)
            assert facts is not None
            parked = job.parked or (job.registering and job.faults > 0)
            assert (facts.slot, facts.paused, facts.parked is not None) == (job.next, job.paused, parked)
            assert (facts.failures, facts.stuck, facts.added) == (job.failures, job.stuck, job.added)
            assert facts.used == job.newest
            assert sorted(map(run_facts, facts.runs)) == sorted(
                (run.slot, run.attempt, run.started, run.deadline or 0) for run in job.runs
            )
            open_slots = [run.slot for run in job.runs if run.key is None]
            open_slots += [slot for slot in (job.next, job.claim and job.claim[0]) if slot is not None]
            assert facts.oldest == min(open_slots, default=None)
            assert facts.ended == (not (open_slots or job.runs or job.registering))

    @invariant()
    def overlap_skip_has_one_run(self) -> None:
        """With overlap skip at most one run or claim of a job is alive."""
        for job in self.model.jobs:
            facts = self.timetable.facts(job.name)
            if facts is not None and job.policy.overlap == "skip":
                assert len(facts.runs) + (job.claim is not None) <= 1

    @invariant()
    def no_run_outlives_its_deadline(self) -> None:
        """A run past its deadline is cancelled, and given up two seconds later."""
        for _, run in self.alive.values():
            assert run.deadline is None or run.deadline > self.model.now or run.cut_by is not None
            assert run.cut_by is None or self.model.now < run.cut_at + 2_000

    @invariant()
    def memory_is_bounded(self) -> None:
        """What is kept follows from what is alive, not from how long it has gone on."""
        timetable = self.timetable
        live = {run_id for run_id, (job, run) in self.alive.items() if run in job.runs}
        self.alive = {run_id: self.alive[run_id] for run_id in live}
        assert set(timetable._live._running) == live
        assert set(timetable._live._stuck) == set(self.stuck)
        assert len(timetable._claiming) == len(self.claims)
        agenda = timetable._agenda
        entries = [entry for bucket in agenda._buckets.values() for entry in bucket]
        assert len(agenda._heap) == len(agenda._buckets)
        assert len(entries) == agenda._counting + agenda._stale
        assert agenda._counting <= len(self.model.jobs)
        assert agenda._stale <= 64 + 2 * agenda._counting + 2 * len(self.model.jobs)

    def teardown(self) -> None:
        """Stop, and see that every slot of every job is covered once."""
        if not hasattr(self, "model"):
            return
        while self.claims:
            claim = self.claims.pop()
            self.tell(e.Answered([claim], None))
            self.model.answered(self.job(claim.job), "unavailable")
            self.compare()
        self.tell(e.Stopping(0))
        self.model.stop(0)
        self.compare()
        self.pass_time(2_000)
        self.compare()
        assert self.timetable.is_over
        for job in self.model.jobs:
            if not job.has_lied and not job.contradicts:
                check_cover(job)


def check_cover(job: ModelJob) -> None:
    assert job.since is not None or not job.handed
    position = bisect_right(job.slots, job.since or 0)
    for first, last in job.handed:
        assert job.slots[position] == first
        position = bisect_right(job.slots, last)
    if job.end is not None and not job.registering and job.corrected is None:
        assert position == len(job.slots) or job.slots[position] > job.end


def run_facts(run: LiveRun) -> tuple[int, int, int, int]:
    return run.slot, run.attempt, run.started, run.deadline or 0


def told(action: e.Action) -> Seen:
    """Return an action as the model tells it."""
    match action:
        case e.Register(job, _, watermark, corrected):
            return "register", job, watermark, corrected
        case e.Claim(job, slot):
            return "claim", job, slot
        case e.Finish(job, slot, _, outcome):
            return "finish", job, slot, outcome
        case e.Start(job, slot, _, attempt, reason, _, deadline, key):
            return "start", job, slot, attempt, reason, deadline, key
        case e.RunStarted(job, slot, attempt, reason):
            return "begins", job, slot, attempt, reason
        case e.Cancel(job, slot, _, by):
            return "cancel", job, slot, by
        case e.Abandon(job, slot):
            return "abandon", job, slot
        case e.RunStuck(job, slot):
            return "stuck", job, slot
        case e.Settled(job, slot, outcome, reason, attempt, failures=failures, key=key):
            return "settled", job, slot, outcome, reason, key, attempt, failures
        case e.AttemptFailed(job, slot, attempt, _, retry_ms):
            return "attempt failed", job, slot, attempt, retry_ms
        case e.JobParked(job, _, _, retry_ms):
            return "parked", job, retry_ms
        case e.JobUnparked(job):
            return "unparked", job
        case e.JobEnded(job, _, last, served):
            return "ended", job, last, served
        case e.JobPaused(job):
            return "paused", job
        case e.JobResumed(job):
            return "resumed", job
        case e.ClockStepped(_, _, by_ms):
            return "stepped", by_ms
        case _:
            raise AssertionError(action)


TestTimetableMachine = TimetableMachine.TestCase
TestTimetableMachine.settings = settings(stateful_step_count=50)
