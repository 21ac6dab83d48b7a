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
from tui.widgets.columns import wrapped
from tui.widgets.comparison import comparison_lines

WIDEST = 100


def measured_lines(serving: Serving, *, width: int, height: int = 0) -> list[Content]:  # noqa: ARG001 - every text alike
    """Return predicted against measured, and whether it can be kept."""
    if serving.start_report is None:
        return [Content("reading the log …")]
    if serving.start_report.comparison is None:
        return wrapped("this server was started without a plan: there is nothing to compare", width=width)
    found = serving.to_keep
    told = "`k` keeps these figures: later plans for these GPUs rest on them"
    if isinstance(found, M35Error):
        told = f"nothing is kept of it: {found}"
    hint = wrapped(told, width=min(width, WIDEST), style="$secondary", indent="  ")
    return [*comparison_lines(serving.start_report.comparison, width=width), Content(""), *hint]


class MeasuredView(VerticalScroll):
    """Predicted against measured; `k` keeps the measured figures."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("k", "screen.keep", "keep measured")]

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(classes="text")

    def show(self, serving: Serving, *, width: int) -> None:
        """Draw the state."""
        self.query_one(Static).update(Content("\n").join(measured_lines(serving, width=width)))
