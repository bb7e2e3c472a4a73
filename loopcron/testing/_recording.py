"""Doubles that record what they are given: a transport without any I/O, and an observer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import anyio

from loopcron._errors import ConfigError, TransportError
from loopcron._events import Event, Settled
from loopcron._http import Request, Response

Reply = Response | TransportError | int | Callable[[Request], Response]
"""What a `RecordingTransport` answers: a response, an error to raise, a status, or a function of the request."""


@final
class RecordingTransport:
    """
    A `Transport` that keeps every request and answers as told, without I/O and without calling the token.

    Args:
        replies: Given in order, the last one for ever; 200 if there is none.

    Raises:
        ConfigError: A reply is none of these.
    """

    def __init__(self, *replies: Reply) -> None:
        for reply in replies:
            if isinstance(reply, bool) or not (isinstance(reply, (Response, TransportError, int)) or callable(reply)):
                raise ConfigError("replies", reply, "must be a Response, a TransportError, a status or a function")
        self._replies = list(replies) or [200]
        self.requests: Final[list[Request]] = []
        """What was sent, oldest first."""

    async def send(self, request: Request) -> Response:
        """See `Transport.send`."""
        self.requests.append(request)
        await anyio.lowlevel.checkpoint()
        reply = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
        if isinstance(reply, TransportError):
            # A new one each time: an exception that is raised twice collects the tracebacks of both.
            raise TransportError(reply.code, started=reply.started)
        if isinstance(reply, int):
            return Response(reply)
        return reply if isinstance(reply, Response) else reply(request)


@final
class RecordingObserver:
    """An `Observer` that keeps every event."""

    def __init__(self) -> None:
        self.events: Final[list[Event]] = []
        """What it was told, oldest first."""

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        self.events.append(event)

    def settled(self, job: str | None = None) -> list[Settled]:
        """Return the `Settled` events, of one *job* or of all."""
        settled = [event for event in self.events if isinstance(event, Settled)]
        return [event for event in settled if job is None or event.job == job]
