"""
loopcron: an in-process scheduler for async Python web apps.

Three tiers: what stands in `__all__` is public, typed and documented; the modules ``loopcron.testing``,
``loopcron.ledgers`` and ``loopcron.dispatch`` are public beside it; every ``loopcron._x`` is private. Names are
imported on first use, so that ``import loopcron`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loopcron._clock import SystemClock as SystemClock
    from loopcron._engine import Trigger as Trigger
    from loopcron._errors import ConfigError as ConfigError
    from loopcron._errors import DuplicateJobError as DuplicateJobError
    from loopcron._errors import LifecycleError as LifecycleError
    from loopcron._errors import LoopcronError as LoopcronError
    from loopcron._errors import ScheduleError as ScheduleError
    from loopcron._errors import SchedulerClosedError as SchedulerClosedError
    from loopcron._errors import TransportError as TransportError
    from loopcron._errors import UnknownJobError as UnknownJobError
    from loopcron._events import Abandon as Abandon
    from loopcron._events import Action as Action
    from loopcron._events import Answer as Answer
    from loopcron._events import AttemptFailed as AttemptFailed
    from loopcron._events import Cancel as Cancel
    from loopcron._events import Claim as Claim
    from loopcron._events import ClockStepped as ClockStepped
    from loopcron._events import Event as Event
    from loopcron._events import Finish as Finish
    from loopcron._events import InternalFault as InternalFault
    from loopcron._events import JobEnded as JobEnded
    from loopcron._events import JobParked as JobParked
    from loopcron._events import JobPaused as JobPaused
    from loopcron._events import JobResumed as JobResumed
    from loopcron._events import JobUnparked as JobUnparked
    from loopcron._events import LedgerFailed as LedgerFailed
    from loopcron._events import Lost as Lost
    from loopcron._events import More as More
    from loopcron._events import ObserverFailed as ObserverFailed
    from loopcron._events import Register as Register
    from loopcron._events import RunStarted as RunStarted
    from loopcron._events import RunStuck as RunStuck
    from loopcron._events import RunUnstuck as RunUnstuck
    from loopcron._events import SchedulerDisabled as SchedulerDisabled
    from loopcron._events import SchedulerStarted as SchedulerStarted
    from loopcron._events import SchedulerStopped as SchedulerStopped
    from loopcron._events import SchedulerStopping as SchedulerStopping
    from loopcron._events import Settled as Settled
    from loopcron._events import Start as Start
    from loopcron._events import Won as Won
    from loopcron._http import Request as Request
    from loopcron._http import Response as Response
    from loopcron._http import bearer as bearer
    from loopcron._http import env_token as env_token
    from loopcron._jobs import FunctionJob as FunctionJob
    from loopcron._jobs import HttpJob as HttpJob
    from loopcron._loopback import LoopbackTransport as LoopbackTransport
    from loopcron._observe import LoggingObserver as LoggingObserver
    from loopcron._outcomes import Busy as Busy
    from loopcron._outcomes import Failed as Failed
    from loopcron._outcomes import Interrupted as Interrupted
    from loopcron._outcomes import Missed as Missed
    from loopcron._outcomes import Outcome as Outcome
    from loopcron._outcomes import Run as Run
    from loopcron._outcomes import Skipped as Skipped
    from loopcron._outcomes import Succeeded as Succeeded
    from loopcron._outcomes import Taken as Taken
    from loopcron._outcomes import TimedOut as TimedOut
    from loopcron._policies import CatchUp as CatchUp
    from loopcron._policies import Overlap as Overlap
    from loopcron._policies import Policy as Policy
    from loopcron._policies import Retry as Retry
    from loopcron._protocols import Clock as Clock
    from loopcron._protocols import Job as Job
    from loopcron._protocols import Ledger as Ledger
    from loopcron._protocols import Observer as Observer
    from loopcron._protocols import Service as Service
    from loopcron._protocols import Transport as Transport
    from loopcron._scheduler import Scheduler as Scheduler
    from loopcron._schedules import At as At
    from loopcron._schedules import Every as Every
    from loopcron._schedules import Schedule as Schedule
    from loopcron._schedules import at as at
    from loopcron._schedules import every as every
    from loopcron._status import Health as Health
    from loopcron._status import JobHealth as JobHealth
    from loopcron._status import JobSnapshot as JobSnapshot
    from loopcron._status import JobState as JobState
    from loopcron._status import RunSnapshot as RunSnapshot
    from loopcron._status import Snapshot as Snapshot
    from loopcron.ledgers.memory import MemoryLedger as MemoryLedger

_HOMES: Final = {
    "_clock": (
        "SystemClock",
    ),
    "_engine": (
        "Trigger",
    ),
    "_errors": (
        "ConfigError",
        "DuplicateJobError",
        "LifecycleError",
        "LoopcronError",
        "ScheduleError",
        "SchedulerClosedError",
        "TransportError",
        "UnknownJobError",
    ),
    "_events": (
        "Abandon",
        "Action",
        "Answer",
        "AttemptFailed",
        "Cancel",
        "Claim",
        "ClockStepped",
        "Event",
        "Finish",
        "InternalFault",
        "JobEnded",
        "JobParked",
        "JobPaused",
        "JobResumed",
        "JobUnparked",
        "LedgerFailed",
        "Lost",
        "More",
        "ObserverFailed",
        "Register",
        "RunStarted",
        "RunStuck",
        "RunUnstuck",
        "SchedulerDisabled",
        "SchedulerStarted",
        "SchedulerStopped",
        "SchedulerStopping",
        "Settled",
        "Start",
        "Won",
    ),
    "_http": (
        "Request",
        "Response",
        "bearer",
        "env_token",
    ),
    "_jobs": (
        "FunctionJob",
        "HttpJob",
    ),
    "_loopback": (
        "LoopbackTransport",
    ),
    "_observe": (
        "LoggingObserver",
    ),
    "_outcomes": (
        "Busy",
        "Failed",
        "Interrupted",
        "Missed",
        "Outcome",
        "Run",
        "Skipped",
        "Succeeded",
        "Taken",
        "TimedOut",
    ),
    "_policies": (
        "CatchUp",
        "Overlap",
        "Policy",
        "Retry",
    ),
    "_protocols": (
        "Clock",
        "Job",
        "Ledger",
        "Observer",
        "Service",
        "Transport",
    ),
    "_scheduler": (
        "Scheduler",
    ),
    "_schedules": (
        "At",
        "Every",
        "Schedule",
        "at",
        "every",
    ),
    "_status": (
        "Health",
        "JobHealth",
        "JobSnapshot",
        "JobState",
        "RunSnapshot",
        "Snapshot",
    ),
    "ledgers.memory": (
        "MemoryLedger",
    ),
}
_HOME: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = (
    "Abandon",
    "Action",
    "Answer",
    "At",
    "AttemptFailed",
    "Busy",
    "Cancel",
    "CatchUp",
    "Claim",
    "Clock",
    "ClockStepped",
    "ConfigError",
    "DuplicateJobError",
    "Event",
    "Every",
    "Failed",
    "Finish",
    "FunctionJob",
    "Health",
    "HttpJob",
    "InternalFault",
    "Interrupted",
    "Job",
    "JobEnded",
    "JobHealth",
    "JobParked",
    "JobPaused",
    "JobResumed",
    "JobSnapshot",
    "JobState",
    "JobUnparked",
    "Ledger",
    "LedgerFailed",
    "LifecycleError",
    "LoggingObserver",
    "LoopbackTransport",
    "LoopcronError",
    "Lost",
    "MemoryLedger",
    "Missed",
    "More",
    "Observer",
    "ObserverFailed",
    "Outcome",
    "Overlap",
    "Policy",
    "Register",
    "Request",
    "Response",
    "Retry",
    "Run",
    "RunSnapshot",
    "RunStarted",
    "RunStuck",
    "RunUnstuck",
    "Schedule",
    "ScheduleError",
    "Scheduler",
    "SchedulerClosedError",
    "SchedulerDisabled",
    "SchedulerStarted",
    "SchedulerStopped",
    "SchedulerStopping",
    "Service",
    "Settled",
    "Skipped",
    "Snapshot",
    "Start",
    "Succeeded",
    "SystemClock",
    "Taken",
    "TimedOut",
    "Transport",
    "TransportError",
    "Trigger",
    "UnknownJobError",
    "Won",
    "at",
    "bearer",
    "env_token",
    "every",
)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'loopcron' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"loopcron.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
