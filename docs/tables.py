"""
Write the decision tables that loopcron runs on into docs/semantics.md.

    python docs/tables.py           rewrite the page's blocks
    python docs/tables.py --check   fail if the page says something else than the code

A block stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``; what is between them is generated.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from loopcron._tables import CATCH_UP_TABLE, OVERLAP_TABLE, CatchUp, Lateness, Occupancy, Overlap, Verdict

PAGE = Path(__file__).parent / "semantics.md"
WORDS = {
    Verdict.RUN: "runs",
    Verdict.SKIP: '`Skipped("overlap")`',
    Verdict.LIMIT: '`Skipped("limit")`',
    Verdict.WAIT: "waits for the run to end",
    Verdict.REPLACE: "cancels the run, and runs once it has ended",
    Verdict.MISS: "missed",
}


def table(
    name: str, policies: type[StrEnum], states: type[StrEnum], verdicts: Mapping[tuple[StrEnum, StrEnum], Verdict]
) -> str:
    """Return a decision table as Markdown: a row for each state, a column for each policy."""
    lines = ["| " + " | ".join(["", *(f'`{name}="{policy}"`' for policy in policies)]) + " |"]
    lines.append("|---" * (len(policies) + 1) + "|")
    for state in states:
        cells = [str(state), *(WORDS[verdicts[policy, state]] for policy in policies)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


BLOCKS = {
    "overlap": table("overlap", Overlap, Occupancy, OVERLAP_TABLE),
    "catch_up": table("catch_up", CatchUp, Lateness, CATCH_UP_TABLE),
}


def rendered(page: str) -> str:
    """Return *page* with its blocks written anew; every block must be there once."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        page, found = re.subn(f"{begin}.*?{end}", f"{begin}\n{block}\n{end}", page, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"{PAGE.name} has {found} blocks {name}, not one")
    return page


def main() -> int:
    """Rewrite the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = rendered(page)
    if "--check" in sys.argv[1:]:
        if wanted != page:
            print(f"{PAGE.name} is not what the tables say; run docs/tables.py", file=sys.stderr)
        return int(wanted != page)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
