"""The command line that does what a step shows, in one line; the key that copies it stands at its end."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.widgets.columns import fit


class OwnLine(Widget):
    """``$ m35-plan --gpus 8xH200``; cut where the terminal is narrower, and copied whole."""

    line: reactive[str] = reactive("")

    def __init__(self, key: str) -> None:
        super().__init__()
        self._hint = f"{key} copies"
        self.tooltip = "the same as a command line; a click copies it"

    def render(self) -> RenderResult:
        """One line."""
        if not self.line:
            return Content("")
        room = self.content_size.width - len(self._hint) - 3
        return Content.assemble(
            ("$ ", "$secondary"), (fit(self.line, room), "$secondary"), " ", (self._hint, "$secondary 70%")
        )

    def on_click(self) -> None:
        """A click copies it, too."""
        self.screen.action_copy_line()  # type: ignore[attr-defined]
