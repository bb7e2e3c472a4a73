"""A timeline as an SVG document that needs nothing beside it: no script, no font, no style sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Final

from loopcron._instants import MILLISECOND, from_ms
from loopcron._outcomes import Failed, Outcome, Skipped, TimedOut
from loopcron.testing._histories import ClockEvent, ClockStep, Drift, Suspend
from loopcron.testing._marks import GRAVITY, MARKS, Axis, Column, Mark, lane, ticks

if TYPE_CHECKING:
    from datetime import tzinfo

    from loopcron.testing._timeline import Passed, Timeline

_COLUMNS: Final = 110
_CELL: Final = 8
_ROW: Final = 28
_LEFT: Final = 190
_TOP: Final = 64
_RIGHT: Final = 24
_NAMES: Final = 26
"""How many characters of a job's name are shown; its tooltip has all of it."""

_STYLE: Final = """
svg{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--rule:#d8dee4;--page:#fff;--good:#1a7f6b;--bad:#c4342b;
--odd:#9a6700;--out:#c4342b}
@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--dim:#8d96a0;--rule:#30363d;--page:#0d1117;--good:#4fb8a3;
--bad:#ff7b72;--odd:#d4a72c;--out:#ff7b72}}
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:var(--ink)}.dim{fill:var(--dim)}
.page{fill:var(--page)}.rule{stroke:var(--rule);stroke-width:1;fill:none}
.m{stroke-width:1.6;fill:none;stroke-linecap:round;stroke-linejoin:round}.f{stroke-width:0}
.good{stroke:var(--good)}.good.f{fill:var(--good)}.bad{stroke:var(--bad)}.bad.f{fill:var(--bad)}
.odd{stroke:var(--odd)}.odd.f{fill:var(--odd)}.quiet{stroke:var(--dim)}.quiet.f{fill:var(--dim)}
.alive{stroke:var(--good);stroke-width:1.6;opacity:.6}.out{fill:var(--out);opacity:.35}
"""
_COLOURS: Final = {
    **dict.fromkeys(("lost", "timed out", "failed"), "bad"),
    **dict.fromkeys(("missed", "interrupted", "skipped"), "odd"),
    **dict.fromkeys(("busy", "succeeded"), "good"),
    "taken": "quiet",
}


def draw(timeline: Timeline, passed: Sequence[Passed]) -> str:
    """Return the picture; see `Timeline.svg`."""
    axis = Axis(timeline, _COLUMNS)
    parts = [part for part, outages in timeline.outages.items() if outages]
    rows = [*parts, *(["clock"] if timeline.clock else []), *timeline.jobs]
    width = _LEFT + _COLUMNS * _CELL + _RIGHT
    bottom = _TOP + len(rows) * _ROW
    height = bottom + 40
    said = f"{', '.join(timeline.jobs) or 'no job'}, {_span(timeline)}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{_safe(f"Timeline of {said}")}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text x="16" y="24">{_safe(_span(timeline))}</text>',
        *_scale(timeline, axis, bottom),
    ]
    kinds: set[type[Outcome] | None] = set()
    for number, row in enumerate(rows):
        middle = _TOP + number * _ROW + _ROW // 2
        shown = row if len(row) <= _NAMES else row[: _NAMES - 2] + "…"
        kind = ' class="dim"' if number < len(rows) - len(timeline.jobs) else ""
        lines.append(f'<text x="16" y="{middle + 4}"{kind}>{_safe(shown)}<title>{_safe(row)}</title></text>')
        lines.append(f'<path class="rule" d="M{_LEFT} {middle}H{_LEFT + _COLUMNS * _CELL}"/>')
        if number < len(parts):
            lines += _outages(timeline, axis, row, middle)
        elif number < len(rows) - len(timeline.jobs):
            lines += _clock(timeline, axis, middle)
        else:
            columns = lane(axis, timeline.runs(row), [one for one in passed if one.settled.job == row])
            kinds.update(*(column.counts for column in columns.values()))
            lines += _job(timeline, axis, columns, middle)
    lines += _legend(kinds, bottom + 24)
    return "\n".join((*lines, "</svg>\n"))


def _safe(text: str) -> str:
    """Return *text* for use between tags and in attributes; what XML cannot hold is never in it, see `printable`."""
    return escape(text)


def _span(timeline: Timeline) -> str:
    return f"{timeline.start:%Y-%m-%d %H:%M} to {timeline.end:%Y-%m-%d %H:%M %Z}"


def _x(axis: Axis, instant: int) -> float:
    return _LEFT + axis.part(instant) * _COLUMNS * _CELL


def _scale(timeline: Timeline, axis: Axis, bottom: int) -> Iterator[str]:
    for instant, label in ticks(timeline, 12):
        x = _x(axis, instant)
        yield f'<path class="rule" d="M{x:.1f} {_TOP - 8}V{bottom}"/>'
        yield f'<text class="dim" x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle">{_safe(label)}</text>'


def _outages(timeline: Timeline, axis: Axis, part: str, middle: int) -> Iterator[str]:
    for outage in timeline.outages[part]:
        left, right = (_x(axis, axis.begin + at // MILLISECOND) for at in (outage.at, outage.until))
        title = f"{part} out of reach for {outage.duration}, from {_local(axis, timeline, outage.at)}"
        yield (
            f'<rect class="out" x="{left:.1f}" y="{middle - 7}" width="{max(right - left, 2):.1f}" height="14">'
            f"<title>{_safe(title)}</title></rect>"
        )


def _clock(timeline: Timeline, axis: Axis, middle: int) -> Iterator[str]:
    for event in timeline.clock:
        x = _x(axis, axis.begin + event.at // MILLISECOND)
        title, shape = _clock_event(event, axis)
        yield (
            f'<path class="m odd" d="{shape}" transform="translate({x:.1f} {middle})">'
            f"<title>{_safe(f'{title}, at {_local(axis, timeline, event.at)}')}</title></path>"
        )


def _clock_event(event: ClockEvent, axis: Axis) -> tuple[str, str]:
    """Return what happened and its shape: arrows for steps, a bracket for a suspend, a wave for drift."""
    match event:
        case ClockStep(_, by):
            forward = by >= timedelta(0)
            return (
                (f"set forward by {by}", "M-4-5L4 0L-4 5Z") if forward else (f"set back by {-by}", "M4-5L-4 0L4 5Z")
            )
        case Suspend(_, duration):
            length = duration // MILLISECOND / axis.span * _COLUMNS * _CELL
            return f"suspended for {duration}", f"M0-6V6M0 0H{length:.1f}M{length:.1f}-6V6"
        case Drift(_, rate):
            return f"runs at {rate} seconds per second", "M-6 0Q-3-7 0 0T6 0"


def _job(timeline: Timeline, axis: Axis, columns: dict[int, Column], middle: int) -> Iterator[str]:
    for number, column in sorted(columns.items()):
        x = _LEFT + number * _CELL + _CELL // 2
        if column.alive:
            yield f'<path class="alive" d="M{x - _CELL} {middle}H{x + _CELL // 2}"/>'
        if column.counts:
            opens, closes = (_local(axis, timeline, axis.opens_at(at)) for at in (number, number + 1))
            yield (
                f'<path class="{_classes(MARKS[column.gravest])}" d="{MARKS[column.gravest].shape}" '
                f'transform="translate({x} {middle})"><title>{_safe(f"{opens} to {closes}: {_told(column)}")}</title></path>'
            )


def _classes(mark: Mark) -> str:
    return f"m {_COLOURS[mark.name]}" + (" f" if mark.filled else "")


def _told(column: Column) -> str:
    counts = (
        f"{column.counts[kind]} {MARKS[kind].name}" for kind in sorted(column.counts, key=GRAVITY.__getitem__)
    )
    return f"{', '.join(counts)}{_details(column.first)}"


def _details(outcome: Outcome | None) -> str:
    match outcome:
        case Failed(blame, error):
            return f" ({blame}: {error})"
        case TimedOut(seconds):
            return f" (after {seconds:g} s)"
        case Skipped(reason):
            return f" ({reason})"
        case _:
            return ""


def _local(axis: Axis, timeline: Timeline, since: timedelta) -> str:
    zone: tzinfo | None = timeline.start.tzinfo
    return f"{from_ms(axis.begin + since // MILLISECOND).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _legend(kinds: set[type[Outcome] | None], y: int) -> Iterator[str]:
    x = 16
    for kind in sorted(kinds, key=GRAVITY.__getitem__):
        mark = MARKS[kind]
        yield f'<path class="{_classes(mark)}" d="{mark.shape}" transform="translate({x + 4} {y - 4})"/>'
        yield f'<text class="dim" x="{x + 14}" y="{y}">{_safe(mark.name)}</text>'
        x += 34 + 7 * len(mark.name)
