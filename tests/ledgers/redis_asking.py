"""How the tests of the Redis ledger ask it, and a server that always says the same."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from uuid import uuid4

from loopcron._clock import SystemClock
from loopcron._errors import LedgerError
from loopcron._instants import to_ms
from loopcron._ledger import Answer, Claim, Row, Won
from loopcron.ledgers.redis import RedisLedger
from tests.conftest import require_or_skip

LEASE = 60_000
"""A lease that does not end while a test runs."""
IN_NO_TIME = timedelta(milliseconds=400)
"""The limit of a call that is to run into it."""
AMPLE = timedelta(seconds=20)
"""The limit of a call that is not."""
SECRET = "s3cr3t/with+signs=and?more"
QUOTED = "s3cr3t%2Fwith%2Bsigns%3Dand%3Fmore"
"""The secret as it stands in a URL."""


@asynccontextmanager
async def ledger_at(
    url: str, *, namespace: str | None = None, timeout: timedelta = AMPLE
) -> AsyncIterator[RedisLedger]:
    """Give a ledger in a namespace of its own, and close it."""
    require_or_skip("redis", "redis is not installed")
    ledger = RedisLedger(url, namespace=namespace or uuid4().hex, timeout=timeout)
    try:
        yield ledger
    finally:
        await ledger.close()


def now_ms() -> int:
    """Return this machine's now, which is the server's too."""
    return to_ms(SystemClock().now())


async def ask(ledger: RedisLedger, slot: int, claim_id: str, job: str = "job") -> Answer:
    """Claim one slot."""
    (answer,) = await ledger.claim([Claim(job, slot, claim_id, LEASE)])
    return answer


async def win(ledger: RedisLedger, slot: int, claim_id: str = "x", job: str = "job") -> Won:
    """Claim one slot, which has to be won."""
    answer = await ask(ledger, slot, claim_id, job)
    assert isinstance(answer, Won), answer
    return answer


async def answered(ledger: RedisLedger) -> Sequence[Row | None]:
    """Return the row of the job, from the first call that the server answers."""
    for _ in range(20):
        try:
            return await ledger.peek(["job"])
        except LedgerError:
            continue
    return await ledger.peek(["job"])


@contextmanager
def parrot(reply: str) -> Iterator[int]:
    """Serve on a port, and answer every command with *reply*."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                for _ in range(2 * int(line[1:])):
                    self.rfile.readline()
                self.wfile.write(f"{reply}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
