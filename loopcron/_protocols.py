"""All that a user may implement: Job, Clock, Transport, Ledger, Observer. Contracts only, no code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from loopcron._events import Event
    from loopcron._http import Request, Response
    from loopcron._ledger import Answer, Claim, Finish, Pause, Register, Renew, Row, Unavailable
    from loopcron._outcomes import Outcome, Run
    from loopcron._policies import Policy
    from loopcron._scheduler import Scheduler
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
    """
    Carries one HTTP request to the app and brings the response back.

    One that knows where its requests go may say so in an attribute ``origin``, such as ``http://127.0.0.1:8000``, or
    None while it does not know yet: for traces and metrics.
    """

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
    The memory of slots, shared by workers and replicas: one row per job, in the ledger's namespace.

    Every call takes many jobs, each at most once (`finish` and `renew`: each fence at most once), costs one round
    trip, answers in the order given, and ends within a limit of its own, in real time. A lost race is an answer, never
    an error; whatever a call raises means that the store could not be asked, or that nobody knows what it did.

    What holds at any time, whoever claims and whatever the clocks show:

    1. A row's watermark never falls, but by `reset` and by a correction; so a slot is won at most once.
    2. Its fence rises with every win, and is at least the store's now in ms: it rises even if the rows were lost.
    3. The store's own clock, and none of a caller, decides whether a lease is over and whether a slot has come.
    4. Only who holds the row's fence renews it or writes its outcome.
    5. Asking again with the same claim id repeats its answer.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other processes see the rows: then runs need leases, and a pause is everybody's."""
        ...

    async def register(self, jobs: Sequence[Register], /) -> Sequence[Row | Unavailable]:
        """
        Make a row for each job that has none, and return the rows; `Unavailable` for one that alone could not be asked.

        A new row's watermark is what the registration says, or else the store's own now: a new job has no past.

        A row that is there keeps its watermark, with one exception: where ``corrected`` is set and the rows are
        forgotten with the process, a row above that watermark is lowered to it, and its fence is kept. A ledger that
        keeps rows over restarts must not lower them, because other processes may have run those slots: it answers
        with what it has, and health says how far ahead that is. The schedule's text is replaced, unless the
        registration has none; the answer shows the one before.
        """
        ...

    async def claim(self, claims: Sequence[Claim], /) -> Sequence[Answer]:
        """
        Ask for the right to run each slot; the first that holds is the answer.

        1. The row's claim id is this one: `Won` with its fence; a lease that is not given back begins anew.
        2. The slot is at or below the watermark: `Lost`.
        3. The row is paused: `Paused`.
        4. The slot is more than `EARLY_MS` ahead of the store's now: `TooEarly`.
        5. The claim wants a lease, and the row's goes on: `Held`.
        6. `Won`. The slot is the watermark, the fence rises, a lease of this length begins, or none.

        A job without a row gets one. One that could not be asked alone is answered with `Unavailable`.
        """
        ...

    async def renew(self, renewals: Sequence[Renew], /) -> Sequence[bool]:
        """
        Let each lease begin anew; False where it is over, or the row has another fence.

        Where the outcome of this very fence is written there is none to renew, and the answer is True all the same:
        the endpoint has written it itself, in a transaction of its own, and may go on.
        """
        ...

    async def finish(self, finishes: Sequence[Finish], /) -> Sequence[bool]:
        """Write each outcome and end the lease; False where the row has another fence, or an outcome of this one."""
        ...

    async def pause(self, pauses: Sequence[Pause], /) -> None:
        """Let nobody win a slot of each job any more, or end that; a job without a row gets one, as by `register`."""
        ...

    async def peek(self, jobs: Sequence[str], /) -> Sequence[Row | None]:
        """Return each job's row, None where there is none; changes nothing."""
        ...

    async def reset(self, jobs: Sequence[str], /) -> Sequence[Row | None]:
        """
        Lower each watermark that is ahead to the store's now, end the lease, and return the rows; None where none is.

        For people, after the store's clock was wrong: slots between now and the old watermark can be won again. The
        fence stays, so what still runs under it can write its outcome no more once somebody has won anew.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads; a later call opens them again. Never raises."""
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


class Attachable(Protocol):
    """What an observer has besides that wants to look into the scheduler it belongs to."""

    def attach(self, scheduler: Scheduler, /) -> None:
        """
        Keep *scheduler*, whose `Scheduler.health` and `Scheduler.snapshot` may be read from any thread.

        Called each time it starts, before `SchedulerStarted`; fenced and timed as ``on_event`` is.
        """
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


class Tracer(Protocol):
    """
    What an observer may have besides, either or both, to see runs from the inside, as tracing does.

    Both are called on the loop, must not block, and are fenced and timed as `Observer.on_event` is: what they raise is
    reported and changes nothing for the run, and an observer that was disabled is not asked any more.
    """

    def around_attempt(self, run: Run, /) -> AbstractContextManager[object]:
        """
        Return what is entered before an attempt's job begins, and left when its body has ended or raised.

        Both happen in the attempt's own task, so that the context variables it sets are seen by the job, by a function
        on a thread too, and by nobody else. It is shown what the job raises, cancellation included, and cannot keep
        it. A run that is stuck leaves it when its body ends at last, if ever.
        """
        ...

    def wrap_transport(self, transport: Transport, /) -> Transport:
        """
        Return a transport that sends through *transport*, once; what `Run.send` sends goes through it.

        Called anew for each request, in the task that sends it; the first observer's is the outermost. It may change
        the request, such as by a header, and not what comes back: what *transport* answered or raised is what the job
        gets.
        """
        ...
