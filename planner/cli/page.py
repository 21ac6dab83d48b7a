"""The page: how wide it is, and how text folds into it. It knows no plan and writes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PIPE_WIDTH = 80
"""In a pipe or a file the page is as wide as ever, unless ``COLUMNS`` says how wide it is."""
NARROWEST, WIDEST = 60, 200
NARROWEST_NOTE = 20
"""A note with less room than this goes below its row."""
COLUMN = 9
"""Where the text beside a label begins."""


def page_width() -> int:
    """Return what ``COLUMNS`` says, else what the terminal has, within what can be read; a pipe has 80."""
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


def fold(label: str, text: str, *, width: int = 0, column: int = COLUMN) -> str:
    """Return a label and the text from `column` on; nothing is broken at a hyphen, and 0 is the page's width.

    >>> print(fold("why", "because it is so", width=30))
    why      because it is so
    """
    room = max(20, (width or page_width()) - column)
    lines = _lines(text, room) or [""]
    return "\n".join([f"{label:<{column}}{lines[0]}".rstrip(), *(" " * column + line for line in lines[1:])])


def paragraph(text: str, *, width: int = 0, indent: str = "  ", rest: str | None = None) -> str:
    """Return text over as many lines as it takes, the first behind `indent`, the others behind `rest`."""
    return "\n".join(_lines(text, width or page_width(), indent, indent if rest is None else rest))


def _lines(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """`text` on lines of at most `width`, but for words that are longer; none where it is empty."""
    # Not textwrap: importing it takes a plan longer than laying out all of its text.
    lines: list[str] = []
    line, started, gap = first, False, 0
    for word in text.replace("\n", " ").split(" "):
        if not word:
            gap += 1
            continue
        if len(line) + gap + len(word) > width:
            if started:
                lines.append(line)
                line = rest
            gap = 0
        line += " " * gap + word
        started, gap = True, 1
    return [*lines, line] if started else []


def noted_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[str] = (), width: int = 0
) -> str:
    """Return columns and a last one, the note, that folds into what is left of the width.

    `head` names the columns, also the note's where it has a name; `align` gives ``<`` or ``>`` per column, and all but
    the first are flush right without it.
    """
    width = width or page_width()
    count = max((len(row) - 1 for row in rows), default=len(head) - 1)
    whole = [[*head, ""][: count + 1], *rows]
    widths = [max(len(row[i]) for row in whole if i or len(row[0]) <= width // 2) for i in range(count)]
    sides = align or "<" + ">" * (count - 1)
    lines = []
    for row in whole:
        cells = [f"{row[i]:{sides[i]}{widths[i]}}" for i in range(count)]
        left = "  ".join(cells).rstrip() if len(row[0]) > widths[0] else "  ".join(cells)
        if not row[count]:
            lines.append(left.rstrip())
        elif width - len(left) - 2 < min(NARROWEST_NOTE, len(row[count])):
            lines += [left.rstrip(), paragraph(row[count], width=width, indent="      ")]
        else:
            lines.append(fold(left, row[count], width=width, column=len(left) + 2))
    return "\n".join(lines)
