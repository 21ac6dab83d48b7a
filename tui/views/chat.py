"""A conversation with the running server."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from planner.serve.verification.chat import Turn
from tui.serving import Serving
from tui.widgets.fields import ChatInput


class ChatView(Vertical):
    """What was said, and a line to say more."""

    class Asked(Message):
        """A text was entered."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """The conversation above the line."""
        with VerticalScroll(id="conversation"):
            yield Static(id="turns", markup=False)
        yield ChatInput(placeholder="say something; enter sends it", id="say")

    def show(self, serving: Serving, *, width: int) -> None:  # noqa: ARG002 - every view is shown alike
        """Draw the state."""
        open_answer = [Turn(role="assistant", content=serving.answer + "▌")] if serving.talking else []
        parts = []
        for turn in [*serving.turns, *open_answer]:
            who = ("you    ", "bold") if turn.role == "user" else ("server ", "bold $accent")
            parts.append(Content.assemble(who, turn.content))
        drawn = (serving.turns, serving.answer, self.size)
        if drawn != self._drawn:
            self.query_one("#turns", Static).update(Content("\n\n").join(parts))
            self.query_one("#conversation").scroll_end(animate=False)
        self._drawn = drawn

    @on(ChatInput.Sent)
    def _send(self, message: ChatInput.Sent) -> None:
        text = message.field.value.strip()
        if text:
            self.post_message(self.Asked(text))

    @on(ChatInput.Left)
    def _leave(self) -> None:
        self.query_one("#conversation").focus()

    @on(ChatInput.Scrolled)
    def _scroll(self, message: ChatInput.Scrolled) -> None:
        self.query_one("#conversation").scroll_relative(y=3 * message.by, animate=False)

    def clear_input(self) -> None:
        """Empty the line once its text is on its way."""
        self.query_one("#say", ChatInput).value = ""
