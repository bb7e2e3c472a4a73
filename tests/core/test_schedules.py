"""Schedules of our own: every and at."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcron._errors import ScheduleError
from loopcron._every import At, at, every
from loopcron._instants import EPOCH, from_ms, iso, to_ms
from loopcron._schedules import checked_schedule, in_ms

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EASTERN = timezone(timedelta(hours=-5))

BAD_EVERY: list[tuple[tuple[Any, ...], dict[str, Any], str, str]] = [
    ((), {}, "interval", "between"),
    ((timedelta(0),), {}, "interval", "between"),
    ((timedelta(seconds=-1),), {}, "interval", "between"),
    ((timedelta(microseconds=500),), {}, "interval", "between"),
    ((timedelta(milliseconds=1.5),), {}, "interval", "whole milliseconds"),
    ((timedelta(days=3654),), {}, "interval", "ten years"),
    ((timedelta.max,), {}, "interval", "ten years"),
    ((15,), {}, "interval", "timedelta"),
    ((True,), {}, "interval", "timedelta"),
    (("15m",), {}, "interval", "timedelta"),
    ((math.inf,), {}, "interval", "timedelta"),
    ((), {"minutes": 0}, "interval", "between"),
    ((), {"minutes": -5}, "interval", "between"),
    ((), {"minutes": math.nan}, "minutes", "finite"),
    ((), {"hours": math.inf}, "hours", "finite"),
    ((), {"days": -math.inf}, "days", "finite"),
    ((), {"seconds": True}, "seconds", "finite"),
    ((), {"weeks": "1"}, "weeks", "finite"),
    ((), {"milliseconds": None}, "milliseconds", "finite"),
    ((), {"milliseconds": 0.5}, "interval", "between"),
    ((), {"seconds": 0.0015}, "interval", "whole milliseconds"),
    ((), {"weeks": 1e300}, "interval", "ten years"),
    ((), {"weeks": 10**400}, "interval", "ten years"),
    ((timedelta(minutes=1),), {"minutes": 1}, "interval", "leave out minutes"),
    ((), {"minutes": 1, "phase": timedelta(minutes=1)}, "phase", "below the interval"),
    ((), {"minutes": 1, "phase": timedelta(seconds=-1)}, "phase", "between"),
    ((), {"minutes": 1, "phase": timedelta(microseconds=1500)}, "phase", "whole milliseconds"),
    ((), {"minutes": 1, "phase": 5}, "phase", "timedelta"),
    ((), {"minutes": 1, "phase": "random"}, "phase", "a timedelta or 'spread'"),
    ((), {"minutes": 1, "phase": ""}, "phase", "a timedelta or 'spread'"),
    ((), {"minutes": 1, "phase": timedelta(days=4000), "anchor": "start"}, "phase", "ten years"),
    ((), {"minutes": 1, "anchor": "midnight"}, "anchor", "'epoch' or 'start'"),
    ((), {"minutes": 1, "anchor": None}, "anchor", "'epoch' or 'start'"),
    ((), {"minutes": 1, "anchor": NOON}, "anchor", "'epoch' or 'start'"),
]


@pytest.mark.parametrize(("args", "keywords", "field", "remedy"), BAD_EVERY)
def test_every_refuses_bad_input(args: tuple[Any, ...], keywords: dict[str, Any], field: str, remedy: str) -> None:
    """A bad argument of every is refused with its field, its value and what would do."""
    with pytest.raises(ScheduleError) as caught:
        every(*args, **keywords)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}=")
    assert remedy in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_every_shows_the_value_it_refuses() -> None:
    """The message holds the value as its user wrote it."""
    with pytest.raises(ScheduleError, match=r"^minutes=nan: must be a finite number$"):
        every(minutes=math.nan)


def test_every_counts_from_the_epoch() -> None:
    """By default slots are epoch + n * interval + phase, the same in every process."""
    rule = every(minutes=15, phase=timedelta(seconds=7))
    assert rule.next_after(NOON) == NOON + timedelta(seconds=7)
    assert rule.next_after(NOON + timedelta(seconds=7)) == NOON + timedelta(minutes=15, seconds=7)
    assert rule.latest_until(NOON) == NOON - timedelta(minutes=14, seconds=53)
    assert rule.latest_until(NOON + timedelta(seconds=7)) == NOON + timedelta(seconds=7)


def test_every_works_before_the_epoch() -> None:
    """The epoch is a reference, no beginning: there are slots before it."""
    assert every(hours=1).latest_until(datetime(1969, 12, 31, 23, 30, tzinfo=UTC)) == datetime(
        1969, 12, 31, 23, tzinfo=UTC
    )


def test_every_adds_up_its_keywords() -> None:
    """The units are added up, and a timedelta says the same."""
    assert every(hours=1, minutes=30, milliseconds=1) == every(timedelta(minutes=90, milliseconds=1))
    assert every(seconds=0.1).interval == timedelta(milliseconds=100)


NUMBERS = st.one_of(st.just(0), st.integers(-100, 100), st.integers(), st.booleans(), st.floats())
UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds")


@given(st.dictionaries(st.sampled_from(UNITS), NUMBERS))
def test_whole_numbers_add_up_as_a_timedelta(parts: dict[str, Any]) -> None:
    """Whole numbers are added up without a timedelta, and say what one of them would, or are refused as it would be."""
    try:
        expected = every(timedelta(**parts))
    except (ScheduleError, OverflowError, ValueError):
        expected = None
    if any(isinstance(value, bool) for value in parts.values()):
        expected = None  # as a number it means a mistake
    try:
        assert every(**parts) == expected
    except ScheduleError:
        assert expected is None


@pytest.mark.parametrize(
    ("options", "phase", "anchor", "bound_phase", "bound_anchor"),
    [
        ({}, timedelta(0), EPOCH, timedelta(0), EPOCH),
        ({"phase": timedelta(seconds=7)}, timedelta(seconds=7), EPOCH, timedelta(seconds=7), EPOCH),
        ({"phase": "spread"}, "spread", EPOCH, timedelta(milliseconds=59_026), EPOCH),
        ({"anchor": "start"}, timedelta(0), None, timedelta(0), NOON),
        ({"anchor": "start", "phase": timedelta(days=1)}, timedelta(days=1), None, timedelta(days=1), NOON),
        ({"anchor": "start", "phase": "spread"}, "spread", None, timedelta(milliseconds=59_026), NOON),
    ],
    ids=["plain", "phase", "spread", "start", "start and phase", "start and spread"],
)
def test_every_says_what_it_was_made_of(
    options: dict[str, Any], phase: object, anchor: object, bound_phase: object, bound_anchor: object
) -> None:
    """Interval, phase and anchor are what was given; with a job what was open is what came of its name and start."""
    rule = every(minutes=1, **options)
    bound = rule.bound("job", to_ms(NOON))
    assert (rule.interval, rule.phase, rule.anchor) == (timedelta(minutes=1), phase, anchor)
    assert (bound.interval, bound.phase, bound.anchor) == (timedelta(minutes=1), bound_phase, bound_anchor)
    assert repr(rule) == f"Every(interval={rule.interval!r}, phase={phase!r}, anchor={anchor!r})"
    assert rule == every(minutes=1, **options)
    assert hash(rule) == hash(every(minutes=1, **options))
    assert (rule == bound) == (phase == bound_phase and anchor == bound_anchor)


@pytest.mark.parametrize("interval", [timedelta(milliseconds=1), timedelta(days=3653)])
def test_every_accepts_its_limits(interval: timedelta) -> None:
    """One millisecond and ten years are the shortest and the longest interval, both included."""
    assert every(interval).interval == interval


def test_every_ends_where_datetimes_do() -> None:
    """A slot that no datetime can tell is none: after the year 9999, and before the year 1."""
    assert every(hours=1).next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert every(hours=1, phase=timedelta(minutes=1)).latest_until(datetime.min.replace(tzinfo=UTC)) is None


def test_every_takes_any_timezone() -> None:
    """The same instant in another timezone gets the same answer, in UTC."""
    there = NOON.astimezone(EASTERN)
    assert every(minutes=15).next_after(there) == NOON + timedelta(minutes=15)
    assert every(minutes=15).next_after(there).tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize("rule", [every(minutes=1), at(NOON)], ids=str)
@pytest.mark.parametrize("question", ["next_after", "latest_until"])
@pytest.mark.parametrize("instant", [datetime(2026, 3, 1), "now", None, 0])
def test_questions_want_aware_datetimes(rule: Any, question: str, instant: object) -> None:
    """A naive datetime, or none at all, is refused with what would do."""
    with pytest.raises(ScheduleError, match="timezone"):
        getattr(rule, question)(instant)


def test_open_anchor_has_no_slots() -> None:
    """A rule anchored at a start that has not come says so instead of guessing."""
    rule = every(minutes=1, anchor="start")
    with pytest.raises(ScheduleError, match="before a scheduler has started"):
        rule.next_after(NOON)
    with pytest.raises(ScheduleError, match="before a scheduler has started"):
        rule.latest_until(NOON)


def test_anchored_rule_begins_with_its_first_slot() -> None:
    """Anchored at a start, n counts from 0: nothing lies before start + phase."""
    rule = every(minutes=1, phase=timedelta(seconds=90), anchor="start").bound("job", to_ms(NOON))
    first = NOON + timedelta(seconds=90)
    assert rule.is_from_start
    assert rule.latest_until(first - timedelta(milliseconds=1)) is None
    assert rule.next_after(NOON - timedelta(days=1)) == first
    assert rule.next_after(first - timedelta(milliseconds=1)) == first
    assert rule.latest_until(first) == first
    assert rule.next_after(first) == first + timedelta(minutes=1)


def test_rules_say_themselves() -> None:
    """A schedule's text is what a person would say."""
    assert str(every(minutes=15)) == "every 0:15:00"
    assert str(every(minutes=15, phase=timedelta(seconds=7))) == "every 0:15:00 + 0:00:07"
    assert str(every(minutes=15, anchor="start")) == "every 0:15:00, from the start"
    assert str(every(minutes=15, anchor="start").bound("job", 0)) == "every 0:15:00, from the start"
    assert str(every(minutes=15, phase="spread")) == "every 0:15:00 + spread"
    assert str(at(NOON)) == "once at 2026-03-01T12:00:00.000Z"


def test_spread_phase_has_no_slots_yet() -> None:
    """A phase that waits for the job's name says so instead of guessing."""
    rule = every(minutes=15, phase="spread")
    with pytest.raises(ScheduleError, match=r"^phase='spread': has no slots before a job was added with it$"):
        rule.next_after(NOON)
    with pytest.raises(ScheduleError, match="before a job was added"):
        rule.latest_until(NOON)
    with pytest.raises(ScheduleError, match="before a scheduler has started"):
        every(minutes=15, phase="spread", anchor="start").next_after(NOON)


@pytest.mark.parametrize(("job", "phase"), [("sync", 155_291), ("groomer", 39_534), ("a", 818_148)])
def test_spread_phase_is_a_hash_of_the_name(job: str, phase: int) -> None:
    """The phase is the CRC-32 of the job's name, modulo the interval: the same in every process and version."""
    bound = every(minutes=15, phase="spread").bound(job, to_ms(NOON))
    assert bound.phase == timedelta(milliseconds=phase)
    assert bound.next_ms(0) == phase
    assert not bound.is_from_start


@given(st.text(min_size=1), st.integers(1, 10**11))
def test_spread_phase_is_below_the_interval(job: str, interval: int) -> None:
    """Whatever the name, slots stay one interval apart, and the first one after the epoch is the phase."""
    rule = every(timedelta(milliseconds=interval), phase="spread")
    bound = rule.bound(job, 12_345)
    first = bound.next_ms(-1)
    assert first is not None
    assert 0 <= first < interval
    assert bound.next_ms(first) == first + interval
    assert bound == rule.bound(job, 98_765) == bound.bound("other", 0)


def test_spread_spreads() -> None:
    """Fifty jobs with one rule have hardly two on one instant."""
    rule = every(minutes=15, phase="spread")
    assert len({rule.bound(f"job-{number}", 0).phase for number in range(50)}) == 50


def test_spread_from_the_start() -> None:
    """With the anchor at the start, the first slot is the start plus the hash."""
    rule = every(minutes=15, phase="spread", anchor="start").bound("sync", to_ms(NOON))
    first = NOON + timedelta(milliseconds=155_291)
    assert rule.is_from_start
    assert rule.next_after(NOON - timedelta(days=1)) == first
    assert rule.latest_until(first - timedelta(milliseconds=1)) is None


@given(
    st.integers(1, 10**12),
    st.integers(0, 10**12),
    st.integers(-(10**13), 10**14),
    st.integers(0, 150),
)
def test_every_round_trips(interval: int, phase: int, instant: int, steps: int) -> None:
    """Next and latest agree about every slot, and count is the number of steps between two, plus one."""
    interval = min(interval, 3653 * 86_400_000)
    rule = every(timedelta(milliseconds=interval), phase=timedelta(milliseconds=phase % interval))
    slot = rule.next_ms(instant)
    assert slot is not None
    assert instant < slot <= instant + interval
    assert rule.latest_ms(slot) == slot
    assert rule.next_ms(slot - 1) == slot
    assert rule.latest_ms(slot - 1) == slot - interval
    assert rule.count(slot, slot + steps * interval) == steps + 1


def test_at_has_one_slot() -> None:
    """A rule made by at names its instant, and nothing before or after it."""
    rule = at(NOON.astimezone(EASTERN))
    assert rule.next_after(NOON - timedelta(milliseconds=1)) == NOON
    assert rule.next_after(NOON) is None
    assert rule.latest_until(NOON) == NOON
    assert rule.latest_until(NOON - timedelta(milliseconds=1)) is None
    assert rule.count(to_ms(NOON), to_ms(NOON)) == 1


def test_at_rounds_up() -> None:
    """A fraction of a millisecond is rounded up, so that nothing runs before the instant given."""
    assert at(NOON + timedelta(microseconds=1)).latest_until(NOON + timedelta(seconds=1)) == NOON + timedelta(
        milliseconds=1
    )


@pytest.mark.parametrize(
    ("instant", "remedy"),
    [
        (datetime(2026, 3, 1), "has no timezone"),
        ("2026-03-01", "must be a datetime"),
        (1_772_323_200, "must be a datetime"),
        (None, "must be a datetime"),
        (datetime.max.replace(tzinfo=UTC), "years 1 to 9999"),
        (datetime.max.replace(tzinfo=EASTERN), "years 1 to 9999"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), "years 1 to 9999"),
    ],
)
def test_at_refuses_bad_input(instant: Any, remedy: str) -> None:
    """An instant that is naive, no datetime, or beyond what UTC can tell is refused when the job is written."""
    with pytest.raises(ScheduleError, match=remedy) as caught:
        at(instant)
    assert caught.value.field == "instant"


def test_at_reaches_to_the_last_millisecond() -> None:
    """The last whole millisecond of the year 9999 can still be told."""
    last = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    assert at(last).next_after(NOON) == last


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))
def test_at_is_never_early(instant: datetime) -> None:
    """The slot is less than a millisecond after the instant given, and not before it."""
    slot = at(instant).latest_until(instant + timedelta(milliseconds=1))
    assert slot is not None
    assert instant <= slot < instant + timedelta(milliseconds=1)


@given(st.integers(-(10**13), 10**14))
def test_instants_round_trip(milliseconds: int) -> None:
    """Milliseconds survive the way to a datetime and back, and its text ends in Z with three digits."""
    assert to_ms(from_ms(milliseconds)) == milliseconds
    assert datetime.fromisoformat(iso(milliseconds)) == from_ms(milliseconds)
    assert iso(milliseconds)[-5] == "."
    assert iso(milliseconds)[-1] == "Z"


def test_our_schedules_are_not_wrapped() -> None:
    """Our own schedules answer in milliseconds themselves; one with the two methods is accepted as it is."""
    mine = every(minutes=1)
    assert in_ms(mine) is mine
    assert checked_schedule(mine) is mine
    assert isinstance(in_ms(at(NOON)), At)


@pytest.mark.parametrize(
    ("schedule", "remedy"),
    [
        (timedelta(minutes=1), "is a duration; every"),
        ("*/5 * * * *", r"is a text; cron\("),
        (None, "must be every"),
        (60, "must be every"),
        (every, "must be every"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: object, remedy: str) -> None:
    """What has not both methods is refused at once, a bare duration with the word that is missing."""
    with pytest.raises(ScheduleError, match=remedy) as caught:
        checked_schedule(schedule)
    assert caught.value.field == "schedule"


def test_method_that_is_missing_is_noticed() -> None:
    """A schedule needs both methods, and they must be callable."""

    class Half:
        latest_until = None

        def next_after(self, instant: datetime) -> datetime | None:
            return None

    with pytest.raises(ScheduleError, match="next_after and latest_until"):
        checked_schedule(Half())
