"""
The promises about clocks, over arbitrary histories of them: a real scheduler on the fake clock's two hands.

A history sets the wall clock, lets the machine sleep and lets the clock run fast or slow; in between time goes on. What
is promised is reckoned here from the history itself. *Awake* time is what the monotonic hand shows, which stands while
the machine sleeps. An *era* lasts from one correction of the clock to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from loopcron import (
    ClockStepped,
    Event,
    InternalFault,
    JobState,
    Missed,
    Outcome,
    Run,
    RunStarted,
    Schedule,
    Scheduler,
    Settled,
    Succeeded,
    any_of,
    cron,
    every,
)
from loopcron._instants import from_ms, to_ms
from loopcron._schedules import in_ms
from loopcron.testing import FakeClock
from loopcron.testing._histories import ClockEvent, ClockStep, Drift, Suspend

NOTICE = 31.0
"""Within how many seconds of awake time a change of the clock is noticed: a slice, and a little."""
MINUTE = timedelta(minutes=1)
SCHEDULES: tuple[Schedule, ...] = (
    every(seconds=20),
    every(minutes=1),
    every(minutes=7, phase=timedelta(seconds=3)),
    every(hours=1),
    every(minutes=10, anchor="start"),
    cron("*/5 * * * *", tz="Europe/Berlin"),
    cron("30 2 * * *", tz="Europe/Berlin"),
    any_of(every(minutes=25, anchor="start"), cron("0,45 * * * *")),
)


def seconds(least: float, most: float) -> st.SearchStrategy[timedelta]:
    return st.integers(int(least * 1000), int(most * 1000)).map(lambda value: timedelta(milliseconds=value))


def signed(least: float, most: float) -> st.SearchStrategy[timedelta]:
    return st.builds(lambda by, back: -by if back else by, seconds(least, most), st.booleans())


JUMPS = st.one_of(
    signed(0, 0.98),
    signed(1.02, 90),
    signed(60, 10_799),
    seconds(10_800, 200_000).map(lambda by: -by),
    st.just(timedelta(hours=-3)),
)
RATES = st.sampled_from([0.5, 0.9, 0.99995, 1.0, 1.00001, 1.0003, 1.1, 2.0]) | st.floats(0.5, 2.0)
GAPS = st.sampled_from([0.0, 0.25, 1.0, 29.9, 31.0, 61.0]).map(lambda value: timedelta(seconds=value)) | seconds(
    0, 2000
)


@st.composite
def histories(draw: st.DrawFn, *, drifts: bool = True) -> list[ClockEvent]:
    """Up to six things that befall a clock, at most some half an hour of awake time apart."""
    history: list[ClockEvent] = []
    at = timedelta(0)
    for _ in range(draw(st.integers(1, 6))):
        at += draw(GAPS)
        kind = draw(st.sampled_from(["step", "step", "suspend", "drift"] if drifts else ["step", "suspend"]))
        if kind == "step":
            history.append(ClockStep(at, draw(JUMPS)))
        elif kind == "drift":
            history.append(Drift(at, draw(RATES)))
        else:
            duration = draw(seconds(0, 100_000))
            history.append(Suspend(at, duration))
            at += duration
    return history


class Stretch(NamedTuple):
    """A while in which both hands move on steadily; awake time in seconds."""

    begin: float
    end: float
    wall: datetime
    rate: float

    def reaches(self, instant: datetime) -> float | None:
        """When, in awake time, the wall clock shows *instant* or later; None: not in this stretch."""
        at = self.begin + max(0.0, (instant - self.wall).total_seconds() / self.rate)
        return at if at <= self.end else None

    def shows(self, at: float) -> datetime:
        """What the wall clock shows at a moment of this stretch."""
        return self.wall + timedelta(seconds=(at - self.begin) * self.rate)

    def within(self, begin: float, end: float) -> Stretch:
        """Return the part of it from *begin* to *end*."""
        begin = max(begin, self.begin)
        return Stretch(begin, min(end, self.end), self.shows(begin), self.rate)

    def progress(self, begin: float, end: float) -> float:
        """How far the slower hand gets from *begin* to *end*, as far as they lie in this stretch."""
        return max(0.0, min(end, self.end) - max(begin, self.begin)) * min(1.0, self.rate)


@dataclass
class Era:
    """From one correction to the next."""

    begin: float
    since: datetime
    """The corrected now; slots after it count."""
    anchor: datetime
    """What a schedule counts from that counts from the start."""
    starts: list[tuple[float, datetime]] = field(default_factory=list)


class Life:
    """A scheduler with one healthy job, and what it lived through."""

    def __init__(self, schedule: Schedule) -> None:
        self.clock = FakeClock()
        self.schedule = schedule
        self.scheduler = Scheduler(clock=self.clock, observers=[self])
        self.scheduler.job(schedule, name="job")(self.work)
        self.stretches: list[Stretch] = []
        self.jumps: list[tuple[float, timedelta]] = []
        self.told: list[tuple[float, ClockStepped]] = []
        self.eras = [Era(self.clock.monotonic(), self.clock.now(), self.clock.now())]
        self.outcomes: list[Outcome] = []
        self.faults: list[InternalFault] = []
        self.rate = 1.0

    async def work(self, run: Run) -> None:
        """Do nothing, which takes no time."""

    def on_event(self, event: Event) -> None:
        now = self.clock.monotonic()
        if isinstance(event, ClockStepped):
            self.told.append((now, event))
            if event.is_correction:
                anchor, wall = self.eras[-1].anchor, self.clock.now()
                by = timedelta(milliseconds=event.by_ms)
                self.eras.append(Era(now, wall, anchor + by if anchor > wall else anchor))
        elif isinstance(event, RunStarted):
            self.eras[-1].starts.append((now, from_ms(event.slot)))
        elif isinstance(event, Settled):
            self.outcomes.append(event.outcome)
        elif isinstance(event, InternalFault):
            self.faults.append(event)

    async def live(self, history: Sequence[ClockEvent]) -> None:
        """Live through *history*, and on for a quarter of an hour."""
        elapsed = timedelta(0)
        async with self.scheduler:
            for event in history:
                await self.pass_time(event.at - elapsed)
                elapsed = event.at
                if isinstance(event, Drift):
                    self.clock.drift(event.rate)
                    self.rate = event.rate
                else:
                    by = event.by if isinstance(event, ClockStep) else event.duration
                    self.jumps.append((self.clock.monotonic(), by))
                    self.clock.jump_wall(by)
                    elapsed += event.duration if isinstance(event, Suspend) else timedelta(0)
            for minutes in (1, 14):
                await self.pass_time(timedelta(minutes=minutes))
        assert self.faults == []

    async def pass_time(self, duration: timedelta) -> None:
        begin, wall = self.clock.monotonic(), self.clock.now()
        await self.clock.advance(duration)
        self.stretches.append(Stretch(begin, self.clock.monotonic(), wall, self.rate))
        if duration.total_seconds() >= NOTICE:
            self.check_health()

    def check_health(self) -> None:
        """Overdue while the clock is so far behind the last slot used, or the registration, that slots are lost."""
        era = self.eras[-1]
        used = era.starts[-1][1] if era.starts else era.since
        health = self.scheduler.health()["job"]
        rule = in_ms(self.schedule).bound("job", to_ms(era.anchor))
        slot = rule.next_ms(to_ms(used))
        following = None if slot is None else rule.next_ms(slot)
        period = timedelta(hours=1) if slot is None or following is None else from_ms(following) - from_ms(slot)
        if used - self.clock.now() > max(MINUTE, period):
            assert health.state is JobState.OVERDUE, "law d"
            assert "the clock went back" in health.why or (not era.starts and "ledger ahead" in health.why)
        else:
            assert (health.state, health.why) == (JobState.OK, "")

    def slots(self, era: Era, until: datetime) -> Iterator[datetime]:
        """All slots that count in this era, up to an instant."""
        rule = in_ms(self.schedule).bound("job", to_ms(era.anchor))
        slot = rule.next_ms(to_ms(era.since))
        while slot is not None and from_ms(slot) <= until:
            yield from_ms(slot)
            slot = rule.next_ms(slot)

    def check_starts(self) -> None:
        """Slots rise within an era, and each one, or a newer one, has started soon after the clock had passed it."""
        for era, end in zip(self.eras, [*(era.begin for era in self.eras[1:]), self.clock.monotonic()], strict=True):
            slots = [slot for _, slot in era.starts]
            assert slots == sorted(set(slots)), "law b: no slot is used twice without a correction between"
            stretches = [stretch.within(era.begin, end) for stretch in self.stretches if stretch.end > era.begin]
            stretches = [stretch for stretch in stretches if stretch.begin <= stretch.end]
            highest = max((stretch.shows(stretch.end) for stretch in stretches), default=era.since)
            begun = 0
            for slot in self.slots(era, highest):
                due = noticed(stretches, slot)
                if due is not None:
                    while begun < len(era.starts) and era.starts[begun][1] < slot:
                        begun += 1
                    assert begun < len(era.starts), f"laws a and e: {slot} never ran"
                    assert era.starts[begun][0] <= due, f"laws a and e: {slot} ran too late"

    def check_silence(self) -> None:
        """Where the clock never went back, no two starts lie further apart than a period and a minute, while awake."""
        longest = max(
            (b - a for a, b in pairwise(self.slots(self.eras[0], self.clock.now() + timedelta(days=2)))),
            default=timedelta(0),
        )
        for (begin, _), (end, _) in pairwise(self.eras[0].starts):
            silent = sum(stretch.progress(begin, end) for stretch in self.stretches)
            assert silent <= (longest + MINUTE).total_seconds(), "law a"


def noticed(stretches: Sequence[Stretch], slot: datetime) -> float | None:
    """Return by when, in awake time, a slot must have been seen: once the clock has shown it for long enough."""
    since: float | None = None
    for stretch in stretches:
        since = stretch.reaches(slot) if since is None or stretch.wall < slot else since
        if since is not None and stretch.end >= since + NOTICE:
            return since + NOTICE
    return None


# --- the laws


@settings(max_examples=60)
@given(schedule=st.sampled_from(SCHEDULES), history=histories())
async def test_job_survives_any_clock(schedule: Schedule, history: list[ClockEvent]) -> None:
    """Laws a, b, d, e: whatever befalls a clock, slots are seen in time, none is used twice, and what waits is said."""
    life = Life(schedule)
    await life.live(history)
    life.check_starts()
    assert all(abs(event.by_ms) > 1000 for _, event in life.told)
    assert set(map(type, life.outcomes)) <= {Succeeded, Missed}
    if not any(isinstance(event, ClockStep) and event.by < timedelta(0) for event in history):
        life.check_silence()


@settings(max_examples=60)
@given(history=histories(drifts=False), rate=st.sampled_from([1.0, 0.9997, 1.0003]))
async def test_every_step_is_told_once(history: list[ClockEvent], rate: float) -> None:
    """Law c: a step above a second is told once and exactly; several within one slice may be told as one."""
    life = Life(every(minutes=1))
    await life.live([Drift(timedelta(0), rate), *history])
    groups: list[list[tuple[float, timedelta]]] = []
    for jump in life.jumps:
        if groups and jump[0] <= groups[-1][-1][0] + NOTICE:
            groups[-1].append(jump)
        else:
            groups.append([jump])
    told = list(life.told)
    for group in groups:
        begin, end = group[0][0], group[-1][0] + NOTICE
        events = [event for at, event in told if begin <= at <= end]
        told = [(at, event) for at, event in told if not begin <= at <= end]  # by when: two steps may be told alike
        net = sum((by for _, by in group), timedelta(0)) / timedelta(milliseconds=1)
        assert len(events) <= len(group)
        rest = net - sum(event.by_ms for event in events)
        assert abs(rest) <= (20 if len(group) == 1 and events else 1020 * len(group))
    assert told == []
