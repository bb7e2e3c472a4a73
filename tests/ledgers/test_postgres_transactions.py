"""A slot finished within the endpoint's own transaction: whatever the run wrote there is written once, or never."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from loopcron._errors import FencedError
from loopcron._ledger import Claim, Finish, Won
from loopcron._outcomes import Failed, Outcome, Succeeded
from loopcron.ledgers.postgres import FINISH_SQL, PostgresLedger, finish_in, finish_in_async
from tests.ledgers.postgres_server import AnyServer, own_schema, wait_until
from tests.loops import ASYNCIO, UVLOOP

SUCCEEDED = Succeeded()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ASYNCIO, id="asyncio"),
        pytest.param(UVLOOP, id="uvloop"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """psycopg's asynchronous connections work on asyncio's loops only."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.fixture
def url(postgres: AnyServer) -> Iterator[str]:
    """Return the URL of a schema with a table of the application."""
    with own_schema(postgres) as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table effect (fence bigint)")
        yield url


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[PostgresLedger]:
    """Return the ledger beside it."""
    ledger = PostgresLedger(url, namespace="web")
    yield ledger
    await ledger.close()


async def win(ledger: PostgresLedger, slot: int, lease: int = 60_000) -> int:
    """Win a slot, and return the fence."""
    (answer,) = await ledger.claim([Claim("job", slot, uuid4().hex, lease)])
    assert isinstance(answer, Won)
    return answer.fence


def carry_out(url: str, fence: int, outcome: Outcome = SUCCEEDED) -> None:
    """Do what an endpoint does: write its effect and the slot's outcome in one transaction."""
    with psycopg.connect(url) as connection, connection.transaction():
        connection.execute("insert into effect values (%s)", [fence])
        finish_in(connection, namespace="web", job="job", fence=fence, outcome=outcome)


async def carry_out_async(url: str, fence: int) -> None:
    """Do the same on an asynchronous connection."""
    async with await psycopg.AsyncConnection.connect(url) as connection, connection.transaction():
        await connection.execute("insert into effect values (%s)", [fence])
        await finish_in_async(connection, namespace="web", job="job", fence=fence, outcome=SUCCEEDED)


def effects(url: str) -> list[int]:
    """Return the fences under which there was an effect."""
    with psycopg.connect(url) as connection:
        return [fence for (fence,) in connection.execute("select fence from effect order by fence")]


async def overtaken(ledger: PostgresLedger) -> tuple[int, int]:
    """Return the fence of a run whose lease has ended, and that of the one that won the next slot."""
    zombie = await win(ledger, 1, lease=1)
    (row,) = await ledger.peek(["job"])
    while row is not None and row.lease is not None and row.lease > 0:
        (row,) = await ledger.peek(["job"])
    return zombie, await win(ledger, 2)


async def test_effects_happen_once(ledger: PostgresLedger, url: str) -> None:
    """A zombie is fenced and rolled back, its successor is committed, and a replay is fenced: one effect."""
    zombie, successor = await overtaken(ledger)
    with pytest.raises(FencedError, match=f"^job 'job' has another fence than {zombie} by now"):
        carry_out(url, zombie)
    assert effects(url) == []
    carry_out(url, successor)
    with pytest.raises(FencedError):
        carry_out(url, successor)
    assert effects(url) == [successor]
    assert await ledger.finish([Finish("job", 2, successor, SUCCEEDED)]) == [False]
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert (row.finished, row.lease, row.outcome, row.succeeded) == (True, None, "Succeeded", row.ended)


async def test_effects_happen_once_asynchronously(ledger: PostgresLedger, url: str) -> None:
    """The same holds on an asynchronous connection."""
    zombie, successor = await overtaken(ledger)
    with pytest.raises(FencedError):
        await carry_out_async(url, zombie)
    await carry_out_async(url, successor)
    with pytest.raises(FencedError):
        await carry_out_async(url, successor)
    assert effects(url) == [successor]


async def test_two_at_once(ledger: PostgresLedger, url: str) -> None:
    """Two that carry out one slot at the same time wait for each other, and the second one is fenced."""
    fence = await win(ledger, 1)
    first = psycopg.connect(url)
    finish_in(first.cursor(), namespace="web", job="job", fence=fence, outcome=SUCCEEDED)
    first.execute("insert into effect values (%s)", [fence])
    from threading import Thread

    said: list[Exception] = []

    def second() -> None:
        try:
            carry_out(url, fence)
        except FencedError as error:
            said.append(error)

    thread = Thread(target=second)
    thread.start()
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%update loopcron_slot%'"
    with psycopg.connect(url, autocommit=True) as watcher:
        wait_until(lambda: bool(watcher.execute(waiting).fetchall()), "the second one waits")
    first.commit()
    first.close()
    thread.join()
    assert len(said) == 1
    assert effects(url) == [fence]


async def test_rolled_back_finish_is_none(ledger: PostgresLedger, url: str) -> None:
    """Where the transaction is rolled back for a reason of its own the slot stays unfinished, and the lease goes on."""
    fence = await win(ledger, 1)
    with psycopg.connect(url) as connection:
        finish_in(connection, namespace="web", job="job", fence=fence, outcome=SUCCEEDED)
        connection.rollback()
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert not row.finished
    assert row.lease is not None
    carry_out(url, fence, Failed("endpoint", "no", 500))
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert (row.outcome, row.succeeded) == ("Failed endpoint 500", None)


async def test_other_rows_are_fenced(ledger: PostgresLedger, url: str) -> None:
    """A job or a namespace that is not there has no fence that would do."""
    fence = await win(ledger, 1)
    with psycopg.connect(url) as connection:
        for namespace, job in (("web", "another"), ("another", "job")):
            with pytest.raises(FencedError):
                finish_in(connection, namespace=namespace, job=job, fence=fence, outcome=SUCCEEDED)


async def test_text_for_other_drivers(ledger: PostgresLedger, url: str) -> None:
    """The statement stands alone, with its values bound by the server."""
    numbered = FINISH_SQL
    for number, name in enumerate(("outcome", "namespace", "job", "fence"), start=1):
        numbered = numbered.replace(f"%({name})s", f"${number}")
    fence = await win(ledger, 1)
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        values = ["Succeeded", "web", "job", fence]
        assert [connection.execute(numbered, values).rowcount for _ in range(2)] == [1, 0]
