"""
One event loop instead of three, for tests that are about a store and its driver.

All that a loop has to do with those is to wait for the ledger's thread, and ``test_thread.py`` has that on each loop,
with its time limits and its cancellation. Each kind of store has another loop, so that each loop has one.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import require_or_skip
from tests.loops import TRIO, UVLOOP


def on_one_loop(name: str, backend: tuple[str, dict[str, Any]]) -> Any:
    """Return the fixture ``anyio_backend`` that lets the tests of a module run on this loop only."""

    @pytest.fixture(scope="module", params=[pytest.param(backend, id=name)])
    def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        require_or_skip(name, f"{name} is not installed")
        backend: tuple[str, dict[str, Any]] = request.param
        return backend

    return anyio_backend


on_trio = on_one_loop("trio", TRIO)
on_uvloop = on_one_loop("uvloop", UVLOOP)
