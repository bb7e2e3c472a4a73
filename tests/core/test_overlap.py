"""Overlap: what becomes of a slot, or of a run asked for, while a run of the job is alive."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import _events as e
from loopcron._every import at
from loopcron._instants import from_ms
from loopcron._ledger import Claim, Finish
from loopcron._outcomes import Failed, Interrupted, Missed, Outcome, Skipped, Succeeded, Taken, TimedOut
from loopcron._policies import Retry
from loopcron._tables import OVERLAP_TABLE, Occupancy, Overlap, Verdict

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000
FAILED = Failed("job", "ValueError")


def run(desk: Desk, **policy: Any) -> None:
    """Add a job of every minute whose first slot is running."""
    desk.add(timeout=None, **policy)
    desk.at(MINUTE)
    desk.win()
    desk.actions.clear()


# --- queue


def test_queue_starts_the_first_waiter_when_the_run_ends(desk: Desk) -> None:
    """The first slot that comes during a run waits unclaimed, later ones are skipped; it begins at the run's end."""
    run(desk, overlap="queue")
    desk.go(4 * MINUTE + 1)
    assert desk.claimed() == []
    assert desk.outcomes() == [(3 * MINUTE, Skipped("overlap")), (4 * MINUTE, Skipped("overlap"))]
    desk.end(Succeeded())
    assert desk.claimed() == [("job", 2 * MINUTE)]
    desk.win()
    assert desk.begun() == [("job", 2 * MINUTE, "schedule")]


def test_queue_judges_its_waiter_for_lateness_once(desk: Desk) -> None:
    """A slot that waited longer than its grace and its catch_up_within begins all the same."""
    run(desk, overlap="queue", catch_up="skip", misfire_grace=timedelta(0))
    desk.go(2 * MINUTE)
    desk.at(2 * MINUTE + 30_000)
    desk.end(FAILED)
    assert desk.claimed() == [("job", 2 * MINUTE)]


def test_queue_waiter_comes_before_the_slot_of_the_same_instant(desk: Desk) -> None:
    """When a run ends on the instant of a slot, the one that waits is first, and the slot waits for it."""
    run(desk, overlap="queue")
    desk.at(2 * MINUTE)
    desk.end(Succeeded(), 3 * MINUTE)
    assert desk.claimed() == [("job", 2 * MINUTE)]
    desk.win()
    assert desk.outcomes() == [(MINUTE, Succeeded())]
    desk.end(Succeeded(), 3 * MINUTE + 1)
    assert desk.claimed() == [("job", 3 * MINUTE)]


@pytest.mark.parametrize(("unavailable", "outcome"), [(False, Taken()), (True, Skipped("ledger"))])
def test_queue_waiter_whose_claim_fails_is_over(desk: Desk, unavailable: bool, outcome: Outcome) -> None:
    """A waiter that loses its claim, or cannot ask for it, has its outcome, and the next slot is served as ever."""
    run(desk, overlap="queue")
    desk.at(2 * MINUTE)
    desk.end(Succeeded())
    desk.actions.clear()
    desk.give_up() if unavailable else desk.lose()
    assert desk.outcomes() == [(2 * MINUTE, outcome)]
    desk.actions.clear()
    desk.go(3 * MINUTE)
    assert desk.claimed() == [("job", 3 * MINUTE)]


def test_queue_waits_until_a_stuck_run_is_given_up(desk: Desk) -> None:
    """A run that swallows its cancellation holds the waiter up for two seconds, and no longer."""
    desk.add(overlap="queue", timeout=timedelta(seconds=90))
    desk.at(MINUTE)
    desk.win()
    desk.go(2 * MINUTE + 30_000)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["timeout"]
    desk.go(2 * MINUTE + 31_999)
    desk.take(Claim)
    assert desk.claimed() == []
    desk.go(2 * MINUTE + 32_000)
    assert desk.claimed() == [("job", 2 * MINUTE)]
    assert desk.outcomes() == [(MINUTE, TimedOut(92.0))]


def test_queue_waits_over_attempts(desk: Desk) -> None:
    """A run between two attempts is alive, so the slot waits until the last attempt has ended."""
    retry = Retry(2, timedelta(seconds=20), on=frozenset({"job"}))
    desk.add(overlap="queue", timeout=None, retry=retry)
    desk.at(MINUTE)
    desk.win()
    desk.end(FAILED, 2 * MINUTE - 30_000)
    desk.actions.clear()
    desk.trigger()
    desk.go(2 * MINUTE - 10_000)
    assert [(start.attempt, start.reason) for start in desk.take(e.RunStarted)] == [(2, "schedule")]
    desk.end(FAILED)
    assert desk.begun() == [("job", 2 * MINUTE - 30_000, "manual")]


def test_slots_wait_while_a_claim_is_open_and_then_queue(desk: Desk) -> None:
    """A slot that comes during a slow claim is looked at after the answer, and waits for the run that began."""
    desk.add(overlap="queue", timeout=None)
    desk.at(MINUTE)
    desk.go(2 * MINUTE)
    assert desk.outcomes() == []
    desk.win(2 * MINUTE + 1)
    assert desk.begun() == [("job", MINUTE, "schedule")]
    assert desk.facts().slot == desk.start + 3 * MINUTE
    assert desk.facts().oldest == desk.start + MINUTE


def test_run_asked_for_during_a_claim_queues_behind_it(desk: Desk) -> None:
    """With queue a claim that is won begins its run also when somebody asked for one meanwhile."""
    desk.add(overlap="queue", timeout=None)
    desk.at(MINUTE)
    desk.trigger()
    desk.win()
    assert desk.begun() == [("job", MINUTE, "schedule")]
    desk.end(Succeeded())
    assert desk.begun() == [("job", MINUTE, "manual")]


# --- replace


def test_replace_cancels_the_run_and_begins_when_it_has_ended(desk: Desk) -> None:
    """The run is told to end, the slot waits unclaimed until it has, and the run's outcome says what replaced it."""
    run(desk, overlap="replace")
    desk.at(2 * MINUTE)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["replace"]
    assert desk.claimed() == []
    desk.end(None, 2 * MINUTE + 100)
    assert desk.outcomes() == [(MINUTE, Interrupted("replace"))]
    assert desk.claimed() == [("job", 2 * MINUTE)]


def test_replaced_run_that_ends_by_itself_keeps_its_outcome(desk: Desk) -> None:
    """A run that was done before the cancellation reached it has succeeded."""
    run(desk, overlap="replace")
    desk.at(2 * MINUTE)
    desk.end(Succeeded())
    assert desk.outcomes() == [(MINUTE, Succeeded())]
    assert desk.claimed() == [("job", 2 * MINUTE)]


def test_replace_gives_up_a_stuck_run_after_two_seconds(desk: Desk) -> None:
    """A run that swallows the cancellation is given up, and the slot begins then: never two are waited for."""
    run(desk, overlap="replace")
    desk.at(2 * MINUTE)
    desk.go(2 * MINUTE + 1_999)
    assert desk.claimed() == []
    desk.go(2 * MINUTE + 2_000)
    assert desk.outcomes() == [(MINUTE, Interrupted("replace"))]
    assert len(desk.take(e.Abandon)) == 1
    assert desk.claimed() == [("job", 2 * MINUTE)]
    assert desk.facts().stuck == 1


def test_replace_ends_a_run_between_two_attempts_at_once(desk: Desk) -> None:
    """A run that waits for its next attempt has nothing to cancel: it ends, and the slot is claimed at once."""
    desk.add(overlap="replace", timeout=timedelta(minutes=3))
    desk.at(MINUTE)
    desk.win()
    desk.end(Failed("endpoint", "HTTP 503", 503, retry_after_seconds=45.0), 2 * MINUTE - 15_000)
    desk.actions.clear()
    desk.at(2 * MINUTE)
    assert desk.take(e.Cancel) == []
    assert desk.outcomes() == [(MINUTE, Interrupted("replace"))]
    assert desk.claimed() == [("job", 2 * MINUTE)]


def test_replace_replaces_the_one_that_waits(desk: Desk) -> None:
    """While a run ignores its cancellation, a newer slot takes the place of the one that waits, and cancels no more."""
    desk.add(at(from_ms(desk.start + MINUTE)), overlap="replace", timeout=None)
    desk.at(MINUTE)
    desk.win()
    desk.trigger(2 * MINUTE, number=1)
    desk.trigger(2 * MINUTE + 1_000, number=2)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["replace"]
    assert [(settled.key, settled.outcome) for settled in desk.take(e.Settled)] == [
        ("job@manual-1", Skipped("overlap"))
    ]
    desk.end(None)
    assert [start.key for start in desk.take(e.RunStarted)] == [None, "job@manual-2"]


def test_replace_while_the_claim_is_open_gives_the_slot_away(desk: Desk) -> None:
    """A claim that is won after something newer came ends as interrupted, is written, and the newer one begins."""
    desk.add(overlap="replace", timeout=None)
    desk.at(MINUTE)
    desk.trigger()
    assert desk.begun() == []
    desk.win()
    assert desk.outcomes() == [(MINUTE, Interrupted("replace"))]
    assert [finish.outcome for finish in desk.take(Finish)] == [Interrupted("replace")]
    assert desk.begun() == [("job", MINUTE, "manual")]


@pytest.mark.parametrize(("unavailable", "outcome"), [(False, Taken()), (True, Skipped("ledger"))])
def test_replace_while_the_claim_is_open_and_fails(desk: Desk, unavailable: bool, outcome: Outcome) -> None:
    """A claim that is lost, or could not be asked, has that outcome, and what came meanwhile begins."""
    desk.add(overlap="replace", timeout=None)
    desk.at(MINUTE)
    desk.trigger()
    desk.give_up() if unavailable else desk.lose()
    assert desk.outcomes() == [(MINUTE, outcome)]
    assert desk.take(Finish) == []
    assert desk.begun() == [("job", MINUTE, "manual")]


def test_replaced_by_a_slot_the_timeout_changes_nothing(desk: Desk) -> None:
    """A run that was cut at its deadline is not cut again, and stays timed out."""
    desk.add(overlap="replace", timeout=timedelta(seconds=59))
    desk.at(MINUTE)
    desk.win()
    desk.go(2 * MINUTE)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["timeout"]
    desk.end(None)
    assert desk.outcomes() == [(MINUTE, TimedOut(60.0))]
    assert desk.claimed()[1:] == [("job", 2 * MINUTE)]


# --- allow


def test_allow_runs_up_to_its_maximum(desk: Desk) -> None:
    """With max_running=2 a third slot is skipped for the limit, and the next one runs once a place is free."""
    run(desk, overlap="allow", max_running=2)
    desk.at(2 * MINUTE)
    desk.win()
    desk.at(3 * MINUTE)
    assert desk.outcomes() == [(3 * MINUTE, Skipped("limit"))]
    desk.end(Succeeded())
    desk.at(4 * MINUTE)
    assert desk.claimed()[-1:] == [("job", 4 * MINUTE)]


def test_allow_holds_a_stuck_run_for_dead(desk: Desk) -> None:
    """A run that was given up takes no place of the job's."""
    desk.add(overlap="allow", max_running=1, timeout=timedelta(seconds=1))
    desk.at(MINUTE)
    desk.win()
    desk.go(2 * MINUTE)
    assert desk.facts().stuck == 1
    assert ("job", 2 * MINUTE) in desk.claimed()


# --- asked for by hand, in each state


def occupy(desk: Desk, overlap: Overlap, occupancy: Occupancy) -> None:
    """Bring the job into this state, with no slot of its own to come."""
    most = 2 if overlap is Overlap.ALLOW else None
    desk.add(at(from_ms(desk.start + MINUTE)), overlap=overlap, timeout=None, max_running=most)
    if occupancy is not Occupancy.FREE:
        desk.trigger(number=1)
    if occupancy is Occupancy.FULL:
        desk.trigger(number=2)
    desk.actions.clear()


@pytest.mark.parametrize("overlap", Overlap)
@pytest.mark.parametrize("occupancy", Occupancy)
def test_trigger_obeys_the_table(desk: Desk, overlap: Overlap, occupancy: Occupancy) -> None:
    """A run asked for begins, waits, replaces or is skipped as the table of overlaps says."""
    occupy(desk, overlap, occupancy)
    desk.trigger(number=3)
    began = [start.key for start in desk.take(e.RunStarted)]
    skipped = [(settled.key, settled.outcome) for settled in desk.take(e.Settled)]
    cancelled = [cancel.by for cancel in desk.take(e.Cancel)]
    match OVERLAP_TABLE[overlap, occupancy]:
        case Verdict.RUN:
            assert (began, skipped, cancelled) == (["job@manual-3"], [], [])
        case Verdict.SKIP:
            assert (began, skipped, cancelled) == ([], [("job@manual-3", Skipped("overlap"))], [])
        case Verdict.LIMIT:
            assert (began, skipped, cancelled) == ([], [("job@manual-3", Skipped("limit"))], [])
        case Verdict.WAIT:
            assert (began, skipped, cancelled) == ([], [], [])
        case _:
            replaced = [("job@manual-2", Skipped("overlap"))] if occupancy is Occupancy.FULL else []
            cuts = [] if occupancy is Occupancy.FULL else ["replace"]
            assert (began, skipped, cancelled) == ([], replaced, cuts)


def test_trigger_that_waits_begins_while_paused(desk: Desk) -> None:
    """What somebody asked for goes on waiting over a pause, and begins in it."""
    run(desk, overlap="queue")
    desk.trigger()
    desk.tell(e.PauseAsked("job"))
    assert desk.outcomes() == []
    desk.end(Succeeded(), 2 * MINUTE)
    assert desk.begun() == [("job", MINUTE, "manual")]


# --- the end of those that wait


def wait(desk: Desk) -> None:
    """Let a slot wait for the run before it."""
    run(desk, overlap="queue")
    desk.at(2 * MINUTE)
    desk.actions.clear()


def test_pause_ends_a_waiting_slot(desk: Desk) -> None:
    """A slot that waits when the job is paused is skipped as paused, and the run goes on."""
    wait(desk)
    desk.tell(e.PauseAsked("job"))
    assert desk.outcomes() == [(2 * MINUTE, Skipped("paused"))]
    desk.end(Succeeded())
    assert desk.claimed() == []


def test_removal_ends_what_waits(desk: Desk) -> None:
    """A slot or a run asked for that waits when the job is removed is skipped as removed."""
    wait(desk)
    desk.tell(e.Removed("job"))
    assert desk.outcomes() == [(2 * MINUTE, Skipped("removed"))]
    desk.add(name="other", overlap="queue")
    desk.trigger(name="other", number=1)
    desk.trigger(name="other", number=2)
    desk.tell(e.Removed("other"))
    assert [(settled.key, settled.outcome) for settled in desk.take(e.Settled)] == [
        ("other@manual-2", Skipped("removed"))
    ]


def test_stop_ends_what_waits(desk: Desk) -> None:
    """What waits at the stop is interrupted, slots that came after it are missed, and nothing begins any more."""
    wait(desk)
    desk.tell(e.Stopping(10_000), 3 * MINUTE)
    assert desk.outcomes() == [
        (2 * MINUTE, Interrupted("shutdown")),
        (3 * MINUTE, Missed(desk.start + 3 * MINUTE, desk.start + 3 * MINUTE, 1)),
    ]
    desk.end(Succeeded())
    assert desk.claimed() == []
    assert desk.timetable.is_over


def test_stop_while_replacing_ends_both(desk: Desk) -> None:
    """A run that is being replaced at the stop ends as what it was cut for, and the slot as interrupted."""
    run(desk, overlap="replace")
    desk.at(2 * MINUTE)
    desk.tell(e.Stopping(0))
    desk.end(None)
    assert desk.outcomes() == [(2 * MINUTE, Interrupted("shutdown")), (MINUTE, Interrupted("replace"))]


# --- what health is told


def test_waiting_slot_is_known_to_health(desk: Desk) -> None:
    """A slot that waits for a run is not owed yet, and a job with something waiting has not ended."""
    desk.add(at(from_ms(desk.start + MINUTE)), overlap="queue", timeout=None)
    desk.trigger()
    desk.go(MINUTE)
    facts = desk.facts()
    assert (facts.slot, facts.oldest, facts.ended) == (None, None, False)
    desk.end(Succeeded())
    desk.lose()
    assert desk.facts().ended


def test_waiting_run_asked_for_is_no_open_slot(desk: Desk) -> None:
    """A run asked for that waits keeps its job from having ended and is no slot that could be overdue."""
    desk.add(at(from_ms(desk.start - MINUTE)), overlap="queue", timeout=None)
    assert desk.facts().ended
    desk.trigger(number=1)
    desk.trigger(number=2)
    assert (desk.facts().oldest, desk.facts().ended) == (None, False)
    desk.end(Succeeded())
    desk.end(Succeeded())
    assert desk.facts().ended


def test_job_has_not_ended_between_a_run_and_the_one_that_waits(desk: Desk) -> None:
    """Health that is read between the end of a run and the next poll sees what waits."""
    desk.add(at(from_ms(desk.start - MINUTE)), overlap="queue", timeout=None)
    desk.trigger(number=1)
    desk.trigger(number=2)
    desk.timetable.handle(e.AttemptEnded(max(desk.starts), Succeeded()), desk.now)
    assert not desk.facts().ended
