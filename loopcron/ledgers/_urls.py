"""From a URL to a ledger: ``sqlite:///path``, ``postgresql://…``, ``redis://…``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from loopcron._errors import ConfigError
from loopcron.ledgers._arguments import POSTGRES, REDIS

if TYPE_CHECKING:
    from loopcron._protocols import Ledger


def open_ledger(url: str, *, namespace: str | None = None) -> Ledger:
    """
    Return the ledger that *url* names; nothing is connected to yet.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, ``postgresql://user:password@host/database``,
            ``redis://…``, ``rediss://…``, ``unix:///path/of/redis.sock``.
        namespace: Whose jobs these are in that store; the last two want one, because other apps may use the store too.

    Raises:
        ConfigError: The URL names no ledger, the namespace is missing or unusable, or the driver is not installed.
            Nothing of the URL but its scheme is shown: it may hold a password.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme == "sqlite":
        return _sqlite(url, namespace)
    if scheme in POSTGRES:
        from loopcron.ledgers.postgres import PostgresLedger

        return PostgresLedger(url, namespace=_named(namespace, scheme))
    if scheme in REDIS:
        from loopcron.ledgers.redis import RedisLedger

        return RedisLedger(url, namespace=_named(namespace, scheme))
    shown = f"{scheme}:..." if scheme else "..."
    raise ConfigError("ledger", shown, "must be a URL that begins with sqlite:///, postgresql:// or redis://")


def _sqlite(url: str, namespace: str | None) -> Ledger:
    from loopcron.ledgers.sqlite import SqliteLedger

    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or not parts.path.startswith("/"):
        raise ConfigError("ledger", "sqlite:...", "must be sqlite:///relative/path.db or sqlite:////absolute/path.db")
    path = unquote(parts.path[1:])
    return SqliteLedger(path) if namespace is None else SqliteLedger(path, namespace=namespace)


def _named(namespace: str | None, scheme: str) -> str:
    if namespace is None:
        remedy = f"is wanted with {scheme}://, because other apps may use that store; give one, such as the app's name"
        raise ConfigError("namespace", None, remedy)
    return namespace
