"""Ledgers: the memory of slots, one file per store, one contract (`loopcron.Ledger`)."""

from __future__ import annotations

from loopcron.ledgers.memory import MemoryLedger as MemoryLedger

__all__ = ("MemoryLedger",)
