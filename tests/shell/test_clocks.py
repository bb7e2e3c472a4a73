"""How the loop sleeps and wakes, and the contract of the fake clock itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from loopcron import (
    ClockStepped,
    ConfigError,
    InternalFault,
    Interrupted,
    LoopcronError,
    Run,
    Scheduler,
    Succeeded,
    SystemClock,
    every,
)
from loopcron import _tasks as tasks_module
from loopcron._hands import Hands
from loopcron._instants import HOUR_MS, from_ms, to_ms
from loopcron.testing import FakeClock, RecordingObserver, hang

if TYPE_CHECKING:
    from tests.shell.conftest import Stage


async def work(run: Run) -> None:
    """Do nothing."""


class Watched:
    """A fake clock that keeps what it was asked to sleep, and may do so badly."""

    def __init__(self, clock: FakeClock, sleep: Callable[[float], Any] | None = None) -> None:
        self.now = clock.now
        self.monotonic = clock.monotonic
        self.attach = clock.attach
        self.asked: list[float] = []
        self._sleep = clock.sleep if sleep is None else sleep

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._sleep(seconds)


# --- sleeping in slices, waking early


async def test_loop_never_sleeps_longer_than_a_slice(stage: Stage) -> None:
    """However far the next slot, both clocks are read again after 30 s at most, with no job too."""
    clock = Watched(stage.clock)
    stage.build(clock=clock)
    async with stage.scheduler:
        await stage.advance(minutes=2)
        assert clock.asked == [30.0] * 5
        stage.add(work, schedule=every(hours=24))
        await stage.advance(minutes=2)
    assert max(clock.asked) == 30.0


async def test_loop_sleeps_until_the_next_slot(stage: Stage) -> None:
    """The last sleep before a slot is what is left to it."""
    clock = Watched(stage.clock)
    stage.build(clock=clock)
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(seconds=44)
    assert 13.0 in clock.asked[1:]


@pytest.mark.parametrize("share", [0.5, 0.999, 0.1], ids=["half", "a hair", "much"])
async def test_early_wake_ups_fire_no_slot_early_or_twice(stage: Stage, share: float) -> None:
    """A clock whose sleep returns before its time makes the loop sleep again, and no slot run before its instant."""

    async def early(seconds: float) -> None:
        early.calls += 1  # type: ignore[attr-defined]
        if early.calls % 20:  # type: ignore[attr-defined]
            await stage.clock.sleep(seconds * share)
        else:
            await stage.clock.sleep(seconds)

    early.calls = 0  # type: ignore[attr-defined]
    started: list[tuple[datetime, datetime]] = []
    stage.build(clock=Watched(stage.clock, early))

    async def job(run: Run) -> None:
        started.append((run.slot, stage.clock.now()))

    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=4)
    assert len(started) == 4
    assert len({slot for slot, _ in started}) == 4
    assert all(now >= slot for slot, now in started)


async def test_sleep_that_raises_is_a_fault_and_the_loop_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock whose sleep fails is reported, and slots go on after a rest in real time."""
    monkeypatch.setattr(tasks_module, "FAULT_BACKOFF", (1, 4))
    errors: list[BaseException] = [OSError("no timer"), SystemExit(1)]
    if anyio.get_cancelled_exc_class().__module__.startswith("asyncio"):
        errors.append(anyio.get_cancelled_exc_class()())

    async def failing(seconds: float) -> None:
        if errors:
            raise errors.pop()
        await stage.clock.sleep(seconds)

    stage.build(clock=Watched(stage.clock, failing))
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert {event.where for event in stage.told(InternalFault)} == {"loop"}
    assert errors == []
    assert stage.outcomes() == [Succeeded()] * 2


async def test_keyboard_interrupt_in_the_clock_is_let_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``KeyboardInterrupt`` that strikes while the loop sleeps ends the life."""
    monkeypatch.setattr(tasks_module, "FAULT_BACKOFF", (1, 4))

    async def struck(seconds: float) -> None:
        if stage.clock.monotonic() > begin:
            raise KeyboardInterrupt
        await stage.clock.sleep(seconds)

    begin = stage.clock.monotonic()
    stage.build(clock=Watched(stage.clock, struck))
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes out of the block as a whole
        async with stage.scheduler:
            await stage.advance(minutes=1)
            await anyio.sleep_forever()


@pytest.mark.parametrize("hand", ["now", "monotonic"])
async def test_clock_that_cannot_be_read_is_a_fault_and_the_loop_goes_on(stage: Stage, hand: str) -> None:
    """While a hand cannot be read the loop keeps the last now; what was due then runs when it can be read again."""
    clock = Watched(stage.clock)
    whole = getattr(clock, hand)
    stage.build(clock=clock)
    stage.add(work)

    def fail() -> Any:
        raise OSError("no clock")

    async with stage.scheduler:
        await stage.advance(minutes=1)
        setattr(clock, hand, fail)
        await stage.advance(seconds=50)
        assert len(stage.outcomes()) == 1
        setattr(clock, hand, whole)
        await stage.advance(seconds=70)
    assert {event.where for event in stage.told(InternalFault)} == {"clock"}
    assert stage.outcomes() == [Succeeded()] * 3


@pytest.mark.parametrize("seconds", [3600, 1.5, -1.5, -3600])
async def test_clock_step_is_told_once(stage: Stage, seconds: float) -> None:
    """A change of the wall clock against the monotonic one is one event, noticed within a slice."""
    async with stage.scheduler:
        await stage.advance(seconds=1)
        stage.clock.jump_wall(timedelta(seconds=seconds))
        await stage.advance(seconds=30)
        assert [event.by_ms for event in stage.told(ClockStepped)] == [seconds * 1000]
        await stage.advance(minutes=5)
    assert len(stage.told(ClockStepped)) == 1


async def test_small_steps_are_no_event(stage: Stage) -> None:
    """Up to a second, either way and again and again, is drift: no event, and no slot twice."""
    stage.add(work, schedule=every(seconds=10))
    async with stage.scheduler:
        for step in (0.9, 0.9, -0.9, -0.9, 0.9):
            stage.clock.jump_wall(timedelta(seconds=step))
            await stage.advance(seconds=60)
    assert not stage.told(ClockStepped)
    slots = [settled.slot for settled in stage.seen.settled()]
    assert slots == list(range(slots[0], slots[-1] + 1, 10_000))


async def test_deadlines_move_with_a_step(stage: Stage) -> None:
    """A run has as long left after the wall clock was set as before."""

    async def nap(run: Run) -> None:
        await run.sleep(20)

    stage.add(nap, timeout=timedelta(seconds=30))
    async with stage.scheduler:
        await stage.advance(seconds=44)
        stage.clock.jump_wall(timedelta(hours=3))
        await stage.advance(seconds=20)
    assert stage.outcomes()[0] == Succeeded()


async def test_short_interval_on_the_real_clock() -> None:
    """On the system's clock a slot every 50 ms runs once, and never before its instant, whatever the event loop."""
    seen, clock = RecordingObserver(), SystemClock()
    early: list[float] = []

    enough = anyio.Event()

    async def job(run: Run) -> None:
        early.append((run.slot - clock.now()).total_seconds())
        if len(early) == 6:
            enough.set()

    scheduler = Scheduler(observers=[seen])
    scheduler.job(every(milliseconds=50))(job)
    with anyio.fail_after(30):
        async with scheduler:
            await enough.wait()
    slots = [settled.slot for settled in seen.settled()]
    assert sorted(set(slots)) == slots
    assert max(early) <= 0
    assert {type(settled.outcome) for settled in seen.settled()} >= {Succeeded}


def test_process_that_is_stopped_between_its_two_readings_sees_no_step() -> None:
    """A step that is gone when both hands are read again was none, and the wall hand does not go back for it."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    hands = iter([(0.0, 10.0), (5.0, 10.0), (-0.5, 10.0)])

    class Torn:
        def now(self) -> datetime:
            seconds, self._monotonic = next(hands)
            return start + timedelta(seconds=seconds)

        def monotonic(self) -> float:
            return self._monotonic

    read = Hands(Torn())
    assert read.read() == 0
    assert read.wall == to_ms(start)


async def test_system_clock_has_two_hands_and_sleeps() -> None:
    """The system's clock tells UTC and a monotonic time, and its sleep is about as long as asked."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert 0.008 < clock.monotonic() - before < 5
    await clock.sleep(0)


# --- the fake clock


def test_fake_clock_starts_where_it_is_told() -> None:
    """The wall hand begins at the start given, any timezone, or at an odd instant of its own."""
    assert FakeClock().now().isoformat() == "2031-05-07T11:13:17+00:00"
    start = datetime(2026, 3, 29, 2, 30, tzinfo=UTC)
    clock = FakeClock(start)
    assert clock.now() == start
    assert clock.monotonic() == 25_200.0


@pytest.mark.parametrize("start", [datetime(2026, 1, 1), "2026-01-01", 0, None], ids=repr)
def test_fake_clock_refuses_a_start_that_is_no_instant(start: Any) -> None:
    """A naive datetime, or something else, is refused."""
    with pytest.raises(ConfigError, match="start="):
        FakeClock(start)


async def test_fake_clock_that_starts_in_a_timezone_is_not_moved_by_its_changes() -> None:
    """Three hours are three hours where summer time begins meanwhile, also for a clock that starts in that zone."""
    start = datetime(2026, 3, 29, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    clock = FakeClock(start)
    await clock.advance(timedelta(hours=3))
    assert clock.now().isoformat() == "2026-03-29T04:30:00+02:00"
    assert clock.now_ms() == to_ms(start) + 3 * HOUR_MS
    clock.jump_wall(timedelta(days=210))
    assert clock.now_ms() == to_ms(start) + 3 * HOUR_MS + 210 * 24 * HOUR_MS


async def test_both_hands_move_together_by_advance() -> None:
    """`advance` moves both hands by the same, and 0 is allowed."""
    clock = FakeClock()
    wall, monotonic = clock.now(), clock.monotonic()
    await clock.advance(timedelta(hours=1, milliseconds=1))
    await clock.advance(timedelta(0))
    assert clock.now() - wall == timedelta(hours=1, milliseconds=1)
    assert clock.monotonic() - monotonic == 3600.001


@pytest.mark.parametrize("duration", [timedelta(seconds=-1), 5, None, "1h"], ids=repr)
async def test_advance_refuses_what_is_no_duration(duration: Any) -> None:
    """Going back, or by a number of who knows what, is refused with the way to do it."""
    with pytest.raises(ConfigError, match="jump_wall sets the wall back"):
        await FakeClock().advance(duration)


@pytest.mark.parametrize("by", [timedelta(days=-3), timedelta(days=3)], ids=["back", "forward"])
def test_jump_wall_moves_one_hand(by: timedelta) -> None:
    """`jump_wall` sets the wall hand alone, either way."""
    clock = FakeClock()
    wall, monotonic = clock.now(), clock.monotonic()
    clock.jump_wall(by)
    assert (clock.now() - wall, clock.monotonic()) == (by, monotonic)


def test_jump_wall_refuses_what_is_no_duration() -> None:
    """A number could be anything, and is refused."""
    with pytest.raises(ConfigError, match="by=5: must be a timedelta"):
        FakeClock().jump_wall(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.5, 2, 1.1, 1.00001, 0.001, 1000])
async def test_drift_lets_the_wall_hand_run_at_its_own_rate(rate: float) -> None:
    """From then on the wall hand moves by so many seconds a second; the monotonic one moves as ever."""
    clock = FakeClock()
    wall, monotonic = clock.now(), clock.monotonic()
    clock.drift(rate)
    await clock.advance(timedelta(seconds=1000))
    assert clock.now() - wall == timedelta(seconds=1000) * rate
    assert clock.monotonic() - monotonic == 1000
    clock.drift(1.0)
    await clock.advance(timedelta(seconds=1))
    assert clock.now() - wall == timedelta(seconds=1000) * rate + timedelta(seconds=1)


async def test_drift_adds_up_no_rounding() -> None:
    """A drift in many small moves comes out as in one, to the microsecond, beside a clock that is set too."""
    clock, other = FakeClock(), FakeClock()
    for each in (clock, other):
        each.drift(1.000017)
    for _ in range(999):
        await clock.advance(timedelta(microseconds=1001))
    await other.advance(timedelta(microseconds=999 * 1001))
    assert clock.now() == other.now()
    clock.jump_wall(timedelta(hours=-1))
    assert other.now() - clock.now() == timedelta(hours=1)


async def test_sleepers_go_by_the_monotonic_hand_when_the_clock_drifts() -> None:
    """A sleep takes as long as it says, however fast the wall hand runs."""
    clock = FakeClock()
    clock.drift(3)
    begin, woken = clock.monotonic(), []

    async def sleeper() -> None:
        await clock.sleep(10)
        woken.append(clock.monotonic() - begin)

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(timedelta(seconds=9))
        assert woken == []
        await clock.advance(timedelta(seconds=9))
    assert woken == [10]


@pytest.mark.parametrize("rate", [0, -1, 0.0009, 1001, float("nan"), float("inf"), True, "1", None], ids=repr)
def test_drift_refuses_what_is_no_rate(rate: Any) -> None:
    """A clock that stands, goes back or races is refused: that is what `jump_wall` is for."""
    with pytest.raises(ConfigError, match=r"rate=.*from 0.001 to 1000; 1.0 is true"):
        FakeClock().drift(rate)


async def test_scheduler_lives_with_a_clock_that_drifts(stage: Stage) -> None:
    """A drift too slow to be a step adds up to none, and every slot runs once, within a slice of its time."""
    stage.add(work)
    stage.clock.drift(1.02)
    late: list[timedelta] = []

    async def see(run: Run) -> None:
        late.append(stage.clock.now() - run.slot)

    stage.add(see, schedule=every(seconds=90))
    async with stage.scheduler:
        await stage.advance(hours=1)
    assert not stage.told(ClockStepped)
    slots = [settled.slot for settled in stage.seen.settled("work")]
    assert slots == list(range(slots[0], slots[-1] + 1, 60_000))
    assert len(slots) == 61
    assert timedelta(0) <= max(late) < timedelta(seconds=1)


async def test_sleepers_wake_in_order_one_instant_at_a_time() -> None:
    """Sleepers wake in the order of their instants, each seeing the hands at its own; one may sleep on meanwhile."""
    clock = FakeClock()
    begin, woken = clock.monotonic(), []

    async def sleeper(*seconds: float) -> None:
        for each in seconds:
            await clock.sleep(each)
            woken.append(clock.monotonic() - begin)

    async with anyio.create_task_group() as group:
        for seconds in ((5, 2), (1, 1, 1), (6,), (90,)):
            group.start_soon(sleeper, *seconds)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(timedelta(seconds=10))
        assert woken == [1, 2, 3, 5, 6, 7]
        group.cancel_scope.cancel()
    await clock.advance(timedelta(seconds=100))
    assert woken == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_sleep_lets_others_run(seconds: float) -> None:
    """A sleep of nothing returns without the clock moving, after the others had their turn."""
    clock, steps = FakeClock(), []

    async def other() -> None:
        steps.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        while not steps:
            await clock.sleep(seconds)
    assert steps == ["other"]


@pytest.mark.usefixtures("impatient")
async def test_busy_run_is_named(stage: Stage) -> None:
    """A run that waits for something else than the clock ends the patience of `advance`, with its name."""
    gate = anyio.Event()

    async def busy(run: Run) -> None:
        await gate.wait()

    stage.add(busy)
    async with stage.scheduler:
        with pytest.raises(
            LoopcronError, match=r"waited 0 s of real time for busy, which .*let the run wait in run.sleep"
        ):
            await stage.advance(minutes=1)
        gate.set()
        await stage.advance(minutes=1)


@pytest.mark.usefixtures("impatient")
async def test_busy_scheduler_is_named() -> None:
    """If no run is to blame, the message says that it is the scheduler itself."""
    clock = FakeClock()

    class Restless:
        is_draining = False
        is_quiet = False
        busy = ()

        async def wait_quiet(self) -> None:
            await anyio.sleep_forever()

    with clock.attach(Restless()), pytest.raises(LoopcronError, match="for the scheduler itself"):
        await clock.advance(timedelta(0))


async def test_patience_is_five_seconds() -> None:
    """The patience of a fake clock is long enough for a loaded machine."""
    from loopcron.testing import _fake_clock

    assert _fake_clock.PATIENCE_SECONDS == 5.0


async def test_clock_glides_while_its_scheduler_stops(stage: Stage) -> None:
    """A drain on the fake clock takes no real time and moves the hands instant by instant."""
    woken: list[float] = []

    async def napping(run: Run) -> None:
        while True:
            await run.sleep(1)
            woken.append(stage.clock.monotonic())

    stage.add(napping, timeout=None)
    async with stage.scheduler:
        await stage.advance(seconds=43)
        before = stage.clock.monotonic()
    assert woken == [before + second for second in range(1, len(woken) + 1)]
    assert 9 <= len(woken) <= 10
    assert stage.clock.monotonic() == before + 10
    assert stage.outcomes() == [Interrupted("shutdown")]


@pytest.mark.usefixtures("impatient")
async def test_glide_does_not_wait_for_a_busy_run(stage: Stage) -> None:
    """A run that never waits for the clock does not hold up the drain for more than the clock's patience."""

    async def busy(run: Run) -> None:
        await anyio.sleep_forever()

    stage.add(busy, timeout=None)
    async with stage.scheduler:
        stage.scheduler.trigger("busy")
        await anyio.wait_all_tasks_blocked()
    assert stage.outcomes() == [Interrupted("shutdown")]


async def test_two_schedulers_share_a_clock(stage: Stage) -> None:
    """Two schedulers on one clock are both waited for, and may stop at once without the hands going back."""
    first = stage.build(drain=timedelta(seconds=3))
    stage.add(hang_for_ever, name="first", timeout=None)
    second = stage.build(drain=timedelta(seconds=8))
    stage.add(hang_for_ever, name="second", timeout=None)
    go = anyio.Event()

    async def live(scheduler: Scheduler) -> None:
        async with scheduler:
            await go.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(live, first)
        group.start_soon(live, second)
        await anyio.wait_all_tasks_blocked()
        await stage.advance(seconds=44)
        before = stage.clock.now()
        go.set()
    assert stage.outcomes() == [Interrupted("shutdown")] * 2
    took = {settled.job: from_ms(settled.ended) - before for settled in stage.seen.settled()}
    assert took == {"first": timedelta(seconds=3), "second": timedelta(seconds=8)}


async def hang_for_ever(run: Run) -> None:
    """Hang."""
    await hang()


async def test_advance_beside_a_stop_never_sets_the_hands_back(stage: Stage) -> None:
    """Who moves the clock on while its scheduler glides only makes the drain end sooner."""
    stage.add(hang_for_ever, timeout=None)
    async with stage.scheduler:
        await stage.advance(seconds=44)
        before = stage.clock.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.scheduler.stop)
            group.start_soon(stage.clock.advance, timedelta(hours=1))
        assert stage.clock.monotonic() >= before + 3600
    assert stage.outcomes() == [Interrupted("shutdown")]
