"""
Writes the decision tables that loopcron runs on into docs/semantics.md, so that what is written is what runs.

Run by ``make tables``; ``test_semantics.py`` fails while the page says something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from loopcron._tables import CATCH_UP_TABLE, OVERLAP_TABLE, CatchUp, Lateness, Occupancy, Overlap, Verdict
from tests.blocks import SEMANTICS, write_block

_Policy = TypeVar("_Policy", bound=StrEnum)
_State = TypeVar("_State", bound=StrEnum)
WORDS = {
    Verdict.RUN: "runs",
    Verdict.SKIP: '`Skipped("overlap")`',
    Verdict.LIMIT: '`Skipped("limit")`',
    Verdict.WAIT: "waits for the run to end",
    Verdict.REPLACE: "cancels the run, and runs once it has ended",
    Verdict.MISS: "missed",
}


def table(
    name: str,
    policies: type[_Policy],
    of: str,
    states: type[_State],
    verdicts: Mapping[tuple[_Policy, _State], Verdict],
) -> str:
    """Return a decision table as Markdown: a row for each state *of* something, a column for each policy."""
    lines = ["| " + " | ".join([of, *(f'`{name}="{policy}"`' for policy in policies)]) + " |"]
    lines.append("|---" * (len(policies) + 1) + "|")
    for state in states:
        cells = [str(state), *(WORDS[verdicts[policy, state]] for policy in policies)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


BLOCKS = {
    "overlap": table("overlap", Overlap, "of the job", Occupancy, OVERLAP_TABLE),
    "catch_up": table("catch_up", CatchUp, "the slot", Lateness, CATCH_UP_TABLE),
}

if __name__ == "__main__":
    for block_name, block in BLOCKS.items():
        write_block(SEMANTICS, block_name, block)
