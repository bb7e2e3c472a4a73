"""
The bounded queue of an observer that does I/O: filled on the loop, emptied by the observer's own task.

Whatever happens to a message, the scheduler and the observer go on: a message that cannot be delivered is lost,
counted, and told in the log at most once a minute.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final, Generic, TypeVar, final

import anyio
from anyio.abc import TaskGroup

from loopcron._clock import SystemClock
from loopcron._errors import ConfigError, LoopcronError
from loopcron._instants import span_ms
from loopcron._outcomes import printable
from loopcron._spawn import is_stray

_Item = TypeVar("_Item")

PAUSES_SECONDS: Final = (1.0, 4.0)
"""How long to wait before a message is tried again, in real time; after the last one it is lost."""
FLUSH_SECONDS: Final = 0.7
"""How long what is left may take at the end of a life; the scheduler waits no longer than 1 s for it."""
REPORT_SECONDS: Final = 60.0

_LOST: Final = "observer %s could not deliver a message: %s (%s lost so far)"
_logger: Final = logging.getLogger("loopcron")


class UndeliveredError(LoopcronError):
    """
    A message that did not arrive, told in our own words: of any other exception no more than its type is shown.

    Args:
        problem: A text that holds no secret.
        again: Whether trying again can help.
    """

    def __init__(self, problem: str, *, again: bool = True) -> None:
        super().__init__(problem)
        self.problem: Final = problem
        self.again: Final = again


@final
class Outbox(Generic[_Item]):
    """
    What an observer has to say and has not said yet.

    `Observer.on_event` puts messages in, and the observer's ``async run()`` awaits `serve`. A message is tried up to
    three times, and lost after that. Where the queue is full its *oldest* message is lost: the newest ones tell how
    things stand now, and one that has waited behind so many others would arrive as yesterday's news.

    May be made anywhere, and served by one event loop after the other.

    Args:
        owner: The observer's name, for the log.
        size: How many messages may wait, 1 to 100,000.
        at_once: How many are delivered at a time, 1 to 100; of one lane never more than one.
        timeout: How long one try may take, in real time.

    Raises:
        ConfigError: An argument is none of these.
    """

    def __init__(
        self, owner: str, *, size: int = 1000, at_once: int = 1, timeout: timedelta = timedelta(seconds=5)
    ) -> None:
        self._owner: Final = printable(owner)
        self._size: Final = _checked_count("size", size, 100_000)
        self._at_once: Final = _checked_count("at_once", at_once, 100)
        self._timeout_seconds: Final = span_ms("timeout", timeout) / 1000
        self._monotonic = SystemClock().monotonic
        self._waiting: deque[tuple[str, _Item]] = deque()
        self._busy: set[str] = set()
        self._changed: anyio.Event | None = None  # made where somebody waits, because it belongs to that event loop
        self._ending: anyio.Event | None = None
        self._tasks: TaskGroup | None = None
        self._told: dict[str, float] = {}
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many messages were lost so far."""
        return self._dropped

    def put(self, item: _Item, lane: str = "") -> None:
        """
        Queue *item*; never waits, never raises. To be called on the scheduler's event loop, as `Observer.on_event` is.

        Args:
            item: The message.
            lane: What is put into one lane is delivered in order.
        """
        if len(self._waiting) >= self._size:
            self._waiting.popleft()
            self._lose("overflow", "its queue is full")
        self._waiting.append((lane, item))
        self._wake()

    def put_later(self, item: _Item, wait: Callable[[], Awaitable[object]], lane: str = "") -> Callable[[], object]:
        """
        Queue *item* once what *wait* returns has been awaited; to be called as `put`.

        Returns:
            What withdraws the message, as long as it was not queued. While nobody serves it is not queued at all.
        """
        if self._tasks is None:
            return _nothing
        scope = anyio.CancelScope()
        self._tasks.start_soon(self._put_later, item, wait, lane, scope)
        return scope.cancel

    async def serve(self, deliver: Callable[[_Item], Awaitable[object]]) -> None:
        """
        Deliver what is put in, for as long as the scheduler lives; for the observer's ``async run()``.

        Args:
            deliver: Awaited with one message; what it raises means that the message did not arrive.

        Cancellation:
            What is left is tried once more, for up to 0.7 s; what then has not arrived is lost.
        """
        # Shielded, because what is being delivered when the end comes is to arrive all the same.
        scopes = [anyio.CancelScope(shield=True) for _ in range(self._at_once)]
        done, interrupted = anyio.Event(), anyio.Event()
        self._ending = anyio.Event()
        try:
            async with anyio.create_task_group() as self._tasks:
                for scope in scopes:
                    self._tasks.start_soon(self._work, deliver, scope, done, interrupted)
                try:
                    await interrupted.wait()
                except anyio.get_cancelled_exc_class():
                    await self._flush(done)
                    raise
                finally:
                    for scope in (*scopes, self._tasks.cancel_scope):
                        scope.cancel()
        finally:
            self._tasks = self._ending = self._changed = None
            self._busy.clear()
            self._waiting.clear()
        raise KeyboardInterrupt

    async def _flush(self, done: anyio.Event) -> None:
        assert self._ending is not None  # being served
        self._ending.set()
        self._wake()
        with anyio.move_on_after(FLUSH_SECONDS, shield=True):
            await done.wait()
        for _ in range(len(self._waiting) + len(self._busy)):
            self._lose("end", "the scheduler has ended")

    async def _put_later(
        self, item: _Item, wait: Callable[[], Awaitable[object]], lane: str, scope: anyio.CancelScope
    ) -> None:
        with scope:
            try:
                await wait()
            except Exception as error:  # noqa: BLE001 - a user's clock; it must not end what serves all else
                self._lose("wait", type(error).__name__)
            else:
                if not scope.cancel_called:  # its wait may have ended at the same moment
                    self.put(item, lane)

    async def _work(
        self,
        deliver: Callable[[_Item], Awaitable[object]],
        scope: anyio.CancelScope,
        done: anyio.Event,
        interrupted: anyio.Event,
    ) -> None:
        assert self._ending is not None  # being served
        with scope:
            while not (self._ending.is_set() and not self._waiting):
                taken = self._take()
                if taken is None:
                    self._changed = self._changed or anyio.Event()
                    await self._changed.wait()
                    continue
                lane, item = taken
                try:
                    await self._try(deliver, item)
                except KeyboardInterrupt:
                    # Raised in this task it would end a whole asyncio loop, or come out in a group.
                    interrupted.set()
                    return
                self._busy.discard(lane)
                self._wake()
        if not self._busy:
            done.set()

    def _take(self) -> tuple[str, _Item] | None:
        """Take the oldest message whose lane is free."""
        for index, (lane, item) in enumerate(self._waiting):
            if lane not in self._busy:
                del self._waiting[index]
                self._busy.add(lane)
                return lane, item
        return None

    async def _try(self, deliver: Callable[[_Item], Awaitable[object]], item: _Item) -> None:
        assert self._ending is not None  # being served
        pauses = list(PAUSES_SECONDS)
        while True:
            try:
                with anyio.fail_after(self._timeout_seconds):
                    await deliver(item)
            except BaseException as error:
                if not is_stray(error):
                    raise
                problem = error.problem if isinstance(error, UndeliveredError) else type(error).__name__
                hopeless = isinstance(error, UndeliveredError) and not error.again
            else:
                return
            if hopeless or not pauses or self._ending.is_set():
                self._lose("delivery", problem)
                return
            with anyio.move_on_after(pauses.pop(0)):
                await self._ending.wait()  # then there is time for one more try, and none for a pause

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            with suppress(RuntimeError):  # its event loop was closed with the task that waits for it still alive
                changed.set()

    def _lose(self, kind: str, problem: str) -> None:
        """Count a lost message, and say so, of each *kind* at first and then at most once a minute."""
        self._dropped += 1
        now = self._monotonic()
        told = self._told.get(kind)
        if told is not None and now - told < REPORT_SECONDS:
            return
        self._told[kind] = now
        extra = {
            "loopcron_observer": self._owner,
            "loopcron_problem": problem,
            "loopcron_dropped": self._dropped,
        }
        with suppress(Exception):  # a fence of design section 6: logger
            _logger.warning(_LOST, self._owner, problem, self._dropped, extra=extra)


def _nothing() -> None:
    """Withdraw what was not queued."""


def _checked_count(field: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(field, value, f"must be a whole number from 1 to {most}")
    return value
