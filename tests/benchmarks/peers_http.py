"""Other HTTP clients, each with a connection of its own for every request, and httpx without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from tests.benchmarks.posts import BODY, JSON, Client, Post, check, make_app

CLOSING = {**dict(JSON), "Connection": "close"}


@asynccontextmanager
async def httpx_call(_: int) -> AsyncIterator[Post]:
    """`httpx.ASGITransport`."""
    httpx = import_module("httpx")
    transport = httpx.ASGITransport(make_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://app", trust_env=False) as client:

        async def post() -> None:
            response = await client.post("/echo", content=BODY, headers=dict(JSON))
            check(response.status_code, response.content)

        yield post


@asynccontextmanager
async def aiohttp_client(port: int) -> AsyncIterator[Post]:
    """One session, whose connector keeps nothing alive."""
    aiohttp = import_module("aiohttp")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:

        async def post() -> None:
            async with session.post(f"http://127.0.0.1:{port}/echo", data=BODY, headers=dict(JSON)) as response:
                check(response.status, await response.read())

        yield post


@asynccontextmanager
async def httpx_client(port: int) -> AsyncIterator[Post]:
    """One client, whose pool keeps nothing alive."""
    httpx = import_module("httpx")
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def post() -> None:
            response = await client.post(f"http://127.0.0.1:{port}/echo", content=BODY, headers=dict(JSON))
            check(response.status_code, response.content)

        yield post


@asynccontextmanager
async def httpcore_client(port: int) -> AsyncIterator[Post]:
    """One pool that keeps nothing alive."""
    httpcore = import_module("httpcore")
    async with httpcore.AsyncConnectionPool(max_keepalive_connections=0) as pool:

        async def post() -> None:
            response = await pool.request("POST", f"http://127.0.0.1:{port}/echo", headers=dict(JSON), content=BODY)
            check(response.status, response.content)

        yield post


@asynccontextmanager
async def niquests_client(port: int) -> AsyncIterator[Post]:
    """One session, told to close."""
    async with import_module("niquests").AsyncSession() as session:
        session.trust_env = False

        async def post() -> None:
            response = await session.post(f"http://127.0.0.1:{port}/echo", data=BODY, headers=CLOSING)
            check(response.status_code, response.content)

        yield post


@asynccontextmanager
async def urllib3_client(port: int) -> AsyncIterator[Post]:
    """One pool, told to close, on a thread."""
    pool = import_module("urllib3").HTTPConnectionPool("127.0.0.1", port)

    def post() -> None:
        response = pool.request("POST", "/echo", body=BODY, headers=CLOSING, retries=False)
        check(response.status, response.data)

    async for threaded in _on_a_thread(post):
        yield threaded


@asynccontextmanager
async def http_client(port: int) -> AsyncIterator[Post]:
    """``http.client``, on a thread."""
    from http.client import HTTPConnection

    def post() -> None:
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/echo", BODY, CLOSING)
        response = connection.getresponse()
        check(response.status, response.read())
        connection.close()

    async for threaded in _on_a_thread(post):
        yield threaded


async def _on_a_thread(post: Any) -> AsyncIterator[Post]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:

        async def threaded() -> None:
            await loop.run_in_executor(thread, post)

        yield threaded


CLIENTS: dict[str, dict[str, Client]] = {
    "in_process": {"httpx": httpx_call},
    "loopback": {
        "aiohttp": aiohttp_client,
        "http.client": http_client,
        "urllib3": urllib3_client,
        "httpcore": httpcore_client,
        "httpx": httpx_client,
        "niquests": niquests_client,
    },
}
