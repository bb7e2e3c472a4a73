"""The Redis ledger when the server is away, silent, or in trouble."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import anyio
import pytest

from loopcron._errors import LedgerError
from loopcron._ledger import Lost, Renew, Unavailable, Won
from tests.ledgers.one_loop import on_uvloop
from tests.ledgers.proxy import Fault, Proxy
from tests.ledgers.redis_asking import IN_NO_TIME, LEASE, QUOTED, SECRET, answered, ask, ledger_at, now_ms, parrot, win
from tests.ledgers.redis_server import KEPT, RedisServer, free_port, own_redis, redis_server, wait_until

__all__ = ("own_redis", "redis_server")

anyio_backend = on_uvloop

NewServer = Callable[..., RedisServer]


# --- the way to the server


async def test_server_may_come_later(own_redis: NewServer) -> None:
    """A server that is not there is a LedgerError of each call, and once it is there the ledger works."""
    server = own_redis()
    server.kill()
    async with ledger_at(server.url) as ledger:
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"has no connection: .*refused"):
                await ledger.peek(["job"])
        server.start()
        await win(ledger, now_ms())


@pytest.mark.parametrize("fault", ["blackhole", "drop_replies"])
async def test_silent_server_costs_one_call(redis_server: RedisServer, fault: Fault) -> None:
    """Where no answer comes the call ends with a LedgerError, and the next one finds the server again."""
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        async with ledger_at(f"redis://127.0.0.1:{proxy.port}", timeout=IN_NO_TIME) as ledger:
            proxy.fault = fault
            with pytest.raises(LedgerError, match=r"gave no answer|in time"):
                await ledger.peek(["job"])
            proxy.fault = None
            assert await answered(ledger) == [None]


async def test_cut_connection_is_replaced(redis_server: RedisServer) -> None:
    """While connections are cut each call is a LedgerError, and one that was cut meanwhile is opened anew."""
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        async with ledger_at(f"redis://127.0.0.1:{proxy.port}") as ledger:
            won = await win(ledger, slot := now_ms())
            proxy.fault = "cut"
            with pytest.raises(LedgerError, match="has no connection"):
                await ledger.peek(["job"])
            proxy.fault = None
            assert await win(ledger, slot) == won
            assert proxy.connections >= 3


@pytest.mark.parametrize("fault", ["cut_after_request", "drop_replies"])
async def test_lost_answer_is_had_by_asking_again(redis_server: RedisServer, fault: Fault) -> None:
    """A claim whose answer was lost was won all the same: asked again it has its fence, and nobody else gets it."""
    namespace = uuid4().hex
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with (
            ledger_at(url, namespace=namespace, timeout=IN_NO_TIME) as ledger,
            ledger_at(redis_server.url, namespace=namespace) as other,
        ):
            await answered(ledger)  # so that it is connected
            proxy.fault = fault
            with pytest.raises(LedgerError):
                await ask(ledger, slot := now_ms(), "x")
            key = f"loopcron:{{{namespace}:job}}"
            wait_until(lambda: bool(redis_server.do("EXISTS", key)), "the server has done what it was asked")
            (row,) = await other.peek(["job"])
            assert row is not None
            assert await win(other, slot, "x") == Won(row.fence)
            assert isinstance(await ask(other, slot, "y"), Lost)


async def test_connection_of_a_parent_process_is_left_alone(redis_server: RedisServer) -> None:
    """A forked child opens a connection of its own instead of reading its parent's answers."""
    with Proxy(("127.0.0.1", redis_server.port)) as proxy:
        async with ledger_at(f"redis://127.0.0.1:{proxy.port}") as ledger:
            await ledger.peek(["job"])
            ledger._link._process -= 1
            await ledger.peek(["job"])
            await ledger.peek(["job"])
            assert proxy.connections == 2


async def test_loop_goes_on_while_the_server_hangs(own_redis: NewServer) -> None:
    """A call that waits for the server does not hold up the event loop, and is answered in the end."""
    server = own_redis()
    async with ledger_at(server.url) as ledger:
        await ledger.peek(["job"])
        answered = anyio.Event()

        async def peek() -> None:
            await ledger.peek(["job"])
            answered.set()

        async with anyio.create_task_group() as group:
            with server.stopped():
                group.start_soon(peek)
                for _ in range(3):
                    await anyio.sleep(0.01)
                    assert not answered.is_set()


async def test_call_that_was_given_up_holds_up_no_other(own_redis: NewServer) -> None:
    """A call whose caller has gone lets go of the connection, and the next one is answered."""
    server = own_redis()
    async with ledger_at(server.url) as ledger:
        await ledger.peek(["job"])
        with server.stopped(), anyio.move_on_after(0.05) as scope:
            await ledger.peek(["job"])
        assert scope.cancelled_caught
        assert await ledger.peek(["job"]) == [None]


# --- a server in trouble


async def test_replica_is_refused_until_it_is_promoted(own_redis: NewServer) -> None:
    """A read-only replica is a LedgerError; once it was made the primary it is used."""
    replica = own_redis(*KEPT, f"replicaof 127.0.0.1 {free_port()}")
    async with ledger_at(replica.url) as ledger:
        with pytest.raises(LedgerError, match="is a read-only replica"):
            await ask(ledger, now_ms(), "x")
        replica.do("REPLICAOF", "NO", "ONE")
        await win(ledger, now_ms())


async def test_replica_without_its_primary_is_refused(own_redis: NewServer) -> None:
    """A replica that has lost its primary and must not show old data is a LedgerError."""
    options = (f"replicaof 127.0.0.1 {free_port()}", "replica-serve-stale-data no")
    async with ledger_at(own_redis(*KEPT, *options).url) as ledger:
        with pytest.raises(LedgerError, match="has lost its primary"):
            await ask(ledger, now_ms(), "x")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("-LOADING Redis is loading the dataset in memory", "is still loading its data"),
        ("-CLUSTERDOWN The cluster is down", "a cluster that is down"),
        ("-MOVED 3999 127.0.0.1:6381", "node of a cluster"),
        ("-ASK 3999 127.0.0.1:6381", "node of a cluster"),
        ("-MISCONF Redis is configured to save RDB snapshots", "cannot save its data"),
        ("-NOREPLICAS Not enough good replicas to write.", "too few of its replicas"),
        ("-BUSY Redis is busy running a script.", "somebody's script"),
        ("-DENIED Redis is running in protected mode", "protected mode"),
        ("-ERR max number of clients reached", "takes no more clients"),
        ("-ERR DB index is out of range", "has no database of this number"),
        (f"-ERR unknown command, with args beginning with: `{SECRET}`", "refused to open the connection"),
        (f"HTTP/1.1 400 {SECRET}", "does not answer as Redis does"),
        ("+OK", "does not answer as Redis does"),
    ],
)
async def test_trouble_is_told_in_plain_words(reply: str, words: str) -> None:
    """What a server says instead of an answer becomes a LedgerError that says what is wrong, without its own words."""
    with parrot(reply) as port:
        async with ledger_at(f"redis://user:{QUOTED}@127.0.0.1:{port}/1") as ledger:
            with pytest.raises(LedgerError) as caught:
                await ask(ledger, now_ms(), "x")
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_other_refusals_concern_their_job_alone() -> None:
    """What nobody has foreseen is Unavailable to a claim, in the server's words, and a LedgerError of other calls."""
    with parrot("-ERR moon is not full") as port:
        async with ledger_at(f"redis://127.0.0.1:{port}") as ledger:
            assert await ask(ledger, now_ms(), "x") == Unavailable("refused: moon is not full")
            with pytest.raises(LedgerError, match=r"refused: moon is not full \(job job\)"):
                await ledger.renew([Renew("job", 1, 1, LEASE)])
