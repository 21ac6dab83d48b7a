"""The container and volumes that every Kubernetes object of ours shares; it never writes YAML."""

from __future__ import annotations

import math
from typing import Any

from planner.facts import load
from planner.planning.answer import Plan
from planner.rendering.command import ServeCommand
from planner.rendering.emitters.image import API_PORT, SECRETS, gpus_per_node, image, resource_name, startup_s

CACHE = "/cache"
GPU_RESOURCE = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}


def secret_name(plan: Plan) -> str:
    """The Secret that the pods refer to; its keys are the names in :data:`planner.rendering.emitters.image.SECRETS`."""
    return f"{resource_name(plan)}-secrets"


def node_selector(plan: Plan) -> dict[str, str]:
    """Labels that the vendors' discovery put on nodes with this GPU."""
    spec = plan.gpus.spec
    if spec.vendor == "nvidia" and spec.driver_names:
        return {"nvidia.com/gpu.product": spec.driver_names[0].replace(" ", "-")}
    if spec.vendor == "amd" and spec.pci_device_ids:
        return {"amd.com/gpu.device-id": f"{spec.pci_device_ids[0]:04x}"}
    return {}


def container(plan: Plan, command: ServeCommand, *, serves: bool = True) -> dict[str, Any]:
    """One engine container: argv, environment, secrets by reference, GPUs, probes.

    A container that only works for another one (`serves` false) answers no requests and has no probes.
    """
    gpu, gpus = GPU_RESOURCE[plan.gpus.spec.vendor], str(gpus_per_node(plan))
    found: dict[str, Any] = {
        "name": "vllm",
        "image": image(plan),
        "command": ["vllm", "serve"],
        "args": list(command.engine_args),
        "env": [
            *({"name": name, "value": value} for name, value in command.env.items()),
            {"name": "HF_HOME", "value": CACHE},
            *(
                {
                    "name": name,
                    "valueFrom": {"secretKeyRef": {"name": secret_name(plan), "key": name, "optional": True}},
                }
                for name in SECRETS
            ),
        ],
        "resources": {"limits": {gpu: gpus}, "requests": {gpu: gpus}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "cache", "mountPath": CACHE}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    if serves:
        policy = load("policy.toml")["startup"]
        period: int = policy["probe_period_s"]["value"]
        probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": period}
        found["ports"] = [{"name": "http", "containerPort": API_PORT}]
        found["startupProbe"] = {**probe, "failureThreshold": math.ceil(startup_s(plan) / period)}
        found["readinessProbe"] = {**probe, "failureThreshold": 3}
        found["livenessProbe"] = {**probe, "failureThreshold": 6, "timeoutSeconds": 10}
    return found


def pod_spec(plan: Plan, command: ServeCommand, *, serves: bool = True) -> dict[str, Any]:
    """The pod around one engine container: cache volume, shared memory, node selection."""
    shared_gib = load("policy.toml")["kubernetes"]["shared_memory_gib"]["value"]
    return {
        "nodeSelector": node_selector(plan),
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 60,
        "containers": [container(plan, command, serves=serves)],
        "volumes": [
            {"name": "cache", "persistentVolumeClaim": {"claimName": f"{resource_name(plan)}-cache"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared_gib}Gi"}},
        ],
    }


def labels(plan: Plan) -> dict[str, str]:
    """Labels of everything that belongs to this plan."""
    return {"app.kubernetes.io/name": resource_name(plan), "app.kubernetes.io/component": "inference"}
