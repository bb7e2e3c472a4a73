"""catch_up all: the passed slots that run, oldest first and one at a time, while the job's later slots wait."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import _events as e
from loopcron._every import every
from loopcron._instants import from_ms
from loopcron._outcomes import Failed, Missed, Outcome, Skipped, Succeeded, Taken
from loopcron._tables import Overlap

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000
HOUR = 60 * MINUTE


def serve(desk: Desk) -> list[tuple[int, str]]:
    """Win and end all that comes at this now, one after the other, and return slots in minutes, and reasons."""
    begun: list[tuple[int, str]] = []
    while desk.claims:
        assert len(desk.claims) == 1
        desk.win()
        begun += [(slot // MINUTE, reason) for _, slot, reason in desk.begun()]
        desk.end(Succeeded())
    return begun


def missed(desk: Desk, first: int, last: int) -> tuple[int, Outcome]:
    """Return what is told of slots that were passed over, from minute to minute."""
    return last * MINUTE, Missed(desk.start + first * MINUTE, desk.start + last * MINUTE, last - first + 1)


def test_newest_passed_slots_run_oldest_first_then_the_newest_due(desk: Desk) -> None:
    """Of the older slots the newest *max* run, in order, then the newest due slot; those before them are missed."""
    desk.add(catch_up="all", catch_up_max=2)
    desk.at(6 * MINUTE)
    assert serve(desk) == [(4, "catch_up"), (5, "catch_up"), (6, "schedule")]
    assert desk.outcomes()[0] == missed(desk, 1, 3)


def test_newest_beyond_its_grace_is_one_of_the_max(desk: Desk) -> None:
    """Where the newest due slot has lost its grace it has passed as the others have, and counts with them."""
    desk.add(catch_up="all", catch_up_max=2, misfire_grace=timedelta(seconds=10))
    desk.at(6 * MINUTE + 10_001)
    assert serve(desk) == [(5, "catch_up"), (6, "catch_up")]
    assert desk.outcomes()[0] == missed(desk, 1, 4)


def test_max_of_one_with_the_newest_beyond_its_grace_is_latest(desk: Desk) -> None:
    """With a max of 1 and no slot in grace only the newest runs, as with catch_up latest."""
    desk.add(catch_up="all", catch_up_max=1, misfire_grace=timedelta(0))
    desk.at(6 * MINUTE + 1)
    assert serve(desk) == [(6, "catch_up")]
    assert desk.outcomes()[0] == missed(desk, 1, 5)


def test_start_slot_is_not_one_of_the_max(desk: Desk) -> None:
    """With run_on_start the newest slot before the start runs on its own account, after the *max* older ones."""
    desk.at(HOUR)
    grace = timedelta(0)
    desk.add(every(hours=2), catch_up="all", catch_up_max=1, misfire_grace=grace, run_on_start=True, behind=2 * HOUR)
    assert serve(desk) == [(-120, "catch_up"), (0, "start")]


@pytest.mark.parametrize(("within", "first"), [(120_000, 4), (119_999, 5), (60_000, 5), (59_999, 6)])
def test_bound_is_inclusive(desk: Desk, within: int, first: int) -> None:
    """A slot exactly catch_up_within late is caught up; one later is not."""
    desk.add(catch_up="all", catch_up_within=timedelta(milliseconds=within))
    desk.at(6 * MINUTE)
    assert [slot for slot, _ in serve(desk)] == list(range(first, 7))


def test_nothing_runs_beyond_the_bound(desk: Desk) -> None:
    """Where the newest due slot is beyond its grace and catch_up_within, all are missed."""
    desk.add(catch_up="all", catch_up_within=timedelta(0), misfire_grace=timedelta(0))
    desk.at(3 * MINUTE + 1)
    assert desk.claims == []
    assert desk.outcomes() == [missed(desk, 1, 3)]


def test_as_many_older_slots_as_the_max_leave_none_missed(desk: Desk) -> None:
    """Where the backlog reaches exactly to the first unserved slot nothing is missed, not even an empty range."""
    desk.add(catch_up="all", catch_up_max=2)
    desk.at(3 * MINUTE)
    assert [slot for slot, _ in serve(desk)] == [1, 2, 3]
    assert [outcome for _, outcome in desk.outcomes()] == [Succeeded()] * 3


class Uneven:
    """A user's schedule with slots one, ten and eleven minutes after the start."""

    def __init__(self, start: int) -> None:
        self.slots = [from_ms(start + minutes * MINUTE) for minutes in (1, 10, 11)]

    def next_after(self, instant: datetime) -> datetime | None:
        return next((slot for slot in self.slots if slot > instant), None)

    def latest_until(self, instant: datetime) -> datetime | None:
        return next((slot for slot in reversed(self.slots) if slot <= instant), None)


def test_caught_up_slot_has_its_own_period(desk: Desk) -> None:
    """The default timeout of a caught-up run follows from the gap after its own slot, not after the newest."""
    desk.add(Uneven(desk.start), catch_up="all")
    desk.at(11 * MINUTE)
    timeouts = []
    while desk.claims:
        desk.win()
        timeouts += [(start.deadline or 0) - desk.now for start in desk.take(e.RunStarted)]
        desk.end(Succeeded())
    assert timeouts == [5 * MINUTE, MINUTE, 5 * MINUTE]


def test_default_is_ten(desk: Desk) -> None:
    """Without a number ten older slots are caught up."""
    desk.add(catch_up="all")
    desk.at(60 * MINUTE)
    assert [slot for slot, _ in serve(desk)] == list(range(50, 61))


def test_later_slots_wait_and_are_then_judged_anew(desk: Desk) -> None:
    """While a caught-up slot runs nothing is settled; afterwards the max counts from the newest slot due by then."""
    desk.add(catch_up="all", catch_up_max=2, timeout=None)
    desk.at(4 * MINUTE)
    desk.win()
    assert desk.begun() == [("job", 2 * MINUTE, "catch_up")]
    desk.outcomes()
    desk.go(9 * MINUTE)
    assert desk.outcomes() == []
    assert desk.facts().slot == desk.start + 3 * MINUTE
    desk.end(Failed("job", "ValueError"))
    assert serve(desk) == [(7, "catch_up"), (8, "catch_up"), (9, "schedule")]
    assert desk.outcomes()[1] == missed(desk, 3, 6)


def test_overlap_replace_does_not_cut_what_is_caught_up(desk: Desk) -> None:
    """The job's own slots wait for a caught-up run also where they would replace another one."""
    desk.add(catch_up="all", overlap="replace", timeout=None)
    desk.at(2 * MINUTE)
    desk.win()
    desk.go(4 * MINUTE)
    assert desk.take(e.Cancel) == []
    desk.trigger()
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["replace"], "who asks by hand does"


def test_overlap_allow_catches_up_one_at_a_time(desk: Desk) -> None:
    """Caught-up slots run one after the other also where runs may overlap; then the next ones run beside."""
    desk.add(catch_up="all", overlap="allow", timeout=None)
    desk.at(2 * MINUTE)
    desk.win()
    desk.go(3 * MINUTE)
    assert desk.claims == []
    desk.end(Succeeded())
    assert [claim.slot - desk.start for claim in desk.claims] == [2 * MINUTE]


@pytest.mark.parametrize("overlap", Overlap)
def test_passed_slots_wait_for_a_live_run(desk: Desk, overlap: Overlap) -> None:
    """Slots that pass while a run is alive, as over a suspend, wait for its end and are caught up, whatever overlap."""
    desk.add(catch_up="all", overlap=overlap, timeout=None)
    desk.at(MINUTE)
    desk.win()
    desk.at(4 * MINUTE)
    assert desk.outcomes() == []
    assert desk.facts().oldest == desk.start + MINUTE, "that of the run; what waits for it is not owed yet"
    ran = []
    for _ in range(4):
        desk.end(Succeeded())
        ran += [slot for slot, outcome in desk.outcomes() if outcome == Succeeded()]
        desk.win()
    assert ran == [MINUTE, 2 * MINUTE, 3 * MINUTE, 4 * MINUTE]


def test_slot_on_time_beside_a_live_run_obeys_overlap(desk: Desk) -> None:
    """While nothing has passed, a slot that meets a live run is treated as overlap says."""
    desk.add(catch_up="all", timeout=None)
    desk.at(MINUTE)
    desk.win()
    desk.go(3 * MINUTE)
    assert desk.outcomes() == [(2 * MINUTE, Skipped("overlap")), (3 * MINUTE, Skipped("overlap"))]


def test_caught_up_run_is_owed_from_its_start(desk: Desk) -> None:
    """A backlog is late by nature: health counts a caught-up run from its start and not what waits for it."""
    desk.add(catch_up="all", catch_up_max=100, timeout=None)
    desk.at(60 * MINUTE)
    assert desk.facts().oldest is None
    desk.win()
    assert desk.facts().oldest == desk.start + 60 * MINUTE
    desk.at(62 * MINUTE)
    assert desk.facts().oldest == desk.start + 60 * MINUTE


def test_lost_claims_go_on_with_the_next(desk: Desk) -> None:
    """A caught-up slot that another replica has run is taken, and the next one is asked for."""
    desk.add(catch_up="all")
    desk.at(3 * MINUTE)
    for _ in range(3):
        desk.lose()
    assert desk.outcomes() == [(slot * MINUTE, Taken()) for slot in (1, 2, 3)]


def test_stuck_run_ends_the_waiting(desk: Desk) -> None:
    """A caught-up run that swallows its cancellation is given up, and the next slot comes."""
    desk.add(catch_up="all", timeout=timedelta(seconds=5))
    desk.at(2 * MINUTE)
    desk.win()
    desk.go(2 * MINUTE + 7_000)
    assert [claim.slot - desk.start for claim in desk.claims] == [2 * MINUTE]


@pytest.mark.parametrize("end", ["pause", "remove", "stop"])
def test_rest_of_the_backlog_ends_with_the_job(desk: Desk, end: str) -> None:
    """What was still to be caught up ends as one range at pause, removal or stop."""
    facts: dict[str, list[Any]] = {
        "pause": [e.PauseAsked("job"), e.ResumeAsked("job")],
        "remove": [e.Removed("job")],
        "stop": [e.Stopping(60_000)],
    }
    desk.add(catch_up="all", timeout=None)
    desk.at(3 * MINUTE)
    desk.win()
    for fact in facts[end]:
        desk.tell(fact)
    first, last = desk.start + 2 * MINUTE, desk.start + 3 * MINUTE
    ranges = {
        "pause": Skipped("paused", first, last, 2),
        "remove": Skipped("removed", first, last, 2),
        "stop": Missed(first, last, 2),
    }
    assert desk.outcomes() == [(3 * MINUTE, ranges[end])]


def test_few_questions_for_a_long_outage(desk: Desk) -> None:
    """A thousand days of a minutely job cost a record and the backlog, whatever its length."""
    desk.add(catch_up="all", catch_up_max=3, catch_up_within=timedelta(days=3))
    days = 1000 * 24 * HOUR
    desk.at(days)
    assert [slot for slot, _ in serve(desk)] == [days // MINUTE - 3 + number for number in range(4)]
    assert desk.outcomes()[0] == missed(desk, 1, days // MINUTE - 4)
