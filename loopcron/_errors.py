"""
The errors that loopcron raises, all of them while configuring or by misuse of the life cycle.

    LoopcronError
    ├── ConfigError (ValueError)             a field of a job, policy, transport or scheduler
    │   ├── ScheduleError                    a schedule that cannot be made
    │   └── DuplicateJobError                a name that is taken
    ├── UnknownJobError (LookupError)        a name that nobody added
    ├── LifecycleError (RuntimeError)        started twice, or called from another thread
    │   └── SchedulerClosedError             used while stopping or when not running
    ├── LedgerError                          what a ledger raises instead of answers
    ├── FencedError                          a run's slot is no longer its own
    ├── SlotRefusedError                     what a guard raises instead of letting a request in
    └── TransportError                       what a transport raises instead of a response

Inside a tick nothing is raised: there it is an outcome (``_outcomes``). ``TransportError`` is the one that a run
meets, and the run's fence turns it into an outcome; a ``LedgerError`` is met by the scheduler, or by who asks a ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, final


class LoopcronError(Exception):
    """The root of all errors that loopcron raises."""


class ConfigError(LoopcronError, ValueError):
    """
    A setting that cannot work; the message names the field, the value and what would do.

    Args:
        field: The setting as its user writes it, such as ``timeout``.
        value: What was given; shown by its ``repr``, cut to 80 characters.
        remedy: What would be accepted.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}={_shown(value)}: {remedy}")
        self.field: Final = field


class ScheduleError(ConfigError):
    """A schedule that cannot be made from what was given."""


@final
class DuplicateJobError(ConfigError):
    """A job of this name is there already; a name is also the job's key in the ledger."""

    def __init__(self, name: str) -> None:
        super().__init__("name", name, "is taken; give every job a name of its own, or remove the other one first")


@final
class UnknownJobError(LoopcronError, LookupError):
    """No job of this name was added."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        listed = ", ".join(known) or "none"
        super().__init__(f"name={_shown(name)}: no such job; known jobs: {listed}")


class LifecycleError(LoopcronError, RuntimeError):
    """A scheduler was used in a way its present state does not allow."""


@final
class SchedulerClosedError(LifecycleError):
    """The scheduler is stopping, or is not running, and so cannot do what was asked."""


TransportCode = Literal[
    "refused", "reset", "closed", "protocol", "tls", "resolve", "unreachable", "no_address", "token", "path", "internal"
]


@final
class TransportError(LoopcronError):
    """
    An attempt that brought no response back, told by a code of a fixed small set.

    It never carries the text or the chain of a client library's exception, because those can show the
    request's headers and with them the token.

    Args:
        code: ``refused`` (nobody listens), ``reset`` and ``closed`` (the peer went away), ``protocol`` (the answer is
            not HTTP/1.1), ``tls``, ``resolve`` (the host name), ``unreachable``, ``no_address`` (no base URL is
            known), ``token`` (the token's callable failed or gave nothing usable), ``path`` (outside the origin),
            ``internal`` (a fault of the transport).
        started: False only where the request provably did not reach an application, so that sending it again
            cannot run anything twice.
    """

    def __init__(self, code: TransportCode, *, started: bool = True) -> None:
        super().__init__(code)
        self.code: Final[TransportCode] = code
        self.started: Final = started


@final
class LedgerError(LoopcronError):
    """
    The store could not be asked, or gave no answer in time: what it has done meanwhile, nobody knows.

    The message says what is wrong in our words; of a driver's own it shows what cannot hold a password.
    """


@final
class FencedError(LoopcronError):
    """
    The slot is no longer the run's own: somebody else has won the job since, or its outcome was written before.

    Whatever the run has written in its transaction is to be rolled back.

    Args:
        job: The job's name.
        fence: What the run's claim had won.
    """

    def __init__(self, job: str, fence: int) -> None:
        super().__init__(f"job {_shown(job)} has another fence than {fence} by now, or an outcome; roll back")
        self.job: Final = job
        self.fence: Final = fence


RefusalReason = Literal[
    "malformed", "stale", "finished", "taken", "held", "paused", "no_slot", "early", "ledger", "lease_lost"
]
"""
Why a guard let a request not in, or cut it: ``malformed`` (headers that no scheduler sends), ``stale`` (the job was
claimed anew since), ``finished`` (the run has its outcome already), ``taken`` (the newest slot was run or passed),
``held`` (another run of the job is alive), ``paused``, ``no_slot`` (the schedule has none to claim), ``early`` (by the
store's clock the slot has not come), ``ledger`` (the store could not be asked), ``lease_lost`` (somebody else may run
the job by now).
"""

REFUSAL_STATUSES: Final[Mapping[RefusalReason, int]] = {
    "malformed": 400,
    "stale": 412,
    "finished": 409,
    "taken": 409,
    "held": 409,
    "paused": 409,
    "no_slot": 409,
    "early": 503,
    "ledger": 503,
    "lease_lost": 409,
}


@final
class SlotRefusedError(LoopcronError):
    """
    A request that a `SlotGuard` refuses; holds what to answer, and nothing of the request.

    Args:
        job: The guarded one.
        reason: See `RefusalReason`.
        detail: The same for people.
        retry_after_seconds: How long to wait before asking again; None: asking again is of no use.
    """

    def __init__(self, job: str, reason: RefusalReason, detail: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(f"{job}: {detail}")
        self.job: Final = job
        self.reason: Final[RefusalReason] = reason
        self.detail: Final = detail
        self.retry_after_seconds: Final = retry_after_seconds

    @property
    def status(self) -> int:
        """The HTTP status to answer: 400, 409, 412 or 503."""
        return REFUSAL_STATUSES[self.reason]

    @property
    def headers(self) -> dict[str, str]:
        """The headers to answer: ``Retry-After``, or none."""
        return {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}

    @property
    def body(self) -> dict[str, str]:
        """What to answer as JSON: ``job``, ``reason``, ``detail``."""
        return {"job": self.job, "reason": self.reason, "detail": self.detail}


def text_of(value: object) -> str:
    """Return what *value* says of itself, or its type where a user's broken ``__str__`` raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whoever only wants to show it must not fail for it
        return f"<{type(value).__name__}>"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's broken __repr__ must not replace our message
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."
