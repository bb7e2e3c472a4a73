"""The one script that makes each call on a row in Redis atomic, by the server's own clock, and how its answers read."""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

from loopcron._ledger import EARLY_MS, Answer, Held, Lost, Paused, Row, TooEarly, Won

VERSION: Final = "1"
"""The layout of a row's hash; a script that finds another one touches nothing."""

# Each operation writes once, in one HSET: a server that is out of memory refuses a write, but not what follows one
# that it took. Numbers go through text(), because Lua would turn them into 1.7e+12. An empty lease_until is none.
_TEXT: Final = """
local operation = ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local function write(...)
  redis.call('HSET', KEYS[1], 'version', '$VERSION', ...)
end

local row = redis.pcall('HMGET', KEYS[1], 'version', 'watermark', 'fence', 'claim_id', 'finished', 'lease_until',
  'outcome', 'ended', 'succeeded', 'paused', 'schedule')
if row.err then
  if string.find(row.err, 'WRONGTYPE', 1, true) then return {'foreign'} end
  return row
end
local version, watermark, fence, claim_id, finished, lease_until = row[1], row[2], row[3], row[4], row[5], row[6]
local outcome, ended, succeeded, paused, schedule = row[7], row[8], row[9], row[10], row[11]
local exists = version ~= false
if exists and version ~= '$VERSION' then return {'version', version} end
if exists and not (tonumber(watermark) and tonumber(fence or '0')) then return {'foreign'} end
fence = fence or '0'
lease_until = tonumber(lease_until)

local function answer(kind)
  local lease = lease_until and text(lease_until - now)
  return {kind, watermark, fence, claim_id, finished, lease or false, outcome, ended, succeeded, paused, schedule}
end

if operation == 'claim' then
  local slot, lease = tonumber(ARGV[2]), tonumber(ARGV[4])
  if claim_id == ARGV[3] then
    if lease_until and lease then write('lease_until', text(now + lease)) end
    return {'won', fence}
  end
  if exists and slot <= tonumber(watermark) then return answer('lost') end
  if paused == '1' then return {'paused'} end
  if slot > now + $EARLY_MS then return {'early', text(slot - now)} end
  if lease and lease_until and lease_until > now then return {'held', text(lease_until - now)} end
  local risen = text(math.max(tonumber(fence) + 1, now))
  local until_then = lease and text(now + lease) or ''
  write('watermark', ARGV[2], 'fence', risen, 'claim_id', ARGV[3], 'finished', '0', 'lease_until', until_then)
  if lease_until and lease_until <= now then return {'won', risen, watermark, claim_id} end
  return {'won', risen}
end

if operation == 'renew' then
  if fence ~= ARGV[2] then return {'no'} end
  if finished == '1' and fence ~= '0' then return {'yes'} end
  if not lease_until or lease_until <= now then return {'no'} end
  write('lease_until', text(now + ARGV[3]))
  return {'yes'}
end

if operation == 'finish' then
  if fence ~= ARGV[2] or finished ~= '0' then return {'no'} end
  local last = ARGV[4] == '1' and text(now) or succeeded or ''
  write('finished', '1', 'lease_until', '', 'outcome', ARGV[3], 'ended', text(now), 'succeeded', last)
  return {'yes'}
end

if operation == 'register' then
  if not exists then
    watermark, schedule = (ARGV[2] ~= '' and ARGV[2] or text(now)), ARGV[3]
    write('watermark', watermark, 'schedule', schedule)
  elseif ARGV[3] ~= '' and ARGV[3] ~= schedule then
    write('schedule', ARGV[3])
  end
  return answer('row')
end

if operation == 'pause' then
  if exists then write('paused', ARGV[2]) else write('watermark', text(now), 'paused', ARGV[2]) end
  return {'yes'}
end

if not exists then return {'none'} end
if operation == 'reset' then
  watermark, lease_until = text(math.min(tonumber(watermark), now)), nil
  write('watermark', watermark, 'lease_until', '')
end
return answer('row')
"""

SCRIPT: Final = _TEXT.replace("$VERSION", VERSION).replace("$EARLY_MS", str(EARLY_MS))
"""
The script. KEYS: the row's key. ARGV: the operation (claim, renew, finish, register, pause, reset, peek) and its own.

claim: slot, claim id, lease or "". renew: fence, lease. finish: fence, outcome, whether it is a success. register:
watermark or "", schedule. pause: whether it is paused. Flags are 1 and 0. The answer is an array of texts, and its
first one says what it is.
"""

SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""By which a server that knows the script is asked to run it."""


class Foreign(NamedTuple):
    """An answer: the key holds no row that this release can read."""

    words: str


def foreign_in(reply: list[Any]) -> Foreign | None:
    """Return what is wrong with the key, None if nothing is."""
    match reply:
        case [b"foreign"]:
            return Foreign("its key holds something that is no row of loopcron's")
        case [b"version", version]:
            return Foreign(
                f"its row has layout {_text(version)[:20]!r} and this release knows {VERSION}: use the same everywhere"
            )
        case _:
            return None


def to_bool(_job: str, reply: list[Any]) -> bool:
    """Read the answer to renew, finish and pause."""
    return bool(reply == [b"yes"])


def to_row_or_none(job: str, reply: list[Any]) -> Row | None:
    """Read the answer to peek and reset."""
    return None if reply == [b"none"] else to_row(job, reply)


def to_row(job: str, reply: list[Any]) -> Row:
    """Read a row."""
    _, watermark, fence, claim_id, finished, lease, outcome, ended, succeeded, paused, schedule = reply
    return Row(
        job,
        int(watermark),
        int(fence),
        _text(claim_id),
        finished != b"0",
        _number(lease),
        _text(outcome),
        _number(ended),
        _number(succeeded),
        paused == b"1",
        _text(schedule),
    )


def to_answer(job: str, reply: list[Any]) -> Answer:
    """Read the answer to claim."""
    match reply:
        case [b"won", fence]:
            return Won(int(fence))
        case [b"won", fence, slot, claim_id]:
            return Won(int(fence), int(slot), _text(claim_id))
        case [b"paused"]:
            return Paused()
        case [b"early", by]:
            return TooEarly(int(by))
        case [b"held", duration]:
            return Held(int(duration))
        case _:
            return Lost(to_row(job, reply))


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(value: bytes | None) -> int | None:
    return int(value) if value else None
