"""
Every state of health under a real server: driven into it by a real fault, and read as an operator reads it.

One server is unwell in all ways at once, a scheduler for each; the last test blocks its event loop.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopcron import JobState, SchedulerState
from tests.adapters.servers import PATIENCE, Process, wait_until
from tests.conftest import require_or_skip
from tests.faults.unwell_app import BLOCKED_SECONDS, FLAG

COMMAND = (
    *(sys.executable, "-X", "dev", "-W", "error", "-m", "uvicorn", "tests.faults.unwell_app:app"),
    *("--loop=asyncio", "--port={port}", "--no-access-log"),
)


class Server:
    """A server that runs, and what it answers."""

    def __init__(self, process: Process, flag: Path) -> None:
        self.process = process
        self.flag = flag

    def ask(self, path: str, method: str = "GET", *, patience: float = PATIENCE) -> tuple[int, Any]:
        """Return the status and what the answer holds."""
        connection = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=patience)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            text = response.read().decode()
            is_json = response.headers["content-type"].startswith("application/json")
            return response.status, json.loads(text) if is_json else text
        finally:
            connection.close()

    def page(self, scheduler: str) -> dict[str, Any]:
        """Return what the status page of a scheduler is made of."""
        status, content = self.ask(f"/{scheduler}/loopcron/status.json")
        assert status == 200
        assert isinstance(content, dict)
        return content

    def job(self, scheduler: str, name: str) -> dict[str, Any]:
        """Return what the page tells of a job."""
        (job,) = [job for job in self.page(scheduler)["jobs"] if job["name"] == name]
        assert isinstance(job, dict)
        return job

    def wait_for(self, scheduler: str, name: str, state: JobState) -> dict[str, Any]:
        """Wait until a job is in this state, and return what the page tells of it."""
        wait_until(lambda: self.job(scheduler, name)["state"] == state, f"{name} of {scheduler} is {state}")
        return self.job(scheduler, name)

    def probes(self, scheduler: str) -> tuple[int, int, int]:
        """Return what liveness, readiness and strict readiness answer."""
        live, ready, strict = (self.ask(f"/{scheduler}/{probe}")[0] for probe in ("live", "ready", "strict"))
        return live, ready, strict

    def probed(self, scheduler: str, name: str) -> dict[str, Any]:
        """Return what strict readiness tells of a job."""
        (job,) = [job for job in self.ask(f"/{scheduler}/strict")[1]["jobs"] if job["job"] == name]
        assert isinstance(job, dict)
        return job


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server; it ends in time and without a complaint, in whatever state it is."""
    require_or_skip("uvicorn", "uvicorn is not installed")
    folder = tmp_path_factory.mktemp("unwell")
    flag = folder / "flag"
    process = Process("uvicorn", "unwell", folder, command=COMMAND, environment={FLAG: str(flag)})
    try:
        wait_until(process.is_up, "the server answers")
        yield Server(process, flag)
        flag.touch()
        process.signal()
        wait_until(process.has_ended, "the server ends")
    finally:
        life = process.end()
    assert life.stray_noise() == []


# --- states of a job


def test_ok(server: Server) -> None:
    """A job that succeeds is ok, with its last success; the scheduler is live and ready for it."""
    wait_until(lambda: server.job("jobs", "ok")["last"] is not None, "the job has run")
    job = server.wait_for("jobs", "ok", JobState.OK)
    assert (job["why"], job["since"], job["consecutive_failures"]) == ("", None, 0)
    wait_until(lambda: server.job("jobs", "ok")["last_succeeded"] is not None, "the job has succeeded")
    assert server.probes("jobs")[:2] == (200, 200)


def test_failing(server: Server) -> None:
    """A wrong token makes every run fail with 401: strict readiness is red and says why, liveness is not."""
    wait_until(lambda: server.job("jobs", "failing")["consecutive_failures"] >= 2, "two runs have failed")
    job = server.wait_for("jobs", "failing", JobState.FAILING)
    assert "runs in a row failed; the last one: endpoint: HTTP 401" in job["why"]
    assert job["since"] == min(entry["ended"] for entry in job["history"] if entry["status"] == 401)
    assert job["last_succeeded"] is None
    assert server.probes("jobs") == (200, 200, 503)
    assert "HTTP 401" in server.probed("jobs", "failing")["why"]


def test_busy_too_long(server: Server) -> None:
    """A lock that nobody gives back answers 409 for ever, which shows after three runs."""
    job = server.wait_for("jobs", "busy", JobState.BUSY_TOO_LONG)
    assert job["why"].endswith("runs in a row found the lock taken")
    assert job["since"] is not None
    assert server.probes("jobs") == (200, 200, 503)


def test_parked(server: Server) -> None:
    """A schedule that raises parks its job, and the page quotes the error."""
    job = server.wait_for("jobs", "parked", JobState.PARKED)
    assert (job["why"], job["since"] is None) == ("ValueError: on purpose", False)
    assert server.probes("jobs") == (200, 200, 503)


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.ENDED])
def test_paused_and_ended(server: Server, state: JobState) -> None:
    """A job that somebody has paused, or that has had its last slot, is fine and says since when."""
    job = server.wait_for("jobs", state, state)
    assert job["since"] is not None
    assert job["why"] in ("paused", "its schedule names no further slot")
    assert server.probed("jobs", state)["state"] == state


def test_stuck(server: Server) -> None:
    """A job that swallows its cancellation shows two seconds after its timeout, and liveness asks for a restart."""
    job = server.wait_for("stuck", "swallow", JobState.STUCK)
    assert job["why"] == "a run swallowed its cancellation"
    assert job["since"] is not None
    assert server.probes("stuck") == (503, 200, 503)


@pytest.mark.parametrize("fault", ["ledger", "dead"])
def test_overdue(server: Server, fault: str) -> None:
    """Where a claim is never answered, or the loop has died, liveness is red two periods after the slot."""
    job = server.wait_for(fault, "nothing", JobState.OVERDUE)
    assert job["why"].endswith("has no outcome after two periods")
    assert job["since"] is not None
    assert server.probes(fault) == (503, 200, 503)
    assert server.page(fault)["scheduler"]["state"] == SchedulerState.RUNNING


# --- states of the scheduler


def test_running(server: Server) -> None:
    """A scheduler that runs says so, whatever its jobs do."""
    told = server.page("jobs")["scheduler"]
    assert (told["state"], told["why"], told["live"], told["ok"]) == (SchedulerState.RUNNING, "", True, False)
    assert server.ask("/jobs/live")[1]["state"] == "running"


def test_stopped(server: Server) -> None:
    """A scheduler that has ended while the server goes on is neither live nor ready, and its jobs are stopped."""
    status, told = server.ask("/stopped/live")
    assert (status, told["status"], told["state"]) == (503, "failing", SchedulerState.STOPPED)
    assert (told["why"], told["since"] is None) == ("the scheduler has stopped", False)
    assert server.probes("stopped") == (503, 503, 503)
    assert server.wait_for("stopped", "nothing", JobState.STOPPED)["since"] == told["since"]


def test_disabled(server: Server) -> None:
    """A scheduler that is disabled is live and ready, and says that it serves nothing."""
    assert server.probes("disabled") == (200, 200, 200)
    told = server.page("disabled")["scheduler"]
    assert (told["state"], told["why"]) == (SchedulerState.DISABLED, "the scheduler was entered with enabled=False")
    assert server.job("disabled", "nothing")["state"] == JobState.STOPPED


def test_every_state_of_a_job_is_driven_into() -> None:
    """Each state has its test above; the scheduler's own state silent takes 90 s and is told by the watchdog."""
    names = {name for name in globals() if name.startswith("test_")}
    assert [state for state in JobState if not any(state in name for name in names)] == []


# --- the last one


def test_blocked(server: Server) -> None:
    """A blocked server cannot answer: the watchdog says where it stands, once, and once that it ticks again."""
    assert server.ask("/block", "POST")[0] == 200
    wait_until(lambda: " blocks < " in server.process.read().stderr, "the watchdog barks")
    with pytest.raises(TimeoutError):
        server.ask("/blocked/live", patience=0.2)
    server.flag.touch()
    wait_until(lambda: "loop ticks again" in server.process.read().stderr, "the watchdog is content")
    wait_until(lambda: "something blocks the event loop" in server.process.read().stderr, "the loop says so itself")
    text = server.process.read().stderr
    # On a busy machine it may bark at other times too.
    (bark,) = [line for line in text.splitlines() if "has not ticked for" in line and " blocks < " in line]
    assert "unwell_app.py:" in bark.partition("its thread stands at ")[2].partition(" < ")[0]
    assert " blocks" in bark.partition(" < ")[0]
    assert server.probes("blocked") == (200, 200, 200)
    loop = server.page("blocked")["scheduler"]["loop"]
    assert BLOCKED_SECONDS / 2 <= loop["worst_lag_seconds"] <= PATIENCE
