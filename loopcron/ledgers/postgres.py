"""A ledger in PostgreSQL, for any number of processes on any number of hosts, also behind pgbouncer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import ceil
from re import fullmatch
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from loopcron._errors import FencedError
from loopcron._ledger import (
    EARLY_MS,
    Answer,
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
    Won,
    outcome_text,
)
from loopcron.ledgers import _postgres_sql as sql
from loopcron.ledgers._arguments import POSTGRES, checked_namespace, checked_scheme, checked_timeout, driver, url_error
from loopcron.ledgers._postgres_sql import FINISH_SQL, MIGRATION
from loopcron.ledgers._postgres_store import Columns, PostgresStore, Rows
from loopcron.ledgers._thread import StoreThread

if TYPE_CHECKING:
    import psycopg

    from loopcron._outcomes import Outcome

__all__ = ("FINISH_SQL", "MIGRATION", "PostgresLedger", "finish_in", "finish_in_async")

_Asked = TypeVar("_Asked", Claim, Register)
_Answered = TypeVar("_Answered")
_Result = TypeVar("_Result")
_Ask = Callable[[sql.Statement, Columns], Rows]


@final
class PostgresLedger:
    """
    Keeps the rows in the table ``loopcron_slot`` of a PostgreSQL database, shared by all who use the namespace.

    The table is made on first use, where the role may; else `MIGRATION` makes it. A slot is started at most once,
    unless a server takes over that has not got all that was committed. It uses one connection of its own and a thread
    of its own, never the application's transactions, and works behind pgbouncer in transaction mode.

    Args:
        url: Such as ``postgresql://user:password@host:5432/database``; what else libpq takes there is taken, such as
            ``sslmode``, several hosts, or the path of a unix socket. The password is never shown.
        namespace: Keeps applications apart that share a database: 1 to 64 of letters, digits, ``.``, ``_``, ``-``.
        timeout: How long each call takes at most, connecting included. The server gives up before, so that nothing
            happens after the caller has given up.

    Raises:
        ConfigError: The URL, the namespace or the timeout cannot work, or psycopg is not installed.

    What the server refuses, such as a wrong password, is a `LedgerError` of each call, because it can be mended while
    the scheduler runs.
    """

    def __init__(self, url: str, *, namespace: str, timeout: timedelta = timedelta(seconds=2)) -> None:
        self._namespace: Final = checked_namespace(namespace)
        self._seconds: Final = checked_timeout(timeout)
        connect, user, self._place = _connector(url, self._seconds)
        margin = min(self._seconds / 5, 0.25)
        self._store = PostgresStore(connect, user=user, place=self._place, margin=margin)
        self._thread = StoreThread("loopcron postgresql", self._seconds, interrupt=self._store.interrupt)

    @property
    def is_shared(self) -> bool:
        """See `Ledger.is_shared`."""
        return True

    async def register(self, jobs: Sequence[Register], /) -> Sequence[Row]:
        """See `Ledger.register`."""
        return await self._call(lambda ask: _until_answered(jobs, partial(_register, ask))) if jobs else []

    async def claim(self, claims: Sequence[Claim], /) -> Sequence[Answer]:
        """See `Ledger.claim`."""
        return await self._call(lambda ask: _until_answered(claims, partial(_claim, ask))) if claims else []

    async def renew(self, renewals: Sequence[Renew], /) -> Sequence[bool]:
        """See `Ledger.renew`."""
        return await self._with_fences(sql.RENEW, renewals, {"lease": [renewal.lease for renewal in renewals]})

    async def finish(self, finishes: Sequence[Finish], /) -> Sequence[bool]:
        """See `Ledger.finish`."""
        outcomes = {"outcome": [outcome_text(finish.outcome) for finish in finishes]}
        return await self._with_fences(sql.FINISH, finishes, outcomes)

    async def _with_fences(
        self, statement: sql.Statement, asked: Sequence[Renew] | Sequence[Finish], more: Columns
    ) -> Sequence[bool]:
        if not asked:
            return []
        columns: Columns = {"job": _jobs(asked), "fence": [one.fence for one in asked], **more}
        done = set(await self._call(lambda ask: ask(statement, columns)))
        return [(one.job, one.fence) in done for one in asked]

    async def pause(self, pauses: Sequence[Pause], /) -> None:
        """See `Ledger.pause`."""
        if pauses:
            columns: Columns = {"job": _jobs(pauses), "paused": [pause.paused for pause in pauses]}
            await self._call(lambda ask: ask(sql.PAUSE, columns))

    async def peek(self, jobs: Sequence[str], /) -> Sequence[Row | None]:
        """See `Ledger.peek`."""
        return await self._rows(sql.PEEK, jobs)

    async def reset(self, jobs: Sequence[str], /) -> Sequence[Row | None]:
        """See `Ledger.reset`."""
        return await self._rows(sql.RESET, jobs)

    async def _rows(self, statement: sql.Statement, jobs: Sequence[str]) -> Sequence[Row | None]:
        if not jobs:
            return []
        found = await self._call(lambda ask: ask(statement, {"job": list(jobs)}))
        rows = {row[0]: Row(*row) for row in found}
        return [rows.get(job) for job in jobs]

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._thread.close(self._store.release)

    async def _call(self, work: Callable[[_Ask], _Result]) -> _Result:
        begun = perf_counter()

        def ask(statement: sql.Statement, columns: Columns) -> Rows:
            return self._store.ask(
                statement, self._namespace, columns, lambda: self._seconds - (perf_counter() - begun)
            )

        return await self._thread.call(lambda: work(ask))

    def __repr__(self) -> str:
        return f"postgresql at {self._place}, namespace {self._namespace}"


def finish_in(
    connection: psycopg.Connection[Any] | psycopg.Cursor[Any],
    *,
    namespace: str,
    job: str,
    fence: int,
    outcome: Outcome,
) -> None:
    """
    Write a slot's outcome within the transaction of *connection*, so that its effects happen once.

    An endpoint takes ``job`` and ``fence`` from the request's headers and calls this in the transaction in which it
    writes, on the ledger's database. A run whose slot is no longer its own, or that was carried out before, is fenced:
    let the error leave the transaction's block, and all that the transaction wrote is rolled back.

    Args:
        connection: A connection of psycopg, or a cursor, in a transaction that goes on.
        namespace: The ledger's.
        job: The job's name.
        fence: What the claim had won; ``Loopcron-Fence`` in a request.
        outcome: What became of the slot.

    Raises:
        FencedError: The row has another fence, or its outcome was written before; roll back.
    """
    parameters = _finish_parameters(namespace, job, fence, outcome)
    _check_fence(job, fence, connection.execute(FINISH_SQL, parameters).rowcount)


async def finish_in_async(
    connection: psycopg.AsyncConnection[Any] | psycopg.AsyncCursor[Any],
    *,
    namespace: str,
    job: str,
    fence: int,
    outcome: Outcome,
) -> None:
    """Do what `finish_in` does, on an asynchronous connection or cursor of psycopg."""
    parameters = _finish_parameters(namespace, job, fence, outcome)
    _check_fence(job, fence, (await connection.execute(FINISH_SQL, parameters)).rowcount)


def _finish_parameters(namespace: str, job: str, fence: int, outcome: Outcome) -> dict[str, object]:
    return {"namespace": namespace, "job": job, "fence": fence, "outcome": outcome_text(outcome)}


def _check_fence(job: str, fence: int, changed: int) -> None:
    if changed != 1:
        raise FencedError(job, fence)


def _jobs(asked: Collection[Claim | Register | Renew | Finish | Pause]) -> list[str]:
    return [one.job for one in asked]


def _until_answered(
    asked: Sequence[_Asked], ask: Callable[[Sequence[_Asked]], Iterator[tuple[str, _Answered | None]]]
) -> list[_Answered]:
    """
    Return the answers in the order asked, with what has none asked again.

    That is what somebody else changed while the statement ran: it knows no more than that it was not to be had.
    """
    answers: dict[str, _Answered] = {}
    missing = asked
    while missing:  # bounded by the time that the call has
        answers |= {job: answer for job, answer in ask(missing) if answer is not None}
        missing = [one for one in asked if one.job not in answers]
    return [answers[one.job] for one in asked]


def _register(ask: _Ask, jobs: Sequence[Register]) -> Iterator[tuple[str, Row]]:
    columns: Columns = {
        "job": _jobs(jobs),
        "watermark": [job.watermark for job in jobs],
        "schedule": [job.schedule for job in jobs],
    }
    return ((row[0], Row(*row)) for row in ask(sql.REGISTER, columns))


def _claim(ask: _Ask, claims: Sequence[Claim]) -> Iterator[tuple[str, Answer | None]]:
    columns: Columns = {
        "job": _jobs(claims),
        "slot": [claim.slot for claim in claims],
        "claim_id": [claim.claim_id for claim in claims],
        "lease": [claim.lease for claim in claims],
    }
    of_job = {claim.job: claim for claim in claims}
    return ((found[0], _answer(of_job[found[0]], *found[1:])) for found in ask(sql.CLAIM, columns))


def _answer(
    claim: Claim, fence: int | None, abandoned_slot: int | None, abandoned_by: str, now: int, *columns: Any
) -> Answer | None:
    """Return the answer; None where the row gives no reason why the claim was not won, because it has changed since."""
    if fence is not None:
        return Won(fence, abandoned_slot, abandoned_by)
    row = None if columns[0] is None else Row(claim.job, *columns)
    if row is not None and claim.slot <= row.watermark:
        return Lost(row)
    if row is not None and row.paused:
        return Paused()
    if claim.slot > now + EARLY_MS:
        return TooEarly(claim.slot - now)
    if row is not None and claim.lease is not None and row.lease is not None and row.lease > 0:
        return Held(row.lease)
    return None


def _connector(url: object, seconds: float) -> tuple[Callable[[], psycopg.Connection[tuple[Any, ...]]], str, str]:
    """Return what connects, the user and the place; ConfigError where the URL cannot work."""
    checked_scheme(url, POSTGRES)
    module = driver("psycopg", "postgres")
    given: dict[str, Any] | None = None
    with suppress(module.Error):
        given = module.conninfo.conninfo_to_dict(url)
    if given is None:
        raise url_error(url, "cannot be read; write postgresql://user:password@host:5432/database, and % as %25")
    hosts = str(given.get("host") or given.get("hostaddr") or "").split(",")
    parameters = {
        "fallback_application_name": "loopcron",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": ceil(seconds * 1000),
        # One of several may be a standby, which answers and takes no claims.
        "target_session_attrs": "read-write" if len(hosts) > 1 else "any",
        **given,
        "connect_timeout": max(2, ceil(seconds)),  # psycopg waits no less than 2 s
        "client_encoding": "utf8",
    }

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        # The client's cursor puts the values into the text itself: without that, several statements cannot be one text,
        # and a pooler would have to know of those that the driver prepares.
        connection: psycopg.Connection[tuple[Any, ...]] = module.connect(
            autocommit=True, prepare_threshold=None, cursor_factory=module.ClientCursor, **parameters
        )
        return connection

    return connect, str(given.get("user", "")), _place(hosts, given)


def _place(hosts: Sequence[str], given: dict[str, Any]) -> str:
    ports = str(given.get("port", 5432)).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = ",".join(f"{host or 'localhost'}:{port}" for host, port in zip(hosts, ports, strict=False))
    database = str(given.get("dbname", given.get("user", "")))
    # libpq takes anything as a name, such as another URL with a password in it.
    return places + (f"/{database}" if fullmatch(r"[\w.-]+", database) else "")
