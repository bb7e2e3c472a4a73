"""The part of the ledger contract that is about rows: how they begin, what is kept, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from loopcron._ledger import Lost, Pause, Register, Row, TooEarly, Won, outcome_text
from loopcron._outcomes import Failed, Succeeded
from loopcron.testing._ledger_case import (
    LEASE,
    ROOM,
    ROUNDING,
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
LAST: Final = 253_402_300_799_999
"""The last ms of the year 9999."""
CLOCKS_DIFFER: Final = 1000
"""By how much what `store_now` shows may differ from what the ledger goes by."""
ODD_TEXTS: Final = {
    "quotes": "it's \"quoted\" `so` \\'and so\\' $$too$$",
    "statement": "'); drop table loopcron_slot; --",
    "placeholders": "%s %(job)s :job ? {0} $1 %% #{x}",
    "lines": "one\ntwo\r\nthree\tfour ",
    "unicode": "jede Stunde \u2013 \u6bcf\u5c0f\u65f6 \U0001f552 e\u0301 \u202e",
    "long": "every(minutes=15) " * 55 + "0123456789",
    "number": "0123",
    "null": "NULL",
}


class RowCases(LedgerCase):
    """Registering and reading."""

    async def test_new_row_begins_at_the_stores_now(self, ledger: Ledger) -> None:
        """A new job's watermark is the store's now, by the same clock that says which slots come too early."""
        early, ahead = self.store_now(), LAST - HOUR
        before = await ask(ledger, ahead, "a", job="before")
        (row,) = await register(ledger, Register("job", 5, None))
        after = await ask(ledger, ahead, "a", job="after")
        assert isinstance(before, TooEarly)
        assert isinstance(after, TooEarly)
        assert ahead - before.by_ms - ROUNDING <= row.watermark <= ahead - after.by_ms + ROUNDING
        assert early - CLOCKS_DIFFER <= row.watermark <= self.store_now() + CLOCKS_DIFFER

    async def test_new_row_begins_where_its_registration_says(self, ledger: Ledger) -> None:
        """A registration with a watermark begins the row there, in the past or in the future; the slot is no matter."""
        now = await now_of(ledger)
        marks = [now - HOUR, now + HOUR, 0, 1]
        rows = await register(ledger, *(Register(f"job-{mark}", now - mark, mark) for mark in marks))
        assert [row.watermark for row in rows] == marks
        assert (await look(ledger, f"job-{now + HOUR}")).watermark == now + HOUR

    async def test_new_row_knows_nothing_yet(self, ledger: Ledger) -> None:
        """A new row was won by nobody, waits for no outcome, has no lease, and is not paused."""
        (row,) = await register(ledger, Register("job", 0, 77, schedule="every hour"))
        assert row == Row("job", 77, schedule="every hour")
        assert await look(ledger) == Row("job", 77, schedule="every hour")

    async def test_row_that_is_there_is_kept(self, ledger: Ledger) -> None:
        """Registering a job again returns its row as it stands, whatever watermark the registration brings."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        await finish(ledger, mark + 1, won.fence, Failed("endpoint", "HTTP 500", 500))
        row = await look(ledger)
        for watermark in (None, mark - HOUR, mark + HOUR):
            assert list(await register(ledger, Register("job", mark, watermark))) == [row]
        assert await look(ledger) == row
        assert (row.watermark, row.fence, row.claim_id) == (mark + 1, won.fence, "a")

    async def test_registering_disturbs_no_run(self, ledger: Ledger) -> None:
        """A worker that starts while another runs the job leaves the lease to it."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        before = await look(ledger)
        (row,) = await register(self.another(), Register("job", mark, None))
        assert timeless(row) == timeless(before) == timeless(await look(ledger))
        assert row.lease is not None
        assert await renew(ledger, mark + 1, won.fence)

    async def test_registrations_are_answered_in_order(self, ledger: Ledger) -> None:
        """New and known jobs in one call are answered in the order of the call, and not of their names."""
        await register(ledger, Register("c", 0, 3), Register("a", 0, 1))
        rows = await register(ledger, *(Register(job, 0, 9) for job in "dcba"))
        assert [(row.job, row.watermark) for row in rows] == [("d", 9), ("c", 3), ("b", 9), ("a", 1)]

    async def test_correction_lowers_only_rows_that_are_forgotten(self, ledger: Ledger) -> None:
        """A row above a corrected registration's watermark is lowered to it, unless other processes see the rows."""
        now = await now_of(ledger)
        await register(ledger, Register("job", 0, now + HOUR), Register("other", 0, now + HOUR))
        marks = [Register("job", 0, now - HOUR, corrected=True), Register("other", 0, None, corrected=True)]
        job, other = await register(ledger, *marks)
        after = await now_of(ledger)
        if ledger.is_shared:
            assert (job.watermark, other.watermark) == (now + HOUR, now + HOUR)
        else:
            assert job.watermark == now - HOUR
            assert now <= other.watermark <= after
        assert await look(ledger) == job

    async def test_correction_raises_no_row(self, ledger: Ledger) -> None:
        """A row at or below a corrected registration's watermark is kept."""
        mark = await begin(ledger)
        for watermark in (None, mark, mark + HOUR):
            (row,) = await register(ledger, Register("job", 0, watermark, corrected=True))
            assert row.watermark == mark

    async def test_correction_keeps_the_fence(self, ledger: Ledger) -> None:
        """After a correction whoever wins a slot has a larger fence than whoever won before."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1, lease=None)
        (row,) = await register(ledger, Register("job", 0, mark - HOUR, corrected=True))
        assert row.fence == won.fence
        assert (await win(ledger, row.watermark + 1, "b")).fence > won.fence

    async def test_schedule_is_replaced_and_the_one_before_is_told(self, ledger: Ledger) -> None:
        """A registration's schedule takes the place of the row's, and the answer still shows that one."""
        await register(ledger, Register("job", 0, 77, schedule="every hour"))
        (row,) = await register(ledger, Register("job", 0, 77, schedule="every day"))
        assert row == Row("job", 77, schedule="every hour")
        assert (await look(ledger)).schedule == "every day"

    async def test_registration_without_schedule_keeps_the_rows(self, ledger: Ledger) -> None:
        """A registration that says nothing of its schedule leaves the row's as it is."""
        await register(ledger, Register("job", 0, 77, schedule="every hour"))
        (row,) = await register(ledger, Register("job", 0, 77))
        assert row.schedule == "every hour"
        assert (await look(ledger)).schedule == "every hour"

    @pytest.mark.parametrize("kind", sorted(ODD_TEXTS))
    async def test_schedule_may_be_any_text(self, ledger: Ledger, kind: str) -> None:
        """Quotes, line breaks, other scripts and 1000 characters come back as they are; only NUL cannot be in there."""
        await register(ledger, Register("job", 0, 77, schedule=ODD_TEXTS[kind]))
        (row,) = await register(ledger, Register("job", 0, 77))
        assert row.schedule == ODD_TEXTS[kind]

    async def test_instants_reach_to_the_year_9999(self, ledger: Ledger) -> None:
        """Watermarks and slots of the year 9999 lose no millisecond."""
        await register(ledger, Register("job", LAST, LAST), Register("other", LAST, LAST - 1))
        rows = await ledger.peek(["job", "other"])
        assert [row and row.watermark for row in rows] == [LAST, LAST - 1]
        assert await ask(ledger, LAST, "a") == Lost(Row("job", LAST))
        now = await now_of(ledger)
        answer = await ask(ledger, LAST, "a", job="other")
        assert isinstance(answer, TooEarly)
        assert LAST - await now_of(ledger) - ROUNDING <= answer.by_ms <= LAST - now + ROUNDING

    async def test_jobs_may_have_any_name_that_is_allowed(self, ledger: Ledger) -> None:
        """Names of up to 64 characters, with dots and dashes, in small and capital letters, are kept apart."""
        names = ["a", "A", "0", "a.b", "a-b", "a_b", "a.b.", "aXb", "null", "x" * 64, "x" * 63, "x" * 63 + "y"]
        mark = await begin(ledger)
        await register(ledger, *(Register(name, 0, mark + number) for number, name in enumerate(names)))
        rows = list(await ledger.peek(names))
        assert rows == [Row(name, mark + number) for number, name in enumerate(names)]
        for name in names:
            assert (await win(ledger, mark + 100, f"by {name}", job=name)).fence > 0
        assert [row and row.claim_id for row in await ledger.peek(names)] == [f"by {name}" for name in names]

    async def test_renamed_job_is_a_new_job(self, ledger: Ledger) -> None:
        """A job under a new name has a new row, knows nothing of the old one, and leaves that as it was."""
        mark = await begin(ledger, "old")
        await win(ledger, mark + 5, job="old")
        old = await look(ledger, "old")
        (row,) = await register(ledger, Register("new", 0, mark))
        assert row == Row("new", mark)
        await win(ledger, mark + 5, job="new")
        assert timeless(await look(ledger, "old")) == timeless(old)

    async def test_changed_schedule_wins_each_slot_at_most_once(self, ledger: Ledger) -> None:
        """While a deploy changes a schedule both sets of slots are claimed, in order, and each slot is won once."""
        old, new = ledger, self.another()
        mark = await now_of(ledger) - ROOM
        await old.register([Register("job", 0, mark, schedule="every 2")])
        await new.register([Register("job", 0, mark, schedule="every 3")])
        wins: list[int] = []
        for slot in range(1, 31):
            for worker, step in ((old, 2), (new, 3)):
                if slot % step == 0:
                    answer = await ask(worker, mark + slot, f"{step}@{slot}", None)
                    wins += [slot] if isinstance(answer, Won) else []
        assert wins == [slot for slot in range(1, 31) if slot % 2 == 0 or slot % 3 == 0]
        assert await ask(old, mark + 29, "late", None) == Lost(await look(ledger))

    async def test_row_that_is_not_there_is_none(self, ledger: Ledger) -> None:
        """Looking at a job that nobody registered finds nothing, and makes nothing."""
        assert list(await ledger.peek(["job"])) == [None]
        (row,) = await register(ledger, Register("job", 0, 77))
        assert row.watermark == 77

    async def test_looking_changes_nothing(self, ledger: Ledger) -> None:
        """Looking at a row twice shows the same twice, and a run goes on as before."""
        mark = await begin(ledger)
        won = await win(ledger, mark + 1)
        rows = [await look(ledger) for _ in range(3)]
        assert [timeless(row) for row in rows] == [
            Row("job", mark + 1, won.fence, "a", finished=False, lease=0),
        ] * 3
        leases = [row.lease for row in rows if row.lease is not None]
        assert leases == sorted(leases, reverse=True)
        assert await finish(ledger, mark + 1, won.fence)

    async def test_rows_are_shown_in_the_order_asked(self, ledger: Ledger) -> None:
        """Several rows come in the order of the question, with None in the place of each that is not there."""
        await register(ledger, *(Register(job, 0, mark) for mark, job in enumerate("abcd", 1)))
        rows = await ledger.peek(["d", "nobody", "a", "c", "none"])
        assert [row and row.watermark for row in rows] == [4, None, 1, 3, None]

    async def test_row_shows_all_that_happened(self, ledger: Ledger) -> None:
        """A row shows the newest claim, and beside it how and when the one before ended."""
        mark = await begin(ledger)
        first = await win(ledger, mark + 1)
        before = await now_of(ledger)
        await finish(ledger, mark + 1, first.fence, Succeeded(204))
        after = await now_of(ledger)
        await ledger.pause([Pause("job", 0, paused=False)])
        second = await win(ledger, mark + 2, "b")
        row = await look(ledger)
        assert row.ended is not None
        assert before - ROUNDING <= row.ended <= after + ROUNDING
        assert timeless(row) == Row(
            "job", mark + 2, second.fence, "b", False, 0, outcome_text(Succeeded(204)), row.ended, row.ended
        )
        assert row.lease is not None
        assert LEASE - (await now_of(ledger) - after) - ROUNDING <= row.lease <= LEASE

    async def test_nothing_asked_is_nothing_answered(self, ledger: Ledger) -> None:
        """Every call takes no job at all, and answers nothing."""
        calls = (ledger.register, ledger.claim, ledger.renew, ledger.finish, ledger.peek, ledger.reset)
        assert [len(await call(())) for call in calls] == [0] * 6
        await ledger.pause(())
