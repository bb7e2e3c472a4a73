"""The two schedules of every day: `every`, a grid of instants, and `at`, one instant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NoReturn, final

from loopcron._errors import ScheduleError
from loopcron._instants import EPOCH, MILLISECOND, ZERO, from_ms, iso, span_ms, spread_ms, to_ms, up_to_ms
from loopcron._schedules import MsSchedule


@final
@dataclass(frozen=True, slots=True)
class Every(MsSchedule):
    """A slot each interval, at ``anchor + phase + n * interval``; made by `every`."""

    interval: timedelta
    phase: timedelta | Literal["spread"]
    """``spread``: a hash of the job's name, put in when the job is added."""
    anchor: datetime | None
    """None: the start of the scheduler, put in when the job is added; from then on no slot lies before the first."""
    _interval_ms: int
    _first_ms: int | None
    """None: not known before a job is added with this rule."""
    _from_start: bool

    def bound(self, job: str, start: int) -> Every:
        """Return this rule with an open anchor bound to *start*, and an open phase to a hash of *job*."""
        if self._first_ms is not None:
            return self
        phase = self.phase
        if phase == "spread":
            phase = spread_ms(job, self._interval_ms) * MILLISECOND
        anchor = from_ms(start) if self.anchor is None else self.anchor
        first = to_ms(anchor + phase)
        return Every(self.interval, phase, anchor, self._interval_ms, first, self._from_start)

    def next_ms(self, instant: int) -> int | None:
        """Return the first slot strictly after *instant*, both in milliseconds."""
        first = self._first_ms
        if first is None:
            self._refuse_open()
        passed = (instant - first) // self._interval_ms + 1
        if self._from_start and passed < 0:
            passed = 0
        return first + passed * self._interval_ms

    def latest_ms(self, instant: int) -> int | None:
        """Return the last slot at or before *instant*; None before the first one of a rule anchored at a start."""
        first = self._first_ms
        if first is None:
            self._refuse_open()
        passed = (instant - first) // self._interval_ms
        if self._from_start and passed < 0:
            return None
        return first + passed * self._interval_ms

    def count(self, first: int, last: int) -> int | None:
        """Return how many slots lie from *first* to *last*."""
        return (last - first) // self._interval_ms + 1

    @property
    def is_from_start(self) -> bool:
        """Whether n counts from a start, so that the first slot is the one with n = 0."""
        return self._from_start

    def _refuse_open(self) -> NoReturn:
        if self.anchor is None:
            raise ScheduleError("anchor", "start", "has no slots before a scheduler has started with it")
        raise ScheduleError("phase", "spread", "has no slots before a job was added with it")

    def describe(self) -> str:
        """Return the rule in plain English: ``every 15 minutes, 7 seconds later``."""
        from loopcron._describe import span_text

        phase = ", spread by the job's name" if self.phase == "spread" else ""
        if isinstance(self.phase, timedelta) and self.phase:
            phase = f", {span_text(self.phase)} later"
        origin = ", from the start" if self._from_start else ""
        return f"every {span_text(self.interval, one='')}{phase}{origin}"

    def __str__(self) -> str:
        """Return the rule as a person would say it: ``every 0:15:00``."""
        origin = ", from the start" if self._from_start else ""
        phase = f" + {self.phase}" if self.phase else ""
        return f"every {self.interval}{phase}{origin}"


def every(
    interval: timedelta | None = None,
    /,
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    milliseconds: float = 0,
    phase: timedelta | Literal["spread"] = ZERO,
    anchor: Literal["epoch", "start"] = "epoch",
) -> Every:
    """
    Return a schedule with one slot per interval.

    By default slots are ``epoch + n * interval + phase``, the epoch being 1970-01-01T00:00Z: the same on every
    replica and over every restart. ``anchor="start"`` counts from the start of the scheduler, or from `add` where
    that comes later: slots at start + phase + n * interval, n from 0. Then every process has slots of its own.

    Args:
        interval: A timedelta; or leave it out and use the keywords of one.
        weeks: Likewise days, hours, minutes, seconds and milliseconds: finite numbers, added up. The sum must be
            whole milliseconds, from 1 ms to ten years.
        days: See weeks.
        hours: See weeks.
        minutes: See weeks.
        seconds: See weeks.
        milliseconds: See weeks.
        phase: Moves all slots; from 0 to ten years, with the epoch anchor below the interval. ``"spread"``: a hash
            of the job's name, the same on every replica, so that fifty jobs do not fire at one instant.
        anchor: What n counts from.

    Raises:
        ScheduleError: An argument is none of these.
    """
    parts = {
        "weeks": weeks,
        "days": days,
        "hours": hours,
        "minutes": minutes,
        "seconds": seconds,
        "milliseconds": milliseconds,
    }
    for field, value in parts.items():
        # Compared, because math.isfinite raises for an int beyond the floats; NaN fails any comparison.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
            raise ScheduleError(field, value, "must be a finite number")
    given = {field: value for field, value in parts.items() if value}
    if interval is not None and given:
        raise ScheduleError("interval", interval, f"is given twice; leave out {', '.join(given)}")
    if interval is None:
        try:
            interval = timedelta(**given)
        except OverflowError:
            raise ScheduleError("interval", given, "must be between 1 ms and ten years") from None
    interval_ms = span_ms("interval", interval, error=ScheduleError)
    if isinstance(phase, str) and phase != "spread":
        raise ScheduleError("phase", phase, "must be a timedelta or 'spread'")
    phase_ms = None if phase == "spread" else span_ms("phase", phase, least=ZERO, error=ScheduleError)
    if anchor == "start":
        return Every(interval, phase, None, interval_ms, None, _from_start=True)
    if anchor != "epoch":
        raise ScheduleError("anchor", anchor, "must be 'epoch' or 'start'")
    if phase_ms is not None and phase_ms >= interval_ms:
        raise ScheduleError("phase", phase, f"must be below the interval, {interval}")
    return Every(interval, phase, EPOCH, interval_ms, phase_ms, _from_start=False)


@final
@dataclass(frozen=True, slots=True)
class At(MsSchedule):
    """One slot only; made by `at`."""

    instant: datetime
    _slot_ms: int

    def next_ms(self, instant: int) -> int | None:
        """Return the slot if it is strictly after *instant*, both in milliseconds."""
        return self._slot_ms if instant < self._slot_ms else None

    def latest_ms(self, instant: int) -> int | None:
        """Return the slot if it is at or before *instant*, both in milliseconds."""
        return self._slot_ms if instant >= self._slot_ms else None

    def describe(self) -> str:
        """Return the rule in plain English: ``once at 2026-03-01 00:00:00 UTC``."""
        from loopcron._describe import instant_text

        return f"once at {instant_text(self._slot_ms)}"

    def __str__(self) -> str:
        """Return the rule as a person would say it: ``once at 2026-03-01T00:00:00.000Z``."""
        return f"once at {iso(self._slot_ms)}"


def at(instant: datetime) -> At:
    """
    Return a schedule with one slot.

    Args:
        instant: An aware datetime, any timezone. A fraction of a millisecond is rounded up, so that nothing runs
            before the instant given.

    Raises:
        ScheduleError: *instant* is naive, no datetime, or beyond the years 1 to 9999 in UTC.
    """
    return At(instant, up_to_ms("instant", instant, ScheduleError))
