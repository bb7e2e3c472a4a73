"""
Schedules: immutable rules that name slots, asked with two pure questions and never knowing "now".

The timetable asks in whole milliseconds through ``MsSchedule``; our own schedules answer that directly, because
datetimes on the hot path cost a fifth of a fire, and a user's schedule is wrapped in ``_Checked``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol, Self, final

from loopcron._errors import ScheduleError
from loopcron._instants import EPOCH, MILLISECOND, aware, from_ms, iso, span_ms, to_ms

COUNT_LIMIT: Final = 100
"""Up to how many slots of a schedule without arithmetic are counted; beyond it a count is None."""


class Schedule(Protocol):
    """
    A rule that names instants; anything with these two pure methods works.

    Both take and return aware datetimes; what they return must be in whole milliseconds, or the job is parked
    with the value named. The same question must always get the same answer.
    """

    def next_after(self, instant: datetime, /) -> datetime | None:
        """Return the first slot strictly after *instant*, or None if there never is one again."""
        ...

    def latest_until(self, instant: datetime, /) -> datetime | None:
        """Return the last slot at or before *instant*, or None if there is none yet."""
        ...


class MsSchedule(Protocol):
    """The same rule, asked by the timetable in milliseconds."""

    def next_ms(self, instant: int, /) -> int | None: ...
    def latest_ms(self, instant: int, /) -> int | None: ...
    def count(self, first: int, last: int, /) -> int | None:
        """Return how many slots lie from *first* to *last*, both being slots; None where it takes too long."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Every:
    """A slot each interval, at ``anchor + phase + n * interval``; made by `every`."""

    interval: timedelta
    phase: timedelta
    anchor: datetime | None
    """None: the start of the scheduler, put in by `anchored`; from then on no slot lies before anchor + phase."""
    _interval_ms: int
    _first_ms: int
    _from_start: bool = False

    def anchored(self, start: int) -> Self:
        """Return this rule with an open anchor bound to the instant *start* in milliseconds."""
        first = start + self.phase // MILLISECOND
        return type(self)(self.interval, self.phase, from_ms(start), self._interval_ms, first, _from_start=True)

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first slot strictly after *instant*."""
        slot = self.next_ms(to_ms(aware("instant", instant, ScheduleError)))
        return None if slot is None else from_ms(slot)

    def latest_until(self, instant: datetime) -> datetime | None:
        """Return the last slot at or before *instant*; None before the first one of a rule anchored at a start."""
        slot = self.latest_ms(to_ms(aware("instant", instant, ScheduleError)))
        return None if slot is None else from_ms(slot)

    def next_ms(self, instant: int) -> int | None:
        """Return the first slot strictly after *instant*, both in milliseconds."""
        self._check_anchor()
        passed = (instant - self._first_ms) // self._interval_ms + 1
        if self._from_start and passed < 0:
            passed = 0
        return self._first_ms + passed * self._interval_ms

    def latest_ms(self, instant: int) -> int | None:
        """Return the last slot at or before *instant*, both in milliseconds."""
        self._check_anchor()
        passed = (instant - self._first_ms) // self._interval_ms
        if self._from_start and passed < 0:
            return None
        return self._first_ms + passed * self._interval_ms

    def count(self, first: int, last: int) -> int | None:
        """Return how many slots lie from *first* to *last*."""
        return (last - first) // self._interval_ms + 1

    @property
    def is_from_start(self) -> bool:
        """Whether n counts from a start, so that the first slot is the one with n = 0."""
        return self._from_start

    def _check_anchor(self) -> None:
        if self.anchor is None:
            raise ScheduleError("anchor", "start", "has no slots before a scheduler has started with it")

    def __str__(self) -> str:
        """Return the rule as a person would say it: ``every 0:15:00``."""
        origin = ", from the start" if self.anchor is None or self._from_start else ""
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
    phase: timedelta = timedelta(0),
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
        phase: Moves all slots; from 0 to ten years, with the epoch anchor below the interval.
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
    phase_ms = span_ms("phase", phase, least=timedelta(0), error=ScheduleError)
    if anchor == "start":
        return Every(interval, phase, None, interval_ms, 0)
    if anchor != "epoch":
        raise ScheduleError("anchor", anchor, "must be 'epoch' or 'start'")
    if phase_ms >= interval_ms:
        raise ScheduleError("phase", phase, f"must be below the interval, {interval}")
    return Every(interval, phase, EPOCH, interval_ms, phase_ms)


@final
@dataclass(frozen=True, slots=True)
class At:
    """One slot only; made by `at`."""

    instant: datetime
    _slot_ms: int

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the slot if it is strictly after *instant*."""
        return from_ms(self._slot_ms) if to_ms(aware("instant", instant, ScheduleError)) < self._slot_ms else None

    def latest_until(self, instant: datetime) -> datetime | None:
        """Return the slot if it is at or before *instant*."""
        return from_ms(self._slot_ms) if to_ms(aware("instant", instant, ScheduleError)) >= self._slot_ms else None

    def next_ms(self, instant: int) -> int | None:
        """Return the slot if it is strictly after *instant*, both in milliseconds."""
        return self._slot_ms if instant < self._slot_ms else None

    def latest_ms(self, instant: int) -> int | None:
        """Return the slot if it is at or before *instant*, both in milliseconds."""
        return self._slot_ms if instant >= self._slot_ms else None

    def count(self, first: int, last: int) -> int | None:  # noqa: ARG002 - both are the one slot
        """Return 1: there is one slot only."""
        return 1

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
        ScheduleError: *instant* is naive or no datetime.
    """
    instant = aware("instant", instant, ScheduleError)
    slot = -((EPOCH - instant) // MILLISECOND)
    try:
        from_ms(slot)
    except OverflowError:
        raise ScheduleError("instant", instant, "must lie within the years 1 to 9999 in UTC") from None
    return At(instant, slot)


@final
class _Checked:
    """A user's schedule, every answer of which is checked before it can hurt: see `Schedule`."""

    __slots__ = ("_schedule",)

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def next_ms(self, instant: int) -> int | None:
        slot = self._answer("next_after", instant)
        if slot is not None and slot <= instant:
            raise ScheduleError("next_after", iso(slot), f"is not after the instant asked for, {iso(instant)}")
        return slot

    def latest_ms(self, instant: int) -> int | None:
        slot = self._answer("latest_until", instant)
        if slot is not None and slot > instant:
            raise ScheduleError("latest_until", iso(slot), f"is after the instant asked for, {iso(instant)}")
        return slot

    def count(self, first: int, last: int) -> int | None:
        # Bounded, so a schedule of every minute asked about ten years costs as little as one asked about an hour.
        for number in range(1, COUNT_LIMIT + 1):
            if first >= last:
                return number
            following = self.next_ms(first)
            if following is None:
                return number
            first = following
        return None

    def _answer(self, question: Literal["next_after", "latest_until"], instant: int) -> int | None:
        answer: object = getattr(self._schedule, question)(from_ms(instant))
        if answer is None:
            return None
        moment = aware(question, answer, ScheduleError)
        if moment.microsecond % 1000:
            raise ScheduleError(question, answer, "must be whole milliseconds")
        return to_ms(moment.astimezone(UTC))  # raises for what only its own timezone can tell: all else stays in UTC


def in_ms(schedule: Schedule) -> MsSchedule:
    """Return *schedule* as the timetable asks it: our own as they are, any other one checked."""
    return schedule if isinstance(schedule, (Every, At)) else _Checked(schedule)


def checked_schedule(schedule: object) -> Schedule:
    """Return *schedule* if it has both methods, else raise ``ScheduleError``: that much is seen without asking it."""
    if isinstance(schedule, timedelta):
        raise ScheduleError("schedule", schedule, "is a duration; every(...) makes a schedule of it")
    if callable(getattr(schedule, "next_after", None)) and callable(getattr(schedule, "latest_until", None)):
        return schedule  # type: ignore[return-value]
    raise ScheduleError("schedule", schedule, "must be every(...), at(...), or have next_after and latest_until")
