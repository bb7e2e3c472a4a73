"""The table of other engines in docs/semantics says of loopcron what is true."""

from __future__ import annotations

import pytest

from tests.blocks import SEMANTICS, read_block
from tests.peers.compare import ENGINES, SITUATIONS, Situation, answer, ruled


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: f"{situation.what}: {situation.line}")
def test_loopcron_answers_as_the_rules_say(situation: Situation) -> None:
    """In each situation of the table loopcron's slots are those of the oracle."""
    assert answer(ENGINES["loopcron"], situation) == ruled(situation)


def test_page_shows_what_loopcron_answers() -> None:
    """The first column of answers in the table is loopcron's, as of now."""
    rows = [row.strip("| ").split(" | ") for row in read_block(SEMANTICS.read_text("utf-8"), "peers").splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        [situation.what, f"`{situation.line}`", answer(ENGINES["loopcron"], situation)] for situation in SITUATIONS
    ]
