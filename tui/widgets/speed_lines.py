"""How fast a plan would be under the load, with bounds and what it misses; it draws a forecast."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from hw_specs.units import format_figure
from planner import Estimate, SpeedForecast, Workload
from planner.speed.answer import Cost
from tui.widgets.columns import wrapped

LABEL = 10
"""Cells of a name, so that a figure with its bounds stands in one line of the narrowest panel."""
MOST = 10_000_000
"""From here on a figure is told by its power of ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedShown:
    """A forecast and what stands beside it."""

    workload: Workload
    forecast: SpeedForecast | None = None
    """None while it is being made."""
    misses: tuple[str, ...] = ()
    """Targets that it does not meet, in words."""
    cost: Cost | None = None
    trouble: str = ""
    """Why there is no forecast."""


def speed_lines(shown: SpeedShown, *, width: int) -> list[Content]:
    """Return the load, the three figures with their bounds, cost and misses."""
    head = wrapped(load_words(shown.workload), width=width, style="$secondary")
    if shown.trouble:
        return [*head, *wrapped(f"no forecast: {shown.trouble}", width=width, style="$text-warning")]
    if shown.forecast is None:
        return [*head, Content.styled("forecasting …", "$secondary")]
    found = shown.forecast
    missed = {text.split()[0] for text in shown.misses}
    lines = [
        *head,
        _figure("tokens/s", found.output_tokens_per_s, bad=any("tokens/s" in text for text in shown.misses)),
        _figure("TTFT, ms", found.ttft_ms, bad="TTFT" in missed),
        _figure("TPOT, ms", found.tpot_ms, bad="TPOT" in missed),
    ]
    if shown.cost is not None:
        lines.append(_figure("cost per M", shown.cost.per_million_output_tokens))
    for text in shown.misses:
        lines += wrapped(f"✗ misses {text}", width=width, style="bold $text-error", indent="  ")
    if found.preemptions:
        words = f"! {found.preemptions:,} requests are preempted and recomputed: the cache is too small for this load"
        lines += wrapped(words, width=width, style="$text-warning", indent="  ")
    return lines


def load_words(load: Workload) -> str:
    """Return a load in one line."""
    flow = f"{load.concurrency:,} at once" if load.concurrency is not None else ""
    if load.request_rate is not None:
        flow = f"{load.request_rate:g}/s" + (f", {flow}" if flow else "")
    return f"{load.lengths_in_words}, {flow or 'all at once'}"


def number(value: float) -> str:
    """Return a figure as precise as it deserves."""
    return f"{value:.0e}" if value >= MOST else format_figure(value)


def _figure(label: str, estimate: Estimate, *, bad: bool = False) -> Content:
    spread = f"{number(estimate.low)} to {number(estimate.high)}"
    style = "bold $text-error" if bad else "bold"
    return Content.assemble(
        f"{label:<{LABEL}}", (f"{number(estimate.expected):>7}", style), (f"  {spread}", "$secondary")
    )
