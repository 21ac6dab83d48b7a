"""Context and speed against concurrency, one line a point; the figures come from the planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content

from hw_specs.units import format_tokens
from planner.planning.context_curve import CurvePoint
from planner.speed.answer import SpeedForecast
from tui.widgets.columns import fit
from tui.widgets.plan_panel import blocks

SPEED_WIDTH = 37


def curve_lines(
    points: Sequence[CurvePoint], *, width: int, speeds: Mapping[int, SpeedForecast] | None = None
) -> list[Content]:
    """Return a head and one bar per point; where nothing fits any more is one line at the end.

    With `speeds`, by concurrency, the forecast stands behind each bar; it may still be incomplete.
    """
    shown = [point for point in points if point.max_model_len]
    room = max(4, width - 22 - (SPEED_WIDTH if speeds is not None else 0))
    head = f"{'requests':>8}  {'tokens each':>11} "
    if speeds is not None:
        head += f"{'':{room}}{'tokens/s':>9}{'low to high':>18}{'ms/token':>10}"
    lines = [Content.styled(head, "$secondary")]
    if not shown:
        return [*lines, Content.styled("no length fits at the low bound", "$text-error")]
    longest = max(point.max_model_len for point in shown)
    for point in shown:
        lines.append(
            Content.assemble(
                f"{point.concurrency:>8}  {format_tokens(point.max_model_len):>11} ",
                (fit(blocks(point.max_model_len / longest * room), room), "$accent"),
                _speed(speeds.get(point.concurrency)) if speeds is not None else "",
            )
        )
    beyond = [point.concurrency for point in points if not point.max_model_len]
    if beyond:
        lines.append(Content.styled(f"{beyond[0]:>8}  {'none':>11}", "$secondary"))
    return lines


def _speed(forecast: SpeedForecast | None) -> Content:
    if forecast is None:
        return Content.styled(f"{'…':>9}", "$secondary")
    rate, pace = forecast.output_tokens_per_s, forecast.tpot_ms
    spread = f"{rate.low:,.0f} to {rate.high:,.0f}"
    return Content.assemble(f"{rate.expected:>9,.0f}", (f"{spread:>18}", "$secondary"), f"{pace.expected:>10.1f}")
