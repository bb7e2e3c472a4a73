"""
What became of a slot, as a closed union of frozen records, and the Run that is handed to a job.

Every due slot ends in exactly one outcome. Texts in here are sanitised when the record is made: control characters
escaped, length capped, nothing of a request or a response.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol, final

from loopcron._instants import from_ms, iso

if TYPE_CHECKING:
    from loopcron._http import Request, Response

Blame = Literal["job", "endpoint", "transport", "ledger", "internal"]
Reason = Literal["schedule", "catch_up", "start", "manual"]
"""Why a run exists: its slot came; its slot had passed; the scheduler started; somebody asked for it."""
SkipReason = Literal["overlap", "paused", "limit", "skip_next", "ledger", "no_address", "removed"]
InterruptedBy = Literal["shutdown", "replace", "remove"]

TEXT_LIMIT: Final = 300
LONGEST_WAIT_SECONDS: Final = 1e9
"""Some thirty years: what asks for more is rubbish."""


@final
@dataclass(frozen=True, slots=True)
class Succeeded:
    """The job ran and did not say otherwise."""

    status: int | None = None
    """The HTTP status of an `HttpJob`'s response."""


@final
@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else holds the lock (HTTP 409): expected, and no failure."""

    status: int | None = 409
    """The HTTP status that said so."""


@final
@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed; the schedule goes on."""

    blame: Blame
    """Whose fault it was: the job's code, the endpoint's answer, the transport, the ledger, or loopcron itself."""
    error: str
    """What happened, in one printable line of at most 300 characters."""
    status: int | None = None
    """The HTTP status, where there was a response."""
    started: bool = True
    """False where the request provably did not reach an application."""
    retry_after_seconds: float | None = None
    """How long the endpoint asked to wait: the ``Retry-After`` of a 425, 429 or 503; what is no such time is None."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", printable(self.error))
        # A job may make this record too, and the planner reckons with the number: NaN would break its arithmetic.
        if self.retry_after_seconds is not None and not 0 <= self.retry_after_seconds <= LONGEST_WAIT_SECONDS:
            object.__setattr__(self, "retry_after_seconds", None)
        if not isinstance(self.status, int):
            object.__setattr__(self, "status", None)


@final
@dataclass(frozen=True, slots=True)
class TimedOut:
    """An attempt was cut at the run's deadline."""

    after_seconds: float
    """How long the run had taken, over all its attempts."""


@final
@dataclass(frozen=True, slots=True)
class Skipped:
    """The slot, or the range of slots, was not run on purpose; `first` and `last` are None for one slot."""

    reason: SkipReason
    first: int | None = None
    """The first slot of a range, in ms from the epoch."""
    last: int | None = None
    """The last slot of a range, in ms from the epoch."""
    count: int | None = 1
    """How many slots the range holds; None where counting them would take too long."""


@final
@dataclass(frozen=True, slots=True)
class Missed:
    """The slots of this range passed unserved and are not caught up."""

    first: int
    """The first slot, in ms from the epoch."""
    last: int
    """The last slot, in ms from the epoch."""
    count: int | None
    """How many slots the range holds; None where counting them would take too long."""


@final
@dataclass(frozen=True, slots=True)
class Taken:
    """The slot was run, or passed, by another replica."""


@final
@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run was ended by the scheduler before it was done."""

    by: InterruptedBy


@final
@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The run was cut because its lease may be over, so that somebody else may run the job already."""


Outcome = Succeeded | Busy | Failed | TimedOut | Skipped | Missed | Taken | Interrupted | LeaseLost
"""What became of a slot: a closed union, so that a ``match`` over it can be checked for completeness."""
OUTCOMES: Final = (Succeeded, Busy, Failed, TimedOut, Skipped, Missed, Taken, Interrupted, LeaseLost)


def printable(text: str) -> str:
    """Return *text* on one line: what is not printable escaped, and cut to 300 characters."""
    # str.isprintable is False for controls, ESC, U+2028/9 and the bidirectional marks: all that can forge a log line.
    cut = text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 3] + "..."
    if cut.isprintable():
        return cut
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return safe if len(safe) <= TEXT_LIMIT else safe[: TEXT_LIMIT - 3] + "..."


def error_text(error: BaseException) -> str:
    """Return the type and message of a job's exception in one printable line; never fails, whatever its ``str``."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ is the job's fault and must stay one line of ours
        message = "its message cannot be shown"
    return printable(f"{name}: {message}" if message else name)


class Backstage(Protocol):
    """What a run needs of the scheduler that made it."""

    async def send(self, run: Run, request: Request, /) -> Response: ...
    async def sleep(self, run: Run, seconds: float, /) -> None: ...
    async def call(self, run: Run, function: Callable[[Run], object], /) -> object: ...


@final
class Run:
    """
    One execution of a job for one slot, as its body sees it.

    Made by the scheduler for every attempt, and valid until the body returns.
    """

    __slots__ = ("_backstage", "_deadline", "_key", "_slot", "attempt", "fence", "job", "reason", "run_id")

    def __init__(
        self,
        job: str,
        slot: int,
        run_id: int,
        attempt: int,
        reason: Reason,
        fence: int,
        deadline: int | None,
        key: str | None,
        backstage: Backstage,
    ) -> None:
        self.job: Final = job
        self._slot = slot
        self.run_id: Final = run_id
        self.attempt: Final = attempt
        self.reason: Final[Reason] = reason
        self.fence: Final = fence
        self._deadline = deadline
        self._key = key
        self._backstage = backstage

    @property
    def key(self) -> str:
        """The idempotency key, the same for all attempts: ``<job>@<slot>``, of a manual run ``<job>@manual-<uuid>``."""
        return self._key or f"{self.job}@{iso(self._slot)}"

    @property
    def slot(self) -> datetime:
        """The instant that the schedule named, aware, in UTC; of a manual run the instant it was asked for."""
        return from_ms(self._slot)

    @property
    def deadline_at(self) -> datetime | None:
        """When the run is cut, aware, in UTC; None if it has no timeout."""
        return None if self._deadline is None else from_ms(self._deadline)

    async def send(self, request: Request) -> Response:
        """
        Send *request* through the scheduler's transport, with the headers that name this run.

        Adds ``Idempotency-Key`` and ``Loopcron-Job``, ``-Slot``, ``-Attempt``, ``-Reason`` and ``-Fence``. One
        attempt, ended by the run's deadline through cancellation.

        Raises:
            TransportError: No response came back. Left alone, it becomes the run's outcome.
        """
        return await self._backstage.send(self, request)

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds* (finite, 0 or more) on the scheduler's clock, so that a fake clock rules it."""
        await self._backstage.sleep(self, seconds)

    async def call(self, function: Callable[[Run], object]) -> object:
        """
        Call a blocking *function* with this run on a daemon thread of the scheduler's own, four at a time.

        A thread cannot be cancelled: at the deadline the run is waited for as any other that swallows
        cancellation is, and then given up as stuck. Its thread never holds up the exit of the process.
        """
        return await self._backstage.call(self, function)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that `send` adds."""
        slot = iso(self._slot)
        return (
            ("Idempotency-Key", self._key or f"{self.job}@{slot}"),  # `key`, with the slot written once for both
            ("Loopcron-Job", self.job),
            ("Loopcron-Slot", slot),
            ("Loopcron-Attempt", str(self.attempt)),
            ("Loopcron-Reason", self.reason),
            ("Loopcron-Fence", str(self.fence)),
        )

    def __repr__(self) -> str:
        return f"<Run {self.key} attempt {self.attempt}, {self.reason}>"
