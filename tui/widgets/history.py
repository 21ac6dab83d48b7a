"""How a figure went: an area of small bars, with a forecast as a line in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from textual.content import Content

from planner import Estimate

_EIGHTHS = " ▁▂▃▄▅▆▇█"
ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
"""What a history may end at, times a power of ten."""
LEAST = 1e-9
"""Below this a figure is nothing that a history could show, and powers of ten run out of digits."""
BODY = "$accent 45%"
"""What is under the edge of a history."""
LEAST_MARKED = 2
"""Lines from which a history has room for the forecast's."""


def chart(values: Sequence[float | None], *, width: int, height: int, most: float | None = None) -> list[str]:
    """Return values as columns of small bars, `height` lines, the top one first.

    `most` fills them all; where it is not given, the largest value does.

    >>> chart([1, None, 4, 2], width=4, height=2)
    ['  █ ', '▄ ██']
    """
    shown = list(values[-width:])
    most = most or max((value for value in shown if value is not None), default=0) or 1
    eighths = [None if value is None else max(1, round(value / most * 8 * height)) for value in shown]
    return [
        "".join(" " if cell is None else _EIGHTHS[max(0, min(8, cell - 8 * row))] for cell in eighths)
        for row in reversed(range(height))
    ]


def ceiling(values: Sequence[float]) -> float:
    """Return the round number above `values` where a history ends: what stays the same does not fill it.

    >>> ceiling([500.0, 500.0]), ceiling([32.0, 44.0]), ceiling([0.0])
    (600.0, 50.0, 1.0)
    """
    most = 1.1 * max(values, default=0.0)
    if most < LEAST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in ROUND if step * power >= most)


def history(
    values: Sequence[float | None], *, height: int, top: float, forecast: Estimate | None = None
) -> list[Content]:
    """Return values as an area under a bright edge, `height` lines; a forecast is a line in it, its bounds are dots."""
    lines = chart(values, width=len(values), height=height, most=top)
    marks: dict[int, str] = {}
    if forecast is not None and height >= LEAST_MARKED:
        for value, mark in ((forecast.low, "┄"), (forecast.high, "┄"), (forecast.expected, "─")):
            if value <= top:
                marks[height - 1 - min(height - 1, int(value / top * height))] = mark
    drawn = []
    for row, line in enumerate(lines):
        above = lines[row - 1] if row else " " * len(line)
        cells = []
        for cell, over in zip(line, above, strict=True):
            buried = cell == "█" and over != " "
            if row in marks and (buried or cell == " "):
                cells.append((f"$foreground on {BODY}" if buried else "$secondary", marks[row]))
            else:
                cells.append((BODY if buried else "$accent", cell))
        runs = groupby(cells, key=itemgetter(0))
        drawn.append(Content.assemble(*(("".join(cell for _, cell in run), style) for style, run in runs)))
    return drawn


def over_time(
    times_s: Sequence[float], values: Sequence[float | None], *, span_s: float, cells: int
) -> list[float | None]:
    """Return the mean of each of `cells` equal parts of the last `span_s` seconds; None before the first value.

    A part without a look of its own is as the one before it.
    """
    if not times_s:
        return [None] * cells
    begin_s = times_s[-1] - span_s
    parts: list[list[float]] = [[] for _ in range(cells)]
    for at_s, value in zip(times_s, values, strict=True):
        if value is not None and at_s >= begin_s:
            parts[min(cells - 1, int((at_s - begin_s) / span_s * cells))].append(value)
    found: list[float | None] = []
    for part in parts:
        found.append(sum(part) / len(part) if part else found[-1] if found else None)
    return found
