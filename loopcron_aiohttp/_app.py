"""
The scheduler's place in an aiohttp app: a clean-up context, and a typed key.

The scheduler is entered and left by a task of its own. A clean-up context may start in one task and end in another,
and lives in the server's main task: a cancel scope held open across its ``yield`` would break in the first case, and
in the second turn what goes wrong inside against the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, final

from aiohttp import web

from loopcron import LifecycleError, ListenerWatch, LoopbackTransport, Scheduler

SCHEDULER: Final = web.AppKey("loopcron_scheduler", Scheduler)
"""Where an app holds its scheduler: ``app[SCHEDULER]``."""


def install(app: web.Application, scheduler: Scheduler) -> None:
    """
    Let *scheduler* run from the app's start to its clean-up.

    Install it after the app's own clean-up contexts were added: it then starts after them and stops before them, so
    jobs may use what those set up.

    Args:
        app: The outermost one. A sub-app is cleaned up after the app around it, so a scheduler in there would
            outlive what its jobs use.
        scheduler: For the whole app; `get_scheduler` and `scheduler_from` find it.

    Raises:
        LifecycleError: The app has a scheduler already, or has started, or is part of another one.
    """
    if SCHEDULER in app:
        raise LifecycleError("this app has a scheduler already: install one, once")
    if app.pre_frozen:
        raise LifecycleError(
            "this app has started or was added to another one: install the scheduler in the outermost app, before "
            "it starts. A sub-app is cleaned up after the app around it, and would close what jobs still use"
        )
    app[SCHEDULER] = scheduler
    host = _Host(scheduler)
    app.cleanup_ctx.append(host.life)
    app.on_shutdown.append(host.begin_to_leave)


def get_scheduler(app: web.Application) -> Scheduler:
    """
    Return the scheduler that was installed in *app*, whether it runs or not.

    Raises:
        LifecycleError: None was; for a request of a sub-app use `scheduler_from`, which asks the apps around it too.
    """
    found = app.get(SCHEDULER)
    if found is None:
        raise LifecycleError(
            "no scheduler is installed in this app: call loopcron_aiohttp.install(app, scheduler) on the outermost "
            "app. Is this a sub-app? It does not know the app around it; scheduler_from(request) does"
        )
    return found


def scheduler_from(request: web.Request) -> Scheduler:
    """
    Return the scheduler of the app that serves *request*, or of the nearest app around it that has one.

    Raises:
        LifecycleError: None has.
    """
    found = request.config_dict.get(SCHEDULER)
    return found if isinstance(found, Scheduler) else get_scheduler(request.app)


@final
class _Host:
    """Enters the scheduler in a task, and leaves it there."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._leave = asyncio.Event()

    async def life(self, _app: web.Application) -> AsyncIterator[None]:
        """Run the scheduler; a clean-up context."""
        self._leave = leave = asyncio.Event()  # one per start
        entered = asyncio.Event()
        task = asyncio.create_task(self._supervise(entered, leave), name="loopcron")
        waiting = asyncio.create_task(entered.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()  # why it did not start
            yield
        finally:
            waiting.cancel()
            leave.set()
            await _joined(task)

    async def begin_to_leave(self, _app: web.Application) -> None:
        """Claim nothing more: the server takes no connections any longer, and is about to wait for its requests."""
        self._leave.set()

    async def _supervise(self, entered: asyncio.Event, leave: asyncio.Event) -> None:
        self._scheduler.supply_transport(LoopbackTransport(served=True))
        async with self._scheduler:
            self._scheduler.stop_when(ListenerWatch())
            entered.set()
            await leave.wait()


async def _joined(task: asyncio.Task[None]) -> None:
    """Wait for the end of *task*; giving up the wait ends the drain, and a while later the task."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    if not task.cancelled():
        task.exception()  # seen: a start that failed was raised there, a KeyboardInterrupt has left the event loop
