"""
One life of a scheduler: performs what the timetable asks for, and tells it what came of it.

It decides nothing about policy. Every part that can fail is fenced, and a fence's catch is told to the timetable or
to the observers, so that it cannot be silent. Made on the event loop it lives on, and never used again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import anyio

from loopcron import _events as e
from loopcron._courier import Courier
from loopcron._errors import TransportError
from loopcron._instants import to_ms
from loopcron._jobs import outcome_of_error
from loopcron._outcomes import OUTCOMES, Failed, Interrupted, Outcome, Run, Succeeded, error_text
from loopcron._policies import doubled_ms, finite_seconds
from loopcron._spawn import Handle, current_handle, is_stray, make_spawner
from loopcron._status import JobRecord
from loopcron._threads import Threads
from loopcron._timetable import Timetable

if TYPE_CHECKING:
    from loopcron._http import Request, Response
    from loopcron._observe import Observers
    from loopcron._protocols import Clock, Job, Ledger, Service, Transport
    from loopcron._spawn import Body

SLICE_SECONDS: Final = 30.0
"""The longest sleep: both clocks are read again after it, so a suspended machine or a set clock is noticed."""
STEP_SECONDS: Final = 1.0
"""A change of wall clock minus monotonic clock above this is a clock step."""
FAULT_BACKOFF: Final = (50, 5_000)
"""First and longest rest of the loop after a fault of its own, in ms of real time: its clock may be what failed."""
WATCH_MS: Final = 1_000
"""How often the stop conditions are asked while something runs: a request of ours may be all that a drain waits for."""
LISTEN_MS: Final = 10_000
"""For how long after the start an address that is not known counts as one that is not known yet."""
REVIVALS: Final = 3
"""How often in a life a task of the engine's own is begun anew after somebody cancelled it from outside."""
LEDGER_SECONDS: Final = 2.0
"""How long the ledger may take over its last calls when all runs are over, in real time."""
SUCCEEDED: Final = Succeeded()


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
        clock: Of the scheduler.
        ledger: Likewise.
        observers: Likewise.
        transport: Gives the transport when a run first sends.
        records: Where outcomes are kept; they outlive the engine.
        startup_delay: In ms.
        stop_conditions: Asked before each claim, after each failed request, and every second while something runs;
            one that is true: stop, the server drains.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        observers: Observers,
        transport: Callable[[], Transport],
        records: dict[str, JobRecord],
        startup_delay: int,
        drain: int,
        stop_conditions: Sequence[Callable[[], bool]],
    ) -> None:
        self._clock = clock
        self._observers = observers
        self._transport = transport
        self._records = records
        self._drain = drain
        self._stop_conditions = stop_conditions
        self._wall = self._looked = to_ms(clock.now())
        self._monotonic = self.ticked = self._began = clock.monotonic()
        """When the clock was read last, and when the loop last did; on the monotonic clock, in seconds."""
        self._offset = self._wall / 1000 - self._monotonic
        self.timetable = Timetable(self._wall, startup_delay=startup_delay, worker=os.urandom(8).hex())
        self.ledger: Final = ledger
        self.courier = Courier(ledger, self.tell, observers.notify)
        self._jobs: dict[str, Job] = {}
        self._handles: dict[int, Handle] = {}
        self._triggers: dict[str, Trigger] = {}
        self._spawner = make_spawner()
        self._threads = Threads()
        self._turning = False
        self.done: list[e.Action] | None = None
        """Collects what is done while a `tick` is under way."""
        self._breathe = False
        self._poked = False
        self._faults = 0
        self._nap: anyio.CancelScope | None = None
        self._nap_until: int | None = None
        self.has_loop = False
        self._quiet: anyio.Event | None = None
        self._errand = anyio.Event()
        self._delivered = anyio.Event()
        self._owned: list[Handle] = []
        self._vital: dict[Handle, Body] = {}
        self._revivals = 0
        self._interrupted: Callable[[], object] = anyio.Event().set
        self.interrupt: KeyboardInterrupt | None = None
        self.stopping = False
        self.stopped = anyio.Event()

    # --- what the scheduler asks for

    def add(self, job: Job, *, paused: bool) -> None:
        """Put *job* into the timetable."""
        self._jobs[job.name] = job
        self.tell(e.Added(job.name, job.schedule, job.policy, paused))

    def remove(self, name: str) -> None:
        """Take the job out of the timetable; its live runs are cancelled."""
        self.tell(e.Removed(name))
        del self._jobs[name]

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
            self._report(e.SchedulerStopping(drain / 1000))
        self.tell(e.Stopping(drain))
        self._poke()  # a fake clock moves by itself from now on, but not for a nap that began before

    # --- the turn

    def tell(self, fact: e.Fact) -> None:
        """Tell the timetable *fact*, and do what follows from it at once."""
        now = self._read_clocks()
        try:
            self.timetable.handle(fact, now)
        except Exception as error:  # noqa: BLE001 - by definition a bug of ours; a run's end must not raise into its task
            self._fault(type(fact).__name__, error)
        self._turn()

    def turn(self) -> None:
        """
        Poll and perform until nothing more is asked for; never raises.

        Synchronous, so that it can stand at the end of a run or of a ledger's answer without waking the loop. What
        happens inside it that wants another turn, such as a job triggered by an observer, joins this one.
        """
        self._read_clocks()
        self._turn()

    def _turn(self) -> None:
        if self._turning:
            return
        self._turning = True
        try:
            due = self._next_turn()
            if due is not None and due <= self._wall:
                self._look_for_drain()
            while actions := self.timetable.poll(self._wall):
                if self.done is not None:
                    self.done += actions
                for action in actions:
                    self._perform(action)
                if isinstance(actions[-1], e.More):
                    self._breathe = True
                    break
        except BaseException as error:  # noqa: BLE001 - the outermost fence: by definition a bug of ours
            self._fault("turn", error)
        finally:
            self._turning = False
        self._wake_for_next()

    def _perform(self, action: e.Action) -> None:
        try:
            self._PERFORMERS.get(type(action), Engine._report)(self, action)
        except Exception as error:  # noqa: BLE001 - one action that fails must not take the others along
            self._fault(type(action).__name__, error)

    def _ask(self, action: e.Register | e.Claim | e.Finish) -> None:
        self.courier.take(action)
        self._errand.set()

    def _cancel(self, action: e.Cancel) -> None:
        self._handles[action.run_id].cancel()

    def _abandon(self, action: e.Abandon) -> None:
        self._handles[action.run_id].give_up()

    def _more(self, action: e.More) -> None:
        """Nothing: the turn itself sees it, and ends."""

    def _report(self, event: e.Event) -> None:
        if isinstance(event, e.Settled):
            if event.job in self._jobs:  # else it was removed, and its history with it
                record = self._records.get(event.job)
                if record is None:
                    record = self._records[event.job] = JobRecord()
                record.note(event)
            trigger = self._triggers.pop(event.key, None) if event.key is not None else None
            if trigger is not None:
                trigger.settle(event.outcome)
        self._observers.notify(event)

    def _fault(self, where: str, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.interrupt = error
            self._wake_for_next()
        self._observers.notify(e.InternalFault(where, error_text(error), error))

    def _look_for_drain(self) -> None:
        """Stop if the server drains."""
        if self.stopping:
            return
        self._looked = self._wall
        try:
            draining = any(condition() for condition in self._stop_conditions)
        except Exception as error:  # noqa: BLE001 - a user's condition; not knowing means going on
            self._fault("stop_when", error)
            return
        if draining:
            self.stop(self._drain)

    def _next_turn(self) -> int | None:
        """Return when something is due, or the server is to be looked at again."""
        due = self.timetable.next_wakeup()
        if not (self._handles and self._stop_conditions) or self.stopping:
            return due
        look = self._looked + WATCH_MS
        return look if due is None or look < due else due

    def _read_clocks(self) -> int:
        """Return now in ms, having told the timetable of a step; a clock that fails leaves the last now."""
        try:
            wall = to_ms(self._clock.now())
            monotonic = self._clock.monotonic()
        except Exception as error:  # noqa: BLE001 - a user's clock; the run that ended just now must not be lost for it
            self._fault("clock", error)
            return self._wall
        self._monotonic = monotonic
        offset = wall / 1000 - monotonic
        by = offset - self._offset
        # The offset is followed from reading to reading, so that a slow drift never adds up to a step.
        self._offset = offset
        if abs(by) > STEP_SECONDS:
            self._wall = self._looked = wall
            if self._nap_until is not None:
                self._nap_until += round(by * 1000)
            self.timetable.handle(e.Stepped(round(by * 1000)), wall)
        elif wall > self._wall:
            self._wall = wall
        return self._wall

    # --- runs

    def _start(self, action: e.Start) -> None:
        run = Run(
            action.job,
            action.slot,
            action.run_id,
            action.attempt,
            action.reason,
            action.fence,
            action.deadline,
            action.key,
            self,
        )
        handle = Handle(run, self)
        self._handles[action.run_id] = handle
        try:
            self._spawner.spawn(self._attend, handle)
        except Exception as error:  # noqa: BLE001 - no task, no run: the slot has its outcome at once
            self._fault("spawn", error)
            self._ended(handle, Failed("internal", error_text(error)))

    async def _attend(self, handle: Handle) -> None:
        """Run the job's body behind the fence; nothing is awaited after it."""
        handle.started = True
        current_handle.set(handle)
        run = handle.run
        assert run is not None  # the handle of an attempt
        outcome: Outcome | None = None
        exception: BaseException | None = None
        try:
            if not handle.cancel_requested:
                result = await self._jobs[run.job].run(run)
                outcome = result if isinstance(result, OUTCOMES) else SUCCEEDED
        except TransportError as error:
            outcome = self._outcome_of(error)
        except Exception as error:  # noqa: BLE001 - a fence of design section 6: job body
            outcome, exception = Failed("job", error_text(error)), error
        except KeyboardInterrupt as error:
            outcome, self.interrupt = Failed("job", "KeyboardInterrupt"), error
        except BaseException as error:  # noqa: BLE001 - stray cancellations, SystemExit, GeneratorExit and the odd
            # Ours is judged by our own request only: Task.cancelling() also counts what others asked for.
            if not (handle.cancel_requested and isinstance(error, anyio.get_cancelled_exc_class())):
                stray = isinstance(error, anyio.get_cancelled_exc_class())
                outcome = Failed("job", "cancelled inside" if stray else error_text(error))
                if stray and self.stopping:  # a server that is told twice cancels all tasks, ours among them
                    outcome = Interrupted("shutdown")
        self._ended(handle, outcome, exception)
        del exception  # it holds this frame, and this frame would hold it

    def _outcome_of(self, error: TransportError) -> Outcome:
        """Return what a transport's error means; early on, having no address is repeated like being refused."""
        if error.code == "no_address" and self._monotonic - self._began < LISTEN_MS / 1000:
            return Failed("transport", error.code, started=False)  # most servers listen only once start-up is over
        return outcome_of_error(error)

    def _ended(self, handle: Handle, outcome: Outcome | None, exception: BaseException | None = None) -> None:
        handle.ended = True
        run = handle.run
        assert run is not None  # our own tasks have no outcome
        if handle.given_up and handle.in_thread:
            return  # its thread runs on and will tell when it is over
        if self._handles.get(run.run_id) is not handle:
            return  # its thread has told already
        del self._handles[run.run_id]
        if isinstance(outcome, Failed) and outcome.blame in ("endpoint", "transport"):
            self._look_for_drain()
        self.tell(e.AttemptEnded(run.run_id, outcome, exception))
        self.parking_changed()

    def lost(self, handle: Handle) -> None:
        """See `Keeper.lost`."""
        if handle.run is None:
            self._revive(handle)
        else:
            self._ended(handle, None if handle.cancel_requested else Failed("job", "cancelled before its first step"))

    async def send(self, run: Run, request: Request) -> Response:
        """See `Run.send`."""
        transport, request = self._transport(), request.with_headers(run.headers())
        try:
            return await transport.send(request)
        except TransportError:
            raise
        except Exception:  # noqa: BLE001 - a fence of design section 6: transport
            raise TransportError("internal") from None  # nothing of it is told: a client's error may show the token

    async def sleep(self, run: Run, seconds: float) -> None:
        """See `Run.sleep`."""
        finite_seconds("seconds", seconds)
        if seconds <= 0:  # no waiting for the clock: time must not move on meanwhile
            await self._clock.sleep(seconds)
            return
        handle = self._handles[run.run_id]
        await handle.let_strike()
        with handle.park():
            await self._clock.sleep(seconds)

    async def call(self, run: Run, function: Callable[[Run], object]) -> object:
        """See `Run.call`."""
        return await self._threads.call(self._handles[run.run_id], run, function)

    # --- the loop

    def begin(self, services: Sequence[Service], *, loop: bool, interrupted: Callable[[], object]) -> None:
        """Start the loop's tasks, if there is to be a *loop*; *interrupted* is told of a ``KeyboardInterrupt``."""
        self._interrupted = interrupted
        for service in services:
            self._own(partial(self._serve, service))
        if loop:
            self._begin_loop()

    def _begin_loop(self) -> None:
        self.has_loop = True
        for body in (self._carry, self._loop):
            if body not in self._vital.values():
                self._vital[self._own(body)] = body

    def _own(self, body: Body) -> Handle:
        # Owned tasks as for runs, not a task group: what a user's clock, ledger or observer leaks must not end us.
        handle = Handle(None, self)
        self._owned.append(handle)
        self._spawner.spawn(body, handle)
        return handle

    def _revive(self, handle: Handle) -> None:
        """
        Begin a task anew that the engine cannot do without; whoever leaves the scheduler waits for it.

        Its body catches all but its cancellation: the event loop is torn down, as ``asyncio.run`` does it while a task
        in the background still lives in the scheduler, or a job cancelled every task that it could find.
        """
        body = self._vital.pop(handle, None)
        if body is None or self.stopped.is_set():
            return
        self._revivals += 1
        if self._revivals > REVIVALS:
            self._observers.notify(e.InternalFault(body.__name__, "its task is cancelled again and again"))
            return
        try:
            self._vital[self._own(body)] = body
        except Exception as error:  # noqa: BLE001 - trio has ended
            self._fault(body.__name__, error)

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
        for handle in self._owned:
            handle.cancel()
        if cut is not None:
            raise cut

    async def tick(self) -> tuple[e.Action, ...]:
        """Turn, and without a loop ask the ledger too, until nothing more is due; return what was done."""
        done: list[e.Action] = []
        self.done = done
        try:
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

    async def _loop(self, handle: Handle) -> None:
        """Turn whenever something is due, until stopped."""
        handle.started = True
        while True:
            self._poked = False
            self.turn()
            self.ticked = self._monotonic
            if self.interrupt is not None:
                self._let_out()
            if self.stopping and self.timetable.is_over:
                break
            try:
                await self._rest()
            except BaseException as error:  # noqa: BLE001 - the clock's sleep
                await self._recover("loop", error)
            else:
                self._faults = 0
        await self._settle_claims()
        self.has_loop = False
        self.stopped.set()
        self.parking_changed()

    async def _recover(self, where: str, error: BaseException) -> None:
        """Go on after *error*, after a rest in real time, unless the task is to end."""
        if not is_stray(error) and not isinstance(error, KeyboardInterrupt):
            raise error
        self._fault(where, error)
        self._faults += 1
        await anyio.sleep(doubled_ms(FAULT_BACKOFF[0], self._faults, FAULT_BACKOFF[1]) / 1000)

    def _let_out(self) -> None:
        """Stop without a drain, because a job raised ``KeyboardInterrupt``; whoever entered us raises it on."""
        self.stop(0)
        self._interrupted()

    async def _serve(self, service: Service, handle: Handle) -> None:
        """Run an observer's own task, and begin it anew with a back-off when it fails."""
        handle.started = True
        failures = 0
        while not handle.cancel_requested:
            try:
                await service.run()
            except KeyboardInterrupt as error:
                self._fault(type(service).__name__, error)
                return
            except BaseException as error:
                if not is_stray(error):
                    raise
                failures += 1
                self._observers.notify(e.ObserverFailed(type(service).__name__, error_text(error), disabled=False))
                await anyio.sleep(doubled_ms(FAULT_BACKOFF[0], failures, FAULT_BACKOFF[1]) / 1000)
            else:
                return

    async def _rest(self) -> None:
        """Sleep until the next wake-up, but no longer than a slice, or until something is due earlier."""
        target = self._next_turn()
        seconds = SLICE_SECONDS if target is None else min(SLICE_SECONDS, (target - self._read_clocks()) / 1000)
        if self._breathe or self._poked or seconds <= 0:
            self._breathe = False
            await anyio.lowlevel.checkpoint()
            return
        with anyio.CancelScope() as scope:
            self._nap, self._nap_until = scope, target
            self.parking_changed()
            try:
                await self._clock.sleep(seconds)
            finally:
                self._nap = None

    async def _settle_claims(self) -> None:
        """Give the ledger a last while for what is under way; what it then has not answered is no claim."""
        with anyio.move_on_after(LEDGER_SECONDS):
            while not self.courier.idle:
                self._delivered = anyio.Event()
                await self._delivered.wait()
        unanswered = self.courier.give_up()
        if unanswered:
            self.tell(e.Answered(unanswered, None))

    def _wake_for_next(self) -> None:
        """Cut the nap if something became due earlier than it was taken for."""
        if self._nap is None:
            return  # the loop is awake and looks for itself before it sleeps
        target = self._next_turn()
        earlier = target is not None and (self._nap_until is None or target < self._nap_until)
        if earlier or self._breathe or self.interrupt is not None or (self.stopping and self.timetable.is_over):
            self._poke()

    def _poke(self) -> None:
        if self._nap is not None:
            self._poked = True
            self._nap.cancel()

    async def _carry(self, handle: Handle) -> None:
        """Deliver to the ledger whenever something is queued."""
        handle.started = True
        while not handle.cancel_requested:
            try:
                if not self.courier.waiting:
                    await self._errand.wait()
                self._errand = anyio.Event()
                await self.courier.deliver()
            except BaseException as error:  # noqa: BLE001 - a fence of design section 6: ledger
                await self._recover("ledger", error)
            self._delivered.set()
            self.parking_changed()

    # --- quiet

    @property
    def is_draining(self) -> bool:
        """Whether the loop waits for its last runs, so that nobody else moves a fake clock on."""
        return self.stopping and not self.stopped.is_set()

    @property
    def busy(self) -> tuple[str, ...]:
        """The jobs whose runs are alive and do not wait for the clock, sorted."""
        live = (handle for handle in self._handles.values() if not (handle.parked or handle.given_up))
        return tuple(sorted(handle.run.job for handle in live if handle.run is not None))

    @property
    def is_quiet(self) -> bool:
        """Whether the loop is parked, the ledger asked nothing, and every live run waits for the clock."""
        napping = self._nap is not None and not self._poked and self.courier.idle
        return (napping or not self.has_loop) and not self._turning and not self.busy

    async def wait_quiet(self) -> None:
        """Return once `is_quiet` holds."""
        while not self.is_quiet:
            if self._quiet is None:
                self._quiet = anyio.Event()
            await self._quiet.wait()

    def parking_changed(self) -> None:
        """See `Keeper.parking_changed`."""
        if self._quiet is not None and self.is_quiet:
            self._quiet.set()
            self._quiet = None

    _PERFORMERS: ClassVar[dict[type, Callable[[Engine, Any], None]]] = {
        e.Start: _start,
        e.Claim: _ask,
        e.Register: _ask,
        e.Finish: _ask,
        e.Cancel: _cancel,
        e.Abandon: _abandon,
        e.More: _more,
    }
    """What is done for each action; any other one is an event, and reported."""
