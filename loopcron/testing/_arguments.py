"""What `simulate` is given, checked and in the form that it works with; what cannot be simulated is a ConfigError."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from loopcron import Scheduler
from loopcron._combined import AnyOf
from loopcron._errors import ConfigError
from loopcron._every import Every
from loopcron._instants import LONGEST, MILLISECOND, ZERO, aware, from_ms, span_ms, to_ms
from loopcron._schedules import Between
from loopcron.testing._clockwork import Clockwork
from loopcron.testing._histories import ClockEvent, ClockStep, Drift, Outage, Suspend

if TYPE_CHECKING:
    from loopcron._protocols import Job

_FIRST_MS: Final = 0
_LAST_MS: Final = to_ms(datetime(2200, 1, 1, tzinfo=UTC))
_WITHIN: Final = "within the years 1970 to 2199, of which schedules are sure"
_MOST_SLOTS: Final = 5_000_000
"""More would take minutes, and gigabytes for what becomes of them."""
_T = TypeVar("_T")


def as_scheduler(jobs: Iterable[Job] | Scheduler) -> Scheduler:
    """Return the scheduler that was given, or one with the jobs that were."""
    if isinstance(jobs, Scheduler):
        return jobs
    scheduler = Scheduler()
    try:
        several = iter(jobs)
    except TypeError:
        raise ConfigError("jobs", jobs, "must be a list of jobs, or a Scheduler") from None
    for job in several:
        scheduler.add(job)
    return scheduler


def begin_and_end(start: datetime, duration: timedelta) -> tuple[int, int]:
    """Return when a simulation begins and ends, in ms."""
    begin = to_ms(aware("start", start))
    end = begin + span_ms("duration", duration)
    for field, value, moment in (("start", start, begin), ("duration", duration, end)):
        if not _is_known(moment):
            raise ConfigError(field, value, f"must keep all {_WITHIN}")
    return begin, end


def check_slots(jobs: Iterable[Job], begin: int, end: int) -> None:
    """Refuse a simulation that is bound to need more time and memory than anybody has."""
    slots = sum(_slots(job.schedule, from_ms(begin), from_ms(end)) for job in jobs)
    if slots > _MOST_SLOTS:
        remedy = f"must be shorter: {slots:,} slots are too many for one simulation, {_MOST_SLOTS:,} are not"
        raise ConfigError("duration", (end - begin) * MILLISECOND, remedy)


def _slots(schedule: object, start: datetime, end: datetime) -> int:
    """Return about how many slots of ``every`` lie between two instants; of other rules too little is known."""
    if isinstance(schedule, Every):
        return max(end - start, ZERO) // schedule.interval
    if isinstance(schedule, Between):
        return _slots(schedule.schedule, max(start, schedule.start or start), min(end, schedule.end or end))
    if isinstance(schedule, AnyOf):
        return sum(_slots(part, start, end) for part in schedule.schedules)
    return 0


def outages(field: str, given: Outage | Iterable[Outage]) -> tuple[Outage, ...]:
    """Return the outages of a part, in order."""
    found = _several(field, given, (Outage,), "must be an Outage, or a list of them")
    for outage in found:
        span_ms(f"{field}.at", outage.at, least=ZERO)
        span_ms(f"{field}.duration", outage.duration, least=ZERO)
    return tuple(sorted(found))


def clock_history(given: ClockEvent | Iterable[ClockEvent], begin: int, end: int) -> tuple[ClockEvent, ...]:
    """Return what befalls the clock, in order."""
    kinds = (ClockStep, Suspend, Drift)
    found: list[ClockEvent] = _several(
        "clock", given, kinds, "must be a ClockStep, Suspend or Drift, or a list of them"
    )
    for event in found:
        _check_clock_event(event)
    history = tuple(sorted(found, key=lambda event: event.at))
    _check_wall(history, begin, end)
    return history


def _several(field: str, given: object, kinds: tuple[type[_T], ...], remedy: str) -> list[_T]:
    """Return the one or the several that were given."""
    if isinstance(given, kinds):
        return [given]
    if not isinstance(given, Iterable):
        raise ConfigError(field, given, remedy)
    found = list(given)
    for one in found:
        if not isinstance(one, kinds):
            # A tuple of something else was rather meant as one of them than as several.
            raise ConfigError(field, given if isinstance(given, tuple) else one, remedy)
    return found


def _check_clock_event(event: ClockEvent) -> None:
    span_ms("clock.at", event.at, least=ZERO)
    if isinstance(event, ClockStep):
        span_ms("clock.by", event.by, least=-LONGEST)
    elif isinstance(event, Suspend):
        span_ms("clock.duration", event.duration, least=ZERO)
    elif isinstance(event.rate, bool) or not isinstance(event.rate, (int, float)) or not 0.1 <= event.rate <= 10:
        raise ConfigError("clock.rate", event.rate, "must be a number from 0.1 to 10; 1.0 is true")


def _check_wall(history: tuple[ClockEvent, ...], begin: int, end: int) -> None:
    clockwork = Clockwork(begin, history)
    moments = [begin + event.at // MILLISECOND for event in history]
    for event, at, until in zip(history, moments, (*moments[1:], end + 1), strict=False):
        # Until the next event the wall hand only rises, so its least and its most are at both ends.
        if not (_is_known(clockwork.wall_ms(at)) and _is_known(clockwork.wall_ms(max(at, until - 1)))):
            raise ConfigError("clock", event, f"must keep what the clock shows {_WITHIN}")


def _is_known(instant: int) -> bool:
    return _FIRST_MS <= instant < _LAST_MS
