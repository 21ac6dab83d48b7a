"""What stands beside a view where the terminal has room for two: the server at a glance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.serving import Serving
from tui.views.checks import smoke_lines
from tui.views.measured import measured_lines
from tui.widgets.dashboard import dashboard_lines

BESIDE: Mapping[str, tuple[Callable[..., list[Content]], ...]] = {
    "checks": (measured_lines, dashboard_lines),
    "measured": (smoke_lines, dashboard_lines),
    "chat": (dashboard_lines,),
    "client": (dashboard_lines,),
}
"""View → what stands beside it, from the top; the dashboard takes all the room itself."""


class Beside(VerticalScroll, can_focus=False):
    """The other texts of a server, one below the other."""

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(classes="text")

    def show(self, serving: Serving, *, view: str) -> None:
        """Draw what belongs beside a view."""
        if not self.display:
            return
        lines: list[Content] = []
        room = self.scrollable_content_region
        for lines_of in BESIDE.get(view, ()):
            lines += [Content("")] if lines else []
            lines += lines_of(serving, width=max(40, room.width), height=max(0, room.height - len(lines)))
        self.query_one(Static).update(Content("\n").join(lines))
