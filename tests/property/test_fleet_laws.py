"""
Laws of several workers on one ledger, over generated histories: slow answers, lost ones, outages, suspends, pauses.

The workers share one clock, which is the store's too, and are polled whenever it moved; a worker that is suspended is
not, and then sees a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loopcron import _events as e
from loopcron._every import every
from loopcron._instants import from_ms
from loopcron._ledger import Claim, Finish, Pause, Register, Renew, Unavailable
from loopcron._outcomes import Outcome, Succeeded
from loopcron._policies import Policy
from loopcron._timetable import Timetable
from loopcron.ledgers.memory import MemoryLedger

START = 1_772_323_207_123
JOB = "job"
KINDS = (
    *("wait",) * 6,
    *("store",) * 8,
    *("end",) * 3,
    "lose",
    "down",
    "suspend",
    "wake",
    "pause",
    "resume",
    "trigger",
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 2),
        st.sampled_from([1, 30, 500, 1_999, 2_000, 5_000, 10_000, 30_000, 61_000]) | st.integers(1, 20_000),
    ),
    max_size=60,
)
POLICIES = st.builds(
    Policy,
    overlap=st.sampled_from(["skip", "queue", "replace"]),
    catch_up=st.sampled_from(["skip", "latest", "all"]),
    timeout=st.sampled_from([None, timedelta(seconds=3), timedelta(minutes=2)]),
    misfire_grace=st.sampled_from([timedelta(0), timedelta(seconds=9), timedelta(minutes=5)]),
)


def at_once(call: Any) -> Any:
    """Return the answer of a ledger in memory, which awaits nothing."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it awaits")


@dataclass
class Worker:
    """A worker's timetable, and what was asked and runs."""

    timetable: Timetable
    now: int
    asked: list[Any] = field(default_factory=list)
    """What the ledger is to be asked, in order."""
    alive: dict[int, e.RunStarted] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)
    is_suspended: bool = False


class Fleet:
    """Three workers with one job on one ledger; it is also the ledger's clock."""

    def __init__(self, seconds: int, policy: Policy) -> None:
        self.at = START
        self.ledger = MemoryLedger(self)  # type: ignore[arg-type]
        self.workers = [Worker(Timetable(START, worker=f"w{number}", shared=True), START) for number in range(3)]
        self.started: list[tuple[int, int]] = []
        """Slot and fence of each run that began, manual ones aside."""
        self.ended: list[tuple[int, Outcome]] = []
        """What became of them."""
        for worker in self.workers:
            self.tell(worker, e.Added(JOB, every(seconds=seconds), policy))

    def now(self) -> datetime:
        """Be the ledger's clock."""
        return from_ms(self.at)

    def tell(self, worker: Worker, fact: e.Fact) -> None:
        worker.timetable.handle(fact, worker.now)
        self.poll(worker)

    def poll(self, worker: Worker) -> None:
        while actions := worker.timetable.poll(worker.now):
            for action in actions:
                self.note(worker, action)

    def note(self, worker: Worker, action: e.Action) -> None:
        match action:
            case Register() | Claim() | Renew() | Finish() | Pause():
                worker.asked.append(action)
            case e.RunStarted(key=key):
                worker.alive[action.run_id] = action
                if key is None and action.attempt == 1:
                    self.started.append((action.slot, action.fence))
            case e.Cancel():
                worker.cut.add(action.run_id)
            case e.Abandon():
                del worker.alive[action.run_id]
            case e.Settled(slot=slot, outcome=outcome, started=started, key=None) if started is not None:
                self.ended.append((slot, outcome))
            case _:
                pass

    def wait(self, span: int) -> None:
        """Let time pass, each worker being polled at each of its wake-ups."""
        end = self.at + span
        while True:
            awake = [worker for worker in self.workers if not worker.is_suspended]
            wakeups = [at for worker in awake if (at := worker.timetable.next_wakeup()) is not None and at <= end]
            self.at = max(self.at, min(wakeups, default=end))
            for worker in awake:
                worker.now = self.at
                self.poll(worker)
            self.check()
            if not wakeups:
                return

    def store(self, worker: Worker, *, heard: bool, done: bool = True) -> None:
        """Let the ledger be asked one thing; its answer may be lost, and it may not even have seen it."""
        if not worker.asked:
            return
        action = worker.asked.pop(0)
        call = {Register: "register", Claim: "claim", Renew: "renew", Finish: "finish", Pause: "pause"}[type(action)]
        answers = at_once(getattr(self.ledger, call)([action])) if done else None
        if isinstance(action, Register):
            self.tell(worker, e.Registered([JOB], answers if heard and answers else [None]))
        elif isinstance(action, Claim):
            self.tell(worker, e.Answered([action], answers if heard and answers else [Unavailable("down")]))
        elif isinstance(action, Renew):
            self.tell(worker, e.Renewed([action], answers if heard else None))
        elif not heard:
            worker.asked.insert(0, action)

    def end(self, worker: Worker) -> None:
        """Let the oldest run end, by itself or because it was cut."""
        if worker.alive:
            run_id = min(worker.alive)
            del worker.alive[run_id]
            self.tell(worker, e.AttemptEnded(run_id, None if run_id in worker.cut else Succeeded()))

    def do(self, kind: str, number: int, span: int) -> None:
        worker = self.workers[number]
        if kind == "wait":
            self.wait(span)
        elif kind == "suspend":
            worker.is_suspended = True
        elif worker.is_suspended:
            self.wake(worker)
        elif kind == "store":
            self.store(worker, heard=True)
        elif kind in ("lose", "down"):
            self.store(worker, heard=False, done=kind == "lose")
        elif kind == "end":
            self.end(worker)
        elif kind == "trigger":
            self.tell(worker, e.Triggered(JOB, f"{JOB}@manual-{self.at}-{len(self.started)}"))
        elif kind in ("pause", "resume"):
            self.tell(worker, e.PauseAsked(JOB) if kind == "pause" else e.ResumeAsked(JOB))
        self.check()

    def wake(self, worker: Worker) -> None:
        """Let a suspended worker see by how much the wall clock went on without it."""
        worker.is_suspended = False
        step, worker.now = self.at - worker.now, self.at
        self.tell(worker, e.Stepped(step))

    def live(self, span: int, rounds: int) -> None:
        """Let the ledger answer all that is asked and all runs end, and time pass, again and again."""
        for _ in range(rounds):
            for worker in self.workers:
                while worker.asked or worker.alive:
                    self.store(worker, heard=True)
                    self.end(worker)
            self.wait(span)

    def check(self) -> None:
        slots = [slot for slot, _ in self.started]
        assert slots == sorted(set(slots)), "a slot begins once, and slots rise"
        fences = [fence for _, fence in self.started]
        assert fences == sorted(set(fences)), "fences rise"
        ended = [slot for slot, _ in self.ended]
        assert len(ended) == len(set(ended)), "a run has one outcome"
        live = [
            start.slot
            for worker in self.workers
            for run_id, start in worker.alive.items()
            if not worker.is_suspended and start.key is None and run_id not in worker.cut
        ]
        assert len(live) <= 1, "no two workers that are awake run the job"


@given(st.sampled_from([1, 5, 60]), POLICIES, STEPS)
def test_each_slot_begins_once_and_no_two_workers_run_the_job(
    seconds: int, policy: Policy, steps: Sequence[tuple[str, int, int]]
) -> None:
    """Whatever is lost, late, down, suspended or paused: once per slot, fences rise, and no two live runs overlap."""
    fleet = Fleet(seconds, policy)
    for kind, number, span in steps:
        fleet.do(kind, number, span)


@given(st.sampled_from([1, 5, 60]), POLICIES, STEPS)
def test_fleet_goes_on_once_all_is_well(seconds: int, policy: Policy, steps: Sequence[tuple[str, int, int]]) -> None:
    """After any history, with a store that answers and nobody suspended or paused, the next slots run, each once."""
    fleet = Fleet(seconds, policy)
    for kind, number, span in steps:
        fleet.do(kind, number, span)
    for worker in fleet.workers:
        if worker.is_suspended:
            fleet.wake(worker)
    span = max(1_000, seconds * 1_000 // 4)
    fleet.live(span, rounds=1)
    while any(worker.timetable.facts(JOB).slot is None for worker in fleet.workers):  # type: ignore[union-attr]
        fleet.live(span, rounds=1)
    fleet.tell(fleet.workers[0], e.ResumeAsked(JOB))
    before = len(fleet.started)
    fleet.live(span, rounds=24)
    assert len(fleet.started) > before + 1
    assert not any(worker.timetable.facts(JOB).paused for worker in fleet.workers)  # type: ignore[union-attr]
