"""``python -m loopcron ledger reset JOB``: what people may do to a ledger's rows."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from loopcron import LedgerError, SchedulerClosedError
from loopcron._cli_parts import UsageError, find_scheduler, show
from loopcron._instants import iso
from loopcron._outcomes import error_text
from loopcron.ledgers import open_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loopcron import Ledger, Row
    from loopcron._cli_parts import Commands

VARIABLE: Final = "LOOPCRON_LEDGER"
"""Where the URL is looked for: on a command line its password would show in the list of processes."""


def add_ledger(commands: Commands) -> None:
    """Add the command."""
    text = "do to a ledger's rows what only people may do"
    verbs = commands.add_parser("ledger", help=text, description=text).add_subparsers(metavar="VERB", required=True)
    text = "lower a job's watermark to now, after a clock was wrong, so that its slots can be won again"
    parser = verbs.add_parser("reset", help=text, description=text)
    parser.add_argument("jobs", metavar="JOB", nargs="+", help="the name of a job")
    parser.add_argument(
        "--scheduler", metavar="MODULE:SCHEDULER", help="whose ledger it is, such as app.jobs:scheduler"
    )
    parser.add_argument("--ledger", metavar="URL", help=f"or its URL; left out, it is taken from {VARIABLE}")
    parser.add_argument("--namespace", help="whose jobs these are; wanted with postgresql:// and redis://")
    parser.set_defaults(carry_out=_reset)


def _reset(options: argparse.Namespace) -> int:
    import asyncio

    ledger = _find(options)
    try:
        rows = asyncio.run(_ask(ledger, options.jobs))
    except LedgerError as error:
        raise UsageError(f"the ledger could not be asked: {error}") from None
    except Exception as error:  # noqa: BLE001 - a user's own ledger may raise anything
        raise UsageError(f"the ledger could not be asked: {error_text(error)}") from None
    unknown = [job for job, row in zip(options.jobs, rows, strict=True) if row is None]
    show(f"{row.job}: slots after {iso(row.watermark)} can be won" for row in rows if row is not None)
    if unknown:
        raise UsageError(f"no such job in {ledger}: {', '.join(unknown)}")
    return 0


async def _ask(ledger: Ledger, jobs: Sequence[str]) -> Sequence[Row | None]:
    try:
        return await ledger.reset(jobs)
    finally:
        await ledger.close()


def _find(options: argparse.Namespace) -> Ledger:
    if options.scheduler is not None:
        if options.ledger is not None or options.namespace is not None:
            raise UsageError("give --scheduler, or --ledger and --namespace, and not both")
        return _shared(options.scheduler)
    url = os.environ.get(VARIABLE) if options.ledger is None else options.ledger
    if not url:
        raise UsageError(f"which ledger? Give --scheduler or --ledger, or set {VARIABLE}")
    return open_ledger(url, namespace=options.namespace)


def _shared(place: str) -> Ledger:
    ledger: Ledger | None = None
    with suppress(SchedulerClosedError):  # it has one only while it runs
        ledger = find_scheduler(place).ledger
    if ledger is None or not ledger.is_shared:
        raise UsageError(f"{place} keeps its rows in the memory of its own process; restart that instead")
    return ledger
