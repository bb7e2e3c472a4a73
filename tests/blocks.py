"""Blocks of a page that are made, not written: what stands between ``<!-- name: begin -->`` and its end."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEMANTICS = ROOT / "docs" / "semantics.md"


def read_block(page: str, name: str) -> str:
    """Return what the block of this name holds."""
    return _find(page, name)[1].strip()


def replace_block(page: str, name: str, text: str) -> str:
    """Return the page with *text* in the block of this name."""
    found = _find(page, name)
    return f"{page[: found.start(1)]}\n\n{text}\n\n{page[found.end(1) :]}"


def write_block(path: Path, name: str, text: str) -> None:
    """Put *text* into the block of this name, in a file."""
    path.write_text(replace_block(path.read_text("utf-8"), name, text), "utf-8")


def _find(page: str, name: str) -> re.Match[str]:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    found = re.search(f"{begin}(.*){end}", page, re.DOTALL)
    if found is None:
        raise LookupError(f"the page lacks {begin} and {end}")
    return found
