"""What the page on scale says is what was measured and simulated, and the simulation still gives it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.benchmarks import scale_page
from tests.benchmarks.scale import FILE, simulated
from tests.benchmarks.scale_fleet import Plan, Told
from tests.blocks import read_block

FIGURES: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
AGAIN = "it is no longer so; make bench-scale ARGS=--simulate writes the page anew"


@pytest.mark.parametrize("name", scale_page.blocks(FIGURES))
def test_tables_of_the_page_are_the_figures(name: str) -> None:
    """Each table on the page is the one that is made of the figures in the file."""
    assert read_block(scale_page.PAGE.read_text("utf-8"), name) == scale_page.blocks(FIGURES)[name]


def test_plots_of_the_page_are_the_figures() -> None:
    """Each plot of the page is the one that is made of the figures in the file."""
    for file, text in scale_page.plots(FIGURES).items():
        assert scale_page.PAGE.with_name(file).read_text("utf-8") == text


@pytest.mark.parametrize("name", ["postgres 20 x 10", "postgres 20 x 1000", "redis 20 x 10", "redis 20 x 1000"])
def test_simulation_gives_the_figures(name: str) -> None:
    """Planner and courier ask as often as the page says, and what follows from it is about what it says."""
    told, written = simulated(FIGURES, scale_page.PLANS[name]), Told(*FIGURES["told"][name])
    assert (told.claims, told.won, told.calls) == (written.claims, written.won, written.calls), AGAIN
    assert told == pytest.approx(written, rel=0.3, abs=10), AGAIN


@pytest.mark.parametrize("store", scale_page.NAMES)
def test_all_but_one_worker_lose_each_slot(store: Any) -> None:
    """Every worker asks for every slot: one wins it, and all others lose it."""
    told = simulated(FIGURES, Plan(store, workers=7, jobs=30))
    assert (told.claims, told.won, told.lost, told.claim_calls) == (7 * 30, 30, 6 * 30, 7)
    assert told.missed == told.timeouts == 0


@pytest.mark.parametrize("store", scale_page.NAMES)
def test_job_may_stand_for_others(store: Any) -> None:
    """It is the same whether jobs that are due together are simulated one by one, or one of them for many."""
    plan = Plan(store, workers=4, jobs=1_000)
    assert simulated(FIGURES, plan) == pytest.approx(simulated(FIGURES, replace(plan, weight=100)), rel=1e-6)


def test_store_that_is_too_slow_shows() -> None:
    """Where the calls of one slot take longer than a call may, they time out, and the page would say so."""
    plan = Plan("redis", workers=20, jobs=1_000, weight=500, timeout=50)
    told = simulated(FIGURES, plan)
    assert told.timeouts > 0
    assert "time out" in scale_page.verdict(plan, told) or "not run" in scale_page.verdict(plan, told)
