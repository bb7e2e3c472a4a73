"""The page on semantics says what the code does, and names tests that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "semantics.md"
NAMED = sorted(set(re.findall(r"`(tests/[\w/.]*)(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))))


def test_tables_of_the_page_are_those_of_the_code() -> None:
    """The decision tables on the page are the ones that the timetable looks up."""
    checked = subprocess.run(
        [sys.executable, ROOT / "docs" / "tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(("place", "test"), NAMED, ids=["::".join(filter(None, named)) for named in NAMED])
def test_what_pins_a_rule_exists(place: str, test: str) -> None:
    """Each file or folder of tests that the page names is there, and so is each test."""
    path = ROOT / place
    assert path.exists()
    assert not test or f"def {test}(" in path.read_text(encoding="utf-8")


def test_every_section_names_its_tests() -> None:
    """No rule stands on the page without a test that pins it."""
    _, *sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    for section in sections:
        assert "*Pinned in*" in section, section.partition("\n")[0]
