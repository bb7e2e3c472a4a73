"""Ledgers with a planted fault each in how they answer many claims, repeated ones, and workers at once."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from loopcron._ledger import (
    Answer,
    Claim,
    Lost,
    Paused,
    Register,
    Row,
    Unavailable,
    Won,
)
from tests.ledgers.planted import Honest, Store


class RepeatedClaimLoses(Honest):
    case = "test_repeated_claim_has_the_same_answer"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        if entry is not None and entry.claim_id == claim.claim_id:
            return Lost(entry.row(self.now))
        return super().claim_one(claim)


class RepeatedClaimHasANewFence(Honest):
    case = "test_repeated_claim_has_the_same_answer"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        if entry is not None and entry.claim_id == claim.claim_id:
            entry.fence += 1
        return super().claim_one(claim)


class RepeatedClaimOpensAFinishedRun(Honest):
    case = "test_repeated_claim_has_the_same_answer"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        if entry is not None and entry.claim_id == claim.claim_id and entry.finished:
            entry.finished, entry.lease_until = False, self.now
        return super().claim_one(claim)


class RepeatedClaimKeepsTheOldLease(Honest):
    case = "test_repeated_claim_lets_the_lease_begin_anew"

    def claim_one(self, claim: Claim) -> Answer:
        entry, until = self.entry(claim.job), self.lease_of(claim.job)
        repeated = entry is not None and entry.claim_id == claim.claim_id
        answer = super().claim_one(claim)
        if entry is not None and repeated:
            entry.lease_until = until
        return answer


class RemembersEveryClaimId(Honest):
    case = "test_repeated_claim_comes_too_late_after_another"

    def __init__(self, store: Store, namespace: str) -> None:
        super().__init__(store, namespace)
        self.won: dict[tuple[str, str], Answer] = {}

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        if isinstance(answer, Won):
            self.won[claim.job, claim.claim_id] = answer
        return self.won.get((claim.job, claim.claim_id), answer)


class RepeatedClaimIsPaused(Honest):
    case = "test_pause_lets_a_run_go_on"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        paused = entry is not None and entry.paused and not entry.finished
        return Paused() if paused else super().claim_one(claim)


class _OwnFence(Honest):
    def claim_one(self, claim: Claim) -> Answer:
        before = self.entry(claim.job)
        claim_id, fence = ("", 0) if before is None else (before.claim_id, before.fence)
        answer = super().claim_one(claim)
        if not isinstance(answer, Won) or claim_id == claim.claim_id:
            return answer
        entry = self.sure_entry(claim.job)
        entry.fence = self.next_fence(fence)
        return answer._replace(fence=entry.fence)

    def next_fence(self, fence: int) -> int:
        raise NotImplementedError


class CountsFencesFromOne(_OwnFence):
    case = "test_fence_rises_and_is_the_stores_time_at_least"

    def next_fence(self, fence: int) -> int:
        return fence + 1


class FenceIsJustTheTime(_OwnFence):
    case = "test_fence_rises_and_is_the_stores_time_at_least"

    def next_fence(self, fence: int) -> int:
        return self.now


class CutsClaimIds(Honest):
    case = "test_claim_id_may_be_any_text"

    def claim_one(self, claim: Claim) -> Answer:
        return super().claim_one(claim._replace(claim_id=claim.claim_id[:64]))


class TakesSmallAndCapitalLettersForTheSame(Honest):
    case = "test_jobs_may_have_any_name_that_is_allowed"

    def claim_one(self, claim: Claim) -> Answer:
        same = [job for job in self.memory._entries if job.lower() == claim.job.lower()]
        return super().claim_one(claim._replace(job=same[0] if same else claim.job))


class AnswersInTheOrderOfNames(Honest):
    case = "test_batch_is_answered_in_order"

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        return await super().claim(sorted(claims))


class FailsWithoutAnyJob(Honest):
    case = "test_nothing_asked_is_nothing_answered"

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        if not jobs:
            raise OSError('syntax error at or near ")"')
        return await super().reset(jobs)


class StopsAtTheFirstRefusal(Honest):
    case = "test_batch_may_have_every_answer"

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        answers: list[Answer] = []
        for claim in claims:
            refused = any(not isinstance(answer, Won) for answer in answers)
            answers.append(Unavailable("rolled back") if refused else self.claim_one(claim))
        return answers


class KnowsNoNamespaces(Honest):
    case = "test_namespaces_are_apart"

    def __init__(self, store: Store, namespace: str) -> None:
        super().__init__(store, "")


class RunsNamespaceAndNameTogether(Honest):
    case = "test_namespaces_and_names_do_not_run_together"

    def __init__(self, store: Store, namespace: str) -> None:
        super().__init__(store, "")
        self.prefix = f"{namespace}."

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row]:
        return await super().register([job._replace(job=self.prefix + job.job) for job in jobs])

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        rows = await super().peek([self.prefix + job for job in jobs])
        return [row and row._replace(job=job) for row, job in zip(rows, jobs, strict=True)]


class ReadsThenWrites(Honest):
    case = "test_first_claim_is_won_by_one_of_many"

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        before = [self.entry(claim.job) for claim in claims]
        await anyio.lowlevel.checkpoint()
        for claim, entry in zip(claims, before, strict=True):
            if entry is None:
                self.memory._entries.pop(claim.job, None)
        return await super().claim(claims)


class FailsWhereBatchesMeet(Honest):
    case = "test_crossing_batches_stand_in_nobodys_way"

    def __init__(self, store: Store, namespace: str) -> None:
        super().__init__(store, namespace)
        self.busy: set[str] = vars(self.memory).setdefault("busy", set())

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        mine: set[str] = set()
        try:
            for claim in claims:
                if claim.job in self.busy - mine:
                    raise OSError("deadlock detected")
                mine.add(claim.job)
                self.busy.add(claim.job)
                await anyio.lowlevel.checkpoint()
            return await super().claim(claims)
        finally:
            self.busy -= mine


class StaysBusyAfterACancelledCall(Honest):
    case = "test_call_that_was_cancelled_spoils_nothing"

    busy = False

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        if self.busy:
            raise OSError("another command is already in progress")
        self.busy = True
        await anyio.lowlevel.checkpoint()
        self.busy = False
        return await super().peek(jobs)


class ClosesForGood(Honest):
    case = "test_closed_ledger_opens_again"

    closed = False

    async def close(self) -> None:
        self.closed = True

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        if self.closed:
            raise OSError("the connection is closed")
        return await super().claim(claims)
