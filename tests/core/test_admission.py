"""Who may in at a guarded endpoint: headers read, fences compared, answers understood, and nothing echoed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loopcron import Overlap, RefusalReason, Run, SlotRefusedError, any_of, at, cron, every
from loopcron._admission import Ticket, check_answer, check_fence, lease_of, newest_slot, read_ticket
from loopcron._errors import REFUSAL_STATUSES
from loopcron._instants import iso
from loopcron._ledger import Answer, Held, Lost, Paused, Row, TooEarly, Unavailable, Won
from loopcron._outcomes import Backstage, Reason

SLOT = 1_772_332_200_000
FENCE = 1_772_332_200_017
GOOD = {
    "Idempotency-Key": f"sync@{iso(SLOT)}",
    "Loopcron-Job": "sync",
    "Loopcron-Slot": iso(SLOT),
    "Loopcron-Attempt": "1",
    "Loopcron-Reason": "schedule",
    "Loopcron-Fence": str(FENCE),
}
MANUAL = GOOD | {
    "Idempotency-Key": f"sync@manual-{'a1' * 16}",
    "Loopcron-Reason": "manual",
    "Loopcron-Fence": "0",
}


def changed(base: dict[str, str], **changes: str | None) -> list[tuple[str, str]]:
    """Return headers with some of them replaced, or left out where None."""
    names = {name.replace("-", "_").lower(): name for name in base}
    headers = base | {names[key]: cast("str", value) for key, value in changes.items()}
    return [(name, value) for name, value in headers.items() if value is not None]


def refusal_if_any(call: Any, *args: Any) -> SlotRefusedError | None:
    """Return how *call* refuses; None if it does not."""
    try:
        call(*args)
    except SlotRefusedError as refusal:
        return refusal
    return None


def refusal_of(call: Any, *args: Any) -> SlotRefusedError:
    """Return how *call* refuses."""
    refusal = refusal_if_any(call, *args)
    assert refusal is not None
    return refusal


def row(fence: int, *, finished: bool = False) -> Row:
    """Return a row whose newest claim has this fence."""
    return Row("sync", SLOT, fence, "somebody", finished)


# --- headers


@given(
    slot=st.integers(-62_135_596_800_000, 253_402_300_799_999),
    reason=st.sampled_from(get_args(Reason)),
    fence=st.integers(1, 2**63 - 1),
    job=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
)
def test_reads_what_a_run_writes(slot: int, reason: Reason, fence: int, job: str) -> None:
    """The headers of any run are read back as its slot and its fence, whatever the case of their names."""
    is_manual = reason == "manual"
    key = f"{job}@manual-{'0f' * 16}" if is_manual else None
    fence = 0 if is_manual else fence
    run = Run(job, slot, 1, 1, reason, fence, None, key, cast("Backstage", None))
    ticket = Ticket(slot, fence, is_manual)
    assert read_ticket(job, run.headers()) == ticket
    assert read_ticket(job, [(name.swapcase(), value) for name, value in run.headers()]) == ticket


@pytest.mark.parametrize(
    "headers",
    [[], [("Host", "x")], [("Idempotency-Key", "its own"), ("idempotency-key", "twice")], [("Loopcron-Attempt", "1")]],
    ids=["none", "others", "key", "attempt"],
)
def test_caller_without_our_headers_is_outside(headers: list[tuple[str, str]]) -> None:
    """Who names no run comes from outside, even with idempotency keys of its own."""
    assert read_ticket("sync", headers) is None


def test_key_and_reason_may_be_missing() -> None:
    """A proxy that drops the idempotency key, or the reason, keeps nobody out."""
    headers = changed(GOOD, idempotency_key=None, loopcron_reason=None)
    assert read_ticket("sync", headers) == Ticket(SLOT, FENCE)


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        (changed(GOOD, loopcron_job="other"), "loopcron-job names another job"),
        (changed(GOOD, loopcron_job=None), "loopcron-job is missing"),
        (changed(GOOD, loopcron_slot=None), "loopcron-slot is missing"),
        (changed(GOOD, loopcron_fence=None), "loopcron-fence is missing"),
        (changed(GOOD, loopcron_slot="2026-13-01T00:00:00.000Z"), "loopcron-slot is no instant"),
        (changed(GOOD, loopcron_slot="2026-03-01T00:00:00Z"), "loopcron-slot is no instant"),
        (changed(GOOD, loopcron_slot=iso(SLOT) + "\n"), "loopcron-slot is no instant"),
        (changed(GOOD, loopcron_slot=iso(SLOT).replace("2", "٢")), "loopcron-slot is no instant"),
        (changed(GOOD, loopcron_fence="-1"), "loopcron-fence is no whole number"),
        (changed(GOOD, loopcron_fence="٣"), "loopcron-fence is no whole number"),
        (changed(GOOD, loopcron_fence="007"), "loopcron-fence is no whole number"),
        (changed(GOOD, loopcron_fence="9" * 5000), "loopcron-fence is no whole number"),
        (changed(GOOD, loopcron_fence="1e3"), "loopcron-fence is no whole number"),
        (changed(GOOD, loopcron_reason="because"), "loopcron-reason is none that there is"),
        (changed(GOOD, idempotency_key=f"sync@{iso(SLOT + 1)}"), "idempotency-key is that of another run"),
        (changed(GOOD, idempotency_key=f"other@{iso(SLOT)}"), "idempotency-key is that of another run"),
        (changed(GOOD, loopcron_reason="manual"), "a manual run has none"),
        (changed(MANUAL, idempotency_key=GOOD["Idempotency-Key"]), "idempotency-key is that of another run"),
        (changed(MANUAL, idempotency_key="sync@manual-<script>"), "idempotency-key is that of another run"),
        ([*changed(GOOD), ("loopcron-fence", "1")], "loopcron-fence is given twice"),
        ([*changed(GOOD), ("Idempotency-Key", "mine")], "idempotency-key is that of another run"),
    ],
)
def test_contradictory_headers_are_refused(headers: list[tuple[str, str]], detail: str) -> None:
    """Headers that no scheduler sends for this job are a 400, which says which one is wrong."""
    refusal = refusal_of(read_ticket, "sync", headers)
    assert (refusal.status, refusal.reason) == (400, "malformed")
    assert detail in refusal.detail


HOSTILE = st.text(st.characters(codec="utf-8")) | st.sampled_from(["9" * 10**6, "\x00", "<script>", "\udcff", "²"])


@given(
    st.lists(
        st.tuples(st.sampled_from([*GOOD, "loopcron-slot", "X"]), st.sampled_from([*GOOD.values()]) | HOSTILE),
        max_size=8,
    )
)
@example([("Loopcron-Job", "sync"), ("Loopcron-Slot", "\x00" * 10**5), ("Loopcron-Fence", "1")])
def test_hostile_headers_are_read_or_refused(headers: list[tuple[str, str]]) -> None:
    """Whatever the headers hold, they name a run, name none, or are refused in words that repeat nothing of them."""
    refusal = refusal_if_any(read_ticket, "sync", headers)
    if refusal is not None:
        assert refusal.reason == "malformed"
        assert refusal.detail.isascii()
        assert refusal.detail.isprintable()
        assert len(json.dumps(refusal.body)) < 200
        for _, value in headers:
            assert len(value) < 20 or value not in refusal.detail


# --- fences


@given(st.integers(1, 2**63), st.integers(1, 2**63), st.booleans(), st.sampled_from(Overlap))
@example(5, 5, True, Overlap.SKIP)
@example(5, 5, False, Overlap.ALLOW)
def test_only_the_newest_unfinished_claim_is_let_in(held: int, known: int, finished: bool, overlap: Overlap) -> None:
    """A run is let in while no larger fence is known, or runs may overlap, and it has no outcome."""
    refusal = refusal_if_any(check_fence, "sync", Ticket(SLOT, held), row(known, finished=finished), overlap)
    refused = refusal and (refusal.status, refusal.reason)
    if known > held and overlap is not Overlap.ALLOW:
        assert refused == (412, "stale")
    elif known == held and finished:
        assert refused == (409, "finished")
    else:
        assert refused is None


def test_run_is_let_in_where_the_row_is_gone() -> None:
    """A store that has lost its rows knows of nobody newer."""
    check_fence("sync", Ticket(SLOT, FENCE), None, Overlap.SKIP)


# --- slots and leases


@given(st.integers(0, 4_000_000_000_000), st.sampled_from([every(minutes=15), every(hours=1, phase="spread")]))
def test_newest_slot_is_the_last_that_came(now: int, schedule: Any) -> None:
    """The slot that a caller from outside claims has come, and the next one has not."""
    slot = newest_slot("sync", schedule, now)
    assert slot <= now < schedule.bound("sync", 0).next_ms(slot)


@pytest.mark.parametrize(
    "schedule",
    [every(hours=1, anchor="start"), any_of(every(hours=1, anchor="start"), cron("0 0 * * *"))],
    ids=["every", "any_of"],
)
def test_slots_from_a_start_cannot_be_claimed(schedule: Any) -> None:
    """Where each process has slots of its own there is none that a caller from outside could mean."""
    refusal = refusal_of(newest_slot, "sync", schedule, SLOT)
    assert (refusal.status, refusal.reason) == (409, "no_slot")


def test_schedule_without_a_slot_yet() -> None:
    """Before the first slot there is nothing to claim."""
    refusal = refusal_of(newest_slot, "sync", at(datetime(2100, 1, 1, tzinfo=UTC)), SLOT)
    assert (refusal.status, refusal.reason) == (409, "no_slot")


@pytest.mark.parametrize(
    ("schedule", "lease"),
    [
        (every(seconds=1), 2_000),
        (every(seconds=10), 5_000),
        (every(minutes=15), 30_000),
        (at(datetime.fromtimestamp(SLOT / 1000, UTC)), 30_000),
    ],
    ids=["1 s", "10 s", "15 min", "once"],
)
def test_lease_is_half_the_period_within_bounds(schedule: Any, lease: int) -> None:
    """A claim from outside asks for the lease that a scheduler's would; with overlap allow for none."""
    slot = newest_slot("sync", schedule, SLOT)
    assert lease_of("sync", schedule, Overlap.QUEUE, slot) == lease
    assert lease_of("sync", schedule, Overlap.ALLOW, slot) is None


# --- answers


@pytest.mark.parametrize(
    ("answer", "status", "reason", "retry_after"),
    [
        (Lost(row(FENCE)), 409, "taken", None),
        (Held(1), 409, "held", None),
        (Paused(), 409, "paused", None),
        (TooEarly(51), 503, "early", "1"),
        (TooEarly(2001), 503, "early", "3"),
        (Unavailable("password: hunter2"), 503, "ledger", "2"),
    ],
    ids=str,
)
def test_lost_claims_are_refused(answer: Answer, status: int, reason: str, retry_after: str | None) -> None:
    """Every answer but a win is a refusal of its own, which tells nothing of the store."""
    refusal = refusal_of(check_answer, "sync", answer)
    assert (refusal.status, refusal.reason) == (status, reason)
    assert refusal.headers == ({} if retry_after is None else {"Retry-After": retry_after})
    assert refusal.body == {"job": "sync", "reason": reason, "detail": refusal.detail}
    assert "hunter2" not in repr((refusal, refusal.body))


def test_won_claim_is_let_in() -> None:
    """A win comes back with its fence."""
    assert check_answer("sync", Won(FENCE)).fence == FENCE


def test_every_reason_has_a_status() -> None:
    """No refusal is without an HTTP status."""
    assert set(REFUSAL_STATUSES) == set(get_args(RefusalReason))
