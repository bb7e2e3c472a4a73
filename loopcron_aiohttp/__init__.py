"""
loopcron in aiohttp: the scheduler lives from the app's start to its clean-up, in a task of its own.

Call `install` on the app after its other clean-up contexts were added.
"""

from __future__ import annotations

from loopcron_aiohttp._app import SCHEDULER, get_scheduler, install, scheduler_from
from loopcron_aiohttp._guard import guarded, pass_from
from loopcron_aiohttp._status import liveness, readiness, status_routes

__all__ = (
    "SCHEDULER",
    "get_scheduler",
    "guarded",
    "install",
    "liveness",
    "pass_from",
    "readiness",
    "scheduler_from",
    "status_routes",
)
