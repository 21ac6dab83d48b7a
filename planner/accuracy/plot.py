"""One picture of the held-out KV pools as SVG text; it needs no plotting library and never reads data itself."""

from __future__ import annotations

from html import escape

from planner.accuracy.evaluate import Comparison, Report

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 760, 300, 90, 20, 54, 46
REACH_GIB = 0.6
"""Half the width of the axis."""


def render_plot(report: Report) -> str:
    """Return an SVG: predicted less measured KV pool in GiB per GPU, a dot per layout and a bar from bound to bound."""
    rows = _rows(report)
    height = TOP + ROW * len(rows) + BOTTOM
    middle = (LEFT + WIDTH - RIGHT) / 2
    scale = (WIDTH - RIGHT - LEFT) / (2 * REACH_GIB)

    def x(value: float) -> float:
        return middle + scale * max(-REACH_GIB, min(REACH_GIB, value))

    bottom = height - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>KV pool, predicted less measured, for models left out of the fit</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-size="14" font-weight="600" fill="#1f2328">KV pool, predicted less measured</text>',
        '<text x="12" y="40" fill="#59636e">GiB per GPU; dot: expected, bar: from the low to the high bound; '
        "H100, vLLM 0.19.0, each model left out of the fit</text>",
    ]
    for tick in (-0.4, -0.2, 0.0, 0.2, 0.4):
        colour, width = ("#1f2328", 1.2) if tick == 0 else ("#d1d9e0", 1)
        parts.append(
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}" stroke="{colour}" '
            f'stroke-width="{width}"/>'
        )
        parts.append(
            f'<text x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle" fill="#59636e">{tick:+.1f}</text>'
        )
    parts.append(
        f'<text x="{x(-0.3):.1f}" y="{bottom + 34}" text-anchor="middle" fill="#59636e">careful: less promised</text>'
    )
    parts.append(
        f'<text x="{x(0.3):.1f}" y="{bottom + 34}" text-anchor="middle" fill="#59636e">too much promised</text>'
    )
    for place, row in enumerate(rows):
        y = TOP + ROW * (place + 0.5)
        low, high = row.low_gib - row.measured_gib, row.high_gib - row.measured_gib
        parts.append(
            f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end" fill="#1f2328">{escape(row.startup.label)}</text>'
        )
        parts.append(
            f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8ec5ff" stroke-width="6"/>'
        )
        parts.append(f'<circle cx="{x(row.error_gib):.1f}" cy="{y:.1f}" r="4" fill="#0969da"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}" fill="#59636e">{row.error_percent:+.2f} %</text>')
    return "\n".join([*parts, "</svg>", ""])


def _rows(report: Report) -> list[Comparison]:
    """The KV pools, one start-up per model and layout, relatives last."""
    found: dict[str, Comparison] = {}
    for one in report.comparisons:
        if one.component == "kv_pool":
            found.setdefault(one.startup.label, one)
    return sorted(found.values(), key=lambda one: (one.startup.relative, one.startup.base, one.startup.label))
