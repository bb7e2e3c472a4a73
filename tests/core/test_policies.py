"""Policies, Retry, and the tables that decide."""

from __future__ import annotations

import itertools
import math
from datetime import timedelta
from typing import Any

import pytest

from loopcron._errors import ConfigError
from loopcron._policies import (
    BY_PERIOD,
    CATCH_UP_TABLE,
    OVERLAP_TABLE,
    CatchUp,
    Lateness,
    Overlap,
    Policy,
    Retry,
    Verdict,
    doubled_ms,
    finite_seconds,
)

HOUR = 3_600_000
YEARS = timedelta(days=3654)


def test_tables_are_complete() -> None:
    """Every pair of policy and state has its verdict, and no other pair is in the tables."""
    assert set(OVERLAP_TABLE) == set(itertools.product(Overlap, (False, True)))
    assert set(CATCH_UP_TABLE) == set(itertools.product(CatchUp, Lateness))
    assert set(OVERLAP_TABLE.values()) | set(CATCH_UP_TABLE.values()) == set(Verdict)


def test_tables_decide_as_designed() -> None:
    """Overlap skips only beside a live run with skip; what is late runs within grace, or caught up within its bound."""
    skipped = [pair for pair, verdict in OVERLAP_TABLE.items() if verdict is Verdict.SKIP]
    assert skipped == [(Overlap.SKIP, True)]
    running = [pair for pair, verdict in CATCH_UP_TABLE.items() if verdict is Verdict.RUN]
    assert running == [
        (CatchUp.SKIP, Lateness.WITHIN_GRACE),
        (CatchUp.LATEST, Lateness.WITHIN_GRACE),
        (CatchUp.LATEST, Lateness.WITHIN_CATCH_UP),
    ]


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("overlap", "queue", "must be one of skip, allow"),
        ("overlap", None, "must be one of skip, allow"),
        ("overlap", [], "must be one of skip, allow"),
        ("catch_up", "all", "must be one of skip, latest"),
        ("catch_up", True, "must be one of skip, latest"),
        ("catch_up_within", 60, "must be a timedelta"),
        ("catch_up_within", timedelta(seconds=-1), "must be between"),
        ("catch_up_within", YEARS, "ten years"),
        ("misfire_grace", None, "must be a timedelta"),
        ("misfire_grace", timedelta(seconds=-1), "must be between"),
        ("misfire_grace", timedelta(microseconds=1), "whole milliseconds"),
        ("timeout", 30, "must be a timedelta"),
        ("timeout", timedelta(0), "must be between"),
        ("timeout", "by period", "must be a timedelta"),
        ("timeout", YEARS, "ten years"),
        ("retry", 3, "must be a Retry or None"),
        ("retry", Retry, "must be a Retry or None"),
        ("run_on_start", 1, "must be True or False"),
        ("run_on_start", None, "must be True or False"),
    ],
)
def test_policy_refuses_bad_input(field: str, value: Any, remedy: str) -> None:
    """A bad field of a policy is refused with its name, its value and what would do."""
    with pytest.raises(ConfigError) as caught:
        Policy(**{field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}={value!r}: ")
    assert remedy in str(caught.value)


def test_policy_takes_plain_strings() -> None:
    """Plain strings are as good as the enums' members and become them."""
    policy = Policy(overlap="allow", catch_up="skip")  # type: ignore[arg-type]
    assert policy.overlap is Overlap.ALLOW
    assert policy.catch_up is CatchUp.SKIP


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("attempts", 1, "from 2 to 100"),
        ("attempts", 101, "from 2 to 100"),
        ("attempts", True, "from 2 to 100"),
        ("attempts", 2.0, "from 2 to 100"),
        ("backoff", timedelta(0), "must be between"),
        ("backoff", 1, "must be a timedelta"),
        ("longest", timedelta(milliseconds=999), "must not be shorter than backoff"),
        ("longest", 60, "must be a timedelta"),
        ("on", 503, "must be a set"),
        ("on", "transport", "must be a set"),
        ("on", None, "must be a set"),
        ("on", [[503]], "must be a set"),
        ("on", {409}, "but 409"),
        ("on", {200}, "from 300 to 599"),
        ("on", {600}, "from 300 to 599"),
        ("on", {True}, "from 300 to 599"),
        ("on", {503.0}, "from 300 to 599"),
        ("on", {"ledger"}, "one of"),
    ],
)
def test_retry_refuses_bad_input(field: str, value: Any, remedy: str) -> None:
    """A bad field of a Retry is refused with its name and what would do; 409 never can be repeated."""
    with pytest.raises(ConfigError) as caught:
        Retry(**{field: value})
    assert caught.value.field == field
    assert remedy in str(caught.value)


def test_retry_takes_any_set_of_causes() -> None:
    """Any collection of statuses and blames will do and is kept as a frozen set."""
    assert Retry(on=[503, "job"]).on == frozenset({503, "job"})  # type: ignore[arg-type]
    assert Retry(on=frozenset()).on == frozenset()


def test_retry_doubles_its_wait() -> None:
    """The wait doubles after each attempt, up to the longest, with no huge number on the way."""
    retry = Retry(100, timedelta(seconds=1), timedelta(seconds=10))
    assert [retry.delay_ms(attempt) for attempt in (1, 2, 3, 4, 5, 99)] == [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]
    assert doubled_ms(1, 10**9, 10**30) == 2**40


@pytest.mark.parametrize(
    ("period", "timeout"), [(1, 1_000), (1_000, 1_000), (1_001, 1_001), (300_000, 300_000), (300_001, 300_000)]
)
def test_default_timeout_is_one_period(period: int, timeout: int) -> None:
    """A run may take one period by default, at least 1 s and at most 5 min."""
    assert Policy().timeout_ms(period) == timeout


def test_timeout_can_be_said() -> None:
    """A timeout that is given holds whatever the period, and None means for ever."""
    assert Policy(timeout=timedelta(milliseconds=1)).timeout_ms(HOUR) == 1
    assert Policy(timeout=timedelta(days=2)).timeout_ms(1) == 2 * 24 * HOUR
    assert Policy(timeout=None).timeout_ms(HOUR) is None


def test_default_grace_is_one_period_up_to_an_hour() -> None:
    """By default a slot simply runs if it is at most one period late, or one hour where the period is longer."""
    assert Policy().misfire_grace is BY_PERIOD
    assert [Policy().grace_ms(period) for period in (1, HOUR, HOUR + 1)] == [1, HOUR, HOUR]
    assert Policy(misfire_grace=timedelta(0)).grace_ms(HOUR) == 0


def test_lateness_bounds_are_inclusive() -> None:
    """A slot exactly as late as the grace, or as catch_up_within, is still within it."""
    policy = Policy(misfire_grace=timedelta(seconds=1), catch_up_within=timedelta(seconds=2))
    assert [policy.lateness(late, HOUR) for late in (0, 1_000, 1_001, 2_000, 2_001)] == [
        Lateness.WITHIN_GRACE,
        Lateness.WITHIN_GRACE,
        Lateness.WITHIN_CATCH_UP,
        Lateness.WITHIN_CATCH_UP,
        Lateness.BEYOND,
    ]


@pytest.mark.parametrize("value", [0, 1.5, 10**9])
def test_seconds_are_finite_numbers(value: float) -> None:
    """Numbers of seconds from 0 on are taken as floats."""
    assert finite_seconds("seconds", value) == value
    assert isinstance(finite_seconds("seconds", value), float)


@pytest.mark.parametrize(
    "value",
    [-1, math.nan, math.inf, -math.inf, True, "1", None, timedelta(seconds=1), pytest.param(10**400, id="huge")],
)
def test_seconds_refuse_what_is_no_finite_number(value: object) -> None:
    """Negative, endless and odd numbers of seconds are refused, bools and huge ints among them."""
    with pytest.raises(ConfigError, match="finite number of seconds"):
        finite_seconds("seconds", value)
