"""
One process that uses a ledger in PostgreSQL, for the tests that need several; see ``main`` for what it can do.

Run as ``python -m tests.ledgers.postgres_worker WORK``; the URL is in ``LEDGER_URL``, and what it finds goes to stdout.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import anyio

from loopcron._ledger import Claim
from loopcron.ledgers.postgres import PostgresLedger

SECONDS = 30


def made() -> PostgresLedger:
    """Return the ledger."""
    return PostgresLedger(os.environ["LEDGER_URL"], namespace="web", timeout=timedelta(seconds=SECONDS))


def race() -> None:
    """Wait for a line on stdin, then claim the first slot of a job that nobody knows, in a table that is not there."""
    ledger = made()
    print("ready", flush=True)
    sys.stdin.readline()
    anyio.run(claim_first, ledger)


async def claim_first(ledger: PostgresLedger) -> None:
    """Claim the slot that all others claim, too."""
    (answer,) = await ledger.claim([Claim("job", 1, f"{os.getpid()}", 60_000)])
    print(type(answer).__name__)
    await ledger.close()


async def work(ledger: PostgresLedger, job: str) -> None:
    """Claim a slot of a job that nobody knows."""
    (answer,) = await ledger.claim([Claim(job, 1, job, None)])
    # The line in one piece, because parent and child write into one pipe, and unbuffered its end is a write of its own.
    sys.stdout.write(f"{type(answer).__name__}\n")
    sys.stdout.flush()


def fork() -> None:
    """Use the ledger, fork, use and close it in the child, and use it in the parent on the connection it had."""
    ledger = made()
    anyio.run(work, ledger, "before")
    had = ledger._store._connection
    child = os.fork()
    anyio.run(work, ledger, "parent" if child else "child")
    if child:
        print("child ended with", os.waitpid(child, 0)[1])
        anyio.run(work, ledger, "after")
        print("same connection", ledger._store._connection is had and had is not None and not had.closed)
    anyio.run(ledger.close)


def main(what: str) -> None:
    """Do *what*: ``race`` or ``fork``."""
    {"race": race, "fork": fork}[what]()


if __name__ == "__main__":
    main(sys.argv[1])
