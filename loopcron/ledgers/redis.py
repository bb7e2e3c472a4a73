"""The ledger on Redis: one hash per row, and one script for all that happens to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar, final

from loopcron._errors import LedgerError
from loopcron._ledger import Answer, Claim, Finish, Pause, Register, Renew, Row, Unavailable, outcome_text
from loopcron._outcomes import Succeeded
from loopcron.ledgers._arguments import checked_namespace, checked_timeout
from loopcron.ledgers._redis_link import Link, Refusal
from loopcron.ledgers._redis_script import (
    SCRIPT,
    SHA,
    Foreign,
    foreign_in,
    to_answer,
    to_bool,
    to_row,
    to_row_or_none,
)
from loopcron.ledgers._thread import StoreThread

__all__ = ("RedisLedger",)

_Answer = TypeVar("_Answer")

_Call = tuple[str, ...]
"""A job, an operation, and the operation's arguments."""
_Fault = Refusal | Foreign
"""Why one row could not be asked."""


@final
class RedisLedger:
    """
    Keeps one hash per job in Redis 6.2 or newer, shared by all processes that use the same server and namespace.

    It promises at most one start per slot for as long as the server keeps what it has acknowledged. A crash without
    an append-only file, a failover to a replica that lags behind, an eviction or a flush may give a slot out again;
    the fence rises even then. A server that is set to lose rows is a WARNING, once. Rows have no expiry.

    What is wrong with one row alone, a key that holds something else or was written by another release, is
    `Unavailable` for its claim, and False for its renewal and its outcome; so is a server out of memory for a claim.
    Any other call raises then, once it has done its work on the other rows.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://`` for TLS, or ``unix:///path/to/socket?db=0``, with
            the options of redis-py; never shown. The timeouts in it count for nothing.
        namespace: Whose rows these are: 1 to 64 letters, digits, dots, underscores and hyphens.
        timeout: How long each call may take, in real time.

    Raises:
        ConfigError: An argument cannot work, or the driver is missing: ``pip install loopcron[redis]``.
    """

    def __init__(self, url: str, *, namespace: str, timeout: timedelta = timedelta(seconds=2)) -> None:
        seconds = checked_timeout(timeout)
        self._namespace = checked_namespace(namespace)
        self._link = Link(url, seconds)
        self._thread = StoreThread("loopcron redis", seconds, interrupt=self._link.hang_up)

    @property
    def is_shared(self) -> bool:
        """See `Ledger.is_shared`."""
        return True

    async def register(self, jobs: Sequence[Register]) -> Sequence[Row | Unavailable]:
        """See `Ledger.register`."""
        calls = [
            (job.job, "register", "" if job.watermark is None else str(job.watermark), job.schedule) for job in jobs
        ]
        return await self._ask(calls, to_row, instead=_unavailable)

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Answer]:
        """See `Ledger.claim`."""
        calls = [
            (claim.job, "claim", str(claim.slot), claim.claim_id, "" if claim.lease is None else str(claim.lease))
            for claim in claims
        ]
        return await self._ask(calls, to_answer, instead=_unavailable)

    async def renew(self, renewals: Sequence[Renew]) -> Sequence[bool]:
        """See `Ledger.renew`."""
        calls = [(renewal.job, "renew", str(renewal.fence), str(renewal.lease)) for renewal in renewals]
        return await self._ask(calls, to_bool, instead=_not_held)

    async def finish(self, finishes: Sequence[Finish]) -> Sequence[bool]:
        """See `Ledger.finish`."""
        calls = [
            (
                *(finish.job, "finish", str(finish.fence), outcome_text(finish.outcome)),
                _flag(isinstance(finish.outcome, Succeeded)),
            )
            for finish in finishes
        ]
        return await self._ask(calls, to_bool, instead=_not_held)

    async def pause(self, pauses: Sequence[Pause]) -> None:
        """See `Ledger.pause`."""
        await self._ask([(pause.job, "pause", _flag(pause.paused)) for pause in pauses], to_bool)

    async def peek(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.peek`."""
        return await self._ask([(job, "peek") for job in jobs], to_row_or_none)

    async def reset(self, jobs: Sequence[str]) -> Sequence[Row | None]:
        """See `Ledger.reset`."""
        return await self._ask([(job, "reset") for job in jobs], to_row_or_none)

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._thread.close(self._link.hang_up)

    def __repr__(self) -> str:
        return f"{self._link.place}, namespace {self._namespace}"

    async def _ask(
        self,
        calls: Sequence[_Call],
        read: Callable[[str, list[Any]], _Answer],
        *,
        instead: Callable[[str, _Fault], _Answer] | None = None,
    ) -> list[_Answer]:
        """Make all *calls* in one round trip and *read* the answers; *instead* answers for a row with a fault."""
        if not calls:
            return []
        replies = await self._thread.call(partial(self._run, calls))
        otherwise = instead or _raised
        return [
            otherwise(job, reply) if isinstance(reply, Refusal | Foreign) else read(job, reply)
            for (job, *_), reply in zip(calls, replies, strict=True)
        ]

    def _run(self, calls: Sequence[_Call]) -> list[list[Any] | _Fault]:
        # The braces let a cluster place a row by what is between them.
        commands: list[tuple[str | int, ...]] = [
            ("EVALSHA", SHA, 1, f"loopcron:{{{self._namespace}:{job}}}", *arguments) for job, *arguments in calls
        ]
        replies = self._link.ask(commands)
        unknown = [
            place for place, reply in enumerate(replies) if isinstance(reply, Refusal) and reply.is_unknown_script
        ]
        if unknown:  # the server was restarted, or told to forget: then it has done nothing
            _, *again = self._link.ask([("SCRIPT", "LOAD", SCRIPT), *(commands[place] for place in unknown)])
            for place, reply in zip(unknown, again, strict=True):
                replies[place] = reply
        if not all(isinstance(reply, list | Refusal) for reply in replies):
            raise LedgerError("does not answer as Redis does")
        return [reply if isinstance(reply, Refusal) else foreign_in(reply) or reply for reply in replies]


def _unavailable(_job: str, fault: _Fault) -> Unavailable:
    return Unavailable(fault.words)


def _not_held(job: str, fault: _Fault) -> bool:
    return False if isinstance(fault, Foreign) else _raised(job, fault)


def _raised(job: str, fault: _Fault) -> NoReturn:
    raise LedgerError(f"{fault.words} (job {job})")


def _flag(value: object) -> str:
    return "1" if value else "0"
