"""Files that an artefact names and that lie beside it: sourced ones, environment files, patches."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner.cli.commands.review import _beside
from planner.review import review
from planner.review.findings import Review

MODEL = "mistralai/Mistral-Medium-3.5-128B"


def judged(path: Path, gpus: str = "8xH200") -> Review:
    return review(path.read_text(), name=path.name, gpus=parse_gpus(gpus), beside=_beside(str(path)))


def test_a_sourced_file_counts_from_where_it_stands(tmp_path: Path) -> None:
    """What the script assigns before it is overruled, what it assigns behind it is not."""
    (tmp_path / "env.sh").write_text("RANKS=4\nLENGTH=32768\nexport PORT=8001\n")
    script = tmp_path / "serve.sh"
    script.write_text(
        f"#!/bin/sh\nRANKS=2\n. ./env.sh\nLENGTH=65536\nvllm serve {MODEL} -tp $RANKS --max-model-len $LENGTH\n"
    )
    (server,) = judged(script).servers
    assert server.plan is not None
    assert server.plan.settings.tensor_parallel_size == 4
    assert server.plan.settings.max_model_len == 65536


def test_a_file_that_is_sourced_sources_others_and_ends(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text(". ./b.sh\nRANKS=$HALF\n")
    (tmp_path / "b.sh").write_text(". ./a.sh\nHALF=4\n")
    script = tmp_path / "serve.sh"
    script.write_text(f"#!/bin/bash\nsource a.sh\nvllm serve {MODEL} -tp $RANKS --max-model-len 32768\n")
    (server,) = judged(script).servers
    assert server.plan is not None and server.plan.settings.tensor_parallel_size == 4


def test_what_is_exported_later_is_not_there_earlier(tmp_path: Path) -> None:
    script = tmp_path / "two.sh"
    script.write_text(
        "#!/bin/bash\nset -a\nCUDA_VISIBLE_DEVICES=0,1,2,3\n"
        f"vllm serve {MODEL} -tp 4 --max-model-len 32768 --port 8001 --host 127.0.0.1 &\n"
        f"CUDA_VISIBLE_DEVICES=4,5\nvllm serve {MODEL} -tp 4 --max-model-len 32768 --port 8002 --host 127.0.0.1 &\n"
    )
    (found,) = [one for one in judged(script).findings if one.code == "too-few-gpus"]
    assert found.line == 6


def test_the_environment_file_of_a_container_is_read(tmp_path: Path) -> None:
    (tmp_path / "engine.env").write_text("VLLM_API_KEY=sk-of-somebody\nHIP_FORCE=1\nVLLM_PORT=tcp://x\n")
    for name, text in (
        ("run.sh", "docker run --gpus all --ipc host -v hub:/root/.cache/huggingface -p 8000:8000 "
         f"--env-file engine.env vllm/vllm-openai:v0.33.0 --model {MODEL} --tensor-parallel-size 8\n"),
        ("engine.container", f"[Container]\nImage=docker.io/vllm/vllm-openai:v0.33.0\nEnvironmentFile=engine.env\n"
         f"AddDevice=nvidia.com/gpu=all\nShmSize=16g\nVolume=hub:/root/.cache/huggingface\nPublishPort=8000:8000\n"
         f"Exec={MODEL} --tensor-parallel-size 8\n"),
    ):  # fmt: skip
        path = tmp_path / name
        path.write_text(text)
        codes = {one.code for one in judged(path).findings}
        assert "variable-stops-start" in codes
        assert not codes & {"open-port", "secret-in-file"}


BASE = f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: engine}}
spec:
  template:
    spec:
      nodeSelector: {{nvidia.com/gpu.product: NVIDIA-H200}}
      containers:
      - name: engine
        image: vllm/vllm-openai:latest
        args: [{MODEL}, --tensor-parallel-size, "8", --host, 127.0.0.1]
        resources: {{limits: {{nvidia.com/gpu: "8"}}}}
        readinessProbe: {{httpGet: {{path: /health, port: 8000}}}}
        volumeMounts: [{{name: shm, mountPath: /dev/shm}}, {{name: hub, mountPath: /root/.cache/huggingface}}]
      volumes: [{{name: shm, emptyDir: {{medium: Memory}}}}, {{name: hub, hostPath: {{path: /hub}}}}]
"""
PATCHES = {
    "merge": (
        "patches:\n- path: more.yaml\n",
        "kind: Deployment\nmetadata: {name: engine}\nspec: {template: {spec: {containers: [{name: engine, "
        f"args: [{MODEL}, --tensor-parallel-size, '8', --port, '99999']}}]}}}}}}\n",
    ),
    "json": (
        "patches:\n- {target: {kind: Deployment, name: engine}, path: more.yaml}\n",
        "- {op: add, path: /spec/template/spec/containers/0/args/-, value: --swap-space=4}\n",
    ),
    "inline": (
        "patchesStrategicMerge:\n- |-\n  kind: Deployment\n  metadata: {name: engine}\n  spec: {template: {spec: "
        "{containers: [{name: engine, resources: {limits: {nvidia.com/gpu: '4'}}}]}}}\n", "",
    ),
    "none of this one": (
        "patches:\n- {target: {kind: StatefulSet}, path: more.yaml}\n",
        "- {op: add, path: /spec/template/spec/containers/0/args/-, value: --swap-space=4}\n",
    ),
}  # fmt: skip
FOUND = {"merge": "refused", "json": "flag-gone", "inline": "too-few-gpus", "none of this one": None}


@pytest.mark.parametrize("how", PATCHES)
@pytest.mark.parametrize("folder", ["", "base/"])
def test_an_overlay_is_judged_as_it_is_built(how: str, folder: str, tmp_path: Path) -> None:
    patch, more = PATCHES[how]
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "base.yaml").write_text(BASE)
    if folder:
        (tmp_path / folder / "kustomization.yaml").write_text("kind: Kustomization\nresources: [base.yaml]\n")
    (tmp_path / "more.yaml").write_text(more)
    overlay = tmp_path / "kustomization.yaml"
    overlay.write_text(
        f"kind: Kustomization\nresources:\n- {'base' if folder else 'base.yaml'}\n{patch}"
        "images: [{name: vllm/vllm-openai, newTag: v0.33.0}]\n"
    )
    answer = judged(overlay)
    errors = {one.code for one in answer.findings if one.severity == "error"}
    assert errors == ({FOUND[how]} if FOUND[how] else set())
    assert (answer.servers[0].gpus, answer.servers[0].vllm_version) == (
        "4xH200" if how == "inline" else "8xH200",
        "0.33.0",
    )
    assert not any(one.edits for one in answer.findings)


def test_a_base_that_is_not_at_hand_is_asked_for(tmp_path: Path) -> None:
    overlay = tmp_path / "kustomization.yaml"
    overlay.write_text("kind: Kustomization\nresources: [../base, https://example.com/base.yaml]\n")
    (found,) = judged(overlay).findings
    assert found.code == "no-server"
    assert "kubectl kustomize" in found.message
