"""What may be done from the page: four verbs of the scheduler, and what is answered when one cannot be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from loopcron import ActionAsked, LifecycleError, LoggingObserver, Scheduler, SchedulerState
from loopcron._instants import iso, to_ms
from loopcron.status._access import forgery
from loopcron.status._exchange import StatusAnswer, StatusRequest, json_answer
from loopcron.status._redact import shown

_SERVING: Final = (SchedulerState.RUNNING, SchedulerState.SILENT)
_ELSEWHERE: Final = (
    "the scheduler lives on another thread than this request; serve its page from the app in whose event loop it runs"
)


class Done(NamedTuple):
    """What came of an action."""

    status: int
    detail: str


def act(scheduler: Scheduler, job: str, action: str, *, actor: str, request: StatusRequest) -> StatusAnswer:
    """
    Do *action*, one of `VERBS`, unless another site may have asked for it, and tell the observers either way.

    Nothing is waited for: a run that is asked for goes on when this has returned.

    Returns:
        202 and what was done; 403 for another site; 404 if there is no such job; 409 where it cannot be done now.
    """
    is_known = any(known.name == job for known in scheduler.jobs)
    why = forgery(request)
    if why:
        done = Done(403, why)
    elif not is_known:
        done = Done(404, f"there is no job of the name {shown(job)}")
    else:
        done = _perform(scheduler, job, VERBS[action])
    refused = "" if done.status == 202 else done.detail
    # A name that nobody gave to a job stands in the reason only: whoever counts by job must not count those.
    audit = ActionAsked(job if is_known else "", to_ms(scheduler.clock.now()), action, actor, refused)
    try:
        scheduler.notify(audit)
    except LifecycleError:  # on a thread on which the observers must not be told; the log may be
        LoggingObserver().on_event(audit)
    return json_answer(done.status, {"job": shown(job), "action": action, "detail": done.detail})


def _perform(scheduler: Scheduler, job: str, verb: Callable[[Scheduler, str], Done]) -> Done:
    health = scheduler.health()
    if health.state not in _SERVING:
        return Done(409, health.why)
    try:
        return verb(scheduler, job)
    except LifecycleError:
        return Done(409, _ELSEWHERE)


def _run(scheduler: Scheduler, job: str) -> Done:
    scheduler.trigger(job)
    return Done(202, "a run was asked for; what becomes of it stands in the history")


def _pause(scheduler: Scheduler, job: str) -> Done:
    scheduler.pause(job)
    return Done(202, "no slot is served until it is resumed")


def _resume(scheduler: Scheduler, job: str) -> Done:
    scheduler.resume(job)
    return Done(202, "its slots are served again")


def _skip(scheduler: Scheduler, job: str) -> Done:
    slot: datetime | None = scheduler.skip_next(job)
    if slot is None:
        return Done(409, "there is no slot to skip: the job is paused, has ended or is not registered yet")
    return Done(202, f"the slot {iso(to_ms(slot))} will be skipped")


VERBS: Final[Mapping[str, Callable[[Scheduler, str], Done]]] = {
    "run": _run,
    "pause": _pause,
    "resume": _resume,
    "skip": _skip,
}
"""The actions by their names."""
