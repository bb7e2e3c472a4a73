"""The JSON document of the status page: its shape, its order and paging, and what hostile texts become in it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from loopcron import (
    Busy,
    Failed,
    FunctionJob,
    Interrupted,
    JobState,
    LeaseLost,
    LeaseSnapshot,
    MemoryLedger,
    Missed,
    Outcome,
    Run,
    Scheduler,
    Settled,
    SharedOutcome,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
    cron,
    every,
)
from loopcron.status import StatusRequest, StatusRoutes
from loopcron.status._document import SEVERITY, job_document, local_text
from loopcron.status._history import entry
from loopcron.testing import FakeClock, hang

SECRET = "hunter2-hunter2-hunter2"
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\n\x1b[2J" + "x" * 1000
INSTANT = "2031-05-07T11:13:17.000Z"

NUMBER = (int, float, type(None))
TEXT = (str, type(None))
ENTRY: dict[str, Any] = {
    **dict.fromkeys(("slot", "outcome", "kind", "detail", "reason", "ended", "worker"), str),
    **dict.fromkeys(("first", "started"), TEXT),
    **dict.fromkeys(("count", "status", "duration_seconds", "late_seconds"), NUMBER),
    **dict.fromkeys(("attempt", "failures"), int),
}
JOB: dict[str, Any] = {
    **dict.fromkeys(("name", "state", "why"), str),
    **dict.fromkeys(("since", "last_started", "last_succeeded"), TEXT),
    "schedule": {"text": str, "words": str, "zone": str},
    "paused": bool,
    "next": {"slot": str, "due": TEXT, "local": str, "skipped": bool},
    "upcoming": [{"slot": str, "local": str, "marks": [str]}],
    "next_day": [str],
    "next_day_is_cut": bool,
    "last": ENTRY,
    "consecutive_failures": int,
    "timeout_seconds": NUMBER,
    "running": [
        {"slot": str, "attempt": int, "reason": str, "started": str, "deadline": TEXT, "key": str},
    ],
    "lease": {"worker": str, "slot": str, "fence": int, "until": TEXT, "ours": bool},
    "shared_outcome": {"outcome": str, "ended": TEXT, "succeeded": TEXT, "worker": str},
    "history": [ENTRY],
}
DOCUMENT: dict[str, Any] = {
    "version": int,
    "at": str,
    "scheduler": {
        **dict.fromkeys(("state", "why", "worker"), str),
        **dict.fromkeys(("since", "started"), TEXT),
        **dict.fromkeys(("live", "ok"), bool),
        "pid": int,
        "workers": [str],
        "ledger": {"text": str, "shared": bool, "reachable": bool, "why": str, "since": TEXT, "failures": int},
        "loop": dict.fromkeys(("silent_seconds", "lag_seconds", "worst_lag_seconds"), NUMBER),
        "clock": {"steps": int, "stepped_at": TEXT, "stepped_seconds": NUMBER},
        "observers": [{"name": str, "disabled": bool, "problem": str, "dropped": int}],
    },
    "actions": bool,
    "counts": {state.value: int for state in JobState},
    "total": int,
    "offset": int,
    "limit": int,
    "jobs": [JOB],
}
"""The document as docs/status.md tells it; null may stand for any object in it."""


def assert_shape(value: Any, shape: Any, where: str = "") -> None:
    """Assert that *value* has these keys and no others, with values of these types."""
    if isinstance(shape, Mapping):
        if value is not None:
            assert set(value) == set(shape), where
            for key, part in shape.items():
                assert_shape(value[key], part, f"{where}.{key}")
    elif isinstance(shape, list):
        for item in value:
            assert_shape(item, shape[0], f"{where}[]")
    else:
        assert isinstance(value, shape), f"{where} is {value!r}"


class Hostile:
    """A schedule whose text breaks pages."""

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the next minute."""
        return instant.replace(second=0, microsecond=0) + timedelta(minutes=1)

    def latest_until(self, instant: datetime) -> datetime | None:
        """Return the last minute."""
        return instant.replace(second=0, microsecond=0)

    def __str__(self) -> str:
        return HOSTILE


async def read(scheduler: Scheduler, query: str = "") -> dict[str, Any]:
    """Return the document, checked against its shape."""
    routes = StatusRoutes(scheduler, authorize=lambda _: True, actions=True)
    answer = await routes.answer(StatusRequest("GET", "/status.json", query))
    assert (answer.status, dict(answer.headers)["Content-Type"]) == (200, "application/json")
    assert answer.body.isascii()
    assert b"<" not in answer.body
    told: dict[str, Any] = json.loads(answer.body)
    assert_shape(told, DOCUMENT)
    return told


def job_of(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what the document tells of one job."""
    (job,) = [job for job in document["jobs"] if job["name"] == name]
    assert isinstance(job, dict)
    return job


# --- the whole


async def test_document_of_a_life() -> None:
    """A scheduler with jobs that fail, run, wait and are paused is told as it is, worst first."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock)

    async def fails(run: Run) -> None:
        """Fail, with a secret."""
        raise ValueError(f"no answer from redis://:{SECRET}@store {HOSTILE}")

    async def hangs(run: Run) -> None:
        """Run on."""
        await hang()

    async def works(run: Run) -> Outcome:
        """Succeed."""
        return Succeeded(204)

    scheduler.add(FunctionJob("works", cron("30 11 * * *", "Europe/Berlin"), works))
    scheduler.add(FunctionJob("fails", every(minutes=1), fails))
    scheduler.add(FunctionJob("hangs", every(minutes=1), hangs, timeout=timedelta(hours=1)))
    scheduler.add(FunctionJob("rests", Hostile(), works))
    scheduler.pause("rests")
    async with scheduler:
        await clock.advance(timedelta(minutes=2))
        scheduler.trigger("works")
        scheduler.skip_next("works")
        await clock.advance(timedelta(seconds=1))
        told = await read(scheduler)
    assert [job["name"] for job in told["jobs"]] == ["fails", "rests", "hangs", "works"]
    assert [job["state"] for job in told["jobs"]] == ["failing", "paused", "ok", "ok"]
    assert {state: count for state, count in told["counts"].items() if count} == {"failing": 1, "paused": 1, "ok": 2}
    assert (told["at"], told["scheduler"]["started"]) == ("2031-05-07T11:15:18.000Z", INSTANT)
    assert (told["scheduler"]["state"], told["scheduler"]["live"], told["scheduler"]["ok"]) == ("running", True, False)
    assert told["scheduler"]["workers"] == [told["scheduler"]["worker"]]
    assert told["scheduler"]["observers"][0]["name"] == "LoggingObserver"

    fails_told = job_of(told, "fails")
    assert fails_told["consecutive_failures"] == len(fails_told["history"]) == 2
    assert fails_told["last"] == fails_told["history"][-1]
    assert fails_told["last"]["detail"].startswith("job: ValueError: no answer from redis://…@store </script>")
    assert "\\u202e\\n\\x1b[2J" in fails_told["last"]["detail"]
    assert len(fails_told["last"]["detail"]) <= 300
    assert len(fails_told["why"]) <= 300
    assert SECRET not in json.dumps(told)
    assert (len(fails_told["next_day"]), fails_told["next_day_is_cut"]) == (100, True)

    (run,) = job_of(told, "hangs")["running"]
    assert (run["slot"], run["attempt"], run["reason"]) == ("2031-05-07T11:14:00.000Z", 1, "schedule")
    assert (run["deadline"], run["key"]) == ("2031-05-07T12:14:00.000Z", "hangs@2031-05-07T11:14:00.000Z")
    assert job_of(told, "hangs")["timeout_seconds"] == 3600

    works_told = job_of(told, "works")
    assert works_told["schedule"]["zone"] == "Europe/Berlin"
    assert works_told["next"] == {
        "slot": "2031-05-08T09:30:00.000Z",
        "due": "2031-05-08T09:30:00.000Z",
        "local": "Thu 2031-05-08 11:30 +02:00 CEST",
        "skipped": True,
    }
    assert works_told["next_day"] == ["2031-05-08T09:30:00.000Z"]
    assert [slot["local"][:14] for slot in works_told["upcoming"]] == [
        *("Thu 2031-05-08", "Fri 2031-05-09", "Sat 2031-05-10", "Sun 2031-05-11", "Mon 2031-05-12"),
    ]
    assert (works_told["last"]["status"], works_told["last"]["kind"], works_told["last"]["reason"]) == (
        204,
        "ok",
        "manual",
    )

    rests = job_of(told, "rests")
    assert rests["paused"]
    assert rests["schedule"]["text"].startswith("</script><img src=x onerror=alert(1)>\\u202e\\n\\x1b[2J")
    assert len(rests["schedule"]["text"]) <= 300


async def test_document_before_the_first_start() -> None:
    """A scheduler that never ran is told as stopped, and so are its jobs; nothing is known of them."""
    scheduler = Scheduler(clock=FakeClock())
    scheduler.add(FunctionJob("job", every(minutes=1), lambda run: None))
    told = await read(scheduler)
    assert (told["scheduler"]["state"], told["scheduler"]["started"]) == ("stopped", None)
    (job,) = told["jobs"]
    assert (job["state"], job["next"], job["last"], job["lease"], job["history"]) == ("stopped", None, None, None, [])


@pytest.mark.parametrize("url", ["postgresql://app:{}@db/app", "redis://:{}@store:6379/0"])
async def test_password_of_a_ledger_stays_out(url: str) -> None:
    """Of the ledger the document tells where it is, and not its password."""
    told = await read(Scheduler(ledger=url.format(SECRET), namespace="app"))
    assert told["scheduler"]["ledger"]["shared"]
    assert SECRET not in json.dumps(told)


async def test_marks_of_the_clocks_change() -> None:
    """A slot beside a change of the clocks bears what the change does to it."""
    scheduler = Scheduler(clock=FakeClock(datetime(2026, 3, 28, 12, tzinfo=UTC)))
    scheduler.add(FunctionJob("job", cron("30 2 * * *", "Europe/Berlin"), lambda run: None))
    (job,) = (await read(scheduler))["jobs"]
    first = job["upcoming"][0]
    assert first["local"] == "Sun 2026-03-29 03:00 +02:00 CEST"
    assert first["marks"]


# --- which jobs


def many(count: int, clock: FakeClock) -> Scheduler:
    """Return a scheduler with that many jobs, every third of them failing."""
    scheduler = Scheduler(clock=clock)

    async def work(run: Run) -> Outcome:
        """Fail now and then."""
        return Failed("endpoint", "HTTP 503 " + "x" * 300, 503) if int(run.job[4:]) % 3 == 0 else Succeeded()

    for number in range(count):
        scheduler.add(FunctionJob(f"Job-{number:05}", every(minutes=1), work))
    return scheduler


async def test_jobs_are_sorted_filtered_and_paged() -> None:
    """The worst come first, then it is by name; a text selects by name, and a page is cut out of what is left."""
    clock = FakeClock()
    scheduler = many(30, clock)
    async with scheduler:
        await clock.advance(timedelta(minutes=1))
        names = [job["name"] for job in (await read(scheduler))["jobs"]]
        assert names == sorted(names, key=lambda name: (int(name[4:]) % 3 != 0, name))
        page = await read(scheduler, "offset=3&limit=4")
        assert [job["name"] for job in page["jobs"]] == names[3:7]
        assert (page["total"], page["offset"], page["limit"]) == (30, 3, 4)
        found = await read(scheduler, "q=JOB-0001&limit=3")
        assert [job["name"] for job in found["jobs"]] == ["Job-00012", "Job-00015", "Job-00018"]
        assert (found["total"], sum(found["counts"].values())) == (10, 30)
        assert (await read(scheduler, "offset=30"))["jobs"] == []


def test_every_state_has_its_severity() -> None:
    """No state of a job is left out of the order, which the page relies on."""
    assert sorted(SEVERITY) == sorted(JobState)


def test_ten_thousand_jobs() -> None:
    """Of ten thousand jobs a page is told, bounded in size, in bounded time."""
    clock = FakeClock()
    scheduler = many(10_000, clock)
    started = time.perf_counter()
    told = anyio.run(read, scheduler)
    seconds = time.perf_counter() - started
    assert (len(told["jobs"]), told["total"]) == (200, 10_000)
    assert len(json.dumps(told)) < 2_000_000
    assert seconds < 20  # half a second on an idle machine


async def test_a_job_that_is_removed_while_it_is_told() -> None:
    """A job that goes between the snapshot and its slots is told without slots, and breaks nothing."""
    scheduler = Scheduler(clock=FakeClock())

    class Leaving(Hostile):
        """Removes the other job when it is asked for slots."""

        def next_after(self, instant: datetime) -> datetime | None:
            """Remove it, and name none."""
            if len(scheduler.jobs) == 2:
                scheduler.remove("second")
            return None

    scheduler.add(FunctionJob("first", Leaving(), lambda run: None))
    scheduler.add(FunctionJob("second", every(minutes=1), lambda run: None))
    told = await read(scheduler)
    assert [(job["name"], job["upcoming"]) for job in told["jobs"]] == [("first", []), ("second", [])]


async def test_a_job_that_is_added_while_it_is_told() -> None:
    """A job of which health tells already, and the snapshot did not yet, is told the next time."""
    scheduler = Scheduler(clock=FakeClock())
    scheduler.add(FunctionJob("first", every(minutes=1), lambda run: None))

    async def add() -> None:
        """Add another one."""
        scheduler.add(FunctionJob("second", every(minutes=1), lambda run: None))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add)
        told = await read(scheduler)
    assert ([job["name"] for job in told["jobs"]], told["total"]) == (["first"], 1)
    assert [job["name"] for job in (await read(scheduler))["jobs"]] == ["first", "second"]


# --- one job


async def test_a_lease_and_an_outcome_of_another_worker() -> None:
    """Who holds the lease and what another worker's run came to are told, printable."""
    scheduler = Scheduler(clock=FakeClock(), ledger=MemoryLedger())
    scheduler.add(FunctionJob("job", every(minutes=1), lambda run: None))
    at = datetime(2031, 5, 7, 11, 13, 17, tzinfo=UTC)
    snapshot = replace(
        scheduler.snapshot()["job"],
        lease=LeaseSnapshot("web-2\n:7", at, 3, at, ours=False),
        shared_outcome=SharedOutcome("Failed endpoint 503", at, None, HOSTILE),
        timeout_seconds=float("inf"),
        schedule=f"api?token={SECRET} \n",
    )
    told = job_document(snapshot, scheduler.health()["job"], (), ())
    assert_shape(told, JOB)
    assert told["lease"] == {"worker": "web-2\\n:7", "slot": INSTANT, "fence": 3, "until": INSTANT, "ours": False}
    assert (told["shared_outcome"]["outcome"], told["shared_outcome"]["succeeded"]) == ("Failed endpoint 503", None)
    assert "\n" not in told["shared_outcome"]["worker"]
    assert (told["timeout_seconds"], told["schedule"]["text"]) == (None, "api?token=… \\n")


async def test_next_slot_of_a_schedule_that_tells_no_more() -> None:
    """A next slot beside which none is known to come is told in UTC."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock)
    scheduler.add(FunctionJob("job", cron("0 12 * * *", "Europe/Berlin"), lambda run: None))
    async with scheduler:
        await scheduler.wait_idle()
        told = job_document(scheduler.snapshot()["job"], scheduler.health()["job"], (), ())
    assert told["next"]["local"] == "Thu 2031-05-08 10:00 +00:00 UTC"


OUTCOMES: list[tuple[Any, str, str, int | None]] = [
    (Succeeded(), "ok", "", None),
    (Succeeded(204), "ok", "HTTP 204", 204),
    (Busy(), "expected", "somebody else holds the lock", 409),
    (Failed("endpoint", "HTTP 503", 503), "failed", "endpoint: HTTP 503", 503),
    (Failed("job", f"token={SECRET}"), "failed", "job: token=…", None),
    (TimedOut(1.5), "failed", "cut after 1.5 s", None),
    (LeaseLost(), "failed", "its lease may be over, and another worker may run it", None),
    (Skipped("overlap"), "skipped", "another run of the job was alive", None),
    (Missed(0, 60_000, None), "skipped", "passed unserved, and is not caught up", None),
    (Interrupted("replace"), "expected", "a newer run took its place", None),
    (Taken(), "taken", "by web-2:7", None),
    # A job may return any of these itself, and put into it what it likes.
    (Succeeded("<b>"), "ok", "HTTP <b>", None),  # type: ignore[arg-type]
    (Skipped("<b>\n"), "skipped", "<b>\\n", None),  # type: ignore[arg-type]
    (Skipped([], first="x", count={}), "skipped", "[]", None),  # type: ignore[arg-type]
    (Interrupted(None), "expected", "None", None),  # type: ignore[arg-type]
    (TimedOut("long"), "failed", "cut after long s", None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("outcome", "kind", "detail", "status"), OUTCOMES, ids=lambda value: str(value)[:30])
def test_entries_of_the_history(outcome: Outcome, kind: str, detail: str, status: int | None) -> None:
    """Each outcome is of one of five kinds, and is told in words that hold no secret and break no line."""
    told = entry(Settled("job", 1_000, outcome, "schedule", 1, 1_500, 4_000, 2, worker="web-2:7"))
    assert_shape(told, ENTRY)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["kind"], told["status"], told["outcome"]) == (kind, status, type(outcome).__name__)
    assert told["detail"] == detail
    assert (told["duration_seconds"], told["late_seconds"], told["worker"]) == (2.5, 0.5, "web-2:7")


def test_ranges_and_slots_that_never_ran() -> None:
    """A range tells its first slot and how many there are; what never ran has no duration; a Taken may have no name."""
    told = entry(Settled("job", 120_000, Missed(60_000, 120_000, 2), "schedule", 0, None, 130_000, 0))
    assert (told["first"], told["count"]) == ("1970-01-01T00:01:00.000Z", 2)
    assert (told["started"], told["duration_seconds"], told["late_seconds"]) == (None, None, None)
    assert entry(Settled("job", 0, Taken(), "schedule", 0, None, 0, 0))["detail"] == "by another worker"


@pytest.mark.parametrize(
    "outcome",
    [
        Succeeded(10**6000),
        Skipped("overlap", 10**30, 10**30, 10**6000),
        Missed(-(10**15), -(10**15), 3),
        TimedOut(float("nan")),
    ],
)
async def test_numbers_of_a_job_that_are_none(outcome: Outcome) -> None:
    """A job that makes its outcome of numbers that nobody can show takes the page of the others away from nobody."""
    clock = FakeClock()
    scheduler = Scheduler(clock=clock)
    scheduler.add(FunctionJob("odd", every(minutes=1), lambda run: outcome))
    async with scheduler:
        await clock.advance(timedelta(minutes=1))
        last = job_of(await read(scheduler), "odd")["last"]
    assert last["status"] is None
    assert last["first"] is None


@pytest.mark.parametrize(
    ("local", "text"),
    [
        (datetime(2026, 3, 29, 3, 0, tzinfo=ZoneInfo("Europe/Berlin")), "Sun 2026-03-29 03:00 +02:00 CEST"),
        (datetime(2026, 3, 30, 3, 0, 9, tzinfo=UTC), "Mon 2026-03-30 03:00:09 +00:00 UTC"),
        (datetime(2026, 1, 1, tzinfo=ZoneInfo("America/Sao_Paulo")), "Thu 2026-01-01 00:00 -03:00"),
        (
            datetime(2026, 1, 1, 0, 0, 0, 5000, timezone(timedelta(hours=1), "<b>")),
            "Thu 2026-01-01 00:00:00.005 +01:00",
        ),
    ],
    ids=["DST", "seconds", "letterless", "hostile"],
)
def test_local_times_as_people_read_them(local: datetime, text: str) -> None:
    """A local time has its weekday, its offset, and its zone's letters if these are letters."""
    assert local_text(local) == text
