"""The argument vector, one word a line, for programs that read lines; it never quotes."""

from __future__ import annotations

from planner.answer import Plan
from planner.command import serve_command


def emit(plan: Plan, *, host: str, port: int) -> str:
    """Return the words of the serve command."""
    return "\n".join(serve_command(plan, host=host, port=port).argv)
