"""
Carries calls to the ledger, one at a time, and answers back to the timetable.

On a task of its own, so that a slow store holds up no timeout, no retry and no other job. What waits together goes
in one call; what a call raises means that the store could not be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, final

import anyio

from loopcron._events import Answered, Fact, LedgerFailed, LedgerRecovered, Registered, Renewed
from loopcron._ledger import ANSWERS, BATCH, Claim, Finish, Pause, Register, Renew, Row, Unavailable, batch_size
from loopcron._outcomes import error_text
from loopcron._spawn import is_stray

if TYPE_CHECKING:
    from loopcron._ledger import Answer
    from loopcron._protocols import Ledger

REPEAT_SECONDS: Final = 60.0
"""How often a store that is down is told of: it is asked far more often."""
LATE_SECONDS: Final = 30.0
"""For how long a call may go without an answer before that counts as a failure: a store has time-outs of its own."""

Asked = Register | Claim | Renew | Finish | Pause

_Item = TypeVar("_Item", bound=Asked)
_Answer = TypeVar("_Answer")


@final
class Courier:
    """
    The queues in front of a ledger.

    Args:
        ledger: Whom to ask.
        tell: Takes the answers, as facts for the timetable.
        report: Takes the events of calls that fail, and that no longer do.
        monotonic: The scheduler's clock, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        tell: Callable[[Fact], object],
        report: Callable[[LedgerFailed | LedgerRecovered], object],
        monotonic: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._tell = tell
        self._trouble = _Trouble(report, monotonic)
        self._monotonic = monotonic
        self._owed_since = 0.0
        """Since when the next answer is waited for, in seconds, unless nothing is."""
        self._call = ""
        """What is under way."""
        self._batch: Final = batch_size(shared=ledger.is_shared)
        self._renewals: _Queue[Renew] = _Queue(self._batch)
        self._registers: _Queue[Register] = _Queue(BATCH)  # starts no run, so there is nothing to do in small portions
        self._claims: _Queue[Claim] = _Queue(self._batch)
        self._finishes: _Queue[Finish] = _Queue(self._batch)
        self._pauses: _Queue[Pause] = _Queue(self._batch)
        self._queues: dict[type, _Queue[Any]] = {
            Renew: self._renewals,
            Register: self._registers,
            Pause: self._pauses,
            Claim: self._claims,
            Finish: self._finishes,
        }
        self._under_way: list[Claim] = []
        self._asking = False

    def take(self, action: Asked) -> None:
        """Queue *action*."""
        self._queues[type(action)].new.append(action)

    def begin(self) -> None:
        """Take note that something is queued that nobody has been told of before."""
        if not self._asking:
            self._owed_since = self._monotonic()

    @property
    def trouble(self) -> Trouble | None:
        """What calls fail at present; None: all were answered the last time."""
        return self._trouble.now

    @property
    def waiting(self) -> bool:
        """Whether something is queued that was not tried yet."""
        return any(queue.new for queue in self._queues.values())

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return not (self._asking or self.waiting)

    def look(self, until: float) -> None:
        """
        Take an answer that does not come for a failure, or a store that hangs would be silent; to be called often.

        Args:
            until: When the event loop was last seen to run, in seconds; while it is blocked no store can be blamed.
        """
        if not self.idle and until - self._owed_since > LATE_SECONDS:
            self._owed_since = until
            self._trouble.met(self._call or "begin", f"no answer for more than {LATE_SECONDS:.0f} s")

    def retry(self) -> None:
        """Queue what could not be written once more, because nothing may come that it could go along with."""
        self._pauses.retry()
        self._finishes.retry()

    def give_up(self) -> list[Claim]:
        """Wait for no answer any more, and return the claims that have none."""
        unanswered = list(dict.fromkeys(self._under_way + self._claims.new))  # one that was cut is in both
        self._under_way, self._claims.new = [], []
        return unanswered

    async def deliver(self) -> None:
        """
        Ask the ledger until nothing is queued.

        Renewals go first, because runs end without them; then registrations, pauses, which claims must not overtake,
        and claims, for which runs wait. Outcomes come last, but before a claim of the same job, which would find its
        lease; those and pauses that could not be written go along the next time.

        Cancellation:
            What is under way is queued again: asking twice gets the same answer.
        """
        self._asking = True
        self._finishes.is_owed, self._pauses.is_owed = bool(self._finishes.kept), bool(self._pauses.kept)
        try:
            while self.waiting:
                if self._renewals.new:
                    await self._renew()
                elif self._registers.new:
                    await self._register()
                elif self._pauses.new or self._pauses.is_owed:
                    await self._pause()
                elif self._finishes.is_owed or self._holds_itself():
                    await self._finish()
                elif self._claims.new:
                    await self._claim()
                else:
                    await self._finish()
                if self.waiting:  # a store that answers at once would start 100,000 runs in one go
                    await anyio.lowlevel.checkpoint()
        finally:
            self._asking = False

    def _holds_itself(self) -> bool:
        """Return whether a lease of ours that is to be given back would keep us from a claim of the next call."""
        if not self._ledger.is_shared:
            return False  # then there are none
        claimed = {claim.job for claim in self._claims.new[: self._batch]}
        return any(finish.job in claimed for finish in self._finishes.new)

    async def _renew(self) -> None:
        with self._renewals.batch() as renewals:
            answers = await self._ask("renew", self._ledger.renew, renewals, (bool,))
        self._tell(Renewed(renewals, answers))

    async def _register(self) -> None:
        with self._registers.batch() as registers:
            answers = await self._ask("register", self._ledger.register, registers, (Row, Unavailable))
        self._meet("register", answers or ())
        told: Sequence[object] = [None] * len(registers) if answers is None else answers
        rows = [answer if isinstance(answer, Row) else None for answer in told]
        self._tell(Registered([register.job for register in registers], rows))

    async def _pause(self) -> None:
        with self._pauses.batch() as pauses:
            newest = list({pause.job: pause for pause in pauses}.values())
            if not await self._write("pause", self._ledger.pause, newest):
                self._pauses.keep(newest)

    def _refuse(self, jobs: set[str]) -> None:
        """Ask for no slot of a job whose pause is not written yet: the answer would be one to another question."""
        refused = [claim for claim in self._claims.new if claim.job in jobs]
        self._claims.new = [claim for claim in self._claims.new if claim.job not in jobs]
        self._tell(Answered(refused, [Unavailable("its pause could not be written")] * len(refused)))

    async def _claim(self) -> None:
        if self._pauses.kept:
            self._refuse({pause.job for pause in self._pauses.kept})
            if not self._claims.new:
                return
        with self._claims.batch() as claims:
            self._under_way = claims
            answers: Sequence[Answer] | None = await self._ask("claim", self._ledger.claim, claims, ANSWERS)
        if self._under_way is claims:  # else they were given up
            self._under_way = []
            self._meet("claim", answers or ())
            self._tell(Answered(claims, answers or [Unavailable("")] * len(claims)))

    def _meet(self, call: str, answers: Iterable[object]) -> None:
        """Take note of what could not be asked alone."""
        if Unavailable not in map(type, answers):
            return
        for error in dict.fromkeys(answer.error for answer in answers if isinstance(answer, Unavailable)):
            self._trouble.met(call, error)

    async def _finish(self) -> None:
        with self._finishes.batch() as finishes:
            if not await self._write("finish", self._ledger.finish, finishes):
                self._finishes.keep(finishes)

    async def _ask(
        self,
        call: str,
        method: Callable[[Sequence[_Item]], Awaitable[Sequence[_Answer]]],
        items: Sequence[_Item],
        kinds: tuple[type, ...],
    ) -> Sequence[_Answer] | None:
        try:
            with self._under(call):
                answers = list(await method(items))
        except BaseException as error:  # noqa: BLE001 - see there
            self._failed(call, error)
            return None
        found = set(map(type, answers))  # by type, because to look at each answer is a twentieth of a run
        if len(answers) != len(items) or not found.issubset(kinds):
            self._trouble.met(call, f"{len(items)} answers of {kinds[0].__name__} were due, got others")
            return None
        if Unavailable not in found:
            self._trouble.over(call)
        return answers

    async def _write(
        self, call: str, method: Callable[[Sequence[_Item]], Awaitable[object]], items: Sequence[_Item]
    ) -> bool:
        try:
            with self._under(call):
                await method(items)
        except BaseException as error:  # noqa: BLE001 - see there
            self._failed(call, error)
            return False
        self._trouble.over(call)
        return True

    @contextmanager
    def _under(self, call: str) -> Iterator[None]:
        """Measure how long the answer to a call takes."""
        self._call, self._owed_since = call, self._monotonic()
        try:
            yield
        finally:
            self._call, self._owed_since = "", self._monotonic()

    def _failed(self, call: str, error: BaseException) -> None:
        """Report what a call raised, a fence of design section 6; a cancellation of ours is let through."""
        if not (isinstance(error, Exception) or is_stray(error)):
            raise error
        self._trouble.met(call, error_text(error))


@final
class _Queue(Generic[_Item]):
    """What is to be asked, so many in one call, and what could not be written and goes along the next time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.new: list[_Item] = []
        self.kept: list[_Item] = []
        self.is_owed = False
        """Whether what is kept has not been tried again since something else is asked."""
        self._behind = 0
        """How many of the new ones waited when a batch was taken that had no room for them."""

    @contextmanager
    def batch(self) -> Iterator[list[_Item]]:
        """Take what goes in one call, the kept ones first; put it back if the call is cut."""
        self.new[:0] = self.kept
        size = self._size
        batch = self.new[:size]
        del self.new[:size]  # in place, for a copy of the rest touches each action of a long queue once per batch
        self.kept, self.is_owed, self._behind = [], False, len(self.new)
        try:
            yield batch
        except BaseException:
            self.new[:0] = batch
            raise

    def keep(self, failed: list[_Item]) -> None:
        """
        Let what could not be written go along the next time, and what stands behind it too.

        The newest of each job only, which is what the row could show: a store may be down for days.
        """
        behind, self.new = self.new[: self._behind], self.new[self._behind :]
        self.kept = list({item.job: item for item in failed + behind}.values())

    def retry(self) -> None:
        """Let what is kept be new."""
        self.new, self.kept = self.kept + self.new, []


class Trouble(NamedTuple):
    """Calls to the ledger that fail."""

    why: str
    since: float
    """On the scheduler's monotonic clock, in seconds."""
    failures: int


@final
class _Trouble:
    """Tells of a store that cannot be asked: once, when the reason changes, and then every minute."""

    def __init__(
        self, report: Callable[[LedgerFailed | LedgerRecovered], object], monotonic: Callable[[], float]
    ) -> None:
        self._report = report
        self._monotonic = monotonic
        self._failing: dict[str, Trouble] = {}
        """By call, the one that failed last being the last."""
        self._is_renew_past = False
        self.now: Trouble | None = None
        """Of all calls; replaced whole, because other threads look."""
        self._told: dict[tuple[str, str], float] = {}

    def met(self, call: str, error: str) -> None:
        """Take note of a call that failed."""
        now = self._monotonic()
        _, since, failures = self._failing.pop(call, Trouble("", now, 0))
        self._failing[call] = Trouble(error, since, failures + 1)
        if call == "renew":
            self._is_renew_past = False
        self._sum_up()
        last = self._told.get((call, error))
        if last is None or now - last >= REPEAT_SECONDS:
            if len(self._told) >= BATCH:  # an error that says something else each time is told each time
                self._told.clear()
            self._told[call, error] = now
            self._report(LedgerFailed(call, error))

    def over(self, call: str) -> None:
        """Take note of a call that was answered."""
        if not self._failing:
            return
        failing = self._failing.pop(call, None)
        if call == "claim":  # then renewals would be answered too, but nothing may be renewed for days
            self._is_renew_past = True
        self._sum_up()
        if failing is not None:
            self._report(LedgerRecovered(call, failing.failures))
            self._told = {told: at for told, at in self._told.items() if told[0] != call}

    def _sum_up(self) -> None:
        failing = [met for call, met in self._failing.items() if not (call == "renew" and self._is_renew_past)]
        if not failing:
            self.now = None
            return
        since, failures = min(met.since for met in failing), sum(met.failures for met in failing)
        self.now = Trouble(failing[-1].why, since, failures)
