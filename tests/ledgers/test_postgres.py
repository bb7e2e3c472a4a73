"""What `PostgresLedger` is given, what it shows, and what it says of servers and tables that will not do."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from loopcron._errors import ConfigError, LedgerError
from loopcron._ledger import Claim, Finish, Pause, Register, Won
from loopcron._outcomes import Succeeded
from loopcron.ledgers._postgres_sql import PEEK, Statement
from loopcron.ledgers._postgres_store import Columns, Rows
from loopcron.ledgers.postgres import MIGRATION, PostgresLedger
from tests.ledgers.one_loop import on_trio
from tests.ledgers.postgres_server import AnyServer, PostgresServer, own_schema

anyio_backend = on_trio

SECRET = "hunter-of-secrets"


@pytest.fixture
def schema(postgres: AnyServer) -> Iterator[str]:
    """Return the URL of a schema in which there is no table yet."""
    with own_schema(postgres) as url:
        yield url


@pytest.fixture
async def ledger(schema: str) -> AsyncIterator[PostgresLedger]:
    """Return a ledger in a schema of its own."""
    ledger = PostgresLedger(schema, namespace="web")
    yield ledger
    await ledger.close()


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements, and return what the last one answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def problem(ledger: PostgresLedger) -> str:
    """Return what a call of the ledger raises."""
    with pytest.raises(LedgerError) as caught:
        await ledger.peek(["job"])
    assert caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"mysql://web:{SECRET}@db/app", "url='mysql://…': must begin with postgresql:// or postgres://"),
        (f"postgresql+psycopg://web:{SECRET}@db/app", "url='postgresql+psycopg://…': must begin with"),
        (f"host=db password={SECRET}", "url='…': must begin with"),
        (SECRET, "url='…': must begin with"),
        (f"postgresql://web:{SECRET}%@db/app", "url='postgresql://…': cannot be read; write postgresql://user:"),
        (f"postgresql://web@db/app?pass={SECRET}", "url='postgresql://…': cannot be read"),
        (f"POSTGRESQL://web:{SECRET}@db/app", "url='POSTGRESQL://…': cannot be read"),
        (SECRET.encode(), "url=<class 'bytes'>: must begin with"),
    ],
)
def test_unusable_urls(url: Any, message: str) -> None:
    """A URL that cannot work is refused at once, and no more of it is shown than its scheme."""
    with pytest.raises(ConfigError) as caught:
        PostgresLedger(url, namespace="web")
    assert str(caught.value).startswith(message)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "a b", "a/b", "ä", "x" * 65, "web\n", None, 7])
def test_unusable_namespaces(namespace: Any) -> None:
    """A namespace is 1 to 64 of letters, digits, dots, underscores and hyphens."""
    with pytest.raises(ConfigError, match=r"^namespace=.* must be 1 to 64 letters"):
        PostgresLedger("postgresql://db/app", namespace=namespace)


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1), 2, None])
def test_unusable_timeouts(timeout: Any) -> None:
    """A timeout is a duration longer than nothing."""
    with pytest.raises(ConfigError, match=r"^timeout="):
        PostgresLedger("postgresql://db/app", namespace="web", timeout=timeout)


def test_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the error names what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install loopcron\[postgres\]"):
        PostgresLedger("postgresql://db/app", namespace="web")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"postgresql://web:{SECRET}@db:6432/app", "db:6432/app"),
        (f"postgres://web:{SECRET}@db/app?sslmode=require", "db:5432/app"),
        (f"postgresql://web:{SECRET}@a:1,b:2/app", "a:1,b:2/app"),
        (f"postgresql://web:{SECRET}@a,b/app?port=7", "a:7,b:7/app"),
        (f"postgresql:///app?host=/run/postgresql&password={SECRET}", "/run/postgresql:5432/app"),
        (f"postgresql://web:{SECRET}@/?hostaddr=::1", "::1:5432/web"),
        ("postgresql://", "localhost:5432"),
        (f"postgresql://db/postgresql%3A%2F%2Fweb%3A{SECRET}%40db", "db:5432"),
    ],
)
def test_repr(url: str, place: str) -> None:
    """It shows its kind, its place and its namespace, and neither user nor password."""
    assert repr(PostgresLedger(url, namespace="app-1")) == f"postgresql at {place}, namespace app-1"


def test_is_shared() -> None:
    """Its rows are everybody's, so runs have leases."""
    assert PostgresLedger("postgresql://db/app", namespace="web").is_shared


async def test_table_is_made_on_first_use(ledger: PostgresLedger, schema: str) -> None:
    """The first call makes the table, and it is kept in the log."""
    assert await ledger.peek(["job"]) == [None]
    assert run(schema, "select relpersistence::text from pg_class where oid = to_regclass('loopcron_slot')") == [("p",)]


async def test_migration_can_be_run_again(ledger: PostgresLedger, schema: str) -> None:
    """A table that the migration has made is used, and running it again loses nothing."""
    run(schema, MIGRATION)
    await ledger.register([Register("job", 0, 7)])
    run(schema, MIGRATION)
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert row.watermark == 7


async def test_rows_stay_where_they_are(ledger: PostgresLedger, schema: str) -> None:
    """What a batch writes takes the place of what it replaces, so that the table does not grow with the slots."""

    def pages() -> int:
        ((size,),) = run(schema, "select pg_relation_size('loopcron_slot') / current_setting('block_size')::int")
        return int(size)

    jobs = [f"job-{number:03}" for number in range(200)]
    await ledger.register([Register(job, 0, 0, schedule="every 0:01:00") for job in jobs])
    before = pages()
    for slot in range(1, 21):
        won = await ledger.claim([Claim(job, slot, f"web-1:{slot}") for job in jobs])
        fences = [answer.fence for answer in won if isinstance(answer, Won)]
        await ledger.finish([Finish(job, slot, fence, Succeeded()) for job, fence in zip(jobs, fences, strict=True)])
    assert pages() <= 3 * before


async def test_dropped_table(ledger: PostgresLedger, schema: str) -> None:
    """A table that was dropped under it is said once, and made again by the next call."""
    await ledger.peek(["job"])
    run(schema, "drop table loopcron_slot")
    assert await problem(ledger) == 'relation "loopcron_slot" does not exist (42P01)'
    assert await ledger.peek(["job"]) == [None]


async def test_unlogged_table(ledger: PostgresLedger, schema: str) -> None:
    """A table that a crash would empty is refused, and used as soon as it is mended."""
    run(schema, MIGRATION, "alter table loopcron_slot set unlogged")
    assert "unlogged" in await problem(ledger)
    assert "alter table loopcron_slot set logged" in await problem(ledger)
    run(schema, "alter table loopcron_slot set logged")
    assert await ledger.peek(["job"]) == [None]


async def test_newer_table(ledger: PostgresLedger, schema: str) -> None:
    """A table of a version to come is refused, with both versions named."""
    run(schema, MIGRATION, "alter table loopcron_slot alter version set default 2")
    said = await problem(ledger)
    assert "is of version 2, and this loopcron knows version 1" in said


@pytest.mark.parametrize(
    "table", ["loopcron_slot (id int)", "loopcron_slot (version int)", "loopcron_slot (version text default 'x')"]
)
async def test_foreign_table(ledger: PostgresLedger, schema: str, table: str) -> None:
    """A table of that name which is not loopcron's is left alone."""
    run(schema, f"create table {table}")
    assert "is none of loopcron's" in await problem(ledger)


async def test_role_that_may_not_make_tables(own_postgres: PostgresServer) -> None:
    """Where the role may not make the table, the error names the role and the migration, after which all works."""
    role, database = f"limited_{uuid4().hex}", "loopcron"
    own_postgres.admin(f"create role {role} login password 'x'", f"create schema {role}", database=database)
    own_postgres.admin(f"grant usage on schema {role} to {role}", database=database)
    ledger = PostgresLedger(own_postgres.url(user=role, password="x"), namespace="web")
    assert await problem(ledger) == (
        f"the role {role} may not make the table loopcron_slot (permission denied for schema {role} (42501)); "
        "let one that may run loopcron.ledgers.postgres.MIGRATION"
    )
    own_postgres.admin(f"set search_path to {role}", MIGRATION, database=database)
    own_postgres.admin(f"grant select, insert, update on {role}.loopcron_slot to {role}", database=database)
    assert isinstance((await ledger.claim([Claim("job", 1, "a", 1000)]))[0], Won)
    await ledger.close()


async def test_no_schema_to_make_the_table_in(schema: str) -> None:
    """Without a schema in the search path there is the same advice."""
    ledger = PostgresLedger(schema.replace("search_path%3D", "search_path%3Dno_"), namespace="web")
    assert "no schema has been selected to create in (3F000)" in await problem(ledger)
    await ledger.close()


async def test_role_with_other_defaults(postgres: AnyServer) -> None:
    """A role's own settings for isolation and durability change nothing: races are lost without an error."""
    with own_schema(postgres) as url:
        more = "%20-cdefault_transaction_isolation%3Dserializable%20-csynchronous_commit%3Doff"
        ledgers = [PostgresLedger(url + more, namespace="web") for _ in range(4)]
        assert run(url + more, "show default_transaction_isolation") == [("serializable",)]
        await ledgers[0].register([Register("job", 0, 0)])
        won = 0
        for slot in range(1, 21):
            won += await wins(ledgers, slot)
        for ledger in ledgers:
            await ledger.close()
        assert won == 20


async def test_settings_of_a_statement(postgres: AnyServer) -> None:
    """Each statement has settings of its own, whatever the session's are, and leaves none behind."""
    with own_schema(postgres) as url:
        more = "%20-cdefault_transaction_isolation%3Dserializable%20-csynchronous_commit%3Doff"
        ledger = PostgresLedger(url + more, namespace="web", timeout=timedelta(seconds=20))
        names = ("transaction_isolation", "synchronous_commit", "statement_timeout")
        shown = "select " + ", ".join(f"current_setting('{name}')" for name in names)
        statement = Statement(f"{shown} from ASKED a where %(namespace)s::text <> ''", job="text")
        for jobs in (["one"], ["one", "two"]):
            ((isolation, commit, limit), *_) = await ledger._call(partial(asked, statement, jobs))
            assert (isolation, commit) == ("read committed", "on")
            assert 0 < int(limit.removesuffix("ms")) < 20_000
        assert ledger._store._connection is not None
        assert ledger._store._connection.execute(shown).fetchall() == [("serializable", "off", "0")]
        await ledger.close()


def asked(statement: Statement, jobs: list[str], ask: Callable[[Statement, Columns], Rows]) -> Rows:
    """Ask for these jobs."""
    return ask(statement, {"job": jobs})


async def prepared(ledger: PostgresLedger) -> int:
    """Return how many statements are prepared in the ledger's session."""
    counting = Statement(
        "select count(*) from pg_prepared_statements, ASKED a where %(namespace)s::text <> ''", job="text"
    )
    ((count,),) = await ledger._call(partial(asked, counting, ["a", "b"]))
    return int(count) // 2


async def test_prepared_once(ledger: PostgresLedger) -> None:
    """What is asked for one job is prepared in a session that is the ledger's own, once each; for several it is not."""
    assert await prepared(ledger) == 0
    for slot in (1, 2):
        assert isinstance((await ledger.claim([Claim("job", slot, f"{slot}", None)]))[0], Won)
        assert await prepared(ledger) == 1
    await ledger.peek(["job"])
    assert await prepared(ledger) == 2
    await ledger.register([Register("job", 0, 0), Register("other", 0, 0)])
    assert await prepared(ledger) == 2


async def test_prepared_once_it_is_sent(ledger: PostgresLedger) -> None:
    """A statement for which there was no time left is prepared by the next call."""
    assert await prepared(ledger) == 0
    with pytest.raises(LedgerError, match="nothing was asked"):
        ledger._store.ask(PEEK, "web", {"job": ["job"]}, lambda: 0.0)
    await ledger.peek(["job"])
    assert await prepared(ledger) == 1


@pytest.mark.parametrize("change", ["deallocate all", "nothing is known of what was prepared"])
async def test_session_that_is_shared(ledger: PostgresLedger, change: str) -> None:
    """Where a pooler that cannot be told from a server hands out other sessions, the statement is sent as a whole."""
    assert isinstance((await ledger.claim([Claim("job", 1, "a", None)]))[0], Won)
    store = ledger._store
    connection, known = store._connection, store._prepared
    assert connection is not None
    assert known
    if change == "deallocate all":
        connection.execute(change)
    else:
        known.clear()
    for slot in (2, 3):
        assert isinstance((await ledger.claim([Claim("job", slot, f"{slot}", None)]))[0], Won)
    assert store._connection is connection
    assert store._prepared is None


async def test_fence_is_never_below_that_before(ledger: PostgresLedger, schema: str) -> None:
    """A fence that is ahead of the store's clock rises by one."""
    await ledger.register([Register("job", 0, 0)])
    run(schema, f"update loopcron_slot set fence = {2**53}")
    assert await ledger.claim([Claim("job", 1, "a", None)]) == [Won(2**53 + 1)]


async def wins(ledgers: list[PostgresLedger], slot: int) -> int:
    """Let all claim the slot at once, and return how many have won it."""
    import anyio

    answers: list[object] = []

    async def claim(number: int) -> None:
        answers.extend(await ledgers[number].claim([Claim("job", slot, f"{slot}-{number}", None)]))

    async with anyio.create_task_group() as group:
        for number in range(len(ledgers)):
            group.start_soon(claim, number)
    return sum(isinstance(answer, Won) for answer in answers)


async def test_server_of_another_encoding(own_postgres: PostgresServer) -> None:
    """A database that keeps bytes as they come keeps schedules in UTF-8."""
    database = f"bytes_{uuid4().hex}"
    own_postgres.admin(
        f"create database {database} owner loopcron template template0 encoding 'SQL_ASCII' locale 'C'",
    )
    ledger = PostgresLedger(own_postgres.url(database=database), namespace="web")
    await ledger.register([Register("job", 0, 5, schedule="jeden Tag um fünf, täglich")])
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert row.schedule == "jeden Tag um fünf, täglich"
    await ledger.close()


async def test_close_and_use_again(ledger: PostgresLedger, schema: str) -> None:
    """Closing lets go of the connection; a later call opens one again."""
    await ledger.pause([Pause("job", 0, paused=True)])
    mine = "select count(*) from pg_stat_activity where application_name = 'closing'"
    named = PostgresLedger(f"{schema}&application_name=closing", namespace="web")
    await named.peek(["job"])
    assert run(schema, mine) == [(1,)]
    await named.close()
    assert run(schema, mine) == [(0,)]
    (row,) = await named.peek(["job"])
    assert row is not None
    assert row.paused
    await named.close()
