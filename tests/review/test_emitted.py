"""What we print for others to run passes our own review, and is judged as the plan it came from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw_specs import parse_gpus
from planner import EMITTERS, PlanRequest, emit, plan
from planner.errors import InvalidRequest
from planner.rendering.emitters import BESIDE
from planner.review import review

SETS = ["8xH200", "4xB200", "1xMI300X", "8xMI300X", "2x8xH100"]
CLUSTERS = ["kubernetes", "lws", "kserve", "kserve-llm", "llm-d", "production-stack", "skypilot", "dstack"]
NAMES = {"systemd": "engine.service", "docker": "run.sh", "shell": "run.sh", "compose": "compose.yaml"}


@pytest.mark.parametrize("kind", sorted(set(EMITTERS) - {"env", "argv"} - BESIDE))
@pytest.mark.parametrize("gpus", SETS)
def test_it_passes_and_fits_as_planned(kind: str, gpus: str) -> None:
    machine = parse_gpus(gpus)
    planned = plan(PlanRequest(gpus=machine, language_model_only=gpus.startswith("1x")))
    try:
        text = emit(kind, planned)
    except InvalidRequest:
        pytest.skip("this target does not take this set")
    answer = review(text, name=NAMES.get(kind, f"{kind}.yaml"), gpus=machine, vllm_version=planned.vllm_version)
    loud = [(one.line, one.code, one.message) for one in answer.findings if one.severity != "info"]
    assert not loud
    assert answer.servers
    for server in answer.servers:
        assert server.verdict == planned.verdict
        assert server.plan is not None
        # Copies on other nodes are servers of their own.
        assert replace(server.plan.settings, replicas=1) == replace(planned.settings, replicas=1)


@pytest.mark.parametrize(
    "kind", ["kubernetes", "lws", "kserve", "kserve-llm", "llm-d", "production-stack", "skypilot", "dstack"]
)
@pytest.mark.parametrize("gpus", SETS)
def test_a_cluster_s_artefact_says_machine_and_release_itself(kind: str, gpus: str) -> None:
    machine = parse_gpus(gpus)
    planned = plan(PlanRequest(gpus=machine, language_model_only=gpus.startswith("1x")))
    answer = review(emit(kind, planned), name=f"{kind}.yaml")
    for server in answer.servers:
        assert server.gpus is not None
        assert server.gpus.endswith(f"x{machine.spec.name}")
        assert server.vllm_version == planned.vllm_version
        assert server.verdict == planned.verdict
