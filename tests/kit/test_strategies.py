"""The strategies: what they draw is valid, and what loopcron promises holds for all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from loopcron import Busy, Failed, FunctionJob, HttpJob, Outcome, Schedule, Succeeded, every
from loopcron.testing import (
    Behaviour,
    ClockEvent,
    ClockStep,
    Drift,
    Outage,
    Suspend,
    behaviours,
    clock_histories,
    outages,
    outcomes,
    schedules,
    simulate,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ZERO = timedelta(0)
INTERVALS = st.sampled_from([5 * MINUTE, 15 * MINUTE, 60 * MINUTE])


def sync(interval: timedelta = 15 * MINUTE) -> HttpJob:
    return HttpJob("sync", every(interval), "/api/sync")


@given(outages(), outages(DAY, longest=MINUTE), outages(timedelta(milliseconds=1), longest=ZERO))
def test_outages(default: Outage, given_all: Outage, smallest: Outage) -> None:
    """An outage begins within the duration and is no longer than was asked for."""
    assert ZERO <= default.at < 7 * DAY
    assert ZERO <= default.duration <= timedelta(seconds=45)
    assert ZERO <= given_all.at < DAY
    assert given_all.duration <= MINUTE
    assert smallest == Outage(ZERO, ZERO)


@given(clock_histories(), clock_histories(DAY, forward=ZERO, back=MINUTE, suspended=MINUTE, drift=0.1))
def test_clock_histories(default: list[ClockEvent], given_all: list[ClockEvent]) -> None:
    """A clock history is in order, begins within the duration, and keeps to the limits that were asked for."""
    for history, duration in ((default, 7 * DAY), (given_all, DAY)):
        assert history == sorted(history, key=lambda event: event.at)
        assert all(ZERO <= event.at < duration for event in history)
    assert all(event.by >= ZERO for event in default if isinstance(event, ClockStep))
    assert all(abs(event.rate - 1) <= 0.00051 for event in default if isinstance(event, Drift))
    assert all(-MINUTE <= event.by <= ZERO for event in given_all if isinstance(event, ClockStep))
    assert all(event.duration <= MINUTE for event in given_all if isinstance(event, Suspend))


@given(outcomes())
def test_outcomes(outcome: Outcome) -> None:
    """An outcome is one that an attempt can have."""
    assert isinstance(outcome, (Succeeded, Busy, Failed))


@given(schedules(), st.datetimes(datetime(2025, 12, 1), datetime(2026, 2, 1), timezones=st.just(UTC)))
def test_schedules(schedule: Schedule, instant: datetime) -> None:
    """A schedule says of the slot that comes next that it is the latest once it has come."""
    bound = schedule.bound("job", 0)  # type: ignore[attr-defined]
    following = bound.next_after(instant)
    if following is not None:
        assert following > instant
        assert bound.latest_until(following) == following


@given(schedules(), behaviours(), clock_histories(HOUR), outages(HOUR))
def test_all_of_it_can_be_simulated(
    schedule: Schedule, behave: list[Behaviour], clock: list[ClockEvent], outage: Outage
) -> None:
    """Whatever is drawn can be simulated, and tells the same story twice."""
    job = FunctionJob("job", schedule, print)
    arguments = {"start": START, "duration": HOUR, "behave": behave, "clock": clock, "process": outage}
    assert simulate([job], **arguments) == simulate([job], **arguments)  # type: ignore[arg-type]


@given(outages(DAY), INTERVALS)
def test_refused_requests_get_through_after_the_outage(outage: Outage, interval: timedelta) -> None:
    """An outage of the endpoint costs no more than its own length and the 5 s between two tries."""
    timeline = simulate([sync(interval)], start=START, duration=DAY, transport=outage)
    assert timeline.longest_silence("sync") <= interval + outage.duration + timedelta(seconds=5)


@given(clock_histories(DAY), INTERVALS)
def test_no_silence_over_suspend_drift_and_forward_steps(history: list[ClockEvent], interval: timedelta) -> None:
    """Over suspends, drift and forward steps a healthy job is never silent for longer than its period and a minute."""
    timeline = simulate([sync(interval)], start=START, duration=DAY, clock=history)
    assert timeline.longest_silence("sync") <= interval + MINUTE


# Five steps back that are seen as one must be no correction, which is one of 3 h or more.
@given(clock_histories(DAY, back=timedelta(minutes=35)), INTERVALS)
def test_no_slot_is_used_twice(history: list[ClockEvent], interval: timedelta) -> None:
    """After steps back that are no correction no slot is used twice, however many there are."""
    timeline = simulate([sync(interval)], start=START, duration=DAY, clock=history)
    slots = [run.slot for run in timeline.runs()]
    assert len(slots) == len(set(slots))


@given(behaviours(), outages(DAY), st.sampled_from(["skip", "queue", "replace"]))
def test_runs_overlap_only_where_allowed(behave: list[Behaviour], outage: Outage, overlap: str) -> None:
    """Whatever attempts do, two runs of a job are alive at once only where its policy allows it."""
    job = HttpJob("sync", every(MINUTE), "/", overlap=overlap, timeout=5 * MINUTE)
    timeline = simulate([job], start=START, duration=timedelta(hours=3), behave=behave, transport=outage)
    assert timeline.overlaps("sync") == ()
