"""
What each case of the ledger contract stands on: how a ledger is had, how the store's time passes, and short questions.

Nothing in here knows how fast the machine is: a lease that must live is long, and one that must end is waited for by
asking the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final
from uuid import uuid4

import anyio
import pytest

from loopcron._clock import SystemClock
from loopcron._instants import to_ms
from loopcron._ledger import Answer, Claim, Finish, Register, Renew, Row, Won
from loopcron._outcomes import Outcome, Succeeded

if TYPE_CHECKING:
    from loopcron._protocols import Ledger

LEASE: Final = 60_000
"""A lease that does not end while a case runs."""
SHORT: Final = 20
"""A lease that a case waits for the end of."""
ROOM: Final = 1000
"""How far behind the store's now `LedgerCase.begin` puts its watermarks: so many slots can be claimed at once."""
ROUNDING: Final = 1
"""By how many ms two instants of the store may differ because one was rounded and the other cut."""
_PATIENCE: Final = 200
"""How often the store is asked whether a lease has ended or time has passed, before the case gives up."""


class LedgerCase:
    """How the cases get at ledgers; what a subclass of `LedgerContract` supplies or may change."""

    pytestmark = pytest.mark.anyio

    has_namespaces: ClassVar[bool] = True
    """False for a ledger whose rows are in no namespace, so that `make_ledger` has nothing to do with its argument."""

    def make_ledger(self, namespace: str) -> Ledger:
        """
        Return a ledger on this test's store, which is empty when the test begins.

        Called several times in a test, for as many workers: those of one namespace see the same rows. pytest makes
        an instance of the class for every test, so a fixture may put onto ``self`` what names the store. The cases
        close what they were given. Where calls have a time limit, set a long one: a slow machine is no fault.
        """
        raise NotImplementedError

    def store_now(self) -> int:
        """Return what the store's clock shows, in ms; to be overridden where it is not this machine's."""
        return to_ms(SystemClock().now())

    async def let_pass(self, milliseconds: int) -> None:
        """Let so much of the store's time pass; to be overridden where its clock can be moved."""
        await anyio.sleep(milliseconds / 1000)

    async def wipe(self) -> bool:
        """Delete all rows behind the ledgers' back, and return True; to be overridden where a test can do that."""
        return False

    @pytest.fixture
    async def ledger(self) -> AsyncIterator[Ledger]:
        """Give a ledger on an empty store, and close it in the end along with those that `another` gave."""
        self._opened: list[Ledger] = []
        yield self.another()
        for opened in self._opened:
            await opened.close()

    def another(self, namespace: str = "contract") -> Ledger:
        """Return one more ledger on the store."""
        made = self.make_ledger(namespace)
        self._opened.append(made)
        return made

    async def expire(self, ledger: Ledger, job: str = "job") -> None:
        """Wait until the job's lease is over by the store's clock."""
        for _ in range(_PATIENCE):
            row = await look(ledger, job)
            assert row.lease is not None, "there is no lease that could end"
            if row.lease <= 0:
                return
            await self.let_pass(row.lease)
        pytest.fail(f"a lease of {SHORT} ms has not ended, although the store's time was let pass {_PATIENCE} times")

    async def reach(self, ledger: Ledger, instant: int) -> None:
        """Wait until the store's now is after *instant*."""
        for _ in range(_PATIENCE):
            now = await now_of(ledger)
            if now > instant:
                return
            await self.let_pass(instant - now + 1)
        pytest.fail(f"the store's time stands still, although it was let pass {_PATIENCE} times")


async def now_of(ledger: Ledger) -> int:
    """Return the store's now as the ledger tells it: a new job begins there."""
    (row,) = await register(ledger, Register(f"now-{uuid4().hex}", 0, None))
    return row.watermark


async def begin(ledger: Ledger, *jobs: str) -> int:
    """Register jobs ("job" if none is named), and return the watermark of all: `ROOM` slots after it have come."""
    mark = await now_of(ledger) - ROOM
    await register(ledger, *(Register(job, 0, mark) for job in jobs or ("job",)))
    return mark


async def ask(ledger: Ledger, slot: int, claim_id: str, lease: int | None = LEASE, job: str = "job") -> Answer:
    """Claim one slot."""
    (answer,) = await ledger.claim([Claim(job, slot, claim_id, lease)])
    return answer


async def win(ledger: Ledger, slot: int, claim_id: str = "a", lease: int | None = LEASE, job: str = "job") -> Won:
    """Claim one slot, which has to be won."""
    answer = await ask(ledger, slot, claim_id, lease, job)
    assert isinstance(answer, Won), f"slot {slot} of {job} was to be won, and the answer is {answer}"
    return answer


async def renew(ledger: Ledger, slot: int, fence: int, lease: int = LEASE, job: str = "job") -> bool:
    """Renew one lease."""
    (renewed,) = await ledger.renew([Renew(job, slot, fence, lease)])
    return renewed


_SUCCEEDED: Final = Succeeded()


async def finish(ledger: Ledger, slot: int, fence: int, outcome: Outcome = _SUCCEEDED, job: str = "job") -> bool:
    """Write one outcome."""
    (written,) = await ledger.finish([Finish(job, slot, fence, outcome)])
    return written


async def register(ledger: Ledger, *jobs: Register) -> list[Row]:
    """Register these jobs and return their rows."""
    rows: list[Row] = []
    for row in await ledger.register(jobs):
        assert isinstance(row, Row), row
        rows.append(row)
    return rows


async def look(ledger: Ledger, job: str = "job") -> Row:
    """Return the job's row, which has to be there."""
    (row,) = await ledger.peek([job])
    assert row is not None, f"there is no row of {job}"
    return row


def timeless(row: Row) -> Row:
    """Return the row without what changes by itself: how long its lease goes on."""
    return row if row.lease is None else row._replace(lease=0)


async def together(*calls: Callable[[], Awaitable[Sequence[Answer]]]) -> list[Sequence[Answer]]:
    """Make all calls at once, and return their answers in the calls' order."""
    answers: list[Sequence[Answer]] = [()] * len(calls)

    async def one(number: int, call: Callable[[], Awaitable[Sequence[Answer]]]) -> None:
        answers[number] = await call()

    async with anyio.create_task_group() as group:
        for number, call in enumerate(calls):
            group.start_soon(one, number, call)
    return answers
