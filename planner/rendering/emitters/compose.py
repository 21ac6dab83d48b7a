"""A Docker Compose file with the same argv, environment and devices as ``docker run``."""

from __future__ import annotations

from typing import Any

from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.emitters.docker import CACHE_IN_IMAGE, published
from planner.rendering.emitters.image import (
    ANY_ADDRESS,
    API_PORT,
    HEALTH_COMMAND,
    SECRETS,
    gpus_per_node,
    heading,
    image,
    resource_name,
    startup_s,
)
from planner.rendering.emitters.yaml_text import yaml_documents
from planner.rendering.multi_node import require_one_node


def compose_file(plan: Plan, *, host: str, port: int) -> dict[str, Any]:
    """Return the file as a value; secrets are passed through from the caller's environment by name.

    Raises:
        InvalidRequest: for a plan over several nodes.
    """
    require_one_node(
        plan,
        what="a Compose file describes one",
        hint="use the emitter `docker`, which gives each node its command, or `lws` on Kubernetes",
    )
    command = serve_command(plan, host=ANY_ADDRESS, port=API_PORT)
    service: dict[str, Any] = {
        "image": _literal(image(plan)),
        "command": [_literal(word) for word in command.engine_args],
        "environment": [*(_literal(f"{name}={value}") for name, value in command.env.items()), *SECRETS],
        "ports": [published(host, port)],
        "volumes": [f"${{HF_HOME:-${{HOME}}/.cache/huggingface}}:{CACHE_IN_IMAGE}"],
        "ipc": "host",
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", *HEALTH_COMMAND],
            "interval": "10s",
            "timeout": "10s",
            "retries": 3,
            "start_period": f"{startup_s(plan)}s",
        },
    }
    if plan.gpus.spec.vendor == "nvidia":
        devices = [{"driver": "nvidia", "count": gpus_per_node(plan), "capabilities": ["gpu"]}]
        service["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    else:
        service["devices"] = ["/dev/kfd", "/dev/dri"]
        service["group_add"] = ["video", "render"]
    return {"name": resource_name(plan), "services": {"vllm": service}}


def _literal(text: str) -> str:
    """Compose reads ``$`` as a variable, so a literal one is doubled."""
    return text.replace("$", "$$")


def emit(plan: Plan, *, host: str, port: int) -> str:
    """Return the Compose file; run it with ``docker compose up``."""
    return yaml_documents([compose_file(plan, host=host, port=port)], heading=heading(plan, "Docker Compose"))
