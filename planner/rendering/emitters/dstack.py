"""A dstack configuration: a service with its replicas, or a task over the nodes that one server spans."""

from __future__ import annotations

from typing import Any

from hw_specs.units import GIB
from planner.errors import InvalidRequest
from planner.facts.clouds import cloud_facts
from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.emitters.deployment import EVERYWHERE, SECRETS, Deployment
from planner.rendering.emitters.image import (
    cache_gib,
    gpus_per_node,
    host_needs,
    image,
    pin_note,
    resource_name,
    startup_s,
)
from planner.rendering.emitters.node_script import serve_lines, servers
from planner.rendering.emitters.skypilot import accelerator, refuse_local
from planner.rendering.emitters.yaml_text import commented_yaml

READS = (EVERYWHERE - {"host"}) | {"name", "image", "image_digest"}


def configuration(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return the configuration as a value; secrets are asked for by name.

    Raises:
        InvalidRequest: for several servers that span nodes: a service has no ranks, and a task no replicas.
    """
    refuse_local(plan, "dstack")
    count, spanned = servers(plan)
    if spanned > 1 and count > 1:
        raise InvalidRequest(
            "emit",
            f"{count} servers that span {spanned} nodes each are {count} tasks",
            hint=f"plan for {spanned}x{plan.gpus.count}x{plan.gpus.spec.name} and start it {count} times",
        )
    needs = host_needs(plan)
    variables = {**serve_command(plan).env, **dict(deployment.env)}
    script = serve_lines(plan, deployment, rank="$DSTACK_NODE_RANK", head="$DSTACK_MASTER_NODE_IP")
    found: dict[str, Any] = {
        "type": "service" if spanned == 1 else "task",
        "name": resource_name(plan, deployment),
        "image": image(plan, deployment),
        "env": [*SECRETS, *(f"{name}={value}" for name, value in variables.items())],
        "commands": [script],
        "resources": {
            "gpu": _gpu(plan),
            "cpu": f"{needs.cpus}..",
            "memory": f"{needs.memory_gib}GB..",
            "shm_size": f"{needs.shared_memory_gib}GB",
            "disk": f"{cache_gib(plan) + 100}GB..",
        },
    }
    if spanned > 1:
        return found | {"nodes": spanned, "ports": [deployment.port]}
    probe = {"type": "http", "url": "/health", "interval": "10s", "ready_after": 1}
    return found | {
        "port": deployment.port,
        "replicas": count,
        "model": plan.model.name,
        "probes": [probe],
    }


def _gpu(plan: Plan) -> dict[str, Any]:
    """The GPUs by name, and by size where one name stands for cards of several (A100)."""
    name = accelerator(plan, "dstack")
    found = {"name": [name], "count": gpus_per_node(plan)}
    if [*cloud_facts().dstack.names.values()].count(name) > 1:
        found["memory"] = f"{plan.gpus.memory_bytes // GIB}GB.."
    return found


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the configuration for ``dstack apply -f``."""
    return commented_yaml(
        plan, "dstack", [configuration(plan, deployment)],
        "dstack apply -f FILE; HF_TOKEN and VLLM_API_KEY come from your shell or from dstack's secrets",
        f"a first start may take {startup_s(plan)} s", pin_note(plan),
    )  # fmt: skip
