"""`PostgresLedger` in front of servers that are gone, silent, cut off, or no longer the one that writes."""

from __future__ import annotations

import io
import logging
import os
import signal
import traceback
from typing import Any

import anyio
import psycopg
import pytest

from loopcron._errors import LedgerError
from loopcron._ledger import Lost, Won
from loopcron.ledgers._postgres_sql import PEEK
from loopcron.ledgers._postgres_store import PostgresStore
from loopcron.ledgers.postgres import PostgresLedger
from tests.ledgers.one_loop import on_trio
from tests.ledgers.postgres_asking import LATER, SOON, Ledgers, claim, ledgers, namespace, problem, proxy, working
from tests.ledgers.postgres_server import PASSWORD, USER, PostgresServer, own_schema, wait_until
from tests.ledgers.proxy import Fault, Proxy

__all__ = ("ledgers", "namespace", "proxy")

anyio_backend = on_trio


async def test_nobody_listens() -> None:
    """A server that is down is said to be."""
    with Proxy("/nowhere") as gone:
        port = gone.port
    ledger = PostgresLedger(f"postgresql://web:x@127.0.0.1:{port}/app", namespace="web", timeout=LATER)
    assert await problem(ledger) == f"nobody listens at 127.0.0.1:{port}/app"
    await ledger.close()


async def test_several_hosts(own_postgres: PostgresServer, proxy: Proxy, namespace: str) -> None:
    """Of several hosts the first that takes writes is used."""
    with Proxy("/nowhere") as gone:
        pass
    both = own_postgres.url(port=proxy.port).replace("127.0.0.1:", f"127.0.0.1:{gone.port},127.0.0.1:")
    ledger = PostgresLedger(both, namespace=namespace, timeout=LATER)
    assert isinstance(await claim(ledger, 1, "a"), Won)
    assert proxy.connections == 1
    await ledger.close()


async def test_wrong_password(ledgers: Ledgers) -> None:
    """A login that the server refuses is named, and each call tries again."""
    ledger = ledgers.direct(password="guessed")
    assert await problem(ledger) == f"the server refuses the login of user {USER}"
    assert await problem(ledger) == f"the server refuses the login of user {USER}"


async def test_missing_database(ledgers: Ledgers, own_postgres: PostgresServer) -> None:
    """A database that is not there is named."""
    said = await problem(ledgers.direct(database="nothing"))
    assert said == f"the server has no such database: {own_postgres.folder}:5432/nothing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("connection failed: FATAL: password authentication failed", "the server refuses the login of user web"),
        ("failed to resolve host 'db': [Errno -2]", "the host name cannot be resolved: db/app"),
        (f"whatever {PASSWORD}", "cannot connect to db/app (OperationalError)"),
    ],
)
def test_connection_problems(text: str, said: str) -> None:
    """Of what the driver says when it cannot connect nothing is shown but what is known to be harmless."""

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        raise psycopg.OperationalError(text)

    store = PostgresStore(connect, user="web", place="db/app", margin=0.1)
    with pytest.raises(LedgerError) as caught:
        store.ask(PEEK, "web", {"job": ["job"]}, lambda: 10.0)
    assert str(caught.value) == said
    assert caught.value.__context__ is None


def test_login_without_a_user() -> None:
    """Where the URL names no user, none is named."""

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        raise psycopg.OperationalError("no password supplied")

    with pytest.raises(LedgerError, match=r"^the server refuses the login$"):
        PostgresStore(connect, user="", place="db", margin=0.1).ask(PEEK, "web", {"job": ["job"]}, lambda: 10.0)


@pytest.mark.parametrize("fault", ["blackhole", "drop_replies"])
async def test_silent_server(ledgers: Ledgers, proxy: Proxy, fault: Fault) -> None:
    """Where no answer comes the call ends in time, the thread comes free, and the next call connects anew."""
    ledger = ledgers.proxied(SOON)
    await working(ledger)
    before = proxy.connections
    proxy.fault = fault
    assert await problem(ledger) == "gave no answer within 0.4 s"
    proxy.fault = None
    await working(ledger)
    assert proxy.connections > before


async def test_silent_from_the_start(ledgers: Ledgers, proxy: Proxy) -> None:
    """Where no connection comes about the call ends in time, and works once one does."""
    proxy.fault = "blackhole"
    ledger = ledgers.proxied(SOON)
    assert await problem(ledger) == "gave no answer within 0.4 s"
    proxy.fault = None
    await working(ledger)


async def test_idle_connection_is_cut(ledgers: Ledgers, proxy: Proxy) -> None:
    """A connection that was cut while nothing was asked costs no call: it is seen before anything is sent."""
    ledger = ledgers.proxied()
    assert isinstance(await claim(ledger, 1, "a"), Won)
    proxy.cut()
    with anyio.fail_after(40):
        while ledger._store._socket is not None and not ledger._store._has_ended():
            await anyio.sleep(0.01)
    assert isinstance(await claim(ledger, 2, "b", None), Won)
    assert proxy.connections == 2


async def test_broken_connection(ledgers: Ledgers) -> None:
    """A connection that can not even be looked at is opened anew, too."""
    ledger = ledgers.direct()
    assert isinstance(await claim(ledger, 1, "a"), Won)
    assert ledger._store._socket is not None
    ledger._store._socket.close()
    assert isinstance(await claim(ledger, 2, "b", None), Won)


async def test_cut_while_asking(ledgers: Ledgers, proxy: Proxy) -> None:
    """Cut behind a claim nobody knows what became of it; asked again by the same claim id, it was won."""
    ledger = ledgers.proxied()
    await ledger.peek(["job"])
    proxy.fault = "cut_after_request"
    with pytest.raises(LedgerError, match=r"^the connection was lost \(OperationalError\)$"):
        await claim(ledger, 1, "a")
    proxy.fault = None
    with anyio.fail_after(40):
        while (await ledger.peek(["job"]))[0] is None:  # the server may still be at it
            await anyio.sleep(0.01)
    assert isinstance(await claim(ledgers.direct(), 1, "b"), Lost)
    assert isinstance(await claim(ledger, 1, "a"), Won)


async def test_reply_is_lost(ledgers: Ledgers, proxy: Proxy) -> None:
    """A claim whose answer was lost was won all the same: its claim id has the answer, and nobody else the slot."""
    ledger = ledgers.proxied(SOON)
    await working(ledger)
    proxy.fault = "drop_replies"
    with pytest.raises(LedgerError, match="gave no answer"):
        await claim(ledger, 1, "a")
    assert proxy.swallowed.is_set()
    proxy.fault = None
    assert isinstance(await claim(ledgers.direct(), 1, "b"), Lost)
    await working(ledger)
    (row,) = await ledger.peek(["job"])
    assert row is not None
    assert await claim(ledger, 1, "a") == Won(row.fence)


async def test_answer_after_the_deadline(ledgers: Ledgers, own_postgres: PostgresServer, namespace: str) -> None:
    """What a stopped server does after the caller has given up is settled by the claim id: still one win."""
    ledger = ledgers.direct(SOON, application_name=namespace)
    await working(ledger)
    ((server,),) = own_postgres.admin(f"select pid from pg_stat_activity where application_name = '{namespace}'")
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(LedgerError, match="gave no answer"):
            await claim(ledger, 1, "a")
    finally:
        os.kill(server, signal.SIGCONT)
    other = ledgers.direct()
    with anyio.fail_after(40):
        while (await other.peek(["job"]))[0] is None:
            await anyio.sleep(0.01)
    assert isinstance(await claim(other, 1, "b"), Lost)
    await working(ledger)
    assert isinstance(await claim(ledger, 1, "a"), Won)


async def test_crash_and_restart(ledgers: Ledgers, own_postgres: PostgresServer) -> None:
    """What was won before the server crashed is won after it came up again."""
    ledger = ledgers.direct()
    won = await claim(ledger, 1, "a")
    own_postgres.crash()
    try:
        assert await problem(ledger) == f"nobody listens at {own_postgres.folder}:5432/{USER}"
    finally:
        own_postgres.start()
    assert await claim(ledger, 1, "a") == won
    assert isinstance(await claim(ledger, 1, "b"), Lost)


async def test_read_only_server(ledgers: Ledgers, own_postgres: PostgresServer) -> None:
    """Where the server takes no writes the next call connects anew, to whoever takes them then."""
    ledger = ledgers.proxied()
    own_postgres.admin(f"alter role {USER} set default_transaction_read_only = on")
    try:
        with pytest.raises(LedgerError, match=r"^the server is read-only, perhaps a standby"):
            await claim(ledger, 1, "a")
    finally:
        own_postgres.admin(f"alter role {USER} reset default_transaction_read_only")
    assert isinstance(await claim(ledger, 1, "a"), Won)


async def test_read_only_server_without_a_table(own_postgres: PostgresServer) -> None:
    """Where there is no table and the server takes no writes, that is what is said."""
    with own_schema(own_postgres) as url:
        ledger = PostgresLedger(f"{url}%20-cdefault_transaction_read_only%3Don", namespace="web", timeout=LATER)
        assert await problem(ledger) == "the server is read-only, perhaps a standby; the next call connects anew"
        await ledger.close()


async def test_secrets(
    ledgers: Ledgers, own_postgres: PostgresServer, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, the password is in no log, no error and no traceback, the locals of its frames included."""
    caplog.set_level(logging.DEBUG)
    shown = io.StringIO()

    async def ask(ledger: PostgresLedger) -> None:
        with pytest.raises(LedgerError) as caught:
            await claim(ledger, 1, "a")
        error = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        print(*error.format(), repr(ledger), vars(ledger), vars(ledger._store), file=shown)

    wrong = PASSWORD + "-wrong"
    await ask(ledgers.direct(password=wrong))
    await ask(ledgers.direct(database="nothing"))
    await ask(ledgers.direct(options="-csearch_path=nowhere"))
    ledger = ledgers.proxied(SOON)
    await working(ledger)
    faults: tuple[Fault, ...] = ("cut_after_request", "blackhole", "cut")
    for fault in faults:
        proxy.fault = fault
        await ask(ledger)
        proxy.fault = None
        await working(ledger)
    text = shown.getvalue() + caplog.text
    assert "the server refuses the login" in text
    for secret in (PASSWORD, wrong, own_postgres.url().split("@")[0].rpartition(":")[2]):
        assert secret not in text


def test_wait_until_gives_up() -> None:
    """The helper that waits says for what it has waited in vain."""
    with pytest.raises(AssertionError, match="still not so: pigs fly"):
        wait_until(lambda: False, "pigs fly", seconds=0)
