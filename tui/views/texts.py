"""The views that are one text each: checks, predicted against measured, dashboard, and what stands beside a view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from hw_specs import M35Error
from tui.serving import Serving
from tui.widgets.checks import check_lines, summary
from tui.widgets.columns import wrapped
from tui.widgets.comparison import comparison_lines
from tui.widgets.dashboard import dashboard_lines

CHECKS_WIDEST, MEASURED_WIDEST = 110, 100


def smoke_lines(serving: Serving, *, width: int, height: int) -> list[Content]:  # noqa: ARG001 - every text alike
    """Return the checks with what they saw, and the verdict below."""
    lines = check_lines(serving.results, width=min(width, CHECKS_WIDEST), running=serving.checking)
    if serving.report is None:
        return lines
    words, style = "✗ the server does not do what was planned", "bold $text-error"
    if serving.report.passed:
        words, style = "✓ the server does what was planned", "bold $text-success"
    return [*lines, Content(""), Content.assemble((words, style), f"  {summary(serving.results)}")]


def measured_lines(serving: Serving, *, width: int, height: int) -> list[Content]:  # noqa: ARG001 - every text alike
    """Return predicted against measured, and whether it can be kept."""
    if serving.start_report is None:
        return [Content("reading the log …")]
    if serving.start_report.comparison is None:
        return wrapped("this server was started without a plan: there is nothing to compare", width=width)
    found = serving.to_keep
    told = "`k` keeps these figures: later plans for these GPUs use them"
    if isinstance(found, M35Error):
        told = f"cannot keep it: {found}"
    hint = wrapped(told, width=min(width, MEASURED_WIDEST), style="$secondary", indent="  ")
    return [*comparison_lines(serving.start_report.comparison, width=width), Content(""), *hint]


BESIDE: Mapping[str, tuple[Callable[..., list[Content]], ...]] = {
    "checks": (measured_lines, dashboard_lines),
    "measured": (smoke_lines, dashboard_lines),
    "chat": (dashboard_lines,),
    "client": (dashboard_lines,),
}
"""View → what stands beside it, from the top; the dashboard takes all the room itself."""


def beside_lines(serving: Serving, *, width: int, height: int) -> list[Content]:
    """Return what stands beside the view that is shown."""
    lines: list[Content] = []
    for lines_of in BESIDE.get(serving.view, ()):
        lines += [Content("")] if lines else []
        lines += lines_of(serving, width=width, height=max(0, height - len(lines)))
    return lines


class TextView(VerticalScroll):
    """One text of a server."""

    LINES: ClassVar[Callable[..., list[Content]]]
    """Lays out a `Serving` in so many columns and rows."""

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(classes="text")

    def show(self, serving: Serving, *, width: int) -> None:
        """Draw the state."""
        lines = type(self).LINES(serving, width=width, height=self.size.height)
        self.query_one(Static).update(Content("\n").join(lines))


class DashboardView(TextView):
    """The newest look at ``/metrics`` and at the GPUs, how it went before, and what was planned."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("t", "screen.window", "time shown")]
    LINES = staticmethod(dashboard_lines)


class MeasuredView(TextView):
    """Predicted against measured; `k` keeps the measured figures."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("k", "screen.keep", "keep measured")]
    LINES = staticmethod(measured_lines)


class ChecksView(TextView):
    """Named checks with what they saw, and the verdict below."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "screen.verify", "check again")]
    LINES = staticmethod(smoke_lines)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._drawn: object = None

    def show(self, serving: Serving, *, width: int) -> None:
        """Draw the state."""
        super().show(serving, width=width)
        drawn = (serving.results, serving.report, self.size)
        if drawn != self._drawn:
            # The verdict stands below, and there are more checks than a small terminal has rows.
            self.call_after_refresh(self.scroll_end, animate=False)
        self._drawn = drawn


class Beside(TextView, can_focus=False):
    """The other texts of a server, where the terminal has room for two."""

    LINES = staticmethod(beside_lines)

    def show(self, serving: Serving, *, width: int) -> None:  # noqa: ARG002 - it has a width of its own
        """Draw what belongs beside the view."""
        if self.display:
            super().show(serving, width=max(40, self.scrollable_content_region.width))
