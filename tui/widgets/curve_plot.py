"""Context against concurrency as bars, one line a point; the points come from the planner."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from hw_specs.units import format_tokens
from planner.curve import CurvePoint
from tui.widgets.columns import fit
from tui.widgets.plan_panel import blocks


def curve_lines(points: Sequence[CurvePoint], *, width: int) -> list[Content]:
    """Return a head and one bar per point; points where nothing fits are one line at the end."""
    shown = [point for point in points if point.max_model_len]
    lines = [Content.styled(f"{'requests':>8}  {'tokens each':>11}", "$secondary")]
    if not shown:
        return [*lines, Content.styled("no length fits at the low bound", "$text-error")]
    longest = max(point.max_model_len for point in shown)
    room = max(4, width - 22)
    for point in shown:
        lines.append(
            Content.assemble(
                f"{point.concurrency:>8}  {format_tokens(point.max_model_len):>11} ",
                (fit(blocks(point.max_model_len / longest * room), room), "$accent"),
            )
        )
    beyond = [point.concurrency for point in points if not point.max_model_len]
    if beyond:
        lines.append(Content.styled(f"{beyond[0]:>8}  {'none':>11}", "$secondary"))
    return lines
