"""
The claims under way: asked for, asked for again while there is time, and given up.

A claim that cannot be decided yet, because the store is down, another worker has the lease, or the store's clock is
behind, is asked for again with the same id at an instant of its own: so what the store did without telling us counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, final
from zlib import crc32

from loopcron import _events as e
from loopcron._attempts import Lease
from loopcron._entries import Candidate, Entry
from loopcron._instants import SECOND_MS, spread_ms
from loopcron._ledger import EARLY_MS, Answer, Claim, Finish, Held, Lost, TooEarly, Unavailable, Won, worker_of
from loopcron._live import LiveRuns
from loopcron._outcomes import Interrupted, LeaseLost, Outcome, Skipped, Taken
from loopcron._policies import doubled_ms, lease_ms
from loopcron._tables import Overlap

SPREAD_MS: Final = 25
"""Within how many ms after a slot workers ask for it: a hash of worker and slot, so that they do not all ask at once,
and not always the same one first. All of one worker's jobs wait equally long, so that they share one call."""
SKIP_EARLY_MS: Final = EARLY_MS * 4 // 5
"""How early a slot that is to be skipped is claimed, so that no other worker runs it; a ledger takes it so early."""
BACKOFF: Final = (100, 10_000)
"""First and longest wait, in ms, before a store that could not be asked is asked again."""
PATIENCE_MS: Final = 5_000
"""For how long a store that is down is asked before a job fires without it, where it may."""


@final
class Claims:
    """
    The claims that the ledger has not decided yet.

    Args:
        live: What it does at which now, and where its actions go.
        worker: The prefix of claim ids.
        shared: Whether other workers claim in the same ledger.
        fires: Whether a slot runs without the ledger once that was down for a while.
    """

    def __init__(self, live: LiveRuns, worker: str, *, shared: bool, fires: bool) -> None:
        self._live = live
        self._worker = worker
        self.shared = shared
        self.fires = fires
        self._hash = crc32(worker.encode())
        self._open: dict[str, Entry] = {}
        self._differs = 0
        """By how much the ledger's clock was behind when that was told last, in ms."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._open)

    def open(self, job: Entry, run: Candidate) -> None:
        """Ask for the slot of *run*, now or in a moment."""
        run.claim_id = run.claim_id or f"{self._worker}-{self._live.serial()}"
        self._open[run.claim_id] = job
        job.claiming = run
        wait = self._spread_ms(run.slot) if self.shared and not run.skips else 0
        if wait:
            run.ask_at = self._live.now + wait
        else:
            self._ask(job, run)

    def look(self, job: Entry) -> Candidate | None:
        """
        Ask for what *job* waits to ask for, if its time has come.

        Returns:
            What is not asked for, because somebody has started a run of the job meanwhile; it is no claim any more.
        """
        run = job.claiming
        if run is None or run.ask_at is None or run.ask_at > self._live.now:
            return None
        if run.undecided is not None and self._live.now > self._until(job, run) + SECOND_MS:
            self.decide(job, run, run.undecided)  # its time is over, as after a suspend
            return None
        places = job.policy.places if job.policy.overlap is Overlap.ALLOW else 1
        if len(job.runs) >= places and not run.skips:
            self.close(job, run)
            return Candidate(run.slot, run.reason, run.period, None, run.claim_id)
        self._ask(job, run)
        return None

    def whose(self, claim_id: str) -> Entry:
        """Return the job whose claim that is; it stays open until it is closed."""
        return self._open[claim_id]

    def close(self, job: Entry, run: Candidate) -> None:
        """Take note that the claim is decided."""
        del self._open[run.claim_id]
        job.claiming = None

    def _again(self, job: Entry, run: Candidate, at: int, undecided: Outcome) -> bool:
        """Ask again at this instant, unless that makes no sense; *undecided*: the outcome if that comes to nothing."""
        if job.removed or self._live.stopping or at > self._until(job, run):
            return False
        run.ask_at, run.undecided = at, undecided
        return True

    def _wait_for_store(self, job: Entry, run: Candidate, by: int) -> bool:
        """Ask again when the store's clock has come so far, however late that is, unless that makes no sense."""
        if job.removed or self._live.stopping:
            return False
        run.ask_at, run.undecided, run.first_asked = self._live.now + by, None, None
        run.is_early = True
        return True

    def _backoff(self, run: Candidate) -> int:
        """Return when a store that could not be asked is to be asked again."""
        run.failures += 1
        return self._live.now + doubled_ms(BACKOFF[0], run.failures, BACKOFF[1])

    def _until(self, job: Entry, run: Candidate) -> int:
        """Return until when it makes sense to ask for the slot again: to the end of its grace."""
        begin = run.first_asked
        assert begin is not None  # it was asked for
        if run.reason == "schedule":
            begin = run.slot + job.policy.jitter_ms(job.name, run.slot, run.period)
        return begin + job.policy.grace_ms(run.period)

    def answered(self, job: Entry, run: Candidate, answer: Answer) -> None:
        """Do what any answer but `Paused` asks for."""
        self._ANSWERS[type(answer)](self, job, run, answer)

    def _won(self, job: Entry, run: Candidate, answer: Won) -> None:
        job.watermark = None
        if answer.abandoned_slot is not None:
            self.note_abandoned(job, answer.abandoned_slot, answer.abandoned_by)
        length = self._lease(job, run) if self.shared else None
        lease = None if length is None else Lease(length, run.asked)
        is_over = lease is not None and lease.trusted <= self._live.now
        if is_over and self._again(job, run, self._live.now, LeaseLost()):
            return  # the answer took too long; asked again, the lease begins anew
        self.close(job, run)
        # Asked while the claim was under way: the slot is ours, so its outcome is, and the ledger is told.
        outcome: Outcome
        if job.removed:
            outcome = Skipped("removed")
        elif self._live.stopping:
            outcome = Interrupted("shutdown")
        elif job.waiting is not None and job.policy.overlap is Overlap.REPLACE:
            outcome = Interrupted("replace")
        elif run.skips:
            outcome = Skipped("skip_next")
        elif is_over:
            outcome = LeaseLost()
        else:
            self._live.begin(job, run.slot, run.reason, answer.fence, run.period, lease=lease)
            return
        self._live.settle(job, run.slot, outcome, run.reason, fence=answer.fence)
        self._live.out.append(Finish(job.name, run.slot, answer.fence, outcome))

    def _lost(self, job: Entry, run: Candidate, answer: Lost) -> None:
        job.watermark = answer.row.watermark
        worker = ""
        if self.shared:
            job.row, job.row_at = answer.row, self._live.now
            worker = worker_of(answer.row.claim_id) if answer.row.watermark == run.slot else ""
        self.decide(job, run, Taken(), worker=worker)

    def _held(self, job: Entry, run: Candidate, answer: Held) -> None:
        # Once more when the lease ends: its holder may have been killed. If it is renewed, the job runs elsewhere.
        first, run.was_held = not run.was_held, True
        at = self._live.now + answer.for_ms
        skipped = Skipped("skip_next" if run.skips else "overlap")
        if not (first and self._again(job, run, at, skipped)):
            self.decide(job, run, skipped)

    def _too_early(self, job: Entry, run: Candidate, answer: TooEarly) -> None:
        by = answer.by_ms - SKIP_EARLY_MS if run.skips else answer.by_ms
        if by > EARLY_MS and (abs(by - self._differs) > SECOND_MS or not self._differs):
            self._differs = by
            self._live.out.append(e.ClockDiffers(job.name, run.slot, by))
        if not self._wait_for_store(job, run, by):
            self.decide(job, run, Skipped("removed") if job.removed else Interrupted("shutdown"))

    def _unavailable(self, job: Entry, run: Candidate, _: Unavailable) -> None:
        at = self._backoff(run)
        fires = self.fires and not run.skips
        if fires:
            assert run.first_asked is not None  # it was asked for
            at = min(at, run.first_asked + PATIENCE_MS)
        if at > self._live.now and self._again(job, run, at, Skipped("ledger")):
            return
        if fires and not (job.removed or job.paused or self._live.stopping):
            self.close(job, run)
            self._live.begin(job, run.slot, run.reason, 0, run.period)
        else:
            self.decide(job, run, Skipped("ledger"))

    def decide(self, job: Entry, run: Candidate, outcome: Outcome, *, worker: str = "") -> None:
        """End the claim with an outcome for its slot; *worker* is who has it."""
        self.close(job, run)
        self._live.settle(job, run.slot, outcome, run.reason, worker=worker)

    def note_abandoned(self, job: Entry, slot: int, claim_id: str) -> None:
        """Tell of a slot that another worker has left without an outcome, unless it was told already."""
        if slot != job.abandoned:
            job.abandoned = slot
            self._live.out.append(e.RunAbandoned(job.name, slot, claim_id))

    def withdraw(self, job: Entry, outcome: Outcome) -> None:
        """Ask no more for what waits to be asked for, and give it *outcome* unless it is known better."""
        run = job.claiming
        if run is not None and run.ask_at is not None:
            self.close(job, run)
            if run.probes is None:  # else it is one of the paused ones, which have theirs together
                known = run.undecided if isinstance(outcome, Interrupted) else None
                self._live.settle(job, run.slot, known or outcome, run.reason)

    def shift(self, job: Entry, by: int) -> None:
        """Move what was measured from a start along with the wall clock, and nothing that a lease hangs on forward."""
        run = job.claiming
        if run is None:
            return
        run.asked += min(by, 0)
        if run.first_asked is not None:
            run.first_asked += by
        if run.ask_at is not None:
            run.ask_at += by

    def _ask(self, job: Entry, run: Candidate) -> None:
        now = self._live.now
        run.asked, run.ask_at, run.is_early = now, None, False
        if run.first_asked is None:
            run.first_asked = now
        lease = self._lease(job, run) if self.shared else None
        self._live.out.append(e.record(Claim, (job.name, run.slot, run.claim_id, lease)))

    def _spread_ms(self, slot: int) -> int:
        """Return how long after this slot the worker asks for it."""
        # Multiplied, because the CRCs of two texts that differ in the worker only differ by the same bits at every
        # slot, so that one worker could always come first.
        return spread_ms(str(self._hash * slot), SPREAD_MS)

    @staticmethod
    def _lease(job: Entry, run: Candidate) -> int | None:
        """Return how long a lease the claim asks for, where other workers claim too; None: it needs none."""
        # What is only skipped asks for one too: without, it would be won from under a run that goes on, and cut that.
        return None if job.policy.overlap is Overlap.ALLOW else lease_ms(run.period)

    _ANSWERS: ClassVar[dict[type, Callable[[Claims, Entry, Candidate, Any], None]]] = {
        Won: _won,
        Lost: _lost,
        Held: _held,
        TooEarly: _too_early,
        Unavailable: _unavailable,
    }
