"""What the engine measured beside what the plan predicted."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from hw_specs import M35Error
from tui.serving import Serving
from tui.widgets.comparison import comparison_lines
from tui.widgets.plan_panel import wrapped


class MeasuredView(VerticalScroll):
    """Predicted against measured; `k` keeps the measured figures."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("k", "screen.keep", "keep measured")]

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static("reading the log …", id="comparison")

    def show(self, serving: Serving, *, width: int) -> None:
        """Draw the state."""
        if serving.start_report is None:
            return
        box = self.query_one("#comparison", Static)
        if serving.start_report.comparison is None:
            box.update("this server was started without a plan: there is nothing to compare")
            return
        lines = comparison_lines(serving.start_report.comparison, width=width)
        found = serving.to_keep
        if isinstance(found, M35Error):
            hint = wrapped(f"nothing is kept of it: {found}", width=min(width, 100), style="$secondary", indent="  ")
        else:
            hint = [Content.styled("k keeps these figures: later plans for these GPUs rest on them", "$secondary")]
        box.update(Content("\n").join([*lines, Content(""), *hint]))
