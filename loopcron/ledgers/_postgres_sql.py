"""
The statements of `PostgresLedger`: each a single one, atomic and conditional, for many jobs in one round trip.

What is common to them: the time is always ``clock_timestamp()``, because ``now()`` is when the transaction began, and a
statement may wait for a row. Rows are locked in the order of their jobs' names, so that two batches never wait for each
other. Every parameter is cast: a text that the server binds would otherwise be guessed at.
"""

# ruff: noqa: S608 - nothing is put into the texts but constants of this file

from __future__ import annotations

import hashlib
from typing import Final, final

from loopcron._ledger import EARLY_MS

VERSION: Final = 1
"""Of the table; a newer one is refused."""

MIGRATION: Final = f"""\
create table if not exists loopcron_slot (
  namespace text collate "C" not null,
  job text collate "C" not null,
  watermark bigint not null,
  fence bigint not null default 0,
  claim_id text not null default '',
  finished boolean not null default true,
  lease_until bigint,
  outcome text not null default '',
  ended bigint,
  succeeded bigint,
  paused boolean not null default false,
  schedule text not null default '',
  abandoned_slot bigint,
  abandoned_by text not null default '',
  version integer not null default {VERSION},
  primary key (namespace, job)
) with (fillfactor = 50)"""
"""
Makes the table of `PostgresLedger`, where the application's own role may not: it then needs to select, insert and
update there. Run again it changes nothing. Instants are milliseconds from the epoch in UTC.
"""
# A batch writes all rows of a page at once, and what it replaces goes only after its commit: with half of each page
# left free the new rows stay on the page of the old ones. Else each update goes elsewhere and into the index too, and
# a thousand rows took 5.7 KB each after a hundred slots, not 0.4 KB.

INSPECT: Final = """\
select c.relpersistence::text, (
    select pg_get_expr(d.adbin, d.adrelid)
    from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = c.oid and a.attname = 'version')
from pg_class c where c.oid = to_regclass('loopcron_slot')"""
"""How the table is kept, and the version it was made in; no row where there is none."""

IN_TRANSACTION: Final = """\
set transaction isolation level read committed;
set local statement_timeout = %(limit)s;
set local synchronous_commit = on;
"""
"""
Stands before each statement in the same text, which the server takes as one transaction.

A role's or a database's own settings would have claims fail where they are to be lost, or forget them in a crash. The
limit, in milliseconds, lets nothing happen after the caller has given up. None of it stays behind in the session.
"""

_ASKED: Final = "ASKED a"
"""Stands in a text of a `Statement` for the jobs that are asked for, with a column for each of its parameters."""


@final
class Statement:
    """
    A statement for many jobs, and the same for a single one: they differ only in where the jobs' values come from.

    The single one is worth it: it finds its row where the other one may read all rows of the namespace, and it can be
    prepared, since its plan is right for any values, and is made anew once autovacuum has counted a table that grew.
    Most of what a claim took was to read and plan this text anew.

    Args:
        text: With `_ASKED` once.
        columns: The parameters besides the namespace, and their types. Each is a list in the statement for many.
    """

    def __init__(self, text: str, **columns: str) -> None:
        lists = ", ".join(f"%({name})s::{kind}[]" for name, kind in columns.items())
        values = ", ".join(f"%({name})s::{kind} as {name}" for name, kind in columns.items())
        self.for_many: Final = text.replace(_ASKED, f"unnest({lists}) as a ({', '.join(columns)})")
        self.for_one: Final = text.replace(_ASKED, f"(select {values}) a")
        numbers = {name: f"${number}" for number, name in enumerate(("namespace", *columns), start=1)}
        # Named by its text, so that no other release's is ever executed in its place.
        name = f"loopcron_{hashlib.sha1(self.for_one.encode(), usedforsecurity=False).hexdigest()}"
        self.prepare: Final = f"prepare {name} as {self.for_one % numbers}"
        self.execute: Final = f"execute {name} ({', '.join(f'%({name})s' for name in numbers)})"


_NOW = "floor(extract(epoch from clock_timestamp()) * 1000)::bigint"

_ROW = """s.watermark, s.fence, s.claim_id, s.finished, s.lease_until - n.now, s.outcome, s.ended, s.succeeded,
  s.paused, s.schedule"""
"""The columns of a `Row` behind its job."""

_CLAIM: Final = f"""\
with asked as (
  select * from {_ASKED}
), won as (
  insert into loopcron_slot as t (namespace, job, watermark, fence, claim_id, finished, lease_until)
  select %(namespace)s::text, a.job, a.slot, n.now, a.claim_id, false, n.now + a.lease
  from asked a cross join (select {_NOW} as now) n
    left join loopcron_slot s on s.namespace = %(namespace)s::text and s.job = a.job
  where s.claim_id = a.claim_id or (a.slot <= n.now + {EARLY_MS} and (s.job is null or s.watermark < a.slot))
  order by a.job collate "C"
  on conflict (namespace, job) do update set
    watermark = case when t.claim_id = excluded.claim_id then t.watermark else excluded.watermark end,
    fence = case when t.claim_id = excluded.claim_id then t.fence else greatest(t.fence + 1, {_NOW}) end,
    claim_id = excluded.claim_id,
    finished = t.claim_id = excluded.claim_id and t.finished,
    lease_until = case
      when t.claim_id = excluded.claim_id and (t.lease_until is null or excluded.lease_until is null)
      then t.lease_until else {_NOW} + excluded.lease_until - excluded.fence end,
    abandoned_slot = case
      when t.claim_id = excluded.claim_id then t.abandoned_slot when t.lease_until <= {_NOW} then t.watermark end,
    abandoned_by = case
      when t.claim_id = excluded.claim_id then t.abandoned_by when t.lease_until <= {_NOW} then t.claim_id
      else '' end
  where t.claim_id = excluded.claim_id or (
    t.watermark < excluded.watermark and not t.paused and excluded.watermark <= {_NOW} + {EARLY_MS}
    and (excluded.lease_until is null or t.lease_until is null or t.lease_until <= {_NOW}))
  returning t.job, t.fence, t.abandoned_slot, t.abandoned_by
)
select a.job, w.fence, w.abandoned_slot, w.abandoned_by, n.now, {_ROW}
from asked a left join won w on w.job = a.job
  left join loopcron_slot s on s.namespace = %(namespace)s::text and s.job = a.job
  cross join (select {_NOW} as now) n"""
CLAIM: Final = Statement(_CLAIM, job="text", slot="bigint", claim_id="text", lease="bigint")
"""
One row per job: what was won, the store's now, and the job's row as it stood when the statement began.

What is lost by that row is not even tried, so that losing costs no write. One that is tried waits for whoever has the
row and is judged by what that one leaves. ``excluded.fence`` is the now from which its lease was reckoned.
"""

_REGISTER: Final = f"""\
with asked as (
  select * from {_ASKED}
), made as (
  insert into loopcron_slot as t (namespace, job, watermark, schedule)
  select %(namespace)s::text, a.job, coalesce(a.watermark, {_NOW}), a.schedule
  from asked a left join loopcron_slot s on s.namespace = %(namespace)s::text and s.job = a.job
  where s.job is null
  order by a.job collate "C"
  on conflict do nothing
  returning t.*
), changed as (
  select t.job, a.schedule from loopcron_slot t join asked a on a.job = t.job
  where t.namespace = %(namespace)s::text and a.schedule <> '' and a.schedule <> t.schedule
  order by t.job collate "C" for update of t
), rewritten as (
  update loopcron_slot t set schedule = c.schedule from changed c
  where t.namespace = %(namespace)s::text and t.job = c.job
)
select s.job, {_ROW}
from (
  select * from made union all
  select t.* from loopcron_slot t join asked a on a.job = t.job where t.namespace = %(namespace)s::text
) s cross join (select {_NOW} as now) n"""
REGISTER: Final = Statement(_REGISTER, job="text", watermark="bigint", schedule="text")
"""The rows, with the schedule that was there before; one that somebody else is making just now is left out."""

_RENEW: Final = f"""\
with held as (
  select t.job, t.fence, a.lease
  from loopcron_slot t join {_ASKED} on a.job = t.job and a.fence = t.fence
  where t.namespace = %(namespace)s::text
  order by t.job collate "C" for update of t
)
update loopcron_slot t set lease_until = case when t.finished then null else {_NOW} + h.lease end from held h
where t.namespace = %(namespace)s::text and t.job = h.job and t.fence = h.fence
  and (t.finished and t.fence > 0 or t.lease_until > {_NOW})
returning t.job, t.fence"""
RENEW: Final = Statement(_RENEW, job="text", fence="bigint", lease="bigint")
"""The jobs and fences whose lease begins anew, or whose outcome is written."""

_FINISHED = f"""finished = true, lease_until = null, (outcome, ended, succeeded) = (
  select o.outcome, n.now, case when left(o.outcome, 9) = 'Succeeded' then n.now else t.succeeded end
  from (select {{outcome}} as outcome) o cross join (select {_NOW} as now) n)"""

_FINISH: Final = f"""\
with held as (
  select t.job, t.fence, a.outcome
  from loopcron_slot t join {_ASKED} on a.job = t.job and a.fence = t.fence
  where t.namespace = %(namespace)s::text
  order by t.job collate "C" for update of t
)
update loopcron_slot t set {_FINISHED.format(outcome="h.outcome")} from held h
where t.namespace = %(namespace)s::text and t.job = h.job and t.fence = h.fence and not t.finished
returning t.job, t.fence"""
FINISH: Final = Statement(_FINISH, job="text", fence="bigint", outcome="text")
"""The jobs and fences whose outcome was written."""

FINISH_SQL: Final = f"""\
update loopcron_slot t set {_FINISHED.format(outcome="%(outcome)s::text")}
where t.namespace = %(namespace)s::text and t.job = %(job)s::text and t.fence = %(fence)s::bigint and not t.finished"""
"""
Writes a slot's outcome within a transaction of yours, for drivers other than psycopg, with their own placeholders.

Where it changes no row another run has taken over, or this one was finished before: roll back. ``outcome`` is a text
such as ``Succeeded``.
"""

_PAUSE: Final = f"""\
insert into loopcron_slot as t (namespace, job, watermark, paused)
select %(namespace)s::text, a.job, {_NOW}, a.paused
from {_ASKED}
order by a.job collate "C"
on conflict (namespace, job) do update set paused = excluded.paused where t.paused <> excluded.paused"""
PAUSE: Final = Statement(_PAUSE, job="text", paused="boolean")

_PEEK: Final = f"""\
select s.job, {_ROW}
from loopcron_slot s join {_ASKED} on a.job = s.job cross join (select {_NOW} as now) n
where s.namespace = %(namespace)s::text"""
PEEK: Final = Statement(_PEEK, job="text")

_RESET: Final = f"""\
with found as (
  select t.job from loopcron_slot t join {_ASKED} on a.job = t.job
  where t.namespace = %(namespace)s::text
  order by t.job collate "C" for update of t
), s as (
  update loopcron_slot t set watermark = least(t.watermark, {_NOW}), lease_until = null from found f
  where t.namespace = %(namespace)s::text and t.job = f.job
  returning t.*
)
select s.job, {_ROW} from s cross join (select {_NOW} as now) n"""
RESET: Final = Statement(_RESET, job="text")
