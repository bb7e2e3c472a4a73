"""
One life of a scheduler: performs what the timetable asks for, and tells it what came of it.

It decides nothing about policy. Every part that can fail is fenced, and a fence's catch is told to the timetable or
to the observers, so that it cannot be silent. Made on the event loop it lives on, and never used again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import anyio

from loopcron import _events as e
from loopcron._courier import Asked, Courier
from loopcron._errors import text_of
from loopcron._hands import Hands
from loopcron._health import LedgerHealth, Vitals
from loopcron._history import MARKS, JobRecord
from loopcron._instants import from_ms
from loopcron._ledger import Claim, Finish, Pause, Register, Renew, Unavailable
from loopcron._outcomes import Failed, Outcome, error_text, printable
from loopcron._pulse import Pulse
from loopcron._runs import Runs
from loopcron._spawn import Handle, is_stray, make_spawner
from loopcron._tasks import Tasks
from loopcron._timetable import Timetable
from loopcron._tracers import make_tracers

if TYPE_CHECKING:
    from loopcron._observe import Observers
    from loopcron._protocols import Clock, Job, Ledger, Service, Transport
    from loopcron._workers import WorkerWatch

WATCH_MS: Final = 1_000
"""How often the stop conditions are asked while something runs: a request of ours may be all that a drain waits for."""
BLOCKED_SECONDS: Final = 1.0
"""A loop that wakes so much later than it asked for was blocked, which is told."""
LEDGER_SECONDS: Final = 2.0
"""How long the ledger may take over its last calls when all runs are over, in real time."""


@final
class Trigger:
    """A manual run; await it for its outcome."""

    def __init__(self) -> None:
        self._done = anyio.Event()
        self._outcome: Outcome | None = None

    def settle(self, outcome: Outcome) -> None:
        """Set the outcome, and wake who waits for it."""
        self._outcome = outcome
        self._done.set()

    async def wait(self) -> Outcome:
        """Return the outcome of the run, once it has one; giving up the wait leaves the run alone."""
        await self._done.wait()
        assert self._outcome is not None  # set before the event
        return self._outcome

    def __await__(self) -> Generator[Any, None, Outcome]:
        """See `wait`."""
        return self.wait().__await__()


@final
class Engine:
    """
    Performs the timetable's actions.

    Args:
        jobs: Of the scheduler, which adds and removes them before it tells of that.
        clock: Likewise.
        ledger: Likewise.
        observers: Likewise.
        transport: Gives the transport when a run first sends.
        records: Where outcomes are kept; they outlive the engine.
        startup_delay: In ms.
        max_running: See `Timetable`.
        fires: Likewise.
        stop_conditions: Asked before each claim, after each failed request, and every second while something runs;
            one that is true: stop, the server drains.
        workers: Sees whether other workers run every slot too; None: no matter, they share the ledger.
        worker: The host and process, which begin the ids of claims.
        slice_seconds: The longest sleep of the loop.
    """

    def __init__(
        self,
        *,
        jobs: Mapping[str, Job],
        clock: Clock,
        ledger: Ledger,
        observers: Observers,
        transport: Callable[[], Transport],
        records: dict[str, JobRecord],
        startup_delay: int,
        max_running: int | None,
        fires: bool,
        drain: int,
        stop_conditions: Sequence[Callable[[], bool]],
        workers: WorkerWatch | None,
        worker: str,
        slice_seconds: float,
    ) -> None:
        self._clock = clock
        self._observers = observers
        self._records = records
        self._drain = drain
        self._stop_conditions = stop_conditions
        self._workers = workers
        self._hands = Hands(clock)
        self._slice = slice_seconds
        self.pulse: Final = Pulse(self._hands.wall, self._hands.monotonic)
        self._looked = self._hands.wall
        self.timetable = Timetable(
            self._looked,
            startup_delay=startup_delay,
            max_running=max_running,
            worker=f"{worker}:{os.urandom(8).hex()}",
            shared=ledger.is_shared,
            fires=fires,
        )
        self.ledger: Final = ledger
        self.courier = Courier(ledger, self.tell, observers.notify, lambda: self._hands.monotonic)
        self._jobs = jobs
        spawner = make_spawner()
        self.runs = Runs(
            self,
            jobs=jobs,
            spawner=spawner,
            clock=clock,
            transport=transport,
            leased=ledger.is_shared,
            tracers=make_tracers(observers),
        )
        self.tasks = Tasks(spawner, observers, self.fault)
        self._triggers: dict[str, Trigger] = {}
        self._turning = False
        self._has_news = False
        """Whether the timetable was told of something while a turn was under way."""
        self.done: list[e.Action] | None = None
        """Collects what is done while a `tick` is under way."""
        self._breathe = False
        """Whether the last poll left more that is due, none of which is looked at before other tasks had their turn."""
        self._poked = False
        self._faults = 0
        self._nap: anyio.CancelScope | None = None
        self._nap_until: int | None = None
        self.has_loop = False
        self._quiet: anyio.Event | None = None
        self._errand = anyio.Event()
        self._is_called = False
        """Whether the courier's task has been told that something is queued."""
        self._delivered = anyio.Event()
        self._interrupted: Callable[[], object] = anyio.Event().set
        self.interrupt: KeyboardInterrupt | None = None
        self.stopping = False
        self.stopped = anyio.Event()

    # --- what the scheduler asks for

    def add(self, jobs: Mapping[str, Job], pauses: Mapping[str, bool]) -> None:
        """Put *jobs* into the timetable, all in one turn; *pauses*: who is to be paused, or not to be."""
        self.tell(
            *[e.record(e.Added, (name, job.schedule, job.policy, pauses.get(name))) for name, job in jobs.items()]
        )

    def remove(self, name: str) -> None:
        """Take the job out of the timetable; its live runs are cancelled."""
        self.tell(e.Removed(name))

    def trigger(self, name: str) -> Trigger:
        """Start a manual run of the job."""
        trigger = Trigger()
        key = f"{name}@manual-{os.urandom(16).hex()}"
        self._triggers[key] = trigger
        self.tell(e.Triggered(name, key))
        return trigger

    def stop(self, drain: int) -> None:
        """Claim nothing more; after *drain* ms cancel what still runs. A second call may only shorten the drain."""
        if not self.stopping:
            self.stopping = True
            self.pulse.stopping(self._read_clocks())
            self._report(e.SchedulerStopping(drain / 1000))
        self.tell(e.Stopping(drain))
        self._poke()  # a fake clock moves by itself from now on, but not for a nap that began before

    # --- the turn

    def tell(self, *facts: e.Fact) -> None:
        """Tell the timetable *facts*, and do what follows from them at once."""
        now = self._read_clocks()
        for fact in facts:
            try:
                self.timetable.handle(fact, now)
            except Exception as error:  # noqa: BLE001 - by definition a bug of ours; a run's end must not raise into its task
                self.fault(type(fact).__name__, error)
        self._turn()

    def turn(self) -> None:
        """
        Poll and perform until nothing more is asked for; never raises.

        Synchronous, as `tell` is, which ends with one too: at the end of a run or with a ledger's answer nobody has to
        wake the loop for it. What wants another turn inside it, such as a job triggered by an observer, joins this one.
        """
        self._read_clocks()
        self._turn()

    def _turn(self) -> None:
        if self._turning:
            self._has_news = True
            return
        self._turning = True
        try:
            if self._stop_conditions:
                due = self._next_turn()
                if due is not None and due <= self._hands.wall:
                    self._look_for_drain()
            performers, report = self._PERFORMERS, Engine._report
            self._has_news = True
            while self._has_news:
                self._has_news = False  # and so it stays, unless what is performed here tells of something
                actions = self.timetable.poll(self._hands.wall, facts_only=self._breathe)
                if self.done is not None:
                    self.done += actions
                for action in actions:
                    try:
                        performers.get(type(action), report)(self, action)
                    except Exception as error:  # noqa: BLE001 - one that fails must not take the others along
                        self.fault(type(action).__name__, error)
                if actions and isinstance(actions[-1], e.More):
                    self._breathe = True  # but what an observer asked for meanwhile is done before its run begins
        except BaseException as error:  # noqa: BLE001 - the outermost fence: by definition a bug of ours
            self.fault("turn", error)
        finally:
            self._turning = False
        self._wake_for_next()

    def _ask(self, action: Asked) -> None:
        self.courier.take(action)
        if not self._is_called:  # asked of ourselves, for an event of anyio's costs three calls each time
            self._is_called = True
            self.courier.begin()
            self._errand.set()

    def _start(self, action: e.RunStarted) -> None:
        self._observers.notify(action)
        self.runs.start(action)

    def _cancel(self, action: e.Cancel) -> None:
        self.runs.cancel(action)

    def _abandon(self, action: e.Abandon) -> None:
        self.runs.abandon(action)

    def _more(self, action: e.More) -> None:
        """Nothing: the turn itself sees it, and looks at nothing more that is due."""

    def _report(self, event: e.Event) -> None:
        if type(event) in MARKS:
            try:
                self._mark(event)
            except Exception as error:  # noqa: BLE001 - likewise
                self.fault("history", error)
        self._observers.notify(event)

    def _settled(self, settled: e.Settled) -> None:
        try:
            self._keep(settled)
        except Exception as error:  # noqa: BLE001 - such as an outcome that cannot be compared; it is told all the same
            self.fault("history", error)
        self._observers.notify(settled)

    def _mark(self, event: Any) -> None:
        if event.job in self._jobs and not self.stopped.is_set():  # a stuck run may end in a later life
            self._record(event.job).mark(event, self._hands.wall)
        if isinstance(event, e.JobParked) and isinstance(event.exception, KeyboardInterrupt):
            self.fault(event.job, event.exception)

    def _record(self, job: str) -> JobRecord:
        record = self._records.get(job)
        if record is None:
            record = self._records[job] = JobRecord(job)
        return record

    def _keep(self, settled: e.Settled) -> None:
        trigger = None if settled.key is None else self._triggers.pop(settled.key, None)
        if trigger is not None:
            trigger.settle(settled.outcome)
        if settled.job in self._jobs:  # else it was removed, and its history with it
            self._record(settled.job).note(settled)

    def _look_for_drain(self) -> None:
        """Stop if the server drains."""
        if self.stopping:
            return
        self._looked = self._hands.wall
        try:
            draining = any(condition() for condition in self._stop_conditions)
        except Exception as error:  # noqa: BLE001 - a user's condition; not knowing means going on
            self.fault("stop_when", error)
            return
        if draining:
            self.stop(self._drain)

    def _next_turn(self) -> int | None:
        """Return when something is due, or the server is to be looked at again."""
        due = self.timetable.next_wakeup()
        if not (self.runs and self._stop_conditions) or self.stopping:
            return due
        look = self._looked + WATCH_MS
        return look if due is None or look < due else due

    def _read_clocks(self) -> int:
        """Return now in ms, having told the timetable of a step; a clock that fails leaves the last now."""
        try:
            step = self._hands.read()
        except Exception as error:  # noqa: BLE001 - a user's clock; the run that ended just now must not be lost for it
            self.fault("clock", error)
            return self._hands.wall
        if step:
            self._looked = self._hands.wall
            self.pulse.stepped(self._hands.wall, step)
            if self._nap_until is not None:
                self._nap_until += step
            try:
                self.timetable.handle(e.Stepped(step), self._hands.wall)
            except Exception as error:  # noqa: BLE001 - by definition a bug of ours; the loop itself reads the clocks
                self.fault(e.Stepped.__name__, error)
        return self._hands.wall

    # --- what the runs tell

    def about_to_act(self, run_id: int) -> None:
        """See `Host.about_to_act`."""
        self.tell(e.LeaseAsked(run_id))

    def attempt_ended(self, run_id: int, outcome: Outcome | None, exception: BaseException | None) -> None:
        """See `Host.attempt_ended`."""
        if isinstance(outcome, Failed) and outcome.blame in ("endpoint", "transport"):
            self._look_for_drain()
        self.tell(e.record(e.AttemptEnded, (run_id, outcome, exception)))

    def fault(self, where: str, error: BaseException) -> None:
        """See `Host.fault`."""
        if isinstance(error, KeyboardInterrupt):
            self.interrupt = error
            self._wake_for_next()
        else:
            self._observers.notify(e.InternalFault(where, error_text(error), error))

    # --- the loop

    def begin(self, services: Sequence[Service], *, loop: bool, interrupted: Callable[[], object]) -> None:
        """Start the loop's tasks, if there is to be a *loop*; *interrupted* is told of a ``KeyboardInterrupt``."""
        self._interrupted = interrupted
        for service in services:
            self.tasks.serve(service)
        if loop:
            self._begin_loop()

    def _begin_loop(self) -> None:
        self.has_loop = True
        self.tasks.begin(self._carry, self._loop)

    async def leave(self, drain: int) -> None:
        """
        Stop, and return when it is over.

        Cancellation:
            Ends the drain; what still runs is cancelled, and waited for up to 2 s.
        """
        if not self.stopped.is_set():
            self._begin_loop()  # for a manual life, or where it was cancelled once too often
        self.stop(drain)
        cut: BaseException | None = None
        while not self.stopped.is_set():
            try:
                with anyio.CancelScope(shield=cut is not None):
                    await self.stopped.wait()
            except anyio.get_cancelled_exc_class() as error:
                cut = error
                self.stop(0)
        await self.tasks.end()
        with anyio.move_on_after(LEDGER_SECONDS, shield=True):
            await self._close_ledger()
        if cut is not None:
            raise cut

    async def tick(self) -> tuple[e.Action, ...]:
        """Turn, and without a loop ask the ledger too, until nothing more is due; return what was done."""
        done: list[e.Action] = []
        self.done = done
        try:
            self._breathe = False
            self.turn()
            while self._breathe or (self.courier.waiting and not self.has_loop):
                self._breathe = False
                await self.courier.deliver()
                await anyio.lowlevel.checkpoint()
                self.turn()
        finally:
            self.done = None
        if self.interrupt is not None:
            raise self.interrupt
        return tuple(done)

    async def _loop(self, _handle: Handle) -> None:
        """Turn whenever something is due, until stopped."""
        while True:
            self._poked = self._breathe = False
            self.turn()
            self.courier.look(self.pulse.ticked)
            self.pulse.ticked = self._hands.monotonic
            self._look_for_workers()
            if self.interrupt is not None:
                self._let_out()
            if self.stopping and self.timetable.is_over:
                break
            try:
                await self._rest()
            except BaseException as error:  # noqa: BLE001 - the clock's sleep
                self._faults += 1
                await self.tasks.rest("loop", error, self._faults)
            else:
                self._faults = 0
        await self._settle_claims()
        self.has_loop = False
        self.pulse.stopped(self._hands.wall)
        self._observers.notify(e.SchedulerStopped())
        self.stopped.set()
        self.parking_changed()

    def _look_for_workers(self) -> None:
        if self._workers is None or self.stopping:
            return
        reason = self._workers(self._hands.monotonic)
        if reason is not None:
            self._observers.notify(e.LedgerNotShared(reason))

    def _let_out(self) -> None:
        """Stop without a drain, because a job raised ``KeyboardInterrupt``; whoever entered us raises it on."""
        self.stop(0)
        self._interrupted()

    async def _rest(self) -> None:
        """Sleep until the next wake-up, but no longer than a slice, or until something is due earlier."""
        now = self._read_clocks()  # first, because a step that is seen here makes a turn due at once
        target = self._next_turn()
        seconds = self._slice if target is None else min(self._slice, (target - now) / 1000)
        if self._breathe or self._poked or seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        wake_at = self._hands.monotonic + seconds
        with anyio.CancelScope() as scope:
            self._nap, self._nap_until = scope, target
            self.parking_changed()
            try:
                await self._clock.sleep(seconds)
            finally:
                self._nap = None
        self._read_clocks()
        self._note_lag(max(0.0, self._hands.monotonic - wake_at))
        await anyio.lowlevel.checkpoint()  # or a clock whose sleep returns at once would stop the whole event loop

    def _note_lag(self, seconds: float) -> None:
        """Take note of how much later than asked for the loop woke, by the scheduler's own clock."""
        self.pulse.woke(seconds)
        if seconds >= BLOCKED_SECONDS:
            self._observers.notify(e.LoopBlocked(seconds))

    async def _settle_claims(self) -> None:
        """Give the ledger a last while for what is under way or kept; what it then has not answered is no claim."""
        self.courier.retry()
        self._errand.set()
        with anyio.move_on_after(LEDGER_SECONDS):
            while not self.courier.idle:
                self._delivered = anyio.Event()
                await self._delivered.wait()
        unanswered = self.courier.give_up()
        if unanswered:
            self.tell(e.Answered(unanswered, [Unavailable("")] * len(unanswered)))

    async def _close_ledger(self) -> None:
        try:
            await self.ledger.close()
        except BaseException as error:
            if not (isinstance(error, Exception) or is_stray(error)):
                raise
            self._observers.notify(e.LedgerFailed("close", error_text(error)))

    def _wake_for_next(self) -> None:
        """Cut the nap if something became due earlier than it was taken for."""
        if self._nap is None:
            return  # the loop is awake and looks for itself before it sleeps
        until = self._nap_until
        earlier = until is None or bool(self._stop_conditions) or self.timetable.may_wake_before(until)
        if earlier:
            target = self._next_turn()
            earlier = target is not None and (until is None or target < until)
        if earlier or self._breathe or self.interrupt is not None or (self.stopping and self.timetable.is_over):
            self._poke()

    def _poke(self) -> None:
        if self._nap is not None:
            self._poked = True
            self._nap.cancel()

    async def _carry(self, handle: Handle) -> None:
        """Deliver to the ledger whenever something is queued."""
        faults = 0
        while not handle.cancel_requested:
            try:
                if not self.courier.waiting:
                    await self._errand.wait()
                self._errand = anyio.Event()
                self._is_called = False
                await self.courier.deliver()
            except BaseException as error:  # noqa: BLE001 - a fence of design section 6: ledger
                faults += 1
                await self.tasks.rest("ledger", error, faults)
            else:
                faults = 0
            self._delivered.set()
            self.parking_changed()

    # --- how it fares; read from any thread

    @property
    def now(self) -> int:
        """The present, in ms, by the wall clock as the loop knows it to be set."""
        return self._wall_of(self._clock.monotonic())

    @property
    def over_since(self) -> int:
        """When it stopped, in ms; before that, what the clock showed when it was read last."""
        return self._hands.wall if self.pulse.stopped_at is None else self.pulse.stopped_at

    @property
    def silent_seconds(self) -> float | None:
        """How long ago the loop last ticked; None: there is none."""
        return self._clock.monotonic() - self.pulse.ticked if self.has_loop else None

    def vitals(self) -> Vitals:
        """Return how this life fares at this moment."""
        return self.pulse.vitals(self.silent_seconds, self._ledger_health())

    def _ledger_health(self) -> LedgerHealth:
        text, shared = printable(text_of(self.ledger)), self.ledger.is_shared
        trouble = self.courier.trouble
        if trouble is None:
            return LedgerHealth(text, shared)
        return LedgerHealth(text, shared, trouble.why, from_ms(self._wall_of(trouble.since)), trouble.failures)

    def _wall_of(self, monotonic: float) -> int:
        """Return what the wall clock, as it is set now, would have shown then, in ms."""
        return self._hands.wall - round((self._hands.monotonic - monotonic) * 1000)

    # --- quiet

    @property
    def is_draining(self) -> bool:
        """Whether the loop waits for its last runs, so that nobody else moves a fake clock on."""
        return self.stopping and not self.stopped.is_set()

    @property
    def busy(self) -> tuple[str, ...]:
        """The jobs whose runs are alive and do not wait for the clock, sorted."""
        return self.runs.busy

    @property
    def is_quiet(self) -> bool:
        """Whether the loop is parked, the ledger asked nothing, and every live run waits for the clock."""
        napping = self._nap is not None and not self._poked and self.courier.idle
        return (napping or not self.has_loop) and not self._turning and not self.runs.busy

    async def wait_quiet(self) -> None:
        """Return once `is_quiet` holds."""
        while not self.is_quiet:
            if self._quiet is None:
                self._quiet = anyio.Event()
            await self._quiet.wait()

    def parking_changed(self) -> None:
        """See `Host.parking_changed`."""
        if self._quiet is not None and self.is_quiet:
            self._quiet.set()
            self._quiet = None

    _PERFORMERS: ClassVar[dict[type, Callable[[Engine, Any], None]]] = {
        e.RunStarted: _start,
        e.Settled: _settled,
        Claim: _ask,
        Register: _ask,
        Renew: _ask,
        Finish: _ask,
        Pause: _ask,
        e.Cancel: _cancel,
        e.Abandon: _abandon,
        e.More: _more,
    }
    """What is done for each action; any other one is an event, and reported."""
