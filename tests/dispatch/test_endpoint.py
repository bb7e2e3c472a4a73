"""Dispatch's jobs against an app on a real socket, through the real transport."""

from __future__ import annotations

import base64
import logging
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from loopcron import Busy, Failed, Outcome, Succeeded, dispatch
from loopcron.testing import FakeClock, RecordingObserver

if TYPE_CHECKING:
    from tests.dispatch.conftest import RecordingApp

PATHS = {
    "sync": "/api/sync/scheduled",
    "groomer": "/api/groomer/run",
    "pr-followup": "/api/pr-followup/sync",
    "ci-failures": "/api/ci-failures/sync",
    "prune-closed": "/api/issues/prune-closed",
    "reconcile": "/api/issues/reconcile",
    "stale-work": "/api/agent-work/sweep",
    "pr-fix-sweep": "/api/pr-fix-queue/sweep",
}


async def test_requests(env: dict[str, str], app: RecordingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job sends a POST with its JSON body and the bearer header to its own path at PORT of the configuration."""
    monkeypatch.setenv("PORT", "9")  # inherited from a parent, which meant another program
    config = dispatch.config_from_env(env | {"PORT": str(app.port), "DISPATCH_SCHEDULER_JOBS": "all"})
    scheduler = dispatch.scheduler(config)
    async with scheduler:
        for name in PATHS:
            assert await scheduler.trigger(name) == Succeeded(200)
    assert app.paths == list(PATHS.values())
    assert [seen.body for seen in app.seen] == [b'{"issues":true}', *[b"{}"] * 7]
    for seen in app.seen:
        assert seen.method == "POST"
        assert seen.headers["Content-Type"] == "application/json"
        assert seen.headers["Authorization"] == f"Bearer {env['DISPATCH_AGENT_TOKEN']}"
        assert seen.headers["Host"] == f"127.0.0.1:{app.port}"


async def test_health_check_is_authenticated(env: dict[str, str], app: RecordingApp) -> None:
    """The health check is a GET without a body, with the same bearer header."""
    scheduler = dispatch.scheduler(dispatch.config_from_env(env | {"PORT": str(app.port)}))
    async with scheduler:
        assert await scheduler.trigger(dispatch.HEALTH_JOB) == Succeeded(200)
    (seen,) = app.seen
    assert (seen.method, seen.path, seen.body) == ("GET", "/api/health", b"")
    assert seen.headers["Authorization"] == f"Bearer {env['DISPATCH_AGENT_TOKEN']}"


async def test_token_is_read_at_each_send(
    env: dict[str, str], app: RecordingApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is replaced while the scheduler runs is used from the next fire on."""
    scheduler = dispatch.scheduler(dispatch.config_from_env(env | {"PORT": str(app.port)}))
    async with scheduler:
        monkeypatch.setenv("DISPATCH_AGENT_TOKEN", "another")
        await scheduler.trigger("sync")
    assert app.seen[0].headers["Authorization"] == "Bearer another"


@pytest.mark.parametrize(
    ("status", "outcome", "level"),
    [
        (200, Succeeded(200), logging.INFO),
        (202, Succeeded(202), logging.INFO),
        (409, Busy(409), logging.INFO),
        (302, Failed("endpoint", "HTTP 302", 302), logging.WARNING),
        (401, Failed("endpoint", "HTTP 401", 401), logging.WARNING),
        (500, Failed("endpoint", "HTTP 500", 500), logging.WARNING),
    ],
)
async def test_status(
    env: dict[str, str], app: RecordingApp, status: int, outcome: Outcome, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What the app answers is the outcome of the run: 409 is expected, 2xx is success, and all else is a warning."""
    caplog.set_level(logging.INFO, "loopcron")
    app.replies[PATHS["sync"]] = status
    scheduler = dispatch.scheduler(dispatch.config_from_env(env | {"PORT": str(app.port)}))
    async with scheduler:
        assert await scheduler.trigger("sync") == outcome
        assert scheduler.snapshot()["sync"].history[-1].outcome == outcome
    (logged,) = (record for record in caplog.records if record.getMessage().startswith("sync "))
    assert (logged.levelno, logged.exc_info) == (level, None)


def forms_of(secret: str) -> set[bytes]:
    """Return the secret as it may look once it went through something."""
    texts = {secret, f"Bearer {secret}", repr(secret)[1:-1], quote(secret), quote(secret, safe="")}
    forms = {text.encode() for text in texts}
    # base64 shows a different text for each of the three places within a group at which the secret may begin.
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret.encode()).rstrip(b"=")
        forms |= {encoded[4:-2], encoded[4:-2].replace(b"+", b"-").replace(b"/", b"_")}
    return forms | {secret.encode().hex().encode(), secret[::-1].encode()}


async def test_token_is_nowhere(env: dict[str, str], app: RecordingApp, caplog: pytest.LogCaptureFixture) -> None:
    """The token is in no log, event, repr, health and snapshot, in no form, even if the app sends it back."""
    caplog.set_level(logging.DEBUG)
    clock, observer = FakeClock(), RecordingObserver()
    config = dispatch.config_from_env(env | {"PORT": str(app.port)})
    scheduler = dispatch.scheduler(config, clock=clock, observers=[observer])
    shown: list[object] = [config, scheduler, scheduler.jobs, [vars(type(job)) for job in scheduler.jobs]]
    async with scheduler:
        for status in (200, 302, 401, 409, 500, 503):
            app.replies[PATHS["sync"]] = status
            await scheduler.trigger("sync")
        await clock.advance(timedelta(seconds=5))
        app.close()
        await clock.advance(timedelta(minutes=20, seconds=1))  # refused until the deadline
        shown += [scheduler.health(), scheduler.snapshot(), scheduler._transport]
    assert len(app.seen) == 6 + 2
    assert Failed("transport", "refused", started=False) in [settled.outcome for settled in observer.settled()]
    for settled in observer.settled():
        if settled.exception is not None:
            shown += traceback.TracebackException.from_exception(settled.exception, capture_locals=True).format()
    everything = "\n".join(
        [caplog.text, *(repr(vars(record)) for record in caplog.records), repr(observer.events), *map(repr, shown)]
    ).encode()
    assert len(everything) > 10_000
    assert [form for form in forms_of(env["DISPATCH_AGENT_TOKEN"]) if form in everything] == []


def test_forms_are_found() -> None:
    """The search for the token would find it in base64, wherever it begins, and in a URL."""
    secret = "s3cr3t+/=%&?t0ken"
    for text in (b"", b"a", b"ab", b"Bearer "):
        assert any(form in base64.b64encode(text + secret.encode() + b"tail") for form in forms_of(secret))
    assert quote(secret, safe="").encode() in forms_of(secret)
