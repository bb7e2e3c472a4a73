"""The checker of the proof finds each kind of violation that is planted, accepts each cause, and passes the clean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proof import checker
from tests.proof import history as h
from tests.proof import stories as s
from tests.proof.checker import judge
from tests.proof.history import History, Record
from tests.proof.stories import ANNA, BERT, FIRST, PERIOD, PLAN, Story, slot


def test_clean_history_passes() -> None:
    """A history in which every slot was claimed, started and ended once has no violation and needs no excuse."""
    verdicts, others = judge(PLAN, Story().records)
    assert [(one.violations, one.starts, one.excused(), one.overlaps) for one in verdicts] == [([], PLAN.slots, 0, {})]
    assert others == []
    assert verdicts[0].lateness == [4] * PLAN.slots


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (s.start_twice, {"doubled"}),
        (s.start_again_with_a_new_claim, {"doubled", "audit", "fence"}),
        (s.let_a_fence_fall, {"fence"}),
        (s.let_a_fence_stay, {"fence", "audit"}),
        (s.win_a_slot_twice, {"audit"}),
        (s.let_the_watermark_fall, {"audit"}),
        (s.end_without_a_start, {"end"}),
        (s.end_twice, {"end"}),
        (s.end_for_somebody_else, {"end", "overlap"}),
        (s.start_too_early, {"early"}),
        (s.start_too_late, {"late"}),
        (s.start_unknown_to_the_store, {"audit"}),
        (s.start_without_a_claim, {"audit", "missing"}),
        (s.never_start, {"not started"}),
        (s.never_claim, {"missing"}),
        (s.run_into_the_next, {"overlap"}),
        (s.never_end, {"overlap"}),
        (s.excuse_too_many, {"excuses"}),
    ],
)
def test_planted_violation_is_found(plant: Callable[[Story], None], kinds: set[str]) -> None:
    """Each thing that must not be is found and called by its name."""
    story = Story()
    plant(story)
    assert kinds <= story.kinds()


@pytest.mark.parametrize(
    ("cause", "called"),
    [
        (s.kill_its_worker, "killed"),
        (s.pause_its_worker, "paused"),
        (s.disturb_its_path, "store fault"),
        (s.crash_the_store, "store crash"),
        (s.stall_the_machine, "stall"),
    ],
)
def test_claim_without_a_start_is_excused_by_what_befell_its_worker(
    cause: Callable[[Story], None], called: str
) -> None:
    """A claim that nobody began needs that its worker was killed or stopped, or that the answer may have been lost."""
    story = Story()
    s.never_start(story)
    cause(story)
    verdict = story.verdict()
    assert verdict.violations == []
    assert verdict.not_started == {called: 1}


@pytest.mark.parametrize("plant", [s.never_start, s.never_claim])
@pytest.mark.parametrize(
    "cause",
    [
        lambda story: story.pause(ANNA, slot(7), slot(9)),
        lambda story: story.fault("0", slot(7), slot(9)),
        lambda story: story.pause(BERT, slot(20), slot(25)),
        lambda story: story.kill(ANNA, slot(39) + 100),
        lambda story: story.happened(h.STALL, slot(7) + 90, note="90"),
    ],
    ids=["another was stopped", "another path", "later", "another was killed, later", "a short stall"],
)
def test_what_did_not_keep_the_worker_excuses_nothing(
    plant: Callable[[Story], None], cause: Callable[[Story], None]
) -> None:
    """What befell another worker, another path or another time is no cause."""
    story = Story()
    plant(story)
    cause(story)
    assert story.kinds() == {"not started" if plant is s.never_start else "missing"}


@pytest.mark.parametrize(
    ("cause", "called"),
    [
        (s.stop_all, "no worker able"),
        (s.disturb_all, "no worker able"),
        (s.stop_one_and_disturb_the_other, "no worker able"),
        (s.crash_the_store, "store crash"),
        (s.stall_the_machine, "stall"),
        (s.run_into_the_slot, "leased"),
    ],
)
def test_unclaimed_slot_is_excused_by_what_kept_everybody(cause: Callable[[Story], None], called: str) -> None:
    """A slot that nobody claimed needs a moment at which nobody could: no worker able, no store, or a live lease."""
    story = Story()
    s.never_claim(story)
    cause(story)
    verdict = story.verdict()
    assert verdict.violations == []
    assert verdict.not_claimed == {called: 1}


def test_lease_of_a_killed_worker_excuses_its_length_and_no_more() -> None:
    """Slots without a claim are excused while the lease of a killed holder lasts, and the next one is not."""
    leased = PLAN.lease // PERIOD
    story = Story()
    s.never_start(story)
    s.kill_its_worker(story)
    assert story.verdict().not_claimed == {"leased": leased}
    story.drop(h.AUDIT, h.START, h.END, numbers=range(7 + leased + 1, 7 + leased + 3))
    assert story.kinds() == {"missing"}


def test_lease_of_a_stopped_worker_excuses_its_length_and_no_more() -> None:
    """So they are while the lease of a stopped holder lasts, however long it was stopped."""
    story = Story()
    story.pause(BERT, slot(7) + 5, slot(35))
    story.change(h.END, 7, at=slot(35) + 5)
    for number in range(8, PLAN.slots):
        story.drop(h.AUDIT, h.START, h.END, numbers=range(number, number + 1))
        if number > 7 + PLAN.lease // PERIOD + 4:
            story.run(number, ANNA)
    assert story.kinds() == {"missing"}
    assert story.verdict().not_claimed["leased"] == PLAN.lease // PERIOD


def test_stop_before_the_claim_does_not_shorten_its_lease() -> None:
    """A worker that was stopped just before it claimed has the lease for as long as its run is."""
    story = Story()
    story.pause(ANNA, slot(5), slot(6) - 10)
    story.change(h.END, 6, at=slot(8) + 20)
    story.drop(h.AUDIT, h.START, h.END, numbers=range(7, 9))
    verdict = story.verdict()
    assert verdict.violations == []
    assert verdict.not_claimed == {"leased": 2}


def test_lease_lasts_where_its_worker_never_heard_of_it() -> None:
    """A claim whose answer was lost holds the lease for its length, though its worker was stopped before as well."""
    story = Story()
    story.pause(BERT, slot(5), slot(7) - 50)
    story.fault("1", slot(7) - 100, slot(7) + 50)
    story.drop(h.START, h.END, numbers=range(7, 8))
    story.drop(h.AUDIT, h.START, h.END, numbers=range(8, 8 + PLAN.lease // PERIOD))
    verdict = story.verdict()
    assert verdict.violations == []
    assert verdict.not_claimed == {"leased": PLAN.lease // PERIOD}


def test_lease_begins_anew_where_its_worker_asks_again() -> None:
    """A worker that has not heard the answer asks again until the grace is over, and so long the lease goes on."""
    story = Story()
    story.pause(BERT, slot(7) + 10, slot(7) + PLAN.grace + 900)
    story.fault("1", slot(7) - 100, slot(7) + 50)
    story.drop(h.START, h.END, numbers=range(7, 8))
    longer = (PLAN.grace + 900 + PLAN.lease) // PERIOD
    story.drop(h.AUDIT, h.START, h.END, numbers=range(8, min(8 + longer, PLAN.slots)))
    assert story.kinds() == {"excuses"}


def test_zombie_that_was_stopped_may_overlap() -> None:
    """A run whose worker was stopped past its lease may be alive beside its successor, and is counted."""
    story = Story()
    s.run_into_the_next(story)
    story.pause(BERT, slot(7) + 10, slot(8) + 49)
    verdict = story.verdict()
    assert verdict.violations == []
    assert verdict.overlaps == {"paused past its lease": 1}


def test_slot_may_start_late_where_its_worker_was_stopped() -> None:
    """A slot that started after its grace needs that its worker was kept from it, and is counted."""
    story = Story()
    s.start_too_late(story)
    story.pause(BERT, slot(7) + 3, slot(7) + PLAN.grace + checker.LATE)
    verdict = story.verdict()
    assert "late" not in {violation.kind for violation in verdict.violations}
    assert verdict.late == {"paused": 1}


def test_run_of_a_killed_worker_ends_with_it() -> None:
    """A run without an end lasts until its worker was gone, and no longer."""
    story = Story()
    s.kill_its_worker(story)
    story.drop(h.END, numbers=range(7, 8))
    assert story.verdict().overlaps == {}
    assert story.kinds() == set()


def test_slots_before_the_first_start_once_too() -> None:
    """A slot that came while the workers were starting may be missing, and may not start twice."""
    story = Story()
    before = Record(h.START, slot(-3), ANNA, h.LEASED, slot(-3), slot(-3))
    story.records += [before._replace(kind=h.AUDIT), before, before._replace(kind=h.END)]
    story.records.sort(key=lambda record: record.at)
    assert story.kinds() == set()
    story.records.append(before)
    assert story.kinds() == {"doubled"}


def test_wrong_formulation_is_judged_by_its_starts_alone() -> None:
    """A job without an audit is convicted of its doubles, and of nothing that only a lease promises."""
    plan = PLAN._replace(jobs=("set-nx-px",))
    records = [
        Record(h.START, slot(number) + shift, ANNA, "set-nx-px", slot(number), slot(number) + shift)
        for number, shift in ((1, -500), (1, 0), (2, 0), (9, 0))
    ]
    ((verdict,), _) = judge(plan, records)
    assert [violation.kind for violation in verdict.violations] == ["doubled"]
    assert verdict.doubled() == 1


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Record(h.EXIT, slot(9), 33, note="1"), "ended by itself"),
        (Record(h.EXIT, slot(9), 33, note="-11"), "ended by itself"),
        (Record(h.KILL, slot(9), 33, note="did not end"), "did not end"),
    ],
)
def test_worker_that_fails_is_a_violation(record: Record, said: str) -> None:
    """A worker that ends by itself with an error, or does not end when told, is a violation of its own."""
    _, (violation,) = judge(PLAN, [*Story().records, record])
    assert violation.kind == "worker"
    assert said in violation.text


def test_what_is_never_ended_lasts() -> None:
    """A fault, a pause or a crash without its other half lasts to the end of the run."""
    story = Story()
    story.drop(h.AUDIT, h.START, h.END, numbers=range(30, PLAN.slots))
    story.happened(h.FAULT, slot(30), note="1 cut")
    story.happened(h.PAUSE, slot(30), ANNA)
    assert story.verdict().not_claimed == {"no worker able": 10}
    assert story.kinds() == set()
    story.happened(h.CRASH, slot(30))
    assert story.verdict().not_claimed == {"store crash": 10}


@pytest.mark.parametrize(("plant", "code", "printed"), [(None, 0, ""), (s.start_twice, 1, "doubled: slot-lease: slot")])
def test_program_judges_a_file(
    plant: Callable[[Story], None] | None,
    code: int,
    printed: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The checker is a program too, which reads plan and records as they were written, and tells by its code."""
    story = Story()
    if plant is not None:
        plant(story)
    history = History(tmp_path / "history", PLAN._replace(first=0), skew=5)
    history.write(h.BEGIN, slot=FIRST)
    for record in story.records:
        kind, at, pid, job, of, fence, note = record
        history.write(kind, at=at, pid=pid, job=job, slot=of, fence=fence, note=note)
    history.close()
    assert checker.main([str(history.path)]) == code
    assert capsys.readouterr().out.startswith(printed)


def test_newest_records_come_first(tmp_path: Path) -> None:
    """The end of a history is read backwards, without what lies long ago."""
    history = History(tmp_path / "history", PLAN)
    for number in range(200):
        history.write(h.START, pid=ANNA, slot=number)
    history.close()
    pids = [record.slot for record in h.newest(history.path)]
    assert pids == list(range(199, 199 - len(pids), -1))
    assert 10 < len(pids) < 200
