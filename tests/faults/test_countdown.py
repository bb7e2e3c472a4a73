"""
Countdown injection, as SQLite has it: fail the n-th call of all parts together, for each n until none is left.

Whatever fails, once or from then on: nothing raises out of the scheduler, every slot has exactly one outcome, and the
slots that come later are served.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest

from loopcron import (
    Event,
    Failed,
    FunctionJob,
    HttpJob,
    InternalFault,
    MemoryLedger,
    Missed,
    ObserverFailed,
    Outcome,
    Run,
    Scheduler,
    SchedulerStarted,
    SchedulerStopped,
    Skipped,
    Succeeded,
    SystemClock,
    Taken,
    every,
)
from loopcron import _tasks as tasks_module
from loopcron._instants import to_ms
from loopcron._ledger import Claim, Finish, Pause, Register, Renew, Row, Won
from loopcron.testing import (
    FakeClock,
    Faults,
    FaultyClock,
    FaultyLedger,
    FaultyObserver,
    FaultySchedule,
    FaultyTransport,
    RecordingObserver,
    RecordingTransport,
)
from tests.loops import ASYNCIO

JOBS = ("call", "work")
SLOTS = 5
MINUTE = 60_000
NONE = Faults()
HARMLESS = {"observer.on_event", "logger.emit", "ledger.finish", "clock.monotonic"}


class Emitter(logging.Handler):
    """A log handler whose calls may fail."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(logging.DEBUG)
        self.faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        self.faults.call("logger.emit")


@pytest.fixture(autouse=True)
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """Keep the log to the handlers of the test, and the loop's rests after a fault short."""
    monkeypatch.setattr(tasks_module, "FAULT_BACKOFF", (1, 4))
    logger = logging.getLogger("loopcron")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [])
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(logging.NOTSET)


class Scenario:
    """Two jobs, one of them an `HttpJob`, over five slots on a fake clock; each part with its countdown."""

    def __init__(self, faults: Faults | None = None, **parts: Faults) -> None:
        def countdown(part: str) -> Faults:
            return parts.get(part, NONE) if faults is None else faults

        self.clock = FakeClock()
        self.first = to_ms(self.clock.now()) // MINUTE * MINUTE + MINUTE
        self.seen = RecordingObserver()
        clock = FaultyClock(self.clock, countdown("clock"))
        rule = FaultySchedule(every(minutes=1), countdown("schedule"))
        logging.getLogger("loopcron").handlers[:] = [Emitter(countdown("logger"))]
        self.scheduler = Scheduler(
            clock=clock,
            ledger=FaultyLedger(MemoryLedger(self.clock), countdown("ledger")),
            transport=FaultyTransport(RecordingTransport(), countdown("transport")),
            observers=[FaultyObserver(RecordingObserver(), countdown("observer")), self.seen],
        )
        self.scheduler.add(HttpJob("call", rule if "schedule" not in parts else every(minutes=1), "/"))
        self.scheduler.add(FunctionJob("work", rule, work))

    async def live(self) -> None:
        """Live through five slots of each job, entering again if the clock could not be read at the start."""
        try:
            await self.scheduler.__aenter__()
        except OSError:
            assert self.seen.events == []  # nothing had begun
            await self.scheduler.__aenter__()
        await self.clock.advance(timedelta(minutes=SLOTS))
        await self.scheduler.__aexit__(None, None, None)
        assert isinstance(self.seen.events[-1], SchedulerStopped)

    def outcomes(self, job: str) -> dict[int, Outcome]:
        """Return the outcome of each slot, counted from 0, ranges spread out; a slot that has two is an error."""
        found: dict[int, Outcome] = {}
        for settled in self.seen.settled(job):
            outcome = settled.outcome
            first = settled.slot
            if isinstance(outcome, (Missed, Skipped)) and outcome.first is not None:
                first = outcome.first
            for slot in range(first, settled.slot + 1, MINUTE):
                number = (slot - self.first) // MINUTE
                assert number not in found, f"{job} has two outcomes of slot {number}"
                found[number] = outcome
        return dict(sorted(found.items()))

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the events of this *kind*."""
        return [event for event in self.seen.events if type(event) is kind]


async def work(run: Run) -> None:
    """Take a second."""
    await run.sleep(1)


async def test_without_a_fault_all_succeeds() -> None:
    """The scenario as such has five successes of each job, and its countdown sees every part."""
    faults = Faults()
    scenario = Scenario(faults)
    await scenario.live()
    assert scenario.outcomes("work") == dict.fromkeys(range(SLOTS), Succeeded())
    assert scenario.outcomes("call") == dict.fromkeys(range(SLOTS), Succeeded(200))
    assert faults.failed == []
    assert 100 < faults.calls < 2000


async def test_any_one_call_may_fail(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    """Whichever call fails, once: each slot has one outcome, and no job loses more than the slot that it hit."""
    stride = 2 if anyio_backend == ASYNCIO else 1  # half of them will do: on uvloop each of these same calls fails
    kinds: Counter[str] = Counter()
    for n in range(1, 2000, stride):
        faults = Faults(at=n)
        scenario = Scenario(faults)
        await scenario.live()
        if not faults.failed:
            break
        kinds.update(faults.failed)
        for job in JOBS:
            outcomes = scenario.outcomes(job)
            assert list(outcomes) == list(range(SLOTS)), (n, faults.failed, outcomes)
            lost = [outcome for outcome in outcomes.values() if not isinstance(outcome, Succeeded)]
            assert len(lost) <= (faults.failed[0] not in HARMLESS), (n, faults.failed, outcomes)
        for fault in scenario.told(InternalFault):
            assert (fault.where, fault.error) in {("clock", "OSError: injected"), ("loop", "OSError: injected")}
    else:
        pytest.fail("the scenario has no end")
    # All but ledger.register, which comes once: on trio the order of tasks, and so its number, is another each time.
    rare = {"ledger.register"} if stride == 1 else {"ledger.register", "schedule.next_after", "transport.send"}
    assert set(kinds) | rare == {
        *("clock.now", "clock.monotonic", "clock.sleep"),
        *("ledger.register", "ledger.claim", "ledger.finish"),
        *("schedule.next_after", "transport.send", "observer.on_event", "logger.emit"),
    }


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 21, 34])
@pytest.mark.parametrize("part", ["observer", "logger"])
async def test_telling_may_fail_for_ever(part: str, n: int) -> None:
    """An observer or logger that fails from some call on costs no slot; the observer is disabled at the third time."""
    faults = Faults(at=n, forever=True)
    scenario = Scenario(**{part: faults})
    await scenario.live()
    assert set(scenario.outcomes("work").values()) == {Succeeded()}
    assert set(scenario.outcomes("call").values()) == {Succeeded(200)}
    disabled = [event.disabled for event in scenario.told(ObserverFailed)]
    assert disabled == ([False, False, True] if part == "observer" and len(faults.failed) >= 3 else [])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
async def test_ledger_may_be_down_for_ever(n: int) -> None:
    """From the call on at which the store goes down, each slot is skipped for it, and the runs before it counted."""
    scenario = Scenario(ledger=Faults(at=n, forever=True))
    await scenario.live()
    for job in JOBS:
        outcomes = list(scenario.outcomes(job).values())
        assert len(outcomes) == SLOTS
        up = [isinstance(outcome, Succeeded) for outcome in outcomes]
        assert up == sorted(up, reverse=True)
        assert {*outcomes[sum(up) :]} <= {Skipped("ledger")}
        assert not up[-1]


async def test_ledger_that_was_never_up_is_told_and_asked_again() -> None:
    """Where no job could ever be registered there are no slots, and the failures are told again and again."""
    scenario = Scenario(ledger=Faults(at=1, forever=True))
    await scenario.live()
    assert scenario.seen.settled() == []
    failures = [event for event in scenario.seen.events if type(event).__name__ == "LedgerFailed"]
    assert len(failures) >= 4  # every minute


@pytest.mark.parametrize("n", [1, 3, 5])
async def test_transport_may_fail_for_ever(n: int) -> None:
    """A transport that raises what it must not fails its job's runs with blame transport, and shows nothing of it."""
    scenario = Scenario(transport=Faults(at=n, forever=True, error=OSError("Bearer secret")))
    await scenario.live()
    assert list(scenario.outcomes("call").values()) == [Succeeded(200)] * (n - 1) + [
        Failed("transport", "internal")
    ] * (SLOTS - n + 1)
    assert set(scenario.outcomes("work").values()) == {Succeeded()}
    assert "secret" not in repr(scenario.seen.events)


@pytest.mark.parametrize("n", range(1, 12))
async def test_schedule_may_fail_for_ever(n: int) -> None:
    """A schedule that fails from some call on parks its job, visibly, and the other job has all its slots."""
    scenario = Scenario(schedule=Faults(at=n, forever=True))
    async with scenario.scheduler:
        await scenario.clock.advance(timedelta(minutes=SLOTS))
        parked = scenario.scheduler.health()["work"].state == "parked"
    assert scenario.outcomes("call") == dict.fromkeys(range(SLOTS), Succeeded(200))
    assert parked or len(scenario.outcomes("work")) == SLOTS


@pytest.mark.parametrize("at", [3, 9, 30])
@pytest.mark.parametrize("hand", ["now", "monotonic"])
async def test_one_hand_may_fail_for_ever(hand: str, at: int) -> None:
    """With one hand only the clock cannot be trusted: each reading is a fault that is told, and stopping works."""
    faults = Faults(at=at, forever=True)
    clock = FakeClock()
    seen = RecordingObserver()

    class Half:
        sleep = clock.sleep
        attach = clock.attach

        def now(self) -> datetime:
            if hand == "now":
                faults.call("clock.now")
            return clock.now()

        def monotonic(self) -> float:
            if hand == "monotonic":
                faults.call("clock.monotonic")
            return clock.monotonic()

    scheduler = Scheduler(clock=Half(), observers=[seen])
    scheduler.add(FunctionJob("work", every(minutes=1), work))
    async with scheduler:
        await clock.advance(timedelta(minutes=3))
    assert faults.failed
    assert {event.where for event in seen.events if isinstance(event, InternalFault)} == {"clock"}
    assert isinstance(seen.events[-1], SchedulerStopped)


async def test_sleep_may_fail_for_ever() -> None:
    """With a clock that cannot sleep slots still fire, by rests in real time, and each failure is told."""
    seen = RecordingObserver()
    done = anyio.Event()
    faults = Faults()

    class Sleepless:
        now = SystemClock().now
        monotonic = SystemClock().monotonic

        async def sleep(self, seconds: float) -> None:
            faults.call("clock.sleep")
            raise OSError("no timer")

    scheduler = Scheduler(clock=Sleepless(), observers=[seen])

    async def job(run: Run) -> None:
        if len(seen.settled()) >= 4:
            done.set()

    scheduler.add(FunctionJob("job", every(milliseconds=20), job))
    async with scheduler:
        with anyio.fail_after(20):
            await done.wait()
    assert Succeeded() in [settled.outcome for settled in seen.settled()]
    assert {event.where for event in seen.events if isinstance(event, InternalFault)} == {"loop"}


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "for ever"])
async def test_clock_that_cannot_be_read_at_the_start_refuses_the_start(n: int, forever: bool) -> None:
    """Entering needs both hands once: where one fails it raises that error, and nothing has begun."""
    faults = Faults(at=n, forever=forever)
    scenario = Scenario(clock=faults)
    with pytest.raises(OSError, match="injected"):
        await scenario.scheduler.__aenter__()
    assert scenario.seen.events == []
    if forever:
        with pytest.raises(OSError, match="injected"):
            await scenario.scheduler.__aenter__()
    else:
        async with scenario.scheduler:
            assert isinstance(scenario.seen.events[0], SchedulerStarted)


# --- the injectors themselves


def test_countdown_counts_from_one() -> None:
    """The n-th call fails, once or from then on, and 0 fails none."""
    for at, forever, failed in ((0, False, []), (2, False, ["b"]), (2, True, ["b", "c"]), (0, True, [])):
        faults = Faults(at, forever=forever)
        for what in "abc":
            with contextlib.suppress(OSError):
                faults.call(what)
        assert faults.failed == failed
        assert faults.calls == 3


def test_countdown_raises_what_it_is_told() -> None:
    """Another error can be injected."""
    with pytest.raises(LookupError, match="mine"):
        Faults(1, error=LookupError("mine")).call("x")


def test_faulty_clock_is_attached_where_its_clock_is() -> None:
    """A faulty clock over a fake one takes schedulers along; one over the system's has nothing to attach to."""
    assert hasattr(FaultyClock(FakeClock(), NONE), "attach")
    assert not hasattr(FaultyClock(SystemClock(), NONE), "attach")


async def test_faulty_ledger_passes_every_call_on() -> None:
    """A faulty ledger answers as its ledger does, until it fails; closing never does."""
    faults = Faults(8)
    ledger = FaultyLedger(MemoryLedger(FakeClock()), faults)
    assert not ledger.is_shared
    assert await ledger.register([Register("a", 0, 1)]) == [Row("a", 1)]
    (won,) = await ledger.claim([Claim("a", 2, "x", 1000)])
    assert isinstance(won, Won)
    assert await ledger.renew([Renew("a", 2, won.fence, 2000)]) == [True]
    assert await ledger.peek(["a"]) == [Row("a", 2, won.fence, "x", finished=False, lease=2000)]
    await ledger.pause([Pause("a", 0, paused=True)])
    assert await ledger.finish([Finish("a", 2, won.fence, Taken())]) == [True]
    (row,) = await ledger.reset(["a"])
    assert row is not None
    assert row.paused
    await ledger.close()
    with pytest.raises(OSError, match="injected"):
        await ledger.peek(["a"])
    assert faults.failed == ["ledger.peek"]


def test_faulty_schedule_passes_both_questions_on() -> None:
    """A faulty schedule answers as its schedule does, until it fails."""
    rule = every(minutes=1)
    now = FakeClock().now()
    faulty = FaultySchedule(rule, Faults(3))
    assert faulty.next_after(now) == rule.next_after(now)
    assert faulty.latest_until(now) == rule.latest_until(now)
    with pytest.raises(OSError, match="injected"):
        faulty.latest_until(now)


def test_faulty_observer_passes_events_on() -> None:
    """A faulty observer tells its observer what it is told, until it fails."""
    seen = RecordingObserver()
    event: Event = SchedulerStopped()
    FaultyObserver(seen, NONE).on_event(event)
    assert seen.events == [event]
