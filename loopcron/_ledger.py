"""
What a ledger is asked and what it answers: the records of `Ledger`.

Slots and instants are integer milliseconds from the epoch in UTC, leases and waits are milliseconds. Each action
begins with its job and its slot, by which actions are ordered.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from loopcron._outcomes import Failed, Interrupted, Outcome, Skipped, Succeeded, printable

EARLY_MS: Final = 50
"""How far ahead of the store's now a slot may be claimed: clocks differ by that much even where they are kept."""

BATCH: Final = 500
"""How many jobs one call takes; PostgreSQL plans a longer statement badly, and Redis answers nobody else meanwhile."""
LOCAL_BATCH: Final = 25
"""
The same where the ledger is this process's own, so that calls cost nothing.

What so few runs need is mostly let go of before the garbage collector looks, which it does with every 700 new objects,
and never grows old with it: of 10,000 runs at one instant each takes 23 µs instead of 29 with batches of 500. And the
event loop is held up less.
"""


def batch_size(*, shared: bool) -> int:
    """Return how many jobs one call takes."""
    return BATCH if shared else LOCAL_BATCH


class Register(NamedTuple):
    """Action: make the job's row if there is none; after a correction of the clock, lower it."""

    job: str
    slot: int
    """When it was asked for; it orders the action and means nothing to the ledger."""
    watermark: int | None
    """A new row's watermark; None: the store's own now."""
    corrected: bool = False
    """The wall clock was corrected: a row above that watermark is lowered to it, by a ledger that may; see `Ledger`."""
    schedule: str = ""
    """What the job's schedule says of itself, for the row; "": nothing that could be compared."""


class Claim(NamedTuple):
    """Action: ask for the right to run the slot."""

    job: str
    slot: int
    claim_id: str
    """Unique per job, slot and claimant, and not empty; asking again with the same one gets the same answer. It names
    the worker in its beginning, for people to read."""
    lease: int | None = None
    """For how long nobody else may run the job; None: others may run it beside, and no lease of theirs counts."""


class Renew(NamedTuple):
    """Action: let the lease of a run that goes on begin anew."""

    job: str
    slot: int
    fence: int
    lease: int


class Finish(NamedTuple):
    """Action: write the outcome of a slot that was won, and give the lease back."""

    job: str
    slot: int
    fence: int
    outcome: Outcome


class Pause(NamedTuple):
    """Action: let nobody win a slot of the job any more, or end that."""

    job: str
    slot: int
    """When it was asked for; it orders the action and means nothing to the ledger."""
    paused: bool


class Row(NamedTuple):
    """What a ledger knows of a job."""

    job: str
    watermark: int
    """The newest slot that was won, or where the job began: nothing at or below it is ever won again."""
    fence: int = 0
    """Of the newest claim that was won; 0: none was."""
    claim_id: str = ""
    """Whose claim that was; "": nobody's."""
    finished: bool = True
    """Whether its outcome is known, or there is none to wait for."""
    lease: int | None = None
    """For how long its lease goes on, by the store's clock; 0 or less: it is over; None: there is none."""
    outcome: str = ""
    """What became of the newest claim that finished, as `outcome_text` has it; "": none did."""
    ended: int | None = None
    """When that was, by the store's clock."""
    succeeded: int | None = None
    """When a claim last ended in `Succeeded`, by the store's clock."""
    paused: bool = False
    schedule: str = ""
    """The schedule's text, as it stood before this call; of a row that it made, its own."""


class Won(NamedTuple):
    """Answer: the slot is yours to run."""

    fence: int
    """Rises with every claim that is won, so that an endpoint can refuse a late predecessor."""
    abandoned_slot: int | None = None
    """A slot of the same job that was won before, whose lease ran out without an outcome; None: there is none."""
    abandoned_by: str = ""
    """By which claim it had been won."""


class Lost(NamedTuple):
    """Answer: the slot is at or below the watermark; somebody else ran it or passed it."""

    row: Row


class Held(NamedTuple):
    """Answer: another run of the job has the lease."""

    for_ms: int
    """How long it lasts if it is not renewed, by the store's clock; more than 0."""


class TooEarly(NamedTuple):
    """Answer: by the store's clock the slot has not come."""

    by_ms: int
    """How long it takes to come; more than `EARLY_MS`."""


class Paused(NamedTuple):
    """Answer: the job is paused for all workers."""


class Unavailable(NamedTuple):
    """Answer: the store could not be asked, or has not answered; the slot may be won all the same."""

    error: str


Answer = Won | Lost | Held | TooEarly | Paused | Unavailable
"""What a ledger says to a claim."""
ANSWERS: Final = (Won, Lost, Held, TooEarly, Paused, Unavailable)


def outcome_text(outcome: Outcome) -> str:
    """Return an outcome as a row holds it: its kind and what can be counted, such as ``Failed endpoint 503``."""
    kind = type(outcome).__name__
    match outcome:
        case Failed(blame, _, status):
            return f"{kind} {blame}" if status is None else f"{kind} {blame} {status}"
        case Succeeded(int(status)):
            return f"{kind} {status}"
        case Skipped(reason):
            return f"{kind} {reason}"
        case Interrupted(by):
            return f"{kind} {by}"
        case _:
            return kind


def worker_of(claim_id: str) -> str:
    """
    Return the host and the process of who made a claim, for people: ``web-1:4711``.

    Of a caller from outside, and of what no worker of ours has written, as much as can be read; "" of no claim.
    """
    # What comes after is of one life, and of one claim in it; see `Scheduler` and `SlotGuard`.
    name, _, _ = claim_id.rpartition(":")
    return printable(name or claim_id.partition("-")[0])[:60]
