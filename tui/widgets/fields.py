"""Fields of a form, one line each: a choice that is turned with the arrow keys, and a line to type in."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive, reactive
from textual.widget import Widget
from textual.widgets import Input


class Choice(Widget, can_focus=True):
    """One of several words, ``‹ auto ›``; left, right, space and the mouse turn it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "turn(-1)", "change", key_display="←→"),
        Binding("right,l,space", "turn(1)", "change", show=False),
        Binding("enter", "screen.next", "next"),
    ]
    index: reactive[int] = reactive(0)

    class Changed(Message):
        """The choice was turned."""

        def __init__(self, choice: Choice) -> None:
            self.choice = choice
            super().__init__()

        @property
        def control(self) -> Choice:
            """The field, for selectors."""
            return self.choice

    def __init__(self, words: tuple[str, ...], *, value: str, id: str) -> None:
        super().__init__(id=id)
        self.words = words if value in words else (*words, value)
        self.set_reactive(Choice.index, self.words.index(value))

    @property
    def value(self) -> str:
        """The word that is shown."""
        return self.words[self.index]

    @value.setter
    def value(self, word: str) -> None:
        self.index = self.words.index(word)

    def render(self) -> RenderResult:
        """The word between its arrows."""
        arrows = "$accent" if self.has_focus else "$secondary"
        return Content.assemble(("‹ ", arrows), self.value, (" ›", arrows))

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002 - Textual's signature
        """Room for the longest word."""
        return max(map(len, self.words)) + 4

    def action_turn(self, by: int) -> None:
        """Go to the next or the previous word; the last one is followed by the first."""
        self.index = (self.index + by) % len(self.words)
        self.post_message(self.Changed(self))

    def on_focus(self) -> None:
        """Put the terminal's own cursor here, for those who follow it, once it is drawn."""
        self.call_after_refresh(self._point)

    def _point(self) -> None:
        if self.has_focus:
            self.app.cursor_position = self.region.offset

    def on_click(self, event: events.Click) -> None:
        """Left half back, right half on."""
        self.action_turn(-1 if event.x < 2 else 1)


class Line(Input):
    """A line to type in; enter, up and down belong to the screen."""

    virtual_size: Reactive[Size] = Reactive(Size(0, 0))
    """Of the text, which scrolls inside the line: no key lays the screen out anew."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.move(1)", "choose", key_display="↑↓"),
        Binding("up", "screen.move(-1)", "choose", show=False),
        Binding("enter", "screen.next", "next"),
    ]

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(value, placeholder=placeholder, id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False


class ChatInput(Line):
    """The line of a chat: enter sends, escape leaves the line before it leaves the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "scroll(1)", "scroll", key_display="↑↓"),
        Binding("up", "scroll(-1)", "scroll", show=False),
        Binding("enter", "send", "send"),
        Binding("escape", "leave_input", "other views"),
    ]

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, field: ChatInput) -> None:
            self.field = field
            super().__init__()

    class Left(Message):
        """Keys mean views again."""

    class Scrolled(Message):
        """The conversation is to move by so many steps."""

        def __init__(self, by: int) -> None:
            self.by = by
            super().__init__()

    def action_scroll(self, by: int) -> None:
        """Move the conversation."""
        self.post_message(self.Scrolled(by))

    def action_send(self) -> None:
        """Send what was typed."""
        self.post_message(self.Sent(self))

    def action_leave_input(self) -> None:
        """Leave the line."""
        self.post_message(self.Left())
