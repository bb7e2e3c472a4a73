"""
loopcron: an in-process scheduler for async Python web apps.

Three tiers: what stands in `__all__` is public, typed and documented; the modules ``loopcron.testing``,
``loopcron.ledgers`` and ``loopcron.dispatch`` are public beside it; every ``loopcron._x`` is private. Names are
imported on first use, so that ``import loopcron`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# fmt: off
# isort: off
# Three tables of the same names: for type checkers, for the import on use, for readers.
if TYPE_CHECKING:
    from loopcron._clock import SystemClock as SystemClock
    from loopcron._combined import AnyOf as AnyOf, any_of as any_of
    from loopcron._engine import Trigger as Trigger
    from loopcron._errors import (
        ConfigError as ConfigError, DuplicateJobError as DuplicateJobError, LifecycleError as LifecycleError,
        LoopcronError as LoopcronError, ScheduleError as ScheduleError, SchedulerClosedError as SchedulerClosedError,
        TransportError as TransportError, UnknownJobError as UnknownJobError
    )
    from loopcron._events import (
        Abandon as Abandon, Action as Action, Answer as Answer, AttemptFailed as AttemptFailed, Cancel as Cancel,
        Claim as Claim, ClockStepped as ClockStepped, Event as Event, Finish as Finish, InternalFault as
        InternalFault, JobEnded as JobEnded, JobParked as JobParked, JobPaused as JobPaused, JobResumed as JobResumed,
        JobUnparked as JobUnparked, LedgerFailed as LedgerFailed, Lost as Lost, More as More, ObserverFailed as
        ObserverFailed, Register as Register, RunStarted as RunStarted, RunStuck as RunStuck, RunUnstuck as
        RunUnstuck, SchedulerDisabled as SchedulerDisabled, SchedulerStarted as SchedulerStarted, SchedulerStopped as
        SchedulerStopped, SchedulerStopping as SchedulerStopping, Settled as Settled, Start as Start, Won as Won
    )
    from loopcron._every import At as At, Every as Every, at as at, every as every
    from loopcron._http import Request as Request, Response as Response, bearer as bearer, env_token as env_token
    from loopcron._jobs import FunctionJob as FunctionJob, HttpJob as HttpJob
    from loopcron._listener import ListenerWatch as ListenerWatch
    from loopcron._local import Cron as Cron, cron as cron
    from loopcron._loopback import LoopbackTransport as LoopbackTransport
    from loopcron._observe import LoggingObserver as LoggingObserver
    from loopcron._outcomes import (
        Busy as Busy, Failed as Failed, Interrupted as Interrupted, Missed as Missed, Outcome as Outcome, Run as Run,
        Skipped as Skipped, Succeeded as Succeeded, Taken as Taken, TimedOut as TimedOut
    )
    from loopcron._policies import Policy as Policy, Retry as Retry
    from loopcron._protocols import (
        Clock as Clock, Job as Job, Ledger as Ledger, Observer as Observer, Service as Service, Transport as Transport
    )
    from loopcron._scheduler import Scheduler as Scheduler
    from loopcron._schedules import Between as Between, Schedule as Schedule
    from loopcron._status import (
        Health as Health, JobHealth as JobHealth, JobSnapshot as JobSnapshot, JobState as JobState, RunSnapshot as
        RunSnapshot, Snapshot as Snapshot
    )
    from loopcron._tables import CatchUp as CatchUp, Overlap as Overlap
    from loopcron.ledgers.memory import MemoryLedger as MemoryLedger
else:
    from loopcron._lazy import on_use

    _HOMES = {
        "_clock": "SystemClock",
        "_combined": "AnyOf any_of",
        "_engine": "Trigger",
        "_errors": (
            "ConfigError DuplicateJobError LifecycleError LoopcronError ScheduleError SchedulerClosedError "
            "TransportError UnknownJobError"
        ),
        "_events": (
            "Abandon Action Answer AttemptFailed Cancel Claim ClockStepped Event Finish InternalFault JobEnded "
            "JobParked JobPaused JobResumed JobUnparked LedgerFailed Lost More ObserverFailed Register RunStarted "
            "RunStuck RunUnstuck SchedulerDisabled SchedulerStarted SchedulerStopped SchedulerStopping Settled "
            "Start Won"
        ),
        "_every": "At Every at every",
        "_http": "Request Response bearer env_token",
        "_jobs": "FunctionJob HttpJob",
        "_listener": "ListenerWatch",
        "_local": "Cron cron",
        "_loopback": "LoopbackTransport",
        "_observe": "LoggingObserver",
        "_outcomes": "Busy Failed Interrupted Missed Outcome Run Skipped Succeeded Taken TimedOut",
        "_policies": "Policy Retry",
        "_protocols": "Clock Job Ledger Observer Service Transport",
        "_scheduler": "Scheduler",
        "_schedules": "Between Schedule",
        "_status": "Health JobHealth JobSnapshot JobState RunSnapshot Snapshot",
        "_tables": "CatchUp Overlap",
        "ledgers.memory": "MemoryLedger",
    }
    __getattr__, __dir__ = on_use(__name__, _HOMES)

__all__ = (
    "Abandon", "Action", "Answer", "AnyOf", "At", "AttemptFailed", "Between", "Busy", "Cancel", "CatchUp", "Claim",
    "Clock", "ClockStepped", "ConfigError", "Cron", "DuplicateJobError", "Event", "Every", "Failed", "Finish",
    "FunctionJob", "Health", "HttpJob", "InternalFault", "Interrupted", "Job", "JobEnded", "JobHealth", "JobParked",
    "JobPaused", "JobResumed", "JobSnapshot", "JobState", "JobUnparked", "Ledger", "LedgerFailed", "LifecycleError",
    "ListenerWatch", "LoggingObserver", "LoopbackTransport", "LoopcronError", "Lost", "MemoryLedger", "Missed", "More",
    "Observer", "ObserverFailed", "Outcome", "Overlap", "Policy", "Register", "Request", "Response", "Retry", "Run",
    "RunSnapshot", "RunStarted", "RunStuck", "RunUnstuck", "Schedule", "ScheduleError", "Scheduler",
    "SchedulerClosedError", "SchedulerDisabled", "SchedulerStarted", "SchedulerStopped", "SchedulerStopping", "Service",
    "Settled", "Skipped", "Snapshot", "Start", "Succeeded", "SystemClock", "Taken", "TimedOut", "Transport",
    "TransportError", "Trigger", "UnknownJobError", "Won", "any_of", "at", "bearer", "cron", "env_token", "every",
)
# fmt: on
# isort: on
