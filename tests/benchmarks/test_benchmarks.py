"""What the benchmarks say of what they measured: the verdicts, the page, and that a broken one is no fast one."""

from __future__ import annotations

import asyncio
import gc
import math
import re
import subprocess
import sys
import time
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.cases import BY_NAME, LOOP, Case
from tests.benchmarks.gauges import Turns, settle, watch_loop
from tests.benchmarks.page import IMAGES, PAGE, medians, merged, render
from tests.benchmarks.rounds import measure, wants_more
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


def test_noise_beside_the_baseline_spoils_a_round_too() -> None:
    """A ratio is left out if others were busy while the baseline was measured, in verdicts and in tables."""
    runs: Runs = {
        LATE.case: [
            {who: {"p99_ms": value, "others_busy": busy} for who, value, busy in round_}
            for round_ in (
                (("call_at", 1.0, 0.0), ("loopcron", 1.5, 0.0)),
                (("call_at", 9.0, 0.9), ("loopcron", 7.0, 0.0)),
            )
        ]
    }
    verdict = judge(LATE, runs)
    assert verdict is not None
    assert (verdict.ratio, verdict.notes) == (1.5, ("1 of 2 rounds quiet",))
    assert medians(LATE.case, runs)["loopcron"]["p99_ms"] == (1.5, 1.5)


@pytest.mark.parametrize(
    ("busy", "wants"),
    [([0.0], True), ([0.0, 0.0], False), ([0.9, 0.0], True), ([0.9, 0.0, 0.0], False), ([0.9] * 5, False)],
)
def test_noisy_rounds_are_repeated_within_bounds(busy: list[float], wants: bool) -> None:
    """There are rounds until as many as there should be were quiet, but no more than so many extra ones."""
    assert wants_more([{"loopcron": {"others_busy": each}} for each in busy], rounds=2, extra=3) is wants


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


def test_later_file_replaces_whole_cases() -> None:
    """Of a case that was measured anew nothing of the first time is left, and the page names both days."""
    again: Runs = {"memory": [{who: {"bytes": 1.0} for who in [*LOOP, *BY_NAME["memory"].peers]}] * 2}
    machine, runs = merged([(MACHINE, everything()), ({**MACHINE, "on": "2026-02-02"}, again)])
    assert machine["on"] == "2026-01-01 and 2026-02-02"
    assert runs["memory"] == again["memory"]
    assert runs["adding"] == everything()["adding"]


@pytest.mark.parametrize(
    ("again", "why"),
    [
        ({"memory": [{who: {"bytes": 1.0} for who in LOOP}]}, "memory: .*aiocron.* would be lost"),
        ({"burst, 1k": everything()["burst, 1k"]}, "growth is of all bursts of one run"),
    ],
)
def test_later_file_must_hold_a_table_whole(again: Runs, why: str) -> None:
    """Rows of others, and the growth of bursts, are never of two runs: a file that would mix them is refused."""
    with pytest.raises(SystemExit, match=why):
        merged([(MACHINE, everything()), (MACHINE, again)])


def test_files_of_two_machines_are_not_merged() -> None:
    """A page that names one machine is written of what was measured on its kind only."""
    with pytest.raises(SystemExit, match="same kind of machine"):
        merged([(MACHINE, everything()), ({**MACHINE, "cores": 64}, {})])


def test_longest_turn_tells_how_much_of_it_was_collecting() -> None:
    """What the collector of garbage takes within a turn is counted as its, and as part of the turn."""

    async def turns() -> Turns:
        watched = watch_loop(asyncio.get_running_loop())
        kept = [[each] for each in range(100_000)]
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        assert kept
        return watched

    try:
        found = asyncio.run(turns(), debug=False)
    finally:
        gc.callbacks.pop()
    assert 0 < found.collecting < found.longest
    assert 0 < found.longest_apart <= found.longest


def test_measurement_waits_for_a_start_to_end_but_not_beyond_what_is_due() -> None:
    """What a start goes on with counts to it, however long it takes; a process that never rests is not waited for."""

    async def start(turns: float, until: float) -> bool:
        done = False

        async def register() -> None:
            nonlocal done
            begin = time.process_time()
            while time.process_time() - begin < turns:
                await asyncio.sleep(0)
            done = True

        task = asyncio.create_task(register())
        await settle(until)
        task.cancel()
        return done

    assert asyncio.run(start(0.3, math.inf), debug=False)
    assert not asyncio.run(start(math.inf, time.monotonic() + 0.2), debug=False)


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


def test_bytecodes_of_a_run_are_counted() -> None:
    """The profile tells what each part executes for a run; in a process of its own, for it takes the tracing over."""
    command = [sys.executable, "-m", "tests.benchmarks.bytecodes"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert re.match(r"[1-9],[0-9]{3} bytecodes per run", told)
    files = {
        line.split()[2]: int(line.split()[0]) for line in told.splitlines() if re.match(r" *[0-9]+ +[0-9]+%", line)
    }
    assert {"asyncio", "loopcron/_timetable.py", "loopcron/_engine.py", "loopcron/_history.py"} <= set(files)
    assert "Timetable._serve_due" in told
