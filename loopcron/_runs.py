"""
The attempts that are alive: each started in a task of its own, behind the fence, and its end told.

How an attempt ended is said here; what that means for the run is the timetable's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, final

import anyio

from loopcron._errors import TransportError
from loopcron._events import Abandon, Cancel, RunStarted
from loopcron._jobs import outcome_of_error
from loopcron._outcomes import OUTCOMES, Failed, Outcome, Run, Succeeded, error_text
from loopcron._policies import finite_seconds
from loopcron._spawn import Handle, Spawner, current_handle
from loopcron._threads import Threads
from loopcron._tracers import Tracers

if TYPE_CHECKING:
    from loopcron._http import Request, Response
    from loopcron._protocols import Clock, Job, Transport

SUCCEEDED: Final = Succeeded()


class Host(Protocol):
    """Who hears of the attempts."""

    def attempt_ended(self, run_id: int, outcome: Outcome | None, exception: BaseException | None, /) -> None:
        """Take note of an attempt's end; None: it was cancelled."""
        ...

    def fault(self, where: str, error: BaseException, /) -> None:
        """Take note of a fault that no job is to blame for, or of a ``KeyboardInterrupt``."""
        ...

    def parking_changed(self) -> None:
        """Take note that a run began to wait for the clock, or ended."""
        ...

    def about_to_act(self, run_id: int, /) -> None:
        """Cut this run if its lease is no longer trusted."""
        ...


@final
class Runs:
    """
    Starts and cuts attempts, and stands behind their `Run` for what that can do.

    Args:
        host: Who hears of them.
        jobs: By name; the scheduler's own.
        spawner: Makes their tasks.
        clock: Of the scheduler.
        transport: Gives the transport when a run first sends.
        leased: Whether runs hold leases, which may have ended while the process stood still.
        tracers: Asked around each attempt and each request; None: nobody wants to be.
    """

    def __init__(
        self,
        host: Host,
        *,
        jobs: Mapping[str, Job],
        spawner: Spawner,
        clock: Clock,
        transport: Callable[[], Transport],
        leased: bool,
        tracers: Tracers | None,
    ) -> None:
        self._host = host
        self._leased = leased
        self._jobs = jobs
        self._spawner = spawner
        self._clock = clock
        self._transport = transport
        self._tracers = tracers
        self._threads = Threads()
        self._handles: dict[int, Handle] = {}

    def start(self, action: RunStarted) -> None:
        """Start an attempt."""
        job, slot, attempt, reason, key, run_id, fence, deadline = action
        handle = Handle(Run(job, slot, run_id, attempt, reason, fence, deadline, key, self), self)
        self._handles[run_id] = handle
        try:
            self._spawner.spawn(self._attend, handle)
        except Exception as error:  # noqa: BLE001 - no task, no run: the slot has its outcome at once
            self._host.fault("spawn", error)
            self._ended(handle, Failed("internal", error_text(error)))

    def cancel(self, action: Cancel) -> None:
        """Cut an attempt."""
        self._handles[action.run_id].cancel()

    def abandon(self, action: Abandon) -> None:
        """Wait for an attempt no longer."""
        self._handles[action.run_id].give_up()

    def __len__(self) -> int:
        """Return how many attempts are alive, stuck ones included."""
        return len(self._handles)

    @property
    def busy(self) -> tuple[str, ...]:
        """The jobs whose attempts are alive and do not wait for the clock, sorted."""
        live = (handle for handle in self._handles.values() if not (handle.parked or handle.given_up))
        return tuple(sorted(handle.run.job for handle in live if handle.run is not None))

    async def _attend(self, handle: Handle) -> None:
        """Run the job's body behind the fence; nothing is awaited after it."""
        handle.started = True
        current_handle.set(handle)
        run = handle.run
        assert run is not None  # the handle of an attempt
        outcome: Outcome | None = None
        exception: BaseException | None = None
        try:
            if self._leased:
                self._host.about_to_act(run.run_id)
            if not handle.cancel_requested:
                job = self._jobs[run.job]
                if self._tracers is None:
                    result = await job.run(run)
                else:
                    with self._tracers.around(run):
                        result = await job.run(run)
                outcome = SUCCEEDED if result is None or not isinstance(result, OUTCOMES) else result
        except TransportError as error:
            outcome = outcome_of_error(error)
        except anyio.get_cancelled_exc_class():
            pass  # by us or by somebody else: the timetable knows what it asked for
        except Exception as error:  # noqa: BLE001 - a fence of design section 6: job body
            outcome, exception = Failed("job", error_text(error)), error
        except BaseException as error:  # noqa: BLE001 - SystemExit, GeneratorExit and the odd
            outcome = Failed("job", error_text(error))
            if isinstance(error, KeyboardInterrupt):
                self._host.fault(run.job, error)
        self._spawner.release(handle)
        self._ended(handle, outcome, exception)
        del exception  # it holds this frame, and this frame would hold it

    def _ended(self, handle: Handle, outcome: Outcome | None, exception: BaseException | None = None) -> None:
        handle.ended = True
        run = handle.run
        assert run is not None  # the handle of an attempt
        if handle.given_up and handle.in_thread:
            return  # its thread runs on and will tell when it is over
        if self._handles.get(run.run_id) is not handle:
            return  # its thread has told already
        del self._handles[run.run_id]
        self._host.attempt_ended(run.run_id, outcome, exception)
        self._host.parking_changed()

    def lost(self, handle: Handle) -> None:
        """See `Keeper.lost`."""
        self._ended(handle, None)

    def parking_changed(self) -> None:
        """See `Keeper.parking_changed`."""
        self._host.parking_changed()

    async def send(self, run: Run, request: Request) -> Response:
        """See `Run.send`."""
        transport, request = self._transport(), request.with_headers(run.headers())
        if self._leased:
            # The last moment at which nothing is sent yet: the process may have been suspended since the claim. Only a
            # run that was cut waits here; meanwhile others could block the event loop until the lease is over.
            self._host.about_to_act(run.run_id)
            handle = self._handles.get(run.run_id)
            if handle is not None and handle.cancel_requested:
                await anyio.lowlevel.checkpoint()
        if self._tracers is not None:
            transport = self._tracers.over(transport)
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
