"""
The receiver's side of the slot lease: lets a request in at an endpoint, and holds the slot for one from outside.

It asks the ledger and acts on the answers; what they mean is decided in ``_admission``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, final

import anyio
import anyio.lowlevel

from loopcron._admission import (
    Ticket,
    check_answer,
    check_fence,
    lease_of,
    newest_slot,
    read_ticket,
    unreachable,
)
from loopcron._clock import SystemClock
from loopcron._errors import ConfigError, FencedError, SchedulerClosedError, SlotRefusedError, UnknownJobError
from loopcron._http import Response
from loopcron._instants import from_ms, iso, to_ms
from loopcron._jobs import SUCCESS, outcome_of
from loopcron._kept_lease import Hands, KeptLease, read_hands
from loopcron._ledger import ANSWERS, Answer, Claim, Finish, Unavailable
from loopcron._outcomes import Failed, Outcome, Succeeded, error_text

if TYPE_CHECKING:
    from loopcron._protocols import Clock, Job, Ledger
    from loopcron._scheduler import Scheduler

ASKS: Final = 2
"""How often a claim is asked for: an answer that was lost on its way is repeated for the same claim id."""

_logger: Final = logging.getLogger("loopcron")
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@final
class SlotPass:
    """
    What a request that was let in may know of its run; valid until the endpoint returns.

    An endpoint that writes the outcome itself, such as in its own transaction, sets `finished`.
    """

    __slots__ = ("_slot", "caller", "fence", "finished", "job", "status")

    def __init__(self, job: str, slot: int, fence: int, caller: Literal["scheduler", "manual", "outside"]) -> None:
        self.job: Final = job
        self._slot = slot
        self.fence: Final = fence
        """Of the claim: a write that is older than the newest fence seen is a zombie's. 0: there is no claim."""
        self.caller: Final = caller
        """Whose run it is: a scheduler's, for a slot; a scheduler's, because somebody asked for it; the guard's own,
        for a caller from outside, or for a scheduler that fired without the ledger."""
        self.status: int | None = None
        """The HTTP status of the endpoint's answer, from which the outcome follows; adapters set it."""
        self.finished: bool = False
        """Whether the outcome is in the ledger already, so that the guard has none to write."""

    @property
    def slot(self) -> datetime:
        """The instant that the schedule named, aware, in UTC; of a manual run the instant it was asked for."""
        return from_ms(self._slot)

    @property
    def key(self) -> str:
        """The idempotency key of a slot's run: ``<job>@<slot>``."""
        return f"{self.job}@{iso(self._slot)}"

    def __repr__(self) -> str:
        return f"<SlotPass {self.key}, {self.caller}>"


@final
class SlotGuard:
    """
    Stands in front of the endpoint that a job calls, so that each slot runs once, whoever calls first.

    A scheduler's request is let in unless its fence is stale: then the job was claimed anew since, and the request
    comes from a worker that was thought dead. A request without loopcron's headers comes from outside, such as from
    curl or a CronJob: the guard claims the newest slot for it, holds the lease while the endpoint runs, and writes the
    outcome. Manual runs have no slot, and are let in.

    It is no authentication, because whoever can send a request can send these headers: put it behind yours.

    Args:
        ledger: The one that the job's schedulers share. None: there is none now; treated as one that is down.
        job: Whose schedule names the slots.
        clock: By which the newest slot is found and the lease is kept; the system's if left out.
        on_ledger_error: What becomes of a request while the ledger cannot be asked: ``skip`` refuses it with 503,
            ``fire`` lets it in, for endpoints that hold a lock of their own.

    Raises:
        ConfigError: *on_ledger_error* is neither.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        job: Job,
        *,
        clock: Clock | None = None,
        on_ledger_error: Literal["skip", "fire"] = "skip",
    ) -> None:
        if on_ledger_error not in ("skip", "fire"):
            raise ConfigError("on_ledger_error", on_ledger_error, "must be 'skip' or 'fire'")
        self._ledger = ledger
        self._job = job
        self._clock: Clock = SystemClock() if clock is None else clock
        self._fires = on_ledger_error == "fire"

    @classmethod
    def of(cls, scheduler: Scheduler, name: str, *, on_ledger_error: Literal["skip", "fire"] = "skip") -> Self:
        """
        Return a guard for the job of this name of *scheduler*, with that one's ledger and clock.

        Raises:
            UnknownJobError: There is no such job.
            ConfigError: *on_ledger_error* is neither.
        """
        jobs = {job.name: job for job in scheduler.jobs}
        if name not in jobs:
            raise UnknownJobError(name, tuple(jobs))
        try:
            ledger: Ledger | None = scheduler.ledger
        except SchedulerClosedError:
            ledger = None
        return cls(ledger, jobs[name], clock=scheduler.clock, on_ledger_error=on_ledger_error)

    @asynccontextmanager
    async def admit(self, headers: Iterable[tuple[str, str]]) -> AsyncIterator[SlotPass]:
        """
        Let a request with these headers in, for as long as the block runs.

        What the block raises means that the run has failed, unless the pass has a status; it is raised on.

        Args:
            headers: All of them, as pairs, so that one that is given twice is seen.

        Raises:
            SlotRefusedError: The request must not run; answer with its status, headers and body. ``lease_lost`` and
                ``ledger`` also come when the lease ended meanwhile and the block was cancelled for it, ``stale`` when
                the block has raised `FencedError`.

        Cancellation:
            Ends the block at once; the outcome is written all the same, within the ledger's own limit.
        """
        name = self._job.name
        ticket = read_ticket(name, headers)
        if ticket is not None and ticket.is_manual:
            yield SlotPass(name, ticket.slot, 0, "manual")
        elif ticket is not None and ticket.fence:
            await self._check_fence(ticket)
            with _told_when_fenced(name):
                yield SlotPass(name, ticket.slot, ticket.fence, "scheduler")
        else:
            slot = newest_slot(name, self._job.schedule, to_ms(self._clock.now())) if ticket is None else ticket.slot
            with _told_when_fenced(name):
                async with self._holding(slot) as slot_pass:
                    yield slot_pass

    async def _check_fence(self, ticket: Ticket) -> None:
        name = self._job.name
        try:
            row = await _ask(self._known_ledger().peek, name)
        except Exception as error:  # noqa: BLE001 - whatever a ledger raises: it could not be asked
            self._without_ledger(error_text(error))
        else:
            check_fence(name, ticket, row, self._job.policy.overlap)

    @asynccontextmanager
    async def _holding(self, slot: int) -> AsyncIterator[SlotPass]:
        """Claim *slot*, and hold it while the block runs."""
        name, policy = self._job.name, self._job.policy
        lease_ms = lease_of(name, self._job.schedule, policy.overlap, slot)
        claim = Claim(name, slot, f"outside-{os.urandom(16).hex()}", lease_ms)
        answer, asked = await self._claim(claim)
        if isinstance(answer, Unavailable):
            self._without_ledger(answer.error)
            yield SlotPass(name, slot, 0, "outside")
            return
        slot_pass = SlotPass(name, slot, check_answer(name, answer).fence, "outside")
        lease = KeptLease(self._known_ledger(), self._clock, claim, slot_pass.fence, asked)
        error: BaseException | None = None
        try:
            with lease.kept() as scope:
                try:
                    await anyio.lowlevel.checkpoint()  # where an answer came too late to be relied on, this is the end
                    yield slot_pass
                except BaseException as raised:
                    error = raised
                    raise
        finally:
            with anyio.CancelScope(shield=True):
                await lease.end()
                if not slot_pass.finished and lease.refusal is None:
                    await self._finish(slot_pass, self._outcome(slot_pass.status, error))
        if scope.cancelled_caught and lease.refusal is not None:
            raise lease.refusal

    async def _claim(self, claim: Claim) -> tuple[Answer, Hands]:
        """Return the ledger's answer, and what the clock showed before it can have been given."""
        for _ in range(ASKS):
            asked = read_hands(self._clock)
            try:
                answer = await _ask(self._known_ledger().claim, claim)
            except Exception as error:  # noqa: BLE001 - whatever a ledger raises: it could not be asked
                answer = Unavailable(error_text(error))
            if not isinstance(answer, ANSWERS):
                answer = Unavailable("its answer is none that there is")
            if not isinstance(answer, Unavailable):
                break
        return answer, asked

    async def _finish(self, slot_pass: SlotPass, outcome: Outcome) -> None:
        finish = Finish(slot_pass.job, to_ms(slot_pass.slot), slot_pass.fence, outcome)
        try:
            written = await _ask(self._known_ledger().finish, finish)
            trouble = "somebody else has claimed the job, or written an outcome"
        except Exception as error:  # noqa: BLE001 - the endpoint's answer is not to be lost for it
            written, trouble = False, error_text(error)
        if not written:
            _logger.warning("%s: the outcome could not be written to the ledger: %s", slot_pass.key, trouble)

    def _outcome(self, status: int | None, error: BaseException | None) -> Outcome:
        if status is not None:
            return outcome_of(Response(status), getattr(self._job, "expected", SUCCESS))
        if error is None:
            return Succeeded()
        return Failed("job", error_text(error)) if isinstance(error, Exception) else Failed("endpoint", "cancelled")

    def _known_ledger(self) -> Ledger:
        if self._ledger is None:
            raise SchedulerClosedError("the scheduler does not run")
        return self._ledger

    def _without_ledger(self, error: str) -> None:
        """Refuse the request, or let it in where that was chosen."""
        if not self._fires:
            raise unreachable(self._job.name) from None
        _logger.warning("%s: let in without the ledger: %s", self._job.name, error)


@contextmanager
def _told_when_fenced(job: str) -> Iterator[None]:
    """Refuse the request where its own transaction has found that the run is not the job's newest any more."""
    try:
        yield
    except FencedError:
        raise SlotRefusedError(job, "stale", "the job was claimed anew while this run went on") from None


async def _ask(call: Callable[[Sequence[_Item]], Awaitable[Sequence[_Answer]]], item: _Item) -> _Answer:
    """Ask for one thing, uncut: what a call that was given up has done, nobody would know."""
    with anyio.CancelScope(shield=True):
        [answer] = await call([item])
    return answer
