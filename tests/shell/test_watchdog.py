"""The watchdog: a thread that says where a loop stands that does not tick, once, and once that it ticks again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from loopcron import ConfigError, FunctionJob, InternalFault, Run, Scheduler, SchedulerState, every
from loopcron import _scheduler as scheduler_module
from loopcron._watchdog import FRAMES, Watchdog
from loopcron.testing import RecordingObserver
from tests.shell.hands import HandClock

SHORT = timedelta(milliseconds=100)
PATIENCE = 20.0
"""How long a test waits for what has to come, in seconds."""


class Log(logging.Handler):
    """Keeps what the watchdog says."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.said = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "loopcron_event", "") in ("LoopSilent", "LoopTicksAgain"):
            with self.said:
                self.records.append(record)
                self.said.notify_all()

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def at(self, name: str) -> list[logging.LogRecord]:
        """Return the barks that name this place."""
        return [record for record in tuple(self.records) if name in record.__dict__.get("loopcron_where", "")]

    def wait(self, count: int) -> None:
        """Wait until so much was said."""
        with self.said:
            assert self.said.wait_for(lambda: len(self.records) >= count, PATIENCE)


@pytest.fixture
def log() -> Iterator[Log]:
    """Return what is logged meanwhile."""
    log, logger = Log(), logging.getLogger("loopcron")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watchdog wait for less than users may ask for."""
    monkeypatch.setattr(scheduler_module, "WATCHDOG", (timedelta(0), timedelta(seconds=90)))


def watchdogs() -> list[threading.Thread]:
    """Return the watchdogs' threads that live."""
    return [thread for thread in threading.enumerate() if thread.name == "loopcron watchdog"]


def is_gone() -> bool:
    """Wait for all of them to end, and return whether they have."""
    for thread in watchdogs():
        thread.join(PATIENCE)
    return not watchdogs()


# --- in a scheduler


async def test_blocked_loop_is_logged_once_and_so_is_its_recovery(log: Log, brief: None) -> None:
    """While a job blocks the loop one line names the blocking call's file and line; when it ticks, another one."""
    more = iter(range(30))

    async def block(run: Run) -> None:
        # Goes on for several more looks of the watchdog once that has barked at it.
        any(time.sleep(0.01) or (log.at("<genexpr>") and next(more, None) is None) for _ in range(2000))  # type: ignore[func-returns-value]  # blocks

    scheduler = Scheduler(watchdog=SHORT)
    scheduler.add(FunctionJob("block", every(hours=1), block))
    async with scheduler:
        assert len(watchdogs()) == 1
        await scheduler.trigger("block")
        (silent,) = log.at("<genexpr>")  # on a busy machine it may bark at other times too
        place = log.records.index(silent)
        await anyio.to_thread.run_sync(log.wait, place + 2)
    again = log.records[place + 1]
    assert (silent.levelname, again.levelname) == ("ERROR", "WARNING")
    assert silent.getMessage().startswith("the scheduler's loop has not ticked for ")
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (blocking,) = [number for number, line in enumerate(lines, 1) if line.endswith("  # blocks")]
    assert f"; its thread stands at {__file__}:{blocking} <genexpr> < " in silent.getMessage()
    assert silent.__dict__["loopcron_where"] in silent.getMessage()
    assert silent.__dict__["loopcron_seconds"] > 0.1
    assert again.getMessage().startswith("the scheduler's loop ticks again, after ")
    assert is_gone()


@pytest.mark.parametrize(
    ("watchdog", "seconds"), [(SHORT, 0.05), (timedelta(seconds=90), 30.0), (None, 30.0)], ids=["short", "long", "none"]
)
async def test_loop_that_idles_is_not_silent(log: Log, brief: None, watchdog: timedelta | None, seconds: float) -> None:
    """With nothing to do the loop still ticks often enough for its watchdog: it sleeps for half the limit at most."""
    asked: list[float] = []

    class Watched(HandClock):
        async def sleep(self, seconds: float) -> None:
            asked.append(seconds)
            await super().sleep(seconds)

    clock = Watched()
    async with Scheduler(clock=clock, watchdog=watchdog):
        await clock.move(timedelta(0))
        for _ in range(3):
            await clock.move(timedelta(seconds=seconds * 1.01))
        assert asked == pytest.approx([seconds] * 4)
    assert is_gone()


async def test_loop_whose_task_died_is_logged(log: Log, brief: None) -> None:
    """A loop that was cancelled too often to be begun again is silent for good; its thread goes on elsewhere."""
    seen = RecordingObserver()
    clock = HandClock()
    scheduler = Scheduler(clock=clock, observers=[seen], watchdog=SHORT)
    async with scheduler:
        await clock.move(timedelta(0))
        engine = scheduler._engine
        assert engine is not None
        for _ in range(4):
            for handle, body in list(engine.tasks._vital.items()):
                if body == engine._loop:
                    handle.cancel()
            await clock.move(timedelta(0))
        assert [event.where for event in seen.events if isinstance(event, InternalFault)] == ["tasks"]
        clock.elapsed += timedelta(seconds=91)
        await anyio.to_thread.run_sync(log.wait, 1)
        assert scheduler.health().state is SchedulerState.SILENT
        assert "has not ticked for 91.0 s" in log.texts[0]
    assert is_gone()


async def test_manual_life_has_no_watchdog(brief: None) -> None:
    """Where there is no loop nothing is to be watched; without a limit neither, nor if the scheduler is disabled."""
    async with Scheduler(watchdog=SHORT).manual():
        assert watchdogs() == []
    async with Scheduler():
        assert watchdogs() == []
    async with Scheduler(watchdog=SHORT, enabled=False):
        assert watchdogs() == []


@pytest.mark.parametrize("value", [timedelta(seconds=1), timedelta(seconds=90)])
def test_limits_of_a_watchdog_are_accepted(value: timedelta) -> None:
    """From 1 s up to 90 s."""
    Scheduler(watchdog=value)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (timedelta(milliseconds=999), "must be between 0:00:01"),
        (timedelta(seconds=90, milliseconds=1), "at most 0:01:30, when health calls the loop silent"),
        (5, "must be a timedelta"),
        (True, "must be a timedelta"),
        (timedelta(seconds=1, microseconds=1), "must be whole milliseconds"),
    ],
)
def test_impossible_watchdog_is_refused(value: Any, remedy: str) -> None:
    """Any other limit is refused when the scheduler is made, with what would do."""
    with pytest.raises(ConfigError, match=remedy):
        Scheduler(watchdog=value)


# --- by itself


def test_thread_that_has_ended_stands_nowhere(log: Log) -> None:
    """The loop's thread may be gone, and then the line says so."""
    made: list[Watchdog] = []
    thread = threading.Thread(target=lambda: made.append(Watchdog(0.01, lambda: 5.0)))
    thread.start()
    thread.join(PATIENCE)
    with made[0]:
        log.wait(1)
    assert log.texts[0] == ("the scheduler's loop has not ticked for 5.0 s; its thread stands at nothing: it has ended")
    assert is_gone()


def test_where_it_stands_is_cut(log: Log) -> None:
    """The eight innermost calls are named, from the inside: files, lines and names, and no values."""
    inside, over = threading.Event(), threading.Event()
    made: list[Watchdog] = []

    def deep(secret: str, levels: int) -> None:
        if levels:
            deep(secret, levels - 1)
            return
        made.append(Watchdog(0.01, lambda: 5.0))
        inside.set()
        assert over.wait(PATIENCE)

    thread = threading.Thread(target=deep, args=("hunter2", 30))
    thread.start()
    assert inside.wait(PATIENCE)
    with made[0]:
        log.wait(1)
    over.set()
    thread.join(PATIENCE)
    where = log.records[0].__dict__["loopcron_where"].split(" < ")
    assert len(where) == FRAMES == 8
    assert where[-1].startswith(f"{__file__}:")
    assert where[-1].endswith(" deep")
    assert "hunter2" not in log.texts[0]
    assert is_gone()


def test_silence_is_told_once_each_time(log: Log) -> None:
    """One line when it begins and one when it ends, which tells how long it was; and again the next time."""
    silences: list[Callable[[], float]] = [
        *[lambda: 0.001] * 2,
        *[lambda: 1.0] * 3,
        lambda: 2.5,
        *[lambda: 0.0] * 3,
        lambda: 3.0,
        lambda: 0.0,
    ]
    looked = threading.Event()

    def silence() -> float:
        if len(silences) == 1:
            looked.set()
        return (silences.pop(0) if len(silences) > 1 else silences[0])()

    with Watchdog(0.01, silence):
        assert looked.wait(PATIENCE)
        log.wait(4)
    assert [text.partition("; its")[0] for text in log.texts] == [
        "the scheduler's loop has not ticked for 1.0 s",
        "the scheduler's loop ticks again, after 2.5 s",
        "the scheduler's loop has not ticked for 3.0 s",
        "the scheduler's loop ticks again, after 3.0 s",
    ]
    assert is_gone()


def test_clock_and_logger_that_fail_end_no_watchdog(log: Log) -> None:
    """What a user's clock or logger raises is looked over, and the next look may fare better."""

    class Bad(logging.Logger):
        def error(self, *_: Any, **__: Any) -> None:
            raise OSError("disk full")

        def warning(self, *args: Any, **options: Any) -> None:
            logging.getLogger("loopcron").warning(*args, **options)

    answers: list[Any] = [OSError("no clock"), 1.0, 1.0, 0.0]

    def silence() -> float:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return float(answer)

    with Watchdog(0.01, silence, Bad("bad")):
        looked = threading.Event()
        for _ in range(2000):
            if len(answers) == 1 or looked.wait(0.01):
                break
    assert len(answers) == 1
    assert is_gone()
