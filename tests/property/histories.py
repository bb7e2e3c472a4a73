"""
Histories to tell a timetable, and the driver that tells them, answers for ledger and runs, and checks each poll.

A history is a list of numbered steps, so that one and the same can be told to two timetables; what a step is about,
such as "the third open claim", is looked up when it is its turn. Which slots there are is reckoned here from the rule
itself, not asked of the schedules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from loopcron import _events as e
from loopcron._every import at, every
from loopcron._instants import from_ms, to_ms
from loopcron._ledger import Answer, Claim, Held, Pause, Paused, Register, Renew, TooEarly, Unavailable, Won
from loopcron._outcomes import Busy, Failed, Missed, Outcome, Skipped, Succeeded
from loopcron._policies import Policy, Retry
from loopcron._schedules import COUNT_LIMIT, Schedule
from loopcron._tables import CatchUp, Overlap
from loopcron._timetable import Timetable
from tests.rows import lost, registered

START = 1_772_323_207_123
"""An odd instant in March 2026, in ms: nothing is due on it by chance."""
DAY = 86_400_000
ENDS: tuple[Outcome, ...] = (
    Succeeded(),
    Busy(),
    Failed("job", "ValueError"),
    Failed("endpoint", "HTTP 503", 503),
    Failed("endpoint", "HTTP 503", 503, retry_after_seconds=2.5),
    Failed("transport", "refused", started=False),
    Skipped("no_address"),
)


class Listed:
    """A user's schedule: a list of instants."""

    def __init__(self, slots: Sequence[int]) -> None:
        self.slots = slots

    def next_after(self, instant: datetime) -> datetime | None:
        position = bisect_right(self.slots, to_ms(instant))
        return from_ms(self.slots[position]) if position < len(self.slots) else None

    def latest_until(self, instant: datetime) -> datetime | None:
        position = bisect_right(self.slots, to_ms(instant))
        return from_ms(self.slots[position - 1]) if position else None


@dataclass(frozen=True)
class Plan:
    """A job to add: its schedule, and all the slots that it names once it was added at an instant."""

    schedule: Schedule
    policy: Policy
    slots: Callable[[int], Sequence[int]]


def spans(least: int, most: int) -> st.SearchStrategy[timedelta]:
    return st.integers(least, most).map(lambda value: timedelta(milliseconds=value))


INTERVALS = st.sampled_from([1_000, 7_001, 60_000, 900_000, 7_200_000, DAY]) | st.integers(500, 10_000_000)
AMOUNTS = st.sampled_from(
    [0, 1, 50, 1_000, 2_000, 60_000, 61_001, 900_000, 7_200_000, 2 * DAY, 40 * DAY]
) | st.integers(0, 200_000)


def a_policy(overlap: Overlap, catch_up: CatchUp, most: int | None, **others: Any) -> Policy:
    """Return a policy whose limits, where its choices have a use for them, are *most*."""
    places = most if overlap is Overlap.ALLOW else None
    backlog = most if catch_up is CatchUp.ALL else None
    return Policy(overlap=overlap, catch_up=catch_up, max_running=places, catch_up_max=backlog, **others)


POLICIES = st.builds(
    a_policy,
    overlap=st.sampled_from(Overlap),
    catch_up=st.sampled_from(CatchUp),
    most=st.sampled_from([None, 1, 2, 5]),
    catch_up_within=spans(0, 2 * DAY),
    misfire_grace=st.just(Policy().misfire_grace) | spans(0, 7_200_000),
    timeout=st.just(Policy().timeout) | st.none() | spans(1, 600_000),
    retry=st.none()
    | st.builds(
        Retry,
        attempts=st.integers(2, 5),
        on=st.just(frozenset({"job", 503})),
        jitter=st.sampled_from([timedelta(0), timedelta(seconds=5)]),
    ),
    jitter=st.just(timedelta(0)) | spans(0, 600_000),
    run_on_start=st.booleans(),
)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Schedule, Callable[[int], Sequence[int]]]:
    kind = draw(st.sampled_from(["epoch", "start", "at", "listed"]))
    if kind == "at":
        slot = START + draw(st.integers(-DAY, 3 * DAY))
        return at(from_ms(slot)), lambda _: (slot,)
    if kind == "listed":
        gaps = draw(st.lists(st.integers(1, 600_000), max_size=150))
        listed = [START - 60_000]
        for gap in gaps:
            listed.append(listed[-1] + gap)
        return Listed(listed), lambda _: listed
    interval = draw(INTERVALS)
    span = timedelta(milliseconds=interval)
    if kind == "start":
        phase = draw(st.integers(0, 2 * interval))
        rule = every(span, phase=timedelta(milliseconds=phase), anchor="start")
        return rule, lambda added: range(added + phase, added + 4000 * DAY, interval)
    phase = draw(st.integers(0, interval - 1))
    first = phase + interval * ((START - 400 * DAY) // interval)
    return every(span, phase=timedelta(milliseconds=phase)), lambda _: range(first, START + 4000 * DAY, interval)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    schedule, slots = draw(schedules())
    return Plan(schedule, draw(POLICIES), slots)


ANSWERS = (
    ("won", "won", "won", "lost", "unavailable"),
    ("won", "won", "won", "lost", "unavailable", "held", "held", "early", "paused"),
)
"""What a ledger says; the second ones if other workers share it."""
KINDS = (
    *("poll",) * 6,
    *("claim",) * 5,
    *("renew",) * 3,
    "elsewhere",
    *("register",) * 4,
    *("end",) * 5,
    *("add", "remove", "pause", "resume", "trigger", "trigger", "skip", "step", "stop"),
)
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 50), AMOUNTS), max_size=40)
PLANS = st.lists(plans(), min_size=1, max_size=5)
LEDGERS = st.fixed_dictionaries({"shared": st.booleans(), "fires": st.booleans(), "gently": st.booleans()})
"""Whether other workers claim in the same ledger, whether slots run without it once it was down for a while, and how
the timetable is polled; see `Driver`."""
LIMITS = st.sampled_from([None, None, 1, 2, 3])
"""How many runs of all jobs may be alive."""


@dataclass
class Known:
    """What the driver saw of one job."""

    plan: Plan
    added: int
    end: int | None = None
    """When it was removed or stopped; None while it goes on."""
    is_waiting: bool = True
    """Whether the ledger is still to be asked for its row: at first, and again after a correction."""
    since: int | None = None
    """After which instant its slots count; None: that is still for the ledger to say."""
    handed: list[tuple[int, int, int | None]] = field(default_factory=list)
    """First, last and count of all that was claimed since then, or settled without a claim."""
    has_begun: bool = False
    """Whether anything ever was."""
    claimed: list[int] = field(default_factory=list)
    owed: list[int] = field(default_factory=list)
    """Claimed slots that have no outcome yet."""

    def hand(self, first: int, last: int, count: int | None) -> None:
        self.handed.append((first, last, count))
        self.has_begun = True

    def claim(self, slot: int) -> None:
        assert not self.claimed or self.claimed[-1] < slot, "a slot is claimed once, and slots rise"
        self.claimed.append(slot)
        self.owed.append(slot)
        self.hand(slot, slot, 1)

    def correct(self, now: int, by: int) -> None:
        """Let slots count anew after *now*, but for those that are still to have their first outcome."""
        newest = check_cover(self)
        self.since = min(newest, now) if self.has_begun and newest is not None else None
        self.handed, self.claimed = [], []
        self.is_waiting = True
        if self.added > now:
            self.added += by


class Driver:
    """Tells a timetable a history, answers for the ledger and the runs, and checks each poll on the way."""

    def __init__(
        self,
        startup_delay: int = 0,
        max_running: int | None = None,
        *,
        shared: bool = False,
        fires: bool = False,
        gently: bool = False,
    ) -> None:
        self.now = START
        self.gently = gently
        """Whether it polls for what follows from facts first, and then for what is due."""
        self.max_running = max_running
        self.shared = shared
        self.timetable = Timetable(
            START, startup_delay=startup_delay, max_running=max_running, worker="w", shared=shared, fires=fires
        )
        self.asked: set[str] = set()
        """The claims that the ledger was asked for, once or more often."""
        self.pauses: dict[str, bool] = {}
        """What the rows hold."""
        self.renewals: list[Renew] = []
        self.known: dict[str, Known] = {}
        self.present: list[str] = []
        self.rows: dict[str, int] = {}
        self.registers: list[tuple[Register, int]] = []
        """With the number of corrections that there had been when it was asked for."""
        self.corrections = 0
        self.claims: list[Claim] = []
        self.alive: dict[int, e.RunStarted] = {}
        self.cut: set[int] = set()
        self.stuck: list[int] = []
        self.started: list[tuple[str, int, str | None]] = []
        self.answered: list[tuple[str, int, str | None]] = []
        self.log: list[tuple[int, tuple[e.Action, ...], int | None]] = []
        """Each poll: when, what it gave, and the next wake-up after it."""
        self.is_stopping = False

    def poll(self) -> None:
        """Poll until nothing is left, checking laws 2, 3 and 6 at each turn."""
        for turn in range(100):
            facts_only = self.gently and turn == 0
            actions = self.timetable.poll(self.now, facts_only=facts_only)
            self.log.append((self.now, actions, self.timetable.next_wakeup()))
            more = bool(actions) and isinstance(actions[-1], e.More)
            assert not (more and facts_only)
            plain = actions[:-1] if more else actions
            assert not any(isinstance(action, e.More) for action in plain)
            keys = [(action.slot, action.job) for action in plain]
            assert keys == sorted(keys), "law 6"
            for action in plain:
                self.note(action)
            unasked = len(self.claims) + sum(start.key is None for start in self.alive.values())
            assert self.max_running is None or unasked <= self.max_running, "the limit of all jobs"
            if not (more or facts_only):
                wakeup = self.timetable.next_wakeup()
                assert wakeup is None or wakeup > self.now, "law 3"
                assert self.timetable.poll(self.now) == (), "law 2"
                return
        raise AssertionError("More for ever")

    def tell(self, fact: e.Fact) -> None:
        self.timetable.handle(fact, self.now)
        self.poll()

    def note(self, action: e.Action) -> None:
        match action:
            case Register():
                self.registers.append((action, self.corrections))
            case Claim(job, slot, claim_id):
                # In a shared ledger a slot that was asked for can be one of those that a pause ends together.
                if claim_id not in self.asked and not self.shared:
                    self.known[job].claim(slot)
                self.asked.add(claim_id)
                self.claims.append(action)
            case Renew():
                self.renewals.append(action)
            case Pause(job, _, paused):
                self.pauses[job] = paused
            case e.RunStarted(job, slot, attempt, key=key, run_id=run_id):
                if attempt == 1:
                    self.started.append((job, slot, key))
                assert run_id not in self.alive
                self.alive[run_id] = action
            case e.Cancel(run_id=run_id):
                assert run_id in self.alive
                assert run_id not in self.cut
                self.cut.add(run_id)
            case e.Abandon(run_id=run_id):
                del self.alive[run_id]
                self.stuck.append(run_id)
            case e.Settled(job, slot, outcome, key=key):
                if action.started is not None:
                    self.answered.append((job, slot, key))
                if key is None and slot in self.known[job].owed:
                    self.known[job].owed.remove(slot)
                elif key is None:
                    self.known[job].hand(*span(slot, outcome))
            case _:
                pass

    # --- steps

    def add(self, plan: Plan, *, paused: bool = False) -> None:
        name = f"j{len(self.known)}"
        self.known[name] = Known(plan, self.now)
        self.present.append(name)
        self.tell(e.Added(name, plan.schedule, plan.policy, paused))

    def register(self, number: int, *, works: bool = True) -> None:
        asked, corrections = self.registers.pop(number % len(self.registers))
        if not works:
            self.timetable.handle(registered([asked.job], None), self.now)
            known, entry = self.known[asked.job], self.timetable._jobs.get(asked.job)
            if known.is_waiting and entry is not None and not entry.registering:
                # It goes on without the store, which has no row of it yet.
                known.is_waiting, known.since = False, known.added
                self.rows.setdefault(asked.job, known.added)
            self.poll()
            return
        mark = self.now if asked.watermark is None else asked.watermark
        row = self.rows.setdefault(asked.job, mark)
        if asked.corrected:
            row = self.rows[asked.job] = min(row, mark)
        known = self.known[asked.job]
        if corrections == self.corrections and asked.job in self.present and not self.is_stopping:
            known.is_waiting = False
            known.since = known.since if known.has_begun else row
        self.tell(registered([asked.job], [row]))

    def claim(self, number: int, how: str = "won") -> None:
        claim = self.claims.pop(number % len(self.claims))
        row = self.rows[claim.job]
        if self.pauses.get(claim.job) and how in ("won", "held") and claim.slot > row:
            how = "paused"
        others: dict[str, Answer] = {
            "unavailable": Unavailable("down"),
            "held": Held(number * 997 + 1),
            "early": TooEarly(number * 499 + 51),
            "paused": Paused(),
        }
        if how in others:
            self.tell(e.Answered([claim], [others[how]]))
            return
        self.rows[claim.job] = max(row, claim.slot)
        won = how == "won" and claim.slot > row
        self.tell(e.Answered([claim], [Won(number + 1) if won else lost(claim, max(row, claim.slot))]))

    def renew(self, number: int) -> None:
        renewal = self.renewals.pop(number % len(self.renewals))
        self.tell(e.Renewed([renewal], (None, [True], [True], [False])[number % 4]))

    def end(self, number: int, outcome: Outcome | None) -> None:
        run_ids = [*self.alive, *self.stuck]
        run_id = run_ids[number % len(run_ids)]
        if outcome is None and self.cut.isdisjoint({run_id}):
            outcome = Succeeded()
        if run_id in self.stuck:
            self.stuck.remove(run_id)
        else:
            del self.alive[run_id]
        self.tell(e.AttemptEnded(run_id, outcome))

    def remove(self, name: str) -> None:
        self.present.remove(name)
        self.finish(name)
        self.tell(e.Removed(name))

    def stop(self, drain: int) -> None:
        if not self.is_stopping:
            for name in self.present:
                self.finish(name)
        self.is_stopping = True
        self.tell(e.Stopping(drain))

    def step(self, by: int) -> None:
        self.now += by
        is_correction = by <= -e.CORRECTION_MS and not self.is_stopping
        self.corrections += is_correction
        self.tell(e.Stepped(by))
        if is_correction:
            for name in self.present:
                self.known[name].correct(self.now, by)

    def finish(self, name: str) -> None:
        if not self.is_stopping:
            self.known[name].end = self.now

    def do(self, step: tuple[str, int, int], spare: Sequence[Plan]) -> None:
        kind, number, amount = step
        name = self.present[number % len(self.present)] if self.present else None
        if kind == "poll":
            self.now += amount
            self.poll()
        elif kind == "claim" and self.claims:
            self.claim(number, ANSWERS[self.shared][number % len(ANSWERS[self.shared])])
        elif kind == "renew" and self.renewals:
            self.renew(number)
        elif kind == "elsewhere" and self.shared:
            self.pauses[f"j{number % len(self.known)}"] = amount % 2 == 0
        elif kind == "register" and self.registers:
            self.register(number, works=number % 4 != 3)
        elif kind == "end" and (self.alive or self.stuck):
            self.now += amount % 100_000  # told late, with no poll between
            self.end(number, (None, *ENDS)[number % (len(ENDS) + 1)])
        elif kind == "add" and not self.is_stopping:
            self.add(spare[number % len(spare)], paused=amount % 3 == 0)
        elif kind == "step":
            by = amount if number % 2 else -amount
            # What a correction does to slots that wait for the end of a pause is known to the model only.
            self.step(max(by, 1 - e.CORRECTION_MS) if self.shared else by)
        elif kind == "stop":
            self.stop(amount)
        elif name is not None:
            self.change(kind, name, number)

    def change(self, kind: str, name: str, number: int) -> None:
        if kind == "remove":
            self.remove(name)
        elif kind == "pause":
            self.tell(e.PauseAsked(name))
        elif kind == "resume":
            self.tell(e.ResumeAsked(name))
        elif kind == "skip":
            self.tell(e.SkipAsked(name))
        elif kind == "trigger" and not self.is_stopping:
            self.tell(e.Triggered(name, f"{name}@manual-{len(self.log)}-{number}"))

    def play(self, plans: Sequence[Plan], steps: Sequence[tuple[str, int, int]]) -> None:
        for plan in plans:
            self.add(plan)
        for step in steps:
            self.do(step, plans)

    def wake(self) -> bool:
        """Go to the next wake-up and poll; return whether there is one."""
        wakeup = self.timetable.next_wakeup()
        if wakeup is None:
            return False
        assert wakeup > self.now
        self.now = wakeup
        self.poll()
        return True

    def conclude(self) -> None:
        """Answer all that is open, then stop with no drain."""
        while self.registers or self.claims:
            if self.registers:
                self.register(0)
            else:
                self.claim(0)
        self.stop(0)
        while self.alive or self.stuck:
            self.end(0, None)
        self.poll()


def span(slot: int, outcome: Outcome) -> tuple[int, int, int | None]:
    """Return the first slot, the last and the count that a record covers."""
    if isinstance(outcome, Missed):
        assert outcome.last == slot
        return outcome.first, outcome.last, outcome.count
    if isinstance(outcome, Skipped) and outcome.first is not None:
        assert outcome.last == slot
        return outcome.first, slot, outcome.count
    return slot, slot, 1


def check_cover(known: Known) -> int | None:
    """
    Walk over what was handed out: each piece begins where the one before it has ended.

    Returns:
        Up to where that goes; None if the job was never registered.
    """
    if known.since is None:
        assert known.handed == []
        return None
    slots = known.plan.slots(known.added)
    newest = known.since
    position = bisect_right(slots, newest)
    for first, last, count in sorted(known.handed, key=lambda record: record[:2]):
        assert slots[position] == first, "no slot twice, none left out"
        after = bisect_right(slots, last)
        assert slots[after - 1] == last
        held = after - position
        if isinstance(slots, range) or held <= COUNT_LIMIT:
            assert count == held
        else:
            assert count is None
        position, newest = after, last
    if known.end is not None and not known.is_waiting:
        assert position == len(slots) or slots[position] > known.end, "all that was due has its outcome"
    return newest
