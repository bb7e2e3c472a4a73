"""
Tools to test jobs and schedulers with: a product, public and documented as the rest.

Imported on first use, so that a test suite pays for what it uses only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loopcron.testing._fake_clock import FakeClock as FakeClock
    from loopcron.testing._fake_clock import hang as hang
    from loopcron.testing._faults import Faults as Faults
    from loopcron.testing._faults import FaultyClock as FaultyClock
    from loopcron.testing._faults import FaultyLedger as FaultyLedger
    from loopcron.testing._faults import FaultyObserver as FaultyObserver
    from loopcron.testing._faults import FaultySchedule as FaultySchedule
    from loopcron.testing._faults import FaultyTransport as FaultyTransport
    from loopcron.testing._misbehaving import MisbehavingServer as MisbehavingServer
    from loopcron.testing._misbehaving import Seen as Seen
    from loopcron.testing._recording import RecordingObserver as RecordingObserver
    from loopcron.testing._recording import RecordingTransport as RecordingTransport
    from loopcron.testing._transport_contract import TransportContract as TransportContract

_HOMES: Final = {
    "_fake_clock": ("FakeClock", "hang"),
    "_faults": (
        "Faults",
        "FaultyClock",
        "FaultyLedger",
        "FaultyObserver",
        "FaultySchedule",
        "FaultyTransport",
    ),
    "_misbehaving": ("MisbehavingServer", "Seen"),
    "_recording": ("RecordingObserver", "RecordingTransport"),
    "_transport_contract": ("TransportContract",),
}
_HOME: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = (
    "FakeClock",
    "Faults",
    "FaultyClock",
    "FaultyLedger",
    "FaultyObserver",
    "FaultySchedule",
    "FaultyTransport",
    "MisbehavingServer",
    "RecordingObserver",
    "RecordingTransport",
    "Seen",
    "TransportContract",
    "hang",
)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'loopcron.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"loopcron.testing.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
