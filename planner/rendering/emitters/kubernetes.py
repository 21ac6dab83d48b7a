"""Deployment, Service and PersistentVolumeClaim; the Secret is referred to, never written."""

from __future__ import annotations

from typing import Any

from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.emitters.image import ANY_ADDRESS, API_PORT, cache_gib, heading, resource_name
from planner.rendering.emitters.pod import labels, pod_spec, secret_name
from planner.rendering.emitters.yaml_text import yaml_documents


def service(plan: Plan) -> dict[str, Any]:
    """A Service inside the cluster; nothing is exposed to the outside."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": resource_name(plan), "labels": labels(plan)},
        "spec": {
            "type": "ClusterIP",
            "selector": labels(plan),
            "ports": [{"name": "http", "port": API_PORT, "targetPort": "http"}],
        },
    }


def cache_claim(plan: Plan, *, pods: int) -> dict[str, Any]:
    """Disk for one layout of the checkpoint; several pods need a volume that several nodes can mount."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{resource_name(plan)}-cache", "labels": labels(plan)},
        "spec": {
            "accessModes": ["ReadWriteOnce" if pods == 1 else "ReadWriteMany"],
            "resources": {"requests": {"storage": f"{cache_gib(plan)}Gi"}},
        },
    }


def objects(plan: Plan) -> list[dict[str, Any]]:
    """Return the three objects; each pod is one node with all its replicas behind one port.

    Raises:
        InvalidRequest: when one server spans nodes, which a Deployment cannot express.
    """
    per_replica = plan.settings.layout.gpus_per_replica
    if per_replica > plan.gpus.count:
        raise InvalidRequest(
            "emit",
            f"one server spans {per_replica // plan.gpus.count} nodes, which a Deployment cannot express",
            hint="use the emitter `lws`",
        )
    per_node = min(plan.settings.replicas, plan.gpus.count // per_replica)
    pods = -(-plan.settings.replicas // per_node)
    command = serve_command(plan, host=ANY_ADDRESS, port=API_PORT, local_replicas=per_node)
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": resource_name(plan), "labels": labels(plan)},
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": labels(plan)},
            # GPUs are rarely spare: the old pod must go before the new one can come.
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels(plan)}, "spec": pod_spec(plan, command)},
        },
    }
    return [cache_claim(plan, pods=pods), deployment, service(plan)]


def emit(plan: Plan, *, host: str, port: int) -> str:  # noqa: ARG001 - the cluster decides who reaches it
    """Return the objects for ``kubectl apply -f -``."""
    secret = f"keys HF_TOKEN and VLLM_API_KEY come from the Secret {secret_name(plan)}, where it exists"
    return yaml_documents(objects(plan), heading=heading(plan, "Kubernetes") + "\n" + secret)
