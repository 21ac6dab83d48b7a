"""The only writer to stdout: tables, JSON, commands. It never narrates.

Colour obeys NO_COLOR and FORCE_COLOR; marks that the stream's encoding lacks are written as plain ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TextIO

from hw_specs.units import format_figure
from planner.cli.charset import coloured, encodable, escaped, harmless
from planner.cli.silence import heard
from planner.home import without_secrets

if TYPE_CHECKING:
    from pathlib import Path

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
        """Write `text` without secrets and steering characters, in plain marks where the encoding lacks others."""
        heard()
        try:
            return self._stream.write(encodable(harmless(without_secrets(text)), self._stream.encoding))
        except OSError as error:
            raise OutputLost(error) from error

    def write_back(self, text: str) -> None:
        """Write a text of the caller's own, secrets and all: it came from there and must come back whole."""
        try:
            self._stream.write(encodable(harmless(text), self._stream.encoding))
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


def may_colour(stream: TextIO) -> bool:
    """Whether `stream` may be coloured: NO_COLOR forbids, FORCE_COLOR demands, else a terminal that is not dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def style(text: str, code: str) -> str:
    """Return `text` in the SGR `code` (``1`` bold, ``2`` dim, ``32`` green …) where colour is allowed."""
    return coloured(text, code) if may_colour(sys.stdout) else text


def write(text: str) -> None:
    """Write `text` and a line end."""
    sys.stdout.write(text + "\n")


def write_back(text: str, *, end: str = "\n") -> None:
    """Write a text that came from the caller and goes back to them changed, and a line end."""
    if isinstance(sys.stdout, GuardedStdout):
        sys.stdout.write_back(text + end)
    else:
        sys.stdout.write(text + end)


def write_json(document: object) -> None:
    """Write one JSON document, indented, keys in the order of the document."""
    write(_json(document, indent=2))


def write_document(document: object) -> None:
    """Write a document that has a type, under its head."""
    from planner.rendering.envelope import to_value

    write_json(to_value(document))


def write_json_line(document: object) -> None:
    """Write one JSON document on one line, and hand it on at once."""
    write(_json(document, indent=None))
    sys.stdout.flush()


def json_text(document: object, *, depth: int = 0) -> str:
    """Return one JSON document as :func:`write_json` writes it, without secrets, to stand `depth` levels deep."""
    return without_secrets(_json(document, indent=2)).replace("\n", "\n" + "  " * depth)


def write_file(path: Path, text: str) -> None:
    """Replace the file that somebody named by `text`.

    Raises:
        PlannerError: when the system refuses.
    """
    from hw_specs.errors import reason_of
    from planner.errors import PlannerError
    from planner.state import write_atomic

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    except OSError as error:
        raise PlannerError(
            f"cannot write `{path}`: {reason_of(error)}", hint="name a place that you can write"
        ) from None


def write_list(head: Mapping[str, object], name: str, items: Iterable[str]) -> None:
    """Write one JSON document whose last key is a list, item by item: no more than one of them is held.

    Each item is a :func:`json_text` at depth 2.
    """
    opening = _json(head, indent=2).removesuffix("\n}")
    between = f',\n  "{name}": [\n    '
    sys.stdout.write(opening)
    for item in items:
        write_back(between + item, end="")
        between = ",\n    "
    write("\n  ]\n}" if between == ",\n    " else f',\n  "{name}": []\n}}')


def _json(document: object, *, indent: int | None) -> str:
    unicode = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    import json

    return escaped(json.dumps(document, indent=indent, ensure_ascii=not unicode))


def number(value: float | None) -> str:
    """Return a figure with as many decimals as are read; a dash where there is none."""
    return "-" if value is None else format_figure(value)


def headed(rows: str) -> str:
    """Return a table with its first line in bold."""
    first, end, rest = rows.partition("\n")
    return style(first, "1") + end + rest


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
