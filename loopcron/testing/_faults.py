"""
Failure injectors: each wraps a part that a user may implement, and one countdown decides which call fails.

To show that nothing ends a schedule, fail the n-th call of all parts together for n = 1, 2, 3 and so on, until a
whole run of the test needs fewer calls than n.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from loopcron._events import Event
    from loopcron._http import Request, Response
    from loopcron._ledger import Answer, Claim, Finish, Pause, Register, Renew, Row, Unavailable
    from loopcron._protocols import Clock, Ledger, Observer, Transport
    from loopcron._schedules import Schedule


@final
class Faults:
    """
    Counts calls, and makes one of them fail.

    Args:
        at: Which call fails, counted from 1 over all parts that share this countdown; 0: none.
        error: What it raises.
        forever: Whether all later calls fail too.
    """

    def __init__(self, at: int = 0, *, error: BaseException | None = None, forever: bool = False) -> None:
        self._at = at
        self._error = OSError("injected") if error is None else error
        self._forever = forever
        self.calls: int = 0
        """How many calls there were."""
        self.failed: Final[list[str]] = []
        """Which calls failed, such as ``clock.now``."""

    def call(self, what: str) -> None:
        """Count a call, and raise if it is the one."""
        self.calls += 1
        if self._at and (self.calls == self._at or (self._forever and self.calls > self._at)):
            self.failed.append(what)
            raise self._error.with_traceback(None)


@final
class FaultyClock:
    """A `Clock` whose calls may fail."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        attach = getattr(clock, "attach", None)
        if attach is not None:
            self.attach = attach

    def now(self) -> datetime:
        """See `Clock.now`."""
        self._faults.call("clock.now")
        return self._clock.now()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        self._faults.call("clock.monotonic")
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        self._faults.call("clock.sleep")
        await self._clock.sleep(seconds)


@final
class FaultyLedger:
    """A `Ledger` whose calls may fail."""

    def __init__(self, ledger: Ledger, faults: Faults) -> None:
        self._ledger = ledger
        self._faults = faults

    @property
    def is_shared(self) -> bool:
        """See `Ledger.is_shared`; no call, and never fails."""
        return self._ledger.is_shared

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row | Unavailable]:
        """See `Ledger.register`."""
        self._faults.call("ledger.register")
        return await self._ledger.register(jobs)

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        """See `Ledger.claim`."""
        self._faults.call("ledger.claim")
        return await self._ledger.claim(claims)

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        """See `Ledger.renew`."""
        self._faults.call("ledger.renew")
        return await self._ledger.renew(renewals)

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        """See `Ledger.finish`."""
        self._faults.call("ledger.finish")
        return await self._ledger.finish(finishes)

    async def pause(self, pauses: Sequence[Pause]) -> None:
        """See `Ledger.pause`."""
        self._faults.call("ledger.pause")
        await self._ledger.pause(pauses)

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.peek`."""
        self._faults.call("ledger.peek")
        return await self._ledger.peek(jobs)

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.reset`."""
        self._faults.call("ledger.reset")
        return await self._ledger.reset(jobs)

    async def close(self) -> None:
        """See `Ledger.close`; never raises, and so never fails."""
        await self._ledger.close()


@final
class FaultyTransport:
    """A `Transport` whose calls may fail."""

    def __init__(self, transport: Transport, faults: Faults) -> None:
        self._transport = transport
        self._faults = faults

    async def send(self, request: Request) -> Response:
        """See `Transport.send`."""
        self._faults.call("transport.send")
        return await self._transport.send(request)


@final
class FaultySchedule:
    """A `Schedule` whose calls may fail."""

    def __init__(self, schedule: Schedule, faults: Faults) -> None:
        self._schedule = schedule
        self._faults = faults

    def next_after(self, instant: datetime) -> datetime | None:
        """See `Schedule.next_after`."""
        self._faults.call("schedule.next_after")
        return self._schedule.next_after(instant)

    def latest_until(self, instant: datetime) -> datetime | None:
        """See `Schedule.latest_until`."""
        self._faults.call("schedule.latest_until")
        return self._schedule.latest_until(instant)


@final
class FaultyObserver:
    """An `Observer` whose calls may fail."""

    def __init__(self, observer: Observer, faults: Faults) -> None:
        self._observer = observer
        self._faults = faults

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        self._faults.call("observer.on_event")
        self._observer.on_event(event)
