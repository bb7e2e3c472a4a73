"""
Which of a job's due slots runs, and what becomes of the others: design section 5, "Late".

A pure function of the schedule, the slots' lateness and the policy; it knows no run and no ledger.
"""

from __future__ import annotations

from typing import NamedTuple

from loopcron._errors import ScheduleError
from loopcron._instants import HOUR_MS, iso
from loopcron._outcomes import Missed, Reason
from loopcron._policies import CATCH_UP_TABLE, Lateness, Policy, Verdict
from loopcron._schedules import MsSchedule


class Due(NamedTuple):
    """What to do with the slots that are due."""

    runs: bool
    """Whether the newest one runs; else it is among the missed."""
    newest: int
    reason: Reason
    period: int
    missed: Missed | None
    """The range of those that passed unserved; found by arithmetic, never by walking."""
    following: int | None
    """The first slot that is not due yet."""


def settle_due(schedule: MsSchedule, policy: Policy, slot: int, now: int, added: int) -> Due:
    """
    Decide about all slots from *slot*, the first unserved one, which is due, to *now*.

    Raises:
        ScheduleError: The schedule contradicts itself.
        Exception: Whatever a user's schedule raises.
    """
    newest = slot
    passed: int | None = None
    following = schedule.next_ms(slot)
    if following is not None and following <= now:
        newest, passed, following = _newest(schedule, slot, following, now)
    period = HOUR_MS if following is None else following - newest
    runs, reason = _judge(policy, newest, now, period, added)
    last = passed if runs else newest
    missed = None if last is None else Missed(slot, last, schedule.count(slot, last))
    return Due(runs, newest, reason, period, missed, following)


def _newest(schedule: MsSchedule, first: int, second: int, now: int) -> tuple[int, int, int | None]:
    """Return the newest due slot, the one before it and the one after it, given the first two, which are due."""
    newest = schedule.latest_ms(now)
    if newest is None or newest < second:
        shown = None if newest is None else iso(newest)
        raise ScheduleError("latest_until", shown, f"contradicts next_after, which named {iso(second)}")
    following = schedule.next_ms(newest)
    if following is not None and following <= now:
        raise ScheduleError("next_after", iso(following), f"contradicts latest_until, which named {iso(newest)}")
    passed = schedule.latest_ms(newest - 1)
    if passed is None or passed < first:
        shown = None if passed is None else iso(passed)
        raise ScheduleError("latest_until", shown, f"contradicts next_after, which named {iso(first)}")
    return newest, passed, following


def _judge(policy: Policy, newest: int, now: int, period: int, added: int) -> tuple[bool, Reason]:
    if policy.run_on_start and newest <= added:
        return True, "start"
    lateness = policy.lateness(now - newest, period)
    runs = CATCH_UP_TABLE[policy.catch_up, lateness] is Verdict.RUN
    return runs, "schedule" if lateness is Lateness.WITHIN_GRACE else "catch_up"
