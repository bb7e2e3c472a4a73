"""What the tests of the examples share: the examples themselves, which are scripts and no package."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.loops import ASYNCIO

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run async tests on asyncio only: uvicorn and aiohttp know no other."""
    return ASYNCIO


@pytest.fixture
def demo() -> Iterator[ModuleType]:
    """Return the demo as a module."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("demo")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a listening socket on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("PORT", "DEMO_SECONDS", "NO_COLOR", "FORCE_COLOR")
    for name in [name for name in os.environ if name in names or name.startswith("DISPATCH_")]:
        monkeypatch.delenv(name)
