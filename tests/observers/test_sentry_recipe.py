"""The recipe for Sentry Crons on the page about observers, run against the real SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from loopcron import HttpJob, every
from loopcron.testing import RecordingTransport
from tests.shell.conftest import Stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "observers.md"


class Capturing(Transport):
    """Keeps the check-ins instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.check_ins: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if item.headers["type"] == "check_in":
                assert item.payload.json is not None
                self.check_ins.append(dict(item.payload.json))


@pytest.fixture
def sentry() -> Iterator[Capturing]:
    """Let the SDK speak to nobody, with none of its integrations, for as long as the test."""
    transport = Capturing()
    client = sentry_sdk.Client(
        dsn="https://key@sentry.example.com/1", transport=transport, default_integrations=False, integrations=[]
    )
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        yield transport
    client.close(timeout=0)


def recipe() -> dict[str, Any]:
    """Return what the block of the page that holds the recipe defines."""
    (block,) = [
        found for found in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "Crons" in found
    ]
    namespace: dict[str, Any] = {}
    exec("from loopcron import Scheduler\n" + block, namespace)
    return namespace


async def test_check_ins_follow_the_outcomes(stage: Stage, sentry: Capturing) -> None:
    """Success is ok, a 503 that raises nothing is an error, a 409 and a foreign job are nothing at all."""
    namespace = recipe()
    monitors = {"My.Sync": namespace["every_quarter"]}
    stage.build(observers=[namespace["SentryCrons"](monitors)], transport=RecordingTransport(200, 409, 503, 200))
    stage.scheduler.add(HttpJob("My.Sync", every(minutes=15), "/"))

    async def other(run: Any) -> None:
        """Do nothing."""

    stage.add(other)
    async with stage.scheduler:
        await stage.advance(hours=1)
    assert [check_in["status"] for check_in in sentry.check_ins] == ["ok", "error", "ok"]
    assert {check_in["monitor_slug"] for check_in in sentry.check_ins} == {"my-sync"}
    assert {timedelta(seconds=check_in["duration"]) for check_in in sentry.check_ins} == {timedelta(0)}
    assert sentry.check_ins[0]["monitor_config"]["schedule"] == {"type": "interval", "value": 15, "unit": "minute"}
