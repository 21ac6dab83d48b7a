"""How a client talks to the running server, to copy."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from planner.serve.verification.snippets import CLIENTS, client_snippet
from tui.serving import Serving
from tui.widgets.fields import Choice


class ClientView(Vertical):
    """A snippet for curl, Python and the rest."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("c", "copy", "copy")]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._serving = Serving()

    def compose(self) -> ComposeResult:
        """The kind of client above its snippet."""
        with Horizontal(classes="titled"):
            yield Choice(CLIENTS, value=CLIENTS[0], id="client")
        with VerticalScroll():
            yield Static(id="snippet", markup=False)

    def show(self, serving: Serving, *, width: int) -> None:  # noqa: ARG002 - every view is shown alike
        """Draw the state."""
        self._serving = serving
        self._draw()

    @on(Choice.Changed, "#client")
    def _draw(self) -> None:
        self.query_one("#snippet", Static).update(self._snippet)

    @property
    def _snippet(self) -> str:
        if self._serving.run is None:
            return ""
        kind = self.query_one("#client", Choice).value
        return client_snippet(kind, base_url=self._serving.run.url, model=self._serving.model or "MODEL")

    def action_copy(self) -> None:
        """Copy the snippet."""
        self.app.copy_to_clipboard(self._snippet)
        self.notify("over SSH this needs a terminal that allows OSC 52", title="copied")
