"""The routes of the status page, for no framework in particular: from a request's record to an answer's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Final, final

import anyio.lowlevel

from loopcron import ConfigError, Scheduler, UnknownJobError
from loopcron.status._access import Access, Authorize
from loopcron.status._actions import VERBS, act
from loopcron.status._document import NEXT_DAY, NEXT_DAY_SLOTS, UPCOMING, document, job_document, selected
from loopcron.status._exchange import GUARDS, StatusAnswer, StatusRequest, answer, json_answer, json_text
from loopcron.status._metrics import CONTENT_TYPE, metrics_text
from loopcron.status._page import POLICY, page_html
from loopcron.status._query import Query, parsed

_PATH: Final = re.compile(r"/|(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
_ACTION: Final = re.compile(rf"/jobs/([^/]+)/({'|'.join(VERBS)})")
_BREATH: Final = 4
"""After so many jobs the other tasks of the event loop have a turn."""


@final
class StatusRoutes:
    """
    Answers what is asked below the path of a status page.

    ``GET /`` is the page, ``/status.json`` what it shows, ``/metrics`` the same for Prometheus; the path without its
    slash leads to the page. ``POST /jobs/<name>/<action>`` is there with *actions* only. Whatever is asked for,
    `authorize` is asked first.

    Args:
        scheduler: Whose page this is. It may live in another thread; then actions are refused.
        authorize: Takes ``StatusRequest.native`` and returns True, or the name of who asks; async or not. All else
            denies, and so does an exception.
        is_own_denial: Says of an exception of *authorize* whether it is the framework's own way to deny; such a one is
            let through.
        actions: Whether jobs may be run, paused, resumed and skipped.
        path: Where the page is mounted, which is all that a relative redirect needs; ``/`` for an app of its own.

    Raises:
        ConfigError: An argument is none of these.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        authorize: Authorize | None = None,
        is_own_denial: Callable[[Exception], bool] = lambda _error: False,
        actions: bool = False,
        path: str = "/loopcron",
    ) -> None:
        if not isinstance(scheduler, Scheduler):
            raise ConfigError("scheduler", scheduler, "must be the loopcron.Scheduler whose status is shown")
        if not isinstance(actions, bool):
            raise ConfigError("actions", actions, "must be True or False")
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            remedy = "must begin with / and not end with one; its parts are made of A-Z a-z 0-9 . _ ~ -"
            raise ConfigError("path", path, remedy)
        self._scheduler: Final = scheduler
        self._access: Final = Access(authorize, is_own_denial)
        self._actions: Final = actions
        self.path: Final = path.rstrip("/")
        """Where the page is mounted; what is asked for below it begins with ``/``."""

    async def answer(self, request: StatusRequest) -> StatusAnswer:
        """
        Answer *request*.

        Raises:
            Exception: What *authorize* raised, if that is the framework's own way to deny.

        Cancellation:
            Leaves nothing behind.
        """
        actor = await self._access.actor(request)
        if actor is None:
            return json_answer(403, {"detail": "authorize did not let this request in"})
        asked = _ACTION.fullmatch(request.path) if self._actions else None
        if asked is not None:
            if request.method != "POST":
                return _not_allowed("POST")
            return act(self._scheduler, asked[1], asked[2], actor=actor, request=request)
        if request.path not in ("", "/", "/status.json", "/metrics"):
            return json_answer(404, {"detail": "there is nothing at this path"})
        if request.method not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        return await self._read(request)

    async def _read(self, request: StatusRequest) -> StatusAnswer:
        match request.path:
            case "":
                # Relative, so that it holds behind every prefix; with the dot a colon in the path is no scheme.
                location = f"./{self.path.rpartition('/')[2]}/"
                return answer(307, "text/plain; charset=utf-8", b"", ("Location", location))
            case "/":
                return _page()
            case "/metrics":
                snapshot = self._scheduler.snapshot()
                await anyio.lowlevel.checkpoint()
                text = metrics_text(snapshot, self._scheduler.health())
                return answer(200, CONTENT_TYPE, text.encode())
            case _:
                return await self._json(request.query)

    async def _json(self, raw: str) -> StatusAnswer:
        try:
            query = parsed(raw)
        except ValueError as error:
            return json_answer(400, {"detail": str(error)})
        return answer(200, "application/json", await _document_text(self._scheduler, query, actions=self._actions))


async def _document_text(scheduler: Scheduler, query: Query, *, actions: bool) -> bytes:
    """Return the document; job by job, as a thousand take longer than an event loop should be held up."""
    snapshot = scheduler.snapshot()
    await anyio.lowlevel.checkpoint()
    health = scheduler.health()
    jobs = {job.name: job for job in snapshot.jobs}
    found = [job for job in selected(health, query) if job.job in jobs]
    head = json_text(document(snapshot, health, query, total=len(found), actions=actions))
    texts = []
    for number, job in enumerate(found[query.offset : query.offset + query.limit]):
        if number % _BREATH == 0:
            await anyio.lowlevel.checkpoint()
        try:
            day = scheduler.upcoming(job.job, count=NEXT_DAY_SLOTS + 1, until=snapshot.at + NEXT_DAY)
            soon = day[:UPCOMING] if len(day) >= UPCOMING else scheduler.upcoming(job.job, count=UPCOMING)
        except UnknownJobError:  # it was removed meanwhile
            day = soon = ()
        texts.append(json_text(job_document(jobs[job.job], job, day, soon)))
    return f'{head[:-1]},"jobs":[{",".join(texts)}]}}'.encode("ascii")


def _page() -> StatusAnswer:
    nonce = secrets.token_urlsafe(16)
    policy = ("Content-Security-Policy", POLICY.format(nonce=nonce))
    headers = (("Content-Type", "text/html; charset=utf-8"), *GUARDS, policy)
    return StatusAnswer(200, headers, page_html(nonce).encode())


def _not_allowed(methods: str) -> StatusAnswer:
    return json_answer(405, {"detail": f"this path takes {methods}"}, ("Allow", methods))
