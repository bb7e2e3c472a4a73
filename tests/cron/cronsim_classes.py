"""
Where loopcron and cronsim answer differently, by class, each with a rule that can be checked and an example.

The table in docs/semantics is rendered from here. As a script it writes that table, or counts over random cases:

    python -m tests.cron.cronsim_classes --write
    python -m tests.cron.cronsim_classes --cases 20000 --seed 1
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from cronsim import CronSim, CronSimError

from loopcron import cron
from tests.blocks import SEMANTICS, write_block
from tests.cron.cases import Case, Change, all_zones, changes, random_cases, rules_of
from tests.cron.minute_oracle import MinuteOracle, parse

MEASURED = "2.8"
"""The version of cronsim whose answers the examples hold."""

HOUR = timedelta(hours=1)
NEVER = datetime.max.replace(tzinfo=UTC)
"""Stands for no answer at all, however long one waits."""
NONE = datetime.min.replace(tzinfo=UTC)
"""Stands for the answer that there is no such slot."""


@dataclass(frozen=True)
class Question:
    """A question and its two answers."""

    line: str
    zone: str
    asked: datetime
    theirs: datetime
    ours: datetime

    def changes_at_work(self) -> list[Change]:
        """
        Return the changes on the way to the later answer, and those of the hour before.

        And those in whose second pass it was asked, which may be longer ago than an hour.
        """
        until = max(self.ours, self.theirs) if self.theirs != NEVER else self.ours
        return [
            change
            for change in changes(self.zone)
            if self.asked - max(abs(change.after - change.before), HOUR) < change.at <= until
        ]

    @property
    def is_frequent(self) -> bool:
        return parse(self.line).frequent


@dataclass(frozen=True)
class Disagreement:
    """A class of disagreements."""

    name: str
    why: str
    right: str
    line: str
    zone: str
    asked: str
    theirs: str
    """As the wall clock shows it, with the offset; "never returns" if so."""
    ours: str
    holds: Callable[[Question], bool]


def has_step_on_one_number(question: Question) -> bool:
    """Say whether an item is ``a-a/1``."""
    return re.search(r"\b(\w+)-\1/1\b", question.line) is not None


def is_corrected(question: Question) -> bool:
    """Say whether a shift of 3 h or more is at work."""
    return any(abs(change.after - change.before) >= MinuteOracle.correction for change in question.changes_at_work())


def never_returns(question: Question) -> bool:
    """Say whether there was no answer, and a frequent job meets a change that is not on the hour."""
    return question.theirs == NEVER and shifts_off_the_hour(question)


def is_in_the_past(question: Question) -> bool:
    """Say whether a fixed job was asked about within a second pass, and the answer is not after it."""
    second_pass = question.asked.astimezone(rules_of(question.zone)).fold == 1
    return not question.is_frequent and second_pass and question.theirs <= question.asked


def shifts_off_the_hour(question: Question) -> bool:
    """Say whether a frequent job meets a change that does not lead from full hour to full hour."""
    edges = [edge for change in question.changes_at_work() for edge in change.edges]
    return question.is_frequent and any((edge.minute, edge.second) != (0, 0) for edge in edges)


def meets_a_day_without_midnight(question: Question) -> bool:
    """Say whether a frequent job meets a gap that holds midnight."""
    edges = [change.edges for change in question.changes_at_work()]
    return question.is_frequent and any(
        last <= datetime.combine(first, datetime.min.time()) < first for last, first in edges
    )


def is_before_the_first_minute(question: Question) -> bool:
    """Say whether a fixed job was asked about in the seconds between a gap and the next full minute."""
    return not question.is_frequent and any(
        change.at <= question.asked < question.ours < change.at + timedelta(minutes=1) and change.after > change.before
        for change in question.changes_at_work()
    )


DISAGREEMENTS = (
    Disagreement(
        name="a step on one number",
        why="`9-9/1` is one number here. cronsim reads `9/1`, and goes on to the end of the field.",
        right="loopcron",
        line="0 9-9/1 * * *",
        zone="UTC",
        asked="2026-06-01 09:30+00:00",
        theirs="2026-06-01 10:00+00:00",
        ours="2026-06-02 09:00+00:00",
        holds=has_step_on_one_number,
    ),
    Disagreement(
        name="a shift of three hours or more",
        why="A correction: what lay in the gap is lost, what recurs fires again. cronsim treats it as summer time.",
        right="a chosen difference, after Debian's cron(8)",
        line="0 12 30 * *",
        zone="Pacific/Apia",
        asked="2011-12-29 18:00-10:00",
        theirs="2011-12-31 00:00+14:00",
        ours="2012-01-30 12:00+14:00",
        holds=is_corrected,
    ),
    Disagreement(
        name="no answer",
        why="A frequent job where the clock is set back to a time within an hour: cronsim loops for ever.",
        right="loopcron",
        line="30 */6 * * *",
        zone="America/St_Johns",
        asked="2010-11-06 23:30-03:30",
        theirs="never returns",
        ours="2010-11-07 00:30-03:30",
        holds=never_returns,
    ),
    Disagreement(
        name="the past",
        why="A fixed job, asked about in the second pass of an hour: cronsim answers with the first pass.",
        right="loopcron",
        line="45 2 * * *",
        zone="Europe/Berlin",
        asked="2026-10-25 02:10+01:00",
        theirs="2026-10-25 02:45+02:00",
        ours="2026-10-26 02:45+01:00",
        holds=is_in_the_past,
    ),
    Disagreement(
        name="a shift off the hour",
        why="A frequent job: cronsim looks for its hour in whole steps, and enters it late or in the wrong pass.",
        right="loopcron",
        line="*/15 3 * * *",
        zone="Australia/Lord_Howe",
        asked="2026-10-04 01:50+10:30",
        theirs="2026-10-04 03:30+11:00",
        ours="2026-10-04 03:00+11:00",
        holds=shifts_off_the_hour,
    ),
    Disagreement(
        name="midnight in a gap",
        why="A frequent job: cronsim fires at the gap's end for an hour that the day lacks, or loses its first hour.",
        right="loopcron",
        line="*/30 0 * * 5",
        zone="Africa/Cairo",
        asked="2026-04-23 12:00+02:00",
        theirs="2026-04-24 01:00+03:00",
        ours="2026-05-01 00:00+03:00",
        holds=meets_a_day_without_midnight,
    ),
    Disagreement(
        name="a gap that ends within a minute",
        why="A fixed job whose time a gap swallowed, asked about before the first full minute: cronsim has lost it.",
        right="loopcron",
        line="10 0 * * *",
        zone="Africa/Monrovia",
        asked="1972-01-07 00:44:40+00:00",
        theirs="1972-01-08 00:10+00:00",
        ours="1972-01-07 00:45+00:00",
        holds=is_before_the_first_minute,
    ),
)
"""The first that holds is the one."""


class PatientCronSim(CronSim):
    """cronsim with an end to it: it counts its steps, which for a line with an answer are a few thousand at most."""

    steps = 0

    def tick(self, seconds: int = 1) -> None:
        self.steps += 1
        if self.steps > 100_000:
            raise TimeoutError
        super().tick(seconds)


def ask_cronsim(line: str, zone: str, asked: datetime) -> datetime:
    """Return cronsim's answer, or `NEVER` if it loops for ever; raise `CronSimError` if it refuses the line."""
    schedule = PatientCronSim(line, asked.astimezone(rules_of(zone)))
    try:
        return next(schedule, NONE).astimezone(UTC)
    except TimeoutError:
        return NEVER


def compare(case: Case) -> Question:
    """Ask both; raise `CronSimError` if cronsim refuses the line."""
    theirs = ask_cronsim(case.line, case.zone, case.instant)
    ours = cron(case.line, tz=case.zone).next_after(case.instant) or NONE
    # In UTC, because Python reckons a difference of times in one zone by the wall clock.
    return Question(case.line, case.zone, case.instant.astimezone(UTC), theirs, ours)


def classify(question: Question) -> str:
    """Return the class of a question; "agreed" if there is nothing to class, "unknown" if there is no class for it."""
    if question.theirs == question.ours:
        return "agreed"
    if NONE in (question.theirs, question.ours):
        return "unknown"
    return next((each.name for each in DISAGREEMENTS if each.holds(question)), "unknown")


def count_classes(cases: Iterable[Case]) -> tuple[Counter[str], list[Question]]:
    """Count cases by class; return the questions of no class too."""
    counts: Counter[str] = Counter()
    unknown = []
    for case in cases:
        try:
            question = compare(case)
        except CronSimError:
            counts["refused by cronsim"] += 1
            continue
        name = classify(question)
        counts[name] += 1
        if name == "unknown":
            unknown.append(question)
    return counts, unknown


def render() -> str:
    """Return the table of all classes."""
    rows = [
        f"| {each.name} | `{each.line}`, {each.zone}, asked at {each.asked} | {each.theirs} | {each.ours} "
        f"| {each.why} | {each.right} |"
        for each in DISAGREEMENTS
    ]
    head = f"| Class | Example | cronsim {MEASURED} | loopcron | Why | Who is right |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or count; return the exit code."""
    parser = argparse.ArgumentParser(description="Compare the cron engine with cronsim.")
    parser.add_argument("--write", action="store_true", help="write the table into docs/semantics.md")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.write:
        write_block(SEMANTICS, "cronsim", render())
        return 0
    counts, unknown = count_classes(random_cases(Random(options.seed), options.cases, all_zones()))
    for name, count in counts.most_common():
        print(f"{count:7} {name}")
    for question in unknown:
        print(question)
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
