"""The judge of workers finds each kind of fault, and takes no excuse that is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adapters.workers_judge import LEASE_MS, History, Verdict, judge

PERIOD = 500
ONE, TWO = 11, 12
FIRST, LAST = 10_000, 14_500


class Story:
    """Two workers that run all slots in turn; each test changes something about it."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = [
            {"event": "SchedulerStarted", "pid": pid, "at": 9_000.0} for pid in (ONE, TWO)
        ]
        self.deaths: dict[int, float] = {}
        for slot in range(FIRST, LAST + 1, PERIOD):
            self.run(slot, (ONE, TWO)[slot // PERIOD % 2])
            self.settle(slot, (TWO, ONE)[slot // PERIOD % 2], "Taken")

    def tell(self, event: str, pid: int, at: float, **facts: Any) -> None:
        """Write a line."""
        self.log.append({"event": event, "pid": pid, "at": at, "job": "tick", **facts})

    def run(self, slot: int, pid: int) -> None:
        """Write down a run, 3 to 13 ms after its slot."""
        self.tell("RunStarted", pid, slot + 3.0, slot=slot, attempt=1)
        self.tell("start", pid, slot + 3.0, slot=slot, fence=slot + 1)
        self.settle(slot, pid, "Succeeded", 13.0)

    def settle(self, slot: int, pid: int, outcome: str, after: float = 5.0, text: str = "") -> None:
        """Write down what became of a slot."""
        self.tell("Settled", pid, slot + after, slot=slot, first=slot, outcome=outcome, text=text or f"{outcome}()")

    def forget(self, *slots: int) -> None:
        """Let the slots not have run, and nobody have said anything of them."""
        self.log = [line for line in self.log if line.get("slot") not in slots]

    def hold(self, *slots: int, pids: tuple[int, ...] = (TWO,)) -> None:
        """Let a lease have held up the slots for these workers."""
        self.forget(*slots)
        for slot in slots:
            for pid in pids:
                self.settle(slot, pid, "Skipped", 500.0, "Skipped('overlap')")

    def kill(self, pid: int, at: float) -> None:
        """Let a worker have been killed: what it wrote after that is gone, and the other one runs the later slots."""
        self.deaths[pid] = at
        self.log = [line for line in self.log if line["pid"] != pid or line["at"] <= at]
        for slot in (slot for slot in range(FIRST, LAST + 1, PERIOD) if slot > at):
            self.forget(slot)
            self.run(slot, TWO if pid == ONE else ONE)

    def verdict(self) -> Verdict:
        """Judge it."""
        return judge(History(self.log, self.deaths, FIRST - 100, LAST + 100, PERIOD, {"tick": 0}))


@pytest.fixture
def story() -> Story:
    """Return a story without fault."""
    return Story()


def test_all_is_well(story: Story) -> None:
    """Where every slot ran once there is nothing to say."""
    verdict = story.verdict()
    assert (verdict.ran, verdict.missing, verdict.faults) == ({"tick": 10}, {}, [])


def test_slot_that_ran_twice(story: Story) -> None:
    """A slot that two workers ran is a fault, and so is one that was done once but begun twice."""
    story.run(11_000, ONE)
    story.tell("RunStarted", ONE, 11_503.0, slot=11_500, attempt=1)
    story.tell("RunStarted", ONE, 12_003.0, slot=12_000, attempt=2)
    assert [fault for fault in story.verdict().faults if "times" in fault] == [
        "tick 11000 ran 2 times",
        "tick 11500 ran 2 times",
    ]


def test_fence_that_does_not_rise(story: Story) -> None:
    """A fence that is not greater than that of the slot before is a fault."""
    story.forget(11_000)
    story.tell("start", ONE, 11_003.0, slot=11_000, fence=10_501)
    assert "do not rise" in story.verdict().faults[0]


def test_slot_that_nobody_ran(story: Story) -> None:
    """A slot that is missing without a word, with a wrong word, or with nobody there is a fault."""
    story.forget(11_000, 12_000, 13_000)
    story.settle(12_000, ONE, "Taken")
    for pid in (ONE, TWO):
        story.settle(13_000, pid, "Missed", 510.0)
    assert len(story.verdict().faults) == 3
    story.log = [line for line in story.log if line["event"] != "Settled"]
    assert len(story.verdict().faults) == 3


def test_slot_that_all_say_another_took(story: Story) -> None:
    """A slot that everybody calls taken, though nobody was killed who could have taken it, is a fault."""
    story.forget(11_000)
    for pid in (ONE, TWO):
        story.settle(11_000, pid, "Taken")
    assert len(story.verdict().faults) == 1


def test_killed_before_it_began(story: Story) -> None:
    """A worker that is killed right after its claim takes that slot along, and its lease those of 1.5 s after it."""
    story.forget(11_000)
    story.kill(ONE, 11_002.0)
    story.settle(11_000, TWO, "Taken")
    story.hold(11_500, 12_000, 12_500)
    verdict = story.verdict()
    assert verdict.missing[("tick", 11_000)] == "claimed by a worker that was killed"
    assert [slot for _, slot in verdict.missing] == [11_000, 11_500, 12_000, 12_500]


@pytest.mark.parametrize("at", [11_004.0, 11_020.0], ids=["in its run", "before the store knows its end"])
def test_killed_in_its_run(story: Story, at: float) -> None:
    """A worker that is killed in its run may hold up the slots of 1.5 s after it, and none after that."""
    story.forget(11_000)
    story.run(11_000, ONE)
    story.kill(ONE, at)
    story.hold(11_500, 12_000, 12_500, 13_000)
    verdict = story.verdict()
    assert [slot for _, slot in verdict.missing] == [11_500, 12_000, 12_500]
    assert "tick 13000 did not run" in verdict.faults[0]


def test_killed_with_a_request_under_way(story: Story) -> None:
    """A request that never arrived is excused where a worker was killed that sent or served it, and only there."""
    story.log = [line for line in story.log if line["event"] != "start" or line["slot"] not in {11_000, 12_500}]
    assert len(story.verdict().faults) == 2
    story.deaths[99] = 11_010.0
    story.deaths[98] = 12_000.0
    verdict = story.verdict()
    assert verdict.missing == {("tick", 11_000): "a worker was killed that ran or served it"}
    assert len(verdict.faults) == 1


def test_killed_between_runs(story: Story) -> None:
    """A worker that is killed between two runs is no excuse for a slot that is missing."""
    story.kill(ONE, 11_400.0)
    story.hold(11_500)
    assert len(story.verdict().faults) == 1


def test_long_run_holds_until_its_renewed_lease_ends(story: Story) -> None:
    """A run that is killed after its lease was renewed holds up the slots until that one ends."""
    story.forget(11_000)
    story.tell("RunStarted", ONE, 11_003.0, slot=11_000, attempt=1)
    story.tell("start", ONE, 11_003.0, slot=11_000, fence=11_001)
    story.kill(ONE, 11_003.0 + LEASE_MS / 2)
    story.hold(11_500, 12_000, 12_500, 13_000, 13_500)
    assert [slot for _, slot in story.verdict().missing] == [11_500, 12_000, 12_500, 13_000, 13_500]


def test_late_run_holds_the_next_slot(story: Story) -> None:
    """A run that is still under way at the next slot is an excuse for that one."""
    story.forget(11_000)
    story.tell("RunStarted", ONE, 11_300.0, slot=11_000, attempt=1)
    story.tell("start", ONE, 11_300.0, slot=11_000, fence=11_001)
    story.settle(11_000, ONE, "Succeeded", 600.0)
    story.hold(11_500, pids=(ONE, TWO))
    assert story.verdict().missing == {("tick", 11_500): "a run was late, and still under way"}


def test_nobody_was_awake(story: Story) -> None:
    """A slot is excused where every worker stood still or could not ask the store, and not where one was awake."""
    story.forget(11_000)
    story.settle(11_000, ONE, "Missed", 700.0)
    story.tell("stall", ONE, 11_690.0, since=10_900.0)
    story.settle(11_000, TWO, "Skipped", 500.0, "Skipped('ledger')")
    assert story.verdict().missing == {("tick", 11_000): "nobody was awake, or the store was not"}
    story.log[-1] |= {"outcome": "Taken", "text": "Taken()"}
    assert len(story.verdict().faults) == 1
    story.tell("stall", TWO, 11_600.0, since=10_900.0)
    assert story.verdict().faults == []
