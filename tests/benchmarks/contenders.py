"""
The schedulers under measurement: loopcron as its users use it, and the bare event loop as what it is compared with.

Both are used alike, through `Contender`; those of other people stand in ``peers``.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

SECOND_MS = 1_000
Work = Callable[..., Coroutine[Any, Any, None]]
"""What a job does; called with a run by loopcron, and with nothing by the others."""


class Fire(NamedTuple):
    """One job."""

    work: Work
    due: int
    """The first instant at which it is to run: ms since the epoch, by the wall clock."""
    interval: int
    """After so many ms it is to run again."""


class Contender(ABC):
    """One scheduler, in a process of its own, on the event loop that runs."""

    grain: ClassVar = 1
    """Due instants must be multiples of so many ms."""
    most: ClassVar = 1_000_000
    """With more jobs than that it takes minutes, so it is not asked to."""
    warm_up_ms: ClassVar = 500
    """So much earlier than what is measured it has a few runs, and will have seen that they are due."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.offset = time.time() - time.monotonic()

    async def prepare(self) -> None:
        """Import what it needs, before anything is measured."""
        return

    @abstractmethod
    async def add(self, fires: Sequence[Fire]) -> None:
        """Make jobs of them."""

    async def start(self) -> None:
        """Let the jobs run from now on."""
        return


class CallAt(Contender):
    """Timers of the event loop that arm themselves anew, and a task per run: what nobody who uses tasks goes below."""

    async def add(self, fires: Sequence[Fire]) -> None:
        loop = self.loop
        for fire in fires:
            timer = _Timer(loop, fire.work, fire.due / 1000 - self.offset, fire.interval / 1000)
            loop.call_at(timer.due, timer.fire)


class _Timer:
    __slots__ = ("due", "interval", "loop", "work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Work, due: float, interval: float) -> None:
        self.loop, self.work, self.due, self.interval = loop, work, due, interval

    def fire(self) -> None:
        self.due = due = self.due + self.interval
        self.loop.call_at(due, self.fire)
        self.loop.create_task(self.work())


class Loopcron(Contender):
    """Entered as in an app: history, the log at its default level, the ledger in memory and all fences on."""

    async def prepare(self) -> None:
        from loopcron import FunctionJob, Scheduler, every

        async with Scheduler():
            pass  # all of it is imported now
        self._job, self._every = FunctionJob, every
        self._scheduler = Scheduler()

    async def add(self, fires: Sequence[Fire]) -> None:
        job, every, add = self._job, self._every, self._scheduler.add
        for number, fire in enumerate(fires, start=len(self._scheduler.jobs)):
            phase = timedelta(milliseconds=fire.due % fire.interval)
            add(job(f"job-{number}", every(milliseconds=fire.interval, phase=phase), fire.work))

    async def start(self) -> None:
        await self._scheduler.__aenter__()  # the process ends without leaving it
