"""Both adapters under real servers, each with a real scheduler, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import uvicorn
from aiohttp import web
from starlette.applications import Starlette

import loopcron_aiohttp
import loopcron_starlette
from loopcron import FunctionJob, Run, Scheduler, cron, every

Stop = Callable[[], object]


class World:
    """A scheduler with a job that is well, one that is not, one of the night, and one that ends when it may."""

    def __init__(self, error: str) -> None:
        self.gate = threading.Event()
        self.is_allowed = True
        self.url = ""
        self.scheduler = Scheduler(observers=[])
        self._error = error
        hourly = every(hours=1)
        self.scheduler.add(FunctionJob("good", hourly, lambda run: None, run_on_start=True))
        self.scheduler.add(FunctionJob("bad", hourly, self._fail, run_on_start=True))
        self.scheduler.add(FunctionJob("gated", hourly, self._wait, timeout=timedelta(minutes=1)))
        self.scheduler.add(FunctionJob("nightly", cron("30 2 * * *", tz="Europe/Berlin"), lambda run: None))

    def authorize(self, request: object) -> str | None:
        """Let everybody in, until the test says otherwise."""
        return "ann" if self.is_allowed else None

    async def _fail(self, run: Run) -> None:
        raise RuntimeError(self._error)

    def _wait(self, run: Run) -> None:
        assert self.gate.wait(30)


@contextmanager
def running(server: str, world: World) -> Iterator[World]:
    """Serve *world* for as long as the block lasts; what is asked before the server is ready waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        world.url = f"http://127.0.0.1:{listener.getsockname()[1]}/ops/"
        serve, stop = SERVERS[server](world, listener)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield world
        finally:
            world.gate.set()
            stop()
            thread.join()


def _starlette(world: World, listener: socket.socket) -> tuple[Callable[[], object], Stop]:
    routes = loopcron_starlette.status_routes(world.scheduler, authorize=world.authorize, actions=True, path="/ops")
    app = Starlette(routes=[*routes], lifespan=loopcron_starlette.lifespan(world.scheduler))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))

    def stop() -> None:
        server.should_exit = True

    return lambda: server.run([listener]), stop


def _aiohttp(world: World, listener: socket.socket) -> tuple[Callable[[], object], Stop]:
    app = web.Application()
    routes = loopcron_aiohttp.status_routes(world.scheduler, authorize=world.authorize, actions=True, path="/ops")
    app.add_routes(routes)
    loopcron_aiohttp.install(app, world.scheduler)
    loop, stopped = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            await stopped.wait()
        finally:
            await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    return run, lambda: loop.call_soon_threadsafe(stopped.set)


SERVERS = {"uvicorn": _starlette, "aiohttp": _aiohttp}
"""How each server is made: what serves until it is told to stop, and what tells it."""
