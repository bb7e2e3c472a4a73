"""What measurements look at: turns of the event loop, and how busy others keep the machine meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

Figures = dict[str, float]
"""What one process measured, by name; the unit ends the name."""


class LateStartError(Exception):
    """The jobs were due before all had been added: try again with a lead of so many seconds."""

    def __init__(self, lead: float) -> None:
        super().__init__(lead)
        self.lead = lead


class Turns:
    """The turns of an event loop, as its selector sees them."""

    def __init__(self) -> None:
        self.longest = 0.0
        """For how long the loop did not look for anything new, at worst, in seconds."""
        self.woke: list[float] = []
        """When it woke from sleep."""


def watch_loop(loop: asyncio.AbstractEventLoop) -> Turns:
    """Watch the turns of the running loop from now on; that costs 0.3 µs for each."""
    turns = Turns()
    selector: Any = loop._selector  # type: ignore[attr-defined]
    select, monotonic = selector.select, time.monotonic
    left = monotonic()

    def watched(timeout: float | None = None) -> Any:
        nonlocal left
        turns.longest = max(turns.longest, monotonic() - left)
        ready = select(timeout)
        left = monotonic()
        if timeout is None or timeout > 0:
            turns.woke.append(left)
        return ready

    selector.select = watched
    return turns


class Others:
    """How many cores all other processes kept busy, from when it was made; 0 where there is no ``/proc/stat``."""

    def __init__(self) -> None:
        self._at, self._busy = time.monotonic(), _busy_seconds() - _own_seconds()

    def busy(self) -> float:
        """Return it."""
        passed = max(time.monotonic() - self._at, 1e-3)
        return max(0.0, (_busy_seconds() - _own_seconds() - self._busy) / passed)


def _busy_seconds() -> float:
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
    except FileNotFoundError:
        return 0.0
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """With children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
