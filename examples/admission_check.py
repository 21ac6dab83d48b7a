"""A Kubernetes validating admission check: refuse pods whose vLLM arguments cannot fit the GPUs they ask for.

    python examples/admission_check.py < admission-review.json

Reads an ``AdmissionReview`` and prints the answering one. Put it behind your webhook server of choice. It judges
containers that serve the planned model and say on which GPU, by node selector or node affinity, with NVIDIA's labels or
AMD's. Everything else is let through, because a check that guesses is worse than none: other models, GPUs that the
catalogue does not know, arguments that the planner does not read.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any

from hw_specs import GpuSpec, list_gpus, parse_gpus
from planner import M35Error, PlanRequest, load_preset, plan
from planner.rendering.argv import read_command

MODEL = load_preset("mistral-medium-3.5-128b").name
API_SERVER = "vllm.entrypoints.openai.api_server"
OFFICIAL_IMAGE = re.compile(r"(^|/)vllm-openai(-rocm)?(:v(?P<version>[0-9]+\.[0-9]+\.[0-9]+))?(@|$)")


def wanted_labels(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every node label that the pod accepts, with its value."""
    yield from spec.get("nodeSelector", {}).items()
    node = spec.get("affinity", {}).get("nodeAffinity", {})
    terms = node.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    for term in terms:
        for rule in term.get("matchExpressions", []):
            if rule.get("operator") == "In":
                yield from ((rule["key"], value) for value in rule.get("values", []))


def possible_gpus(spec: dict[str, Any]) -> list[GpuSpec]:
    """The catalogue's GPUs that those labels stand for."""
    found = {}
    for label, value in wanted_labels(spec):
        for gpu in list_gpus():
            names = {name.replace(" ", "-") for name in gpu.driver_names}
            names |= {name.replace(" ", "_") for name in gpu.driver_names}
            by_name = label in ("nvidia.com/gpu.product", "amd.com/gpu.product-name") and value in names
            ids = {f"{number:04x}" for number in gpu.pci_device_ids}
            by_id = label in ("amd.com/gpu.device-id", "beta.amd.com/gpu.device-id") and value.lower() in ids
            if by_name or by_id:
                found[gpu.id] = gpu
    return list(found.values())


def serve_words(container: dict[str, Any]) -> list[str] | None:
    """The container's ``vllm serve MODEL …``; None when it runs something else, or what it runs cannot be told."""
    command, args = container.get("command", []), container.get("args", [])
    words = [*command, *args]
    if not command and OFFICIAL_IMAGE.search(container.get("image", "")):
        words = ["vllm", "serve", *args]
    if API_SERVER in words:
        words = ["vllm", "serve", *words[words.index(API_SERVER) + 1 :]]
    if [word.rpartition("/")[2] for word in words[:2]] != ["vllm", "serve"]:
        return None
    rest = words[2:]
    if "--model" in rest[:-1]:
        at = rest.index("--model")
        rest = [rest[at + 1], *rest[:at], *rest[at + 2 :]]
    return ["vllm", "serve", *rest]


def verdict(pod: dict[str, Any]) -> str | None:
    """Return why the pod cannot start, or None."""
    spec = pod.get("spec", {})
    kinds = possible_gpus(spec)
    for container in spec.get("containers", []):
        words = serve_words(container)
        limits = container.get("resources", {}).get("limits", {})
        count = next((value for name, value in limits.items() if name.endswith(".com/gpu")), None)
        if words is None or words[2:3] != [MODEL] or not kinds or count is None:
            continue
        image = OFFICIAL_IMAGE.search(container.get("image", ""))
        reasons = [why_not(words, f"{count}x{gpu.name}", version=image and image["version"]) for gpu in kinds]
        if all(reasons):
            return reasons[0]
    return None


def why_not(words: list[str], gpus: str, *, version: str | None) -> str | None:
    """Return why the server cannot start on `gpus`, or None when it can or that is not known."""
    try:
        usual = plan(PlanRequest(gpus=parse_gpus(gpus), vllm_version=version))
        request = read_command(shlex.join(words), plan=usual).request
    except M35Error:
        return None
    try:
        answer = plan(request)
    except M35Error as error:
        return f"{error}; {error.hint}" if error.hint else str(error)
    return None if answer.feasible else f"does not fit {gpus}: {answer.reasons[0]}"


def review(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one AdmissionReview; a pod of another shape than Kubernetes' own is the API server's to refuse."""
    try:
        why = verdict(request["request"]["object"])
    except (AttributeError, LookupError, TypeError):
        why = None
    response: dict[str, Any] = {"uid": request["request"]["uid"], "allowed": why is None}
    if why:
        response["status"] = {"code": 422, "message": why}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def main() -> int:
    """Answer the review on stdin; exit 2 where there is none."""
    try:
        answer = review(json.load(sys.stdin))
    except (ValueError, RecursionError, LookupError, TypeError):
        print("stdin holds no AdmissionReview: admission_check.py < admission-review.json", file=sys.stderr)
        return 2
    print(json.dumps(answer, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
