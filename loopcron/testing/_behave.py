"""What the attempts of simulated jobs do: a user's function or sequence, read as outcomes and durations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from loopcron._errors import ConfigError
from loopcron._http import Response
from loopcron._instants import ZERO, from_ms, iso, span_ms, to_ms
from loopcron._jobs import SUCCESS, HttpJob, outcome_of
from loopcron._outcomes import OUTCOMES, Failed, Outcome, Reason, Skipped, Succeeded

if TYPE_CHECKING:
    from loopcron._events import RunStarted
    from loopcron._protocols import Job

_AT_ONCE: Final = (Succeeded(), 0)


class SimulatedAttempt(NamedTuple):
    """One attempt of a simulated run, as the function sees it that says what becomes of it."""

    job: str
    slot: datetime
    """The instant that the schedule named, in UTC."""
    attempt: int
    """Counted from 1 within its run."""
    reason: Reason
    fence: int
    started_at: datetime
    """In true time: what a clock shows that nobody sets; in UTC."""

    @property
    def key(self) -> str:
        """The idempotency key, the same for all attempts of a run: ``<job>@<slot>``."""
        return f"{self.job}@{iso(to_ms(self.slot))}"


Behaviour: TypeAlias = Outcome | int | timedelta | tuple[Outcome | int | None, timedelta] | None
"""
What one attempt does: it ends with an outcome or an HTTP status; it takes so long and succeeds; or both, as a pair.

A status means what it means to an `HttpJob`; None is a success at once.
"""

Decide: TypeAlias = "Callable[[RunStarted, int], tuple[Outcome, int]]"
"""Given an attempt and the true instant: how it ends, and after how many ms."""


def make_decide(
    behave: Callable[[SimulatedAttempt], Behaviour] | Iterable[Behaviour], jobs: Mapping[str, Job]
) -> Decide:
    """Return what decides about attempts; a sequence is used up in order, and after it every attempt succeeds."""
    if callable(behave):

        def ask(action: RunStarted, now: int) -> tuple[Outcome, int]:
            _, slot, attempt, reason, _, _, fence, _ = action
            told = SimulatedAttempt(action.job, from_ms(slot), attempt, reason, fence, from_ms(now))
            return _read(behave(told), jobs[action.job])

        return ask
    try:
        rest = iter(behave)
    except TypeError:
        raise ConfigError("behave", behave, "must be a function of the attempt, or a list of what they do") from None

    def follow(action: RunStarted, _: int) -> tuple[Outcome, int]:
        behaviour = next(rest, None)
        return _AT_ONCE if behaviour is None else _read(behaviour, jobs[action.job])

    return follow


def gets_through(outcome: Outcome) -> bool:
    """Return whether an attempt that ends so has reached what it was meant for."""
    return not isinstance(outcome, Skipped) and (not isinstance(outcome, Failed) or outcome.started)


def _read(behaviour: object, job: Job) -> tuple[Outcome, int]:
    if behaviour is None:
        return _AT_ONCE
    if isinstance(behaviour, timedelta):
        return _AT_ONCE[0], span_ms("behave", behaviour, least=ZERO)
    lasts: object = ZERO
    ends = behaviour
    if isinstance(behaviour, tuple) and len(behaviour) == 2:
        ends, lasts = behaviour
    if ends is None:
        ends = _AT_ONCE[0]
    elif isinstance(ends, int) and not isinstance(ends, bool) and 100 <= ends <= 599:
        ends = outcome_of(Response(ends), job.expected if isinstance(job, HttpJob) else SUCCESS)
    if not isinstance(ends, OUTCOMES):
        remedy = "must be an Outcome, an HTTP status, a timedelta, a pair of an outcome and a timedelta, or None"
        raise ConfigError("behave", behaviour, remedy)
    return ends, span_ms("behave", lasts, least=ZERO)
