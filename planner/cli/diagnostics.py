"""The only writer to stderr: notes, warnings, errors. It never writes data."""

from __future__ import annotations

import os
import sys

_COLOURS = {"error": "31;1", "warning": "33;1", "hint": "36", "note": "2"}


def _use_colour() -> bool:
    """Whether stderr may be coloured: a terminal, and nobody said NO_COLOR."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def say(kind: str, message: str) -> None:
    """Write ``kind: message`` to stderr; `kind` is ``error``, ``warning``, ``hint`` or ``note``."""
    label = f"{kind}:"
    if _use_colour():
        label = f"\x1b[{_COLOURS[kind]}m{label}\x1b[0m"
    print(f"{label} {message}", file=sys.stderr)  # noqa: T201 - this module owns stderr


def report_error(message: str, hint: str | None = None) -> None:
    """Write an error and, after a blank line, what works instead."""
    say("error", message)
    if hint:
        print(file=sys.stderr)  # noqa: T201
        say("hint", hint)


def narrate(text: str) -> None:
    """Write `text` and a line end to stderr: what happens while a command runs."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def redraw(lines: list[str], *, over: int) -> None:
    """Replace the last `over` lines of a terminal's stderr by `lines`; for terminals only."""
    up = f"\x1b[{over}F" if over else ""
    sys.stderr.write(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
    sys.stderr.flush()
