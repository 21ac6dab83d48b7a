"""PodMonitor and PrometheusRule for Prometheus' operator."""

from __future__ import annotations

from typing import Any

from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import Deployment
from planner.rendering.emitters.expectations import load_note, rule_groups
from planner.rendering.emitters.pod import metadata, selector
from planner.rendering.emitters.yaml_text import commented_yaml

READS = frozenset({"name", "namespace", "labels"})


def objects(plan: Plan, deployment: Deployment) -> list[dict[str, Any]]:
    """Return both objects; the monitor finds the pods of every emitter by their labels and the port `http`."""
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(plan, deployment),
        "spec": {
            "selector": {"matchLabels": selector(plan, deployment)},
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
        },
    }
    rules = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(plan, deployment),
        "spec": rule_groups(plan, deployment),
    }
    return [monitor, rules]


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the objects for ``kubectl apply -f -``."""
    picked = "your Prometheus picks monitors and rules by labels: `--label release=NAME` adds the usual one"
    return commented_yaml(plan, "Prometheus operator", objects(plan, deployment), load_note(plan), picked)
