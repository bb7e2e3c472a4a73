"""A run's lease: how long it is, when it is renewed, how far it is relied on, and what its loss does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

from loopcron import _events as e
from loopcron._every import every
from loopcron._instants import spread_ms
from loopcron._ledger import Finish, Renew, Unavailable
from loopcron._outcomes import Failed, Interrupted, LeaseLost, Outcome, Succeeded, TimedOut
from loopcron._policies import Retry, lease_ms

if TYPE_CHECKING:
    from tests.core.conftest import Desk

START = 1_772_323_200_000
MINUTE = 60_000
LEASE = 30_000
BEGUN = MINUTE + spread_ms(str(crc32(b"w") * (START + MINUTE)), 25)
"""When the first slot of a job that runs every minute is asked for, and its lease begins."""
TRUSTED = BEGUN + 27_000
REFUSED = Failed("transport", "refused", started=False)


def run(desk: Desk, *, renews: bool = False, **policy: Any) -> None:
    """Let the run of the first minute begin, with nothing else in the desk's tray."""
    desk.renews = renews
    desk.add(**{"timeout": None, **policy})
    desk.go(BEGUN)
    desk.win()
    assert desk.begun() == [("job", MINUTE, "schedule")]
    desk.actions.clear()


def renewed(desk: Desk, answer: bool | None, elapsed: int | None = None) -> None:
    """Hear this answer to the renewal that was asked for."""
    (renewal,) = desk.take(Renew)
    desk.tell(e.Renewed([renewal], None if answer is None else [answer]), elapsed)


def cancels(desk: Desk) -> list[str]:
    """Take by what runs were cut."""
    return [cancel.by for cancel in desk.take(e.Cancel)]


# --- its length


@pytest.mark.parametrize(
    ("period", "length"),
    [
        (1, 2_000),
        (4_000, 2_000),
        (4_002, 2_001),
        (10_000, 5_000),
        (60_000, 30_000),
        (60_001, 30_000),
        (86_400_000, 30_000),
    ],
)
def test_lease_is_half_the_period(period: int, length: int) -> None:
    """Between 2 s, or a slow store would lose it, and 30 s, for which a killed worker keeps others from the job."""
    assert lease_ms(period) == length


@pytest.mark.parametrize(("seconds", "lease"), [(3, 2_000), (10, 5_000), (600, 30_000)])
def test_claim_asks_for_a_lease_of_that_length(shared: Desk, seconds: int, lease: int) -> None:
    """By the gap between its slot and the next one."""
    shared.add(every(seconds=seconds))
    shared.ask(seconds * 1_000)
    assert [claim.lease for claim in shared.claims] == [lease]


def test_runs_that_may_overlap_have_no_lease(shared: Desk) -> None:
    """With overlap allow other workers run the job beside, so there is nothing to renew or to lose."""
    shared.add(overlap="allow", timeout=None)
    shared.ask(MINUTE)
    assert [claim.lease for claim in shared.claims] == [None]
    shared.win(MINUTE + 50_000)
    assert shared.begun() == [("job", MINUTE, "schedule")]
    shared.go(2 * MINUTE - 1)
    assert shared.take(Renew) == []
    assert cancels(shared) == []


def test_ledger_of_ones_own_gives_no_lease(desk: Desk) -> None:
    """Within one process a run is known to be alive."""
    desk.add(timeout=None)
    desk.go(MINUTE)
    assert [claim.lease for claim in desk.claims] == [None]
    desk.win(MINUTE + 50_000)
    desk.go(MINUTE + 200_000)
    assert len(desk.begun()) == 1
    assert desk.take(Renew) == []


def test_manual_run_has_no_lease(shared: Desk) -> None:
    """It is no slot, and the ledger does not know of it."""
    shared.add(timeout=None)
    shared.trigger()
    shared.go(MINUTE - 1)
    assert shared.take(Renew) == []


def test_run_that_fired_without_the_store_has_no_lease(firing: Desk) -> None:
    """There is no row to hold it in."""
    firing.add(timeout=None)
    firing.ask(MINUTE)
    firing.give_up()
    firing.go(2 * MINUTE - 1)
    assert len(firing.begun()) == 1
    assert firing.take(Renew) == []


# --- its renewal


def test_lease_is_renewed_every_third(shared: Desk) -> None:
    """Counted from when it was asked for, so that two renewals may fail before it is over."""
    run(shared)
    for third in range(1, 8):
        at = BEGUN + third * LEASE // 3
        shared.go(at - 1)
        assert shared.take(Renew) == []
        shared.go(at)
        assert shared.actions[-1] == Renew("job", START + MINUTE, 7, LEASE)
        renewed(shared, True)
    assert cancels(shared) == []


def test_renewal_counts_from_when_it_was_asked(shared: Desk) -> None:
    """However late its answer is: the lease cannot have begun earlier than that, and may have begun then."""
    run(shared)
    shared.go(BEGUN + LEASE // 3)
    renewed(shared, True, TRUSTED - 1)
    at = BEGUN + LEASE // 3 + 27_000
    shared.renews = False
    shared.go(at - 1)
    assert cancels(shared) == []
    shared.go(at)
    assert cancels(shared) == ["lease"]


def test_one_renewal_is_under_way_at_a_time(shared: Desk) -> None:
    """A store that does not answer is not asked again before it does."""
    run(shared)
    shared.go(TRUSTED - 1)
    assert len(shared.take(Renew)) == 1
    assert cancels(shared) == []


def test_look_at_a_run_asks_for_no_second_renewal(shared: Desk) -> None:
    """A deadline that comes while an answer is awaited is no reason to ask again."""
    run(shared, timeout=timedelta(seconds=12))
    shared.go(BEGUN + 12_000)
    assert cancels(shared) == ["timeout"]
    assert len(shared.take(Renew)) == 1


def test_renewal_that_could_not_be_asked_is_tried_again(shared: Desk) -> None:
    """Each twelfth of its length, as long as the lease is relied on."""
    run(shared)
    at = BEGUN + LEASE // 3
    for _ in range(6):
        shared.go(at - 1)
        assert shared.take(Renew) == []
        shared.go(at)
        renewed(shared, None)
        at += LEASE // 12
    shared.go(at)
    renewed(shared, True)
    shared.go(at + LEASE // 3 - 1)
    assert shared.take(Renew) == []
    shared.go(at + LEASE // 3)
    assert len(shared.take(Renew)) == 1
    assert at < TRUSTED < at + LEASE // 3
    assert cancels(shared) == []


def test_renewal_that_is_refused_cuts_the_run(shared: Desk) -> None:
    """Somebody else may have the job: the run is cut at once, and ends as `LeaseLost`."""
    run(shared)
    shared.go(BEGUN + LEASE // 3)
    renewed(shared, False)
    assert cancels(shared) == ["lease"]
    shared.end(None)
    assert shared.outcomes() == [(MINUTE, LeaseLost())]
    assert shared.take(Finish) == [Finish("job", START + MINUTE, 7, LeaseLost())]
    assert shared.facts().failures == 1


@pytest.mark.parametrize("answer", [True, False, None])
def test_answer_after_the_end_of_the_run_is_of_no_use(shared: Desk, answer: bool | None) -> None:
    """Whatever it is, the run has its outcome, and the next one its own lease."""
    run(shared)
    shared.go(BEGUN + LEASE // 3)
    shared.end(Succeeded())
    shared.ask(2 * MINUTE)
    shared.win()
    renewed(shared, answer)
    assert cancels(shared) == []
    assert shared.outcomes() == [(MINUTE, Succeeded())]
    assert len(shared.facts().runs) == 1


def test_answer_after_the_lease_is_over_brings_nothing_back(shared: Desk) -> None:
    """A run that was cut is cut."""
    run(shared)
    shared.go(TRUSTED)
    assert cancels(shared) == ["lease"]
    renewed(shared, True)
    shared.end(None)
    assert shared.outcomes() == [(MINUTE, LeaseLost())]
    shared.go(TRUSTED + 100)
    assert shared.take(Renew) == []


# --- how far it is relied on


@pytest.mark.parametrize(("seconds", "trusted"), [(600, 27_000), (5, 2_500 - 1_200), (4, 1_000), (1, 1_000)])
def test_lease_is_relied_on_up_to_a_margin(shared: Desk, seconds: int, trusted: int) -> None:
    """A tenth of it, at least 1.2 s but no more than half, for a small step back and a request that is on its way."""
    shared.renews = False
    shared.add(every(seconds=seconds), timeout=None)
    shared.go(seconds * 1_000)
    while not shared.claims:
        wakeup = shared.timetable.next_wakeup()
        assert wakeup is not None
        shared.go(wakeup - START)
    begun = shared.now - START
    shared.win()
    shared.go(begun + trusted - 1)
    assert cancels(shared) == []
    shared.go(begun + trusted)
    assert cancels(shared) == ["lease"]


def test_lease_that_is_never_renewed_is_over(shared: Desk) -> None:
    """A worker that cannot reach the store stops its run before another one may begin."""
    run(shared)
    shared.go(BEGUN + LEASE // 3)
    renewed(shared, None)
    shared.renews = False
    shared.go(TRUSTED - 1)
    assert cancels(shared) == []
    shared.go(TRUSTED)
    assert cancels(shared) == ["lease"]


def test_late_poll_finds_it_over(shared: Desk) -> None:
    """A loop that was blocked, or a process that was stopped, asks for no renewal of what is over."""
    run(shared)
    shared.at(BEGUN + 40_000)
    assert cancels(shared) == ["lease"]
    assert shared.take(Renew) == []


@pytest.mark.parametrize(("elapsed", "cut"), [(TRUSTED - 1, []), (TRUSTED, ["lease"])])
def test_run_that_is_about_to_act_is_cut_if_it_is_over(shared: Desk, elapsed: int, cut: list[str]) -> None:
    """By itself, and not only once all that became due before it has been looked at."""
    run(shared)
    shared.now = START + elapsed
    shared.timetable.handle(e.LeaseAsked(max(shared.starts)), shared.now)
    shared.actions += shared.timetable.poll(shared.now, facts_only=True)
    assert cancels(shared) == cut


def test_run_that_is_over_may_act(shared: Desk) -> None:
    """What a job leaves behind and sends later has no lease to be lost."""
    run(shared)
    shared.end(Succeeded())
    shared.actions.clear()
    shared.tell(e.LeaseAsked(max(shared.starts)), TRUSTED)
    assert cancels(shared) == []


def test_forward_step_leaves_no_more_trust(shared: Desk) -> None:
    """It may have been a suspend, in which the store's clock went on: the lease is over by the wall clock."""
    run(shared)
    shared.now += 27_000
    shared.tell(e.Stepped(27_000))
    assert cancels(shared) == ["lease"]


def test_small_forward_step_shortens_it_by_as_much(shared: Desk) -> None:
    """What is left is what the wall clock says."""
    run(shared)
    shared.now += 5_000
    shared.tell(e.Stepped(5_000))
    shared.renews = False
    shared.go(TRUSTED - 1)
    assert cancels(shared) == []
    shared.go(TRUSTED)
    assert cancels(shared) == ["lease"]


@pytest.mark.parametrize("by", [-1_500, -MINUTE * 10])
@pytest.mark.parametrize("asked", [None, "under way", "failed"])
def test_backward_step_leaves_no_more_trust(shared: Desk, asked: str | None, by: int) -> None:
    """Time that has passed has passed: the lease moves back with the wall clock, and ends as soon as without."""
    run(shared)
    if asked is not None:
        shared.go(BEGUN + LEASE // 3)
        if asked == "failed":
            renewed(shared, None)
    spent = shared.now - START - BEGUN
    shared.now += by
    shared.tell(e.Stepped(by))
    left = 27_000 - spent
    stepped = shared.now - START
    if asked == "failed":
        shared.go(stepped + LEASE // 12 - 1)
        assert shared.take(Renew) == []
        shared.go(stepped + LEASE // 12)
        assert len(shared.take(Renew)) == 1
    shared.go(stepped + left - 1)
    assert cancels(shared) == []
    shared.go(stepped + left)
    assert cancels(shared) == ["lease"]


def test_renewal_under_way_at_a_backward_step_counts_from_then(shared: Desk) -> None:
    """Its lease began before the step, and ends as much earlier by the clock that was set back."""
    run(shared)
    at = BEGUN + LEASE // 3
    shared.go(at)
    shared.now -= 10_000
    shared.tell(e.Stepped(-10_000))
    renewed(shared, True, at - 10_000 + 1_000)
    shared.go(at - 10_000 + 27_000 - 1)
    assert cancels(shared) == []
    shared.go(at - 10_000 + 27_000)
    assert cancels(shared) == ["lease"]


# --- between attempts, at the deadline, at the end


def test_lease_goes_on_between_attempts(shared: Desk) -> None:
    """While a run waits for its next attempt it is renewed as ever."""
    run(shared, renews=True, retry=Retry(backoff=timedelta(seconds=40), on=frozenset({"job"})))
    shared.end(Failed("job", "x"))
    shared.go(BEGUN + 39_999)
    assert len(shared.take(Renew)) == 3
    assert shared.take(e.RunStarted) == []
    shared.go(BEGUN + 40_000)
    assert [start.attempt for start in shared.take(e.RunStarted)] == [2]


def test_lease_lost_between_attempts_ends_the_run(shared: Desk) -> None:
    """There is nothing to cut, and no other attempt."""
    run(shared, retry=Retry(backoff=timedelta(seconds=20), on=frozenset({"job"})))
    shared.end(Failed("job", "x"))
    shared.go(BEGUN + LEASE // 3)
    renewed(shared, False)
    assert cancels(shared) == []
    assert shared.outcomes() == [(MINUTE, LeaseLost())]
    shared.go(BEGUN + 25_000)
    assert shared.take(e.RunStarted) == []


@pytest.mark.parametrize("step", [True, False], ids=["suspended", "blocked"])
def test_lease_that_is_over_when_an_attempt_is_due_ends_the_run(shared: Desk, step: bool) -> None:
    """After a suspend, or where the loop was blocked, no further request is sent."""
    run(shared)
    shared.end(REFUSED)
    shared.now += MINUTE // 2
    shared.tell(e.Stepped(MINUTE // 2)) if step else shared.turn()
    assert shared.take(e.RunStarted) == []
    assert shared.outcomes() == [(MINUTE, LeaseLost())]


def test_attempt_that_is_due_with_a_renewal_is_made(shared: Desk) -> None:
    """Both are done, the renewal and the next attempt."""
    run(shared)
    shared.end(REFUSED)
    shared.at(BEGUN + 15_000)
    assert len(shared.take(Renew)) == 1
    assert [start.attempt for start in shared.take(e.RunStarted)] == [2]


def test_cut_run_goes_on_being_renewed(shared: Desk) -> None:
    """A run that takes its time to end holds its lease until it has."""
    run(shared, timeout=timedelta(seconds=9, milliseconds=900))
    shared.go(BEGUN + 9_900)
    assert cancels(shared) == ["timeout"]
    shared.go(BEGUN + LEASE // 3)
    renewed(shared, True)
    shared.end(None, BEGUN + LEASE // 3 + 500)
    assert [type(outcome) for _, outcome in shared.outcomes()] == [TimedOut]


@pytest.mark.parametrize("answer", [True, False])
def test_lease_lost_by_a_cut_run_changes_nothing(shared: Desk, answer: bool) -> None:
    """It is cut already, and by what it was cut first is what it ends as."""
    run(shared, timeout=timedelta(seconds=9, milliseconds=900))
    shared.go(BEGUN + LEASE // 3)
    assert cancels(shared) == ["timeout"]
    renewed(shared, answer)
    assert cancels(shared) == []
    shared.end(None)
    assert [type(outcome) for _, outcome in shared.outcomes()] == [TimedOut]


def test_run_that_swallows_the_loss_is_stuck(shared: Desk) -> None:
    """It is told so after two seconds, and its slot has its outcome."""
    run(shared)
    shared.go(TRUSTED + 1_999)
    assert shared.outcomes() == []
    shared.go(TRUSTED + 2_000)
    assert shared.outcomes() == [(MINUTE, LeaseLost())]
    assert len(shared.take(e.RunStuck)) == 1
    assert shared.facts().stuck == 1


def test_stuck_run_is_renewed_no_more(shared: Desk) -> None:
    """Its outcome is known, its lease given back, and an answer on its way finds nothing."""
    run(shared, timeout=timedelta(seconds=8))
    shared.go(BEGUN + LEASE // 3)
    assert len(shared.take(e.RunStuck)) == 1
    renewals = shared.take(Renew)
    for renewal in renewals:
        shared.tell(e.Renewed([renewal], [False]))
    shared.go(BEGUN + LEASE)
    assert shared.take(Renew) == []
    assert cancels(shared) == ["timeout"]


@pytest.mark.parametrize("outcome", [Succeeded(), Failed("job", "x")], ids=repr)
def test_attempt_that_ends_by_itself_after_the_loss_counts_as_it_ended(shared: Desk, outcome: Outcome) -> None:
    """What was done was done; the fence lets the endpoint refuse it where that matters."""
    run(shared)
    shared.go(TRUSTED)
    shared.end(outcome)
    assert shared.outcomes() == [(MINUTE, outcome)]


def test_lease_lost_is_not_repeated(shared: Desk) -> None:
    """A run whose lease is gone makes no further attempt, whatever its policy says."""
    run(shared, retry=Retry(on=frozenset({"job"})))
    shared.go(TRUSTED)
    shared.end(None)
    assert shared.outcomes() == [(MINUTE, LeaseLost())]


def test_runs_are_renewed_while_they_drain(shared: Desk) -> None:
    """Stopping asks for nothing new, but what still runs holds its lease."""
    run(shared, renews=True)
    shared.tell(e.Stopping(40_000))
    shared.go(BEGUN + 35_000)
    assert len(shared.take(Renew)) == 3
    shared.go(BEGUN + 40_000)
    assert cancels(shared) == ["shutdown"]
    shared.end(None)
    assert shared.outcomes() == [(MINUTE, Interrupted("shutdown"))]


def test_lease_begins_with_the_question_that_is_answered(shared: Desk) -> None:
    """Not with those before it, which the store may never have seen."""
    shared.renews = False
    shared.add(timeout=None)
    shared.go(BEGUN)
    shared.hear(Unavailable("down"))
    shared.go(BEGUN + 100)
    shared.win()
    shared.go(TRUSTED + 99)
    assert cancels(shared) == []
    shared.go(TRUSTED + 100)
    assert cancels(shared) == ["lease"]
