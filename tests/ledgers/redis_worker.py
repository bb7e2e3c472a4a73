"""A worker of its own process that claims many slots, one after the other, and prints those that it won."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import anyio

from loopcron._ledger import Claim, Won
from loopcron.ledgers.redis import RedisLedger


async def main(url: str, namespace: str, first: int, count: int) -> None:
    """Claim all the slots once a line comes on the standard input."""
    ledger = RedisLedger(url, namespace=namespace, timeout=timedelta(seconds=20))
    await ledger.peek(["job"])
    print("ready", flush=True)
    sys.stdin.readline()
    for slot in range(first, first + count):
        (answer,) = await ledger.claim([Claim("job", slot, f"{os.getpid()}@{slot}")])
        if isinstance(answer, Won):
            print(slot, answer.fence)
    await ledger.close()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
