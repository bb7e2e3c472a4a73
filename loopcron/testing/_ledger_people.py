"""The part of the ledger contract that is about what people do: pausing, resetting, and living in namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from loopcron._ledger import Claim, Lost, Pause, Paused, Register, Row, Won
from loopcron.testing._ledger_case import (
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


class PeopleCases(LedgerCase):
    """Pause, reset, namespaces."""

    async def test_paused_job_is_won_by_nobody(self, ledger: Ledger) -> None:
        """While a job is paused its slots are refused, with a lease and without, and its row stays as it was."""
        mark = await begin(ledger)
        await ledger.pause([Pause("job", mark, paused=True)])
        assert await ask(ledger, mark + 1, "a") == Paused()
        assert await ask(ledger, mark + 1, "b", None) == Paused()
        assert await look(ledger) == Row("job", mark, paused=True)

    async def test_pause_holds_for_every_worker(self, ledger: Ledger) -> None:
        """Another worker on the same store is refused too, sees the pause, and can end it."""
        mark = await begin(ledger)
        other = self.another()
        await ledger.pause([Pause("job", mark, paused=True)])
        assert await ask(other, mark + 1, "a") == Paused()
        assert (await look(other)).paused
        await other.pause([Pause("job", mark, paused=False)])
        await win(ledger, mark + 1)

    async def test_pause_outlives_a_registration(self, ledger: Ledger) -> None:
        """A worker that starts finds the job paused, and does not end that."""
        mark = await begin(ledger)
        await ledger.pause([Pause("job", mark, paused=True)])
        (row,) = await register(ledger, Register("job", 0, None, schedule="every hour"))
        assert row == Row("job", mark, paused=True)
        assert await ask(ledger, mark + 1, "a") == Paused()

    async def test_resumed_job_is_won_again(self, ledger: Ledger) -> None:
        """After the pause the next slot is won; pausing twice is pausing once, and so is resuming."""
        mark = await begin(ledger)
        for paused in (True, True, False, False):
            await ledger.pause([Pause("job", mark, paused)])
            assert (await look(ledger)).paused is paused
        assert (await look(ledger)) == Row("job", mark)
        await win(ledger, mark + 1)

    async def test_job_may_be_paused_before_it_is_known(self, ledger: Ledger) -> None:
        """Pausing a job without a row makes one that begins at the store's now; resuming one does that too."""
        before = await now_of(ledger)
        await ledger.pause([Pause("job", 5, paused=True), Pause("other", 5, paused=False)])
        after = await now_of(ledger)
        row, other = await look(ledger), await look(ledger, "other")
        assert row == Row("job", row.watermark, paused=True)
        assert other == Row("other", other.watermark)
        for mark in (row.watermark, other.watermark):
            assert before <= mark <= after
        (known,) = await register(ledger, Register("job", 0, 77))
        assert known.watermark == row.watermark
        assert known.paused

    async def test_pauses_are_per_job(self, ledger: Ledger) -> None:
        """One call pauses some jobs and resumes others, and touches none besides."""
        mark = await begin(ledger, *"abcd")
        await ledger.pause([Pause("a", 0, paused=True), Pause("b", 0, paused=True)])
        await ledger.pause([Pause("c", 0, paused=True), Pause("a", 0, paused=False)])
        answers = await ledger.claim([Claim(job, mark + 1, "x") for job in "abcd"])
        assert [type(answer) for answer in answers] == [Won, Paused, Paused, Won]

    async def test_pause_leaves_lease_and_outcome(self, ledger: Ledger) -> None:
        """Pausing and resuming a job with a live run change nothing of its row but that."""
        mark = await begin(ledger)
        await win(ledger, mark + 1)
        before = timeless(await look(ledger))
        await ledger.pause([Pause("job", 0, paused=True)])
        assert timeless(await look(ledger)) == before._replace(paused=True)
        await ledger.pause([Pause("job", 0, paused=False)])
        assert timeless(await look(ledger)) == before

    async def test_reset_lowers_a_watermark_that_is_ahead(self, ledger: Ledger) -> None:
        """After a reset a watermark of the future is the store's now, and the job's next slots are won."""
        before = await now_of(ledger)
        await register(ledger, Register("job", 0, before + HOUR, schedule="every hour"))
        assert isinstance(await ask(ledger, before, "a"), Lost)
        (row,) = await ledger.reset(["job"])
        after = await now_of(ledger)
        assert row is not None
        assert before <= row.watermark <= after
        assert row == await look(ledger) == Row("job", row.watermark, schedule="every hour")
        await win(ledger, row.watermark + 1)

    async def test_reset_leaves_a_watermark_that_is_not_ahead(self, ledger: Ledger) -> None:
        """A reset never raises a watermark: slots that nobody ran can be caught up afterwards."""
        mark = await begin(ledger)
        assert list(await ledger.reset(["job"])) == [Row("job", mark)]
        await win(ledger, mark + 1, lease=None)
        (row,) = await ledger.reset(["job"])
        assert row == await look(ledger)
        assert row is not None
        assert row.watermark == mark + 1

    async def test_reset_is_answered_in_order(self, ledger: Ledger) -> None:
        """Several jobs are reset in one call and answered in its order, with None for each that has no row."""
        mark = await begin(ledger, *"abc")
        await register(ledger, Register("ahead", 0, mark + HOUR))
        rows = await ledger.reset(["c", "nobody", "ahead", "a"])
        assert [row and row.job for row in rows] == ["c", None, "ahead", "a"]
        assert [row and row.watermark > mark for row in rows] == [False, None, True, False]
        assert list(await ledger.peek(["nobody"])) == [None]
        assert await look(ledger, "b") == Row("b", mark)

    async def test_reset_ends_the_lease(self, ledger: Ledger) -> None:
        """After a reset the next slot is won although a run had the lease; that run cannot renew it."""
        mark = await begin(ledger)
        first = await win(ledger, mark + 1)
        (row,) = await ledger.reset(["job"])
        assert row is not None
        assert (row.lease, row.fence, row.claim_id) == (None, first.fence, "a")
        assert not await renew(ledger, mark + 1, first.fence)
        assert (await win(ledger, mark + 2, "b")).fence > first.fence

    async def test_slot_ahead_can_be_won_again_after_a_reset(self, ledger: Ledger) -> None:
        """A slot between the store's now and the old watermark is won anew, with a larger fence."""
        await begin(ledger)
        slot = await now_of(ledger) + 40
        first = await win(ledger, slot)
        (row,) = await ledger.reset(["job"])
        assert row is not None
        assert row.watermark <= slot
        again = await ask(ledger, slot, "b", None)
        assert isinstance(again, Won if row.watermark < slot else Lost)  # on a slow machine it has come meanwhile
        assert isinstance(again, Lost) or again.fence > first.fence
        assert (await win(ledger, slot + 1, "c")).fence > first.fence

    async def test_run_before_a_reset_is_a_zombie_once_the_job_is_won(self, ledger: Ledger) -> None:
        """What ran before a reset writes its outcome no more when somebody has won a slot after it."""
        mark = await begin(ledger, "job", "quiet")
        zombie = await win(ledger, mark + 1)
        last = await win(ledger, mark + 1, job="quiet")
        await ledger.reset(["job", "quiet"])
        won = await win(ledger, mark + 2, "b")
        assert not await finish(ledger, mark + 1, zombie.fence)
        assert not (await look(ledger)).finished
        assert await finish(ledger, mark + 2, won.fence)
        assert await finish(ledger, mark + 1, last.fence, job="quiet")

    async def test_reset_keeps_pause_and_schedule(self, ledger: Ledger) -> None:
        """A reset is about time: a paused job stays paused, and its schedule known."""
        await register(ledger, Register("job", 0, 77, schedule="every hour"))
        await ledger.pause([Pause("job", 0, paused=True)])
        assert list(await ledger.reset(["job"])) == [Row("job", 77, paused=True, schedule="every hour")]

    async def test_namespaces_are_apart(self, ledger: Ledger) -> None:
        """A job of the same name in another namespace is another job: for every call there is."""
        other = self._elsewhere()
        mark = await begin(ledger)
        assert list(await other.peek(["job"])) == [None]
        await other.register([Register("job", 0, mark - 1, schedule="another app's")])
        won = await win(ledger, mark + 1)
        elsewhere = await win(other, mark + 1, "b")
        await other.pause([Pause("job", 0, paused=True)])
        assert await finish(other, mark + 1, won.fence) is (elsewhere.fence == won.fence)
        assert await renew(ledger, mark + 1, won.fence)
        assert await finish(ledger, mark + 1, won.fence)
        row = await look(ledger)
        assert (row.schedule, row.paused, row.claim_id) == ("", False, "a")
        await other.reset(["job"])
        assert await look(ledger) == row

    async def test_namespaces_and_names_do_not_run_together(self, ledger: Ledger) -> None:
        """Neither a namespace's end nor a job's beginning is taken for a part of the other."""
        other = self._elsewhere()
        await register(ledger, Register("other.job", 0, 5))
        await other.register([Register("job", 0, 7)])
        assert list(await ledger.peek(["job", "other.job"])) == [None, Row("other.job", 5)]
        assert list(await other.peek(["other.job", "job"])) == [None, Row("job", 7)]

    def _elsewhere(self) -> Ledger:
        if not self.has_namespaces:
            pytest.skip("not applicable: the rows of this ledger are in no namespace")
        return self.another("contract.other")
