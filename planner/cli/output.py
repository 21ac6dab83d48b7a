"""The only writer to stdout: tables, JSON, commands. It never narrates.

Bytes are the same on a terminal and in a pipe, colour apart; colour obeys NO_COLOR.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Literal, TextIO

Align = Literal["<", ">"]


class OutputLost(Exception):
    """Stdout takes no more text; ``reason`` is the system's. No OSError, because click ends the process at some."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class GuardedStdout:
    """A text stream that raises :class:`OutputLost` where its own would raise OSError; all else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`."""
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputLost(error) from error

    def flush(self) -> None:
        """Hand everything to the system."""
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputLost(error) from error

    def abandon(self) -> None:
        """Send what is still buffered nowhere, so that the interpreter's end does not stumble over it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def use_colour() -> bool:
    """Whether stdout may be coloured: a terminal, and nobody said NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def style(text: str, code: str) -> str:
    """Return `text` in the SGR `code` (``1`` bold, ``2`` dim, ``32`` green …) where colour is allowed."""
    return f"\x1b[{code}m{text}\x1b[0m" if use_colour() else text


def write(text: str) -> None:
    """Write `text` and a line end."""
    sys.stdout.write(text + "\n")


def write_json(document: object) -> None:
    """Write one JSON document, indented, keys in the order of the document."""
    write(json.dumps(document, indent=2, ensure_ascii=False))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[Align] = ()) -> str:
    """Return a plain table: two spaces between columns, no rules, nothing after the last character.

    `align` gives ``<`` or ``>`` per column; missing ones are ``<``.
    """
    cells = [list(head), *(list(row) for row in rows)] if any(head) else [list(row) for row in rows]
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(len(head))]
    sides = [align[i] if i < len(align) else "<" for i in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in cells
    )
