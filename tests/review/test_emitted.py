"""What we print for others to run passes our own review, and is judged as the plan it came from."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from planner import EMITTERS, PlanRequest, emit, plan
from planner.rendering.emitters import BESIDE
from planner.review import review

SETS = ["8xH200", "4xB200", "1xMI300X", "8xMI300X"]
NAMES = {"systemd": "engine.service", "docker": "run.sh", "shell": "run.sh", "compose": "compose.yaml"}


@pytest.mark.parametrize("kind", sorted(set(EMITTERS) - {"env", "argv"} - BESIDE))
@pytest.mark.parametrize("gpus", SETS)
def test_it_passes_and_fits_as_planned(kind: str, gpus: str) -> None:
    machine = parse_gpus(gpus)
    planned = plan(PlanRequest(gpus=machine, language_model_only=gpus.startswith("1x")))
    try:
        text = emit(kind, planned)
    except Exception:
        pytest.skip("this target does not take this set")
    answer = review(text, name=NAMES.get(kind, f"{kind}.yaml"), gpus=machine, vllm_version=planned.vllm_version)
    loud = [(one.line, one.code, one.message) for one in answer.findings if one.severity != "info"]
    assert not loud
    assert answer.servers
    for server in answer.servers:
        if server.verdict != "unknown":
            assert server.verdict == planned.verdict
