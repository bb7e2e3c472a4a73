"""Seeing that this process is one of several workers, each of which runs every slot if its ledger is its own."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, final

from loopcron._address import inode, listening_descriptors

_PROCESSES: Final = "/proc"
_SPAWNED: Final = b"--multiprocessing-fork"
"""What multiprocessing puts into the command line of each process that it spawns, beside numbers that differ."""
_LOOKS: Final = 5
"""How often it is looked; the last time half a minute after the start, or later where nothing wakes the loop."""


@final
class WorkerWatch:
    """
    Is asked again and again, and tells once why this process seems to be one of several workers.

    Not at the start alone: servers listen only after that, and the first worker may look before there is a second.
    So it looks a few times, ever more rarely, until it has told.

    Args:
        environ: Where ``WEB_CONCURRENCY`` is looked up.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._looks = 0
        self._next = -math.inf

    def __call__(self, monotonic: float) -> str | None:
        """Look again, if enough time has passed by this clock; return the reason, or None: none, or none yet."""
        if monotonic < self._next:
            return None
        self._looks += 1
        # Half a millisecond each, on a loop that has better things to do.
        listening = listening_descriptors() or {}
        reason = asked_for(self._environ) or started_with_others() or shares_listener(listening)
        self._next = monotonic + 2**self._looks if reason is None and self._looks < _LOOKS else math.inf
        return reason


def asked_for(environ: Mapping[str, str]) -> str | None:
    """Say that the environment asks servers for several workers, or None if it does not."""
    text = environ.get("WEB_CONCURRENCY", "").strip()
    several = text.isascii() and text.isdigit() and text.lstrip("0") not in {"", "1"}
    return f"WEB_CONCURRENCY is {text[:20]}" if several else None


def started_with_others() -> str | None:
    """
    Say that multiprocessing has started this process and others like it, as servers start their workers.

    A server that reloads starts its only worker so too. Where the platform does not show the others the reason says so.
    """
    module = sys.modules.get("multiprocessing.process")  # where nobody has imported it, it has not started us
    if module is None or module.parent_process() is None:
        return None
    others = _others_like_this()
    if others is None:
        return "multiprocessing has started it, as it starts workers; never mind if it is the only one"
    return f"multiprocessing has started {len(others)} more like it" if others else None


def shares_listener(listening: Iterable[int]) -> str | None:
    """
    Say that others, started by our parent as we were, hold one of the sockets on which this process listens.

    The parent itself does not count: where it opens the socket and only watches, there may be but one worker.

    Args:
        listening: The descriptors of this process that listen.
    """
    own = {f"socket:[{inode(descriptor)}]" for descriptor in listening}
    if not own:
        return None
    sharing = sum(not own.isdisjoint(_descriptors(other)) for other in _others_like_this() or ())
    return f"{sharing} more like it share the socket on which it listens" if sharing else None


def _others_like_this() -> list[str] | None:
    """Return which processes our parent has started beside this one by the same command; None: nobody can tell."""
    parent, own = f"{_PROCESSES}/{os.getppid()}/task", str(os.getpid())
    try:
        lists = [Path(parent, thread, "children").read_text("ascii") for thread in os.listdir(parent)]  # noqa: PTH208 - as in _address
    except OSError:
        return None
    command = _command("self")
    return [pid for pids in lists for pid in pids.split() if pid != own and _command(pid) == command]


def _command(pid: str) -> bytes | None:
    try:
        command = Path(_PROCESSES, pid, "cmdline").read_bytes()
    except OSError:
        return None  # gone
    return _SPAWNED if _SPAWNED in command else command


def _descriptors(pid: str) -> list[str]:
    """Return what the descriptors of that process stand for, such as ``socket:[4711]``; none if it does not show."""
    folder = f"{_PROCESSES}/{pid}/fd"
    try:
        return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]  # noqa: PTH115, PTH208 - as in _address
    except OSError:
        return []
