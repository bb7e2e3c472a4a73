"""Observers are told of everything, in order, and can hurt nobody; the default one logs."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from loopcron import (
    AttemptFailed,
    Busy,
    ClockDiffers,
    ClockStepped,
    Event,
    Failed,
    InternalFault,
    Interrupted,
    JobEnded,
    JobParked,
    JobPaused,
    JobResumed,
    JobUnparked,
    LeaseLost,
    LedgerFailed,
    LedgerRecovered,
    LoggingObserver,
    Missed,
    ObserverFailed,
    Outcome,
    Run,
    RunAbandoned,
    RunStarted,
    RunStuck,
    RunUnstuck,
    ScheduleDiffers,
    SchedulerDisabled,
    SchedulerStarted,
    SchedulerStopped,
    SchedulerStopping,
    Settled,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    every,
)
from loopcron import _tasks as tasks_module
from loopcron._observe import STRIKES, Observers
from loopcron.testing import RecordingObserver

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

SLOT = 1_935_000_000_000
WHEN = "2031-04-26T20:00:00.000Z"


SET_BACK = (
    "the wall clock was set by -1.500 s; no slot recurs, so each job waits until it passes the job's last one again"
)


async def work(run: Run) -> None:
    """Do nothing."""


class Hand:
    """A monotonic clock that an observer moves, or that fails."""

    def __init__(self) -> None:
        self.now = 0.0
        self.broken = False

    def __call__(self) -> float:
        if self.broken:
            raise OSError("no clock")
        return self.now


class Bad:
    """An observer that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.told = 0

    def on_event(self, event: Event) -> None:
        self.told += 1
        raise self.error.with_traceback(None)


# --- order and fences


async def test_observers_are_told_in_order(stage: Stage) -> None:
    """Each event reaches the observers in the order in which they were given, before the next event does."""
    told: list[tuple[str, Event]] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_event(self, event: Event) -> None:
            told.append((self.name, event))

    stage.build(observers=[Named("first"), Named("second")])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert [name for name, _ in told] == ["first", "second"] * (len(told) // 2)
    assert [event for name, event in told if name == "first"] == [event for name, event in told if name == "second"]
    assert [type(event) for _, event in told[::2]] == [
        SchedulerStarted,
        RunStarted,
        Settled,
        SchedulerStopping,
        SchedulerStopped,
    ]


@pytest.mark.parametrize("error", [ValueError("bad"), asyncio.CancelledError("bad"), SystemExit("bad")], ids=repr)
async def test_observer_that_raises_is_disabled_after_three_times(stage: Stage, error: BaseException) -> None:
    """What an observer raises is reported to the others, three times, and then it is told nothing more."""
    bad = Bad(error)
    stage.build(observers=[bad, stage.seen])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=5)
    assert bad.told == 3 + 2  # the first two reports are told to it too
    assert [(failed.observer, failed.disabled) for failed in stage.told(ObserverFailed)] == [
        ("Bad", False),
        ("Bad", False),
        ("Bad", True),
    ]
    assert stage.told(ObserverFailed)[0].problem == f"{type(error).__name__}: bad"
    assert stage.outcomes() == [Succeeded()] * 5


def test_two_bad_observers_do_not_report_each_other() -> None:
    """What goes wrong with a report counts for nothing, so that two bad observers end soon."""
    one, two, seen = Bad(ValueError("one")), Bad(ValueError("two")), RecordingObserver()
    observers = Observers([one, two, seen], Hand())
    for _ in range(10):
        observers.notify(SchedulerStopped())
    failed = [event for event in seen.events if isinstance(event, ObserverFailed)]
    assert [event.problem for event in failed] == ["ValueError: one", "ValueError: two"] * 3
    assert len(seen.events) == 16


@pytest.mark.parametrize(("seconds", "slow"), [(0.05, False), (0.051, True)], ids=["50 ms", "51 ms"])
def test_slow_observer_is_disabled_after_three_times(seconds: float, slow: bool) -> None:
    """An observer that takes more than 50 ms by the scheduler's clock is reported, and disabled after three times."""
    hand, seen, told = Hand(), RecordingObserver(), []

    class Slow:
        def on_event(self, event: Event) -> None:
            hand.now += seconds
            told.append(event)

    observers = Observers([Slow(), seen], hand)
    for _ in range(5):
        hand.now = 0.0
        observers.notify(SchedulerStopped())
    failed = [event for event in seen.events if isinstance(event, ObserverFailed)]
    assert failed == [ObserverFailed("Slow", "took 0.051 s", disabled) for disabled in (False, False, True)][: 3 * slow]
    assert len(told) == (3 if slow else 5) + 2 * slow  # the first two reports are told to it too


def test_observer_that_recovers_is_kept() -> None:
    """Only failures in a row disable: one that fails twice, works once, and fails twice again is told on."""
    seen, told = RecordingObserver(), []

    class Moody:
        def on_event(self, event: Event) -> None:
            if isinstance(event, SchedulerStopped):
                told.append(event)
                if len(told) % 3:
                    raise ValueError("not now")

    observers = Observers([Moody(), seen], Hand())
    for _ in range(9):
        observers.notify(SchedulerStopped())
    assert len(told) == 9
    assert [event.disabled for event in seen.events if isinstance(event, ObserverFailed)] == [False] * 6


def test_equal_observers_are_told_apart() -> None:
    """An observer that is equal to a bad one is not disabled in its place."""

    class Equal(Bad):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        __hash__ = None  # type: ignore[assignment]

        def on_event(self, event: Event) -> None:
            self.told += 1
            if str(self.error) == "bad":
                raise self.error

    good, bad = Equal(ValueError("good")), Equal(ValueError("bad"))
    observers = Observers([good, bad], Hand())
    for _ in range(5):
        observers.notify(SchedulerStopped())
    assert bad.told == 3 + 2
    assert good.told == 5 + 3


def test_observer_that_is_disabled_while_it_is_told_is_gone_once() -> None:
    """An observer whose third failure happens inside another telling of its own is left out without more ado."""
    seen = RecordingObserver()

    class Nested:
        told = 0

        def on_event(self, event: Event) -> None:
            self.told += 1
            if isinstance(event, SchedulerStopped) and self.told < 4:
                observers.notify(SchedulerStopped())
            raise ValueError("bad")

    observers = Observers([Nested(), seen], Hand())
    observers.notify(SchedulerStopped())
    observers.notify(SchedulerStopped())
    assert sum(isinstance(event, SchedulerStopped) for event in seen.events) >= 2


def test_clock_that_fails_is_not_held_against_observers() -> None:
    """Where the clock cannot be read nobody is timed, and nobody is disabled for it."""
    hand, seen = Hand(), RecordingObserver()
    hand.broken = True
    observers = Observers([seen], hand)
    for _ in range(5):
        observers.notify(SchedulerStopped())
    assert seen.events == [SchedulerStopped()] * 5


# --- services


async def test_service_is_started_and_cancelled_at_the_end(stage: Stage) -> None:
    """An observer's ``async run()`` begins with the life, and is cancelled when the last run has ended."""
    steps: list[str] = []

    class Service:
        def on_event(self, event: Event) -> None:
            if isinstance(event, Settled):
                steps.append("settled")

        async def run(self) -> None:
            steps.append("begun")
            try:
                await anyio.sleep_forever()
            finally:
                steps.append("cancelled")

    async def nap(run: Run) -> None:
        await run.sleep(5)

    stage.build(observers=[Service()])
    stage.add(nap)
    async with stage.scheduler:
        await stage.advance(seconds=44)
        assert steps == ["begun"]
    with anyio.fail_after(5):
        while len(steps) < 3:
            await anyio.lowlevel.checkpoint()
    assert steps == ["begun", "settled", "cancelled"]


async def test_service_that_raises_is_begun_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that raises is reported and begun again, after a longer rest each time; returning is for good."""
    monkeypatch.setattr(tasks_module, "FAULT_BACKOFF", (1, 4))
    done = anyio.Event()

    class Service:
        begun = 0

        def on_event(self, event: Event) -> None:
            pass

        async def run(self) -> None:
            self.begun += 1
            if self.begun == 2:
                raise SystemExit(1)
            if self.begun == 3 and isinstance(anyio.get_cancelled_exc_class()(), asyncio.CancelledError):
                raise asyncio.CancelledError
            if self.begun < 4:
                raise ValueError("bad")
            done.set()

    service = Service()
    stage.build(observers=[service, stage.seen])
    async with stage.scheduler:
        with anyio.fail_after(5):
            await done.wait()
        await anyio.wait_all_tasks_blocked()
    assert service.begun == 4
    assert [failed.problem for failed in stage.told(ObserverFailed)][:2] == ["ValueError: bad", "SystemExit: 1"]
    assert [failed.disabled for failed in stage.told(ObserverFailed)] == [False] * 3


async def test_service_that_swallows_its_cancellation_is_not_begun_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that raises something else when it is cancelled at the end is left at that."""
    monkeypatch.setattr(tasks_module, "FAULT_BACKOFF", (0, 0))
    begun: list[bool] = []

    class Service:
        def on_event(self, event: Event) -> None:
            pass

        async def run(self) -> None:
            begun.append(True)
            try:
                await anyio.sleep_forever()
            except BaseException:
                raise ValueError("bad") from None

    stage.build(observers=[Service()])
    async with stage.scheduler:
        await anyio.wait_all_tasks_blocked()
    await anyio.wait_all_tasks_blocked()
    assert begun == [True]


async def test_keyboard_interrupt_in_a_service_is_let_out(stage: Stage) -> None:
    """A ``KeyboardInterrupt`` that strikes inside an observer's service ends the life, on every event loop."""

    class Service:
        def on_event(self, event: Event) -> None:
            pass

        async def run(self) -> None:
            raise KeyboardInterrupt

    stage.build(observers=[Service()])
    with pytest.raises(KeyboardInterrupt):
        async with stage.scheduler:
            await anyio.sleep_forever()


# --- the log


def settled(outcome: Outcome, *, started: int | None = SLOT, failures: int = 0, **rest: Any) -> Settled:
    """Return the event of a slot that took a quarter of a second."""
    return Settled("sync", SLOT, outcome, "schedule", 1, started, SLOT + 250, failures, **rest)


CHANGED = "a deploy changed it, or two apps share a name"


@pytest.mark.parametrize(
    ("event", "level", "message"),
    [
        (settled(Succeeded(200)), "INFO", f"sync {WHEN} succeeded with HTTP 200 in 0.250 s"),
        (settled(Succeeded()), "INFO", f"sync {WHEN} succeeded in 0.250 s"),
        (settled(Busy()), "INFO", f"sync {WHEN} busy: somebody else holds the lock in 0.250 s"),
        (
            settled(Failed("endpoint", "HTTP 500", 500), failures=3),
            "WARNING",
            f"sync {WHEN} failed in 0.250 s: endpoint: HTTP 500 (3 in a row)",
        ),
        (
            settled(Failed("job", "a\nb\x1b[0m\u202e"), failures=1),
            "WARNING",
            f"sync {WHEN} failed in 0.250 s: job: a\\nb\\x1b[0m\\u202e (1 in a row)",
        ),
        (settled(TimedOut(60.0), failures=2), "WARNING", f"sync {WHEN} timed out after 60.000 s (2 in a row)"),
        (settled(Skipped("overlap"), started=None), "WARNING", f"sync {WHEN} skipped: overlap"),
        (
            settled(Skipped("paused", SLOT - 9000, SLOT, 4), started=None),
            "INFO",
            f"sync {WHEN} skipped: paused (4 slots from 2031-04-26T19:59:51.000Z)",
        ),
        (settled(Skipped("removed", SLOT, SLOT, 1), started=None), "INFO", f"sync {WHEN} skipped: removed"),
        (settled(Skipped("ledger"), started=None), "WARNING", f"sync {WHEN} skipped: ledger"),
        (
            settled(Missed(SLOT - 9000, SLOT, None), started=None),
            "WARNING",
            f"sync {WHEN} missed (an unknown number of slots from 2031-04-26T19:59:51.000Z)",
        ),
        (settled(Taken(), started=None), "DEBUG", f"sync {WHEN} taken by another worker"),
        (settled(Interrupted("shutdown")), "WARNING", f"sync {WHEN} interrupted by shutdown in 0.250 s"),
        (RunStarted("sync", SLOT, 2, "schedule"), "DEBUG", f"sync {WHEN} attempt 2"),
        (
            AttemptFailed("sync", SLOT, 1, Failed("transport", "refused"), 50),
            "INFO",
            f"sync {WHEN} attempt 1 failed: transport: refused; again in 50 ms",
        ),
        (
            AttemptFailed("sync", SLOT, 1, TimedOut(1.0), 50),
            "INFO",
            f"sync {WHEN} attempt 1 failed: TimedOut; again in 50 ms",
        ),
        (
            RunStuck("sync", SLOT, 7),
            "WARNING",
            f"sync {WHEN} is stuck: it swallows its cancellation and is no longer waited for",
        ),
        (RunUnstuck("sync", SLOT, 7), "INFO", "sync: a run that was given up as stuck has ended"),
        (
            JobParked("sync", SLOT, "ValueError: bad", 1000),
            "ERROR",
            "sync parked: ValueError: bad; asked again in 1000 ms",
        ),
        (JobUnparked("sync", SLOT), "WARNING", "sync works again"),
        (JobEnded("sync", SLOT, SLOT, served=True), "INFO", f"sync has ended; its last slot was {WHEN}"),
        (JobEnded("sync", SLOT, None, served=False), "WARNING", "sync never runs: its last slot is past: it has none"),
        (JobPaused("sync", SLOT), "INFO", "sync paused"),
        (JobResumed("sync", SLOT), "INFO", "sync resumed"),
        (ClockStepped("", SLOT, 1500), "WARNING", "the wall clock was set by 1.500 s"),
        (
            ClockStepped("", SLOT, -1500),
            "WARNING",
            SET_BACK,
        ),
        (
            ClockStepped("", SLOT, -10_800_000),
            "WARNING",
            "the wall clock was set by -10800.000 s; that is a correction, so slots after the new now count anew",
        ),
        (
            SchedulerStarted(("sync", "prune"), "MemoryLedger", 7),
            "INFO",
            "scheduler started in process 7, ledger MemoryLedger, 2 jobs: sync, prune",
        ),
        (SchedulerStopping(10.0), "INFO", "scheduler stopping; runs may take 10.000 s more"),
        (SchedulerStopped(), "INFO", "scheduler stopped"),
        (SchedulerDisabled(("sync",)), "WARNING", "scheduler disabled: none of its 1 jobs will run"),
        (LedgerFailed("claim", "OSError: down"), "WARNING", "the ledger could not claim: OSError: down"),
        (LedgerRecovered("claim", 7), "WARNING", "the ledger can claim again, after 7 failures"),
        (
            settled(LeaseLost(), failures=2),
            "WARNING",
            f"sync {WHEN} cut in 0.250 s: its lease may be over, and another worker may run it (2 in a row)",
        ),
        (
            RunAbandoned("sync", SLOT, "web-1\n:7:ab-3"),
            "WARNING",
            f"sync {WHEN} was never finished: its lease ran out, claimed by web-1\\n:7:ab-3",
        ),
        (
            ScheduleDiffers("sync", SLOT, "every 2 min\x1b", "every 3 min"),
            "WARNING",
            "sync is registered by another schedule (every 2 min\\x1b, now every 3 min): " + CHANGED,
        ),
        (
            ClockDiffers("sync", SLOT, 1_234),
            "WARNING",
            f"sync {WHEN} came 1.234 s early by the ledger's clock: this machine's clock is ahead of it",
        ),
        (ObserverFailed("Web", "took 0.051 s", disabled=False), "WARNING", "observer Web kept: took 0.051 s"),
        (ObserverFailed("Web", "took 0.051 s", disabled=True), "WARNING", "observer Web disabled: took 0.051 s"),
        (
            InternalFault("turn", "KeyError: 7"),
            "ERROR",
            "a fault in loopcron (turn), please report it: KeyError: 7",
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_every_event_has_its_line(event: Event, level: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each event is logged with its level, in one line, and its data as extra keys that begin with ``loopcron_``."""
    caplog.set_level(logging.DEBUG, "loopcron")
    LoggingObserver().on_event(event)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("loopcron", level, message)
    extra = set(vars(record)) - set(vars(logging.makeLogRecord({}))) - {"message", "asctime"}
    assert {
        "loopcron_event",
        *(f"loopcron_{field}" for field in event._fields if field not in ("exception", "outcome")),
    } <= extra
    assert all(key.startswith("loopcron_") for key in extra)
    assert vars(record)["loopcron_event"] == type(event).__name__


def test_outcome_is_spread_into_extra_keys(caplog: pytest.LogCaptureFixture) -> None:
    """A log formatter finds an outcome's kind and its fields beside those of the event."""
    LoggingObserver().on_event(settled(Failed("endpoint", "HTTP 500", 500), failures=3))
    found = vars(caplog.records[0])
    wanted = {"job": "sync", "slot": SLOT, "outcome": "Failed", "blame": "endpoint", "status": 500, "failures": 3}
    assert {key: found[f"loopcron_{key}"] for key in wanted} == wanted


def test_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """What a job raised is in the log with its traceback."""
    try:
        raise ValueError("bad")
    except ValueError as error:
        LoggingObserver().on_event(settled(Failed("job", "ValueError: bad"), exception=error))
    assert caplog.records[0].exc_info is not None
    assert 'raise ValueError("bad")' in caplog.text


@pytest.mark.parametrize(
    ("level", "event"),
    [
        (logging.WARNING, settled(Succeeded())),
        (logging.WARNING, JobPaused("sync", SLOT)),
        (logging.INFO, RunStarted("sync", SLOT, 1, "schedule")),
        (logging.INFO, settled(Taken(), started=None)),
    ],
    ids=["succeeded", "paused", "started", "taken"],
)
def test_what_the_level_hides_is_not_logged(level: int, event: Event, caplog: pytest.LogCaptureFixture) -> None:
    """The logger's own level decides what is seen."""
    caplog.set_level(level, "loopcron")
    LoggingObserver().on_event(event)
    assert caplog.records == []


def test_logger_may_be_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    """Another logger than ``loopcron`` can be given."""
    LoggingObserver(logging.getLogger("mine")).on_event(SchedulerDisabled(()))
    assert [record.name for record in caplog.records] == ["mine"]


@pytest.mark.parametrize("error", [OSError("disk full"), SystemExit(1)], ids=repr)
async def test_logger_that_raises_hurts_nobody(
    stage: Stage, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that raises ends neither the schedule nor the telling of the other observers."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise error

    handler = Full(logging.DEBUG)
    logger = logging.getLogger("loopcron")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    logger.setLevel(logging.DEBUG)
    stage.add(work)
    try:
        async with stage.scheduler:
            await stage.advance(minutes=5)
    finally:
        logger.setLevel(logging.NOTSET)
    assert stage.outcomes() == [Succeeded()] * 5


class Unsure(logging.Logger):
    """A logger that cannot say which levels it logs."""

    def isEnabledFor(self, level: int) -> bool:
        raise RuntimeError("unsure")


async def test_logger_that_raises_when_it_is_asked_hurts_nobody(stage: Stage) -> None:
    """It is reported and left out like any observer that raises, and a manual run has its outcome."""
    stage.build(observers=[LoggingObserver(Unsure("mine")), stage.seen])
    stage.add(work)
    async with stage.scheduler:
        assert await stage.scheduler.trigger("work") == Succeeded()
    failed = [event for event in stage.seen.events if isinstance(event, ObserverFailed)]
    assert [(event.problem, event.disabled) for event in failed] == [
        ("RuntimeError: unsure", False),
        ("RuntimeError: unsure", False),
        ("RuntimeError: unsure", True),
    ]


def test_log_that_is_slow_now_and_then_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """What the level hides counts as told: three slow writes in as many months are not three in a row."""
    times = iter(range(100))
    observers = Observers([LoggingObserver()], lambda: float(next(times)))
    caplog.set_level(logging.WARNING)
    for _ in range(STRIKES):
        observers.notify(settled(Failed("job", "ValueError: bad")))
        observers.notify(settled(Succeeded()))
    assert [record.message for record in caplog.records].count("observer LoggingObserver kept: took 1.000 s") == STRIKES


# --- what is kept


async def test_history_never_holds_an_exception(stage: Stage) -> None:
    """An exception is delivered once; history and every `repr` are without it."""

    class Loud(Exception):
        def __repr__(self) -> str:
            return "the exception itself"

    async def bad(run: Run) -> None:
        raise Loud("text")

    stage.add(bad)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    (event,) = stage.seen.settled()
    assert isinstance(event.exception, Loud)
    (kept,) = stage.scheduler.snapshot()["bad"].history
    assert kept.exception is None
    assert "the exception itself" not in repr(event) + repr(stage.seen.events) + repr(stage.scheduler.snapshot())
    assert repr(event) == (
        "Settled(job='bad', slot_at=2031-05-07 11:14:00+00:00, outcome=Failed(blame='job', error='Loud: text', "
        "status=None, started=True, retry_after_seconds=None), reason='schedule')"
    )


@pytest.mark.parametrize(
    "event",
    [JobParked("a", 0, "text", 5, ValueError("bad")), InternalFault("turn", "text", ValueError("bad"))],
    ids=repr,
)
def test_fault_events_do_not_show_their_exception(event: Event) -> None:
    """Events that deliver an exception show only its text."""
    assert "ValueError" not in repr(event)
    assert "text" in repr(event)


async def test_schedule_that_fails_parks_its_job_only(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A schedule that raises is told with its traceback, and asked again later; the other job goes on."""

    class Rule:
        broken = False
        rule = every(minutes=1)

        def next_after(self, instant: Any) -> Any:
            if self.broken:
                raise LookupError("no timetable")
            return self.rule.next_after(instant)

        def latest_until(self, instant: Any) -> Any:
            return self.rule.latest_until(instant)

    rule = Rule()
    stage.add(work, name="odd", schedule=rule)
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
        rule.broken = True
        await stage.advance(minutes=1)
        assert stage.scheduler.health()["odd"].state == "parked"
        rule.broken = False
        await stage.advance(minutes=2)
        assert stage.scheduler.health()["odd"].state == "ok"
    assert stage.outcomes("work") == [Succeeded()] * 4
    assert stage.told(JobParked)[0].error == "LookupError: no timetable"
    assert len(stage.told(JobUnparked)) == 1
    assert "odd parked: LookupError: no timetable; asked again in 1000 ms" in caplog.text
    assert timedelta(seconds=1) > timedelta(0)
