"""
What every test stands on: the event loops it runs on, the rule about skips, and the hypothesis profiles.

Fixtures that only one folder needs belong into that folder's own conftest.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
from hypothesis.internal.conjecture import engine

from tests.loops import ASYNCIO, TRIO, UVLOOP

REQUIRE_ALL = os.environ.get("LOOPCRON_REQUIRE_ALL") == "1"
"""Set by the gate, which has all that a test can ask for: there a skip is a failure."""

NOT_APPLICABLE = "not applicable:"
"""How the reason of a skip begins that is right everywhere, such as a uvloop test on Windows."""

# A case that is slow once, on a loaded machine or at trio's first import, is no failing case: no deadline anywhere.
hypothesis.settings.register_profile("dev", deadline=None)
# The same examples every time, so that the gate judges the change and not the dice; nightly is there to find new ones.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, max_examples=200)
hypothesis.settings.register_profile("nightly", deadline=None, print_blob=True, max_examples=5_000)
# The properties on the pages of the documentation: run to show that they hold as written, not to find what breaks them.
hypothesis.settings.register_profile("pages", deadline=None, derandomize=True, max_examples=20)
hypothesis.settings.load_profile("dev")
# It shrinks for up to 5 min, and the limit for a hung test would end the session before the example is shown.
engine.MAX_SHRINKING_SECONDS = 20


@pytest.fixture(
    scope="module",  # as anyio has it: module-scoped async fixtures share one event loop
    params=[
        pytest.param(ASYNCIO, id="asyncio"),
        pytest.param(UVLOOP, id="uvloop"),
        pytest.param(TRIO, id="trio"),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each async test on every loop we support; a test of one framework overrides this in its own folder."""
    backend: tuple[str, dict[str, Any]] = request.param
    name = "uvloop" if backend[1].get("use_uvloop") else backend[0]
    require_or_skip(name, f"{name} is not installed")
    return backend


def require_or_skip(needed: str | bool, reason: str) -> None:
    """
    Skip the test where *needed* is missing; in the gate that is a failure.

    Args:
        needed: The name of a module that must be installed, or whether a condition holds.
        reason: Why the test cannot run without it. If it starts with ``not applicable:`` it skips in the gate too.
    """
    present = importlib.util.find_spec(needed) is not None if isinstance(needed, str) else needed
    if not present:
        pytest.skip(reason)


def pytest_configure() -> None:
    """Keep asyncio's debug mode to what is about our code."""
    logging.getLogger("asyncio").addFilter(is_no_slow_callback)


def is_no_slow_callback(record: logging.LogRecord) -> bool:
    """
    Drop what debug mode logs about callbacks that took over 0.1 s.

    That is the machine's load, not our doing, and it would fail tests that ask for a silent log. What blocks the
    loop is found by the observers' and the shell's own tests. Debug mode is on for its other half: coroutines that
    nobody awaited and calls from a wrong thread.
    """
    return not (isinstance(record.msg, str) and record.msg.startswith("Executing "))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from looking, again and again, at the thousands of tests that stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()  # what comes from now on is all that it looks at
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test into a failure, in the gate."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module into a failure, in the gate."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure is reported as skipped too, and is none of this rule's business.
    if not REQUIRE_ALL or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(NOT_APPLICABLE):
        report.outcome = "failed"
        report.longrepr = f"LOOPCRON_REQUIRE_ALL=1 allows no skip, and this one would have been: {reason}"
