"""
The tasks that a life of the scheduler owns besides its runs: its loop, its courier, and the observers' services.

Owned as the runs' are, and no task group: what a user's clock, ledger or observer leaks must not end us.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, final

import anyio

from loopcron._events import InternalFault, ObserverFailed
from loopcron._outcomes import error_text
from loopcron._policies import doubled_ms
from loopcron._spawn import Body, Handle, Spawner, is_stray

if TYPE_CHECKING:
    from loopcron._observe import Observers
    from loopcron._protocols import Service

FAULT_BACKOFF: Final = (50, 5_000)
"""First and longest rest after a fault, in ms of real time: the scheduler's clock may be what failed."""
REVIVALS: Final = 3
"""How often in a life a vital task is begun anew after somebody cancelled it from outside."""
END_SECONDS: Final = 1.0
"""How long the tasks may take to end, in real time."""


@final
class Tasks:
    """
    Begins, revives and ends them.

    Args:
        spawner: Makes them.
        observers: Hear of what fails.
        fault: Takes a fault, or a ``KeyboardInterrupt``.
    """

    def __init__(self, spawner: Spawner, observers: Observers, fault: Callable[[str, BaseException], object]) -> None:
        self._spawner = spawner
        self._observers = observers
        self._fault = fault
        self._alive: set[Handle] = set()
        self._vital: dict[Handle, Body] = {}
        self._revivals = 0
        self._ending = False
        self._gone = anyio.Event()

    def begin(self, *bodies: Body) -> None:
        """Begin vital tasks, unless they are alive already; one that is cancelled from outside is begun anew."""
        for body in bodies:
            if body not in self._vital.values():
                self._vital[self._own(body)] = body

    def serve(self, service: Service) -> None:
        """Run an observer's own task."""
        self._own(partial(self._serve, service))

    async def end(self) -> None:
        """Cancel all, and wait a while until they have ended, so that the event loop may be closed after us."""
        self._ending = True
        for handle in self._alive:
            handle.cancel()
        with anyio.move_on_after(END_SECONDS, shield=True):
            while self._alive:
                self._gone = anyio.Event()
                await self._gone.wait()

    async def rest(self, where: str, error: BaseException, faults: int) -> None:
        """Report *error*, the *faults*-th in a row, and rest in real time; raise it on if the task is to end."""
        if not is_stray(error) and not isinstance(error, KeyboardInterrupt):
            raise error
        self._fault(where, error)
        await anyio.sleep(doubled_ms(FAULT_BACKOFF[0], faults, FAULT_BACKOFF[1]) / 1000)

    def _own(self, body: Body) -> Handle:
        handle = Handle(None, self)
        self._alive.add(handle)
        self._spawner.spawn(partial(self._attend, body), handle)
        return handle

    async def _attend(self, body: Body, handle: Handle) -> None:
        handle.started = True
        await body(handle)
        self._vital.pop(handle, None)  # it has ended by itself, and is not to be begun anew

    async def _serve(self, service: Service, handle: Handle) -> None:
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
                self._observers.notify(ObserverFailed(type(service).__name__, error_text(error), disabled=False))
                await anyio.sleep(doubled_ms(FAULT_BACKOFF[0], failures, FAULT_BACKOFF[1]) / 1000)
            else:
                return

    def lost(self, handle: Handle) -> None:
        """
        See `Keeper.lost`; begin a vital task anew, for whoever leaves the scheduler waits for it.

        Its body catches all but its cancellation: the event loop is torn down, as ``asyncio.run`` does it while a task
        in the background still lives in the scheduler, or a job cancelled every task that it could find.
        """
        self._alive.discard(handle)
        self._gone.set()
        body = self._vital.pop(handle, None)
        if body is None or self._ending:
            return
        self._revivals += 1
        if self._revivals > REVIVALS:
            self._observers.notify(InternalFault("tasks", "cancelled again and again", None))
            return
        try:
            self.begin(body)
        except Exception as error:  # noqa: BLE001 - trio has ended
            self._fault("tasks", error)

    def parking_changed(self) -> None:
        """See `Keeper.parking_changed`; these tasks never park."""
