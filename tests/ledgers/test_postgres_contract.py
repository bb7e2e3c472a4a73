"""The ledger in PostgreSQL keeps the contract of all ledgers."""

from __future__ import annotations

from collections.abc import Callable

from loopcron import PostgresLedger
from loopcron.ledgers._postgres_sql import Statement
from loopcron.ledgers._postgres_store import Columns, Rows
from tests.ledgers.one_loop import on_trio
from tests.ledgers.postgres_contract import PostgresContract

anyio_backend = on_trio


class TestPostgres(PostgresContract):
    """Straight to the server."""


class TestStatementsForMany(PostgresContract):
    """With one more job in each call, so that what is asked for a single one goes the way of what is for many."""

    def make_ledger(self, namespace: str) -> PostgresLedger:
        """Return a ledger that adds a job to what it asks, which nothing is known of afterwards."""
        ledger = super().make_ledger(namespace)
        ask = ledger._store.ask

        def asked(statement: Statement, namespace: str, columns: Columns, time_left: Callable[[], float]) -> Rows:
            more = {name: [*column, column[0]] for name, column in columns.items()} | {"job": [*columns["job"], "~"]}
            return [row for row in ask(statement, namespace, more, time_left) if row[0] != "~"]

        ledger._store.ask = asked  # type: ignore[method-assign]
        return ledger
