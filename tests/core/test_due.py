"""Which of the due slots runs, and what becomes of the others."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loopcron import _events as e
from loopcron._every import at, every
from loopcron._instants import from_ms
from loopcron._ledger import Claim, Register
from loopcron._outcomes import Missed, Skipped, Succeeded
from loopcron._policies import Policy
from tests.rows import registered

if TYPE_CHECKING:
    from tests.core.conftest import Desk

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def claimed(desk: Desk) -> list[int]:
    return [claim.slot - desk.start for claim in desk.take(Claim)]


def test_slot_equal_to_now_is_due(desk: Desk) -> None:
    """A slot is due at its very instant and not one millisecond before it."""
    desk.add()
    desk.at(MINUTE - 1)
    assert claimed(desk) == []
    desk.at(MINUTE)
    assert claimed(desk) == [MINUTE]


def test_new_job_never_back_fills(desk: Desk) -> None:
    """A new job's first slot is the first one after its registration, also if a slot falls on that very instant."""
    desk.add()
    assert desk.facts().slot == desk.start + MINUTE
    assert claimed(desk) == []


@pytest.mark.parametrize(("late", "runs"), [(0, True), (5_000, True), (5_001, False)])
def test_misfire_grace_is_inclusive(desk: Desk, late: int, runs: bool) -> None:
    """The newest due slot simply runs if it is exactly as late as misfire_grace, and not one millisecond later."""
    desk.add(catch_up="skip", misfire_grace=timedelta(seconds=5))
    desk.at(MINUTE + late)
    assert claimed(desk) == ([MINUTE] if runs else [])
    slot = desk.start + MINUTE
    assert desk.outcomes() == ([] if runs else [(MINUTE, Missed(slot, slot, 1))])


def test_default_grace_is_capped_at_an_hour(desk: Desk) -> None:
    """With a period of a day and nothing caught up, a slot an hour late runs and one later than that is missed."""
    desk.add(every(days=1), catch_up="skip")
    desk.at(DAY + HOUR)
    assert claimed(desk) == [DAY]
    desk.win()
    desk.end(Succeeded())
    desk.outcomes()
    desk.at(2 * DAY + HOUR + 1)
    assert claimed(desk) == []
    assert desk.outcomes() == [(2 * DAY, Missed(desk.start + 2 * DAY, desk.start + 2 * DAY, 1))]


@pytest.mark.parametrize(("late", "runs"), [(2 * HOUR, True), (2 * HOUR + 1, False)])
def test_catch_up_within_is_inclusive(desk: Desk, late: int, runs: bool) -> None:
    """The newest slot is caught up if it is exactly as late as catch_up_within, and no longer after that."""
    desk.add(every(days=1), catch_up_within=timedelta(hours=2))
    desk.at(DAY + late)
    assert claimed(desk) == ([DAY] if runs else [])
    assert len(desk.outcomes()) == (0 if runs else 1)


def test_catch_up_reason_tells_late_from_on_time(desk: Desk) -> None:
    """A run within the grace has the reason schedule, one that is caught up says so."""
    desk.add(every(days=1))
    desk.at(DAY + HOUR)
    desk.win()
    assert [start.reason for start in desk.take(e.RunStarted)] == ["schedule"]
    desk.end(Succeeded())
    desk.at(2 * DAY + HOUR + 1)
    desk.win()
    assert [start.reason for start in desk.take(e.RunStarted)] == ["catch_up"]


@pytest.mark.parametrize("catch_up", ["skip", "latest"])
def test_all_but_the_newest_are_missed(desk: Desk, catch_up: str) -> None:
    """After a silence one range names the first and the last slot that passed, exactly counted, and the newest runs."""
    desk.add(catch_up=catch_up)
    desk.at(10 * MINUTE + 500)
    assert desk.outcomes() == [(9 * MINUTE, Missed(desk.start + MINUTE, desk.start + 9 * MINUTE, 9))]
    assert claimed(desk) == [10 * MINUTE]


def test_nothing_runs_beyond_both_bounds(desk: Desk) -> None:
    """If the newest slot is too late too, it is the last one of the missed range."""
    desk.add(misfire_grace=timedelta(0), catch_up_within=timedelta(0))
    desk.at(10 * MINUTE + 1)
    assert desk.outcomes() == [(10 * MINUTE, Missed(desk.start + MINUTE, desk.start + 10 * MINUTE, 10))]
    assert claimed(desk) == []


def test_catch_up_skip_runs_the_newest_on_time_only(desk: Desk) -> None:
    """With catch_up skip what passed is missed, while the slot that is on time still runs."""
    desk.add(catch_up="skip", misfire_grace=timedelta(seconds=1))
    desk.at(3 * MINUTE + 1_001)
    assert desk.outcomes() == [(3 * MINUTE, Missed(desk.start + MINUTE, desk.start + 3 * MINUTE, 3))]
    desk.at(5 * MINUTE + 1_000)
    assert desk.outcomes() == [(4 * MINUTE, Missed(desk.start + 4 * MINUTE, desk.start + 4 * MINUTE, 1))]
    assert claimed(desk) == [5 * MINUTE]


def test_ten_years_of_milliseconds_are_counted_at_once(desk: Desk) -> None:
    """A jump over hundreds of billions of slots is one record with an exact count."""
    desk.add(every(milliseconds=1))
    desk.at(3650 * DAY)
    slots = 3650 * DAY - 1
    assert desk.outcomes() == [(slots, Missed(desk.start + 1, desk.start + slots, slots))]


def test_watermark_of_the_past_is_caught_up(desk: Desk) -> None:
    """A row that another life of the app left behind makes what passed since due: the newest runs."""
    desk.add(behind=5 * MINUTE)
    assert desk.outcomes() == [(-MINUTE, Missed(desk.start - 4 * MINUTE, desk.start - MINUTE, 4))]
    assert claimed(desk) == [0]


def test_at_runs_once_and_ends(desk: Desk) -> None:
    """A job with one slot runs it, is reported to have ended, and shows as ended once the run is over."""
    desk.add(at(from_ms(desk.start + MINUTE)))
    desk.at(MINUTE)
    desk.win()
    assert [(ended.last, ended.served) for ended in desk.take(e.JobEnded)] == [(desk.start + MINUTE, True)]
    assert not desk.facts().ended
    desk.end(Succeeded())
    assert desk.facts().ended
    desk.go(HOUR)
    assert desk.timetable.next_wakeup() is None


def test_at_of_the_past_never_runs(desk: Desk) -> None:
    """A job whose only slot is over when it is added is accepted, and its end names that slot."""
    desk.add(at(from_ms(desk.start - MINUTE)))
    assert [(ended.last, ended.served) for ended in desk.take(e.JobEnded)] == [(desk.start - MINUTE, False)]
    assert desk.facts().ended


def test_period_of_the_last_slot_is_an_hour(desk: Desk) -> None:
    """A slot that no other follows has a grace of one hour."""
    desk.add(at(from_ms(desk.start + MINUTE)), catch_up="skip")
    desk.at(MINUTE + HOUR)
    assert claimed(desk) == [MINUTE]


@pytest.mark.parametrize("policy", [{}, {"catch_up": "skip", "misfire_grace": timedelta(0)}])
def test_run_on_start_runs_the_newest_slot_however_late(late_desk: Desk, policy: dict[str, Any]) -> None:
    """With run_on_start the newest slot at or before the start runs once the start-up delay is over, and says why."""
    desk = late_desk
    desk.add(every(days=7), run_on_start=True, **policy)
    desk.at(4_999)
    assert claimed(desk) == []
    desk.at(5_000)
    (slot,) = claimed(desk)
    assert -7 * DAY < slot <= 0
    assert (desk.start + slot) % (7 * DAY) == 0
    desk.win()
    assert [start.reason for start in desk.take(e.RunStarted)] == ["start"]


def test_run_on_start_asks_for_the_newest_slot_alone(desk: Desk) -> None:
    """Such a job registers one millisecond before its newest slot, so a new row never back-fills more than that one."""
    desk.tell(e.Added("job", every(hours=7), Policy(run_on_start=True)))
    (register,) = desk.take(Register)
    newest = desk.start // (7 * HOUR) * (7 * HOUR)
    assert register.watermark == newest - 1


def test_run_on_start_obeys_the_ledger(desk: Desk) -> None:
    """If the row says that the newest slot was served, the job waits for its next one."""
    desk.tell(e.Added("job", every(hours=7), Policy(run_on_start=True)))
    newest = desk.start // (7 * HOUR) * (7 * HOUR)
    desk.tell(registered(["job"], [newest]))
    assert claimed(desk) == []
    assert desk.facts().slot == newest + 7 * HOUR


def test_run_on_start_of_a_future_slot_waits(desk: Desk) -> None:
    """A job with no slot yet has nothing to run on start and registers at the store's now."""
    desk.tell(e.Added("job", at(from_ms(desk.start + MINUTE)), Policy(run_on_start=True)))
    assert [register.watermark for register in desk.take(Register)] == [None]


def test_anchored_at_the_start_runs_at_the_start(desk: Desk) -> None:
    """A schedule anchored at the start has its first slot at start + phase, the start itself included."""
    desk.add(every(minutes=7, anchor="start"))
    assert claimed(desk) == [0]
    desk.add(every(minutes=7, anchor="start", phase=timedelta(seconds=5)), name="later")
    assert desk.facts("later").slot == desk.start + 5_000


def test_anchored_at_the_start_counts_from_add(desk: Desk) -> None:
    """Added later, such a schedule counts from then."""
    desk.at(12_345)
    desk.add(every(minutes=7, anchor="start"))
    assert claimed(desk) == [12_345]
    assert desk.facts().slot == desk.start + 12_345 + 7 * MINUTE


def test_overlap_skip_settles_the_newest_as_skipped(desk: Desk) -> None:
    """While a run is alive the newest due slot is skipped, not claimed, and those before it are missed."""
    desk.add(timeout=None)
    desk.at(MINUTE)
    desk.win()
    claimed(desk)
    desk.at(4 * MINUTE)
    assert claimed(desk) == []
    assert desk.outcomes() == [
        (3 * MINUTE, Missed(desk.start + 2 * MINUTE, desk.start + 3 * MINUTE, 2)),
        (4 * MINUTE, Skipped("overlap")),
    ]
    desk.end(Succeeded())
    desk.at(5 * MINUTE)
    assert claimed(desk) == [5 * MINUTE]


def test_overlap_allow_runs_side_by_side(desk: Desk) -> None:
    """With overlap allow each slot runs beside the runs that are alive."""
    desk.add(overlap="allow", timeout=None)
    for minute in (1, 2, 3):
        desk.at(minute * MINUTE)
        desk.win()
    assert claimed(desk) == [MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert len(desk.facts().runs) == 3
    assert desk.facts().oldest == desk.start + MINUTE


def test_slot_at_the_very_start_counts_as_the_start(late_desk: Desk) -> None:
    """With run_on_start a slot on the instant of the start itself runs however late, and says why."""
    late_desk.add(run_on_start=True, catch_up="skip", misfire_grace=timedelta(0))
    late_desk.at(5_000)
    late_desk.win()
    assert [(start.slot - late_desk.start, start.reason) for start in late_desk.take(e.RunStarted)] == [(0, "start")]


def test_job_that_is_never_registered_owes_its_first_slot(desk: Desk) -> None:
    """A ledger that does not answer keeps a job from having slots, which it owes all the same; until it says no."""
    desk.start += 17_000
    desk.at(0)
    desk.tell(e.Added("job", every(minutes=1), Policy()))
    desk.at(10 * MINUTE)
    assert (desk.facts().slot, desk.facts().oldest, desk.facts().period) == (None, desk.start + 43_000, MINUTE)
    assert not desk.facts().ended
    desk.tell(registered(["job"], [desk.now]))
    assert desk.facts().oldest == desk.facts().slot


@pytest.mark.parametrize("fails", [True, False])
def test_job_that_has_no_first_slot_owes_none(desk: Desk, fails: bool) -> None:
    """Nor does one whose schedule cannot say."""

    class Never:
        def next_after(self, instant: datetime) -> datetime | None:
            if fails:
                raise SystemExit("no")
            return None

        def latest_until(self, instant: datetime) -> datetime | None:
            return None

    desk.tell(e.Added("job", Never(), Policy()))
    assert desk.facts().oldest is None
