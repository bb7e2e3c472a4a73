"""A ledger named by a URL: which one that is, and what is refused without ever showing a password."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from loopcron import ConfigError, PostgresLedger, RedisLedger, Scheduler, SqliteLedger
from loopcron.ledgers import open_ledger

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "namespace", "shown"),
    [
        ("sqlite:///some.db", None, f"sqlite at {Path.cwd() / 'some.db'}, namespace default"),
        ("sqlite:///some.db", "web", f"sqlite at {Path.cwd() / 'some.db'}, namespace web"),
        ("SQLite:////tmp/some%20where.db", None, "sqlite at /tmp/some where.db, namespace default"),
    ],
)
def test_sqlite_url(url: str, namespace: str | None, shown: str) -> None:
    """Three slashes begin a path that counts from here, four an absolute one; a namespace may be left out."""
    ledger = open_ledger(url, namespace=namespace)
    assert isinstance(ledger, SqliteLedger)
    assert repr(ledger) == shown


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        (f"postgresql://root:{SECRET}@db.example/app", PostgresLedger, "postgresql at db.example:5432/app"),
        (f"postgres://root:{SECRET}@db.example/app", PostgresLedger, "postgresql at db.example:5432/app"),
        (f"redis://:{SECRET}@cache.example/3", RedisLedger, "redis at cache.example:6379/3"),
        (f"rediss://:{SECRET}@cache.example/3", RedisLedger, "redis at cache.example:6379/3"),
        (f"unix://:{SECRET}@/run/redis.sock?db=1", RedisLedger, "redis at /run/redis.sock?db=1"),
    ],
)
def test_url_of_a_server(url: str, kind: type, shown: str) -> None:
    """Nothing is connected to yet, and what is shown of it holds no password."""
    ledger = open_ledger(url, namespace="web")
    assert isinstance(ledger, kind)
    assert repr(ledger) == f"{shown}, namespace web"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "redis", "rediss", "unix"])
def test_url_of_a_server_wants_a_namespace(scheme: str) -> None:
    """Other apps may use that store too."""
    with pytest.raises(ConfigError, match=f"namespace=None: is wanted with {scheme}://, because other apps") as caught:
        open_ledger(f"{scheme}://root:{SECRET}@host/x")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///some.db", "postgresql://host/x", "redis://host"])
def test_unusable_namespace(url: str) -> None:
    """It is part of every key, and has the same letters everywhere."""
    with pytest.raises(ConfigError, match="namespace='a b': must be 1 to 64 letters"):
        open_ledger(url, namespace="a b")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "ledger='...': must be a URL that begins with sqlite:///, postgresql:// or redis://"),
        ("some.db", "ledger='...': must be a URL"),
        (f"mysql://root:{SECRET}@host/x", "ledger='mysql:...': must be a URL"),
        (f"http://[{SECRET}", "ledger='...': must be a URL"),
        (f"//root:{SECRET}@host", "ledger='...': must be a URL"),
        (f"sqlite://root:{SECRET}@host/some.db", "ledger='sqlite:...': must be sqlite:///relative/path.db or"),
        ("sqlite:some.db", "ledger='sqlite:...': must be"),
        (f"sqlite:///some.db?key={SECRET}", "ledger='sqlite:...': must be"),
        (f"sqlite:///some.db#{SECRET}", "ledger='sqlite:...': must be"),
        ("sqlite:///", "path='': must be the path of a file"),
        ("sqlite:///:memory:", "path=':memory:': must be a file"),
    ],
)
def test_url_that_names_no_ledger(url: str, message: str) -> None:
    """It is refused when the scheduler is made, with what would do, and with nothing of the URL but its scheme."""
    with pytest.raises(ConfigError) as caught:
        Scheduler(ledger=url)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("postgresql://h/x", "psycopg", "postgres"), ("redis://h/0", "redis", "redis")]
)
def test_driver_that_is_not_installed(url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it is named."""

    def missing(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=f"driver='{module}'.*pip install loopcron\\[{extra}\\]"):
        Scheduler(ledger=url, namespace="web")


def test_scheduler_opens_the_ledger_of_a_url() -> None:
    """The namespace goes with it."""
    ledger = Scheduler(ledger="redis://host/0", namespace="web").ledger
    assert repr(ledger) == "redis at host:6379/0, namespace web"


def test_namespace_without_a_url_is_refused() -> None:
    """A ledger that was made has its own."""
    with pytest.raises(ConfigError, match="namespace='web': belongs to a ledger's URL; give it to the ledger itself"):
        Scheduler(ledger=SqliteLedger("some.db"), namespace="web")
