"""A KServe InferenceService around the engine's container; one pod a node."""

from __future__ import annotations

from typing import Any

from planner.planning.answer import Plan
from planner.rendering.emitters import kubernetes
from planner.rendering.emitters.image import heading, resource_name
from planner.rendering.emitters.pod import labels, secret_name
from planner.rendering.emitters.yaml_text import yaml_documents


def objects(plan: Plan) -> list[dict[str, Any]]:
    """Return claim and InferenceService; the predictor's pod is the Deployment's.

    Raises:
        InvalidRequest: when one server spans nodes.
    """
    claim, deployment, _service = kubernetes.objects(plan)
    spec = deployment["spec"]["template"]["spec"]
    spec["containers"][0]["name"] = "kserve-container"
    pods = deployment["spec"]["replicas"]
    inference = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": resource_name(plan),
            "labels": labels(plan),
            "annotations": {"serving.kserve.io/deploymentMode": "RawDeployment"},
        },
        "spec": {"predictor": {"minReplicas": pods, "maxReplicas": pods, **spec}},
    }
    return [claim, inference]


def emit(plan: Plan, *, host: str, port: int) -> str:  # noqa: ARG001 - the cluster decides who reaches it
    """Return the objects for ``kubectl apply -f -``."""
    secret = f"keys HF_TOKEN and VLLM_API_KEY come from the Secret {secret_name(plan)}, where it exists"
    return yaml_documents(objects(plan), heading=heading(plan, "KServe") + "\n" + secret)
