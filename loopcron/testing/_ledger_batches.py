"""The part of the ledger contract that is about many claims: fences, claim ids, jobs beside each other, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from loopcron._ledger import Answer, Claim, Held, Lost, Pause, Paused, Row, TooEarly, Won
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
    win,
)

if TYPE_CHECKING:
    from loopcron._protocols import Ledger

HOUR: Final = 3_600_000
BATCH: Final = 500
"""As many as a scheduler claims in one call."""
ODD_CLAIM_IDS: Final = {
    "one": "0",
    "worker": "web-1.example:4711/0b2e8f3a",
    "quotes": 'it\'s "quoted" \\ `so` $$',
    "placeholders": "%s %(job)s :job ? {0} *",
    "unicode": "\u5de5\u4eba \U0001f477 e\u0301",
    "spaces": " a\tb\nc ",
    "long": "x" * 199 + "y",
}


class BatchCases(LedgerCase):
    """Claims beside and after each other."""

    async def test_jobs_are_independent(self, ledger: Ledger) -> None:
        """Watermark, lease and pause of one job say nothing about another, nor does a claim id."""
        mark = await begin(ledger, "held", "paused", "job")
        await win(ledger, mark + 5, job="held")
        await ledger.pause([Pause("paused", 0, paused=True)])
        await win(ledger, mark + 2)
        assert await look(ledger, "paused") == Row("paused", mark, paused=True)

    async def test_fence_rises_and_is_the_stores_time_at_least(self, ledger: Ledger) -> None:
        """Each win has a larger fence than the one before, and none is below the store's now."""
        mark = await begin(ledger)
        fences = []
        for slot in range(mark + 1, mark + 21):
            now = await now_of(ledger)
            won = await win(ledger, slot, f"a{slot}", None)
            assert won.fence >= now - ROUNDING
            fences.append(won.fence)
        assert fences == sorted(set(fences))
        assert (await look(ledger)).fence == fences[-1]

    async def test_fence_rises_over_a_wiped_store(self, ledger: Ledger) -> None:
        """Where the rows were lost a slot can be won anew, with a fence that an endpoint knows to be the newer."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        await self.reach(ledger, won.fence)
        if not await self.wipe():
            pytest.skip(
                "not applicable: the rows of this store are lost with the ledger, or cannot be deleted by a test"
            )
        assert list(await ledger.peek(["job"])) == [None]
        assert (await win(ledger, mark + 1, "b")).fence > won.fence
        assert not await finish(ledger, mark + 1, won.fence)

    @pytest.mark.parametrize("kind", sorted(ODD_CLAIM_IDS))
    async def test_claim_id_may_be_any_text(self, ledger: Ledger, kind: str) -> None:
        """Claim ids of up to 200 characters come back as they are, and none is taken for another."""
        claim_id = ODD_CLAIM_IDS[kind]
        mark = await begin(ledger)
        won = await win(ledger, mark + 1, claim_id, SHORT)
        assert (await look(ledger)).claim_id == claim_id
        assert (await win(ledger, mark + 1, claim_id, SHORT)).fence == won.fence
        alike = {claim_id[:-1], claim_id[:-1] + "~", claim_id.swapcase(), claim_id.strip(), "%", "*"} - {claim_id, ""}
        for other in sorted(alike):
            assert isinstance(await ask(ledger, mark + 1, other), Lost)
        await self.expire(ledger)
        assert (await win(ledger, mark + 2, "b")).abandoned_by == claim_id

    async def test_batch_is_answered_in_order(self, ledger: Ledger) -> None:
        """500 claims in one call are answered in the order of the call, and each answer is about its own job."""
        names = [f"job-{number * 7 % BATCH}" for number in range(BATCH)]
        mark = await begin(ledger, *sorted(names))
        lost = set(names[::3])
        await ledger.claim([Claim(name, mark + 1, f"first {name}") for name in names if name in lost])
        answers = await ledger.claim([Claim(name, mark + 1, f"second {name}", LEASE) for name in names])
        rows = await ledger.peek(names)
        assert len(answers) == len(rows) == BATCH
        for name, answer, row in zip(names, answers, rows, strict=True):
            assert row is not None
            assert row.job == name
            if name in lost:
                assert answer == Lost(row)
                assert row.claim_id == f"first {name}"
            else:
                assert answer == Won(row.fence)
                assert row.claim_id == f"second {name}"

    async def test_batch_may_have_every_answer(self, ledger: Ledger) -> None:
        """One call is answered with what holds for each job, and what one is refused costs no other its slot."""
        mark = await begin(ledger, "early", "held", "lost", "paused", "repeated")
        await ledger.pause([Pause("paused", 0, paused=True)])
        await ledger.claim([Claim(job, mark + 1, "first", LEASE) for job in ("held", "lost", "repeated")])
        asked: list[tuple[Claim, type[Answer]]] = [
            (Claim("repeated", mark + 1, "first", LEASE), Won),
            (Claim("paused", mark + 2, "a", LEASE), Paused),
            (Claim("lost", mark + 1, "a", LEASE), Lost),
            (Claim("unknown", mark + 2, "a", LEASE), Won),
            (Claim("held", mark + 2, "a", LEASE), Held),
            (Claim("early", mark + HOUR, "a", LEASE), TooEarly),
        ]
        answers = await ledger.claim([claim for claim, _ in asked])
        assert [type(answer) for answer in answers] == [kind for _, kind in asked]
