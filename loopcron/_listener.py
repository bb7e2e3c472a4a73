"""Seeing that the server has begun to drain: the only early sign that an app gets of its shutdown."""

from __future__ import annotations

from typing import final

from loopcron._address import inode, listening_descriptors


@final
class ListenerWatch:
    """
    Is called, and tells whether this process has listened on a socket and does no longer.

    Servers close their listener at once when they are told to stop, but tell the lifespan only after the requests
    in flight have ended; and a loopback run is one of those. To be given to `Scheduler.stop_when`, by adapters.
    Always False where the platform does not show the sockets, and before the first one.
    """

    def __init__(self) -> None:
        self._inodes: dict[int, int] = {}

    def __call__(self) -> bool:
        """Look again; see the class."""
        if any(inode(descriptor) == known for descriptor, known in self._inodes.items()):
            return False  # a microsecond, where asking for all descriptors takes a hundred
        listeners = listening_descriptors()
        if listeners is None:
            return False
        drained = bool(self._inodes) and not listeners
        if listeners:
            # The inode too, because the number of a descriptor that was closed is soon used again.
            self._inodes = {descriptor: inode(descriptor) for descriptor in listeners}
        return drained
