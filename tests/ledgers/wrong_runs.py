"""Ledgers with a planted fault each in how they renew and finish."""

from __future__ import annotations

from loopcron import Succeeded
from loopcron._ledger import (
    Finish,
    Renew,
)
from tests.ledgers.planted import Honest


class ZombiesFinish(Honest):
    case = "test_zombie_writes_no_outcome"

    def finish_one(self, finish: Finish) -> bool:
        return super().finish_one(finish._replace(fence=getattr(self.entry(finish.job), "fence", 0)))


class WritesOutcomesTwice(Honest):
    case = "test_outcome_is_written_once"

    def finish_one(self, finish: Finish) -> bool:
        entry = self.entry(finish.job)
        if entry is not None and entry.fence == finish.fence:
            entry.finished = False
        return super().finish_one(finish)


class FinishKeepsTheLease(Honest):
    case = "test_outcome_frees_the_job_at_once"

    def finish_one(self, finish: Finish) -> bool:
        until = self.lease_of(finish.job)
        written = super().finish_one(finish)
        if written:
            self.sure_entry(finish.job).lease_until = until
        return written


class FinishWantsALease(Honest):
    case = "test_outcome_of_a_run_that_outlasted_its_lease_is_written"

    def finish_one(self, finish: Finish) -> bool:
        return (self.lease_of(finish.job) or 0) > self.now and super().finish_one(finish)


class TakesEveryOutcomeForASuccess(Honest):
    case = "test_outcome_of_every_kind_is_written"

    def finish_one(self, finish: Finish) -> bool:
        written = super().finish_one(finish)
        if written:
            self.sure_entry(finish.job).succeeded = self.now
        return written


class FailureForgetsTheSuccess(Honest):
    case = "test_failure_keeps_when_a_run_last_succeeded"

    def finish_one(self, finish: Finish) -> bool:
        written = super().finish_one(finish)
        if written and not isinstance(finish.outcome, Succeeded):
            self.sure_entry(finish.job).succeeded = None
        return written


class ZombiesRenew(Honest):
    case = "test_zombie_renews_nothing"

    def renew_one(self, renewal: Renew) -> bool:
        return super().renew_one(renewal._replace(fence=getattr(self.entry(renewal.job), "fence", 0)))


class RenewsWhatIsOver(Honest):
    case = "test_lease_that_is_over_is_not_renewed"

    def renew_one(self, renewal: Renew) -> bool:
        entry = self.entry(renewal.job)
        if entry is None or entry.fence != renewal.fence or entry.lease_until is None:
            return False
        entry.lease_until = self.now + renewal.lease
        return True


class RenewsWhatWasGivenBack(Honest):
    case = "test_finished_run_renews_nothing"

    def renew_one(self, renewal: Renew) -> bool:
        entry = self.entry(renewal.job)
        if entry is None or entry.fence != renewal.fence:
            return False
        entry.lease_until = self.now + renewal.lease
        return True


class RenewalsAddUp(Honest):
    case = "test_renewed_lease_begins_anew"

    def renew_one(self, renewal: Renew) -> bool:
        rest = (self.lease_of(renewal.job) or self.now) - self.now
        return super().renew_one(renewal._replace(lease=renewal.lease + rest))
