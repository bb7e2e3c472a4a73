"""Simulating: what attempts do, outages, lives of the process, clocks, and what is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from loopcron import (
    Busy,
    ClockStepped,
    ConfigError,
    DuplicateJobError,
    Failed,
    FunctionJob,
    HttpJob,
    Interrupted,
    JobParked,
    Missed,
    Outcome,
    Retry,
    Scheduler,
    Skipped,
    Succeeded,
    TimedOut,
    any_of,
    at,
    every,
)
from loopcron.testing import ClockStep, Drift, Outage, SimulatedAttempt, Suspend, Timeline, simulate

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
TEN_YEARS = timedelta(days=3653)


def job(name: str = "sync", minutes: float = 15, **policy: Any) -> HttpJob:
    return HttpJob(name, every(minutes=minutes), "/api/sync", **policy)


def run(*jobs: Any, duration: timedelta = HOUR, **options: Any) -> Timeline:
    return simulate(jobs or [job()], start=START, duration=duration, **options)


def outcomes(timeline: Timeline, name: str | None = None) -> list[Outcome]:
    return [settled.outcome for settled in timeline.settled(name)]


def since(moment: datetime) -> timedelta:
    return moment - START


def test_slots_up_to_the_end_run() -> None:
    """Slots after the start and up to the end run, the end included, each on its instant."""
    timeline = run()
    assert [since(ran.slot_at) for ran in timeline.runs()] == [15 * MINUTE * n for n in (1, 2, 3, 4)]
    assert all(ran.slot_at == ran.started_at == ran.ended_at for ran in timeline.runs())
    assert outcomes(timeline) == [Succeeded()] * 4


def test_year_of_a_quarterly_job() -> None:
    """A year of a job that runs every 15 minutes has 35,040 runs and no gap."""
    timeline = run(duration=timedelta(days=365))
    assert len(timeline.runs()) == 35_040
    assert timeline.longest_silence("sync") == 15 * MINUTE


def test_body_is_never_called() -> None:
    """The job's own body is not called."""

    def body(_: object) -> None:
        raise AssertionError("called")

    timeline = run(FunctionJob("boom", every(minutes=30), body))
    assert outcomes(timeline) == [Succeeded()] * 2


@pytest.mark.parametrize(
    ("behaviour", "outcome", "lasts"),
    [
        (None, Succeeded(), 0),
        (Busy(), Busy(), 0),
        (204, Succeeded(204), 0),
        (202, Failed("endpoint", "HTTP 202", 202), 0),
        (409, Busy(409), 0),
        (500, Failed("endpoint", "HTTP 500", 500), 0),
        (7 * SECOND, Succeeded(), 7),
        ((500, 7 * SECOND), Failed("endpoint", "HTTP 500", 500), 7),
        ((None, 7 * SECOND), Succeeded(), 7),
        ((Failed("job", "boom"), timedelta(0)), Failed("job", "boom"), 0),
        (HOUR, TimedOut(300.0), 300),
    ],
)
def test_what_an_attempt_does(behaviour: Any, outcome: Outcome, lasts: int) -> None:
    """An attempt ends as its function says, which may give an outcome, a status, a duration, or a pair of both."""
    asked: list[SimulatedAttempt] = []

    def behave(attempt: SimulatedAttempt) -> Any:
        asked.append(attempt)
        return behaviour

    timeline = run(job(expected={200, 204}), duration=29 * MINUTE, behave=behave)
    (ran,) = timeline.runs()
    assert ran.outcome == outcome
    assert ran.ended_at - ran.started_at == lasts * SECOND
    (attempt,) = asked
    assert (attempt.job, attempt.attempt, attempt.reason) == ("sync", 1, "schedule")
    assert attempt.slot == attempt.started_at == START + 15 * MINUTE
    assert attempt.key == "sync@2026-03-01T00:15:00.000Z"
    assert attempt.fence > 0


def test_status_for_a_job_of_ones_own() -> None:
    """For a job that is no HttpJob a status means what it means by default."""
    timeline = run(FunctionJob("own", every(minutes=30), print), behave=[204, 302])
    assert outcomes(timeline) == [Succeeded(204), Failed("endpoint", "HTTP 302", 302)]


def test_list_is_used_up_in_order() -> None:
    """A list is used up over all jobs in the order in which attempts begin, and after it all succeed."""
    timeline = run(job("a"), job("b"), behave=[500, 409, None])
    assert [type(outcome) for outcome in outcomes(timeline)] == [Failed, Busy, *[Succeeded] * 6]


def test_attempts_of_one_run() -> None:
    """A failure that the job's Retry covers is repeated within its run, and both attempts are told."""
    timeline = run(
        job(retry=Retry(attempts=3, on=frozenset({500}))),
        duration=20 * MINUTE,
        behave=lambda attempt: 500 if attempt.attempt == 1 else 200,
    )
    (ran,) = timeline.runs()
    assert (ran.attempts, ran.outcome) == (2, Succeeded(200))
    assert ran.ended_at - ran.started_at == SECOND


def test_error_of_the_function_is_let_out() -> None:
    """What the user's own function raises is the test's affair."""
    with pytest.raises(ZeroDivisionError):
        run(behave=lambda _: 1 // 0)


def test_transport_outage() -> None:
    """Attempts that begin during an outage are refused, and repeated until their run's deadline."""
    outage = Outage(14 * MINUTE, 3 * MINUTE)
    timeline = run(transport=outage, behave=lambda _: 10 * MINUTE)
    first, second, *_ = timeline.runs()
    assert first.started_at == START + 15 * MINUTE
    assert first.attempts > 20
    assert isinstance(first.outcome, TimedOut)
    assert second.attempts == 1
    silence = timeline.longest_silence("sync")
    assert 15 * MINUTE + 2 * MINUTE <= silence <= 15 * MINUTE + 2 * MINUTE + 5 * SECOND


def test_long_transport_outage() -> None:
    """A run whose deadline comes before the end of the outage fails as refused, and that breaks no silence."""
    timeline = run(transport=[Outage(10 * MINUTE, 30 * MINUTE)])
    assert outcomes(timeline)[:2] == [Failed("transport", "refused", started=False)] * 2
    assert timeline.longest_silence("sync") == 45 * MINUTE


def test_ledger_outage() -> None:
    """A slot is asked for until its grace is over, and then skipped; a job that is not registered yet waits."""
    timeline = run(ledger=[Outage(timedelta(0), MINUTE), Outage(29 * MINUTE, 20 * MINUTE)])
    assert outcomes(timeline) == [Succeeded(), Skipped("ledger"), Succeeded(), Succeeded()]
    assert [since(ran.started_at) // MINUTE for ran in timeline.runs()] == [15, 49, 60]


def test_scheduler_that_fires_without_the_ledger() -> None:
    """What the scheduler says of a ledger that is down counts: its slots run after 5 s, side by side if they may."""
    scheduler = Scheduler(on_ledger_error="fire")
    scheduler.add(job(minutes=1, overlap="allow", timeout=None))
    down = Outage(timedelta(0), 4 * MINUTE)
    timeline = simulate(scheduler, start=START, duration=5 * MINUTE, ledger=down, behave=lambda _: 90 * SECOND)
    assert outcomes(timeline) == [Succeeded()] * 3 + [Interrupted("shutdown")] * 2
    assert [since(ran.started_at) for ran in timeline.runs()] == [
        *(minute * MINUTE + 5 * SECOND for minute in (1, 2, 3)),
        4 * MINUTE,
        5 * MINUTE,
    ]


def test_killed_process_leaves_no_outcome() -> None:
    """What is alive when the process is killed is lost: its run has no outcome, and its slot none in the events."""
    timeline = run(behave=lambda _: 4 * MINUTE, process=Outage(16 * MINUTE, 20 * MINUTE))
    lost, *others = timeline.runs()
    assert (lost.outcome, lost.attempts) == (None, 1)
    assert (since(lost.started_at), since(lost.ended_at)) == (15 * MINUTE, 16 * MINUTE)
    assert [since(ran.slot_at) for ran in others] == [45 * MINUTE, HOUR]
    assert len(timeline.settled()) == 2
    assert timeline.longest_silence("sync") == 30 * MINUTE


def test_killed_between_two_attempts() -> None:
    """A run that waits for its next attempt is lost too, with the attempts that it made."""
    timeline = run(process=Outage(16 * MINUTE, HOUR), transport=Outage(14 * MINUTE, HOUR))
    (lost,) = timeline.runs()
    assert lost.outcome is None
    assert lost.attempts > 5


def test_new_process_with_a_memory_ledger() -> None:
    """With a memory ledger a new process knows nothing of the slots meanwhile: nothing is missed or caught up."""
    timeline = run(process=Outage(16 * MINUTE, 20 * MINUTE))
    assert [since(ran.slot_at) for ran in timeline.runs()] == [15 * MINUTE, 45 * MINUTE, HOUR]
    assert not timeline.missed()


def test_new_process_with_a_persistent_ledger() -> None:
    """With a persistent ledger the slots meanwhile are treated as late: the newest one runs, the others are missed."""
    timeline = run(process=Outage(16 * MINUTE, 40 * MINUTE), keep_ledger=True)
    assert [since(ran.slot_at) for ran in timeline.runs()] == [15 * MINUTE, 45 * MINUTE, HOUR]
    (missed,) = timeline.missed("sync")
    assert (since(missed.first_at), since(missed.last_at), missed.count) == (30 * MINUTE, 30 * MINUTE, 1)


def test_slot_that_a_predecessor_claimed() -> None:
    """A slot that the killed process had claimed is not run again by its successor."""
    timeline = run(behave=lambda _: MINUTE, process=Outage(15 * MINUTE + SECOND, SECOND), keep_ledger=True)
    assert [since(ran.slot_at) for ran in timeline.runs()] == [15 * MINUTE * n for n in (1, 2, 3, 4)]
    assert [ran.outcome is None for ran in timeline.runs()] == [True, False, False, False]


def test_run_on_start_over_restarts() -> None:
    """With run_on_start every process runs the newest slot at its start, unless a ledger knows that it ran."""
    restart = Outage(20 * MINUTE, timedelta(0))
    forgetful, kept = (
        run(job(run_on_start=True), process=restart, keep_ledger=keep_ledger, duration=25 * MINUTE)
        for keep_ledger in (False, True)
    )
    assert [(ran.reason, since(ran.slot_at)) for ran in forgetful.runs()] == [
        ("start", timedelta(0)),
        ("schedule", 15 * MINUTE),
        ("start", 15 * MINUTE),
    ]
    assert [(ran.reason, since(ran.slot_at)) for ran in kept.runs()] == [
        ("start", timedelta(0)),
        ("schedule", 15 * MINUTE),
    ]


def test_process_down_at_both_ends() -> None:
    """A process that is down at the start begins later, and one that is down at the end is not stopped."""
    timeline = run(process=[Outage(timedelta(0), 20 * MINUTE), Outage(40 * MINUTE, 5 * HOUR), Outage(9 * HOUR, HOUR)])
    assert [since(ran.slot_at) for ran in timeline.runs()] == [30 * MINUTE]


def test_overlapping_outages_of_the_process() -> None:
    """Outages of the process that overlap are one."""
    timeline = run(process=[Outage(10 * MINUTE, 30 * MINUTE), Outage(12 * MINUTE, MINUTE)])
    assert [since(ran.slot_at) for ran in timeline.runs()] == [45 * MINUTE, HOUR]


@pytest.mark.parametrize("part", ["transport", "ledger"])
def test_overlapping_outages_of_a_part(part: str) -> None:
    """Outages of a part that overlap or meet are one; one without a duration is none."""
    several = [
        Outage(10 * MINUTE, 30 * MINUTE),
        Outage(12 * MINUTE, MINUTE),
        Outage(40 * MINUTE, 6 * MINUTE),
        Outage(HOUR, timedelta(0)),
    ]
    separate: dict[str, Any] = {part: several}
    whole: dict[str, Any] = {part: Outage(10 * MINUTE, 36 * MINUTE)}
    assert run(**separate).settled() == run(**whole).settled()


def test_stop_at_the_end() -> None:
    """At the end the scheduler is stopped: a run may go on for the drain, and what still runs is interrupted."""
    short, long = (run(duration=15 * MINUTE, behave=[lasts]) for lasts in (5 * SECOND, MINUTE))
    assert outcomes(short) == [Succeeded()]
    assert outcomes(long) == [Interrupted("shutdown")]
    assert long.runs()[0].ended_at == long.end + 10 * SECOND


def test_settings_of_a_scheduler() -> None:
    """A scheduler brings its jobs, and its start-up delay, limit, drain and pauses count too."""
    scheduler = Scheduler(startup_delay=20 * MINUTE, drain=timedelta(0), max_running=1)
    for name in ("a", "b", "c"):
        scheduler.add(job(name))
    scheduler.pause("c")
    timeline = simulate(scheduler, start=START, duration=35 * MINUTE, behave=lambda _: 4 * MINUTE)
    assert timeline.jobs == ("a", "b", "c")
    started = [(ran.job, since(ran.started_at)) for ran in timeline.runs()]
    assert started == [
        *(("a", 20 * MINUTE), ("b", 24 * MINUTE)),
        *(("a", 30 * MINUTE), ("b", 34 * MINUTE)),
    ]
    assert timeline.runs()[-1].outcome == Interrupted("shutdown")
    (paused,) = outcomes(timeline, "c")
    assert isinstance(paused, Skipped)
    assert (paused.reason, paused.count) == ("paused", 2)


@pytest.mark.parametrize(
    ("overlap", "names"),
    [
        ("skip", ["Succeeded", "Skipped", "Succeeded", "Skipped"]),
        ("replace", ["Interrupted", "Interrupted", "Interrupted", "Interrupted"]),
        ("allow", ["Succeeded", "Succeeded", "Succeeded", "Interrupted"]),
    ],
)
def test_overlap(overlap: str, names: list[str]) -> None:
    """Runs that outlast their period meet the job's overlap policy, and only where it allows do they overlap."""
    timeline = run(job(overlap=overlap, timeout=HOUR), behave=lambda _: 20 * MINUTE, duration=65 * MINUTE)
    by_slot = sorted(timeline.settled(), key=lambda settled: settled.slot)
    assert [type(settled.outcome).__name__ for settled in by_slot] == names
    assert len(timeline.overlaps("sync")) == (3 if overlap == "allow" else 0)
    for earlier, later in timeline.overlaps():
        assert earlier.started_at < later.started_at < earlier.ended_at


def test_replaced_at_the_instant_of_its_next_attempt() -> None:
    """A run that makes another attempt just when a slot replaces it ends once, and its slot has one outcome."""
    sixth_wait = timedelta(milliseconds=50 + 100 + 200 + 400 + 800 + 1600)
    schedule = any_of(at(START + MINUTE), at(START + MINUTE + sixth_wait))
    replaced = FunctionJob("sync", schedule, print, overlap="replace", timeout=HOUR)
    timeline = run(replaced, transport=Outage(timedelta(0), MINUTE + 10 * SECOND))
    first, second = timeline.runs()
    assert first.ended_at == second.started_at == START + MINUTE + sixth_wait
    assert (first.outcome, first.attempts) == (Failed("transport", "refused", started=False), 7)
    assert second.outcome == Succeeded()


def test_more_jobs_than_one_poll_looks_at() -> None:
    """More jobs on one instant than the timetable hands out at once all run on it."""
    timeline = run(*(job(f"j{number}") for number in range(1_100)), duration=15 * MINUTE)
    assert len(timeline.runs()) == 1_100
    assert {since(ran.started_at) for ran in timeline.runs()} == {15 * MINUTE}


def test_schedule_of_ones_own_that_fails() -> None:
    """A schedule that raises parks its job as in earnest, and the others go on."""

    class Broken:
        def next_after(self, instant: datetime) -> datetime | None:
            raise OSError("gone")

        def latest_until(self, instant: datetime) -> datetime | None:
            raise OSError("gone")

    timeline = run(FunctionJob("broken", Broken(), print), job())
    assert len(timeline.runs("sync")) == 4
    assert not timeline.settled("broken")
    assert any(isinstance(event, JobParked) and event.job == "broken" for event in timeline.events)


def test_jobs_without_a_slot() -> None:
    """Jobs that have no slot, or no job at all, give a timeline without runs."""
    past = FunctionJob("past", at(START - HOUR), print)
    for timeline in (run(past), simulate([], start=START, duration=HOUR), run(past, clock=[ClockStep(MINUTE, HOUR)])):
        assert not timeline.runs()
        assert timeline.text()


# --- clocks


def test_step_forward() -> None:
    """A step forward is seen within 30 s; slots that were passed are late, and no run of another time."""
    timeline = run(clock=[ClockStep(16 * MINUTE, 2 * HOUR)], duration=HOUR)
    (stepped,) = [event for event in timeline.events if isinstance(event, ClockStepped)]
    assert stepped.by_ms == 7_200_000
    runs = timeline.runs()
    assert [since(ran.started_at) for ran in runs] == [15 * MINUTE, 16 * MINUTE, 30 * MINUTE, 45 * MINUTE, HOUR]
    assert [since(ran.slot_at) for ran in runs[:3]] == [15 * MINUTE, 135 * MINUTE, 150 * MINUTE]
    assert sum(missed.count or 0 for missed in timeline.missed()) == 7


def test_step_within_a_slice() -> None:
    """The shell sees a step when it wakes from the slice that it sleeps in, and not before."""
    timeline = run(clock=[ClockStep(16 * MINUTE + SECOND, 2 * HOUR)], duration=20 * MINUTE)
    assert since(timeline.runs()[-1].started_at) == 16 * MINUTE + 30 * SECOND


def test_step_back() -> None:
    """After a step back no used slot recurs: the job waits until the clock passes its last slot again."""
    timeline = run(clock=[ClockStep(31 * MINUTE, -HOUR)], duration=2 * HOUR)
    slots = [ran.slot for ran in timeline.runs()]
    assert len(slots) == len(set(slots)) == 4
    assert timeline.longest_silence("sync") == 75 * MINUTE


@pytest.mark.parametrize(("keep_ledger", "silence"), [(False, 15 * MINUTE), (True, 3 * HOUR + 15 * MINUTE)])
def test_correction(keep_ledger: bool, silence: timedelta) -> None:
    """After a step back of 3 h or more slots count anew, but not with a persistent ledger, which may not forget."""
    timeline = run(clock=[ClockStep(31 * MINUTE, -3 * HOUR)], duration=4 * HOUR, keep_ledger=keep_ledger)
    assert silence <= timeline.longest_silence("sync") <= silence + MINUTE


def test_slot_recurs_while_its_first_run_is_alive() -> None:
    """A slot that a correction of the clock brings again has two runs, even if both are alive at once."""
    timeline = run(
        job(minutes=60, overlap="allow", timeout=20 * HOUR),
        behave=lambda _: 6 * HOUR,
        clock=[ClockStep(4.5 * HOUR, -4 * HOUR)],
        duration=9 * HOUR,
    )
    runs = sorted(timeline.runs(), key=lambda ran: ran.started)
    assert [since(ran.slot_at) // HOUR for ran in runs] == [1, 2, 3, 4, 1, 2, 3, 4, 5]
    assert [(ran.slot, ran.outcome) for ran in timeline.runs()] == [
        (settled.slot, settled.outcome) for settled in timeline.settled() if settled.attempt
    ]
    assert [since(ran.ended_at) - since(ran.started_at) for ran in runs[:3]] == [6 * HOUR] * 3


def test_second_attempt_for_a_slot_that_recurs() -> None:
    """A run makes its second attempt though another run of its slot, which a correction brought again, has ended."""
    come_back = Failed("endpoint", "HTTP 503", 503, retry_after_seconds=1.0)
    timeline = run(
        job(minutes=60, overlap="allow", timeout=20 * HOUR),
        behave=lambda attempt: (come_back if attempt.attempt == 1 else 200, 3 * HOUR),
        clock=[ClockStep(4.5 * HOUR, -4 * HOUR)],
        duration=18 * HOUR,
    )
    assert [since(ran.slot_at) // HOUR for ran in timeline.runs()[:8]] == [1, 2, 3, 4, 1, 2, 3, 4]
    assert {(ran.attempts, ran.outcome) for ran in timeline.runs()[:8]} == {(2, Succeeded(200))}


def test_suspend() -> None:
    """A suspend does not count as silence, its slots are late ones, and a run that is alive sleeps along."""
    timeline = run(clock=[Suspend(16 * MINUTE, 2 * HOUR)], behave=lambda _: 2 * MINUTE, duration=3 * HOUR)
    first, second, *_ = timeline.runs()
    assert since(first.ended_at) == 137 * MINUTE
    assert since(second.slot_at) == 150 * MINUTE
    assert Skipped("overlap") in outcomes(timeline)
    assert timeline.longest_silence("sync") == 15 * MINUTE
    (missed, *_) = [outcome for outcome in outcomes(timeline) if isinstance(outcome, Missed)]
    assert missed.count == 7


def test_suspends_that_overlap() -> None:
    """Suspends that overlap are one, and what lies in between sleeps."""
    timeline = run(clock=[Suspend(16 * MINUTE, 20 * MINUTE), Suspend(20 * MINUTE, 2 * MINUTE)])
    assert [since(ran.started_at) for ran in timeline.runs()][1] == 36 * MINUTE


def test_process_starts_when_the_machine_wakes() -> None:
    """A process that is to start while the machine sleeps starts when it wakes, and one that then is dead never."""
    asleep = [Suspend(5 * MINUTE, 30 * MINUTE)]
    timeline = run(process=Outage(timedelta(0), 20 * MINUTE), clock=asleep)
    assert [since(ran.slot_at) for ran in timeline.runs()] == [45 * MINUTE, HOUR]
    timeline = run(process=[Outage(timedelta(0), 20 * MINUTE), Outage(25 * MINUTE, HOUR)], clock=asleep)
    assert not timeline.events


@pytest.mark.parametrize("rate", [0.9995, 1.0005])
def test_drift(rate: float) -> None:
    """A clock that runs fast or slow is followed: slots are the wall clock's, and no step is told."""
    timeline = run(clock=[Drift(timedelta(0), rate)], duration=timedelta(days=1))
    assert not any(isinstance(event, ClockStepped) for event in timeline.events)
    runs = timeline.runs()
    assert len(runs) == (95 if rate < 1 else 96)
    assert all(abs(since(ran.started_at) * rate - since(ran.slot_at)) < SECOND for ran in runs)


def test_single_clock_event() -> None:
    """One event of the clock need not be put into a list."""
    step = ClockStep(16 * MINUTE, HOUR)
    assert run(clock=step) == run(clock=[step])


def test_slots_are_counted_before() -> None:
    """More slots than a simulation can hold are refused at once; bounds count, and schedules of one's own do not."""
    often = every(milliseconds=1)
    few = often.between(START + HOUR, START + HOUR + SECOND)
    with pytest.raises(ConfigError, match=r"7,200,000 slots are too many for one simulation, 5,000,000 are not"):
        run(FunctionJob("often", any_of(often, few.between(end=START)), print), FunctionJob("again", often, print))
    assert len(run(FunctionJob("few", any_of(few, at(START + MINUTE)), print), duration=2 * HOUR).settled()) == 1_001


def test_history_in_any_order() -> None:
    """A clock history need not be sorted."""
    history = [ClockStep(40 * MINUTE, HOUR), Suspend(5 * MINUTE, MINUTE)]
    assert run(clock=history) == run(clock=reversed(history))


def test_same_arguments_same_timeline() -> None:
    """The same arguments give an equal timeline."""
    arguments: dict[str, Any] = {
        "clock": [Suspend(16 * MINUTE, 2 * HOUR), ClockStep(4 * HOUR, -HOUR), Drift(5 * HOUR, 1.001)],
        "process": Outage(6 * HOUR, HOUR),
        "transport": Outage(8 * HOUR, 2 * MINUTE),
        "behave": [500, 3 * MINUTE, 409],
        "duration": timedelta(days=1),
    }
    assert run(**arguments) == run(**arguments)
    assert run(**arguments) != run()


def test_start_in_a_timezone() -> None:
    """The timeline keeps the timezone of its start, and its length is real time whatever local clocks do."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 29, tzinfo=berlin)
    timeline = simulate([job()], start=start, duration=timedelta(days=1))
    assert (timeline.start, timeline.start.tzinfo, timeline.end.tzinfo) == (start, berlin, berlin)
    assert timeline.end.isoformat() == "2026-03-30T01:00:00+02:00"


# --- bad input


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"jobs": job()}, "jobs=.*must be a list of jobs, or a Scheduler"),
        ({"jobs": [object()]}, "name=None"),
        ({"start": datetime(2026, 3, 1)}, "start=.*has no timezone"),
        ({"start": "2026-03-01"}, "start='2026-03-01'.*must be a datetime"),
        ({"start": datetime(1969, 1, 1, tzinfo=UTC)}, "start=.*years 1970 to 2199"),
        ({"start": datetime(2199, 1, 1, tzinfo=UTC), "duration": timedelta(days=900)}, "duration=.*to 2199"),
        ({"duration": timedelta(0)}, "duration=.*between"),
        ({"duration": 7}, "duration=7.*must be a timedelta"),
        ({"behave": 500}, "behave=500.*must be a function"),
        ({"behave": ["ok"]}, "behave='ok'.*must be an Outcome"),
        ({"behave": [True]}, "behave=True"),
        ({"behave": [99]}, "behave=99"),
        ({"behave": [(200, 3)]}, "behave=3.*must be a timedelta"),
        ({"behave": [(200, SECOND, 1)]}, "behave=.*must be an Outcome"),
        ({"behave": [-SECOND]}, "behave=.*must be between"),
        ({"transport": 3}, "transport=3.*must be an Outage, or a list of them"),
        ({"transport": [3]}, "transport=3.*must be an Outage"),
        ({"ledger": Outage(-SECOND, SECOND)}, "ledger.at="),
        ({"process": [Outage(SECOND, -SECOND)]}, "process.duration="),
        ({"transport": (SECOND, SECOND)}, r"transport=\(.*, .*\): must be an Outage"),
        ({"clock": 3}, "clock=3.*must be a ClockStep"),
        ({"clock": Outage(SECOND, SECOND)}, "clock=Outage.*must be a ClockStep"),
        ({"clock": [Outage(SECOND, SECOND)]}, "clock=Outage.*must be a ClockStep"),
        ({"clock": [ClockStep(-SECOND, SECOND)]}, "clock.at="),
        ({"clock": [ClockStep(SECOND, timedelta(days=5000))]}, "clock.by="),
        ({"clock": [Suspend(SECOND, -SECOND)]}, "clock.duration="),
        ({"clock": [Drift(SECOND, 0)]}, "clock.rate=0.*from 0.1 to 10"),
        ({"clock": [Drift(SECOND, True)]}, "clock.rate=True"),
        ({"clock": [Drift(SECOND, "fast")]}, "clock.rate='fast'"),  # type: ignore[arg-type]
        ({"clock": [ClockStep(SECOND, TEN_YEARS)] * 900}, "clock=ClockStep.*within the years 1970 to 2199"),
        ({"clock": [ClockStep(SECOND * n, -TEN_YEARS) for n in range(7)]}, r"clock=ClockStep\(.*seconds=5\).*1970 to"),
        (
            {"start": datetime(2198, 1, 1, tzinfo=UTC), "duration": timedelta(days=90), "clock": [Drift(SECOND, 10.0)]},
            "clock=Drift.*1970 to 2199",
        ),
        ({"jobs": [job(minutes=0.001)], "duration": TEN_YEARS}, "duration=.*5,260,320,000 slots are too many"),
    ],
)
def test_bad_input(change: dict[str, Any], says: str) -> None:
    """What cannot be simulated is refused, with the field, the value and what would do."""
    arguments: dict[str, Any] = {"jobs": [job()], "start": START, "duration": HOUR, **change}
    with pytest.raises(ConfigError, match=says):
        simulate(**arguments)


def test_two_jobs_of_one_name() -> None:
    """Jobs are checked as a scheduler checks them."""
    with pytest.raises(DuplicateJobError):
        run(job(), job())


def test_timeline_is_no_place_for_an_unknown_job() -> None:
    """Every query that takes a job names the known ones when it is not among them."""
    timeline = run()
    queries: list[Callable[[str], object]] = [
        *(timeline.settled, timeline.runs, timeline.missed),
        *(timeline.overlaps, timeline.longest_silence),
    ]
    for query in queries:
        with pytest.raises(LookupError, match=r"'synk': no such job; known jobs: sync"):
            query("synk")


@pytest.mark.parametrize("is_enabled", [True, False])
def test_leaves_the_collector_as_it_was(is_enabled: bool) -> None:
    """The garbage collector rests during a simulation only, and stays off for those who had switched it off."""
    was_enabled = gc.isenabled()
    (gc.enable if is_enabled else gc.disable)()
    try:
        simulate([FunctionJob("job", every(hours=1), print)], start=START, duration=timedelta(hours=2))
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
