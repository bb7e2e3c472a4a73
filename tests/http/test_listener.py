"""ListenerWatch: seeing that the server has begun to drain."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from loopcron import ListenerWatch
from loopcron._address import listening_addresses

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="not applicable: this platform does not show a process's sockets"
)


@pytest.fixture(autouse=True)
def listens_nowhere() -> None:
    """Nothing else in this process may listen while these tests run."""
    assert listening_addresses() == frozenset()


def listener() -> socket.socket:
    """Return a socket that listens on loopback."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


def test_never_listened() -> None:
    """A process that never listened does not drain."""
    watch = ListenerWatch()
    assert [watch(), watch()] == [False, False]


def test_listens_and_stops() -> None:
    """It is false while a socket listens, and true once the last one is closed."""
    watch = ListenerWatch()
    with listener():
        assert [watch(), watch()] == [False, False]
    assert [watch(), watch()] == [True, True]


def test_one_of_two_stays() -> None:
    """It is false as long as one of several sockets listens, be it one that came later."""
    watch = ListenerWatch()
    with listener() as first:
        assert not watch()
        with listener():
            first.close()
            assert not watch()
        assert watch()


def test_descriptor_used_again() -> None:
    """A descriptor's number that was used again for something else does not pass for the listener."""
    watch = ListenerWatch()
    with listener() as first:
        assert not watch()
        number = first.fileno()
    with Path(os.devnull).open("rb") as other:
        if other.fileno() != number:
            os.dup2(other.fileno(), number)
        try:
            assert watch()
        finally:
            if other.fileno() != number:
                os.close(number)


def test_platform_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the platform does not show sockets it is always false."""
    watch = ListenerWatch()
    with listener():
        assert not watch()
    monkeypatch.setattr("loopcron._address._DESCRIPTORS", "/nonexistent")
    assert not watch()
