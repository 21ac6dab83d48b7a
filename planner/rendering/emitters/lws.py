"""A LeaderWorkerSet: servers that span nodes, one pod a node; vLLM's own multi-node executor joins the pods."""

from __future__ import annotations

from typing import Any

from planner.planning.answer import Plan
from planner.rendering.command import ServeCommand
from planner.rendering.emitters.deployment import IN_CLUSTERS, Deployment
from planner.rendering.emitters.image import in_container
from planner.rendering.emitters.kubernetes import claims, disruption_budget, network_policy, service
from planner.rendering.emitters.pod import labels, metadata, notes, pod_host, pod_spec
from planner.rendering.emitters.yaml_text import commented_yaml
from planner.rendering.multi_node import HEAD_ADDRESS, node_commands

READS = IN_CLUSTERS
LEADER_LABEL = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
ADDRESS, INDEX = "$(LWS_LEADER_ADDRESS)", "$(LWS_WORKER_INDEX)"
"""Set by the controller in each pod; Kubernetes puts them into the arguments."""


def objects(plan: Plan, deployment: Deployment) -> list[dict[str, Any]]:
    """Return claims, LeaderWorkerSet, the Service in front of the leaders, disruption budget and network policy.

    Replicas that stay inside nodes are groups of one pod, each a server of its own.
    """
    settings = plan.settings
    size = max(1, settings.layout.gpus_per_replica // plan.gpus.count)
    inside, _ = in_container(plan)
    nodes = node_commands(inside, host=pod_host(deployment), port=deployment.port)
    template: dict[str, Any] = {"size": size, "restartPolicy": "RecreateGroupOnPodRestart"}
    if size > 1:
        template["leaderTemplate"] = _template(plan, nodes[0].command, deployment, serves=True)
        template["workerTemplate"] = _template(plan, nodes[1].command, deployment, serves=False)
    else:
        template["workerTemplate"] = _template(plan, nodes[0].command, deployment, serves=True)
    groups = settings.replicas if size > 1 else len(nodes)
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": metadata(plan, deployment),
        "spec": {"replicas": groups, "leaderWorkerTemplate": template},
    }
    return [
        *claims(plan, deployment, pods=size * groups),
        group,
        service(plan, deployment, more=LEADER_LABEL),
        disruption_budget(plan, deployment),
        network_policy(plan, deployment),
    ]


def _template(plan: Plan, command: ServeCommand | None, deployment: Deployment, *, serves: bool) -> dict[str, Any]:
    """One pod, its rank and the leader's address left to the controller."""
    assert command is not None, "only Ray's workers have no command"
    spec = pod_spec(plan, command, deployment, serves=serves)
    args = spec["containers"][0]["args"]
    if "--node-rank" in args:
        args[args.index("--node-rank") + 1] = INDEX
    # Several servers have several heads, but in a pod the leader of its own group is meant.
    spec["containers"][0]["args"] = [ADDRESS if word.startswith(HEAD_ADDRESS) else word for word in args]
    return {"metadata": {"labels": labels(plan, deployment)}, "spec": spec}


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the objects for ``kubectl apply -f -``; the LeaderWorkerSet controller must be installed."""
    spans = plan.settings.layout.gpus_per_replica > plan.gpus.count
    network = (
        "NCCL uses TCP between the pods unless your network plug-in gives them RDMA devices; /health of an idle "
        "leader\nstays 200 when a worker dies, and the controller then restarts the group."
    )
    return commented_yaml(
        plan, "LeaderWorkerSet", objects(plan, deployment), *notes(plan, deployment), network if spans else ""
    )
