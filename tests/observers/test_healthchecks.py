"""Pings against a server that keeps to the protocol: one per run, none that lies, and never a secret in sight."""

from __future__ import annotations

import logging
import ssl
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest
import trustme

from loopcron import (
    Busy,
    ConfigError,
    Failed,
    HttpJob,
    Interrupted,
    LeaseLost,
    LoopbackTransport,
    MemoryLedger,
    Missed,
    Outcome,
    Retry,
    Run,
    RunAbandoned,
    RunStarted,
    Scheduler,
    Settled,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    every,
)
from loopcron.observers import HealthchecksObserver
from loopcron.observers import _outbox as outbox_module
from loopcron.observers.healthchecks import RUN_IDS
from loopcron.testing import RecordingTransport, hang
from tests.observers.healthchecks_server import CODE, KEY, OTHER, PREFIX, Check, Healthchecks
from tests.shell.conftest import Stage

SLOT = 1_935_000_000_000


def observer(server: Healthchecks, *jobs: str, **options: Any) -> HealthchecksObserver:
    """Return an observer that pings the first check for each of the jobs."""
    return HealthchecksObserver({job: server.url() for job in jobs or ("work",)}, **options)


def run_id(key: str) -> str:
    return str(uuid.uuid5(RUN_IDS, key))


async def work(run: Run) -> None:
    """Do nothing."""


# --- one ping per run


async def test_run_that_succeeds_pings_success(stage: Stage, healthchecks: Healthchecks) -> None:
    """A quick run pings success alone, by POST, once it is known that nobody has left a start open."""
    stage.build(observers=[observer(healthchecks)])
    stage.add(work)
    stage.add(work, name="other")
    async with stage.scheduler:
        await stage.advance(minutes=3)
    assert healthchecks.told() == ["start", "success", "success", "success"]
    assert {ping.method for ping in healthchecks.pings} == {"POST"}
    assert healthchecks.checks[CODE] == Check("up", timed=1, started_id=healthchecks.pings[0].run_id)


async def test_run_id_is_the_same_on_every_replica_and_attempt(stage: Stage, healthchecks: Healthchecks) -> None:
    """All pings of a run bear the UUIDv5 of its idempotency key: those of its attempts, and those of other workers."""
    keys: list[str] = []

    async def work(run: Run) -> None:
        keys.append(run.key)
        await run.sleep(2)
        if run.attempt == 1:
            raise ValueError("once more")

    replicas = [stage.build(observers=[observer(healthchecks)]) for _ in range(2)]
    for replica in replicas:
        replica.job(schedule=every(minutes=1), retry=Retry(2, on=frozenset({"job"})))(work)
    async with replicas[0], replicas[1]:
        await stage.advance(seconds=90)
        manual = replicas[0].trigger("work")
        await stage.advance(seconds=10)
        assert await manual == Succeeded()
    ids = [ping.run_id for ping in healthchecks.pings]
    assert len(set(keys)) == 2
    assert sorted(set(ids), key=str) == sorted({run_id(key) for key in keys})
    assert healthchecks.told().count("success") == 3
    assert healthchecks.told().count("start") >= 2  # none for a run that has ended before it was sent


@pytest.mark.parametrize(
    ("outcome", "action", "body"),
    [
        (Succeeded(200), "success", ""),
        (Failed("endpoint", "HTTP 503\n" + "x" * 999, 503), "fail", "failed: endpoint: HTTP 503\\nxxx"),
        (TimedOut(60.0), "fail", "timed out after 60.000 s (3 in a row)"),
        (LeaseLost(), "fail", "cut: its lease may be over, and another worker may run it (3 in a row)"),
        (Busy(), None, ""),
        (Taken(), None, ""),
        (Missed(SLOT, SLOT, 1), None, ""),
        (Interrupted("shutdown"), None, ""),
        *((Skipped(reason), None, "") for reason in ("overlap", "paused", "limit", "skip_next", "ledger", "removed")),
        (Skipped("no_address"), None, ""),
    ],
    ids=lambda value: getattr(value, "reason", type(value).__name__) if isinstance(value, Outcome) else "",
)
def test_each_outcome_has_its_ping(healthchecks: Healthchecks, outcome: Outcome, action: str, body: str) -> None:
    """What failed pings a failure with one capped line about it; what did not run, or not here, pings nothing."""
    watcher = observer(healthchecks)
    watcher.on_event(RunStarted("work", SLOT, 1, "schedule"))
    watcher.on_event(Settled("work", SLOT, outcome, "schedule", 1, SLOT, SLOT + 250, 3))
    anyio.run(_served, watcher)
    assert [told for told in healthchecks.told() if told != "start"] == ([action] if action else [])
    if action == "fail":
        (ping,) = healthchecks.pings
        assert ping.body.startswith("work 2031-04-26T20:00:00.000Z ")
        assert body in ping.body
        assert len(ping.body) < 400
        assert ping.body.isprintable()


async def _served(watcher: HealthchecksObserver) -> None:
    """Let the observer deliver what it has, as a life of a scheduler does."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


# --- starts


async def test_long_run_pings_its_start(stage: Stage, healthchecks: Healthchecks) -> None:
    """A run that lasts longer than a second pings a start then, by the scheduler's clock, and its end later."""

    async def work(run: Run) -> None:
        await run.sleep(5)

    stage.build(observers=[observer(healthchecks)])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(seconds=43.9)
        assert healthchecks.pings == []
        await stage.advance(seconds=0.2)
        await anyio.to_thread.run_sync(partial(healthchecks.wait, pings=1))
        assert healthchecks.checks[CODE].started
        await stage.advance(seconds=10)
    assert healthchecks.told() == ["start", "success"]
    assert healthchecks.checks[CODE] == Check("up", timed=1, started_id=healthchecks.pings[0].run_id)


async def test_refused_run_pings_nothing(stage: Stage, healthchecks: Healthchecks) -> None:
    """A 409 sends no ping at all, neither start nor end, so the run that holds the lock is alone in telling."""
    stage.build(observers=[observer(healthchecks)], transport=RecordingTransport(409))
    stage.scheduler.add(HttpJob("work", every(minutes=1), "/"))
    async with stage.scheduler:
        await stage.advance(minutes=3)
    assert stage.scheduler.snapshot()["work"].history[-1].outcome == Busy()
    assert healthchecks.requests == 0


@pytest.mark.parametrize(
    ("start_after", "told"), [(0, ["start", "success", "success"]), (None, ["success", "success"])]
)
def test_starts_can_come_at_once_or_never(healthchecks: Healthchecks, start_after: Any, told: list[str]) -> None:
    """The start can be sent at once, or never; one for all attempts, and none before a success that had none."""
    watcher = observer(healthchecks, start_after=None if start_after is None else timedelta(0))

    async def live() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watcher.run)
            for attempt in (1, 2):
                watcher.on_event(RunStarted("work", SLOT, attempt, "schedule"))
            for pings, slot in enumerate((SLOT + 1, SLOT), start=len(told) - 1):
                watcher.on_event(Settled("work", slot, Succeeded(), "schedule", 1, slot, slot + 250, 0))
                await anyio.to_thread.run_sync(partial(healthchecks.wait, pings=pings))
            tasks.cancel_scope.cancel()

    anyio.run(live)
    assert healthchecks.told() == told


@pytest.mark.parametrize("way", ["killed", "interrupted", "busy", "taken", "abandoned", "next life"])
async def test_start_that_was_left_open_raises_no_alarm_for_ever(
    stage: Stage, healthchecks: Healthchecks, way: str
) -> None:
    """A quick success ends whatever start was left open before: by a killed process, another worker, a late 409."""
    slow = [way in {"interrupted", "busy"}]

    async def work(run: Run) -> Outcome | None:
        if slow.pop() if slow else False:
            await run.sleep(5)
            if way == "interrupted":
                await hang()
            return Busy()
        return None

    ours = observer(healthchecks)
    stage.build(observers=[ours], drain=timedelta(0))
    stage.add(work)
    if way == "killed":
        healthchecks.checks[CODE] = Check(started=True, started_id=run_id("of another life"))
    async with stage.scheduler:
        await stage.advance(seconds=45)
        await anyio.to_thread.run_sync(partial(healthchecks.wait, pings=1))
        await stage.advance(seconds=5)
    if way in {"taken", "abandoned", "next life"}:
        healthchecks.checks[CODE] = Check("up", started=True, started_id=run_id("of another worker"))
    if way != "killed":
        assert healthchecks.checks[CODE].started
        async with stage.scheduler:
            if way in {"taken", "abandoned"}:
                await stage.advance(seconds=60)
                await anyio.to_thread.run_sync(partial(healthchecks.wait, pings=4))
                healthchecks.checks[CODE] = Check("up", started=True, started_id=run_id("of another worker"))
                event = Settled("work", SLOT, Taken(), "schedule", 0, None, SLOT, 0)
                ours.on_event(event if way == "taken" else RunAbandoned("work", SLOT, "host:1:abc"))
            await stage.advance(minutes=1)
    assert not healthchecks.checks[CODE].grace_is_over()


async def test_other_run_that_is_alive_keeps_its_start(stage: Stage, healthchecks: Healthchecks) -> None:
    """The success of a quick run does not end the start of a longer one that goes on beside it."""

    async def work(run: Run) -> None:
        if run.slot.minute % 2 == 0:
            await run.sleep(90)

    stage.build(observers=[observer(healthchecks)])
    stage.add(work, overlap="allow", timeout=timedelta(minutes=5))
    async with stage.scheduler:
        await stage.advance(seconds=45 + 60)
        await anyio.to_thread.run_sync(partial(healthchecks.wait, pings=2))
        assert healthchecks.told()[:2] == ["start", "success"]
        assert healthchecks.checks[CODE].started
        await stage.advance(seconds=45)
    assert healthchecks.told()[2:] == ["success"]
    assert not healthchecks.checks[CODE].grace_is_over()


def test_start_that_has_waited_until_the_end_is_not_sent(healthchecks: Healthchecks) -> None:
    """A start that comes to its turn only after the run's end is of no use, and is left out."""
    watcher = observer(healthchecks, start_after=timedelta(0))
    watcher.on_event(RunStarted("work", SLOT, 1, "schedule"))
    watcher.on_event(Settled("work", SLOT, Busy(), "schedule", 1, SLOT, SLOT + 250, 0))
    anyio.run(_served, watcher)
    assert healthchecks.requests == 0


async def test_runs_that_have_ended_leave_nothing_waiting(stage: Stage, healthchecks: Healthchecks) -> None:
    """A run that ends before its start is due takes that back, so that nothing adds up where starts come late."""
    stage.build(observers=[observer(healthchecks, start_after=timedelta(hours=2))])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=30)
        assert len(stage.clock._sleepers) < 3


async def test_slow_ping_of_one_check_holds_up_no_other(stage: Stage, healthchecks: Healthchecks) -> None:
    """Pings of different checks are under way at the same time, so that a slow server does not add up."""
    stage.build(observers=[HealthchecksObserver({"a": healthchecks.url(CODE), "b": healthchecks.url(OTHER)})])
    stage.add(work, name="a")
    stage.add(work, name="b")
    healthchecks.hold.clear()
    async with stage.scheduler:
        await stage.advance(minutes=1)
        await anyio.to_thread.run_sync(partial(healthchecks.wait, requests=2))
        healthchecks.hold.set()
    assert healthchecks.told(CODE) == healthchecks.told(OTHER) == ["start", "success"]


# --- which check


async def test_checks_by_slug(stage: Stage, healthchecks: Healthchecks) -> None:
    """With a ping key each job's check is found by a slug: the job's name, or what the mapping says."""
    healthchecks.slugs = {"my-work", "sync"}
    base = f"{healthchecks.origin}{PREFIX}/"
    named = HealthchecksObserver(ping_key=KEY, base_url=base, start_after=None)
    mapped = HealthchecksObserver({"My.Work": "sync"}, ping_key=KEY, base_url=base, start_after=None)
    stage.build(observers=[named, mapped])
    stage.add(work, name="My.Work")
    stage.add(work, name="unknown")
    async with stage.scheduler:
        await stage.advance(minutes=1)
    assert sorted(ping.name for ping in healthchecks.pings) == [f"{KEY}/my-work", f"{KEY}/sync"]
    assert (named.dropped, mapped.dropped) == (1, 0)


async def test_check_without_a_job_is_told(
    stage: Stage, healthchecks: Healthchecks, caplog: pytest.LogCaptureFixture
) -> None:
    """A check for a job that was not added is a warning at the start, or nobody would notice a wrong name."""
    stage.build(observers=[observer(healthchecks, "work", "wrok")])
    stage.add(work)
    async with stage.scheduler:
        pass
    (record,) = [one for one in caplog.records if "HealthchecksObserver" in one.getMessage()]
    assert record.getMessage().endswith("so nothing pings its check: wrok")


async def test_tls_with_an_authority_of_ones_own(stage: Stage) -> None:
    """A server of one's own may have a certificate of one's own, by way of a transport."""
    authority = trustme.CA()
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(client_side)
    with Healthchecks(ssl_context=server_side) as server:
        transport = LoopbackTransport(server.origin, ssl_context=client_side)
        stage.build(observers=[observer(server, transport=transport, start_after=None)])
        stage.add(work)
        async with stage.scheduler:
            await stage.advance(minutes=1)
        assert server.told() == ["success"]


# --- ping errors never hurt


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("status", "body", "requests", "problem"),
    [
        (500, b"", 4, None),
        (429, b"", 4, None),
        (404, b"not found", 1, "HTTP 404"),
        (301, b"", 1, "HTTP 301"),
        (200, b"OK (not found)", 1, "no such check"),
        (200, b"OK (rate limited)", 1, "pinged too often"),
    ],
)
def test_answers_that_are_no_success(
    healthchecks: Healthchecks,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes,
    requests: int,
    problem: str | None,
) -> None:
    """A server in trouble is asked again, one that says no is not; a ping that it did not take is counted and told."""
    watcher = observer(healthchecks, start_after=None)
    healthchecks.replies = [(status, body)] * (2 if problem is None else 1)

    async def live() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watcher.run)
            for number in range(2):
                slot = SLOT + number
                watcher.on_event(Settled("work", slot, Succeeded(), "schedule", 1, slot, slot + 250, 0))
            await anyio.to_thread.run_sync(partial(healthchecks.wait, pings=1 + (problem is None)))
            tasks.cancel_scope.cancel()

    anyio.run(live)
    assert healthchecks.requests == (4 if problem is None else 2)
    assert watcher.dropped == (problem is not None)
    assert [vars(record)["loopcron_problem"] for record in caplog.records] == ([problem] if problem else [])


@pytest.mark.parametrize("trouble", ["down", "slow"])
async def test_server_that_is_down_or_slow_delays_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Runs and the end of the scheduler wait for no ping; what was lost is counted, and is one line in the log."""
    monkeypatch.setattr(outbox_module, "FLUSH_SECONDS", 0.05)
    with Healthchecks() as server:
        watcher = observer(server)
        if trouble == "slow":
            server.hold.clear()
        else:
            server.__exit__(None, None, None)
        stage.build(observers=[watcher, stage.seen])
        stage.add(work)
        async with stage.scheduler:
            with anyio.fail_after(5):
                await stage.advance(minutes=30)
        server.hold.set()
        if trouble == "down":
            server.__enter__()
    assert stage.outcomes() == [Succeeded()] * 30
    assert watcher.dropped >= 29
    assert 1 <= len([record for record in caplog.records if hasattr(record, "loopcron_dropped")]) <= 2


# --- secrets


def _shapes() -> tuple[str, ...]:
    return CODE, OTHER, KEY, CODE.replace("-", "")


@pytest.mark.usefixtures("hasty")
async def test_secrets_show_nowhere(stage: Stage, healthchecks: Healthchecks, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the UUID of a ping URL nor the ping key is in a log line, a `repr`, an event or an object's state."""
    caplog.set_level(logging.DEBUG)

    class Hostile:
        async def send(self, request: Any) -> Any:
            raise ValueError(repr(request))

    watchers = [
        observer(healthchecks),
        HealthchecksObserver({"work": f"https://hc-ping.com/{OTHER}"}, transport=Hostile()),
        HealthchecksObserver(ping_key=KEY, base_url=f"{healthchecks.origin}{PREFIX}"),
    ]
    healthchecks.replies = [(404, f"{CODE} {KEY}".encode())] * 20
    stage.build(observers=[*watchers, stage.seen])
    stage.add(work)
    async with stage.scheduler:
        await stage.advance(minutes=2)
    assert all(watcher.dropped for watcher in watchers)
    shown = [caplog.text, repr(stage.seen.events), repr(vars(stage.scheduler)), repr(watchers)]
    shown += [repr(vars(record)) for record in caplog.records] + [repr(vars(watcher)) for watcher in watchers]
    assert not [shape for shape in _shapes() if any(shape in text for text in shown)]


@pytest.mark.parametrize(
    "checks",
    [
        {"work": "hc-ping.com/" + CODE},
        {"work": "ftp://hc-ping.com/" + CODE},
        {"work": "https://user:" + KEY + "@hc-ping.com/" + CODE},
        {"work": "https://hc-ping.com:99999/" + CODE},
        {"work": "https://hc-ping.com/" + CODE + "/start"},
        {"work": "https://hc-ping.com/" + KEY + "/" + CODE + "/fail"},
        {"work": "https://hc-ping.com/" + CODE + "/0"},
        {"work": "https://hc-ping.com/" + CODE + "?rid=1"},
        {"work": "https://hc-ping.com/" + CODE + "#top"},
        {"work": "https://hc-ping.com/" + CODE[:-1]},
        {"work": "https://hc-ping.com//" + CODE},
        {"work": "https://hc-ping.com"},
        {"work": "https://hc-ping.com/" + KEY + "/Not-A-Slug"},
        {"work": "https://hc-ping.com/" + CODE + "é"},
        {"work": CODE},
        {"work": None},
    ],
    ids=lambda checks: str(checks["work"]),
)
def test_wrong_ping_urls_are_refused(checks: Any) -> None:
    """What is no ping URL is refused when it is configured, by an error that names the job and shows no secret."""
    with pytest.raises(ConfigError, match=r"^checks\['work'\]='...': ") as caught:
        HealthchecksObserver(checks)
    assert not [shape for shape in _shapes() if shape in str(caught.value)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "checks=None: is missing"),
        ({"checks": [CODE]}, "checks='list': "),
        ({"checks": {1: CODE}}, "checks=1: "),
        ({"ping_key": f"{KEY}/x"}, "ping_key='...': "),
        ({"ping_key": None, "checks": None}, "checks=None: is missing"),
        ({"ping_key": KEY, "checks": {"work": "A Slug"}}, r"checks\['work'\]='...': must be a slug"),
        ({"ping_key": KEY, "base_url": "hc-ping.com"}, "base_url='...': "),
        ({"ping_key": KEY, "base_url": "https://hc-ping.com/?a=b"}, "base_url='https://hc-ping.com': "),
        ({"ping_key": KEY, "start_after": 1}, "start_after=1: "),
        ({"ping_key": KEY, "transport": "x"}, "transport='x': "),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Each argument that cannot work is refused by name."""
    with pytest.raises(ConfigError, match=f"^{message}"):
        HealthchecksObserver(**arguments)


async def test_next_life_is_pinged_for_too(stage: Stage, healthchecks: Healthchecks) -> None:
    """The observer goes on in the scheduler's next life, with a ledger of its own or with another one."""
    stage.build(observers=[observer(healthchecks, start_after=None)], ledger=MemoryLedger(stage.clock))
    stage.add(work)
    scheduler: Scheduler = stage.scheduler
    for _ in range(2):
        async with scheduler:
            await stage.advance(minutes=1)
    assert healthchecks.told() == ["success"] * 2
