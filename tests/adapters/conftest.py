"""The database that workers share, one for the whole session."""

from __future__ import annotations

from tests.ledgers.postgres_server import own_postgres, postgres

__all__ = ("own_postgres", "postgres")
