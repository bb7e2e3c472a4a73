"""The connection of `PostgresLedger`: opened on use, bounded in time, given up after a fault; its errors in words."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, final

from loopcron._errors import LedgerError
from loopcron.ledgers._postgres_sql import IN_TRANSACTION, INSPECT, MIGRATION, VERSION, Statement

if TYPE_CHECKING:
    import psycopg

_CONFLICTS: Final = frozenset({"40001", "40P01"})
"""Another transaction was in the way, and nothing was changed: serialization failure, deadlock."""
_CANCELLED: Final = "57014"
_READ_ONLY: Final = "25006"
_FORBIDDEN: Final = frozenset({"42501", "3F000"})
"""No right to make a table here, or no schema to make it in."""
_SHARED: Final = frozenset({"26000", "42P05"})
"""What was prepared is unknown, or was known before, and nothing was changed: the session is not the one it was."""

_LOGIN: Final = re.compile(
    r"authentication failed|no password supplied|pg_hba\.conf|role \"[^\"]*\" does not exist|no such user"
    r"|not permitted to log in"
)
_DATABASE: Final = re.compile(r"database \"[^\"]*\" does not exist|no such database")
_NOBODY: Final = re.compile(r"Connection refused|No such file or directory")
_HOST: Final = re.compile(r"resolve host|translate host name")

Columns = Mapping[str, Sequence[object]]
"""The parameters of a `Statement`: of each job one value, in the same order."""
Rows = Sequence[tuple[Any, ...]]


@final
class PostgresStore:
    """
    One connection that is used on one thread, but for `interrupt`.

    Args:
        connect: Opens a connection. A function and no text, for it knows the password, and a text would be shown by
            whatever shows the locals of a frame.
        user: Who logs in, for messages; "" where the URL does not say.
        place: Where, for messages.
        margin: How much of a call's time is left for the answer to arrive, in seconds.
    """

    def __init__(
        self, connect: Callable[[], psycopg.Connection[tuple[Any, ...]]], *, user: str, place: str, margin: float
    ) -> None:
        self._connect = connect
        self._user = user
        self._place = place
        self._margin = margin
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._socket: socket.socket | None = None
        self._process = 0
        self._prepared: set[Statement] | None = None  # on this connection; None where that would be of no use

    def ask(self, statement: Statement, namespace: str, columns: Columns, time_left: Callable[[], float]) -> Rows:
        """
        Return the rows that *statement* answers.

        Args:
            statement: One of `_postgres_sql`.
            namespace: Whose rows.
            columns: For one job or more.
            time_left: Says how long the caller goes on waiting, in seconds.

        Raises:
            LedgerError: It could not be asked, or nobody knows what it did.
        """
        import psycopg

        problem = ""
        for _ in range(2):
            try:
                return self._ask(self._ready(time_left), statement, namespace, columns, time_left)
            except psycopg.Error as error:
                state, problem = error.sqlstate, _problem(error)
            if state in _SHARED:
                self._prepared = None  # as behind a pooler that passes for the server itself
                continue
            if state in _CONFLICTS:
                continue
            if state != _CANCELLED:  # also where the server became a standby, and another one takes the writes now
                self.release()
            break
        # Raised here, so that it has no context: the driver's error holds the connection's parameters.
        raise LedgerError(problem)

    def interrupt(self) -> None:
        """Make the thread let go of a server that does not answer; called on another thread."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close the connection."""
        connection, own = self._connection, self._socket
        self._connection = self._socket = None
        if connection is not None:
            connection.close()
        if own is not None:
            own.close()

    def _ask(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        statement: Statement,
        namespace: str,
        columns: Columns,
        time_left: Callable[[], float],
    ) -> Rows:
        common = {"namespace": namespace, **self._limit(time_left)}
        if len(columns["job"]) > 1:
            return self._execute(connection, statement.for_many, {**common, **columns})
        values = common | {name: value for name, (value,) in columns.items()}
        if self._prepared is None:
            return self._execute(connection, statement.for_one, values)
        text = statement.execute
        if statement not in self._prepared:
            self._prepared.add(statement)  # also where the text fails: what it had prepared outlasts that
            text = f"{statement.prepare};\n{text}"
        return self._execute(connection, text, values)

    def _limit(self, time_left: Callable[[], float]) -> Mapping[str, object]:
        """Return the parameter that `IN_TRANSACTION` has, or raise LedgerError where there is no time left to ask."""
        limit = int((time_left() - self._margin) * 1000)
        if limit < 1:
            raise LedgerError("took too long to be reached; nothing was asked")
        return {"limit": limit}

    def _execute(
        self, connection: psycopg.Connection[tuple[Any, ...]], text: str, parameters: Mapping[str, object]
    ) -> Rows:
        cursor = connection.execute(IN_TRANSACTION + text, parameters)
        while cursor.nextset():
            pass  # the settings' empty results
        # Not its description, which is made of each column anew, and took a tenth of a claim.
        return () if cursor.rownumber is None else cursor.fetchall()

    def _ready(self, time_left: Callable[[], float]) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is not None and self._process != os.getpid():
            self._disown(self._connection)
        if self._connection is None or self._has_ended():
            self.release()
            self._open(time_left)
        assert self._connection is not None
        return self._connection

    def _has_ended(self) -> bool:
        # Nothing is owed to an idle connection: what can be read there is its end, or the reason for it.
        assert self._socket is not None
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _disown(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        # After a fork it is the parent's, whom a farewell from here would cut off.
        with open(os.devnull, "rb") as nowhere:  # noqa: PTH123 - a file descriptor is what is needed
            os.dup2(nowhere.fileno(), connection.fileno())
        self.release()

    def _open(self, time_left: Callable[[], float]) -> None:
        problem = ""
        try:
            self._connection = self._connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, it knows the password
            problem = self._connect_problem(error)
        if self._connection is None:
            raise LedgerError(problem)
        self._process = os.getpid()
        # One of our own to shut down: the driver's number could be another file's by then.
        self._socket = socket.socket(fileno=os.dup(self._connection.fileno()))
        self._socket.setblocking(False)
        try:
            self._inspect(self._connection, time_left)
            ((process,),) = self._execute(self._connection, "select pg_backend_pid()", self._limit(time_left))
        except BaseException:
            self.release()
            raise
        # A pooler, which may serve each statement by another process of the server, gives a number of its own.
        self._prepared = set() if process == self._connection.info.backend_pid else None

    def _inspect(self, connection: psycopg.Connection[tuple[Any, ...]], time_left: Callable[[], float]) -> None:
        import psycopg

        problem = ""
        found = self._execute(connection, INSPECT, self._limit(time_left))
        if not found:
            try:
                self._execute(connection, MIGRATION, self._limit(time_left))
            except psycopg.Error as error:  # perhaps because somebody else has just made it
                problem = _problem(error)
                if error.sqlstate in _FORBIDDEN:
                    problem = (
                        f"the role {connection.info.user} may not make the table loopcron_slot ({problem}); "
                        "let one that may run loopcron.ledgers.postgres.MIGRATION"
                    )
            found = self._execute(connection, INSPECT, self._limit(time_left))
        if not found:
            raise LedgerError(problem)
        persistence, version = found[0]
        if persistence != "p":
            raise LedgerError(
                "the table loopcron_slot is unlogged or temporary, so a crash would empty it and slots would run "
                "twice; alter table loopcron_slot set logged"
            )
        if version is None or not version.isdigit():
            raise LedgerError("the table loopcron_slot is none of loopcron's: its column version has no default")
        if int(version) > VERSION:
            raise LedgerError(
                f"the table loopcron_slot is of version {version}, and this loopcron knows version {VERSION}; "
                "install a newer loopcron"
            )

    def _connect_problem(self, error: Exception) -> str:
        """Say why there is no connection, in our words: the driver's own hold what the server and the URL say."""
        text = str(error)
        if _LOGIN.search(text):
            return (
                f"the server refuses the login of user {self._user}" if self._user else "the server refuses the login"
            )
        if _DATABASE.search(text):
            return f"the server has no such database: {self._place}"
        if _NOBODY.search(text):
            return f"nobody listens at {self._place}"
        if _HOST.search(text):
            return f"the host name cannot be resolved: {self._place}"
        return f"cannot connect to {self._place} ({type(error).__name__})"


def _problem(error: psycopg.Error) -> str:
    """Say what the server has said, but nothing of what the driver adds, such as the values that were sent."""
    state, text = error.sqlstate, error.diag.message_primary
    if state is None:
        return f"the connection was lost ({type(error).__name__})"
    if state == _CANCELLED:
        return "the server did not get it done in time, perhaps because a row is locked; nothing was changed"
    if state == _READ_ONLY:
        return "the server is read-only, perhaps a standby; the next call connects anew"
    return f"{text} ({state})"
