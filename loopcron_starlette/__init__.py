"""
loopcron in Starlette and FastAPI: the scheduler lives in the app's lifespan, as its innermost part.

Pass ``lifespan(scheduler)`` to the app, or call `install` on an app that is made already.
"""

from __future__ import annotations

from loopcron_starlette._asgi import ASGITransport
from loopcron_starlette._guard import guarded, pass_from, slot_guard
from loopcron_starlette._lifespan import get_scheduler, install, lifespan, scheduler_from
from loopcron_starlette._status import liveness, readiness, status_routes

__all__ = (
    "ASGITransport",
    "get_scheduler",
    "guarded",
    "install",
    "lifespan",
    "liveness",
    "pass_from",
    "readiness",
    "scheduler_from",
    "slot_guard",
    "status_routes",
)
