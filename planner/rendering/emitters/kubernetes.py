"""Deployment, Service, claims, disruption budget and network policy; the Secret is referred to, never written."""

from __future__ import annotations

from typing import Any

from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.planning.answer import Plan
from planner.rendering.command import serve_command
from planner.rendering.emitters.deployment import IN_CLUSTERS, Deployment
from planner.rendering.emitters.image import cache_gib, in_container, replicas_per_node, startup_s
from planner.rendering.emitters.pod import (
    checkpoint_claims,
    from_hub,
    labels,
    metadata,
    notes,
    pod_host,
    pod_spec,
    selector,
)
from planner.rendering.emitters.yaml_text import commented_yaml

READS = IN_CLUSTERS


def service(plan: Plan, deployment: Deployment, *, more: dict[str, str] | None = None) -> dict[str, Any]:
    """A Service inside the cluster; nothing is exposed to the outside."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, deployment),
        "spec": {
            "type": "ClusterIP",
            "selector": {**selector(plan, deployment), **(more or {})},
            "ports": [{"name": "http", "port": deployment.port, "targetPort": "http"}],
        },
    }


def claims(plan: Plan, deployment: Deployment, *, pods: int) -> list[dict[str, Any]]:
    """Disk for one layout of the checkpoint; several pods need a volume that several nodes can mount.

    A repository of the hub is downloaded into it; the user fills the volume of a local checkpoint.
    """
    storage = {"storageClassName": deployment.storage_class} if deployment.storage_class else {}
    suffixes = ["-cache"] if from_hub(plan) else []
    suffixes += [f"-{volume}" for volume, _, _ in checkpoint_claims(plan, deployment)]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata(plan, deployment, suffix=suffix),
            "spec": {
                "accessModes": ["ReadWriteOnce" if pods == 1 else "ReadWriteMany"],
                **storage,
                "resources": {"requests": {"storage": f"{cache_gib(plan)}Gi"}},
            },
        }
        for suffix in suffixes
    ]


def disruption_budget(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """One pod at a time may be taken by whoever drains nodes; a lone pod may be taken, too."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(plan, deployment),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(plan, deployment)}},
    }


def network_policy(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """The API from inside the cluster, everything else between the server's own pods alone.

    The ports that the engine's processes use among themselves know no authentication.
    """
    own = {"podSelector": {"matchLabels": selector(plan, deployment)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(plan, deployment),
        "spec": {
            "podSelector": {"matchLabels": selector(plan, deployment)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": "http"}]},
                {"from": [own]},
            ],
        },
    }


def pods(plan: Plan) -> int:
    """Pods of the plan, each one node with its replicas behind one port.

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
    return -(-plan.settings.replicas // replicas_per_node(plan))


def node_pod(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """The pod of one node with its servers behind one port."""
    inside, servers = in_container(plan)[0], replicas_per_node(plan)
    command = serve_command(inside, host=pod_host(deployment), port=deployment.port, local_replicas=servers)
    return pod_spec(plan, command, deployment)


def objects(plan: Plan, deployment: Deployment) -> list[dict[str, Any]]:
    """Return the objects in the order in which they are needed.

    Raises:
        InvalidRequest: when one server spans nodes.
    """
    count = pods(plan)
    startup = policy().startup
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(plan, deployment),
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": selector(plan, deployment)},
            # GPUs are rarely spare: the old pod must go before the new one can come.
            "strategy": {"type": "Recreate"},
            # Longer than a start may take, or a rollout counts as failed while the checkpoint is being loaded.
            "progressDeadlineSeconds": startup_s(plan) + startup.image_pull_s.value,
            "template": {
                "metadata": {"labels": labels(plan, deployment)},
                "spec": node_pod(plan, deployment),
            },
        },
    }
    return [
        *claims(plan, deployment, pods=count),
        workload,
        service(plan, deployment),
        disruption_budget(plan, deployment),
        network_policy(plan, deployment),
    ]


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the objects for ``kubectl apply -f -``."""
    return commented_yaml(plan, "Kubernetes", objects(plan, deployment), *notes(plan, deployment))
