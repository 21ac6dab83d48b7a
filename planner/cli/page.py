"""The page: how wide it is, and how text folds into it. It knows no plan and writes nothing."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

PIPE_WIDTH = 80
"""In a pipe or a file the page is as wide as ever, whatever the terminal."""
NARROWEST, WIDEST = 60, 200
NARROWEST_NOTE = 20
"""A note with less room than this goes below its row."""
COLUMN = 9
"""Where the text beside a label begins."""


def page_width() -> int:
    """Return the columns of a terminal, within what can be read; those of a pipe are fixed."""
    if not sys.stdout.isatty():
        return PIPE_WIDTH
    return max(NARROWEST, min(WIDEST, _columns()))


def _columns() -> int:
    """Columns as ``shutil`` counts them, which costs a plan more time to import than its table takes."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or PIPE_WIDTH
    except (OSError, ValueError):
        return PIPE_WIDTH


def fold(label: str, text: str, *, width: int, column: int = COLUMN) -> str:
    """Return a label and the text from `column` on; nothing is broken at a hyphen.

    >>> print(fold("why", "because it is so", width=30))
    why      because it is so
    """
    lines = textwrap.wrap(text, max(20, width - column), break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join([f"{label:<{column}}{lines[0]}".rstrip(), *(" " * column + line for line in lines[1:])])


def paragraph(text: str, *, width: int, indent: str = "  ") -> str:
    """Return indented text over as many lines as it takes."""
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def shortened(text: str, width: int) -> str:
    """Return `text` in one line of at most `width` columns.

    >>> shortened("a long sentence", 8)
    'a long …'
    """
    return text if len(text) <= width else text[: max(1, width - 1)].rstrip() + "…"


def noted_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> str:
    """Return columns, all but the first flush right, and a note that folds into what is left of the width.

    `head` names the columns; each row has one text more, its note.
    """
    count = len(head)
    whole = [[*head, ""], *rows]
    widths = [max(len(row[i]) for row in whole if i or len(row[0]) <= width // 2) for i in range(count)]
    lines = []
    for row in whole:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{row[i]:>{widths[i]}}" for i in range(1, count))]
        left = "  ".join(cells).rstrip() if len(row[0]) > widths[0] else "  ".join(cells)
        if not row[count]:
            lines.append(left.rstrip())
        elif width - len(left) < NARROWEST_NOTE:
            lines += [left.rstrip(), paragraph(row[count], width=width, indent="      ")]
        else:
            lines.append(fold(left, row[count], width=width, column=len(left) + 2))
    return "\n".join(lines)
