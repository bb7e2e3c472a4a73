"""
The decisions that a policy makes, as tables indexed by (policy, state).

The timetable looks them up and the page on semantics is rendered from them, so that what is written is what runs.
Nothing here knows slots, runs or "now".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """What the tables answer."""

    RUN = "run"
    SKIP = "skip"
    LIMIT = "skip, for the limit"
    WAIT = "wait"
    REPLACE = "replace"
    MISS = "miss"


class Overlap(StrEnum):
    """What becomes of a slot that is due while a run of the same job is alive."""

    SKIP = "skip"
    """The slot ends as ``Skipped("overlap")``."""
    QUEUE = "queue"
    """The slot waits for the run to end; one waits at most, later ones end as ``Skipped("overlap")``."""
    REPLACE = "replace"
    """The run is cancelled, ``Interrupted("replace")``, and the slot runs once that has ended."""
    ALLOW = "allow"
    """The slot runs beside the others, up to ``max_running`` of them; beyond, it ends as ``Skipped("limit")``."""


class Occupancy(StrEnum):
    """What of the job is alive when a slot is due, or a run is asked for."""

    FREE = "no run is alive"
    BUSY = "a run is alive"
    FULL = "a run is alive, and another one waits; with allow: max_running are alive"


OVERLAP_TABLE: Final = {
    (Overlap.SKIP, Occupancy.FREE): Verdict.RUN,
    (Overlap.SKIP, Occupancy.BUSY): Verdict.SKIP,
    (Overlap.SKIP, Occupancy.FULL): Verdict.SKIP,
    (Overlap.QUEUE, Occupancy.FREE): Verdict.RUN,
    (Overlap.QUEUE, Occupancy.BUSY): Verdict.WAIT,
    (Overlap.QUEUE, Occupancy.FULL): Verdict.SKIP,
    (Overlap.REPLACE, Occupancy.FREE): Verdict.RUN,
    (Overlap.REPLACE, Occupancy.BUSY): Verdict.REPLACE,
    (Overlap.REPLACE, Occupancy.FULL): Verdict.REPLACE,
    (Overlap.ALLOW, Occupancy.FREE): Verdict.RUN,
    (Overlap.ALLOW, Occupancy.BUSY): Verdict.RUN,
    (Overlap.ALLOW, Occupancy.FULL): Verdict.LIMIT,
}


class CatchUp(StrEnum):
    """What becomes of the slots that passed unserved: while the process was down, asleep or late."""

    SKIP = "skip"
    """None of them runs."""
    LATEST = "latest"
    """The newest due slot runs, however late within ``catch_up_within``, if nothing ran within the grace."""
    ALL = "all"
    """The newest ``catch_up_max`` of them run, oldest first, one after the other; the job's later slots wait."""


class Lateness(StrEnum):
    """How late a due slot is; only the newest one has a grace, the others have passed."""

    IN_GRACE = "the newest, at most misfire_grace late"
    PASSED = "the newest, later, but at most catch_up_within late"
    OLDER = "an older one, at most catch_up_within late"
    BEYOND = "any, later than that"


CATCH_UP_TABLE: Final = {
    (CatchUp.SKIP, Lateness.IN_GRACE): Verdict.RUN,
    (CatchUp.SKIP, Lateness.PASSED): Verdict.MISS,
    (CatchUp.SKIP, Lateness.OLDER): Verdict.MISS,
    (CatchUp.SKIP, Lateness.BEYOND): Verdict.MISS,
    (CatchUp.LATEST, Lateness.IN_GRACE): Verdict.RUN,
    (CatchUp.LATEST, Lateness.PASSED): Verdict.RUN,
    (CatchUp.LATEST, Lateness.OLDER): Verdict.MISS,
    (CatchUp.LATEST, Lateness.BEYOND): Verdict.MISS,
    (CatchUp.ALL, Lateness.IN_GRACE): Verdict.RUN,
    (CatchUp.ALL, Lateness.PASSED): Verdict.RUN,
    (CatchUp.ALL, Lateness.OLDER): Verdict.RUN,
    (CatchUp.ALL, Lateness.BEYOND): Verdict.MISS,
}
