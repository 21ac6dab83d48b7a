"""The argument vector, one word a line, for programs that read lines; it never quotes."""

from __future__ import annotations

from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.emitters.deployment import EVERYWHERE, Deployment
from planner.rendering.multi_node import require_one_node

READS = EVERYWHERE - {"env"}


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the words of the serve command.

    Raises:
        InvalidRequest: for a plan over several nodes.
    """
    require_one_node(
        plan, what="one argument vector starts one", hint="use the emitter `shell`, which gives each node its command"
    )
    return "\n".join(serve_command(plan, host=deployment.host or "127.0.0.1", port=deployment.port).argv)
