"""The example of an effect that happens once, on a real PostgreSQL."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from loopcron import Claim, PostgresLedger, Won
from tests.ledgers.postgres_server import AnyServer, own_schema
from tests.loops import ASYNCIO

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "once.py"
JOB = "invoices"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """psycopg's asynchronous connections work on asyncio's loops only."""
    return ASYNCIO


@pytest.fixture
def url(postgres: AnyServer) -> Iterator[str]:
    """Return the URL of a schema with the example's table."""
    with own_schema(postgres) as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table invoice (slot text)")
        yield url


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[PostgresLedger]:
    """Return the example's ledger, as the schedulers of its workers have it."""
    ledger = PostgresLedger(url, namespace="billing")
    yield ledger
    await ledger.close()


def app_of_the_example(url: str) -> Starlette:
    """Return the example's app; its scheduler is not entered."""
    spec = importlib.util.spec_from_file_location("once", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app: Starlette = module.make_app(url)
    return app


async def win(ledger: PostgresLedger, slot: int, lease: int) -> int:
    """Win a slot, and return the fence."""
    (answer,) = await ledger.claim([Claim(JOB, slot, uuid4().hex, lease)])
    assert isinstance(answer, Won)
    return answer.fence


async def lease_of(ledger: PostgresLedger) -> int:
    """Return for how long the lease goes on, in ms."""
    (row,) = await ledger.peek([JOB])
    assert row is not None
    assert row.lease is not None
    return row.lease


async def test_zombie_and_replay_have_no_effect(ledger: PostgresLedger, url: str) -> None:
    """A zombie's request is rolled back, its successor's counts, and a replay is rolled back again."""
    zombie = await win(ledger, 1, 1)
    while await lease_of(ledger) > 0:
        pass
    successor = await win(ledger, 2, 60_000)
    client = TestClient(app_of_the_example(url))
    sent = [("zombie", zombie), ("successor", successor), ("replay", successor), ("by hand", 0)]
    statuses = [
        client.post("/api/invoices", headers={"Loopcron-Slot": slot, "Loopcron-Fence": str(fence)}).status_code
        for slot, fence in sent
    ]
    assert statuses == [412, 200, 412, 200]
    with psycopg.connect(url) as connection:
        assert connection.execute("select slot from invoice").fetchall() == [("successor",), ("by hand",)]
    (row,) = await ledger.peek([JOB])
    assert row is not None
    assert (row.finished, row.outcome) == (True, "Succeeded")
