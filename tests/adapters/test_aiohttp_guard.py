"""Guarded handlers under a real aiohttp server: the scheduler's own requests, and those from outside meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from loopcron import HttpJob, LifecycleError, MemoryLedger, Run, Scheduler, SlotPass, Succeeded, every
from loopcron._instants import from_ms, iso, to_ms
from loopcron._ledger import Claim, Row, Won
from loopcron.testing import FakeClock
from loopcron_aiohttp import guarded, install, pass_from
from tests.conftest import require_or_skip
from tests.loops import ASYNCIO, UVLOOP

SLOT = 1_935_918_000_000
"""The newest slot when a test begins."""
NOW = from_ms(SLOT + 60_000)
SECOND = timedelta(seconds=1)
HANG_SECONDS = 20.0
"""How long anything may take in here; only a failure takes so long."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ASYNCIO, id="asyncio"),
        pytest.param(UVLOOP, id="uvloop"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on asyncio only, which is all that aiohttp knows."""
    backend: tuple[str, dict[str, Any]] = request.param
    if backend[1].get("use_uvloop"):
        require_or_skip("uvloop", "uvloop is not installed")
    return backend


class Scene:
    """An app with the same guarded handler as a function, a method and a view, and a client of its server."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.ledger = MemoryLedger(self.clock)
        self.scheduler = Scheduler(clock=self.clock, ledger=self.ledger, startup_delay=SECOND)
        self.scheduler.add(HttpJob("sync", every(minutes=15), "/function", run_on_start=True))
        self.passes: list[SlotPass] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.ends: Callable[[], web.Response] = lambda: web.json_response({"done": True})
        scene = self

        @guarded("sync")
        async def function(request: web.Request) -> web.StreamResponse:
            return await scene.run(request)

        class View(web.View):
            @guarded("sync")
            async def post(self) -> web.StreamResponse:
                return await scene.run(self.request)

        app = web.Application()
        app.router.add_post("/function", function)
        app.router.add_post("/method", self.method)
        app.router.add_view("/view", View)
        install(app, self.scheduler)
        self.client = TestClient(TestServer(app))

    @guarded("sync")
    async def method(self, request: web.Request) -> web.StreamResponse:
        """Be a handler that is a method."""
        return await self.run(request)

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Be the body of the handlers."""
        self.passes.append(pass_from(request))
        self.begun.set()
        await self.may_end.wait()
        return self.ends()

    async def call(self, path: str = "/function", **headers: str) -> ClientResponse:
        """Call a handler from outside, as curl does."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with asyncio.timeout(HANG_SECONDS):
            response = await self.client.post(path, headers=sent)
            await response.read()
            return response

    async def row(self) -> Row:
        """Return the job's row."""
        [row] = await self.ledger.peek(["sync"])
        assert row is not None
        return row


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Return an app that is served."""
    scene = Scene()
    async with scene.client:
        yield scene


async def reason_of(response: ClientResponse) -> str:
    """Return why a request was refused."""
    reason: str = (await response.json())["reason"]
    return reason


async def test_schedulers_run_passes_and_an_outside_call_meanwhile_is_refused(scene: Scene) -> None:
    """The scheduler's loopback request is let in; who calls from outside meanwhile, or after it, gets a 409."""
    scene.may_end.clear()
    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.clock.advance(SECOND))
        await scene.begun.wait()
        response = await scene.call("/method")
        assert (response.status, await reason_of(response)) == (409, "taken")
        scene.may_end.set()
    assert (await scene.call("/view")).status == 409
    [slot_pass] = scene.passes
    assert (slot_pass.caller, to_ms(slot_pass.slot)) == ("scheduler", SLOT)
    assert (await scene.row()).outcome == "Succeeded 200"


@pytest.mark.parametrize("path", ["/function", "/method", "/view"])
async def test_outside_call_first_takes_the_schedulers_slot(scene: Scene, path: str) -> None:
    """A slot that was called for from outside is not run again by the scheduler that comes later."""
    response = await scene.call(path)
    assert (response.status, await response.json()) == (200, {"done": True})
    await scene.clock.advance(SECOND)
    [slot_pass] = scene.passes
    assert (slot_pass.caller, to_ms(slot_pass.slot)) == ("outside", SLOT)
    assert (await scene.row()).fence == slot_pass.fence


async def test_manual_run_is_let_in(scene: Scene) -> None:
    """What somebody triggers runs beside the slots."""
    await scene.call()
    async with asyncio.timeout(HANG_SECONDS):
        assert await scene.scheduler.trigger("sync") == Succeeded(200)
    assert [slot_pass.caller for slot_pass in scene.passes] == ["outside", "manual"]


async def test_zombie_gets_412(scene: Scene) -> None:
    """A request under an old fence is answered with 412 and why, as JSON."""
    [won] = await scene.ledger.claim([Claim("sync", SLOT, "successor", 30_000)])
    assert isinstance(won, Won)
    response = await scene.call(Loopcron_Job="sync", Loopcron_Slot=iso(SLOT), Loopcron_Fence=str(won.fence - 1))
    assert (response.status, await reason_of(response)) == (412, "stale")


@pytest.mark.parametrize(
    ("name", "value"),
    [("Loopcron_Job", "<script>"), ("Loopcron_Slot", "9" * 7000), ("Loopcron_Fence", "-1"), ("Loopcron_Job", "é")],
)
async def test_hostile_headers_get_400(scene: Scene, name: str, value: str) -> None:
    """Headers that no scheduler sends are answered with 400, and nothing of them comes back."""
    headers = {"Loopcron_Job": "sync", "Loopcron_Slot": iso(SLOT), "Loopcron_Fence": "1"}
    response = await scene.call(**headers | {name: value})
    assert (response.status, await reason_of(response)) == (400, "malformed")
    assert "script" not in await response.text()
    assert scene.passes == []


async def test_ledger_down_gets_503(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ledger cannot be asked, the answer is 503 with ``Retry-After``, and shows nothing of the error."""

    async def down(self: MemoryLedger, claims: object) -> Any:
        raise OSError("hunter2")

    monkeypatch.setattr(MemoryLedger, "claim", down)
    response = await scene.call()
    assert (response.status, response.headers["Retry-After"]) == (503, "2")
    assert "hunter2" not in await response.text()


async def test_lost_lease_cancels_the_handler(scene: Scene) -> None:
    """A handler whose lease is lost is cancelled, and the caller gets a 409."""
    scene.may_end.clear()
    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as tasks:
        called = tasks.create_task(scene.call())
        await scene.begun.wait()
        await scene.ledger.reset(["sync"])
        for _ in range(3):  # the scheduler has a slot of its own to settle in between
            await scene.clock.advance(10 * SECOND)
    response = called.result()
    assert (response.status, await reason_of(response)) == (409, "lease_lost")


async def test_client_that_goes_away_leaves_an_outcome(scene: Scene) -> None:
    """Where the server cancels handlers whose client has gone, as here, the outcome is written all the same."""
    scene.may_end.clear()
    called = asyncio.create_task(scene.call())
    async with asyncio.timeout(HANG_SECONDS):
        await scene.begun.wait()
        called.cancel()
        while not (await scene.row()).finished:
            await asyncio.sleep(0.01)
    assert ((await scene.row()).outcome, (await scene.row()).lease) == ("Failed endpoint", None)


def raising(error: type[Exception]) -> Callable[[], Any]:
    """Return a function that raises an *error*; a new one each time, for aiohttp's are responses."""

    def ends() -> Any:
        raise error

    return ends


@pytest.mark.parametrize(
    ("ends", "status", "outcome"),
    [
        (lambda: web.Response(status=409), 409, "Busy"),
        (lambda: web.Response(status=500), 500, "Failed endpoint 500"),
        (raising(web.HTTPServiceUnavailable), 503, "Failed endpoint 503"),
        (raising(web.HTTPAccepted), 202, "Succeeded 202"),
        (raising(ValueError), 500, "Failed job"),
    ],
    ids=["409", "500", "raised 503", "raised 202", "error"],
)
async def test_end_of_the_handler_is_its_outcome(
    scene: Scene, ends: Callable[[], web.Response], status: int, outcome: str
) -> None:
    """What a handler returns or raises counts by its status, any other exception as a failed run."""
    scene.ends = ends
    assert (await scene.call()).status == status
    assert (await scene.row()).outcome == outcome


async def test_pass_of_an_unguarded_handler_is_explained() -> None:
    """``pass_from`` in a handler that is not guarded names the decorator."""
    with pytest.raises(LifecycleError, match=r"loopcron_aiohttp\.guarded"):
        pass_from(make_mocked_request("POST", "/"))


async def test_handler_without_a_request_is_explained() -> None:
    """A handler that takes no request is told to."""

    @guarded("sync")
    async def handler(run: Run | None = None) -> web.StreamResponse:
        return web.Response()

    with pytest.raises(LifecycleError, match="takes the request last"):
        await handler()
