"""The part of the ledger contract that is about many workers at once, calls that were given up, and closing."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from loopcron._ledger import Answer, Claim, Finish, Lost, Pause, Register, Renew, Won
from loopcron._outcomes import Succeeded
from loopcron.testing._ledger_case import (
    LEASE,
    LedgerCase,
    ask,
    begin,
    finish,
    look,
    now_of,
    register,
    together,
    win,
)

if TYPE_CHECKING:
    from loopcron._protocols import Ledger

SECONDS_TO_GIVE_UP: Final = (0, 0.0001, 0.0003, 0.001, 0.002, 0.004, 0.01)


class RaceCases(LedgerCase):
    """Concurrent claims, cancelled calls, closing."""

    async def test_first_claim_is_won_by_one_of_many(self, ledger: Ledger) -> None:
        """Of 16 who claim a job's very first slot at once, through two ledgers, exactly one wins."""
        workers = (ledger, self.another())
        slot = await now_of(ledger)
        claims = [partial(workers[n % 2].claim, [Claim("job", slot, f"worker-{n}", LEASE)]) for n in range(16)]
        answers = await together(*claims)
        won = [n for n, (answer,) in enumerate(answers) if isinstance(answer, Won)]
        assert len(won) == 1
        assert sum(isinstance(answer, Lost) for (answer,) in answers) == 15
        row = await look(ledger)
        assert answers[won[0]] == [Won(row.fence)]
        assert (row.watermark, row.claim_id) == (slot, f"worker-{won[0]}")

    async def test_each_slot_is_won_by_one_of_many(self, ledger: Ledger) -> None:
        """Of 8 who claim each of 20 slots at once exactly one wins each, and the fences rise."""
        workers = (ledger, self.another())
        mark = await begin(ledger)
        fences: list[int] = []
        for slot in range(mark + 1, mark + 21):
            claims = [partial(workers[n % 2].claim, [Claim("job", slot, f"{n}@{slot}", LEASE)]) for n in range(8)]
            answers = [answer for (answer,) in await together(*claims)]
            won = [answer.fence for answer in answers if isinstance(answer, Won)]
            assert len(won) == 1, f"slot {slot} was won {len(won)} times"
            assert sum(isinstance(answer, Lost) for answer in answers) == 7
            fences += won
            assert await finish(ledger, slot, won[0])
        assert fences == sorted(set(fences))

    async def test_crossing_batches_stand_in_nobodys_way(self, ledger: Ledger) -> None:
        """Batches over the same jobs in other orders, all at once, never wait for each other without end."""
        workers = [ledger, *(self.another() for _ in range(3))]
        jobs = [f"job-{number:02}" for number in range(40)]
        mark = await begin(ledger, *jobs)
        orders = [jobs, jobs[::-1], *(random.Random(seed).sample(jobs, len(jobs)) for seed in (1, 2))]  # noqa: S311 - orders, no secrets
        for slot in range(mark + 1, mark + 6):
            calls = [
                partial(worker.claim, [Claim(job, slot, f"{n}@{slot}") for job in order])
                for n, (worker, order) in enumerate(zip(workers, orders, strict=True))
            ]
            won: dict[str, Answer] = {}
            for order, answers in zip(orders, await together(*calls), strict=True):
                for job, answer in zip(order, answers, strict=True):
                    assert isinstance(answer, (Won, Lost))
                    if isinstance(answer, Won):
                        assert job not in won
                        won[job] = answer
            assert len(won) == len(jobs)

    async def test_crossing_calls_of_all_kinds_stand_in_nobodys_way(self, ledger: Ledger) -> None:
        """Registering, renewing, finishing, pausing and resetting the same jobs at once, in other orders, ends well."""
        other = self.another()
        jobs = [f"job-{number:02}" for number in range(30)]
        back = jobs[::-1]
        mark = await begin(ledger, *jobs)
        answers = await ledger.claim([Claim(job, mark + 1, "a", LEASE) for job in jobs])
        fences = {job: answer.fence for job, answer in zip(jobs, answers, strict=True) if isinstance(answer, Won)}
        async with anyio.create_task_group() as group:
            for worker, order in ((ledger, jobs), (other, back)):
                group.start_soon(worker.register, [Register(job, 0, None) for job in order])
                group.start_soon(worker.renew, [Renew(job, mark + 1, fences[job], LEASE) for job in order[::-1]])
                group.start_soon(worker.pause, [Pause(job, 0, paused=True) for job in order])
                group.start_soon(worker.reset, order[::-1])
                group.start_soon(worker.finish, [Finish(job, mark + 1, fences[job], Succeeded()) for job in order])
        for row in await ledger.peek(jobs):
            assert row is not None
            assert (row.watermark, row.finished, row.lease, row.paused) == (mark + 1, True, None, True)

    async def test_call_that_was_cancelled_spoils_nothing(self, ledger: Ledger) -> None:
        """After calls that were cancelled, before they began or under way, the ledger serves as before."""
        mark = await begin(ledger)
        for seconds in SECONDS_TO_GIVE_UP:
            for call in (
                partial(ledger.register, [Register("other", 0, 5)]),
                partial(ledger.peek, ["job"]),
                partial(ledger.renew, [Renew("job", mark, 0, LEASE)]),
            ):
                with anyio.move_on_after(seconds):
                    await call()
        await win(ledger, mark + 1)
        (row,) = await register(ledger, Register("other", 0, 6))
        assert row.watermark in {5, 6}

    async def test_lost_answer_is_had_by_asking_again(self, ledger: Ledger) -> None:
        """Whoever gave a claim up asks again with the same claim id: it has won, with the fence that the row shows."""
        mark = await begin(ledger)
        for number, seconds in enumerate(SECONDS_TO_GIVE_UP, 1):
            slot = mark + number
            with anyio.move_on_after(seconds):
                await ask(ledger, slot, f"a@{slot}", None)
            won = await win(ledger, slot, f"a@{slot}", None)
            rival = await ask(self.another(), slot, f"b@{slot}", None)
            row = await look(ledger)
            assert rival == Lost(row)
            assert (row.watermark, row.fence, row.claim_id) == (slot, won.fence, f"a@{slot}")

    async def test_lost_answer_and_a_rival_are_one_win(self, ledger: Ledger) -> None:
        """Where a rival claims the slot of a claim that was given up, one of the two has won, whoever asks when."""
        mark = await begin(ledger)
        other = self.another()
        for number, seconds in enumerate(SECONDS_TO_GIVE_UP, 1):
            slot = mark + number
            with anyio.move_on_after(seconds):
                await ask(ledger, slot, f"a@{slot}", None)
            rival = await ask(other, slot, f"b@{slot}", None)
            again = await ask(ledger, slot, f"a@{slot}", None)
            row = await look(ledger)
            won, lost = (rival, again) if row.claim_id == f"b@{slot}" else (again, rival)
            assert won == Won(row.fence)
            assert isinstance(lost, Lost)
            assert row.watermark == slot

    async def test_closed_ledger_opens_again(self, ledger: Ledger) -> None:
        """Closing lets go of what is open, twice if need be; a later call opens it again."""
        fresh = self.another()
        await fresh.close()
        mark = await begin(ledger)
        await ledger.close()
        await ledger.close()
        won = await win(ledger, mark + 1)
        await ledger.close()
        assert await finish(ledger, mark + 1, won.fence)
        assert (await look(fresh)).outcome == "Succeeded"

    async def test_closing_one_ledger_leaves_the_others(self, ledger: Ledger) -> None:
        """A worker that closes its ledger takes nobody's store away."""
        mark = await begin(ledger)
        other = self.another()
        won = await win(other, mark + 1)
        await other.close()
        assert (await look(ledger)).fence == won.fence
        await win(ledger, mark + 2, "b", None)

    async def test_ledger_says_whether_it_is_shared(self, ledger: Ledger) -> None:
        """Whether other processes see the rows is said, and is the same for every ledger on the store."""
        assert ledger.is_shared in {True, False}
        assert self.another().is_shared is ledger.is_shared
