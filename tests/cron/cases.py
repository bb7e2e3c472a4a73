"""
Random questions to a cron engine, most of them about the hours in which its zone changes the clock, and their judge.

All is drawn from a seed: the same seed, the same cases, on every machine with the same zone data.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from random import Random
from typing import Protocol
from zoneinfo import ZoneInfo

from tests.cron.minute_oracle import DAYS, MONTHS, MinuteOracle, RefusedError

BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2200, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)

ODD_ZONES = (
    "Africa/Cairo",  # changes at midnight
    "Africa/Casablanca",  # back for Ramadan, four changes in some years
    "Africa/Monrovia",  # odd seconds until 1972
    "America/Caracas",  # a half hour in 2007 and in 2016, without summer time
    "America/New_York",
    "America/Recife",  # summer time of a fortnight in 2000
    "America/Santiago",
    "America/Sao_Paulo",  # gaps at midnight
    "America/St_Johns",  # changes at 00:01 until 2011, of two hours in 1988
    "Antarctica/Casey",  # back and forth by 3 h
    "Antarctica/Troll",  # two hours
    "Asia/Gaza",
    "Asia/Kathmandu",  # a quarter of an hour in 1986
    "Asia/Pyongyang",  # half hours in 2015 and 2018
    "Asia/Tehran",
    "Australia/Lord_Howe",  # half an hour
    "Europe/Berlin",
    "Europe/London",
    "Pacific/Apia",  # no 30 December 2011
    "Pacific/Enderbury",
    "Pacific/Kwajalein",  # no 21 August 1993
    "UTC",
)
"""Zones with a story of their own; four cases of ten are about them."""

KINDS = ("hours around a change", "days around a change", "just at a change", "within a shift", "at a slot", "anywhere")
"""What an instant is aimed at; "within a shift" is for a fold its second pass. Seven of ten are about a change."""
WEIGHTS = (28, 14, 14, 14, 10, 20)


@dataclass(frozen=True)
class Case:
    """One question."""

    kind: str
    line: str
    zone: str
    instant: datetime


@dataclass(frozen=True)
class Change:
    """An instant from which on a zone has another offset."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def edges(self) -> tuple[datetime, datetime]:
        """What the wall clock showed last before it, or would have, and what it showed first."""
        return (self.at + self.before).replace(tzinfo=None), (self.at + self.after).replace(tzinfo=None)


class Schedule(Protocol):
    """What is asked."""

    def next_after(self, instant: datetime) -> datetime | None: ...
    def latest_until(self, instant: datetime) -> datetime | None: ...


Engine = Callable[[str, str], Schedule]
"""Makes a schedule of a line and the name of a zone."""


def all_zones() -> list[str]:
    """Return the names of all zones of this machine."""
    return sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})


@cache
def rules_of(zone: str) -> ZoneInfo:
    """Return the zone, read from disk only once: `ZoneInfo` itself remembers a few at most."""
    return ZoneInfo(zone)


@cache
def changes(zone: str) -> tuple[Change, ...]:
    """Find the changes of offset from 1970 to 2199; no offset lasted under 167 h, so that none is stepped over."""
    step = timedelta(hours=160)
    rules = rules_of(zone)
    found = []
    begin, before = BEGIN, offset(BEGIN, rules)
    while begin < END:
        end = begin + step
        after = offset(end, rules)
        if after != before:
            early, late = begin, end
            while late - early > timedelta(seconds=1):
                middle = early + timedelta(seconds=(late - early) // timedelta(seconds=2))
                early, late = (middle, late) if offset(middle, rules) == before else (early, middle)
            found.append(Change(late, before, after))
        begin, before = end, after
    return tuple(found)


def offset(instant: datetime, rules: ZoneInfo) -> timedelta:
    """Return the zone's offset at an instant."""
    value = instant.astimezone(rules).utcoffset()
    assert value is not None
    return value


def random_cases(rng: Random, count: int, zones: Sequence[str]) -> Iterator[Case]:
    """Yield *count* cases in these zones; four of ten are about one of the odd zones among them."""
    changing = [zone for zone in zones if changes(zone)]
    odd, odd_changing = ([zone for zone in ODD_ZONES if zone in some] for some in (zones, changing))
    for _ in range(count):
        [kind] = rng.choices(KINDS, WEIGHTS)
        some, some_odd = (zones, odd) if kind == "anywhere" else (changing, odd_changing)
        yield random_case(rng, kind, rng.choice(some_odd if rng.random() < 0.4 else some))


def random_case(rng: Random, kind: str, zone: str) -> Case:
    """Return a case of a kind."""
    change = None if kind == "anywhere" else rng.choice(changes(zone))
    line = random_line(rng, change)
    instant = aimed_instant(rng, kind, change, line, zone) if change else BEGIN + (END - BEGIN) * rng.random()
    instant = instant.replace(microsecond=instant.microsecond // 1000 * 1000 + rng.choice([0, 0, 0, 0, 0, 0, 1, 999]))
    asked_in = rng.choice([UTC, UTC, rules_of(zone), timezone(timedelta(hours=rng.randrange(-11, 13), minutes=7))])
    return Case(kind, line, zone, instant.astimezone(asked_in))


def aimed_instant(rng: Random, kind: str, change: Change, line: str, zone: str) -> datetime:
    """Return an instant near a change."""
    span = max(abs(change.after - change.before), timedelta(minutes=1))
    match kind:
        case "hours around a change":
            return change.at + timedelta(hours=6) * rng.uniform(-1, 1)
        case "days around a change":
            return change.at + timedelta(days=4) * rng.uniform(-1, 1)
        case "just at a change":
            return (
                change.at + rng.choice([-60_000, -1000, -1, 0, 0, 1, 1000, 60_000]) * MS + rng.choice([0, 0, 1]) * span
            )
        case "within a shift":
            return change.at + span * rng.random()
        case _:
            slot = MinuteOracle(line, rules_of(zone)).next_after(change.at + timedelta(hours=6) * rng.uniform(-1, 1))
            return min(slot or END, END) + rng.choice([-1, 0, 0, 1]) * MS


def random_line(rng: Random, change: Change | None = None) -> str:
    """Return a line that matches at some time; near a change half of them name the hours of the change."""
    while True:
        hint = change if rng.random() < 0.6 else None
        fields = [minute_field(rng, hint), hour_field(rng, hint), *day_fields(rng, hint)]
        line = (" " if rng.random() < 0.95 else rng.choice(["\t", "  ", " \t "])).join(fields)
        if rng.random() < 0.02:
            line = rng.choice(["@hourly", "@daily", "@midnight", "@WEEKLY", "@Monthly", "@yearly", "@annually"])
        try:
            MinuteOracle(line, UTC)
        except RefusedError:
            continue  # such as the 31st of April
        return line


def minute_field(rng: Random, change: Change | None) -> str:
    """Return a minute field."""
    likely = [0, 0, 0, 1, 15, 29, 30, 30, 31, 44, 45, 59]
    if change is not None:
        likely += [edge.minute for edge in change.edges] * 4 + [(edge.minute - 1) % 60 for edge in change.edges]
    return number_field(rng, 0, 59, likely, star=0.1, steps=0.15)


def hour_field(rng: Random, change: Change | None) -> str:
    """Return an hour field."""
    likely = [0, 0, 1, 2, 3, 9, 12, 23]
    if change is not None:
        likely = [(edge.hour + more) % 24 for edge in change.edges for more in (-1, 0, 0, 0, 1)]
    return number_field(rng, 0, 23, likely, star=0.25, steps=0.1)


def day_fields(rng: Random, change: Change | None) -> list[str]:
    """Return the three fields of the day; most leave the day open, for the clock's sake and the machine's."""
    if rng.random() < 0.6:
        return ["*", "*", "*"]
    when = (
        rng.choice(change.edges) if change is not None else BEGIN.replace(tzinfo=None) + timedelta(rng.randrange(9999))
    )
    open_day, open_month, open_weekday = (rng.random() < share for share in (0.4, 0.7, 0.4))
    return [
        "*" if open_day else day_field(rng, when),
        "*" if open_month else with_names(rng, number_field(rng, 1, 12, [when.month], star=0.1, steps=0.1), MONTHS, 1),
        "*" if open_weekday else weekday_field(rng, when),
    ]


def day_field(rng: Random, when: datetime) -> str:
    """Return a day-of-month field."""
    items = [number_field(rng, 1, 31, [when.day, when.day, 1, 15, 28, 29, 30, 31], star=0.1, steps=0.2)]
    if rng.random() < 0.5:
        items += rng.choices(
            ["L", "LW", f"{when.day}W", f"{rng.randint(1, 31)}W", "1W", "31W"], k=rng.choice([1, 1, 2])
        )
        items = items if rng.random() < 0.4 and "*" not in items[0] else items[1:]
    rng.shuffle(items)
    return in_any_case(rng, ",".join(items))


def weekday_field(rng: Random, when: datetime) -> str:
    """Return a day-of-week field."""
    weekday = when.isoweekday() % 7
    items = [with_names(rng, number_field(rng, 0, 7, [weekday, weekday, 0, 7, 1, 5], star=0.1, steps=0.15), DAYS, 0)]
    if rng.random() < 0.4:
        name = rng.choice([str(weekday), DAYS[weekday], str(rng.randrange(8)), rng.choice(DAYS)])
        items += [name + rng.choice(["L", f"#{(when.day + 6) // 7}", f"#{rng.randint(1, 5)}"])]
        items = items if rng.random() < 0.4 and "*" not in items[0] else items[1:]
    rng.shuffle(items)
    return in_any_case(rng, ",".join(items))


def number_field(rng: Random, low: int, high: int, likely: Sequence[int], star: float, steps: float) -> str:
    """Return a field of plain items: a star in a share of *star*, a star with a step in a share of *steps*."""
    draw = rng.random()
    if draw < star:
        return "*"
    if draw < star + steps:
        return f"*/{random_step(rng, 6 if high == 7 else high - low)}"
    items = [number_item(rng, low, high, likely) for _ in range(rng.choice([1, 1, 1, 1, 2, 3]))]
    return ",".join(items)


def number_item(rng: Random, low: int, high: int, likely: Sequence[int]) -> str:
    """Return one item that names, as a rule, one of the likely numbers."""
    number = rng.choice(likely) if rng.random() < 0.8 else rng.randint(low, high)
    draw = rng.random()
    if draw < 0.6:
        return str(number)
    first, last = rng.randint(max(low, number - 5), number), rng.randint(number, min(high, number + 5))
    if draw < 0.8:
        return f"{first}-{last}"
    if draw < 0.83:
        return f"{number}-{number}{rng.choice(['', '/1'])}"
    return f"{first}-{last}/{random_step(rng, max(last - first, 1))}"


def random_step(rng: Random, width: int) -> int:
    """Return a step that a range of this width allows, a short one as a rule."""
    return min(width, rng.choice([1, 2, 2, 3, 4, 5, 7, 10, 15, 20, 30, rng.randint(1, width)]))


def with_names(rng: Random, text: str, names: Sequence[str], low: int) -> str:
    """Return the field with names for its numbers, at times; not for steps, nor for a 0 or 7 at the end of a range."""
    if rng.random() < 0.5 or "/" in text or "7" in text or "-0" in text:
        return text
    return ",".join(
        "-".join(name if name == "*" else names[int(name) - low] for name in item.split("-"))
        for item in text.split(",")
    )


def in_any_case(rng: Random, text: str) -> str:
    """Return the text in one case or the other."""
    return rng.choice([text, text, text.lower(), text.title()])


TRICKY_ITEMS = (
    *(
        "*",
        "*/7",
        "*/1",
        "**",
        "0",
        "7",
        "60",
        "5/15",
        "10-5",
        "4-4",
        "4-4/1",
        "4-4/2",
        "1-5/4",
        "1-5/5",
        "0-7",
        "5-7",
        "7-7",
    ),
    *(
        "SUN",
        "SAT-SUN",
        "SUN-MON",
        "FRI-MON",
        "JAN-mar/2",
        "DEC-JAN",
        "FRIL",
        "5L",
        "8L",
        "SUN#2",
        "7#5",
        "1#0",
        "1#6",
        "1-2L",
    ),
    *("L", "LW", "WL", "1W", "31W", "0W", "1-5W", "L-3", "?", "H", "R", "", "-1", "+1", "1.0", "\u0661", "\u017fUN"),
)
"""Items about which readers of cron lines differ, or which one of them might take for something else."""


def random_text(rng: Random) -> str:
    """Return a line with a flaw, or with what looks like one."""
    text = random_line(rng)
    if rng.random() < 0.7:
        fields = text.split()
        at = rng.randrange(len(fields))
        fields[at] = rng.choice([fields[at] + ",", ""]) + rng.choice(TRICKY_ITEMS)
        return " ".join(fields)
    begin = rng.randrange(len(text))
    put: str = rng.choice(["", *"0123456789*/-,#LW@ \t\n"])
    return text[:begin] + put + text[begin + rng.choice([0, 1]) :]


def faults(case: Case, engine: Engine) -> list[str]:
    """Judge an engine's two answers, and the two round trips; return what is wrong, in words."""
    oracle = MinuteOracle(case.line, rules_of(case.zone))
    schedule = engine(case.line, case.zone)
    following, latest = schedule.next_after(case.instant), schedule.latest_until(case.instant)
    wrong = []
    if following != (expected := oracle.next_after(case.instant)):
        wrong.append(f"next_after is {following}, not {expected}")
    if latest != (expected := oracle.latest_until(case.instant)):
        wrong.append(f"latest_until is {latest}, not {expected}")
    if following is not None:
        if following <= case.instant:
            wrong.append(f"next_after is {following}, which is not after it")
        if (back := schedule.latest_until(following)) != following:
            wrong.append(f"latest_until({following}) is {back}")
    if latest is not None:
        if latest > case.instant:
            wrong.append(f"latest_until is {latest}, which is after it")
        if (back := schedule.next_after(latest - MS)) != latest:
            wrong.append(f"next_after({latest} - 1 ms) is {back}")
    wrong += [
        f"{answer} is not in UTC" for answer in (following, latest) if answer is not None and answer.tzinfo is not UTC
    ]
    return [f"{case.line!r} in {case.zone}, asked about {case.instant.astimezone(UTC)}: {fault}" for fault in wrong]
