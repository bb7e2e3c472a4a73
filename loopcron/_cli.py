"""
The command line: ``python -m loopcron COMMAND``.

A command is a function that adds its own parser and names what carries it out; `_COMMANDS` lists them. What goes
wrong is one line on stderr and the exit status 2. Only here is logging configured: INFO and above, to stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from loopcron import LoopcronError, Scheduler
from loopcron._cli_ledger import add_ledger
from loopcron._cli_next import add_next
from loopcron._cli_parts import Parser, find_scheduler
from loopcron._cli_simulate import add_simulate

if TYPE_CHECKING:
    import asyncio

    from loopcron._cli_parts import Commands

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_logger: Final = logging.getLogger("loopcron")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Carry out one command.

    Args:
        arguments: Without the program's name; those of the process if left out.

    Returns:
        The exit status: 0, or 2 for what was reported on stderr.
    """
    parser = Parser(prog="python -m loopcron", description="An in-process scheduler for async Python web apps.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for add in _COMMANDS:
        add(commands)
    try:
        options = parser.parse_args(arguments)
        logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stderr)
        carry_out: Callable[[argparse.Namespace], int] = options.carry_out
        return carry_out(options)
    except LoopcronError as error:
        print(f"loopcron: {error}", file=sys.stderr)
        return 2


def _add_dispatch(commands: Commands) -> None:
    text = "run Dispatch's jobs beside its server, as the DISPATCH_* environment variables say"
    commands.add_parser("dispatch", help=text, description=text).set_defaults(carry_out=_dispatch)


def _dispatch(options: argparse.Namespace) -> int:  # noqa: ARG001 - the environment says it all
    from loopcron import dispatch

    config = dispatch.config_from_env(os.environ)
    if config.idle_because is not None:
        _logger.info("nothing to do: %s", config.idle_because)
        return 0
    return _serve(dispatch.scheduler(config))


def _add_run(commands: Commands) -> None:
    text = "run a scheduler without a web app, until SIGINT or SIGTERM"
    parser = commands.add_parser("run", help=text, description=text)
    parser.add_argument("scheduler", metavar="MODULE:SCHEDULER", help="where it is, such as app.jobs:scheduler")
    parser.set_defaults(carry_out=_run)


def _run(options: argparse.Namespace) -> int:
    return _serve(find_scheduler(options.scheduler))


_COMMANDS: Final = (_add_dispatch, add_ledger, add_next, _add_run, add_simulate)


def _serve(scheduler: Scheduler) -> int:
    import asyncio

    asyncio.run(_until_signalled(scheduler))
    return 0


async def _until_signalled(scheduler: Scheduler) -> None:
    """Run *scheduler* until it is told to end: the first signal lets its runs end, a second one cuts them."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[None]] = []  # owned, or the event loop might drop them half-way

    def stop() -> None:
        stops.append(loop.create_task(scheduler.stop(drain=timedelta(0) if stops else None)))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await scheduler.run()
