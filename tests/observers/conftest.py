"""What the observers that do I/O are tested with: a scheduler on a fake clock, and a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loopcron.observers import _outbox as outbox_module
from tests.observers.healthchecks_server import Healthchecks
from tests.shell.conftest import Stage


@pytest.fixture
def stage() -> Stage:
    """Return a scheduler on a fake clock that has not started."""
    return Stage()


@pytest.fixture
def healthchecks() -> Iterator[Healthchecks]:
    """Run a server that takes pings."""
    with Healthchecks() as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass between two tries."""
    monkeypatch.setattr(outbox_module, "PAUSES_SECONDS", (0.0, 0.0))
