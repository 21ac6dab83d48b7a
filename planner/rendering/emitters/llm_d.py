"""Values for llm-d's model service chart; the chart makes the Kubernetes objects."""

from __future__ import annotations

from typing import Any

from planner.planning.answer import Plan
from planner.rendering.emitters import kubernetes
from planner.rendering.emitters.image import API_PORT, cache_gib, heading, image
from planner.rendering.emitters.pod import node_selector, secret_name
from planner.rendering.emitters.yaml_text import yaml_documents


def values(plan: Plan) -> dict[str, Any]:
    """Return the chart's values: one decode pool with the planned parallelism, no separate prefill.

    Raises:
        InvalidRequest: when one server spans nodes.
    """
    _claim, deployment, _service = kubernetes.objects(plan)
    engine = deployment["spec"]["template"]["spec"]["containers"][0]
    return {
        "modelArtifacts": {
            "name": plan.model.name,
            "uri": f"hf://{plan.model.name}",
            "size": f"{cache_gib(plan)}Gi",
            "authSecretName": secret_name(plan),
        },
        "routing": {"servicePort": API_PORT, "proxy": {"enabled": False}},
        "decode": {
            "create": True,
            "replicas": deployment["spec"]["replicas"],
            "parallelism": {"tensor": plan.settings.tensor_parallel_size},
            "nodeSelector": node_selector(plan),
            "containers": [
                {
                    "name": "vllm",
                    "image": image(plan),
                    "modelCommand": "custom",
                    "command": engine["command"],
                    "args": engine["args"],
                    "env": engine["env"],
                    "ports": engine["ports"],
                    "resources": engine["resources"],
                    "mountModelVolume": True,
                    "startupProbe": engine["startupProbe"],
                    "readinessProbe": engine["readinessProbe"],
                    "livenessProbe": engine["livenessProbe"],
                }
            ],
        },
        "prefill": {"create": False},
    }


def emit(plan: Plan, *, host: str, port: int) -> str:  # noqa: ARG001 - the cluster decides who reaches it
    """Return the values for ``helm install --values``."""
    return yaml_documents([values(plan)], heading=heading(plan, "llm-d model service values"))
