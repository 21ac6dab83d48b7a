"""A Kustomize overlay on llm-d's own base, as its guides write them, and the values of its router.

Several files in one folder: ``--output DIR`` writes them; on stdout each stands behind a comment with its name.
"""

from __future__ import annotations

from typing import Any

from planner.facts.clouds import cloud_facts
from planner.facts.policy import policy
from planner.facts.vllm import vllm_facts
from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import IN_CLUSTERS, Deployment
from planner.rendering.emitters.image import resource_name, startup_s
from planner.rendering.emitters.kubernetes import claims, node_pod, pods
from planner.rendering.emitters.pod import notes
from planner.rendering.emitters.yaml_text import commented_yaml, yaml_documents

READS = IN_CLUSTERS - {"port"}
CONTAINER = "modelserver"
"""The base's name for the engine's container and for its port."""


def overlay(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return ``kustomization.yaml``."""
    facts = cloud_facts().llm_d
    pairs = {"llm-d.ai/guide": resource_name(plan, deployment), "llm-d.ai/accelerator-vendor": plan.gpus.spec.vendor}
    namespace = {"namespace": deployment.namespace} if deployment.namespace else {}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        **namespace,
        "resources": [f"{facts.base}?ref={facts.ref}", "claims.yaml"],
        "labels": [
            {"pairs": pairs, "includeSelectors": True, "includeTemplates": True},
            *([{"pairs": dict(deployment.labels)}] if deployment.labels else []),
        ],
        "patches": [
            {"path": "patch-vllm.yaml"},
            {
                "target": {"kind": "Deployment", "name": "decode"},
                "patch": f"- op: replace\n  path: /metadata/name\n  value: {resource_name(plan, deployment)}\n",
                "options": {"allowNameChange": True},
            },
        ],
    }


def patch(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return ``patch-vllm.yaml``: our pod over the base's, container and port under the base's names."""
    spec = node_pod(plan, deployment)
    (container,) = spec["containers"]
    container["name"] = CONTAINER
    container["ports"] = [{"name": CONTAINER, "containerPort": deployment.port, "protocol": "TCP"}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["port"] = CONTAINER
    startup = policy().startup
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "decode"},
        "spec": {
            "replicas": pods(plan),
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": startup_s(plan) + startup.image_pull_s.value,
            "template": {"spec": spec},
        },
    }


def router(plan: Plan, deployment: Deployment) -> dict[str, Any]:
    """Return ``router.values.yaml``, to be put over ``guides/recipes/router/base.values.yaml``."""
    cached = plan.gpus.spec.vendor not in vllm_facts().command.no_prefix_caching_vendors
    plugins: list[dict[str, Any]] = [{"type": "token-load-scorer"}, {"type": "inflight-load-producer"}]
    used = [{"pluginRef": "token-load-scorer"}]
    if cached:
        longest = {"maxPrefixTokensToMatch": plan.settings.max_model_len}
        plugins += [
            {"type": "approx-prefix-cache-producer", "parameters": longest},
            {"type": "prefix-cache-affinity-filter"},
        ]
        used = [{"pluginRef": "prefix-cache-affinity-filter"}, *used]
    config = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
        "schedulingProfiles": [{"name": "default", "plugins": used}],
    }
    return {
        "router": {
            "extraServicePorts": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8081}],
            "epp": {
                "pluginsConfigFile": "plan-plugins.yaml",
                "pluginsCustomConfig": {"plan-plugins.yaml": yaml_documents([config]) + "\n"},
            },
            "modelServers": {"matchLabels": {"llm-d.ai/guide": resource_name(plan, deployment)}},
        }
    }


def files(plan: Plan, deployment: Deployment) -> dict[str, str]:
    """Return the folder's files, ``kubectl apply -k`` and the router's values.

    Raises:
        InvalidRequest: when one server spans nodes.
    """
    name = resource_name(plan, deployment)
    overlaid = commented_yaml(
        plan, "llm-d overlay", [overlay(plan, deployment)], *notes(plan, deployment),
        "kubectl apply -k DIR; then the router, beside llm-d's checkout:",
        f"  helm install {name} oci://ghcr.io/llm-d/charts/llm-d-router-standalone-dev \\",
        "    -f guides/recipes/router/base.values.yaml -f DIR/router.values.yaml",
    )  # fmt: skip
    return {
        "kustomization.yaml": overlaid,
        "patch-vllm.yaml": yaml_documents([patch(plan, deployment)]),
        "claims.yaml": yaml_documents(claims(plan, deployment, pods=pods(plan))),
        "router.values.yaml": yaml_documents([router(plan, deployment)]),
    }


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the files as one YAML stream, each behind a comment with its name."""
    return "\n---\n".join(f"# file: {name}\n{text}" for name, text in files(plan, deployment).items())
