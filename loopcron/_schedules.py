"""
What a schedule is: an immutable rule that names slots, asked with two pure questions and never knowing "now".

The timetable asks in whole milliseconds through ``MsSchedule``; our own schedules derive from it and answer directly,
because datetimes on the hot path cost a fifth of a fire, and a user's schedule is wrapped in ``_Checked``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol, final

from loopcron._errors import ScheduleError, text_of
from loopcron._instants import aware, from_ms, iso, to_ms, up_to_ms

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


class MsSchedule(ABC):
    """A rule as the timetable asks it, in milliseconds; from the two answers follows all that our own rules offer."""

    __slots__ = ()

    @abstractmethod
    def next_ms(self, instant: int, /) -> int | None:
        """Return the first slot strictly after *instant*, both in milliseconds."""
        ...

    @abstractmethod
    def latest_ms(self, instant: int, /) -> int | None:
        """Return the last slot at or before *instant*, both in milliseconds."""
        ...

    @abstractmethod
    def describe(self) -> str:
        """Return the rule in plain English, for people; its ``str`` is for logs and ledgers."""
        ...

    def next_after(self, instant: datetime, /) -> datetime | None:
        """Return the first slot strictly after *instant*, or None if there never is one again."""
        return _told(self.next_ms(to_ms(aware("instant", instant, ScheduleError))))

    def latest_until(self, instant: datetime, /) -> datetime | None:
        """Return the last slot at or before *instant*, or None if there is none yet."""
        return _told(self.latest_ms(to_ms(aware("instant", instant, ScheduleError))))

    def between(self, start: datetime | None = None, end: datetime | None = None) -> Between:
        """
        Return the slots of this schedule that are not before *start* and before *end*.

        Args:
            start: The first instant that counts; None: there is no beginning.
            end: The first instant that no longer counts; None: there is no end. Not both may be None.

        Raises:
            ScheduleError: A datetime is naive or beyond the years 1 to 9999 in UTC, or *end* is not after *start*.
        """
        if start is None and end is None:
            raise ScheduleError("start", None, "must be given, or end")
        start_ms, end_ms = _bound_ms("start", start), _bound_ms("end", end)
        if start_ms is not None and end_ms is not None and end_ms <= start_ms:
            raise ScheduleError("end", end, f"must be later than start, {start}")
        return Between(self, start, end, start_ms, end_ms)

    def count(self, first: int, last: int, /) -> int | None:
        """Return how many slots lie from *first* to *last*, both being slots; None where it takes too long."""
        # Bounded, so a schedule of every minute asked about ten years costs as little as one asked about an hour.
        for number in range(1, COUNT_LIMIT + 1):
            if first >= last:
                return number
            following = self.next_ms(first)
            if following is None:
                return number
            first = following
        return None

    def bound(self, job: str, start: int) -> MsSchedule:  # noqa: ARG002 - most rules depend on neither
        """Return this rule as *job*, which is added at the instant *start*, is to be asked it."""
        return self

    @property
    def is_from_start(self) -> bool:
        """Whether slots are counted from a start, so that the start itself can be the first one."""
        return False


@final
@dataclass(frozen=True, slots=True)
class Between(MsSchedule):
    """The slots of a schedule from *start* on and before *end*; made by its method ``between``."""

    schedule: MsSchedule
    start: datetime | None
    end: datetime | None
    _start_ms: int | None
    _end_ms: int | None

    def next_ms(self, instant: int) -> int | None:
        """Return the first slot strictly after *instant* that is within the bounds, both in milliseconds."""
        if self._start_ms is not None and instant < self._start_ms:
            instant = self._start_ms - 1
        slot = self.schedule.next_ms(instant)
        return None if slot is None or (self._end_ms is not None and slot >= self._end_ms) else slot

    def latest_ms(self, instant: int) -> int | None:
        """Return the last slot at or before *instant* that is within the bounds, both in milliseconds."""
        if self._end_ms is not None and instant >= self._end_ms:
            instant = self._end_ms - 1
        slot = self.schedule.latest_ms(instant)
        return None if slot is None or (self._start_ms is not None and slot < self._start_ms) else slot

    def count(self, first: int, last: int) -> int | None:
        """Return how many slots lie from *first* to *last*, both being slots within the bounds."""
        return self.schedule.count(first, last)

    def bound(self, job: str, start: int) -> Between:
        """Return these bounds around the bound schedule."""
        return Between(self.schedule.bound(job, start), self.start, self.end, self._start_ms, self._end_ms)

    @property
    def is_from_start(self) -> bool:
        """Whether the schedule counts from a start."""
        return self.schedule.is_from_start

    def describe(self) -> str:
        """Return the rule in plain English: ``every 15 minutes, until 2026-03-01 00:00 UTC``."""
        from loopcron._describe import instant_text

        return self.schedule.describe() + self._bounds(instant_text)

    def __str__(self) -> str:
        """Return the rule for logs: ``every 0:15:00, until 2026-03-01T00:00:00.000Z``."""
        return str(self.schedule) + self._bounds(iso)

    def _bounds(self, shown: Callable[[int], str]) -> str:
        start = "" if self._start_ms is None else f", from {shown(self._start_ms)}"
        end = "" if self._end_ms is None else f", until {shown(self._end_ms)}"
        return start + end


def _bound_ms(field: str, instant: datetime | None) -> int | None:
    # Rounded up: slots are whole milliseconds, so the first one within a fraction is the next one.
    return None if instant is None else up_to_ms(field, instant, ScheduleError)


def _told(slot: int | None) -> datetime | None:
    """Return a slot as a datetime; None too where that would lie beyond the years 1 to 9999."""
    try:
        return None if slot is None else from_ms(slot)
    except OverflowError:
        return None


@final
class _Checked(MsSchedule):
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

    def _answer(self, question: Literal["next_after", "latest_until"], instant: int) -> int | None:
        answer: object = getattr(self._schedule, question)(from_ms(instant))
        if answer is None:
            return None
        moment = aware(question, answer, ScheduleError)
        if moment.microsecond % 1000:
            raise ScheduleError(question, answer, "must be whole milliseconds")
        return to_ms(moment.astimezone(UTC))  # raises for what only its own timezone can tell: all else stays in UTC

    def describe(self) -> str:
        return text_of(self._schedule)

    def __str__(self) -> str:
        return text_of(self._schedule)


def in_ms(schedule: Schedule) -> MsSchedule:
    """Return *schedule* as the timetable asks it: our own as they are, any other one checked."""
    return schedule if isinstance(schedule, MsSchedule) else _Checked(schedule)


def checked_schedule(schedule: object, field: str = "schedule") -> Schedule:
    """Return *schedule* if it has both methods, else raise ``ScheduleError``: that much is seen without asking it."""
    if callable(getattr(schedule, "next_after", None)) and callable(getattr(schedule, "latest_until", None)):
        return schedule  # type: ignore[return-value]
    if isinstance(schedule, timedelta):
        raise ScheduleError(field, schedule, "is a duration; every(...) makes a schedule of it")
    if isinstance(schedule, str):
        raise ScheduleError(field, schedule, "is a text; cron(...) makes a schedule of it")
    raise ScheduleError(field, schedule, "must be every(...), cron(...), at(...), or have next_after and latest_until")
