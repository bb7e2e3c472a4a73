"""The ledger in PostgreSQL keeps the contract of all ledgers behind pgbouncer, too; on one event loop, to save time."""

from __future__ import annotations

from typing import Any

import pytest

from loopcron import Claim, Won
from tests.ledgers.postgres_contract import PostgresContract
from tests.ledgers.postgres_server import PostgresServer
from tests.loops import ASYNCIO


@pytest.fixture(scope="module", params=[pytest.param(ASYNCIO, id="asyncio")])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """What a pooler does is nothing to the loop."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


class TestBehindPgbouncer(PostgresContract):
    """Through a pooler that hands out a connection for one transaction at a time."""

    @pytest.fixture(autouse=True)
    def pooled(self, store: None, own_postgres: PostgresServer, pgbouncer: int) -> None:
        self.url = own_postgres.url(port=pgbouncer)

    async def test_nothing_is_prepared(self) -> None:
        """Nothing is left in a session that others get too."""
        ledger = self.make_ledger("web")
        assert isinstance((await ledger.claim([Claim("job", 1, "a", None)]))[0], Won)
        assert ledger._store._prepared is None
        await ledger.close()
