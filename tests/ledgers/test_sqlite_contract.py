"""The ledger contract, passed by `SqliteLedger` on a file of its own for every case."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from loopcron.ledgers import SqliteLedger
from loopcron.testing import LedgerContract


class TestSqliteLedger(LedgerContract):
    """Workers are ledgers on one file."""

    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path) -> None:
        self.path = tmp_path / "loopcron.db"

    def make_ledger(self, namespace: str) -> SqliteLedger:
        return SqliteLedger(self.path, namespace=namespace)

    async def wipe(self) -> bool:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("delete from loopcron_slot")
        return True
