"""The container and volumes that every Kubernetes object of ours shares; it never writes YAML."""

from __future__ import annotations

import math
from typing import Any

from hw_specs.mig import split_profile
from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.planning.answer import Plan
from planner.rendering.command import ServeCommand
from planner.rendering.emitters.deployment import SECRETS, Deployment
from planner.rendering.emitters.image import (
    ANY_ADDRESS,
    Mount,
    gpus_per_node,
    host_needs,
    image,
    in_container,
    pin_note,
    pin_script,
    pinned_companion,
    resource_name,
    startup_s,
)

CACHE, HOME, PINNED = "/cache", "/home/vllm", "/pinned"
GPU_RESOURCE = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
"""Whole GPUs; also the key of the taint that keeps other pods away."""
_ANY = (ANY_ADDRESS, "::")


def pod_host(deployment: Deployment) -> str:
    """The address that a server in a pod listens on.

    Raises:
        InvalidRequest: for one address: a pod's own is not known before it runs.
    """
    if deployment.host is None:
        return ANY_ADDRESS
    if deployment.host not in _ANY:
        raise InvalidRequest(
            "host",
            f"a pod's address comes from the cluster, so a server cannot listen on host `{deployment.host}`",
            hint="leave it out, or give `0.0.0.0` or `::`; the emitted NetworkPolicy and your ingress say who gets in",
        )
    return deployment.host


def secret_name(plan: Plan, deployment: Deployment) -> str:
    """The Secret that the pods refer to; its keys are HF_TOKEN and VLLM_API_KEY."""
    return deployment.secret or f"{resource_name(plan, deployment)}-secrets"


def literal(text: str) -> str:
    """Kubernetes reads ``$(NAME)`` in arguments and variables, so a dollar is doubled.

    >>> literal("/models/$(HOME)")
    '/models/$$(HOME)'
    """
    return text.replace("$", "$$")


def gpu_resource(plan: Plan, deployment: Deployment) -> str:
    """What a pod asks for: GPUs, or the MIG slice as the device plugin's strategy names it.

    Raises:
        InvalidRequest: for a strategy where there are no slices.
    """
    part = split_profile(plan.gpus.spec.name)
    if part is None and deployment.mig_strategy != "mixed":
        raise InvalidRequest(
            "mig_strategy", f"mig_strategy is about MIG slices, and {plan.gpus} are whole GPUs", hint="leave it out"
        )
    if part is None or deployment.mig_strategy == "single":
        return GPU_RESOURCE[plan.gpus.spec.vendor]
    return f"nvidia.com/mig-{part[1].replace('+', '.')}"


def node_affinity(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Nodes with this GPU, by any of the labels that the vendors' discovery puts on them; empty where none is known."""
    spec = plan.gpus.spec
    labels: dict[str, list[str]] = {}
    if spec.vendor == "nvidia":
        names = spec.driver_names
        if gpu_resource(plan, deployment) != GPU_RESOURCE["nvidia"]:
            # Where the resource names the slice, discovery leaves the label of the whole card as it is.
            names = tuple(part[0] if (part := split_profile(name)) else name for name in names)
        labels["nvidia.com/gpu.product"] = [name.replace(" ", "-") for name in names]
    else:
        ids = [f"{number:04x}" for number in spec.pci_device_ids]
        labels["amd.com/gpu.device-id"] = labels["beta.amd.com/gpu.device-id"] = ids
        labels["amd.com/gpu.product-name"] = [name.replace(" ", "_") for name in spec.driver_names]
    terms = [
        {"matchExpressions": [{"key": key, "operator": "In", "values": values}]}
        for key, values in labels.items()
        if values
    ]
    if not terms:
        return {}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def drain_command(port: int) -> list[str]:
    """What a pod does before it stops: it waits until load balancers know and the requests in flight are answered."""
    startup = policy().startup
    script = (
        "import time, urllib.request\n"
        f"time.sleep({startup.drain_first_s.value})\n"
        f"end = time.monotonic() + {startup.drain_s.value}\n"
        "names = 'vllm:num_requests_running', 'vllm:num_requests_waiting'\n"
        "while time.monotonic() < end:\n"
        f"    text = urllib.request.urlopen('http://127.0.0.1:{port}/metrics', timeout=5).read().decode()\n"
        "    lines = [line for line in text.splitlines() if line.startswith(names)]\n"
        "    if not any(float(line.rpartition(' ')[2]) for line in lines):\n"
        "        break\n"
        "    time.sleep(2)\n"
    )
    return ["python3", "-c", script]


def environment(plan: Plan, command: ServeCommand, deployment: Deployment) -> list[dict[str, Any]]:
    """The container's variables, each once; the user's win, and secrets come by reference."""
    ours = {name: value for name, value in command.env.items() if name not in dict(plan.gpus.env)}
    # An arbitrary user id has neither a name nor a home, and torch asks for both when it is imported.
    ours |= {"HF_HOME": CACHE, "HOME": HOME, "USER": "vllm"}
    if pinned_companion(plan):
        ours["PYTHONPATH"] = PINNED
    ours |= dict(deployment.env)
    found: list[dict[str, Any]] = [{"name": name, "value": literal(value)} for name, value in ours.items()]
    secret = secret_name(plan, deployment)
    return found + [{"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}} for name in SECRETS]


def container(plan: Plan, command: ServeCommand, deployment: Deployment, *, serves: bool = True) -> dict[str, Any]:
    """One engine container: argv, environment, secrets by reference, GPUs, probes.

    `command` must name local checkpoints as the container sees them
    (:func:`planner.rendering.emitters.image.in_container`). A container that only works for another one (`serves`
    false) answers no requests and has no probes.
    """
    gpu, gpus = gpu_resource(plan, deployment), str(gpus_per_node(plan))
    needs = host_needs(plan)
    mounts = [{"name": "cache", "mountPath": CACHE}, {"name": "shm", "mountPath": "/dev/shm"}]
    mounts.append({"name": "home", "mountPath": HOME})
    found: dict[str, Any] = {
        "name": "vllm",
        "image": image(plan, deployment),
        "command": ["vllm", "serve"],
        "args": [literal(word) for word in command.engine_args],
        "env": environment(plan, command, deployment),
        "resources": {
            "requests": {"cpu": str(needs.cpus), "memory": f"{needs.memory_gib}Gi", gpu: gpus},
            "limits": {gpu: gpus},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    extra: list[dict[str, Any]] = [
        {"name": volume, "mountPath": mount.target, "readOnly": True} for volume, mount in _checkpoints(plan)
    ]
    if pinned_companion(plan):
        extra.append({"name": "pinned", "mountPath": PINNED, "readOnly": True})
    found["volumeMounts"] = [*mounts, *extra]
    if serves:
        startup = policy().startup
        period: int = startup.probe_period_s.value
        probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": period}
        found["ports"] = [{"name": "http", "containerPort": deployment.port}]
        found["startupProbe"] = {**probe, "failureThreshold": math.ceil(startup_s(plan) / period)}
        found["readinessProbe"] = {**probe, "failureThreshold": 3}
        found["livenessProbe"] = {**probe, "failureThreshold": 6, "timeoutSeconds": 10}
        found["lifecycle"] = {"preStop": {"exec": {"command": drain_command(deployment.port)}}}
    return found


def pod_spec(plan: Plan, command: ServeCommand, deployment: Deployment, *, serves: bool = True) -> dict[str, Any]:
    """The pod around one engine container: volumes, shared memory, the nodes it may go to."""
    startup = policy().startup
    affinity = node_affinity(plan, deployment)
    taint = GPU_RESOURCE[plan.gpus.spec.vendor]
    found: dict[str, Any] = {
        **({"affinity": affinity} if affinity else {}),
        "tolerations": [{"key": taint, "operator": "Exists", "effect": "NoSchedule"}],
        # A Service called `vllm` would set VLLM_PORT to a URI, which the engine refuses.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 60 + startup.drain_first_s.value + startup.drain_s.value,
    }
    if deployment.pull_secret:
        found["imagePullSecrets"] = [{"name": deployment.pull_secret}]
    pinned = pinned_companion(plan)
    if pinned:
        found["initContainers"] = [_pin_container(pinned, plan, deployment)]
    found["containers"] = [container(plan, command, deployment, serves=serves)]
    found["volumes"] = [
        {"name": "cache", **_cache_volume(plan, deployment)},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{host_needs(plan).shared_memory_gib}Gi"}},
        {"name": "home", "emptyDir": {}},
        *(
            {"name": volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            for volume, claim, _ in checkpoint_claims(plan, deployment)
        ),
        *([{"name": "pinned", "emptyDir": {}}] if pinned else []),
    ]
    return found


def _pin_container(pinned: tuple[str, str], plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Puts the good mistral_common where the engine finds it first; nothing where the image has a good one."""
    script = pin_script(pinned, target=PINNED)
    variables = {"HOME": PINNED, "USER": "vllm", **dict(deployment.env)}  # a package mirror is among the user's
    return {
        "name": "pin-mistral-common",
        "image": image(plan, deployment),
        "command": ["sh", "-c", literal(script)],
        "env": [{"name": name, "value": literal(value)} for name, value in variables.items()],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "pinned", "mountPath": PINNED}],
    }


def from_hub(plan: Plan) -> bool:
    """Whether the pod downloads the checkpoint."""
    return plan.model.name not in {mount.source for mount in in_container(plan)[1]}


def _cache_volume(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    if not from_hub(plan):
        return {"emptyDir": {}}
    return {"persistentVolumeClaim": {"claimName": f"{resource_name(plan, deployment)}-cache"}}


def _checkpoints(plan: Plan) -> list[tuple[str, Mount]]:
    """Volume of each local checkpoint: the model, then the draft."""
    return [("model" if mount.source == plan.model.name else "draft", mount) for mount in in_container(plan)[1]]


def checkpoint_claims(plan: Plan, deployment: Deployment) -> list[tuple[str, str, Mount]]:
    """Volume, claim and place of each checkpoint that is a folder of the user's and not a repository of the hub."""
    name = resource_name(plan, deployment)
    return [(volume, f"{name}-{volume}", mount) for volume, mount in _checkpoints(plan)]


def labels(plan: Plan, deployment: Deployment) -> dict[str, str]:
    """Labels of everything that belongs to this plan, the user's among them."""
    return {**dict(deployment.labels), **selector(plan, deployment)}


def selector(plan: Plan, deployment: Deployment) -> dict[str, str]:
    """The labels that find the pods; they never change, because a Deployment's selector cannot."""
    return {
        "app.kubernetes.io/name": resource_name(plan, deployment),
        "app.kubernetes.io/component": "inference",
    }


def metadata(plan: Plan, deployment: Deployment, *, suffix: str = "") -> dict[str, Any]:
    """Name, namespace and labels of one object."""
    namespace = {"namespace": deployment.namespace} if deployment.namespace else {}
    name = f"{resource_name(plan, deployment)}{suffix}"
    return {"name": name, **namespace, "labels": labels(plan, deployment)}


def notes(plan: Plan, deployment: Deployment) -> list[str]:
    """What must exist beside the objects, one sentence a line."""
    namespace = f" --namespace {deployment.namespace}" if deployment.namespace else ""
    found = [
        f"The Secret {secret_name(plan, deployment)} must exist, with the keys HF_TOKEN and VLLM_API_KEY:",
        f"  kubectl create secret generic {secret_name(plan, deployment)}{namespace} --from-env-file=secrets.env",
    ]
    for _, claim, mount in checkpoint_claims(plan, deployment):
        found.append(f"The volume of the claim {claim} must hold the files of {mount.source} before the start.")
    if split_profile(plan.gpus.spec.name):
        other = "single" if deployment.mig_strategy == "mixed" else "mixed"
        found.append(
            f"The GPUs are asked for as {gpu_resource(plan, deployment)}: the device plugin's MIG strategy must be "
            f"{deployment.mig_strategy}; --mig-strategy {other} writes it for the other one."
        )
    pinned = pinned_companion(plan)
    if pinned:
        found.append(f"{pin_note(plan)}; an init container brings it where the image lacks it.")
    return found
