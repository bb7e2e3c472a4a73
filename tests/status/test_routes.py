"""The routes of the status page without a framework: what is answered to whom, what actions do, and what is refused."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest

from loopcron import ActionAsked, ConfigError, FunctionJob, Run, Scheduler, at, every
from loopcron.status import StatusAnswer, StatusRequest, StatusRoutes
from loopcron.testing import FakeClock, RecordingObserver, hang

MARK = ("Loopcron-Action", "1")
PATHS = ("", "/", "/status.json", "/metrics", "/jobs/job/run", "/nothing", "/jobs/job/explode", "/../etc/passwd")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW")


class World:
    """A scheduler with one job that is due every minute, its observer, and the routes that show it."""

    def __init__(self, authorize: Any = lambda request: "ann", *, actions: bool = True, **settings: Any) -> None:
        self.clock = FakeClock()
        self.seen = RecordingObserver()
        self.scheduler = Scheduler(clock=self.clock, observers=[self.seen], **settings)
        self.scheduler.add(FunctionJob("job", every(minutes=1), self.work))
        self.routes = StatusRoutes(self.scheduler, authorize=authorize, actions=actions)
        self.runs: list[Run] = []
        self.hangs = False

    async def work(self, run: Run) -> None:
        """Be the job."""
        self.runs.append(run)
        if self.hangs:
            await hang()

    async def ask(self, path: str, method: str = "GET", headers: Sequence[tuple[str, str]] = ()) -> StatusAnswer:
        """Ask the routes."""
        return await self.routes.answer(StatusRequest(method, path, "", headers, object()))

    async def act(self, action: str, job: str = "job", headers: Sequence[tuple[str, str]] = (MARK,)) -> StatusAnswer:
        """Ask for an action."""
        return await self.ask(f"/jobs/{job}/{action}", "POST", headers)

    @property
    def audit(self) -> list[ActionAsked]:
        """The audit events."""
        return [event for event in self.seen.events if isinstance(event, ActionAsked)]


def detail(answer: StatusAnswer) -> str:
    """Return what the answer says in words."""
    told = json.loads(answer.body)["detail"]
    assert isinstance(told, str)
    return told


# --- reading


async def test_page_has_a_strict_policy_and_a_nonce_of_its_own() -> None:
    """The page runs nothing but its own script, is shown in no frame, and each answer has another nonce."""
    world = World()
    answers = [await world.ask("/") for _ in range(2)]
    nonces = set()
    for answer in answers:
        headers = dict(answer.headers)
        assert (answer.status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        for rule in ("connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
            assert rule in policy.split("; ")
        assert "require-trusted-types-for 'script'" in policy
        (nonce,) = set(re.findall(r"'nonce-([\w-]{20,})'", policy))
        text = answer.body.decode()
        assert set(re.findall(r"<(?:script|style)\b[^>]*>", text)) == {
            f'<script nonce="{nonce}">',
            f'<style nonce="{nonce}">',
        }
        nonces.add(nonce)
    assert len(nonces) == 2


async def test_every_answer_is_kept_nowhere_and_taken_for_nothing_else() -> None:
    """Whatever is asked, and however, the answer bears the headers that keep it from caches, sniffers and frames."""
    world = World()
    for path in PATHS:
        for method in METHODS:
            headers = dict((await world.ask(path, method)).headers)
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["X-Frame-Options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert not [name for name in headers if name.lower().startswith("access-control")]


async def test_statuses_by_path_and_method() -> None:
    """What is there answers GET and HEAD, or POST; other methods are told which; all else is not found."""
    world = World()
    for path in PATHS:
        for method in METHODS:
            answer = await world.ask(path, method)
            allow = dict(answer.headers).get("Allow")
            if path in {"/nothing", "/jobs/job/explode", "/../etc/passwd"}:
                assert (answer.status, allow) == (404, None)
            elif path == "/jobs/job/run":
                assert (answer.status, allow) == ((403, None) if method == "POST" else (405, "POST"))
            elif method in {"GET", "HEAD"}:
                assert (answer.status, allow) == (200 if path else 307, None)
            else:
                assert (answer.status, allow) == (405, "GET, HEAD")


@pytest.mark.parametrize(("path", "location"), [("/loopcron", "./loopcron/"), ("/a/b.c~d", "./b.c~d/")])
async def test_without_its_slash_the_path_leads_to_the_page(path: str, location: str) -> None:
    """The redirect is relative, so that it holds behind every prefix, and keeps the method."""
    routes = StatusRoutes(Scheduler(), authorize=lambda _: True, path=path)
    answer = await routes.answer(StatusRequest("GET", ""))
    assert (answer.status, dict(answer.headers)["Location"], answer.body) == (307, location, b"")


async def test_metrics_are_text_for_prometheus() -> None:
    """The metrics are told in Prometheus' text format, and name the job."""
    answer = await World().ask("/metrics")
    assert dict(answer.headers)["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'job="job"' in answer.body


async def test_a_query_out_of_bounds_is_told() -> None:
    """A wrong query is answered with 400 and what would do."""
    answer = await World().routes.answer(StatusRequest("GET", "/status.json", "limit=0"))
    assert (answer.status, detail(answer)) == (400, "limit must be a whole number from 1 to 1000")


async def test_authorize_is_asked_before_anything_else() -> None:
    """Who is not let in gets one and the same answer, whatever is there, and nothing happens."""
    world = World(lambda request: False)
    async with world.scheduler:
        answers = {await world.ask(path, method, [MARK]) for path in PATHS for method in METHODS}
        assert [answer.status for answer in answers] == [403]
        await world.clock.advance(timedelta(seconds=1))
    assert world.runs == []
    assert world.audit == []


# --- actions


async def test_run_now_does_not_wait_for_the_run() -> None:
    """A run that is asked for begins, and the answer comes while it still lives."""
    world = World()
    world.hangs = True
    async with world.scheduler:
        with anyio.fail_after(5):
            answer = await world.act("run")
        assert answer.status == 202
        assert json.loads(answer.body)["job"] == "job"
        await world.clock.advance(timedelta(seconds=1))
        assert [run.reason for run in world.runs] == ["manual"]
        assert len(world.scheduler.snapshot()["job"].runs) == 1


async def test_pause_and_resume_change_the_scheduler() -> None:
    """A job that was paused from the page runs no slot until it was resumed from there."""
    world = World()
    async with world.scheduler:
        assert (await world.act("pause")).status == 202
        await world.clock.advance(timedelta(minutes=3))
        assert world.scheduler.snapshot()["job"].paused
        assert world.runs == []
        assert (await world.act("resume")).status == 202
        await world.clock.advance(timedelta(minutes=1))
        assert not world.scheduler.snapshot()["job"].paused
        assert len(world.runs) == 1


async def test_skip_next_skips_the_next_slot() -> None:
    """The next slot does not run, the answer names it, and a job without one has none to skip."""
    world = World()
    world.scheduler.add(FunctionJob("past", at(world.clock.now() - timedelta(days=1)), world.work))
    async with world.scheduler:
        await world.clock.advance(timedelta(milliseconds=1))
        answer = await world.act("skip")
        slot = world.scheduler.snapshot()["job"].skips_slot_at
        assert slot is not None
        assert answer.status == 202
        assert f"{slot:%Y-%m-%dT%H:%M:%S}" in detail(answer)
        await world.clock.advance(timedelta(minutes=1))
        assert world.runs == []
        refused = await world.act("skip", "past")
        assert (refused.status, detail(refused).startswith("there is no slot to skip")) == (409, True)


async def test_every_action_is_told_to_the_observers() -> None:
    """Who did what to which job, when, and why it was refused: for an audit."""
    world = World()
    async with world.scheduler:
        await world.scheduler.wait_idle()
        for action in ("run", "pause", "resume", "skip"):
            await world.act(action)
        now = round(world.clock.now().timestamp() * 1000)
        assert world.audit == [
            ActionAsked("job", now, action, "ann", "") for action in ("run", "pause", "resume", "skip")
        ]
        await world.act("run", headers=())
        await world.act("run", "who\n")
    first, second = world.audit[4:]
    assert (first.job, first.by, first.refused) == ("job", "ann", "the header Loopcron-Action: 1 is missing")
    # A name that no job has is no name to count by.
    assert (second.job, second.refused) == ("", "there is no job of the name who\\n")


async def test_an_unknown_actor_is_told_as_such() -> None:
    """Where authorize only says True nobody is named."""
    world = World(lambda request: True)
    async with world.scheduler:
        await world.act("run")
    assert [event.by for event in world.audit] == [""]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (MARK, ("Sec-Fetch-Site", "cross-site")),
        (MARK, ("Origin", "https://evil.example"), ("Host", "ops.example")),
    ],
    ids=["form", "site", "origin"],
)
async def test_another_site_can_do_nothing(headers: tuple[tuple[str, str], ...]) -> None:
    """A request that another site may have caused is refused, and the job is left alone."""
    world = World()
    async with world.scheduler:
        assert (await world.act("run", headers=headers)).status == 403
        await world.clock.advance(timedelta(seconds=1))
    assert world.runs == []
    assert [bool(event.refused) for event in world.audit] == [True]


async def test_unknown_jobs_are_not_found() -> None:
    """A name that no job has is answered with 404, and shown as what it is."""
    world = World()
    async with world.scheduler:
        answer = await world.act("run", "<script>\u202e")
    assert (answer.status, detail(answer)) == (404, "there is no job of the name <script>\\u202e")
    assert b"<" not in answer.body


@pytest.mark.parametrize("action", ["run", "pause", "resume", "skip"])
async def test_a_scheduler_that_does_not_run_does_nothing(action: str) -> None:
    """Before the start, and where it is disabled, each action is refused with the reason, and nothing is kept."""
    world = World()
    before = await world.act(action)
    assert (before.status, detail(before)) == (409, "the scheduler was never started")
    assert [event.refused for event in world.audit] == ["the scheduler was never started"]
    disabled = World(enabled=False)
    async with disabled.scheduler:
        answer = await disabled.act(action)
        assert (answer.status, "enabled=False" in detail(answer)) == (409, True)
    async with world.scheduler:
        await world.clock.advance(timedelta(minutes=1))
    assert len(world.runs) == 1


async def test_a_scheduler_that_stops_does_nothing() -> None:
    """While it drains, actions are refused."""
    world = World()
    answers: list[StatusAnswer] = []

    async def work(run: Run) -> None:
        """Last until the drain has begun."""
        begun.set()
        while world.scheduler.health().state == "running":
            await run.sleep(0.1)
        answers.append(await world.act("run"))

    begun = anyio.Event()
    world.scheduler.add(FunctionJob("long", every(minutes=1), work))
    async with world.scheduler:
        world.scheduler.trigger("long")
        await begun.wait()
    assert [(answer.status, detail(answer)) for answer in answers] == [(409, "the scheduler is stopping")]


async def test_a_scheduler_of_another_thread_is_shown_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The page may be served from another thread; actions there are refused, and logged without the observers."""
    world = World()
    told: list[StatusAnswer] = []

    async def elsewhere() -> None:
        """Ask from an event loop of another thread."""
        told.extend([await world.ask("/status.json"), await world.act("pause")])

    async with world.scheduler:
        thread = threading.Thread(target=anyio.run, args=(elsewhere,))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert not world.scheduler.snapshot()["job"].paused
    shown, refused = told
    assert json.loads(shown.body)["scheduler"]["state"] == "running"
    assert (refused.status, "another thread" in detail(refused)) == (409, True)
    assert world.audit == []
    assert [record.__dict__["loopcron_by"] for record in caplog.records if "another thread" in record.message] == [
        "ann"
    ]


async def test_without_actions_there_is_nothing_to_act_on() -> None:
    """Unless actions are asked for, their paths do not exist, and the document says so."""
    world = World(actions=False)
    async with world.scheduler:
        assert (await world.act("run")).status == 404
        assert json.loads((await world.ask("/status.json")).body)["actions"] is False
    assert world.runs == []
    assert world.audit == []


# --- settings


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"authorize": None}, "authorize"),
        ({"authorize": "everybody"}, "authorize"),
        ({"actions": "yes"}, "actions"),
        *[({"path": path}, "path") for path in (None, "", "loopcron", "/a/", "//", "/{job}", "/a b", "/../x", "/.")],
        ({"scheduler": None}, "scheduler"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(settings: dict[str, Any], field: str) -> None:
    """What cannot work is refused when the page is mounted, and the message says what would do."""
    good: dict[str, Any] = {"scheduler": Scheduler(), "authorize": lambda _: True}
    with pytest.raises(ConfigError) as caught:
        StatusRoutes(**(good | settings))
    assert caught.value.field == field


def test_authorize_cannot_be_forgotten() -> None:
    """Left out it is missed, with a message that says what to give."""
    with pytest.raises(ConfigError, match="is required, as the page shows what the app does: give a function"):
        StatusRoutes(Scheduler())


def test_a_request_does_not_show_what_it_carries() -> None:
    """The headers of a request, among them what proves who asks, stand in no repr."""
    request = StatusRequest("GET", "/", "", [("Authorization", "Bearer hunter2")], {"password": "hunter2"})
    assert "hunter2" not in repr(request)
