"""A deployment that leaves the scheduler off pays nothing for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

HTTP_LIBRARIES = {"h11", "anyio", "ssl", "asyncio", "trio", "http", "starlette", "aiohttp"}

SCRIPT = """
import json, os, sys, threading
from loopcron import dispatch
config = dispatch.config_from_env({})
assert dispatch.jobs(config) == ()
dispatch.scheduler(config)
descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
sockets = [name for name in descriptors if os.path.realpath("/proc/self/fd/" + name).count("socket:")]
print(json.dumps([sorted({name.partition(".")[0] for name in sys.modules}), threading.active_count(), sockets]))
"""


def test_off_loads_and_starts_nothing() -> None:
    """Importing and building the configuration when it is off loads no HTTP library and starts nothing."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    modules, threads, sockets = json.loads(done.stdout)
    assert set(modules) & HTTP_LIBRARIES == set()
    assert (threads, sockets) == (1, [])
    assert done.stderr == ""
