"""
Hypothesis strategies for what befalls a job, made to be given to `simulate`.

Instants are drawn near whole minutes, quarters and hours after the start as well as anywhere, because that is where
slots are.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import strategies as st

from loopcron._combined import any_of
from loopcron._every import at, every
from loopcron._instants import MILLISECOND
from loopcron._local import cron
from loopcron._outcomes import Busy, Failed, Outcome, Succeeded
from loopcron._schedules import Schedule
from loopcron.testing._behave import Behaviour
from loopcron.testing._histories import ClockEvent, ClockStep, Drift, Outage, Suspend

_WEEK: Final = timedelta(days=7)
_ROUND_MS: Final = (60_000, 900_000, 3_600_000)
_INTERVALS_MS: Final = (1_000, 10_000, 60_000, 300_000, 900_000, 3_600_000, 86_400_000)
_ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
_LINES: Final = ("*/15 * * * *", "7 * * * *", "30 2 * * *", "0 9 * * MON-FRI", "0 0 L * *", "0 12 * * FRI#2", "@weekly")


def outages(duration: timedelta = _WEEK, *, longest: timedelta = timedelta(seconds=45)) -> st.SearchStrategy[Outage]:
    """
    Draw an outage that begins within *duration*; ``st.lists(outages())`` draws several.

    The default is as short as the restart of a server. During one a request is refused, and repeated every 5 s at
    the latest until its run's deadline; so a job with the default timeout gets through at most 5 s after an outage
    that is at least 5 s shorter than that timeout, and is not silent for longer than period + outage + 5 s.

    Args:
        duration: Of the simulation.
        longest: How long an outage takes at most.
    """
    return st.builds(Outage, at=_moments(duration, longest), duration=_spans(longest))


def clock_histories(
    duration: timedelta = _WEEK,
    *,
    forward: timedelta = timedelta(hours=30),
    back: timedelta = timedelta(0),
    suspended: timedelta = timedelta(hours=30),
    drift: float = 0.0005,
) -> st.SearchStrategy[list[ClockEvent]]:
    """
    Draw what befalls a clock within *duration*: up to five steps, suspends and changes of rate, in order.

    Args:
        duration: Of the simulation.
        forward: How far the clock is set forward at most.
        back: How far it is set back at most.
        suspended: How long a suspend takes at most.
        drift: How far a rate is from 1.0 at most; by default what a daemon does that corrects a clock by slewing.
    """
    moments = _moments(duration)
    kinds: list[st.SearchStrategy[ClockEvent]] = [
        st.builds(ClockStep, at=moments, by=_spans(forward, -back)),
        st.builds(Suspend, at=moments, duration=_spans(suspended)),
        st.builds(Drift, at=moments, rate=st.floats(1 - drift, 1 + drift)),
    ]
    return st.lists(st.one_of(kinds), max_size=5).map(lambda events: sorted(events, key=lambda event: event.at))


def outcomes() -> st.SearchStrategy[Outcome]:
    """Draw how an attempt may end: successes, a held lock, failures of all blames that a job can meet."""
    return st.one_of(
        st.builds(Succeeded, st.none() | st.integers(200, 299)),
        st.builds(Busy),
        st.builds(Failed, st.just("job"), st.text(max_size=20)),
        st.integers(300, 599).filter(lambda status: status != 409).map(_http_failure),
        st.builds(
            Failed,
            st.just("endpoint"),
            st.just("HTTP 503"),
            st.just(503),
            retry_after_seconds=st.integers(0, 600).map(float),
        ),
        st.builds(Failed, st.just("transport"), st.sampled_from(["refused", "reset", "closed"]), started=st.booleans()),
    )


def _http_failure(status: int) -> Outcome:
    return Failed("endpoint", f"HTTP {status}", status)


def behaviours(longest: timedelta = timedelta(minutes=20)) -> st.SearchStrategy[list[Behaviour]]:
    """
    Draw what the first attempts of a simulation do, as a list for *behave*; after it all attempts succeed at once.

    Args:
        longest: How long an attempt takes at most, unless it is cut.
    """
    one: list[st.SearchStrategy[Behaviour]] = [
        st.none(),
        outcomes(),
        st.sampled_from([200, 204, 302, 409, 429, 500, 503]),
        _spans(longest),
        st.tuples(outcomes(), _spans(longest)),
    ]
    return st.lists(st.one_of(one), max_size=30)


def schedules(*, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> st.SearchStrategy[Schedule]:
    """
    Draw a schedule of any kind, all of them with slots at least a second apart.

    Args:
        start: Aware; `at` and bounds are drawn within a week of it.
    """
    intervals = st.sampled_from(_INTERVALS_MS) | st.integers(1_000, 172_800_000)
    single = st.one_of(
        st.builds(lambda ms: every(ms * MILLISECOND), intervals),
        st.builds(lambda ms, phase: every(ms * MILLISECOND, phase=phase % ms * MILLISECOND), intervals, intervals),
        st.builds(lambda ms: every(ms * MILLISECOND, phase="spread"), intervals),
        st.builds(lambda ms: every(ms * MILLISECOND, anchor="start"), intervals),
        st.builds(cron, st.sampled_from(_LINES), st.sampled_from(_ZONES)),
        _moments(_WEEK).map(lambda since: at(start + since)),
    )
    combined = st.one_of(
        st.builds(any_of, single, single),
        st.builds(
            lambda rule, since, span: rule.between(start + since, start + since + span + MILLISECOND),
            single,
            _moments(_WEEK),
            _spans(_WEEK),
        ),
    )
    return st.one_of(single, combined)


def _spans(longest: timedelta, least: timedelta = timedelta(0)) -> st.SearchStrategy[timedelta]:
    return st.integers(least // MILLISECOND, longest // MILLISECOND).map(lambda ms: ms * MILLISECOND)


def _moments(duration: timedelta, before: timedelta = timedelta(seconds=45)) -> st.SearchStrategy[timedelta]:
    """Draw a time since the start, below *duration*: often up to *before* ahead of a round one."""
    last = max(duration // MILLISECOND - 1, 0)
    lead = before // MILLISECOND
    round_ones = [
        st.builds(
            lambda number, ahead, unit=unit: max(number * unit - ahead, 0),
            st.integers(0, last // unit),
            st.integers(0, min(lead, unit)),
        )
        for unit in _ROUND_MS
    ]
    return st.one_of(*round_ones, st.integers(0, last)).map(lambda ms: ms * MILLISECOND)
