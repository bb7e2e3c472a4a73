"""The limit of all jobs: who stands in line for a place, in which order, and what becomes of what passes meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import _events as e
from loopcron._every import at, every
from loopcron._instants import from_ms
from loopcron._ledger import Claim
from loopcron._outcomes import Failed, Interrupted, Missed, Outcome, Skipped, Succeeded, Taken

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000
HOUR = 60 * MINUTE


def fill(desk: Desk) -> None:
    """Let a run without end take the one place."""
    desk.add(at(from_ms(desk.start - HOUR)), name="first", timeout=None)
    desk.trigger(name="first")
    desk.actions.clear()


def free(desk: Desk, elapsed: int | None = None) -> None:
    """End the run that took the place."""
    desk.end(Succeeded(), elapsed, run_id=min(desk.starts))


def stand(desk: Desk, name: str = "job", **policy: Any) -> None:
    """Let the slot of the first minute stand in line."""
    desk.add(name=name, **policy)
    desk.go(MINUTE)


def passed(desk: Desk, first: int, last: int) -> tuple[int, Outcome]:
    """Return what is told of slots that passed in line, from minute to minute."""
    return last * MINUTE, Skipped("limit", desk.start + first * MINUTE, desk.start + last * MINUTE, last - first + 1)


def test_slot_without_place_is_not_claimed_until_one_is_free(narrow: Desk) -> None:
    """A slot that finds no place stands in line unclaimed, and is claimed when the run of another job ends."""
    fill(narrow)
    stand(narrow)
    assert narrow.claimed() == []
    assert narrow.outcomes() == []
    free(narrow, MINUTE + 30_000)
    assert narrow.claimed() == [("job", MINUTE)]


def test_open_claim_takes_a_place(narrow: Desk) -> None:
    """A claim that is not answered counts; when it is lost, or cannot be asked, the next in line gets its place."""
    for name in ("a", "b", "c"):
        narrow.add(name=name)
    narrow.go(MINUTE)
    assert narrow.claimed() == [("a", MINUTE)]
    narrow.lose()
    assert narrow.claimed() == [("b", MINUTE)]
    narrow.give_up()
    assert set(narrow.claimed()) == {("b", MINUTE), ("c", MINUTE)}
    assert narrow.told() == [("a", MINUTE, Taken()), ("b", MINUTE, Skipped("ledger"))]


def test_line_is_served_in_order_of_coming(narrow: Desk) -> None:
    """First come, first served; several on one instant by name, whatever the order they were added in."""
    fill(narrow)
    for name, phase in (("z", 0.5), ("b", 1), ("a", 1), ("c", 2)):
        narrow.add(every(hours=1, phase=timedelta(seconds=phase)), name=name)
    narrow.go(5_000)
    served = []
    free(narrow)
    while narrow.claims:
        served += [claim.job for claim in narrow.claims]
        narrow.lose()
    assert served == ["z", "a", "b", "c"]


def test_late_look_orders_by_due_instant(narrow: Desk) -> None:
    """Several that are found due in one late look stand in line by when they were due, then by name."""
    fill(narrow)
    for name, phase in (("a", 3), ("b", 2), ("d", 1), ("c", 1)):
        narrow.add(every(hours=1, phase=timedelta(seconds=phase)), name=name)
    narrow.at(5_000)
    served = []
    free(narrow)
    while narrow.claims:
        served += [claim.job for claim in narrow.claims]
        narrow.lose()
    assert served == ["c", "d", "b", "a"]


def test_newcomer_does_not_overtake_the_line(narrow: Desk) -> None:
    """A slot that is due on the instant when a place becomes free stands in line behind those who wait."""
    fill(narrow)
    narrow.add(every(hours=1, phase=timedelta(minutes=1)), name="z")
    narrow.add(every(minutes=2), name="a")
    narrow.at(MINUTE)
    assert narrow.claimed() == []
    free(narrow, 2 * MINUTE)
    assert narrow.claimed() == [("z", MINUTE)]
    narrow.lose()
    assert narrow.claimed() == [("a", 2 * MINUTE)]


def test_slots_that_pass_in_line_are_skipped_for_the_limit(narrow: Desk) -> None:
    """What passes while a slot stands in line ends as one range, from that slot on, and the newest runs."""
    fill(narrow)
    stand(narrow)
    narrow.go(4 * MINUTE)
    assert narrow.outcomes() == []
    assert narrow.facts().oldest is None, "it waits for the others' runs"
    free(narrow, 4 * MINUTE + 1)
    assert narrow.outcomes()[1:] == [passed(narrow, 1, 3)]
    assert narrow.claimed() == [("job", 4 * MINUTE)]


def test_slots_older_than_the_one_in_line_are_missed(narrow: Desk) -> None:
    """What had passed before there was a line to stand in is missed, not skipped for the limit."""
    fill(narrow)
    narrow.add()
    narrow.at(3 * MINUTE)
    missed = Missed(narrow.start + MINUTE, narrow.start + 2 * MINUTE, 2)
    assert narrow.outcomes() == [(2 * MINUTE, missed)]
    narrow.go(4 * MINUTE)
    free(narrow)
    assert narrow.outcomes()[1:] == [passed(narrow, 3, 3)]


def test_slot_in_line_is_judged_anew(narrow: Desk) -> None:
    """A slot whose grace is over when a place is free is not run where the policy does not catch up."""
    fill(narrow)
    stand(narrow, catch_up="skip", misfire_grace=timedelta(seconds=10))
    free(narrow, MINUTE + 10_001)
    assert narrow.outcomes()[1:] == [passed(narrow, 1, 1)]
    assert narrow.claimed() == []
    narrow.go(2 * MINUTE)
    assert narrow.claimed() == [("job", 2 * MINUTE)]


def test_mark_of_the_line_is_gone_with_the_judgement(narrow: Desk) -> None:
    """Once a slot in line was judged, what passes later is missed again."""
    fill(narrow)
    stand(narrow)
    free(narrow)
    narrow.win()
    narrow.end(Succeeded())
    narrow.actions.clear()
    narrow.at(3 * MINUTE)
    assert narrow.outcomes() == [(2 * MINUTE, Missed(narrow.start + 2 * MINUTE, narrow.start + 2 * MINUTE, 1))]


def test_run_asked_for_does_not_wait_but_counts(narrow: Desk) -> None:
    """A manual run begins beyond the limit, and slots find no place as long as it lives."""
    fill(narrow)
    narrow.add()
    narrow.trigger()
    assert narrow.begun() == [("job", 0, "manual")]
    free(narrow)
    narrow.add(name="other")
    narrow.go(MINUTE)
    assert narrow.claimed() == []


def test_stuck_run_frees_its_place(narrow: Desk) -> None:
    """A run that is given up as stuck takes no place any more."""
    narrow.add(at(from_ms(narrow.start + MINUTE - 1)), name="first", timeout=timedelta(seconds=1))
    narrow.go(MINUTE - 1)
    narrow.win()
    stand(narrow)
    narrow.go(MINUTE - 1 + 3_000)
    assert narrow.claimed()[1:] == [("job", MINUTE)]


@pytest.mark.parametrize("overlap", ["queue", "replace"])
def test_waiter_stands_in_line_for_a_place(narrow: Desk, overlap: str) -> None:
    """A slot that waited for its job's run and then finds no place stands in line, and is not judged again."""
    narrow.add(overlap=overlap, timeout=None, catch_up="skip", misfire_grace=timedelta(0))
    narrow.go(MINUTE)
    narrow.win()
    stand(narrow, name="other", catch_up="skip")
    narrow.go(2 * MINUTE)
    narrow.actions.clear()
    narrow.end(Succeeded())
    assert narrow.claimed() == [("other", 2 * MINUTE)], "it came first"
    narrow.at(2 * MINUTE + 10_000)
    narrow.lose()
    assert narrow.claimed() == [("job", 2 * MINUTE)]


def waiter_in_line(desk: Desk, overlap: str) -> None:
    """Let the job's slot of the second minute, which waited for its run, stand in line for a place."""
    desk.add(overlap=overlap, timeout=None)
    desk.go(MINUTE)
    desk.win()
    desk.go(2 * MINUTE)
    desk.add(at(from_ms(desk.start)), name="first", timeout=None)
    desk.trigger(name="first")
    desk.end(None if overlap == "replace" else Succeeded(), run_id=min(desk.starts))
    desk.actions.clear()
    assert not desk.claims


def test_slots_after_a_waiter_in_line_obey_the_table(narrow: Desk) -> None:
    """While a waiter stands in line, later slots of its job are skipped with queue, and it keeps its turn."""
    waiter_in_line(narrow, "queue")
    narrow.go(4 * MINUTE)
    assert narrow.outcomes() == [(3 * MINUTE, Skipped("overlap")), (4 * MINUTE, Skipped("overlap"))]
    narrow.end(Succeeded(), run_id=max(narrow.starts))
    assert narrow.claimed() == [("job", 2 * MINUTE)]


def test_slot_that_replaces_one_in_line_takes_its_turn(narrow: Desk) -> None:
    """With replace a newer slot takes the place in line of the one that waits, so that it is not starved by itself."""
    waiter_in_line(narrow, "replace")
    narrow.add(every(hours=1, phase=timedelta(minutes=2, seconds=30)), name="late")
    narrow.go(3 * MINUTE)
    assert narrow.outcomes() == [(2 * MINUTE, Skipped("overlap"))]
    narrow.end(Succeeded(), run_id=max(narrow.starts))
    assert narrow.claimed() == [("job", 3 * MINUTE)]
    narrow.lose()
    assert narrow.claimed() == [("late", 2 * MINUTE + 30_000)]


def test_run_asked_for_that_replaces_one_in_line_begins(narrow: Desk) -> None:
    """A manual run that replaces a slot in line begins at once, and nobody stands there for it."""
    waiter_in_line(narrow, "replace")
    narrow.trigger(number=5)
    assert narrow.outcomes() == [(2 * MINUTE, Skipped("overlap"))]
    assert narrow.begun() == [("job", 2 * MINUTE, "manual")]
    narrow.end(Succeeded(), run_id=max(narrow.starts))
    narrow.end(Succeeded(), run_id=sorted(narrow.starts)[-2])
    assert narrow.claimed() == []
    narrow.go(3 * MINUTE)
    assert narrow.claimed() == [("job", 3 * MINUTE)]


def test_run_asked_for_waits_for_its_job_and_not_for_the_line(narrow: Desk) -> None:
    """Manual runs of a job whose slot stands in line wait for each other only, and the slot keeps standing there."""
    fill(narrow)
    stand(narrow, overlap="queue", timeout=None)
    narrow.trigger(number=1)
    narrow.trigger(number=2)
    narrow.go(2 * MINUTE)
    assert narrow.outcomes() == [], "its slots wait for a place"
    narrow.end(Succeeded())
    assert [start.key for start in narrow.take(e.RunStarted)] == ["job@manual-1", "job@manual-2"]
    narrow.end(Succeeded())
    narrow.outcomes()
    free(narrow)
    assert narrow.claimed() == [("job", 2 * MINUTE)]
    assert passed(narrow, 1, 1) in narrow.outcomes()


def test_run_asked_for_leaves_the_slot_of_its_job_in_line(narrow: Desk) -> None:
    """With replace a manual run replaces another one, and leaves alone the slot of its job that stands in line."""
    fill(narrow)
    stand(narrow, overlap="replace", timeout=None)
    narrow.trigger(number=1)
    narrow.trigger(number=2)
    narrow.go(MINUTE + 1_000)
    assert narrow.outcomes() == []
    narrow.end(None)
    assert [start.key for start in narrow.take(e.RunStarted)] == ["job@manual-1", "job@manual-2"]


# --- leaving the line


def test_pause_leaves_the_line(narrow: Desk) -> None:
    """A paused job stands in no line; its slots end as paused at resume, and it does not get the next place."""
    fill(narrow)
    stand(narrow)
    narrow.tell(e.PauseAsked("job"))
    free(narrow, 2 * MINUTE)
    assert narrow.claimed() == []
    narrow.outcomes()
    narrow.tell(e.ResumeAsked("job"))
    assert narrow.outcomes() == [
        (2 * MINUTE, Skipped("paused", narrow.start + MINUTE, narrow.start + 2 * MINUTE, 2)),
    ]


def test_pause_leaves_the_line_while_a_run_asked_for_waits(narrow: Desk) -> None:
    """A pause takes the slot out of the line also when a manual run of the job waits, and that one goes on waiting."""
    fill(narrow)
    stand(narrow, overlap="queue", timeout=None)
    narrow.trigger(number=1)
    narrow.trigger(number=2)
    narrow.tell(e.PauseAsked("job"))
    narrow.end(Succeeded())
    assert [start.key for start in narrow.take(e.RunStarted)] == ["job@manual-1", "job@manual-2"]
    narrow.end(Succeeded())
    free(narrow)
    assert narrow.claimed() == []


def test_waiter_in_line_ends_with_pause_and_removal(narrow: Desk) -> None:
    """A slot's waiter that stands in line ends as paused or as removed, and leaves the line."""
    waiter_in_line(narrow, "queue")
    narrow.tell(e.PauseAsked("job"))
    assert narrow.outcomes() == [(2 * MINUTE, Skipped("paused"))]
    narrow.end(Succeeded(), run_id=max(narrow.starts))
    assert narrow.claimed() == []


def test_removal_leaves_the_line(narrow: Desk) -> None:
    """The due slots of a job that is removed from the line end as removed, and the next one gets the place."""
    fill(narrow)
    stand(narrow, name="a")
    stand(narrow, name="b")
    narrow.tell(e.Removed("a"), 2 * MINUTE)
    assert narrow.told() == [("a", 2 * MINUTE, Skipped("removed", narrow.start + MINUTE, narrow.start + 2 * MINUTE, 2))]
    free(narrow)
    assert {job for job, _ in narrow.claimed()} == {"b"}


def test_stop_ends_what_stands_in_line_for_the_limit(narrow: Desk) -> None:
    """At the stop the due slots of a job in line end as skipped for the limit; those of the others are missed."""
    fill(narrow)
    stand(narrow)
    narrow.add(name="other")
    narrow.tell(e.Stopping(0), 2 * MINUTE)
    missed = Missed(narrow.start + 2 * MINUTE, narrow.start + 2 * MINUTE, 1)
    assert narrow.told() == [("job", *passed(narrow, 1, 2)), ("other", 2 * MINUTE, missed)]
    narrow.end(None, run_id=min(narrow.starts))
    assert narrow.claimed() == []
    assert narrow.timetable.is_over


def test_stop_interrupts_a_waiter_in_line(narrow: Desk) -> None:
    """A slot's waiter that stands in line at the stop is interrupted."""
    waiter_in_line(narrow, "queue")
    narrow.tell(e.Stopping(0))
    assert narrow.outcomes() == [(2 * MINUTE, Interrupted("shutdown"))]


# --- trouble while in line


class Fails:
    """A user's schedule of every minute that raises when told to."""

    def __init__(self) -> None:
        self.fails = False

    def next_after(self, instant: Any) -> Any:
        if self.fails:
            raise RuntimeError("no schedule today")
        return every(minutes=1).next_after(instant)

    def latest_until(self, instant: Any) -> Any:
        return every(minutes=1).latest_until(instant)


def test_job_that_is_parked_at_its_turn_holds_up_nobody(narrow: Desk) -> None:
    """A job whose schedule fails when its turn comes is parked, and the place goes to the next one."""
    fill(narrow)
    schedule = Fails()
    narrow.add(schedule, name="a")
    narrow.add(name="b")
    narrow.go(MINUTE)
    schedule.fails = True
    free(narrow)
    assert [parked.job for parked in narrow.take(e.JobParked)] == ["a"]
    assert narrow.claimed() == [("b", MINUTE)]
    schedule.fails = False
    narrow.go(MINUTE + 1_000)
    assert len(narrow.take(e.JobUnparked)) == 1
    narrow.lose()
    assert narrow.claimed() == [("a", MINUTE)]


def test_step_back_while_in_line_waits_for_the_slot_again(narrow: Desk) -> None:
    """After a step back a slot in line is not due when its turn comes, and is claimed on its instant."""
    fill(narrow)
    stand(narrow)
    narrow.tell(e.Stepped(-30_000), MINUTE - 30_000)
    free(narrow)
    assert narrow.claimed() == []
    narrow.go(MINUTE)
    assert narrow.claimed() == [("job", MINUTE)]


def test_step_back_while_in_line_keeps_the_jitter(narrow: Desk) -> None:
    """Also after a step back a slot that stood in line is not due before its jitter."""
    fill(narrow)
    jitter = timedelta(seconds=50)
    narrow.add(jitter=jitter)
    narrow.go(3 * MINUTE)
    due = narrow.facts().slot
    assert due is not None
    narrow.tell(e.Stepped(-3 * MINUTE), 0)
    free(narrow)
    assert narrow.claimed() == []
    first = narrow.timetable.next_wakeup()
    assert first is not None
    slot = narrow.facts().slot
    assert slot is not None
    narrow.go(first - narrow.start)
    assert [claim.slot for claim in narrow.claims] == [slot]
    assert first > slot


def test_forward_step_while_in_line_lets_slots_pass(narrow: Desk) -> None:
    """After a step forward the slots in between have passed in line."""
    fill(narrow)
    stand(narrow)
    narrow.tell(e.Stepped(2 * MINUTE), 3 * MINUTE)
    free(narrow)
    assert narrow.outcomes()[1:] == [passed(narrow, 1, 2)]
    assert narrow.claimed() == [("job", 3 * MINUTE)]


def test_catch_up_all_in_line_goes_on_with_the_oldest(narrow: Desk) -> None:
    """A job that catches up stands in line with its oldest slot, and its turns come one after the other."""
    fill(narrow)
    narrow.add(catch_up="all", behind=2 * MINUTE, overlap="allow")
    assert narrow.outcomes() == []
    free(narrow)
    served = []
    while narrow.claims:
        served += [slot for _, slot in narrow.claimed()]
        narrow.lose()
    assert served == [-MINUTE, 0]


def test_wakeup_is_now_while_a_place_is_free_for_the_line(narrow: Desk) -> None:
    """When a place is free for somebody in line, the next poll is due at once."""
    fill(narrow)
    stand(narrow)
    narrow.timetable.handle(e.AttemptEnded(min(narrow.starts), Failed("job", "ValueError")), narrow.now)
    assert narrow.timetable.next_wakeup() == narrow.now
    narrow.turn()
    assert narrow.claimed() == [("job", MINUTE)]


def test_jobs_own_runs_take_places_too(narrow: Desk) -> None:
    """With overlap allow a job's own runs count, and its next slot stands in line behind them."""
    narrow.add(overlap="allow", timeout=None)
    narrow.go(MINUTE)
    narrow.win()
    narrow.go(3 * MINUTE)
    narrow.take(Claim)
    narrow.end(Succeeded())
    assert narrow.claimed() == [("job", 3 * MINUTE)]
    assert narrow.outcomes() == [(MINUTE, Succeeded()), passed(narrow, 2, 2)]


def test_who_was_admitted_does_not_overtake_later(narrow: Desk) -> None:
    """A job that had its turn stands in line again behind those who wait, also when its run ends on its next slot."""
    fill(narrow)
    narrow.add(name="a", timeout=None)
    narrow.add(every(hours=1, phase=timedelta(seconds=90)), name="b")
    narrow.go(MINUTE)
    free(narrow)
    narrow.win()
    narrow.go(2 * MINUTE - 1)
    narrow.actions.clear()
    narrow.end(Succeeded(), 2 * MINUTE)
    assert narrow.claimed() == [("b", MINUTE + 30_000)]


def test_pause_takes_the_mark_of_the_line_away(narrow: Desk) -> None:
    """After a pause in line, slots that pass later are missed and not skipped for the limit."""
    fill(narrow)
    stand(narrow)
    narrow.tell(e.PauseAsked("job"))
    narrow.tell(e.ResumeAsked("job"))
    free(narrow)
    narrow.actions.clear()
    narrow.at(3 * MINUTE)
    assert narrow.outcomes() == [(2 * MINUTE, Missed(narrow.start + 2 * MINUTE, narrow.start + 2 * MINUTE, 1))]


def test_who_was_admitted_before_does_not_overtake_a_new_line(narrow: Desk) -> None:
    """A job whose stuck run frees the place at that instant stands behind the one that joined the line before it."""
    narrow.add(name="a", timeout=None)
    narrow.add(name="b", timeout=timedelta(milliseconds=57_999))
    narrow.go(MINUTE)
    narrow.win()
    narrow.end(Succeeded(), MINUTE + 1)
    narrow.win()
    assert narrow.claimed() == [("a", MINUTE), ("b", MINUTE)], "b came out of the line"
    narrow.go(2 * MINUTE)  # b's run is given up now, and both are due
    assert narrow.claimed() == [("a", 2 * MINUTE)]
