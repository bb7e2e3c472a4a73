"""
Under real servers: bad jobs hurt neither the good one nor the server, and every shutdown ends in time.

All servers live all their lives at once, in processes of their own; what each test does is judge one of them.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from tests.adapters.apps.jobs import DRAIN, FIRST, ON_PURPOSE
from tests.adapters.servers import GRACE, SERVERS, Life, observe
from tests.conftest import NOT_APPLICABLE, require_or_skip

OTHER_MODULES = {"uvicorn-uvloop": "uvloop", "hypercorn-trio": "trio", "gunicorn-uvicorn": "uvicorn_worker"}
NEEDS = {server: tuple(filter(None, (*server.split("-"), OTHER_MODULES.get(server)))) for server in SERVERS}
"""What must be installed for each server."""
NO_MODULES = {"asyncio", "uvloop", "trio", "run_app"}

LATE_SECONDS = 3.0
"""How much longer than promised an end may take, on a machine that is busy with all the other servers."""

BAD_JOBS = {
    "raises": {"Failed"},
    "exits": {"Failed"},
    "leaks": {"Failed"},
    "hangs": {"TimedOut"},
    "blocks": {"TimedOut"},
    "stranger": {"Failed"},
    "locked": {"Busy", "Succeeded"},
}
"""Each job of the scenario ``faults`` with the outcomes that it must have; the good one is none of them."""


def modules(server: str) -> list[str]:
    """Return the modules that *server* needs."""
    return [module for module in NEEDS[server] if module not in NO_MODULES or module == OTHER_MODULES.get(server)]


def successes_after_all_faults(life: Life) -> int:
    """Return how often the good job succeeded after every bad one had gone wrong, most of them three times."""
    settled = life.events("Settled")
    for position in range(len(settled)):
        outcomes = [line["job"] for line in settled[:position] if line["outcome"] in BAD_JOBS.get(line["job"], ())]
        if all(outcomes.count(job) >= (1 if job == "blocks" else 3) for job in BAD_JOBS):
            return sum(line["job"] == "good" and line["outcome"] == "Succeeded" for line in settled[position:])
    return 0


def has_met_all_faults(life: Life) -> bool:
    """Say whether every bad job went wrong, and the good one went on for several slots."""
    return successes_after_all_faults(life) >= 3


def is_calling(life: Life) -> bool:
    """Say whether a loopback request is in flight, in an endpoint that takes longer than the test."""
    return bool(life.events("slow"))


def is_working(life: Life) -> bool:
    """Say whether a function job is in flight, and others have fired."""
    started = {line["job"] for line in life.events("RunStarted")}
    return "works" in started and all(map(life.outcomes, (*FIRST, "good")))


SCENARIOS: dict[str, Callable[[str], partial[Life]]] = {
    "faults": lambda server: partial(observe, server, "faults", enough=has_met_all_faults),
    "calls": lambda server: partial(observe, server, "calls", enough=is_calling),
    "works": lambda server: partial(observe, server, "works", enough=is_working, signals=2),
}


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Future[Life]]]:
    """Start all servers that are installed, with every scenario; a few at a time."""
    folder = tmp_path_factory.mktemp("servers")
    installed = [server for server in SERVERS if all(map(importlib.util.find_spec, modules(server)))]
    # More at a time would measure how the machine bears it, not how the servers end.
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield {
            (server, scenario): pool.submit(make(server), folder=folder)
            for scenario, make in SCENARIOS.items()
            for server in installed
        }


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    """Name a server that is installed."""
    require_or_skip(sys.platform != "win32", f"{NOT_APPLICABLE} servers are told to stop by SIGTERM")
    name: str = request.param
    for module in modules(name):
        require_or_skip(module, f"{module} is not installed")
    return name


@pytest.fixture
def faults(server: str, lives: dict[tuple[str, str], Future[Life]]) -> Life:
    """Return the life in which most jobs go wrong, ended by one SIGTERM while a function job is in flight."""
    return lives[server, "faults"].result()


@pytest.fixture
def calls(server: str, lives: dict[tuple[str, str], Future[Life]]) -> Life:
    """Return the life that is ended while a loopback request, and nothing else, is in flight."""
    return lives[server, "calls"].result()


@pytest.fixture
def works(server: str, lives: dict[tuple[str, str], Future[Life]]) -> Life:
    """Return the life that is ended by two SIGTERMs while a function job is in flight."""
    return lives[server, "works"].result()


# --- jobs that go wrong


def test_good_job_keeps_firing(faults: Life) -> None:
    """While other jobs raise, exit, leak, hang and block, the good one succeeds again and again and never fails."""
    outcomes = faults.outcomes("good")
    assert successes_after_all_faults(faults) >= 3
    # On a machine too busy to serve a slot within its period, the next one is skipped: told, and no failure.
    assert set(outcomes) <= {"Succeeded", "Skipped", "Missed", "Interrupted"}


def test_server_keeps_answering(faults: Life) -> None:
    """Whatever jobs do, the server answers every request with 200."""
    assert len(faults.statuses) > 5
    assert set(faults.statuses) == {200}


@pytest.mark.parametrize("job", BAD_JOBS)
def test_bad_job_has_its_outcomes(job: str, faults: Life) -> None:
    """What a job does wrong is its outcome, in every slot that it ran."""
    not_run = {"Skipped", "Missed", "Interrupted"}
    assert set(faults.outcomes(job)) - not_run == BAD_JOBS[job]


def test_stray_cancellation_and_exit_are_told(faults: Life) -> None:
    """A cancellation that leaked, a ``sys.exit`` and a wrong token are told as what they are."""
    texts = {line["job"]: line["text"] for line in faults.events("Settled") if line["outcome"] == "Failed"}
    assert "cancel" in texts["leaks"].lower()
    assert f"SystemExit: {ON_PURPOSE}" in texts["exits"]
    assert "HTTP 401" in texts["stranger"]


def test_every_slot_has_one_outcome(faults: Life) -> None:
    """No slot of any job has two outcomes."""
    slots = [(line["job"], line["slot"]) for line in faults.events("Settled")]
    assert len(slots) == len(set(slots))


def test_failure_reaches_stderr(faults: Life) -> None:
    """In an app that configured no logging, a failing job's WARNING is on stderr, with its traceback."""
    assert " failed in " in faults.stderr
    assert f"RuntimeError: {ON_PURPOSE}\n" in faults.stderr


# --- the end


def test_function_job_in_flight_is_interrupted(faults: Life) -> None:
    """SIGTERM ends a function job once the drain is over, as interrupted, and the process soon after."""
    assert faults.outcomes("works") == ["Interrupted"]
    assert faults.stop_seconds < DRAIN.total_seconds() + LATE_SECONDS


def test_life_ends_clean(faults: Life) -> None:
    """With ``-X dev -W error`` a life with failing jobs ends as the server ends its own, and nothing is left open."""
    # uvicorn repeats the signal to itself once all is done.
    assert faults.exit_code == (-signal.SIGTERM if faults.server.startswith("uvicorn") else 0)
    assert faults.stray_noise() == []
    assert [line["event"] for line in faults.log][-1] == "SchedulerStopped"


def test_loopback_run_in_flight_is_interrupted(calls: Life) -> None:
    """A loopback run in flight ends as interrupted, whatever the server does to its request when it drains."""
    assert calls.outcomes("calls") == ["Interrupted"]


def test_loopback_run_does_not_hold_up_the_end(calls: Life) -> None:
    """With a loopback run in flight the process ends within the server's own time for requests, and two seconds."""
    assert calls.stop_seconds < GRACE + 2
    assert set(calls.statuses) == {200}


def test_first_run_waits_for_the_listener(works: Life) -> None:
    """Loopback runs that are due at the start wait until their server listens, however many they are."""
    assert {job: works.outcomes(job) for job in FIRST} == {job: ["Succeeded"] for job in FIRST}


def test_second_signal_changes_nothing(works: Life) -> None:
    """SIGTERM twice: the run in flight is interrupted all the same, the scheduler stops, and the process ends."""
    assert works.outcomes("works") == ["Interrupted"]
    assert works.stop_seconds < DRAIN.total_seconds() + LATE_SECONDS
    assert [line["event"] for line in works.log][-1] == "SchedulerStopped"
    assert works.stray_noise() == []
