"""The promises about clocks on a real process, whose wall clock libfaketime sets while it runs."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_or_skip

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
DEADLINE = 30.0
"""How long, in seconds, a line of the process is waited for; all of it takes a fraction of that."""
INTERVAL = 100
"""Of the job, in ms; the loop wakes as often, and reads both hands."""
HOUR = 3600

PROCESS = f"""
import json, sys, threading
import anyio
from loopcron import ClockStepped, InternalFault, RunStarted, Scheduler, every

def say(**line):
    print(json.dumps(line), flush=True)

class Mouth:
    def on_event(self, event):
        if isinstance(event, RunStarted):
            say(slot=event.slot)
        elif isinstance(event, ClockStepped):
            say(by=event.by_ms, is_correction=event.is_correction)
        elif isinstance(event, InternalFault):
            say(fault=event.error)

async def job(run):
    pass

async def main():
    scheduler = Scheduler(observers=[Mouth()])
    scheduler.job(every(milliseconds={INTERVAL}))(job)
    async with scheduler:
        await anyio.to_thread.run_sync(sys.stdin.read)  # until the test has seen enough

anyio.run(main, backend="asyncio", backend_options={{"use_uvloop": sys.argv[1] == "uvloop"}})
"""


class Process:
    """A scheduler under libfaketime, with one job; what it tells comes line by line."""

    def __init__(self, loop: str, offset: Path) -> None:
        self.offset = offset
        self.set_clock(0)
        self.lines: queue.Queue[str] = queue.Queue()
        self.slots: list[int] = []
        environment = {
            **os.environ,
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # the same for older ones
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, loop],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def set_clock(self, seconds: int) -> None:
        """Let the process's wall clock be off by so much; in one go, for it reads the file at every look."""
        fresh = self.offset.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self.offset)

    def next_line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.lines.get(timeout=DEADLINE))
        assert "fault" not in line
        if "slot" in line:
            self.slots.append(line["slot"])
        return line

    def wait_for_step(self) -> dict[str, Any]:
        while "by" not in (line := self.next_line()):
            pass
        return line

    def wait_for_slots(self, number: int) -> list[int]:
        """Return this many slots that run from now on."""
        first = len(self.slots)
        while len(self.slots) < first + number:
            assert "by" not in self.next_line(), "a step is told once"
        return self.slots[first:]

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.reader.join()
            self.process.stdout.close()


def live(loop: str, offset: Path) -> None:
    """Live through a clock that is set: forward, back, and far back, which is a correction."""
    process = Process(loop, offset)
    try:
        (*_, before) = process.wait_for_slots(3)

        process.set_clock(HOUR)
        step = process.wait_for_step()
        assert abs(step["by"] - HOUR * 1000) < 1000
        ahead = process.wait_for_slots(3)
        assert ahead[0] >= before + HOUR * 1000

        process.set_clock(HOUR - 2)
        step = process.wait_for_step()
        assert -3000 < step["by"] < -1000
        assert not step["is_correction"]
        process.wait_for_slots(3)
        assert process.slots == sorted(set(process.slots))

        process.set_clock(-4 * HOUR)
        step = process.wait_for_step()
        assert step["is_correction"]
        (last, corrected) = (max(process.slots), process.wait_for_slots(3))
        assert corrected == sorted(set(corrected))
        assert abs(corrected[0] - (last - 5 * HOUR * 1000)) < 60_000
    finally:
        process.end()


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Run a scheduler under libfaketime on each event loop that it may meet in production, all at once."""
    require_or_skip(sys.platform != "win32", "not applicable: libfaketime is for POSIX systems")
    require_or_skip(bool(LIBRARIES), "libfaketime is not installed; Debian's package faketime has it")
    folder = tmp_path_factory.mktemp("faketime")
    installed = ("asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else []))
    with ThreadPoolExecutor(len(installed)) as pool:
        yield {loop: pool.submit(live, loop, folder / loop) for loop in installed}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_process_lives_with_a_clock_that_is_set(loop: str, lives: dict[str, Future[None]]) -> None:
    """Forward, back and corrected: each step is told once, no slot recurs but after the correction, and runs go on."""
    require_or_skip(loop, f"{loop} is not installed")
    lives[loop].result()
