"""A SkyPilot task: one server, over as many nodes as it spans; several servers are a service with its load balancer."""

from __future__ import annotations

from typing import Any, Literal

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
    in_container,
    pin_note,
    pinned_companion,
    resource_name,
    startup_s,
)
from planner.rendering.emitters.node_script import serve_lines, servers
from planner.rendering.emitters.yaml_text import commented_yaml

READS = (EVERYWHERE - {"host"}) | {"name", "image", "image_digest", "labels"}


def accelerator(plan: Plan, whose: Literal["skypilot", "dstack"]) -> str:
    """What `whose` catalogue calls the GPU.

    Raises:
        InvalidRequest: where it has no name that we know.
    """
    facts = cloud_facts()
    names = facts.skypilot.names if whose == "skypilot" else facts.dstack.names
    if plan.gpus.spec.id not in names:
        raise InvalidRequest(
            "emit", f"{whose} has no name for {plan.gpus.spec.name} that is known here", hint="use the emitter `shell`"
        )
    return names[plan.gpus.spec.id]


def refuse_local(plan: Plan, whose: str) -> None:
    """Raise for a checkpoint that lies on the user's own disk."""
    if in_container(plan)[1]:
        raise InvalidRequest(
            "model", f"{whose} starts machines elsewhere, where `{plan.model.name}` is not", hint="name a repository"
        )


def task(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return the task as a value; secrets are asked for by name."""
    refuse_local(plan, "skypilot")
    count, spanned = servers(plan)
    needs = host_needs(plan)
    command = serve_command(plan)
    own_image = deployment.image or deployment.image_digest or plan.gpus.spec.vendor == "amd"
    resources: dict[str, Any] = {
        "accelerators": f"{accelerator(plan, 'skypilot')}:{gpus_per_node(plan)}",
        "cpus": f"{needs.cpus}+",
        "memory": f"{needs.memory_gib}+",
        "disk_size": cache_gib(plan) + 100,
        "ports": deployment.port,
    }
    if own_image:
        resources["image_id"] = f"docker:{image(plan, deployment)}"
    if deployment.labels:
        resources["labels"] = dict(deployment.labels)
    found: dict[str, Any] = {"name": resource_name(plan, deployment), "resources": resources}
    if spanned > 1:
        found["num_nodes"] = spanned
    variables = {**command.env, **dict(deployment.env)}
    if variables:
        found["envs"] = variables
    found["secrets"] = dict.fromkeys(SECRETS)
    if count > 1:
        found["service"] = {
            "replicas": count,
            "readiness_probe": {"path": "/health", "initial_delay_seconds": startup_s(plan)},
        }
    if not own_image:
        pinned = pinned_companion(plan)
        packages = [f"vllm=={plan.vllm_version}", *([f"mistral_common=={pinned[0]}"] if pinned else [])]
        found["setup"] = (
            "uv venv --python 3.12 --seed ~/vllm\n"
            f"uv pip install --python ~/vllm --torch-backend auto {' '.join(packages)}\n"
        )
    head = '$(echo "$SKYPILOT_NODE_IPS" | head -n 1)'
    lines = serve_lines(plan, deployment, rank="$SKYPILOT_NODE_RANK", head=head, pin=bool(own_image))
    found["run"] = ("" if own_image else 'export PATH="$HOME/vllm/bin:$PATH"\n') + lines + "\n"
    return found


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the task for ``sky launch``, or ``sky serve up`` where there are several servers."""
    several = servers(plan)[0] > 1
    how = "sky serve up" if several else "sky launch"
    typed = f"{how} --secret HF_TOKEN --secret VLLM_API_KEY FILE"
    return commented_yaml(plan, "SkyPilot", [task(plan, deployment)], typed, pin_note(plan))
