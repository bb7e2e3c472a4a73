"""
One life of the process of a simulation: a shell without an event loop, which calls no job's body.

It decides nothing that the timetable decides. What outlives it is in ``_world``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, final

from loopcron import _events as e
from loopcron._attempts import STUCK_MS
from loopcron._hands import Hands
from loopcron._ledger import Claim, Finish, Register
from loopcron._outcomes import Failed, Outcome
from loopcron._timetable import Timetable
from loopcron.testing._behave import gets_through
from loopcron.testing._clockwork import Clockwork
from loopcron.testing._timeline import Noted, SimulatedRun
from loopcron.testing._world import World

_REFUSED: Final = (Failed("transport", "refused", started=False), 0)


@final
class Life:
    """
    A timetable, and what is alive.

    Args:
        world: What it lives in.
        at: When it starts, in true time.
    """

    def __init__(self, world: World, at: int) -> None:
        self._world = world
        self._at = self._wall = at
        self._clockwork = world.clockwork
        if self._clockwork is not None:
            self._clockwork.move(at)
            self._hands = Hands(self._clockwork)
            self._wall = self._hands.wall
        self._wakes: int | None = None
        """When the loop wakes, in true time, where the clock has a history."""
        self._nap_until: int | None = None
        """What it is napping for, by the wall hand."""
        self._begun: dict[tuple[str, int, int], tuple[int, e.RunStarted]] = {}
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
        self._has_more = False
        """Whether more is due now than the last poll looked at."""
        self._performers: dict[type, Callable[[Any], e.Fact | None] | None] = {
            e.Settled: self._settled,
            e.JobParked: self._parked,
            e.RunStarted: self._start,
            e.Cancel: self._cancel,
            Claim: self._claim,
            Register: self._register,
            Finish: None,
            e.Abandon: None,
            e.More: self._more,
        }
        """What is done for each action, which returns the fact that follows from it; any other one is an event. Two
        need nothing: the rows hold no outcome, and an attempt that is cut ends at once."""
        settings = world.settings
        world.lives += 1
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
        for started, (job, slot, attempt, reason, *_) in self._begun.values():
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
            self._clockwork.move(at)
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
        self._timetable.handle(fact, self._wall)

    def _turn(self) -> None:
        """Poll until nothing is due; after a poll that led to no further fact nothing is."""
        poll, handle, wall = self._timetable.poll, self._timetable.handle, self._wall
        performers, keep = self._performers, self._world.events.append
        told = True
        while told:
            self._has_more = told = False
            for action in poll(wall):
                perform = performers.get(type(action), keep)
                fact = None if perform is None else perform(action)
                if fact is not None:
                    handle(fact, wall)
                    told = True
            told = told or self._has_more

    def _settled(self, settled: e.Settled) -> None:
        world = self._world
        world.events.append(settled)
        job, slot, outcome, reason, attempts, _, _, _, fence, _, _, _ = settled
        begun = self._begun.pop((job, slot, fence), None)
        if begun is None:
            world.noted.append(Noted(settled, self._at))
        else:
            fields = (job, slot, reason, attempts, outcome, begun[0], self._at)
            world.runs.append(e.record(SimulatedRun, fields))

    def _parked(self, parked: e.JobParked) -> None:
        # Without the exception, which equals none of another simulation and keeps its frames alive.
        parked = parked._replace(exception=None)
        self._world.events.append(parked)
        self._world.noted.append(Noted(parked, self._at))

    def _start(self, action: e.RunStarted) -> e.AttemptEnded | None:
        job, slot, attempt, _, _, run_id, fence, _ = action
        world, now, key = self._world, self._at, (job, slot, fence)
        world.events.append(action)
        self._begun[key] = (now if attempt == 1 else self._begun[key][0], action)
        outcome, lasts = _REFUSED if bisect_right(world.refused, now) % 2 else world.decide(action, now)
        if gets_through(outcome):
            world.reached[job].append(now)
        if not lasts:
            return e.record(e.AttemptEnded, (run_id, outcome, None))
        self._attempts += 1
        self._alive[run_id] = self._attempts
        ends = now + lasts if self._clockwork is None else self._clockwork.after(now, lasts)
        heappush(self._ends, (ends, self._attempts, run_id, outcome))
        return None

    def _cancel(self, action: e.Cancel) -> e.AttemptEnded | None:
        # One that was started by the same poll and has ended at once counts as it ended.
        if self._alive.pop(action.run_id, None) is None:
            return None
        self._cut = True
        return e.AttemptEnded(action.run_id, None)

    def _claim(self, claim: Claim) -> e.Answered:
        answer = self._world.ledger.claim(claim, self._at, self._wall)
        return e.record(e.Answered, ((claim,), (answer,)))

    def _register(self, asked: Register) -> e.Registered:
        return e.Registered((asked.job,), (self._world.ledger.register(asked, self._at, self._wall),))

    def _more(self, _: e.More) -> None:
        self._has_more = True
