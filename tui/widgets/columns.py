"""Rows of text in aligned columns; it knows no widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import cell_len, set_cell_size
from textual.content import Content


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head and which side its cells keep to."""

    head: str
    right: bool = False
    flex: bool = False
    """Takes the room that is left, and is cut where there is too little."""
    valued: bool = False
    """Whether the last word of a cell is a value, which is kept where the name before it must be cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of cells; `style` colours all of it."""

    cells: tuple[str, ...]
    style: str = ""


GAP = 2
LEAST_NAME = 4
"""Cells below which a name says nothing any more."""


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return `text` in exactly `width` cells, cut with an ellipsis where it is longer.

    >>> fit("weights", 5), fit("7", 3, right=True)
    ('weig…', '  7')
    """
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    pad = " " * (width - length)
    return pad + text if right else text + pad


def wrapped(text: str, *, width: int, style: str = "", indent: str = "") -> list[Content]:
    """Return `text` over as many lines as it takes."""
    lines = wrap(text, max(10, width), subsequent_indent=indent, break_on_hyphens=False)
    return [Content.styled(line, style) for line in lines]


def fit_value(text: str, width: int) -> str:
    """Return `text` in exactly `width` cells; the name is cut before the value that is its last word.

    >>> fit_value("gpu-memory-utilization 0.95", 16), fit_value("enforce-eager", 16)
    ('gpu-memory… 0.95', 'enforce-eager   ')
    """
    name, blank, value = text.rpartition(" ")
    room = width - cell_len(value) - 1
    if not blank or cell_len(text) <= width or room < LEAST_NAME:
        return fit(text, width)
    return f"{fit(name, room)} {value}"


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    """Cells that each column takes where nothing is cut."""
    return [
        max([cell_len(column.head), *(cell_len(row.cells[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]


def natural_width(columns: Sequence[Column], rows: Sequence[Row]) -> int:
    """Return how many cells a line takes where nothing is cut."""
    return sum(_widths(columns, rows)) + GAP * (len(columns) - 1)


def lay_out(columns: Sequence[Column], rows: Sequence[Row], *, width: int) -> tuple[Content, list[Content]]:
    """Return the head and the rows, `width` cells each; the last column is the flexible one unless another is."""
    widths = _widths(columns, rows)
    flexible = next((index for index, column in enumerate(columns) if column.flex), len(columns) - 1)
    widths[flexible] = max(0, width - sum(widths) + widths[flexible] - GAP * (len(columns) - 1))

    def line(cells: Sequence[str]) -> str:
        parts = [
            fit_value(cell, size) if column.valued else fit(cell, size, right=column.right)
            for cell, size, column in zip(cells, widths, columns, strict=True)
        ]
        return fit((" " * GAP).join(parts), width)

    head = Content.styled(line([column.head for column in columns]), "$secondary")
    return head, [Content.styled(line(row.cells), row.style) for row in rows]
