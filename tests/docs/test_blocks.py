"""Blocks of a page that are made by a script."""

from __future__ import annotations

import pytest

from tests.blocks import read_block, replace_block

PAGE = "before\n<!-- one: begin -->\nold\n<!-- one: end -->\nafter\n"


def test_replaces_a_block_and_nothing_else() -> None:
    """What a script writes stands between its markers, apart from them so that Markdown sees a table."""
    page = replace_block(PAGE, "one", "| new |")
    assert page == "before\n<!-- one: begin -->\n\n| new |\n\n<!-- one: end -->\nafter\n"
    assert read_block(page, "one") == "| new |"


def test_missing_markers_are_named() -> None:
    """A page without the markers is an error that names them."""
    with pytest.raises(LookupError, match="two: begin"):
        replace_block(PAGE, "two", "")
