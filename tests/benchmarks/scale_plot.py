"""A plot with two logarithmic axes, as SVG, by a few lines of our own: a plotting library would be a dependency."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 40, 44
COLOURS = ("#1f6feb", "#0a3069", "#d1242f", "#82071e")


class Line(NamedTuple):
    """What is drawn."""

    label: str
    points: Sequence[tuple[float, float]]


def log_plot(title: str, across: str, lines: Sequence[Line]) -> str:
    """Return the plot; all values are above 0."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_low, x_high = floor(log10(min(xs))), ceil(log10(max(xs)))
    y_low, y_high = floor(log10(min(ys))), ceil(log10(max(ys)))

    def at_x(value: float) -> str:
        return f"{LEFT + (log10(value) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT):.1f}"

    def at_y(value: float) -> str:
        return f"{HEIGHT - BOTTOM - (log10(value) - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM):.1f}"

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        '<g font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>',
    ]
    left, right, top, bottom = str(LEFT), str(WIDTH - RIGHT), str(TOP), str(HEIGHT - BOTTOM)
    for power in range(x_low, x_high + 1):
        x = at_x(10**power)
        out.append(f'<path d="M{x} {top}V{bottom}" stroke="#d0d7de"/>')
        out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10**power:,}</text>')
    for power in range(y_low, y_high + 1):
        y = at_y(10**power)
        out.append(f'<path d="M{left} {y}H{right}" stroke="#d0d7de"/>')
        label = f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
        out.append(f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{label}</text>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(f"{at_x(x)} {at_y(y)}" for x, y in line.points)
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        row = TOP + 14 + number * 20
        out.append(f'<path d="M{WIDTH - RIGHT + 12} {row - 4}h18" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 36}" y="{row}">{escape(line.label)}</text>')
    return "\n".join([*out, "</g>", "</svg>", ""])
