"""The servers on which the ledgers are tested: one of each kind for the whole session."""

from __future__ import annotations

from tests.ledgers.postgres_server import own_postgres, pgbouncer, postgres

__all__ = ("own_postgres", "pgbouncer", "postgres")
