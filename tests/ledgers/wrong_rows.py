"""Ledgers with a planted fault each in how they keep and show rows, pause and reset."""

from __future__ import annotations

from collections.abc import Sequence

from loopcron._ledger import (
    Answer,
    Claim,
    Pause,
    Paused,
    Register,
    Renew,
    Row,
    Won,
)
from tests.ledgers.planted import Forgetful, Honest, Store


class RegistrationLowersTheWatermark(Honest):
    case = "test_row_that_is_there_is_kept"

    def register_one(self, job: Register) -> Row:
        return self.memory._register(job._replace(corrected=True), self.now)


class RegistrationRaisesTheWatermark(Honest):
    case = "test_row_that_is_there_is_kept"

    def register_one(self, job: Register) -> Row:
        entry = self.entry(job.job)
        if entry is not None:
            entry.watermark = max(entry.watermark, job.watermark or self.now)
        return super().register_one(job)


class CorrectionLowersWhatOthersSee(Honest):
    case = "test_correction_lowers_only_rows_that_are_forgotten"

    def register_one(self, job: Register) -> Row:
        return self.memory._register(job, self.now)


class IgnoresCorrections(Forgetful):
    case = "test_correction_lowers_only_rows_that_are_forgotten"

    def register_one(self, job: Register) -> Row:
        return super().register_one(job._replace(corrected=False))


class CorrectionBeginsFencesAnew(Forgetful):
    case = "test_correction_keeps_the_fence"

    def register_one(self, job: Register) -> Row:
        entry = self.entry(job.job)
        if job.corrected and entry is not None:
            entry.fence = 0
        return super().register_one(job)


class RegistrationEndsTheLease(Honest):
    case = "test_registering_disturbs_no_run"

    def register_one(self, job: Register) -> Row:
        row = super().register_one(job)
        self.sure_entry(job.job).lease_until = None
        return row


class TellsTheNewSchedule(Honest):
    case = "test_schedule_is_replaced_and_the_one_before_is_told"

    def register_one(self, job: Register) -> Row:
        super().register_one(job)
        return self.sure_entry(job.job).row(self.now)


class CutsSchedules(Honest):
    case = "test_schedule_may_be_any_text"

    def register_one(self, job: Register) -> Row:
        return super().register_one(job._replace(schedule=job.schedule.strip()[:255]))


class RegistrationErasesTheSchedule(Honest):
    case = "test_registration_without_schedule_keeps_the_rows"

    def register_one(self, job: Register) -> Row:
        row = super().register_one(job)
        self.sure_entry(job.job).schedule = job.schedule
        return row


class KeepsSecondsOnly(Honest):
    case = "test_instants_reach_to_the_year_9999"

    def register_one(self, job: Register) -> Row:
        mark = job.watermark
        return super().register_one(job._replace(watermark=None if mark is None else mark // 1000 * 1000))


class LookingRenews(Honest):
    case = "test_looking_changes_nothing"

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        for job in jobs:
            if self.lease_of(job) is not None:
                self.sure_entry(job).lease_until = None
        return await super().peek(jobs)


class LookingMakesARow(Honest):
    case = "test_row_that_is_not_there_is_none"

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        rows = await super().peek(jobs)
        for job in jobs:
            self.sure_entry(job)
        return rows


class ShowsOnlyRowsThatAreThere(Honest):
    case = "test_rows_are_shown_in_the_order_asked"

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        rows = await super().peek(jobs)
        return [row for row in rows if row is not None] or rows


class ClaimForgetsHowTheLastRunEnded(Honest):
    case = "test_row_shows_all_that_happened"

    def claim_one(self, claim: Claim) -> Answer:
        answer = super().claim_one(claim)
        if isinstance(answer, Won):
            self.sure_entry(claim.job).outcome = None
        return answer


class IgnoresPauses(Honest):
    case = "test_paused_job_is_won_by_nobody"

    def claim_one(self, claim: Claim) -> Answer:
        entry = self.entry(claim.job)
        paused = entry is not None and entry.paused
        if entry is None or not paused:
            return super().claim_one(claim)
        entry.paused = False
        answer = super().claim_one(claim)
        entry.paused = True
        return answer


class RegistrationEndsThePause(Honest):
    case = "test_pause_outlives_a_registration"

    def register_one(self, job: Register) -> Row:
        row = super().register_one(job)
        self.sure_entry(job.job).paused = False
        return row


class PausesOnlyItself(Honest):
    case = "test_pause_holds_for_every_worker"

    def __init__(self, store: Store, namespace: str) -> None:
        super().__init__(store, namespace)
        self.paused: dict[str, bool] = {}

    async def pause(self, pauses: Sequence[Pause]) -> None:
        self.paused |= {pause.job: pause.paused for pause in pauses}

    def claim_one(self, claim: Claim) -> Answer:
        return Paused() if self.paused.get(claim.job) else super().claim_one(claim)


class PausesOnlyWhatItKnows(Honest):
    case = "test_job_may_be_paused_before_it_is_known"

    async def pause(self, pauses: Sequence[Pause]) -> None:
        await super().pause([pause for pause in pauses if self.entry(pause.job)])


class PauseStopsARun(Honest):
    case = "test_pause_lets_a_run_go_on"

    def renew_one(self, renewal: Renew) -> bool:
        return not getattr(self.entry(renewal.job), "paused", True) and super().renew_one(renewal)


class ResetRaisesTheWatermark(Honest):
    case = "test_reset_leaves_a_watermark_that_is_not_ahead"

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        for job in jobs:
            if self.entry(job):
                self.sure_entry(job).watermark = self.now
        return await super().reset(jobs)


class ResetKeepsTheLease(Honest):
    case = "test_reset_ends_the_lease"

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        leases = {job: self.lease_of(job) for job in jobs if self.entry(job)}
        await super().reset(jobs)
        for job, until in leases.items():
            self.sure_entry(job).lease_until = until
        return await self.peek(jobs)


class ResetBeginsFencesAnew(Honest):
    case = "test_slot_ahead_can_be_won_again_after_a_reset"

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        for job in jobs:
            self.sure_entry(job).fence = 0
        return await super().reset(jobs)


class ResetDeletesTheRow(Honest):
    case = "test_reset_lowers_a_watermark_that_is_ahead"

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        rows = await super().reset(jobs)
        for job in jobs:
            self.memory._entries.pop(job, None)
        return rows


class ResetMakesARow(Honest):
    case = "test_reset_is_answered_in_order"

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        for job in jobs:
            self.sure_entry(job)
        return await super().reset(jobs)
