"""A plan as text for the thing that runs it; one pure function per target, none of which touches the machine."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from planner.errors import InvalidRequest
from planner.planning.answer import Plan

if TYPE_CHECKING:
    from planner.rendering.emitters.deployment import Deployment

EMITTERS: dict[str, str] = {
    "shell": "one line for a POSIX shell",
    "argv": "the argument vector, one word a line",
    "env": "the environment, NAME=value lines",
    "docker": "docker run",
    "compose": "a Docker Compose file",
    "systemd": "a systemd unit",
    "kubernetes": "Deployment, Service, claims, budget, network policy",
    "lws": "a LeaderWorkerSet for servers that span nodes",
    "kserve": "a KServe InferenceService",
    "kserve-llm": "a KServe LLMInferenceService",
    "llm-d": "a Kustomize overlay for llm-d, and router values",
    "production-stack": "values for the chart of vLLM's production stack",
    "skypilot": "a SkyPilot task or service",
    "dstack": "a dstack service or task",
    "prometheus": "Prometheus rules: the plan's figures and alerts",
    "prometheus-operator": "the same as PrometheusRule, with a PodMonitor",
    "grafana": "a dashboard with the planned lines drawn in",
    "keda": "a KEDA ScaledObject with the forecast's threshold",
    "hpa": "a HorizontalPodAutoscaler with the forecast's threshold",
}
"""Target → one line of help; the module is ``planner.rendering.emitters.<target>``, its function ``emit``."""


BESIDE = frozenset({"prometheus", "prometheus-operator", "grafana", "keda", "hpa"})
"""Targets that watch or scale a server and start none."""
FILE_NAMES = {
    "shell": "serve.sh", "argv": "argv.txt", "env": "serve.env", "docker": "docker.sh", "compose": "compose.yaml",
    "systemd": "vllm.service", "grafana": "dashboard.json",
}  # fmt: skip
"""What a target's file is called in a folder; what is not here is YAML under the target's name."""


def emit(kind: str, plan: Plan, deployment: Deployment | None = None, *, unfit: bool = False) -> str:
    """Return `plan` as text for the target `kind`, without a final line end.

    `deployment` says where and under which names it is deployed.

    Raises:
        InvalidRequest: for a target that does not exist, that cannot express a plan over several nodes, or that has
            no place for something the deployment says; for a plan that does not fit, unless `unfit` asks for it.
    """
    deployment = deployment or _nothing_said()
    text = _module(kind, plan, deployment, unfit=unfit).emit(plan, deployment)
    assert isinstance(text, str)
    return text


def emit_files(kind: str, plan: Plan, deployment: Deployment | None = None, *, unfit: bool = False) -> dict[str, str]:
    """Return the same as files of one folder: name and text, each without a final line end.

    Raises:
        InvalidRequest: as :func:`emit`.
    """
    deployment = deployment or _nothing_said()
    module = _module(kind, plan, deployment, unfit=unfit)
    if hasattr(module, "files"):
        files: dict[str, str] = module.files(plan, deployment)
        return files
    return {FILE_NAMES.get(kind, f"{kind}.yaml"): module.emit(plan, deployment)}


def _nothing_said() -> Deployment:
    from planner.rendering.emitters.deployment import Deployment

    return Deployment()


def _module(kind: str, plan: Plan, deployment: Deployment, *, unfit: bool) -> ModuleType:
    """The target's module, if it can express what is asked."""
    if kind not in EMITTERS:
        raise InvalidRequest("emit", f"there is no emitter `{kind}`", hint=f"there are: {', '.join(EMITTERS)}")
    if not plan.feasible and not unfit:
        reason = plan.reasons[0] if plan.reasons else plan.verdict
        raise InvalidRequest("emit", f"this plan does not fit: {reason}", hint="its levers say what would make it fit")
    module = import_module(f"planner.rendering.emitters.{kind.replace('-', '_')}")
    for field in sorted(deployment.given - module.READS):
        raise InvalidRequest(field, f"`{kind}` has no place for {field}", hint="leave it out, or emit another target")
    return module
