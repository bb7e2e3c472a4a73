"""
The timetable beside its model, step by step: after each one both must have asked for the same.

What is told, in any order: jobs added, removed, paused, resumed, triggered and skipped; time and both clocks; answers
of the ledger; attempts that end, fail, are cut, or do not end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import NamedTuple, overload
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loopcron import _events as e
from loopcron._attempts import LiveRun
from loopcron._combined import any_of
from loopcron._every import at, every
from loopcron._instants import from_ms
from loopcron._ledger import Claim, Finish, Register, Won
from loopcron._local import cron
from loopcron._outcomes import Busy, Failed, Outcome, Skipped, Succeeded
from loopcron._policies import Policy, Retry
from loopcron._schedules import Schedule
from loopcron._tables import CatchUp, Overlap
from loopcron._timetable import Timetable
from tests.property.histories import a_policy
from tests.property.timetable_model import (
    DAY,
    HOUR,
    LIES,
    START,
    Model,
    ModelJob,
    ModelRun,
    Moody,
    Seen,
    check_cover,
)
from tests.rows import lost, registered, unavailable

FIRST, LAST = START - 400 * DAY, START + 1000 * DAY
"""All slots of a job that is without end lie between these; no history comes near them."""
MINUTE = 60_000


def milliseconds(value: int) -> timedelta:
    return timedelta(milliseconds=value)


AMOUNTS = st.sampled_from([0, 1, 49, 1_000, 2_000, 5_000, 60_000, 300_000, HOUR, DAY, 3 * DAY]) | st.integers(
    1, 100_000
)

LITTLE = st.sampled_from([0, 0, 0, 1, 500, 1_999, 30_000])
"""How long after the last poll a fact is told, without another poll between."""
PICK = st.integers(0, 30)
SPANS = st.sampled_from([0, 1, 1_000, 60_000, HOUR, DAY]).map(milliseconds)
RETRIES = (
    None,
    None,
    Retry(),
    Retry(4, timedelta(milliseconds=300), timedelta(milliseconds=700), frozenset({"job", "endpoint"})),
    Retry(5, on=frozenset({"job", "endpoint"}), jitter=timedelta(seconds=3)),
)


POLICIES = st.builds(
    a_policy,
    overlap=st.sampled_from(Overlap),
    catch_up=st.sampled_from(CatchUp),
    most=st.sampled_from([None, 1, 2, 4]),
    catch_up_within=SPANS | st.just(Policy().catch_up_within),
    misfire_grace=st.just(Policy().misfire_grace) | SPANS,
    timeout=st.sampled_from([Policy().timeout, None, *(timedelta(milliseconds=t) for t in (1, 900, 2_500, 400_000))]),
    retry=st.sampled_from(RETRIES),
    jitter=st.sampled_from([timedelta(0), timedelta(0), timedelta(0), *map(milliseconds, (1, 400, 30_000, HOUR))]),
    run_on_start=st.booleans(),
)


class Pattern(Sequence[int]):
    """Slots that recur each period, found by arithmetic: a list of them would hold hundreds of thousands."""

    def __init__(self, period: int, slots: Sequence[int], numbers: range | None = None) -> None:
        self.period = period
        self.slots = slots
        each = len(slots)
        self.numbers = range(FIRST // period * each, LAST // period * each) if numbers is None else numbers

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Pattern: ...
    def __getitem__(self, index: int | slice) -> int | Pattern:
        if isinstance(index, slice):
            return Pattern(self.period, self.slots, self.numbers[index])
        periods, place = divmod(self.numbers[index], len(self.slots))
        return periods * self.period + self.slots[place]

    def __len__(self) -> int:
        return len(self.numbers)


@cache
def thirds_of_berlin() -> Sequence[int]:
    """Return the hours at which a clock in Berlin shows 0, 3, 6 and so on."""
    zone = ZoneInfo("Europe/Berlin")
    hours = range(FIRST // HOUR * HOUR, LAST, HOUR)
    return [hour for hour in hours if from_ms(hour).astimezone(zone).hour % 3 == 0]


class Wanted(NamedTuple):
    """A job to add."""

    kind: str
    interval: int
    phase: int
    policy: Policy
    mood: str
    paused: bool

    def schedule(self, now: int) -> tuple[Schedule, Sequence[int]]:
        """Return the schedule, and all the slots that it names for a job that is added now."""
        interval, phase = self.interval, self.phase
        span, later = milliseconds(interval), milliseconds(phase)
        grid = range(FIRST // interval * interval, LAST, interval)
        if self.kind == "every":
            return every(span, phase=later), range(grid.start + phase, LAST, interval)
        if self.kind == "start":
            return every(span, phase=later, anchor="start"), range(now + phase, LAST, interval)
        if self.kind == "at":
            slot = now + (phase - 300) * 1_000
            return at(from_ms(slot)), (slot,)
        if self.kind == "cron":
            return cron("*/7 * * * *"), Pattern(HOUR, range(0, HOUR, 7 * MINUTE))
        if self.kind == "zone":
            return cron("0 */3 * * *", tz="Europe/Berlin"), thirds_of_berlin()
        if self.kind == "union":
            first, second = range(0, HOUR, 10 * MINUTE), range(phase % 3, HOUR, 15 * MINUTE)
            union = any_of(every(minutes=10), every(minutes=15, phase=milliseconds(phase % 3)))
            return union, Pattern(HOUR, sorted({*first, *second}))
        if self.kind == "between":
            start = now + (phase - 300) * 1_000
            end = start + (1 + phase % 3) * interval + phase
            slots = range(grid.start + phase, LAST, interval)
            within = slots[bisect_left(slots, start) : bisect_left(slots, end)]
            return every(span, phase=later).between(from_ms(start), from_ms(end)), within
        return Moody(interval, self.mood), grid


INTERVALS = [1_000, 7_001, 60_000, 60_000, 900_000, 2 * HOUR, DAY]
PHASES = st.integers(0, 999)
CREW = st.lists(
    st.builds(
        Wanted, st.just("every"), st.sampled_from(INTERVALS[:4]), PHASES, POLICIES, st.just("works"), st.just(False)
    ),
    min_size=1,
    max_size=3,
)
"""Jobs that are there from the beginning, so that many meet."""
WANTED = st.builds(
    Wanted,
    st.sampled_from(["every", "start", "at", "cron", "zone", "union", "between", "moody", "moody"]),
    st.sampled_from(INTERVALS),
    PHASES,
    POLICIES,
    st.sampled_from(["works", "works", "works", *LIES]),
    st.sampled_from([False, False, False, True]),
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

    @initialize(
        startup_delay=st.sampled_from([0, 0, 5_000]), max_running=st.sampled_from([None, 1, 1, 2, 3]), crew=CREW
    )
    def begin(self, startup_delay: int, max_running: int | None, crew: list[Wanted]) -> None:
        self.timetable = Timetable(START, startup_delay=startup_delay, max_running=max_running, worker="w")
        self.model = Model(startup_delay, max_running)
        self.registers: list[Register] = []
        self.claims: list[Claim] = []
        self.alive: dict[int, tuple[ModelJob, ModelRun]] = {}
        self.stuck: dict[int, ModelJob] = {}
        self.keys = 0
        for wanted in crew:
            self.add(wanted, little=0)
        self.answer_registers(works=True, behind=0, little=0)

    @property
    def present(self) -> list[ModelJob]:
        return [job for job in self.model.jobs if not job.removed]

    def job(self, name: str) -> ModelJob:
        return next(job for job in self.model.jobs if job.name == name)

    def pass_time(self, amount: int) -> None:
        self.model.now += amount

    def tell(self, fact: e.Fact) -> None:
        self.timetable.handle(fact, self.model.now)

    def poll(self) -> list[e.Action]:
        """Poll until no more is due at this now."""
        actions: list[e.Action] = []
        more = True
        while more:
            part = self.timetable.poll(self.model.now)
            more = bool(part) and isinstance(part[-1], e.More)
            part = part[:-1] if more else part
            keys = [(action.slot, action.job) for action in part]
            assert keys == sorted(keys)
            actions += part
            assert len(actions) < 1_000, "More for ever"
        return actions

    def compare(self) -> None:
        """Let both take their turn, and compare what they ask for."""
        asked_before = sum(job.moody.asked for job in self.model.jobs if job.moody)
        actions = self.poll()
        self.model.turn()
        expected, self.model.out = self.model.out, []
        assert sorted(map(told, actions), key=repr) == sorted(expected, key=repr)
        assert self.timetable.poll(self.model.now) == ()
        for action in actions:
            self.note(action)
        asked = sum(job.moody.asked for job in self.model.jobs if job.moody) - asked_before
        assert asked <= 110 * len(self.model.jobs), "a schedule is not asked without end"

    def note(self, action: e.Action) -> None:
        match action:
            case Register():
                self.registers.append(action)
            case Claim():
                self.claims.append(action)
            case e.RunStarted(job, slot, attempt, key=key, run_id=run_id):
                if attempt == 1:
                    owner = self.job(job)
                    self.alive[run_id] = owner, [r for r in owner.runs if (r.slot, r.key) == (slot, key)][-1]
            case e.Abandon(run_id=run_id):
                self.stuck[run_id], _ = self.alive.pop(run_id)
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
    @rule(wanted=WANTED, little=LITTLE)
    def add(self, wanted: Wanted, little: int) -> None:
        self.pass_time(little)
        now = self.model.now
        name = f"j{len(self.model.jobs)}"
        schedule, slots = wanted.schedule(now)
        moody = schedule if isinstance(schedule, Moody) else None
        self.tell(e.Added(name, schedule, wanted.policy, wanted.paused))
        from_start, countable = wanted.kind == "start", wanted.kind in ("every", "start", "at", "between")
        self.model.add(ModelJob(name, slots, wanted.policy, now, moody, from_start, wanted.paused, countable))
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
        self.tell(e.PauseAsked(job.name))
        self.model.pause(job)
        self.compare()

    @precondition(lambda self: self.present)
    @rule(pick=PICK, little=LITTLE)
    def resume(self, pick: int, little: int) -> None:
        self.pass_time(little)
        job = self.present[pick % len(self.present)]
        self.tell(e.ResumeAsked(job.name))
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

    @precondition(lambda self: self.present)
    @rule(pick=PICK, little=LITTLE)
    def skip_next(self, pick: int, little: int) -> None:
        self.pass_time(little)
        job = self.present[pick % len(self.present)]
        self.tell(e.SkipAsked(job.name))
        self.model.skip_next(job)
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
        self.tell(registered([one.job for one in asked], watermarks if works else None))
        for one, watermark in zip(asked, watermarks, strict=True):
            self.model.registered(self.job(one.job), watermark if works else None)
        self.compare()

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, answer=st.sampled_from(["won", "won", "won", "lost"]), little=LITTLE)
    def answer_claim(self, pick: int, answer: str, little: int) -> None:
        self.pass_time(little)
        claim = self.claims.pop(pick % len(self.claims))
        self.tell(e.Answered([claim], [Won(pick + 1) if answer == "won" else lost(claim)]))
        self.model.answered(self.job(claim.job), answer)
        self.compare()

    @precondition(lambda self: self.claims)
    @rule(works=st.booleans(), little=LITTLE)
    def answer_all_claims(self, works: bool, little: int) -> None:
        self.pass_time(little)
        claims, self.claims = self.claims, []
        self.tell(
            e.Answered(claims, [Won(number + 1) for number in range(len(claims))]) if works else unavailable(claims)
        )
        for claim in claims:
            self.model.answered(self.job(claim.job), "won" if works else "unavailable")
        self.compare()

    @rule(times=st.integers(1, 4))
    def go_on(self, times: int) -> None:
        """What mostly happens, so that histories come to runs: the ledger answers, the next slot comes and is won."""
        if self.registers:
            self.answer_registers(works=True, behind=0, little=0)
        for _ in range(times):
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
        run_id = list(self.stuck)[pick % len(self.stuck)]
        self.tell(e.AttemptEnded(run_id, Succeeded()))
        self.model.unstuck(self.stuck.pop(run_id))
        self.compare()

    @precondition(lambda self: any(job.moody for job in self.present))
    @rule(pick=PICK, mood=st.sampled_from(["works", "works", *LIES]))
    def change_mood(self, pick: int, mood: str) -> None:
        moodies = [job.moody for job in self.present if job.moody]
        moodies[pick % len(moodies)].mood = mood

    @precondition(lambda self: len(self.model.jobs) > 3)
    @rule(drain=st.sampled_from([0, 1_000, 10_000]), little=LITTLE, sure=st.integers(0, 9))
    def stop(self, drain: int, little: int, sure: int) -> None:
        if sure != 7:  # rarely, or few histories would be long
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
            assert facts.oldest == min(job.owed, default=None)
            assert facts.ended == (job.next is None and not (job.claim or job.runs or job.waiter or job.registering))
            assert facts.skippable == job.skippable
            assert facts.skips == (job.next if job.next == job.skips else None)

    @invariant()
    def limits_hold(self) -> None:
        """Of a job at most one run or claim is alive, with allow its limit; of all that did not ask by hand, theirs."""
        for job in self.model.jobs:
            facts = self.timetable.facts(job.name)
            claims = sum(claim.job == job.name for claim in self.claims)
            if facts is not None:
                most = (job.policy.max_running or 10) if job.policy.overlap is Overlap.ALLOW else 1
                assert len(facts.runs) + claims <= most
        unasked = sum(run.key is None for job in self.model.jobs for run in job.runs) + len(self.claims)
        assert self.model.max_running is None or unasked <= self.model.max_running

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
        assert len(timetable._places.line) == len(self.model.line)
        assert len(timetable._claims) == sum(job.claim is not None for job in self.model.jobs)
        agenda = timetable._agenda
        standing = sum(len(bucket) if isinstance(bucket, list) else 1 for bucket in agenda._buckets.values())
        assert len(agenda._heap) == len(agenda._buckets)
        assert standing == agenda._counting + agenda._stale
        assert agenda._counting <= len(self.model.jobs)
        assert agenda._stale <= 64 + 2 * agenda._counting + 2 * len(self.model.jobs)

    def teardown(self) -> None:
        """Stop, and see that every slot of every job is covered once."""
        if not hasattr(self, "model"):
            return
        while self.claims:
            claim = self.claims.pop()
            self.tell(unavailable([claim]))
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


def run_facts(run: LiveRun) -> tuple[int, int, int, int]:
    return run.slot, run.attempt, run.started, run.deadline or 0


def told(action: e.Action) -> Seen:
    """Return an action as the model tells it."""
    match action:
        case Register(job, _, watermark, corrected):
            return "register", job, watermark, corrected
        case Claim(job, slot):
            return "claim", job, slot
        case Finish(job, slot, _, outcome):
            return "finish", job, slot, outcome
        case e.RunStarted(job, slot, attempt, reason, key, deadline=deadline):
            return "start", job, slot, attempt, reason, deadline, key
        case e.Cancel(job, slot, _, by):
            return "cancel", job, slot, by
        case e.Abandon(job, slot):
            return "abandon", job, slot
        case e.RunStuck(job, slot):
            return "stuck", job, slot
        case e.RunUnstuck(job):
            return "unstuck", job
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
