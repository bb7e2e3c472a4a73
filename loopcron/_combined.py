"""The union of several schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from loopcron._errors import ScheduleError
from loopcron._schedules import MsSchedule, Schedule, checked_schedule, in_ms


@final
@dataclass(frozen=True, slots=True)
class AnyOf(MsSchedule):
    """The slots of several schedules; an instant that several of them name is one slot. Made by `any_of`."""

    schedules: tuple[MsSchedule, ...]

    def next_ms(self, instant: int) -> int | None:
        """Return the earliest next slot of all, in milliseconds."""
        slots = [schedule.next_ms(instant) for schedule in self.schedules]
        return min((slot for slot in slots if slot is not None), default=None)

    def latest_ms(self, instant: int) -> int | None:
        """Return the latest previous slot of all, in milliseconds."""
        slots = [schedule.latest_ms(instant) for schedule in self.schedules]
        return max((slot for slot in slots if slot is not None), default=None)

    def bound(self, job: str, start: int) -> AnyOf:
        """Return the union with each schedule bound."""
        return AnyOf(tuple(schedule.bound(job, start) for schedule in self.schedules))

    @property
    def is_from_start(self) -> bool:
        """Whether one of the schedules counts from a start."""
        return any(schedule.is_from_start for schedule in self.schedules)

    def describe(self) -> str:
        """Return the rule in plain English: ``at 09:00 on weekdays, UTC; or every 2 hours, Europe/Berlin``."""
        return "; or ".join(schedule.describe() for schedule in self.schedules)

    def __str__(self) -> str:
        """Return the rule for logs: ``any of (every 0:15:00; once at …)``."""
        return f"any of ({'; '.join(str(schedule) for schedule in self.schedules)})"


def any_of(*schedules: Schedule) -> AnyOf:
    """
    Return a schedule with the slots of all *schedules*; an instant that several of them name is one slot.

    Args:
        schedules: At least two; schedules of your own are welcome.

    Raises:
        ScheduleError: One of them is no schedule, or there are fewer than two.
    """
    if len(schedules) < 2:
        raise ScheduleError("schedules", schedules, "must be at least two; a single schedule needs no any_of")
    return AnyOf(tuple(in_ms(checked_schedule(schedule, "schedules")) for schedule in schedules))
