"""Observers that see runs from the inside: what they set is seen by the job alone, and they can change nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from loopcron import (
    Event,
    Failed,
    HttpJob,
    ObserverFailed,
    Request,
    Response,
    Run,
    Succeeded,
    TimedOut,
    Transport,
    TransportError,
    every,
)
from loopcron._observe import Observers
from loopcron._threads import _context as thread_context
from loopcron._tracers import make_tracers
from loopcron.testing import RecordingObserver, RecordingTransport, hang

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

inside: ContextVar[str] = ContextVar("inside", default="nothing")


class Quiet:
    """An observer to whom events mean nothing."""

    def on_event(self, event: Event) -> None:
        pass


class Around(Quiet):
    """Sets the variable around each attempt, and notes what it saw."""

    def __init__(self, name: str = "span") -> None:
        self.name = name
        self.seen: list[str] = []

    @contextmanager
    def around_attempt(self, run: Run) -> Iterator[None]:
        self.seen.append(f"{self.name} {run.key[:1]}{run.attempt} inside {inside.get()}")
        token = inside.set(f"{self.name} {run.job}")
        try:
            yield
        except BaseException as error:
            self.seen.append(f"{self.name} {type(error).__name__}")
            raise
        finally:
            inside.reset(token)


class Manager:
    """A context manager that does as told when entered and left."""

    def __init__(self, enter: Callable[[], object], leave: Callable[[], object]) -> None:
        self.enter = enter
        self.leave = leave

    def __enter__(self) -> None:
        self.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        return self.leave()


class Hostile(Quiet):
    """Makes managers that do as told, and counts them."""

    def __init__(self, enter: Callable[[], object] = lambda: None, leave: Callable[[], object] = lambda: None) -> None:
        self.enter = enter
        self.leave = leave
        self.asked = 0

    def around_attempt(self, run: Run) -> Manager:
        self.asked += 1
        return Manager(self.enter, self.leave)


def raising(error: BaseException) -> Callable[[], object]:
    """Return a function that raises *error*."""

    def throw() -> object:
        raise error.with_traceback(None)

    return throw


async def work(run: Run) -> None:
    """Do nothing."""


# --- around an attempt


async def test_job_sees_what_is_set_around_it_and_nobody_else_does(stage: Stage) -> None:
    """A variable set around the attempt is seen by an async job, its tasks and a function on a thread, then gone."""
    seen: list[str] = []

    class Ear:
        def on_event(self, event: Event) -> None:
            told.append(inside.get())

    async def child() -> None:
        seen.append(inside.get())

    async def job(run: Run) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        await run.sleep(1)
        stage.scheduler.trigger("blocking")  # a turn in the midst of the job: what it starts must not inherit

    def blocking(run: Run) -> None:
        seen.append(inside.get())
        inside.set("set by the thread")

    told: list[str] = []
    around = Around()
    stage.build(observers=[around, Ear()])
    stage.add(job)
    stage.add(blocking, schedule=every(hours=1))
    async with stage.scheduler:
        await stage.advance(minutes=1, seconds=2)
    assert seen == ["span job", "span blocking"]
    assert around.seen == ["span j1 inside nothing", "span b1 inside nothing"]
    assert told.count("span job") == 1  # of the run that the job itself triggered
    assert told.count("nothing") == len(told) - 1
    assert inside.get() == "nothing"


async def test_first_observer_is_the_outermost(stage: Stage) -> None:
    """Observers are entered in order and left in the opposite one, each attempt anew, and see how the body ended."""

    async def job(run: Run) -> Failed:
        if run.attempt == 2:
            raise ValueError
        return Failed("endpoint", "HTTP 503", 503, retry_after_seconds=1)

    one, two = Around("one"), Around("two")
    two.seen = one.seen
    stage.build(observers=[one, two])
    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1, seconds=2)
    assert one.seen == [
        "one j1 inside nothing",
        "two j1 inside one job",
        "one j2 inside nothing",
        "two j2 inside one job",
        "two ValueError",
        "one ValueError",
    ]


async def test_function_on_a_thread_may_begin_an_event_loop(stage: Stage) -> None:
    """A thread has the run's variables, and yet no event loop runs in it, so that it may begin one of its own."""
    ran: list[str] = []

    async def own() -> None:
        ran.append(inside.get())

    def job(run: Run) -> None:
        anyio.run(own)
        anyio.run(own, backend="trio")

    stage.build(observers=[Around(), stage.seen])
    stage.add(job)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert (stage.outcomes(), ran) == ([Succeeded()], ["span job"] * 2)


def test_context_of_a_thread_where_nobody_asks_for_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that tells which event loop runs, a thread's context is a plain copy."""
    monkeypatch.delitem(sys.modules, "sniffio")
    token = inside.set("the run")
    context = thread_context()
    inside.reset(token)
    assert context[inside] == "the run"


@pytest.mark.parametrize("error", [ValueError("bad"), asyncio.CancelledError("bad"), SystemExit("bad")], ids=repr)
@pytest.mark.parametrize("place", ["around_attempt", "around_attempt, leaving"])
async def test_hook_that_raises_changes_nothing_and_is_disabled(stage: Stage, place: str, error: BaseException) -> None:
    """What a hook raises leaves the outcome alone, is reported, and disables the observer after three times."""

    async def fail(run: Run) -> None:
        raise LookupError("the job's own")

    hostile = Hostile(raising(error)) if place == "around_attempt" else Hostile(leave=raising(error))
    around = Around()
    stage.build(observers=[hostile, around, stage.seen])
    stage.add(work)
    stage.add(fail)
    async with stage.scheduler:
        await stage.advance(minutes=3)
    assert stage.outcomes("work") == [Succeeded()] * 3
    assert stage.outcomes("fail") == [Failed("job", "LookupError: the job's own")] * 3
    problem = f"{place}: {type(error).__name__}: bad"
    assert stage.told(ObserverFailed)[:3] == [
        ObserverFailed("Hostile", problem, disabled) for disabled in (False, False, True)
    ]
    # Two are inside when the third one's end disables it: they are told of their own end too.
    assert hostile.asked in {3, 4}
    assert len(around.seen) == 6 + 3


async def test_hook_that_recovers_is_kept(stage: Stage) -> None:
    """Only failures in a row disable: a hook that fails twice, works once, and fails twice again is asked on."""

    def moody() -> None:
        if hostile.asked % 3:
            raise ValueError("bad")

    hostile = Hostile(moody)
    stage.build(observers=[hostile, stage.seen])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=9)
    assert hostile.asked == 9
    assert [told.disabled for told in stage.told(ObserverFailed)] == [False] * 6


async def test_hook_cannot_swallow(stage: Stage) -> None:
    """A manager that says that it has dealt with the exception keeps neither what a job raises nor a cancellation."""

    async def fail(run: Run) -> None:
        raise LookupError

    async def late(run: Run) -> None:
        await hang()

    stage.build(observers=[Hostile(leave=lambda: True), stage.seen])
    stage.add(fail)
    stage.add(late, timeout=timedelta(seconds=30))
    async with stage.scheduler:
        await stage.advance(seconds=95)
    assert stage.outcomes("fail") == [Failed("job", "LookupError")]
    assert stage.outcomes("late") == [TimedOut(30)]
    assert stage.told(ObserverFailed) == []


async def test_what_is_no_context_manager_is_reported(stage: Stage) -> None:
    """An observer that returns something else around an attempt is reported, and the run goes on."""

    class Confused(Quiet):
        def around_attempt(self, run: Run) -> Any:
            return "nothing to enter"

    stage.build(observers=[Confused(), stage.seen])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert stage.outcomes() == [Succeeded()]
    assert [told.problem for told in stage.told(ObserverFailed)] == [
        "around_attempt: AttributeError: 'str' object has no attribute '__enter__'"
    ]


async def test_keyboard_interrupt_of_a_hook_is_let_out(stage: Stage) -> None:
    """A ``KeyboardInterrupt`` inside a hook is recorded as the run's failure and let out, as a job's is."""
    stage.build(observers=[stage.seen, Hostile(raising(KeyboardInterrupt()))])
    stage.add(work)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes out of the block as a whole
        async with stage.scheduler:
            await stage.advance(minutes=1)
            await anyio.sleep_forever()
    assert stage.outcomes() == [Failed("job", "KeyboardInterrupt")]


def test_without_hooks_there_is_nothing_to_ask() -> None:
    """Observers without hooks leave the runs as they are: nothing is made for them, and nothing asked."""
    assert make_tracers(Observers([RecordingObserver(), Quiet()], float)) is None


# --- around a request


class Wrapping(Quiet):
    """Wraps the transport as told, and counts how often."""

    def __init__(self, send: Callable[[Transport, Request], Any]) -> None:
        self.send = send
        self.asked = 0

    def wrap_transport(self, transport: Transport) -> Transport:
        self.asked += 1
        return Wrapped(transport, self.send)


class Wrapped:
    """A transport that does as told."""

    def __init__(self, inner: Transport, how: Callable[[Transport, Request], Any]) -> None:
        self.inner = inner
        self.how = how

    async def send(self, request: Request) -> Response:
        answer: Response = await self.how(self.inner, request)
        return answer


async def plain(inner: Transport, request: Request) -> Response:
    return await inner.send(request)


async def raise_before(inner: Transport, request: Request) -> Response:
    raise ValueError("bad")


async def leak_before(inner: Transport, request: Request) -> Response:
    raise SystemExit("bad")


async def raise_after(inner: Transport, request: Request) -> Response:
    with suppress(TransportError, ValueError):
        await inner.send(request)
    raise ValueError("bad")


async def send_nothing(inner: Transport, request: Request) -> Response:
    return Response(418)


async def lie(inner: Transport, request: Request) -> Response:
    with suppress(TransportError, ValueError):
        await inner.send(request)
    return Response(418)


async def give_up(inner: Transport, request: Request) -> Response:
    await anyio.lowlevel.checkpoint()
    raise TransportError("refused", started=False)


SENT: dict[Callable[[Transport, Request], Any], str | None] = {
    raise_before: "ValueError: bad",
    leak_before: "SystemExit: bad",
    raise_after: "ValueError: bad",
    send_nothing: "it sent nothing",
    lie: None,
    give_up: "TransportError: refused",
}


@pytest.mark.parametrize("send", SENT, ids=lambda send: send.__name__)
async def test_wrapper_changes_no_answer(stage: Stage, send: Callable[[Transport, Request], Any]) -> None:
    """Whatever a wrapper raises or returns, the request is sent once and the app's answer counts; the fault is told."""
    stage.transport = RecordingTransport(204)
    wrapping, problem = Wrapping(send), SENT[send]
    stage.build(observers=[wrapping, stage.seen])
    stage.scheduler.add(HttpJob("job", every(minutes=1), "/job"))
    async with stage.scheduler:
        await stage.advance(minutes=5)
    assert stage.outcomes() == [Succeeded(204)] * 5
    assert len(stage.transport.requests) == 5
    if problem is None:
        assert (wrapping.asked, stage.told(ObserverFailed)) == (5, [])
    else:
        text = f"wrap_transport, sending: {problem}"
        told = [ObserverFailed("Wrapping", text, disabled) for disabled in (False, False, True)]
        assert (wrapping.asked, stage.told(ObserverFailed)) == (3, told)


@pytest.mark.parametrize("send", [plain, lie, raise_after], ids=lambda send: send.__name__)
async def test_wrapper_changes_no_error(stage: Stage, send: Callable[[Transport, Request], Any]) -> None:
    """What the transport raised is what the run fails with, and is not held against the observer that lets it pass."""

    def broken(request: Request) -> Response:
        raise ValueError("a transport's own fault")

    stage.transport = RecordingTransport(TransportError("reset"), broken)
    stage.build(observers=[Wrapping(send), stage.seen])
    stage.scheduler.add(HttpJob("job", every(minutes=1), "/job"))
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert stage.outcomes() == [Failed("transport", "reset"), Failed("transport", "internal")]
    assert len(stage.told(ObserverFailed)) == 0


async def swallow(inner: Transport, request: Request) -> Response:
    with suppress(BaseException):
        await inner.send(request)
    return Response(418)


async def replace(inner: Transport, request: Request) -> Response:
    try:
        return await inner.send(request)
    except BaseException:
        raise ValueError("bad") from None


async def wait_before(inner: Transport, request: Request) -> Response:
    await hang()
    raise NotImplementedError


@pytest.mark.parametrize("send", [plain, swallow, replace, wait_before], ids=lambda send: send.__name__)
async def test_wrapper_cannot_keep_a_cancellation(stage: Stage, send: Callable[[Transport, Request], Any]) -> None:
    """A request that is cut at the deadline ends the run as timed out, whatever a wrapper makes of it."""

    class Slow:
        async def send(self, request: Request) -> Response:
            await hang()
            raise NotImplementedError

    stage.build(observers=[Wrapping(send), stage.seen], transport=Slow())
    stage.scheduler.add(HttpJob("job", every(minutes=1), "/job", timeout=timedelta(seconds=30)))
    async with stage.scheduler:
        await stage.advance(seconds=95)
    assert stage.outcomes() == [TimedOut(30)]
    problems = [told.problem for told in stage.told(ObserverFailed)]
    assert problems == (["wrap_transport, sending: ValueError: bad"] if send is replace else [])


async def test_request_that_a_wrapper_cut_itself_is_not_sent_again(stage: Stage) -> None:
    """Where a wrapper has cut the request that was under way nobody knows what came of it, and it is not repeated."""
    sent: list[Request] = []

    class Slow:
        async def send(self, request: Request) -> Response:
            sent.append(request)
            await anyio.sleep_forever()
            raise NotImplementedError

    async def abandon(inner: Transport, request: Request) -> Response:
        async with anyio.create_task_group() as group:
            group.start_soon(inner.send, request)
            while not sent:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        return Response(200)

    stage.build(observers=[Wrapping(abandon), stage.seen], transport=Slow())
    stage.scheduler.add(HttpJob("job", every(minutes=1), "/job"))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    [outcome] = stage.outcomes()
    assert isinstance(outcome, Failed)
    assert len(sent) == 1


async def test_wrapper_that_cannot_be_made_is_left_out(stage: Stage) -> None:
    """An observer that raises when it is to wrap is reported and left out; the others go on."""

    class Unable(Quiet):
        def wrap_transport(self, transport: Transport) -> Transport:
            raise ValueError("bad")

    good = Wrapping(plain)
    stage.build(observers=[Unable(), good, stage.seen])
    stage.scheduler.add(HttpJob("job", every(minutes=1), "/job"))
    async with stage.scheduler:
        await stage.advance(minutes=4)
    assert stage.outcomes() == [Succeeded(200)] * 4
    assert good.asked == 4
    told = [ObserverFailed("Unable", "wrap_transport: ValueError: bad", disabled) for disabled in (False, False, True)]
    assert stage.told(ObserverFailed) == told


async def test_wrappers_may_change_the_request(stage: Stage) -> None:
    """The first observer's wrapper is the outermost, and each may add to the request and see where it goes."""
    origins: list[object] = []

    def adding(name: str) -> Callable[[Transport, Request], Any]:
        async def send(inner: Transport, request: Request) -> Response:
            origins.append(getattr(inner, "origin", None))
            return await inner.send(request.with_headers([("X-Order", name)]))

        return send

    class Placed:
        origin = "http://app.example"
        requests: list[Request] = []  # noqa: RUF012 - of this test alone

        async def send(self, request: Request) -> Response:
            self.requests.append(request)
            return Response(200)

    transport = Placed()
    stage.build(observers=[Wrapping(adding("first")), Wrapping(adding("second"))], transport=transport)
    stage.scheduler.add(HttpJob("job", every(minutes=1), "/job"))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    [request] = transport.requests
    assert [value for name, value in request.headers if name == "X-Order"] == ["first", "second"]
    assert origins == ["http://app.example"] * 2
