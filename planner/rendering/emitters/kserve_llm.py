"""A KServe LLMInferenceService: the same pod behind KServe's own gateway and scheduler."""

from __future__ import annotations

from typing import Any

from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import IN_CLUSTERS, Deployment
from planner.rendering.emitters.kubernetes import claims, node_pod, pods
from planner.rendering.emitters.pod import CACHE, from_hub, metadata, notes
from planner.rendering.emitters.yaml_text import commented_yaml

READS = IN_CLUSTERS - {"port"}


def objects(plan: Plan, deployment: Deployment) -> list[dict[str, Any]]:
    """Return claims and LLMInferenceService; the pod's template replaces what KServe's own would run.

    Raises:
        InvalidRequest: when one server spans nodes, or the checkpoint is a folder, which the model's URI cannot name.
    """
    if not from_hub(plan):
        raise InvalidRequest(
            "emit",
            "an LLMInferenceService names its model by a URI, and this one is a folder",
            hint="use the emitter `kserve`, whose pod mounts it",
        )
    count = pods(plan)
    settings = plan.settings
    spec = node_pod(plan, deployment)
    (container,) = spec["containers"]
    container["name"] = "main"
    # KServe's template keeps the hub's cache in a volume that a restart empties.
    container["env"].insert(0, {"name": "HF_HUB_CACHE", "value": f"{CACHE}/hub"})
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[probe]["httpGet"] |= {"scheme": "HTTP"}
    service = {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": metadata(plan, deployment),
        "spec": {
            "model": {"uri": f"hf://{plan.model.name}", "name": plan.model.name},
            "replicas": count,
            "parallelism": {
                "tensor": settings.tensor_parallel_size,
                **({"pipeline": settings.pipeline_parallel_size} if settings.pipeline_parallel_size > 1 else {}),
            },
            # The engine downloads by itself into the claim, which outlives the pod.
            "storageInitializer": {"enabled": False},
            "rolloutStrategy": {"maxSurge": 0, "maxUnavailable": 1},
            "template": spec,
            "router": {"route": {}, "gateway": {}, "scheduler": {}},
        },
    }
    return [*claims(plan, deployment, pods=count), service]


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the objects for ``kubectl apply -f -``."""
    plain = "The pods serve plain HTTP; KServe's own templates say whether your gateway expects TLS from them."
    return commented_yaml(
        plan, "KServe LLMInferenceService", objects(plan, deployment), *notes(plan, deployment), plain
    )
