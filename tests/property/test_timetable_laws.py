"""The laws in the docstring of `Timetable`, each one a property over generated histories."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcron import _events as e
from loopcron._every import every
from loopcron._ledger import LOCAL_BATCH, Claim
from loopcron._outcomes import Busy, Failed, Outcome, Succeeded
from loopcron._policies import Policy
from loopcron._timetable import Timetable
from tests.property.histories import LEDGERS, LIMITS, PLANS, START, STEPS, Driver, Plan, check_cover, plans
from tests.rows import registered


@given(PLANS, STEPS, st.sampled_from([0, 5_000]), LIMITS, LEDGERS)
def test_law_1_same_facts_give_same_actions(
    plans: list[Plan],
    steps: list[tuple[str, int, int]],
    startup_delay: int,
    max_running: int | None,
    ledger: dict[str, bool],
) -> None:
    """Two timetables that are told the same history answer with the same actions and wake-ups."""
    logs = []
    for _ in range(2):
        driver = Driver(startup_delay, max_running, **ledger)
        driver.play(plans, steps)
        driver.conclude()
        logs.append(driver.log)
    assert logs[0] == logs[1]


@given(st.integers(2, 40), st.integers(-5_000, 5_000))
def test_law_1_claim_ids_follow_the_order_of_adding_after_a_step(jobs: int, by: int) -> None:
    """A clock step during the start-up delay leaves the order in which jobs are served as it was."""
    timetable = Timetable(START, startup_delay=10_000)
    names = [f"j{number:02}" for number in range(jobs)]
    policy = Policy(run_on_start=True)
    for name in names:
        timetable.handle(e.Added(name, every(minutes=1), policy), START)
    first = START // 60_000 * 60_000
    timetable.handle(registered(names, [first - 1] * jobs), START)
    timetable.handle(e.Stepped(by), START + by)
    claims = []
    while actions := timetable.poll(START + by + 10_000):
        claims += [action for action in actions if isinstance(action, Claim)]
    assert [claim.job for claim in claims] == names
    numbers = [int(claim.claim_id.lstrip("-")) for claim in claims]
    assert numbers == sorted(numbers)


@given(PLANS, STEPS, LIMITS, LEDGERS)
def test_law_2_polling_again_gives_nothing(
    plans: list[Plan], steps: list[tuple[str, int, int]], max_running: int | None, ledger: dict[str, bool]
) -> None:
    """Polling again at the same now gives nothing, however the timetable came to where it is."""
    driver = Driver(max_running=max_running, **ledger)
    driver.play(plans, steps)
    assert driver.timetable.poll(driver.now) == ()
    assert driver.timetable.poll(driver.now) == ()


@given(PLANS, STEPS, st.sampled_from([0, 5_000]), LIMITS, LEDGERS)
def test_law_3_next_wakeup_is_later_than_now(
    plans: list[Plan],
    steps: list[tuple[str, int, int]],
    startup_delay: int,
    max_running: int | None,
    ledger: dict[str, bool],
) -> None:
    """Following the wake-ups alone never spins: each one is later, and a poll at it never needs an early one."""
    driver = Driver(startup_delay, max_running, **ledger)
    driver.play(plans, steps)
    for _ in range(20):
        if not driver.wake():
            break


@given(PLANS, STEPS, st.sampled_from([0, 5_000]), LIMITS, LEDGERS)
def test_law_4_every_slot_is_covered_once(
    plans: list[Plan],
    steps: list[tuple[str, int, int]],
    startup_delay: int,
    max_running: int | None,
    ledger: dict[str, bool],
) -> None:
    """Every slot from the watermark to removal or stop is in exactly one record, and ranges count exactly."""
    driver = Driver(startup_delay, max_running, **ledger)
    driver.play(plans, steps)
    driver.conclude()
    for known in driver.known.values():
        check_cover(known)
        assert known.owed == []


@given(PLANS, STEPS, LIMITS, LEDGERS)
def test_law_5_every_run_is_answered_once(
    plans: list[Plan], steps: list[tuple[str, int, int]], max_running: int | None, ledger: dict[str, bool]
) -> None:
    """Every run that was started, manual ones too, is answered by exactly one outcome, also one that never ends."""
    driver = Driver(max_running=max_running, **ledger)
    driver.play(plans, steps)
    driver.stop(0)
    driver.now += 2_000
    driver.poll()
    assert driver.timetable.is_over
    assert sorted(driver.answered, key=repr) == sorted(driver.started, key=repr)


@given(PLANS, STEPS, LIMITS, LEDGERS)
def test_law_6_actions_are_ordered(
    plans: list[Plan], steps: list[tuple[str, int, int]], max_running: int | None, ledger: dict[str, bool]
) -> None:
    """Many facts without a poll between still come out ordered by slot, then by job name."""
    driver = Driver(max_running=max_running, **ledger)
    driver.play(plans, steps)
    for name in sorted(driver.present, reverse=True):
        driver.timetable.handle(e.PauseAsked(name), driver.now)
        driver.timetable.handle(e.ResumeAsked(name), driver.now + 1)
        driver.timetable.handle(e.Triggered(name, f"{name}@manual"), driver.now + 1)
        driver.now += 1
    driver.poll()


def covered_slots(plan: Plan, polls: Sequence[int], outcome: Outcome, answer: str) -> list[int]:
    """Return the slots that are covered when all is answered at once and polls are made after these times."""
    driver = Driver()
    driver.add(plan)
    driver.register(0)
    for elapsed in polls:
        driver.now = START + elapsed
        driver.poll()
        while driver.claims or driver.alive:  # caught up one after the other, a slot comes only after the one before
            while driver.claims:
                driver.claim(0, answer)
            while driver.alive:
                driver.end(0, outcome)
    slots = plan.slots(START)
    found: list[int] = []
    for first, last, _ in driver.known["j0"].handed:
        found += slots[bisect_left(slots, first) : bisect_right(slots, last)]
    return sorted(found)


@given(
    plans().filter(lambda plan: plan.policy.retry is None),
    st.lists(st.integers(1, 10_000_000), min_size=1, max_size=12),
    st.sampled_from([Succeeded(), Failed("job", "ValueError"), Busy()]),
    st.sampled_from(["won", "lost"]),
)
def test_law_7_splitting_polls_covers_the_same_slots(
    plan: Plan, polls: list[int], outcome: Outcome, answer: str
) -> None:
    """The slots covered by one poll at the end are those covered by many, each claim and run answered at once."""
    end = max(polls)
    assert covered_slots(plan, [end], outcome, answer) == covered_slots(plan, sorted(polls), outcome, answer)


@given(PLANS, STEPS, st.integers(1, 10_000_000))
def test_law_8_time_goes_back_by_a_step_only(plans: list[Plan], steps: list[tuple[str, int, int]], back: int) -> None:
    """An earlier now is refused and changes nothing, until a `Stepped` says that the clock was set."""
    driver = Driver()
    driver.play(plans, steps)
    before = driver.timetable.next_wakeup()
    with pytest.raises(ValueError, match="without a Stepped"):
        driver.timetable.poll(driver.now - back)
    with pytest.raises(ValueError, match="without a Stepped"):
        driver.timetable.handle(e.Stopping(0), driver.now - back)
    assert driver.timetable.next_wakeup() == before
    driver.now -= back
    driver.tell(e.Stepped(-back))


@settings(max_examples=20)
@given(st.integers(LOCAL_BATCH + 1, 4 * LOCAL_BATCH), st.integers(0, 3))
def test_more_hands_out_a_crowd_in_chunks(jobs: int, late: int) -> None:
    """A crowd due on one instant comes in polls of limited size, `More` on all but the last, none left out."""
    timetable = Timetable(START)
    names = [f"j{number:04}" for number in range(jobs)]
    for name in names:
        timetable.handle(e.Added(name, every(minutes=1), Policy()), START)
    timetable.handle(registered(names, [START] * jobs), START)
    timetable.poll(START)
    now = (START // 60_000 + 1) * 60_000 + late
    claimed: list[str] = []
    polls = 0
    while actions := timetable.poll(now):
        polls += 1
        claims = [action.job for action in actions if isinstance(action, Claim)]
        assert len(claims) <= LOCAL_BATCH
        assert claims == sorted(claims)
        claimed += claims
        assert isinstance(actions[-1], e.More) == (len(claimed) < jobs)
    assert polls == -(-jobs // LOCAL_BATCH)
    assert sorted(claimed) == names
