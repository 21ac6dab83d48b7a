"""Pictures of a shared plan as inline SVG: one GPU with bounds, and curves. They need no script and no font."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from hw_specs.units import GIB
from planner.planning.answer import Plan
from planner.rendering.picture import group_rows

WIDTH = 720
LEFT, RIGHT = 150, 20
ROW = 26


def gpu_picture(plan: Plan) -> str:
    """One row per group of the ledger: a bar for what is expected, a whisker from low to high, the budget's end."""
    rows = [row for row in group_rows(plan) if row.high_bytes > 0]
    most = max(max(row.high_bytes for row in rows), GIB)
    scale = (WIDTH - LEFT - RIGHT - 70) / most
    height = ROW * len(rows) + 8
    parts = []
    for index, row in enumerate(rows):
        top = 4 + index * ROW
        size = max(1.0, max(0, row.bytes) * scale)
        low, high = max(0, row.low_bytes) * scale, row.high_bytes * scale
        kind = row.label.replace(" ", "-").lower()
        parts.append(f'<text x="{LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(row.label)}</text>')
        parts.append(
            f'<rect class="bar {kind}" x="{LEFT}" y="{top + 3}" width="{size:.1f}" height="{ROW - 8}" rx="2"/>'
        )
        if row.bounds:
            middle = top + ROW / 2 - 1
            parts.append(
                f'<path class="whisker" d="M{LEFT + low:.1f} {middle}H{LEFT + high:.1f}'
                f"M{LEFT + low:.1f} {middle - 5}v10M{LEFT + high:.1f} {middle - 5}v10"
                '"/>'
            )
        end = LEFT + max(size, high) + 8
        parts.append(f'<text class="number" x="{end:.1f}" y="{top + 17}">{row.gib}</text>')
    words = "; ".join(f"{row.label} {row.gib} GiB" for row in rows)
    return _svg(height, f"One GPU's memory: {words}", parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve with its bounds."""

    name: str
    points: tuple[tuple[float, float], ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def curve_picture(title: str, lines: Sequence[Line], *, across: str, up: str) -> str:
    """Curves over a logarithmic number of requests; bounds are a shade behind each."""
    height, top, bottom = 240, 26, 44
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [y for line in lines for y in line.high]
    x_low, x_high = log10(min(xs)), log10(max(xs))
    y_most = _ceiling(max(ys))
    left, width = 80, WIDTH - 80 - RIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        share = (log10(x) - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        return left + share * width, height - bottom - y / y_most * (height - top - bottom)

    parts = [f'<text class="title" x="{left}" y="16">{escape(title)}</text>']
    for step in range(5):
        value = y_most * step / 4
        _, y = place(min(xs), value)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{left + width}"/>')
        parts.append(f'<text class="number" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    for x in sorted(set(xs)):
        at, _ = place(x, 0)
        parts.append(
            f'<text class="number" x="{at:.1f}" y="{height - bottom + 16}" text-anchor="middle">{x:,.0f}</text>'
        )
    parts.append(f'<text x="{left + width / 2}" y="{height - 8}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text x="{left + width}" y="16" text-anchor="end">{escape(up)}</text>')
    for line in lines:
        if line.low and line.high:
            upper = [place(x, high) for (x, _), high in zip(line.points, line.high, strict=True)]
            lower = [place(x, low) for (x, _), low in zip(line.points, line.low, strict=True)]
            shade = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
            parts.append(f'<polygon class="shade" points="{shade}"/>')
        spots = [place(x, y) for x, y in line.points]
        parts.append(f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}"/>')
        parts += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in spots]
    told = "; ".join(f"{x:,.0f}: {y:,.0f}" for line in lines for x, y in line.points)
    return _svg(height, f"{title}, {up} by {across}: {told}", parts)


def _ceiling(value: float) -> float:
    """The next round number at or above `value`.

    >>> _ceiling(262144), _ceiling(7)
    (300000.0, 7.0)
    """
    if value <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(value))
    return ceil(value / unit) * unit


def _svg(height: float, description: str, parts: Sequence[str]) -> str:
    label = escape(description, quote=True)
    return (
        f'<div class="wide" tabindex="0"><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg></div>"
    )
