"""The scheduler as its users see it: jobs are declared on it, and it is entered and left."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar, Unpack, final

from loopcron._clock import SystemClock
from loopcron._errors import (
    ConfigError,
    DuplicateJobError,
    LifecycleError,
    SchedulerClosedError,
    UnknownJobError,
    text_of,
)
from loopcron._events import (
    Action,
    Event,
    PauseAsked,
    ResumeAsked,
    SchedulerDisabled,
    SchedulerStarted,
    SkipAsked,
)
from loopcron._hands import SLICE_SECONDS
from loopcron._health import Health, SchedulerState
from loopcron._history import JobRecord
from loopcron._instants import SECOND_MS, ZERO, from_ms, span_ms, to_ms
from loopcron._jobs import OWN_JOBS, Function, FunctionJob, PolicyFields, checked_name
from loopcron._observe import LoggingObserver, Observers, member_of
from loopcron._outcomes import printable
from loopcron._policies import Policy, checked_limit
from loopcron._schedules import Schedule, checked_schedule, in_ms
from loopcron._status import Snapshot
from loopcron._view import View, worker_name

if TYPE_CHECKING:
    from loopcron._engine import Engine, Trigger
    from loopcron._protocols import Clock, Job, Ledger, Observer, Transport
    from loopcron._upcoming import UpcomingSlot

_F = TypeVar("_F", bound=Function)

WATCHDOG: Final = (timedelta(seconds=1), timedelta(seconds=90))
"""The shortest and longest silence of the loop that a watchdog may wait for."""
LEDGER_CALLS: Final = ("register", "claim", "renew", "finish", "pause", "peek", "reset", "close")


@final
class Scheduler:
    """
    Fires jobs on time, and lets nothing that a job does stop the next slot.

    Declare jobs with `add` or `job`, then enter it: ``async with scheduler`` starts it and stops it at the end,
    `run` does that until `stop` is called. It may be entered again after it was left, on another event loop too.
    All verbs belong to the thread of that event loop; from another thread call them through
    ``anyio.from_thread.run_sync``.

    Inside, nothing raises: what goes wrong is an outcome in the history, an event for the observers and a line in
    the log ``loopcron``. The one exception is a ``KeyboardInterrupt`` that a job raises: it is recorded and let out.

    Args:
        ledger: The memory of slots: a `Ledger`, or a URL of one that workers and replicas share, ``sqlite:///path``,
            ``postgresql://…`` or ``redis://…``. Default: a new `MemoryLedger` for each life.
        namespace: Whose jobs these are in that store; wanted with ``postgresql://`` and ``redis://``, which other
            apps may use too. 1 to 64 of A-Z a-z 0-9 . _ -
        transport: Carries the requests of jobs. Default: `LoopbackTransport`.
        clock: The source of now and of sleeping. Default: the system's.
        observers: Told of every event, after the log.
        drain: How long runs may go on when the scheduler is left; from 0. What still runs then is cancelled.
        startup_delay: For how long after the start nothing runs; slots of that time run then, being late.
        max_running: How many runs of all jobs may be alive at once, 1 to 1,000; further slots wait for a place, first
            come first served, and those that pass meanwhile end as ``Skipped("limit")``. What `trigger` asks for does
            not wait. None: any number.
        on_ledger_error: What becomes of a slot when the ledger could not be asked: ``skip`` lets it end as
            ``Skipped("ledger")`` once its grace is over; ``fire`` runs it after 5 s, so that every worker may: for
            endpoints that have a lock of their own.
        watchdog: How long the loop may go without ticking before a thread logs that, and where the loop's thread
            stands: from 1 s, up to 90 s. The loop then wakes twice in that time. None: no such thread.
        enabled: False starts nothing, and says so: for development and CI.

    Raises:
        ConfigError: An argument is none of these.
    """

    def __init__(
        self,
        *,
        ledger: Ledger | str | None = None,
        namespace: str | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
        observers: Sequence[Observer] = (),
        drain: timedelta = timedelta(seconds=10),
        startup_delay: timedelta = ZERO,
        max_running: int | None = None,
        on_ledger_error: Literal["skip", "fire"] = "skip",
        watchdog: timedelta | None = None,
        enabled: bool = True,
    ) -> None:
        self._ledger: Ledger | None = _ledger(ledger, namespace)
        self._transport = _having("transport", transport, "send")
        self._clock: Clock = _having("clock", clock, "now", "monotonic", "sleep") or SystemClock()
        if not isinstance(observers, (list, tuple)):
            raise ConfigError("observers", observers, "must be a list or tuple")
        for observer in observers:
            _having("observers", observer, "on_event")
        self._observers = tuple(observers)
        self._drain = span_ms("drain", drain, least=ZERO)
        self._startup_delay = span_ms("startup_delay", startup_delay, least=ZERO)
        checked_limit("max_running", max_running)
        self._max_running = max_running
        if on_ledger_error not in ("skip", "fire"):
            raise ConfigError("on_ledger_error", on_ledger_error, "must be 'skip' or 'fire'")
        self._fires = on_ledger_error == "fire"
        self._watchdog = None if watchdog is None else span_ms("watchdog", watchdog, least=WATCHDOG[0])
        if watchdog is not None and watchdog > WATCHDOG[1]:
            raise ConfigError("watchdog", watchdog, f"must be at most {WATCHDOG[1]}, when health calls the loop silent")
        if not isinstance(enabled, bool):
            raise ConfigError("enabled", enabled, "must be True or False")
        self._enabled = enabled
        self._jobs: dict[str, Job] = {}
        self._pauses: dict[str, bool] = {}
        """Who is to be paused, or resumed, in so far as no ledger knows of it yet."""
        self._records: dict[str, JobRecord] = {}
        self._stop_conditions: list[Callable[[], bool]] = []
        self._entered = False
        self._thread: int | None = None
        self._engine: Engine | None = None
        self._life: AbstractAsyncContextManager[None] | None = None
        self._notified = self._make_observers()
        self._view = View(self._clock, self._ledger, self._jobs, self._records, lambda: self._notified)

    # --- jobs

    def add(self, job: Job) -> None:
        """
        Add a job; while the scheduler runs it is served from now on.

        Raises:
            ConfigError: The job lacks something or holds something that cannot work; nothing was added.
            DuplicateJobError: Its name is taken.
            SchedulerClosedError: The scheduler is stopping.
            LifecycleError: Called from another thread than the scheduler's.
        """
        self._check_thread()
        if self._engine is not None and self._engine.stopping:
            raise SchedulerClosedError("the scheduler is stopping; add jobs before it starts or while it runs")
        if type(job) not in OWN_JOBS:  # they have checked the same when they were made, which is half of what adding is
            _check_job(job)
        name = job.name
        if self._ledger is not None and self._ledger.is_shared and in_ms(job.schedule).is_from_start:
            remedy = "counts from each worker's own start, so workers that share a ledger have no slot in common"
            raise ConfigError(
                "anchor", "start", f"{remedy}; leave it out, and set run_on_start=True for a run at start"
            )
        if name in self._jobs:
            raise DuplicateJobError(name)
        self._jobs[name] = job
        if self._engine is not None:
            self._engine.add({name: job}, {})

    def job(self, schedule: Schedule, *, name: str | None = None, **policy: Unpack[PolicyFields]) -> Callable[[_F], _F]:
        """
        Decorate a function that takes the `Run`, to be called by this schedule; it comes back unchanged.

        Args:
            schedule: When.
            name: Of the job; the function's if left out.
            policy: The fields of `Policy`.

        Raises:
            ConfigError: As `add`, when the function is decorated.
        """

        def decorate(function: _F) -> _F:
            own_name: str = getattr(function, "__name__", "")
            self.add(FunctionJob(own_name if name is None else name, schedule, function, **policy))
            return function

        return decorate

    def remove(self, name: str) -> None:
        """
        Remove a job; its live runs are cancelled and end as ``Interrupted("remove")``, its history is dropped.

        Raises:
            UnknownJobError: There is no such job.
            LifecycleError: Called from another thread than the scheduler's.
        """
        self._known(name)
        del self._jobs[name]
        self._pauses.pop(name, None)
        if self._engine is not None:
            self._engine.remove(name)
        self._records.pop(name, None)

    def pause(self, name: str) -> None:
        """
        Serve no slots of the job until `resume`, not even over a restart; a live run goes on. Pausing twice is once.

        With a ledger that is shared it holds for all workers, from the moment at which the ledger has heard of it;
        while that is down, for this one at once.

        Raises:
            UnknownJobError: There is no such job.
            LifecycleError: Called from another thread than the scheduler's.
        """
        self._known(name)
        self._pauses[name] = True
        if self._engine is not None:
            self._engine.tell(PauseAsked(name))

    def resume(self, name: str) -> None:
        """
        Serve the job again; the slots meanwhile end as one ``Skipped("paused")`` range and are never caught up.

        With a ledger that is shared it holds for all workers; the others see it at the job's next slot.

        Raises:
            UnknownJobError: There is no such job.
            LifecycleError: Called from another thread than the scheduler's.
        """
        self._known(name)
        self._pauses[name] = False
        if self._engine is not None:
            self._engine.tell(ResumeAsked(name))
        elif name in self._records:
            self._records[name].paused_at = None

    def skip_next(self, name: str) -> datetime | None:
        """
        Let the job's next slot end as ``Skipped("skip_next")``; asking again before it has come changes nothing.

        Returns:
            The slot, in UTC; None if nothing is skipped: the job is paused, has ended or is not registered, or the
            scheduler is stopping.

        Raises:
            UnknownJobError: There is no such job.
            SchedulerClosedError: The scheduler does not run.
            LifecycleError: Called from another thread than the scheduler's.
        """
        self._known(name)
        engine = self._running_engine()
        facts = engine.timetable.facts(name)
        engine.tell(SkipAsked(name))
        if engine.stopping or facts is None or facts.skippable is None:
            return None
        return from_ms(facts.skippable)

    def trigger(self, name: str) -> Trigger:
        """
        Start a run of the job now, besides its slots; await what is returned for its outcome.

        Works while the job is paused, obeys its overlap policy, and is told apart by the reason ``manual``.

        Raises:
            UnknownJobError: There is no such job.
            SchedulerClosedError: The scheduler does not run.
            LifecycleError: Called from another thread than the scheduler's.
        """
        self._known(name)
        engine = self._running_engine()
        if engine.stopping:
            raise SchedulerClosedError("the scheduler is stopping; trigger jobs while it runs")
        return engine.trigger(name)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs, in the order in which they were added."""
        return tuple(self._jobs.values())

    @property
    def ledger(self) -> Ledger:
        """
        The memory of slots: the one that was given, or the one of this life.

        Raises:
            SchedulerClosedError: None was given, and the scheduler does not run.
        """
        if self._ledger is not None:
            return self._ledger
        if self._engine is None:
            raise SchedulerClosedError("without a ledger of its own the scheduler has one only while it runs")
        return self._engine.ledger

    @property
    def clock(self) -> Clock:
        """The source of now and of sleeping: the one that was given, or the system's."""
        return self._clock

    # --- life

    async def __aenter__(self) -> Self:
        """
        Start; returns once the loop runs.

        Raises:
            LifecycleError: It runs already.
        """
        life = self._lifetime(loop=True)
        await life.__aenter__()
        self._life = life
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """
        Stop: claim nothing more, let runs go on for the drain, cancel what is left, and record it.

        Cancellation:
            If the block was cancelled there is no drain: runs are cancelled at once, and waited for up to 2 s.
        """
        assert self._life is not None  # entered before
        life, self._life = self._life, None
        return await life.__aexit__(kind, error, trace)

    def manual(self) -> AbstractAsyncContextManager[None]:
        """Enter the scheduler without a loop: things happen in `tick` only. For tests and for loops of one's own."""
        return self._lifetime(loop=False)

    async def run(self) -> None:
        """
        Start, and run until `stop` is called from elsewhere.

        Cancellation:
            Stops without a drain.
        """
        async with self:
            if self._engine is not None:
                await self._engine.stopped.wait()

    async def tick(self) -> tuple[Action, ...]:
        """
        Do what is due now, and return it without waiting for the runs; never raises for what a job or store does.

        Raises:
            SchedulerClosedError: The scheduler does not run.
        """
        return await self._running_engine().tick()

    async def stop(self, *, drain: timedelta | None = None) -> None:
        """
        Stop, and return once it is over; does nothing if it does not run.

        Args:
            drain: How long runs may go on; the scheduler's own if left out. A second call cannot lengthen it.

        Raises:
            LifecycleError: Called from another thread than the scheduler's.
        """
        drain_ms = self._drain if drain is None else span_ms("drain", drain, least=ZERO)
        self._check_thread()
        engine = self._engine
        if engine is not None:
            engine.stop(drain_ms)
            await engine.stopped.wait()

    async def wait_idle(self) -> None:
        """
        Return once the loop sleeps and every live run waits in `Run.sleep` or ``loopcron.testing.hang``.

        For tests: a fake clock calls it before it moves on. A job that awaits it waits for itself.

        Raises:
            SchedulerClosedError: The scheduler does not run.
        """
        await self._running_engine().wait_quiet()

    def supply_transport(self, transport: Transport) -> None:
        """
        Let requests go through *transport* if the scheduler was given none.

        For adapters, which know more about the app than the default can.

        Raises:
            ConfigError: It has no method ``send``.
        """
        if self._transport is None:
            self._transport = _having("transport", transport, "send")

    def stop_when(self, condition: Callable[[], bool]) -> None:
        """
        Begin to stop as soon as *condition* is true.

        It is asked before anything is claimed, when a request fails, and every second while something runs. It holds
        for this life, or for the next one if the scheduler does not run. For adapters: a server that drains closes
        its listener long before it tells the application.
        """
        self._stop_conditions.append(condition)

    @asynccontextmanager
    async def _lifetime(self, *, loop: bool) -> AsyncIterator[None]:
        if self._entered:
            raise LifecycleError("the scheduler is entered already; it can be entered again once it was left")
        self._entered = True
        self._thread = threading.get_ident()
        try:
            self._notified = self._make_observers()
            if self._enabled:
                async with self._alive(loop=loop):
                    yield
            else:
                self._view.rest(SchedulerState.DISABLED, to_ms(self._clock.now()))
                self._notified.attach(self)
                self._notified.notify(SchedulerDisabled(tuple(self._jobs)))
                try:
                    yield
                finally:
                    with suppress(Exception):  # a user's clock
                        self._view.rest(SchedulerState.STOPPED, to_ms(self._clock.now()))
                    await self._close_ledger()
        finally:
            self._entered = False
            self._engine = self._thread = None
            self._stop_conditions.clear()
            if self._ledger is not None and self._ledger.is_shared:
                self._pauses.clear()  # its rows know, and other workers may resume a job meanwhile

    async def _close_ledger(self) -> None:
        """Let go of a ledger that somebody else than this scheduler has used, such as a guard."""
        if self._ledger is not None:
            with suppress(Exception):  # a user's own; there is nothing left that it could hurt
                await self._ledger.close()

    @asynccontextmanager
    async def _alive(self, *, loop: bool) -> AsyncIterator[None]:
        # Imported here because it takes anyio along, which costs more than all the rest of loopcron.
        import anyio

        from loopcron._watchdog import Watchdog  # on use, and with it threads

        observers = self._notified
        engine = self._engine = self._view.engine = self._make_engine(observers)
        with ExitStack() as stack, anyio.CancelScope() as scope:
            stack.callback(lambda: self._view.rest(SchedulerState.STOPPED, engine.over_since))
            attach = getattr(self._clock, "attach", None)
            if attach is not None:
                stack.enter_context(attach(engine))
            observers.attach(self)
            observers.notify(SchedulerStarted(tuple(self._jobs), printable(text_of(engine.ledger)), os.getpid()))
            for record in self._records.values():
                record.begin()
            engine.add(self._jobs, self._pauses)
            services = [observer for observer in self._observers if callable(member_of(observer, "run"))]
            engine.begin(services, loop=loop, interrupted=scope.cancel)
            drain = self._drain
            try:
                if loop and self._watchdog is not None:  # may find no thread, and what has begun must end then too
                    stack.enter_context(Watchdog(self._watchdog / SECOND_MS, lambda: engine.silent_seconds or 0.0))
                yield
            except anyio.get_cancelled_exc_class():
                drain = 0
                raise
            finally:
                await engine.leave(drain)
        if engine.interrupt is not None:
            raise engine.interrupt

    def _make_observers(self) -> Observers:
        return Observers((LoggingObserver(), *self._observers), self._clock.monotonic)

    def _make_engine(self, observers: Observers) -> Engine:
        from loopcron._engine import Engine  # as above
        from loopcron._workers import WorkerWatch
        from loopcron.ledgers.memory import MemoryLedger  # a layer above, and only one of several

        ledger = MemoryLedger(self._clock) if self._ledger is None else self._ledger
        # On a clock of their own tests play with workers, and a simulation has nothing to do with them.
        alone = not ledger.is_shared and isinstance(self._clock, SystemClock)
        return Engine(
            jobs=self._jobs,
            clock=self._clock,
            ledger=ledger,
            observers=observers,
            transport=self._find_transport,
            records=self._records,
            startup_delay=self._startup_delay,
            max_running=self._max_running,
            fires=self._fires,
            drain=self._drain,
            stop_conditions=self._stop_conditions,
            workers=WorkerWatch(os.environ) if alone else None,
            worker=worker_name(),
            slice_seconds=SLICE_SECONDS if self._watchdog is None else min(SLICE_SECONDS, self._watchdog / 2000),
        )

    def _find_transport(self) -> Transport:
        if self._transport is None:
            from loopcron._loopback import LoopbackTransport  # on first use: it takes h11 along

            self._transport = LoopbackTransport()
        return self._transport

    # --- looking in

    def health(self) -> Health:
        """Return whether the scheduler and each job are well, computed now; may be called from any thread."""
        return self._view.health()

    def snapshot(self) -> Snapshot:
        """Return every job with its next slot, live runs and newest outcomes; may be called from any thread."""
        return self._view.snapshot()

    def upcoming(self, name: str, count: int = 5, *, until: datetime | None = None) -> tuple[UpcomingSlot, ...]:
        """
        Return the next slots of the job in its own local time, with what the clocks' changes do to them.

        From now on, whether it is paused or not; may be called from any thread.

        Args:
            name: Of the job.
            count: How many, at most; fewer if its schedule names no more, or fails.
            until: The first instant that no longer counts, aware; None: there is no end.

        Raises:
            UnknownJobError: There is no such job.
            ScheduleError: *until* is naive.
        """
        if name not in self._jobs:
            raise UnknownJobError(name, tuple(self._jobs))
        return self._view.upcoming(name, count, until)

    def notify(self, event: Event) -> None:
        """
        Tell all observers of *event*, besides what the scheduler itself tells them; for `ActionAsked` of an app's own.

        Raises:
            LifecycleError: Called from another thread than the scheduler's.
        """
        self._check_thread()
        self._notified.notify(event)

    # --- checks

    def _running_engine(self) -> Engine:
        self._check_thread()
        if self._engine is None:
            raise SchedulerClosedError("the scheduler does not run; enter it first")
        return self._engine

    def _known(self, name: str) -> None:
        self._check_thread()
        if name not in self._jobs:
            raise UnknownJobError(name, tuple(self._jobs))

    def _check_thread(self) -> None:
        if self._thread is not None and self._thread != threading.get_ident():
            raise LifecycleError(
                "called from another thread than the scheduler's; use anyio.from_thread.run_sync(scheduler.add, job)"
            )


def _check_job(job: object) -> None:
    """Raise ``ConfigError`` unless *job* has all that a `Job` has."""
    checked_name(getattr(job, "name", None))
    checked_schedule(getattr(job, "schedule", None))
    if not isinstance(getattr(job, "policy", None), Policy):
        raise ConfigError("policy", getattr(job, "policy", None), "must be a Policy")
    _having("job", job, "run")


_T = TypeVar("_T")


def _ledger(ledger: Ledger | str | None, namespace: str | None) -> Ledger | None:
    """Return the ledger that was given or that the URL names."""
    if isinstance(ledger, str):
        from loopcron.ledgers import open_ledger  # a layer above, as below

        return open_ledger(ledger, namespace=namespace)
    if namespace is not None:
        remedy = (
            "belongs to a ledger's URL; give it to the ledger itself" if ledger else "needs a ledger that is shared"
        )
        raise ConfigError("namespace", namespace, remedy)
    _having("ledger", ledger, *LEDGER_CALLS)
    if ledger is not None and not isinstance(getattr(ledger, "is_shared", None), bool):
        raise ConfigError("ledger", ledger, "does not say with is_shared whether other processes see its rows")
    return ledger


def _having(field: str, value: _T, *methods: str) -> _T:
    """Return *value* if it is None or has all these methods, else raise ``ConfigError``."""
    for method in methods:
        if value is not None and not callable(getattr(value, method, None)):
            raise ConfigError(field, value, f"has no method {method}")
    return value
