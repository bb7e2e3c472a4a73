"""
The hooks of observers that see runs from the inside: around each attempt and around each request, fenced.

What a hook raises is reported and nothing more: neither the job's end, nor what the app answered, nor a cancellation
is ever its to change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, final

from loopcron._errors import TransportCode, TransportError
from loopcron._outcomes import error_text
from loopcron._spawn import is_stray

if TYPE_CHECKING:
    from loopcron._http import Request, Response
    from loopcron._observe import Observers
    from loopcron._outcomes import Run
    from loopcron._protocols import Transport


def make_tracers(observers: Observers) -> Tracers | None:
    """Return the hooks of these observers; None where none has any, so that a run costs no more."""
    around, wrap = observers.having("around_attempt"), observers.having("wrap_transport")
    return Tracers(observers, around, wrap) if around or wrap else None


@final
class Tracers:
    """
    Asks the observers that have hooks; see `loopcron.Tracer`.

    Args:
        observers: All of them; they judge.
        around: Those with ``around_attempt``, in order.
        wrap: Those with ``wrap_transport``, in order.
    """

    def __init__(self, observers: Observers, around: Sequence[Any], wrap: Sequence[Any]) -> None:
        self._observers = observers
        self._around = around
        self._wrap = wrap

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        """Be inside what every observer puts around the attempt; the first observer's is the outermost."""
        with ExitStack() as stack:
            for tracer in self._around:
                if self._observers.keeps(tracer):
                    manager = self._observers.ask(tracer, "around_attempt", partial(_enter, tracer, run))
                    if manager is not None:
                        stack.push(partial(self._leave, tracer, manager))
            yield

    def _leave(
        self,
        tracer: Any,
        manager: AbstractContextManager[object],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # None whatever it answers: it must not swallow what the job raised.
        self._observers.ask(tracer, "around_attempt, leaving", partial(manager.__exit__, kind, error, trace))

    def over(self, transport: Transport) -> Transport:
        """Return *transport* behind what every observer puts around it."""
        for tracer in reversed(self._wrap):
            transport = _Fence(self._observers, tracer, transport)
        return transport


def _enter(tracer: Any, run: Run) -> AbstractContextManager[object]:
    manager: AbstractContextManager[object] = tracer.around_attempt(run)
    manager.__enter__()
    return manager


@final
class _Fence:
    """A transport that sends through what an observer makes of another one, and gives that one's answer."""

    __slots__ = ("_inner", "_observers", "_tracer")

    def __init__(self, observers: Observers, tracer: Any, inner: Transport) -> None:
        self._observers = observers
        self._tracer = tracer
        self._inner = inner

    @property
    def origin(self) -> object:
        """See `Transport`."""
        return getattr(self._inner, "origin", None)

    async def send(self, request: Request) -> Response:
        """Make one attempt; see `Transport.send`."""
        if not self._observers.keeps(self._tracer):
            return await self._inner.send(request)
        call = _Call(self._inner)
        wrapped = self._observers.ask(self._tracer, "wrap_transport", partial(self._tracer.wrap_transport, call))
        if wrapped is None:
            return await self._inner.send(request)
        problem = None
        try:
            await wrapped.send(request)
        except BaseException as error:
            if error is not call.cut and not (isinstance(error, Exception) or is_stray(error)):
                call.cut = None
                raise  # cancelled inside the wrapper's own part
            if error is not call.cut and call.failure is None:
                problem = error_text(error)
        if not call.is_begun:
            problem = problem or "it sent nothing"
        self._observers.judge(self._tracer, "wrap_transport, sending", problem)
        if call.cut is not None:
            raise call.let_go()
        return call.answer() if call.is_begun else await self._inner.send(request)


@final
class _Call:
    """The transport that an observer wraps, for one request: it remembers what came of it."""

    __slots__ = ("_inner", "_response", "cut", "failure", "is_begun")

    def __init__(self, inner: Transport) -> None:
        self._inner: Final = inner
        self._response: Response | None = None
        self.is_begun = False
        self.failure: tuple[TransportCode, bool] | None = None
        """What is to be raised, as a value: an exception that is kept holds its frames, and they hold this."""
        self.cut: BaseException | None = None
        """What is no `Exception`, most likely a cancellation, and so is to be raised as it is."""

    @property
    def origin(self) -> object:
        """See `Transport`."""
        return getattr(self._inner, "origin", None)

    async def send(self, request: Request) -> Response:
        """Send, and remember."""
        self.is_begun = True
        try:
            self._response = await self._inner.send(request)
        except TransportError as error:
            self.failure = error.code, error.started
            raise
        except Exception:
            self.failure = "internal", True
            raise
        except BaseException as error:
            self.cut = error
            raise
        return self._response

    def let_go(self) -> BaseException:
        """Return what has cut the request, and hold it no longer."""
        cut, self.cut = self.cut, None
        assert cut is not None  # asked before
        return cut

    def answer(self) -> Response:
        """Return the response, or raise what was raised instead; without either nobody knows what came of it."""
        if self._response is not None:
            return self._response
        code, started = self.failure or ("internal", True)
        raise TransportError(code, started=started)
