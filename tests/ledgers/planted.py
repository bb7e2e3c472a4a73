"""The honest ledger that the wrong ones are made of, and the contract's cases for ledgers of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from loopcron import MemoryLedger
from loopcron._instants import to_ms
from loopcron._ledger import (
    Answer,
    Claim,
    Finish,
    Pause,
    Register,
    Renew,
    Row,
)
from loopcron.ledgers.memory import _Entry
from loopcron.testing import FakeClock, LedgerContract


@dataclass
class Store:
    """What the ledgers of one test have in common: a clock, and a memory for each namespace."""

    clock: FakeClock = field(default_factory=FakeClock)
    memories: dict[str, MemoryLedger] = field(default_factory=dict)


class Honest:
    """A ledger without a fault, over a store of which others may have another one."""

    is_shared = True
    case: ClassVar[str]
    """Of a ledger with a planted fault: the case that has to notice it."""

    def __init__(self, store: Store, namespace: str) -> None:
        self.clock = store.clock
        self.memory = store.memories.setdefault(namespace, MemoryLedger(store.clock))

    @property
    def now(self) -> int:
        return to_ms(self.clock.now())

    def entry(self, job: str) -> _Entry | None:
        return self.memory._entry(job)

    def sure_entry(self, job: str) -> _Entry:
        return self.memory._sure_entry(job, self.now)

    def lease_of(self, job: str) -> int | None:
        entry = self.entry(job)
        return None if entry is None else entry.lease_until

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row]:
        return [self.register_one(job) for job in jobs]

    def register_one(self, job: Register) -> Row:
        return self.memory._register(job._replace(corrected=job.corrected and not self.is_shared), self.now)

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        return [self.claim_one(claim) for claim in claims]

    def claim_one(self, claim: Claim) -> Answer:
        return self.memory._claim(claim, self.now)

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        return [self.renew_one(renewal) for renewal in renewals]

    def renew_one(self, renewal: Renew) -> bool:
        return self.memory._renew(renewal, self.now)

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        return [self.finish_one(finish) for finish in finishes]

    def finish_one(self, finish: Finish) -> bool:
        return self.memory._finish(finish, self.now)

    async def pause(self, pauses: Sequence[Pause]) -> None:
        await self.memory.pause(pauses)

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        return await self.memory.peek(jobs)

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        return await self.memory.reset(jobs)

    async def close(self) -> None:
        await self.memory.close()


class Forgetful(Honest):
    """A ledger without a fault whose rows are forgotten with the process."""

    is_shared = False


class Suite(LedgerContract):
    """The contract's cases, for ledgers of one kind."""

    def __init__(self, kind: type[Honest]) -> None:
        self.kind = kind
        self.store = Store()

    def make_ledger(self, namespace: str) -> Honest:
        return self.kind(self.store, namespace)

    def store_now(self) -> int:
        return to_ms(self.store.clock.now())

    async def let_pass(self, milliseconds: int) -> None:
        self.store.clock.jump_wall(timedelta(milliseconds=milliseconds))

    async def wipe(self) -> bool:
        for memory in self.store.memories.values():
            memory._entries.clear()
        return True
