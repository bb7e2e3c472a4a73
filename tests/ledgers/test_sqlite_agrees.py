"""The SQLite ledger answers as the memory ledger does, call by call, whatever is asked and wherever the clock jumps."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import anyio
from hypothesis import given
from hypothesis import strategies as st

from loopcron._instants import to_ms
from loopcron._ledger import Claim, Finish, Pause, Register, Renew, Won
from loopcron._outcomes import Failed, Succeeded
from loopcron.ledgers import MemoryLedger, SqliteLedger, _sqlite_table
from loopcron.testing import FakeClock

JOBS = st.sampled_from(["a", "b"])
OFFSETS = st.sampled_from([-200, -1, 0, 1, 49, 50, 51, 300])
LEASES = st.sampled_from([None, 1, 30, 1000])
OUTCOMES = st.sampled_from([Succeeded(), Succeeded(204), Failed("endpoint", "text", 503)])

STEPS = st.one_of(
    st.tuples(st.just("jump"), st.sampled_from([-100, 1, 2, 29, 30, 31, 999, 5000])),
    st.tuples(st.just("register"), JOBS, st.none() | OFFSETS, st.sampled_from(["", "every hour", "every day"])),
    st.tuples(st.just("claim"), JOBS, OFFSETS, st.sampled_from("xyz"), LEASES),
    st.tuples(st.just("claim"), JOBS, OFFSETS, st.sampled_from("xyz"), LEASES),  # twice as often as the others
    st.tuples(st.just("renew"), JOBS, st.booleans(), st.sampled_from([1, 30, 1000])),
    st.tuples(st.just("finish"), JOBS, st.booleans(), OUTCOMES),
    st.tuples(st.just("pause"), JOBS, st.booleans()),
    st.tuples(st.just("reset"), JOBS),
)


def call_of(step: tuple[Any, ...], now: int, fences: dict[str, int]) -> Any:
    """Return what the ledger is asked in this step."""
    kind, job, *rest = step
    fence = fences.get(job, 0)
    match kind, rest:
        case "register", [offset, schedule]:
            return Register(job, now, None if offset is None else now + offset, schedule=schedule)
        case "claim", [offset, claim_id, lease]:
            return Claim(job, now + offset, f"{claim_id}{now + offset}", lease)
        case "renew", [is_current, lease]:
            return Renew(job, now, fence if is_current else fence - 1, lease)
        case "finish", [is_current, outcome]:
            return Finish(job, now, fence if is_current else fence - 1, outcome)
        case "pause", [paused]:
            return Pause(job, now, paused)
        case _:
            return job


async def play(steps: list[tuple[Any, ...]], path: Path) -> None:
    """Ask both ledgers the same, and compare all they say."""
    clock, fences = FakeClock(), dict[str, int]()
    memory, sqlite = MemoryLedger(clock), SqliteLedger(path)
    for step in steps:
        if step[0] == "jump":
            clock.jump_wall(timedelta(milliseconds=step[1]))
            continue
        now = to_ms(clock.now())
        call = call_of(step, now, fences)
        with mock.patch.object(_sqlite_table, "_NOW", f"select {now}"):
            answers = [await getattr(ledger, step[0])([call]) for ledger in (memory, sqlite)]
            rows = [await ledger.peek(["a", "b"]) for ledger in (memory, sqlite)]
        assert answers[0] == answers[1], call
        assert rows[0] == rows[1], call
        if step[0] == "claim" and isinstance(answers[0][0], Won):
            fences[call.job] = answers[0][0].fence
    await sqlite.close()


@given(steps=st.lists(STEPS, max_size=25))
def test_sqlite_agrees_with_memory(steps: list[tuple[Any, ...]]) -> None:
    """Whatever is asked in whatever order, both ledgers give the same answers and show the same rows."""
    with TemporaryDirectory() as directory:
        anyio.run(play, steps, Path(directory) / "loopcron.db")
