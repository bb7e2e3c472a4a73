"""The ledger in PostgreSQL keeps the contract of all ledgers."""

from __future__ import annotations

from tests.ledgers.one_loop import on_trio
from tests.ledgers.postgres_contract import PostgresContract

anyio_backend = on_trio


class TestPostgres(PostgresContract):
    """Straight to the server."""
