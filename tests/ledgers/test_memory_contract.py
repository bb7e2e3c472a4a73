"""The ledger contract, passed by `MemoryLedger` on a fake clock and on the system's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from loopcron import MemoryLedger
from loopcron._instants import to_ms
from loopcron.testing import FakeClock, LedgerContract


def test_ledger_is_to_be_said() -> None:
    """A subclass has to say how a ledger is made."""
    with pytest.raises(NotImplementedError):
        LedgerContract().make_ledger("contract")


class TestOnFakeClock(LedgerContract):
    """A store whose time the cases move; a namespace is a ledger of its own."""

    @pytest.fixture(autouse=True)
    def store(self) -> None:
        self.clock = FakeClock()
        self.ledgers: dict[str, MemoryLedger] = {}

    def make_ledger(self, namespace: str) -> MemoryLedger:
        return self.ledgers.setdefault(namespace, MemoryLedger(self.clock))

    def store_now(self) -> int:
        return to_ms(self.clock.now())

    async def let_pass(self, milliseconds: int) -> None:
        self.clock.jump_wall(timedelta(milliseconds=milliseconds))

    async def wipe(self) -> bool:
        for ledger in self.ledgers.values():
            ledger._entries.clear()
        return True


class TestOnSystemClock(LedgerContract):
    """As an app has it: leases end in real time, and there is one ledger, which all its users share."""

    has_namespaces = False

    @pytest.fixture(autouse=True)
    def store(self) -> None:
        self.only = MemoryLedger()

    def make_ledger(self, namespace: str) -> MemoryLedger:
        return self.only
