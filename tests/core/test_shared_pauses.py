"""A pause that stands in the row: told to all workers, found in the row, and seen to end by asking for slots."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from loopcron import _events as e
from loopcron._every import at, every
from loopcron._instants import from_ms
from loopcron._ledger import Answer, Claim, Finish, Held, Lost, Pause, Paused, Register, Row, TooEarly, Unavailable
from loopcron._outcomes import LeaseLost, Missed, Skipped, Succeeded, Taken
from loopcron._policies import Policy
from tests.core.test_user_schedules import Minutely, raising
from tests.rows import registered

if TYPE_CHECKING:
    from tests.core.conftest import Desk

START = 1_772_323_200_000
MINUTE = 60_000


def pauses(desk: Desk) -> list[bool]:
    """Take what the ledger was told of pauses."""
    return [pause.paused for pause in desk.take(Pause)]


def events(desk: Desk) -> list[str]:
    """Take the names of the events about pauses, in order."""
    taken = [action for action in desk.actions if isinstance(action, (e.JobPaused, e.JobResumed, e.JobEnded))]
    desk.actions = [action for action in desk.actions if action not in taken]
    return [type(action).__name__ for action in taken]


def paused_range(first: int, last: int) -> tuple[int, Skipped]:
    """Return the outcome of the paused slots of these minutes."""
    return last * MINUTE, Skipped("paused", START + first * MINUTE, START + last * MINUTE, last - first + 1)


def pause_elsewhere(desk: Desk) -> None:
    """Let another worker pause the job, which this one hears of at the first slot."""
    desk.ask(MINUTE)
    desk.hear(Paused())
    desk.actions.clear()


# --- telling the ledger


def test_pause_and_resume_are_told_to_the_ledger(shared: Desk) -> None:
    """Whoever pauses or resumes lets the row say so."""
    shared.add()
    shared.tell(e.PauseAsked("job"), 1_000)
    assert shared.take(Pause) == [Pause("job", START + 1_000, True)]
    shared.tell(e.ResumeAsked("job"), 2_000)
    assert shared.take(Pause) == [Pause("job", START + 2_000, False)]
    assert events(shared) == ["JobPaused", "JobResumed"]


def test_what_changes_nothing_here_is_told_all_the_same(shared: Desk) -> None:
    """Another worker may have resumed what is paused here, and the other way round: the row is told each time."""
    shared.add()
    shared.tell(e.ResumeAsked("job"))
    shared.tell(e.PauseAsked("job"))
    shared.tell(e.PauseAsked("job"))
    assert pauses(shared) == [False, True, True]
    assert events(shared) == ["JobPaused"]


def test_ledger_of_ones_own_is_told_of_no_pause(desk: Desk) -> None:
    """Where no other worker claims, a pause is this one's business, and no slot is asked for meanwhile."""
    desk.add()
    desk.tell(e.PauseAsked("job"))
    desk.go(3 * MINUTE)
    desk.tell(e.ResumeAsked("job"))
    assert pauses(desk) == []
    assert desk.claimed() == []
    assert desk.outcomes() == [paused_range(1, 3)]


# --- at registration


def test_row_that_is_paused_pauses_the_job(shared: Desk) -> None:
    """A worker that starts while a job is paused serves none of its slots, and tells the ledger nothing."""
    shared.register(Row("job", START, paused=True))
    assert shared.facts().paused
    assert events(shared) == ["JobPaused"]
    assert pauses(shared) == []
    shared.ask(MINUTE)
    shared.hear(Paused())
    assert shared.begun() == []


@pytest.mark.parametrize("before", [True, False])
def test_pause_asked_before_registration_wins_over_the_row(shared: Desk, before: bool) -> None:
    """What somebody wants here is newer than what the row says, which is told where it differs."""
    shared.tell(e.Added("job", every(minutes=1), Policy(), not before))
    shared.tell(e.PauseAsked("job") if before else e.ResumeAsked("job"))
    shared.tell(e.Registered(["job"], [Row("job", START, paused=not before)]))
    assert shared.facts().paused is before
    assert pauses(shared) == [before]


@pytest.mark.parametrize("paused", [True, False])
def test_pause_that_stands_in_the_row_already_is_not_told(shared: Desk, paused: bool) -> None:
    """Where the row says what is wanted there is nothing to tell."""
    shared.tell(e.Added("job", every(minutes=1), Policy(), not paused))
    shared.tell(e.PauseAsked("job") if paused else e.ResumeAsked("job"))
    shared.tell(e.Registered(["job"], [Row("job", START, paused=paused)]))
    assert shared.facts().paused is paused
    assert pauses(shared) == []


def test_job_added_paused_is_paused_for_all(shared: Desk) -> None:
    """A scheduler that was told to pause before it started tells the row once it has one."""
    shared.tell(e.Added("job", every(minutes=1), Policy(), True))
    assert pauses(shared) == []
    shared.tell(registered(["job"], [START]))
    assert pauses(shared) == [True]


@pytest.mark.parametrize("paused", [True, False])
def test_pause_is_told_where_the_job_fires_without_being_registered(firing: Desk, paused: bool) -> None:
    """A worker that was never told of the row tells it what is wanted, whatever the row may say."""
    firing.tell(e.Added("job", every(minutes=1), Policy(), not paused))
    firing.tell(e.PauseAsked("job") if paused else e.ResumeAsked("job"))
    firing.tell(registered(["job"], None))
    firing.go(1_000)
    firing.tell(registered(["job"], None))
    assert pauses(firing) == [paused]
    assert firing.facts().paused is paused


# --- found in the answer to a claim


def test_paused_answer_puts_the_slot_back(shared: Desk) -> None:
    """The slot that was asked for is the first of the paused ones, which end as one exact range at resume."""
    shared.add()
    shared.ask(MINUTE)
    shared.hear(Paused())
    assert shared.outcomes() == []
    assert events(shared) == ["JobPaused"]
    assert shared.facts().slot == START + MINUTE
    shared.go(4 * MINUTE - 1)
    shared.tell(e.ResumeAsked("job"))
    assert shared.outcomes() == [paused_range(1, 3)]
    assert events(shared) == ["JobResumed"]
    shared.hear(Paused())
    shared.take(Claim)
    shared.ask(4 * MINUTE)
    assert shared.claimed() == [("job", 4 * MINUTE)]


def test_paused_slot_after_missed_ones_begins_the_range(shared: Desk) -> None:
    """What had passed unserved when the claim was made keeps its outcome."""
    shared.add(behind=2 * MINUTE)
    assert shared.outcomes() == [(-MINUTE, Missed(START - MINUTE, START - MINUTE, 1))]
    shared.ask(0)
    shared.hear(Paused())
    shared.tell(e.ResumeAsked("job"), MINUTE)
    assert shared.outcomes() == [paused_range(0, 1)]


def test_paused_answer_to_a_slot_that_had_waited(shared: Desk) -> None:
    """A slot that waited for a run to end ends alone, because later ones were skipped in the meantime."""
    shared.add(overlap="queue", timeout=None)
    shared.ask(MINUTE)
    shared.win()
    shared.go(3 * MINUTE)
    shared.end(Succeeded(), 200_000)
    shared.go(200_000 + MINUTE // 2)
    assert shared.claimed()[-1] == ("job", 2 * MINUTE)
    shared.hear(Paused())
    shared.tell(e.ResumeAsked("job"), 250_000)
    assert shared.outcomes() == [
        (3 * MINUTE, Skipped("overlap")),
        (MINUTE, Succeeded()),
        (2 * MINUTE, Skipped("paused")),
        paused_range(4, 4),
    ]


def test_paused_answer_to_the_last_slot_of_all(shared: Desk) -> None:
    """A job whose schedule has ended with the slot that was asked for ends once."""
    shared.add(at(from_ms(START + MINUTE)))
    shared.ask(MINUTE)
    shared.hear(Paused())
    shared.tell(e.ResumeAsked("job"), 2 * MINUTE)
    assert shared.outcomes() == [(MINUTE, Skipped("paused"))]
    assert events(shared) == ["JobEnded", "JobPaused", "JobResumed"]


@pytest.mark.parametrize("end", [e.Removed("job"), e.Stopping(0)], ids=["removed", "stopped"])
def test_paused_answer_after_the_end(shared: Desk, end: e.Fact) -> None:
    """A claim that was under way at removal or stop ends as paused, alone, and pauses nothing."""
    shared.add()
    shared.ask(MINUTE)
    shared.tell(end)
    shared.hear(Paused())
    assert shared.outcomes() == [(MINUTE, Skipped("paused"))]
    assert events(shared) == []


def test_paused_answer_after_a_correction(shared: Desk) -> None:
    """Slots after the corrected now count anew: the one that was asked for ends alone, and none is left out."""
    shared.add(every(hours=1))
    shared.ask(60 * MINUTE)
    shared.now -= 4 * 60 * MINUTE
    shared.tell(e.Stepped(-4 * 60 * MINUTE))
    shared.hear(Paused())
    assert shared.outcomes() == [(60 * MINUTE, Skipped("paused"))]
    (register,) = [action for action in shared.take(Register) if action.corrected]
    assert register.watermark is not None
    shared.tell(e.Registered(["job"], [Row("job", START + 60 * MINUTE, paused=True)]))
    assert register.watermark == shared.now
    assert shared.facts().slot == START - 2 * 60 * MINUTE


def test_pause_while_a_claim_is_under_way(shared: Desk) -> None:
    """What was asked for before the pause is served if it is won, and paused if it is not decided."""
    shared.add()
    shared.ask(MINUTE)
    shared.tell(e.PauseAsked("job"))
    shared.win()
    assert shared.begun() == [("job", MINUTE, "schedule")]


@pytest.mark.parametrize("answer", [Unavailable("down"), Held(5_000), TooEarly(900)], ids=repr)
@pytest.mark.parametrize("options", [{}, {"shared": True}, {"shared": True, "fires": True}], ids=repr)
def test_claim_of_a_paused_job_is_not_asked_again(
    make_desk: Callable[..., Desk], options: dict[str, bool], answer: Answer
) -> None:
    """A slot that was not decided when the pause came must not run in the middle of it."""
    desk = make_desk(**options)
    desk.add()
    desk.ask(MINUTE)
    desk.tell(e.PauseAsked("job"))
    desk.hear(answer)
    desk.go(2 * MINUTE - 1)
    assert desk.claims == []
    assert desk.begun() == []
    assert desk.outcomes() == [(MINUTE, Skipped("paused"))]


def test_last_answer_in_a_pause_fires_nothing(firing: Desk) -> None:
    """A store whose last answer comes when the job is paused lets nothing run without it."""
    firing.add(misfire_grace=timedelta(0))
    firing.ask(MINUTE)
    firing.tell(e.PauseAsked("job"))
    firing.hear(Unavailable("down"))
    assert firing.begun() == []
    assert firing.outcomes() == [(MINUTE, Skipped("ledger"))]


def test_paused_answer_while_paused_here(shared: Desk) -> None:
    """A claim that was under way when the job was paused here as well joins the range."""
    shared.add()
    shared.ask(MINUTE)
    shared.tell(e.PauseAsked("job"))
    shared.hear(Paused())
    shared.tell(e.ResumeAsked("job"), 2 * MINUTE)
    assert shared.outcomes() == [paused_range(1, 2)]
    assert events(shared) == ["JobPaused", "JobResumed"]


# --- seeing its end


def test_paused_job_asks_once_for_each_slot(shared: Desk) -> None:
    """Whether it goes on is asked with the newest due slot, in the same moment as all workers ask."""
    shared.add()
    pause_elsewhere(shared)
    for minute in (2, 3, 4):
        shared.ask(minute * MINUTE)
        assert shared.claimed() == [("job", minute * MINUTE)]
        shared.hear(Paused())
    assert shared.outcomes() == []
    shared.at(9 * MINUTE + 30_000)
    shared.ask(9 * MINUTE + 30_000)
    assert shared.claimed() == [("job", 9 * MINUTE)]


def test_pause_here_is_asked_about_too(shared: Desk) -> None:
    """Another worker may end the pause that this one has begun."""
    shared.add()
    shared.tell(e.PauseAsked("job"), 30_000)
    shared.ask(MINUTE)
    shared.win()
    assert events(shared) == ["JobPaused", "JobResumed"]
    assert shared.begun() == [("job", MINUTE, "schedule")]
    assert shared.outcomes() == []


def test_resumed_elsewhere_and_won_here(shared: Desk) -> None:
    """The slot that shows the end of the pause is served, and those before it end as one range."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.hear(Paused())
    shared.ask(3 * MINUTE)
    shared.win()
    assert shared.outcomes() == [paused_range(1, 2)]
    assert shared.begun() == [("job", 3 * MINUTE, "schedule")]
    assert not shared.facts().paused
    assert shared.facts().slot == START + 4 * MINUTE


def test_resumed_elsewhere_and_lost_here(shared: Desk) -> None:
    """A slot that another worker took shows that the pause is over."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.lose()
    assert shared.outcomes() == [paused_range(1, 1), (2 * MINUTE, Taken())]
    assert events(shared) == ["JobResumed"]


def test_resumed_elsewhere_and_held_there(shared: Desk) -> None:
    """So does a lease that another worker has, and the slot waits for that as any other does."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.hear(Held(5_000))
    assert events(shared) == ["JobResumed"]
    shared.go(2 * MINUTE + 10_000)
    shared.win()
    assert shared.begun() == [("job", 2 * MINUTE, "schedule")]
    assert shared.outcomes() == [paused_range(1, 1)]


def test_resumed_elsewhere_where_this_clock_is_ahead(shared: Desk) -> None:
    """A slot that came too early is none of a paused row, or a worker whose clock is ahead would never see it end."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.hear(TooEarly(900))
    assert events(shared) == ["JobResumed"]
    assert shared.outcomes() == [paused_range(1, 1)]
    shared.go(2 * MINUTE + 1_000)
    shared.win()
    assert shared.begun() == [("job", 2 * MINUTE, "schedule")]


def test_slot_behind_the_watermark_of_a_paused_row(shared: Desk) -> None:
    """A row that is ahead, as after a step of the clock, answers as taken; what it says of the pause counts."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.hear(Lost(Row("job", START + 90 * MINUTE, paused=True)))
    assert shared.facts().paused
    assert events(shared) == []
    shared.tell(e.ResumeAsked("job"), 3 * MINUTE)
    assert shared.outcomes() == [paused_range(1, 3)]


def test_first_slot_of_a_pause_shows_its_end(shared: Desk) -> None:
    """A pause that was ended before a slot came leaves no range behind."""
    shared.add()
    shared.tell(e.PauseAsked("job"))
    shared.ask(MINUTE)
    shared.lose()
    assert shared.outcomes() == [(MINUTE, Taken())]


def test_unavailable_ledger_leaves_the_pause(shared: Desk) -> None:
    """A store that is down says nothing of the pause: nothing fires, and the next slot asks again."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.hear(Unavailable("down"))
    shared.go(3 * MINUTE - 1)
    assert shared.claims == []
    shared.ask(3 * MINUTE)
    assert [claim.slot for claim in shared.claims] == [START + 3 * MINUTE]
    assert shared.outcomes() == []


def test_unavailable_ledger_fires_nothing_of_a_paused_job(firing: Desk) -> None:
    """Nor does a job that may run without the store."""
    firing.add()
    pause_elsewhere(firing)
    firing.ask(2 * MINUTE)
    firing.hear(Unavailable("down"))
    firing.go(3 * MINUTE - 1)
    assert firing.begun() == []


def test_resume_here_while_the_ledger_is_asked(shared: Desk) -> None:
    """The slots end as one range; if the one asked for is won, only the ledger hears of that, and no run begins."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.tell(e.ResumeAsked("job"))
    assert shared.outcomes() == [paused_range(1, 2)]
    shared.win()
    assert shared.begun() == []
    assert shared.outcomes() == []
    assert shared.take(Finish) == [Finish("job", START + 2 * MINUTE, 7, Skipped("paused"))]
    shared.take(Claim)
    shared.ask(3 * MINUTE)
    assert shared.claimed() == [("job", 3 * MINUTE)]


@pytest.mark.parametrize("answer", [Paused(), Unavailable("down"), Held(9), TooEarly(99)], ids=repr)
def test_resume_here_before_an_answer_that_is_no_win(shared: Desk, answer: Answer) -> None:
    """What the ledger said before it heard of the resume counts for nothing."""
    shared.add()
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    shared.tell(e.ResumeAsked("job"))
    shared.hear(answer)
    assert shared.outcomes() == [paused_range(1, 2)]
    assert not shared.facts().paused
    assert shared.take(Finish) == []
    shared.take(Claim)
    shared.ask(3 * MINUTE)
    assert shared.claimed() == [("job", 3 * MINUTE)]


def test_resume_here_before_the_ledger_is_asked(shared: Desk) -> None:
    """In the moment between a slot and the question the resume makes that one needless."""
    shared.add()
    pause_elsewhere(shared)
    shared.go(2 * MINUTE)
    shared.tell(e.ResumeAsked("job"))
    shared.go(2 * MINUTE + 1_000)
    assert shared.claims == []
    assert shared.outcomes() == [paused_range(1, 2)]


@pytest.mark.parametrize("minutes", [1, 2])
def test_resume_while_the_schedule_fails(shared: Desk, minutes: int) -> None:
    """What its schedule cannot measure at resume is settled by the answer that is under way."""
    moody = Minutely()
    shared.add(moody)
    pause_elsewhere(shared)
    if minutes == 2:
        shared.ask(2 * MINUTE)
        shared.hear(Paused())
    shared.ask(minutes * MINUTE + MINUTE)
    moody.ask_latest = raising
    shared.tell(e.ResumeAsked("job"))
    assert shared.outcomes() == []
    assert not shared.facts().paused
    events(shared)
    shared.win()
    assert events(shared) == []
    assert shared.outcomes() == [paused_range(1, minutes)]
    assert shared.begun() == [("job", (minutes + 1) * MINUTE, "schedule")]


def test_resume_before_a_probe_of_a_schedule_that_failed_is_unavailable(shared: Desk) -> None:
    """Then the slots stay unserved until the schedule works, and are judged as late ones."""
    moody = Minutely()
    shared.add(moody)
    pause_elsewhere(shared)
    shared.ask(2 * MINUTE)
    moody.ask_latest = raising
    shared.tell(e.ResumeAsked("job"))
    shared.hear(Unavailable("down"))
    moody.ask_latest = None
    shared.take(Claim)
    shared.ask(2 * MINUTE + 5_000)
    assert shared.outcomes() == [(MINUTE, Missed(START + MINUTE, START + MINUTE, 1))]
    assert shared.claimed() == [("job", 2 * MINUTE)]


@pytest.mark.parametrize("end", [e.Removed("job"), e.Stopping(0)], ids=["removed", "stopped"])
@pytest.mark.parametrize("asked", [True, False])
def test_end_while_paused(shared: Desk, end: e.Fact, asked: bool) -> None:
    """Removal and stop end the paused slots as one range, and what is won after that is given back."""
    shared.add()
    pause_elsewhere(shared)
    shared.go(2 * MINUTE)
    if asked:
        shared.ask(2 * MINUTE)
    shared.tell(end)
    assert shared.outcomes() == [paused_range(1, 2)]
    assert len(shared.claims) == asked
    shared.win()
    assert shared.begun() == []
    assert shared.outcomes() == []
    assert len(shared.take(Finish)) == asked


@pytest.mark.parametrize("overlap", ["skip", "queue", "replace"])
def test_pause_is_not_asked_about_beside_a_live_run(shared: Desk, overlap: str) -> None:
    """While a run is alive no slot is asked for; after its end the newest is, and none has two outcomes."""
    shared.add(timeout=None, overlap=overlap)
    shared.ask(MINUTE)
    shared.win()
    shared.tell(e.PauseAsked("job"))
    shared.take(Claim)
    shared.ask(4 * MINUTE)
    assert shared.claimed() == []
    shared.end(Succeeded(), 4 * MINUTE + 500)
    shared.ask(4 * MINUTE + 500)
    assert shared.claimed() == [("job", 4 * MINUTE)]
    shared.hear(Paused())
    shared.tell(e.ResumeAsked("job"), 4 * MINUTE + 5_000)
    assert shared.outcomes() == [(MINUTE, Succeeded()), paused_range(2, 4)]


def test_pause_is_asked_about_beside_runs_that_may_be(shared: Desk) -> None:
    """With overlap allow a live run keeps nobody from asking, up to the most that may be alive."""
    shared.add(timeout=None, overlap="allow", max_running=2)
    shared.ask(MINUTE)
    shared.win()
    shared.tell(e.PauseAsked("job"))
    shared.take(Claim)
    shared.ask(2 * MINUTE)
    assert shared.claimed() == [("job", 2 * MINUTE)]
    shared.win()
    shared.tell(e.PauseAsked("job"))
    shared.ask(3 * MINUTE)
    assert shared.claimed() == []


def test_jittered_slot_that_shows_the_end_of_a_pause_keeps_its_jitter(shared: Desk) -> None:
    """It is asked for when it is due, because it runs if it is won."""
    shared.add(every(hours=1), jitter=timedelta(minutes=30))
    shared.tell(e.PauseAsked("job"))
    for hour in (1, 2):
        due = hour * 60 * MINUTE + Policy(jitter=timedelta(minutes=30)).jitter_ms(
            "job", START + hour * 60 * MINUTE, None
        )
        shared.go(due - 1)
        assert shared.claims == []
        shared.ask(due)
        assert [claim.slot for claim in shared.claims] == [START + hour * 60 * MINUTE]
        shared.hear(Paused())


@pytest.mark.parametrize("late", [20, 30, 60 * 24])
def test_slot_beyond_its_grace_shows_no_end_of_a_pause(shared: Desk, late: int) -> None:
    """It is not asked for, because it would run if it were won; the next one is, in time."""
    shared.add(every(hours=24), catch_up="skip", misfire_grace=timedelta(minutes=20))
    shared.tell(e.PauseAsked("job"))
    day = 24 * 60 * MINUTE
    shared.at(day + late * MINUTE)
    shared.ask(day + late * MINUTE)
    assert len(shared.claims) == (late in (20, 60 * 24))
    if late == 30:
        shared.ask(2 * day)
        assert [claim.slot for claim in shared.claims] == [START + 2 * day]


def test_paused_job_takes_no_place_from_others(make_desk: Callable[..., Desk]) -> None:
    """Asking whether a pause is over needs a place below the limit, as what may follow from it does."""
    desk = make_desk(shared=True, max_running=1)
    desk.add(timeout=None, name="a")
    desk.add(timeout=None, name="b")
    desk.tell(e.PauseAsked("b"))
    desk.ask(MINUTE)
    desk.win()
    assert desk.begun() == [("a", MINUTE, "schedule")]
    desk.take(Claim)
    desk.ask(3 * MINUTE)
    assert desk.claimed() == []
    desk.end(Succeeded(), 3 * MINUTE + 10_000)
    desk.ask(3 * MINUTE + 10_000)
    assert desk.claimed() == [("b", 3 * MINUTE)]
    desk.win()
    assert desk.begun() == [("b", 3 * MINUTE, "schedule")]
    told = [(slot, outcome) for job, slot, outcome in desk.told() if job == "b"]
    assert told == [paused_range(1, 2)]


def test_resume_of_a_job_that_stands_in_line_to_ask(make_desk: Callable[..., Desk]) -> None:
    """It leaves the line, and its next slot stands in it for itself."""
    desk = make_desk(shared=True, max_running=1)
    desk.add(timeout=None, name="a")
    desk.add(timeout=None, name="b")
    desk.tell(e.PauseAsked("b"))
    desk.ask(MINUTE)
    desk.win()
    desk.tell(e.ResumeAsked("b"), 2 * MINUTE)
    assert desk.facts("b").oldest == START + 3 * MINUTE
    desk.end(Succeeded(), 2 * MINUTE + 10_000)
    desk.take(Claim)
    desk.ask(2 * MINUTE + 10_000)
    assert [claim for claim in desk.claimed() if claim[0] == "b"] == []
    assert [(slot, outcome) for job, slot, outcome in desk.told() if job == "b"] == [paused_range(1, 2)]


def test_lease_lost_in_a_pause(shared: Desk) -> None:
    """A run that loses its lease while the job is paused ends as anywhere else, and the pause is asked about again."""
    shared.renews = False
    shared.add(timeout=None)
    shared.ask(MINUTE)
    shared.win()
    shared.tell(e.PauseAsked("job"))
    shared.go(MINUTE + 40_000)
    shared.end(None)
    assert shared.outcomes() == [(MINUTE, LeaseLost())]
    shared.take(Claim)
    shared.ask(2 * MINUTE)
    assert shared.claimed() == [("job", 2 * MINUTE)]
    shared.lose()
    assert shared.outcomes() == [(2 * MINUTE, Taken())]
