"""Ledgers with a planted fault each in how they answer a claim."""

from __future__ import annotations

from loopcron._ledger import (
    Answer,
    Claim,
    Held,
    Lost,
    Paused,
    Row,
    TooEarly,
    Won,
)
from tests.ledgers.planted import Honest


class BelievesTheClaimantsClock(Honest):
    case = "test_far_future_poisons_nothing"

    def claim_one(self, claim: Claim) -> Answer:
        return self.memory._claim(claim, max(self.now, claim.slot))


class ClaimantsClockMovesTheWatermark(Honest):
    case = "test_slot_that_has_not_come_is_too_early"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        if isinstance(answer, TooEarly):
            self.sure_entry(claim.job).watermark = claim.slot - 1
        return answer


class AllowsNoSkew(Honest):
    case = "test_slot_that_is_near_is_not_too_early"

    def claim_one(self, claim: Claim) -> Answer:
        early = claim.slot > self.now and claim.slot > getattr(self.entry(claim.job), "watermark", 0)
        return TooEarly(claim.slot - self.now) if early else super().claim_one(claim)


class AllowsTooMuchSkew(Honest):
    case = "test_slot_that_is_a_little_further_is_too_early"

    def claim_one(self, claim: Claim) -> Answer:
        return self.memory._claim(claim, self.now + 3)


class TellsTheSlotForTheWait(Honest):
    case = "test_slot_that_has_not_come_is_too_early"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        return TooEarly(claim.slot) if isinstance(answer, TooEarly) else answer


class IgnoresLeases(Honest):
    case = "test_lease_holds_the_job"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        if not isinstance(answer, Held):
            return answer
        self.sure_entry(claim.job).lease_until = None
        return super().claim_one(claim)


class TellsTheEndOfALeaseForTheWait(Honest):
    case = "test_lease_holds_the_job"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        return Held(self.now + answer.for_ms) if isinstance(answer, Held) else answer


class LeaseBeginsAtTheSlot(Honest):
    case = "test_lease_holds_the_job"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        if isinstance(answer, Won) and claim.lease is not None:
            self.sure_entry(claim.job).lease_until = claim.slot + claim.lease
        return answer


class HoldsWhoWantsNoLease(Honest):
    case = "test_claim_without_lease_is_held_by_none"

    def claim_one(self, claim: Claim) -> Answer:
        until = self.lease_of(claim.job)
        if claim.lease is None and until is not None and until > self.now:
            return Held(until - self.now)
        return super().claim_one(claim)


class KeepsTheLeaseOfAnother(Honest):
    case = "test_claim_without_lease_is_held_by_none"

    def claim_one(self, claim: Claim) -> Answer:
        until = self.lease_of(claim.job)
        answer = super().claim_one(claim)
        if isinstance(answer, Won) and claim.lease is None:
            self.sure_entry(claim.job).lease_until = until
        return answer


class WinsASlotTwice(Honest):
    case = "test_slot_is_won_once"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        if entry is not None and entry.watermark == claim.slot:
            entry.watermark, entry.lease_until = claim.slot - 1, None
        return super().claim_one(claim)


class WinsAnAbandonedSlotAgain(Honest):
    case = "test_lease_that_is_over_holds_nothing"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        if entry is not None and entry.watermark == claim.slot and (entry.lease_until or self.now + 1) <= self.now:
            entry.watermark = claim.slot - 1
        return super().claim_one(claim)


class FillsInOlderSlots(Honest):
    case = "test_older_slots_are_lost"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        if entry is not None and claim.slot < entry.watermark and not entry.claim_id:
            entry.watermark = claim.slot - 1
        return super().claim_one(claim)


class TellsOnlyTheWatermark(Honest):
    case = "test_older_slots_are_lost"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        return Lost(Row(claim.job, answer.row.watermark)) if isinstance(answer, Lost) else answer


class TellsPausedFirst(Honest):
    case = "test_lost_comes_before_all_that_is_refused"

    def claim_one(self, claim: Claim) -> Answer:
        return Paused() if getattr(self.entry(claim.job), "paused", False) else super().claim_one(claim)


class TellsHeldBeforeTooEarly(Honest):
    case = "test_paused_comes_before_too_early_and_that_before_held"

    def claim_one(self, claim: Claim) -> Answer:
        until = self.lease_of(claim.job) or 0
        answer = super().claim_one(claim)
        return Held(until - self.now) if isinstance(answer, TooEarly) and until > self.now else answer


class TellsOfNoAbandonedRun(Honest):
    case = "test_lease_that_is_over_holds_nothing"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        return Won(answer.fence) if isinstance(answer, Won) else answer


class TakesEveryUnfinishedRunForAbandoned(Honest):
    case = "test_claim_without_lease_is_held_by_none"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        before = None if entry is None or entry.finished else (entry.watermark, entry.claim_id)
        answer = super().claim_one(claim)
        return Won(answer.fence, *before) if isinstance(answer, Won) and before else answer


class WantsARegistrationFirst(Honest):
    case = "test_job_without_a_row_can_be_claimed"

    def claim_one(self, claim: Claim) -> Answer:
        return super().claim_one(claim) if self.entry(claim.job) else Lost(Row(claim.job, claim.slot))


class PassesSlotsOfLongAgo(Honest):
    case = "test_claimant_whose_clock_is_slow_wins_all_the_same"

    def claim_one(self, claim: Claim) -> Answer:
        late = claim.slot < self.now - 24 * 3_600_000
        return Lost(Row(claim.job, claim.slot)) if late else super().claim_one(claim)
