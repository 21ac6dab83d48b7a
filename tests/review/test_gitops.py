"""What Flux and Argo CD apply: the values they give a chart are judged, and a folder elsewhere is named."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hw_specs import parse_gpus
from planner.review import review

VALUES = {
    "servingEngineSpec": {
        "modelSpec": [
            {
                "name": "chat",
                "repository": "vllm/vllm-openai",
                "tag": "v0.33.0",
                "modelURL": "mistralai/Mistral-Medium-3.5-128B",
                "requestGPU": 8,
                "vllmConfig": {"tensorParallelSize": 8, "extraArgs": ["--swap-space", "4"]},
            }
        ]
    }
}
OWN_CHART = {
    "engine": {
        "image": "vllm/vllm-openai:v0.33.0",
        "args": ["mistralai/Mistral-Medium-3.5-128B", "--tensor-parallel-size", "8", "--swap-space", "4"],
    }
}


def application(**helm: Any) -> dict[str, Any]:
    return {"kind": "Application", "apiVersion": "argoproj.io/v1alpha1", "spec": {"source": {"helm": helm}}}


def release(values: object) -> dict[str, Any]:
    return {"kind": "HelmRelease", "apiVersion": "helm.toolkit.fluxcd.io/v2", "spec": {"values": values}}


@pytest.mark.parametrize(
    "document",
    [
        release(VALUES),
        release(OWN_CHART),
        application(valuesObject=VALUES),
        application(values=yaml.safe_dump(VALUES)),
        {"kind": "Application", "spec": {"sources": [{"path": "x"}, {"helm": {"valuesObject": VALUES}}]}},
    ],
)
def test_values_in_a_release_are_judged(document: dict[str, Any]) -> None:
    answer = review(yaml.safe_dump(document), name="release.yaml", gpus=parse_gpus("8xH200"))
    (server,) = answer.servers
    assert server.verdict == "does-not-fit"
    assert "flag-gone" in {one.code for one in answer.findings}


@pytest.mark.parametrize("values", [None, [], 5, "", "a: [", "- x", {"a": {"b": "c"}}])
def test_values_of_any_shape_are_no_traceback(values: object) -> None:
    for document in (release(values), application(values=values), application(valuesObject=values)):
        assert review(yaml.safe_dump(document), name="release.yaml").servers == ()


def test_a_folder_that_flux_applies_is_named() -> None:
    document = {"kind": "Kustomization", "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "spec": {"path": "./deploy"}}
    (found,) = review(yaml.safe_dump(document), name="x.yaml").findings
    assert found.code == "no-server"
    assert "a folder of a repository" in found.message
