"""The timetable's facts: registering, pausing, triggering, removing, stopping, and clocks that step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import _events as e
from loopcron._every import at, every
from loopcron._instants import from_ms
from loopcron._ledger import Claim, Finish, Register
from loopcron._outcomes import Failed, Interrupted, Missed, Outcome, Skipped, Succeeded, Taken, TimedOut
from loopcron._policies import Policy, Retry
from loopcron._timetable import Timetable
from tests.rows import lost, registered

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000
HOUR = 60 * MINUTE
REFUSED = Failed("transport", "refused", started=False)


def kinds(desk: Desk) -> list[type]:
    actions, desk.actions = desk.actions, []
    return [type(action) for action in actions]


def begin(desk: Desk, **policy: Any) -> None:
    """Add a job, win its first slot, and forget what was asked for so far."""
    desk.add(**policy)
    desk.at(MINUTE)
    desk.win()
    desk.actions.clear()


# --- registering


def test_job_registers_before_it_claims(desk: Desk) -> None:
    """A new job asks for its row, and before the answer nothing of it is claimed."""
    desk.tell(e.Added("job", every(minutes=1), Policy()))
    assert desk.take(Register) == [Register("job", desk.start, None)]
    desk.at(5 * MINUTE)
    assert desk.actions == []
    assert desk.facts().slot is None
    assert not desk.facts().ended


def test_registration_that_fails_is_repeated(desk: Desk) -> None:
    """A ledger that cannot be asked is asked again after 1 s doubling to 10 s, and the job shows as parked so long."""
    desk.tell(e.Added("job", every(minutes=1), Policy()))
    asked = []
    for _ in range(11):
        desk.tell(registered(["job"], None))
        assert desk.facts().parked == "the ledger could not be asked to register it"
        wakeup = desk.timetable.next_wakeup()
        assert wakeup is not None
        asked.append(wakeup - desk.now)
        desk.at(wakeup - desk.start)
    assert asked == [1_000, 2_000, 4_000, 8_000] + [10_000] * 7
    desk.tell(registered(["job"], [desk.now]))
    assert desk.facts().slot is not None
    assert desk.facts().parked is None


def test_answers_for_jobs_that_are_gone_are_ignored(desk: Desk) -> None:
    """A registration that is answered after the removal, or twice, changes nothing."""
    desk.tell(e.Added("job", every(minutes=1), Policy()))
    desk.tell(e.Removed("job"))
    desk.tell(registered(["job", "stranger"], [desk.start, desk.start]))
    desk.add()
    desk.tell(registered(["job"], [desk.start + HOUR]))
    assert desk.facts().slot == desk.start + MINUTE


def test_failed_answer_to_an_earlier_registration_delays_nothing(desk: Desk) -> None:
    """A job that was removed and added anew is served on time though the first registration failed meanwhile."""
    desk.tell(e.Added("job", every(seconds=1), Policy()))
    desk.tell(e.Removed("job"))
    desk.tell(e.Added("job", every(seconds=1), Policy()))
    for _ in range(4):
        desk.tell(registered(["job"], None))
    desk.tell(registered(["job"], [desk.start]))
    desk.at(1_000)
    assert len(desk.claims) == 1
    desk.win()
    desk.end(Succeeded())
    for second in range(2, 12):
        desk.at(second * 1_000)
        desk.win()
        desk.end(Succeeded())
    assert len(desk.take(Claim)) == 11


def test_startup_delay_holds_claims_back(late_desk: Desk) -> None:
    """Nothing is claimed before the start-up delay is over; then what came due is served."""
    late_desk.add(every(seconds=1))
    late_desk.at(4_999)
    assert late_desk.claims == []
    late_desk.at(5_000)
    assert late_desk.outcomes() == [(4_000, Missed(late_desk.start + 1_000, late_desk.start + 4_000, 4))]
    assert [claim.slot for claim in late_desk.claims] == [late_desk.start + 5_000]


def test_claim_ids_are_unique_and_name_the_worker(desk: Desk) -> None:
    """Each claim has an id of its own that begins with the worker's."""
    desk.add()
    desk.add(name="other")
    desk.at(MINUTE)
    ids = [claim.claim_id for claim in desk.claims]
    assert len(set(ids)) == 2
    assert all(claim_id.startswith("w-") for claim_id in ids)


# --- pausing


def test_paused_job_claims_nothing(desk: Desk) -> None:
    """A paused job sleeps, and its slots meanwhile end as one skipped range at resume, never caught up."""
    desk.add()
    desk.tell(e.PauseAsked("job"))
    assert kinds(desk)[-1] is e.JobPaused
    assert desk.facts().paused
    desk.go(5 * MINUTE)
    assert desk.actions == []
    desk.tell(e.ResumeAsked("job"), 5 * MINUTE)
    assert desk.outcomes() == [(5 * MINUTE, Skipped("paused", desk.start + MINUTE, desk.start + 5 * MINUTE, 5))]
    assert kinds(desk) == [e.JobResumed]
    desk.at(6 * MINUTE)
    assert len(desk.claims) == 1


def test_pause_spares_what_is_due_already(desk: Desk) -> None:
    """A slot that is due at the instant of the pause was due before it, and a live run goes on."""
    desk.add()
    desk.tell(e.PauseAsked("job"), MINUTE)
    assert len(desk.claims) == 1
    desk.win()
    assert len(desk.facts().runs) == 1
    desk.end(Succeeded())
    assert desk.outcomes() == [(MINUTE, Succeeded())]


def test_pausing_and_resuming_twice_is_once(desk: Desk) -> None:
    """Pausing a paused job, or resuming one that is not, says and does nothing."""
    desk.add()
    desk.actions.clear()
    desk.tell(e.ResumeAsked("job"))
    assert desk.actions == []
    desk.tell(e.PauseAsked("job"))
    desk.tell(e.PauseAsked("job"))
    assert kinds(desk) == [e.JobPaused]


def test_job_can_be_added_paused(desk: Desk) -> None:
    """A job that was paused before the start registers, and serves nothing before it is resumed."""
    desk.add(paused=True, run_on_start=True)
    desk.at(MINUTE)
    assert desk.claims == []
    desk.tell(e.ResumeAsked("job"))
    assert desk.outcomes() == [(MINUTE, Skipped("paused", desk.start, desk.start + MINUTE, 2))]


def test_resume_before_anything_is_due_skips_nothing(desk: Desk) -> None:
    """A pause in which no slot came leaves no outcome."""
    desk.add()
    desk.tell(e.PauseAsked("job"))
    desk.tell(e.ResumeAsked("job"), MINUTE - 1)
    assert desk.outcomes() == []
    desk.at(MINUTE)
    assert len(desk.claims) == 1


def test_job_that_ends_while_paused_says_so(desk: Desk) -> None:
    """If the last slot passed during the pause, the end is reported at resume."""
    desk.add(at(from_ms(desk.start + MINUTE)), paused=True)
    desk.tell(e.ResumeAsked("job"), HOUR)
    assert desk.take(e.JobEnded) == [e.JobEnded("job", desk.now, desk.start + MINUTE, served=True)]
    assert desk.facts().ended


# --- triggering


def test_trigger_starts_a_manual_run(desk: Desk) -> None:
    """A trigger starts a run at once: no claim, no watermark, its own key, and nothing for the ledger at its end."""
    desk.add()
    desk.tell(e.Triggered("job", "job@manual-1"), 1_234)
    (start,) = desk.take(e.RunStarted)
    assert (start.slot, start.reason, start.key, start.fence) == (desk.now, "manual", "job@manual-1", 0)
    assert start.deadline == desk.now + MINUTE
    assert desk.facts().oldest == desk.start + MINUTE
    desk.end(Succeeded(), 2_000)
    (settled,) = desk.take(e.Settled)
    assert (settled.key, settled.reason) == ("job@manual-1", "manual")
    assert desk.take(Finish) == []
    assert desk.claims == []


def test_trigger_works_while_paused_and_registering(desk: Desk) -> None:
    """A manual run needs neither a row nor a job that is awake."""
    desk.tell(e.Added("job", every(minutes=1), Policy(), paused=True))
    desk.tell(e.Triggered("job", "job@manual-1"))
    assert len(desk.take(e.RunStarted)) == 1


@pytest.mark.parametrize("is_running", [False, True])
def test_trigger_obeys_overlap(desk: Desk, is_running: bool) -> None:
    """With overlap skip a trigger beside a run, or beside a claim under way, is skipped with its key."""
    desk.add()
    desk.at(MINUTE)
    if is_running:
        desk.win()
    desk.actions.clear()
    desk.tell(e.Triggered("job", "job@manual-1"))
    (settled,) = desk.take(e.Settled)
    assert (settled.outcome, settled.key, settled.attempt) == (Skipped("overlap"), "job@manual-1", 0)
    assert settled.duration_seconds is None
    assert settled.late_seconds is None


def test_slot_obeys_overlap_with_a_manual_run(desk: Desk) -> None:
    """A slot that is due while a manual run is alive is skipped; with allow both run."""
    desk.add(timeout=None)
    desk.add(name="free", overlap="allow", timeout=None)
    for name in ("job", "free"):
        desk.tell(e.Triggered(name, f"{name}@manual-1"))
    desk.at(MINUTE)
    assert desk.outcomes() == [(MINUTE, Skipped("overlap"))]
    assert [claim.job for claim in desk.claims] == ["free"]


# --- removing


def test_removal_settles_what_is_due(desk: Desk) -> None:
    """At removal a slot due at that instant is claimed still; what the ledger then grants is told to be removed."""
    desk.add()
    desk.tell(e.Removed("job"), MINUTE)
    assert desk.timetable.facts("job") is None
    assert len(desk.claims) == 1
    desk.win()
    assert desk.outcomes() == [(MINUTE, Skipped("removed"))]
    assert [finish.outcome for finish in desk.take(Finish)] == [Skipped("removed")]
    desk.go(HOUR)
    assert desk.take(e.RunStarted) == []


def test_removal_beside_an_open_claim_settles_the_rest(desk: Desk) -> None:
    """Slots that came due behind an open claim end as removed, in one range."""
    desk.add()
    desk.at(MINUTE)
    desk.tell(e.Removed("job"), 3 * MINUTE)
    first, last = desk.start + 2 * MINUTE, desk.start + 3 * MINUTE
    assert desk.outcomes() == [(3 * MINUTE, Skipped("removed", first, last, 2))]


def test_removal_of_a_paused_job_settles_its_slots_as_paused(desk: Desk) -> None:
    """The slots of a paused job end as paused, whatever ends the pause."""
    desk.add(paused=True)
    desk.tell(e.Removed("job"), 2 * MINUTE)
    assert desk.outcomes() == [(2 * MINUTE, Skipped("paused", desk.start + MINUTE, desk.start + 2 * MINUTE, 2))]


def test_removal_during_the_startup_delay_settles_what_waits(late_desk: Desk) -> None:
    """Slots that only wait for the start-up delay end as removed."""
    late_desk.add(every(seconds=1))
    late_desk.tell(e.Removed("job"), 2_500)
    assert late_desk.outcomes() == [(2_000, Skipped("removed", late_desk.start + 1_000, late_desk.start + 2_000, 2))]


def test_removal_between_two_attempts_ends_the_run(desk: Desk) -> None:
    """A run that waits to repeat an attempt has nothing to cut: it is interrupted at once."""
    begin(desk)
    desk.end(REFUSED)
    desk.actions.clear()
    desk.tell(e.Removed("job"))
    assert desk.outcomes() == [(MINUTE, Interrupted("remove"))]
    assert desk.take(e.Cancel) == []
    assert desk.timetable.is_over


def test_removal_of_a_run_past_its_deadline_keeps_the_first_reason(desk: Desk) -> None:
    """A run that is being cut at its deadline is not cut twice, and has timed out."""
    begin(desk, timeout=timedelta(seconds=1))
    desk.tell(e.Removed("job"), MINUTE + 1_000)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["timeout"]
    desk.end(None, MINUTE + 1_100)
    assert (MINUTE, TimedOut(1.1)) in desk.outcomes()


def test_name_can_be_added_anew(desk: Desk) -> None:
    """A name is free again at once, and the run of the removed job does not count for the new one."""
    begin(desk, timeout=None)
    desk.tell(e.Removed("job"))
    desk.add()
    desk.at(2 * MINUTE)
    assert [claim.slot for claim in desk.claims] == [desk.start + 2 * MINUTE]
    desk.end(None)
    assert (MINUTE, Interrupted("remove")) in desk.outcomes()


# --- stopping


def test_stop_claims_nothing_more(desk: Desk) -> None:
    """After a stop no slot is claimed; what was due and unserved at that instant is missed."""
    desk.add()
    desk.tell(e.Stopping(10_000), MINUTE)
    assert desk.outcomes() == [(MINUTE, Missed(desk.start + MINUTE, desk.start + MINUTE, 1))]
    desk.go(HOUR)
    assert desk.claims == []
    assert desk.timetable.next_wakeup() is None


def test_stop_drains_then_cancels(desk: Desk) -> None:
    """Live runs go on for the drain, then they are cut, and two seconds later given up."""
    begin(desk, timeout=None)
    desk.tell(e.Stopping(10_000))
    desk.at(MINUTE + 9_999)
    assert desk.take(e.Cancel) == []
    assert desk.timetable.next_wakeup() == desk.start + MINUTE + 10_000
    desk.at(MINUTE + 10_000)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["shutdown"]
    assert not desk.timetable.is_over
    desk.at(MINUTE + 12_000)
    assert desk.outcomes() == [(MINUTE, Interrupted("shutdown"))]
    assert desk.timetable.is_over


def test_run_that_ends_while_draining_counts(desk: Desk) -> None:
    """A run that ends by itself within the drain has the outcome that it brings."""
    begin(desk)
    desk.tell(e.Stopping(10_000))
    desk.end(Succeeded(), MINUTE + 5_000)
    assert desk.outcomes() == [(MINUTE, Succeeded())]
    assert desk.timetable.is_over


@pytest.mark.parametrize(
    ("outcome", "settled"),
    [
        (REFUSED, Interrupted("shutdown")),
        (Failed("endpoint", "HTTP 503", 503, retry_after_seconds=1), Interrupted("shutdown")),
        (Failed("job", "ValueError"), Failed("job", "ValueError")),
    ],
)
def test_failure_while_stopping_is_not_repeated(desk: Desk, outcome: Failed, settled: Outcome) -> None:
    """Once it stops nothing is repeated, and what the closing server answers is no failure of the job."""
    begin(desk, retry=Retry(on=frozenset({"job"})))
    desk.tell(e.Stopping(10_000))
    desk.end(outcome)
    assert desk.outcomes() == [(MINUTE, settled)]


def test_run_that_waits_to_repeat_ends_at_the_stop(desk: Desk) -> None:
    """A stop ends runs between two attempts at once; they are not drained."""
    begin(desk)
    desk.end(REFUSED)
    desk.tell(e.Stopping(10_000))
    assert (MINUTE, Interrupted("shutdown")) in desk.outcomes()
    assert desk.timetable.is_over


def test_claim_won_after_the_stop_is_given_back(desk: Desk) -> None:
    """A claim that is answered after the stop starts nothing, and the ledger is told what became of the slot."""
    desk.add()
    desk.at(MINUTE)
    desk.tell(e.Stopping(10_000))
    assert desk.timetable.is_over, "a claim under way is the shell's to wait for"
    desk.win()
    assert desk.outcomes() == [(MINUTE, Interrupted("shutdown"))]
    assert desk.take(Finish) == [Finish("job", desk.start + MINUTE, 7, Interrupted("shutdown"))]


@pytest.mark.parametrize(("second", "at_once"), [(0, True), (60_000, False)])
def test_stop_asked_again_may_only_shorten_the_drain(desk: Desk, second: int, at_once: bool) -> None:
    """A second stop shortens the drain and never lengthens it."""
    begin(desk, timeout=None)
    desk.tell(e.Stopping(10_000))
    desk.tell(e.Stopping(second), MINUTE + 1_000)
    assert bool(desk.take(e.Cancel)) == at_once
    desk.at(MINUTE + 10_000)
    assert bool(desk.take(e.Cancel)) != at_once
    desk.tell(e.Stopping(0))
    assert desk.take(e.Cancel) == [], "each run is cut once"


def test_paused_job_stays_paused_at_the_stop(desk: Desk) -> None:
    """A paused job's slots up to the stop end as paused."""
    desk.add(paused=True)
    desk.tell(e.Stopping(0), MINUTE)
    assert desk.outcomes() == [(MINUTE, Skipped("paused", desk.start + MINUTE, desk.start + MINUTE, 1))]


# --- clocks


def test_forward_step_makes_slots_due(desk: Desk) -> None:
    """A clock that was set ahead is reported, and what it jumped over is settled as after any silence."""
    desk.add()
    desk.actions.clear()
    desk.tell(e.Stepped(HOUR), HOUR)
    assert desk.take(e.ClockStepped) == [e.ClockStepped("", desk.now, HOUR)]
    assert desk.outcomes() == [(59 * MINUTE, Missed(desk.start + MINUTE, desk.start + 59 * MINUTE, 59))]
    assert [claim.slot for claim in desk.claims] == [desk.start + HOUR]


def test_backward_step_repeats_no_slot(desk: Desk) -> None:
    """After a clock was set back no used slot recurs: the job waits until its next slot comes."""
    begin(desk)
    desk.end(Succeeded())
    desk.actions.clear()
    desk.claims.clear()
    desk.tell(e.Stepped(-30 * MINUTE), -29 * MINUTE)
    desk.go(2 * MINUTE - 1)
    assert kinds(desk) == [e.ClockStepped]
    desk.at(2 * MINUTE)
    assert [claim.slot for claim in desk.claims] == [desk.start + 2 * MINUTE]


@pytest.mark.parametrize("by", [-HOUR, -1_500, 1_500, HOUR])
def test_step_leaves_durations_alone(desk: Desk, by: int) -> None:
    """Deadlines, waits, back-offs and the drain count from their start, so a step moves them along."""
    desk.add(every(hours=5), timeout=timedelta(minutes=5))
    desk.add(every(hours=5), name="waiting", timeout=timedelta(minutes=5))
    desk.add(every(hours=5), name="endless", timeout=None)
    desk.tell(e.Added("pending", every(hours=5), Policy()))
    desk.tell(registered(["pending"], None))
    for name in ("waiting", "job", "endless"):
        desk.tell(e.Triggered(name, f"{name}@manual-1"))
    manual = {start.job: start.run_id for start in desk.take(e.RunStarted)}
    for wait in (50, 100, 200, 400, 800, 1_600):
        desk.end(REFUSED, run_id=manual["waiting"])
        desk.at(desk.now - desk.start + wait)
    desk.end(REFUSED, run_id=manual["waiting"])
    desk.tell(registered(["pending"], None))
    waits_until = desk.now + 3_200 + by
    asks_again = desk.now + 2_000 + by
    deadline = desk.start + 300_000 + by
    desk.actions.clear()
    desk.tell(e.Stepped(by), desk.now - desk.start + by)
    assert desk.timetable.next_wakeup() is not None
    desk.at(asks_again - desk.start - 1)
    assert desk.take(Register) == []
    desk.at(asks_again - desk.start)
    assert [register.job for register in desk.take(Register)] == ["pending"]
    desk.at(waits_until - desk.start - 1)
    assert desk.take(e.RunStarted) == []
    desk.at(waits_until - desk.start)
    assert [start.job for start in desk.take(e.RunStarted)] == ["waiting"]
    desk.at(deadline - desk.start - 1)
    assert desk.take(e.Cancel) == []
    desk.at(deadline - desk.start)
    assert len(desk.take(e.Cancel)) == 2
    desk.end(None, run_id=manual["job"])
    assert [settled.outcome for settled in desk.take(e.Settled)] == [TimedOut(300.0)]


def test_step_moves_the_drain_and_the_startup_delay(late_desk: Desk) -> None:
    """A clock set back by an hour holds up neither the first claim nor the end of the drain."""
    desk = late_desk
    desk.add(every(hours=5), run_on_start=True)
    desk.tell(e.Stepped(-HOUR), 1_000 - HOUR)
    desk.go(5_000 - HOUR - 1)
    assert desk.claims == []
    desk.at(5_000 - HOUR)
    assert len(desk.claims) == 1
    desk.win()
    desk.tell(e.Stopping(10_000))
    desk.tell(e.Stepped(-HOUR), 5_000 - 2 * HOUR)
    desk.at(15_000 - 2 * HOUR)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["shutdown"]


# --- corrections of the clock


def correct(desk: Desk, elapsed: int, by: int = -4 * HOUR) -> None:
    """Set the clock back from this time, counted from the start."""
    desk.tell(e.Stepped(by), elapsed + by)


def answer(desk: Desk, row: int | None = None, *, lowers: bool = True) -> None:
    """Answer all registrations that wait, having this *row*, or one far ahead, that may be lowered."""
    for register in desk.take(Register):
        mark = desk.now if register.watermark is None else register.watermark
        desk.tell(registered([register.job], [mark if row is None else min(row, mark) if lowers else row]))


def served(desk: Desk, minutes: int) -> None:
    """Add a job, and run it each minute up to this one."""
    desk.add()
    for minute in range(1, minutes + 1):
        desk.at(minute * MINUTE)
        desk.win()
        desk.end(Succeeded())
    desk.actions.clear()


@pytest.mark.parametrize(("by", "is_one"), [(-3 * HOUR, True), (-3 * HOUR + 1, False), (3 * HOUR, False)])
def test_three_hours_back_are_a_correction(desk: Desk, by: int, is_one: bool) -> None:
    """A step back of 3 h or more asks the ledger to lower the row to the corrected now, any other one does not."""
    served(desk, 2)
    correct(desk, 2 * MINUTE + 500, by)
    (stepped,) = desk.take(e.ClockStepped)
    assert stepped.is_correction == is_one
    assert desk.take(Register) == ([Register("job", desk.now, desk.now, corrected=True)] if is_one else [])


def test_slots_count_anew_after_a_correction(desk: Desk) -> None:
    """Once the ledger has answered, the next slot is the first after the corrected now; until then there is none."""
    served(desk, 3)
    correct(desk, 3 * MINUTE + 500, -3 * HOUR)
    corrected = desk.now - desk.start
    desk.at(corrected + 10 * MINUTE)
    assert (desk.claims, desk.facts().slot) == ([], None)
    desk.at(corrected + 10 * MINUTE + 1)
    answer(desk)
    assert desk.outcomes() == [
        (corrected + 9 * MINUTE - 500, Missed(desk.start - 3 * HOUR + 4 * MINUTE, desk.now - 60_501, 9))
    ]
    assert [claim.slot for claim in desk.claims] == [desk.now - 501]


def test_slot_that_was_due_when_the_clock_was_corrected_comes_again(desk: Desk) -> None:
    """What was due at that very moment and not yet asked for is ahead again, and has no outcome before its time."""
    desk.add(every(hours=1))
    desk.actions.clear()
    correct(desk, HOUR, -3 * HOUR - 1)
    answer(desk)
    assert desk.facts().slot == desk.start - 2 * HOUR
    assert desk.outcomes() == []


def test_ledger_that_cannot_be_lowered_is_asked_for_each_slot(desk: Desk) -> None:
    """A row that stays ahead is told in the facts; each slot is lost to it, until somebody mends the row."""
    served(desk, 2)
    row = desk.start + 2 * MINUTE
    correct(desk, 2 * MINUTE + 500)
    answer(desk, row, lowers=False)
    assert (desk.facts().watermark, desk.facts().slot) == (row, desk.start - 4 * HOUR + 3 * MINUTE)
    desk.at(-4 * HOUR + 3 * MINUTE)
    claims, desk.claims = desk.claims, []
    desk.tell(e.Answered(claims, [lost(claims[0], row - 1)]))
    assert desk.outcomes() == [(-4 * HOUR + 3 * MINUTE, Taken())]
    assert desk.facts().watermark == row - 1
    desk.at(-4 * HOUR + 4 * MINUTE)
    desk.win()
    assert desk.facts().watermark is None


def test_claim_under_way_is_answered_before_the_row_is_lowered(desk: Desk) -> None:
    """A claim could raise the row again, so the job registers once it is answered; what is won runs."""
    desk.add()
    desk.at(MINUTE)
    desk.actions.clear()
    correct(desk, MINUTE + 5)
    assert kinds(desk) == [e.ClockStepped]
    desk.win()
    assert [start.slot for start in desk.take(e.RunStarted)] == [desk.start + MINUTE]
    assert [register.watermark for register in desk.actions if isinstance(register, Register)] == [desk.now]
    answer(desk)
    desk.end(Succeeded())
    desk.at(-4 * HOUR + 2 * MINUTE)
    assert [claim.slot for claim in desk.claims] == [desk.start - 4 * HOUR + 2 * MINUTE]


@pytest.mark.parametrize("end", [e.Removed("job"), e.Stopping(10_000)], ids=["removed", "stopping"])
def test_claim_under_way_of_a_job_that_is_gone_registers_nothing(desk: Desk, end: e.Fact) -> None:
    """Neither a removed job nor one of a stopping scheduler has slots to come."""
    desk.add()
    desk.at(MINUTE)
    desk.take(Register)
    correct(desk, MINUTE + 5)
    desk.tell(end)
    desk.win()
    assert desk.take(Register) == []


def test_stopping_scheduler_registers_nothing(desk: Desk) -> None:
    """A clock that is corrected during the drain changes nothing but the instants."""
    served(desk, 1)
    desk.tell(e.Stopping(10_000))
    correct(desk, MINUTE + 5)
    assert kinds(desk) == [e.ClockStepped]


def test_live_run_goes_on_through_a_correction(desk: Desk) -> None:
    """A run keeps the time it has left, and ends as it ends."""
    begin(desk, timeout=timedelta(seconds=50))
    correct(desk, MINUTE + 20_000)
    answer(desk)
    assert desk.take(e.Cancel) == []
    desk.at(MINUTE + 49_999 - 4 * HOUR)
    assert desk.take(e.Cancel) == []
    desk.end(Succeeded())
    assert desk.outcomes() == [(MINUTE, Succeeded())]


def test_answer_from_before_the_correction_does_not_count(desk: Desk) -> None:
    """A job that registers while the clock is corrected asks again, be the first answer a row or a failure."""
    for name, marks in (("a", [desk.start]), ("b", None)):
        desk.tell(e.Added(name, every(minutes=1), Policy()))
        desk.take(Register)
        correct(desk, 5 - 4 * HOUR if name == "b" else 5)
        desk.take(Register)
        desk.tell(registered([name], marks))
        assert desk.take(Register) == [Register(name, desk.now, None, corrected=True)]
        desk.tell(registered([name], [desk.now]))
        assert desk.facts(name).slot == desk.now + MINUTE - 5


def test_correction_waits_for_a_ledger_that_cannot_be_asked(desk: Desk) -> None:
    """Registering again is repeated with a back-off as at first; slots count from the earliest correction."""
    served(desk, 1)
    correct(desk, MINUTE + 5)
    first = desk.now
    desk.take(Register)
    desk.tell(registered(["job"], None))
    assert desk.facts().parked == "the ledger could not be asked to register it"
    correct(desk, first - desk.start + 500, 10 * HOUR)
    correct(desk, desk.now - desk.start, -3 * HOUR)
    assert desk.take(Register) == []
    desk.at(first - desk.start + 7 * HOUR + 1_000)
    assert [register.watermark for register in desk.take(Register)] == [first]
    desk.tell(registered(["job"], [first]))
    assert desk.facts().parked is None
    (settled,) = [settled for settled in desk.take(e.Settled) if isinstance(settled.outcome, Missed)]
    assert settled.outcome.first == first + MINUTE - 5  # type: ignore[union-attr]


@pytest.mark.parametrize("ran", [0, 1])
def test_paused_job_keeps_what_it_owes(desk: Desk, ran: int) -> None:
    """Slots of a paused job up to the corrected now are settled at `resume`, and those after it count anew."""
    desk.add(every(hours=1))
    for hour in range(1, ran + 1):
        desk.at(hour * HOUR)
        desk.win()
        desk.end(Succeeded())
    desk.actions.clear()
    desk.tell(e.PauseAsked("job"), ran * HOUR + 5 * MINUTE)
    correct(desk, 10 * HOUR + 1)
    answer(desk, desk.start + ran * HOUR)
    desk.tell(e.ResumeAsked("job"))
    first, last = desk.start + (ran + 1) * HOUR, desk.start + 6 * HOUR
    assert desk.outcomes() == [(6 * HOUR, Skipped("paused", first, last, 6 - ran))]
    assert desk.facts().slot == desk.start + 7 * HOUR


def test_parked_job_stays_parked_until_its_schedule_answers(desk: Desk) -> None:
    """A correction asks the ledger for a parked job too; the job works again only when its schedule does."""

    class Moody:
        works = True

        def next_after(self, instant: datetime) -> datetime:
            if not self.works:
                raise OSError("no")
            return instant.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)

        def latest_until(self, instant: datetime) -> datetime:
            return instant.replace(minute=0, second=0, microsecond=0)

    moody = Moody()
    desk.add(moody)
    desk.at(HOUR)
    desk.win()
    desk.end(Succeeded())
    moody.works = False
    desk.at(6 * HOUR)
    assert desk.facts().parked == "OSError: no"
    correct(desk, 6 * HOUR + 1)
    answer(desk)
    assert desk.take(e.JobUnparked) == []
    assert desk.facts().parked == "OSError: no"
    moody.works = True
    desk.at(2 * HOUR + 10_000)
    answer(desk)
    assert len(desk.take(e.JobUnparked)) == 1
    assert desk.facts().slot == desk.start + 3 * HOUR


def test_start_moves_with_the_corrected_clock(desk: Desk) -> None:
    """What counts from a start goes on in its rhythm; the start lies ahead now, and its slots must not wait for it."""
    desk.add(every(minutes=10, anchor="start"))
    desk.at(0)
    desk.win()
    desk.end(Succeeded())
    correct(desk, 5 * MINUTE)
    answer(desk)
    assert desk.facts().added == desk.start - 4 * HOUR
    assert desk.facts().slot == desk.start - 4 * HOUR + 10 * MINUTE


def test_start_that_is_long_past_stays(desk: Desk) -> None:
    """A start that lies before the corrected now too stays where it is, and with it what is owed from then on."""
    desk.add(every(minutes=7, anchor="start"), paused=True)
    correct(desk, 20 * HOUR)
    answer(desk, desk.start - 1)
    assert (desk.facts().added, desk.facts().slot) == (desk.start, desk.start)


@pytest.mark.parametrize("anchor", ["epoch", "start"])
def test_correction_during_the_startup_delay_keeps_the_first_run(late_desk: Desk, anchor: Any) -> None:
    """A job that has not begun begins anew at the corrected start: its run at the start is not lost."""
    late_desk.add(every(hours=1, anchor=anchor), run_on_start=True)
    correct(late_desk, 2_000)
    answer(late_desk)
    late_desk.at(5_000 - 4 * HOUR)
    assert [claim.slot for claim in late_desk.claims] == [late_desk.start - 4 * HOUR]
    late_desk.win()
    assert [start.reason for start in late_desk.take(e.RunStarted)] == ["start"]


def test_single_slot_comes_again_after_a_correction(desk: Desk) -> None:
    """Slots recur after a correction, that of `at` too; one that is past stays past, and is not told once more."""
    desk.add(at(from_ms(desk.start + 5 * HOUR)), name="again")
    desk.add(at(from_ms(desk.start + MINUTE)), name="past")
    for elapsed in (MINUTE, 5 * HOUR):
        desk.at(elapsed)
        desk.win()
        desk.end(Succeeded())
    assert len(desk.take(e.JobEnded)) == 2
    correct(desk, 5 * HOUR + 1)
    answer(desk)
    assert (desk.facts("again").ended, desk.facts("past").ended) == (False, True)
    desk.at(5 * HOUR)
    assert [claim.job for claim in desk.claims] == ["again"]
    assert [ended.job for ended in desk.take(e.JobEnded)] == ["again"]


def test_two_corrections_in_a_row_count_from_the_earlier_now(desk: Desk) -> None:
    """A job that was re-based and has run nothing since is re-based again, and does not begin anew at its start."""
    desk.add(every(minutes=1, anchor="start"))
    desk.at(MINUTE)
    desk.win()
    desk.end(Succeeded())
    correct(desk, MINUTE + 5)
    answer(desk)
    correct(desk, MINUTE + 10 - 4 * HOUR)
    answer(desk)
    assert (desk.claims, desk.facts().slot) == ([], desk.start - 8 * HOUR + 2 * MINUTE)


def test_slot_that_waits_for_a_run_is_skipped_at_a_correction(desk: Desk) -> None:
    """A slot that waits for the end of a run would be claimed from ahead: it is skipped; a manual run waits on."""
    for name in ("slot", "manual"):
        desk.add(name=name, overlap="queue", timeout=None)
    desk.at(MINUTE)
    desk.win()
    desk.take(e.RunStarted)
    desk.tell(e.Triggered("manual", "manual@manual-1"), MINUTE + 1)
    desk.at(2 * MINUTE)
    desk.actions.clear()
    correct(desk, 2 * MINUTE + 5)
    assert desk.outcomes() == [(2 * MINUTE, Skipped("overlap"))]
    answer(desk)
    for run_id in list(desk.starts):
        desk.end(Succeeded(), run_id=run_id)
    assert [start.key for start in desk.take(e.RunStarted)] == ["manual@manual-1"]
    desk.at(3 * MINUTE - 4 * HOUR)
    assert [claim.slot for claim in desk.claims if claim.job == "slot"] == [desk.start + 3 * MINUTE - 4 * HOUR]


def test_slot_that_waits_for_a_place_comes_again_after_a_correction(desk: Desk) -> None:
    """A slot for which there is no place below the limit counts anew as any other one does."""
    desk.timetable = Timetable(desk.now, max_running=1)
    for name in ("first", "second"):
        desk.add(name=name, timeout=None)
    desk.at(MINUTE)
    desk.win()
    correct(desk, MINUTE + 5)
    answer(desk)
    desk.actions.clear()
    desk.end(Succeeded())
    assert desk.outcomes() == [(MINUTE, Succeeded())]
    newest = desk.start + 3 * MINUTE - 4 * HOUR
    desk.at(3 * MINUTE - 4 * HOUR)
    assert [(claim.job, claim.slot) for claim in desk.claims] == [("first", newest)]
    assert [outcome for _, outcome in desk.outcomes()] == [Missed(newest - MINUTE, newest - MINUTE, 1)] * 2


def test_skipped_slot_is_skipped_once_after_a_correction(desk: Desk) -> None:
    """A slot that was skipped on request and comes again runs; one that was still to come is skipped when it comes."""
    desk.add(every(hours=1), name="past")
    desk.add(every(hours=6), name="ahead")
    for name in ("past", "ahead"):
        desk.tell(e.SkipAsked(name))
    desk.at(5 * HOUR)
    desk.win()
    desk.end(Succeeded())
    correct(desk, 5 * HOUR + 5, -5 * HOUR)
    answer(desk)
    desk.actions.clear()
    desk.at(HOUR)
    assert [claim.job for claim in desk.claims] == ["past"]
    desk.at(6 * HOUR)
    assert (6 * HOUR, Skipped("skip_next")) in desk.outcomes()


def test_jitter_counts_after_a_correction_too(desk: Desk) -> None:
    """The first slot after a correction is due at its jitter, as all others are."""
    desk.add(every(hours=1), jitter=timedelta(minutes=30))
    desk.at(HOUR + 31 * MINUTE)
    desk.win()
    desk.end(Succeeded())
    correct(desk, 4 * HOUR + 5, -3 * HOUR)
    answer(desk)
    wakeup = desk.timetable.next_wakeup()
    assert wakeup is not None
    assert desk.start + 2 * HOUR < wakeup < desk.start + 2 * HOUR + 30 * MINUTE


def test_facts_tell_the_last_slot_used(desk: Desk) -> None:
    """The newest slot that was handed out or passed is known, and what the ledger said of its row."""
    desk.add()
    assert (desk.facts().used, desk.facts().watermark) == (None, desk.start)
    desk.at(3 * MINUTE)
    assert desk.facts().used == desk.start + 3 * MINUTE
    desk.win()
    assert desk.facts().watermark is None
    desk.tell(e.PauseAsked("job"), 3 * MINUTE + 1)
    desk.tell(e.ResumeAsked("job"), 5 * MINUTE)
    assert desk.facts().used == desk.start + 5 * MINUTE


def test_time_that_goes_back_is_a_bug(desk: Desk) -> None:
    """Without a `Stepped` an earlier now is refused, with both instants."""
    with pytest.raises(ValueError, match=f"from {desk.start} to {desk.start - 1} without a Stepped"):
        desk.timetable.poll(desk.start - 1)


def test_wakeup_is_now_while_something_waits(desk: Desk) -> None:
    """A fact whose actions were not fetched yet wants a poll at once."""
    desk.timetable.handle(e.Added("job", every(minutes=1), Policy()), desk.start)
    assert desk.timetable.next_wakeup() == desk.start
    assert not desk.timetable.is_over


@pytest.mark.parametrize("unknown", [e.Removed, e.PauseAsked, e.ResumeAsked])
def test_unknown_names_are_the_callers_bug(desk: Desk, unknown: Callable[[str], e.Fact]) -> None:
    """The scheduler looks names up first; a fact about an unknown one is a bug and raises."""
    with pytest.raises(KeyError):
        desk.tell(unknown("nobody"))
