"""A limit of host memory is held against the same need that ``m35-plan check`` has."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from hw_specs.units import GIB, format_gib
from planner.memory.host import host_memory_bytes
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.rendering.emitters.image import host_memory_need
from planner.review import review
from planner.review.findings import Finding

MODEL = "mistralai/Mistral-Medium-3.5-128B"
NEED = host_memory_bytes(8, pinned_tokens=1024 * 262_144)
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: engine}}
spec:
  containers:
  - name: vllm
    image: vllm/vllm-openai:v0.33.0
    args: [--model, {model}, --tensor-parallel-size=8]
    resources: {{limits: {{nvidia.com/gpu: 8, memory: {size}i}}}}
"""
COMPOSE = """
services:
  engine:
    image: vllm/vllm-openai:v0.33.0
    gpus: all
    {limit}
    command: --model {model} --tensor-parallel-size 8
"""
DOCKER = "docker run --gpus all --ipc=host {flag} vllm/vllm-openai:v0.33.0 --model {model} -tp 8"
UNIT = "[Service]\nMemoryMax={size}\nExecStart=/usr/bin/vllm serve {model} -tp 8\n"
QUADLET = (
    "[Container]\nImage=docker.io/vllm/vllm-openai:v0.33.0\nAddDevice=nvidia.com/gpu=all\n{limit}\n"
    "Exec=--model {model} --tensor-parallel-size 8\n"
)
DEPLOY = "deploy: {{resources: {{limits: {{memory: {size}}}}}}}"
FORMS = {
    "kubernetes": ("pod.yaml", POD),
    "compose": ("compose.yaml", COMPOSE.replace("{limit}", "mem_limit: {size}b")),
    "compose-deploy": ("compose.yaml", COMPOSE.replace("{limit}", DEPLOY)),
    "docker": ("", DOCKER.replace("{flag}", "--memory {size}")),
    "docker-short": ("", DOCKER.replace("{flag}", "-m {size}")),
    "systemd": ("vllm.service", UNIT),
    "podman-unit": ("vllm.container", QUADLET.replace("{limit}", "Memory={size}")),
}


def limits(text: str, name: str = "") -> list[Finding]:
    answer = review(text, name=name, gpus=parse_gpus("8xH200"), vllm_version="0.33.0")
    assert len(answer.servers) == 1
    return [one for one in answer.findings if one.code == "host-memory-limit"]


@pytest.mark.parametrize("form", FORMS)
def test_too_low_a_limit_is_said_with_the_need_of_a_check(form: str) -> None:
    name, text = FORMS[form]
    below, enough = NEED // GIB - 1, -(-NEED // GIB)
    (found,) = limits(text.format(model=MODEL, size=f"{below}G"), name)
    assert found.severity == "warn"
    assert f"{format_gib(NEED)} GiB" in found.message
    assert f"{format_gib(below * GIB)} GiB" in found.message
    assert "8 workers" in found.message
    assert limits(text.format(model=MODEL, size=f"{enough}G"), name) == []


def test_servers_that_share_a_node_need_the_sum_of_what_each_needs_alone() -> None:
    one = make_plan(PlanRequest(gpus=parse_gpus("4xH200")))
    two = make_plan(PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=4))
    assert two.settings.replicas == 2
    assert host_memory_need(two)[0] == 2 * host_memory_need(one)[0]


@pytest.mark.parametrize("size", ["infinity", "50%", "", "0"])
def test_what_is_no_known_limit_is_none(size: str) -> None:
    assert limits(UNIT.format(model=MODEL, size=size), "vllm.service") == []


def test_a_unit_does_not_limit_the_container_that_its_docker_starts() -> None:
    command = DOCKER.format(flag="--rm", model=MODEL)
    assert limits(f"[Service]\nMemoryMax=2G\nExecStart=/usr/bin/{command}\n", "vllm.service") == []


def test_a_variable_without_a_value_is_no_limit() -> None:
    text = COMPOSE.replace("{limit}", "mem_limit: ${{ENGINE_MEMORY}}").format(model=MODEL)
    assert limits(text, "compose.yaml") == []
