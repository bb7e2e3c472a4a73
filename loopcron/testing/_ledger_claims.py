"""The part of the ledger contract that is about claims: who wins a slot, and what the others are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loopcron._ledger import EARLY_MS, Held, Lost, Pause, Paused, Register, Row, TooEarly, Won
from loopcron._outcomes import Failed, Succeeded
from loopcron.testing._ledger_case import (
    LEASE,
    ROUNDING,
    SHORT,
    LedgerCase,
    ask,
    begin,
    finish,
    look,
    now_of,
    register,
    renew,
    timeless,
    win,
)

if TYPE_CHECKING:
    from loopcron._protocols import Ledger

HOUR: Final = 3_600_000


class ClaimCases(LedgerCase):
    """Claiming: the six rules, in their order."""

    async def test_job_without_a_row_can_be_claimed(self, ledger: Ledger) -> None:
        """A job that was never registered is won by the first who claims it, and has a row from then on."""
        slot = await now_of(ledger)
        won = await win(ledger, slot)
        assert won.fence >= slot - ROUNDING
        assert won[1:] == (None, "")
        assert timeless(await look(ledger)) == Row("job", slot, won.fence, "a", finished=False, lease=0)

    async def test_slot_is_won_once(self, ledger: Ledger) -> None:
        """The second who claims a slot has lost, and is told all of the row, as it stands."""
        mark = await begin(ledger)
        await win(ledger, mark + 1)
        answer = await ask(ledger, mark + 1, "b")
        assert isinstance(answer, Lost)
        assert timeless(answer.row) == timeless(await look(ledger))
        assert answer.row.claim_id == "a"
        assert answer.row.lease is not None
        assert 0 < answer.row.lease <= LEASE

    async def test_lost_claim_tells_how_the_slot_ended(self, ledger: Ledger) -> None:
        """Who loses a slot that is finished is told its outcome, when it ended, and when a run last succeeded."""
        mark = await begin(ledger)
        for slot, outcome in ((1, Succeeded(200)), (2, Failed("endpoint", "HTTP 503", 503))):
            won = await win(ledger, mark + slot, str(slot))
            await finish(ledger, mark + slot, won.fence, outcome)
        answer = await ask(ledger, mark + 2, "late")
        assert answer == Lost(await look(ledger))
        assert isinstance(answer, Lost)
        row = answer.row
        assert (row.watermark, row.fence, row.finished, row.lease) == (mark + 2, won.fence, True, None)
        assert row.outcome == "Failed endpoint 503"
        assert row.succeeded is not None
        assert row.ended is not None
        assert row.succeeded <= row.ended

    async def test_older_slots_are_lost(self, ledger: Ledger) -> None:
        """At or below the watermark nothing is won, whether somebody ran it, passed it, or the job began later."""
        mark = await begin(ledger)
        for slot in (mark, mark - 1, mark - HOUR, 1):
            assert await ask(ledger, slot, f"x{slot}") == Lost(Row("job", mark))
        won = await win(ledger, mark + 10, lease=None)
        for slot in (mark + 9, mark + 1, mark):
            answer = await ask(ledger, slot, f"y{slot}")
            assert answer == Lost(Row("job", mark + 10, won.fence, "a", finished=False))

    async def test_claimant_whose_clock_is_slow_wins_all_the_same(self, ledger: Ledger) -> None:
        """A slot above the watermark is won however long ago it came."""
        await register(ledger, Register("job", 0, 0))
        await win(ledger, 1, "a", None)
        await win(ledger, HOUR, "b", None)

    async def test_repeated_claim_has_the_same_answer(self, ledger: Ledger) -> None:
        """Who won and asks again with the same claim id has won with the same fence, before and after the outcome."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        assert (await win(ledger, mark + 1)).fence == won.fence
        assert (await win(self.another(), mark + 1)).fence == won.fence
        assert await finish(ledger, mark + 1, won.fence)
        row = await look(ledger)
        assert (await win(ledger, mark + 1)).fence == won.fence
        assert await look(ledger) == row

    async def test_repeated_claim_that_lost_has_lost_again(self, ledger: Ledger) -> None:
        """Who lost and asks again with the same claim id has lost again."""
        mark = await begin(ledger)
        await win(ledger, mark + 1)
        for _ in range(2):
            assert isinstance(await ask(ledger, mark + 1, "b"), Lost)

    async def test_repeated_claim_lets_the_lease_begin_anew(self, ledger: Ledger) -> None:
        """Who won and asks again has a whole lease again, even if it had run out meanwhile."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1, lease=LEASE // 2)
        await win(ledger, mark + 1, lease=2 * LEASE)
        row = await look(ledger)
        assert row.lease is not None
        assert row.lease > LEASE
        await win(ledger, mark + 1, lease=SHORT)
        await self.expire(ledger)
        assert (await win(ledger, mark + 1)).fence == won.fence
        assert isinstance(await ask(ledger, mark + 2, "b"), Held)

    async def test_repeated_claim_comes_too_late_after_another(self, ledger: Ledger) -> None:
        """Who won, and asks again when somebody else has won a newer slot, has lost it."""
        mark = await begin(ledger)
        await win(ledger, mark + 1, lease=None)
        newer = await win(ledger, mark + 2, "b", None)
        answer = await ask(ledger, mark + 1, "a", None)
        assert answer == Lost(Row("job", mark + 2, newer.fence, "b", finished=False))

    async def test_slot_that_has_not_come_is_too_early(self, ledger: Ledger) -> None:
        """A claimant whose clock is fast is told for how long the slot does not come yet, by the store's clock."""
        mark = await begin(ledger)
        before = await now_of(ledger)
        slot = before + HOUR
        answer = await ask(ledger, slot, "a")
        after = await now_of(ledger)
        assert isinstance(answer, TooEarly)
        assert answer.by_ms > EARLY_MS
        assert slot - after - ROUNDING <= answer.by_ms <= slot - before + ROUNDING
        assert await look(ledger) == Row("job", mark)

    async def test_slot_that_is_near_is_not_too_early(self, ledger: Ledger) -> None:
        """Clocks differ a little: a slot that comes within 50 ms is won."""
        await begin(ledger)
        for ahead in (1, EARLY_MS // 2, EARLY_MS):
            await win(ledger, await now_of(ledger) + ahead, f"a{ahead}", None)

    async def test_slot_that_is_a_little_further_is_too_early(self, ledger: Ledger) -> None:
        """A slot that is won early is never more than 50 ms ahead of the store's now."""
        await begin(ledger)
        for ahead in range(EARLY_MS - 5, EARLY_MS + 10):
            slot = await now_of(ledger) + ahead
            answer = await ask(ledger, slot, f"a{slot}", None)
            if isinstance(answer, TooEarly):
                assert EARLY_MS < answer.by_ms <= ahead + ROUNDING
            else:
                assert isinstance(answer, Won)
                assert slot <= await now_of(ledger) + EARLY_MS + ROUNDING

    async def test_far_future_poisons_nothing(self, ledger: Ledger) -> None:
        """A claimant whose clock is years ahead changes nothing: the next slot is won as if it had not asked."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        await finish(ledger, mark + 1, won.fence)
        row = await look(ledger)
        for ahead in (HOUR, 20 * 365 * 24 * HOUR):
            for lease in (LEASE, None):
                assert isinstance(await ask(ledger, mark + ahead, f"fast{ahead}", lease), TooEarly)
                assert isinstance(await ask(ledger, mark + ahead, f"fast{ahead}", lease, "new"), TooEarly)
        assert await look(ledger) == row
        await win(ledger, mark + 2, "b")
        await win(ledger, mark + 2, "b", job="new")

    async def test_lease_holds_the_job(self, ledger: Ledger) -> None:
        """While a run's lease goes on the next slot is refused, and the answer tells how long it lasts."""
        mark = await begin(ledger)
        before = await now_of(ledger)
        await win(ledger, mark + 1)
        row = timeless(await look(ledger))
        answer = await ask(ledger, mark + 2, "b")
        after = await now_of(ledger)
        assert isinstance(answer, Held)
        assert LEASE - (after - before) - ROUNDING <= answer.for_ms <= LEASE
        assert isinstance(await ask(self.another(), mark + 3, "c", SHORT), Held)
        assert timeless(await look(ledger)) == row

    async def test_claim_without_lease_is_held_by_none(self, ledger: Ledger) -> None:
        """Where runs may overlap a claim is won while another's lease goes on, and leaves no lease itself."""
        mark = await begin(ledger)
        first = await win(ledger, mark + 1)
        second = await win(ledger, mark + 2, "b", None)
        assert second == Won(second.fence)
        assert second.fence > first.fence
        assert await look(ledger) == Row("job", mark + 2, second.fence, "b", finished=False)
        third = await win(ledger, mark + 3, "c")
        assert third == Won(third.fence)  # a run without a lease cannot be told from one that goes on
        assert not await renew(ledger, mark + 1, first.fence)

    async def test_lease_that_is_over_holds_nothing(self, ledger: Ledger) -> None:
        """After a lease without an outcome the next slot is won, and the winner is told whose run was abandoned."""
        mark = await begin(ledger)
        first = await win(ledger, mark + 1, "crashed", SHORT)
        await self.expire(ledger)
        assert isinstance(await ask(ledger, mark + 1, "b"), Lost)
        second = await win(ledger, mark + 3, "b")
        assert second == Won(second.fence, mark + 1, "crashed")
        assert second.fence > first.fence
        row = await look(ledger)
        assert (row.watermark, row.claim_id, row.outcome, row.ended) == (mark + 3, "b", "", None)

    async def test_abandoned_run_is_told_where_runs_may_overlap(self, ledger: Ledger) -> None:
        """A claim without a lease is told of an abandoned run too, and the one after it is not any more."""
        mark = await begin(ledger)
        await win(ledger, mark + 1, "crashed", SHORT)
        await self.expire(ledger)
        assert (await win(ledger, mark + 2, "b", None))[1:] == (mark + 1, "crashed")
        assert (await win(ledger, mark + 3, "c", None))[1:] == (None, "")

    async def test_finished_run_is_not_abandoned(self, ledger: Ledger) -> None:
        """A run whose outcome came after its lease was over, and before the next claim, was not abandoned."""
        mark = await begin(ledger)
        first = await win(ledger, mark + 1, lease=SHORT)
        await self.expire(ledger)
        assert await finish(ledger, mark + 1, first.fence)
        assert (await win(ledger, mark + 2, "b"))[1:] == (None, "")

    async def test_lost_comes_before_all_that_is_refused(self, ledger: Ledger) -> None:
        """A slot at or below the watermark is lost, whether the job is paused, held, or the slot far ahead."""
        now = await now_of(ledger)
        await register(ledger, Register("ahead", 0, now + HOUR), Register("job", 0, now - HOUR))
        await ledger.pause([Pause("ahead", 0, paused=True)])
        assert await ask(ledger, now + HOUR, "a", job="ahead") == Lost(Row("ahead", now + HOUR, paused=True))
        await win(ledger, now - 1)
        await ledger.pause([Pause("job", 0, paused=True)])
        assert isinstance(await ask(ledger, now - 1, "b"), Lost)

    async def test_paused_comes_before_too_early_and_that_before_held(self, ledger: Ledger) -> None:
        """Of several reasons to refuse a claim the first rule's is told."""
        now = await now_of(ledger)
        await win(ledger, now - 1)
        assert isinstance(await ask(ledger, now + HOUR, "b"), TooEarly)
        await ledger.pause([Pause("job", 0, paused=True)])
        assert await ask(ledger, now + HOUR, "b") == Paused()
        assert await ask(ledger, now, "b") == Paused()
