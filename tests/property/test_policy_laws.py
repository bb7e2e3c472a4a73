"""What each policy promises, as properties over generated intervals, durations and outages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from loopcron import _events as e
from loopcron._attempts import STUCK_MS
from loopcron._every import every
from loopcron._instants import from_ms, to_ms
from loopcron._outcomes import Interrupted, Skipped, Succeeded, Taken
from loopcron._policies import Policy
from loopcron._tables import CatchUp, Overlap
from tests.property.histories import POLICIES, START, Driver, Plan
from tests.rows import registered

MINUTE = 60_000
HOUR = 60 * MINUTE
DURATIONS = st.lists(st.sampled_from([0, 1, 999, 1_000, 1_001, 5_000]) | st.integers(0, 12_000), min_size=1, max_size=6)
"""How long the runs take, over and over."""


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


def add(driver: Driver, interval: int, policy: Policy, watermark: int | None = None) -> str:
    """Add a job with this interval, registered now or at the watermark, and return its name."""
    name = f"j{len(driver.known)}"
    driver.add(Plan(every(ms(interval)), policy, lambda _: range(0)))
    ((asked, _),) = driver.registers
    driver.registers.clear()
    driver.rows[name] = driver.now if watermark is None else watermark
    driver.tell(registered([asked.job], [driver.rows[name]]))
    return name


class Stage:
    """Follows the wake-ups with runs that take as long as they are given, and remembers what was begun and settled."""

    def __init__(self, driver: Driver, durations: list[int]) -> None:
        self.driver = driver
        self.durations = durations
        self.ends: dict[int, int] = {}
        """When each live run ends by itself."""
        self.begun: list[tuple[int, e.RunStarted]] = []
        self.settled: list[e.Settled] = []
        self.seen = 0

    def look(self) -> None:
        """Win all claims, and give each run that begins its end."""
        while self.driver.claims:
            self.driver.claim(0)
        for now, actions, _ in self.driver.log[self.seen :]:
            for action in actions:
                if isinstance(action, e.RunStarted):
                    self.ends[action.run_id] = now + self.durations[len(self.begun) % len(self.durations)]
                    self.begun.append((now, action))
                elif isinstance(action, e.Settled):
                    self.settled.append(action)
        self.seen = len(self.driver.log)

    def go(self, until: int, *, obeys: bool = True) -> None:
        """Let time pass; a run that is cancelled ends at once if it *obeys*, else when its time has come."""
        driver = self.driver
        while True:
            self.look()
            alive = {run_id: end for run_id, end in self.ends.items() if run_id in driver.alive}
            cut = next((run_id for run_id in alive if run_id in driver.cut), None)
            if obeys and cut is not None:
                self.end(cut, cancelled=True)
                continue
            first = min(alive, key=lambda run_id: alive[run_id], default=None)
            wakeup = driver.timetable.next_wakeup()
            end = until if first is None else alive[first]
            at = min(end, until if wakeup is None else wakeup)
            if at >= until:
                return
            driver.now = max(at, driver.now)
            if first is not None and end <= at:
                self.end(first)
            else:
                driver.poll()

    def end(self, run_id: int, *, cancelled: bool = False) -> None:
        del self.driver.alive[run_id]
        self.driver.tell(e.AttemptEnded(run_id, None if cancelled else Succeeded()))

    def slots(self, kind: type) -> list[int]:
        """Return the slots that ended so."""
        return [settled.slot for settled in self.settled if isinstance(settled.outcome, kind)]


@given(st.lists(st.sampled_from([1_000, 1_001, 3_000, 10_000]), min_size=2, max_size=6), DURATIONS, st.integers(1, 3))
def test_limit_of_all_jobs_is_kept_and_starves_nobody(intervals: list[int], durations: list[int], limit: int) -> None:
    """With few places for many jobs, none begins twice while another one stands in line all the time."""
    driver = Driver(max_running=limit)
    names = [add(driver, interval, Policy(timeout=None)) for interval in intervals]
    stage = Stage(driver, durations)
    overtakers: dict[str, set[str]] = {name: set() for name in names}
    for second in range(1, 40):
        before = len(stage.begun)
        stage.go(START + second * 500)
        assert len(driver.alive) <= limit
        for now, start in stage.begun[before:]:
            overtakers[start.job].clear()
            for name in names:
                facts = driver.timetable.facts(name)
                assert facts is not None
                stands = facts.slot is not None and facts.slot < start.slot and not facts.runs
                if name != start.job and stands and now >= start.slot:
                    assert start.job not in overtakers[name], "first come, first served"
                    overtakers[name].add(start.job)


@given(st.integers(1_000, 5_000), DURATIONS)
def test_queue_keeps_the_first_waiter_and_the_order(interval: int, durations: list[int]) -> None:
    """With queue the first slot that comes during a run begins when that has ended, and all others are skipped."""
    driver = Driver()
    add(driver, interval, Policy(overlap=Overlap.QUEUE, timeout=None))
    stage = Stage(driver, durations)
    end = START + 25 * interval
    stage.go(end)
    begins: list[tuple[int, int]] = []
    skipped: list[int] = []
    waiter: int | None = None
    free_at = START
    for slot in range((START // interval + 1) * interval, end, interval):
        if waiter is not None and free_at <= slot:
            begins.append((free_at, waiter))
            free_at += durations[(len(begins) - 1) % len(durations)]
            waiter = None
        if free_at <= slot:
            begins.append((slot, slot))
            free_at = slot + durations[(len(begins) - 1) % len(durations)]
        elif waiter is None:
            waiter = slot
        else:
            skipped.append(slot)
    if waiter is not None and free_at < end:
        begins.append((free_at, waiter))
    assert [(now, start.slot) for now, start in stage.begun] == begins
    assert stage.slots(Skipped) == skipped


@given(st.integers(500, 5_000), DURATIONS, st.booleans())
def test_replace_leaves_one_run_alive(interval: int, durations: list[int], obeys: bool) -> None:
    """With replace a slot cuts the run before it and begins once that has ended, or was given up after two seconds."""
    driver = Driver()
    add(driver, interval, Policy(overlap=Overlap.REPLACE, timeout=None))
    stage = Stage(driver, durations)
    for turn in range(1, 20):
        stage.go(START + turn * interval, obeys=obeys)
        assert len(driver.alive) <= 1
        cuts = [action for _, actions, _ in driver.log for action in actions if isinstance(action, e.Cancel)]
        assert {cut.by for cut in cuts} <= {"replace"}
    starts = [start.slot for _, start in stage.begun]
    assert starts == sorted(starts)
    patience = 0 if obeys else STUCK_MS
    assert all(now - start.slot <= patience for now, start in stage.begun)
    assert {settled.outcome for settled in stage.settled} <= {Succeeded(), Interrupted("replace"), Skipped("overlap")}


@given(
    st.sampled_from([1_000, MINUTE, HOUR]) | st.integers(1_000, 2 * HOUR),
    st.integers(0, 3 * 24 * HOUR),
    st.integers(1, 12),
    st.sampled_from([0, MINUTE, 24 * HOUR]) | st.integers(0, 24 * HOUR),
    st.sampled_from([0, 0, 1, 700]),
)
def test_catch_up_all_runs_the_newest_oldest_first(
    interval: int, down: int, most: int, within: int, takes: int
) -> None:
    """After an outage the newest *max* of the passed slots run, oldest first, one by one, then the newest due."""
    driver = Driver()
    policy = Policy(
        catch_up=CatchUp.ALL, catch_up_max=most, catch_up_within=ms(within), overlap=Overlap.ALLOW, timeout=None
    )
    add(driver, interval, policy, START - down)
    stage = Stage(driver, [takes])
    stage.look()
    while driver.alive:
        assert len(driver.alive) == 1
        driver.now += takes
        stage.end(next(iter(driver.alive)))
        stage.look()
    due = range((START - down) // interval * interval + interval, START + 1, interval)
    begun = [start.slot for _, start in stage.begun]
    assert begun == sorted(begun)
    if not due:
        assert begun == [] or takes > 0
        return
    in_grace = START - due[-1] <= min(interval, HOUR)
    passed = due[:-1] if in_grace else due
    expected = [slot for slot in passed[-most:] if START - slot <= within] + [due[-1]] * in_grace
    if takes == 0:
        assert begun == expected
    if expected[:1]:
        assert begun[0] == expected[0], "the first is the same, however long it takes"


@given(st.integers(1_000, HOUR), st.integers(0, 2 * HOUR), st.integers(1, 12))
def test_jitter_stays_before_the_next_slot(interval: int, jitter: int, slots: int) -> None:
    """Served on time, a run begins at its slot or later, before the next slot, and at the same instant every time."""
    begun: list[list[tuple[int, int]]] = []
    for _ in range(2):
        driver = Driver()
        name = add(driver, interval, Policy(jitter=ms(jitter), overlap=Overlap.ALLOW))
        stage = Stage(driver, [0])
        stage.go(START + slots * interval)
        begun.append([(now, start.slot) for now, start in stage.begun])
    for now, slot in begun[0]:
        assert slot <= now < slot + interval
        assert now == slot + Policy(jitter=ms(jitter)).jitter_ms(name, slot, interval)
    assert begun[0] == begun[1]
    assert len(begun[0]) >= slots - 1
    assert not stage.slots(Taken)


LIES: dict[str, Callable[[datetime], object]] = {
    "raises": lambda _: 1 / 0,
    "past": lambda instant: instant - timedelta(seconds=1),
    "long past": lambda _: from_ms(0),
    "same": lambda instant: instant,
    "fixed": lambda _: from_ms(START + MINUTE),
    "future": lambda instant: instant + timedelta(hours=1),
    "far future": lambda _: datetime.max.replace(tzinfo=from_ms(0).tzinfo, microsecond=0),
    "naive": lambda instant: instant.replace(tzinfo=None),
    "fraction": lambda instant: instant + timedelta(microseconds=1_500),
    "nothing": lambda _: None,
    "text": lambda _: "soon",
    "number": lambda instant: instant.timestamp(),
}
MOODS = st.lists(st.sampled_from(["works", "works", *LIES]), min_size=1, max_size=4)


class Liar:
    """A user's schedule of every minute that answers each question as its moods say, over and over."""

    def __init__(self, after: list[str], until: list[str], honest: int) -> None:
        self.moods = {"after": after, "until": until}
        self.honest = honest
        """How many questions it answers well at first."""
        self.asked = 0

    def answer(self, question: str, instant: datetime, right: datetime) -> datetime | None:
        self.asked += 1
        moods = self.moods[question]
        mood = "works" if self.asked <= self.honest else moods[self.asked % len(moods)]
        return right if mood == "works" else LIES[mood](instant)  # type: ignore[return-value]

    def next_after(self, instant: datetime) -> datetime | None:
        return self.answer("after", instant, from_ms((to_ms(instant) // MINUTE + 1) * MINUTE))

    def latest_until(self, instant: datetime) -> datetime | None:
        return self.answer("until", instant, from_ms(to_ms(instant) // MINUTE * MINUTE))


@settings(max_examples=60)
@given(MOODS, MOODS, st.integers(0, 12), POLICIES, st.booleans())
def test_lying_schedule_never_spins(
    after: list[str], until: list[str], honest: int, policy: Policy, obeys: bool
) -> None:
    """Over an hour of wake-ups a lying schedule is asked seldom, each wake-up is later, and its neighbour is served."""
    liar = Liar(after, until, honest)
    driver = Driver()
    driver.add(Plan(liar, policy, lambda _: range(0)))
    driver.add(Plan(every(minutes=1), Policy(timeout=ms(1)), lambda _: range(0)))
    end, turns = START + HOUR, 0
    while True:
        while driver.registers:
            driver.register(0)
        while driver.claims:
            driver.claim(0)
        while driver.alive and obeys:
            driver.end(0, Succeeded())
        wakeup = driver.timetable.next_wakeup()
        assert wakeup is not None, "its neighbour goes on"
        if wakeup > end:
            break
        driver.wake()
        turns += 1
    served = [slot for slot in driver.known["j1"].claimed if slot > START]
    assert served == list(range((START // MINUTE + 1) * MINUTE, end, MINUTE)), "the neighbour is on time"
    # Once a minute by itself, when a run is looked after, and with a back-off from 1 s whenever it lies anew.
    assert turns < 1_000
    assert liar.asked < 4_000


@given(st.sampled_from([lie for lie in LIES if lie not in ("future", "far future", "nothing")]), st.integers(0, 12))
def test_schedule_that_only_lies_is_asked_with_back_off(lie: str, honest: int) -> None:
    """A schedule that stops telling a next slot is asked after 1 s, doubling to 5 min, and not more often."""
    liar = Liar([lie], ["works"], honest)
    driver = Driver()
    driver.add(Plan(liar, Policy(), lambda _: range(0)))
    driver.register(0)
    while (wakeup := driver.timetable.next_wakeup()) is not None and wakeup <= START + HOUR:
        driver.wake()
        while driver.registers:
            driver.register(0)
        while driver.claims:
            driver.claim(0)
        while driver.alive:
            driver.end(0, Succeeded())
    facts = driver.timetable.facts("j0")
    assert facts is not None
    assert facts.parked is not None
    parked = [action.retry_ms for _, actions, _ in driver.log for action in actions if isinstance(action, e.JobParked)]
    assert parked == [min(300_000, 1_000 << number) for number in range(len(parked))]
    assert liar.asked <= honest + 2 * len(parked) + 5
