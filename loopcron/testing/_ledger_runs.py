"""The part of the ledger contract that is about runs: leases renewed, outcomes written, and zombies refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loopcron._ledger import Finish, Held, Lost, Pause, Renew, outcome_text
from loopcron._outcomes import (
    Busy,
    Failed,
    Interrupted,
    Missed,
    Outcome,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
)
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
    renew,
    timeless,
    win,
)

if TYPE_CHECKING:
    from loopcron._protocols import Ledger

OUTCOMES_OF_ALL_KINDS: Final[tuple[Outcome, ...]] = (
    Succeeded(),
    Succeeded(204),
    Busy(),
    Failed("job", 'ValueError: it\'s "bad"; %s'),
    Failed("endpoint", "HTTP 503", 503),
    Failed("transport", "refused", started=False),
    Failed("ledger", "down"),
    Failed("internal", "fault"),
    TimedOut(12.5),
    Skipped("overlap"),
    Skipped("no_address"),
    Missed(1, 5, 3),
    Taken(),
    Interrupted("shutdown"),
    Interrupted("remove"),
)


class RunCases(LedgerCase):
    """Renewing and finishing."""

    async def test_renewed_lease_begins_anew(self, ledger: Ledger) -> None:
        """A renewal makes a lease last its length from the store's now, be that longer or shorter than before."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        for lease in (3 * LEASE, LEASE // 2):
            before = await now_of(ledger)
            assert await renew(ledger, mark + 1, won.fence, lease)
            row = await look(ledger)
            assert row.lease is not None
            assert lease - (await now_of(ledger) - before) - ROUNDING <= row.lease <= lease
        assert isinstance(await ask(self.another(), mark + 2, "b"), Held)
        row = await look(ledger)
        assert (row.watermark, row.fence, row.claim_id, row.finished) == (mark + 1, won.fence, "a", False)

    async def test_zombie_renews_nothing(self, ledger: Ledger) -> None:
        """Who lost the lease to somebody else renews neither the old one nor the new one."""
        mark = await begin(ledger)
        zombie = await win(ledger, mark + 1, lease=SHORT)
        await self.expire(ledger)
        won = await win(ledger, mark + 2, "b")
        assert not await renew(ledger, mark + 1, zombie.fence, 9 * LEASE)
        row = await look(ledger)
        assert row.fence == won.fence
        assert row.lease is not None
        assert row.lease <= LEASE
        assert await renew(ledger, mark + 2, won.fence)

    async def test_finished_run_renews_nothing(self, ledger: Ledger) -> None:
        """After the outcome there is no lease to renew: whose it was may go on, and blocks nobody."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        await finish(ledger, mark + 1, won.fence)
        assert await renew(ledger, mark + 1, won.fence)
        assert (await look(ledger)).lease is None
        await win(ledger, mark + 2, "b")
        assert not await renew(ledger, mark + 1, won.fence)

    async def test_lease_that_is_over_is_not_renewed(self, ledger: Ledger) -> None:
        """A lease that ran out is gone even if nobody has taken the job, because somebody may be about to."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1, lease=SHORT)
        await self.expire(ledger)
        assert not await renew(ledger, mark + 1, won.fence)
        row = await look(ledger)
        assert row.lease is not None
        assert row.lease <= 0

    async def test_run_without_lease_renews_nothing(self, ledger: Ledger) -> None:
        """Where no lease was asked for there is none to renew."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1, lease=None)
        assert not await renew(ledger, mark + 1, won.fence)
        assert (await look(ledger)).lease is None

    async def test_unknown_job_and_wrong_fence_renew_nothing(self, ledger: Ledger) -> None:
        """A renewal of a job without a row, of one that nobody won, or under another fence changes nothing."""
        mark = await begin(ledger, "job", "idle")
        won = await win(ledger, mark + 1)
        before = await look(ledger)
        for fence in (won.fence - 1, won.fence + 1, 0):
            assert not await renew(ledger, mark + 1, fence, 9 * LEASE)
        assert not await renew(ledger, mark, 0, job="idle")
        assert not await renew(ledger, mark + 1, won.fence, job="nobody")
        assert timeless(await look(ledger)) == timeless(before)
        assert list(await ledger.peek(["nobody"])) == [None]

    async def test_renewals_are_answered_in_order(self, ledger: Ledger) -> None:
        """Several renewals in one call are judged one by one and answered in the order of the call."""
        mark = await begin(ledger)
        fences = {job: (await win(ledger, mark + 1, job=job)).fence for job in "abcd"}
        await finish(ledger, mark + 1, fences["c"], job="c")
        fences["a"] += 1
        renewals = [Renew(job, mark + 1, fences[job], 2 * LEASE) for job in "dcba"]
        assert list(await ledger.renew(renewals)) == [True, True, True, False]
        leases = [row.lease for row in await ledger.peek("abcd") if row is not None]
        assert [lease is not None and lease > LEASE for lease in leases] == [False, True, False, True]

    async def test_outcome_is_written_once(self, ledger: Ledger) -> None:
        """The first outcome of a run counts, and a second one is refused."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        before = await now_of(ledger)
        assert await finish(ledger, mark + 1, won.fence, Succeeded(200))
        row = await look(ledger)
        assert row.finished
        assert row.ended is not None
        assert before - ROUNDING <= row.ended <= await now_of(ledger) + ROUNDING
        assert not await finish(self.another(), mark + 1, won.fence, Failed("job", "late"))
        assert await look(ledger) == row
        assert (row.watermark, row.fence, row.claim_id, row.outcome) == (mark + 1, won.fence, "a", "Succeeded 200")

    async def test_zombie_writes_no_outcome(self, ledger: Ledger) -> None:
        """Who lost the lease to somebody else writes no outcome, and does not end that one's lease."""
        mark = await begin(ledger)
        zombie = await win(ledger, mark + 1, lease=SHORT)
        await self.expire(ledger)
        won = await win(ledger, mark + 2, "b")
        assert not await finish(ledger, mark + 1, zombie.fence)
        row = await look(ledger)
        assert (row.fence, row.finished, row.outcome, row.ended) == (won.fence, False, "", None)
        assert isinstance(await ask(ledger, mark + 3, "c"), Held)
        assert await finish(ledger, mark + 2, won.fence)

    async def test_unknown_job_and_wrong_fence_write_no_outcome(self, ledger: Ledger) -> None:
        """An outcome of a job without a row, of one that nobody won, or under another fence changes nothing."""
        mark = await begin(ledger, "job", "idle")
        won = await win(ledger, mark + 1)
        before = await look(ledger)
        for fence in (won.fence - 1, won.fence + 1, 0):
            assert not await finish(ledger, mark + 1, fence)
        assert not await finish(ledger, mark, 0, job="idle")
        assert not await finish(ledger, mark + 1, won.fence, job="nobody")
        assert timeless(await look(ledger)) == timeless(before)
        assert list(await ledger.peek(["nobody"])) == [None]

    async def test_outcome_of_every_kind_is_written(self, ledger: Ledger) -> None:
        """A row holds an outcome as `outcome_text` has it, and only a success counts as when a run last succeeded."""
        jobs = [f"job-{number}" for number in range(len(OUTCOMES_OF_ALL_KINDS))]
        mark = await begin(ledger, *jobs)
        fences = [(await win(ledger, mark + 1, job=job)).fence for job in jobs]
        finishes = [
            Finish(job, mark + 1, fence, outcome)
            for job, fence, outcome in zip(jobs, fences, OUTCOMES_OF_ALL_KINDS, strict=True)
        ]
        assert list(await ledger.finish(finishes)) == [True] * len(jobs)
        for outcome, row in zip(OUTCOMES_OF_ALL_KINDS, await ledger.peek(jobs), strict=True):
            assert row is not None
            assert row.outcome == outcome_text(outcome)
            assert row.finished
            assert row.ended is not None
            assert row.succeeded == (row.ended if isinstance(outcome, Succeeded) else None)

    async def test_failure_keeps_when_a_run_last_succeeded(self, ledger: Ledger) -> None:
        """A failure after a success has its own end, and leaves the success's time in the row."""
        mark = await begin(ledger)
        first = await win(ledger, mark + 1)
        await finish(ledger, mark + 1, first.fence)
        succeeded = (await look(ledger)).succeeded
        assert succeeded is not None
        await self.reach(ledger, succeeded)
        second = await win(ledger, mark + 2, "b")
        await finish(ledger, mark + 2, second.fence, TimedOut(1.0))
        row = await look(ledger)
        assert row.succeeded == succeeded
        assert row.ended is not None
        assert row.ended > succeeded
        assert row.outcome == "TimedOut"

    async def test_outcome_frees_the_job_at_once(self, ledger: Ledger) -> None:
        """The outcome gives the lease back, so that the next slot need not wait for its end."""
        mark = await begin(ledger)
        first = await win(ledger, mark + 1)
        assert await finish(ledger, mark + 1, first.fence)
        assert (await look(ledger)).lease is None
        second = await win(self.another(), mark + 2, "b")
        assert second[1:] == (None, "")
        assert second.fence > first.fence

    async def test_outcome_of_a_run_that_outlasted_its_lease_is_written(self, ledger: Ledger) -> None:
        """As long as nobody has taken the job a run writes its outcome, lease or no lease."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1, lease=SHORT)
        await self.expire(ledger)
        assert await finish(ledger, mark + 1, won.fence)
        assert (await look(ledger)).finished
        free = await win(ledger, mark + 2, "b", None)
        assert await finish(ledger, mark + 2, free.fence, Busy())
        assert (await look(ledger)).outcome == "Busy"

    async def test_two_runs_of_a_job_may_end_in_one_call(self, ledger: Ledger) -> None:
        """Of a job's two outcomes in one call the one with the row's fence is written, in either order."""
        mark = await begin(ledger)
        for turn, order in enumerate((1, -1)):
            slot = mark + 1 + 2 * turn
            old = await win(ledger, slot, f"old{turn}", None)
            new = await win(ledger, slot + 1, f"new{turn}", None)
            both = [Finish("job", slot, old.fence, Taken()), Finish("job", slot + 1, new.fence, Busy())][::order]
            assert list(await ledger.finish(both)) == [False, True][::order]
            assert (await look(ledger)).outcome == "Busy"

    async def test_outcomes_are_answered_in_order(self, ledger: Ledger) -> None:
        """Several outcomes in one call are judged one by one and answered in the order of the call."""
        mark = await begin(ledger)
        fences = {job: (await win(ledger, mark + 1, job=job)).fence for job in "abcd"}
        fences["a"] += 1
        fences["c"] -= 1
        finishes = [Finish(job, mark + 1, fences[job], Succeeded()) for job in "dcba"]
        assert list(await ledger.finish(finishes)) == [True, False, True, False]
        assert [row and row.finished for row in await ledger.peek("abcd")] == [False, True, False, True]

    async def test_pause_lets_a_run_go_on(self, ledger: Ledger) -> None:
        """A run that goes on when its job is paused renews its lease, repeats its claim, and writes its outcome."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        await ledger.pause([Pause("job", mark, paused=True)])
        assert await renew(ledger, mark + 1, won.fence)
        assert (await win(ledger, mark + 1)).fence == won.fence
        assert await finish(ledger, mark + 1, won.fence)
        row = await look(ledger)
        assert (row.paused, row.finished, row.outcome) == (True, True, "Succeeded")
        assert isinstance(await ask(ledger, mark + 1, "b"), Lost)
