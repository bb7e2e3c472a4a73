"""What the benchmarks say of what they measured: the verdicts, the page, and that a broken one is no fast one."""

from __future__ import annotations

import sys
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.cases import BY_NAME, Case
from tests.benchmarks.page import IMAGES, PAGE, render
from tests.benchmarks.rounds import measure
from tests.benchmarks.targets import GOALS, GROWTH, Goal, Runs, exponents, judge
from tests.blocks import read_block

MACHINE = {"on": "2026-01-01", "python": "CPython 3.11.7", "system": "Linux, x86_64", "cores": 2}
RUN = Goal("P1", "a run", "burst, 10k suspending", "cpu_us", "µs", 2.0, 1.5, ratio=True)
LATE = Goal("P3", "lateness", "lateness, 1k at random", "p99_ms", "ms", 2.0, 1.5)


def burst(*pairs: tuple[float, float]) -> Runs:
    """Return rounds of what the baseline and loopcron took."""
    rounds = [{"call_at": {"cpu_us": a}, "loopcron": {"cpu_us": b, "others_busy": 1.0}} for a, b in pairs]
    return {RUN.case: rounds}


def everything() -> Runs:
    """Return one round of each case, in which all figures of all contenders, peers included, are made up."""
    names: dict[str, set[str]] = {case: {"cpu_us", "p50_us", "max_ms", "p50_ms", "fired"} for case in BY_NAME}
    for goal in GOALS:
        for case in GROWTH if goal.case == "growth" else (goal.case,):
            names[case].add("cpu_us" if goal.case == "growth" else goal.figure.removeprefix("over:"))
    names["cron lines"].discard("cpu_us")
    return {
        name: [
            {
                contender: {**dict.fromkeys(names[name], 2.0 + number), "others_busy": 0.0}
                for number, contender in enumerate((*case.contenders, *case.peers))
            }
        ]
        for name, case in BY_NAME.items()
    }


def test_ratio_is_taken_within_the_round() -> None:
    """A machine that gets slower from round to round does not change the ratio to the baseline."""
    verdict = judge(RUN, burst((10, 14), (100, 140), (1000, 1400)))
    assert verdict is not None
    assert verdict.ratio == pytest.approx(1.4)
    assert verdict.figure == 140


@pytest.mark.parametrize(("took", "word"), [(15, "met the aim"), (16, "met"), (20, "met"), (21, "missed")])
def test_verdict_includes_its_limits(took: float, word: str) -> None:
    """What is just at the aim has met it, and what is just at the must has not missed it."""
    verdict = judge(RUN, burst((10, took)))
    assert verdict is not None
    assert verdict.word == word


def test_goal_of_no_case_has_no_verdict() -> None:
    """Nothing is said of what was not measured, or where loopcron is not among those that were."""
    assert judge(RUN, {}) is None
    assert judge(RUN, {RUN.case: [{"call_at": {"cpu_us": 1.0}}]}) is None


def test_wall_clock_counts_in_quiet_rounds_only() -> None:
    """A round in which others kept the machine busy is left out, and that is noted; if all were, they are doubtful."""
    rounds = [{"loopcron": {"p99_ms": value, "others_busy": busy}} for value, busy in ((1.0, 0.1), (9.0, 0.9))]
    verdict = judge(LATE, {LATE.case: rounds})
    assert verdict is not None
    assert (verdict.figure, verdict.notes) == (1.0, ("1 of 2 rounds quiet",))
    noisy = judge(LATE, {LATE.case: rounds[1:]})
    assert noisy is not None
    assert (noisy.figure, noisy.notes) == (9.0, ("0 of 1 rounds quiet: doubtful",))


def test_growth_is_the_exponent_of_the_whole_burst() -> None:
    """A cost per run that does not depend on how many are due is an exponent of 1, one that is doubled tenfold more."""
    same: Any = {case: [{"loopcron": {"cpu_us": 5.0}}] for case in GROWTH}
    assert exponents(same, "loopcron") == [pytest.approx(1.0)]
    square: Any = {case: [{"loopcron": {"cpu_us": jobs / 100}}] for case, jobs in GROWTH.items()}
    assert exponents(square, "loopcron") == [pytest.approx(2.0)]


def test_page_tells_of_every_target_and_contender() -> None:
    """All blocks and plots that are made have their place on the page, and the plots are documents."""
    blocks, plots = render(MACHINE, everything())
    page = PAGE.read_text("utf-8")
    for name in blocks:
        read_block(page, name)
    for name, plot in plots.items():
        ET.fromstring(plot)
        assert f"](images/performance-{name}.svg)" in page
        assert (IMAGES / f"performance-{name}.svg").exists()
    assert all(f"| {goal.target} |" in blocks["targets"] for goal in GOALS)
    assert "niquests" in blocks["loopback"]


def test_page_says_what_falls_short() -> None:
    """A goal that was missed is named with its figure and what it should have been."""
    blocks, _ = render(MACHINE, everything())
    assert "- P2, a run that never suspends, 10k at once: 1.5x, where the must is 1.35x." in blocks["short"]


def test_page_of_half_a_run_is_refused() -> None:
    """A page is not written of a file that lacks a target."""
    runs = {name: rounds for name, rounds in everything().items() if name != "overdue slots"}
    with pytest.raises(SystemExit, match="nothing of P17"):
        render(MACHINE, runs)


def test_broken_benchmark_is_told_and_not_asked_again() -> None:
    """A contender that fails is reported with its traceback, once, and those beside it go on."""
    case = Case("broken", "import", ("no such thing", "asyncio"))
    written: list[Any] = []
    measured, broken = measure(case, 2, written.append, full=False, brief=True)
    assert [list(each) for each in measured] == [["asyncio"], ["asyncio"]]
    assert len(broken) == 1
    assert "broken, no such thing: exit 1" in broken[0]
    assert "KeyError" in broken[0]
    assert [record["contender"] for record in written] == ["asyncio", "asyncio"]
    assert case.asked(full=False) == {"no such thing": sys.executable, "asyncio": sys.executable}
