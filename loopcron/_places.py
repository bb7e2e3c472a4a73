"""
Who may start: what waits for the end of its job's runs, and what stands in line for a place below the limit.

What overlap asks for is looked up in ``_tables`` by the caller; here it is carried out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import final

from loopcron._claims import Claims
from loopcron._entries import Candidate, Entry
from loopcron._live import LiveRuns
from loopcron._outcomes import Outcome, Skipped
from loopcron._tables import Verdict


@final
class Places:
    """
    The places for runs.

    Args:
        live: The runs that take places.
        claims: The claims that take places.
        limit: How many runs and claims of all jobs there may be before slots wait for a place; None: any number.
    """

    def __init__(self, live: LiveRuns, claims: Claims, limit: int | None) -> None:
        self._live = live
        self._claims = claims
        self.limit = limit
        self.line: OrderedDict[Entry, None] = OrderedDict()
        """Who waits for a place, first come first served. Leaving it is cheap anywhere; the front of a plain dict is
        not, once many have left there."""
        self._admitted: Entry | None = None
        """Who has just left the line for a place that is free; nobody, once all who could have left it."""

    @property
    def are_free(self) -> bool:
        """Whether another run may begin."""
        return self.limit is None or len(self._live) + len(self._claims) < self.limit

    def next_in_line(self) -> Entry | None:
        """Take who comes first out of the line, if there is a place, which it alone may have; None: nobody does."""
        self._admitted = self.line.popitem(last=False)[0] if self.line and self.are_free else None
        return self._admitted

    def admit(self, job: Entry) -> bool:
        """Return whether there is a place for *job*; a free one belongs to those who stand in line."""
        return self.limit is None or (self.are_free and (not self.line or job is self._admitted))

    def stand_in_line(self, job: Entry) -> None:
        """Let *job* wait for a place."""
        self.line[job] = None

    def leave_line(self, job: Entry) -> None:
        """Let *job* wait for a place no longer."""
        self.line.pop(job, None)
        job.is_limited = False

    def enter(self, job: Entry, verdict: Verdict, run: Candidate) -> None:
        """Claim *run*, or begin it if it is manual, let it wait, or end it as skipped: as the *verdict* on it is."""
        if verdict is Verdict.RUN:
            if run.key is None:
                self._claims.open(job, run)
            else:
                self._live.begin(job, run.slot, run.reason, 0, run.period, key=run.key)
        elif verdict is Verdict.WAIT:
            job.waiting = run
        elif verdict is Verdict.REPLACE:
            self.end_waiting(job, Skipped("overlap"))
            if run.key is not None and not job.is_limited:  # a slot would take the other one's place in line
                self.leave_line(job)
            job.waiting = run
            self._live.cancel(job, "replace")
            self.start_waiting(job)
        else:
            skipped = Skipped("limit" if verdict is Verdict.LIMIT else "overlap")
            self._live.settle(job, run.slot, skipped, run.reason, key=run.key)

    def start_waiting(self, job: Entry) -> None:
        """Start what waits for the end of the job's runs, if they have ended; it may have to stand in line."""
        run = job.waiting
        if run is None or not self.is_ready(job):
            return
        if run.key is None and not self.admit(job):
            self.stand_in_line(job)
        else:
            job.waiting = None
            self.enter(job, Verdict.RUN, run)

    def is_ready(self, job: Entry) -> bool:
        """Return whether what waits for the end of the job's runs has nothing else to wait for than a place."""
        return not (job.runs or job.claiming or (job in self.line and not job.is_limited))

    def end_waiting(self, job: Entry, outcome: Outcome) -> None:
        """Give *outcome* to what waits for the end of the job's runs, if anything does."""
        run, job.waiting = job.waiting, None
        if run is not None:
            self._live.settle(job, run.slot, outcome, run.reason, key=run.key)
