"""
Use the installed wheel as a stranger would: schedule a job, see it fire, read its status page, import the adapters.

To be run with ``python -I`` from a directory that is not the checkout; it fails if loopcron comes from anywhere but
the environment's own site-packages.
"""

import importlib
import sysconfig
from pathlib import Path

import anyio

import loopcron
from loopcron import Run, Scheduler, every
from loopcron.status import StatusRequest, StatusRoutes


async def main() -> None:
    """Wait for one fire of a job that is due four times a second."""
    fired = anyio.Event()
    scheduler = Scheduler()

    @scheduler.job(every(milliseconds=250))
    async def beat(run: Run) -> None:
        print(f"{run.job} ran for {run.slot:%H:%M:%S.%f}")
        fired.set()

    async with scheduler:
        with anyio.fail_after(10):
            await fired.wait()
        routes = StatusRoutes(scheduler, authorize=lambda _: True)
        page, told = [await routes.answer(StatusRequest("GET", path)) for path in ("/", "/status.json")]
        # The page is made of files that are no Python.
        assert page.status == told.status == 200
        assert b"<script nonce=" in page.body
        assert b'"beat"' in told.body


if __name__ == "__main__":
    site = Path(sysconfig.get_path("purelib")).resolve()
    for name in ("loopcron", "loopcron_starlette", "loopcron_aiohttp"):
        file = importlib.import_module(name).__file__
        assert Path(file or "/").resolve().is_relative_to(site), f"{name} comes from {file}"
    for name in loopcron.__all__:
        getattr(loopcron, name)
    anyio.run(main)
