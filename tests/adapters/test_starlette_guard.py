"""Guarded endpoints in Starlette and FastAPI apps: the scheduler's own requests, and those from outside meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Annotated, Any

import anyio
import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi import Request as FastAPIRequest
from fastapi.responses import JSONResponse as FastAPIResponse
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loopcron import (
    ConfigError,
    HttpJob,
    LifecycleError,
    MemoryLedger,
    Outcome,
    Scheduler,
    Settled,
    SlotPass,
    Succeeded,
    Taken,
    every,
)
from loopcron._instants import from_ms, iso, to_ms
from loopcron._ledger import Claim, Row, Won
from loopcron.testing import FakeClock, RecordingObserver
from loopcron_starlette import ASGITransport, guarded, lifespan, pass_from, slot_guard

App = Starlette | FastAPI
HANG_SECONDS = 20.0
"""How long anything may take in here; only a failure takes so long."""
SLOT = 1_935_918_000_000
"""The newest slot when a test begins."""
NOW = from_ms(SLOT + 60_000)
SECOND = timedelta(seconds=1)


class Endpoint:
    """What the guarded endpoints of all kinds do: note their pass, wait if they are to, and end as they are told."""

    def __init__(self) -> None:
        self.passes: list[SlotPass] = []
        self.begun = anyio.Event()
        self.may_end: anyio.Event | None = None
        self.ends: Callable[[], Any] = lambda: {"done": True}

    async def run(self, slot_pass: SlotPass) -> Any:
        """Be the body of an endpoint."""
        self.passes.append(slot_pass)
        self.begun.set()
        if self.may_end is not None:
            await self.may_end.wait()
        return self.ends()


class Scene:
    """An app with one guarded endpoint, and the scheduler whose job it is."""

    def __init__(self, kind: str, *, enabled: bool = False) -> None:
        self.clock = FakeClock(NOW)
        self.ledger = MemoryLedger(self.clock)
        self.transport = ASGITransport()
        self.seen = RecordingObserver()
        self.scheduler = Scheduler(
            clock=self.clock,
            ledger=self.ledger,
            transport=self.transport,
            observers=[self.seen],
            startup_delay=timedelta(seconds=1),
            enabled=enabled,
        )
        self.scheduler.add(HttpJob("sync", every(minutes=15), "/sync", run_on_start=True))
        self.endpoint = Endpoint()
        self.app = APPS[kind](self.endpoint)
        self.app.router.lifespan_context = lifespan(self.scheduler)
        self.transport.app = self.app

    def entered(self) -> AbstractAsyncContextManager[object]:
        """Return the life of the app."""
        return self.app.router.lifespan_context(self.app)

    async def call(self, headers: dict[str, str] | list[tuple[str, str]] | None = None) -> httpx2.Response:
        """Call the endpoint from outside, as curl does."""
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            with anyio.fail_after(HANG_SECONDS):
                return await client.post("/sync", headers=headers)

    def outcomes(self) -> list[Outcome]:
        """Return what became of the scheduler's slots."""
        return [event.outcome for event in self.seen.events if isinstance(event, Settled)]

    async def row(self) -> Row:
        """Return the job's row."""
        [row] = await self.ledger.peek(["sync"])
        assert row is not None
        return row

    async def win(self, claim_id: str, slot: int = SLOT) -> int:
        """Claim a slot as a scheduler elsewhere does."""
        [answer] = await self.ledger.claim([Claim("sync", slot, claim_id, 30_000)])
        assert isinstance(answer, Won)
        return answer.fence


def starlette_app(endpoint: Endpoint) -> App:
    """Return an app with a decorated function."""

    @guarded("sync")
    async def sync(request: Request) -> Response:
        answer = await endpoint.run(pass_from(request))
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    return Starlette(routes=[Route("/sync", sync, methods=["POST"])])


def class_app(endpoint: Endpoint) -> App:
    """Return an app with a decorated method of an endpoint class."""

    class Sync(HTTPEndpoint):
        @guarded("sync")
        async def post(self, request: Request) -> Response:
            answer = await endpoint.run(pass_from(request))
            return answer if isinstance(answer, Response) else JSONResponse(answer)

    return Starlette(routes=[Route("/sync", Sync)])


def fastapi_app(endpoint: Endpoint) -> App:
    """Return an app with a dependency."""
    app = FastAPI()

    @app.post("/sync")
    async def sync(slot_pass: Annotated[SlotPass, Depends(slot_guard("sync"))], number: int = 1) -> Any:
        return await endpoint.run(slot_pass)

    return app


def decorated_fastapi_app(endpoint: Endpoint) -> App:
    """Return an app with a decorated endpoint that takes the request among others."""
    app = FastAPI()

    @app.post("/sync")
    @guarded("sync")
    async def sync(request: FastAPIRequest, number: int = 1) -> Any:
        assert number == 1
        return await endpoint.run(pass_from(request))

    return app


APPS: dict[str, Callable[[Endpoint], App]] = {
    "starlette": starlette_app,
    "class": class_app,
    "fastapi": fastapi_app,
    "decorated fastapi": decorated_fastapi_app,
}


@pytest.fixture(params=APPS)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Return an app of each kind that is called by nobody but the test."""
    scene = Scene(request.param)
    async with scene.entered():
        yield scene


@pytest.fixture(params=APPS)
async def alive(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Return an app of each kind whose scheduler fires once a second has passed."""
    scene = Scene(request.param, enabled=True)
    async with scene.entered():
        yield scene


def body_of(response: httpx2.Response) -> dict[str, str]:
    """Return what a refusal says, which FastAPI's handler wraps."""
    answer = response.json()
    body: dict[str, str] = answer.get("detail") if isinstance(answer.get("detail"), dict) else answer
    return body


def ours(fence: int, slot: int = SLOT) -> dict[str, str]:
    """Return the headers of a scheduler's request."""
    return {
        "Idempotency-Key": f"sync@{iso(slot)}",
        "Loopcron-Job": "sync",
        "Loopcron-Slot": iso(slot),
        "Loopcron-Fence": str(fence),
    }


# --- with the scheduler


async def test_schedulers_run_passes_and_an_outside_call_meanwhile_is_refused(alive: Scene) -> None:
    """The scheduler's own request is let in; who calls from outside while it runs, or after it, gets a 409."""
    alive.endpoint.may_end = anyio.Event()
    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alive.clock.advance, SECOND)
            await alive.endpoint.begun.wait()
            response = await alive.call()
            assert (response.status_code, body_of(response)["reason"]) == (409, "taken")
            alive.endpoint.may_end.set()
    assert (await alive.call()).status_code == 409
    [slot_pass] = alive.endpoint.passes
    assert (slot_pass.caller, to_ms(slot_pass.slot)) == ("scheduler", SLOT)
    assert alive.outcomes() == [Succeeded(200)]
    assert (await alive.row()).outcome == "Succeeded 200"


async def test_outside_call_first_takes_the_schedulers_slot(alive: Scene) -> None:
    """A slot that was called for from outside is not run again by the scheduler that comes later."""
    await anyio.wait_all_tasks_blocked()  # until the job is registered: what was claimed before owes no outcome
    assert (await alive.call()).json() == {"done": True}
    await alive.clock.advance(SECOND)
    assert alive.outcomes() == [Taken()]
    [slot_pass] = alive.endpoint.passes
    assert (slot_pass.caller, to_ms(slot_pass.slot)) == ("outside", SLOT)


async def test_manual_run_is_let_in(alive: Scene) -> None:
    """What somebody triggers runs beside the slots."""
    await alive.call()
    with anyio.fail_after(HANG_SECONDS):
        assert await alive.scheduler.trigger("sync") == Succeeded(200)
    assert [slot_pass.caller for slot_pass in alive.endpoint.passes] == ["outside", "manual"]


# --- refusals


async def test_zombie_gets_412(scene: Scene) -> None:
    """A request under an old fence is answered with 412 and why, as JSON; the newest one's is served."""
    old = await scene.win("zombie", SLOT - 900_000)
    await scene.ledger.reset(["sync"])
    new = await scene.win("successor")
    response = await scene.call(ours(old, SLOT - 900_000))
    assert response.status_code == 412
    assert body_of(response) == {
        "job": "sync",
        "reason": "stale",
        "detail": "the job was claimed anew since this run began",
    }
    assert (await scene.call(ours(new))).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        ours(1) | {"Loopcron-Job": "<script>"},
        ours(1) | {"Loopcron-Slot": "9" * 10_000},
        ours(1) | {"Loopcron-Fence": "0x10"},
        [*ours(1).items(), ("Loopcron-Fence", "2")],
        {"Loopcron-Job": b"s\xffnc", "Loopcron-Slot": b"\xc3\xa9", "Loopcron-Fence": b"\xb2"},
    ],
    ids=["markup", "huge", "hex", "twice", "bytes"],
)
async def test_hostile_headers_get_400(scene: Scene, headers: Any) -> None:
    """Headers that no scheduler sends are answered with 400, and nothing of them comes back."""
    response = await scene.call(headers)
    assert (response.status_code, body_of(response)["reason"]) == (400, "malformed")
    assert "script" not in response.text
    assert len(response.content) < 300
    assert scene.endpoint.passes == []


async def test_ledger_down_gets_503(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ledger cannot be asked, the answer is 503 with ``Retry-After``, and shows nothing of the error."""

    async def down(items: object) -> Any:
        raise OSError("hunter2")

    monkeypatch.setattr(MemoryLedger, "claim", lambda self, claims: down(claims))
    response = await scene.call()
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert body_of(response)["reason"] == "ledger"
    assert "hunter2" not in response.text


async def test_lost_lease_cancels_the_endpoint(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """An endpoint whose lease is lost is cancelled, and the caller gets a 409."""
    scene.endpoint.may_end = anyio.Event()
    responses: list[httpx2.Response] = []

    async def call() -> None:
        responses.append(await scene.call())

    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await scene.endpoint.begun.wait()
            await scene.ledger.reset(["sync"])
            await anyio.wait_all_tasks_blocked()
            await scene.clock.advance(10 * SECOND)
    [response] = responses
    assert (response.status_code, body_of(response)["reason"]) == (409, "lease_lost")
    assert "the lease is lost" in caplog.text


# --- outcomes


def raising(error: Exception) -> Callable[[], Any]:
    """Return a function that raises *error*."""

    def ends() -> Any:
        raise error

    return ends


@pytest.mark.parametrize(
    ("ends", "status", "outcome"),
    [
        (raising(StarletteHTTPException(409)), 409, "Busy"),
        (raising(HTTPException(503, "later")), 503, "Failed endpoint 503"),
        (raising(StarletteHTTPException(204)), 204, "Succeeded 204"),
        (raising(ValueError("on purpose")), 500, "Failed job"),
    ],
    ids=["409", "503", "204", "error"],
)
async def test_what_an_endpoint_raises_is_its_outcome(
    scene: Scene, ends: Callable[[], Any], status: int, outcome: str
) -> None:
    """An ``HTTPException`` counts by its status, any other one as a failed run; the app's answer is as without us."""
    scene.endpoint.ends = ends
    assert (await scene.call()).status_code == status
    assert (await scene.row()).outcome == outcome


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("starlette", "Failed endpoint 500"),
        ("class", "Failed endpoint 500"),
        ("decorated fastapi", "Failed endpoint 500"),
        ("fastapi", "Succeeded"),  # which a dependency cannot see; its docstring says so
    ],
)
async def test_what_an_endpoint_answers_is_its_outcome(kind: str, outcome: str) -> None:
    """A response with a status that says so is a failure, where the guard sees it."""
    scene = Scene(kind)
    scene.endpoint.ends = lambda: FastAPIResponse({}, 500)
    async with scene.entered():
        assert (await scene.call()).status_code == 500
    assert (await scene.row()).outcome == outcome


async def test_dependency_may_be_told_the_status() -> None:
    """In FastAPI an endpoint can tell the pass what it is about to answer."""
    scene = Scene("fastapi")

    def ends() -> Any:
        [slot_pass] = scene.endpoint.passes
        slot_pass.status = 409
        return FastAPIResponse({}, 409)

    scene.endpoint.ends = ends
    async with scene.entered():
        assert (await scene.call()).status_code == 409
    assert (await scene.row()).outcome == "Busy"


async def test_answer_of_fastapi_without_a_status_is_success() -> None:
    """What FastAPI makes a response of has no status yet, and is a success."""
    scene = Scene("decorated fastapi")
    async with scene.entered():
        assert (await scene.call()).status_code == 200
    assert (await scene.row()).outcome == "Succeeded"


async def test_sync_endpoint_runs_on_a_thread() -> None:
    """An endpoint that is no async function is guarded too, and does not block the loop."""
    scene = Scene("starlette")
    begun: list[bool] = []

    @guarded("sync")
    def sync(request: Request) -> Response:
        anyio.from_thread.run_sync(begun.append, True)  # works on a worker thread only
        return JSONResponse(pass_from(request).key, 202)

    scene.app = Starlette(routes=[Route("/sync", sync, methods=["POST"])], lifespan=lifespan(scene.scheduler))
    async with scene.entered():
        assert (await scene.call()).json() == f"sync@{iso(SLOT)}"
    assert begun == [True]
    assert (await scene.row()).outcome == "Succeeded 202"


# --- mistakes


def test_decorating_a_class_is_an_error() -> None:
    """A class is refused with what to decorate instead."""
    with pytest.raises(ConfigError, match="decorate its methods"):
        guarded("sync")(HTTPEndpoint)


async def test_endpoint_without_a_request_is_explained() -> None:
    """An endpoint that takes no request is told to."""

    @guarded("sync")
    async def sync() -> None:
        """Never run."""

    with pytest.raises(LifecycleError, match="takes the Request"):
        await sync()


async def test_pass_of_an_unguarded_endpoint_is_explained() -> None:
    """``pass_from`` in an endpoint that is not guarded names the decorator."""
    with pytest.raises(LifecycleError, match=r"loopcron_starlette\.guarded"):
        pass_from(Request({"type": "http", "headers": []}))
