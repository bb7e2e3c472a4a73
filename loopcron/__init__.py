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
        ConfigError as ConfigError, DuplicateJobError as DuplicateJobError, FencedError as FencedError, LedgerError as
        LedgerError, LifecycleError as LifecycleError, LoopcronError as LoopcronError, RefusalReason as RefusalReason,
        ScheduleError as ScheduleError, SchedulerClosedError as SchedulerClosedError, SlotRefusedError as
        SlotRefusedError, TransportError as TransportError, UnknownJobError as UnknownJobError
    )
    from loopcron._events import (
        Abandon as Abandon, Action as Action, ActionAsked as ActionAsked, AttemptFailed as AttemptFailed, Cancel as
        Cancel, ClockDiffers as ClockDiffers, ClockStepped as ClockStepped, Event as Event, InternalFault as
        InternalFault, JobEnded as JobEnded, JobParked as JobParked, JobPaused as JobPaused, JobResumed as JobResumed,
        JobUnparked as JobUnparked, LedgerFailed as LedgerFailed, LedgerNotShared as LedgerNotShared, LedgerRecovered as
        LedgerRecovered, LoopBlocked as LoopBlocked, More as More, ObserverFailed as ObserverFailed, RunAbandoned as
        RunAbandoned, RunStarted as RunStarted, RunStuck as RunStuck, RunUnstuck as RunUnstuck, ScheduleDiffers as
        ScheduleDiffers, SchedulerDisabled as SchedulerDisabled, SchedulerStarted as SchedulerStarted, SchedulerStopped
        as SchedulerStopped, SchedulerStopping as SchedulerStopping, Settled as Settled
    )
    from loopcron._every import At as At, Every as Every, at as at, every as every
    from loopcron._guard import SlotGuard as SlotGuard, SlotPass as SlotPass
    from loopcron._health import (
        Health as Health, JobHealth as JobHealth, JobState as JobState, LedgerHealth as LedgerHealth, LoopHealth as
        LoopHealth, SchedulerState as SchedulerState
    )
    from loopcron._http import Request as Request, Response as Response, bearer as bearer, env_token as env_token
    from loopcron._jobs import FunctionJob as FunctionJob, HttpJob as HttpJob
    from loopcron._ledger import (
        Answer as Answer, Claim as Claim, Finish as Finish, Held as Held, Lost as Lost, Pause as Pause, Paused as
        Paused, Register as Register, Renew as Renew, Row as Row, TooEarly as TooEarly, Unavailable as Unavailable, Won
        as Won
    )
    from loopcron._listener import ListenerWatch as ListenerWatch
    from loopcron._local import Cron as Cron, cron as cron
    from loopcron._loopback import LoopbackTransport as LoopbackTransport
    from loopcron._observe import LoggingObserver as LoggingObserver
    from loopcron._outcomes import (
        Busy as Busy, Failed as Failed, Interrupted as Interrupted, LeaseLost as LeaseLost, Missed as Missed, Outcome as
        Outcome, Run as Run, Skipped as Skipped, Succeeded as Succeeded, Taken as Taken, TimedOut as TimedOut
    )
    from loopcron._policies import Policy as Policy, Retry as Retry
    from loopcron._protocols import (
        Attachable as Attachable, Clock as Clock, Job as Job, Ledger as Ledger, Observer as Observer, Service as
        Service, Tracer as Tracer, Transport as Transport
    )
    from loopcron._scheduler import Scheduler as Scheduler
    from loopcron._schedules import Between as Between, Schedule as Schedule
    from loopcron._status import (
        JobSnapshot as JobSnapshot, LeaseSnapshot as LeaseSnapshot, ObserverSnapshot as ObserverSnapshot, RunSnapshot as
        RunSnapshot, SharedOutcome as SharedOutcome, Snapshot as Snapshot
    )
    from loopcron._tables import CatchUp as CatchUp, Overlap as Overlap
    from loopcron._upcoming import UpcomingSlot as UpcomingSlot
    from loopcron.ledgers.memory import MemoryLedger as MemoryLedger
    from loopcron.ledgers.postgres import PostgresLedger as PostgresLedger
    from loopcron.ledgers.redis import RedisLedger as RedisLedger
    from loopcron.ledgers.sqlite import SqliteLedger as SqliteLedger
else:
    from loopcron._lazy import on_use

    _HOMES = {
        "_clock": "SystemClock",
        "_combined": "AnyOf any_of",
        "_engine": "Trigger",
        "_errors": (
            "ConfigError DuplicateJobError FencedError LedgerError LifecycleError LoopcronError RefusalReason "
            "ScheduleError SchedulerClosedError SlotRefusedError TransportError UnknownJobError"
        ),
        "_events": (
            "Abandon Action ActionAsked AttemptFailed Cancel ClockDiffers ClockStepped Event InternalFault JobEnded "
            "JobParked JobPaused JobResumed JobUnparked LedgerFailed LedgerNotShared LedgerRecovered LoopBlocked More "
            "ObserverFailed RunAbandoned RunStarted RunStuck RunUnstuck ScheduleDiffers SchedulerDisabled "
            "SchedulerStarted SchedulerStopped SchedulerStopping Settled"
        ),
        "_every": "At Every at every",
        "_guard": "SlotGuard SlotPass",
        "_health": "Health JobHealth JobState LedgerHealth LoopHealth SchedulerState",
        "_http": "Request Response bearer env_token",
        "_jobs": "FunctionJob HttpJob",
        "_ledger": "Answer Claim Finish Held Lost Pause Paused Register Renew Row TooEarly Unavailable Won",
        "_listener": "ListenerWatch",
        "_local": "Cron cron",
        "_loopback": "LoopbackTransport",
        "_observe": "LoggingObserver",
        "_outcomes": "Busy Failed Interrupted LeaseLost Missed Outcome Run Skipped Succeeded Taken TimedOut",
        "_policies": "Policy Retry",
        "_protocols": "Attachable Clock Job Ledger Observer Service Tracer Transport",
        "_scheduler": "Scheduler",
        "_schedules": "Between Schedule",
        "_status": "JobSnapshot LeaseSnapshot ObserverSnapshot RunSnapshot SharedOutcome Snapshot",
        "_tables": "CatchUp Overlap",
        "_upcoming": "UpcomingSlot",
        "ledgers.memory": "MemoryLedger",
        "ledgers.postgres": "PostgresLedger",
        "ledgers.redis": "RedisLedger",
        "ledgers.sqlite": "SqliteLedger",
    }
    __getattr__, __dir__ = on_use(__name__, _HOMES)

__all__ = (
    "Abandon", "Action", "ActionAsked", "Answer", "AnyOf", "At", "Attachable", "AttemptFailed", "Between", "Busy",
    "Cancel", "CatchUp", "Claim", "Clock", "ClockDiffers", "ClockStepped", "ConfigError", "Cron", "DuplicateJobError",
    "Event", "Every", "Failed", "FencedError", "Finish", "FunctionJob", "Health", "Held", "HttpJob", "InternalFault",
    "Interrupted", "Job", "JobEnded", "JobHealth", "JobParked", "JobPaused", "JobResumed", "JobSnapshot", "JobState",
    "JobUnparked", "LeaseLost", "LeaseSnapshot", "Ledger", "LedgerError", "LedgerFailed", "LedgerHealth",
    "LedgerNotShared", "LedgerRecovered", "LifecycleError", "ListenerWatch", "LoggingObserver", "LoopBlocked",
    "LoopHealth", "LoopbackTransport", "LoopcronError", "Lost", "MemoryLedger", "Missed", "More", "Observer",
    "ObserverFailed", "ObserverSnapshot", "Outcome", "Overlap", "Pause", "Paused", "Policy", "PostgresLedger",
    "RedisLedger", "RefusalReason", "Register", "Renew", "Request", "Response", "Retry", "Row", "Run", "RunAbandoned",
    "RunSnapshot", "RunStarted", "RunStuck", "RunUnstuck", "Schedule", "ScheduleDiffers", "ScheduleError", "Scheduler",
    "SchedulerClosedError", "SchedulerDisabled", "SchedulerStarted", "SchedulerState", "SchedulerStopped",
    "SchedulerStopping", "Service", "Settled", "SharedOutcome", "Skipped", "SlotGuard", "SlotPass", "SlotRefusedError",
    "Snapshot", "SqliteLedger", "Succeeded", "SystemClock", "Taken", "TimedOut", "TooEarly", "Tracer",
    "Transport", "TransportError", "Trigger", "Unavailable", "UnknownJobError", "UpcomingSlot", "Won", "any_of", "at",
    "bearer", "cron", "env_token", "every",
)
# fmt: on
# isort: on
