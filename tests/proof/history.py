"""
The history of one run: one file, to which every process appends its records, and nothing else is evidence.

The first line is the plan. Each record is one line and one write, so that a process killed at any moment leaves whole
records only. All times are true, in milliseconds from the epoch: who has a wrong clock knows by how much.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypedDict, Unpack

LEASED: Final = "slot-lease"
"""The name of the job that is run through the ledger under test; those of the others name a wrong formulation."""


class Plan(NamedTuple):
    """What a run is to do; durations are in milliseconds."""

    ledger: str
    seed: int
    jobs: tuple[str, ...]
    """Each has a ledger of its own."""
    slots: int
    processes: int
    mode: str = "scheduler"
    """Who asks the ledger: the scheduler, or with ``direct`` as little as can be."""
    first: int = 0
    """The first slot that counts, known when all workers are ready; earlier ones are served too."""
    period: int = 150
    grace: int = 900
    lease: int = 2000
    settling: int = 800
    """How long a worker may be without the store after a fault has ended, because a call got stuck."""

    @property
    def last(self) -> int:
        """The last slot that counts."""
        return self.first + (self.slots - 1) * self.period

    @property
    def end(self) -> int:
        """When no slot that counts can start any more."""
        return self.last + self.grace


class Record(NamedTuple):
    """What happened once. Which of the fields mean something depends on the kind."""

    kind: str
    at: int
    pid: int = 0
    """Of the worker."""
    job: str = ""
    slot: int = 0
    fence: int = 0
    note: str = ""


class Details(TypedDict, total=False):
    """A record's fields but the first two."""

    pid: int
    job: str
    slot: int
    fence: int
    note: str


# Of the workers.
READY: Final = "ready"
START: Final = "start"
END: Final = "end"
# Of the rig.
BEGIN: Final = "begin"
"""All workers are ready; the slot is the first that counts."""
# Of the nemesis. Of each pair, the first is written before it is done and the second after, so that they enclose it.
SPAWN: Final = "spawn"
"""The note is the path to the store that the worker goes, and by how many ms its clock is ahead."""
KILL: Final = "kill"
EXIT: Final = "exit"
"""The worker is no more; the note is its exit status."""
PAUSE: Final = "pause"
RESUME: Final = "resume"
FAULT: Final = "fault"
"""The note is the path that is disturbed, and how."""
HEALED: Final = "healed"
CRASH: Final = "crash"
UP: Final = "up"
STALL: Final = "stall"
"""The machine gave the nemesis itself no time; the note says for how many ms until now."""
# Of the store.
AUDIT: Final = "audit"
"""A claim was won; `at` is not known. The note is the claim id."""


class History:
    """
    The file, for one writer.

    Args:
        path: Of the file.
        plan: Written if the file is new; of a file that is there, the one in it.
        skew: By how many ms the clock of this process is ahead.
    """

    def __init__(self, path: Path, plan: Plan, skew: int = 0) -> None:
        self.path = path
        self.plan = plan
        self._skew = skew
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if not os.fstat(self._file).st_size:
            os.write(self._file, _line(plan))

    def write(self, kind: str, *, at: int | None = None, **details: Unpack[Details]) -> None:
        """Append one record, of now if nothing else is said."""
        os.write(self._file, _line(Record(kind, self.now() if at is None else at, **details)))

    def now(self) -> int:
        """Return the true time, whatever the clock of this process shows."""
        return time.time_ns() // 1_000_000 - self._skew

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_plan(path: Path) -> Plan:
    """Return the plan."""
    with path.open("rb") as lines:
        plan = Plan(*json.loads(next(lines)))
        return plan._replace(jobs=tuple(plan.jobs))


def read(path: Path) -> tuple[Plan, list[Record]]:
    """Return the plan and all records, in the order of the file."""
    with path.open("rb") as lines:
        next(lines)
        records = [Record(*json.loads(line)) for line in lines]
    first = next((record.slot for record in records if record.kind == BEGIN), 0)
    return read_plan(path)._replace(first=first), records


def newest(path: Path) -> Iterator[Record]:
    """Yield the newest records, the newest first: as many as there are in the last few kB."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4096, 0))
        for line in reversed(file.read().splitlines()[1:]):
            yield Record(*json.loads(line))


def _line(fields: Iterable[object]) -> bytes:
    return json.dumps(list(fields), separators=(",", ":")).encode() + b"\n"
