"""
Who may in at a guarded endpoint: what the headers of a request say, and what a ledger's answer means for it.

Pure: what is asked of the ledger, and when, is in ``_guard``. Nothing of a request is ever repeated in a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple, assert_never, get_args

from loopcron._errors import SlotRefusedError
from loopcron._instants import HOUR_MS, to_ms
from loopcron._ledger import Answer, Held, Lost, Paused, Row, TooEarly, Unavailable, Won
from loopcron._outcomes import Reason
from loopcron._policies import lease_ms
from loopcron._schedules import Schedule, in_ms
from loopcron._tables import Overlap

HEADERS: Final = frozenset({"loopcron-job", "loopcron-slot", "loopcron-fence", "loopcron-reason"})
"""By any of these a request says that a scheduler sent it."""
KEY: Final = "idempotency-key"
STORE_SECONDS: Final = 2
"""After how long a store that could not be asked is worth asking again."""

_SLOT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z")
_FENCE: Final = re.compile(r"(0|[1-9][0-9]{0,18})\Z")
_MANUAL: Final = re.compile(r"manual-[0-9a-f]{32}\Z")


class Ticket(NamedTuple):
    """What a scheduler's request says of its run."""

    slot: int
    fence: int
    """0: the run has no claim; it is a manual one, or its scheduler fired without the ledger."""
    is_manual: bool = False


def read_ticket(job: str, headers: Iterable[tuple[str, str]]) -> Ticket | None:
    """
    Return what the headers say of a run of *job*; None if no scheduler has sent them.

    Raises:
        SlotRefusedError: ``malformed``: no scheduler sends such headers for this job.
    """
    found: dict[str, str] = {}
    keys: set[str] = set()
    for name, value in headers:
        lower = name.lower()
        if lower == KEY:
            keys.add(value)
        elif lower in HEADERS:
            if lower in found:
                raise _malformed(job, f"{lower} is given twice")
            found[lower] = value
    if not found:
        return None  # the key may be there: it is a common header, and an outside caller's own
    if _needed(job, found, "loopcron-job") != job:
        raise _malformed(job, "loopcron-job names another job")
    slot_text = _needed(job, found, "loopcron-slot")
    fence_text = _needed(job, found, "loopcron-fence")
    reason = found.get("loopcron-reason", "schedule")
    if not _FENCE.match(fence_text):
        raise _malformed(job, "loopcron-fence is no whole number")
    if reason not in get_args(Reason):
        raise _malformed(job, "loopcron-reason is none that there is")
    ticket = Ticket(_read_slot(job, slot_text), int(fence_text), reason == "manual")
    if ticket.is_manual and ticket.fence:
        raise _malformed(job, "loopcron-fence is that of a slot, and a manual run has none")
    for key in keys:
        named, _, rest = key.partition("@")
        if named != job or not (_MANUAL.match(rest) if ticket.is_manual else rest == slot_text):
            raise _malformed(job, f"{KEY} is that of another run")
    return ticket


def _needed(job: str, found: dict[str, str], name: str) -> str:
    if name not in found:
        raise _malformed(job, f"{name} is missing")
    return found[name]


def _read_slot(job: str, text: str) -> int:
    try:
        if _SLOT.match(text):
            return to_ms(datetime.fromisoformat(text))
    except ValueError:
        pass  # a thirteenth month
    raise _malformed(job, "loopcron-slot is no instant such as 2026-03-01T02:30:00.000Z")


def _malformed(job: str, detail: str) -> SlotRefusedError:
    return SlotRefusedError(job, "malformed", detail)


def check_fence(job: str, ticket: Ticket, row: Row | None, overlap: Overlap) -> None:
    """
    Let the run of *ticket* in, unless the ledger's row shows that it is over.

    A row that is gone or has a smaller fence is that of a store which has lost what it knew: nobody newer is known.
    Where runs may overlap, a newer claim says nothing of the older ones.

    Raises:
        SlotRefusedError: ``stale``: the job was claimed anew since. ``finished``: the run has its outcome.
    """
    if row is None or row.fence < ticket.fence:
        return
    if row.fence == ticket.fence:
        if row.finished:
            raise SlotRefusedError(job, "finished", "this run has its outcome already")
    elif overlap is not Overlap.ALLOW:
        raise SlotRefusedError(job, "stale", "the job was claimed anew since this run began")


def newest_slot(job: str, schedule: Schedule, now: int) -> int:
    """
    Return the newest slot at or before *now*, which is the one that a caller from outside claims.

    Raises:
        SlotRefusedError: ``no_slot``: there is none yet, or each process has slots of its own.
    """
    rule = in_ms(schedule).bound(job, now)
    if rule.is_from_start:
        raise SlotRefusedError(job, "no_slot", "its slots count from the start of the scheduler, which only that knows")
    slot = rule.latest_ms(now)
    if slot is None:
        raise SlotRefusedError(job, "no_slot", "its schedule has no slot yet")
    return slot


def lease_of(job: str, schedule: Schedule, overlap: Overlap, slot: int) -> int | None:
    """Return how long a lease the claim of *slot* asks for, in ms; None: the job's runs may overlap."""
    if overlap is Overlap.ALLOW:
        return None
    following = in_ms(schedule).bound(job, slot).next_ms(slot)
    return lease_ms(HOUR_MS if following is None else following - slot)


def check_answer(job: str, answer: Answer) -> Won:
    """
    Return the answer to a claim if it was won.

    Raises:
        SlotRefusedError: It was not: ``taken``, ``held``, ``paused``, ``early`` or ``ledger``.
    """
    match answer:
        case Won():
            return answer
        case Lost():
            raise SlotRefusedError(job, "taken", "its newest slot was run or passed already")
        case Held():
            raise SlotRefusedError(job, "held", "another run of the job goes on")
        case Paused():
            raise SlotRefusedError(job, "paused", "the job is paused")
        case TooEarly(by_ms):
            seconds = -(-by_ms // 1000)
            raise SlotRefusedError(job, "early", "by the ledger's clock its slot has not come", seconds)
        case Unavailable():
            raise unreachable(job)
        case _:
            assert_never(answer)


def unreachable(job: str) -> SlotRefusedError:
    """Return the refusal where the ledger could not be asked."""
    return SlotRefusedError(job, "ledger", "the ledger could not be asked", STORE_SECONDS)
