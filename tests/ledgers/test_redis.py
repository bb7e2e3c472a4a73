"""The Redis ledger by the contract, side by side with the memory ledger, and in many processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from subprocess import PIPE
from uuid import uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcron._ledger import (
    Claim,
    Finish,
    Held,
    Lost,
    Pause,
    Paused,
    Register,
    Renew,
    Row,
    TooEarly,
    Unavailable,
    Won,
)
from loopcron._outcomes import Failed, Outcome, Succeeded
from loopcron._protocols import Ledger
from loopcron.ledgers.memory import MemoryLedger
from loopcron.ledgers.redis import RedisLedger
from loopcron.testing import LedgerContract
from tests.ledgers.one_loop import on_uvloop
from tests.ledgers.redis_asking import AMPLE, LEASE, now_ms
from tests.ledgers.redis_server import own_redis, redis_server, redis_url

__all__ = ("own_redis", "redis_server", "redis_url")

anyio_backend = on_uvloop

ROOT = Path(__file__).resolve().parents[2]
HOUR = 3_600_000


class TestContract(LedgerContract):
    """The contract of every ledger, each test in a namespace of its own."""

    @pytest.fixture(autouse=True)
    def store(self, redis_url: str) -> None:
        self.url = redis_url
        self.test = uuid4().hex[:8]

    def make_ledger(self, namespace: str) -> RedisLedger:
        return RedisLedger(self.url, namespace=f"{self.test}-{namespace}", timeout=AMPLE)

    async def wipe(self) -> bool:
        import redis

        with redis.Redis.from_url(self.url) as client:
            for key in client.scan_iter(f"loopcron:{{{self.test}-*"):
                client.delete(key)
        return True


# --- side by side with the memory ledger

Step = Callable[[Ledger, int], Awaitable[object]]
"""Makes a call of a ledger, with slots counted from an instant."""
JOBS = ("a", "b")


class Told:
    """What a ledger answers, without what its clock and its fences have in it."""

    def __init__(self, start: int) -> None:
        self.start = start

    def mark(self, watermark: int) -> int | str:
        """Return the watermark from the start of the test, or that it is about now."""
        return "now" if abs(watermark - self.start) < LEASE else watermark - self.start

    def row(self, row: Row) -> tuple[object, ...]:
        """Return what of a row does not depend on when it was asked for."""
        lease = None if row.lease is None else row.lease > 0
        instants = (row.ended is not None, row.succeeded is not None)
        kept = row._replace(watermark=0, fence=0, lease=None, ended=None, succeeded=None)
        return (kept, self.mark(row.watermark), row.fence > 0, lease, instants)

    def all(self, answer: object) -> object:
        """Return an answer of any call so."""
        match answer:
            case Row():
                return self.row(answer)
            case Won(_, slot, by):
                return ("won", None if slot is None else self.mark(slot), by)
            case Lost(row):
                return ("lost", self.row(row))
            case Held() | TooEarly():
                return type(answer).__name__
            case Paused() | None | bool():
                return answer
            case Sequence():
                return [self.all(each) for each in answer]
            case _:
                raise AssertionError(answer)


async def fence_of(ledger: Ledger, job: str, *, is_current: bool) -> int:
    """Return the fence of the job's row, or one that is no longer anybody's."""
    (row,) = await ledger.peek([job])
    return 1 if row is None or not is_current else row.fence


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """Draw calls whose answers depend on what came before and not on when they are made."""
    slots = st.integers(-HOUR, 8 - HOUR) | st.just(HOUR)
    leases: st.SearchStrategy[int | None] = st.sampled_from((None, LEASE, 0))
    outcomes: st.SearchStrategy[Outcome] = st.sampled_from((Succeeded(200), Failed("endpoint", "no", 503)))

    def step() -> Step:
        job, other = draw(st.sampled_from(JOBS)), draw(st.sampled_from((True, True, False)))
        kind = draw(st.sampled_from(("register", "claim", "claim", "claim", "renew", "finish", "pause", "reset")))
        match kind:
            case "register":
                mark = draw(st.none() | slots)
                text = draw(st.sampled_from(("", "every 5 min", "täglich")))
                return lambda ledger, start: ledger.register(
                    [Register(job, 0, None if mark is None else start + mark, schedule=text)]
                )
            case "claim":
                claims = [
                    Claim(each, draw(slots), draw(st.sampled_from(("x", "y", "z"))), draw(leases))
                    for each in (JOBS if other else (job,))
                ]
                return lambda ledger, start: ledger.claim([one._replace(slot=start + one.slot) for one in claims])
            case "renew":
                return partial(_renew, job=job, is_current=other, lease=draw(st.sampled_from((LEASE, 0))))
            case "finish":
                return partial(_finish, job=job, is_current=other, outcome=draw(outcomes))
            case "pause":
                return lambda ledger, _: ledger.pause([Pause(job, 0, other)])
            case _:
                return lambda ledger, _: ledger.reset(JOBS)

    return [step() for _ in range(draw(st.integers(1, 25)))]


async def _renew(ledger: Ledger, _: int, *, job: str, is_current: bool, lease: int) -> object:
    fence = await fence_of(ledger, job, is_current=is_current)
    return await ledger.renew([Renew(job, 0, fence, lease)])


async def _finish(ledger: Ledger, _: int, *, job: str, is_current: bool, outcome: Outcome) -> object:
    fence = await fence_of(ledger, job, is_current=is_current)
    return await ledger.finish([Finish(job, 0, fence, outcome)])


@given(steps())
def test_answers_as_the_memory_ledger_does(redis_url: str, calls: list[Step]) -> None:
    """Asked the same in the same order, the two answer alike and hold the same rows, and no fence ever falls."""
    start = now_ms()
    told = Told(start)

    async def live() -> None:
        memory = MemoryLedger()
        shared = RedisLedger(redis_url, namespace=uuid4().hex, timeout=AMPLE)
        fences = dict.fromkeys(JOBS, 0)
        for call in calls:
            assert told.all(await call(shared, start)) == told.all(await call(memory, start))
            rows = await shared.peek(JOBS)
            assert told.all(rows) == told.all(await memory.peek(JOBS))
            for row in rows:
                if row is not None:
                    assert row.fence >= fences[row.job]
                    fences[row.job] = row.fence
        await shared.close()

    anyio.run(live)


def test_slots_are_won_once_by_processes(redis_url: str) -> None:
    """Of 8 processes that claim each of 200 slots exactly one wins each, and none leaves a warning."""
    first, count = now_ms() - 10_000, 200
    command = (sys.executable, "-W", "error", "-m", "tests.ledgers.redis_worker", redis_url, uuid4().hex)
    workers = [
        subprocess.Popen((*command, str(first), str(count)), cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
        for _ in range(8)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        outputs = _let_go(workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    won = [(int(slot), int(fence)) for output in outputs for slot, fence in map(str.split, output.splitlines())]
    won.sort()
    assert [slot for slot, _ in won] == list(range(first, first + count))
    fences = [fence for _, fence in won]
    assert fences == sorted(set(fences))


def _let_go(workers: list[subprocess.Popen[str]]) -> list[str]:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = []
    for worker in workers:
        output, errors = worker.communicate()
        assert (worker.returncode, errors) == (0, "")
        outputs.append(output)
    return outputs


def test_event_loops_may_follow_each_other(redis_url: str) -> None:
    """One ledger serves several event loops, one after the other, and after it was closed."""
    ledger = RedisLedger(redis_url, namespace=uuid4().hex, timeout=AMPLE)
    slot = now_ms()

    async def claim() -> object:
        (answer,) = await ledger.claim([Claim("job", slot, "x", LEASE)])
        return answer

    first = anyio.run(claim)
    assert isinstance(first, Won)
    assert anyio.run(claim, backend="trio") == first
    anyio.run(ledger.close)
    assert anyio.run(claim) == first
    anyio.run(ledger.close, backend="trio")
    assert not isinstance(first, Unavailable)
