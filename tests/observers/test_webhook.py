"""The webhook hears of changes only, each once, in a document whose form is promised; and shows no secret."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest

from loopcron import (
    Busy,
    ConfigError,
    Event,
    Failed,
    JobParked,
    JobUnparked,
    LeaseLost,
    Outcome,
    Response,
    Run,
    RunStuck,
    RunUnstuck,
    SchedulerStarted,
    Settled,
    Skipped,
    Succeeded,
    TimedOut,
)
from loopcron._view import worker_name
from loopcron.observers import WebhookObserver
from loopcron.testing import MisbehavingServer, RecordingTransport
from tests.shell.conftest import Stage

SLOT = 1_935_000_000_000
SECRET = "T0ken/in+the=path"
URL = "https://hooks.example.com/services/T0kenInThePath?key=K3yInTheQuery"


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as server:
        yield server


def settled(outcome: Outcome, failures: int = 0) -> Settled:
    return Settled("work", SLOT, outcome, "schedule", 1, SLOT, SLOT + 250, failures)


async def delivered(*events: Event, **options: Any) -> list[dict[str, Any]]:
    """Return the documents that come of these events."""
    transport = RecordingTransport()
    watcher = WebhookObserver(URL, transport=transport, **options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        await anyio.lowlevel.checkpoint()
        for event in events:
            watcher.on_event(event)
        tasks.cancel_scope.cancel()
    assert {(request.method, request.path) for request in transport.requests} <= {("POST", URL[25:])}
    return [json.loads(request.body) for request in transport.requests]


def changes(*events: Event, **options: Any) -> list[tuple[str, str]]:
    """Return what was told of these events, as pairs of event and state."""

    async def tell() -> list[dict[str, Any]]:
        return await delivered(*events, **options)

    return [(document["event"], document["state"]) for document in anyio.run(tell)]


async def test_failing_and_recovered_on_a_real_server(stage: Stage, server: MisbehavingServer) -> None:
    """A job that fails five times and then works is told twice: as failing after three, and as recovered."""
    bad = [True] * 5

    async def work(run: Run) -> None:
        if bad:
            bad.pop()
            raise ValueError("no\nluck")

    watcher = WebhookObserver(f"{server.url()}/status/200?key=1", token=lambda: SECRET)
    stage.build(observers=[watcher])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=8)
    assert [(seen.method, seen.path) for seen in server.seen] == [("POST", "/status/200?key=1")] * 2
    assert {seen.header("authorization") for seen in server.seen} == {f"Bearer {SECRET}"}
    assert {seen.header("content-type") for seen in server.seen} == {"application/json"}
    failing, recovered = (json.loads(seen.body) for seen in server.seen)
    assert uuid.UUID(failing.pop("id")) != uuid.UUID(recovered.pop("id"))
    assert failing == {
        "version": 1,
        "event": "failing",
        "job": "work",
        "state": "failing",
        "text": "work is failing: job: ValueError: no\\nluck",
        "outcome": {"kind": "Failed", "detail": "job: ValueError: no\\nluck", "status": None},
        "failures": 3,
        "slot": "2031-05-07T11:16:00.000Z",
        "at": "2031-05-07T11:16:00.000Z",
        "worker": worker_name(),
    }
    assert recovered == {
        **failing,
        "event": "recovered",
        "state": "ok",
        "text": "work has recovered: succeeded",
        "outcome": {"kind": "Succeeded", "detail": "succeeded", "status": None},
        "failures": 0,
        "slot": "2031-05-07T11:19:00.000Z",
        "at": "2031-05-07T11:19:00.000Z",
    }
    assert watcher.dropped == 0


async def test_parked_and_stuck_are_told_by_a_real_scheduler(stage: Stage) -> None:
    """A schedule that fails and works again is told twice, however often it was asked meanwhile."""
    transport, broken = RecordingTransport(), [True]

    class Moody:
        def next_after(self, instant: datetime) -> datetime:
            if broken:
                raise ValueError("no calendar")
            return instant.replace(second=0, microsecond=0) + timedelta(minutes=1)

        def latest_until(self, instant: datetime) -> datetime:
            return instant.replace(second=0, microsecond=0)

    async def work(run: Run) -> None:
        """Do nothing."""

    stage.build(observers=[WebhookObserver(URL, transport=transport)])
    stage.add(work, schedule=Moody())
    async with stage.scheduler:
        await stage.advance(minutes=10)
        broken.clear()
        await stage.advance(minutes=20)
    told = [json.loads(request.body) for request in transport.requests]
    assert [(one["event"], one["state"]) for one in told] == [("parked", "parked"), ("unparked", "ok")]
    assert told[0]["outcome"]["kind"] == "Parked"
    assert "no calendar" in told[0]["text"]
    assert told[0]["slot"] is told[0]["failures"] is told[1]["outcome"] is None


FAILED = Failed("endpoint", "HTTP 503", 503)
PARKED = JobParked("work", SLOT, "bad", 1)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([settled(FAILED, 1), settled(FAILED, 2), settled(Succeeded())], []),
        ([settled(TimedOut(1.0), 3), settled(FAILED, 4), settled(LeaseLost(), 5)], [("failing", "failing")]),
        ([settled(LeaseLost(), 7), settled(Busy(), 7), settled(Skipped("overlap"), 7)], [("failing", "failing")]),
        (
            [settled(FAILED, 3), settled(Succeeded()), settled(FAILED, 3)],
            [("failing", "failing"), ("recovered", "ok"), ("failing", "failing")],
        ),
        (
            [RunStuck("work", SLOT, 1), RunStuck("work", SLOT, 2), settled(FAILED, 3)],
            [("stuck", "stuck"), ("failing", "stuck")],
        ),
        (
            [*(RunStuck("work", SLOT, run) for run in (1, 2)), *(RunUnstuck("work", SLOT, run) for run in (1, 2))],
            [("stuck", "stuck"), ("unstuck", "ok")],
        ),
        (
            [settled(FAILED, 3), PARKED, PARKED, settled(Succeeded()), JobUnparked("work", SLOT)],
            [("failing", "failing"), ("parked", "parked"), ("recovered", "parked"), ("unparked", "ok")],
        ),
        (
            [RunStuck("work", SLOT, 1), PARKED, SchedulerStarted((), "", 1), RunStuck("work", SLOT, 1), PARKED],
            [("stuck", "stuck"), ("parked", "parked"), ("stuck", "stuck"), ("parked", "parked")],
        ),
    ],
    ids=["too few", "once", "not by others", "again", "stuck first", "last one", "mixed", "next life"],
)
def test_each_change_is_told_once(events: list[Event], told: list[tuple[str, str]]) -> None:
    """One message per change, whatever happens in between; the state in it is the worst that holds."""
    assert changes(*events) == told


def test_details_of_every_failure() -> None:
    """Each kind of failure is told in words, with the status where there is one."""

    async def tell() -> list[dict[str, Any]]:
        failures = (FAILED, TimedOut(1.5), LeaseLost())
        return [document for one in failures for document in await delivered(settled(one, 1), after=1)]

    assert [document["outcome"] for document in anyio.run(tell)] == [
        {"kind": "Failed", "detail": "endpoint: HTTP 503", "status": 503},
        {"kind": "TimedOut", "detail": "timed out after 1.500 s", "status": None},
        {"kind": "LeaseLost", "detail": "its lease was lost", "status": None},
    ]


def test_jobs_that_are_well_are_not_kept() -> None:
    """Of a job that is well nothing is kept, so that jobs which come and go leave nothing behind."""
    watcher = WebhookObserver(URL)
    watcher.on_event(settled(Succeeded()))
    assert not watcher._jobs
    watcher.on_event(settled(FAILED, 3))
    assert watcher._jobs
    watcher.on_event(settled(Succeeded()))
    assert not watcher._jobs


@pytest.mark.usefixtures("hasty")
async def test_secrets_show_nowhere(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the token nor the path and query of the URL is in a log line, a `repr` or the state of an object."""
    caplog.set_level(logging.DEBUG)

    def hostile(request: Any) -> Response:
        raise ValueError(repr(request))

    watchers = [
        WebhookObserver(URL, after=1, token=lambda: SECRET, transport=RecordingTransport(hostile)),
        WebhookObserver(URL, after=1, token=lambda: SECRET, transport=RecordingTransport(404)),
        WebhookObserver("http://127.0.0.1:9/T0kenInThePath", after=1, token=lambda: f"{SECRET}\r\n"),
    ]

    async def work(run: Run) -> None:
        raise ValueError("bad")

    stage.build(observers=[*watchers, stage.seen])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert [watcher.dropped for watcher in watchers] == [1, 1, 1]
    shown = [caplog.text, repr(stage.seen.events), repr(vars(stage.scheduler)), repr(watchers)]
    shown += [repr(vars(record)) for record in caplog.records] + [repr(vars(watcher)) for watcher in watchers]
    for secret in (SECRET, "T0kenInThePath", "K3yInTheQuery"):
        assert not any(secret in text for text in shown)


@pytest.mark.parametrize(
    "url",
    [
        *("hooks.example.com/T0ken", "https://user:T0ken@hooks.example.com", "https://hooks.example.com/T0ken#a", 5),
        *("https://hooks.example.com//T0ken", "https:///T0ken", "https://hooks.example.com/T0ken with spaces"),
    ],
)
def test_wrong_urls_are_refused(url: Any) -> None:
    """What is no URL to post to is refused when it is configured, and nothing of it is shown."""
    with pytest.raises(ConfigError, match=r"^url='...': ") as caught:
        WebhookObserver(url)
    assert "T0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"after": 0}, "after=0: "),
        ({"after": True}, "after=True: "),
        ({"token": SECRET}, "token='str': "),
        ({"timeout": 5}, "timeout=5: "),
        ({"transport": "x"}, "transport='x': "),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Each argument that cannot work is refused by name, and a token is not shown."""
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        WebhookObserver(URL, **arguments)
    assert SECRET not in str(caught.value)
