"""
Which of a job's due slots runs, and what becomes of the others: design section 5, "Late".

A pure function of the schedule, the slots' lateness and the policy; it knows no run and no ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from loopcron._errors import ScheduleError
from loopcron._instants import HOUR_MS, iso
from loopcron._outcomes import Missed, Reason
from loopcron._policies import Policy
from loopcron._schedules import MsSchedule
from loopcron._tables import CATCH_UP_TABLE, Lateness, Verdict


@final
@dataclass(slots=True)  # neither frozen nor a named tuple: one is made for every slot, and those cost twice as much
class Due:
    """What to do with the slots that are due."""

    runs: bool
    """Whether one of them runs now; else all are among the missed."""
    slot: int
    """The one that runs, or the newest."""
    reason: Reason
    period: int
    missed: Missed | None
    """The range of those that passed unserved; found by arithmetic, never by walking."""
    following: int | None
    """The first slot that this does not settle: not due yet, or to be caught up after the one that runs."""
    due: int
    """When that is due; 0 if there is none."""


def settle_due(schedule: MsSchedule, policy: Policy, job: str, slot: int, now: int, added: int) -> Due:
    """
    Decide about all slots from *slot*, the first unserved one, which is due, to *now*.

    Raises:
        ScheduleError: The schedule contradicts itself.
        Exception: Whatever a user's schedule raises.
    """
    newest, before, after = slot, None, schedule.next_ms(slot)
    if after is not None and after <= now:
        newest, before, after = _due_slots(schedule, policy, job, slot, after, now)
    period = HOUR_MS if after is None else after - newest
    reason: Reason
    if policy.run_on_start and newest <= added:
        runs, reason = True, "start"
    else:
        due = due_at(schedule, policy, job, newest) if policy.jitter else newest
        lateness = policy.lateness(now - due, period)
        runs = CATCH_UP_TABLE[policy.catch_up, lateness] is Verdict.RUN
        reason = "schedule" if lateness is Lateness.IN_GRACE else "catch_up"
    last = before if runs else newest
    if runs and before is not None and CATCH_UP_TABLE[policy.catch_up, Lateness.OLDER] is Verdict.RUN:
        passed = newest if reason == "catch_up" else before
        oldest, over = _backlog(schedule, policy, job, slot, passed, now)
        if oldest is not None:
            newest, last, after, reason = oldest, over, schedule.next_ms(oldest), "catch_up"
            period = HOUR_MS if after is None else after - oldest
    missed = None if last is None else Missed(slot, last, schedule.count(slot, last))
    following_due = due_at(schedule, policy, job, after) if policy.jitter else after or 0
    return Due(runs, newest, reason, period, missed, after, following_due)


def due_at(schedule: MsSchedule, policy: Policy, job: str, slot: int | None) -> int:
    """Return when the slot is due: at its instant, or later by its jitter; 0 if there is none."""
    if slot is None:
        return 0
    if not policy.jitter:
        return slot
    following = schedule.next_ms(slot)
    return slot + policy.jitter_ms(job, slot, None if following is None else following - slot)


def _due_slots(
    schedule: MsSchedule, policy: Policy, job: str, first: int, second: int, now: int
) -> tuple[int, int | None, int | None]:
    """Return the newest due slot, the one before it if that is due too, and the first that is not due."""
    newest = schedule.latest_ms(now)
    if newest is None or newest < second:
        shown = None if newest is None else iso(newest)
        raise ScheduleError("latest_until", shown, f"contradicts next_after, which named {iso(second)}")
    following = schedule.next_ms(newest)
    if following is not None and following <= now:
        raise ScheduleError("next_after", iso(following), f"contradicts latest_until, which named {iso(newest)}")
    before = _before(schedule, first, newest)
    if due_at(schedule, policy, job, newest) <= now:
        return newest, before, following
    # Its instant has passed, but not its jitter. That is less than the gap, so the slot before it is due.
    return before, None if before == first else _before(schedule, first, before), newest


def _before(schedule: MsSchedule, first: int, slot: int) -> int:
    """Return the slot before *slot*, which is not the *first* one."""
    before = schedule.latest_ms(slot - 1)
    if before is None or before < first:
        shown = None if before is None else iso(before)
        raise ScheduleError("latest_until", shown, f"contradicts next_after, which named {iso(first)}")
    return before


def _backlog(
    schedule: MsSchedule, policy: Policy, job: str, first: int, last: int | None, now: int
) -> tuple[int | None, int | None]:
    """Return the oldest slot up to *last* to be caught up, and the newest that is passed over; None: there is none."""
    oldest: int | None = None
    slot = last
    for _ in range(policy.backlog):
        if slot is None or slot < first:
            return oldest, None
        lateness = policy.older_lateness(now - due_at(schedule, policy, job, slot))
        if CATCH_UP_TABLE[policy.catch_up, lateness] is Verdict.MISS:
            break
        oldest, slot = slot, schedule.latest_ms(slot - 1)
    return oldest, slot if slot is not None and slot >= first else None
