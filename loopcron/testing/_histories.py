"""What befalls a process from outside, as data: its clock is set, the machine sleeps, a part is out of reach."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple


class ClockStep(NamedTuple):
    """The wall clock is set, forward or back; the monotonic one does not notice."""

    at: timedelta
    """When, in real time from the start."""
    by: timedelta
    """How far; below 0 is back."""


class Suspend(NamedTuple):
    """The machine sleeps: nothing runs and the monotonic clock stands, while the wall clock goes on."""

    at: timedelta
    """When, in real time from the start."""
    duration: timedelta
    """How long, 0 or more."""


class Drift(NamedTuple):
    """From now on the wall clock runs fast or slow against the monotonic one."""

    at: timedelta
    """When, in real time from the start."""
    rate: float
    """Seconds of the wall clock per second of the monotonic one; 1.0 is true, above 0."""


ClockEvent = ClockStep | Suspend | Drift
"""One thing that befalls a clock; a list of them, in the order of `at`, is a clock history."""


class Outage(NamedTuple):
    """Something is out of reach: the process, the endpoint or the ledger."""

    at: timedelta
    """From when, in real time from the start, inclusive."""
    duration: timedelta
    """For how long."""

    @property
    def until(self) -> timedelta:
        """When it is over, exclusive."""
        return self.at + self.duration
