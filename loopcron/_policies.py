"""
What a job wants when the timetable meets trouble; what follows from it is looked up in ``_tables``.

Nothing here knows slots, runs or "now".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Final

from loopcron._errors import ConfigError
from loopcron._instants import HOUR_MS, MILLISECOND, SECOND_MS, ZERO, span_ms, spread_ms
from loopcron._tables import CatchUp, Lateness, Overlap

BLAMES: Final = ("job", "endpoint", "transport")
REFUSED_BACKOFF: Final = (50, 5_000)
"""First and longest wait, in ms, before an attempt whose request provably never started is repeated."""
EARLY_MS: Final = 10_000
"""For how long after the start an address that is not known counts as one that is not known yet."""
SHORTEST_RUN: Final = SECOND_MS
LONGEST_RUN: Final = 300 * SECOND_MS
"""Between these, in ms, is the time that a run may take by default."""
ALLOWED: Final = 10
"""How many runs of a job may be alive with overlap allow: a job that hangs must not fill the process."""
CAUGHT_UP: Final = 10
"""How many passed slots are caught up with catch_up all: a week of downtime must not become a week of runs."""
MOST: Final = 1_000
"""The highest limit that can be set: what asks for more means something else, and walking back over it takes long."""
RETRY_AFTER_LIMIT: Final = 3
"""How often one run obeys ``Retry-After``: an endpoint that always sends it must not keep a run going for ever."""


@dataclass(frozen=True, slots=True)
class Retry:
    """
    When a failed attempt is repeated within its run.

    Even without it two kinds of failure are repeated, because that can run nothing twice: a request that provably
    never started (back-off from 50 ms to 5 s), and a 425, 429 or 503 that carries ``Retry-After`` (at most three
    times). A 409 never is: somebody else holds the lock. All attempts share the run's deadline, claim, fence and
    idempotency key; when no time is left for another attempt, the last failure is the outcome.
    """

    attempts: int = 3
    """How many attempts a run may make, the first one included; at least 2."""
    backoff: timedelta = timedelta(seconds=1)
    """The wait before the second attempt; it doubles each time. Between 1 ms and ten years."""
    longest: timedelta = timedelta(minutes=1)
    """The longest wait; not shorter than *backoff*."""
    on: frozenset[int | str] = frozenset({"transport", 500, 502, 503, 504})
    """HTTP statuses, and the blames ``job``, ``endpoint``, ``transport`` that stand for all their failures."""
    jitter: timedelta = timedelta(0)
    """Added to each wait: a hash of job, slot and attempt, from 0 to below this; so that many jobs do not come back
    together. The same on every replica and in every test."""

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or not 2 <= self.attempts <= 100:
            raise ConfigError("attempts", self.attempts, "must be a whole number from 2 to 100, the first one included")
        if span_ms("backoff", self.backoff) > span_ms("longest", self.longest):
            raise ConfigError("longest", self.longest, f"must not be shorter than backoff, {self.backoff}")
        span_ms("jitter", self.jitter, least=ZERO)
        try:
            causes = None if isinstance(self.on, str) else frozenset(self.on)
        except TypeError:
            causes = None
        if causes is None:
            raise ConfigError("on", self.on, "must be a set, such as {503, 'transport'}")
        object.__setattr__(self, "on", causes)
        for cause in self.on:
            if not _is_cause(cause):
                raise ConfigError("on", cause, f"holds HTTP statuses from 300 to 599 but 409, or one of {BLAMES}")

    def covers(self, status: int | None, blame: str) -> bool:
        """Return whether a failure with this HTTP status, if any, and this blame is repeated."""
        return blame in self.on or status in self.on

    def delay_ms(self, attempt: int, key: str) -> int:
        """Return the wait after the *attempt*-th attempt, counted from 1, of the run with this key, in milliseconds."""
        wait = doubled_ms(span_ms("backoff", self.backoff), attempt, span_ms("longest", self.longest))
        return wait + spread_ms(f"{key}#{attempt}", self.jitter // MILLISECOND)


def _is_cause(cause: object) -> bool:
    if isinstance(cause, str):
        return cause in BLAMES
    # 409 is Busy, an outcome of its own: repeating it only hammers whoever holds the lock.
    return isinstance(cause, int) and not isinstance(cause, bool) and 300 <= cause <= 599 and cause != 409


def doubled_ms(first: int, step: int, longest: int) -> int:
    """Return *first* doubled (*step* - 1) times, at most *longest*; the exponent is capped so no huge int is made."""
    return min(longest, first << min(step - 1, 40))


class _Default(StrEnum):
    BY_PERIOD = "by period"


BY_PERIOD: Final = _Default.BY_PERIOD
"""The default of ``timeout`` and ``misfire_grace``: derived from the gap between the slot and the next one."""


@dataclass(frozen=True, slots=True)
class Policy:
    """
    How one job is treated; every field has a default that suits a job called every few minutes.

    Durations are timedeltas of whole milliseconds. A slot's *period* is the gap to the next slot, one hour if
    there is none.
    """

    overlap: Overlap = Overlap.SKIP
    """What to do when a slot is due while a run of the job is alive."""
    max_running: int | None = None
    """With overlap allow: how many runs may be alive at once, 1 to 1,000. Default: 10."""
    catch_up: CatchUp = CatchUp.LATEST
    """What to do with slots that passed unserved."""
    catch_up_max: int | None = None
    """With catch_up all: how many of them run, the newest ones, 1 to 1,000. Default: 10."""
    catch_up_within: timedelta = timedelta(hours=24)
    """How late a slot may be and still be caught up, inclusive."""
    misfire_grace: timedelta | _Default = BY_PERIOD
    """How late the newest due slot simply runs, inclusive. Default: one period, at most one hour."""
    timeout: timedelta | _Default | None = BY_PERIOD
    """How long a run may take over all its attempts. Default: one period, between 1 s and 5 min. None: for ever."""
    retry: Retry | None = None
    """When a failed attempt is repeated; such a run must also end before the next one is due."""
    jitter: timedelta = timedelta(0)
    """How much later than its slot a run may start, so that many jobs on one instant do not start together: a hash of
    job and slot, from 0 to below this and below the gap to the next slot, the same on every replica. The slot stays
    where it is; lateness counts from slot + jitter."""
    run_on_start: bool = False
    """Whether the newest slot at or before the start is due once the start-up delay is over, however late,
    unless the ledger says that it was served."""
    # The durations in ms, since they are asked for at every slot; None where the period or nothing decides.
    _within_ms: int = field(init=False, repr=False, compare=False)
    _grace_ms: int | None = field(init=False, repr=False, compare=False, default=None)
    _timeout_ms: int | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        _choice(self, "overlap", Overlap)
        _choice(self, "catch_up", CatchUp)
        put = partial(object.__setattr__, self)
        _limit("max_running", self.max_running, self.overlap is Overlap.ALLOW, "overlap='allow'")
        _limit("catch_up_max", self.catch_up_max, self.catch_up is CatchUp.ALL, "catch_up='all'")
        put("_within_ms", span_ms("catch_up_within", self.catch_up_within, least=ZERO))
        span_ms("jitter", self.jitter, least=ZERO)
        if self.misfire_grace is not BY_PERIOD:
            put("_grace_ms", span_ms("misfire_grace", self.misfire_grace, least=ZERO))
        if self.timeout is not BY_PERIOD and self.timeout is not None:
            put("_timeout_ms", span_ms("timeout", self.timeout))
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise ConfigError("retry", self.retry, "must be a Retry or None")
        if not isinstance(self.run_on_start, bool):
            raise ConfigError("run_on_start", self.run_on_start, "must be True or False")

    def grace_ms(self, period_ms: int) -> int:
        """Return how late, in ms, a slot of this period still simply runs."""
        return min(period_ms, HOUR_MS) if self._grace_ms is None else self._grace_ms

    def timeout_ms(self, period_ms: int) -> int | None:
        """Return how many ms a run of a slot of this period may take; None means for ever."""
        if self.timeout is not BY_PERIOD:
            return self._timeout_ms
        return SHORTEST_RUN if period_ms < SHORTEST_RUN else min(period_ms, LONGEST_RUN)

    def jitter_ms(self, job: str, slot: int, gap_ms: int | None) -> int:
        """Return how many ms after this slot of this job its run is due, given the gap to the next slot, if any."""
        most = self.jitter // MILLISECOND
        return spread_ms(f"{job}@{slot}", most if gap_ms is None else min(most, gap_ms))

    def lateness(self, late_ms: int, period_ms: int) -> Lateness:
        """Return the row of the catch-up table for a newest due slot that is *late_ms* late."""
        if late_ms <= self.grace_ms(period_ms):
            return Lateness.IN_GRACE
        return Lateness.PASSED if late_ms <= self._within_ms else Lateness.BEYOND

    def older_lateness(self, late_ms: int) -> Lateness:
        """Return the row of the catch-up table for a due slot that is not the newest."""
        return Lateness.OLDER if late_ms <= self._within_ms else Lateness.BEYOND

    @property
    def places(self) -> int:
        """With overlap allow: how many runs of the job may be alive at once."""
        return ALLOWED if self.max_running is None else self.max_running

    @property
    def backlog(self) -> int:
        """How many passed slots are caught up one after the other."""
        return CAUGHT_UP if self.catch_up_max is None else self.catch_up_max


def lease_ms(period_ms: int) -> int:
    """Return for how many ms a claim of a slot of this period keeps other workers from running the job."""
    return min(max(period_ms // 2, 2_000), 30_000)


def trusted_ms(lease: int) -> int:
    """
    Return how long a lease of so many ms is relied on.

    Less by what a clock may be set back without being noticed, a second, and by the while that a request takes to be
    sent; for short leases, which that would use up, by half.
    """
    return lease - min(lease // 2, max(lease // 10, 1_200))


def checked_limit(field: str, value: object) -> None:
    """Raise ``ConfigError`` unless *value* is None or a whole number from 1 to 1,000."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST):
        raise ConfigError(field, value, f"must be a whole number from 1 to {MOST}")


def _limit(field: str, value: int | None, has_use: bool, use: str) -> None:
    checked_limit(field, value)
    if value is not None and not has_use:
        raise ConfigError(field, value, f"means something with {use} only; leave it out, or set that too")


def _choice(policy: Policy, field: str, kind: type[StrEnum]) -> None:
    # Plain strings are welcome: overlap="allow" reads well and is what the documentation's tables say.
    value = getattr(policy, field)
    try:
        object.__setattr__(policy, field, kind(value))
    except ValueError:
        raise ConfigError(field, value, f"must be one of {', '.join(kind)}") from None


def finite_seconds(field: str, value: object) -> float:
    """Return *value* as seconds if it is a finite number of at least 0, else raise ``ConfigError``."""
    # Compared, because math.isfinite raises for an int beyond the floats; NaN fails any comparison.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        raise ConfigError(field, value, "must be a finite number of seconds, 0 or more")
    return float(value)
