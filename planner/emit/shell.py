"""The serve command for a POSIX shell; the only place that quotes."""

from __future__ import annotations

import shlex

from planner.answer import Plan
from planner.command import ServeCommand, serve_command


def shell_text(command: ServeCommand) -> str:
    """Return the argv as one line that ``shlex.split`` reads back to the same words."""
    return shlex.join(command.argv)


def wrapped(words: tuple[str, ...], *, width: int, indent: str = "  ") -> str:
    """Return quoted words over several lines that a shell reads as one, broken before flags."""
    lines, line = [], ""
    for index, word in enumerate(words):
        quoted = shlex.quote(word)
        needed = (
            quoted if index + 1 >= len(words) or words[index + 1].startswith("-") else f"{quoted} {words[index + 1]}"
        )
        if line and len(line) + 1 + len(needed) > width - 2 and word.startswith("-"):
            lines.append(line + " \\")
            line = indent + quoted
        else:
            line = f"{line} {quoted}" if line else quoted
    return "\n".join([*lines, line])


def emit(plan: Plan, *, host: str, port: int) -> str:
    """Return the environment as assignments in front of the command, on one line."""
    command = serve_command(plan, host=host, port=port)
    assignments = [f"{name}={shlex.quote(value)}" for name, value in command.env.items()]
    return " ".join([*assignments, shell_text(command)])
