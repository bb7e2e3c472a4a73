"""Running jobs over virtual time: `simulate`, which lets one life of the process follow the other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from loopcron._instants import MILLISECOND, from_ms
from loopcron.testing._arguments import as_scheduler, begin_and_end, check_slots, clock_history, outages
from loopcron.testing._behave import Behaviour, SimulatedAttempt, make_decide
from loopcron.testing._clockwork import Clockwork
from loopcron.testing._histories import ClockEvent, Outage
from loopcron.testing._life import Life
from loopcron.testing._timeline import Timeline
from loopcron.testing._world import SimulatedLedger, World, edges

if TYPE_CHECKING:
    from loopcron import Scheduler
    from loopcron._protocols import Job


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
    decide = make_decide(behave, {job.name: job for job in scheduler.jobs})
    trouble = {
        "process": outages("process", process),
        "transport": outages("transport", transport),
        "ledger": outages("ledger", ledger),
    }
    history = clock_history(clock, begin, end)
    world = World(
        scheduler,
        SimulatedLedger(edges(begin, trouble["ledger"]), keeps=keep_ledger),
        decide,
        edges(begin, trouble["transport"]),
        Clockwork(begin, history) if history else None,
    )
    with _no_collection():
        _pass_time(world, begin, end, trouble["process"])
    return Timeline(
        from_ms(begin).astimezone(start.tzinfo),
        from_ms(end).astimezone(start.tzinfo),
        tuple(world.reached),
        tuple(world.events),
        trouble,
        history,
        tuple(world.runs),
        tuple(world.noted),
        world.reached,
    )


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


def _pass_time(world: World, begin: int, end: int, outages: Iterable[Outage]) -> None:
    """Let one process after the other live, until the end."""
    at = begin
    for down in outages:
        killed = begin + down.at // MILLISECOND
        if killed > end:
            break
        _live(world, at, end, killed)
        at = max(at, begin + down.until // MILLISECOND)
        world.ledger.survive()
    _live(world, at, end, None)


def _live(world: World, at: int, end: int, killed: int | None) -> None:
    """Let a process live from *at* until it is *killed*, or until the end."""
    if world.clockwork is not None:
        at = world.clockwork.after(at, 0)  # on a machine that sleeps nothing starts
    if at > end or (killed is not None and at >= killed):
        return
    life = Life(world, at)
    if killed is None:
        life.live(end)
        life.stop(end)
    else:
        life.live(killed - 1)
        life.kill(killed)
