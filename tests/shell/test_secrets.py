"""A token is fetched when a request is sent, and shows nowhere else."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from loopcron import HttpJob, Request, Response, Run, TransportError, bearer, every
from loopcron.testing import RecordingObserver

if TYPE_CHECKING:
    from tests.shell.conftest import Stage

SECRET = "s3cr3t/with+signs=and?more"
SHAPES = (SECRET, base64.b64encode(SECRET.encode()).decode().rstrip("="), quote(SECRET, safe=""))


class Leaky:
    """A transport that really fetches the token, and answers as a hostile endpoint would."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
        self.sent: list[str | None] = []

    async def send(self, request: Request) -> Response:
        self.sent.append(bearer(request))
        if self.error is not None:
            raise self.error.with_traceback(None)
        return Response(500, (("x-echo", SECRET),), SECRET.encode())


def hidden(text: str) -> bool:
    """Return whether no shape of the secret stands in *text*."""
    return not any(shape in text for shape in SHAPES)


@pytest.mark.parametrize(
    "error", [None, TransportError("reset"), TransportError("refused", started=False)], ids=["echo", "reset", "refused"]
)
async def test_token_shows_nowhere(stage: Stage, caplog: pytest.LogCaptureFixture, error: BaseException | None) -> None:
    """Logs, events, history, health, `repr` and pickles hold no trace of the token's value."""
    caplog.set_level(logging.DEBUG)
    transport = Leaky(error)
    scheduler = stage.build(transport=transport)
    job = HttpJob("call", every(minutes=1), "/", token=lambda: SECRET)

    async def own(run: Run) -> None:
        await run.send(Request("GET", "/", token=lambda: SECRET))

    scheduler.add(job)
    stage.add(own)
    async with scheduler:
        await stage.advance(minutes=2)
        seen = stage.seen
        shown = [
            repr(seen.events),
            repr(scheduler.snapshot()),
            repr(scheduler.health()),
            repr(job),
            repr(vars(scheduler)),
        ]
    assert set(transport.sent) == {f"Bearer {SECRET}"}
    assert len(stage.outcomes("call")) == 2
    shown += [repr(vars(record)) for record in caplog.records] + [caplog.text]
    shown += [pickle.dumps(outcome).decode("latin-1") for outcome in stage.outcomes()]
    shown += _tracebacks(seen)
    assert all(hidden(text) for text in shown)


def _tracebacks(seen: RecordingObserver) -> list[str]:
    errors = [settled.exception for settled in seen.settled() if settled.exception is not None]
    return [
        "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()) for error in errors
    ]


@pytest.mark.parametrize("token", [lambda: "", lambda: None, lambda: 1 / 0, lambda: f"{SECRET}\r\n"], ids=list("abcd"))
async def test_unusable_token_shows_nowhere(stage: Stage, caplog: pytest.LogCaptureFixture, token: Any) -> None:
    """A token that cannot be had, or cannot stand in a header, fails the run with one word, and is not shown."""
    transport = Leaky(None)
    stage.build(transport=transport)
    stage.scheduler.add(HttpJob("call", every(minutes=1), "/", token=token))
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert transport.sent == []
    (outcome,) = stage.outcomes()
    assert (outcome.blame, outcome.error) == ("job", "token")  # type: ignore[union-attr]
    assert hidden(caplog.text + repr(stage.seen.events))
