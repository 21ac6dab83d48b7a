"""Files that an artefact names and that lie beside it: sourced ones, environment files, patches."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner.cli.commands.review import _beside
from planner.review import review
from planner.review.findings import Review
from planner.review.readers.kustomize import is_kustomization, resources_of
from planner.review.readers.tree import documents
from planner.review.text import Source

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
    assert found.message == (
        "no server found: its base is not in this folder; `kubectl kustomize DIR | m35-plan review -` reads it whole"
    )


def built(tmp_path: Path, kustomization: str, more: str = "", base: str = BASE) -> Review:
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "more.yaml").write_text(more)
    overlay = tmp_path / "kustomization.yaml"
    overlay.write_text("kind: Kustomization\nresources: [base.yaml]\n" + kustomization)
    return judged(overlay)


SWAP = "- {op: add, path: /spec/template/spec/containers/0/args/-, value: --swap-space=4}\n"


@pytest.mark.parametrize("where", ["", "a/"])
def test_folders_that_hold_themselves_and_each_other_are_read_and_end(where: str, tmp_path: Path) -> None:
    """Without a bound on all of them together the time is a power of how many lines there are."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    lines = "".join("- ./\n- ../\n- b\n" for _ in range(50))
    for folder in ("", "a", "a/b"):
        (tmp_path / folder / "kustomization.yaml").write_text(f"kind: Kustomization\nresources:\n{lines}- base.yaml\n")
    reads = 0

    def beside(name: str) -> str | None:
        nonlocal reads
        reads += 1
        return _beside(str(tmp_path / where / "kustomization.yaml"))(name)

    text = (tmp_path / where / "kustomization.yaml").read_text()
    answer = review(text, name="kustomization.yaml", gpus=parse_gpus("8xH200"), beside=beside)
    assert [one.code for one in answer.findings] == ["no-server"]
    assert reads < 200


def test_one_base_under_two_overlays_is_built_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kustomization.yaml").write_text("kind: Kustomization\nresources: [../common]\n")
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "kustomization.yaml").write_text("kind: Kustomization\nresources: [base.yaml]\n")
    (tmp_path / "common" / "base.yaml").write_text(BASE)
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nresources: [one, two]\n")
    assert len(judged(tmp_path / "kustomization.yaml").servers) == 2


@pytest.mark.parametrize("path", ["containers/" + "9" * 5000 + "/args/-", "containers/0/args/" + "9" * 5000])
def test_an_index_without_end_leads_nowhere(path: str, tmp_path: Path) -> None:
    step = f"- {{op: add, path: /spec/template/spec/{path}, value: --swap-space=4}}\n"
    answer = built(tmp_path, "patches:\n- {target: {kind: Deployment}, path: more.yaml}\n", step)
    assert "flag-gone" not in {one.code for one in answer.findings}


@pytest.mark.parametrize(
    ("target", "hit"),
    [
        ("kind: Deployment, name: eng.*", True),
        ("kind: Deploy|Deployment", True),
        ("name: eng", False),
        ("kind: Deployment, labelSelector: 'app=engine'", True),
        ("labelSelector: 'app == engine, tier!=web'", True),
        ("labelSelector: app=web", False),
        ("labelSelector: app!=engine", False),
        ("annotationSelector: owner=me", False),
        ("labelSelector: app in (engine)", None),
        ("name: 'eng('", None),
        ("name: '(e|e)*x'", None),
        (f"name: {'e' * 400}", None),
    ],
)
def test_a_target_selects_as_kustomize_does(target: str, hit: bool | None, tmp_path: Path) -> None:
    """What cannot be told is said, and changes nothing."""
    base = BASE.replace("{name: engine}", "{name: engine, labels: {app: engine}}", 1)
    answer = built(tmp_path, f"patches:\n- path: more.yaml\n  target: {{{target}}}\n", SWAP, base)
    assert ("flag-gone" in {one.code for one in answer.findings}) == (hit is True)
    said = [one for one in answer.findings if "selects are not at hand" in one.message]
    assert bool(said) == (hit is None)


def test_a_patch_deletes_an_object(tmp_path: Path) -> None:
    two = BASE + "---\n" + BASE.replace("{name: engine}", "{name: other}", 1)
    gone = "kind: Deployment\nmetadata: {name: other}\n$patch: delete\n"
    assert len(built(tmp_path, "", "", two).servers) == 2
    (left,) = built(tmp_path, "patches: [{path: more.yaml}]\n", gone, two).servers
    assert left.name.endswith("engine")


def test_a_patch_with_a_target_leaves_the_name(tmp_path: Path) -> None:
    """Its own name says nothing, so the next patch finds the object by the one it had."""
    (tmp_path / "swap.yaml").write_text(SWAP)
    more = "kind: Deployment\nmetadata: {name: not-used}\nspec: {replicas: 1}\n"
    patches = "patches:\n- {target: {name: engine}, path: more.yaml}\n- {target: {name: engine}, path: swap.yaml}\n"
    assert "flag-gone" in {one.code for one in built(tmp_path, patches, more).findings}


def test_each_list_merges_by_its_own_key(tmp_path: Path) -> None:
    """A volume is mounted at two places, and a port has a name on one side alone."""
    (tmp_path / "base.yaml").write_text(
        BASE.replace("        volumeMounts:", "        ports: [{containerPort: 8000}]\n        volumeMounts:")
    )
    (tmp_path / "more.yaml").write_text(
        "kind: Deployment\nmetadata: {name: engine}\nspec: {template: {spec: {containers: [{name: engine, "
        "ports: [{name: http, containerPort: 8000}], volumeMounts: [{name: hub, mountPath: /other}, "
        "{name: scratch, mountPath: /dev/shm}]}]}}}\n"
    )
    text = "kind: Kustomization\nresources: [base.yaml]\npatches: [{path: more.yaml}]\n"
    ((obj,), missing) = resources_of(documents(Source(text))[0], _beside(str(tmp_path / "kustomization.yaml")))
    containers = obj.get("spec", "template", "spec", "containers")
    assert containers is not None and not missing
    (container,) = containers.list()
    mounts, ports = container.get("volumeMounts"), container.get("ports")
    assert mounts is not None and ports is not None
    assert {(one.string("name"), one.string("mountPath")) for one in mounts.list()} == {
        ("scratch", "/dev/shm"), ("hub", "/root/.cache/huggingface"), ("hub", "/other"),
    }  # fmt: skip
    assert [(one.string("name"), one.string("containerPort")) for one in ports.list()] == [("http", "8000")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resources: [a.yaml]\nnamePrefix: x-\n", True),
        ("kind: Kustomization\nanything: 1\n", True),
        ("resources: []\nimage: {repository: vllm/vllm-openai}\n", False),
        ("resources: {limits: {cpu: 1}}\n", False),
    ],
)
def test_a_kustomization_that_does_not_say_so_has_only_its_keys(text: str, expected: bool) -> None:
    assert is_kustomization(documents(Source(text))[0]) is expected
