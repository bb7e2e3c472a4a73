"""The page on semantics says what the code does, and names tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.blocks import ROOT, SEMANTICS, read_block
from tests.docs.tables import BLOCKS

PAGE = SEMANTICS.read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]*)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize("name", BLOCKS)
def test_tables_of_the_page_are_those_of_the_code(name: str) -> None:
    """Each decision table on the page is the one that the timetable looks up; ``make tables`` writes it."""
    assert read_block(PAGE, name) == BLOCKS[name]


@pytest.mark.parametrize(("place", "test"), NAMED, ids=["::".join(filter(None, named)) for named in NAMED])
def test_what_pins_a_rule_exists(place: str, test: str) -> None:
    """Each file or folder of tests that the page names is there, and so is each test."""
    path = ROOT / place
    assert path.exists()
    assert not test or f"def {test}(" in path.read_text(encoding="utf-8")


def test_every_section_names_its_tests() -> None:
    """No rule stands on the page without a test that pins it."""
    _, *sections = PAGE.split("\n## ")
    for section in sections:
        assert "*Pinned in*" in section, section.partition("\n")[0]
