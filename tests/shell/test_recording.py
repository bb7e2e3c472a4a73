"""The recording doubles."""

from __future__ import annotations

from typing import Any

import pytest

from loopcron import ConfigError, Request, Response, SchedulerStopped, Settled, Succeeded, TransportError
from loopcron.testing import RecordingObserver, RecordingTransport

REQUEST = Request("POST", "/")


async def test_recording_transport_answers_in_order() -> None:
    """Replies are given in order, the last one for ever, and every request is kept."""
    transport = RecordingTransport(503, Response(204, (("x", "y"),)), lambda request: Response(299, body=request.body))
    assert (await transport.send(REQUEST)).status == 503
    assert (await transport.send(REQUEST)).header("X") == "y"
    for body in (b"a", b"b"):
        request = Request("POST", "/", body=body)
        assert await transport.send(request) == Response(299, body=body)
        assert transport.requests[-1] is request
    assert len(transport.requests) == 4


async def test_recording_transport_says_200_by_itself() -> None:
    """Without replies every request succeeds, and no token is called."""
    request = Request("POST", "/", token=lambda: pytest.fail("called"))
    assert await RecordingTransport().send(request) == Response(200)


async def test_recording_transport_raises_a_new_error_each_time() -> None:
    """An error among the replies is raised as one of its own each time, with the same facts."""
    reply = TransportError("refused", started=False)
    transport = RecordingTransport(reply)
    for _ in range(2):
        with pytest.raises(TransportError) as raised:
            await transport.send(REQUEST)
        assert raised.value is not reply
        assert (raised.value.code, raised.value.started) == ("refused", False)


@pytest.mark.parametrize("reply", [True, "200", None, OSError()], ids=repr)
def test_recording_transport_refuses_other_replies(reply: Any) -> None:
    """What is no reply is refused when the transport is made."""
    with pytest.raises(ConfigError, match="replies="):
        RecordingTransport(200, reply)


def test_recording_observer_finds_outcomes() -> None:
    """The settled events are found for one job or for all."""
    observer = RecordingObserver()
    settled = [Settled(job, 0, Succeeded(), "schedule", 1, 0, 0, 0) for job in ("a", "b", "a")]
    for event in settled:
        observer.on_event(event)
    observer.on_event(SchedulerStopped())
    assert observer.settled() == settled
    assert observer.settled("a") == [settled[0], settled[2]]
    assert observer.events[-1] == SchedulerStopped()
