"""
The one file of the core that knows the backend: how a run gets a task that nothing it does can use against the others.

asyncio: an owned task per run, because in an anyio task group one leaked ``CancelledError`` silently ends all
siblings, and a run that swallows cancellation could never be left. trio: a system task with a nursery of its own
per run, so that a leaked nursery or scope stays in there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol, final

if TYPE_CHECKING:
    from loopcron._outcomes import Run


class Keeper(Protocol):
    """Who made an attempt's task, and hears of it."""

    def lost(self, handle: Handle, /) -> None:
        """Take note that the attempt is over without having said so itself."""
        ...

    def parking_changed(self) -> None:
        """Take note that a run began to wait for the clock."""
        ...


@final
class Handle:
    """
    A task that the scheduler owns: of one attempt, of its loop, of a service.

    What begins the same for all stands in the class, because one is made for every attempt.
    """

    parked: set[object] | None = None
    """The places in which the body, or tasks of its own, wait for the clock or for ever, so that time may move on;
    made when first needed, because an empty set is not cheap."""
    started = False
    """Whether the body took its first step; a task cancelled before that never enters its fence."""
    cancel_requested = False
    strikes = False
    """Whether the body may not have met its cancellation yet."""
    given_up = False
    ended = False
    in_thread = False
    task: Any = None
    """What is cancelled to cut it, asyncio's task or the scope around trio's. It holds the task, too, of which asyncio
    keeps a weak reference only; None: it has not begun, or is over."""
    lift_shield: Callable[[], object] | None = None

    def __init__(self, run: Run | None, keeper: Keeper) -> None:
        self.run: Final = run
        """None: the task is no attempt."""
        self.keeper: Final = keeper

    def cancel(self) -> None:
        """Cut the attempt; one that has not started yet is only marked, and its body looks."""
        self.cancel_requested = self.strikes = True
        self.parked = None
        if self.started and self.task is not None:
            self.task.cancel()

    async def let_strike(self) -> None:
        """Meet a cancellation that is under way, so that time does not move on as if the body waited for the clock."""
        if self.strikes:
            import anyio  # on use

            self.strikes = False
            await anyio.lowlevel.checkpoint()

    @contextmanager
    def park(self) -> Iterator[None]:
        """Mark the body as waiting for the clock."""
        place = object()
        if self.parked is None:
            self.parked = set()
        self.parked.add(place)
        self.keeper.parking_changed()
        try:
            yield
        finally:
            if self.parked is not None:  # else it was cancelled meanwhile
                self.parked.discard(place)

    def give_up(self) -> None:
        """Wait for the attempt no longer."""
        self.given_up = True
        if self.lift_shield is not None:
            self.lift_shield()

    def thread_ended(self) -> None:
        """Take note that the thread of a blocking job is over, maybe long after its run was given up."""
        self.in_thread = False
        if self.given_up:
            self.keeper.lost(self)

    def task_ended(self, _task: object = None) -> None:
        """Take note that the task is over; one that was cancelled before its first step has reported nothing."""
        self.task = None  # its context holds this: garbage that only a full collection would find
        if not self.ended:
            self.keeper.lost(self)


Body = Callable[[Handle], Coroutine[Any, Any, None]]

current_handle: ContextVar[Handle] = ContextVar("current_handle")
"""The attempt whose task is running; for ``loopcron.testing.hang``, which parks it."""


class Spawner(Protocol):
    """Starts tasks that the scheduler owns."""

    def spawn(self, body: Body, handle: Handle) -> None:
        """Run *body* in a task of its own."""
        ...

    def release(self, handle: Handle) -> None:
        """Take note, in its own task, that the body has said how it ended: nobody else has to watch for that."""
        ...


@final
class _AsyncioSpawner:
    def __init__(self) -> None:
        import asyncio  # on use, so that importing loopcron stays light

        self._loop = asyncio.get_running_loop()
        self._context = copy_context()

    def spawn(self, body: Body, handle: Handle) -> None:
        # A copy per run: what a job sets must reach neither the next run nor the request that triggered it.
        task = self._loop.create_task(body(handle), context=self._context.copy())
        handle.task = task
        task.add_done_callback(handle.task_ended)

    def release(self, handle: Handle) -> None:
        task, handle.task = handle.task, None
        if task is not None:  # else it is an eager task, which is over before it was watched
            task.remove_done_callback(handle.task_ended)  # which costs one more round of the event loop for each run


@final
class _TrioSpawner:
    def __init__(self) -> None:
        self._context = copy_context()

    def spawn(self, body: Body, handle: Handle) -> None:
        import trio  # only where it runs already

        async def nursed() -> None:
            try:
                async with trio.open_nursery() as nursery:
                    handle.task = nursery.cancel_scope
                    nursery.start_soon(body, handle)
            except BaseException:  # noqa: BLE001, S110 - a leaked scope or nursery of the job; its outcome is known
                pass
            finally:
                handle.task_ended()

        trio.lowlevel.spawn_system_task(nursed, context=self._context.copy())

    def release(self, handle: Handle) -> None:
        """Nothing: it is the system task that tells, and it goes on until the nursery of the run is empty."""


def make_spawner() -> Spawner:
    """Return the spawner for the event loop that runs now."""
    return _TrioSpawner() if in_trio() else _AsyncioSpawner()


def is_stray(error: BaseException) -> bool:
    """
    Return whether *error* is a fault to go on after: no ``KeyboardInterrupt``, and no cancellation of this very task.

    A ``CancelledError`` may have leaked. For tasks that run no job: they go on after a leak, and must end when the
    event loop is torn down. Runs are judged by their own handle only, because a job's libraries count
    ``Task.cancelling`` up and down as they like.
    """
    if isinstance(error, KeyboardInterrupt):
        return False
    if in_trio():
        import trio  # only where it runs already

        return not isinstance(error, trio.Cancelled)
    import asyncio  # on use

    task = asyncio.current_task()
    return not (isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0)


def in_trio() -> bool:
    """Return whether the calling task is trio's; asked first, because trio can be a guest of asyncio."""
    module: Any = sys.modules.get("trio")
    return module is not None and bool(module.lowlevel.in_trio_task())
