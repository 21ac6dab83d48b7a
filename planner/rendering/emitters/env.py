"""The environment of the serve command; secrets are never in it."""

from __future__ import annotations

from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.emitters.deployment import Deployment

READS = frozenset({"env"})


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return ``NAME=value`` lines."""
    variables = {**serve_command(plan).env, **dict(deployment.env)}
    return "\n".join(f"{name}={value}" for name, value in variables.items())
