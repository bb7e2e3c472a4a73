"""The README's first program, run as its reader would run it: as a file, on the real clock."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def block_after(marker: str, language: str) -> str:
    """Return the first fenced block of *language* after *marker*."""
    text = README.read_text(encoding="utf-8")
    match = re.search(rf"```{language}\n(.*?)```", text[text.index(marker) :], re.DOTALL)
    assert match is not None
    return match[1]


def without_times(lines: list[str]) -> set[str]:
    """Return *lines* without what differs from run to run: instants, durations, and how many failed in a row."""
    return {re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d+\.\d+ s|\(\d+ in a row\)", "#", line) for line in lines if line}


def test_the_twelve_lines_print_what_the_readme_says(tmp_path: Path) -> None:
    """The first program of the README prints the lines that stand below it, and only a traceback besides."""
    program = tmp_path / "twelve_lines.py"
    program.write_text(block_after("## Twelve lines", "python"), encoding="utf-8")
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=30, check=True)
    warnings = [line for line in ran.stderr.splitlines() if line.startswith("broken ")]
    shown = block_after("It prints", "text").splitlines()
    assert without_times(ran.stdout.splitlines() + warnings) == without_times(shown)
    assert ran.stderr.count("Traceback") == len(warnings) >= 1
