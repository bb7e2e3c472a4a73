"""The queue of an observer that does I/O: bounded, in order, never in the way, and empty at the end if possible."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from loopcron import ConfigError, Event, Run, Settled
from loopcron.observers import Outbox
from loopcron.observers import _outbox as outbox_module
from loopcron.observers._outbox import UndeliveredError
from tests.shell.conftest import Stage


async def settle() -> None:
    """Let the other tasks go on until they wait for something else than each other."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def served(outbox: Outbox[Any], deliver: Callable[[Any], Awaitable[object]]) -> AsyncIterator[None]:
    """Serve the outbox as a scheduler does, and cancel that at the end."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.serve, deliver)
        await settle()
        yield
        tasks.cancel_scope.cancel()


class Sink:
    """Keeps what is delivered, and fails or waits as told."""

    def __init__(self, *failures: BaseException) -> None:
        self.got: list[object] = []
        self.tries = 0
        self.failures = list(failures)
        self.gate: anyio.Event | None = None

    async def __call__(self, item: object) -> None:
        self.tries += 1
        await anyio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.got.append(item)


class Told:
    """An observer that sends every event through an outbox of its own."""

    def __init__(self) -> None:
        self.sink = Sink()
        self.outbox: Outbox[Event] = Outbox("Told")

    def on_event(self, event: Event) -> None:
        self.outbox.put(event)

    async def run(self) -> None:
        await self.outbox.serve(self.sink)


async def work(run: Run) -> None:
    """Do nothing."""


def kinds(events: list[object]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_all_events_of_a_life_are_delivered(stage: Stage) -> None:
    """Everything from the first event to the last has arrived when the scheduler is left, in order, in every life."""
    told = Told()
    stage.build(observers=[told, stage.seen])
    stage.add(work)
    for _ in range(2):
        async with stage.scheduler:
            await stage.advance(minutes=1)
    assert told.sink.got == stage.seen.events
    assert kinds(told.sink.got)[:3] == ["SchedulerStarted", "RunStarted", "Settled"]
    assert told.outbox.dropped == 0


def test_next_life_on_another_event_loop(stage: Stage) -> None:
    """The observer is made without an event loop, and serves one life after the other on different ones."""
    told = Told()
    stage.build(observers=[told, stage.seen])
    stage.add(work)

    async def live() -> None:
        async with stage.scheduler:
            await stage.advance(minutes=1)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(live, backend=backend)
    assert told.sink.got == stage.seen.events
    assert sum(isinstance(event, Settled) for event in told.sink.got) == 3


def test_oldest_message_is_lost_when_the_queue_is_full(caplog: pytest.LogCaptureFixture) -> None:
    """A full queue loses its oldest messages, counts them, and says so at first and then once a minute."""
    outbox: Outbox[int] = Outbox("mine\n", size=3)
    now = 0.0
    outbox._monotonic = lambda: now
    for number in range(5):
        outbox.put(number)
    now = 59.0
    outbox.put(5)
    assert [record.getMessage() for record in caplog.records] == [
        "observer mine\\n could not deliver a message: its queue is full (1 lost so far)"
    ]
    now = 60.0
    outbox.put(6)
    assert outbox.dropped == 4
    assert [item for _, item in outbox._waiting] == [4, 5, 6]
    record = caplog.records[-1]
    assert (record.name, record.levelname, record.msg) == ("loopcron", "WARNING", outbox_module._LOST)
    shown = vars(record)
    assert shown["loopcron_observer"] == "mine\\n"
    assert shown["loopcron_problem"] == "its queue is full"
    assert shown["loopcron_dropped"] == 4


def test_logger_that_raises_hurts_nobody() -> None:
    """Putting never raises, not even where a handler of the log does."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("no disk")

    handler, outbox = Broken(), Outbox[int]("mine", size=1)
    logging.getLogger("loopcron").addHandler(handler)
    try:
        outbox.put(1)
        outbox.put(2)
    finally:
        logging.getLogger("loopcron").removeHandler(handler)
    assert outbox.dropped == 1


def test_put_survives_a_closed_event_loop() -> None:
    """A message may be put in after the loop that served was closed without ending its tasks."""

    class Stale:
        def set(self) -> None:
            raise RuntimeError("Event loop is closed")

    outbox: Outbox[int] = Outbox("mine")
    outbox._changed = Stale()  # type: ignore[assignment]
    outbox.put(1)
    assert [item for _, item in outbox._waiting] == [1]


async def test_lanes_are_in_order_and_side_by_side() -> None:
    """Of one lane never two are under way, and a lane that hangs does not hold up another one."""
    outbox: Outbox[tuple[str, int]] = Outbox("mine", at_once=2)
    gate, got, busy = anyio.Event(), [], set[str]()

    async def deliver(item: tuple[str, int]) -> None:
        assert item[0] not in busy
        busy.add(item[0])
        if item == ("a", 1):
            await gate.wait()
        await anyio.lowlevel.checkpoint()
        busy.discard(item[0])
        got.append(item)

    async with served(outbox, deliver):
        for lane, number in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
            outbox.put((lane, number), lane)
        await settle()
        assert got == [("b", 1), ("b", 2)]
        gate.set()
        await settle()
    assert got == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("failures", "tries", "problem"),
    [
        ([ValueError("secret")], 2, None),
        ([OSError("secret"), asyncio.CancelledError("secret")], 3, None),
        ([ValueError("secret")] * 3, 3, "ValueError"),
        ([UndeliveredError("HTTP 503")] * 3, 3, "HTTP 503"),
        ([UndeliveredError("HTTP 404", again=False)], 1, "HTTP 404"),
    ],
    ids=["second try", "third try", "lost", "lost in our words", "hopeless"],
)
async def test_message_is_tried_three_times(
    caplog: pytest.LogCaptureFixture, failures: list[BaseException], tries: int, problem: str | None
) -> None:
    """A message is tried up to three times, then lost; the log shows our own words or the type, never a text."""
    outbox, sink = Outbox[int]("mine"), Sink(*failures)
    async with served(outbox, sink):
        outbox.put(1)
        await settle()
        while sink.tries < tries:
            await anyio.lowlevel.checkpoint()
        outbox.put(2)
        await settle()
    assert sink.tries == tries + 1
    assert sink.got == ([1, 2] if problem is None else [2])
    assert outbox.dropped == (problem is not None)
    assert "secret" not in caplog.text + repr([vars(record) for record in caplog.records])
    assert [vars(record)["loopcron_problem"] for record in caplog.records] == ([problem] if problem else [])


@pytest.mark.usefixtures("hasty")
async def test_try_that_takes_too_long_is_cut() -> None:
    """A try ends after the timeout, in real time, so that a server that never answers holds up nobody for long."""
    outbox, sink = Outbox[int]("mine", timeout=timedelta(milliseconds=5)), Sink()
    sink.gate = anyio.Event()
    async with served(outbox, sink):
        outbox.put(1)
        with anyio.fail_after(5):
            while not outbox.dropped:
                await anyio.sleep(0)
    assert sink.tries == 3


async def test_end_tries_once_more_and_gives_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end a pause between two tries is cut, what hangs is given up after a while, and all that is counted."""
    monkeypatch.setattr(outbox_module, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(outbox_module, "PAUSES_SECONDS", (3600.0, 3600.0))
    outbox, hanging = Outbox[int]("mine"), Sink(ValueError("no"), ValueError("no"))
    with anyio.fail_after(5):
        async with served(outbox, hanging):
            outbox.put(1)
            await settle()
            assert hanging.tries == 1
    assert hanging.tries == 2
    assert outbox.dropped == 1

    never = Sink()
    never.gate = anyio.Event()
    with anyio.fail_after(5):
        async with served(outbox, never):
            for number in range(3):
                outbox.put(number)
            await settle()
    assert outbox.dropped == 4
    assert [vars(record)["loopcron_problem"] for record in caplog.records] == ["ValueError", "the scheduler has ended"]
    sink = Sink()
    async with served(outbox, sink):
        outbox.put(9)
    assert sink.got == [9]  # and nothing of an earlier life


async def test_message_of_later_can_be_withdrawn() -> None:
    """A message that is put in for later comes once its wait is over, unless it is withdrawn or nobody serves."""
    outbox, sink, gate = Outbox[int]("mine"), Sink(), anyio.Event()
    outbox.put_later(1, gate.wait)()
    async with served(outbox, sink):
        outbox.put_later(2, gate.wait)
        outbox.put_later(3, gate.wait)()
        await settle()
        assert sink.got == []
        gate.set()
        await settle()
        outbox.put_later(4, anyio.sleep_forever)
    assert sink.got == [2]
    assert outbox.dropped == 0


async def test_withdrawing_holds_even_at_the_last_moment() -> None:
    """A message that is withdrawn at the very moment at which its wait ends does not come."""
    outbox, sink = Outbox[int]("mine"), Sink()

    async def wait() -> None:
        withdraw()

    async with served(outbox, sink):
        withdraw = outbox.put_later(1, wait)
        await settle()
    assert sink.got == []


async def test_end_waits_for_what_is_under_way() -> None:
    """At the end nobody waits for more messages, but all that is left or being delivered arrives."""
    outbox, got = Outbox[int]("mine", at_once=3), set[int]()

    async def deliver(item: int) -> None:
        await settle()
        got.add(item)

    async with served(outbox, deliver):
        for number in range(4):
            outbox.put(number, str(number % 2))
    assert got == {0, 1, 2, 3}
    assert outbox.dropped == 0


async def test_wait_that_fails_loses_its_message_only() -> None:
    """A clock that fails while a message waits for later loses that one, and what serves goes on."""
    outbox, sink = Outbox[int]("mine"), Sink()

    async def broken() -> None:
        raise OSError("no clock")

    async with served(outbox, sink):
        outbox.put_later(1, broken)
        await settle()
        outbox.put(2)
    assert sink.got == [2]
    assert outbox.dropped == 1


async def test_keyboard_interrupt_is_let_out(stage: Stage) -> None:
    """A ``KeyboardInterrupt`` that strikes while a message is delivered ends the scheduler's life as any other does."""
    told = Told()
    told.sink.failures = [KeyboardInterrupt()]
    stage.build(observers=[told])
    with pytest.raises(KeyboardInterrupt):
        async with stage.scheduler:
            await anyio.sleep_forever()


async def test_keyboard_interrupt_waits_for_nothing() -> None:
    """A ``KeyboardInterrupt`` comes out at once and alone, whatever waits for later."""
    outbox: Outbox[int] = Outbox("mine", at_once=2)

    async def deliver(item: int) -> None:
        outbox.put_later(2, anyio.sleep_forever)
        raise KeyboardInterrupt

    outbox.put(1)
    with pytest.raises(KeyboardInterrupt), anyio.fail_after(5):
        await outbox.serve(deliver)


async def test_fault_of_the_outbox_itself_is_let_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the outbox itself reaches the supervisor, which begins the service anew."""
    monkeypatch.setattr(outbox_module, "FLUSH_SECONDS", 0.01)
    outbox, sink = Outbox[int]("mine"), Sink()
    outbox._take = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ExceptionGroup):
        await outbox.serve(sink)


@pytest.mark.parametrize(
    ("field", "value"), [("size", 0), ("size", True), ("size", 100_001), ("at_once", 0), ("at_once", 1.0)]
)
def test_wrong_arguments_are_refused(field: str, value: Any) -> None:
    """A size and a count are whole numbers in their range, and the timeout is a duration."""
    with pytest.raises(ConfigError, match=f"^{field}={value!r}: "):
        Outbox("mine", **{field: value})
    with pytest.raises(ConfigError, match=r"^timeout=5: "):
        Outbox("mine", timeout=5)  # type: ignore[arg-type]
