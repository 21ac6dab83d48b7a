"""What is emitted for clusters, taken apart and checked against its schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

SCHEMAS = Path(__file__).parent / "schemas"


CUSTOM = {
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): "leaderworkerset",
    ("serving.kserve.io/v1beta1", "InferenceService"): "inferenceservice",
    ("serving.kserve.io/v1alpha2", "LLMInferenceService"): "llminferenceservice",
}


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())["schema"]
    return found


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod specifications of an object."""
    spec = document.get("spec", {})
    if document["kind"] == "Deployment":
        return [spec["template"]["spec"]]
    if document["kind"] == "LeaderWorkerSet":
        return [spec["leaderWorkerTemplate"][role]["spec"] for role in ("leaderTemplate", "workerTemplate")
                if role in spec["leaderWorkerTemplate"]]  # fmt: skip
    if document["kind"] == "LLMInferenceService":
        return [spec["template"]]
    if document["kind"] == "InferenceService":
        own = {"minReplicas", "maxReplicas", "deploymentStrategy"}
        return [{key: value for key, value in spec["predictor"].items() if key not in own}]
    return []


def check(document: dict[str, Any]) -> None:
    """Validate against the schema of the object's kind, pods against Kubernetes' own."""
    custom = CUSTOM.get((document["apiVersion"], document["kind"]))
    if custom:
        jsonschema.validate(document, schema(custom))
    else:
        kubernetes_validate.validate(document, "1.30", strict=True)
    for pod in pods(document):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}, "1.30", strict=True
        )


def objects(text: str) -> dict[str, dict[str, Any]]:
    """Every object by its kind, each checked."""
    found = {}
    for document in yaml.safe_load_all(text):
        check(document)
        found[f"{document['kind']} {document['metadata']['name']}"] = document
    return found


def of_kind(found: dict[str, dict[str, Any]], kind: str) -> dict[str, Any]:
    (one,) = (document for document in found.values() if document["kind"] == kind)
    return one


def variables(container: dict[str, Any]) -> dict[str, str]:
    names = [item["name"] for item in container["env"]]
    assert len(names) == len(set(names)), "a variable stands twice"
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}
