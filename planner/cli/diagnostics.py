"""The only writer to stderr: notes, warnings, errors. It never writes data."""

from __future__ import annotations

import contextlib
import sys

from planner.cli.charset import coloured, encodable, harmless
from planner.cli.output import may_colour
from planner.cli.silence import heard
from planner.home import without_secrets

_COLOURS = {"error": "31;1", "warning": "33;1", "hint": "36", "note": "2"}


def say(kind: str, message: str) -> None:
    """Write ``kind: message`` to stderr; `kind` is ``error``, ``warning``, ``hint`` or ``note``."""
    label = f"{kind}:"
    if sys.stderr.isatty():
        from planner.cli.page import paragraph

        message = paragraph(message, indent=" " * (len(label) + 1), rest="  ").lstrip()
    if may_colour(sys.stderr):
        label = coloured(label, _COLOURS[kind])
    _put(f"{label} {message}\n")


def report_error(message: str, hint: str | None = None) -> None:
    """Write an error and, after a blank line, what works instead."""
    say("error", message)
    if hint:
        _put("\n")
        say("hint", hint)


def narrate(text: str) -> None:
    """Write `text` and a line end to stderr: what happens while a command runs."""
    _put(text + "\n")


def redraw(lines: list[str], *, over: int) -> None:
    """Replace the last `over` lines of a terminal's stderr by `lines`; for terminals only."""
    up = f"\x1b[{over}F" if over else ""
    _put_raw(up + "".join(f"\x1b[2K{harmless(without_secrets(line))}\n" for line in lines) + "\x1b[J")


def _put(text: str) -> None:
    _put_raw(harmless(without_secrets(text)))


def _put_raw(text: str) -> None:
    heard()
    # A stream that takes no more words must not keep a command from its work.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(encodable(text, sys.stderr.encoding))
        sys.stderr.flush()
