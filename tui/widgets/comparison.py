"""Predicted against measured, one line per component; it draws a `Comparison`."""

from __future__ import annotations

from textual.content import Content

from hw_specs.units import format_gib
from planner.serve.log.comparison import Comparison, Difference
from tui.widgets.columns import Column, Row, lay_out, wrapped

SIZES = (
    Column("one GPU, GiB", flex=True),
    Column("predicted", right=True),
    Column("low", right=True),
    Column("high", right=True),
    Column("measured", right=True),
    Column("off", right=True),
    Column(" "),
)
COUNTS = (
    Column("", flex=True),
    Column("predicted", right=True),
    Column("measured", right=True),
    Column("off", right=True),
)


def comparison_lines(comparison: Comparison, *, width: int) -> list[Content]:
    """Return both tables and the sentence; what is outside its bounds is loud, the rest quiet."""
    width = min(width, 100)
    sizes = [item for item in comparison.differences if item.unit == "bytes"]
    counts = [item for item in comparison.differences if item.unit != "bytes"]
    verdict_style = "$text-warning" if comparison.wrong else "$text-success"
    lines = wrapped(("! " if comparison.wrong else "✓ ") + comparison.summary, width=width, style=verdict_style)
    if sizes:
        head, rows = lay_out(SIZES, [_size(item, comparison) for item in sizes], width=width)
        lines += [Content(""), head, *rows]
    if counts:
        cells = [
            Row(cells=(item.title, f"{item.predicted:,}", f"{item.measured:,}", f"{item.difference:+,}"))
            for item in counts
        ]
        head, rows = lay_out(COUNTS, cells, width=width)
        lines += [Content(""), head, *rows]
    return lines


def _size(item: Difference, comparison: Comparison) -> Row:
    off = item.outside(2 * comparison.tolerance_bytes)
    sign = "+" if item.difference >= 0 else ""
    values = (item.predicted, item.low, item.high, item.measured)
    return Row(
        cells=(
            item.title,
            *(format_gib(value) for value in values),
            f"{sign}{format_gib(item.difference)}",
            "!" if off else "",
        ),
        style="$text-warning" if item.name in comparison.wrong else "",
    )
