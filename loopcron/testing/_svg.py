"""A timeline as an SVG document that needs nothing beside it: no script, no font, no style sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final

from loopcron._events import JobParked
from loopcron._instants import MILLISECOND, ZERO
from loopcron._outcomes import Failed, Skipped, TimedOut, printable
from loopcron.testing._histories import ClockEvent, ClockStep, Outage, Suspend
from loopcron.testing._marks import GRAVITY, MARKS, Axis, Column, Kind, Mark, Sight, lane, ticks

if TYPE_CHECKING:
    from loopcron.testing._timeline import Noted, Timeline

_COLUMNS: Final = 110
_CELL: Final = 8
_ROW: Final = 28
_LEFT: Final = 190
_RIGHT: Final = _LEFT + _COLUMNS * _CELL
_TOP: Final = 64
_NAMES: Final = 24
"""How many characters of a job's name are shown; its tooltip has all of it."""

_STYLE: Final = """
svg{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--rule:#d8dee4;--page:#fff;--good:#1a7f6b;--bad:#c4342b;
--odd:#9a6700}
@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--dim:#8d96a0;--rule:#30363d;--page:#0d1117;--good:#4fb8a3;
--bad:#ff7b72;--odd:#d4a72c}}
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:var(--ink)}text.dim{fill:var(--dim)}
.page{fill:var(--page)}.rule{stroke:var(--rule);fill:none}.out{fill:var(--bad);opacity:.35}
.m{stroke-width:1.6;fill:none;stroke-linecap:round;stroke-linejoin:round}
.good{stroke:var(--good)}.bad{stroke:var(--bad)}.odd{stroke:var(--odd)}.dim{stroke:var(--dim)}text.dim{stroke:none}
.f{stroke-width:0}.good.f{fill:var(--good)}.bad.f{fill:var(--bad)}.dim.f{fill:var(--dim)}
"""
_COLOURS: Final = {
    **dict.fromkeys(("parked", "lost", "timed out", "failed"), "bad"),
    **dict.fromkeys(("missed", "interrupted", "skipped"), "odd"),
    **dict.fromkeys(("busy", "succeeded"), "good"),
    "taken": "dim",
}


def draw(timeline: Timeline, noted: Sequence[Noted]) -> str:
    """Return the picture; see `Timeline.svg`."""
    axis = Axis(timeline, _COLUMNS)
    rows: list[tuple[str, str, Callable[[int], Iterator[str]]]] = [
        (part, "dim", partial(_outages, axis, part, outages)) for part, outages in timeline.outages.items() if outages
    ]
    if timeline.clock:
        rows.append(("clock", "dim", partial(_clock, axis, timeline.clock)))
    kinds: set[Kind] = set()
    for job in timeline.jobs:
        columns = lane(axis, timeline.runs(job), [one for one in noted if one.event.job == job])
        rows.append((job, "", partial(_job, axis, columns)))
        kinds.update(*(column.counts for column in columns.values()))
    bottom = _TOP + len(rows) * _ROW
    lines = [*_frame(timeline, bottom + 40), *_scale(timeline, axis, bottom)]
    for number, (name, style, content) in enumerate(rows):
        middle = _TOP + number * _ROW + _ROW // 2
        shown = name if len(name) <= _NAMES else name[: _NAMES - 1] + "…"
        lines.append(f'<text class="{style}" x="16" y="{middle + 4}">{_safe(shown)}<title>{_safe(name)}</title></text>')
        lines.append(f'<path class="rule" d="M{_LEFT} {middle}H{_RIGHT}"/>')
        lines += content(middle)
    return "\n".join((*lines, *_legend(kinds, bottom + 24), "</svg>\n"))


def _safe(text: str) -> str:
    """Return *text* for use between tags and in attributes; no control character is left, which XML cannot hold."""
    return escape(printable(text))


def _mark(style: str, shape: str, x: float, y: int, title: str) -> str:
    tooltip = f"<title>{_safe(title)}</title>"
    return f'<path class="m {style}" d="{shape}" transform="translate({x:g} {y})">{tooltip}</path>'


def _frame(timeline: Timeline, height: int) -> Iterator[str]:
    span = f"{timeline.start:%Y-%m-%d %H:%M} to {timeline.end:%Y-%m-%d %H:%M %Z}"
    width = _RIGHT + 24
    said = _safe(f"Timeline, {span}, of {', '.join(timeline.jobs) or 'no job'}")
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="{said}">'
    )
    yield f"<style>{_STYLE}</style>"
    yield f'<rect class="page" width="{width}" height="{height}"/>'
    yield f'<text x="16" y="24">{_safe(span)}</text>'


def _scale(timeline: Timeline, axis: Axis, bottom: int) -> Iterator[str]:
    for instant, label in ticks(timeline, 12):
        x = _x(axis, instant)
        yield f'<path class="rule" d="M{x:g} {_TOP - 8}V{bottom}"/>'
        yield f'<text class="dim" x="{x:g}" y="{_TOP - 14}" text-anchor="middle">{_safe(label)}</text>'


def _x(axis: Axis, instant: int) -> float:
    return round(_LEFT + axis.part(instant) * _COLUMNS * _CELL, 1)


def _outages(axis: Axis, part: str, outages: Sequence[Outage], middle: int) -> Iterator[str]:
    for outage in outages:
        left, right = (_x(axis, axis.begin + at // MILLISECOND) for at in (outage.at, outage.until))
        title = _safe(f"{part} out of reach for {outage.duration}, from {axis.local(outage.at)}")
        yield (
            f'<rect class="out" x="{left:g}" y="{middle - 7}" width="{max(right - left, 2):g}" height="14">'
            f"<title>{title}</title></rect>"
        )


def _clock(axis: Axis, history: Sequence[ClockEvent], middle: int) -> Iterator[str]:
    for event in history:
        title, shape = _clock_event(event, axis)
        x = _x(axis, axis.begin + event.at // MILLISECOND)
        yield _mark("odd", shape, x, middle, f"{title}, at {axis.local(event.at)}")


def _clock_event(event: ClockEvent, axis: Axis) -> tuple[str, str]:
    """Return what happened and its shape: arrows for steps, a bracket for a suspend, a wave for drift."""
    if isinstance(event, ClockStep):
        if event.by < ZERO:
            return f"set back by {-event.by}", "M4-5L-4 0L4 5Z"
        return f"set forward by {event.by}", "M-4-5L4 0L-4 5Z"
    if isinstance(event, Suspend):
        opens, closes = (_x(axis, axis.begin + at // MILLISECOND) for at in (event.at, event.at + event.duration))
        return f"suspended for {event.duration}", f"M0-6V6M0 0H{closes - opens:g}M{closes - opens:g}-6V6"
    return f"runs at {event.rate:g} seconds per second", "M-6 0Q-3-7 0 0T6 0"


def _job(axis: Axis, columns: dict[int, Column], middle: int) -> Iterator[str]:
    for number, column in sorted(columns.items()):
        left = _LEFT + number * _CELL
        if column.alive:
            yield f'<path class="m good" d="M{left - _CELL / 2:g} {middle}H{left + _CELL / 2:g}"/>'
        if column.counts:
            mark = MARKS[column.gravest]
            title = f"{axis.local(axis.opens_at(number))} to {axis.local(axis.opens_at(number + 1))}: {_told(column)}"
            yield _mark(_style(mark), mark.shape, left + _CELL / 2, middle, title)


def _style(mark: Mark) -> str:
    return _COLOURS[mark.name] + (" f" if mark.filled else "")


def _told(column: Column) -> str:
    counts = (f"{column.counts[kind]} {MARKS[kind].name}" for kind in sorted(column.counts, key=GRAVITY.__getitem__))
    return f"{', '.join(counts)}{_details(column.first)}"


def _details(sight: Sight) -> str:
    match sight:
        case JobParked(error=error):
            return f" ({error})"
        case Failed(blame, error):
            return f" ({blame}: {error})"
        case TimedOut(seconds):
            return f" (after {seconds:g} s)"
        case Skipped(reason):
            return f" ({reason})"
        case _:
            return ""


def _legend(kinds: set[Kind], y: int) -> Iterator[str]:
    x = 16
    for kind in sorted(kinds, key=GRAVITY.__getitem__):
        mark = MARKS[kind]
        yield f'<path class="m {_style(mark)}" d="{mark.shape}" transform="translate({x + 4} {y - 4})"/>'
        yield f'<text class="dim" x="{x + 14}" y="{y}">{_safe(mark.name)}</text>'
        x += 34 + 7 * len(mark.name)
