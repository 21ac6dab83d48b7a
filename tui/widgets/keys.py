"""The keys at the bottom: as many as the width has room for, none of them cut; help names those that are left out."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

PALETTE = "-command-palette"
KNOWN = ("choose", "back", "other", "fields")
"""What every list and every step has is left out first."""
KEPT = ("next", "help", "palette")
"""What is left out last: how to go on, and what names everything else."""


class Keys(Footer):
    """One line of keys."""

    def __init__(self, *, palette: bool = False) -> None:
        super().__init__(show_command_palette=palette, compact=True)
        self._for_width = 0

    def compose(self) -> ComposeResult:
        """The keys that work now, without those that have no room."""
        self._for_width = self.app.size.width
        yield from with_room(list(super().compose()), self._for_width)

    def on_resize(self) -> None:
        """More or fewer have room."""
        if self._for_width != self.app.size.width:
            self.call_after_refresh(self.recompose)


def with_room(keys: list[Widget], width: int) -> list[Widget]:
    """Return the keys that stand in `width` cells together, in their order."""
    kept = [key for key in keys if isinstance(key, FooterKey)]

    def leaving(key: FooterKey) -> tuple[bool, bool, int]:
        return key.description in KEPT, key.description not in KNOWN, -kept.index(key)

    while len(kept) > 1 and sum(map(_cells, kept)) > width:
        kept.remove(min(kept, key=leaving))
    return [*kept]


def _cells(key: FooterKey) -> int:
    """Cells of one key with the blank behind it; a line stands before the palette's."""
    return cell_len(key.key_display) + 1 + cell_len(key.description) + 1 + key.has_class(PALETTE)
