"""Policies, Retry, and the tables that decide."""

from __future__ import annotations

import itertools
import math
from datetime import timedelta
from typing import Any

import pytest

from loopcron._errors import ConfigError
from loopcron._instants import spread_ms
from loopcron._policies import BY_PERIOD, Policy, Retry, doubled_ms, finite_seconds
from loopcron._tables import CATCH_UP_TABLE, OVERLAP_TABLE, CatchUp, Lateness, Occupancy, Overlap, Verdict

HOUR = 3_600_000
YEARS = timedelta(days=3654)


def test_tables_are_complete() -> None:
    """Every pair of policy and state has its verdict, and no other pair is in the tables."""
    assert set(OVERLAP_TABLE) == set(itertools.product(Overlap, Occupancy))
    assert set(CATCH_UP_TABLE) == set(itertools.product(CatchUp, Lateness))
    assert set(OVERLAP_TABLE.values()) | set(CATCH_UP_TABLE.values()) == set(Verdict)


def test_tables_decide_as_designed() -> None:
    """A free job always runs, a full one never does; what is late runs within grace, or caught up within its bound."""
    assert {OVERLAP_TABLE[policy, Occupancy.FREE] for policy in Overlap} == {Verdict.RUN}
    assert Verdict.RUN not in {OVERLAP_TABLE[policy, Occupancy.FULL] for policy in Overlap}
    assert [OVERLAP_TABLE[policy, Occupancy.BUSY] for policy in Overlap] == ["skip", "wait", "replace", "run"]
    running = [pair for pair, verdict in CATCH_UP_TABLE.items() if verdict is Verdict.RUN]
    assert running == [
        (CatchUp.SKIP, Lateness.IN_GRACE),
        (CatchUp.LATEST, Lateness.IN_GRACE),
        (CatchUp.LATEST, Lateness.PASSED),
        (CatchUp.ALL, Lateness.IN_GRACE),
        (CatchUp.ALL, Lateness.PASSED),
        (CatchUp.ALL, Lateness.OLDER),
    ]


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("overlap", "wait", "must be one of skip, queue, replace, allow"),
        ("overlap", None, "must be one of skip, queue, replace, allow"),
        ("overlap", [], "must be one of skip, queue, replace, allow"),
        ("catch_up", "every", "must be one of skip, latest, all"),
        ("catch_up", True, "must be one of skip, latest, all"),
        ("max_running", 3, "means something with overlap='allow' only"),
        ("max_running", 0, "must be a whole number from 1 to 1000"),
        ("max_running", 1_001, "must be a whole number from 1 to 1000"),
        ("max_running", True, "must be a whole number from 1 to 1000"),
        ("max_running", 2.0, "must be a whole number from 1 to 1000"),
        ("catch_up_max", 3, "means something with catch_up='all' only"),
        ("catch_up_max", 0, "must be a whole number from 1 to 1000"),
        ("jitter", 30, "must be a timedelta"),
        ("jitter", timedelta(seconds=-1), "must be between"),
        ("jitter", timedelta(microseconds=1), "must be whole milliseconds"),
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
        ("jitter", 0, "must be a timedelta"),
        ("jitter", timedelta(seconds=-1), "must be between"),
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
    assert [retry.delay_ms(attempt, "key") for attempt in (1, 2, 3, 4, 5, 99)] == [
        1_000,
        2_000,
        4_000,
        8_000,
        10_000,
        10_000,
    ]
    assert doubled_ms(1, 10**9, 10**30) == 2**40


def test_retry_jitter_is_added_and_the_same_everywhere() -> None:
    """Each wait is longer by a hash of the run and the attempt, below the jitter, and the same whenever asked."""
    retry = Retry(backoff=timedelta(seconds=1), jitter=timedelta(seconds=10))
    waits = [retry.delay_ms(1, f"job@{slot}") for slot in range(200)]
    assert waits == [retry.delay_ms(1, f"job@{slot}") for slot in range(200)]
    assert all(1_000 <= wait < 11_000 for wait in waits)
    assert len(set(waits)) > 150
    assert retry.delay_ms(1, "job@1") - 1_000 != retry.delay_ms(2, "job@1") - 2_000


def test_spread_covers_its_range_evenly() -> None:
    """A thousand keys that differ in a digit fall into ten equal parts of the range, none of them half empty."""
    parts = [0] * 10
    for number in range(1_000):
        parts[spread_ms(f"job@{1_772_323_200_000 + number * 900_000}", 60_000) // 6_000] += 1
    assert min(parts) > 50
    assert spread_ms("job", 0) == 0


def test_policy_jitter_is_below_the_gap() -> None:
    """A slot's jitter is below the policy's and below the gap to the next slot, where there is one."""
    policy = Policy(jitter=timedelta(minutes=10))
    assert all(0 <= policy.jitter_ms("job", slot, 1_000) < 1_000 for slot in range(500))
    assert max(policy.jitter_ms("job", slot, None) for slot in range(500)) > 500_000
    assert Policy().jitter_ms("job", 5, 1_000) == 0


def test_places_and_backlog_have_defaults() -> None:
    """Ten runs beside each other, ten slots caught up; both can be set."""
    assert Policy(overlap=Overlap.ALLOW).places == 10
    assert Policy(overlap=Overlap.ALLOW, max_running=3).places == 3
    assert [Policy(catch_up=CatchUp.ALL, catch_up_max=most).backlog for most in (None, 1, 1_000)] == [10, 1, 1_000]


def test_older_slots_are_judged_by_the_catch_up_bound_alone() -> None:
    """An older due slot has no grace: it is within catch_up_within, inclusive, or beyond."""
    policy = Policy(misfire_grace=timedelta(hours=1), catch_up_within=timedelta(seconds=2))
    assert [policy.older_lateness(late) for late in (0, 2_000, 2_001)] == [
        Lateness.OLDER,
        Lateness.OLDER,
        Lateness.BEYOND,
    ]


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
        Lateness.IN_GRACE,
        Lateness.IN_GRACE,
        Lateness.PASSED,
        Lateness.PASSED,
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
