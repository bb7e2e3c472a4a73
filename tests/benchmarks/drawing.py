"""Plots as SVG that need nothing beside them: no script, no font, no style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 820
LEFT: Final = 300
RIGHT: Final = WIDTH - 90
ROW: Final = 22
TOP: Final = 58
STYLE: Final = """
svg{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--rule:#d8dee4;--page:#fff;--good:#1a7f6b;--bad:#c4342b;
--odd:#9a6700;--other:#8c959f}
@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--dim:#8d96a0;--rule:#30363d;--page:#0d1117;--good:#4fb8a3;
--bad:#ff7b72;--odd:#d4a72c;--other:#6e7681}}
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:var(--ink)}text.dim{fill:var(--dim)}text.title{font-size:14px}
.page{fill:var(--page)}.rule{stroke:var(--rule)}.limit{stroke:var(--ink);stroke-dasharray:3 3}
.good{fill:var(--good)}.bad{fill:var(--bad)}.odd{fill:var(--odd)}.other{fill:var(--other)}
path.line{fill:none;stroke-width:2}.line.good{stroke:var(--good)}.line.other{stroke:var(--other)}
"""


class Bar(NamedTuple):
    """A row of a plot."""

    label: str
    value: float
    style: str
    """``good``, ``odd``, ``bad`` or ``other``."""
    said: str
    """Beside it."""


def shown(value: float) -> str:
    """Three digits: no more come out the same the next time."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bars(title: str, rows: Sequence[Bar], *, limits: Mapping[str, float] | None = None) -> str:
    """Return a plot with a row for each bar, on a logarithmic scale, and a line across for each limit."""
    limits = limits or {}
    positive = [max(row.value, 1e-9) for row in rows] + list(limits.values())
    scale = Scale(min(positive) / 1.5, max(positive) * 1.2)
    bottom = TOP + len(rows) * ROW
    lines = [*_frame(title, bottom + 30), *scale.grid(bottom)]
    for number, row in enumerate(rows):
        y = TOP + number * ROW
        x = scale.x(max(row.value, 1e-9))
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(row.label)}</text>',
            f'<rect class="{row.style}" x="{LEFT}" y="{y + 4}" width="{max(x - LEFT, 1):.1f}" height="14"/>',
            f'<text class="dim" x="{max(x, LEFT) + 6:.1f}" y="{y + 15}">{escape(row.said)}</text>',
        ]
    for name, limit in limits.items():
        x = scale.x(limit)
        lines += [
            f'<path class="limit" d="M{x:.1f} {TOP - 4}V{bottom}"/>',
            f'<text class="dim" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(name)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def curves(title: str, series: Mapping[str, Mapping[float, float]], unit: str) -> str:
    """Return a plot of lines over two logarithmic axes; that of loopcron stands out."""
    sizes = sorted({size for points in series.values() for size in points})
    values = [value for points in series.values() for value in points.values()]
    across = Scale(sizes[0], sizes[-1])
    low, high = math.log(min(values) / 1.3), math.log(max(values) * 1.3)
    bottom = TOP + 300

    def y(value: float) -> float:
        return bottom - (math.log(value) - low) / (high - low) * 300

    lines = [*_frame(title, bottom + 40)]
    for size in sizes:
        x = across.x(size)
        lines.append(f'<path class="rule" d="M{x:.1f} {TOP}V{bottom}"/>')
        lines.append(f'<text class="dim" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{size:,.0f}</text>')
    for value in decades(min(values) / 1.3, max(values) * 1.3):
        lines.append(f'<path class="rule" d="M{LEFT} {y(value):.1f}H{RIGHT}"/>')
        said = f"{shown(value)} {unit}"
        lines.append(f'<text class="dim" x="{LEFT - 10}" y="{y(value) + 4:.1f}" text-anchor="end">{said}</text>')
    taken: dict[float, float] = {}
    for name, points in sorted(series.items(), key=lambda each: -each[1][max(each[1])]):
        style = "good" if name == "loopcron" else "other"
        ordered = sorted(points.items())
        path = "L".join(f"{across.x(size):.1f} {y(value):.1f}" for size, value in ordered)
        end, last = ordered[-1]
        at = taken[end] = max(y(last) + 4, taken.get(end, 0.0) + 13)  # below the name above
        lines.append(f'<path class="line {style}" d="M{path}"/>')
        lines += [
            f'<circle class="{style}" cx="{across.x(size):.1f}" cy="{y(value):.1f}" r="3"/>' for size, value in ordered
        ]
        lines.append(f'<text x="{across.x(end) + 6:.1f}" y="{at:.1f}">{escape(name)}</text>')
    return "\n".join([*lines, "</svg>", ""])


class Scale:
    """A logarithmic axis across the plot."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def x(self, value: float) -> float:
        """Return where the value is."""
        part = (math.log(value) - math.log(self._low)) / (math.log(self._high) - math.log(self._low))
        return LEFT + part * (RIGHT - LEFT)

    def grid(self, bottom: int) -> Iterator[str]:
        """Give lines to read values by."""
        for value in decades(self._low, self._high):
            x = self.x(value)
            yield f'<path class="rule" d="M{x:.1f} {TOP - 4}V{bottom}"/>'
            yield f'<text class="dim" x="{x:.1f}" y="{TOP - 10}" text-anchor="middle">{shown(value)}</text>'


def decades(low: float, high: float) -> list[float]:
    """Return round values between the two; few of them where they are far apart."""
    steps = (1, 2, 5) if high / low < 200 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in exponents for step in steps if low <= step * 10.0**power <= high]


def _frame(title: str, height: int) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(title)}">'
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="page" width="{WIDTH}" height="{height}"/>'
    yield f'<text class="title" x="16" y="24">{escape(title)}</text>'
