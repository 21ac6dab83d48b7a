"""Two plans side by side: the one that was marked and the one that is shown; the differences are the planner's."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Static

from planner import Plan
from planner.rendering.difference import PlanDifference, difference, rows
from tui.screens.dialogues import Dialogue
from tui.widgets.columns import Column, Row, lay_out
from tui.widgets.plan_panel import wrapped

COLUMNS = (Column("", flex=True), Column("marked", right=True), Column("now", right=True), Column("change", right=True))
MOST_WHY = 4


class Compare(Dialogue[None]):
    """What changes from the marked plan to this one."""

    def __init__(self, before: Plan, after: Plan) -> None:
        super().__init__()
        self._found = difference(before, after)

    def compose(self) -> ComposeResult:
        """One text."""
        with self.frame("marked beside now", wide=True), VerticalScroll():
            yield Static(id="differences", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Draw once the width is known."""
        self.call_after_refresh(self._draw)

    def on_resize(self) -> None:
        """Lay it out for the new width."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        text = self.query_one("#differences", Static)
        width = max(40, text.content_size.width)
        text.update(Content("\n").join(difference_lines(self._found, width=width)))


def difference_lines(found: PlanDifference, *, width: int) -> list[Content]:
    """Return both verdicts, every figure that differs, flags, warnings and why."""
    lines = [
        *wrapped(f"marked  {found.before}", width=width, indent="        "),
        *wrapped(f"now     {found.after}", width=width, indent="        "),
        Content(""),
    ]
    if found.same:
        return [*lines, Content.styled("nothing changes", "$text-success")]
    told = [Row(cells=(row.label, row.before, row.after, row.change)) for row in rows(found)]
    if told:
        head, body = lay_out(COLUMNS, told, width=width)
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
