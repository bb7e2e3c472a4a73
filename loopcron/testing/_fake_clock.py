"""A clock that moves only when told to: two hands, and a scheduler that is quiet before they move on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from heapq import heappop, heappush
from typing import Final, Protocol, final

import anyio

from loopcron._clock import MsClock
from loopcron._errors import ConfigError, LoopcronError
from loopcron._instants import EPOCH, aware
from loopcron._spawn import current_handle

PATIENCE_SECONDS: Final = 5.0
"""How long, in real time, `FakeClock.advance` waits for a run that does something else than wait for the clock."""
MICROSECOND: Final = timedelta(microseconds=1)
START: Final = datetime(2031, 5, 7, 11, 13, 17, tzinfo=UTC)
"""The default start: odd, so that a stray real clock shows up in a test's output."""


class Player(Protocol):
    """A scheduler that plays by this clock; it comes and goes by itself when it starts and stops."""

    @property
    def is_draining(self) -> bool: ...
    @property
    def is_quiet(self) -> bool: ...
    @property
    def busy(self) -> tuple[str, ...]: ...
    async def wait_quiet(self) -> None: ...


@final
class FakeClock(MsClock):
    """
    A `Clock` with a wall hand and a monotonic hand that `advance` moves together, `drift` at different rates, and
    `jump_wall` apart.

    A scheduler that is given it registers itself when it starts. Before every move the clock waits until each such
    scheduler is *quiet*: its loop sleeps, and every live run waits in `Run.sleep` or in `hang`. So nothing depends
    on real time, and tests come out the same on asyncio, uvloop and trio.

    While a scheduler stops, the clock moves by itself, so that a drain takes no real time.

    Args:
        start: Where the wall hand begins: aware, any timezone.

    Raises:
        ConfigError: *start* is naive or no datetime.
    """

    def __init__(self, start: datetime = START) -> None:
        self._monotonic = timedelta(hours=7)
        # The wall hand is reckoned from where it was set last, so that no rounding adds up on the way.
        self._rate = Fraction(1)
        self._zone = aware("start", start).tzinfo
        self._set_wall, self._set_at = (start - EPOCH) // MICROSECOND, self._monotonic
        self._sleepers: list[tuple[timedelta, int, anyio.Event]] = []
        self._serial = 0
        self._resuming = 0
        self._players: list[Player] = []
        self._glides: list[timedelta] = []

    def now(self) -> datetime:
        """Return the wall hand, down to the microsecond, in the timezone of the start."""
        return (EPOCH + self._wall() * MICROSECOND).astimezone(self._zone)

    def now_ms(self) -> int:
        """Return the wall hand, in whole ms from the epoch."""
        return self._wall() // 1000

    def monotonic(self) -> float:
        """Return the monotonic hand, in seconds."""
        return self._monotonic.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Return once the monotonic hand has moved on by *seconds*; 0 and less only let others run."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        wake_at = self._monotonic + timedelta(seconds=seconds)
        if current_handle.get(None) is None and any(player.is_draining for player in self._players):
            await self._glide(wake_at)
            return
        event = anyio.Event()
        self._serial += 1
        sleeper = (wake_at, self._serial, event)
        heappush(self._sleepers, sleeper)
        try:
            await event.wait()
        finally:
            if event.is_set():
                self._resuming -= 1
            else:
                self._sleepers.remove(sleeper)
                self._sleepers.sort()

    async def advance(self, duration: timedelta) -> None:
        """
        Move the monotonic hand on by *duration*, and the wall hand along with it.

        That goes by one sleeper's instant at a time, each scheduler being quiet in between.

        Raises:
            ConfigError: *duration* is negative or no timedelta.
            LoopcronError: A run neither ended nor waited for the clock within 5 s of real time; it is named.
        """
        if not isinstance(duration, timedelta) or duration < timedelta(0):
            raise ConfigError("duration", duration, "must be a timedelta, 0 or more; jump_wall sets the wall back")
        target = self._monotonic + duration
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            self._move_to(self._sleepers[0][0])
            await self._settle()
        self._move_to(target)
        await self._settle()

    def jump_wall(self, by: timedelta) -> None:
        """
        Set the wall hand, forward or back, while the monotonic one stands.

        That is what happens when a clock is set, and when a machine sleeps for *by* and wakes: a suspend is a jump
        forward, because the monotonic clock stands meanwhile. Sleepers sleep by the monotonic hand and do not notice;
        a scheduler does within 30 s after.

        Raises:
            ConfigError: *by* is no timedelta.
        """
        if not isinstance(by, timedelta):
            raise ConfigError("by", by, "must be a timedelta")
        self._set_wall, self._set_at = self._wall() + by // MICROSECOND, self._monotonic

    def drift(self, rate: float) -> None:
        """
        Let the wall hand run fast or slow from now on; sleepers go by the monotonic one.

        Args:
            rate: Seconds of the wall hand per second of the monotonic one, from 0.001 to 1000; 1.0 is true.

        Raises:
            ConfigError: *rate* is none of these.
        """
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.001 <= rate <= 1000:
            raise ConfigError("rate", rate, "must be a number from 0.001 to 1000; 1.0 is true")
        self.jump_wall(timedelta(0))
        self._rate = Fraction(str(rate))  # what is meant by 1.00001, and not the float next to it

    @contextmanager
    def attach(self, player: Player) -> Iterator[None]:
        """Let *player* take part: a scheduler calls this for as long as it lives."""
        self._players.append(player)
        try:
            yield
        finally:
            self._players.remove(player)

    def _wall(self) -> int:
        """Return the wall hand, in whole microseconds from the epoch."""
        passed = (self._monotonic - self._set_at) // MICROSECOND
        return self._set_wall + passed * self._rate.numerator // self._rate.denominator

    def _move_to(self, instant: timedelta) -> None:
        self._monotonic = instant
        while self._sleepers and self._sleepers[0][0] <= instant:
            _, _, event = heappop(self._sleepers)
            self._resuming += 1
            event.set()

    async def _settle(self) -> None:
        with anyio.move_on_after(PATIENCE_SECONDS):
            await self._quiet()
            return
        busy = ", ".join(name for player in self._players for name in player.busy) or "the scheduler itself"
        raise LoopcronError(
            f"FakeClock.advance waited {PATIENCE_SECONDS:.0f} s of real time for {busy}, which neither ended nor waits "
            "for the clock; let the run wait in run.sleep(...) or loopcron.testing.hang()"
        )

    async def _quiet(self) -> None:
        # Woken sleepers count as parked until they have run; and what runs may wake another scheduler's.
        while self._resuming or not all(player.is_quiet for player in self._players):
            await anyio.lowlevel.checkpoint()
            for player in self._players:
                if not self._resuming:
                    await player.wait_quiet()

    async def _glide(self, wake_at: timedelta) -> None:
        """Move on by oneself, for a loop that drains and has nobody to advance the clock for it."""
        self._glides.append(wake_at)
        try:
            with anyio.move_on_after(PATIENCE_SECONDS):
                await anyio.lowlevel.checkpoint()
                await self._quiet()
            first = min([*self._glides, *(sleeper[0] for sleeper in self._sleepers)])
        finally:
            self._glides.remove(wake_at)
        if first > self._monotonic:  # else somebody else has moved the hands meanwhile
            self._move_to(first)


async def hang() -> None:
    """Wait for ever inside a job's run, in a way that lets a `FakeClock` move on past the run's timeout."""
    handle = current_handle.get(None)
    if handle is None:
        raise LoopcronError("hang() is for the inside of a job's run")
    await handle.let_strike()
    with handle.park():
        await anyio.sleep_forever()
