"""
The wrong formulations: ledgers that look right and fire slots twice, so that the rig shows that it would find it.

Each is what people really use in place of a slot lease. They answer as a `Ledger` does, run through the very same
workers and faults, and a run of the proof in which one of them is not convicted has failed.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from loopcron._ledger import EARLY_MS, Answer, Claim, Finish, Lost, Pause, Register, Renew, Row, Won
from loopcron.ledgers._thread import StoreThread

if TYPE_CHECKING:
    import redis

CONTROLS: Final[dict[str, tuple[str, ...]]] = {
    "sqlite": ("released-lease", "read-then-upsert"),
    "postgres": ("released-lease", "advisory-lock", "read-then-upsert"),
    "redis": ("set-nx-px",),
}
SECONDS: Final = 0.6
"""How long a call may take."""
LEASE_MS: Final = 2000
BETWEEN_SECONDS: Final = 0.01
"""For how long a process stands still between reading and writing, as one may at any time: where the machine is idle it
seldom does, and the fault would show now and then only."""


class Control:
    """
    A ledger without a watermark that is moved in one step; the formulations say what it does instead.

    Args:
        url: Of the store.
    """

    is_shared: Final = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._thread = StoreThread("control", SECONDS, interrupt=self.interrupt)

    def connect(self) -> None:
        """Reach the store, and make what is needed there."""
        raise NotImplementedError

    def take(self, job: str, slot: int) -> bool:
        """Try to win the slot."""
        raise NotImplementedError

    def release(self, job: str) -> None:
        """The run is over."""

    def let_go(self) -> None:
        """Drop the connection."""

    def interrupt(self) -> None:
        """Make a call that takes too long end."""

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row]:
        """Answer with new rows, whatever was before: they remember nothing that could be told."""
        await self._ask(lambda: None)
        return [Row(job.job, _now() if job.watermark is None else job.watermark) for job in jobs]

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        """Try to win each slot."""
        return [await self._claim(claim) for claim in claims]

    async def _claim(self, claim: Claim) -> Answer:
        is_won = await self._ask(partial(self.take, claim.job, claim.slot))
        return Won(_now()) if is_won else Lost(Row(claim.job, claim.slot))

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        """Renew nothing, and say that it is well."""
        return [True] * len(renewals)

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        """Release each job."""
        for finish in finishes:
            await self._ask(partial(self.release, finish.job))
        return [True] * len(finishes)

    async def pause(self, pauses: Sequence[Pause]) -> None:
        """Not needed here."""

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """Know nothing."""
        return [None for _ in jobs]

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """Know nothing."""
        return [None for _ in jobs]

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._thread.close(self.let_go)

    async def _ask(self, question: Callable[[], Any]) -> Any:
        return await self._thread.call(partial(self._connected, question))

    def _connected(self, question: Callable[[], Any]) -> Any:
        try:
            self.connect()
            return question()
        except BaseException:
            with suppress(Exception):
                self.let_go()
            raise


class _Sql(Control):
    """On SQLite or PostgreSQL, each statement a transaction of its own. ``:name`` is a parameter, ``{now}`` in ms."""

    made: str = ""
    connection: Any = None

    def connect(self) -> None:
        """See `Control.connect`."""
        if self.connection is not None:
            return
        if self._url.startswith("sqlite"):
            path = self._url.removeprefix("sqlite:///")
            self.connection = sqlite3.connect(path, isolation_level=None, timeout=0.5, check_same_thread=False)
        else:
            import psycopg

            self.connection = psycopg.connect(self._url, autocommit=True, prepare_threshold=None)
        if self.made:
            self.ask(self.made)

    def ask(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        if self._url.startswith("sqlite"):
            now = "cast((julianday('now')-2440587.5)*86400000 as integer)"
        else:
            now = "(extract(epoch from clock_timestamp())*1000)::bigint"
            statement = re.sub(r":(\w+)", r"%(\1)s", statement)
        cursor = self.connection.execute(statement.replace("{now}", now), values)
        rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        return rows

    def let_go(self) -> None:
        """See `Control.let_go`."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """See `Control.interrupt`: SQLite has a limit of its own."""
        if self.connection is not None and not self._url.startswith("sqlite"):
            with socket.socket(fileno=os.dup(self.connection.fileno())) as link:
                link.shutdown(socket.SHUT_RDWR)


class ReleasedLease(_Sql):
    """A lease by the store's clock, given back after the run: it guards the run, and forgets the slot with it."""

    made = "create table if not exists released_lease (job text primary key, until bigint not null)"

    def take(self, job: str, slot: int) -> bool:
        """See `Control.take`."""
        statement = (
            "insert into released_lease as t (job, until) values (:job, {now} + :lease) on conflict (job) do update"
            " set until = excluded.until where t.until <= {now} returning until"
        )
        return bool(self.ask(statement, job=job, lease=LEASE_MS))

    def release(self, job: str) -> None:
        """See `Control.release`."""
        self.ask("update released_lease set until = 0 where job = :job", job=job)


class AdvisoryLock(_Sql):
    """A lock that the connection holds during the run; likewise."""

    def take(self, job: str, slot: int) -> bool:
        """See `Control.take`."""
        return bool(self.ask("select pg_try_advisory_lock(hashtext(:job))", job=job)[0][0])

    def release(self, job: str) -> None:
        """See `Control.release`."""
        self.ask("select pg_advisory_unlock(hashtext(:job))", job=job)


class ReadThenUpsert(_Sql):
    """A watermark, and no slot before its time; but read in one step and moved in another."""

    made = "create table if not exists read_then_upsert (job text primary key, slot bigint not null)"

    def take(self, job: str, slot: int) -> bool:
        """See `Control.take`."""
        ((now, before),) = self.ask("select {now}, (select slot from read_then_upsert where job = :job)", job=job)
        if slot > now + EARLY_MS or (before is not None and before >= slot):
            return False
        time.sleep(BETWEEN_SECONDS)
        statement = (
            "insert into read_then_upsert (job, slot) values (:job, :slot)"
            " on conflict (job) do update set slot = excluded.slot"
        )
        self.ask(statement, job=job, slot=slot)
        return True


class SetNxPx(Control):
    """A key that expires, deleted after the run: the released lease once more."""

    client: redis.Redis | None = None

    def connect(self) -> None:
        """See `Control.connect`."""
        import redis

        if self.client is None:
            self.client = redis.Redis.from_url(self._url, socket_timeout=0.5, socket_connect_timeout=0.5)

    def let_go(self) -> None:
        """See `Control.let_go`."""
        client, self.client = self.client, None
        if client is not None:
            client.close()

    def take(self, job: str, slot: int) -> bool:
        """See `Control.take`."""
        assert self.client is not None
        return bool(self.client.set(f"lock:{job}", "mine", nx=True, px=LEASE_MS))

    def release(self, job: str) -> None:
        """See `Control.release`."""
        assert self.client is not None
        self.client.delete(f"lock:{job}")


def control(name: str, url: str) -> Control:
    """Return the ledger of a wrong formulation."""
    match name:
        case "released-lease":
            return ReleasedLease(url)
        case "advisory-lock":
            return AdvisoryLock(url)
        case "set-nx-px":
            return SetNxPx(url)
        case _:
            return ReadThenUpsert(url)


def _now() -> int:
    return time.time_ns() // 1_000_000
