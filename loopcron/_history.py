"""
What each job has been through, kept as it happens: the ring of its newest outcomes, and since when it is unwell.

Only facts are kept; what they mean for health is judged when that is read, in ``_health``.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple, final

from loopcron._events import (
    Event,
    JobEnded,
    JobParked,
    JobPaused,
    JobResumed,
    JobUnparked,
    RunStuck,
    RunUnstuck,
    Settled,
)
from loopcron._outcomes import Busy, Failed, LeaseLost, Outcome, Reason, Skipped, Succeeded, Taken, TimedOut

HISTORY: Final = 30
"""How many outcomes are kept per job: what a strip of runs shows at a glance."""

UNSERVED: Final = ("ledger", "no_address")
"""For what slots are skipped that nobody wants to be: if that goes on, the job does not run."""

_PLACES: Final = HISTORY + 1
"""One more than is shown, so that who reads on another thread meets no outcome that is half written."""
_NUMBERS: Final = Struct("<6q")
"""Slot, start, end, fence, attempts, failures."""
_SIZE: Final = _NUMBERS.size
_NEVER: Final = -(1 << 63)


class _Rest(NamedTuple):
    """What of an outcome is no number; equal ones that follow each other are kept once."""

    outcome: Outcome
    reason: Reason
    key: str | None
    worker: str


_PLAIN: Final = _Rest(Succeeded(), "schedule", None, "")
"""What most rings begin with, and so need not make."""


@final
class Ring:
    """
    The newest outcomes of one job, at most `HISTORY`.

    Numbers are kept as bytes, because thirty named tuples of integers take 10 kB per job and are looked at by every
    collection of garbage; so it is 2 kB and nothing to look at. Its bound is pinned in ``tests/core/test_history.py``.
    """

    __slots__ = ("_count", "_job", "_numbers", "_rests")

    def __init__(self, job: str) -> None:
        self._job = job
        self._count = 0
        self._numbers = bytearray()
        self._rests: list[_Rest] = []

    def append(self, settled: Settled) -> None:
        """Keep *settled*, without the exception: its frames would keep half the application alive."""
        _, slot, outcome, reason, attempt, started, ended, failures, fence, key, _, worker = settled
        place, rests = self._count % _PLACES, self._rests
        begun = _NEVER if started is None else started
        last = rests[place - 1] if rests else _PLAIN
        rest = (outcome, reason, key, worker)
        if last != rest:
            last = _Rest(*rest)
        if place < len(rests):
            _NUMBERS.pack_into(self._numbers, place * _SIZE, slot, begun, ended, fence, attempt, failures)
            rests[place] = last
        else:
            self._numbers += _NUMBERS.pack(slot, begun, ended, fence, attempt, failures)
            rests.append(last)
        self._count += 1  # last, for it shows the new one

    def copy(self) -> Ring:
        """Return what is kept by now, in a ring of its own: a hundredth of the time that reading it takes."""
        ring = Ring.__new__(Ring)
        ring._job, ring._count = self._job, self._count  # noqa: SLF001 - its own
        ring._numbers, ring._rests = self._numbers[:], self._rests[:]  # noqa: SLF001 - likewise
        return ring

    def __len__(self) -> int:
        """Return how many are kept."""
        return min(self._count, HISTORY)

    def __iter__(self) -> Iterator[Settled]:
        """Yield them, the oldest first; what comes meanwhile may take the place of one that is still to come."""
        count = self._count
        for number in range(max(0, count - HISTORY), count):
            yield self._at(number % _PLACES)

    def __reversed__(self) -> Iterator[Settled]:
        """Yield them, the newest first."""
        count = self._count
        for number in range(count - 1, max(0, count - HISTORY) - 1, -1):
            yield self._at(number % _PLACES)

    def _at(self, place: int) -> Settled:
        slot, begun, ended, fence, attempt, failures = _NUMBERS.unpack_from(self._numbers, place * _SIZE)
        outcome, reason, key, worker = self._rests[place]
        started = None if begun == _NEVER else begun
        return Settled(self._job, slot, outcome, reason, attempt, started, ended, failures, fence, key, None, worker)


@final
class JobRecord:
    """What one job has been through; made on its first event, because a ring is not cheap. Instants are in ms."""

    __slots__ = (
        *("busy", "busy_since", "ended_at", "failing_since", "last_ended", "last_started", "last_succeeded"),
        *("parked_at", "paused_at", "ring", "stuck", "stuck_since", "unserved", "unserved_for", "unserved_since"),
    )

    def __init__(self, job: str) -> None:
        self.ring = Ring(job)
        self.busy = 0
        """How many runs in a row found the lock taken."""
        self.busy_since: int | None = None
        self.failing_since: int | None = None
        """When the first of the failures in a row ended."""
        self.last_started: int | None = None
        self.last_ended: int | None = None
        """When the last run that succeeded or failed ended; others say nothing of the job."""
        self.last_succeeded: int | None = None
        self.paused_at: int | None = None
        self.parked_at: int | None = None
        self.ended_at: int | None = None
        self.stuck: frozenset[int] = frozenset()
        self.stuck_since: int | None = None
        self.unserved = 0
        """How many slots in a row were skipped for one of `UNSERVED`."""
        self.unserved_for = ""
        """For which one the last of them was."""
        self.unserved_since: int | None = None

    def begin(self) -> None:
        """Take note that another life begins: nothing of it is parked, ended or stuck yet. A pause outlives lives."""
        self.parked_at = self.ended_at = self.stuck_since = None
        self.stuck = frozenset()
        self.unserved, self.unserved_since = 0, None

    def note(self, settled: Settled) -> None:
        """Keep *settled*."""
        self.ring.append(settled)
        outcome, started, ended = settled.outcome, settled.started, settled.ended
        if started is not None:
            self.last_started = started
        if isinstance(outcome, Skipped) and outcome.reason in UNSERVED:
            self.unserved_for = outcome.reason
            self.unserved += 1
            self.unserved_since = ended if self.unserved_since is None else self.unserved_since
        elif started is not None or isinstance(outcome, Taken):
            self.unserved, self.unserved_since = 0, None
        if isinstance(outcome, Succeeded):
            self.last_ended = self.last_succeeded = ended
            self.busy, self.busy_since, self.failing_since = 0, None, None
        elif isinstance(outcome, Busy):
            self.busy += 1
            self.busy_since = ended if self.busy_since is None else self.busy_since
        elif isinstance(outcome, (Failed, TimedOut, LeaseLost)):
            self.last_ended = ended
            self.failing_since = ended if self.failing_since is None else self.failing_since
            self.busy, self.busy_since = 0, None

    def mark(self, event: Event, now: int) -> None:
        """Take note of what begins or ends with *event*, one of `MARKS`."""
        match event:
            case JobPaused():
                self.paused_at = now
            case JobResumed():
                self.paused_at = None
            case JobParked():
                self.parked_at = now if self.parked_at is None else self.parked_at  # told again with each try
            case JobUnparked():
                self.parked_at = None
            case JobEnded():
                self.ended_at = now
            case RunStuck():
                self.stuck |= {event.run_id}
                self.stuck_since = now if self.stuck_since is None else self.stuck_since
            case RunUnstuck():
                self.stuck -= {event.run_id}  # it may be of a job that was removed, and added anew under this name
                self.stuck_since = self.stuck_since if self.stuck else None
            case _:
                pass


MARKS: Final = frozenset({JobPaused, JobResumed, JobParked, JobUnparked, JobEnded, RunStuck, RunUnstuck})
"""The events besides `Settled` that a record takes note of."""
