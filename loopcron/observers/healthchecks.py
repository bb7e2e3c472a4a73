"""
Pings for healthchecks.io and every server that speaks its protocol: a dead man's switch for each job.

What becomes a ping stands in `HealthchecksObserver`; what the protocol makes of starts and run ids in `_Check`.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, final

from loopcron._clock import SystemClock
from loopcron._errors import ConfigError
from loopcron._events import Event, RunAbandoned, RunStarted, SchedulerStarted, Settled
from loopcron._instants import ZERO, iso, span_ms
from loopcron._outcomes import Failed, LeaseLost, Succeeded, Taken, TimedOut
from loopcron.observers._outbox import Outbox, UndeliveredError
from loopcron.observers._sender import SecretUrl, Sender

if TYPE_CHECKING:
    from loopcron._protocols import Clock, Transport
    from loopcron._scheduler import Scheduler

__all__ = ("HealthchecksObserver",)

AT_ONCE: Final = 8
"""How many pings are under way at a time: jobs tend to fire at the same minute, and a slow server must not add up."""
RUN_IDS: Final = uuid.UUID("1c0b5f2e-6d0a-5d4f-9d43-0c8f2b7a4e11")
"""The namespace of the run ids."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_SLUG: Final = re.compile(r"[a-z0-9_-]{1,100}\Z")
_ACTION: Final = re.compile(r"(start|fail|log|[0-9]{1,3})\Z")
_UNKNOWN: Final = ""
_logger: Final = logging.getLogger("loopcron")


@final
class HealthchecksObserver:
    """
    Pings one check per job when a run succeeds or fails, so that an alarm is raised where none comes in time.

    ============================  =========================================================================
    what happened                 ping
    ============================  =========================================================================
    a run goes on for longer      ``/start``; a run that is refused at once sends none
    than *start_after*
    ``Succeeded``                 success
    ``Failed``, ``TimedOut``,     ``/fail``, with the outcome as its body
    ``LeaseLost``
    ``Busy``, ``Taken``           none: whoever has the lock or the slot pings
    ``Interrupted``               none: where a start was sent, its missing end is what alarms
    ``Skipped``, ``Missed``       none: nothing ran, and if that goes on the missing success is what alarms
    attempts of one run           none: the run's outcome counts
    ============================  =========================================================================

    Every ping of a run bears the same run id on every replica, made from the run's idempotency key. A success that
    would not end a start which somebody may have left open, a killed worker for one, is preceded by a start of its own.

    Pings never hurt: they wait in a queue of 1000, each is tried up to three times for 5 s, and what is lost is counted
    in `dropped` and logged at most once a minute. The URLs and the key are secrets, and shown nowhere.

    Args:
        checks: By the name of the job its ping URL, such as ``https://hc-ping.com/<uuid>``; with a *ping_key*
            its slug instead. Jobs that are not in here are not pinged for.
        ping_key: Of the project; each job's check is then found by its slug. Without *checks* that is the job's name
            in lower case with ``-`` for each dot, and all jobs are pinged for.
        base_url: Where the slugs are, for a server of one's own; such as ``https://checks.example.com/ping``.
        start_after: From 0; None sends no starts at all.
        transport: Carries all pings, such as ``LoopbackTransport(origin, ssl_context=…)`` for a private certificate
            authority. Default: one `LoopbackTransport` per server.

    Raises:
        ConfigError: An argument is none of these.
    """

    def __init__(
        self,
        checks: Mapping[str, str] | None = None,
        *,
        ping_key: str | None = None,
        base_url: str = "https://hc-ping.com",
        start_after: timedelta | None = timedelta(seconds=1),
        transport: Transport | None = None,
    ) -> None:
        if checks is None and ping_key is None:
            raise ConfigError("checks", None, "is missing; give each job's ping URL, or a ping_key")
        if checks is not None and not isinstance(checks, Mapping):
            raise ConfigError("checks", type(checks).__name__, "must be a mapping of job names to ping URLs or slugs")
        if transport is not None and not callable(getattr(transport, "send", None)):
            raise ConfigError("transport", transport, "has no method send")
        self._start_seconds = None if start_after is None else span_ms("start_after", start_after, least=ZERO) / 1000
        self._transport = transport
        self._senders: dict[str, Sender] = {}
        self._project = None if ping_key is None else _project(ping_key, base_url)
        self._by_name = checks is None
        self._checks = {job: self._make_check(job, text) for job, text in (checks or {}).items()}
        self._outbox: Outbox[_Ping] = Outbox(type(self).__name__, at_once=AT_ONCE)
        self._starting: dict[str, Callable[[], object]] = {}
        self._clock: Clock = SystemClock()

    @property
    def dropped(self) -> int:
        """How many pings were lost so far."""
        return self._outbox.dropped

    def attach(self, scheduler: Scheduler) -> None:
        """Take the scheduler's clock; it is what *start_after* is measured by."""
        self._clock = scheduler.clock

    def on_event(self, event: Event) -> None:
        """See `Observer.on_event`."""
        if isinstance(event, SchedulerStarted):
            self._warn_of_unknown(event.jobs)
            for known in self._checks.values():
                known.mistrust()
        elif isinstance(event, (RunStarted, Settled, RunAbandoned)):
            check = self._find(event.job)
            if check is None:
                return
            if isinstance(event, RunStarted):
                self._begin(check, event)
            elif isinstance(event, Settled):
                self._end(check, event)
            else:
                check.mistrust()

    async def run(self) -> None:
        """See `Service.run`."""
        try:
            await self._outbox.serve(_deliver)
        finally:
            self._starting.clear()

    def _begin(self, check: _Check, event: RunStarted) -> None:
        if event.attempt > 1 or self._start_seconds is None:
            return
        run_id = _run_id(event.run_key)
        check.alive.add(run_id)
        ping = _Ping(check, "/start", run_id)
        if self._start_seconds == 0:
            self._outbox.put(ping, check.lane)
            return
        seconds = self._start_seconds
        self._starting[run_id] = self._outbox.put_later(ping, lambda: self._clock.sleep(seconds), check.lane)

    def _end(self, check: _Check, event: Settled) -> None:
        run_id = _run_id(event.run_key)
        withdraw = self._starting.pop(run_id, None)
        if withdraw is not None:
            withdraw()
        check.alive.discard(run_id)
        match event.outcome:
            case Succeeded():
                self._outbox.put(_Ping(check, "", run_id), check.lane)
            case Failed() | TimedOut() | LeaseLost():
                self._outbox.put(_Ping(check, "/fail", run_id, _told(event)), check.lane)
            case Taken():
                check.mistrust()  # the other worker may have sent a start and been killed
            case _:
                pass

    def _find(self, job: str) -> _Check | None:
        check = self._checks.get(job)
        if check is None and self._by_name:
            check = self._checks[job] = self._make_check(job, job.lower().replace(".", "-"))
        return check

    def _make_check(self, job: object, text: object) -> _Check:
        if not isinstance(job, str):
            raise ConfigError("checks", job, "must have names of jobs as its keys")
        field = f"checks[{job!r}]"
        if self._project is None:
            url = SecretUrl(field, text)
            _check_ping_url(field, url.target)
        elif not isinstance(text, str) or not _SLUG.match(text):
            raise ConfigError(field, "...", "must be a slug of a-z 0-9 - _ where there is a ping_key")
        else:
            url = self._project.joined(text)
        sender = self._senders.get(url.origin)
        if sender is None:
            sender = self._senders[url.origin] = Sender(url.origin, self._transport)
        return _Check(job, url, sender, starts=self._start_seconds is not None)

    def _warn_of_unknown(self, jobs: tuple[str, ...]) -> None:
        unknown = [] if self._by_name else sorted(set(self._checks) - set(jobs))
        if unknown:
            text = "observer %s: no job of this name was added, so nothing pings its check: %s"
            with suppress(Exception):  # a fence of design section 6: logger
                _logger.warning(text, type(self).__name__, ", ".join(unknown), extra={"loopcron_jobs": unknown})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {'all' if self._by_name else len(self._checks)} jobs>"


@final
class _Check:
    """
    One check, and what the server takes to be running.

    The server keeps the newest start of a check. It goes down when the grace time after that start is over, and only a
    failure, or a success with *the same* run id, ends it. So a start that was left open would raise one alarm after
    the other, however many shorter runs succeed after it.
    """

    __slots__ = ("_open", "alive", "lane", "sender", "starts", "url")

    def __init__(self, lane: str, url: SecretUrl, sender: Sender, *, starts: bool) -> None:
        self.lane: Final = lane
        self.url: Final = url
        self.sender: Final = sender
        self.starts: Final = starts
        self.alive: Final[set[str]] = set()
        """The run ids of this worker's runs that have no outcome yet."""
        self._open: str | None = None
        """The run id of the start that is open; unknown where somebody else may have left one."""
        self.mistrust()

    def mistrust(self) -> None:
        """Take note that somebody else may have left a start open; an earlier process is one such."""
        if self.starts:
            self._open = _UNKNOWN

    async def send(self, action: _Action, run_id: str, body: bytes) -> None:
        """
        Send one ping, and before it what it needs.

        Raises:
            UndeliveredError: It did not arrive.
        """
        if action == "/start" and run_id not in self.alive:
            return  # it has waited for so long that the run is over
        left_open = self._open is not None and self._open != run_id and self._open not in self.alive
        if action == "/start" or (action == "" and left_open):
            self._open = run_id  # first, because a ping without an answer may have arrived
            await self._post("/start", run_id, b"")
        if action != "/start":
            await self._post(action, run_id, body)
            if action == "/fail" or self._open == run_id:
                self._open = None

    async def _post(self, action: _Action, run_id: str, body: bytes) -> None:
        target = f"{self.url.target}{action}?rid={run_id}"
        response = await self.sender.post(target, body, "text/plain; charset=utf-8")
        # The hosted service answers 200 to these as well, so that no client ever fails for a ping.
        for text, problem in ((b"(not found)", "no such check"), (b"(rate limited)", "pinged too often")):
            if text in response.body:
                raise UndeliveredError(problem, again=False)

    def __repr__(self) -> str:
        return f"<check of {self.lane}>"


_Action = Literal["", "/start", "/fail"]


class _Ping(NamedTuple):
    """What waits in the queue."""

    check: _Check
    action: _Action
    run_id: str
    body: bytes = b""


async def _deliver(ping: _Ping) -> None:
    await ping.check.send(ping.action, ping.run_id, ping.body)


def _run_id(key: str) -> str:
    return str(uuid.uuid5(RUN_IDS, key))


def _told(event: Settled) -> bytes:
    """Return the outcome as the body of a ping: texts in it are sanitised and capped where they are made."""
    outcome = event.outcome
    if isinstance(outcome, Failed):
        what = f"failed: {outcome.blame}: {outcome.error}"
    elif isinstance(outcome, TimedOut):
        what = f"timed out after {outcome.after_seconds:.3f} s"
    else:
        what = "cut: its lease may be over, and another worker may run it"
    return f"{event.job} {iso(event.slot)} {what} ({event.failures} in a row)".encode()


def _project(ping_key: object, base_url: object) -> _Project:
    if not isinstance(ping_key, str) or not _KEY.match(ping_key):
        raise ConfigError("ping_key", "...", "must be the project's ping key: letters, digits, - and _")
    base = SecretUrl("base_url", base_url)
    if "?" in base.target:
        raise ConfigError("base_url", base.origin, "must hold no query")
    return _Project(base, ping_key)


@final
class _Project:
    """Where the checks of a project are."""

    __slots__ = ("_base", "_ping_key")

    def __init__(self, base: SecretUrl, ping_key: str) -> None:
        self._base = base
        self._ping_key = ping_key

    def joined(self, slug: str) -> SecretUrl:
        """Return the ping URL of the check with this slug."""
        return SecretUrl("base_url", f"{self._base.origin}{self._base.target.rstrip('/')}/{self._ping_key}/{slug}")


def _check_ping_url(field: str, target: str) -> None:
    parts = target.split("/")[1:]
    last, before = parts[-1], parts[-2] if len(parts) > 1 else ""
    if _ACTION.match(last) and (_UUID.match(before) or _UUID.match(parts[-3] if len(parts) > 2 else "")):
        raise ConfigError(field, "...", "ends in what loopcron adds itself, such as /start; give the plain ping URL")
    if not (_UUID.match(last) or (_SLUG.match(last) and _KEY.match(before))):
        raise ConfigError(field, "...", "must be a ping URL, such as https://hc-ping.com/<uuid> or .../<key>/<slug>")
