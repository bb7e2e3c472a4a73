"""
Use the installed wheel as a stranger would: schedule a job, see it fire, import the adapters.

To be run with ``python -I`` from a directory that is not the checkout; it fails if loopcron comes from anywhere but
the environment's own site-packages.
"""

import importlib
import sysconfig
from pathlib import Path

import anyio

import loopcron
from loopcron import Run, Scheduler, every


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


if __name__ == "__main__":
    site = Path(sysconfig.get_path("purelib")).resolve()
    for name in ("loopcron", "loopcron_starlette", "loopcron_aiohttp"):
        file = importlib.import_module(name).__file__
        assert Path(file or "/").resolve().is_relative_to(site), f"{name} comes from {file}"
    for name in loopcron.__all__:
        getattr(loopcron, name)
    anyio.run(main)
