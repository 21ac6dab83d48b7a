"""llm-d and the production stack: values and overlays for charts of others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from planner import Deployment, Plan, emit, emit_files, serve_command
from planner.rendering.emitters.image import ANY_ADDRESS

from .objects import objects, of_kind, pods, schema, variables
from .plans import ONE_NODE, planned


def kustomize(folder: Path) -> str:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("there is no kubectl, which brings kustomize")
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


BASE = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: decode
  labels: {llm-d.ai/role: decode}
spec:
  selector:
    matchLabels: {llm-d.ai/role: decode}
  template:
    metadata:
      labels: {llm-d.ai/role: decode}
    spec:
      serviceAccountName: sa
      containers:
        - name: modelserver
          image: REPLACE_MODEL_SERVER_IMAGE
          command: []
          args: []
          env: []
          ports: [{name: modelserver, containerPort: 8000, protocol: TCP}]
          livenessProbe: {httpGet: {path: /health, port: modelserver}}
          readinessProbe: {httpGet: {path: /v1/models, port: modelserver}}
          startupProbe: {httpGet: {path: /v1/models, port: modelserver}}
"""
"""What llm-d's base holds, in our words: the overlay must meet these names."""


@pytest.mark.parametrize("gpus", ["8xH200", "8xMI300X", "2x8xMI300X"])
def test_the_llm_d_overlay_builds_on_its_base(gpus: str, tmp_path: Path) -> None:
    answer = planned(gpus)
    files = emit_files("llm-d", answer, Deployment(namespace="llm"))
    base = tmp_path / "base"
    base.mkdir()
    (base / "kustomization.yaml").write_text("resources: [decode.yaml]\n")
    (base / "decode.yaml").write_text(BASE)
    for name, text in files.items():
        remote = next((line for line in text.splitlines() if "github.com/llm-d" in line and "- https" in line), None)
        (tmp_path / name).write_text(text.replace(remote.strip(), "- base") if remote else text)
    found = objects(kustomize(tmp_path))
    deployment = of_kind(found, "Deployment")
    assert deployment["metadata"]["namespace"] == "llm"
    (pod,) = pods(deployment)
    (container,) = pod["containers"]
    assert container["name"] == "modelserver"
    assert container["image"].startswith("vllm/vllm-openai")
    expected = serve_command(answer, host=ANY_ADDRESS, port=8000, local_replicas=1).engine_args
    assert container["args"] == list(expected)
    variables(container)
    vendor = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}[answer.gpus.spec.vendor]
    assert container["resources"]["limits"] == {vendor: "8"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/health", "/v1/models asks for the key"
    assert {"medium": "Memory", "sizeLimit": "16Gi"} in [volume.get("emptyDir") for volume in pod["volumes"]]
    assert [one["containerPort"] for one in container["ports"]] == [8000]
    claim = of_kind(found, "PersistentVolumeClaim")["metadata"]["name"]
    assert {"claimName": claim} in [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
    router = yaml.safe_load(files["router.values.yaml"])["router"]
    (pair,) = router["modelServers"]["matchLabels"].items()
    assert pair in deployment["spec"]["template"]["metadata"]["labels"].items()
    plugins = yaml.safe_load(router["epp"]["pluginsCustomConfig"][router["epp"]["pluginsConfigFile"]])
    declared = {one["type"] for one in plugins["plugins"]}
    assert {one["pluginRef"] for one in plugins["schedulingProfiles"][0]["plugins"]} <= declared
    assert ("prefix-cache-affinity-filter" in declared) == (vendor == "nvidia.com/gpu")


@pytest.mark.parametrize("gpus", [*ONE_NODE, "2x8xMI300X"])
def test_production_stack_starts_the_planned_command(gpus: str) -> None:
    answer = planned(gpus, ONE_NODE.get(gpus, {}))
    document = yaml.safe_load(emit("production-stack", answer, deployment=Deployment(storage_class="fast")))
    jsonschema.validate(document, schema("production-stack"))
    (model,) = document["servingEngineSpec"]["modelSpec"]
    config = model["vllmConfig"]
    # What the chart's template makes of it.
    chart = [model["modelURL"], "--host", "0.0.0.0", "--port", "8000"]
    chart += ["--tensor-parallel-size", str(config["tensorParallelSize"])]
    chart += ["--max-model-len", str(config["maxModelLen"]), "--max-num-seqs", str(config["maxNumSeqs"])]
    chart += ["--gpu-memory-utilization", str(config["gpuMemoryUtilization"]), *config["extraArgs"]]
    if not config["enablePrefixCaching"]:
        chart.append("--no-enable-prefix-caching")
    per_node = 2 if gpus == "8xB200" else 1
    planned_args = serve_command(answer, host=ANY_ADDRESS, port=8000, local_replicas=per_node).engine_args
    assert sorted(chart) == sorted(planned_args)
    assert f"{model['repository']}:{model['tag']}" == emit("dstack", answer).split("image: ")[1].split("\n")[0]
    assert "HF_HOME" not in variables(model), "the chart sets it"
    assert model["requestGPU"] == host_gpus(answer)


def host_gpus(answer: Plan) -> int:
    settings = answer.settings
    return settings.tensor_parallel_size * settings.replicas // answer.gpus.nodes
