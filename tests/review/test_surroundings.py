"""Faults around the engine: users without a name, ports that lead nowhere, shared GPUs, variables taken for others."""

from __future__ import annotations

import pytest

from planner.review import review
from planner.review.findings import Finding

IMAGE = "vllm/vllm-openai:v0.27.0"


def of(text: str, code: str, name: str = "run.sh") -> list[Finding]:
    return [one for one in review(text, name=name).findings if one.code == code]


def pod(security: str = "{}", container: str = "{}", env: str = "[]", mounts: str = "[]") -> str:
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: q}}
spec:
  template:
    spec:
      securityContext: {security}
      containers:
      - name: server
        image: {IMAGE}
        args: [--model, Qwen/Qwen3-8B]
        securityContext: {container}
        env: {env}
        volumeMounts: {mounts}
"""


def service(more: str = "", image: str = IMAGE) -> str:
    return f"""apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: q}}
spec:
  predictor:
    containers:
    - name: kserve-container
      image: {image}
      args: [--model=Qwen/Qwen3-8B]
{more}"""


def composed(first: str, second: str, devices: str = '["0"]') -> str:
    gpu = f"{{driver: nvidia, device_ids: {devices}, capabilities: [gpu]}}"
    deploy = f"deploy: {{resources: {{reservations: {{devices: [{gpu}]}}}}}}"
    return "services:\n" + "".join(
        f"  {name}:\n    image: {IMAGE}\n    command: Qwen/Qwen3-8B --gpu-memory-utilization {part}\n    {deploy}\n"
        for name, part in (("a", first), ("b", second))
    )


@pytest.mark.parametrize(
    ("text", "name", "severity"),
    [
        (pod("{runAsUser: 1000910000}"), "pod.yaml", "error"),
        (pod(container="{runAsUser: 1000}"), "pod.yaml", "warn"),
        (f"docker run --gpus all --user 1000910000:0 {IMAGE} Qwen/Qwen3-8B", "run.sh", "error"),
        (
            f"services:\n  a:\n    image: {IMAGE}\n    user: '1001'\n    command: Qwen/Qwen3-8B\n",
            "compose.yaml",
            "warn",
        ),
    ],
)
def test_a_user_without_a_name_is_found(text: str, name: str, severity: str) -> None:
    (found,) = of(text, "nameless-user", name)
    assert found.severity == severity
    assert "USER" in found.cure and "HOME" in found.cure


@pytest.mark.parametrize(
    "text",
    [
        pod("{runAsUser: 0}"),
        pod("{runAsUser: 2000}"),
        pod("{runAsUser: 1000910000}", container="{runAsUser: 0}"),
        pod("{runAsUser: 1000910000}", env="[{name: USER, value: vllm}]"),
        pod("{runAsUser: $(UID)}"),
    ],
)
def test_a_user_with_a_name_is_left_alone(text: str) -> None:
    assert of(text, "nameless-user", "pod.yaml") == []


def test_a_read_only_root_needs_a_temporary_folder() -> None:
    closed = pod(container="{readOnlyRootFilesystem: true}")
    (found,) = of(closed, "read-only-root", "pod.yaml")
    assert "/tmp" in found.message
    mounted = pod(container="{readOnlyRootFilesystem: true}", mounts="[{name: t, mountPath: /tmp}]")
    assert of(mounted, "read-only-root", "pod.yaml") == []
    moved = pod(container="{readOnlyRootFilesystem: true}", env="[{name: TMPDIR, value: /work/tmp}]")
    assert "/work/tmp" in of(moved, "read-only-root", "pod.yaml")[0].message


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("-p 127.0.0.1:8000:8000 IMAGE M --port 8080", True),
        ("-p 10.1.2.3:80:8000 IMAGE M --port 8080", True),
        ("-p 127.0.0.1:8000:8080 IMAGE M --port 8080", False),
        ("-p 127.0.0.1:9000:9000 -p 127.0.0.1:8000:8000 IMAGE M", False),
        ("-p 127.0.0.1:$A:$B IMAGE M", False),
        ("--network host -p 127.0.0.1:8000:8000 IMAGE M --port 8080", False),
    ],
)
def test_a_published_port_must_be_the_servers_wherever_it_is_bound(line: str, wrong: bool) -> None:
    found = of("docker run --gpus all " + line.replace("IMAGE M", f"{IMAGE} Qwen/Qwen3-8B"), "port-mismatch")
    assert [one.severity for one in found] == ["error"] * wrong


@pytest.mark.parametrize(
    ("more", "leads"),
    [
        ("", "8080"),
        ("      ports: [{containerPort: 9000}]\n", "9000"),
        ("      ports: [{containerPort: 8000}]\n", ""),
    ],
)
def test_kserve_leads_to_the_declared_port_or_its_own(more: str, leads: str) -> None:
    found = of(service(more), "port-mismatch", "isvc.yaml")
    assert [f"port {leads}" in one.message for one in found] == [True] * bool(leads)
    assert of(service(more), "cache-volume", "isvc.yaml")


@pytest.mark.parametrize(
    ("first", "second", "devices", "wrong"),
    [("0.9", "0.3", '["0"]', True), ("0.6", "0.3", '["0"]', False), ("0.9", "0.9", '["0", "1"]', True)],
)
def test_two_servers_on_one_gpu_must_leave_each_other_room(first: str, second: str, devices: str, wrong: bool) -> None:
    found = of(composed(first, second, devices), "too-few-gpus", "compose.yaml")
    assert ["share GPU 0" in one.message for one in found] == [True] * wrong


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("CUDA_VISIBLE_DEVICES=0,1 vllm serve a/b", "CUDA_VISIBLE_DEVICES=1 vllm serve a/b"),
        ("CUDA_VISIBLE_DEVICES=3,0 vllm serve a/b", "CUDA_VISIBLE_DEVICES=0,3 vllm serve a/b"),
        (f"docker run --gpus device=1,0 {IMAGE} a/b", f"docker run --gpus device=1 {IMAGE} a/b"),
        (
            f"docker run --gpus device=0,1 -e CUDA_VISIBLE_DEVICES=1 {IMAGE} a/b",
            f"docker run --gpus device=0 {IMAGE} a/b",
        ),
    ],
)
def test_gpus_that_are_given_and_not_used_are_shared_by_nobody(first: str, second: str) -> None:
    second = second.replace("a/b", "a/b --port 8001").replace("run ", "run -p 8001:8001 ")
    assert of(f"#!/bin/bash\n{first} &\n{second} &\n", "too-few-gpus") == []


def test_servers_on_gpus_of_their_own_do_not_meet() -> None:
    lines = "".join(f"CUDA_VISIBLE_DEVICES={gpu} vllm serve Qwen/Qwen3-8B --port 800{gpu} &\n" for gpu in (0, 1))
    assert of("#!/bin/bash\n" + lines, "too-few-gpus") == []
    assert of("#!/bin/bash\n" + lines.replace("DEVICES=1", "DEVICES=0"), "too-few-gpus")
    wider = lines.replace("DEVICES=0", "DEVICES=0,1").replace("8000", "8000 -tp 2")
    assert ["GPU 1" in one.message for one in of("#!/bin/bash\n" + wider, "too-few-gpus")] == [True]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("vllm serve a/b --tool-call-parser hermes", "flag-without-effect", "--enable-auto-tool-choice"),
        ("vllm serve a/b --model c/d", "refused", "named twice"),
        ("vllm serve google/gemma-3-1b-it --dtype=float16", "refused", "--dtype float16"),
        ("vllm serve google/gemma-2-27b-it --dtype half", "refused", "--dtype half"),
        ("VLLM_PORT=8000 vllm serve a/b --port 8000", "variable-misread", "listens on 8000"),
        ("VLLM_PORT=9000 vllm serve a/b", "variable-misread", "listens on 8000"),
        ("NCCL_P2P_DISABLE=1 vllm serve a/b -tp 2", "slow-transport", "NCCL_P2P_DISABLE=1"),
        ("NCCL_P2P_LEVEL=LOC vllm serve a/b -tp 2", "slow-transport", "NCCL_P2P_LEVEL=LOC"),
    ],
)
def test_what_a_command_gets_wrong_is_found(text: str, code: str, said: str) -> None:
    assert any(said in one.message for one in of(text, code))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("vllm serve a/b --tool-call-parser hermes --enable-auto-tool-choice", "flag-without-effect"),
        ("vllm serve --model c/d", "refused"),
        ("vllm serve google/gemma-3n-E4B-it --dtype float16", "refused"),
        ("vllm serve google/gemma-3-1b-it --dtype bfloat16", "refused"),
        ("VLLM_PORT=29000 vllm serve a/b --port 8000", "variable-misread"),
        ("NCCL_P2P_DISABLE=1 vllm serve a/b", "slow-transport"),
        ("NCCL_P2P_DISABLE=0 vllm serve a/b -tp 2", "slow-transport"),
    ],
)
def test_what_is_right_is_left_alone(text: str, code: str) -> None:
    assert of(text, code) == []
