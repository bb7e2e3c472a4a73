"""Short words for what a ledger says, for tests in which its rows hold nothing but a watermark."""

from __future__ import annotations

from collections.abc import Sequence

from loopcron._events import Answered, Registered
from loopcron._ledger import Claim, Lost, Row, Unavailable


def registered(jobs: Sequence[str], watermarks: Sequence[int] | None) -> Registered:
    """Return what the timetable is told of a registration; None: the ledger could not be asked."""
    if watermarks is None:
        return Registered(jobs, [None] * len(jobs))
    return Registered(jobs, [Row(job, mark) for job, mark in zip(jobs, watermarks, strict=True)])


def lost(claim: Claim, watermark: int | None = None) -> Lost:
    """Return the answer to a claim of a slot that is taken."""
    return Lost(Row(claim.job, claim.slot if watermark is None else watermark))


def unavailable(claims: Sequence[Claim]) -> Answered:
    """Return what the timetable is told of claims for which the ledger could not be asked."""
    return Answered(claims, [Unavailable("down")] * len(claims))
