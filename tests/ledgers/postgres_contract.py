"""The contract of all ledgers for the one in PostgreSQL, before it is said how the server is reached."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from loopcron.ledgers.postgres import PostgresLedger
from loopcron.testing import LedgerContract
from tests.ledgers.postgres_server import AnyServer


class PostgresContract(LedgerContract):
    """Each test has namespaces of its own on the session's server."""

    @pytest.fixture(autouse=True)
    def store(self, postgres: AnyServer) -> None:
        """Name the server and this test's rows on it."""
        self.url = self.server_url = postgres.url()
        self.test = uuid4().hex

    def make_ledger(self, namespace: str) -> PostgresLedger:
        """Return a ledger on this test's rows."""
        return PostgresLedger(self.url, namespace=f"{self.test}.{namespace}")

    async def wipe(self) -> bool:
        """Delete this test's rows."""
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            connection.execute("delete from loopcron_slot where starts_with(namespace, %s)", [self.test])
        return True
