"""An app for requests to go to, on uvicorn: it writes its port, and ends when stdin does."""

from __future__ import annotations

import asyncio
import socket
import sys

import uvicorn

from tests.benchmarks.posts import make_app


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(make_app(), log_level="warning", access_log=False, lifespan="off", loop="asyncio")
        server = uvicorn.Server(config)
        print(listener.getsockname()[1], flush=True)  # it queues who connects before it accepts
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main())
