"""A list with aligned columns, a head and a cursor; it holds texts and never what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.geometry import Offset
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.widgets.columns import Column, Row, lay_out, natural_width


class Rows(OptionList):
    """The rows: enter belongs to the screen. The terminal's own cursor stands on the row that is looked at.

    Magnifiers, braille displays and screen readers follow that cursor, not a colour.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "cursor_down", "choose", key_display="↑↓"),
        Binding("up", "cursor_up", "choose", show=False),
        Binding("enter", "screen.next", "next"),
    ]

    def watch_highlighted(self, highlighted: int | None) -> None:
        """Take the cursor along."""
        super().watch_highlighted(highlighted)
        self.on_focus()

    def on_focus(self) -> None:
        """Put the cursor where the eyes are, once it is drawn."""
        self.call_after_refresh(self._point)

    def _point(self) -> None:
        if self.has_focus and self.highlighted is not None:
            self.app.cursor_position = self.region.offset + Offset(0, self.highlighted - self.scroll_offset.y)


class SwitchRows(Rows):
    """Rows that can be switched with space."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "select", "switch")]


class RetryRows(Rows):
    """Rows of which one is tried with enter."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "screen.next", "retry")]


class Table(Vertical):
    """Columns under a head. The row under the cursor is announced, and again when it is switched or clicked."""

    class Moved(Message):
        """The cursor went to row `index`."""

        def __init__(self, table: Table, index: int) -> None:
            self.table = table
            self.index = index
            super().__init__()

        @property
        def control(self) -> Table:
            """The table, for selectors."""
            return self.table

    class Switched(Moved):
        """Row `index` was switched with space or the mouse."""

    def __init__(self, *columns: Column, id: str, rows: type[Rows] = Rows, tip: str = "") -> None:
        super().__init__(id=id)
        self.tooltip = tip or None
        self._columns = columns
        self._rows: tuple[Row, ...] = ()
        self._kind = rows

    def compose(self) -> ComposeResult:
        """A head and the rows."""
        yield Static(classes="head")
        yield self._kind(compact=True)

    @property
    def rows_widget(self) -> Rows:
        """The focusable part."""
        return self.query_one(Rows)

    @property
    def cursor(self) -> int | None:
        """Row under the cursor."""
        return self.rows_widget.highlighted

    def show(
        self, rows: Sequence[Row], *, cursor: int | None = None, columns: tuple[Column, ...] | None = None
    ) -> None:
        """Replace the rows, and the columns where others are given; nothing is announced."""
        self._columns = columns or self._columns
        self._rows = tuple(rows)
        self._draw(self.cursor if cursor is None else cursor)

    @property
    def _room(self) -> int:
        # The scrollbar may come and go; its column is left free either way.
        return max(10, self.size.width - 2)

    def fits(self, columns: Sequence[Column], rows: Sequence[Row]) -> bool:
        """Whether these rows can be drawn without cutting any."""
        return natural_width(columns, rows) <= self._room

    def move(self, by: int) -> None:
        """Move the cursor, as its own keys do."""
        rows = self.rows_widget
        if by > 0:
            rows.action_cursor_down()
        else:
            rows.action_cursor_up()

    def _draw(self, cursor: int | None) -> None:
        rows = self.rows_widget
        head, lines = lay_out(self._columns, self._rows, width=self._room)
        self.query_one(".head", Static).update(head)
        with self.prevent(OptionList.OptionHighlighted):
            offset = rows.scroll_offset
            if rows.option_count == len(lines):
                for index, line in enumerate(lines):
                    rows.replace_option_prompt_at_index(index, line)
            else:
                rows.clear_options()
                rows.add_options([Option(line) for line in lines])
                rows.scroll_to(*offset, animate=False)
            if lines and cursor is not None:
                rows.highlighted = min(cursor, len(lines) - 1)

    @on(Resize)
    def _resized(self) -> None:
        self._draw(self.cursor)
        self.call_after_refresh(self.show_cursor)

    def show_cursor(self) -> None:
        """Show the list from its top, or as far down as its cursor is."""
        rows = self.rows_widget
        rows.scroll_home(animate=False, immediate=True)
        rows.scroll_to_highlight()

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self.post_message(self.Moved(self, event.option_index))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Switched(self, event.option_index))
