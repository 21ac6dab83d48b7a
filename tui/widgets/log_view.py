"""A live log: folded prefixes, filter, search, wrap; it follows only while one is at its end.

It draws the lines in sight and no others.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.log_lines import LEVELS, Level, LogLines

LEAST_WIDTH = 20
"""Cells below which nothing is wrapped."""


class LogView(ScrollView, can_focus=True):
    """Lines of a server's log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "line", key_display="↑↓"),
        Binding("down", "move(1)", "line", show=False),
        Binding("f", "filter", "filter"),
        Binding("slash", "screen.search", "search", key_display="/"),
        Binding("z", "wrap", "wrap"),
        Binding("p", "prefix", "prefix", show=False),
        Binding("Y", "copy", "copy log", show=False),
        Binding("n", "find(1)", "next match", show=False),
        Binding("N", "find(-1)", "previous match", show=False),
        Binding("end,G", "scroll_end", "follow", show=False),
        Binding("enter", "screen.next", "next"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--warning", "log--error", "log--match", "log--cursor", "log--quiet"}

    class Changed(Message):
        """Level, search or following changed."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.log_lines = LogLines()
        self.level: Level = "all"
        self.needle = ""
        self.folded = True
        """Whether prefixes are folded to time and level, and what all workers say stands once."""
        self.wrapped = False
        """Whether a long line takes several rows."""
        self._shown: list[int] = []
        self._starts: list[int] = []
        """First row of each shown line, where lines are wrapped."""
        self._rows = 0
        self._cursor: int | None = None
        """The shown line that is marked: by the arrow keys, or because it was found."""
        self._widest = 0
        self._due = False
        """Whether new lines wait to be laid out."""
        self.following = True
        """Whether new lines scroll into sight: until one scrolls up, and again once one is back at the end."""

    @property
    def status(self) -> str:
        """What stands in the title: number of lines, level, search, following."""
        parts = [f"{len(self._shown):,} lines"]
        if self.level != "all":
            parts.append(f"{self.level} and worse")
        if self.needle:
            parts.append(f"/{self.needle}")
        parts.append("following" if self.following else "end follows")
        return " · ".join(parts)

    def feed(self, data: bytes) -> None:
        """Take in a batch; one layout, however many lines."""
        start = len(self.log_lines.lines)
        dropped = self.log_lines.dropped
        if not self.log_lines.feed(data):
            return
        if self.log_lines.dropped != dropped:
            self._cursor = None
            self._refill()
        else:
            fresh = self.log_lines.wanted(level=self.level, start=start, merged=self.folded)
            self._shown += fresh
            self._measure(fresh)
        if not self._due:
            # However many batches come before the next picture, they are laid out once.
            self._due = True
            self.call_after_refresh(self._resize)

    def clear(self) -> None:
        """Forget everything."""
        self.log_lines = LogLines()
        self._cursor = None
        self.following = True
        self._refill()
        self._resize()

    def search(self, text: str) -> bool:
        """Look for `text` from the end backwards; return whether it occurs."""
        self.needle = text.strip()
        self._cursor = len(self._shown)
        return self._find(back=True) if self.needle else True

    def action_filter(self) -> None:
        """Show the next level: everything, info, warnings, errors."""
        self.level = LEVELS[(LEVELS.index(self.level) + 1) % len(LEVELS)]
        self._lay_out_anew()

    def action_wrap(self) -> None:
        """Give long lines several rows, or one."""
        self.wrapped = not self.wrapped
        self._lay_out_anew()

    def action_prefix(self) -> None:
        """Show every line as the engine wrote it, or folded."""
        self.folded = not self.folded
        self._lay_out_anew()

    @property
    def line(self) -> str:
        """The line under the cursor, whole as it was written; empty where there is no cursor."""
        return "" if self._cursor is None else self.log_lines.lines[self._shown[self._cursor]]

    def action_move(self, by: int) -> None:
        """Move the cursor; below the last line it goes and the end is followed again."""
        if not self._shown:
            return
        last = len(self._shown) - 1
        if self._cursor is None:
            self._go_to(min(last, self._place(self.scroll_offset.y + self.size.height - 1)))
        elif self._cursor + by > last:
            self.action_scroll_end()
        else:
            self._go_to(max(0, self._cursor + by))

    def action_scroll_end(self) -> None:
        """Follow the end, without a cursor."""
        self._cursor = None
        self.following = True
        self._resize()

    def _go_to(self, place: int) -> None:
        self._cursor = place
        self.following = False
        row, top = self._row(place), self.scroll_offset.y
        if not top <= row < top + self.scrollable_content_region.height:
            self.scroll_to(y=max(0, row - self.size.height // 2), animate=False)
        self.refresh()
        self.post_message(self.Changed())

    def action_copy(self) -> None:
        """Copy the line under the cursor, or those in sight, whole as they were written."""
        top = self._place(self.scroll_offset.y)
        below = self._place(self.scroll_offset.y + self.size.height - 1)
        lines = [self.line] if self.line else [self.log_lines.lines[one] for one in self._shown[top : below + 1]]
        self.app.copy_to_clipboard("\n".join(lines))
        many = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
        self.notify(f"{many}; over SSH this needs a terminal that allows OSC 52", title="copied")

    def action_find(self, way: int) -> None:
        """Go to the next or the previous match."""
        if self.needle and not self._find(back=way < 0):
            self.app.bell()

    def _find(self, *, back: bool) -> bool:
        if not self._shown:
            return False
        after = self._cursor if self._cursor is not None else self._place(self.scroll_offset.y)
        place = self.log_lines.find(self.needle, among=self._shown, after=after, back=back)
        if place is None:
            self._cursor = None
            self.refresh()
            return False
        self._go_to(place)
        return True

    def _lay_out_anew(self) -> None:
        self._cursor = None
        self.following = True
        self._refill()
        self._resize()

    def _refill(self) -> None:
        self._shown = self.log_lines.wanted(level=self.level, merged=self.folded)
        self._widest = 0
        self._rows = 0
        self._starts = []
        self._measure(self._shown)

    def _measure(self, indices: list[int]) -> None:
        lengths = [len(self.log_lines.shown(index, folded=self.folded)) for index in indices]
        if not self.wrapped:
            self._widest = max([self._widest, *lengths])
            self._rows = len(self._shown)
            return
        width = self._wrap_width
        self._widest = width
        for length in lengths:
            self._starts.append(self._rows)
            self._rows += max(1, -(-length // width))

    @property
    def _wrap_width(self) -> int:
        # The scrollbar may come and go; its column is left free either way.
        return max(LEAST_WIDTH, self.size.width - 1)

    def _place(self, row: int) -> int:
        """Which shown line stands in a row."""
        return bisect_right(self._starts, row) - 1 if self.wrapped else row

    def _row(self, place: int) -> int:
        """The first row of a shown line."""
        return self._starts[place] if self.wrapped else place

    def _resize(self) -> None:
        self._due = False
        self.virtual_size = Size(self._widest, self._rows)
        if self.following:
            # The scrollbars may take a line of their own, so the end is known after the layout only.
            self.call_after_refresh(self._to_end)
        self.refresh()
        self.post_message(self.Changed())

    def _to_end(self) -> None:
        if self.following:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)

    def watch_show_horizontal_scrollbar(self) -> None:
        """Stay at the end when the scrollbar takes a row or gives it back."""
        self.call_after_refresh(self._to_end)

    def on_resize(self) -> None:
        """Stay at the end when the window changes."""
        if self.wrapped:
            self._refill()
        self._resize()

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Follow at the end, and stop when one scrolls up."""
        super().watch_scroll_y(old, new)
        at_end = new >= self.max_scroll_y and self._cursor is None
        following = at_end or (self.following and new >= old)
        if following != self.following:
            self.following = following
            self.post_message(self.Changed())

    def render_line(self, y: int) -> Strip:
        """One row in sight."""
        x, top = self.scroll_offset
        row = top + y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if row >= self._rows:
            return Strip.blank(width, base)
        place = self._place(row)
        index = self._shown[place]
        line = self.log_lines.shown(index, folded=self.folded)
        if self.wrapped:
            part = (row - self._starts[place]) * self._wrap_width
            line = line[part : part + self._wrap_width]
        rank = self.log_lines.ranks[index]
        style = base
        if rank:
            style = base + self.get_component_rich_style("log--warning" if rank == 1 else "log--error", partial=True)
        if place == self._cursor:
            style += self.get_component_rich_style("log--cursor", partial=True)
        segments = [Segment(line, style)]
        at = line.casefold().find(self.needle.casefold()) if self.needle else -1
        if at >= 0:
            end = at + len(self.needle)
            match = style + self.get_component_rich_style("log--match", partial=True)
            segments = [Segment(line[:at], style), Segment(line[at:end], match), Segment(line[end:], style)]
        elif self.folded and line[2:3] == line[5:6] == ":":
            quiet = style + self.get_component_rich_style("log--quiet", partial=True)
            segments = [Segment(line[:10], quiet), Segment(line[10:], style)]
        return Strip(segments).crop_extend(x, x + width, style)
