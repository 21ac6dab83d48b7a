"""The serve command for a POSIX shell; the only place that quotes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from planner.planning.answer import Plan
from planner.rendering.command import wrapped
from planner.rendering.emitters.deployment import EVERYWHERE, Deployment
from planner.rendering.emitters.image import mig_note, verdict_lines
from planner.rendering.multi_node import HEAD_ADDRESS, NodeCommand, node_commands

READS = EVERYWHERE | {"head_address"}


def command_lines(argv: tuple[str, ...], env: Mapping[str, str], *, width: int) -> str:
    """Return a command with its variables over several lines, for people; a shell reads it as one."""
    assignments = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    return " \\\n".join([*assignments, wrapped(argv, width=width)])


def node_heading(node: NodeCommand, nodes: tuple[NodeCommand, ...]) -> str:
    """Return the comment above the command of one of `nodes`; servers of their own have no head."""
    head = node.head and not all(one.head for one in nodes)
    return f"# node {node.node}{', head' if head else ''}: {node.note}"


def head_lines(plan: Plan) -> list[str]:
    """Comments above a command whose verdict has conditions, or that leaves a GPU to choose; none above others."""
    verdict = verdict_lines(plan)
    lines = [] if verdict == ["verdict: fits"] else verdict
    return [f"# {line}" for line in (*lines, mig_note(plan)) if line]


def nodes_of(plan: Plan, deployment: Deployment) -> tuple[NodeCommand, ...]:
    """Return what each node runs on the network of its host."""
    return node_commands(
        plan,
        host=deployment.host or "127.0.0.1",
        port=deployment.port,
        head_address=deployment.head_address or HEAD_ADDRESS,
    )


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the environment as assignments in front of the command, one line a node.

    Where there are several nodes, each line follows a comment that says which node it is for.
    """
    lines = head_lines(plan)
    nodes = nodes_of(plan, deployment)
    for node in nodes:
        if len(nodes) > 1:
            lines.append(node_heading(node, nodes))
        for words in node.before:
            lines.append(shlex.join(words))
        if node.command is not None:
            variables = {**node.command.env, **dict(deployment.env)}
            assignments = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
            lines.append(" ".join([*assignments, node.command.shell]))
    return "\n".join(lines)
