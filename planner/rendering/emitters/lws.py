"""A LeaderWorkerSet: servers that span nodes, one pod a node; vLLM's own multi-node executor joins the pods."""

from __future__ import annotations

from typing import Any

from planner.planning.answer import Plan
from planner.rendering.command import ServeCommand
from planner.rendering.emitters.image import ANY_ADDRESS, API_PORT, heading, resource_name
from planner.rendering.emitters.kubernetes import cache_claim, service
from planner.rendering.emitters.pod import labels, pod_spec, secret_name
from planner.rendering.emitters.yaml_text import yaml_documents
from planner.rendering.multi_node import node_commands

LEADER_LABEL = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}


def objects(plan: Plan) -> list[dict[str, Any]]:
    """Return claim, LeaderWorkerSet and the Service in front of the leaders.

    The controller sets ``LWS_LEADER_ADDRESS`` and ``LWS_WORKER_INDEX`` in each pod; Kubernetes puts them into the
    arguments.
    """
    settings = plan.settings
    size = max(1, settings.layout.gpus_per_replica // plan.gpus.count)
    nodes = node_commands(plan, head_address="$(LWS_LEADER_ADDRESS)", host=ANY_ADDRESS, port=API_PORT)
    leader = _portable(nodes[0].command)
    worker = _portable(nodes[1].command) if size > 1 else leader
    template: dict[str, Any] = {
        "size": size,
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": {"metadata": {"labels": labels(plan)}, "spec": pod_spec(plan, leader)},
        "workerTemplate": {"metadata": {"labels": labels(plan)}, "spec": pod_spec(plan, worker, serves=False)},
    }
    groups = settings.replicas if size > 1 else len(nodes)
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": resource_name(plan), "labels": labels(plan)},
        "spec": {"replicas": groups, "leaderWorkerTemplate": template},
    }
    front = service(plan)
    front["spec"]["selector"] = {**labels(plan), **LEADER_LABEL}
    return [cache_claim(plan, pods=size * groups), group, front]


def _portable(command: ServeCommand | None) -> ServeCommand:
    """The command with the rank and the leader's address left to the controller."""
    assert command is not None, "only Ray's workers have no command"
    argv = list(command.argv)
    if "--node-rank" in argv:
        argv[argv.index("--node-rank") + 1] = "$(LWS_WORKER_INDEX)"
    if "--master-addr" in argv:
        argv[argv.index("--master-addr") + 1] = "$(LWS_LEADER_ADDRESS)"
    return ServeCommand(argv=tuple(argv), env=command.env)


def emit(plan: Plan, *, host: str, port: int) -> str:  # noqa: ARG001 - the cluster decides who reaches it
    """Return the objects for ``kubectl apply -f -``; the LeaderWorkerSet controller must be installed."""
    secret = f"keys HF_TOKEN and VLLM_API_KEY come from the Secret {secret_name(plan)}, where it exists"
    return yaml_documents(objects(plan), heading=heading(plan, "LeaderWorkerSet") + "\n" + secret)
