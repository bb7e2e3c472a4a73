"""The cron engine beside cronsim: they agree, but for classes of cases that are known and explained."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from random import Random

import pytest

from loopcron import cron
from tests.blocks import SEMANTICS, read_block
from tests.cron.cases import ODD_ZONES, Case, all_zones, random_cases
from tests.cron.cronsim_classes import (
    DISAGREEMENTS,
    MEASURED,
    NEVER,
    Disagreement,
    Question,
    ask_cronsim,
    classify,
    count_classes,
    render,
)

NAMES = [each.name for each in DISAGREEMENTS]


def instant(text: str) -> datetime:
    """Read an instant of the table."""
    return NEVER if text == "never returns" else datetime.fromisoformat(text)


@pytest.mark.parametrize("seed", range(1, 4))
def test_every_disagreement_is_of_a_known_class(seed: int) -> None:
    """Where the two differ, a rule about the line, the zone and the instant says why."""
    rng = Random(seed)
    counts, unknown = count_classes(random_cases(rng, 700, sorted({*ODD_ZONES, *rng.sample(all_zones(), 8)})))
    assert not unknown
    assert counts["agreed"] > counts.total() * 0.8


@pytest.mark.parametrize("each", DISAGREEMENTS, ids=NAMES)
def test_example_of_a_class(each: Disagreement) -> None:
    """The example of each class is answered as the table says, and is of its class."""
    asked, theirs, ours = instant(each.asked), instant(each.theirs), instant(each.ours)
    assert cron(each.line, tz=each.zone).next_after(asked) == ours
    assert classify(Question(each.line, each.zone, asked, theirs, ours)) == each.name
    if version("cronsim") == MEASURED:  # a later one may have mended it
        assert ask_cronsim(each.line, each.zone, asked) == theirs


def test_wrong_engine_would_be_of_no_class() -> None:
    """An answer that is wrong in plain summer is excused by no class."""
    asked, right, wrong = (instant(f"2026-07-01 {clock}+02:00") for clock in ("08:00", "09:00", "10:00"))
    for line in ("0 9 * * *", "0 */9 * * *"):
        assert classify(Question(line, "Europe/Berlin", asked, right, wrong)) == "unknown"


def test_both_know_when_there_is_no_slot() -> None:
    """A frequent job whose every time lies in a gap has no slot, and that is no disagreement."""
    counts, _ = count_classes([Case("", "*/3 2 * MAR SUN#2", "US/Eastern", instant("2078-03-14 00:00-04:00"))])
    assert counts == {"agreed": 1}


def test_refused_line_is_counted_apart() -> None:
    """What cronsim does not take, such as 15W, is no disagreement."""
    counts, _ = count_classes([Case("", "0 0 15W * *", "UTC", instant("2026-07-01 00:00+00:00"))])
    assert counts == {"refused by cronsim": 1}


def test_page_shows_the_classes() -> None:
    """The table in docs/semantics is the one that ``python -m tests.cron.cronsim_classes --write`` makes."""
    assert read_block(SEMANTICS.read_text("utf-8"), "cronsim") == render()
