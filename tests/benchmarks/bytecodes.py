"""
Where the work of a run goes: how many bytecodes each part of loopcron, and the event loop, executes for it.

    make bench-profile

Counted, not timed, so that it is the same on a busy machine and shows what a change of some lines does. What is written
in C counts for nothing here, such as the making of a task. One bytecode takes some 5 to 10 ns.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from loopcron import FunctionJob, Run, Scheduler, every

JOBS = 100
FUNCTIONS = 25
"""How many functions are listed, the dearest ones."""
ROOT = Path(__file__).resolve().parents[2]


class Hand:
    """A clock that is set by hand, so that all jobs come due at once."""

    def __init__(self) -> None:
        self._elapsed = timedelta(0)

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def forward(self, by: timedelta) -> None:
        """Set the hand."""
        self._elapsed += by


class Counts:
    """The bytecodes of each function, while it is tracing."""

    def __init__(self) -> None:
        self.codes: Counter[CodeType] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> Counts:
        """Take note of what the interpreter tells; see `sys.settrace`."""
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.codes[frame.f_code] += 1
        return self

    def by_file(self) -> Counter[str]:
        """Return the counts of each file, named as people would."""
        files: Counter[str] = Counter()
        for code, count in self.codes.items():
            files[_file(code)] += count
        return files


def _file(code: CodeType) -> str:
    path = Path(code.co_filename)
    if path.is_relative_to(ROOT / "loopcron"):
        return str(path.relative_to(ROOT))
    # What a dataclass or a named tuple is given by the library has no file, and is loopcron's.
    return "records" if code.co_filename.startswith("<") else path.parent.name


async def count_runs(jobs: int = JOBS) -> Counts:
    """Return what a run of each of *jobs* executes: the second one of each, when all are due at one instant."""
    clock, counts, runs = Hand(), Counts(), 0

    async def work(_: Run) -> None:
        nonlocal runs
        await asyncio.sleep(0)
        runs += 1

    scheduler = Scheduler(clock=clock)
    for number in range(jobs):
        scheduler.add(FunctionJob(f"job-{number}", every(hours=1), work))
    async with scheduler.manual():
        await scheduler.tick()
        for turn in (1, 2):
            clock.forward(timedelta(hours=1))
            if turn == 2:
                sys.settrace(counts)
            await scheduler.tick()
            while runs < turn * jobs:
                await asyncio.sleep(0)
            await scheduler.tick()
            sys.settrace(None)
    return counts


def main() -> None:
    """Print it."""
    counts = asyncio.run(count_runs())
    whole = counts.codes.total()
    print(f"{whole / JOBS:,.0f} bytecodes per run that suspends once, of {JOBS} at one instant\n")
    for file, count in counts.by_file().most_common():
        if count >= whole / 200:
            print(f"{count / JOBS:8,.0f}  {count / whole:4.0%}  {file}")
    print(f"\nThe {FUNCTIONS} dearest functions:\n")
    for code, count in counts.codes.most_common(FUNCTIONS):
        print(f"{count / JOBS:8,.1f}  {_file(code)} {code.co_qualname}")


if __name__ == "__main__":
    main()
