"""What an import costs a process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from tests.benchmarks.gauges import Figures

STATEMENTS = {
    "asyncio": "import asyncio",
    "loopcron": "import loopcron",
    "loopcron, its names": "from loopcron import FunctionJob, HttpJob, Policy, Scheduler, cron, env_token, every",
    "apscheduler3": "import apscheduler.schedulers.asyncio",
    "apscheduler4": "import apscheduler",
    "aiocron": "import aiocron",
    "scheduler": "import scheduler.asyncio",
    "schedule": "import schedule",
    "taskiq": "import taskiq",
    "fastapi_crons": "import fastapi_crons",
    "rocketry": "import rocketry",
}
REPETITIONS = 5


def measure_import(name: str) -> Figures:
    """Return its CPU time in ms: that of a process which does nothing else, less that of one which does nothing."""
    statement = STATEMENTS[name]
    _cpu_ms(statement)  # compiled
    pairs = [(_cpu_ms(statement), _cpu_ms("pass")) for _ in range(REPETITIONS)]
    return {"cpu_ms": statistics.median(one for one, _ in pairs) - statistics.median(two for _, two in pairs)}


def _cpu_ms(statement: str) -> float:
    process = subprocess.Popen([sys.executable, "-c", statement])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ImportError(statement)
    return (usage.ru_utime + usage.ru_stime) * 1000
