"""The workers of a run, as the nemesis handles them: begun, killed, stopped, let go on, each time with a record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from tests.proof import history as h
from tests.proof.history import History
from tests.proof.store import Store

ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARIES: Final = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
SKEWS: Final = (600, 150, -150)
"""By how many ms the clocks of the first workers are ahead; constant, because a step is another test's subject."""
LOOPS: Final = ("asyncio", "uvloop", "trio")
ENDING: Final = 5.0
"""How long, in seconds, a worker may take to end by itself."""


class Workers:
    """
    All worker processes of a run; a context manager that leaves none.

    Args:
        history: Of the run.
        store: Where they find their ledger.
        log: Where they write what they have to complain of.
    """

    def __init__(self, history: History, store: Store, log: Path) -> None:
        self._history = history
        self._store = store
        self._log = log
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._indices: dict[int, int] = {}
        self._paused: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            _close(process)
            process.wait()

    @property
    def awake(self) -> Sequence[int]:
        """The pids of those that live and are not stopped, in the order of their beginning."""
        return [pid for pid in self._processes if pid not in self._paused]

    def is_paused(self, pid: int) -> bool:
        """Return whether it lives and is stopped."""
        return pid in self._paused

    def begin(self, index: int) -> None:
        """Start the worker of this number, by which its clock and its path to the store are chosen."""
        path = index % self._store.paths
        skew = SKEWS[index] if self._store.is_skewed and LIBRARIES and index < len(SKEWS) else 0
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if skew:
            # The monotonic clock is moved too: to leave it alone makes timed waits of threads much too long.
            environment |= {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": f"{skew / 1000:+}"}
        command = [sys.executable, "-m", "tests.proof.worker", str(self._history.path), self._store.url(path)]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*command, str(skew), LOOPS[index % len(LOOPS)]],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                process_group=0,  # an interrupt at the terminal is for the rig, which ends them in order
            )
        self._processes[process.pid] = process
        self._indices[process.pid] = index
        self._history.write(h.SPAWN, pid=process.pid, note=f"{path} {skew}")

    def kill(self, pid: int, note: str = "") -> int:
        """End it at once, and return its number."""
        process = self._processes.pop(pid)
        self._paused.discard(pid)
        self._history.write(h.KILL, pid=pid, note=note)
        process.kill()
        _close(process)
        self._history.write(h.EXIT, pid=pid, note=str(process.wait()))
        return self._indices[pid]

    def pause(self, pid: int) -> None:
        """Stop it."""
        self._paused.add(pid)
        self._history.write(h.PAUSE, pid=pid)
        os.kill(pid, signal.SIGSTOP)

    def resume(self, pid: int) -> None:
        """Let it go on, if it lives."""
        if pid in self._paused:
            os.kill(pid, signal.SIGCONT)
            self._paused.discard(pid)
            self._history.write(h.RESUME, pid=pid)

    def reap(self) -> None:
        """Note who has ended by itself."""
        for pid, process in tuple(self._processes.items()):
            if process.poll() is not None:
                _close(process)
                del self._processes[pid]
                self._history.write(h.EXIT, pid=pid, note=str(process.returncode))

    def finish(self) -> None:
        """Tell all to end, wait until they have, and kill who does not."""
        for pid in tuple(self._paused):
            self.resume(pid)
        for process in self._processes.values():
            _close(process)
        deadline = time.monotonic() + ENDING
        while self._processes and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.02)
        for pid in tuple(self._processes):
            self.kill(pid, note="did not end")


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
