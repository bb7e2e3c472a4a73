"""What the Redis ledger is made from and shows: its URL, its other arguments, its users, and never a password."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from loopcron._errors import ConfigError, LedgerError
from loopcron._ledger import Claim, Register, Row, Won
from loopcron.ledgers.redis import RedisLedger
from tests.ledgers.one_loop import on_uvloop
from tests.ledgers.redis_asking import AMPLE, QUOTED, SECRET, ask, ledger_at, now_ms, win
from tests.ledgers.redis_server import UNKEPT, RedisServer, own_redis, redis_server, redis_url, require_redis

__all__ = ("own_redis", "redis_server", "redis_url")

anyio_backend = on_uvloop

NewServer = Callable[..., RedisServer]


@pytest.fixture
def driver() -> None:
    """Skip where the driver is missing; nothing is connected."""
    require_redis()


async def test_url_of_a_unix_socket(redis_server: RedisServer) -> None:
    """The ledger works through a unix socket, and says where that is."""
    ledger = RedisLedger(redis_server.unix_url, namespace=uuid4().hex, timeout=AMPLE)
    assert repr(ledger).startswith(f"redis at {redis_server.socket}?db=0, namespace ")
    (answer,) = await ledger.claim([Claim("job", now_ms(), "x")])
    assert isinstance(answer, Won)
    await ledger.close()


async def test_options_of_the_url_cannot_change_how_it_is_asked(redis_url: str) -> None:
    """What a URL may set for other uses of the driver, such as decoding and retries, changes no answer."""
    options = "protocol=3&decode_responses=true&retry_on_timeout=true&socket_timeout=900&max_connections=1"
    ledger = RedisLedger(f"{redis_url}?{options}&health_check_interval=1", namespace=uuid4().hex, timeout=AMPLE)
    (row,) = await ledger.register([Register("job", 0, 5, schedule="täglich")])
    assert row == Row("job", 5, schedule="täglich")
    connection = ledger._link._connection
    assert connection.retry._retries == 0
    assert connection.socket_timeout < 20
    await ledger.close()


async def test_row_is_a_hash_that_never_expires(redis_server: RedisServer) -> None:
    """A row is one hash under a key that a cluster can place, has a version, and no time to live."""
    ledger = RedisLedger(redis_server.url, namespace="shown", timeout=AMPLE)
    await ledger.register([Register("job", 0, 7, schedule="every 5 min")])
    key = "loopcron:{shown:job}"
    assert redis_server.do("TTL", key) == -1
    assert redis_server.do("HGETALL", key) == {b"version": b"1", b"watermark": b"7", b"schedule": b"every 5 min"}
    redis_server.do("DEL", key)
    await ledger.close()


async def test_nothing_is_asked_for_nothing(driver: None) -> None:
    """A call for no job asks nobody."""
    ledger = RedisLedger("redis://127.0.0.1:1/0", namespace="web")
    assert await ledger.claim([]) == []
    await ledger.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:SECRET@example.org:6380/3", "redis at example.org:6380/3, namespace web"),
        ("rediss://:SECRET@example.org", "redis at example.org:6379/0, namespace web"),
        ("redis://[::1]:6380?db=2&password=SECRET", "redis at [::1]:6380/2, namespace web"),
        ("redis://u:p%40SECRET@example.org/", "redis at example.org:6379/0, namespace web"),
        ("unix://user:SECRET@/run/redis.sock?db=4", "redis at /run/redis.sock?db=4, namespace web"),
    ],
)
def test_place_is_shown_without_its_secrets(driver: None, url: str, shown: str) -> None:
    """What `repr` shows is the place and the namespace."""
    ledger = RedisLedger(url, namespace="web")
    assert repr(ledger) == shown
    assert ledger.is_shared
    assert "SECRET" not in repr(vars(ledger)) + repr(vars(ledger._link)) + repr(vars(ledger._thread))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:SECRET@example.org/0",
        "REDIS:user:SECRET@example.org",
        "REDIS://user:SECRET@example.org",
        "redis://user:12/SECRET@example.org:6379/0",
        "redis://user:12?SECRET@example.org:6379/0",
        "redis://user:12#SECRET@example.org:6379/0",
        "redis://:SECRET/1@example.org",
        "redis://user:SECRET@[example.org/0",
        "redis://user:SECRET@example.org:abc/0",
        "redis://user:SECRET@example.org/jobs",
        "redis://user:SECRET@example.org/0?db=abc",
        "redis://user:SECRET@example.org/0?colour=green",
        "unix://run/SECRET.sock",
        "unix://",
        "unix:///pa/SECRET@/run/redis.sock",
        "",
        None,
    ],
)
def test_unusable_url_is_refused_and_not_shown(driver: None, url: Any) -> None:
    """A URL that cannot work, or that the driver would misread in silence, is a ConfigError without its secrets."""
    with pytest.raises(ConfigError) as caught:
        RedisLedger(url, namespace="web")
    assert caught.value.field == "url"
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("given", "field"),
    [({"namespace": "a b"}, "namespace"), ({"namespace": ""}, "namespace"), ({"timeout": 2}, "timeout")],
)
def test_other_unusable_arguments_are_refused(driver: None, given: dict[str, Any], field: str) -> None:
    """A namespace that is no name and a timeout that is no duration are ConfigErrors that name the argument."""
    with pytest.raises(ConfigError) as caught:
        RedisLedger("redis://example.org", **{"namespace": "web"} | given)
    assert caught.value.field == field


def test_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py the constructor says what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pip install loopcron\[redis\]"):
        RedisLedger("redis://example.org", namespace="web")


# --- who may ask


NEEDED = ("~loopcron:*", "+evalsha", "+script|load", "+time", "+hmget", "+hset")
"""As the message for a user who may not has it."""


@pytest.mark.parametrize("more", [(), ("+info",), ("+info", "+config|get")])
async def test_user_may_be_forbidden_the_rest(
    own_redis: NewServer, caplog: pytest.LogCaptureFixture, more: tuple[str, ...]
) -> None:
    """A user with the named permissions can use the ledger; what the server does not show is not judged."""
    server = own_redis(*UNKEPT)
    server.do("ACL", "SETUSER", "web", "on", f">{SECRET}", *NEEDED, *more)
    async with ledger_at(f"redis://web:{QUOTED}@127.0.0.1:{server.port}") as ledger:
        await win(ledger, now_ms())
    assert len(caplog.records) == (len(more) == 2)


async def test_missing_permissions_are_named(own_redis: NewServer) -> None:
    """A user who may not run scripts, or not what they do, is told what to be given."""
    server = own_redis()
    server.do("ACL", "SETUSER", "web", "on", ">web", "+@read")
    async with ledger_at(f"redis://web:web@127.0.0.1:{server.port}") as ledger:
        for more in ("+time", "+evalsha", "+script|load", "~loopcron:*"):
            with pytest.raises(LedgerError) as caught:
                await win(ledger, now_ms())
            assert all(needed in str(caught.value) for needed in NEEDED)
            server.do("ACL", "SETUSER", "web", more)
        server.do("ACL", "SETUSER", "web", "+hset")
        await win(ledger, now_ms())


async def test_password_shows_nowhere(own_redis: NewServer, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password, a right one, and a server that goes away leave no trace of it in log, error or traceback."""
    caplog.set_level(logging.DEBUG)
    server = own_redis(*UNKEPT)
    shown: list[str] = []
    async with ledger_at(f"redis://:{QUOTED}@127.0.0.1:{server.port}/0") as ledger:

        async def fails(match: str) -> None:
            with pytest.raises(LedgerError, match=match) as caught:
                await ask(ledger, now_ms(), "x")
            assert caught.value.__cause__ is caught.value.__context__ is None
            formatted = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
            shown.extend(formatted)

        await fails("refused the user name or the password")
        server.do("CONFIG", "SET", "requirepass", SECRET)
        await win(ledger, now_ms())
        async with ledger_at(server.url) as other:
            with pytest.raises(LedgerError, match="wants a password"):
                await other.peek(["job"])
        shown += [repr(ledger), repr(vars(ledger)), repr(vars(ledger._link)), repr(vars(ledger._thread))]
        server.kill()
        await fails("has no connection")
    shown += [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    assert len(caplog.records) >= 1
    assert not any(shape in text for text in shown for shape in (SECRET, QUOTED))
