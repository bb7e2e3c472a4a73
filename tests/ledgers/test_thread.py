"""The one thread on which a ledger uses its driver: never two works at once, and nobody who waits for ever."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import anyio
import pytest

from loopcron._errors import LedgerError
from loopcron.ledgers._thread import StoreThread

LONG = 30.0
"""A time limit that no test reaches."""


class Gate:
    """A work that says when it has begun, and goes on when it is told to; at the latest after 30 s."""

    def __init__(self, result: str = "late") -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.result = result

    def __call__(self) -> str:
        self.begun.set()
        self.go_on.wait(LONG)
        self.ended.set()
        return self.result


async def until(condition: Callable[[], bool]) -> None:
    """Return once *condition* holds."""
    with anyio.fail_after(LONG):
        while not condition():
            await anyio.sleep(0.002)


async def closed(thread: StoreThread) -> None:
    """End *thread*, so that no test leaves one behind."""
    await thread.close(lambda: None)


async def give_up(store: StoreThread, work: Callable[[], object], begun: threading.Event | None = None) -> None:
    """Call *work* and let the time be over while it waits, or once it has *begun*."""
    take = store._worker.take

    def taken(call: Any) -> None:
        take(call)
        if begun is not None:
            begun.wait(LONG)

    with (
        mock.patch.object(store._worker, "take", taken),
        mock.patch.object(store, "_seconds", 0.05),
        pytest.raises(LedgerError, match=r"^gave no answer within 0\.05 s$"),
    ):
        await store.call(work)


def threads_of(name: str) -> list[threading.Thread]:
    """Return the living threads of this name."""
    return [thread for thread in threading.enumerate() if thread.name == name]


async def test_call_returns_what_the_work_returns() -> None:
    """A work runs on a daemon thread of the given name, not on the loop's, and its result comes back."""
    store = StoreThread("store of a test", LONG)
    thread = await store.call(threading.current_thread)
    assert thread is not threading.current_thread()
    assert (thread.name, thread.daemon) == ("store of a test", True)
    assert await store.call(threading.current_thread) is thread
    await closed(store)


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), BaseException("odd")], ids=repr
)
async def test_call_raises_what_the_work_raises(error: BaseException) -> None:
    """Whatever a work raises is raised to its caller, and the thread serves the next one."""
    store = StoreThread("store", LONG)

    def work() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await store.call(work)
    assert raised.value is error
    assert await store.call(lambda: "next") == "next"
    await closed(store)


async def test_works_run_one_at_a_time_in_order() -> None:
    """Works that are asked for together run one after the other, in the order in which they came."""
    store, running, seen = StoreThread("store", LONG), 0, list[int]()

    def work(number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        seen.append(number)
        running -= 1

    gate = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(store.call, gate)
        await until(gate.begun.is_set)
        for number in range(50):
            with anyio.move_on_after(0):  # trio begins tasks in any order; so each is brought to its wait by itself
                await store.call(lambda: None)
            waiting = store._worker._queue.qsize()
            group.start_soon(store.call, lambda number=number: work(number))
            await until(lambda waiting=waiting: store._worker._queue.qsize() > waiting)  # type: ignore[misc]
        gate.go_on.set()
    assert seen == list(range(50))
    await closed(store)


async def test_loop_turns_while_a_work_runs() -> None:
    """A work that blocks does not block the event loop."""
    store, gate = StoreThread("store", LONG), Gate("done")
    async with anyio.create_task_group() as group:
        results: list[str] = []

        async def ask() -> None:
            results.append(await store.call(gate))

        group.start_soon(ask)
        await until(gate.begun.is_set)
        for _ in range(100):
            await anyio.sleep(0)
        assert results == []
        gate.go_on.set()
    assert results == ["done"]
    await closed(store)


async def test_no_answer_in_time_is_an_error() -> None:
    """A call gives up after its time, whatever its work does; the work is interrupted, and its result dropped."""
    gate = Gate()
    store = StoreThread("store", LONG, interrupt=gate.go_on.set)
    await give_up(store, gate, gate.begun)
    await until(gate.ended.is_set)
    assert await store.call(lambda: "next") == "next"
    await closed(store)


async def test_calls_behind_a_stuck_one_give_up_in_time_and_never_begin() -> None:
    """What waits behind a stuck work gives up in its own time, is never begun, and interrupts nothing."""
    gate, begun, interrupts = Gate(), list[int](), list[int]()
    store = StoreThread("store", LONG, interrupt=lambda: interrupts.append(1))
    await give_up(store, gate, gate.begun)
    for number in range(2):
        await give_up(store, lambda number=number: begun.append(number))  # type: ignore[misc]
    assert interrupts == [1]
    assert not gate.ended.is_set()
    gate.go_on.set()
    assert await store.call(lambda: "next") == "next"
    assert begun == []
    await closed(store)


async def test_work_that_never_begins_is_let_go_of() -> None:
    """Behind a driver that hangs for days the queue holds no more than that somebody had asked."""
    store, gate = StoreThread("store", LONG), Gate()
    await give_up(store, gate, gate.begun)

    def work() -> None:
        raise AssertionError("never begun")

    held = weakref.ref(work)
    await give_up(store, work)
    del work
    gc.collect()
    assert held() is None
    gate.go_on.set()
    assert await store.call(lambda: "next") == "next"
    await closed(store)


async def test_failing_interrupt_is_dropped() -> None:
    """An interrupt that raises takes nothing from the caller's own error."""
    gate = Gate()

    def interrupt() -> None:
        gate.go_on.set()
        raise OSError("no")

    store = StoreThread("store", LONG, interrupt=interrupt)
    await give_up(store, gate, gate.begun)
    await closed(store)


async def test_cancellation_abandons_the_work() -> None:
    """A caller that is cancelled leaves at once; its work is interrupted, and one that had not begun never is."""
    gate, begun, interrupts = Gate(), list[int](), list[int]()
    store = StoreThread("store", LONG, interrupt=lambda: interrupts.append(1))
    async with anyio.create_task_group() as group:
        group.start_soon(store.call, gate)
        await until(gate.begun.is_set)
        group.start_soon(store.call, lambda: begun.append(1))
        await until(lambda: store._worker._queue.qsize() == 1)
        group.cancel_scope.cancel()
    assert interrupts == [1]
    gate.go_on.set()
    assert await store.call(lambda: "next") == "next"
    assert begun == []
    await closed(store)


async def test_result_that_is_there_counts_after_the_deadline() -> None:
    """A loop that was blocked itself beyond the deadline takes the answer that has come meanwhile."""
    store = StoreThread("store", LONG)
    take = store._worker.take

    def taken(call: Any) -> None:
        take(call)
        while not call.has_ended:  # on the loop, on purpose
            threading.Event().wait(0.001)

    with mock.patch.object(store._worker, "take", taken), mock.patch.object(store, "_seconds", 0):
        assert await store.call(lambda: "in time") == "in time"
    await closed(store)


async def test_close_releases_on_the_thread_and_ends_it() -> None:
    """Closing runs the release behind all that waits, on the very thread, which ends; a later call begins another."""
    store, seen = StoreThread("store to close", LONG), list[Any]()
    first = await store.call(threading.current_thread)
    await store.close(lambda: seen.append(threading.current_thread()))
    assert seen == [first]
    await until(lambda: threads_of("store to close") == [])
    second = await store.call(threading.current_thread)
    assert second is not first
    await closed(store)


async def test_close_without_a_thread_releases_nothing() -> None:
    """Where nothing was called there is nothing to release, and closing twice is as good as once."""
    store = StoreThread("store", LONG)
    await store.close(lambda: pytest.fail("there is nothing to release"))
    await store.call(lambda: None)
    await closed(store)
    await store.close(lambda: pytest.fail("it was released before"))


async def test_close_never_raises() -> None:
    """A release that raises, or one that waits behind a stuck work for longer than a call may, is left to itself."""
    store = StoreThread("store", LONG)
    await store.call(lambda: None)

    def release() -> None:
        raise OSError("no")

    await store.close(release)
    gate, released = Gate(), threading.Event()
    await store.call(lambda: None)
    await give_up(store, gate, gate.begun)
    with mock.patch.object(store, "_seconds", 0.05):
        await store.close(released.set)
    assert not released.is_set()
    gate.go_on.set()
    await until(released.is_set)


async def test_call_after_a_close_that_waits_uses_the_same_thread() -> None:
    """A call behind a close that has not come to its turn is served by the same thread, after the release."""
    store, gate, seen = StoreThread("store", LONG), Gate(), list[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(store.call, gate)
        await until(gate.begun.is_set)
        group.start_soon(store.close, lambda: seen.append("released"))
        await until(lambda: store._worker._queue.qsize() == 1)
        group.start_soon(store.call, lambda: seen.append("called"))
        await until(lambda: store._worker._queue.qsize() == 2)
        gate.go_on.set()
    assert seen == ["released", "called"]
    await closed(store)


async def test_thread_that_cannot_begin_takes_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no thread the call raises, and the next one tries anew."""
    store = StoreThread("store", LONG)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            await store.call(lambda: pytest.fail("it was not taken"))
    assert await store.call(lambda: "next") == "next"
    await closed(store)


BACKENDS: list[tuple[str, dict[str, Any]]] = [("asyncio", {}), ("asyncio", {"use_uvloop": True}), ("trio", {})]


def test_several_loops_in_a_row() -> None:
    """One thread serves one event loop after the other, of any kind."""
    store = StoreThread("store", LONG)

    async def ask() -> threading.Thread:
        return await store.call(threading.current_thread)

    threads = {anyio.run(ask, backend=name, backend_options=options) for name, options in BACKENDS * 2}
    assert len(threads) == 1
    anyio.run(closed, store)


@pytest.mark.parametrize(("name", "options"), BACKENDS, ids=["asyncio", "uvloop", "trio"])
def test_loop_that_ended_meanwhile_is_forgotten(name: str, options: dict[str, Any]) -> None:
    """A work whose event loop has ended, or was closed before it could hear of the end, does not stop the thread."""
    store, gate = StoreThread("store", LONG), Gate()

    async def leave() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(store.call, gate)
                await until(gate.begun.is_set)
                scope.cancel()

    anyio.run(leave, backend=name, backend_options=options)
    gate.go_on.set()

    async def ask() -> str:
        return await store.call(lambda: "next")

    assert anyio.run(ask) == "next"
    anyio.run(closed, store)


def test_loop_that_stopped_without_a_word_is_not_waited_for() -> None:
    """A loop that stands still with a call waiting does not stop the thread, and finds the answer when it goes on."""
    store, gate, stopped = StoreThread("store", LONG), Gate(), asyncio.new_event_loop()

    async def begin() -> asyncio.Task[str]:
        task = asyncio.create_task(store.call(gate))
        await asyncio.sleep(0)
        return task

    task = stopped.run_until_complete(begin())
    gate.go_on.set()

    async def ask() -> str:
        return await store.call(lambda: "next")

    assert anyio.run(ask) == "next"
    assert stopped.run_until_complete(task) == "late"
    stopped.close()
    anyio.run(closed, store)


MAY_FORK = ("-W", "ignore::DeprecationWarning")  # from Python 3.12 on a fork beside a thread is warned of

FORK = """
import os, sys, threading
import anyio
from loopcron.ledgers._thread import StoreThread

store, begun, go_on = StoreThread("store", 30), threading.Event(), threading.Event()

async def ask():
    return await store.call(lambda: (os.getpid(), threading.get_ident()))

async def get_stuck():
    async with anyio.create_task_group() as group:
        group.start_soon(store.call, lambda: (begun.set(), go_on.wait(30)))
        while not begun.is_set():
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()

assert anyio.run(ask)[0] == os.getpid()
anyio.run(get_stuck)
store._worker._lock.acquire()  # as another thread may do in the moment of the fork
child = os.fork()
if child == 0:
    for _ in range(2):
        assert anyio.run(ask)[0] == os.getpid()
    anyio.run(store.close, lambda: None)
    os._exit(0)
store._worker._lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
go_on.set()
assert anyio.run(ask)[0] == os.getpid()
print("served")
"""


def test_forked_child_begins_its_own_thread() -> None:
    """A child begins a thread of its own, also when the parent's was at work, and the parent's goes on."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, *MAY_FORK, "-c", FORK],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("served\n", "", 0)
