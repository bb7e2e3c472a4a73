"""The rows of a SQLite ledger: one statement per call and row, within a transaction that holds the lock for writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from loopcron._ledger import (
    EARLY_MS,
    Answer,
    Claim,
    Finish,
    Held,
    Lost,
    Pause,
    Paused,
    Register,
    Renew,
    Row,
    TooEarly,
    Won,
    outcome_text,
)
from loopcron._outcomes import Succeeded

if TYPE_CHECKING:
    import sqlite3

# SQLite reads the clock once per statement; older ones know milliseconds in Julian days only.
_NOW: Final = "select cast(round((julianday('now') - 2440587.5) * 86400000) as integer)"

_SELECT: Final = """
select job, watermark, fence, claim_id, finished, lease_until - :now, outcome, ended_at, succeeded_at, paused, schedule
  from loopcron_slot where namespace = :namespace and job = :job
"""

_INSERT: Final = """
insert into loopcron_slot (namespace, job, watermark, schedule)
values (:namespace, :job, coalesce(:watermark, :now), :schedule)
on conflict (namespace, job) do nothing
"""

_DESCRIBE: Final = """
update loopcron_slot set schedule = :schedule
 where namespace = :namespace and job = :job and :schedule not in ('', schedule)
"""

_CLAIM: Final = """
insert into loopcron_slot as t (namespace, job, watermark, fence, claim_id, finished, lease_until)
select :namespace, :job, :slot, :now, :claim_id, 0, :now + :lease where :slot <= :now + :early
on conflict (namespace, job) do update set
 watermark = excluded.watermark, fence = max(t.fence + 1, excluded.fence), claim_id = excluded.claim_id,
 finished = 0, lease_until = excluded.lease_until
 where t.watermark < excluded.watermark and not t.paused
   and (:lease is null or t.lease_until is null or t.lease_until <= :now)
returning fence
"""

_REPEAT: Final = """
update loopcron_slot set lease_until = :now + :lease
 where namespace = :namespace and job = :job and claim_id = :claim_id and lease_until is not null
   and :lease is not null
"""

_RENEW: Final = """
update loopcron_slot set lease_until = case when finished then null else :now + :lease end
 where namespace = :namespace and job = :job and fence = :fence and (finished and fence > 0 or lease_until > :now)
returning fence
"""

_FINISH: Final = """
update loopcron_slot set finished = 1, lease_until = null, outcome = :outcome, ended_at = :now,
 succeeded_at = case when :succeeded then :now else succeeded_at end
 where namespace = :namespace and job = :job and fence = :fence and not finished
returning fence
"""

_PAUSE: Final = """
insert into loopcron_slot (namespace, job, watermark, paused) values (:namespace, :job, :now, :paused)
on conflict (namespace, job) do update set paused = excluded.paused
"""

_RESET: Final = """
update loopcron_slot set watermark = min(watermark, :now), lease_until = null
 where namespace = :namespace and job = :job
"""


@final
class SqliteTable:
    """
    The rows of one namespace, as one transaction sees them; its now is the store's, read when it holds the lock.

    Args:
        connection: Within a transaction.
        namespace: Whose rows.
    """

    def __init__(self, connection: sqlite3.Connection, namespace: str) -> None:
        self._connection = connection
        ((now,),) = connection.execute(_NOW).fetchall()
        self._now: int = now
        self._common = {"namespace": namespace, "now": now}

    def register(self, job: Register) -> Row:
        """Make the row where there is none, and return it as it stood; see `Ledger.register`."""
        self._run(_INSERT, job=job.job, watermark=job.watermark, schedule=job.schedule)
        (row,) = self._rows(job.job)
        self._run(_DESCRIBE, job=job.job, schedule=job.schedule)
        return row

    def claim(self, claim: Claim) -> Answer:
        """Answer the claim; see `Ledger.claim`."""
        before = next(iter(self._rows(claim.job)), Row(claim.job, claim.slot - 1))
        values = claim._asdict()
        if before.claim_id == claim.claim_id:
            self._run(_REPEAT, **values)
            return Won(before.fence)
        # The statement decides, by itself; what stood there before only says what it has replaced, or why not.
        for (fence,) in self._run(_CLAIM, early=EARLY_MS, **values):
            over = before.lease is not None and before.lease <= 0  # given back it would be None
            return Won(fence, before.watermark, before.claim_id) if over else Won(fence)
        return self._refusal(claim, before)

    def _refusal(self, claim: Claim, before: Row) -> Answer:
        if claim.slot <= before.watermark:
            return Lost(before)
        if before.paused:
            return Paused()
        if claim.slot > self._now + EARLY_MS:
            return TooEarly(claim.slot - self._now)
        assert before.lease is not None
        return Held(before.lease)

    def renew(self, renewal: Renew) -> bool:
        """Let the lease begin anew; see `Ledger.renew`."""
        return bool(self._run(_RENEW, **renewal._asdict()))

    def finish(self, finish: Finish) -> bool:
        """Write the outcome; see `Ledger.finish`."""
        outcome, succeeded = outcome_text(finish.outcome), isinstance(finish.outcome, Succeeded)
        return bool(self._run(_FINISH, job=finish.job, fence=finish.fence, outcome=outcome, succeeded=succeeded))

    def pause(self, pause: Pause) -> None:
        """Pause the job, or end that; see `Ledger.pause`."""
        self._run(_PAUSE, job=pause.job, paused=pause.paused)

    def peek(self, job: str) -> Row | None:
        """Return the job's row; see `Ledger.peek`."""
        return next(iter(self._rows(job)), None)

    def reset(self, job: str) -> Row | None:
        """Lower the watermark and end the lease; see `Ledger.reset`."""
        self._run(_RESET, job=job)
        return self.peek(job)

    def _rows(self, job: str) -> list[Row]:
        rows = (Row(*values) for values in self._run(_SELECT, job=job))
        return [row._replace(finished=bool(row.finished), paused=bool(row.paused)) for row in rows]

    def _run(self, statement: str, **values: object) -> list[Any]:
        # All rows at once: a statement that is not read to its end keeps its lock.
        return self._connection.execute(statement, {**self._common, **values}).fetchall()
