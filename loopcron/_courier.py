"""
Carries calls to the ledger, one at a time, and answers back to the timetable.

On a task of its own, so that a slow store holds up no timeout, no retry and no other job. What waits together goes
in one call; what a call raises means that the store could not be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar, final

from loopcron._events import Answered, Claim, Fact, Finish, LedgerFailed, Lost, Register, Registered, Won
from loopcron._outcomes import error_text
from loopcron._spawn import is_stray

if TYPE_CHECKING:
    from loopcron._protocols import Ledger

BATCH: Final = 500
"""How many jobs one call takes; PostgreSQL plans a longer statement badly, and Redis answers nobody else meanwhile."""

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@final
class Courier:
    """
    The queue in front of a ledger.

    Args:
        ledger: Whom to ask.
        tell: Takes the answers, as facts for the timetable.
        report: Takes the event of a failed call.
    """

    def __init__(
        self,
        ledger: Ledger,
        tell: Callable[[Fact], object],
        report: Callable[[LedgerFailed], object],
    ) -> None:
        self._ledger = ledger
        self._tell = tell
        self._report = report
        self._registers: list[Register] = []
        self._claims: list[Claim] = []
        self._finishes: list[Finish] = []
        self._under_way: list[Claim] = []
        self._asking = False

    def take(self, action: Register | Claim | Finish) -> None:
        """Queue *action*."""
        if isinstance(action, Claim):
            self._claims.append(action)
        elif isinstance(action, Finish):
            self._finishes.append(action)
        else:
            self._registers.append(action)

    @property
    def waiting(self) -> bool:
        """Whether something is queued."""
        return bool(self._claims or self._finishes or self._registers)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return not (self._asking or self.waiting)

    def give_up(self) -> list[Claim]:
        """Wait for no answer any more, and return the claims that have none."""
        unanswered = self._under_way + self._claims
        self._under_way, self._claims = [], []
        return unanswered

    async def deliver(self) -> None:
        """
        Ask the ledger until nothing is queued. Registrations go first, then claims, for which
        runs wait.

        Cancellation:
            What is under way is queued again: asking twice gets the same answer.
        """
        self._asking = True
        try:
            while self.waiting:
                if self._registers:
                    await self._register()
                elif self._claims:
                    await self._claim()
                else:
                    await self._finish()
        finally:
            self._asking = False

    async def _register(self) -> None:
        registers = _first(self._registers)
        with _kept(registers, self._registers):
            marks = await self._ask("register", self._ledger.register, registers, (int,))
        self._tell(Registered([register.job for register in registers], marks))

    async def _claim(self) -> None:
        claims = self._under_way = _first(self._claims)
        with _kept(claims, self._claims):
            answers = await self._ask("claim", self._ledger.claim, claims, (Won, Lost))
        if self._under_way is claims:  # else they were given up
            self._under_way = []
            self._tell(Answered(claims, answers))

    async def _finish(self) -> None:
        finishes = _first(self._finishes)
        with _kept(finishes, self._finishes):
            try:
                await self._ledger.finish(finishes)
            except BaseException as error:  # noqa: BLE001 - see there
                self._failed("finish", error)

    async def _ask(
        self,
        call: str,
        method: Callable[[Sequence[_Item]], Awaitable[Sequence[_Answer]]],
        items: Sequence[_Item],
        kinds: tuple[type, ...],
    ) -> Sequence[_Answer] | None:
        try:
            answers = list(await method(items))
        except BaseException as error:  # noqa: BLE001 - see there
            self._failed(call, error)
            return None
        if len(answers) != len(items) or not all(isinstance(answer, kinds) for answer in answers):
            self._report(LedgerFailed(call, f"{len(items)} answers of {kinds[0].__name__} were due, got others"))
            return None
        return answers

    def _failed(self, call: str, error: BaseException) -> None:
        """Report what a call raised, a fence of design section 6; a cancellation of ours is let through."""
        if not (isinstance(error, Exception) or is_stray(error)):
            raise error
        self._report(LedgerFailed(call, error_text(error)))


@contextmanager
def _kept(batch: list[_Item], queue: list[_Item]) -> Iterator[None]:
    """Put *batch* back in front of its *queue* if the call is cut."""
    try:
        yield
    except BaseException:
        queue[:0] = batch
        raise


def _first(queue: list[_Item]) -> list[_Item]:
    batch = queue[:BATCH]
    del queue[:BATCH]
    return batch
