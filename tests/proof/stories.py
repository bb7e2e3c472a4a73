"""Histories that nobody ran: a clean one, and what can be planted into it, for the tests of the checker."""

from __future__ import annotations

from tests.proof import checker
from tests.proof import history as h
from tests.proof.checker import Verdict, judge
from tests.proof.history import Plan, Record

FIRST = 1_800_000_000_000
PLAN = Plan("redis", 1, (h.LEASED,), slots=40, processes=2, first=FIRST)
PERIOD = PLAN.period
ANNA, BERT = 11, 22
"""The pids of the two workers; each goes a path of its own, and they serve the slots by turns."""


def slot(number: int) -> int:
    return FIRST + number * PERIOD


class Story:
    """A clean history, into which a test plants something."""

    def __init__(self) -> None:
        self.records = [
            Record(h.SPAWN, FIRST - 900, ANNA, note="0 0"),
            Record(h.SPAWN, FIRST - 900, BERT, note="1 150"),
            Record(h.READY, FIRST - 500, ANNA),
            Record(h.READY, FIRST - 500, BERT),
        ]
        for number in range(PLAN.slots):
            self.run(number)
        self.records += [Record(h.EXIT, PLAN.end + 50, pid, note="0") for pid in (ANNA, BERT)]

    def run(self, number: int, pid: int = 0) -> None:
        """Let a slot be claimed, start, and end."""
        pid = pid or (BERT if number % 2 else ANNA)
        fence = slot(number) + 3
        self.records += [
            Record(h.AUDIT, fence, pid, h.LEASED, slot(number), fence),
            Record(h.START, fence + 1, pid, h.LEASED, slot(number), fence),
            Record(h.END, fence + 20, pid, h.LEASED, slot(number), fence),
        ]

    def drop(self, *kinds: str, numbers: range) -> None:
        """Let these records of some slots never have been written."""
        slots = {slot(number) for number in numbers}
        self.records = [one for one in self.records if not (one.kind in kinds and one.slot in slots)]

    def change(
        self, kind: str, number: int, at: int | None = None, fence: int | None = None, pid: int | None = None
    ) -> None:
        """Let a record of a slot say something else."""
        for place, one in enumerate(self.records):
            if one.kind == kind and one.slot == slot(number):
                self.records[place] = one._replace(
                    at=one.at if at is None else at,
                    fence=one.fence if fence is None else fence,
                    pid=one.pid if pid is None else pid,
                )

    def happened(self, kind: str, at: int, pid: int = 0, note: str = "") -> None:
        self.records.append(Record(kind, at, pid, note=note))

    def kill(self, pid: int, at: int) -> None:
        self.records = [one for one in self.records if not (one.kind == h.EXIT and one.pid == pid)]
        self.happened(h.KILL, at, pid)
        self.happened(h.EXIT, at + 5, pid, note="-9")

    def pause(self, pid: int, begin: int, end: int) -> None:
        self.happened(h.PAUSE, begin, pid)
        self.happened(h.RESUME, end, pid)

    def fault(self, path: str, begin: int, end: int) -> None:
        self.happened(h.FAULT, begin, note=f"{path} blackhole")
        self.happened(h.HEALED, end, note=path)

    def verdict(self) -> Verdict:
        ((verdict,), _) = judge(PLAN, self.records)
        return verdict

    def kinds(self) -> set[str]:
        return {violation.kind for violation in self.verdict().violations}


def start_twice(story: Story) -> None:
    story.records.append(Record(h.START, slot(7) + 60, BERT, h.LEASED, slot(7), slot(7) + 3))


def start_again_with_a_new_claim(story: Story) -> None:
    story.records += [
        Record(kind, slot(7) + 61, ANNA, h.LEASED, slot(7), slot(7) + 60) for kind in (h.AUDIT, h.START, h.END)
    ]


def let_a_fence_fall(story: Story) -> None:
    for kind in (h.AUDIT, h.START, h.END):
        story.change(kind, 7, fence=slot(5))


def let_a_fence_stay(story: Story) -> None:
    for kind in (h.START, h.END):
        story.change(kind, 7, fence=slot(6) + 3)


def win_a_slot_twice(story: Story) -> None:
    story.records.append(Record(h.AUDIT, slot(39) + 50, ANNA, h.LEASED, slot(39), slot(39) + 50))


def let_the_watermark_fall(story: Story) -> None:
    story.records.append(Record(h.AUDIT, slot(39) + 50, ANNA, h.LEASED, slot(20), slot(39) + 50))


def end_without_a_start(story: Story) -> None:
    story.records.append(Record(h.END, slot(7), ANNA, h.LEASED, slot(7), 99))


def end_twice(story: Story) -> None:
    story.records.append(Record(h.END, slot(7) + 30, BERT, h.LEASED, slot(7), slot(7) + 3))


def end_for_somebody_else(story: Story) -> None:
    story.change(h.END, 7, pid=ANNA)


def start_too_early(story: Story) -> None:
    story.change(h.START, 7, at=slot(7) - checker.EARLY - 1)


def start_too_late(story: Story) -> None:
    for kind in (h.START, h.END):
        story.change(kind, 7, at=slot(7) + PLAN.grace + checker.LATE + 1)


def start_unknown_to_the_store(story: Story) -> None:
    story.change(h.START, 7, fence=slot(7) + 4)


def start_without_a_claim(story: Story) -> None:
    story.drop(h.AUDIT, numbers=range(7, 8))


def never_start(story: Story) -> None:
    story.drop(h.START, h.END, numbers=range(7, 8))


def never_claim(story: Story) -> None:
    story.drop(h.AUDIT, h.START, h.END, numbers=range(7, 8))


def run_into_the_next(story: Story) -> None:
    story.change(h.END, 7, at=slot(8) + 50)


def never_end(story: Story) -> None:
    story.drop(h.END, numbers=range(7, 8))


def excuse_too_many(story: Story) -> None:
    story.drop(h.AUDIT, h.START, h.END, numbers=range(5, 35))
    story.happened(h.CRASH, slot(5))
    story.happened(h.UP, slot(35))


def kill_its_worker(story: Story) -> None:
    story.kill(BERT, slot(7) + 4)
    for number in range(8, PLAN.slots):
        story.drop(h.AUDIT, h.START, h.END, numbers=range(number, number + 1))
        if number * PERIOD >= 7 * PERIOD + PLAN.lease:  # the lease of the dead one is over
            story.run(number, ANNA)


def pause_its_worker(story: Story) -> None:
    story.pause(BERT, slot(7) + 3, slot(7) + 100)


def disturb_its_path(story: Story) -> None:
    story.fault("1", slot(7), slot(7) + 100)


def crash_the_store(story: Story) -> None:
    story.happened(h.CRASH, slot(7))
    story.happened(h.UP, slot(7) + 100)


def stall_the_machine(story: Story) -> None:
    story.happened(h.STALL, slot(7) + 200, note="200")


def stop_all(story: Story) -> None:
    story.pause(ANNA, slot(6) + 50, slot(7) + 100)
    story.pause(BERT, slot(6) + 50, slot(7) + 100)


def disturb_all(story: Story) -> None:
    story.fault("0", slot(6) + 50, slot(7) + 100)
    story.fault("1", slot(6) + 50, slot(7) + 100)


def stop_one_and_disturb_the_other(story: Story) -> None:
    story.pause(ANNA, slot(6) + 50, slot(7) + 100)
    story.fault("1", slot(6) + 50, slot(7) + 100)


def run_into_the_slot(story: Story) -> None:
    story.change(h.END, 6, at=slot(7) + 20)
