"""Every test says in one sentence what behaviour it pins; the contract suites that ship with loopcron do too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SENTENCE_END = re.compile(r"[.!?][\"'`)]*\s+[A-Z]")


def files_with_tests() -> list[Path]:
    """Return the files that hold tests: those in tests/, and the contract suites of loopcron.testing."""
    return sorted(
        path for folder in ("tests", "loopcron/testing") for path in (ROOT / folder).rglob("*.py") if path.is_file()
    )


def shown(path: Path) -> str:
    """Return the file's path from the root of the project."""
    return path.relative_to(ROOT).as_posix()


def each_test(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the test functions of a file and the test methods of its classes."""
    module = ast.parse(path.read_text("utf-8"), str(path))
    classes = [node for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    for body in (module.body, *(owner.body for owner in classes)):
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                yield node


def fault(docstring: str | None) -> str | None:
    """Return what keeps *docstring* from being one sentence, or None."""
    if not docstring:
        return "has no docstring"
    if "\n\n" in docstring:
        return "has more than one paragraph"
    if not docstring.rstrip("\"'`)").endswith((".", "!", "?")):
        return "does not end its sentence"
    if SENTENCE_END.search(docstring):
        return "says more than one sentence"
    return None


@pytest.mark.parametrize("path", files_with_tests(), ids=shown)
def test_every_test_says_what_it_pins(path: Path) -> None:
    """Every test function and method has a docstring of one sentence."""
    faults = [
        f"{shown(path)}:{node.lineno}: {node.name} {said}"
        for node in each_test(path)
        if (said := fault(ast.get_docstring(node))) is not None
    ]
    assert not faults


@pytest.mark.parametrize(
    ("docstring", "said"),
    [
        (None, "has no docstring"),
        ("A slot equal to now is due.", None),
        ("A slot that is late\nby one grace still runs.", None),
        ("A slot at 02:30 runs as ``every(...)`` says.", None),
        ("A slot equal to now is due", "does not end its sentence"),
        ("It is due. It runs.", "says more than one sentence"),
        ("It is due.\n\nBecause of the law.", "has more than one paragraph"),
    ],
)
def test_rule_knows_one_sentence(docstring: str | None, said: str | None) -> None:
    """The rule tells one sentence from none and from several."""
    assert fault(docstring) == said
