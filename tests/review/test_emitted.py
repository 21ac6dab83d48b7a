"""What we print for others to run passes our own review, and is judged as the plan it came from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hw_specs import parse_gpus
from planner import EMITTERS, Plan, PlanRequest, emit, plan
from planner.errors import InvalidRequest
from planner.rendering.emitters import BESIDE, FILE_NAMES, emit_files
from planner.review import review
from tests.emitters.plans import loaded

SETS: dict[str, dict[str, Any]] = {
    "8xH200": {"num_speculative_tokens": 3},
    "4xB200": {"kv_cache_dtype": "fp8", "enforce_eager": True},
    "1xMI300X": {"language_model_only": True},
    "8xMI300X": {"tensor_parallel_size": 2, "load_format": "hf"},
    "3xH200": {"vllm_version": "0.28.0"},
    "2x8xH100": {},
    "2x8xH200": {"tensor_parallel_size": 8, "pipeline_parallel_size": 2},
    "1xH200": {"max_model_len": 8192},
}
STARTS = sorted(set(EMITTERS) - {"env", "argv"} - BESIDE)


def planned(gpus: str) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(gpus), **SETS[gpus]))


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("gpus", SETS)
def test_it_passes_and_fits_as_planned(kind: str, gpus: str) -> None:
    """Every file of every target, by the name it is written under."""
    answer = planned(gpus)
    try:
        files = emit_files(kind, answer, unfit=True)
    except InvalidRequest:
        pytest.skip("this target does not take this set")
    texts = {**files, FILE_NAMES.get(kind, f"{kind}.yaml"): emit(kind, answer, unfit=True)}
    servers = []
    for name, text in texts.items():
        judged = review(text, name=name, gpus=answer.gpus, vllm_version=answer.vllm_version)
        expected = {"fits": set(), "tight": {"tight"}}.get(answer.verdict, {"tight", "memory"})
        assert {one.code for one in judged.findings} <= expected | {"no-server", "idle-gpus"}
        servers += judged.servers
    assert servers
    for server in servers:
        assert server.verdict == answer.verdict
        assert server.plan is not None
        # Copies on other nodes are servers of their own.
        assert replace(server.plan.settings, replicas=1) == replace(answer.settings, replicas=1)


@pytest.mark.parametrize("kind", sorted(BESIDE | {"env", "argv"}))
def test_what_starts_nothing_is_no_finding_but_that(kind: str) -> None:
    text = emit(kind, loaded("8xH200"))
    name = FILE_NAMES.get(kind, f"{kind}.yaml")
    # Grafana's own braces look like those of a template.
    assert {one.code for one in review(text, name=name).findings} <= {"no-server", "template"}


@pytest.mark.parametrize(
    "kind", ["kubernetes", "lws", "kserve", "kserve-llm", "llm-d", "production-stack", "skypilot", "dstack"]
)
@pytest.mark.parametrize("gpus", SETS)
def test_a_cluster_s_artefact_says_machine_and_release_itself(kind: str, gpus: str) -> None:
    answer = planned(gpus)
    try:
        text = emit(kind, answer, unfit=True)
    except InvalidRequest:
        pytest.skip("this target does not take this set")
    judged = review(text, name=f"{kind}.yaml")
    for server in judged.servers:
        assert server.gpus is not None
        assert server.gpus.endswith(f"x{answer.gpus.spec.name}")
        assert server.vllm_version == answer.vllm_version
        assert server.verdict == answer.verdict
