"""Two plans side by side: the one that was marked and the one that is shown; the differences are the planner's."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from planner import Plan, SpeedForecast
from planner.rendering.difference import PlanDifference, difference, rows
from tui.screens.dialogues import Dialogue
from tui.widgets.columns import Column, Row, lay_out, wrapped
from tui.widgets.keys import Keys
from tui.widgets.plan_panel import gpu_bar
from tui.widgets.speed_lines import number

COLUMNS = (Column("", flex=True), Column("marked", right=True), Column("now", right=True), Column("change", right=True))
MOST_WHY = 4
WIDEST = 90
"""Columns of the table of figures: across a wider one no eye finds the line again."""
LABEL = 8

Speeds = tuple[SpeedForecast | None, SpeedForecast | None]


class Compare(Dialogue[None]):
    """What changes from the marked plan to this one, and under a load how fast both are."""

    def __init__(self, before: Plan, after: Plan, *, speeds: Speeds = (None, None)) -> None:
        super().__init__()
        self._plans = (before, after)
        self._speeds = speeds
        self._found = difference(before, after)

    def compose(self) -> ComposeResult:
        """One text."""
        with self.frame("marked beside now", wide=True), VerticalScroll():
            yield Static(id="differences", markup=False)
        yield Keys()

    def draw(self) -> None:
        """Lay out both plans."""
        text = self.query_one("#differences", Static)
        width = max(40, text.content_size.width)
        lines = difference_lines(self._found, width=width, plans=self._plans, speeds=self._speeds)
        text.update(Content("\n").join(lines))


def difference_lines(
    found: PlanDifference, *, width: int, plans: tuple[Plan, Plan], speeds: Speeds = (None, None)
) -> list[Content]:
    """Return both verdicts with one GPU of each, every figure that differs, flags, warnings and why."""
    lines = []
    for label, told, plan in zip(("marked", "now"), (found.before, found.after), plans, strict=True):
        lines += wrapped(f"{label:<{LABEL}}{told}", width=width, indent=" " * LABEL)
        lines.append(Content.assemble(" " * LABEL, gpu_bar(plan, width=min(WIDEST, width) - LABEL)))
    lines.append(Content(""))
    if found.same:
        return [*lines, Content.styled("nothing changes", "$text-success")]
    told_rows = [Row(cells=(row.label, row.before, row.after, row.change)) for row in rows(found)]
    told_rows += _speed_rows(speeds)
    if told_rows:
        head, body = lay_out(COLUMNS, told_rows, width=min(width, WIDEST))
        lines += [head, *body, Content("")]
    for mark, style, items in (
        ("-", "$text-error", found.flags_gone), ("+", "$text-success", found.flags_new),
        ("+ warning:", "$text-warning", found.warnings_new), ("- warning:", "$secondary", found.warnings_gone),
    ):  # fmt: skip
        for item in items:
            lines += wrapped(f"{mark} {item}", width=width, style=style, indent="  ")
    why = [term for term in found.terms if term.why][:MOST_WHY]
    if why:
        lines += [Content(""), Content.styled("why", "bold")]
        for term in why:
            lines += wrapped(f"{term.label}: {term.why}", width=width, style="$secondary", indent="  ")
    return lines


def _speed_rows(speeds: Speeds) -> list[Row]:
    """Both forecasts for the load that is asked, where both are known."""
    before, after = speeds
    if before is None or after is None:
        return []
    told = []
    for label, name in (("tokens/s", "output_tokens_per_s"), ("TTFT, ms", "ttft_ms"), ("TPOT, ms", "tpot_ms")):
        old, new = getattr(before, name).expected, getattr(after, name).expected
        told.append(Row(cells=(label, number(old), number(new), f"{new / old - 1:+.0%}" if old else "")))
    return told
