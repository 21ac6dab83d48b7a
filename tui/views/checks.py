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


class ChecksView(VerticalScroll):
    """Named checks with what they saw, and the verdict below."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "screen.verify", "check again")]

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(id="smoke")

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._drawn: object = None

    def show(self, serving: Serving, *, width: int) -> None:
        """Draw the state."""
        lines = check_lines(serving.results, width=min(width, 110), running=serving.checking)
        if serving.report is not None:
            passed = serving.report.passed
            words = "✓ the server does what was planned" if passed else "✗ the server does not do what was planned"
            style = "bold $text-success" if passed else "bold $text-error"
            lines += [Content(""), Content.assemble((words, style), f"  {summary(serving.results)}")]
        self.query_one("#smoke", Static).update(Content("\n").join(lines))
        drawn = (serving.results, serving.report, self.size)
        if drawn != self._drawn:
            # The verdict stands below, and there are more checks than a small terminal has rows.
            self.call_after_refresh(self.scroll_end, animate=False)
        self._drawn = drawn
