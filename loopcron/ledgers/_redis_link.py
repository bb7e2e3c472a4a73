"""The one connection of a Redis ledger: opened on demand, never a retry, its faults told in words of ours."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, final
from urllib.parse import urlsplit

from loopcron._errors import LedgerError
from loopcron._outcomes import printable
from loopcron.ledgers._arguments import REDIS, checked_scheme, driver, url_error

_logger: Final = logging.getLogger("loopcron")

_ENCODE: Final = "holds a character that has to be percent-encoded, such as %40 for @, %2F for / and %3F for ?"

_FAULTS: Final = (
    ("Authentication required|NOAUTH", "wants a password, and the URL has none"),
    ("AuthenticationError|WRONGPASS", "refused the user name or the password"),
    (
        "NoPermissionError|NOPERM|ACL failure|user executing the script",
        "does not permit this user what a ledger needs: ~loopcron:* +evalsha +script|load +time +hmget +hset",
    ),
    ("ReadOnlyError|READONLY", "is a read-only replica; the URL has to name the primary"),
    ("MasterDownError|MASTERDOWN", "is a replica that has lost its primary"),
    ("BusyLoadingError|LOADING", "is still loading its data"),
    ("ClusterDownError|CLUSTERDOWN", "belongs to a cluster that is down"),
    (
        r"MovedError|AskError|TryAgainError|MOVED|TRYAGAIN|\bASK\b",
        "is a node of a cluster that holds a part of the keys; the URL has to name a server, or a proxy, for all",
    ),
    ("MISCONF", "takes no writes, because it cannot save its data; its log says why"),
    ("NOREPLICAS", "takes no writes, because too few of its replicas are connected"),
    (r"\bBUSY\b", "is busy with somebody's script"),
    ("DENIED", "is in protected mode and takes local connections only"),
    ("max number of clients", "takes no more clients"),
    ("DB index", "has no database of this number"),
    ("InvalidResponse", "does not answer as Redis does"),
)
"""What the server may say that holds for every row, whether in a reply or when the connection opens."""


class Refusal(NamedTuple):
    """What the server said instead of an answer to one command."""

    kind: str
    """The name of the driver's exception."""
    text: str

    @property
    def is_unknown_script(self) -> bool:
        """Whether the server does not know the script, and so has done nothing."""
        return self.kind == "NoScriptError"

    @property
    def words(self) -> str:
        """What a person should be told."""
        if re.search(r"OutOfMemoryError|\bOOM\b", f"{self.kind} {self.text}"):
            return "has no memory left for the row; see maxmemory"
        return f"refused: {self.text}"


@final
class Link:
    """
    A connection to the server, made when it is needed and after every fault anew.

    For one thread at a time, but `hang_up` may come from any. The URL stays inside of a function, and no attribute
    of a frame or an object shows it.

    Args:
        url: Of the server; see `RedisLedger`.
        seconds: How long a call may take. Connecting gets less than half of it, each answer less than all.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._redis = driver("redis", "redis")
        self.place, self._make = _target(self._redis, url, seconds)
        self._connection: Any = None
        self._process = os.getpid()
        self._warned: set[str] = set()

    def ask(self, commands: Sequence[tuple[str | int, ...]]) -> list[Any]:
        """
        Send all *commands* at once and return the reply to each, which may be a `Refusal`.

        Raises:
            LedgerError: The server could not be asked, or cannot serve any row now: the next call connects anew.
        """
        replies: list[Any] = []
        try:
            replies = self._exchange(self._ready(), commands)
            fault = next((found for reply in replies if (found := _fault_in(reply))), None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the store could not be asked
            fault = self._words(error)
        if fault is not None:  # out here, so that no exception of the driver's hangs on ours
            self.hang_up()
            raise LedgerError(fault)
        return replies

    def hang_up(self) -> None:
        """Close the connection if there is one; a thread that waits for an answer on it looks up at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # the other thread may have closed half of it already
                connection.disconnect()

    def _ready(self) -> Any:
        if self._connection is not None and not self._is_usable(self._connection):
            self.hang_up()
        if self._connection is not None:
            return self._connection
        self._process = os.getpid()
        self._connection = connection = self._make()  # in its place before it connects, for who hangs up meanwhile
        connection.connect()
        self._judge(*self._exchange(connection, [("INFO",), ("CONFIG", "GET", "save")]))
        return connection

    def _is_usable(self, connection: Any) -> bool:
        """Whether the connection is this process's own, and neither closed by the server nor with an answer left."""
        if self._process != os.getpid():
            return False
        try:
            return not connection.can_read()
        except Exception:  # noqa: BLE001 - whatever it is, a new one will tell
            return False

    def _exchange(self, connection: Any, commands: Sequence[tuple[str | int, ...]]) -> list[Any]:
        connection.send_packed_command(connection.pack_commands(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(connection.read_response())
            except self._redis.ResponseError as error:
                replies.append(Refusal(type(error).__name__, printable(str(error))))
        return replies

    def _judge(self, info: Any, saves: Any) -> None:
        """Warn, once each, where the server is set to lose rows. What it does not show is not judged."""
        if isinstance(info, Refusal):
            return
        fields = dict(re.findall(r"^(\w+):(.*?)\r?$", info.decode(errors="replace"), re.MULTILINE))
        policy = fields.get("maxmemory_policy", "")
        if policy.startswith("allkeys-") and fields.get("maxmemory", "0") != "0":
            self._warn(
                "%s drops rows when its memory is full, and a slot may then run twice: "
                "set its maxmemory-policy to noeviction or to one of volatile-*",
            )
        if fields.get("aof_enabled") == "0" and saves == [b"save", b""]:
            self._warn("%s loses all rows when it restarts, and a slot may then run twice: set its appendonly to yes")

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            with suppress(Exception):  # a broken log handler is no reason to have no ledger
                _logger.warning(message, self.place)

    def _words(self, error: Exception) -> str:
        """
        Return what is wrong. Of the texts only the driver's own about the network are shown: a server may repeat what
        it was sent, and when a connection opens that is the password.
        """
        fault = _fault(type(error).__name__, str(error))
        if fault is not None:
            return fault
        if isinstance(error, self._redis.TimeoutError):
            return "could not be reached in time" if "connecting" in str(error) else "gave no answer in time"
        if isinstance(error, self._redis.ResponseError):
            return "refused to open the connection"
        if isinstance(error, self._redis.ConnectionError):
            return printable(f"has no connection: {error}")
        return f"has no connection: {type(error).__name__}"


def _fault_in(reply: object) -> str | None:
    return _fault(reply.kind, reply.text) if isinstance(reply, Refusal) else None


def _fault(kind: str, text: str) -> str | None:
    return next((words for pattern, words in _FAULTS if re.search(pattern, f"{kind} {text}")), None)


def _target(redis: Any, url: str, seconds: float) -> tuple[str, Callable[[], Any]]:
    """Return where *url* leads, for people, and what makes a connection to there; ConfigError where it cannot work."""
    options = _options(redis, url)
    kind = options.pop("connection_class", redis.Connection)
    options.pop("max_connections", None)  # of a pool
    # After the URL's own, which could let the driver write twice, wait longer than a call may, or answer otherwise.
    options |= {"retry": None, "retry_on_timeout": False, "retry_on_error": [], "health_check_interval": 0}
    options |= {"socket_connect_timeout": seconds * 0.4, "socket_timeout": seconds * 0.8}
    options |= {"protocol": 2, "encoding": "utf-8", "encoding_errors": "strict", "decode_responses": False}

    def make() -> Any:
        return kind(**options)

    fault = ""
    try:
        make()
    except Exception as error:  # noqa: BLE001 - raised below, where it does not hang on ours
        fault = type(error).__name__
    if fault:
        raise url_error(url, f"holds an option that redis-py does not take ({fault})")
    number = options.get("db", 0)
    if "path" in options:
        return f"redis at {printable(options['path'])}?db={number}", make
    host = printable(options.get("host", "localhost"))
    host = f"[{host}]" if ":" in host else host
    return f"redis at {host}:{options.get('port', 6379)}/{number}", make


def _options(redis: Any, url: str) -> dict[str, Any]:
    """Return the driver's options for *url*. What it would let pass in silence is refused, or it might be shown."""
    scheme = checked_scheme(url, REDIS)
    fault, options = "", {}
    try:
        parts = urlsplit(url)
        _ = parts.port
        options = dict(redis.connection.parse_url(url))
    except ValueError:
        fault = "cannot be read; " + _ENCODE.replace("holds", "it may hold", 1)
    else:
        if "@" in parts.path + parts.query or parts.fragment:
            fault = _ENCODE
        elif scheme == "unix" and (parts.hostname or not parts.path):
            fault = "has to hold the path of the socket behind three slashes, such as unix:///run/redis.sock?db=0"
        elif scheme != "unix" and re.fullmatch(r"(/[0-9]*)?", parts.path) is None:
            fault = "has to end in the number of a database, such as redis://host:6379/0"
    if fault:
        raise url_error(url, fault)
    return options
