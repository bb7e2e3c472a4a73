"""
Running jobs over virtual time: the shell's part, without an event loop and without calling a job's body.

It decides nothing that the timetable decides. Per life of the process there is one `_Process`; what outlives it, the
ledger's rows and the story so far, is in `_World`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from loopcron import _events as e
from loopcron._attempts import STUCK_MS
from loopcron._hands import Hands
from loopcron._instants import MILLISECOND, from_ms
from loopcron._ledger import Answer, Claim, Finish, Lost, Register, Row, Unavailable, Won
from loopcron._outcomes import Failed, Outcome
from loopcron._timetable import Timetable
from loopcron.testing._arguments import as_scheduler, begin_and_end, check_slots, clock_history, outages
from loopcron.testing._behave import Behaviour, Decide, SimulatedAttempt, gets_through, make_decide
from loopcron.testing._clockwork import Clockwork
from loopcron.testing._histories import ClockEvent, Outage
from loopcron.testing._timeline import Noted, SimulatedRun, Timeline

if TYPE_CHECKING:
    from loopcron import Scheduler
    from loopcron._protocols import Job

_DOWN: Final = (Unavailable("down"),)
_REFUSED: Final = (Failed("transport", "refused", started=False), 0)


def simulate(
    jobs: Iterable[Job] | Scheduler,
    *,
    start: datetime,
    duration: timedelta,
    behave: Callable[[SimulatedAttempt], Behaviour] | Iterable[Behaviour] = (),
    transport: Outage | Iterable[Outage] = (),
    ledger: Outage | Iterable[Outage] = (),
    process: Outage | Iterable[Outage] = (),
    keep_ledger: bool = False,
    clock: ClockEvent | Iterable[ClockEvent] = (),
) -> Timeline:
    """
    Return what becomes of *jobs* over virtual time, decided by the timetable that decides in earnest.

    No body of a job is called and nothing waits, so a year takes less than a second; the same arguments give the same
    timeline. Slots later than *start* and up to the end count, the end included; then the scheduler is stopped as
    at any shutdown, with its drain.

    Args:
        jobs: Some jobs, or a scheduler: then its start-up delay, its limit, its drain, ``on_ledger_error`` and what is
            paused count too. Its transport, ledger, clock and observers do not take part.
        start: Aware; its timezone is the one of the pictures.
        duration: From 1 ms to ten years, and not for more than five million slots of ``every``.
        behave: What attempts do. A function of the `SimulatedAttempt`, or a sequence that is used up in the order in
            which attempts begin, after which every attempt succeeds. Each gives an outcome or an HTTP status, for
            an end at once; a timedelta, for a success after so long; a pair of both; or None, for a success at
            once. An attempt lasts by the monotonic clock, and is cut at its run's deadline.
        transport: When nobody listens. Attempts of any job that begin then end at once as refused; they are repeated
            until their run's deadline. Attempts that began before go on.
        ledger: When the ledger cannot be asked.
        process: When the process is down. It is killed: what was alive then has no outcome. Afterwards a new process
            starts, with a new timetable and, unless *keep_ledger*, an empty ledger.
        keep_ledger: Whether the ledger is a persistent one: it outlives the process, and after a correction of the
            clock, a step back of 3 h or more, its rows stay as they are.
        clock: What befalls the clock: one event, or several in any order. The shell sees it as it does in earnest:
            when it wakes, within 30 s.

    Raises:
        ConfigError: An argument is none of these. What a function given as *behave* raises is let out.
    """
    scheduler = as_scheduler(jobs)
    begin, end = begin_and_end(start, duration)
    check_slots(scheduler.jobs, begin, end)
    world = _World(
        scheduler,
        begin,
        end,
        make_decide(behave, {job.name: job for job in scheduler.jobs}),
        {
            "process": outages("process", process),
            "transport": outages("transport", transport),
            "ledger": outages("ledger", ledger),
        },
        clock_history(clock, begin, end),
        keep_ledger=keep_ledger,
    )
    with _no_collection():
        world.pass_time()
    return world.timeline(start)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let the garbage collector rest: what is made here lives on, and it would walk all of it again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Settings(NamedTuple):
    """What of a scheduler counts besides its jobs; durations in ms."""

    startup_delay: int
    max_running: int | None
    drain: int
    fires: bool
    paused: frozenset[str]


@final
class _Row:
    """What the ledger knows of a job."""

    __slots__ = ("fence", "watermark")

    def __init__(self, watermark: int) -> None:
        self.watermark = watermark
        self.fence = 0


@final
class _World:
    """What outlives the process: the jobs, the ledger's rows, the trouble, and the story so far."""

    def __init__(
        self,
        scheduler: Scheduler,
        begin: int,
        end: int,
        decide: Decide,
        outages: Mapping[str, tuple[Outage, ...]],
        history: tuple[ClockEvent, ...],
        *,
        keep_ledger: bool,
    ) -> None:
        self.jobs: Final = scheduler.jobs
        self.settings: Final = _settings(scheduler)
        self._begin: Final = begin
        self._end: Final = end
        self.decide: Final = decide
        self.outages: Final = outages
        self._history: Final = history
        self.clockwork: Final = Clockwork(begin, history) if history else None
        self.keep_ledger: Final = keep_ledger
        self.rows: Final[dict[str, _Row]] = {}
        self.lives = 0
        self.events: Final[list[e.Report]] = []
        self.runs: Final[list[SimulatedRun]] = []
        self.noted: Final[list[Noted]] = []
        self.reached: Final[dict[str, list[int]]] = {job.name: [] for job in self.jobs}

    def pass_time(self) -> None:
        """Let one process after the other live, until the end."""
        at = self._begin
        for down in self.outages["process"]:
            if self._begin + down.at // MILLISECOND > self._end:
                break
            self.live(at, self._begin + down.at // MILLISECOND)
            at = max(at, self._begin + down.until // MILLISECOND)
            if not self.keep_ledger:
                self.rows.clear()
        self.live(at, None)

    def live(self, at: int, killed: int | None) -> None:
        """Let a process live from *at* until it is *killed*, or until the end."""
        if self.clockwork is not None:
            at = self.clockwork.after(at, 0)  # on a machine that sleeps nothing starts
        if at > self._end or (killed is not None and at >= killed):
            return
        self.lives += 1
        process = _Process(self, at)
        if killed is None:
            process.live(self._end)
            process.stop(self._end)
        else:
            process.live(killed - 1)
            process.kill(killed)

    def windows(self, part: str) -> list[tuple[int, int]]:
        """Return from when to before when *part* is out of reach, in true time."""
        begin = self._begin
        return [(begin + out.at // MILLISECOND, begin + out.until // MILLISECOND) for out in self.outages[part]]

    def awake_ms(self, instant: int) -> int:
        """Return for how many ms the machine was awake from the start to *instant*."""
        return instant - self._begin if self.clockwork is None else self.clockwork.awake_ms(instant)

    def timeline(self, start: datetime) -> Timeline:
        """Return the story, which is over."""
        return Timeline(
            from_ms(self._begin).astimezone(start.tzinfo),
            from_ms(self._end).astimezone(start.tzinfo),
            tuple(self.reached),
            tuple(self.events),
            self.outages,
            self._history,
            tuple(self.runs),
            tuple(self.noted),
            self.reached,
            self.awake_ms(self._end),
        )


@final
class _Process:
    """
    One life of the process: a timetable, and what is alive.

    Args:
        world: What it lives in.
        at: When it starts, in true time.
    """

    def __init__(self, world: _World, at: int) -> None:
        self._world = world
        self._at = self._wall = at
        self._clockwork = world.clockwork
        if self._clockwork is not None:
            self._clockwork.at = at
            self._hands = Hands(self._clockwork)
            self._wall = self._hands.wall
        self._wakes: int | None = None
        """When the loop wakes, in true time, where the clock has a history."""
        self._nap_until: int | None = None
        """What it is napping for, by the wall hand."""
        self._begun: dict[tuple[str, int, int], tuple[int, e.Start]] = {}
        """
        Of each live run, by its job, slot and fence: when it began, and its latest attempt.

        A slot recurs after a correction of the clock, while its earlier run may be alive; and what fires without the
        ledger has no fence.
        """
        self._ends: list[tuple[int, int, int, Outcome]] = []
        """A heap: when an attempt ends, its number, its run, its outcome. Those that were cut meanwhile stay in it."""
        self._alive: dict[int, int] = {}
        """The number of the live attempt of each run."""
        self._attempts = 0
        self._cut = False
        """Whether a run was cut since the loop slept."""
        self._told = False
        """Whether the timetable may have more to do now."""
        self._refused = world.windows("transport")
        self._unanswered = world.windows("ledger")
        self._performers: dict[type, Callable[[Any], None] | None] = {
            e.Settled: self._settled,
            e.JobParked: self._parked,
            e.Start: self._start,
            e.Cancel: self._cancel,
            Claim: self._claim,
            Register: self._register,
            Finish: None,
            e.Abandon: None,
            e.More: self._more,
        }
        """What is done for each action; any other one is an event. Two need nothing: the rows hold no outcome, and an
        attempt that is cut ends at once."""
        settings = world.settings
        self._timetable = Timetable(
            self._wall,
            startup_delay=settings.startup_delay,
            max_running=settings.max_running,
            worker=f"life-{world.lives}",
            fires=settings.fires,
        )
        for job in world.jobs:
            self._tell(e.Added(job.name, job.schedule, job.policy, job.name in settings.paused))
        self._turn()

    def live(self, last: int) -> None:
        """Do all that comes up to *last* in true time, that instant included."""
        while (at := self._next()) is not None and at <= last:
            self._move(at)

    def stop(self, at: int) -> None:
        """Stop as at a shutdown, and return once it is over."""
        self._move(at)
        self._tell(e.Stopping(self._world.settings.drain))
        self._turn()
        while not self._timetable.is_over:
            following = self._next()
            assert following is not None  # a drain ends
            self._move(following)

    def kill(self, at: int) -> None:
        """End at once: what is alive has no outcome."""
        for started, (job, slot, _, attempt, reason, *_) in self._begun.values():
            self._world.runs.append(SimulatedRun(job, slot, reason, attempt, None, started, at))

    def _next(self) -> int | None:
        """Return when something happens next, in true time."""
        at = self._timetable.next_wakeup()
        if self._clockwork is not None:
            at = self._rest(self._clockwork, at)
        first = self._first_end() if self._ends else None
        return first[0] if first is not None and (at is None or first[0] < at) else at

    def _first_end(self) -> tuple[int, int, int, Outcome] | None:
        ends = self._ends
        while ends and self._alive.get(ends[0][2]) != ends[0][1]:
            heappop(ends)  # cut meanwhile, so nothing ends then and nobody wakes for it
        return ends[0] if ends else None

    def _rest(self, clockwork: Clockwork, due: int | None) -> int | None:
        """Return when the loop wakes; what ends meanwhile cuts its nap only if something became due earlier by it."""
        if self._cut and (due is None or due > self._wall + STUCK_MS):
            # The shell lies down before what it has cut is over, and so until that would be given up as stuck.
            due = self._wall + STUCK_MS
        self._cut = False
        napping = self._wakes is not None and self._at < self._wakes
        if not napping or (due is not None and (self._nap_until is None or due < self._nap_until)):
            self._wakes = clockwork.wake(None if due is None else due - self._wall)
            self._nap_until = due
        return self._wakes

    def _move(self, at: int) -> None:
        """Wake at this instant, and do what is due."""
        self._at = self._wall = at
        if self._clockwork is not None:
            self._clockwork.at = at
            by = self._hands.read()
            self._wall = self._hands.wall
            if by:
                if self._nap_until is not None:
                    self._nap_until += by
                self._tell(e.Stepped(by))
        while self._ends and (first := self._first_end()) is not None and first[0] <= at:
            _, _, run_id, outcome = heappop(self._ends)
            del self._alive[run_id]
            self._tell(e.AttemptEnded(run_id, outcome))
        self._turn()

    def _tell(self, fact: e.Fact) -> None:
        self._told = True
        self._timetable.handle(fact, self._wall)

    def _turn(self) -> None:
        """Poll until nothing is due; after a poll that led to no further fact nothing is."""
        poll, wall, performers, keep = self._timetable.poll, self._wall, self._performers, self._world.events.append
        self._told = True
        while self._told:
            self._told = False
            for action in poll(wall):
                perform = performers.get(type(action), keep)
                if perform is not None:
                    perform(action)

    def _settled(self, settled: e.Settled) -> None:
        world = self._world
        world.events.append(settled)
        begun = self._begun.pop((settled.job, settled.slot, settled.fence), None)
        if begun is None:
            world.noted.append(Noted(settled, self._at))
        else:
            job, slot, outcome, reason, attempts = settled[:5]
            fields = (job, slot, reason, attempts, outcome, begun[0], self._at)
            world.runs.append(e.record(SimulatedRun, fields))

    def _parked(self, parked: e.JobParked) -> None:
        # Without the exception, which equals none of another simulation and keeps its frames alive.
        parked = parked._replace(exception=None)
        self._world.events.append(parked)
        self._world.noted.append(Noted(parked, self._at))

    def _start(self, action: e.Start) -> None:
        world, now, key = self._world, self._at, (action.job, action.slot, action.fence)
        self._begun[key] = (now if action.attempt == 1 else self._begun[key][0], action)
        outcome, lasts = _REFUSED if self._refused and _within(self._refused, now) else world.decide(action, now)
        if gets_through(outcome):
            world.reached[action.job].append(world.awake_ms(now))
        if not lasts:
            self._tell(e.record(e.AttemptEnded, (action.run_id, outcome, None)))
            return
        self._attempts += 1
        self._alive[action.run_id] = self._attempts
        ends = now + lasts if self._clockwork is None else self._clockwork.after(now, lasts)
        heappush(self._ends, (ends, self._attempts, action.run_id, outcome))

    def _cancel(self, action: e.Cancel) -> None:
        # One that was started by the same poll and has ended at once counts as it ended.
        if self._alive.pop(action.run_id, None) is not None:
            self._cut = True
            self._tell(e.AttemptEnded(action.run_id, None))

    def _claim(self, claim: Claim) -> None:
        world = self._world
        if self._unanswered and _within(self._unanswered, self._at):
            self._tell(e.Answered((claim,), _DOWN))
            return
        row = world.rows.setdefault(claim.job, _Row(claim.slot - 1))
        answer: Answer
        if claim.slot > row.watermark:
            row.watermark = claim.slot
            row.fence = max(row.fence + 1, self._wall)
            answer = e.record(Won, (row.fence, None, ""))
        else:
            answer = Lost(Row(claim.job, row.watermark))
        self._tell(e.record(e.Answered, ((claim,), (answer,))))

    def _more(self, _: e.More) -> None:
        self._told = True

    def _register(self, asked: Register) -> None:
        world = self._world
        if self._unanswered and _within(self._unanswered, self._at):
            self._tell(e.Registered((asked.job,), (None,)))
            return
        mark = self._wall if asked.watermark is None else asked.watermark
        row = world.rows.setdefault(asked.job, _Row(mark))
        if asked.corrected and not world.keep_ledger:
            row.watermark = min(row.watermark, mark)
        self._tell(e.Registered((asked.job,), (Row(asked.job, row.watermark),)))


def _within(windows: list[tuple[int, int]], now: int) -> bool:
    return any(opens <= now < closes for opens, closes in windows)


def _settings(scheduler: Scheduler) -> _Settings:
    # Private to the scheduler and its shell; this is another shell.
    return _Settings(
        scheduler._startup_delay,  # noqa: SLF001
        scheduler._max_running,  # noqa: SLF001
        scheduler._drain,  # noqa: SLF001
        scheduler._fires,  # noqa: SLF001
        frozenset(name for name, paused in scheduler._pauses.items() if paused),  # noqa: SLF001
    )
