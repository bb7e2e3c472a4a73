"""Both stand-ins for Dispatch answer as it does, each under its real server."""

from __future__ import annotations

import json
import os
import socket
from types import ModuleType

import anyio
import pytest

from loopcron import LoopbackTransport, Observer, Request, Response, Scheduler, Settled, Succeeded, dispatch

TOKEN = "t0ken"
POSTS = (
    "/api/sync/scheduled",
    "/api/groomer/run",
    "/api/pr-followup/sync",
    "/api/ci-failures/sync",
    "/api/issues/prune-closed",
    "/api/issues/reconcile",
    "/api/agent-work/sweep",
    "/api/pr-fix-queue/sweep",
)

pytestmark = pytest.mark.parametrize("server", ["starlette", "aiohttp"])


def scheduled(*observers: Observer) -> Scheduler:
    """Return the scheduler that the environment asks for."""
    return dispatch.scheduler(dispatch.config_from_env(os.environ), observers=observers)


class Client:
    """Asks the app that listens on a socket."""

    def __init__(self, listener: socket.socket) -> None:
        self.transport = LoopbackTransport(f"http://127.0.0.1:{listener.getsockname()[1]}")

    async def ask(self, method: str, path: str, token: str | None = TOKEN) -> Response:
        """Return the response."""
        return await self.transport.send(Request(method, path, token=None if token is None else lambda: token))


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCH_AGENT_TOKEN", TOKEN)


async def test_every_endpoint_wants_the_token(demo: ModuleType, server: str, listener: socket.socket) -> None:
    """Each endpoint answers 401 without the token or with a wrong one, and so does a path that does not exist."""
    client = Client(listener)
    async with demo.serve(server, scheduled(), listener):
        asked = [("GET", "/api/health"), *(("POST", path) for path in POSTS), ("GET", "/api/nothing")]
        for method, path in asked:
            assert (await client.ask(method, path, None)).status == 401
            assert (await client.ask(method, path, "wrong")).status == 401


async def test_nobody_enters_an_app_without_token(
    demo: ModuleType, server: str, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app whose own token is not set lets nobody in."""
    monkeypatch.delenv("DISPATCH_AGENT_TOKEN")
    async with demo.serve(server, scheduled(), listener):
        assert (await Client(listener).ask("GET", "/api/health", None)).status == 401


async def test_every_endpoint_works(demo: ModuleType, server: str, listener: socket.socket) -> None:
    """Each of the eight endpoints answers 200 to a POST with the token."""
    client = Client(listener)
    statuses = {}

    async def ask(path: str) -> None:
        statuses[path] = (await client.ask("POST", path)).status

    async with demo.serve(server, scheduled(), listener), anyio.create_task_group() as tasks:
        for path in POSTS:
            tasks.start_soon(ask, path)
    assert statuses == dict.fromkeys(POSTS, 200)


async def test_sync_is_behind_a_lock(demo: ModuleType, server: str, listener: socket.socket) -> None:
    """Of two synchronisations at once one answers 409, and after it the lock is free again."""
    client = Client(listener)
    statuses = []

    async def ask() -> None:
        statuses.append((await client.ask("POST", "/api/sync/scheduled")).status)

    async with demo.serve(server, scheduled(), listener):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        await ask()
    assert statuses == [409, 200, 200]


async def test_scheduler_runs_inside(
    demo: ModuleType, server: str, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app's own scheduler calls its endpoint once the app is up, and the health endpoint tells of its jobs."""
    monkeypatch.setenv("DISPATCH_SCHEDULER_ENABLED", "true")
    monkeypatch.setenv("DISPATCH_SCHEDULER_STARTUP_DELAY_MS", "0")
    monkeypatch.setenv("PORT", str(listener.getsockname()[1]))
    synced = anyio.Event()

    class Watcher:
        def on_event(self, event: object) -> None:
            if isinstance(event, Settled) and event.job == "sync" and event.outcome == Succeeded(200):
                synced.set()

    async with demo.serve(server, scheduled(Watcher()), listener):
        with anyio.fail_after(30):
            await synced.wait()
        health = await Client(listener).ask("GET", "/api/health")
    assert health.status == 200
    assert json.loads(health.body) == {"status": "ok", "jobs": {dispatch.HEALTH_JOB: "ended", "sync": "ok"}}


async def test_status_page_is_for_this_machine(demo: ModuleType, server: str, listener: socket.socket) -> None:
    """The demo shows its status page to whoever asks for it by this machine's name, and to no page of another one."""
    transport = Client(listener).transport
    async with demo.serve(server, scheduled(), listener):
        for host, status in (("127.0.0.1:3000", 200), ("localhost:3000", 200), ("evil.example:3000", 403)):
            response = await transport.send(Request("GET", "/loopcron/status.json", (("Host", host),)))
            assert response.status == status
