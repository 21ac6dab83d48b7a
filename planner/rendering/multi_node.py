"""Which command each node runs when a plan spans several; it never contacts a node.

A replica that spans nodes uses vLLM's multi-node executor (``--nnodes``), or Ray's where a cluster already runs: one
of its nodes is the head, which holds the API and the address that the others are given. Replicas that stay inside nodes
are independent servers, one a node; only the replicas of one node share a port (``--data-parallel-size``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hw_specs.frozen import dataclass
from planner.errors import InvalidRequest
from planner.facts.vllm import vllm_facts
from planner.planning.answer import Plan
from planner.rendering.command import ServeCommand, serve_command
from planner.settings import DEFAULT_HOST, DEFAULT_PORT

Executor = Literal["mp", "ray"]
HEAD_ADDRESS = "HEAD_ADDRESS"
"""What stands for the head's address until the user puts it in."""
BALANCED = (
    "put a load balancer in front of all nodes, and have each listen on an address that it reaches: `--host ADDRESS`, "
    "with VLLM_API_KEY set"
)
"""What servers of their own still need: by default each listens on loopback, which no other host reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCommand:
    """What one node runs."""

    node: int
    """0 is the first that answers requests."""
    replica: int
    """First of the replicas that this node serves or works for; 0 where one server spans all nodes."""
    head: bool
    """Whether this node answers requests."""
    before: tuple[tuple[str, ...], ...]
    """Commands that must run first (starting or joining a Ray cluster)."""
    command: ServeCommand | None
    """The engine's command; None for a node that only lends its GPUs to Ray."""
    note: str = ""


def node_commands(
    plan: Plan,
    *,
    executor: Executor = "mp",
    head_address: str = HEAD_ADDRESS,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
) -> tuple[NodeCommand, ...]:
    """Return one command per node, in node order."""
    settings, gpus = plan.settings, plan.gpus
    per_replica = settings.layout.gpus_per_replica
    spanned = per_replica // gpus.count
    if spanned > 1:
        return _spanning(plan, spanned, executor=executor, head_address=head_address, host=host, port=port)
    return _independent(plan, host=host, port=port)


def first_command(plan: Plan, *, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> ServeCommand:
    """Return what the first node runs, the only one where there are no others."""
    command = node_commands(plan, host=host, port=port)[0].command
    assert command is not None, "the first node is a head"
    return command


def nodes_note(plan: Plan) -> str:
    """Return what to do on the other nodes; nothing where there is one."""
    nodes = node_commands(plan)
    if len(nodes) == 1:
        return ""
    if all(one.command == nodes[0].command for one in nodes):
        return f"on each of {len(nodes)} nodes, a server of its own; {BALANCED}"
    return f"on node 0 of {len(nodes)}; `--emit shell` has a command for each"


def require_one_node(plan: Plan, *, what: str, hint: str) -> None:
    """Refuse a plan that needs a command on each of several nodes; `what` is the thing that only one can have.

    Raises:
        InvalidRequest: naming the nodes, with `hint`.
    """
    nodes = len(node_commands(plan))
    if nodes > 1:
        raise InvalidRequest("gpus", f"this plan runs on {nodes} nodes, and {what}", hint=hint)


def _spanning(
    plan: Plan, spanned: int, *, executor: Executor, head_address: str, host: str, port: int
) -> tuple[NodeCommand, ...]:
    """Each replica over `spanned` nodes; replicas are independent servers.

    vLLM's multi-node executor starts the engine on every node. Ray starts it on the head alone, once the others have
    joined.
    """
    base, facts = serve_command(plan, host=host, port=port, local_replicas=1), vllm_facts().multi_node
    found = []
    for node in range(spanned * plan.settings.replicas):
        replica, rank = divmod(node, spanned)
        head, first = rank == 0, replica * spanned
        address = head_address if plan.settings.replicas == 1 else f"{head_address}_{replica}"
        before: tuple[tuple[str, ...], ...] = ()
        if executor == "ray":
            join = (f"--address={address}:{facts.ray_port}", "--block")
            before = (("ray", "start", *(("--head", f"--port={facts.ray_port}") if head else join)),)
            more = ["--distributed-executor-backend", "ray"]
            note = "answers requests, once all nodes have joined" if head else f"lends its GPUs to node {first}"
        else:
            more = ["--nnodes", str(spanned), "--node-rank", str(rank), "--master-addr", address]
            more += ["--master-port", str(facts.master_port), *([] if head else ["--headless"])]
            note = "answers requests" if head else f"works for node {first}"
        argv = base.argv if head else without_api_servers(base.argv)[0]
        command = ServeCommand(argv=(*argv, *more), env=dict(base.env)) if head or executor == "mp" else None
        found.append(NodeCommand(node=node, replica=replica, head=head, before=before, command=command, note=note))
    return tuple(found)


def without_api_servers(argv: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return `argv` without ``--api-server-count``, which the engine refuses beside ``--headless``, and those words."""
    if "--api-server-count" not in argv:
        return argv, ()
    at = argv.index("--api-server-count")
    return argv[:at] + argv[at + 2 :], argv[at : at + 2]


def _independent(plan: Plan, *, host: str, port: int) -> tuple[NodeCommand, ...]:
    """Replicas inside nodes: every node runs a server of its own, which joins the replicas of that node alone.

    vLLM joins replicas over nodes for mixtures of experts only. A dense model's engine drops to one replica and then
    refuses its own load balancer (github.com/vllm-project/vllm/blob/v0.33.0/vllm/config/parallel.py).
    """
    settings = plan.settings
    per_node = plan.gpus.count // settings.layout.gpus_per_replica
    found = []
    for node, first in enumerate(range(0, settings.replicas, per_node)):
        local = min(per_node, settings.replicas - first)
        command = serve_command(plan, host=host, port=port, local_replicas=local)
        found.append(
            NodeCommand(node=node, replica=first, head=True, before=(), command=command, note="answers requests")
        )
    if len(found) == 1:
        return tuple(found)
    return tuple(replace(one, note=f"a server of its own; {BALANCED}") for one in found)
