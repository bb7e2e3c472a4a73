"""A webhook that hears of a job when its state changes, and not of every run."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, assert_never, final

from loopcron._clock import SystemClock
from loopcron._errors import ConfigError
from loopcron._events import Event, JobParked, JobUnparked, RunStuck, RunUnstuck, SchedulerStarted, Settled
from loopcron._http import Token, encode_json
from loopcron._instants import iso, to_ms
from loopcron._outcomes import Failed, LeaseLost, Succeeded, TimedOut, printable
from loopcron._view import worker_name
from loopcron.observers._outbox import Outbox
from loopcron.observers._sender import SecretUrl, Sender

if TYPE_CHECKING:
    from loopcron._protocols import Clock, Transport
    from loopcron._scheduler import Scheduler

__all__ = ("WebhookObserver",)

VERSION: Final = 1
MOST: Final = 1000

_Change = Literal["failing", "recovered", "parked", "unparked", "stuck", "unstuck"]
_Told = Settled | JobParked | JobUnparked | RunStuck | RunUnstuck


@final
class WebhookObserver:
    """
    Posts one JSON document when the state of a job changes.

    ====================  =========================================================================
    ``event``             when
    ====================  =========================================================================
    ``failing``           *after* runs in a row have failed
    ``recovered``         the first run of a failing job that succeeds
    ``parked``            the job's schedule, or loopcron, failed; not again for each time it is asked
    ``unparked``          the job works again
    ``stuck``             a run swallows its cancellation; not again while another one is stuck
    ``unstuck``           the last such run has ended after all
    ====================  =========================================================================

    Each worker tells what it has seen itself, so where several share a ledger each has a count of failures of its own.
    What it knows is lost with the process: a job that fails before a restart and succeeds after it is not told as
    recovered.

    A message waits in a queue of 1000, is tried up to three times for *timeout*, and what is lost is counted in
    `dropped` and logged at most once a minute. An answer of 200 to 299 means that it has arrived, any other than 429
    and 500 to 599 that trying again is of no use. One whose answer was lost may come twice: its ``id`` is the same.

    Args:
        url: Where to; shown nowhere but for scheme, host and port, because such URLs tend to hold a key.
        after: How many failed runs in a row make a job failing, 1 to 1000.
        token: Called for each message; its value goes into ``Authorization: Bearer``; such as ``env_token("NAME")``.
        timeout: How long one try may take, in real time.
        transport: Carries the messages. Default: a `LoopbackTransport` to the URL's host.

    Raises:
        ConfigError: An argument is none of these.
    """

    def __init__(
        self,
        url: str,
        *,
        after: int = 3,
        token: Token | None = None,
        timeout: timedelta = timedelta(seconds=5),
        transport: Transport | None = None,
    ) -> None:
        self._url = SecretUrl("url", url)
        if isinstance(after, bool) or not isinstance(after, int) or not 1 <= after <= MOST:
            raise ConfigError("after", after, f"must be a whole number from 1 to {MOST}")
        if token is not None and not callable(token):
            raise ConfigError("token", type(token).__name__, "must be a callable, such as env_token('NAME')")
        if transport is not None and not callable(getattr(transport, "send", None)):
            raise ConfigError("transport", transport, "has no method send")
        self._after = after
        self._token = token
        self._sender = Sender(self._url.origin, transport)
        self._outbox: Outbox[bytes] = Outbox(type(self).__name__, timeout=timeout)
        self._jobs: dict[str, _Standing] = {}
        self._clock: Clock = SystemClock()

    @property
    def dropped(self) -> int:
        """How many messages were lost so far."""
        return self._outbox.dropped

    def attach(self, scheduler: Scheduler) -> None:
        """Take the scheduler's clock, for when a change was seen."""
        self._clock = scheduler.clock

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        if isinstance(event, SchedulerStarted):
            self._begin()
        if not isinstance(event, _Told):
            return
        standing = self._jobs.get(event.job)
        if standing is None:
            standing = self._jobs[event.job] = _Standing()
        change = standing.note(event, self._after)
        if change is not None:
            self._outbox.put(encode_json(self._document(change, event, standing)))
        if standing == _Standing():
            del self._jobs[event.job]  # as it was never heard of: most jobs are, and names may come and go

    def _begin(self) -> None:
        """Forget what ended with the last life: nobody tells any more that a run of it is no longer stuck."""
        for standing in self._jobs.values():
            standing.parked = False
            standing.stuck.clear()

    async def run(self) -> None:
        """See `Service.run`."""
        await self._outbox.serve(self._deliver)

    async def _deliver(self, body: bytes) -> None:
        await self._sender.post(self._url.target, body, "application/json", self._token)

    def _document(self, change: _Change, event: _Told, standing: _Standing) -> dict[str, object]:
        outcome = _outcome(event)
        failures = event.failures if isinstance(event, Settled) else None
        text = f"{event.job} {_WORDS[change]}"
        return {
            "version": VERSION,
            "id": str(uuid.uuid4()),
            "event": change,
            "job": event.job,
            "state": standing.state,
            "text": text if outcome is None else f"{text}: {outcome.detail}",
            "outcome": None if outcome is None else outcome._asdict(),
            "failures": failures,
            "slot": iso(event.slot) if isinstance(event, (Settled, RunStuck)) else None,
            "at": iso(to_ms(self._clock.now())),
            "worker": worker_name(),
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._url.origin}>"


_WORDS: Final[dict[_Change, str]] = {
    "failing": "is failing",
    "recovered": "has recovered",
    "parked": "is parked",
    "unparked": "works again",
    "stuck": "is stuck",
    "unstuck": "is no longer stuck",
}


class _Outcome(NamedTuple):
    """What is told of an outcome, or of an error."""

    kind: str
    detail: str
    status: int | None


@dataclass(slots=True)
class _Standing:
    """How a job stands, as far as it was told."""

    failing: bool = False
    parked: bool = False
    stuck: set[int] = field(default_factory=set)

    def note(self, event: _Told, after: int) -> _Change | None:
        """Take note of *event*; return what has changed by it."""
        match event:
            case Settled():
                return self._settled(event, after)
            case RunStuck():
                self.stuck.add(event.run_id)
                return "stuck" if len(self.stuck) == 1 else None
            case RunUnstuck():
                self.stuck.discard(event.run_id)
                return None if self.stuck else "unstuck"
            case JobParked():
                return None if self.parked else self._set(parked=True, change="parked")
            case JobUnparked():
                return self._set(parked=False, change="unparked")
        assert_never(event)

    def _settled(self, event: Settled, after: int) -> _Change | None:
        if isinstance(event.outcome, Succeeded) and self.failing:
            self.failing = False
            return "recovered"
        if isinstance(event.outcome, (Failed, TimedOut, LeaseLost)) and not self.failing and event.failures >= after:
            self.failing = True
            return "failing"
        return None

    def _set(self, *, parked: bool, change: _Change) -> _Change:
        self.parked = parked
        return change

    @property
    def state(self) -> str:
        """The worst of what holds, in the words of `JobState`."""
        return "parked" if self.parked else "stuck" if self.stuck else "failing" if self.failing else "ok"


def _outcome(event: _Told) -> _Outcome | None:
    if isinstance(event, JobParked):
        return _Outcome("Parked", printable(event.error), None)
    if not isinstance(event, Settled):
        return None
    outcome = event.outcome
    kind, status = type(outcome).__name__, getattr(outcome, "status", None)
    if isinstance(outcome, Failed):
        return _Outcome(kind, f"{outcome.blame}: {outcome.error}", status)
    if isinstance(outcome, TimedOut):
        return _Outcome(kind, f"timed out after {outcome.after_seconds:.3f} s", status)
    if isinstance(outcome, LeaseLost):
        return _Outcome(kind, "its lease was lost", status)
    return _Outcome(kind, "succeeded", status)
