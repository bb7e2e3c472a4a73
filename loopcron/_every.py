"""The two schedules of every day: `every`, a grid of instants, and `at`, one instant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NoReturn, final

from loopcron._errors import ScheduleError
from loopcron._instants import EPOCH, HOUR_MS, LONGEST_MS, MILLISECOND, ZERO, from_ms, iso, span_ms, spread_ms, up_to_ms
from loopcron._schedules import MsSchedule


@final
@dataclass(slots=True, unsafe_hash=True, repr=False)  # frozen it takes twice the time to make
class Every(MsSchedule):
    """A slot each interval, at ``anchor + phase + n * interval``; made by `every`."""

    _interval_ms: int
    _phase_ms: int | None
    """None: spread."""
    _first_ms: int | None
    """The slot with n = 0; None: not known before a job is added with this rule."""
    _from_start: bool

    @property
    def interval(self) -> timedelta:
        """The gap between two slots."""
        return self._interval_ms * MILLISECOND

    @property
    def phase(self) -> timedelta | Literal["spread"]:
        """How far all slots are moved; ``spread``: by a hash of the job's name, put in when the job is added."""
        return "spread" if self._phase_ms is None else self._phase_ms * MILLISECOND

    @property
    def anchor(self) -> datetime | None:
        """
        What n counts from.

        None: the start of the scheduler, put in when the job is added; from then on no slot lies before the first.
        """
        if not self._from_start:
            return EPOCH
        if self._first_ms is None or self._phase_ms is None:
            return None
        return from_ms(self._first_ms - self._phase_ms)

    def bound(self, job: str, start: int) -> Every:
        """Return this rule with an open anchor bound to *start*, and an open phase to a hash of *job*."""
        if self._first_ms is not None:
            return self
        phase = spread_ms(job, self._interval_ms) if self._phase_ms is None else self._phase_ms
        return Every(self._interval_ms, phase, start + phase if self._from_start else phase, self._from_start)

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
        if self._from_start:
            raise ScheduleError("anchor", "start", "has no slots before a scheduler has started with it")
        raise ScheduleError("phase", "spread", "has no slots before a job was added with it")

    def describe(self) -> str:
        """Return the rule in plain English: ``every 15 minutes, 7 seconds later``."""
        from loopcron._describe import span_text

        phase = ", spread by the job's name" if self._phase_ms is None else ""
        if self._phase_ms:
            phase = f", {span_text(self._phase_ms * MILLISECOND)} later"
        origin = ", from the start" if self._from_start else ""
        return f"every {span_text(self.interval, one='')}{phase}{origin}"

    def __str__(self) -> str:
        """Return the rule as a person would say it: ``every 0:15:00``."""
        origin = ", from the start" if self._from_start else ""
        phase = f" + {self.phase}" if self.phase else ""
        return f"every {self.interval}{phase}{origin}"

    def __repr__(self) -> str:
        """Return the rule in full."""
        return f"Every(interval={self.interval!r}, phase={self.phase!r}, anchor={self.anchor!r})"


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
    interval_ms: int | None = None
    if interval is None:
        interval_ms = _whole_ms(weeks, days, hours, minutes, seconds, milliseconds)
    if interval_ms is None:
        parts = {
            "weeks": weeks,
            "days": days,
            "hours": hours,
            "minutes": minutes,
            "seconds": seconds,
            "milliseconds": milliseconds,
        }
        interval_ms = span_ms("interval", _summed(interval, parts), error=ScheduleError)
    phase_ms: int | None = None
    if not isinstance(phase, str):
        phase_ms = span_ms("phase", phase, least=ZERO, error=ScheduleError)
    elif phase != "spread":
        raise ScheduleError("phase", phase, "must be a timedelta or 'spread'")
    if anchor == "start":
        return Every(interval_ms, phase_ms, None, True)
    if anchor != "epoch":
        raise ScheduleError("anchor", anchor, "must be 'epoch' or 'start'")
    if phase_ms is not None and phase_ms >= interval_ms:
        raise ScheduleError("phase", phase, f"must be below the interval, {interval_ms * MILLISECOND}")
    return Every(interval_ms, phase_ms, phase_ms, False)


def _whole_ms(
    weeks: float, days: float, hours: float, minutes: float, seconds: float, milliseconds: float
) -> int | None:
    """
    Return the interval in ms where all keywords are ints; None where `_summed` has to look, and to refuse.

    As a timedelta would be the sum, in a quarter of the time; pinned by ``test_whole_numbers_add_up_as_a_timedelta``.
    """
    # By type and not isinstance, which would let a bool pass.
    if not (type(weeks) is type(days) is type(hours) is type(minutes) is type(seconds) is type(milliseconds) is int):
        return None
    total = weeks * 604_800_000 + days * 86_400_000 + hours * HOUR_MS + minutes * 60_000 + seconds * 1_000
    total += milliseconds
    return total if 1 <= total <= LONGEST_MS else None


def _summed(interval: timedelta | None, parts: Mapping[str, float]) -> timedelta:
    """Return what *interval* or else the keywords say, unless they say nothing that an interval could be."""
    for field, value in parts.items():
        # Compared, because math.isfinite raises for an int beyond the floats; NaN fails any comparison.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
            raise ScheduleError(field, value, "must be a finite number")
    given = {field: value for field, value in parts.items() if value}
    if interval is None:
        try:
            return timedelta(**given)
        except OverflowError:
            raise ScheduleError("interval", given, "must be between 1 ms and ten years") from None
    if given:
        raise ScheduleError("interval", interval, f"is given twice; leave out {', '.join(given)}")
    return interval


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
