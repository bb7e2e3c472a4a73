"""
Daemon threads for jobs that block, under a limiter of the scheduler's own.

Not anyio's worker threads: those are shared with the app, so a hung job would starve its requests, and they are
joined at exit. A thread cannot be cancelled; a run waits for it until it is given up as stuck.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    import anyio

    from loopcron._outcomes import Run
    from loopcron._spawn import Handle

THREADS: Final = 4
"""How many blocking jobs run at once; a thread that hangs keeps its place until it ends."""


@final
class Threads:
    """Calls functions on daemon threads, `THREADS` at a time. Made on the event loop that uses it."""

    def __init__(self) -> None:
        import anyio  # on use

        self._places = anyio.Semaphore(THREADS)

    async def call(self, handle: Handle, run: Run, function: Callable[[Run], object]) -> object:
        """
        Return what *function* returns, or raise what it raises, ``SystemExit`` and the like included.

        It sees the context variables of the run, and what it sets stays with it.

        Cancellation:
            Waits on for the thread while the scheduler waits for the run; leaves the thread behind once the run is
            given up, or when the cancellation is not the scheduler's.
        """
        import anyio  # on use

        await self._places.acquire()
        done = anyio.Event()
        result: list[Any] = []
        error: list[BaseException] = []

        def finish() -> None:
            self._places.release()
            done.set()
            handle.thread_ended()

        def work() -> None:
            try:
                result.append(function(run))
            except BaseException as raised:  # noqa: BLE001 - carried over to the run's task, where the fence is
                error.append(raised)
            # RuntimeError: the event loop has ended, and nobody waits any more.
            with suppress(RuntimeError):
                anyio.from_thread.run_sync(finish, token=token)

        token = anyio.lowlevel.current_token()
        thread = threading.Thread(target=_context().run, args=(work,), name=f"loopcron {run.job}", daemon=True)
        try:
            thread.start()
        except BaseException:
            self._places.release()
            raise
        handle.in_thread = True
        await _wait(done, handle)
        if error:
            raise error.pop()
        return result.pop()


def _context() -> Context:
    """Return a copy of the run's context for a thread, in which no event loop runs."""
    context = copy_context()
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is not None:  # or a function that begins an event loop of its own would be told that one runs already
        context.run(sniffio.current_async_library_cvar.set, None)
    return context


async def _wait(done: anyio.Event, handle: Handle) -> None:
    import anyio  # on use

    cancelled = anyio.get_cancelled_exc_class()
    while True:
        # The shield is for trio, which cancels again at every checkpoint; asyncio's cancel comes once. Giving the
        # run up lifts it, or it would hold up the end of trio.run.
        scope = anyio.CancelScope(shield=handle.cancel_requested)
        handle.lift_shield = partial(setattr, scope, "shield", False)
        try:
            with scope:
                await done.wait()
        except cancelled:
            if handle.given_up or not handle.cancel_requested:
                raise
        else:
            return
