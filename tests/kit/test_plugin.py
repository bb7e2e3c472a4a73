"""The pytest plugin, in a pytest of its own: what it gives, and what it costs who does not ask for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

from tests.conftest import require_or_skip

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "loopcron.testing._plugin"

TESTS = """
from datetime import timedelta
import pytest
from loopcron import HttpJob, Scheduler, every
from loopcron.testing import FakeClock

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def test_fixtures(scheduler, fake_clock, recording_transport, recording_observer):
    assert isinstance(scheduler, Scheduler)
    assert isinstance(fake_clock, FakeClock)
    scheduler.add(HttpJob("sync", every(hours=1), "/api/sync"))
    async with scheduler:
        await fake_clock.advance(timedelta(hours=2))
    assert [request.path for request in recording_transport.requests] == ["/api/sync"] * 2
    assert len(recording_observer.settled("sync")) == 2

def test_every_test_has_its_own(scheduler, recording_transport):
    assert scheduler.jobs == ()
    assert recording_transport.requests == []
"""

LIGHT = """
import sys

def test_nothing_was_loaded(request):
    assert request.config.pluginmanager.has_plugin(PLUGIN)
    loaded = {name for name in sys.modules if name.split(".")[0] in ("loopcron", "hypothesis", "anyio", "h11")}
    assert loaded <= {"loopcron", "loopcron._lazy", "loopcron.testing", PLUGIN}, loaded
"""


def pytest_of_its_own(folder: Path, tests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run *tests* in a fresh interpreter, in which the plugin is loaded by name, whether installed or not."""
    (folder / "test_own.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:loopcron", "-p", PLUGIN, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env=environment, timeout=60)


def test_fixtures(tmp_path: Path) -> None:
    """A test gets a scheduler on a fake clock, with a transport and an observer that record, all of its own."""
    done = pytest_of_its_own(tmp_path, TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_example_of_the_documentation(tmp_path: Path) -> None:
    """The test that the page on testing shows passes."""
    page = (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"```python\n(import pytest\n.*?)```", page, re.DOTALL)
    [example] = [block for block in blocks if "fake_clock" in block]
    done = pytest_of_its_own(tmp_path, example)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_fixtures_are_described(tmp_path: Path) -> None:
    """The list of fixtures that pytest prints says what each one is."""
    done = pytest_of_its_own(tmp_path, "", "--fixtures")
    for name in ("fake_clock", "scheduler", "recording_transport", "recording_observer"):
        assert re.search(rf"^{name} -- .*\n    An? |^{name} -- .*\n    The ", done.stdout, re.MULTILINE), name


def test_loading_it_is_light(tmp_path: Path) -> None:
    """A suite that does not use the plugin loads nothing but the plugin itself for it, nor anyio or hypothesis."""
    quiet = ("-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
    done = pytest_of_its_own(tmp_path, LIGHT.replace("PLUGIN", repr(PLUGIN)), *quiet)
    assert done.returncode == 0, done.stdout + done.stderr


def test_entry_point_is_declared() -> None:
    """The package declares the plugin under the name loopcron."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"loopcron": PLUGIN}


def test_entry_point_is_installed() -> None:
    """Where loopcron is installed as it is now, pytest finds the plugin by itself."""
    found = [point for point in entry_points(group="pytest11") if point.name == "loopcron"]
    require_or_skip(bool(found), "loopcron was installed before it had a plugin; install it again")
    assert [point.value for point in found] == [PLUGIN]
