"""A KEDA ScaledObject whose threshold is the number of requests at which the targets break."""

from __future__ import annotations

from typing import Any

from hw_specs.units import counted
from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.expectations import RUNNING, WAITING, chosen
from planner.rendering.emitters.hpa import basis, behaviour, threshold
from planner.rendering.emitters.image import resource_name, startup_s
from planner.rendering.emitters.kubernetes import pods
from planner.rendering.emitters.pod import metadata
from planner.rendering.emitters.yaml_text import commented_yaml

READS = frozenset({"name", "namespace", "labels", "prometheus"})


def scaled_object(plan: Plan, deployment: Deployment, limit: int) -> dict[str, Any]:
    """Return the object with the threshold `limit`; the Deployment of the emitter `kubernetes` is what it scales."""
    matcher = chosen(plan)
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(plan, deployment),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": resource_name(plan, deployment)},
            "minReplicaCount": 1,
            "maxReplicaCount": pods(plan),
            "pollingInterval": 15,
            "cooldownPeriod": startup_s(plan),
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behaviour(plan)}},
            "triggers": [
                {
                    "type": "prometheus",
                    "metricType": "AverageValue",
                    "metadata": {
                        "serverAddress": deployment.prometheus,
                        "query": f"sum({RUNNING}{{{matcher}}}) + sum({WAITING}{{{matcher}}})",
                        "threshold": str(limit),
                    },
                }
            ],
        },
    }


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the object for ``kubectl apply -f -``."""
    limit = threshold(plan)
    return commented_yaml(
        plan, "KEDA ScaledObject", [scaled_object(plan, deployment, limit)], basis(plan, limit),
        f"at most {counted(pods(plan), 'pod')}, as planned",
    )  # fmt: skip
