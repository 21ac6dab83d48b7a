"""A Kubernetes validating admission check: refuse pods whose vLLM arguments cannot fit the GPUs they ask for.

    python examples/admission_check.py < admission-review.json

Reads an ``AdmissionReview`` and prints the answering one. Put it behind your webhook server of choice. Pods without a
vLLM container for this model, or on GPUs that the catalogue does not know, are let through: a check that guesses is
worse than none.
"""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

from hw_specs import parse_gpus
from planner import M35Error, PlanRequest, plan
from planner.rendering.argv import read_command

GPU_LABELS = ("nvidia.com/gpu.product",)


def verdict(pod: dict[str, Any]) -> str | None:
    """Return why the pod cannot start, or None."""
    spec = pod.get("spec", {})
    product = next((spec.get("nodeSelector", {}).get(label) for label in GPU_LABELS), None)
    for container in spec.get("containers", []):
        words = [*container.get("command", []), *container.get("args", [])]
        limits = container.get("resources", {}).get("limits", {})
        count = next((value for name, value in limits.items() if name.endswith("/gpu")), None)
        if words[:2] != ["vllm", "serve"] or product is None or count is None:
            continue
        try:
            gpus = parse_gpus(f"{count}x{product}")
        except M35Error:
            return None
        try:
            usual = plan(PlanRequest(gpus=gpus))
            answer = plan(read_command(shlex.join(words), plan=usual).request)
        except M35Error as error:
            return f"{error}; {error.hint}" if error.hint else str(error)
        if not answer.feasible:
            return f"does not fit {gpus}: {answer.reasons[0]}"
    return None


def review(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one AdmissionReview."""
    why = verdict(request["request"]["object"])
    response: dict[str, Any] = {"uid": request["request"]["uid"], "allowed": why is None}
    if why:
        response["status"] = {"code": 422, "message": why}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


if __name__ == "__main__":
    json.dump(review(json.load(sys.stdin)), sys.stdout, indent=2)
    print()
