"""Rows of the plan's two lists: ways to share the GPUs out, and changes that give the KV cache more room."""

from __future__ import annotations

from hw_specs import M35Error
from planner import Lever, SpeedForecast
from planner.rendering.report import LayoutChoice
from tui.widgets.columns import Column, Row
from tui.widgets.speed_lines import number

LAYOUT = Column("layout", flex=True)
BY_MEMORY = (LAYOUT, Column("context", right=True), Column("requests", right=True))
BY_SPEED = (
    LAYOUT,
    Column("context", right=True),
    Column("tok/s", right=True),
    Column("TTFT", right=True),
    Column("TPOT", right=True),
)
WITH_BOUNDS = (
    LAYOUT,
    Column("context", right=True),
    Column("requests", right=True),
    Column("tok/s", right=True),
    Column("low to high", right=True),
    Column("TTFT", right=True),
    Column("TPOT", right=True),
)
LEVERS = (Column("levers", flex=True, valued=True), Column("tokens", right=True))
STYLES = {"fits": "", "tight": "$text-warning", "does-not-fit": "$secondary"}


def layout_row(
    one: LayoutChoice, columns: tuple[Column, ...], *, speed: SpeedForecast | M35Error | None, missed: bool, best: bool
) -> Row:
    """Return what a layout holds and, under a load, how fast it is; None is a forecast that is still being made."""
    cells = {"tok/s": "–" if speed is not None or one.verdict == "does-not-fit" else "…"}
    if isinstance(speed, SpeedForecast):
        rate = speed.output_tokens_per_s
        cells = {
            "tok/s": number(rate.expected),
            "low to high": f"{number(rate.low)} to {number(rate.high)}",
            "TTFT": number(speed.ttft_ms.expected),
            "TPOT": number(speed.tpot_ms.expected),
        }
    name = ("▸" if one.chosen else " ") + ("✗" if missed else "★" if best else " ") + one.row.layout
    told = {"layout": name, "context": one.row.context, "requests": one.row.requests, **cells}
    style = "$text-error" if missed else STYLES[one.verdict]
    return Row(cells=tuple(told.get(column.head, "") for column in columns), style=style)


def lever_row(lever: Lever, *, on: bool) -> Row:
    """Return a change with what it gains."""
    gain = "✓ targets" if lever.meets_targets else f"{lever.gain_tokens:+,}" if lever.gain_tokens else ""
    return Row(
        cells=(f"[{'x' if on else ' '}] {lever.flag.removeprefix('--')}", gain),
        style="bold" if on else "$text-success" if lever.meets_targets else "",
    )
