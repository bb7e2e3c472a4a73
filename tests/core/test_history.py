"""What a job has been through: the ring of its newest outcomes, and since when it is unwell."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import pytest

from loopcron._events import (
    Event,
    JobEnded,
    JobParked,
    JobPaused,
    JobResumed,
    JobUnparked,
    RunStarted,
    RunStuck,
    RunUnstuck,
    Settled,
)
from loopcron._history import HISTORY, MARKS, JobRecord, Ring
from loopcron._outcomes import (
    Busy,
    Failed,
    Interrupted,
    LeaseLost,
    Missed,
    Outcome,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
)
from tests.core.readings import MINUTE, START, record_of, settled

RESUMED = JobResumed("job", 0)
UNPARKED = JobUnparked("job", 0)


def marked(*events: Event) -> JobRecord:
    """Return a record that was told of the events, one ms apart from each other."""
    record = JobRecord("job")
    for elapsed, event in enumerate(events, 1):
        record.mark(event, START + elapsed)
    return record


# --- the ring


def test_history_is_a_ring() -> None:
    """The newest thirty outcomes are kept, oldest first."""
    record = record_of(*[Succeeded(number) for number in range(100, 150)])
    assert [kept.outcome for kept in record.ring] == [Succeeded(number) for number in range(120, 150)]
    assert HISTORY == 30


@pytest.mark.parametrize("count", [0, 1, 29, 30, 31, 60, 61, 100])
def test_ring_is_read_from_either_end(count: int) -> None:
    """However many there were, the newest thirty come out as they went in, in order and in the reverse order."""
    told = [settled(Failed("job", f"error {number}"), number, failures=number) for number in range(count)]
    ring = Ring("job")
    for event in told:
        ring.append(event)
    assert list(ring) == told[-HISTORY:]
    assert list(reversed(ring)) == told[-HISTORY:][::-1]
    assert len(ring) == min(count, HISTORY)


EVERY_KIND: list[Settled] = [
    settled(Succeeded(204), fence=7),
    settled(Missed(START, START + MINUTE, 2), started=None),
    settled(Taken(), started=None, worker="web-2:4711"),
    settled(Taken(), started=None, worker="web-3:4711"),
    settled(Failed("endpoint", "HTTP 503", 503, retry_after_seconds=2.5), failures=3),
    settled(TimedOut(1.5)),
    settled(LeaseLost()),
    settled(Busy()),
    settled(Interrupted("remove")),
    settled(Skipped("paused", START, START + MINUTE, None), started=None),
    Settled("job", -62_135_596_800_000, Succeeded(), "catch_up", 3, START - 1, START, 0),
    Settled("job", START, Succeeded(), "manual", 1, START, START, 0, 0, "job@manual-1"),
    Settled("job", START, Succeeded(), "manual", 1, START, START, 0, 0, "job@manual-2"),
]


def test_ring_keeps_all_but_the_exception() -> None:
    """Every field of every kind of outcome comes back equal; the exception, whose frames would stay alive, does not."""
    ring = Ring("job")
    for event in EVERY_KIND:
        ring.append(event._replace(exception=ValueError("x")))
    assert list(ring) == EVERY_KIND
    assert all(kept.exception is None for kept in ring)


def test_ring_goes_on_while_it_is_read() -> None:
    """Whoever reads while the loop writes gets whole outcomes of the job, and no error."""
    ring = Ring("job")
    for number in range(HISTORY):
        ring.append(settled(Succeeded(), number))
    for read in (iter(ring), reversed(ring)):
        first = next(read)
        for number in range(HISTORY, 2 * HISTORY):
            ring.append(settled(Succeeded(), number))
        assert {kept.outcome for kept in (first, *read)} == {Succeeded()}


WELL: Outcome = Succeeded(200)


def test_copy_of_a_ring_stands_still() -> None:
    """A copy holds what was kept when it was made, however it goes on."""
    ring = Ring("job")
    for number in range(HISTORY + 5):
        ring.append(settled(Succeeded(), number))
    kept = list(ring)
    copy = ring.copy()
    for number in range(HISTORY):
        ring.append(settled(Busy(), number))
    assert list(copy) == kept
    assert len(copy) == HISTORY


@pytest.mark.parametrize("count", [0, 1, 29, 30, 31, 45])
def test_outcome_that_is_half_written_does_not_show(count: int) -> None:
    """Another thread may read at any moment of the writing, and sees what was there before, whole."""
    told = [settled(Failed("job", f"error {number}"), number) for number in range(count + 1)]
    ring, early = Ring("job"), Ring("job")
    for event in told[:-1]:
        ring.append(event)
        early.append(event)
    ring.append(told[-1])
    # All is written but the count, which is written last.
    early._numbers, early._rests = ring._numbers, ring._rests
    assert list(early) == list(early.copy()) == told[:-1][-HISTORY:]
    assert list(reversed(early)) == told[:-1][-HISTORY:][::-1]


def bytes_of(outcomes: int, make: Callable[[int], Settled]) -> int:
    """Return how many bytes a record holds that has been through so many outcomes, with all that it refers to."""
    record = JobRecord("job")
    for number in range(outcomes):
        record.note(make(number))
        record.mark(RunStuck("job", START + number, number), START + number)
        record.mark(RunUnstuck("job", START + number, number), START + number)
    found: dict[int, object] = {}
    left: list[object] = [record]
    while left:
        thing = left.pop()
        if id(thing) not in found and not isinstance(thing, type):
            found[id(thing)] = thing
            left += gc.get_referents(thing)
    return sum(map(sys.getsizeof, found.values()))


@pytest.mark.parametrize(("kind", "most"), [("succeeded", 3_000), ("failed", 20_000)])
def test_record_does_not_grow(kind: str, most: int) -> None:
    """A full history takes some 2 kB, with thirty long and different errors 17 kB; a thousand outcomes take no more."""

    def make(number: int) -> Settled:
        # As long as an error may be, and each one another text than the one before.
        outcome = WELL if kind == "succeeded" else Failed("job", f"{number % 10}".ljust(300, "x"))
        return settled(outcome, number)

    full = bytes_of(HISTORY + 1, make)
    assert full < most
    assert bytes_of(1_000, make) <= full + 100  # numbers may take some digits more


# --- since when


def test_failures_count_from_the_first_in_a_row() -> None:
    """A row of failures began with the first one after a success, whatever came in between."""
    record = record_of(Failed("job", "x"), Busy(), Skipped("overlap"), TimedOut(1.0), LeaseLost())
    assert record.failing_since == START + 200
    assert record.last_ended == START + 4 * MINUTE + 200
    record.note(settled(Succeeded(), 9))
    assert record.failing_since is None
    record.note(settled(LeaseLost(), 10, started=None))
    assert record.failing_since == START + 10 * MINUTE + 200


@pytest.mark.parametrize("ending", [Succeeded(), Failed("job", "x"), TimedOut(1.0), LeaseLost()], ids=repr)
def test_busy_runs_count_from_the_first_in_a_row(ending: Outcome) -> None:
    """A row of runs that found the lock taken ends with any run that tells something of the job."""
    record = record_of(Busy(), Interrupted("shutdown"), Busy())
    assert (record.busy, record.busy_since) == (2, START + 200)
    record.note(settled(ending, 3))
    assert (record.busy, record.busy_since) == (0, None)
    record.note(settled(Busy(), 4))
    assert (record.busy, record.busy_since) == (1, START + 4 * MINUTE + 200)


def test_last_start_counts_every_run_that_began() -> None:
    """What never started is no start; what ran and tells nothing of the job is one, and no end that counts."""
    record = record_of(Succeeded(), Busy())
    record.note(settled(Skipped("overlap"), 5, started=None))
    assert (record.last_started, record.last_ended) == (START + MINUTE + 100, START + 200)
    assert record.last_succeeded == START + 200


def test_marks_begin_and_end() -> None:
    """A pause, a parking, a stuck run and the end of a schedule are kept since they began, and until they end."""
    parked = JobParked("job", 0, "ValueError: no", 1)
    assert marked(JobPaused("job", 0)).paused_at == START + 1
    assert marked(JobPaused("job", 0), RESUMED).paused_at is None
    assert marked(parked, parked).parked_at == START + 1  # told again with each try
    assert marked(parked, UNPARKED, parked).parked_at == START + 3
    assert marked(parked, UNPARKED).parked_at is None
    assert marked(JobEnded("job", 0, None, served=False)).ended_at == START + 1
    untouched = marked(RunStarted("job", 0, 1, "schedule"))
    assert [getattr(untouched, name) for name in ("paused_at", "parked_at", "ended_at", "stuck_since")] == [None] * 4


def test_several_runs_may_be_stuck() -> None:
    """A job is stuck since its first run is, until its last one has ended."""
    one, two = RunStuck("job", 0, 1), RunStuck("job", 0, 2)
    assert marked(one, two).stuck_since == START + 1
    assert marked(one, two, RunUnstuck("job", 0, 1)).stuck_since == START + 1
    assert marked(one, two, RunUnstuck("job", 0, 1), RunUnstuck("job", 0, 2)).stuck_since is None


def test_run_that_is_not_known_to_be_stuck_ends_nothing() -> None:
    """A run of a job that was removed meanwhile, and added anew under its name, may end after all."""
    stranger, one = RunUnstuck("job", 0, 99), RunStuck("job", 0, 1)
    assert marked(stranger, one).stuck_since == START + 2
    assert marked(one, stranger).stuck_since == START + 1


def test_new_life_forgets_all_but_a_pause() -> None:
    """What is parked, ended or stuck is so in one life; a pause holds until it is ended, and outcomes stay."""
    record = marked(
        JobPaused("job", 0),
        JobParked("job", 0, "ValueError: no", 1),
        JobEnded("job", 0, None, served=True),
        RunStuck("job", 0, 1),
    )
    record.note(settled(Busy()))
    record.begin()
    assert record.paused_at == START + 1
    assert (record.parked_at, record.ended_at, record.stuck_since, record.stuck) == (None, None, None, frozenset())
    assert (record.busy, len(record.ring)) == (1, 1)


def test_marks_are_the_events_that_a_record_takes_note_of() -> None:
    """Each of them changes something, so that none is told in vain."""
    events = [
        JobPaused("job", 0),
        RESUMED,
        JobParked("job", 0, "no", 1),
        UNPARKED,
        JobEnded("job", 0, None, served=True),
        RunStuck("job", 0, 1),
        RunUnstuck("job", 0, 1),
    ]
    assert {type(event) for event in events} == MARKS
