"""What is the memory ledger's own, beside the contract: it forgets, and schedulers of one process share it."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from loopcron import MemoryLedger, Run, Scheduler, Succeeded, SystemClock, Taken, every
from loopcron._instants import to_ms
from loopcron._ledger import Claim, Held, Lost, Register, Row, Won
from loopcron.testing import FakeClock, RecordingObserver


async def test_correction_lowers_rows_of_jobs_that_are_gone() -> None:
    """The row of a removed job is lowered along with the others, so that the job can come back."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    await ledger.claim([Claim("gone", to_ms(clock.now()), "x")])
    clock.jump_wall(timedelta(hours=-4))
    now = to_ms(clock.now())
    assert await ledger.register([Register("here", 0, None, corrected=True)]) == [Row("here", now)]
    (gone,) = await ledger.register([Register("gone", 0, None)])
    assert gone.watermark == now


async def test_correction_in_one_call_lowers_each_row_to_its_own_watermark() -> None:
    """Of corrected registrations each lowers its row to what it brings, or to now, and keeps the fence."""
    clock = FakeClock()
    now = to_ms(clock.now())
    ledger = MemoryLedger(clock)
    ahead = {"a": now + 50, "b": now + 50, "c": now - 50}
    answers = await ledger.claim([Claim(job, slot, "x") for job, slot in ahead.items()])
    marks = [Register("a", 0, now - 9, corrected=True), Register("b", 0, None, corrected=True)]
    rows = await ledger.register([*marks, Register("c", 0, now - 9, corrected=True)])
    assert [row.watermark for row in rows] == [now - 9, now, now - 50]
    assert [Won(row.fence) for row in rows] == answers


async def test_fences_within_one_instant_rise() -> None:
    """A fence is the store's time, or one more than the last where time has not moved on."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    now = to_ms(clock.now())
    answers = [await ledger.claim([Claim("a", slot, str(slot))]) for slot in (1, 2, 3)]
    assert answers == [[Won(now)], [Won(now + 1)], [Won(now + 2)]]


async def test_lease_goes_by_the_clock_that_was_given() -> None:
    """A lease lasts as long as the wall hand of the ledger's clock says, to the millisecond."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    (won,) = await ledger.claim([Claim("a", 1, "x", 1000)])
    clock.jump_wall(timedelta(milliseconds=999))
    assert await ledger.claim([Claim("a", 2, "y", 1000)]) == [Held(1)]
    clock.jump_wall(timedelta(milliseconds=1))
    assert isinstance(won, Won)
    assert await ledger.claim([Claim("a", 2, "y", 1000)]) == [Won(won.fence + 1000, 1, "x")]


def test_ledger_says_what_it_is() -> None:
    """Its `repr` is one word, it takes the system's clock by itself, and other processes do not see its rows."""
    assert repr(MemoryLedger()) == "memory"
    assert not MemoryLedger().is_shared
    assert repr(MemoryLedger(SystemClock())) == "memory"


claims = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 8), st.sampled_from("xyz"), st.integers(-9, 9)))


@given(history=claims)
async def test_watermark_and_fence_never_fall(history: list[tuple[str, int, str, int]]) -> None:
    """Whatever is claimed, and wherever the clock jumps: one win per slot, and watermark and fence only rise."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    marks: dict[str, int] = {}
    wins: dict[tuple[str, int], tuple[str, int]] = {}
    fences: dict[str, int] = {}
    for job, slot, claim_id, jump in history:
        clock.jump_wall(timedelta(seconds=jump))
        (answer,) = await ledger.claim([Claim(job, slot, f"{claim_id}{slot}")])
        (row,) = await ledger.register([Register(job, 0, 0)])
        assert row.watermark >= marks.get(job, 0)
        marks[job] = row.watermark
        if isinstance(answer, Won):
            assert wins.setdefault((job, slot), (claim_id, answer.fence)) == (claim_id, answer.fence)
            assert answer.fence >= fences.get(job, 0)
            fences[job] = answer.fence
        else:
            assert answer == Lost(row)
            assert slot <= row.watermark


async def test_two_schedulers_run_a_slot_once() -> None:
    """Of two schedulers on one ledger each slot is run by one, and the other records that it was taken."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    runs: list[str] = []
    seen = RecordingObserver(), RecordingObserver()

    async def work(run: Run) -> None:
        runs.append(run.key)

    first, second = (Scheduler(clock=clock, ledger=ledger, observers=[observer]) for observer in seen)
    for scheduler in (first, second):
        scheduler.job(every(minutes=1))(work)
    async with first, second:
        await clock.advance(timedelta(minutes=5))
    assert len(runs) == len(set(runs)) == 5
    for one, other in zip(seen[0].settled(), seen[1].settled(), strict=True):
        assert one.slot == other.slot
        assert {one.outcome, other.outcome} == {Succeeded(), Taken()}


async def test_rows_outlive_a_life() -> None:
    """A ledger that is given keeps its rows from one life to the next, so that slots between the two are caught up."""
    clock, seen = FakeClock(), RecordingObserver()
    scheduler = Scheduler(clock=clock, ledger=MemoryLedger(clock), observers=[seen])

    @scheduler.job(every(minutes=1))
    async def work(run: Run) -> None:
        pass

    async with scheduler:
        await clock.advance(timedelta(minutes=1))
    await clock.advance(timedelta(minutes=10))
    async with scheduler:
        await clock.advance(timedelta(0))
    assert [type(settled.outcome).__name__ for settled in seen.settled()] == ["Succeeded", "Missed", "Succeeded"]
