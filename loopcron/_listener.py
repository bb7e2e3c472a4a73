"""Seeing that the server has begun to drain: the only early sign that an app gets of its shutdown."""

from __future__ import annotations

from typing import final

from loopcron._address import listening_addresses


@final
class ListenerWatch:
    """
    Is called, and tells whether this process has listened on a socket and does no longer.

    Servers close their listener at once when they are told to stop, but tell the lifespan only after the requests
    in flight have ended; and a loopback run is one of those. To be given to `Scheduler.stop_when`, by adapters.
    Always False where the platform does not show the sockets, or before the first one.
    """

    def __init__(self) -> None:
        self._seen = False

    def __call__(self) -> bool:
        """Look again; see the class."""
        listening = listening_addresses()
        self._seen = self._seen or bool(listening)
        return self._seen and listening is not None and not listening
