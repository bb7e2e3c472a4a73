"""Every python block of README.md and of the pages in docs/ runs; so do the tests that the pages define."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(page for page in ROOT.glob("docs/**/*.md") if "_build" not in page.parts)]


def named(page: Path) -> str:
    """Return the page's path as a reader of the failure knows it."""
    return page.relative_to(ROOT).as_posix()


def needs_nothing(function: Any) -> bool:
    """Say whether *function* can be called without arguments, as a test that hypothesis feeds can."""
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(function).parameters.values()
    return all(parameter.default is not parameter.empty or parameter.kind in kinds for parameter in parameters)


@pytest.fixture
def few_examples(pytestconfig: pytest.Config) -> Iterator[None]:
    """Let properties that are defined meanwhile be tried with few examples."""
    hypothesis.settings.load_profile("pages")
    yield
    hypothesis.settings.load_profile(pytestconfig.getoption("--hypothesis-profile") or "dev")


@pytest.mark.usefixtures("few_examples")
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The python blocks of a page run one after the other in one namespace, and so do the tests they define."""
    monkeypatch.chdir(tmp_path)  # a page may write a file, and must not write it into the checkout
    document = Document.parse(str(page), PythonCodeBlockParser(), SkipParser())
    for example in document.examples():
        example.evaluate()
    for name, value in list(document.namespace.items()):
        if name.startswith("test_") and inspect.isfunction(value) and needs_nothing(value):
            assert not inspect.iscoroutinefunction(value), f"{named(page)}: {name} is async, and nothing awaits it"
            value()


def test_readme_shows_code() -> None:
    """The README has at least one python block that is run."""
    document = Document.parse(str(ROOT / "README.md"), PythonCodeBlockParser(), SkipParser())
    assert any(example.parsed for example in document.examples())
