"""`PostgresLedger` among others that want the same rows: locks, deadlocks, batches, and how long it waits."""

from __future__ import annotations

from typing import Any

import anyio
import psycopg
import pytest

from loopcron._errors import LedgerError
from loopcron._ledger import Claim, Register, Renew, Won
from loopcron.ledgers._postgres_sql import PEEK, Statement
from loopcron.ledgers._postgres_store import PostgresStore
from tests.ledgers.one_loop import on_trio
from tests.ledgers.postgres_asking import SOON, Ledgers, claim, ledgers, namespace, proxy, waiters, working
from tests.ledgers.postgres_server import USER, PostgresServer

__all__ = ("ledgers", "namespace", "proxy")

anyio_backend = on_trio


def test_no_time_left(own_postgres: PostgresServer) -> None:
    """What has no time left for its answer is not asked at all."""
    store = PostgresStore(lambda: psycopg.connect(own_postgres.url()), user="", place="db", margin=0.1)
    with pytest.raises(LedgerError, match="nothing was asked"):
        store.ask(PEEK, "web", {"job": ["job"]}, lambda: 0.05)


async def test_locked_row(ledgers: Ledgers, own_postgres: PostgresServer, namespace: str) -> None:
    """A row that somebody holds longer than the call lasts is an error in time, and nothing is won afterwards."""
    ledger = ledgers.direct(SOON)
    await working(ledger)
    await ledger.register([Register("job", 0, 0)])
    with psycopg.connect(own_postgres.url()) as holder:
        holder.execute("select from loopcron_slot where namespace = %s for update", [namespace])
        with pytest.raises(LedgerError, match="perhaps because a row is locked; nothing was changed"):
            await claim(ledger, 1, "a")
        assert own_postgres.admin(
            "select count(*) from pg_stat_activity where query like '%loopcron_%' and state = 'active'"
            " and pid <> pg_backend_pid()"
        ) == [(0,)]
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert (row.watermark, row.fence) == (0, 0)


async def test_loop_goes_on(ledgers: Ledgers, own_postgres: PostgresServer, namespace: str) -> None:
    """While the server keeps a call waiting the event loop does other things."""
    ledger = ledgers.direct()
    await ledger.register([Register("job", 0, 0)])
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await claim(ledger, 1, "a"))

    async with anyio.create_task_group() as group:
        with psycopg.connect(own_postgres.url()) as holder:
            holder.execute("select from loopcron_slot where namespace = %s for update", [namespace])
            group.start_soon(ask)
            await waiters(own_postgres, 1)
            assert answers == []
    assert isinstance(answers[0], Won)


async def test_deadlock_is_tried_again(ledgers: Ledgers, own_postgres: PostgresServer, namespace: str) -> None:
    """A claim that the server ends to break a deadlock is asked once more within the call."""
    ledger = ledgers.direct(options="-cdeadlock_timeout=20ms")
    await ledger.register([Register(job, 0, 0) for job in ("a", "b")])
    lock = "select from loopcron_slot where namespace = %s and job = %s for update"
    answers: list[object] = []

    async def ask() -> None:
        answers.extend(await ledger.claim([Claim(job, 1, job, None) for job in ("b", "a")]))

    patient = own_postgres.url(options="-cdeadlock_timeout=30s")  # who waits last and looks first is the one that loses
    with psycopg.connect(patient) as first, psycopg.connect(patient) as second:
        first.execute(lock, [namespace, "a"])
        second.execute(lock, [namespace, "b"])
        async with anyio.create_task_group() as group:
            group.start_soon(ask)  # it has the table, and waits for a
            await waiters(own_postgres, 1)

            async def close_the_circle() -> None:
                # The whole table: a row that the claim lets go of could be its own again before anybody else wakes up.
                table = f"/* {namespace} */ lock table loopcron_slot in exclusive mode"
                await anyio.to_thread.run_sync(second.execute, table)
                second.commit()

            group.start_soon(close_the_circle)
            await waiters(own_postgres, 2)
            first.commit()  # now it has a, and waits for b
    assert [type(answer) for answer in answers] == [Won, Won]


async def test_lease_that_ends_while_waiting(ledgers: Ledgers, own_postgres: PostgresServer, namespace: str) -> None:
    """A claim that waits for a row is judged by the time at which it gets it, not by that at which it came."""
    ledger = ledgers.direct()
    assert isinstance(await claim(ledger, 1, "a", 500), Won)
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await claim(ledger, 2, "b"))

    async with anyio.create_task_group() as group:
        with psycopg.connect(own_postgres.url()) as holder:
            query = "select lease_until - extract(epoch from clock_timestamp()) * 1000 from loopcron_slot "
            holder.execute(f"{query} where namespace = %s for update", [namespace])
            group.start_soon(ask)
            await waiters(own_postgres, 1)
            with anyio.fail_after(40):
                while holder.execute(f"{query} where namespace = %s", [namespace]).fetchall()[0][0] > 0:
                    await anyio.sleep(0.01)
    assert [type(answer) for answer in answers] == [Won]
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert row.lease is not None
    assert row.lease > 0


async def test_conflict_without_end(namespace: str, own_postgres: PostgresServer) -> None:
    """A conflict that comes again at once is an error."""

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(own_postgres.url(), autocommit=True, cursor_factory=psycopg.ClientCursor)
        connection.execute(
            "create function pg_temp.again() returns text language plpgsql"
            " as $$ begin raise exception 'again' using errcode = '40001'; end $$"
        )
        return connection

    store = PostgresStore(connect, user="", place="db", margin=0.1)
    raising = Statement("select pg_temp.again() from ASKED a where %(namespace)s::text <> ''", job="text")
    with pytest.raises(LedgerError, match=r"^again \(40001\)$"):
        store.ask(raising, namespace, {"job": ["job"]}, lambda: 10.0)
    store.release()


async def test_shuffled_batches(ledgers: Ledgers, own_postgres: PostgresServer) -> None:
    """Batches of the same jobs in opposite orders, of all kinds at once, never wait for each other in a circle."""
    jobs = [f"job-{number:02}" for number in range(40)]
    deadlocks = f"select deadlocks from pg_stat_database where datname = '{USER}'"
    first = ledgers.direct()
    await first.register([Register(job, 0, 0) for job in jobs])
    before = own_postgres.admin(deadlocks)

    async def work(number: int) -> None:
        ledger = ledgers.direct()
        order = jobs if number % 2 else jobs[::-1]
        for turn in range(1, 11):
            answers = await ledger.claim([Claim(job, turn, f"{number}-{turn}-{job}", 60_000) for job in order])
            fences = [answer.fence if isinstance(answer, Won) else turn for answer in answers]
            await ledger.renew([Renew(job, turn, fence, 60_000) for job, fence in zip(order, fences, strict=True)])
            await ledger.reset(order[::2])
            await ledger.register([Register(job, 0, 0, schedule=f"{number} {turn}") for job in order])

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(work, number)
    assert own_postgres.admin("select pg_stat_force_next_flush()") is not None
    assert own_postgres.admin(deadlocks) == before


async def test_many_in_one_batch(ledgers: Ledgers) -> None:
    """A batch of 500 is one round trip, and is answered in the order asked."""
    ledger = ledgers.direct()
    jobs = [f"job-{number}" for number in range(500)]
    rows = await ledger.register([Register(job, 0, number) for number, job in enumerate(jobs)])
    assert [row.watermark for row in rows] == list(range(500))
    answers = await ledger.claim([Claim(job, number + 1, job, 1000) for number, job in enumerate(jobs)])
    assert all(isinstance(answer, Won) for answer in answers)
    assert [row.watermark for row in await ledger.peek(jobs) if row is not None] == list(range(1, 501))
