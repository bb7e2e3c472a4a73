"""
The one thread on which a ledger uses its driver, so that any driver serves every event loop and blocks none.

Not anyio's worker threads under a limiter of one: a call whose caller has gone gives its place back there while its
work goes on, so two would run at once, and a driver's connection is often bound to the thread that made it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from loopcron._errors import LedgerError

if TYPE_CHECKING:
    from anyio import Event

_Result = TypeVar("_Result")


def nothing() -> None:
    """Do nothing: for a driver that cannot be interrupted."""


@final
class StoreThread:
    """
    Runs works on one daemon thread of its own, one at a time, in the order in which they came.

    The thread begins with the first call and ends with `close`. A child process that was forked off begins one of
    its own. Calls may come from any event loop, and from several, one after the other.

    Args:
        name: The thread's name, for people who look at a stack.
        seconds: How long a call takes at most, its waiting for earlier ones included.
        interrupt: Makes a driver that is at work let go; called on the caller's thread when the caller of that very
            work has gone. It must not block; what it raises is dropped.
    """

    def __init__(self, name: str, seconds: float, *, interrupt: Callable[[], object] = nothing) -> None:
        self._name = name
        self._seconds = seconds
        self._interrupt = interrupt
        self._worker = _Worker(name)

    async def call(self, work: Callable[[], _Result]) -> _Result:
        """
        Return what *work* returns, or raise what it raises, ``SystemExit`` and the like included.

        Raises:
            LedgerError: There was no answer in time. A work that has not begun never will; one that has is
                interrupted, goes on until it ends, and its result is dropped.

        Cancellation:
            Leaves the work behind likewise.
        """
        worker = self._own_worker()
        call = _Call(work)
        worker.take(call)
        try:
            await self._wait(call)
        finally:
            if not call.has_ended:
                worker.abandon(call, self._interrupt)
        return call.answer()

    async def close(self, release: Callable[[], object]) -> None:
        """
        Run *release* on the thread, behind all that waits, and end the thread; a later call begins a new one.

        Without a thread there is nothing to release, and *release* is not called. What it raises is dropped; so is
        the wait for it once the time of a call is over.

        Cancellation:
            Ends the wait, and *release* is called all the same.
        """
        import anyio  # on use

        worker = self._own_worker()
        if not worker.has_begun:
            await anyio.lowlevel.checkpoint()
            return
        call = _Call(release, is_last=True)
        worker.take(call)
        with suppress(LedgerError):
            await self._wait(call)

    def _own_worker(self) -> _Worker:
        # Of the parent's worker a forked child has no thread, and perhaps a lock that nobody will ever give back.
        if self._worker.process != os.getpid():
            self._worker = _Worker(self._name)
        return self._worker

    async def _wait(self, call: _Call[_Result]) -> None:
        import anyio  # on use

        with anyio.move_on_after(self._seconds):
            await call.ended.wait()
        if not call.has_ended:
            raise LedgerError(f"gave no answer within {self._seconds:g} s")


@final
class _Call(Generic[_Result]):
    """One work, and whoever waits for it. Made on the event loop of the caller."""

    def __init__(self, work: Callable[[], _Result], *, is_last: bool = False) -> None:
        import anyio  # on use

        loop = anyio.lowlevel.current_token().native_token
        # asyncio's and trio's own way to be told something by a thread. anyio's waits until the loop has heard it,
        # and a loop that stops just then never does: the thread would wait for good.
        self._tell: Callable[[Callable[[], object]], object] = (
            loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon  # type: ignore[attr-defined]
        )
        self.ended: Final[Event] = anyio.Event()
        self.has_ended = False
        self.is_abandoned = False
        self.is_last: Final = is_last
        self._works = [work]
        self._results: list[_Result] = []
        self._errors: list[BaseException] = []

    def perform(self) -> None:
        """Do the work, on the thread."""
        try:
            self._results.append(self._works.pop()())
        except BaseException as error:  # noqa: BLE001 - it is the caller's, to whom it is carried over
            self._errors.append(error)

    def forget(self) -> None:
        """Let go of the work, which will not be done: behind one that never ends the call stays in the queue."""
        self._works.clear()

    def report(self) -> None:
        """Tell the caller that the work has ended, from the thread."""
        self.has_ended = True
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits any more
            self._tell(self.ended.set)

    def answer(self) -> _Result:
        """Return or raise what the work has."""
        if self._errors:
            raise self._errors.pop()  # no reference stays, or error and traceback would hold each other
        return self._results.pop()


@final
class _Worker:
    """The thread with its queue, in one process."""

    def __init__(self, name: str) -> None:
        self.process: Final = os.getpid()
        self._name = name
        self._queue: SimpleQueue[_Call[object]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._current: _Call[object] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def take(self, call: _Call[_Result]) -> None:
        """Queue *call*."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            self._queue.put(call)  # type: ignore[arg-type]

    def abandon(self, call: _Call[_Result], interrupt: Callable[[], object]) -> None:
        """Never begin *call*, or drop its result."""
        # Under the lock no other work begins, which an interrupt that comes late would hit.
        with self._lock:
            call.is_abandoned = True
            if self._current is call:
                with suppress(Exception):
                    interrupt()
            else:
                call.forget()

    def _serve(self) -> None:
        while self._serve_one(self._queue.get()):
            pass

    def _serve_one(self, call: _Call[object]) -> bool:
        """Serve *call*, and return whether to go on. Of its own, so that the thread keeps nothing while it waits."""
        with self._lock:
            if call.is_abandoned:
                return True
            self._current = call
        call.perform()
        with self._lock:
            self._current = None
            goes_on = not (call.is_last and self._queue.empty())
            if not goes_on:
                self._thread = None
        call.report()
        return goes_on
