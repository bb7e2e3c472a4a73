"""Runs: attempts, what is repeated and when, the one deadline, and runs that do not end."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from loopcron import _events as e
from loopcron._every import every
from loopcron._ledger import Finish
from loopcron._outcomes import Busy, Failed, Interrupted, Outcome, Skipped, Succeeded, Taken, TimedOut
from loopcron._policies import Retry
from tests.core.conftest import Desk

MINUTE = 60_000
HOUR = 60 * MINUTE
REFUSED = Failed("transport", "refused", started=False)
UNAVAILABLE = Failed("endpoint", "HTTP 503", 503)


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


def begin(desk: Desk, **policy: Any) -> None:
    """Add an hourly job and win its first slot, so that a run is alive."""
    desk.add(every(hours=1), **policy)
    desk.at(HOUR)
    desk.win()
    desk.actions = [action for action in desk.actions if isinstance(action, e.RunStarted)]


def waits_after(desk: Desk, outcome: Outcome) -> list[int]:
    """End every attempt so until the run is over, and return the waits between them."""
    waits: list[int] = []
    while True:
        desk.end(outcome)
        failed = desk.take(e.AttemptFailed)
        if not failed:
            return waits
        waits.append(failed[0].retry_ms)
        desk.at(desk.now - desk.start + failed[0].retry_ms)


def test_run_is_started_with_what_it_needs(desk: Desk) -> None:
    """A won claim becomes a run with its slot, fence and deadline, told by one record that is action and event."""
    begin(desk)
    (start,) = desk.take(e.RunStarted)
    slot = desk.start + HOUR
    assert start == e.RunStarted("job", slot, 1, "schedule", None, start.run_id, 7, slot + 300_000)


def test_outcome_is_settled_and_written(desk: Desk) -> None:
    """A run that ends by itself has its outcome reported with its times, and written to the ledger with its fence."""
    begin(desk)
    desk.end(Succeeded(204), HOUR + 1_500)
    (settled,) = desk.take(e.Settled)
    assert (settled.outcome, settled.attempt, settled.fence, settled.failures) == (Succeeded(204), 1, 7, 0)
    assert settled.duration_seconds == 1.5
    assert settled.late_seconds == 0.0
    assert desk.take(Finish) == [Finish("job", desk.start + HOUR, 7, Succeeded(204))]


def test_run_is_cancelled_at_its_deadline(desk: Desk) -> None:
    """At start + timeout the attempt is cut, not a millisecond earlier, and what the cut leaves is `TimedOut`."""
    begin(desk, timeout=ms(10_000))
    desk.at(HOUR + 9_999)
    assert desk.take(e.Cancel) == []
    desk.at(HOUR + 10_000)
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["timeout"]
    desk.end(None, HOUR + 10_250)
    assert desk.outcomes() == [(HOUR, TimedOut(10.25))]
    assert desk.facts().failures == 1


def test_timeout_counts_from_the_start_of_the_run(desk: Desk) -> None:
    """A claim that was answered late takes nothing from the run's time."""
    desk.add(every(hours=1), timeout=ms(10_000))
    desk.at(HOUR)
    desk.win(HOUR + 8_000)
    (start,) = desk.take(e.RunStarted)
    assert start.deadline == desk.start + HOUR + 18_000


def test_hanging_job_with_the_default_timeout_skips_every_second_slot(desk: Desk) -> None:
    """A run that hangs for one period is cut at its next slot, and still alive there; so the slot is skipped."""
    desk.add()
    for minute in range(1, 5):
        desk.at(minute * MINUTE)
        desk.win()
        if desk.take(e.Cancel):
            desk.end(None)
    assert desk.outcomes() == [
        (2 * MINUTE, Skipped("overlap")),
        (MINUTE, TimedOut(60.0)),
        (4 * MINUTE, Skipped("overlap")),
        (3 * MINUTE, TimedOut(60.0)),
    ]


def test_end_after_the_cut_counts_as_it_ended(desk: Desk) -> None:
    """An attempt that was cancelled and still ends by itself counts as it ended, and is not repeated."""
    begin(desk, timeout=ms(10_000))
    desk.at(HOUR + 10_000)
    desk.end(REFUSED, HOUR + 10_100)
    assert desk.outcomes() == [(HOUR, REFUSED)]


def test_without_timeout_nothing_cuts_a_run(desk: Desk) -> None:
    """With timeout None a run may take for ever."""
    begin(desk, timeout=None)
    desk.go(30 * HOUR)
    assert desk.take(e.Cancel) == []
    assert len(desk.facts().runs) == 1


def test_run_that_swallows_its_cancellation_is_given_up(desk: Desk) -> None:
    """Two seconds after the cut a run that still lives is stuck: settled, abandoned, and the next slot runs."""
    begin(desk, timeout=ms(10_000))
    desk.at(HOUR + 10_000)
    desk.at(HOUR + 11_999)
    assert desk.take(e.RunStuck) == []
    desk.at(HOUR + 12_000)
    (stuck,), (abandon,) = desk.take(e.RunStuck), desk.take(e.Abandon)
    assert stuck.run_id == abandon.run_id
    assert desk.outcomes() == [(HOUR, TimedOut(12.0))]
    assert desk.facts().stuck == 1
    assert desk.timetable.is_over
    desk.claims.clear()
    desk.at(2 * HOUR)
    assert [claim.slot for claim in desk.claims] == [desk.start + 2 * HOUR]


def test_stuck_run_may_end_late(desk: Desk) -> None:
    """A stuck run that ends after all is reported, and changes no outcome."""
    begin(desk, timeout=ms(10_000))
    desk.go(HOUR + 12_000)
    desk.actions.clear()
    run_id = max(desk.starts)
    desk.end(Succeeded(), HOUR + 60_000)
    assert desk.actions == [e.RunUnstuck("job", desk.now, run_id)]
    assert desk.facts().stuck == 0


def test_cancel_that_was_looked_at_late_waits_its_two_seconds(desk: Desk) -> None:
    """A poll long after the deadline cancels first and gives up two seconds after that, never both at once."""
    begin(desk, timeout=ms(10_000))
    desk.at(HOUR + 50_000)
    assert len(desk.take(e.Cancel)) == 1
    assert desk.take(e.Abandon) == []
    desk.at(HOUR + 52_000)
    assert len(desk.take(e.Abandon)) == 1


def test_refused_request_is_repeated(desk: Desk) -> None:
    """A request that provably never started is repeated after 50 ms, doubling to 5 s, until no time is left."""
    begin(desk, timeout=ms(30_000))
    waits = waits_after(desk, REFUSED)
    assert waits == [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000]
    assert desk.outcomes() == [(HOUR, REFUSED)]
    assert sum(waits) < 30_000 <= sum(waits) + 5_000


def test_attempts_share_what_identifies_the_run(desk: Desk) -> None:
    """Every attempt of a run has the same id, fence and deadline, and a number of its own."""
    begin(desk)
    desk.end(REFUSED)
    desk.at(HOUR + 50)
    first, second = desk.take(e.RunStarted)
    assert second == first._replace(attempt=2)


def test_without_timeout_refused_requests_are_repeated_for_one_period(desk: Desk) -> None:
    """A run without deadline repeats a refused request until its period is over."""
    begin(desk, timeout=None)
    assert HOUR - 5_000 <= sum(waits_after(desk, REFUSED)) < HOUR


def test_retry_at_the_very_deadline_is_none(desk: Desk) -> None:
    """An attempt that could begin at the deadline only has no time left; one millisecond before it does."""
    begin(desk, timeout=ms(1_000))
    desk.end(REFUSED, HOUR + 950)
    assert desk.outcomes() == [(HOUR, REFUSED)]


def test_retry_just_before_the_deadline_is_cut_there(desk: Desk) -> None:
    """The last attempt is cut at the run's one deadline, and only then the outcome is `TimedOut`."""
    begin(desk, timeout=ms(1_000))
    desk.end(REFUSED, HOUR + 949)
    desk.at(HOUR + 999)
    assert len(desk.take(e.RunStarted)) == 2
    desk.at(HOUR + 1_000)
    assert len(desk.take(e.Cancel)) == 1
    desk.end(None)
    assert desk.outcomes() == [(HOUR, TimedOut(1.0))]


@pytest.mark.parametrize("timeout", [ms(10_000), None])
def test_retry_that_comes_too_late_is_none(desk: Desk, timeout: timedelta | None) -> None:
    """After a suspend past the deadline no further attempt begins: the last failure is the outcome."""
    begin(desk, timeout=timeout)
    desk.end(REFUSED)
    desk.take(e.RunStarted)
    desk.at(2 * HOUR)
    assert desk.take(e.RunStarted) == []
    assert (HOUR, REFUSED) in desk.outcomes()
    assert desk.timetable.poll(desk.now) == ()


def test_retry_after_is_obeyed_three_times(desk: Desk) -> None:
    """Retry-After sets the wait, rounded up to whole milliseconds, at most three times in a run."""
    begin(desk)
    assert waits_after(desk, Failed("endpoint", "HTTP 429", 429, retry_after_seconds=1.0001)) == [1_001] * 3


def test_retry_after_beyond_the_deadline_ends_the_run(desk: Desk) -> None:
    """If the endpoint asks for more time than is left, the failure is the outcome at once."""
    begin(desk, timeout=ms(10_000))
    outcome = Failed("endpoint", "HTTP 503", 503, retry_after_seconds=10)
    assert waits_after(desk, outcome) == []
    assert desk.outcomes() == [(HOUR, outcome)]


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_rubbish_retry_after_is_ignored(desk: Desk, seconds: float) -> None:
    """A job that makes up a wait which is no time gets its failure as the outcome."""
    begin(desk)
    desk.end(Failed("endpoint", "HTTP 503", 503, retry_after_seconds=seconds))
    assert desk.outcomes() == [(HOUR, UNAVAILABLE)]


def test_failure_is_not_repeated_without_a_retry(desk: Desk) -> None:
    """Without a Retry a request that did start is not repeated."""
    begin(desk)
    assert waits_after(desk, Failed("transport", "reset")) == []


@pytest.mark.parametrize(
    ("outcome", "repeated"),
    [
        (UNAVAILABLE, True),
        (Failed("endpoint", "HTTP 404", 404), False),
        (Failed("transport", "reset"), True),
        (Failed("job", "ValueError"), False),
        (Busy(), False),
        (Succeeded(503), False),
        (Skipped("no_address"), False),
        (TimedOut(1.0), False),
    ],
)
def test_default_retry_repeats_what_may_pass(desk: Desk, outcome: Outcome, repeated: bool) -> None:
    """By default a Retry repeats what the transport or a gateway is to blame for, and nothing else."""
    begin(desk, retry=Retry())
    assert waits_after(desk, outcome) == ([1_000, 2_000] if repeated else [])
    assert desk.outcomes() == [(HOUR, outcome)]


def test_retry_counts_its_attempts_alone(desk: Desk) -> None:
    """Refused requests and obeyed waits do not use up the attempts of a Retry."""
    begin(desk, retry=Retry(attempts=2, backoff=ms(300)))
    waits: list[int] = []
    for outcome in (REFUSED, UNAVAILABLE, REFUSED, Failed("endpoint", "HTTP 503", 503, retry_after_seconds=2)):
        desk.end(outcome)
        waits += [failed.retry_ms for failed in desk.take(e.AttemptFailed)]
        desk.at(desk.now - desk.start + waits[-1])
    assert waits == [50, 300, 100, 2_000]
    desk.end(UNAVAILABLE)
    (settled,) = desk.take(e.Settled)
    assert (settled.outcome, settled.attempt) == (UNAVAILABLE, 5)


def test_exhausted_retry_after_falls_back_to_retry(desk: Desk) -> None:
    """When Retry-After was obeyed three times, the job's own Retry still may repeat."""
    begin(desk, retry=Retry(attempts=2))
    outcome = Failed("endpoint", "HTTP 503", 503, retry_after_seconds=0)
    assert waits_after(desk, outcome) == [0, 0, 0, 1_000]


def test_409_is_never_repeated(desk: Desk) -> None:
    """A 409 is not repeated even where a job calls it a failure and its Retry takes all of the endpoint's."""
    begin(desk, retry=Retry(on=frozenset({"endpoint"})))
    assert waits_after(desk, Failed("endpoint", "HTTP 409", 409, started=False)) == []


def test_run_with_retry_ends_before_the_next_slot(desk: Desk) -> None:
    """With a Retry the next slot is a deadline too; without one it is not."""
    desk.add(timeout=ms(10 * MINUTE), retry=Retry())
    desk.add(name="other", timeout=ms(10 * MINUTE))
    desk.at(MINUTE)
    desk.win()
    assert [(start.job, start.deadline) for start in desk.take(e.RunStarted)] == [
        ("job", desk.start + 2 * MINUTE),
        ("other", desk.start + 11 * MINUTE),
    ]


def test_run_with_retry_and_no_timeout_ends_before_the_next_slot(desk: Desk) -> None:
    """With a Retry and no timeout the next slot is the only deadline."""
    begin(desk, timeout=None, retry=Retry())
    assert [start.deadline for start in desk.take(e.RunStarted)] == [desk.start + 2 * HOUR]


def test_slot_that_passed_while_claiming_is_no_deadline(desk: Desk) -> None:
    """If the ledger was so slow that the next slot has passed, the one after it bounds a run with Retry."""
    desk.add(timeout=ms(10 * MINUTE), retry=Retry())
    desk.at(MINUTE)
    desk.win(2 * MINUTE + 1)
    assert [start.deadline for start in desk.take(e.RunStarted)] == [desk.start + 3 * MINUTE]


def test_failures_in_a_row_are_counted(desk: Desk) -> None:
    """Failures and time-outs add up until a success; a busy run leaves the number alone."""
    desk.add()
    failed = Failed("job", "x")
    outcomes: list[Outcome] = [failed, TimedOut(1.0), Busy(), failed, Succeeded(), failed]
    numbers = []
    for minute, outcome in enumerate(outcomes, 1):
        desk.at(minute * MINUTE)
        desk.win()
        desk.end(outcome)
        numbers += [settled.failures for settled in desk.take(e.Settled)]
    assert numbers == [1, 2, 2, 3, 0, 1]


def test_exception_is_delivered_once(desk: Desk) -> None:
    """What the job raised stands in the one event, for observers, and not in what that event shows."""
    begin(desk)
    error = ValueError("secret")
    desk.tell(e.AttemptEnded(max(desk.starts), Failed("job", "ValueError"), error))
    (settled,) = desk.take(e.Settled)
    assert settled.exception is error
    assert "secret" not in repr(settled)


@pytest.mark.parametrize(
    ("end", "outcome"), [(Desk.lose, Taken()), (Desk.give_up, Skipped("ledger"))], ids=["lost", "unavailable"]
)
def test_claim_that_is_not_won_starts_nothing(desk: Desk, end: Callable[[Desk], None], outcome: Outcome) -> None:
    """A lost claim is `Taken`, one that could not be asked is skipped, and the next slot is claimed as ever."""
    desk.add()
    desk.at(MINUTE)
    end(desk)
    assert desk.outcomes() == [(MINUTE, outcome)]
    assert desk.take(e.RunStarted) == []
    assert desk.facts().failures == 0
    desk.claims = []
    desk.at(2 * MINUTE)
    assert len(desk.claims) == 1


def test_slots_wait_while_a_claim_is_open(desk: Desk) -> None:
    """A job has one claim at a time; what came due meanwhile is served when it is answered."""
    desk.add(overlap="allow", catch_up="latest")
    desk.at(MINUTE)
    desk.at(3 * MINUTE)
    assert len(desk.claims) == 1
    assert desk.facts().oldest == desk.start + MINUTE
    desk.win()
    assert [claim.slot for claim in desk.claims] == [desk.start + 3 * MINUTE]


def test_cancellation_that_was_never_asked_for(desk: Desk) -> None:
    """An attempt that was cancelled although nobody asked for it failed by its own fault."""
    begin(desk)
    desk.end(None, HOUR + 1_000)
    assert desk.outcomes() == [(HOUR, Failed("job", "cancelled inside"))]


def test_cancellation_that_was_never_asked_for_while_stopping(desk: Desk) -> None:
    """While the scheduler stops such an attempt was interrupted: a server told twice to stop cancels all tasks."""
    begin(desk)
    desk.tell(e.Stopping(10_000))
    desk.end(None, HOUR + 1_000)
    assert desk.outcomes() == [(HOUR, Interrupted("shutdown"))]


def test_unknown_address_is_waited_for_early_on(desk: Desk) -> None:
    """In the first ten seconds of a life a run without an address is repeated with a back-off, as if refused."""
    desk.add()
    desk.tell(e.Triggered("job", "job@manual-1"))
    desk.end(Skipped("no_address"), 9_999)
    assert [failed.retry_ms for failed in desk.take(e.AttemptFailed)] == [50]
    desk.go(10_049)
    desk.end(Skipped("no_address"))
    assert [settled.outcome for settled in desk.take(e.Settled)] == [Skipped("no_address")]


def test_removal_cuts_with_its_own_reason(desk: Desk) -> None:
    """A run that is cut because its job was removed is `Interrupted`, also if it never ends."""
    begin(desk)
    desk.tell(e.Removed("job"))
    assert [cancel.by for cancel in desk.take(e.Cancel)] == ["remove"]
    desk.go(HOUR + 2_000)
    assert (HOUR, Interrupted("remove")) in desk.outcomes()
