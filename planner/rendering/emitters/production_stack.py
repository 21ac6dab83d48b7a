"""Values for the chart of vLLM's production stack: the planned engines behind its router."""

from __future__ import annotations

from typing import Any

from planner.facts.vllm import vllm_facts
from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import IN_CLUSTERS, Deployment
from planner.rendering.emitters.image import host_needs, resource_name
from planner.rendering.emitters.kubernetes import claims, node_pod, pods
from planner.rendering.emitters.pod import notes, secret_name
from planner.rendering.emitters.yaml_text import commented_yaml

READS = IN_CLUSTERS - {"host", "namespace"}
_OURS = {"cache", "shm"}
"""Volumes that the chart brings."""


def _flags(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Part the flags that the chart writes by itself from the others."""
    taken = {
        "--host": "", "--port": "", "--max-model-len": "maxModelLen", "--max-num-seqs": "maxNumSeqs",
        "--tensor-parallel-size": "tensorParallelSize", "--gpu-memory-utilization": "gpuMemoryUtilization",
    }  # fmt: skip
    known: dict[str, str] = {}
    rest: list[str] = []
    index = 1
    while index < len(words):
        if words[index] in taken:
            known[taken[words[index]]] = words[index + 1]
            index += 2
            continue
        if words[index] != "--no-enable-prefix-caching":
            rest.append(words[index])
        index += 1
    known.pop("", None)
    return known, rest


def values(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return the chart's values.

    Raises:
        InvalidRequest: when one server spans nodes.
    """
    count = pods(plan)
    spec = node_pod(plan, deployment)
    (engine,) = spec["containers"]
    repository, _, tag = engine["image"].rpartition(":")
    known, rest = _flags(engine["args"])
    needs = host_needs(plan)
    (gpu,) = engine["resources"]["limits"]
    size = claims(plan, deployment, pods=count)[0]["spec"]["resources"]["requests"]["storage"]
    secret = secret_name(plan, deployment)
    cached = plan.gpus.spec.vendor not in vllm_facts().command.no_prefix_caching_vendors
    model: dict[str, Any] = {
        "name": resource_name(plan, deployment),
        "repository": repository,
        "tag": tag,
        "modelURL": engine["args"][0],
        "replicaCount": count,
        "requestCPU": needs.cpus,
        "requestMemory": f"{needs.memory_gib}Gi",
        "requestGPU": int(engine["resources"]["limits"][gpu]),
        "requestGPUType": gpu,
        "shmSize": f"{needs.shared_memory_gib}Gi",
        "pvcStorage": size,
        "pvcAccessMode": ["ReadWriteOnce" if count == 1 else "ReadWriteMany"],
        **({"storageClass": deployment.storage_class} if deployment.storage_class else {}),
        "hf_token": {"secretName": secret, "secretKey": "HF_TOKEN"},
        "vllmConfig": {
            "enablePrefixCaching": cached,
            "maxModelLen": int(known["maxModelLen"]),
            "maxNumSeqs": int(known["maxNumSeqs"]),
            "tensorParallelSize": int(known["tensorParallelSize"]),
            "gpuMemoryUtilization": float(known["gpuMemoryUtilization"]),
            "extraArgs": rest,
        },
        # The chart sets HF_HOME and the two secrets.
        "env": [item for item in engine["env"] if "value" in item and item["name"] != "HF_HOME"],
        "extraVolumes": [volume for volume in spec["volumes"] if volume["name"] not in _OURS],
        "extraVolumeMounts": [mount for mount in engine["volumeMounts"] if mount["name"] not in _OURS],
        "tolerations": spec["tolerations"],
    }
    if deployment.labels:
        model["podLabels"] = dict(deployment.labels)
    if deployment.pull_secret:
        model["imagePullSecret"] = deployment.pull_secret
    terms = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if terms:
        model["nodeSelectorTerms"] = terms["nodeSelectorTerms"]
    for pin in spec.get("initContainers", []):
        model["initContainer"] = {
            **{key: pin[key] for key in ("name", "image", "command", "env", "resources")},
            "extraVolumeMounts": pin["volumeMounts"],
        }
    probes = {name: {**engine[name], "initialDelaySeconds": 15} for name in ("startupProbe", "livenessProbe")}
    for probe in probes.values():
        probe["httpGet"] = {"path": "/health", "port": deployment.port}
    return {
        "servingEngineSpec": {
            "enableEngine": True,
            "containerPort": deployment.port,
            "servicePort": deployment.port,
            "vllmApiKey": {"secretName": secret, "secretKey": "VLLM_API_KEY"},
            "strategy": {"type": "Recreate"},
            "securityContext": spec["securityContext"],
            "containerSecurityContext": engine["securityContext"],
            **probes,
            "modelSpec": [model],
        },
        "routerSpec": {"enableRouter": True, "routingLogic": "roundrobin"},
    }


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the values for ``helm install --values``."""
    return commented_yaml(
        plan, "vLLM production stack values (chart vllm-stack)", [values(plan, deployment)], *notes(plan, deployment),
        "The chart's progress deadline is 1200 s: a longer start is reported as failed but continues.",
    )  # fmt: skip
