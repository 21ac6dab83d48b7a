"""One script for every node of a task, whose launcher tells each node its rank and the head's address."""

from __future__ import annotations

import shlex

from planner.planning.answer import Plan
from planner.rendering.command import serve_command, wrapped
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.image import ANY_ADDRESS, pin_script, pinned_companion, replicas_per_node
from planner.rendering.multi_node import HEAD_ADDRESS, first_command, without_api_servers


def servers(plan: Plan) -> tuple[int, int]:
    """Return how many servers the plan has, each with a port of its own, and over how many nodes one spans."""
    per_replica = plan.settings.layout.gpus_per_replica
    if per_replica > plan.gpus.count:
        return plan.settings.replicas, per_replica // plan.gpus.count
    return -(-plan.settings.replicas // replicas_per_node(plan)), 1


def serve_lines(plan: Plan, deployment: Deployment, *, rank: str, head: str, pin: bool = True) -> str:
    """Return shell lines that start one server, on one node or on each of the nodes that it spans.

    `rank` and `head` are what a shell expands to the node's rank and the head's address.
    """
    _, spanned = servers(plan)
    host = deployment.host or ANY_ADDRESS
    lines = []
    pinned = pinned_companion(plan)
    if pin and pinned:
        lines.append(pin_script(pinned))
    if spanned == 1:
        command = serve_command(plan, host=host, port=deployment.port, local_replicas=replicas_per_node(plan))
        return "\n".join([*lines, f"exec {wrapped(command.argv, width=100)}"])
    whole, of_head = without_api_servers(first_command(plan, host=host, port=deployment.port).argv)
    argv = list(whole)
    argv[argv.index("--node-rank") + 1] = "@RANK@"
    text = wrapped(tuple("@HEAD@" if word.startswith(HEAD_ADDRESS) else word for word in argv), width=100)
    for mark, expression in (("@RANK@", rank), ("@HEAD@", head)):
        text = text.replace(shlex.quote(mark), f'"{expression}"')
    lines.append(f'headless="{" ".join(of_head)}"; [ "{rank}" = 0 ] || headless=--headless')
    return "\n".join([*lines, f"exec {text} $headless"])
