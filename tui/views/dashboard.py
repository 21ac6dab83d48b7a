"""A running server at a glance."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.serving import Serving
from tui.widgets.dashboard import dashboard_lines


class DashboardView(VerticalScroll):
    """The newest look at ``/metrics`` and at the GPUs, how it went before, and what was planned."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("t", "screen.window", "time shown")]

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(classes="text")

    def show(self, serving: Serving, *, width: int) -> None:
        """Draw the state."""
        lines = dashboard_lines(serving, width=width, height=self.size.height)
        self.query_one(Static).update(Content("\n").join(lines))
