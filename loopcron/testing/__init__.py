"""
Tools to test jobs and schedulers with: a product, public and documented as the rest.

Imported on first use, so that a test suite pays for what it uses only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# fmt: off
# isort: off
# Three tables of the same names: for type checkers, for the import on use, for readers.
if TYPE_CHECKING:
    from loopcron.testing._behave import Behaviour as Behaviour, SimulatedAttempt as SimulatedAttempt
    from loopcron.testing._fake_clock import FakeClock as FakeClock, hang as hang
    from loopcron.testing._faults import (
        Faults as Faults, FaultyClock as FaultyClock, FaultyLedger as FaultyLedger, FaultyObserver as FaultyObserver,
        FaultySchedule as FaultySchedule, FaultyTransport as FaultyTransport
    )
    from loopcron.testing._histories import (
        ClockEvent as ClockEvent, ClockStep as ClockStep, Drift as Drift, Outage as Outage, Suspend as Suspend
    )
    from loopcron.testing._ledger_contract import LedgerContract as LedgerContract
    from loopcron.testing._misbehaving import MisbehavingServer as MisbehavingServer, Seen as Seen
    from loopcron.testing._recording import (
        RecordingObserver as RecordingObserver, RecordingTransport as RecordingTransport
    )
    from loopcron.testing._simulate import simulate as simulate
    from loopcron.testing._strategies import (
        behaviours as behaviours, clock_histories as clock_histories, outages as outages, outcomes as outcomes,
        schedules as schedules
    )
    from loopcron.testing._timeline import (
        MissedRange as MissedRange, SimulatedRun as SimulatedRun, Timeline as Timeline
    )
    from loopcron.testing._transport_contract import TransportContract as TransportContract
else:
    from loopcron._lazy import on_use

    _HOMES = {
        "_behave": "Behaviour SimulatedAttempt",
        "_fake_clock": "FakeClock hang",
        "_faults": "Faults FaultyClock FaultyLedger FaultyObserver FaultySchedule FaultyTransport",
        "_histories": "ClockEvent ClockStep Drift Outage Suspend",
        "_ledger_contract": "LedgerContract",
        "_misbehaving": "MisbehavingServer Seen",
        "_recording": "RecordingObserver RecordingTransport",
        "_simulate": "simulate",
        "_strategies": "behaviours clock_histories outages outcomes schedules",
        "_timeline": "MissedRange SimulatedRun Timeline",
        "_transport_contract": "TransportContract",
    }
    __getattr__, __dir__ = on_use(__name__, _HOMES)

__all__ = (
    "Behaviour", "ClockEvent", "ClockStep", "Drift", "FakeClock", "Faults", "FaultyClock", "FaultyLedger",
    "FaultyObserver", "FaultySchedule", "FaultyTransport", "LedgerContract", "MisbehavingServer", "MissedRange",
    "Outage", "RecordingObserver", "RecordingTransport", "Seen", "SimulatedAttempt", "SimulatedRun", "Suspend",
    "Timeline", "TransportContract", "behaviours", "clock_histories", "hang", "outages", "outcomes", "schedules",
    "simulate",
)
# fmt: on
# isort: on
