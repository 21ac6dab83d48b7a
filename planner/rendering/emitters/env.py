"""The environment of the serve command; secrets are never in it."""

from __future__ import annotations

from planner.planning.answer import Plan
from planner.rendering.command import serve_command


def emit(plan: Plan, *, host: str, port: int) -> str:
    """Return ``NAME=value`` lines."""
    return "\n".join(f"{name}={value}" for name, value in serve_command(plan, host=host, port=port).env.items())
