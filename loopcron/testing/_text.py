"""A timeline for the terminal: lanes of ASCII characters, so that it shows the same wherever it is printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from loopcron._errors import ConfigError
from loopcron._instants import MILLISECOND
from loopcron.testing._histories import ClockEvent, ClockStep, Suspend
from loopcron.testing._marks import GRAVITY, MARKS, Axis, lane, ticks

if TYPE_CHECKING:
    from loopcron.testing._timeline import Noted, Timeline

_LEAST_WIDTH: Final = 40
_NAMES: Final = 20
"""How many characters of a job's name are shown at most."""
_CLOCK: Final = {">": "set forward", "<": "set back", "z": "suspended", "~": "drift"}


def draw(timeline: Timeline, noted: Sequence[Noted], width: int) -> str:
    """Return the picture; see `Timeline.text`."""
    if isinstance(width, bool) or not isinstance(width, int) or width < _LEAST_WIDTH:
        raise ConfigError("width", width, f"must be a whole number of characters, {_LEAST_WIDTH} or more")
    rows: list[tuple[str, str]] = []
    margin = min(_NAMES, max(map(len, ("transport", *timeline.jobs)))) + 2
    axis = Axis(timeline, width - margin)
    legend: dict[str, str] = {}
    for part, outages in timeline.outages.items():
        if outages:
            rows.append((part, _spans(axis, [("#", outage.at, outage.until) for outage in outages])))
            legend["#"] = "out of reach"
    if timeline.clock:
        spans = [_span(event) for event in timeline.clock]
        rows.append(("clock", _spans(axis, spans)))
        legend |= {char: _CLOCK[char] for char, *_ in spans}
    kinds = set()
    for job in timeline.jobs:
        columns = lane(axis, timeline.runs(job), [one for one in noted if one.event.job == job])
        cells = ["."] * axis.columns
        for number, column in columns.items():
            cells[number] = MARKS[column.gravest].char if column.counts else "="
            kinds |= set(column.counts)
            if column.alive:
                legend["="] = "still alive"
        rows.append((job, "".join(cells)))
    legend = {MARKS[kind].char: MARKS[kind].name for kind in sorted(kinds, key=GRAVITY.__getitem__)} | legend
    return "\n".join((*_head(timeline, axis, margin), *_lined(rows, margin), *_foot(legend, width)))


def _head(timeline: Timeline, axis: Axis, margin: int) -> Iterator[str]:
    span = axis.span * MILLISECOND / axis.columns
    yield f"{timeline.start:%Y-%m-%d %H:%M} to {timeline.end:%Y-%m-%d %H:%M %Z}; one column is {_rounded(span)}"
    scale = [" "] * axis.columns
    free = 0
    for instant, label in ticks(timeline, axis.columns // 8):
        number = axis.column(instant)
        if free <= number <= axis.columns - len(label) - 1:
            scale[number : number + len(label) + 1] = f"|{label}"
            free = number + len(label) + 2
    yield (" " * margin + "".join(scale)).rstrip()


def _rounded(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds())) if span >= timedelta(seconds=10) else span


def _lined(rows: Sequence[tuple[str, str]], margin: int) -> Iterator[str]:
    for name, cells in rows:
        shown = name if len(name) <= _NAMES else name[: _NAMES - 2] + ".."
        yield f"{shown:<{margin}}{cells}"


def _foot(legend: dict[str, str], width: int) -> Iterator[str]:
    line = ""
    for char, meaning in legend.items():
        entry = f"{char} {meaning}"
        if line and len(line) + 3 + len(entry) > width:
            yield line
            line = ""
        line = f"{line}   {entry}" if line else entry
    if line:
        yield line


def _span(event: ClockEvent) -> tuple[str, timedelta, timedelta]:
    if isinstance(event, ClockStep):
        return ">" if event.by >= timedelta(0) else "<", event.at, event.at
    if isinstance(event, Suspend):
        return "z", event.at, event.at + event.duration
    return "~", event.at, event.at


def _spans(axis: Axis, spans: Sequence[tuple[str, timedelta, timedelta]]) -> str:
    """Return a lane in which each span, from one time since the begin to another, is a row of its character."""
    cells = ["."] * axis.columns
    for char, opens, closes in spans:
        first = axis.column(axis.begin + opens // MILLISECOND)
        last = axis.column(max(axis.begin + opens // MILLISECOND, axis.begin + closes // MILLISECOND - 1))
        cells[first : last + 1] = char * (last + 1 - first)
    return "".join(cells)
