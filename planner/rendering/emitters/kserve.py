"""A KServe InferenceService around the engine's container; one pod a node."""

from __future__ import annotations

from typing import Any

from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import IN_CLUSTERS, Deployment
from planner.rendering.emitters.kubernetes import claims, node_pod, pods
from planner.rendering.emitters.pod import metadata, notes
from planner.rendering.emitters.yaml_text import commented_yaml

READS = IN_CLUSTERS


def objects(plan: Plan, deployment: Deployment) -> list[dict[str, Any]]:
    """Return claims and InferenceService; the predictor's pod is the Deployment's.

    Raises:
        InvalidRequest: when one server spans nodes.
    """
    count = pods(plan)
    spec = node_pod(plan, deployment)
    spec["containers"][0]["name"] = "kserve-container"
    inference = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            **metadata(plan, deployment),
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/autoscalerClass": "none",
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": count,
                "maxReplicas": count,
                # The default would start a second set of GPUs beside the first.
                "deploymentStrategy": {"type": "Recreate"},
                **spec,
            }
        },
    }
    return [*claims(plan, deployment, pods=count), inference]


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the objects for ``kubectl apply -f -``."""
    renamed = "The mode `Standard` is called `RawDeployment` before KServe 0.16."
    return commented_yaml(plan, "KServe", objects(plan, deployment), *notes(plan, deployment), renamed)
