"""
What holds of every cron line in every zone: round trips, order, bounds of the search, a description.

Lines are drawn by a generator that knows the grammar, instants are aimed at the shifts of the zone.
"""

from __future__ import annotations

import itertools
import sys
import zoneinfo
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from loopcron._calendar import Calendar
from loopcron._cron import parse
from loopcron._errors import ScheduleError
from loopcron._every import every
from loopcron._instants import from_ms, to_ms
from loopcron._local import Cron, cron
from loopcron._schedules import MsSchedule
from loopcron._zones import Zone, zone_of

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FIRST, LAST = to_ms(datetime(1970, 1, 2, tzinfo=UTC)), to_ms(datetime(2199, 12, 31, tzinfo=UTC))
ZONES = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"})
ODD_ZONES = (
    *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Antarctica/Casey", "Asia/Gaza"),
    *("Africa/Casablanca", "Africa/Monrovia", "Pacific/Apia", "America/Recife", "Asia/Pyongyang", "Pacific/Kwajalein"),
)
NAMES = {
    "month": ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    "weekday": ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
}


def random_item(random: Random, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    """Return one item with values from *low* to *high*."""

    def value(number: int) -> str:
        return random.choice((str(number), names[number - low])) if names else str(number)

    first, last = sorted((random.randint(low, high), random.randint(low, high)))
    shape = random.randrange(5)
    if shape == 0:
        return "*" if random.random() < 0.5 else f"*/{random.randint(1, high - low)}"
    if shape == 1:
        return f"{value(first)}-{value(last)}"
    if shape == 2 and last > first:
        return f"{value(first)}-{value(last)}/{random.randint(1, last - first)}"
    return value(first)


def random_field(random: Random, low: int, high: int, names: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> str:
    """Return one field: a star as often as not, else up to three items."""
    if random.random() < 0.4:
        return "*"
    items = [random_item(random, low, high, names) for _ in range(random.randint(1, 3))]
    if extras and random.random() < 0.4:
        items[random.randrange(len(items))] = random.choice(extras)
    return ",".join(items)


def random_line(random: Random) -> str:
    """Return a cron line that the grammar accepts; its days may be such as no year has."""
    days = ("L", "LW", f"{random.randint(1, 31)}W")
    weekday = random.choice((*NAMES["weekday"], *"01234567"))
    weekdays = (f"{weekday}L", f"{weekday}#{random.randint(1, 5)}")
    hour = random.choice(("*", "0", "1", "2", "3", "23", "1-3", "*/2", random_field(random, 0, 23)))
    return " ".join(
        (
            random_field(random, 0, 59),
            hour,
            random_field(random, 1, 31, extras=days),
            random_field(random, 1, 12, NAMES["month"]),
            random_field(random, 0, 6, NAMES["weekday"], weekdays),
        )
    )


LINES = st.integers(0, 2**32).map(lambda seed: random_line(Random(seed)))


@st.composite
def questions(draw: st.DrawFn) -> tuple[Cron, int]:
    """Draw a schedule and an instant of 1970 to 2199, most of them near a shift of its zone."""
    try:
        schedule = cron(draw(LINES), draw(st.sampled_from(ODD_ZONES) | st.sampled_from(ZONES)))
    except ScheduleError:  # no year has such a day; that nothing else is refused is a property of its own
        reject()
    instant = draw(st.integers(FIRST, LAST))
    if draw(st.integers(0, 9)) < 7:
        stretch = zone_of(schedule.tz).stretch(instant)
        instant = draw(st.sampled_from((stretch.start, stretch.end))) + draw(st.integers(-3 * HOUR, 3 * HOUR))
        instant -= draw(st.sampled_from((0, instant % MINUTE)))
    return schedule, instant


@given(questions())
def test_next_round_trips(question: tuple[Cron, int]) -> None:
    """The next slot is later than asked, is its own latest slot, and is found again from just before it."""
    schedule, instant = question
    slot = schedule.next_ms(instant)
    assume(slot is not None)
    assert slot is not None
    assert slot > instant
    assert schedule.latest_ms(slot) == slot
    assert schedule.next_ms(slot - 1) == slot
    before = schedule.latest_ms(slot - 1)
    assert before is None or before <= instant
    assert schedule.next_ms((instant + slot) // 2) == slot


@given(questions())
def test_latest_round_trips(question: tuple[Cron, int]) -> None:
    """The latest slot is not later than asked, is found again from just before it, and nothing lies in between."""
    schedule, instant = question
    slot = schedule.latest_ms(instant)
    assume(slot is not None)
    assert slot is not None
    assert slot <= instant
    assert schedule.next_ms(slot - 1) == slot
    assert schedule.latest_ms(slot) == slot
    following = schedule.next_ms(slot)
    assert following is None or following > instant
    assert schedule.latest_ms((instant + slot + 1) // 2) == slot


@given(questions())
def test_public_questions_agree(question: tuple[Cron, int]) -> None:
    """Asked with datetimes, in any zone, the answers are the same instants in UTC."""
    schedule, instant = question
    asked = from_ms(instant).astimezone(schedule.tz)
    for answer, slot in (
        (schedule.next_after(asked), schedule.next_ms(instant)),
        (schedule.latest_until(asked), schedule.latest_ms(instant)),
    ):
        assert answer == (None if slot is None else from_ms(slot))
        assert answer is None or answer.tzinfo is UTC


@given(questions())
def test_slots_begin_local_minutes_or_end_gaps(question: tuple[Cron, int]) -> None:
    """Every slot is the start of a local minute; if the line does not name that minute, it is the first after a gap."""
    schedule, instant = question
    slot = schedule.next_ms(instant)
    assume(slot is not None)
    assert slot is not None
    stretch = zone_of(schedule.tz).stretch(slot)
    minute, rest = divmod(slot + stretch.offset, MINUTE)
    assert rest == 0
    if Calendar(parse(schedule.line)).until(minute) != minute:
        assert not parse(schedule.line).frequent
        assert 0 < stretch.offset - stretch.before < 3 * HOUR
        assert 0 <= slot - stretch.start < MINUTE


@given(questions(), st.integers(1, 30))
def test_walk_is_strictly_rising(question: tuple[Cron, int], steps: int) -> None:
    """Walking forward never stands still, and walking back finds the same slots."""
    schedule, instant = question
    slots = [instant]
    for _ in range(steps):
        slot = schedule.next_ms(slots[-1])
        if slot is None:
            break
        slots.append(slot)
    assert all(later > earlier for earlier, later in itertools.pairwise(slots))
    if len(slots) > 2:
        assert schedule.count(slots[1], slots[-1]) == len(slots) - 1
        assert [schedule.latest_ms(later - 1) for later in slots[2:]] == slots[1:-1]


@given(questions())
def test_answers_do_not_depend_on_earlier_questions(question: tuple[Cron, int]) -> None:
    """What a zone remembers of other questions changes no answer."""
    schedule, instant = question
    fresh = Cron(schedule.line, schedule.tz)
    object.__setattr__(fresh, "_zone", Zone(schedule.tz))
    assert fresh.latest_ms(instant) == schedule.latest_ms(instant)
    assert fresh.next_ms(instant) == schedule.next_ms(instant)


def calls_of(function: Any, *arguments: Any) -> int:
    """Return how many Python functions the call enters: a measure of work that no other load disturbs."""
    entered = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return entered


@given(questions())
def test_search_is_bounded(question: tuple[Cron, int]) -> None:
    """However rare the line, a question looks at each month of fifty years once or twice, and at few stretches."""
    schedule, instant = question
    schedule.next_ms(instant)  # what the zone is asked about is remembered after the first time
    assert calls_of(schedule.next_ms, instant) < 4_000
    schedule.latest_ms(instant)
    assert calls_of(schedule.latest_ms, instant) < 4_000


@pytest.mark.parametrize(
    "line",
    ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31W APR */2", "* * */30 FEB MON#2", "* * 30,31 2 *", "0 0 30-31 2 */6"],
)
def test_line_that_never_matches_is_refused_quickly(line: str) -> None:
    """That no year has the day is known from the 28 kinds of months, without a search through years."""
    calendar = Calendar(parse(line))
    assert not calendar.matches_ever()
    assert calls_of(Calendar(parse(line)).matches_ever) < 200


@given(LINES)
def test_refused_lines_are_those_without_a_day(line: str) -> None:
    """A generated line is refused only if in all 400 years of the calendar's cycle it has no day."""
    calendar = Calendar(parse(line))
    start = -1_440  # one minute of each day would do; the search itself is what other tests pin
    found = calendar.after(start) is not None and (calendar.after(start) or 0) < 400 * 366 * 1_440
    assert calendar.matches_ever() is found
    if not found:
        with pytest.raises(ScheduleError, match="names a day that no year has"):
            cron(line)


@given(LINES, st.sampled_from(ODD_ZONES))
def test_every_line_is_described(line: str, zone: str) -> None:
    """A line that is accepted can be told in plain English, with its zone."""
    try:
        text = cron(line, zone).describe()
    except ScheduleError:
        reject()
    assert text.endswith(f", {zone}")
    assert "  " not in text
    assert len(text) > len(zone) + 5


def test_descriptions_tell_lines_apart() -> None:
    """Of some thousand lines no two that name different minutes or days are described alike."""
    told: dict[str, tuple[object, ...]] = {}
    for seed in range(4_000):
        fields = parse(random_line(Random(seed)))
        calendar = Calendar(fields)
        days = tuple(calendar.days_in(first, length) for first in range(7) for length in range(28, 32))
        named = (fields.minutes, fields.hours, fields.months, days)
        try:
            text = cron(random_line(Random(seed))).describe()
        except ScheduleError:
            continue
        assert told.setdefault(text, named) == named, text


@given(questions(), st.integers(-400 * DAY, 400 * DAY), st.integers(1, 400 * DAY))
def test_bounds_keep_what_lies_within(question: tuple[Cron, int], offset: int, length: int) -> None:
    """Within [start, end) a bounded schedule has the slots of the schedule, and none elsewhere."""
    schedule, instant = question
    start = instant + offset
    bounded = schedule.between(from_ms(start), from_ms(start + length))
    slot, own = bounded.next_ms(instant), schedule.next_ms(max(instant, start - 1))
    assert slot == (own if own is not None and own < start + length else None)
    slot, own = bounded.latest_ms(instant), schedule.latest_ms(min(instant, start + length - 1))
    assert slot == (own if own is not None and own >= start else None)


@settings(max_examples=50)
@given(st.lists(questions(), min_size=2, max_size=4), st.integers(FIRST, LAST))
def test_union_is_the_nearest_of_all(drawn: list[tuple[Cron, int]], instant: int) -> None:
    """The union's slots are the nearest ones among its schedules'."""
    from loopcron._combined import any_of

    schedules: list[MsSchedule] = [schedule for schedule, _ in drawn]
    union = any_of(*schedules, every(days=90))
    slots = [schedule.next_ms(instant) for schedule in (*schedules, every(days=90))]
    assert union.next_ms(instant) == min(slot for slot in slots if slot is not None)
    slots = [schedule.latest_ms(instant) for schedule in (*schedules, every(days=90))]
    assert union.latest_ms(instant) == max(slot for slot in slots if slot is not None)
