"""
An endpoint whose work happens once: its rows and its slot's outcome are committed together, or neither is.

    DATABASE_URL=postgresql://... uvicorn --app-dir docs/examples --factory once:make_app --workers 4
"""

from __future__ import annotations

import os

from psycopg import AsyncConnection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from loopcron import FencedError, HttpJob, Scheduler, Succeeded, cron
from loopcron.ledgers.postgres import finish_in_async
from loopcron_starlette import lifespan


def make_app(url: str | None = None) -> Starlette:
    """Return the app; its table is ``create table invoice (slot text)``."""
    database = os.environ["DATABASE_URL"] if url is None else url
    scheduler = Scheduler(ledger=database, namespace="billing")
    scheduler.add(HttpJob("invoices", cron("0 3 * * *", tz="Europe/Berlin"), "/api/invoices"))

    async def invoices(request: Request) -> JSONResponse:
        slot, fence = request.headers["loopcron-slot"], int(request.headers["loopcron-fence"])
        try:
            async with await AsyncConnection.connect(database) as connection, connection.transaction():
                await connection.execute("insert into invoice values (%s)", [slot])
                if fence:  # 0: a manual run, which is no slot
                    outcome = Succeeded()
                    await finish_in_async(connection, namespace="billing", job="invoices", fence=fence, outcome=outcome)
        except FencedError as error:
            return JSONResponse({"error": str(error)}, 412)
        return JSONResponse({"done": slot})

    return Starlette(routes=[Route("/api/invoices", invoices, methods=["POST"])], lifespan=lifespan(scheduler))
