"""Ledgers: the memory of slots, one file per store, one contract (`loopcron.Ledger`)."""

from __future__ import annotations

from loopcron.ledgers._urls import open_ledger as open_ledger
from loopcron.ledgers.memory import MemoryLedger as MemoryLedger
from loopcron.ledgers.postgres import PostgresLedger as PostgresLedger
from loopcron.ledgers.redis import RedisLedger as RedisLedger
from loopcron.ledgers.sqlite import SqliteLedger as SqliteLedger

__all__ = ("MemoryLedger", "PostgresLedger", "RedisLedger", "SqliteLedger", "open_ledger")
