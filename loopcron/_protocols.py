"""All that a user may implement: Job, Clock, Transport, Ledger, Observer. Contracts only, no code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from loopcron._events import Answer, Claim, Event, Finish, Register
    from loopcron._http import Request, Response
    from loopcron._outcomes import Outcome, Run
    from loopcron._policies import Policy
    from loopcron._schedules import Schedule


class Job(Protocol):
    """A named unit of work: when, how, and what."""

    @property
    def name(self) -> str:
        """Matches ``[A-Za-z0-9][A-Za-z0-9._-]{0,63}``; permanent, because it is the key in the ledger."""
        ...

    @property
    def schedule(self) -> Schedule:
        """When it runs."""
        ...

    @property
    def policy(self) -> Policy:
        """How late, how long, how often again."""
        ...

    async def run(self, run: Run, /) -> Outcome | None:
        """
        Do the work for one slot.

        Returns:
            An `Outcome` to choose it; anything else counts as `Succeeded` and is dropped.

        Raises:
            Exception: Any: it becomes `Failed`. ``SystemExit`` too; ``KeyboardInterrupt`` is recorded and let out.

        Cancellation:
            Comes at the deadline, at `remove`, and at the end of the drain. A run that swallows it is reported as
            stuck after two seconds and no longer waited for.
        """
        ...


class Clock(Protocol):
    """The only source of now and of sleeping."""

    def now(self) -> datetime:
        """Return the wall clock: aware, any timezone; it may step in either direction."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary origin; never goes back, and may stop while the machine sleeps."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Return after about *seconds*, 0 or more; it may return early, never raises for 0, and is cancellable."""
        ...


class Transport(Protocol):
    """Carries one HTTP request to the app and brings the response back."""

    async def send(self, request: Request, /) -> Response:
        """
        Make one attempt; no retry, no redirect, no timer of its own.

        Raises:
            TransportError: No response; nothing else may escape, and the error shows nothing of the request.

        Cancellation:
            Ends within 0.5 s at any point, and leaves no connection behind.
        """
        ...


class Ledger(Protocol):
    """
    The memory of slots, shared by workers and replicas. Every call takes many jobs and costs one round trip.

    A lost race is an answer, never an error; whatever a call raises means that the store could not be asked.
    """

    async def register(self, jobs: Sequence[Register], /) -> Sequence[int]:
        """
        Make a row for each job that has none, and return each job's watermark in ms, in the order given.

        A new row's watermark is what the registration says, or else the store's own now: a new job has no past.

        A row that is there stays as it is, with one exception: where ``corrected`` is set and the rows are forgotten
        with the process, a row above that watermark is lowered to it, and its fence is kept. A ledger that keeps rows
        over restarts must not lower them, because other processes may have run those slots: it answers with what it
        has, and health says how far ahead that is.
        """
        ...

    async def claim(self, claims: Sequence[Claim], /) -> Sequence[Answer]:
        """
        Ask for the right to run each slot, and return the answers in the order given.

        A slot is won at most once, and only above the watermark; the fence rises with every win; repeating a claim
        id repeats its answer.
        """
        ...

    async def finish(self, finishes: Sequence[Finish], /) -> None:
        """Record each outcome in the row, where the fence is still the row's; a newer fence makes it a no-op."""
        ...


class Observer(Protocol):
    """
    Is told of every event, on the loop and in order.

    It must not block: one slower than 50 ms is reported, and disabled after three times in a row; one that raises
    is reported and disabled likewise. An observer that does I/O puts the event into a bounded queue of its own and
    serves it in an ``async run()`` besides, which the scheduler starts and restarts under its supervisor.
    """

    def on_event(self, event: Event, /) -> None:
        """Take note of *event*."""
        ...


class Service(Protocol):
    """The other half of an observer that does I/O."""

    async def run(self) -> None:
        """
        Serve the observer's queue for as long as the scheduler lives.

        Begun when the scheduler starts, begun anew with a back-off when it raises, and cancelled after the last run
        has ended; returning early is for good.
        """
        ...
