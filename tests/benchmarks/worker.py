"""
One measurement in a process of its own: ``python -m tests.benchmarks.worker <task as JSON>``.

It writes one line of JSON: the figures, or how long a lead it would need. Whatever else happens is a traceback and an
exit that is not 0: a broken benchmark.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

from tests.benchmarks.contenders import Contender
from tests.benchmarks.gauges import Figures, LateStartError, Others

SCHEDULERS = {
    "call_at": "contenders:CallAt",
    "loopcron": "contenders:Loopcron",
    "task_sleep": "peers:TaskSleep",
    "apscheduler3": "peers:APScheduler3",
    "apscheduler4": "peers:APScheduler4",
    "aiocron": "peers:Aiocron",
    "scheduler": "peers:DigonScheduler",
    "schedule": "peers:Schedule",
    "taskiq": "peers:Taskiq",
    "fastapi_crons": "peers:FastapiCrons",
    "fastapi_crons, no state": "peers:FastapiCronsNoState",
}


def named(place: str) -> Any:
    """Return what stands there: only the modules that a measurement needs are imported."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"tests.benchmarks.{module}"), name)


def scheduler_class(contender: str) -> type[Contender]:
    """Return what it is used by."""
    return named(SCHEDULERS[contender])  # type: ignore[no-any-return]


async def of_scheduler(measure: str, contender: str, options: dict[str, Any]) -> Figures:
    """Measure a scheduler."""
    subject = scheduler_class(contender)()
    await subject.prepare()
    figures: Figures = await named(measure)(subject, **options)
    return figures


async def of_history(_: str, options: dict[str, Any]) -> Figures:
    return await named("standing:measure_history")(**options)  # type: ignore[no-any-return]


async def of_requests(client: str, options: dict[str, Any]) -> Figures:
    return await named("posts:measure_requests")(client, **options)  # type: ignore[no-any-return]


async def of_claims(contender: str, options: dict[str, Any]) -> Figures:
    if contender == "loopcron":
        return await named("claims:measure_claims")(options["url"])  # type: ignore[no-any-return]
    thread = contender == "bare statement, from a thread"
    return await named("claims:measure_bare")(**options, thread=thread)  # type: ignore[no-any-return]


async def of_lines(engine: str, _: dict[str, Any]) -> Figures:
    return named("lines:measure_lines")(engine)  # type: ignore[no-any-return]


async def of_import(name: str, _: dict[str, Any]) -> Figures:
    return named("imports:measure_import")(name)  # type: ignore[no-any-return]


async def of_simulation(_: str, __: dict[str, Any]) -> Figures:
    return named("pasts:measure_simulation")()  # type: ignore[no-any-return]


async def of_overdue(_: str, __: dict[str, Any]) -> Figures:
    return await named("pasts:measure_overdue")()  # type: ignore[no-any-return]


def scheduler(place: str) -> Callable[[str, dict[str, Any]], Coroutine[Any, Any, Figures]]:
    return lambda contender, options: of_scheduler(place, contender, options)


MEASURES: dict[str, Callable[[str, dict[str, Any]], Coroutine[Any, Any, Figures]]] = {
    "burst": scheduler("bursts:measure_burst"),
    "lateness": scheduler("lateness:measure_lateness"),
    "idleness": scheduler("standing:measure_idleness"),
    "adding": scheduler("standing:measure_adding"),
    "memory": scheduler("standing:measure_memory"),
    "history": of_history,
    "lines": of_lines,
    "import": of_import,
    "requests": of_requests,
    "claims": of_claims,
    "simulation": of_simulation,
    "overdue": of_overdue,
}


async def measured(measure: str, contender: str, options: dict[str, Any]) -> Figures:
    """Return the figures, and how many cores others kept busy meanwhile, unless those tell it better."""
    loop_errors: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(str(context)))
    others = Others()
    figures = await MEASURES[measure](contender, options)
    assert not loop_errors, loop_errors[:3]
    return {"others_busy": others.busy(), **figures}


def main() -> None:
    task = json.loads(sys.argv[1])
    with asyncio.Runner() as runner:
        try:
            answer: dict[str, Any] = {"figures": runner.run(measured(**task))}
        except LateStartError as late:
            answer = {"lead": late.lead}
        print(json.dumps(answer), flush=True)
        os._exit(0)  # an orderly end of 100,000 tasks is not measured, and takes a while


if __name__ == "__main__":
    main()
