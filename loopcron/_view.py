"""
What can be seen of a scheduler from any thread: health, snapshots, and the slots to come.

Reads stored facts and changes none. It knows the life that is under way, if there is one, and when the last one was.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, final

from loopcron._errors import ScheduleError, text_of
from loopcron._health import Health, LedgerHealth, LoopHealth, Reading, SchedulerState, Vitals, read_health
from loopcron._history import JobRecord
from loopcron._instants import aware, to_ms
from loopcron._outcomes import printable
from loopcron._schedules import in_ms
from loopcron._status import Snapshot, Static, Worker, take_snapshot

if TYPE_CHECKING:
    from loopcron._engine import Engine
    from loopcron._observe import Observers
    from loopcron._protocols import Clock, Job, Ledger
    from loopcron._upcoming import UpcomingSlot


def worker_name() -> str:
    """Return the host and the process, as they begin each claim's id."""
    return f"{printable(socket.gethostname())[:40]}:{os.getpid()}"


@final
class View:
    """
    Looks at a scheduler.

    Args:
        clock: The scheduler's.
        ledger: The one it was given, if it was.
        jobs: By name; the scheduler's own.
        records: What they have been through, likewise.
        observers: How they fare.
    """

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger | None,
        jobs: Mapping[str, Job],
        records: Mapping[str, JobRecord],
        observers: Callable[[], Observers],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._jobs = jobs
        self._records = records
        self._observers = observers
        self._static: dict[str, tuple[Job, Static]] = {}
        self.engine: Engine | None = None
        """The life that is under way."""
        self._state = SchedulerState.STOPPED
        self._since: int | None = None

    def rest(self, state: SchedulerState, since: int) -> None:
        """Take note that there is no life from now on, and in which state the scheduler is instead."""
        self.engine = None
        self._state, self._since = state, since

    def health(self) -> Health:
        """See `Scheduler.health`."""
        engine, reading = self.engine, self._reading(tuple(self._jobs))
        # A step of the clock that the loop has not seen yet is no reason to restart; in 30 s it has, or it is silent.
        return read_health(reading if engine is None else reading._replace(now=engine.now))

    def snapshot(self) -> Snapshot:
        """See `Scheduler.snapshot`."""
        engine, jobs = self.engine, dict(self._jobs)  # at once, for another thread's sake: jobs come and go
        worker = Worker(worker_name(), os.getpid(), None if engine is None else engine.pulse.started)
        static = {name: self._static_of(name, job) for name, job in jobs.items()}
        if len(self._static) > len(jobs):
            self._static = {name: kept for name, kept in tuple(self._static.items()) if name in jobs}
        return take_snapshot(self._reading(tuple(jobs)), static, worker, self._observers().snapshots())

    def upcoming(self, name: str, count: int, until: datetime | None) -> tuple[UpcomingSlot, ...]:
        """See `Scheduler.upcoming`."""
        from loopcron._upcoming import upcoming  # on use: it takes cron along

        engine, now = self.engine, to_ms(self._clock.now())
        facts = None if engine is None else engine.timetable.facts(name)
        before = None if until is None else to_ms(aware("until", until, ScheduleError))
        schedule = in_ms(self._jobs[name].schedule).bound(name, now if facts is None else facts.added)
        slots: list[UpcomingSlot] = []
        with suppress(Exception):  # a user's schedule; that it fails is told by the job's state
            slots.extend(islice(upcoming(schedule, now, before), count))
        return tuple(slots)

    def _reading(self, jobs: Sequence[str]) -> Reading:
        engine, now = self.engine, to_ms(self._clock.now())
        facts = {name: engine.timetable.facts(name) if engine is not None else None for name in jobs}
        return Reading(now, self._vitals() if engine is None else engine.vitals(), facts, self._records)

    def _vitals(self) -> Vitals:
        ledger = self._ledger
        text = "memory" if ledger is None else printable(text_of(ledger))
        shared = ledger is not None and ledger.is_shared
        return Vitals(self._state, self._since, LoopHealth(), LedgerHealth(text, shared))

    def _static_of(self, name: str, job: Job) -> Static:
        known = self._static.get(name)
        if known is None or known[0] is not job:  # one that was removed and added anew is another one
            known = self._static[name] = job, _static(job)
        return known[1]


def _static(job: Job) -> Static:
    from loopcron._upcoming import local_zone  # as above

    schedule = in_ms(job.schedule)
    text = words = printable(text_of(schedule))
    zone = "UTC"
    with suppress(Exception):  # a user's timezone that cannot say what it is
        words, zone = printable(schedule.describe()), printable(str(local_zone(schedule)))
    return Static(text, words, zone, job.policy)
