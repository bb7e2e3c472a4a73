"""Telling observers: in order, fenced and timed; and the default one, which logs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, assert_never, final

from loopcron import _events as e
from loopcron._instants import iso
from loopcron._log_fields import extra_of, shown, trace_of
from loopcron._outcomes import (
    Busy,
    Failed,
    Interrupted,
    LeaseLost,
    Missed,
    Outcome,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    error_text,
)
from loopcron._status import ObserverSnapshot

if TYPE_CHECKING:
    from loopcron._protocols import Observer
    from loopcron._scheduler import Scheduler

SLOW_SECONDS: Final = 0.05
STRIKES: Final = 3


@final
class Observers:
    """
    Passes every event to every observer; one that is slow or raises is reported to all, and after the third time
    in a row left out.

    Args:
        observers: In the order in which they are told.
        monotonic: The scheduler's clock, to time them by.
    """

    def __init__(self, observers: Sequence[Observer], monotonic: Callable[[], float]) -> None:
        self._all = tuple(observers)
        self._observers = tuple(observers)
        """Those that are told still; another tuple once one is not, for whoever goes through this one meanwhile."""
        self._strikes: dict[tuple[int, str], int] = {}
        self._problems: dict[int, str] = {}
        self._monotonic = monotonic

    def snapshots(self) -> tuple[ObserverSnapshot, ...]:
        """Return how each one fares, disabled ones included; may be called from any thread."""
        told = {id(observer) for observer in self._observers}
        return tuple(
            ObserverSnapshot(
                _name(observer),
                id(observer) not in told,
                self._problems.get(id(observer), ""),
                _dropped(observer),
            )
            for observer in self._all
        )

    def attach(self, scheduler: Scheduler) -> None:
        """Let those that want to look into *scheduler* have it; never raises."""
        for observer in self._observers:
            attach = member_of(observer, "attach")
            problem = None if attach is None else self._call(attach, scheduler)
            if problem is not None:
                self._strike(observer, "attach", problem)

    def notify(self, event: e.Event) -> None:
        """Tell all observers; never raises."""
        for observer in self._observers:
            # A log that passes it over is neither asked nor timed, which for most events would be all there is to do.
            passed = type(observer) is LoggingObserver and not observer.heeds(event)
            problem = None if passed else self._tell(observer, event)
            if problem is not None:
                self._strike(observer, "", problem)
            elif self._strikes:
                # In a row only: the log must not be lost to three slow writes in as many months.
                self._strikes.pop((id(observer), ""), None)

    def having(self, hook: str) -> tuple[Any, ...]:
        """Return the observers that have this method besides, in order."""
        return tuple(observer for observer in self._observers if callable(member_of(observer, hook)))

    def keeps(self, observer: object) -> bool:
        """Say whether *observer* is told of events still; one that was disabled is asked nothing either."""
        return any(other is observer for other in self._observers)

    def ask(self, observer: Observer, part: str, call: Callable[[], Any]) -> Any:
        """Return what a hook of *observer* answers, None where it raised; *part* says which one, to people."""
        answers: list[Any] = []
        self.judge(observer, part, self._call(lambda: answers.append(call())))
        return answers[0] if answers else None

    def judge(self, observer: Observer, part: str, problem: str | None) -> None:
        """Take note of how *part* of an observer went; each is counted by itself, or the good ones would excuse it."""
        if problem is not None:
            self._strike(observer, part, f"{part}: {problem}")
        elif self._strikes:
            self._strikes.pop((id(observer), part), None)

    def _tell(self, observer: Observer, event: e.Event) -> str | None:
        return self._call(observer.on_event, event)

    def _call(self, function: Callable[..., object], *args: object) -> str | None:
        """Call an observer, and return what was wrong with that."""
        before = self._time()
        try:
            function(*args)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a fence of design section 6: observer
            # A CancelledError too: nothing is awaited here, so it leaked, such as out of a Future's result().
            return error_text(error)
        seconds = self._time() - before
        return f"took {seconds:.3f} s" if seconds > SLOW_SECONDS else None

    def _time(self) -> float:
        try:
            return float(self._monotonic())
        except Exception:  # noqa: BLE001 - a user's clock; what it does is not held against the observers
            return math.nan

    def _strike(self, observer: Observer, part: str, problem: str) -> None:
        key = id(observer), part
        strikes = self._strikes[key] = self._strikes.get(key, 0) + 1
        self._problems[id(observer)] = problem
        disabled = strikes >= STRIKES
        if disabled:
            # By identity: two observers may be equal, and one that is told inside a telling may be gone already.
            self._observers = tuple(other for other in self._observers if other is not observer)
        report = e.ObserverFailed(_name(observer), problem, disabled)
        last_words = (observer,) if disabled and isinstance(observer, LoggingObserver) else ()  # or the log just ends
        for other in (*last_words, *self._observers):
            # What goes wrong with this report counts for nothing, or two bad observers would report each other.
            self._tell(other, report)


def _name(observer: object) -> str:
    return type(observer).__name__


def _dropped(observer: object) -> int:
    dropped = member_of(observer, "dropped")
    return dropped if isinstance(dropped, int) else 0


def member_of(observer: object, name: str) -> Any:
    """Return what an observer may have besides `Observer.on_event`; None where it has not, or cannot say."""
    with suppress(Exception):  # a user's property, or a ``__getattr__`` that raises anything
        return getattr(observer, name, None)
    return None


@final
class LoggingObserver:
    """
    Writes every event to a logger: the observer that every scheduler has.

    Messages are constant texts with lazy arguments; the same data stands in the record as ``loopcron_job``,
    ``loopcron_slot``, ``loopcron_outcome`` and so on, which survive JSON formatters. Success and what is expected
    is INFO, what another replica took DEBUG, failures are WARNING with the count of failures in a row. Handlers are
    never configured: without any, Python itself shows WARNING on stderr. What jobs, endpoints, ledgers, schedules and
    observers say is escaped and cut, in the message, the data and the traceback, so that nobody forges a line.

    Args:
        logger: The logger ``loopcron`` if left out.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logging.getLogger("loopcron") if logger is None else logger

    def on_event(self, event: e.Event) -> None:
        """Log *event*; whatever a handler raises is swallowed, because logging must not end logging."""
        if self._logger.isEnabledFor(_level(event)):
            with suppress(Exception):  # a fence of design section 6: logger
                self._log(event)

    def heeds(self, event: e.Event) -> bool:
        """Return False if *event* is not logged, which most are not: most apps log WARNING, and few events are one."""
        try:
            return self._logger.isEnabledFor(_level(event))
        except Exception:  # noqa: BLE001 - a user's logger; `on_event` is told so too, and behind the observers' fence
            return True

    def _log(self, event: e.Event) -> None:
        try:
            level, message, args, exception = _line(event)
            args, extra = tuple(shown(arg) for arg in args), extra_of(event)
            message % args  # before a handler does, which would tell of it on stderr and drop the line
        except Exception as error:  # noqa: BLE001 - an outcome is a job's to make, of whatever it likes
            level, message, exception = logging.WARNING, "an event cannot be shown, %s: %s", None
            args, extra = (type(event).__name__, error_text(error)), {"loopcron_event": type(event).__name__}
        if not self._logger.isEnabledFor(level):
            return
        path, line, function, _ = self._logger.findCaller()
        trace = None if exception is None else (type(exception), exception, exception.__traceback__)
        record = self._logger.makeRecord(self._logger.name, level, path, line, message, args, trace, function, extra)
        if exception is not None:
            record.exc_text = trace_of(exception)  # what formatters take instead of making one that forges lines
        self._logger.handle(record)


_LEVELS: Final[dict[type, int]] = {e.RunStarted: logging.DEBUG, Succeeded: logging.INFO, Busy: logging.INFO}
"""The levels of the most frequent events, by their type or their outcome's; those of others stand with their texts."""


def _level(event: e.Event) -> int:
    """Return the level of *event*, or a higher one where only its text tells."""
    return _LEVELS.get(type(event.outcome) if isinstance(event, e.Settled) else type(event), logging.CRITICAL)


_Line = tuple[int, str, tuple[object, ...], BaseException | None]


def _settled(event: e.Settled) -> _Line:
    name, slot, outcome = event.job, iso(event.slot), event.outcome
    took = event.duration_seconds
    seconds = "" if took is None else f" in {took:.3f} s"
    match outcome:
        case Succeeded():
            return logging.INFO, "%s %s succeeded%s%s", (name, slot, _status(outcome.status), seconds), None
        case Busy():
            return logging.INFO, "%s %s busy: somebody else holds the lock%s", (name, slot, seconds), None
        case Failed():
            args = (name, slot, seconds, outcome.blame, outcome.error, event.failures)
            return logging.WARNING, "%s %s failed%s: %s: %s (%s in a row)", args, event.exception
        case TimedOut():
            text = "%s %s timed out after %.3f s (%s in a row)"
            return logging.WARNING, text, (name, slot, outcome.after_seconds, event.failures), None
        case Skipped():
            level = logging.INFO if outcome.reason in ("paused", "removed", "skip_next") else logging.WARNING
            return level, "%s %s skipped: %s%s", (name, slot, outcome.reason, _range(outcome)), None
        case Missed():
            return logging.WARNING, "%s %s missed%s", (name, slot, _range(outcome)), None
        case Taken():
            return logging.DEBUG, "%s %s taken by another worker", (name, slot), None
        case Interrupted():
            return logging.WARNING, "%s %s interrupted by %s%s", (name, slot, outcome.by, seconds), None
        case LeaseLost():
            text = "%s %s cut%s: its lease may be over, and another worker may run it (%s in a row)"
            return logging.WARNING, text, (name, slot, seconds, event.failures), None
    assert_never(outcome)


def _status(status: int | None) -> str:
    return "" if status is None else f" with HTTP {status}"


def _range(outcome: Skipped | Missed) -> str:
    if outcome.first is None or outcome.first == outcome.last:
        return ""
    count = "an unknown number of" if outcome.count is None else outcome.count
    return f" ({count} slots from {iso(outcome.first)})"


def _line(event: e.Event) -> _Line:
    match event:
        case e.Settled():
            return _settled(event)
        case e.RunStarted():
            return logging.DEBUG, "%s %s attempt %s", (event.job, iso(event.slot), event.attempt), None
        case e.AttemptFailed():
            args: tuple[object, ...] = (event.job, iso(event.slot), event.attempt, _why(event.outcome), event.retry_ms)
            return logging.INFO, "%s %s attempt %s failed: %s; again in %s ms", args, None
        case e.RunStuck():
            text = "%s %s is stuck: it swallows its cancellation and is no longer waited for"
            return logging.WARNING, text, (event.job, iso(event.slot)), None
        case e.RunUnstuck():
            return logging.INFO, "%s: a run that was given up as stuck has ended", (event.job,), None
        case e.JobParked():
            args = (event.job, event.error, event.retry_ms)
            return logging.ERROR, "%s parked: %s; asked again in %s ms", args, event.exception
        case e.JobUnparked():
            return logging.WARNING, "%s works again", (event.job,), None
        case e.JobEnded():
            last = "it has none" if event.last is None else iso(event.last)
            if event.served:
                return logging.INFO, "%s has ended; its last slot was %s", (event.job, last), None
            return logging.WARNING, "%s never runs: its last slot is past: %s", (event.job, last), None
        case e.JobPaused():
            return logging.INFO, "%s paused", (event.job,), None
        case e.JobResumed():
            return logging.INFO, "%s resumed", (event.job,), None
        case e.RunAbandoned():
            text = "%s %s was never finished: its lease ran out, claimed by %s"
            return logging.WARNING, text, (event.job, iso(event.slot), event.claim_id), None
        case e.ScheduleDiffers():
            text = "%s is registered by another schedule (%s, now %s): a deploy changed it, or two apps share a name"
            return logging.WARNING, text, (event.job, event.before, event.schedule), None
        case e.ClockDiffers():
            text = "%s %s came %.3f s early by the ledger's clock: this machine's clock is ahead of it"
            return logging.WARNING, text, (event.job, iso(event.slot), event.by_ms / 1000), None
        case e.ClockStepped():
            text = "the wall clock was set by %.3f s%s"
            consequence = ""
            if event.is_correction:
                consequence = "; that is a correction, so slots after the new now count anew"
            elif event.by_ms < 0:
                consequence = "; no slot recurs, so each job waits until it passes the job's last one again"
            return logging.WARNING, text, (event.by_ms / 1000, consequence), None
        case e.SchedulerStarted():
            args = (event.pid, event.ledger, len(event.jobs), event.jobs)
            return logging.INFO, "scheduler started in process %s, ledger %s, %s jobs: %s", args, None
        case e.SchedulerStopping():
            return logging.INFO, "scheduler stopping; runs may take %.3f s more", (event.drain_seconds,), None
        case e.SchedulerStopped():
            return logging.INFO, "scheduler stopped", (), None
        case e.SchedulerDisabled():
            return logging.WARNING, "scheduler disabled: none of its %s jobs will run", (len(event.jobs),), None
        case e.LoopBlocked():
            text = "the scheduler's loop woke %.3f s late: something blocks the event loop it runs on"
            return logging.WARNING, text, (event.seconds,), None
        case e.ActionAsked():
            args = (event.action, event.job, event.by or "somebody")
            if event.refused:
                return logging.WARNING, "%s of %s was asked for by %s, and refused: %s", (*args, event.refused), None
            return logging.INFO, "%s of %s was asked for by %s", args, None
        case e.LedgerFailed():
            return logging.WARNING, "the ledger could not %s: %s", (event.call, event.error), None
        case e.LedgerRecovered():
            return logging.WARNING, "the ledger can %s again, after %s failures", (event.call, event.failures), None
        case e.LedgerNotShared():
            text = (
                "each worker runs every slot, because its ledger is its own: %s; "
                'let them share one, such as Scheduler(ledger="sqlite:///loopcron.db"), or run one worker'
            )
            return logging.WARNING, text, (event.reason,), None
        case e.ObserverFailed():
            consequence = "disabled" if event.disabled else "kept"
            return logging.WARNING, "observer %s %s: %s", (event.observer, consequence, event.problem), None
        case e.InternalFault():
            text = "a fault in loopcron (%s), please report it: %s"
            return logging.ERROR, text, (event.where, event.error), event.exception
    assert_never(event)


def _why(outcome: Outcome) -> Any:
    return f"{outcome.blame}: {outcome.error}" if isinstance(outcome, Failed) else type(outcome).__name__
