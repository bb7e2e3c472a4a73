"""The memory ledger against the contract of `Ledger`, alone and under two schedulers."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from loopcron import (
    Claim,
    Finish,
    Lost,
    MemoryLedger,
    Register,
    Run,
    Scheduler,
    Succeeded,
    SystemClock,
    Taken,
    Won,
    every,
)
from loopcron._instants import to_ms
from loopcron.testing import FakeClock, RecordingObserver


async def test_new_row_registers_at_the_stores_now() -> None:
    """A job that has no row gets one at the store's now, or at the watermark that it brings."""
    clock = FakeClock()
    now = to_ms(clock.now())
    ledger = MemoryLedger(clock)
    assert await ledger.register([Register("a", 5, None), Register("b", 5, 77)]) == [now, 77]


async def test_row_that_is_there_is_kept() -> None:
    """Registering again returns the watermark as it stands, whatever the registration says."""
    ledger = MemoryLedger(FakeClock())
    await ledger.register([Register("a", 0, 100)])
    await ledger.claim([Claim("a", 200, "x")])
    assert await ledger.register([Register("a", 0, 5), Register("a", 0, None)]) == [200, 200]


async def test_correction_lowers_rows_and_keeps_fences() -> None:
    """A corrected registration lowers its own row to the watermark it brings, or to now, and raises none."""
    clock = FakeClock()
    now = to_ms(clock.now())
    ledger = MemoryLedger(clock)
    ahead = {"a": now + 50, "b": now + 50, "c": now - 50}
    (won, *_) = await ledger.claim([Claim(job, slot, "x") for job, slot in ahead.items()])
    marks = [Register("a", 0, now - 9, corrected=True), Register("b", 0, None, corrected=True)]
    assert await ledger.register([*marks, Register("c", 0, now - 9, corrected=True)]) == [now - 9, now, now - 50]
    (again,) = await ledger.claim([Claim("a", now, "y")])
    assert isinstance(won, Won)
    assert isinstance(again, Won)
    assert again.fence > won.fence


async def test_correction_lowers_rows_of_jobs_that_are_gone() -> None:
    """The row of a removed job is lowered along with the others, so that the job can come back."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    await ledger.claim([Claim("gone", to_ms(clock.now()), "x")])
    clock.jump_wall(timedelta(hours=-4))
    now = to_ms(clock.now())
    assert await ledger.register([Register("here", 0, None, corrected=True)]) == [now]
    assert await ledger.register([Register("gone", 0, None)]) == [now]


async def test_slot_is_won_once() -> None:
    """The second claim of a slot, or one of an older slot, is lost, and is told the watermark."""
    ledger = MemoryLedger(FakeClock())
    await ledger.register([Register("a", 0, 100)])
    won, lost = await ledger.claim([Claim("a", 200, "x"), Claim("a", 200, "y")])
    assert isinstance(won, Won)
    assert lost == Lost(200)
    assert await ledger.claim([Claim("a", 150, "z"), Claim("a", 100, "w")]) == [Lost(200), Lost(200)]


async def test_repeating_a_claim_repeats_its_answer() -> None:
    """A claim id that won wins again with the same fence; one that lost has lost."""
    ledger = MemoryLedger(FakeClock())
    await ledger.register([Register("a", 0, 100)])
    first = await ledger.claim([Claim("a", 200, "x")])
    assert await ledger.claim([Claim("a", 200, "x")]) == first
    assert await ledger.claim([Claim("a", 200, "y")]) == [Lost(200)]
    assert await ledger.claim([Claim("a", 200, "y")]) == [Lost(200)]


async def test_claim_without_a_row_wins() -> None:
    """A job that was never registered can claim all the same."""
    ledger = MemoryLedger(FakeClock())
    assert isinstance((await ledger.claim([Claim("a", 200, "x")]))[0], Won)


async def test_fence_is_at_least_the_stores_now() -> None:
    """A fence is the store's time or more, so that it rises over a restart, and rises within one instant too."""
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    fences = [answer.fence for slot in (1, 2, 3) for answer in await ledger.claim([Claim("a", slot, str(slot))])]  # type: ignore[union-attr]
    now = to_ms(clock.now())
    assert fences == [now, now + 1, now + 2]


async def test_jobs_do_not_share_a_row() -> None:
    """A claim of one job says nothing about another."""
    ledger = MemoryLedger(FakeClock())
    answers = await ledger.claim([Claim("a", 200, "x"), Claim("b", 100, "y")])
    assert [type(answer) for answer in answers] == [Won, Won]


async def test_finish_changes_nothing() -> None:
    """An outcome is taken without a word, for a fence that is old or unknown too."""
    ledger = MemoryLedger(FakeClock())
    await ledger.claim([Claim("a", 200, "x")])
    await ledger.finish([Finish("a", 200, 0, Succeeded()), Finish("never", 1, 1, Succeeded())])
    assert await ledger.register([Register("a", 0, None)]) == [200]


def test_ledger_says_what_it_is() -> None:
    """Its `repr` is one word, and it takes the system's clock by itself."""
    assert repr(MemoryLedger()) == "memory"
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
        (mark,) = await ledger.register([Register(job, 0, 0)])
        assert mark >= marks.get(job, 0)
        marks[job] = mark
        if isinstance(answer, Won):
            assert wins.setdefault((job, slot), (claim_id, answer.fence)) == (claim_id, answer.fence)
            assert answer.fence >= fences.get(job, 0)
            fences[job] = answer.fence
        else:
            assert answer == Lost(mark)
            assert slot <= mark


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
