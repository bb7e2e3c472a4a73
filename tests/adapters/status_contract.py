"""
What every adapter's status page keeps, over real requests: who is let in, what actions do, what another site cannot.

A subclass says how its framework serves an app, and what its own exceptions are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import pytest

from loopcron import ActionAsked, FunctionJob, Run, Scheduler, TransportError, every
from loopcron.testing import RecordingObserver

SECRET = "hunter2-hunter2-hunter2"
MARK = {"Loopcron-Action": "1"}
PERMISSIVE = "https://evil.example"
"""Another site, whose every preflight is let pass by an app that is too kind."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By small letters."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Ask:
    """Asks an app that is served."""

    def __init__(self, send: Callable[[str, str, Mapping[str, str]], Awaitable[Reply]]) -> None:
        self._send = send

    async def __call__(self, method: str, path: str, **headers: str) -> Reply:
        """Send a request; an underscore in a header's name is a dash."""
        return await self._send(method, path, {name.replace("_", "-"): value for name, value in headers.items()})

    async def act(self, action: str, **headers: str) -> Reply:
        """Ask for an action on the job as a script does that has no browser around it."""
        return await self("POST", f"/loopcron/jobs/job/{action}", Loopcron_Action="1", **headers)


class World:
    """A scheduler with a job that runs when it is asked to only, and notes when it does."""

    def __init__(self, **settings: Any) -> None:
        self.seen = RecordingObserver()
        self.scheduler = Scheduler(observers=[self.seen], **settings)
        self.scheduler.add(FunctionJob("job", every(days=3650), self.work))
        self.begun = anyio.Event()
        self.may_end = anyio.Event()

    async def work(self, run: Run) -> None:
        """Be the job."""
        self.begun.set()
        await self.may_end.wait()

    @property
    def audit(self) -> list[tuple[str, str, bool]]:
        """What was asked for, by whom, and whether it was done."""
        events = [event for event in self.seen.events if isinstance(event, ActionAsked)]
        return [(event.action, event.by, not event.refused) for event in events]


class StatusContract:
    """The tests; `serve` is the subclass's."""

    def serve(
        self, world: World, authorize: Any, *, actions: bool = True, permissive: bool = False
    ) -> AbstractAsyncContextManager[Ask]:
        """Serve an app with the page at ``/loopcron`` and probes at ``/live``, ``/ready`` and ``/strict``."""
        raise NotImplementedError

    def denial(self, status: int, headers: Mapping[str, str]) -> Exception:
        """Return the framework's own exception of that status."""
        raise NotImplementedError

    async def test_everything_is_served(self) -> None:
        """Page, document and metrics are there, HEAD is GET without its body, and other methods are told which."""
        async with self.serve(World(), lambda request: True) as ask:
            for path, kind in (("/", "text/html"), ("/status.json", "application/json"), ("/metrics", "text/plain")):
                got = await ask("GET", f"/loopcron{path}")
                assert (got.status, got.headers["content-type"].partition(";")[0]) == (200, kind)
                assert len(got.body) == int(got.headers["content-length"])
                assert got.headers["cache-control"] == "no-store"
                head = await ask("HEAD", f"/loopcron{path}")
                assert (head.status, head.body, head.headers["content-type"]) == (200, b"", got.headers["content-type"])
                assert int(head.headers["content-length"]) > 0
                refused = await ask("DELETE", f"/loopcron{path}")
                assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
            moved = await ask("GET", "/loopcron?a=b")
            assert (moved.status, moved.headers["location"]) == (307, "./loopcron/")
            page = await ask("GET", "/loopcron/")
            assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'nonce-")
            told = await ask("GET", "/loopcron/status.json?q=JO&limit=1")
            assert ([job["name"] for job in told.json["jobs"]], told.json["limit"]) == (["job"], 1)
            assert (await ask("GET", "/loopcron/status.json?limit=0")).status == 400
            assert (await ask("GET", "/loopcron/jobs/job/run")).headers["allow"] == "POST"
            for path in ("/loopcron/x", "/loopcron/%2e%2e/x", "/loopcron//", "/loopcron/jobs/a%2Fb/run"):
                assert (await ask("GET", path)).status == 404

    async def test_each_way_to_authorize(self) -> None:
        """True and a name let in, async or not; all else denies with 403, but for what the framework has for it."""

        async def known(request: Any) -> str | None:
            """Let in who knows the word."""
            return "ann" if request.headers.get("X-Word") == SECRET else None

        def broken(request: Any) -> bool:
            """Break."""
            raise KeyError(SECRET)

        world = World()
        async with self.serve(world, known) as ask:
            assert (await ask("GET", "/loopcron/")).status == 403
            assert (await ask("GET", "/loopcron/status.json", X_Word=SECRET)).status == 200
            assert (await ask.act("pause")).status == 403
            assert (await ask.act("pause", X_Word=SECRET)).status == 202
        assert world.audit == [("pause", "ann", True)]
        for authorize in (broken, lambda request: False, lambda request: None, lambda request: 1):
            async with self.serve(World(), authorize) as ask:
                for path in ("/loopcron", "/loopcron/", "/loopcron/status.json", "/loopcron/metrics", "/loopcron/x"):
                    got = await ask("GET", path)
                    assert (got.status, got.headers["cache-control"]) == (403, "no-store")
                    assert SECRET.encode() not in got.body

    async def test_the_frameworks_own_denials(self) -> None:
        """An exception of the framework is answered as it is: a password is asked for, or a login is led to."""
        for status, name, value in ((401, "WWW-Authenticate", "Basic"), (303, "Location", "/login")):

            def deny(request: Any, status: int = status, name: str = name, value: str = value) -> bool:
                """Deny."""
                raise self.denial(status, {name: value})

            async with self.serve(World(), deny) as ask:
                got = await ask("GET", "/loopcron/")
                assert (got.status, got.headers[name.lower()]) == (status, value)

        def fine(request: Any) -> bool:
            """Say that all is well, by an exception, which is no way to let anybody in."""
            raise self.denial(200, {})

        async with self.serve(World(), fine) as ask:
            assert (await ask("GET", "/loopcron/status.json")).status == 403

    async def test_actions_change_the_scheduler(self) -> None:
        """A run begins and is not waited for, a pause holds until it is resumed, and all of it is told for an audit."""
        world = World()
        async with self.serve(world, lambda request: "ann") as ask:
            with anyio.fail_after(10):
                assert (await ask.act("run")).status == 202
                await world.begun.wait()
            told = (await ask("GET", "/loopcron/status.json")).json["jobs"][0]
            assert ([run["reason"] for run in told["running"]], told["history"]) == (["manual"], [])
            world.may_end.set()
            for action, paused in (("pause", True), ("resume", False)):
                got = await ask.act(action)
                assert (got.status, got.json["action"]) == (202, action)
                assert world.scheduler.snapshot()["job"].paused is paused
            assert (await ask.act("skip")).status == 202
            assert world.scheduler.snapshot()["job"].skips_slot_at is not None
            assert (await ask("POST", "/loopcron/jobs/other/run", **{"Loopcron-Action": "1"})).status == 404
        done = [("run", "ann", True), ("pause", "ann", True), ("resume", "ann", True), ("skip", "ann", True)]
        assert world.audit == [*done, ("run", "ann", False)]

    async def test_actions_are_off_by_default(self) -> None:
        """Unless they are asked for there are none."""
        world = World()
        async with self.serve(world, lambda request: True, actions=False) as ask:
            assert (await ask.act("run")).status == 404
        assert world.audit == []

    async def test_another_site_can_do_nothing(self) -> None:
        """Even where the app lets every preflight pass, no page of another origin runs a job; a form cannot either."""
        world = World()
        async with self.serve(world, lambda request: "ann", permissive=True) as ask:
            preflight = await ask(
                "OPTIONS",
                "/loopcron/jobs/job/run",
                Origin=PERMISSIVE,
                Access_Control_Request_Method="POST",
                Access_Control_Request_Headers="loopcron-action",
            )
            assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, PERMISSIVE)
            assert (await ask.act("run", Origin=PERMISSIVE)).status == 403
            assert (await ask.act("run", Origin=PERMISSIVE, Sec_Fetch_Site="cross-site")).status == 403
            assert (await ask.act("run", Origin="null")).status == 403
            form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
            assert (await ask("POST", "/loopcron/jobs/job/run", **form)).status == 403
            assert not world.begun.is_set()
            assert world.audit == [("run", "ann", False)] * 4
            assert (await ask.act("pause", Sec_Fetch_Site="same-origin")).status == 202

    async def test_no_answer_holds_a_secret(self) -> None:
        """No byte of any answer holds what proves who asks, a token, a ledger's password, or what a job let slip."""

        async def slip(run: Run) -> None:
            """Fail with more than anybody should see."""
            raise RuntimeError(f"GET https://ann:{SECRET}@api/x?token={SECRET} Authorization: Bearer {SECRET}")

        class Echoing:
            """A transport whose peer sends everything back, in an error too."""

            async def send(self, request: Any) -> Any:
                """Fail with a secret behind it."""
                raise TransportError("refused") from RuntimeError(SECRET)

        world = World(transport=Echoing())
        world.scheduler.add(FunctionJob("slip", every(days=3650), slip))
        async with self.serve(world, lambda request: "ann") as ask:
            await world.scheduler.trigger("slip").wait()
            proof = {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}"}
            replies = [await ask("GET", path, **proof) for path in ("/live", "/ready", "/strict")]
            for path in ("", "/", "/status.json", "/metrics", "/none", "/jobs/slip/run"):
                replies += [await ask(method, f"/loopcron{path}", **proof, **MARK) for method in ("GET", "POST", "PUT")]
        hunted = [SECRET.encode(), base64.b64encode(SECRET.encode())]
        for reply in replies:
            whole = reply.body + repr(dict(reply.headers)).encode()
            assert not [text for text in hunted if text in whole]
        assert b"RuntimeError" in b"".join(reply.body for reply in replies)

    async def test_probes_answer_for_the_scheduler(self) -> None:
        """The probes are green while it runs, a failing job turns the strict one red, and a stop all that should."""
        world = World()

        async def fails(run: Run) -> None:
            """Fail."""
            raise ValueError("customer 4711")

        world.scheduler.add(FunctionJob("fails", every(days=3650), fails))
        async with self.serve(world, lambda request: False) as ask:
            assert [(await ask("GET", path)).status for path in ("/live", "/ready", "/strict")] == [200, 200, 200]
            await world.scheduler.trigger("fails").wait()
            told = {path: await ask("GET", path) for path in ("/live", "/ready", "/strict")}
            assert {path: reply.status for path, reply in told.items()} == {"/live": 200, "/ready": 200, "/strict": 503}
            assert told["/strict"].json["jobs"][0]["state"] == "failing"
            assert b"4711" not in told["/live"].body
            assert b"4711" in told["/strict"].body  # which is mounted with details
            world.scheduler.trigger("job")
            await world.begun.wait()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(world.scheduler.stop)
                while world.scheduler.health().ready:
                    await anyio.lowlevel.checkpoint()
                assert [(await ask("GET", path)).status for path in ("/live", "/ready", "/strict")] == [200, 503, 503]
                world.may_end.set()
            assert [(await ask("GET", path)).status for path in ("/live", "/ready", "/strict")] == [503, 503, 503]

    def test_authorize_cannot_be_left_out(self) -> None:
        """The adapter passes on that authorize is required."""
        with pytest.raises(ValueError, match=r"^authorize=None: is required"):
            self.serve(World(), None)
