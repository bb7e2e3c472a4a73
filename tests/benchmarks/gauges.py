"""What measurements look at: turns of the event loop, collections of garbage, and how busy others keep the machine."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Figures = dict[str, float]
"""What one process measured, by name; the unit ends the name."""
QUIET = 0.15
"""How many cores others may keep busy while what counts is time on the wall."""
LOOK = 0.1
"""For how long it is looked whether a process rests, in seconds."""
RESTING = 0.02
"""It does if it keeps no more than so much of a core busy; to poll 10,000 jobs once a second is less."""


class LateStartError(Exception):
    """The jobs were due before all had been added: try again with a lead of so many seconds."""

    def __init__(self, lead: float) -> None:
        super().__init__(lead)
        self.lead = lead


async def settle(until: float = math.inf) -> None:
    """
    Wait until this process rests: all that a start has set going is done then, however slow the machine is.

    It is given up at *until*, when jobs come due, after which it may never rest again.
    """
    rested = 0
    while rested < 2 and time.monotonic() < until:
        before = time.process_time()
        await asyncio.sleep(LOOK)
        rested = rested + 1 if time.process_time() - before < RESTING * LOOK else 0


class Turns:
    """The turns of an event loop, as its selector sees them."""

    def __init__(self) -> None:
        self.longest = 0.0
        """For how long the loop did not look for anything new, at worst, in seconds of CPU: others do not count."""
        self.collecting = 0.0
        """How much of that turn went into collections of garbage."""
        self.longest_apart = 0.0
        """The longest turn with the collections in each left out; it may be another one."""
        self.woke: list[float] = []
        """When it woke from sleep."""


def watch_loop(loop: asyncio.AbstractEventLoop) -> Turns:
    """Watch the turns of the running loop from now on; that costs 2 µs for each, and 2 µs for each collection."""
    turns = Turns()
    selector: Any = loop._selector  # type: ignore[attr-defined]
    select, cpu, monotonic = selector.select, time.thread_time, time.monotonic
    left = cpu()
    collecting = began = 0.0

    def collected(phase: str, _: object) -> None:
        nonlocal collecting, began
        if phase == "start":
            began = cpu()
        else:
            collecting += cpu() - began

    def watched(timeout: float | None = None) -> Any:
        nonlocal left, collecting
        turn = cpu() - left
        if turn > turns.longest:
            turns.longest, turns.collecting = turn, collecting
        turns.longest_apart = max(turns.longest_apart, turn - collecting)
        ready = select(timeout)
        if timeout is None or timeout > 0:
            turns.woke.append(monotonic())
        left, collecting = cpu(), 0.0
        return ready

    selector.select = watched
    gc.callbacks.append(collected)
    return turns


def is_quiet(*figures: Mapping[str, float]) -> bool:
    """Whether others kept next to no core busy in each of these measurements."""
    return all(each.get("others_busy", 0.0) <= QUIET for each in figures)


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
