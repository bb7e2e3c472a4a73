"""What other systems call the outcomes: one word for each, the same in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loopcron._outcomes import (
    Busy,
    Failed,
    Interrupted,
    LeaseLost,
    Missed,
    Outcome,
    Skipped,
    Succeeded,
    Taken,
    TimedOut,
)

OUTCOMES: Final[Mapping[type[Outcome], str]] = {
    Succeeded: "succeeded",
    Busy: "busy",
    Failed: "failed",
    TimedOut: "timed_out",
    Skipped: "skipped",
    Missed: "missed",
    Taken: "taken",
    Interrupted: "interrupted",
    LeaseLost: "lease_lost",
}
