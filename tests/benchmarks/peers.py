"""
Other schedulers, each used as its users use it: what ``make bench-full`` compares with, in environments of their own.

None of them is a dependency of ours, so what they offer is looked up by name.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

from tests.benchmarks.contenders import SECOND_MS, Contender, Fire, Work

ANY_NUMBER = 1_000_000


def instant(due: int) -> datetime:
    """Return it as these schedulers take it."""
    return datetime.fromtimestamp(due / 1000, UTC)


class TaskSleep(Contender):
    """A task for each job, which sleeps until its next run: what is written by hand where there is no scheduler."""

    def __init__(self) -> None:
        super().__init__()
        self._fires: list[Fire] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def add(self, fires: Sequence[Fire]) -> None:
        self._fires.extend(fires)

    async def start(self) -> None:
        self._tasks = [self.loop.create_task(self._serve(fire)) for fire in self._fires]

    async def _serve(self, fire: Fire) -> None:
        due = fire.due / 1000 - self.offset
        while True:
            await asyncio.sleep(due - self.loop.time())
            await fire.work()
            due += fire.interval / 1000


class APScheduler3(Contender):
    """`AsyncIOScheduler` with its store in memory. Its default would drop what is a second late; here nothing is."""

    async def prepare(self) -> None:
        asyncio_scheduler = import_module("apscheduler.schedulers.asyncio").AsyncIOScheduler
        self._trigger = import_module("apscheduler.triggers.interval").IntervalTrigger
        self._scheduler = asyncio_scheduler(timezone=UTC, job_defaults={"misfire_grace_time": None})

    async def add(self, fires: Sequence[Fire]) -> None:
        for work, due, interval in fires:
            trigger = self._trigger(seconds=interval / 1000, start_date=instant(due), timezone=UTC)
            self._scheduler.add_job(work, trigger)

    async def start(self) -> None:
        self._scheduler.start()


class APScheduler4(Contender):
    """`AsyncScheduler`, an alpha, with its store in memory."""

    most: ClassVar = 10_000

    async def prepare(self) -> None:
        self._trigger = import_module("apscheduler.triggers.interval").IntervalTrigger
        self._scheduler = import_module("apscheduler").AsyncScheduler(max_concurrent_jobs=ANY_NUMBER)
        await self._scheduler.__aenter__()  # the process ends without leaving it
        self._tasks: dict[Work, str] = {}

    async def add(self, fires: Sequence[Fire]) -> None:
        for work, due, interval in fires:
            task = self._tasks.get(work)
            if task is None:
                task = self._tasks[work] = f"task-{len(self._tasks)}"
                await self._scheduler.configure_task(task, func=work, job_executor="async", max_running_jobs=ANY_NUMBER)
            await self._scheduler.add_schedule(task, self._trigger(seconds=interval / 1000, start_time=instant(due)))

    async def start(self) -> None:
        await self._scheduler.start_in_background()


class Aiocron(Contender):
    """Knows cron lines only; here with their field for seconds."""

    grain: ClassVar = SECOND_MS

    async def prepare(self) -> None:
        self._crontab = import_module("aiocron").crontab
        self._jobs: list[Any] = []

    async def add(self, fires: Sequence[Fire]) -> None:
        for work, due, interval in fires:
            line = "* * * * * *" if interval == SECOND_MS else f"{instant(due):%-S %-M %-H} * * *"
            self._jobs.append(self._crontab(line, func=work, start=True, tz=UTC, loop=self.loop))


class DigonScheduler(Contender):
    """``scheduler``: a task for each job."""

    async def prepare(self) -> None:
        self._scheduler = import_module("scheduler.asyncio").Scheduler(tzinfo=UTC)

    async def add(self, fires: Sequence[Fire]) -> None:
        for work, due, interval in fires:
            period = timedelta(milliseconds=interval)
            self._scheduler.cyclic(period, work, start=instant(due) - period)


class Schedule(Contender):
    """``schedule``: polled once a second as its manual says; its jobs are plain functions, here each starts a task."""

    warm_up_ms: ClassVar = 1_500

    async def prepare(self) -> None:
        self._scheduler = import_module("schedule").Scheduler()

    async def add(self, fires: Sequence[Fire]) -> None:
        create = self.loop.create_task
        for work, due, interval in fires:
            job = self._scheduler.every(interval // SECOND_MS).seconds.do(partial(_started, create, work))
            job.next_run = instant(due).astimezone().replace(tzinfo=None)

    async def start(self) -> None:
        self._task = self.loop.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            self._scheduler.run_pending()
            await asyncio.sleep(1)


def _started(create: Any, work: Work) -> None:
    create(work())


class Taskiq(Contender):
    """`TaskiqScheduler` with the broker in memory: polled once a second."""

    grain: ClassVar = SECOND_MS
    most: ClassVar = 10_000

    async def prepare(self) -> None:
        taskiq, run = import_module("taskiq"), import_module("taskiq.cli.scheduler.run")
        self._schedule = import_module("taskiq.scheduler.scheduled_task").ScheduledTask
        self._schedules: list[Any] = []
        self._names: dict[Work, str] = {}
        self._broker = taskiq.InMemoryBroker(max_async_tasks=ANY_NUMBER)
        schedules = self._schedules

        async def get_schedules(_: object) -> list[Any]:
            return schedules

        base = import_module("taskiq.abc.schedule_source").ScheduleSource
        source = type("Source", (base,), {"get_schedules": get_schedules})()
        self._scheduler = taskiq.TaskiqScheduler(self._broker, [source])
        self._runner = run.SchedulerLoop(self._scheduler)

    async def add(self, fires: Sequence[Fire]) -> None:
        for work, due, interval in fires:
            name = self._names.get(work)
            if name is None:
                name = self._names[work] = f"task-{len(self._names)}"
                self._broker.register_task(work, task_name=name)
            when = {"interval": 1} if interval == SECOND_MS else {"time": instant(due)}
            self._schedules.append(self._schedule(task_name=name, labels={}, args=[], kwargs={}, **when))

    async def start(self) -> None:
        await self._scheduler.startup()
        self._task = self.loop.create_task(self._runner.run(update_interval=timedelta(days=1)))


class FastapiCrons(Contender):
    """``fastapi-crons`` as it comes, its state in an SQLite file."""

    grain: ClassVar = SECOND_MS
    most: ClassVar = 1_000

    async def prepare(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="loopcron-bench-")
        os.environ["CRON_SQLITE_DB_PATH"] = f"{self._folder.name}/state.db"
        self._crons = import_module("fastapi_crons").Crons(state_backend=self.backend())

    def backend(self) -> Any:
        """Return where it keeps its state; None: where it does by default."""
        return None

    async def add(self, fires: Sequence[Fire]) -> None:
        for work, due, interval in fires:
            line = "* * * * * *" if interval == SECOND_MS else f"{instant(due):%-M %-H} * * * {instant(due):%-S}"
            self._crons.cron(line, name=f"job-{len(self._crons.jobs)}")(work)

    async def start(self) -> None:
        await self._crons.start()


class FastapiCronsNoState(FastapiCrons):
    """The same with a state that is kept nowhere."""

    most: ClassVar = 10_000

    def backend(self) -> Any:
        async def nothing(*_: object, **__: object) -> None:
            pass

        base: Any = import_module("fastapi_crons.state").StateBackend
        return type("NoState", (base,), dict.fromkeys(base.__abstractmethods__, nothing))()
