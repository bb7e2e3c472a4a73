"""How the tests of the ledger in PostgreSQL ask it, directly and through a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import anyio
import pytest

from loopcron._errors import LedgerError
from loopcron._ledger import Claim
from loopcron.ledgers.postgres import PostgresLedger
from tests.ledgers.postgres_server import PostgresServer
from tests.ledgers.proxy import Proxy

SOON = timedelta(milliseconds=400)
"""For calls that are to run out of time."""
LATER = timedelta(seconds=20)
"""For calls that are to have an answer, however slow the machine is."""


@pytest.fixture
def proxy(own_postgres: PostgresServer) -> Iterator[Proxy]:
    """Return a proxy in front of the server."""
    with Proxy(own_postgres.socket_path) as proxy:
        yield proxy


@pytest.fixture
def namespace() -> str:
    """Return a namespace that nobody has used."""
    return uuid4().hex


class Ledgers:
    """Makes ledgers on one namespace, and closes them."""

    def __init__(self, server: PostgresServer, proxy: Proxy, namespace: str) -> None:
        self._server = server
        self._proxy = proxy
        self._namespace = namespace
        self.opened: list[PostgresLedger] = []

    def direct(self, timeout: timedelta = LATER, **more: Any) -> PostgresLedger:
        """Return one that talks to the server itself."""
        self.opened.append(PostgresLedger(self._server.url(**more), namespace=self._namespace, timeout=timeout))
        return self.opened[-1]

    def proxied(self, timeout: timedelta = LATER, **more: Any) -> PostgresLedger:
        """Return one that talks through the proxy."""
        return self.direct(timeout, port=self._proxy.port, **more)


@pytest.fixture
async def ledgers(own_postgres: PostgresServer, proxy: Proxy, namespace: str) -> AsyncIterator[Ledgers]:
    """Return what makes ledgers."""
    ledgers = Ledgers(own_postgres, proxy, namespace)
    yield ledgers
    proxy.fault = None
    for ledger in ledgers.opened:
        await ledger.close()


async def claim(ledger: PostgresLedger, slot: int, claim_id: str, lease: int | None = 60_000) -> object:
    """Return the answer to one claim."""
    (answer,) = await ledger.claim([Claim("job", slot, claim_id, lease)])
    return answer


async def problem(ledger: PostgresLedger) -> str:
    """Return what a call of the ledger raises."""
    with pytest.raises(LedgerError) as caught:
        await ledger.peek(["job"])
    assert caught.value.__context__ is None
    return str(caught.value)


async def working(ledger: PostgresLedger) -> None:
    """Wait until the ledger answers again: the thread may still be about to let go."""
    with anyio.fail_after(40):
        while True:
            try:
                await ledger.peek(["job"])
            except LedgerError:
                continue
            return


async def waiters(server: PostgresServer, number: int) -> None:
    """Wait until so many of the ledgers' transactions wait for rows."""
    query = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%loopcron_%'"
    with anyio.fail_after(40):
        while len(server.admin(query)) < number:
            await anyio.sleep(0.01)
