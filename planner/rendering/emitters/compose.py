"""A Docker Compose file with the same argv, environment and devices as ``docker run``."""

from __future__ import annotations

import shlex
from typing import Any

from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.emitters.deployment import IN_CONTAINERS, SECRETS, Deployment
from planner.rendering.emitters.docker import CACHE_IN_IMAGE, pinned_start, published
from planner.rendering.emitters.image import (
    ANY_ADDRESS,
    gpus_per_node,
    health_command,
    host_needs,
    image,
    in_container,
    mig_note,
    pin_note,
    pinned_companion,
    startup_s,
)
from planner.rendering.emitters.yaml_text import commented_yaml
from planner.rendering.multi_node import require_one_node
from planner.settings import DEFAULT_PORT

READS = IN_CONTAINERS


def compose_file(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return the file as a value; secrets are passed through from the caller's environment by name.

    It is what Compose v2, docker-compose 1.29 and podman-compose all read: no `name`, no nested default.

    Raises:
        InvalidRequest: for a plan over several nodes.
    """
    require_one_node(
        plan,
        what="a Compose file describes one",
        hint="use the emitter `docker`, which gives each node its command, or `lws` on Kubernetes",
    )
    inside, mounts = in_container(plan)
    command = serve_command(inside, host=ANY_ADDRESS, port=DEFAULT_PORT)
    variables = {**command.env, **dict(deployment.env)}
    pinned = pinned_companion(plan)
    words = list(command.engine_args)
    service: dict[str, Any] = {"image": _literal(image(plan, deployment))}
    if deployment.name:
        service["container_name"] = deployment.name
    if pinned:
        service["entrypoint"] = ["sh", "-c", _literal(pinned_start(pinned)), "vllm"]
    service |= {
        "command": [_literal(word) for word in words],
        "environment": [*(_literal(f"{name}={value}") for name, value in variables.items()), *SECRETS],
        "ports": [published(deployment.host or "127.0.0.1", deployment.port)],
        "volumes": [
            f"${{HF_HOME:-~/.cache/huggingface}}:{CACHE_IN_IMAGE}",
            *(_literal(f"{mount.source}:{mount.target}:ro") for mount in mounts),
        ],
        # podman-compose knows no `ipc`, and this is as good for one container.
        "shm_size": f"{host_needs(plan).shared_memory_gib}gb",
        "restart": "unless-stopped",
        "healthcheck": {
            # As one text: podman-compose 1.0 cuts the words of CMD in the wrong places.
            "test": ["CMD-SHELL", shlex.join(health_command(DEFAULT_PORT))],
            "interval": "10s",
            "timeout": "10s",
            "retries": 3,
            "start_period": f"{startup_s(plan)}s",
        },
    }
    if deployment.labels:
        service["labels"] = [_literal(f"{label}={value}") for label, value in deployment.labels]
    if plan.gpus.spec.vendor == "nvidia":
        devices = [{"driver": "nvidia", "count": gpus_per_node(plan), "capabilities": ["gpu"]}]
        service["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    else:
        service["devices"] = ["/dev/kfd", "/dev/dri"]
        service["group_add"] = ["video"]
    return {"services": {"vllm": service}}


def _literal(text: str) -> str:
    """Compose reads ``$`` as a variable, so a literal one is doubled."""
    return text.replace("$", "$$")


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the Compose file; run it with ``docker compose up``."""
    nvidia = plan.gpus.spec.vendor == "nvidia"
    pin = f"{pin_note(plan)}; the entry point brings it." if pin_note(plan) else ""
    podman = "podman-compose before 1.1 ignores `deploy`: give it the GPUs with CDI, `devices: [nvidia.com/gpu=all]`."
    return commented_yaml(
        plan, "Docker Compose", [compose_file(plan, deployment)], mig_note(plan), pin, podman if nvidia else ""
    )
