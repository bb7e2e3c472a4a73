"""The ledger in PostgreSQL keeps the contract of all ledgers."""

from __future__ import annotations

from tests.ledgers.postgres_contract import PostgresContract


class TestPostgres(PostgresContract):
    """Straight to the server."""
