"""The checks of a running server, ticking through."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.serving import Serving
from tui.widgets.checks import check_lines, summary

WIDEST = 110


def smoke_lines(serving: Serving, *, width: int, height: int = 0) -> list[Content]:  # noqa: ARG001 - every text alike
    """Return the checks with what they saw, and the verdict below."""
    lines = check_lines(serving.results, width=min(width, WIDEST), running=serving.checking)
    if serving.report is None:
        return lines
    words, style = "✗ the server does not do what was planned", "bold $text-error"
    if serving.report.passed:
        words, style = "✓ the server does what was planned", "bold $text-success"
    return [*lines, Content(""), Content.assemble((words, style), f"  {summary(serving.results)}")]


class ChecksView(VerticalScroll):
    """Named checks with what they saw, and the verdict below."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "screen.verify", "check again")]

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(classes="text")

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._drawn: object = None

    def show(self, serving: Serving, *, width: int) -> None:
        """Draw the state."""
        self.query_one(Static).update(Content("\n").join(smoke_lines(serving, width=width)))
        drawn = (serving.results, serving.report, self.size)
        if drawn != self._drawn:
            # The verdict stands below, and there are more checks than a small terminal has rows.
            self.call_after_refresh(self.scroll_end, animate=False)
        self._drawn = drawn
