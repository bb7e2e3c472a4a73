"""``python -m loopcron simulate``: what a scheduler's jobs would do, as a picture and a line per job."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loopcron._cli_parts import UsageError, find_scheduler, instant, show, whole_number

if TYPE_CHECKING:
    from loopcron import Missed, Skipped
    from loopcron._cli_parts import Commands
    from loopcron.testing import Timeline

_NARROWEST: Final = 60


def add_simulate(commands: Commands) -> None:
    """Add the command."""
    text = "show when a scheduler's jobs would run, every attempt taken for a success at once"
    parser = commands.add_parser("simulate", help=text, description=text)
    parser.add_argument("scheduler", metavar="MODULE:SCHEDULER", help="where it is, such as app.jobs:scheduler")
    parser.add_argument("--days", type=whole_number(1, 3653), default=7, help="how many; default 7")
    parser.add_argument("--start", metavar="INSTANT", help="such as 2026-03-28T00:00:00+01:00; default now")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture into this file too")
    parser.set_defaults(carry_out=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from loopcron.testing import simulate

    scheduler = find_scheduler(options.scheduler)
    start = instant("--start", options.start)
    timeline = simulate(scheduler, start=start, duration=timedelta(days=options.days))
    if options.svg is not None:
        try:
            options.svg.write_text(timeline.svg(), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--svg: cannot write {str(options.svg)!r}: {error.strerror}") from None
    width = max(_NARROWEST, shutil.get_terminal_size((100, 24)).columns)
    show((timeline.text(width=width), "", *_summary(timeline)))
    return 0


def _summary(timeline: Timeline) -> Iterator[str]:
    from loopcron import Failed, JobParked, Missed, Skipped, TimedOut

    rows = [("job", "runs", "failed", "skipped", "missed", "longest silence")]
    for job in timeline.jobs:
        runs = timeline.runs(job)
        failed = sum(isinstance(run.outcome, (Failed, TimedOut)) for run in runs)
        skipped, missed = (_slots(timeline, job, kind) for kind in (Skipped, Missed))
        rows.append((job, str(len(runs)), str(failed), skipped, missed, str(timeline.longest_silence(job))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        yield f"{first:<{widths[0]}}  " + "  ".join(
            f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)
        )
    parked = {event.job: event.error for event in reversed(timeline.events) if isinstance(event, JobParked)}
    for job in timeline.jobs:
        if job in parked:
            yield f"{job} was parked: {parked[job]}"


def _slots(timeline: Timeline, job: str, kind: type[Skipped | Missed]) -> str:
    """Return how many slots of a job had such an outcome, with a plus where some could not be counted."""
    counts = [settled.outcome.count for settled in timeline.settled(job) if isinstance(settled.outcome, kind)]
    return str(sum(count or 0 for count in counts)) + ("+" if None in counts else "")
