"""A HorizontalPodAutoscaler whose threshold is the number of requests at which the targets break."""

from __future__ import annotations

from typing import Any

from hw_specs.units import counted
from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.planning.capacity import most_in_flight
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.expectations import IN_FLIGHT
from planner.rendering.emitters.image import replicas_per_node, resource_name, startup_s
from planner.rendering.emitters.kubernetes import pods
from planner.rendering.emitters.pod import metadata
from planner.rendering.emitters.yaml_text import commented_yaml

READS = frozenset({"name", "namespace", "labels"})


def threshold(plan: Plan) -> int:
    """Requests in flight that one pod is to have.

    Raises:
        InvalidRequest: without a load: nothing else says when a server is full.
    """
    if plan.speed is None:
        raise InvalidRequest(
            "emit",
            "an autoscaler's threshold comes from the forecast, and no load was given",
            hint="give the load: `--prompt-tokens 1024 --output-tokens 512 --concurrency 64`",
        )
    return most_in_flight(plan, plan.speed) * replicas_per_node(plan)


def basis(plan: Plan, limit: int) -> str:
    """One sentence for the head: what the threshold `limit` is made of, and what happens above it."""
    assert plan.speed is not None, "a threshold needs one"
    targets, workload = plan.speed.targets, plan.speed.forecast.workload
    servers = replicas_per_node(plan)
    each = limit // servers
    made = f"threshold {limit}: {each} requests in flight a server" + (
        f", {servers} servers a pod" if servers > 1 else ""
    )
    limits = [("TTFT", targets.ttft_ms), ("TPOT", targets.tpot_ms)]
    broken = " or ".join(f"{name} {limit_ms:g} ms" for name, limit_ms in limits if limit_ms is not None)
    if not broken:
        return f"{made}; no target on time was given, so it is the load that was asked for, split over the servers"
    if each == plan.settings.max_num_seqs:
        return f"{made}, which is max-num-seqs: what is above it waits; {broken} still holds there by the forecast"
    load = "all sent at once" if workload.request_rate is None else "coming at random"
    rate = "; `--request-rate` judges a load that comes at a rate" if workload.request_rate is None else ""
    return f"{made}; above it the mean passes {broken} by the forecast for {workload.lengths_in_words}, {load}{rate}"


def behaviour(plan: Plan) -> dict[str, Any]:
    """One pod at a time, and none is taken away while another is still loading its weights."""
    start = startup_s(plan)
    return {
        "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {
            "stabilizationWindowSeconds": min(start, 3600),
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": min(start, 1800)}],
        },
    }


def autoscaler(plan: Plan, deployment: Deployment, limit: int) -> dict[str, Any]:
    """Return the object with the threshold `limit`; the Deployment of the emitter `kubernetes` is what it scales."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(plan, deployment),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": resource_name(plan, deployment)},
            "minReplicas": 1,
            "maxReplicas": pods(plan),
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": IN_FLIGHT.replace(":", "_")},
                        "target": {"type": "AverageValue", "averageValue": str(limit)},
                    },
                }
            ],
            "behavior": behaviour(plan),
        },
    }


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the object for ``kubectl apply -f -``."""
    limit = threshold(plan)
    return commented_yaml(
        plan, "HorizontalPodAutoscaler", [autoscaler(plan, deployment, limit)], basis(plan, limit),
        f"prometheus-adapter must serve {IN_FLIGHT} as the pod metric {IN_FLIGHT.replace(':', '_')}:",
        f"  seriesQuery: '{IN_FLIGHT}', metricsQuery: 'sum(<<.Series>>{{<<.LabelMatchers>>}}) by (<<.GroupBy>>)'",
        f"the emitter `prometheus-operator` records that series; at most {counted(pods(plan), 'pod')}, as planned",
    )  # fmt: skip
