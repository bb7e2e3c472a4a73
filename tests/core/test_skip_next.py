"""skip_next: one slot that somebody asked to skip, wherever it stands."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from loopcron import _events as e
from loopcron._every import at, every
from loopcron._instants import from_ms
from loopcron._outcomes import Missed, Skipped, Succeeded
from loopcron._policies import Policy

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000


def ask(desk: Desk, elapsed: int | None = None) -> None:
    """Ask for the next slot to be skipped."""
    desk.tell(e.SkipAsked("job"), elapsed)


def test_next_slot_is_skipped_and_no_other(desk: Desk) -> None:
    """The slot ends when it is due, unclaimed, and the one after it runs."""
    desk.add()
    ask(desk)
    assert (desk.facts().skips, desk.facts().skippable) == (desk.start + MINUTE, desk.start + MINUTE)
    assert desk.outcomes() == []
    desk.go(2 * MINUTE)
    assert desk.outcomes() == [(MINUTE, Skipped("skip_next"))]
    assert desk.claimed() == [("job", 2 * MINUTE)]
    assert desk.facts().skips is None


def test_asking_twice_skips_one(desk: Desk) -> None:
    """Asking again before the slot has come changes nothing."""
    desk.add()
    ask(desk)
    ask(desk, MINUTE - 1)
    desk.go(2 * MINUTE)
    assert desk.claimed() == [("job", 2 * MINUTE)]


def test_run_that_is_alive_is_left_alone(desk: Desk) -> None:
    """While a run is alive or a claim is open it is the slot after that which is skipped."""
    desk.add()
    desk.at(MINUTE)
    ask(desk)
    assert desk.facts().skips == desk.start + 2 * MINUTE
    desk.win()
    desk.end(Succeeded())
    desk.go(2 * MINUTE)
    assert desk.outcomes() == [(MINUTE, Succeeded()), (2 * MINUTE, Skipped("skip_next"))]


def test_waiting_slot_is_left_alone(desk: Desk) -> None:
    """A slot that waits for a run is served; the one after it is skipped, as skipped and not for overlap."""
    desk.add(overlap="queue", timeout=None)
    desk.at(MINUTE)
    desk.win()
    desk.at(2 * MINUTE)
    ask(desk)
    desk.go(3 * MINUTE)
    assert desk.outcomes() == [(3 * MINUTE, Skipped("skip_next"))]


def test_other_due_slots_are_judged_without_it(desk: Desk) -> None:
    """A look that comes late skips the one slot alone and decides about the rest as ever."""
    desk.add()
    ask(desk)
    desk.at(4 * MINUTE)
    first, last = desk.start + 2 * MINUTE, desk.start + 3 * MINUTE
    assert desk.outcomes() == [(MINUTE, Skipped("skip_next")), (3 * MINUTE, Missed(first, last, 2))]
    assert desk.claimed() == [("job", 4 * MINUTE)]


def test_last_slot_can_be_skipped(desk: Desk) -> None:
    """The job has ended once its last slot was skipped."""
    desk.add(at(from_ms(desk.start + MINUTE)))
    ask(desk)
    desk.go(MINUTE)
    assert desk.outcomes() == [(MINUTE, Skipped("skip_next"))]
    assert [(ended.last, ended.served) for ended in desk.take(e.JobEnded)] == [(desk.start + MINUTE, True)]
    assert desk.facts().ended
    ask(desk)
    assert (desk.facts().skips, desk.facts().skippable) == (None, None)


def test_skips_at_its_jitter(desk: Desk) -> None:
    """A slot with jitter is skipped when it is due, not at its instant."""
    desk.add(jitter=timedelta(seconds=59))
    ask(desk)
    due = desk.timetable.next_wakeup()
    assert due is not None
    assert due > desk.start + MINUTE
    desk.at(due - desk.start - 1)
    assert desk.outcomes() == []
    desk.go(due - desk.start)
    assert desk.outcomes() == [(MINUTE, Skipped("skip_next"))]


def test_paused_job_skips_nothing(desk: Desk) -> None:
    """While a job is paused all its slots are skipped anyway, and asking means nothing, also not later."""
    desk.add(paused=True)
    ask(desk)
    assert (desk.facts().skips, desk.facts().skippable) == (None, None)
    desk.tell(e.ResumeAsked("job"))
    desk.go(MINUTE)
    assert desk.claimed() == [("job", MINUTE)]


def test_slot_belongs_to_the_pause_that_comes(desk: Desk) -> None:
    """A slot that was to be skipped and passes in a pause is one of the paused range."""
    desk.add()
    ask(desk)
    desk.tell(e.PauseAsked("job"))
    desk.tell(e.ResumeAsked("job"), 2 * MINUTE)
    assert desk.outcomes() == [(2 * MINUTE, Skipped("paused", desk.start + MINUTE, desk.start + 2 * MINUTE, 2))]


def test_slot_outlives_a_short_pause(desk: Desk) -> None:
    """A pause that ends before the slot leaves it to be skipped."""
    desk.add()
    ask(desk)
    desk.tell(e.PauseAsked("job"), 1_000)
    desk.tell(e.ResumeAsked("job"), 2_000)
    desk.go(MINUTE)
    assert desk.outcomes() == [(MINUTE, Skipped("skip_next"))]


def test_unregistered_job_skips_nothing(desk: Desk) -> None:
    """Before the ledger has answered no slot is known, and none is skipped."""
    desk.tell(e.Added("job", every(minutes=1), Policy()))
    ask(desk)
    assert (desk.facts().skips, desk.facts().skippable) == (None, None)


def test_slot_in_line_is_skipped_at_its_turn(narrow: Desk) -> None:
    """A slot in line for a place ends as skipped when its turn comes, and what passed behind it for the limit."""
    narrow.add(at(from_ms(narrow.start - MINUTE)), name="first", timeout=None)
    narrow.trigger(name="first")
    narrow.add()
    narrow.go(MINUTE)
    ask(narrow)
    narrow.go(4 * MINUTE)
    narrow.end(Succeeded())
    first, last = narrow.start + 2 * MINUTE, narrow.start + 3 * MINUTE
    assert narrow.outcomes()[1:] == [(MINUTE, Skipped("skip_next")), (3 * MINUTE, Skipped("limit", first, last, 2))]
    assert narrow.claimed() == [("job", 4 * MINUTE)]


def test_line_is_forgotten_with_the_slot_that_stood_in_it(narrow: Desk) -> None:
    """After a slot in line was skipped alone, slots that pass later are missed and not skipped for the limit."""
    narrow.add(at(from_ms(narrow.start - MINUTE)), name="first", timeout=None)
    narrow.trigger(name="first")
    narrow.add()
    narrow.go(MINUTE)
    ask(narrow)
    narrow.end(Succeeded())
    narrow.outcomes()
    narrow.at(3 * MINUTE)
    assert narrow.outcomes() == [(2 * MINUTE, Missed(narrow.start + 2 * MINUTE, narrow.start + 2 * MINUTE, 1))]


def test_asking_while_paused_takes_nothing_back(desk: Desk) -> None:
    """A skip that was asked for before a short pause holds after it, also if somebody asked in vain meanwhile."""
    desk.add()
    ask(desk)
    desk.tell(e.PauseAsked("job"), 1_000)
    ask(desk)
    desk.tell(e.ResumeAsked("job"), 2_000)
    desk.go(MINUTE)
    assert desk.outcomes() == [(MINUTE, Skipped("skip_next"))]
