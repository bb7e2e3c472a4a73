"""Jitter: a run begins later than its slot, and the slot stays where it is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from loopcron import _events as e
from loopcron._every import at, every
from loopcron._instants import from_ms
from loopcron._outcomes import Failed, Missed, Skipped, Succeeded
from loopcron._policies import Policy, Retry

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000
HALF = timedelta(seconds=30)


def jitter(desk: Desk, slot: int) -> int:
    """Return the jitter of this minute's slot of the job."""
    return Policy(jitter=HALF).jitter_ms("job", desk.start + slot * MINUTE, MINUTE)


def test_slot_is_claimed_at_slot_and_jitter(desk: Desk) -> None:
    """Nothing is due a millisecond before, and what is claimed then is the slot, not the instant."""
    desk.add(jitter=HALF)
    late = jitter(desk, 1)
    assert late > 0
    assert desk.timetable.next_wakeup() == desk.start + MINUTE + late
    desk.at(MINUTE + late - 1)
    assert desk.claimed() == []
    desk.at(MINUTE + late)
    assert desk.claimed() == [("job", MINUTE)]


def test_lateness_counts_from_slot_and_jitter(desk: Desk) -> None:
    """A slot is within its grace as long after its jitter as another one after its instant."""
    desk.add(every(hours=1), jitter=HALF, misfire_grace=timedelta(seconds=10), catch_up="skip")
    due = desk.timetable.next_wakeup()
    assert due is not None
    desk.at(due - desk.start + 10_000)
    assert len(desk.claims) == 1


def test_one_millisecond_later_is_too_late(desk: Desk) -> None:
    """Beyond slot + jitter + grace the slot is missed."""
    desk.add(every(hours=1), jitter=HALF, misfire_grace=timedelta(seconds=10), catch_up="skip")
    due = desk.timetable.next_wakeup()
    assert due is not None
    desk.at(due - desk.start + 10_001)
    assert desk.claims == []
    assert [type(outcome) for _, outcome in desk.outcomes()] == [Missed]


def test_newest_slot_that_is_not_due_yet_is_left_alone(desk: Desk) -> None:
    """Where the newest slot's instant has passed, but not its jitter, the one before it is the newest due slot."""
    desk.add(jitter=HALF)
    late = jitter(desk, 4)
    desk.at(4 * MINUTE + late - 1)
    assert desk.claimed() == [("job", 3 * MINUTE)]
    assert desk.outcomes() == [(2 * MINUTE, Missed(desk.start + MINUTE, desk.start + 2 * MINUTE, 2))]
    desk.win()
    desk.end(Succeeded())
    desk.go(4 * MINUTE + late)
    assert desk.claimed() == [("job", 4 * MINUTE)]


def test_first_slot_due_and_second_not_yet(desk: Desk) -> None:
    """With two instants passed and one due, that one runs and nothing is missed."""
    desk.add(jitter=HALF)
    desk.at(2 * MINUTE + jitter(desk, 2) - 1)
    assert desk.claimed() == [("job", MINUTE)]
    assert desk.outcomes() == []


def test_jitter_is_below_a_short_gap(desk: Desk) -> None:
    """A jitter longer than the interval never carries a slot over the next one."""
    desk.add(every(seconds=1), jitter=timedelta(hours=1))
    lates = []
    for second in range(1, 31):
        due = desk.timetable.next_wakeup()
        assert due is not None
        desk.at(due - desk.start)
        assert desk.claimed() == [("job", second * 1_000)]
        lates.append(due - desk.start - second * 1_000)
        desk.lose()
    assert all(0 <= late < 1_000 for late in lates)
    assert max(lates) > 500


def test_only_slot_has_all_its_jitter(desk: Desk) -> None:
    """Where no slot follows, the jitter is bounded by itself alone."""
    desk.add(at(from_ms(desk.start + MINUTE)), jitter=timedelta(days=1))
    due = desk.timetable.next_wakeup()
    assert due == desk.start + MINUTE + Policy(jitter=timedelta(days=1)).jitter_ms("job", desk.start + MINUTE, None)


@pytest.mark.parametrize("end", ["resume", "remove", "stop"])
def test_closing_ranges_go_by_the_instant(desk: Desk, end: str) -> None:
    """At resume, removal and stop a slot whose instant has passed is settled, whether its jitter has or not."""
    desk.add(jitter=HALF)
    slot = desk.start + MINUTE
    if end == "resume":
        desk.tell(e.PauseAsked("job"))
        desk.tell(e.ResumeAsked("job"), MINUTE)
        assert desk.outcomes() == [(MINUTE, Skipped("paused", slot, slot, 1))]
    elif end == "remove":
        desk.tell(e.Removed("job"), MINUTE)
        assert desk.outcomes() == [(MINUTE, Skipped("removed", slot, slot, 1))]
    else:
        desk.tell(e.Stopping(0), MINUTE)
        assert desk.outcomes() == [(MINUTE, Missed(slot, slot, 1))]


def test_caught_up_slots_are_late_from_their_jitter(desk: Desk) -> None:
    """With catch_up all a slot exactly catch_up_within after its jitter is caught up."""
    within = 2 * MINUTE
    desk.add(jitter=HALF, catch_up="all", catch_up_within=timedelta(milliseconds=within))
    desk.at(2 * MINUTE + jitter(desk, 2) + within)
    assert desk.claimed() == [("job", 2 * MINUTE)]


def test_run_on_start_waits_for_its_jitter(desk: Desk) -> None:
    """The newest slot before the start runs at its jitter, if that is still to come."""
    desk.now = desk.start + 1
    desk.tell(e.Stepped(1))
    desk.actions.clear()
    desk.add(run_on_start=True, jitter=HALF)
    late = jitter(desk, 0)
    assert late > 1
    desk.at(late - 1)
    assert desk.claimed() == []
    desk.at(late)
    assert desk.claimed() == [("job", 0)]
    desk.win()
    assert desk.begun() == [("job", 0, "start")]


def test_retry_jitter_is_added_to_each_wait(desk: Desk) -> None:
    """The wait before an attempt is the back-off and a hash of run and attempt, the same whenever it is reckoned."""
    retry = Retry(4, timedelta(seconds=1), on=frozenset({"job"}), jitter=timedelta(seconds=5))
    desk.add(every(hours=1), retry=retry)
    desk.at(60 * MINUTE)
    desk.win()
    waits = []
    for _ in range(3):
        desk.end(Failed("job", "ValueError"))
        (failed,) = desk.take(e.AttemptFailed)
        waits.append(failed.retry_ms)
        desk.go(desk.now - desk.start + failed.retry_ms)
    key = f"job@{desk.start + 60 * MINUTE}"
    assert waits == [retry.delay_ms(attempt, key) for attempt in (1, 2, 3)]
    assert [wait // 1_000 > 0 for wait in waits] == [True, True, True]


def test_retry_jitter_of_a_manual_run_goes_by_its_key(desk: Desk) -> None:
    """Two manual runs that fail together do not come back together."""
    retry = Retry(4, timedelta(seconds=1), on=frozenset({"job"}), jitter=timedelta(seconds=5))
    desk.add(every(hours=1), retry=retry, overlap="allow")
    desk.trigger(number=1)
    desk.trigger(number=2)
    for run_id in list(desk.starts):
        desk.end(Failed("job", "ValueError"), run_id=run_id)
    waits = [failed.retry_ms for failed in desk.take(e.AttemptFailed)]
    assert waits == [retry.delay_ms(1, "job@manual-1"), retry.delay_ms(1, "job@manual-2")]
    assert waits[0] != waits[1]


def test_retrying_may_last_until_the_next_run_is_due(desk: Desk) -> None:
    """With Retry and jitter a run must end before the next one is due, its jitter included, not before its slot."""
    desk.add(retry=Retry(), jitter=HALF)
    late, next_late = jitter(desk, 1), jitter(desk, 2)
    desk.go(MINUTE + late)
    desk.win()
    (started,) = desk.take(e.RunStarted)
    assert started.deadline == min(desk.start + 2 * MINUTE + next_late, desk.now + MINUTE)
