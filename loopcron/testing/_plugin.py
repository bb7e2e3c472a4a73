"""
The pytest plugin: fixtures for a scheduler on a fake clock.

Every test session of an environment in which loopcron is installed loads this file, so it imports nothing but pytest;
the fixtures import what they give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from loopcron import Scheduler
    from loopcron.testing import FakeClock, RecordingObserver, RecordingTransport


@pytest.fixture
def fake_clock() -> FakeClock:
    """A `FakeClock`, which is also the one of the fixture `scheduler`."""
    from loopcron.testing import FakeClock

    return FakeClock()


@pytest.fixture
def recording_transport() -> RecordingTransport:
    """The `RecordingTransport` of the fixture `scheduler`; it answers 200."""
    from loopcron.testing import RecordingTransport

    return RecordingTransport()


@pytest.fixture
def recording_observer() -> RecordingObserver:
    """The `RecordingObserver` of the fixture `scheduler`."""
    from loopcron.testing import RecordingObserver

    return RecordingObserver()


@pytest.fixture
def scheduler(
    fake_clock: FakeClock, recording_transport: RecordingTransport, recording_observer: RecordingObserver
) -> Scheduler:
    """A `Scheduler` without jobs on a fake clock; it is not started, and does no I/O."""
    from loopcron import Scheduler

    return Scheduler(clock=fake_clock, transport=recording_transport, observers=[recording_observer])
