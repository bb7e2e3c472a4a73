"""Clocks and a schedule that tests of what can be seen move, block and break by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio

from loopcron.testing import FakeClock

MINUTE = timedelta(minutes=1)


class HandClock:
    """A clock that is moved by hand and waits for nobody."""

    def __init__(self) -> None:
        self.elapsed = timedelta(0)
        self.moved = anyio.Event()

    def now(self) -> datetime:
        return datetime(2031, 5, 7, 11, 13, 17, tzinfo=UTC) + self.elapsed

    def monotonic(self) -> float:
        return self.elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        end = self.monotonic() + seconds
        while self.monotonic() < end:
            await self.moved.wait()

    async def move(self, by: timedelta) -> None:
        """Move both hands, and let everybody do what follows from that."""
        self.elapsed += by
        self.moved.set()
        self.moved = anyio.Event()
        for _ in range(30):
            await anyio.lowlevel.checkpoint()


class Slipping:
    """A clock whose hands go on while nothing is awaited, or that cannot be read."""

    def __init__(self, fake: FakeClock) -> None:
        self.fake = fake
        self.ahead = timedelta(0)
        self.broken = False
        self.sleep = fake.sleep
        self.attach = fake.attach

    def move(self, by: timedelta) -> None:
        """Move both hands, and wake no sleeper."""
        self.ahead += by

    def now(self) -> datetime:
        if self.broken:
            raise OSError("no clock")
        return self.fake.now() + self.ahead

    def monotonic(self) -> float:
        return self.fake.monotonic() + self.ahead.total_seconds()


class Odd:
    """A schedule of every minute that can break."""

    def __init__(self) -> None:
        self.broken = False

    def next_after(self, instant: datetime) -> datetime:
        if self.broken:
            raise ValueError("odd")
        return instant.replace(second=0, microsecond=0) + MINUTE

    def latest_until(self, instant: datetime) -> datetime:
        return instant.replace(second=0, microsecond=0)
