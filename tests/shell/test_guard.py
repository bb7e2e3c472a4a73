"""The guard of an endpoint: who comes first runs the slot, zombies stay out, and a lost lease ends what runs."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

import anyio
import pytest

from loopcron import (
    ConfigError,
    FencedError,
    FunctionJob,
    HttpJob,
    MemoryLedger,
    Run,
    Scheduler,
    SchedulerClosedError,
    SlotGuard,
    SlotPass,
    SlotRefusedError,
    SystemClock,
    UnknownJobError,
    every,
)
from loopcron._instants import iso, to_ms
from loopcron._ledger import Claim, Finish, Held, Pause, Row, Won
from loopcron._outcomes import Succeeded
from loopcron._spawn import in_trio
from loopcron.testing import FakeClock
from tests.conftest import require_or_skip

HANG_SECONDS = 20.0
"""How long anything may take in here; only a failure takes so long."""


class Store:
    """A memory ledger whose calls can fail, answer rubbish, or take place without an answer."""

    is_shared = True

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.rows = MemoryLedger(clock)
        self.down: set[str] = set()
        self.answers_lost: dict[str, int] = {}
        self.delays: dict[str, timedelta] = {}
        self.hanging: set[str] = set()
        self.rubbish: list[Any] | None = None
        self.calls: list[str] = []

    async def _call(self, name: str, items: Sequence[Any]) -> Any:
        self.calls.append(name)
        if name in self.hanging:
            await anyio.sleep_forever()
        if name in self.down:
            raise OSError("no route to hunter2")
        answers = await getattr(self.rows, name)(items)
        if name in self.delays:
            await self.clock.advance(self.delays[name])
        if self.answers_lost.get(name, 0) > 0:
            self.answers_lost[name] -= 1
            raise TimeoutError
        return answers if self.rubbish is None else self.rubbish

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._call, name)

    async def row(self) -> Row:
        """Return the row of the job."""
        [row] = await self.rows.peek(["sync"])
        assert row is not None
        return row


class Scene:
    """A job every quarter of an hour, its store and clock, and a guard for its endpoint."""

    def __init__(self, **policy: Any) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.job = HttpJob("sync", every(minutes=15), "/sync", **policy)

    @property
    def slot(self) -> int:
        """The newest slot."""
        return to_ms(self.clock.now()) // 900_000 * 900_000

    def guard(self, on_ledger_error: Literal["skip", "fire"] = "skip") -> SlotGuard:
        """Return a guard."""
        return SlotGuard(self.store, self.job, clock=self.clock, on_ledger_error=on_ledger_error)

    async def wait(self, **duration: float) -> None:
        """Let time pass, second by second, so that whoever wakes can go back to sleep."""
        left = timedelta(**duration)
        while left > timedelta(0):
            await anyio.wait_all_tasks_blocked()
            step = min(left, timedelta(seconds=1))
            await self.clock.advance(step)
            left -= step
        await anyio.wait_all_tasks_blocked()

    async def win(self, claim_id: str = "scheduler", *, later: int = 0) -> int:
        """Claim the newest slot as a scheduler does, or a later one, and return the fence."""
        slot = self.slot + later * 900_000
        [answer] = await self.store.rows.claim([Claim("sync", slot, claim_id, 30_000)])
        assert isinstance(answer, Won)
        return answer.fence

    def headers(self, fence: int, reason: str = "schedule") -> list[tuple[str, str]]:
        """Return what a scheduler's request for the newest slot has."""
        return [
            ("Loopcron-Job", "sync"),
            ("Loopcron-Slot", iso(self.slot)),
            ("Loopcron-Fence", str(fence)),
            ("Loopcron-Reason", reason),
        ]


@pytest.fixture
async def scene() -> Scene:
    """Return a scene."""
    return Scene()


async def refusal_of(guard: SlotGuard, headers: Sequence[tuple[str, str]] = ()) -> SlotRefusedError:
    """Return how *guard* refuses these headers, without letting them in."""
    with anyio.fail_after(HANG_SECONDS), pytest.raises(SlotRefusedError) as caught:
        async with guard.admit(headers):
            pytest.fail("was let in")
    return caught.value


@asynccontextmanager
async def admitted(guard: SlotGuard, headers: Sequence[tuple[str, str]] = ()) -> AsyncIterator[SlotPass]:
    """Let these headers in, for a while."""
    with anyio.fail_after(HANG_SECONDS):
        async with guard.admit(headers) as slot_pass:
            yield slot_pass


async def cut(scene: Scene, endpoint: Callable[[], Awaitable[object]]) -> SlotRefusedError:
    """Return how the guard refuses a caller from outside after the endpoint has begun."""

    async def request() -> None:
        async with scene.guard().admit([]):
            await endpoint()
            pytest.fail("went on")

    with anyio.fail_after(HANG_SECONDS), pytest.raises(SlotRefusedError) as caught:
        await request()
    return caught.value


# --- a scheduler's requests


async def test_run_of_the_newest_claim_is_let_in(scene: Scene) -> None:
    """The scheduler's request is let in with its slot and fence, as often as it is retried, and nothing is written."""
    fence = await scene.win()
    for _ in range(2):
        async with admitted(scene.guard(), scene.headers(fence)) as slot_pass:
            assert (slot_pass.job, to_ms(slot_pass.slot), slot_pass.fence) == ("sync", scene.slot, fence)
            assert slot_pass.caller == "scheduler"
            assert slot_pass.key == f"sync@{iso(scene.slot)}"
            assert repr(slot_pass) == f"<SlotPass sync@{iso(scene.slot)}, scheduler>"
    assert not (await scene.store.row()).finished
    assert scene.store.calls == ["peek", "peek"]


async def test_zombie_is_refused(scene: Scene) -> None:
    """Once the job was claimed anew, a request under the old fence is a 412."""
    stale = scene.headers(await scene.win())
    await scene.clock.advance(timedelta(minutes=15))
    fence = await scene.win("successor")
    refusal = await refusal_of(scene.guard(), stale)
    assert (refusal.status, refusal.reason) == (412, "stale")
    async with admitted(scene.guard(), scene.headers(fence)):
        pass


async def test_older_run_is_let_in_where_runs_may_overlap() -> None:
    """With overlap allow an older claim is no zombie's."""
    scene = Scene(overlap="allow")
    older = scene.headers(await scene.win())
    await scene.clock.advance(timedelta(minutes=15))
    await scene.win("next")
    async with admitted(scene.guard(), older):
        pass


async def test_replay_of_a_finished_run_is_refused(scene: Scene) -> None:
    """A request whose run has its outcome already is a 409."""
    fence = await scene.win()
    await scene.store.rows.finish([Finish("sync", scene.slot, fence, Succeeded(200))])
    refusal = await refusal_of(scene.guard(), scene.headers(fence))
    assert (refusal.status, refusal.reason) == (409, "finished")


async def test_manual_run_is_let_in_without_the_ledger(scene: Scene) -> None:
    """A manual run has no slot to guard, whatever the ledger knows or does."""
    await scene.win()
    scene.store.down = {"peek", "claim"}
    async with admitted(scene.guard(), scene.headers(0, "manual")) as slot_pass:
        assert (slot_pass.caller, slot_pass.fence) == ("manual", 0)
    assert scene.store.calls == []


async def test_malformed_request_asks_nothing(scene: Scene) -> None:
    """A request with contradictory headers is a 400, and the ledger is not asked."""
    refusal = await refusal_of(scene.guard(), [("Loopcron-Job", "<b>"), *scene.headers(1)[1:]])
    assert (refusal.status, refusal.reason) == (400, "malformed")
    assert scene.store.calls == []


async def test_run_fired_without_the_ledger_claims_its_slot(scene: Scene) -> None:
    """A scheduler that fired without a claim gets one here, if the slot can still be had."""
    async with admitted(scene.guard(), scene.headers(0)) as slot_pass:
        assert (slot_pass.caller, slot_pass.fence > 0) == ("outside", True)
    refusal = await refusal_of(scene.guard(), scene.headers(0))
    assert refusal.reason == "taken"


# --- callers from outside


async def test_caller_from_outside_runs_the_newest_slot_once(scene: Scene) -> None:
    """The first caller claims the slot; who comes meanwhile or afterwards gets a 409, the scheduler's claim is lost."""
    async with admitted(scene.guard()) as slot_pass:
        assert (slot_pass.caller, to_ms(slot_pass.slot)) == ("outside", scene.slot)
        slot_pass.status = 201
        row = await scene.store.row()
        assert (row.watermark, row.fence, row.lease) == (scene.slot, slot_pass.fence, 30_000)
        assert row.claim_id.startswith("outside-")
        assert (await refusal_of(scene.guard())).reason == "taken"
    row = await scene.store.row()
    assert (row.finished, row.lease, row.outcome) == (True, None, "Succeeded 201")
    refusal = await refusal_of(scene.guard())
    assert (refusal.status, refusal.reason) == (409, "taken")


async def test_one_of_many_callers_runs_the_slot(scene: Scene) -> None:
    """Of many callers at once one is let in, and all others are refused."""
    told: list[str] = []

    async def call() -> None:
        try:
            async with scene.guard().admit([]):
                await anyio.wait_all_tasks_blocked()
                told.append("ran")
        except SlotRefusedError as refusal:
            told.append(refusal.reason)

    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
    assert sorted(told) == ["ran", *["taken"] * 49]


async def test_caller_from_outside_comes_second(scene: Scene) -> None:
    """After the scheduler's claim of the slot a caller from outside gets a 409."""
    await scene.win()
    assert (await refusal_of(scene.guard())).reason == "taken"


async def test_next_slot_waits_for_the_lease(scene: Scene) -> None:
    """While a run holds the lease, the next slot is a 409 to a caller from outside."""
    await scene.clock.advance(timedelta(minutes=15) - timedelta(seconds=to_ms(scene.clock.now()) / 1000 % 900 + 1))
    await scene.win()
    await scene.clock.advance(timedelta(seconds=2))
    refusal = await refusal_of(scene.guard())
    assert (refusal.status, refusal.reason) == (409, "held")


async def test_paused_job_is_refused(scene: Scene) -> None:
    """A pause holds for callers from outside too."""
    await scene.store.rows.pause([Pause("sync", 0, paused=True)])
    await scene.clock.advance(timedelta(minutes=15))
    assert (await refusal_of(scene.guard())).reason == "paused"


async def test_store_behind_the_clock_says_when(scene: Scene) -> None:
    """A slot that has not come by the store's clock is a 503 with the wait."""
    scene.store.rows = MemoryLedger(FakeClock(scene.clock.now() - timedelta(minutes=15)))
    refusal = await refusal_of(scene.guard())
    assert (refusal.status, refusal.reason) == (503, "early")
    assert 0 < int(refusal.headers["Retry-After"]) <= 900


@pytest.mark.parametrize(
    ("status", "outcome"), [(None, "Succeeded"), (204, "Succeeded 204"), (409, "Busy"), (500, "Failed endpoint 500")]
)
async def test_outcome_follows_from_the_status(scene: Scene, status: int | None, outcome: str) -> None:
    """What the endpoint answers becomes the outcome in the row, as the job itself reads a status."""
    async with admitted(scene.guard()) as slot_pass:
        slot_pass.status = status
    assert (await scene.store.row()).outcome == outcome


async def test_status_that_the_job_expects_is_success() -> None:
    """What an `HttpJob` takes for success is one for a caller from outside too."""
    scene = Scene(expected={302})
    async with admitted(scene.guard()) as slot_pass:
        slot_pass.status = 302
    assert (await scene.store.row()).outcome == "Succeeded 302"


@pytest.mark.parametrize(("status", "outcome"), [(None, "Failed job"), (503, "Failed endpoint 503")])
async def test_exception_is_the_outcome_and_comes_out(scene: Scene, status: int | None, outcome: str) -> None:
    """An endpoint that raises has failed, or has the status that its exception stands for; the exception comes out."""

    async def request() -> None:
        async with admitted(scene.guard()) as slot_pass:
            slot_pass.status = status
            raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        await request()
    row = await scene.store.row()
    assert (row.finished, row.lease, row.outcome) == (True, None, outcome)


async def test_cancelled_endpoint_writes_its_outcome(scene: Scene) -> None:
    """Where the request itself is cancelled the outcome is written all the same."""
    with anyio.move_on_after(0.01) as scope:
        async with scene.guard().admit([]):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    row = await scene.store.row()
    assert (row.finished, row.lease, row.outcome) == (True, None, "Failed endpoint")


async def test_endpoint_may_finish_by_itself(scene: Scene) -> None:
    """What wrote the outcome in a transaction of its own leaves the guard nothing to write."""
    async with admitted(scene.guard()) as slot_pass:
        finish = Finish(slot_pass.job, to_ms(slot_pass.slot), slot_pass.fence, Succeeded(299))
        assert await scene.store.rows.finish([finish]) == [True]
        slot_pass.finished = True
        slot_pass.status = 500
    assert (await scene.store.row()).outcome == "Succeeded 299"
    assert "finish" not in scene.store.calls


async def test_overlap_allow_needs_no_lease() -> None:
    """With overlap allow a caller from outside gets slot and fence, and nothing to renew."""
    scene = Scene(overlap="allow")
    async with admitted(scene.guard()) as slot_pass:
        assert (await scene.store.row()).lease is None
        await scene.clock.advance(timedelta(minutes=15))
        async with admitted(scene.guard()) as second:
            assert second.fence > slot_pass.fence
    assert "renew" not in scene.store.calls


# --- leases


async def test_lease_is_renewed_while_the_endpoint_runs(scene: Scene) -> None:
    """The lease is renewed every third of its length, so that nobody else gets the job for as long as it takes."""
    async with admitted(scene.guard()) as slot_pass:
        await scene.wait(minutes=20)
        [answer] = await scene.store.rows.claim([Claim("sync", scene.slot, "other", 30_000)])
        assert isinstance(answer, Held)
        slot_pass.status = 200
    assert 100 <= scene.store.calls.count("renew") <= 130
    assert (await scene.store.row()).outcome == "Succeeded 200"


async def test_lost_lease_cancels_the_endpoint(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """When somebody else has the job, the endpoint is cancelled, and the caller gets a 409."""

    async def endpoint() -> None:
        await scene.store.rows.reset(["sync"])
        await scene.wait(minutes=1)

    refusal = await cut(scene, endpoint)
    assert (refusal.status, refusal.reason) == (409, "lease_lost")
    assert "the lease is lost" in caplog.text
    assert "finish" not in scene.store.calls


@pytest.mark.parametrize("how", ["down", "hanging"])
async def test_lease_that_cannot_be_renewed_ends(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """While the store cannot be asked the lease is relied on until shortly before its end, and no longer."""
    scene = Scene()
    scene.job = HttpJob("sync", every(seconds=2), "/sync")
    began = scene.clock.monotonic()

    async def endpoint() -> None:
        getattr(scene.store, how).add("renew")
        while True:  # the call's own limit is in real time
            await scene.clock.advance(timedelta(seconds=0.1))
            await anyio.sleep(0.01)

    refusal = await cut(scene, endpoint)
    assert (refusal.status, refusal.reason) == (503, "ledger")
    assert how == "hanging" or scene.clock.monotonic() - began == pytest.approx(1.0, abs=0.11)
    assert "the lease is lost" in caplog.text
    assert "hunter2" not in str(refusal.body)


@pytest.mark.parametrize("by", [timedelta(minutes=1), timedelta(hours=1)], ids=str)
async def test_suspend_ends_the_lease(scene: Scene, by: timedelta) -> None:
    """A machine that slept past the lease relies on it no longer, though its monotonic hand stood still."""

    async def endpoint() -> None:
        await anyio.wait_all_tasks_blocked()
        scene.clock.jump_wall(by)
        await scene.wait(seconds=11)

    assert (await cut(scene, endpoint)).reason == "ledger"
    assert "renew" not in scene.store.calls


async def test_store_comes_back_in_time(scene: Scene) -> None:
    """A renewal that failed is repeated, and the endpoint notices nothing."""
    async with admitted(scene.guard()) as slot_pass:
        scene.store.down = {"renew"}
        await scene.wait(seconds=15)
        scene.store.down = set()
        await scene.wait(minutes=5)
        slot_pass.status = 200
    assert (await scene.store.row()).outcome == "Succeeded 200"


async def test_broken_clock_ends_the_lease(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that nobody can renew any more counts as lost."""

    async def sleep(seconds: float) -> None:
        raise RuntimeError("no time")

    monkeypatch.setattr(scene.clock, "sleep", sleep)
    assert (await cut(scene, anyio.sleep_forever)).reason == "ledger"


async def test_answer_that_came_too_late_lets_nobody_in(scene: Scene) -> None:
    """Where the lease is as good as over when its claim is answered, the endpoint does not begin."""
    scene.store.delays["claim"] = timedelta(seconds=27)
    assert (await refusal_of(scene.guard())).reason == "ledger"
    assert scene.store.calls == ["claim"]


async def test_renewing_that_somebody_cancels_ends_the_lease(scene: Scene) -> None:
    """What cancels every task it can find has cancelled the renewing, and so the lease is lost."""
    require_or_skip(not in_trio(), "not applicable: on trio nobody can find a system task's scope")

    async def endpoint() -> None:
        await anyio.wait_all_tasks_blocked()
        for task in asyncio.all_tasks():
            if "KeptLease._keep" in repr(task.get_coro()):
                task.cancel()
        await anyio.sleep_forever()

    assert (await cut(scene, endpoint)).reason == "ledger"


async def test_endpoint_that_swallows_the_loss_keeps_its_answer(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """What ends by itself in spite of its cancellation is not refused afterwards, but the log tells."""
    with anyio.fail_after(HANG_SECONDS):
        async with scene.guard().admit([]):
            await scene.store.rows.reset(["sync"])
            with anyio.CancelScope(shield=True):
                await scene.wait(seconds=30)
    assert "the lease is lost" in caplog.text
    assert "finish" not in scene.store.calls


# --- a ledger in trouble


@pytest.mark.parametrize("is_outside", [True, False], ids=["outside", "scheduler"])
async def test_ledger_down_is_a_503(scene: Scene, is_outside: bool) -> None:
    """While the ledger cannot be asked nobody is let in, and the refusal says when to come again."""
    scene.store.down = {"peek", "claim"}
    refusal = await refusal_of(scene.guard(), () if is_outside else scene.headers(5))
    assert (refusal.status, refusal.reason) == (503, "ledger")
    assert refusal.headers == {"Retry-After": "2"}
    assert "hunter2" not in str(refusal.body)


@pytest.mark.parametrize("is_outside", [True, False], ids=["outside", "scheduler"])
async def test_ledger_down_and_fire(scene: Scene, is_outside: bool, caplog: pytest.LogCaptureFixture) -> None:
    """By explicit choice everybody is let in while the ledger cannot be asked, and the log tells."""
    scene.store.down = {"peek", "claim", "finish", "renew"}
    async with admitted(scene.guard("fire"), () if is_outside else scene.headers(5)) as slot_pass:
        assert slot_pass.fence == (0 if is_outside else 5)
        assert to_ms(slot_pass.slot) == scene.slot
    assert "let in without the ledger" in caplog.text
    assert "finish" not in scene.store.calls


async def test_lost_answer_is_asked_for_again(scene: Scene) -> None:
    """A claim that was won without an answer is asked for once more, and runs."""
    scene.store.answers_lost["claim"] = 1
    async with admitted(scene.guard()) as slot_pass:
        assert slot_pass.fence == (await scene.store.row()).fence
    assert scene.store.calls == ["claim", "claim", "finish"]


@pytest.mark.parametrize("rubbish", [[], [None], ["Won"], [Won(1), Won(2)]], ids=repr)
async def test_rubbish_answer_is_no_win(scene: Scene, rubbish: list[Any]) -> None:
    """A ledger that answers what is no answer counts as one that could not be asked."""
    scene.store.rubbish = rubbish
    assert (await refusal_of(scene.guard())).reason == "ledger"


@pytest.mark.parametrize("how", ["down", "superseded"])
async def test_outcome_that_cannot_be_written_is_told(scene: Scene, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint's answer goes out though its outcome could not be written, and the log tells."""
    async with admitted(scene.guard()) as slot_pass:
        if how == "down":
            scene.store.down = {"finish"}
        else:
            await scene.store.rows.finish([Finish("sync", scene.slot, slot_pass.fence, Succeeded())])
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"sync@{iso(scene.slot)}: the outcome could not be written")


# --- making one


@pytest.mark.parametrize("is_outside", [True, False])
async def test_run_that_its_own_transaction_found_fenced_is_stale(scene: Scene, is_outside: bool) -> None:
    """An endpoint whose `finish_in` raises because the job was claimed anew is told as stale, as at the door."""
    headers = [] if is_outside else scene.headers(await scene.win())
    with pytest.raises(SlotRefusedError) as refused:
        async with scene.guard().admit(headers):
            raise FencedError("sync", 1)
    assert (refused.value.status, refused.value.reason) == (412, "stale")


def test_unknown_choice_is_refused() -> None:
    """What is neither skip nor fire is refused when the guard is made."""
    with pytest.raises(ConfigError, match="on_ledger_error='maybe': must be 'skip' or 'fire'"):
        SlotGuard(MemoryLedger(), HttpJob("sync", every(minutes=15), "/"), on_ledger_error="maybe")  # type: ignore[arg-type]


def make_scheduler(**fields: Any) -> Scheduler:
    """Return a scheduler with a job that nothing but requests runs."""

    async def sync(run: Run) -> None:
        """Do nothing."""

    scheduler = Scheduler(**fields)
    scheduler.add(FunctionJob("sync", every(minutes=15), sync))
    return scheduler


async def test_unknown_job_is_refused() -> None:
    """A guard for a job that the scheduler lacks names those it has."""
    with pytest.raises(UnknownJobError, match="known jobs: sync"):
        SlotGuard.of(make_scheduler(), "other")


async def test_guard_of_a_scheduler_uses_its_ledger_and_clock() -> None:
    """The guard claims in the ledger that the scheduler was given, on its clock, whether it runs or not."""
    clock = FakeClock()
    scheduler = make_scheduler(clock=clock, ledger=Store(clock))
    assert scheduler.clock is clock
    async with admitted(SlotGuard.of(scheduler, "sync")) as slot_pass:
        assert slot_pass.slot == every(minutes=15).latest_until(clock.now())
    assert (await scheduler.ledger.peek(["sync"]))[0] is not None


async def test_scheduler_without_a_ledger_yet() -> None:
    """Before it runs, a scheduler that was given no ledger has none: that is a 503, and with fire no obstacle."""
    scheduler = make_scheduler()
    assert isinstance(scheduler.clock, SystemClock)
    with pytest.raises(SchedulerClosedError, match="only while it runs"):
        _ = scheduler.ledger
    assert (await refusal_of(SlotGuard.of(scheduler, "sync"))).reason == "ledger"
    headers = [("Loopcron-Job", "sync"), ("Loopcron-Slot", iso(0)), ("Loopcron-Fence", "1")]
    assert (await refusal_of(SlotGuard.of(scheduler, "sync"), headers)).reason == "ledger"
    async with admitted(SlotGuard.of(scheduler, "sync", on_ledger_error="fire")) as slot_pass:
        assert slot_pass.fence == 0


async def test_running_scheduler_has_a_ledger_of_its_life() -> None:
    """While it runs, a scheduler that was given no ledger has one, in which the guard claims."""
    clock = FakeClock()
    scheduler = make_scheduler(clock=clock)
    async with scheduler.manual():
        async with admitted(SlotGuard.of(scheduler, "sync")) as slot_pass:
            pass
        [row] = await scheduler.ledger.peek(["sync"])
    assert row is not None
    assert (row.fence, row.outcome) == (slot_pass.fence, "Succeeded")
