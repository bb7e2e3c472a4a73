"""Claims in a ledger that other workers share: when they are asked, asked again and given up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

from loopcron import _events as e
from loopcron._every import every
from loopcron._instants import spread_ms
from loopcron._ledger import Answer, Claim, Finish, Held, Lost, Register, Row, TooEarly, Unavailable, Won
from loopcron._outcomes import Interrupted, LeaseLost, Missed, Outcome, Skipped, Succeeded, Taken
from loopcron._policies import Policy
from loopcron._timetable import Timetable
from tests.core.test_user_schedules import Minutely
from tests.rows import registered

if TYPE_CHECKING:
    from tests.core.conftest import Desk

START = 1_772_323_200_000
MINUTE = 60_000
HOUR = 60 * MINUTE
HALF = MINUTE // 2


def wait(elapsed: int, worker: str = "w") -> int:
    """Return how long after its slot a worker asks."""
    return spread_ms(str(crc32(worker.encode()) * (START + elapsed)), 25)


def times_asked(desk: Desk, answer: Answer, until: int) -> list[int]:
    """Hear the same answer to each claim up to this time, and return when they were made, in ms from the start."""
    times = []
    while desk.claims:
        times.append(desk.now - START)
        desk.hear(answer)
        while not desk.claims and (wakeup := desk.timetable.next_wakeup()) is not None and wakeup <= START + until:
            desk.now = wakeup
            desk.turn()
    return times


# --- when they are asked


def test_slot_is_asked_for_a_moment_after_it_came(shared: Desk) -> None:
    """Workers ask at different moments, less than 25 ms after the slot, so that they do not all ask at once."""
    shared.add()
    moments = []
    for minute in range(1, 60):
        shared.go((minute + 1) * MINUTE - 1)
        (claim,) = shared.claims
        shared.lose()
        assert claim.slot == START + minute * MINUTE
        moments.append(wait(minute * MINUTE))
    assert len(set(moments)) > 15
    assert 0 <= min(moments) <= max(moments) < 25


@pytest.mark.parametrize("minute", range(1, 40))
def test_moment_is_a_hash_of_worker_and_slot(shared: Desk, minute: int) -> None:
    """It is the same whenever it is reckoned, and other for another slot or another worker."""
    shared.at((minute - 1) * MINUTE)
    shared.add()
    at = minute * MINUTE + wait(minute * MINUTE)
    shared.go(at - 1)
    assert shared.claimed() == []
    shared.go(at)
    assert shared.claimed() == [("job", minute * MINUTE)]


def test_workers_ask_in_changing_order() -> None:
    """None of two workers is always first."""
    first = [wait(minute * MINUTE, "a") < wait(minute * MINUTE, "b") for minute in range(100)]
    assert 20 < sum(first) < 80


def test_all_jobs_of_a_worker_ask_together(shared: Desk) -> None:
    """What is due on one instant is asked for on one instant, so that it shares one call."""
    for number in range(20):
        shared.add(name=f"job{number}")
    at = MINUTE + wait(MINUTE)
    shared.go(at - 1)
    assert shared.claims == []
    shared.go(at)
    assert len(shared.claims) == 20


def asked_after(worker: str) -> list[int]:
    """Return how long after each of sixty slots this worker asks."""
    timetable = Timetable(START, worker=worker, shared=True)
    timetable.handle(e.Added("job", every(minutes=1), Policy()), START)
    timetable.handle(registered(["job"], [START]), START)
    waits: list[int] = []
    now = START
    while len(waits) < 60:
        for action in timetable.poll(now):
            if isinstance(action, Claim):
                waits.append(now - action.slot)
                timetable.handle(e.Answered([action], [Lost(Row("job", action.slot))]), now)
        wakeup = timetable.next_wakeup()
        assert wakeup is not None
        now = max(now, wakeup)
    return waits


def test_no_worker_is_always_first() -> None:
    """Of these two one would be, by a hash of worker and slot whose bits differ alike at every slot."""
    pairs = list(zip(asked_after("web:100:0e72c596447d1660"), asked_after("web:101:a01d9d308a6090cf"), strict=True))
    assert any(one < other for one, other in pairs)
    assert any(other < one for one, other in pairs)


def test_ledger_of_ones_own_is_asked_at_once(desk: Desk) -> None:
    """Where nobody else asks there is nothing to spread."""
    desk.add()
    for minute in range(1, 30):
        desk.go(minute * MINUTE)
        assert desk.claimed() == [("job", minute * MINUTE)]
        desk.lose()


# --- held elsewhere


def test_held_slot_is_asked_for_once_more(shared: Desk) -> None:
    """The lease's holder may have been killed: when it ends, the slot is asked for again with the same id."""
    shared.add()
    shared.ask(MINUTE)
    (first,) = shared.claims
    shared.hear(Held(5_000))
    shared.take(Claim)
    shared.go(MINUTE + 5_000)
    assert shared.claimed() == []
    shared.go(MINUTE + 25 + 5_000)
    assert shared.claims == [first]
    shared.win()
    assert shared.begun() == [("job", MINUTE, "schedule")]


def test_slot_that_is_held_again_is_skipped(shared: Desk) -> None:
    """If the lease was renewed the job runs elsewhere, and the slot ends as any other that overlaps."""
    shared.add()
    shared.ask(MINUTE)
    shared.hear(Held(5_000))
    shared.ask(MINUTE + 5_000)
    shared.hear(Held(1))
    assert shared.outcomes() == [(MINUTE, Skipped("overlap"))]
    assert shared.claims == []


@pytest.mark.parametrize("which", ["shared", "firing"])
@pytest.mark.parametrize(("ends", "waits"), [(0, True), (1, False)])
def test_lease_that_ends_beyond_the_grace_skips_at_once(
    request: pytest.FixtureRequest, which: str, ends: int, waits: bool
) -> None:
    """The end of the grace is the last moment at which the slot is asked for again, also where a job may fire."""
    desk: Desk = request.getfixturevalue(which)
    desk.add(misfire_grace=timedelta(seconds=20))
    desk.ask(MINUTE)
    desk.hear(Held(20_000 - 25 + ends))
    assert desk.outcomes() == ([] if waits else [(MINUTE, Skipped("overlap"))])


def test_held_jittered_slot_waits_within_its_grace(shared: Desk) -> None:
    """A lease that ends within the grace after the jitter is waited for."""
    shared.add(every(hours=1), misfire_grace=timedelta(seconds=20), jitter=timedelta(minutes=30))
    while not shared.claims:
        wakeup = shared.timetable.next_wakeup()
        assert wakeup is not None
        shared.now = wakeup
        shared.turn()
    assert shared.now > START + HOUR + 30_000
    shared.hear(Held(19_000))
    assert shared.outcomes() == []


# --- the store's clock is behind


def test_slot_that_comes_too_early_waits_for_the_store(shared: Desk) -> None:
    """However far the store's clock is behind, the slot is asked for when that has come so far, and is in time then."""
    shared.add(misfire_grace=timedelta(0))
    shared.ask(MINUTE)
    shared.hear(TooEarly(2 * HOUR))
    shared.take(Claim)
    shared.go(MINUTE + 2 * HOUR)
    assert shared.claimed() == []
    shared.go(MINUTE + 2 * HOUR + 25)
    assert shared.claimed() == [("job", MINUTE)]
    shared.win()
    assert shared.begun() == [("job", MINUTE, "schedule")]


def test_patience_begins_anew_after_too_early(make_desk: Callable[..., Desk]) -> None:
    """For a slot that is caught up the time spent on waiting for the store's clock is none of its own."""
    desk = make_desk(shared=True, now=START + HALF)
    desk.add(behind=HALF + 1, misfire_grace=timedelta(seconds=1))
    desk.ask(0)
    (claim,) = desk.claims
    desk.hear(TooEarly(10_000))
    desk.ask(10_000)
    desk.hear(Unavailable("down"))
    desk.go(10_500)
    assert desk.claims == [claim]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(e.Removed("job"), Skipped("removed")), (e.Stopping(0), Interrupted("shutdown"))],
    ids=["removed", "stopped"],
)
def test_too_early_after_the_end(shared: Desk, end: e.Fact, outcome: Outcome) -> None:
    """At removal and stop nobody waits for the store's clock."""
    shared.add()
    shared.ask(MINUTE)
    shared.tell(end)
    shared.hear(TooEarly(900))
    assert shared.outcomes() == [(MINUTE, outcome)]


def test_difference_of_the_clocks_is_told_once(shared: Desk) -> None:
    """It is told first, and again when it has changed by more than a second, whichever job sees it."""
    shared.add()
    shared.add(name="other")
    told = []
    for minute, by in enumerate([900, 1_900, 1_901, 2_900, 60, 60, 30_000], start=1):
        shared.ask(minute * MINUTE)
        shared.hear(TooEarly(by))
        shared.ask(minute * MINUTE + by + 25)
        shared.win()
        while shared.starts:
            shared.end(Succeeded(), run_id=shared.starts.popitem()[0])
        told.append([(event.job, event.by_ms) for event in shared.take(e.ClockDiffers)])
    assert told == [[("job", 900)], [], [("job", 1_901)], [], [("job", 60)], [], [("job", 30_000)]]


def test_slot_that_is_skipped_waits_for_the_store_less_what_it_is_early(shared: Desk) -> None:
    """It is asked for early on purpose, which is no difference of the clocks, and once more as early by the store's."""
    shared.add()
    shared.tell(e.SkipAsked("job"))
    shared.go(MINUTE - 40)
    shared.hear(TooEarly(60))
    assert shared.take(e.ClockDiffers) == []
    shared.go(MINUTE - 20)
    shared.win()
    assert shared.outcomes() == [(MINUTE, Skipped("skip_next"))]


def test_slot_that_is_skipped_asks_for_a_lease(shared: Desk) -> None:
    """Of the job's own length: without one it would be won from under another worker's run."""
    shared.add(every(seconds=10))
    shared.tell(e.SkipAsked("job"))
    shared.go(10_000 - 40)
    assert [claim.lease for claim in shared.claims] == [5_000]


# --- the store is down


def test_runs_asked_for_meanwhile_count_when_the_store_is_asked_again(shared: Desk) -> None:
    """With overlap allow no more than max_running are alive: a slot that finds them all so ends as skipped."""
    shared.add(overlap="allow", max_running=2, timeout=None)
    shared.trigger(1_000, number=1)
    shared.ask(MINUTE)
    shared.hear(Unavailable("down"))
    shared.trigger(number=2)
    shared.go(MINUTE + 1_000)
    assert shared.claims == []
    assert shared.outcomes() == [(MINUTE, Skipped("limit"))]


def test_unavailable_store_is_asked_with_back_off(shared: Desk) -> None:
    """After 100 ms, doubled each time up to 10 s, with the same id, until the grace ends; then the slot is skipped."""
    shared.add()
    shared.ask(MINUTE)
    ids = {claim.claim_id for claim in shared.claims}
    times = times_asked(shared, Unavailable("down"), 2 * MINUTE - 1)
    begin = times[0]
    gaps = [later - before for before, later in pairwise(times)]
    assert gaps == [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000]
    assert begin == MINUTE + 25
    assert {claim.claim_id for claim in shared.take(Claim)} == ids
    assert shared.outcomes() == [(MINUTE, Skipped("ledger"))]


def test_unavailable_store_that_comes_back_is_heard(shared: Desk) -> None:
    """The slot runs within its grace, once."""
    shared.add()
    shared.ask(MINUTE)
    shared.hear(Unavailable("down"))
    shared.go(MINUTE + 500)
    shared.hear(Unavailable("down"))
    shared.go(MINUTE + 1_000)
    shared.win()
    assert shared.begun() == [("job", MINUTE, "schedule")]
    assert shared.outcomes() == []


def test_store_that_did_it_without_telling_counts(shared: Desk) -> None:
    """A claim that was won although its answer was lost is won when it is asked for again."""
    shared.add()
    shared.ask(MINUTE)
    (claim,) = shared.claims
    shared.hear(Unavailable("lost on the way"))
    shared.go(MINUTE + 200)
    assert shared.claims == [claim]


def test_slots_wait_behind_a_claim(shared: Desk) -> None:
    """While a claim is asked again, later slots are not; then they are judged as late ones."""
    shared.add(misfire_grace=timedelta(minutes=3))
    shared.ask(MINUTE)
    shared.hear(Unavailable("down"))
    shared.take(Claim)
    shared.go(MINUTE + 200)
    shared.at(3 * MINUTE + HALF)
    shared.lose()
    shared.ask(3 * MINUTE + HALF)
    assert shared.outcomes() == [(MINUTE, Taken()), (2 * MINUTE, Missed(START + 2 * MINUTE, START + 2 * MINUTE, 1))]
    assert shared.claimed()[-1] == ("job", 3 * MINUTE)


@pytest.mark.parametrize(("reason", "behind"), [("catch_up", 2 * HOUR), ("start", 0)])
def test_late_slot_has_a_grace_of_its_own(make_desk: Callable[..., Desk], reason: str, behind: int) -> None:
    """What is caught up, or runs at the start, is late by nature: its patience begins when it is asked for first."""
    desk = make_desk(shared=True, now=START + 10 * MINUTE)
    desk.add(every(hours=1), behind=behind, run_on_start=reason == "start", misfire_grace=timedelta(seconds=10))
    desk.ask(0)
    assert [claim.slot for claim in desk.claims] == [START]
    assert len(times_asked(desk, Unavailable("down"), 20 * MINUTE)) == 7
    assert desk.take(e.Settled)[-1][1:4] == (START, Skipped("ledger"), reason)


def test_suspended_machine_asks_for_no_slot_far_beyond_its_grace(shared: Desk) -> None:
    """What waited to be asked again ends as it would have, and the slots since are judged as late ones."""
    shared.add(catch_up="skip")
    shared.ask(MINUTE)
    shared.hear(Held(10_000))
    shared.take(Claim)
    shared.now += HOUR
    shared.tell(e.Stepped(HOUR))
    shared.go(HOUR + MINUTE + 11_000)
    assert shared.outcomes()[0] == (MINUTE, Skipped("overlap"))
    assert [slot for _, slot in shared.claimed()] == [HOUR + MINUTE]


def test_loop_that_is_late_asks_all_the_same(shared: Desk) -> None:
    """A second more is no reason to give a slot up that was to be asked for at the very end of its grace."""
    shared.add(misfire_grace=timedelta(seconds=20))
    shared.ask(MINUTE)
    shared.hear(Held(20_000 - 25))
    shared.take(Claim)
    shared.at(MINUTE + 21_000)
    assert shared.claimed() == [("job", MINUTE)]


# --- fire


def test_slot_fires_without_the_store_after_five_seconds(firing: Desk) -> None:
    """It is asked a last time then; the run has no fence, and nobody is told of its outcome."""
    firing.add()
    firing.ask(MINUTE)
    times = times_asked(firing, Unavailable("down"), 2 * MINUTE - 1)
    assert times[-1] == MINUTE + wait(MINUTE) + 5_000
    (start,) = firing.take(e.RunStarted)
    assert start.fence == 0
    assert start.slot == START + MINUTE
    firing.end(Succeeded())
    assert firing.take(Finish) == []
    assert firing.outcomes() == [(MINUTE, Succeeded())]


def test_short_grace_fires_earlier(firing: Desk) -> None:
    """Where no time is left to ask again, the slot runs at once."""
    firing.add(misfire_grace=timedelta(0))
    firing.ask(MINUTE)
    firing.hear(Unavailable("down"))
    assert firing.begun() == [("job", MINUTE, "schedule")]


@pytest.mark.parametrize("end", [e.Removed("job"), e.Stopping(0)], ids=["removed", "stopped"])
@pytest.mark.parametrize("which", ["shared", "firing"])
def test_unavailable_after_the_end_fires_nothing(request: pytest.FixtureRequest, which: str, end: e.Fact) -> None:
    """At removal and stop the slot ends, and is not asked for again."""
    desk: Desk = request.getfixturevalue(which)
    desk.add()
    desk.ask(MINUTE)
    desk.tell(end)
    desk.hear(Unavailable("down"))
    assert desk.outcomes() == [(MINUTE, Skipped("ledger"))]
    assert desk.begun() == []


def test_job_that_cannot_be_registered_fires(firing: Desk) -> None:
    """After two registrations in vain its slots are asked for, and then run."""
    firing.tell(e.Added("job", every(minutes=1), Policy()))
    firing.tell(registered(["job"], None))
    assert firing.facts().slot is None
    firing.go(1_000)
    assert len(firing.take(Register)) == 2
    firing.tell(registered(["job"], None))
    assert firing.facts().slot == START + MINUTE
    firing.ask(MINUTE)
    firing.give_up()
    assert firing.begun() == [("job", MINUTE, "schedule")]


def test_job_that_cannot_be_registered_waits_otherwise(shared: Desk) -> None:
    """Where slots are skipped, a job without a row has none, and its registration is tried with a back-off."""
    shared.tell(e.Added("job", every(minutes=1), Policy()))
    for elapsed in (1_000, 3_000, 7_000):
        shared.tell(registered(["job"], None))
        shared.take(Register)
        shared.go(elapsed - 1)
        assert shared.take(Register) == []
        shared.go(elapsed)
        assert len(shared.take(Register)) == 1
    assert shared.facts().slot is None
    assert shared.facts().parked == "the ledger could not be asked to register it"


# --- an answer that comes late


def test_late_answer_is_asked_for_again(shared: Desk) -> None:
    """A lease that may be over when its answer comes begins anew by asking with the same id, before anything runs."""
    shared.add()
    shared.ask(MINUTE)
    (claim,) = shared.claims
    shared.win(MINUTE + 25 + 27_000)
    assert shared.begun() == []
    assert shared.claims == [claim]
    shared.win()
    assert shared.begun() == [("job", MINUTE, "schedule")]


@pytest.mark.parametrize(("late", "runs"), [(-1, True), (0, False)])
def test_lease_of_an_answer_is_relied_on_up_to_its_margin(shared: Desk, late: int, runs: bool) -> None:
    """Up to a tenth before its end, counted from when the claim was asked; then it is asked again."""
    shared.add()
    shared.go(MINUTE + wait(MINUTE))
    shared.win(MINUTE + wait(MINUTE) + 27_000 + late)
    assert len(shared.take(e.RunStarted)) == runs
    assert len(shared.claims) == (not runs)


def test_late_answer_beyond_the_grace_is_a_lost_lease(shared: Desk) -> None:
    """The slot is ours and nobody else's, so it has that outcome, and the ledger is told."""
    shared.add(misfire_grace=timedelta(seconds=5))
    shared.ask(MINUTE)
    shared.win(MINUTE + 40_000)
    assert shared.begun() == []
    assert shared.outcomes() == [(MINUTE, LeaseLost())]
    assert shared.take(Finish) == [Finish("job", START + MINUTE, 7, LeaseLost())]
    assert shared.facts().failures == 1


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(e.Removed("job"), Skipped("removed")), (e.Stopping(0), Interrupted("shutdown"))],
    ids=["removed", "stopped"],
)
def test_late_answer_after_the_end(shared: Desk, end: e.Fact, outcome: Outcome) -> None:
    """It is not asked for again, and ends as a timely one."""
    shared.add()
    shared.ask(MINUTE)
    shared.tell(end)
    shared.win(MINUTE + 40_000)
    assert shared.outcomes() == [(MINUTE, outcome)]
    assert shared.take(Finish) == [Finish("job", START + MINUTE, 7, outcome)]


def test_late_answer_is_lost_when_asked_again(shared: Desk) -> None:
    """A successor may have taken the job meanwhile: then nothing runs here."""
    shared.add()
    shared.ask(MINUTE)
    shared.win(MINUTE + 28_000)
    shared.lose()
    assert shared.outcomes() == [(MINUTE, Taken())]


def test_suspend_while_the_ledger_is_asked(shared: Desk) -> None:
    """What the wall clock has gone forward counts against the lease, though the monotonic one stood still."""
    shared.add()
    shared.ask(MINUTE)
    shared.now += HALF
    shared.tell(e.Stepped(HALF))
    shared.win()
    assert shared.begun() == []
    assert len(shared.claims) == 1


def test_step_back_while_the_ledger_is_asked(shared: Desk) -> None:
    """A clock that was set back lets no lease seem younger than it is."""
    shared.add()
    shared.ask(MINUTE)
    shared.now -= HALF
    shared.tell(e.Stepped(-HALF))
    shared.win(MINUTE)
    assert shared.begun() == []
    assert len(shared.claims) == 1


# --- ended before it is asked again


ENDS: list[tuple[e.Fact, Answer | None, Outcome]] = [
    (e.Removed("job"), Held(5_000), Skipped("removed")),
    (e.Removed("job"), Unavailable("down"), Skipped("removed")),
    (e.Removed("job"), None, Skipped("removed")),
    (e.PauseAsked("job"), Held(5_000), Skipped("paused")),
    (e.PauseAsked("job"), Unavailable("down"), Skipped("paused")),
    (e.PauseAsked("job"), None, Skipped("paused")),
    (e.Stopping(0), Held(5_000), Skipped("overlap")),
    (e.Stopping(0), Unavailable("down"), Skipped("ledger")),
    (e.Stopping(0), TooEarly(900), Interrupted("shutdown")),
    (e.Stopping(0), None, Interrupted("shutdown")),
]


@pytest.mark.parametrize(("end", "answer", "outcome"), ENDS, ids=repr)
def test_claim_that_waits_to_be_asked_ends(shared: Desk, end: e.Fact, answer: Answer | None, outcome: Outcome) -> None:
    """At removal, pause and stop the slot has its outcome at once, and is not asked for any more."""
    shared.add()
    shared.go(MINUTE)
    if answer is not None:
        shared.ask(MINUTE)
        shared.hear(answer)
    shared.take(Claim)
    shared.tell(end)
    assert shared.outcomes() == [(MINUTE, outcome)]
    shared.go(MINUTE + 20_000)
    assert shared.claimed() == []
    assert shared.begun() == []


def test_claim_that_waits_ends_at_a_correction(shared: Desk) -> None:
    """Asked for later it would raise the row again: the slot is skipped, and the job is registered anew."""
    shared.add(every(hours=1))
    shared.ask(HOUR)
    shared.hear(Held(20_000))
    shared.take(Claim)
    shared.now -= 4 * HOUR
    shared.tell(e.Stepped(-4 * HOUR))
    assert shared.outcomes() == [(HOUR, Skipped("ledger"))]
    (register,) = shared.take(Register)
    assert register.corrected
    assert shared.timetable._jobs["job"].claiming is None


@pytest.mark.parametrize("answer", [Unavailable("down"), Held(5_000), TooEarly(900)], ids=repr)
def test_claim_under_way_ends_at_a_correction(shared: Desk, answer: Answer) -> None:
    """So it is where the answer comes after the correction and is none."""
    shared.add(every(hours=1))
    shared.ask(HOUR)
    shared.now -= 4 * HOUR
    shared.tell(e.Stepped(-4 * HOUR))
    assert shared.take(Register) == []
    shared.hear(answer)
    assert shared.outcomes() in ([(HOUR, Skipped("ledger"))], [(HOUR, Skipped("overlap"))])
    assert len(shared.take(Register)) == 1


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_waiting_claim_moves_with_the_clock(shared: Desk, by: int) -> None:
    """What it waits for is a span of time: a step in either direction does not change that."""
    shared.add(misfire_grace=timedelta(hours=9))
    shared.ask(MINUTE)
    shared.hear(Held(10_000))
    shared.take(Claim)
    shared.now += by
    shared.tell(e.Stepped(by))
    shared.go(MINUTE + by + 9_999)
    assert shared.claimed() == []
    shared.go(MINUTE + by + 10_025)
    assert shared.claimed() == [("job", MINUTE)]


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_step_in_the_moment_before_the_question(shared: Desk, by: int) -> None:
    """A claim that was not asked yet is asked as soon as without the step."""
    shared.add()
    shared.go(MINUTE)
    assert shared.claims == []
    shared.now += by
    shared.tell(e.Stepped(by))
    shared.go(MINUTE + by + wait(MINUTE) - 1)
    assert shared.claims == []
    shared.go(MINUTE + by + wait(MINUTE))
    assert [claim.slot for claim in shared.claims] == [START + MINUTE]


# --- beside manual runs


def test_manual_run_does_not_wait_for_the_store(shared: Desk) -> None:
    """While a claim waits for a store that is down nothing of the job is alive, so what somebody asks for runs."""
    shared.add()
    shared.ask(MINUTE)
    shared.hear(Unavailable("down"))
    shared.trigger()
    assert [reason for _, _, reason in shared.begun()] == ["manual"]


@pytest.mark.parametrize("answer", [None, Held(5_000)], ids=repr)
def test_manual_run_obeys_a_claim_that_is_under_way(shared: Desk, answer: Answer | None) -> None:
    """While the ledger is asked, or a lease elsewhere is waited for, the job counts as busy."""
    shared.add()
    shared.ask(MINUTE)
    if answer is not None:
        shared.hear(answer)
    shared.trigger()
    assert shared.begun() == []
    assert [outcome for _, outcome in shared.outcomes()] == [Skipped("overlap")]


@pytest.mark.parametrize(
    ("overlap", "outcome", "goes_on"),
    [("skip", Skipped("overlap"), False), ("queue", None, True), ("replace", None, True), ("allow", None, True)],
)
def test_claim_obeys_overlap_when_its_time_comes(
    shared: Desk, overlap: str, outcome: Outcome | None, goes_on: bool
) -> None:
    """A slot that finds a manual run alive when it is to be asked for again is treated as if it were due now."""
    shared.add(overlap=overlap)
    shared.ask(MINUTE)
    (claim,) = shared.claims
    shared.hear(Unavailable("down"))
    shared.trigger()
    shared.take(Claim)
    shared.go(MINUTE + 1_000)
    assert shared.outcomes() == ([] if outcome is None else [(MINUTE, outcome)])
    assert len(shared.take(e.Cancel)) == (overlap == "replace")
    if overlap != "allow":
        assert shared.claims == []
        shared.end(Succeeded() if overlap != "replace" else None)
        shared.go(MINUTE + 2_000)
    assert shared.claims == ([claim] if goes_on else [])


# --- what a lost or won claim shows


def test_lost_row_is_kept_for_health(shared: Desk) -> None:
    """The answer to a lost claim shows what other workers have done; that of a ledger of one's own shows nothing."""
    row = Row("job", START + MINUTE, 5, "other-1", outcome="Failed job")
    shared.add()
    shared.ask(MINUTE)
    shared.hear(Lost(row))
    assert shared.facts().row == row
    assert shared.facts().watermark == row.watermark
    shared.ask(2 * MINUTE)
    shared.win()
    assert shared.facts().watermark is None


def test_lost_row_of_a_ledger_of_ones_own_is_not_kept(desk: Desk) -> None:
    """Nobody else writes into it."""
    desk.add()
    desk.go(MINUTE)
    desk.lose()
    assert desk.facts().row is None


def test_abandoned_slot_is_told_once(shared: Desk) -> None:
    """What another worker left without an outcome is told when it is seen, and not again when it is seen again."""
    shared.register(Row("job", START, 5, "host:1:aa-1", finished=False, lease=0))
    assert shared.take(e.RunAbandoned) == [e.RunAbandoned("job", START, "host:1:aa-1")]
    shared.ask(MINUTE)
    shared.hear(Won(8, START, "host:1:aa-1"))
    assert shared.take(e.RunAbandoned) == []
    shared.end(Succeeded())
    shared.ask(2 * MINUTE)
    shared.hear(Won(9, START + MINUTE, "host:2:bb-7"))
    assert shared.take(e.RunAbandoned) == [e.RunAbandoned("job", START + MINUTE, "host:2:bb-7")]


@pytest.mark.parametrize(
    "row",
    [
        Row("job", START, 5, "other-1", finished=True, lease=-1),
        Row("job", START, 5, "other-1", finished=False, lease=1),
        Row("job", START, 5, "other-1", finished=False, lease=None),
        Row("job", START),
    ],
    ids=["finished", "alive", "without a lease", "new"],
)
def test_row_that_shows_nothing_abandoned(shared: Desk, row: Row) -> None:
    """A run that ended, goes on, or never had a lease is none that was left."""
    shared.register(row)
    assert shared.take(e.RunAbandoned) == []


def test_ledger_of_ones_own_tells_of_nothing_abandoned(desk: Desk) -> None:
    """Its rows are of this process, which knows."""
    desk.register(Row("job", START, 5, "other-1", finished=False, lease=-1, paused=True, schedule="another"))
    assert [type(action) for action in desk.actions] == [Register]


def test_changed_schedule_is_told(shared: Desk) -> None:
    """A row that was registered by another schedule is one of an older deploy, or of another app of this name."""
    shared.register(Row("job", START, schedule="every 2 min"))
    (register,) = shared.take(Register)
    assert register.schedule != ""
    assert shared.take(e.ScheduleDiffers) == [e.ScheduleDiffers("job", START, "every 2 min", register.schedule)]


@pytest.mark.parametrize("before", ["", None])
def test_same_schedule_is_not_told(shared: Desk, before: str | None) -> None:
    """Nor is one that the row does not know."""
    schedule = every(minutes=1)
    shared.register(Row("job", START, schedule=str(schedule) if before is None else before))
    assert shared.take(e.ScheduleDiffers) == []


def test_schedule_of_a_user_is_not_compared(shared: Desk) -> None:
    """What it says of itself may differ from process to process."""
    shared.register(Row("job", START, schedule="<Minutely at 0x7f>"), Minutely())
    (register,) = shared.take(Register)
    assert register.schedule == ""
    assert shared.take(e.ScheduleDiffers) == []


# --- places


def test_open_claims_take_places(make_desk: Callable[..., Any]) -> None:
    """While a claim waits to be asked, or asked again, its place below the limit is taken."""
    desk = make_desk(shared=True, max_running=1)
    desk.add(name="a")
    desk.add(name="b")
    desk.ask(MINUTE)
    assert desk.claimed() == [("a", MINUTE)]
    desk.hear(Held(5_000))
    desk.go(MINUTE + 4_000)
    assert desk.claimed() == []
    desk.ask(MINUTE + 5_000)
    desk.lose()
    desk.ask(MINUTE + 6_000)
    assert desk.claimed() == [("a", MINUTE), ("b", MINUTE)]


def test_claim_ids_name_the_worker() -> None:
    """They begin with who asks, and none comes twice."""
    timetable = Timetable(START, worker="host:1:aa", shared=True)
    for name in "ab":
        timetable.handle(e.Added(name, every(minutes=1), Policy()), START)
    timetable.handle(registered(["a", "b"], [START, START]), START)
    timetable.poll(START + MINUTE)
    claims = [action for action in timetable.poll(START + MINUTE + 25) if isinstance(action, Claim)]
    assert len({claim.claim_id for claim in claims}) == 2
    assert all(claim.claim_id.startswith("host:1:aa-") for claim in claims)


@pytest.mark.parametrize(
    ("ahead", "claim_id", "worker"),
    [
        (0, "web-2:4711:abcd-3", "web-2:4711"),
        (0, "nightly-7", "nightly"),
        (0, "", ""),
        (MINUTE, "web-2:4711:abcd-3", ""),
    ],
)
def test_taken_slot_tells_who_has_it(shared: Desk, ahead: int, claim_id: str, worker: str) -> None:
    """Where the row still stands on that slot it names whose claim it was; of an earlier slot it no longer does."""
    shared.add()
    shared.ask(MINUTE)
    shared.hear(Lost(Row("job", shared.start + MINUTE + ahead, 7, claim_id)))
    (taken,) = shared.take(e.Settled)
    assert (taken.outcome, taken.worker) == (Taken(), worker)
    assert shared.facts().row_at == shared.now


def test_ledger_of_ones_own_names_no_other_worker(desk: Desk) -> None:
    """There is none, and its rows are not kept."""
    desk.add()
    desk.at(MINUTE)
    desk.hear(Lost(Row("job", desk.start + MINUTE, 7, "web-2:4711:abcd-3")))
    (taken,) = desk.take(e.Settled)
    assert (taken.outcome, taken.worker) == (Taken(), "")
    assert desk.facts().row is None
