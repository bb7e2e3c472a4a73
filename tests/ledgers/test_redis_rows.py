"""The Redis ledger on servers that lose rows, hold what is no row, or have no memory left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import uuid4

import pytest

from loopcron._errors import LedgerError
from loopcron._ledger import Claim, Finish, Lost, Pause, Register, Renew, Row, Unavailable, Won
from loopcron._outcomes import Succeeded
from tests.ledgers.one_loop import on_uvloop
from tests.ledgers.redis_asking import LEASE, answered, ask, ledger_at, now_ms, win
from tests.ledgers.redis_server import KEPT, UNKEPT, RedisServer, own_redis, redis_server

__all__ = ("own_redis", "redis_server")

anyio_backend = on_uvloop

NewServer = Callable[..., RedisServer]


# --- what the server keeps


async def test_rows_outlive_a_crash(own_redis: NewServer) -> None:
    """After ``kill -9`` and a restart on an append-only file the row is there, and the claim has its answer again."""
    server = own_redis(*KEPT)
    async with ledger_at(server.url) as ledger:
        won = await win(ledger, slot := now_ms())
        server.restart()
        assert isinstance(await ask(ledger, slot, "y"), Lost)
        assert await win(ledger, slot) == won


async def test_fence_rises_over_the_loss_of_all_rows(own_redis: NewServer) -> None:
    """Once the rows were flushed a slot can be won again, with a fence above the one before."""
    server = own_redis()
    async with ledger_at(server.url) as ledger:
        won = await win(ledger, slot := now_ms())
        server.do("FLUSHALL")
        assert (await win(ledger, slot, "y")).fence > won.fence


async def test_forgotten_script_is_told_again(own_redis: NewServer) -> None:
    """A server that has forgotten the script is told it again, and every claim of the batch is answered."""
    server = own_redis()
    async with ledger_at(server.url) as ledger:
        slot = now_ms()
        for number in range(2):
            server.do("SCRIPT", "FLUSH")
            answers = await ledger.claim([Claim(f"job-{n}", slot + number, "x") for n in range(3)])
            assert all(isinstance(answer, Won) for answer in answers)


@pytest.mark.parametrize(
    ("options", "warnings"),
    [
        (KEPT, []),
        (("appendonly no", "save 900 1"), []),
        (UNKEPT, ["loses all rows when it restarts"]),
        ((*KEPT, "maxmemory 100mb"), []),
        ((*KEPT, "maxmemory 100mb", "maxmemory-policy volatile-lru"), []),
        ((*KEPT, "maxmemory-policy allkeys-lru"), []),
        ((*KEPT, "maxmemory 100mb", "maxmemory-policy allkeys-lru"), ["drops rows when its memory is full"]),
    ],
)
async def test_server_that_may_lose_rows_is_reported_once(
    own_redis: NewServer, caplog: pytest.LogCaptureFixture, options: tuple[str, ...], warnings: list[str]
) -> None:
    """An evicting server and one without persistence are a WARNING that names the remedy, once per ledger."""
    server = own_redis(*options)
    async with ledger_at(server.url) as ledger:
        for _ in range(2):
            await answered(ledger)
            server.do("CLIENT", "KILL", "TYPE", "normal")
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * len(warnings)
    for record, text in zip(caplog.records, warnings, strict=True):
        assert record.name == "loopcron"
        assert record.getMessage().startswith(f"redis at 127.0.0.1:{server.port}/0 {text}")
        assert ": set its " in record.msg


async def test_broken_log_handler_ends_no_call(own_redis: NewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that raises costs the warning and no answer."""
    monkeypatch.setattr(logging.getLogger("loopcron"), "warning", None)
    async with ledger_at(own_redis(*UNKEPT).url) as ledger:
        assert await ledger.peek(["job"]) == [None]


# --- rows that are none


async def test_key_of_another_kind_concerns_its_job_alone(redis_server: RedisServer) -> None:
    """A key that holds something else is Unavailable to its claim and False to a run, and all other jobs are served."""
    namespace = uuid4().hex
    redis_server.do("SET", f"loopcron:{{{namespace}:bad}}", "a text")
    await _judge_a_bad_row(redis_server, namespace, "no row of loopcron")


@pytest.mark.parametrize("field", ["watermark", "fence"])
async def test_spoilt_row_concerns_its_job_alone(redis_server: RedisServer, field: str) -> None:
    """So it is with a row in which no number stands where one has to."""
    namespace = uuid4().hex
    fields = {"version": "1", "watermark": "1", "fence": "1"} | {field: "much"}
    redis_server.do("HSET", f"loopcron:{{{namespace}:bad}}", *(part for pair in fields.items() for part in pair))
    await _judge_a_bad_row(redis_server, namespace, "no row of loopcron")


async def test_row_of_another_release_is_left_alone(redis_server: RedisServer) -> None:
    """So it is with a row whose layout is of another release, and it stays as it was."""
    namespace = uuid4().hex
    key = f"loopcron:{{{namespace}:bad}}"
    redis_server.do("HSET", key, "version", "2", "watermark", "1")
    await _judge_a_bad_row(redis_server, namespace, "layout '2'")
    assert redis_server.do("HGETALL", key) == {b"version": b"2", b"watermark": b"1"}


async def _judge_a_bad_row(server: RedisServer, namespace: str, words: str) -> None:
    async with ledger_at(server.url, namespace=namespace) as ledger:
        slot = now_ms()
        jobs = ("one", "bad", "two")
        one, bad, two = await ledger.claim([Claim(job, slot, "x", LEASE) for job in jobs])
        assert isinstance(one, Won)
        assert isinstance(two, Won)
        assert isinstance(bad, Unavailable)
        assert words in bad.error
        fences = {"one": one.fence, "bad": 1, "two": two.fence}
        assert await ledger.renew([Renew(job, slot, fences[job], LEASE) for job in jobs]) == [True, False, True]
        finishes = [Finish(job, slot, fences[job], Succeeded()) for job in jobs]
        assert await ledger.finish(finishes) == [True, False, True]
        registered = await ledger.register([Register(job, 0, None, schedule="new") for job in jobs])
        assert [type(answer) for answer in registered] == [Row, Unavailable, Row]
        for call in (
            lambda: ledger.pause([Pause(job, 0, True) for job in jobs]),
            lambda: ledger.peek(jobs),
            lambda: ledger.reset(jobs),
        ):
            with pytest.raises(LedgerError, match=r"\(job bad\)") as caught:
                await call()
            assert words in str(caught.value)
        row, other = await ledger.peek(["one", "two"])
        assert row is not None
        assert other is not None
        assert (row.schedule, row.paused, other.schedule, other.paused) == ("new", True, "new", True)


async def test_server_without_memory_loses_nothing(own_redis: NewServer) -> None:
    """Out of memory a claim is Unavailable and what only reads is answered; with memory again all is as it was."""
    server = own_redis()
    async with ledger_at(server.url) as ledger:
        won = await win(ledger, slot := now_ms())
        server.do("CONFIG", "SET", "maxmemory", 1)
        again, lost, new = await ledger.claim(
            [Claim("job", slot, "x"), Claim("job", slot, "y", LEASE), Claim("new", slot, "x", LEASE)]
        )
        assert (again, type(lost), type(new)) == (won, Lost, Unavailable)
        assert isinstance(new, Unavailable)
        assert "has no memory left" in new.error
        with pytest.raises(LedgerError, match="has no memory left"):
            await ledger.renew([Renew("job", slot, won.fence, LEASE)])
        with pytest.raises(LedgerError, match="has no memory left"):
            await ledger.finish([Finish("job", slot, won.fence, Succeeded())])
        [registered] = await ledger.register([Register("new", 0, None)])
        assert isinstance(registered, Unavailable)
        server.do("CONFIG", "SET", "maxmemory", 0)
        assert await ledger.finish([Finish("job", slot, won.fence, Succeeded())]) == [True]
        await win(ledger, slot, "x", "new")
