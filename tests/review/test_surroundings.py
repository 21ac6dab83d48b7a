"""Faults around the engine: users without a name, ports that lead nowhere, shared GPUs, variables taken for others."""

from __future__ import annotations

import re

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
    moved = pod(container="{readOnlyRootFilesystem: true}", env="[{name: TMPDIR, value: /scratch/tmp}]")
    assert "/scratch/tmp" in of(moved, "read-only-root", "pod.yaml")[0].message


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
        ("vllm serve a/b --max-loras 4", "flag-without-effect", "--max-loras has no effect without --enable-lora"),
        ("vllm serve a/b --no-enable-lora --fully-sharded-loras", "flag-without-effect", "--fully-sharded-loras"),
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
        ("vllm serve a/b --max-loras 4 --enable-lora", "flag-without-effect"),
        ("vllm serve a/b --no-fully-sharded-loras", "flag-without-effect"),
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


def test_numbers_that_a_flag_may_have_are_told_in_their_order() -> None:
    (wrong,) = of("vllm serve a/b --enable-lora --max-lora-rank 24", "flag-value")
    named = [int(number) for number in re.findall(r"\d+", wrong.cure)]
    assert named == sorted(named) and {8, 16, 512} <= {*named}


def variables_of(text: str, image: str = IMAGE) -> str:
    command = "Qwen/Qwen3-8B" if image == IMAGE else "vllm serve Qwen/Qwen3-8B"
    return f"services:\n  a:\n    image: {image}\n    command: {command}\n    environment: {{{text}}}\n"


@pytest.mark.parametrize(
    ("text", "image", "code", "severity", "words"),
    [
        ('VLLM_LOGING_LEVEL: "DEBUG"', "own:1", "variable-unknown", "warn", "the nearest one is VLLM_LOGGING_LEVEL"),
        ('VLLM_FLASHINFER_CHECK_SAFE_OPS: "0"', IMAGE, "variable-unknown", "info", "nothing reads it"),
        ('VLLM_NO_USAGE_STATS: "true"', IMAGE, None, "", ""),
        ('VLLM_ENGINE_READY_TIMEOUT_S: "10m"', IMAGE, "variable-value", "error", "a whole number, not `10m`"),
        ('VLLM_USE_FLASHINFER_SAMPLER: "true"', IMAGE, "variable-value", "error", "a whole number"),
        ('VLLM_FLASHINFER_CHECK_SAFE_OPS: "0"', "own/vllm:1", None, "", ""),
        ('VLLM_ASCEND_ENABLE_NZ: "yes"', IMAGE, None, "", ""),
        ('VLLM_ENGINE_READY_TIMEOUT_S: "${LIMIT}"', IMAGE, None, "", ""),
        ('VLLM_MODEL: a, OTHER: "$$VLLM_MODEL"', IMAGE, None, "", ""),
    ],
)
def test_names_and_numbers_of_variables_are_those_of_the_engine(
    text: str, image: str, code: str | None, severity: str, words: str
) -> None:
    answer = review(variables_of(text, image), name="compose.yaml")
    found = [one for one in answer.findings if one.code in ("variable-unknown", "variable-value")]
    assert [(one.code, one.severity) for one in found] == ([(code, severity)] if code else [])
    assert all(words in one.message for one in found)


def connector(name: str, release: str, more: str = "") -> list[Finding]:
    config = f'{{"kv_connector":"{name}","kv_role":"kv_both"{more}}}'
    text = f"docker run --gpus all vllm/vllm-openai:v{release} Qwen/Qwen3-8B --kv-transfer-config '{config}'"
    return of(text, "refused")


@pytest.mark.parametrize(
    ("name", "release", "words"),
    [
        ("NixlConector", "0.33.0", "write `NixlConnector`"),
        ("P2pNcclConnector", "0.33.0", "before 0.24.0"),
        ("NixlPushConnector", "0.23.0", "take 0.24.0"),
        ("PyNcclConnector", "0.20.0", "before 0.10.2"),
    ],
)
def test_a_connector_is_one_of_the_release(name: str, release: str, words: str) -> None:
    (found,) = connector(name, release)
    assert name in found.message and words in found.cure and found.severity == "error"
    assert not connector("P2pNcclConnector", "0.23.0") and not connector("LMCacheConnectorV1", release)
    assert not connector(name, release, ',"kv_connector_module_path":"mine.connector"')


def image_of(*lines: str) -> str:
    return "\n".join([f"FROM {IMAGE}", *lines, 'ENTRYPOINT ["vllm", "serve", "Qwen/Qwen3-8B"]', ""])


def test_offline_without_the_model_cannot_load() -> None:
    (found,) = of(image_of("ENV HF_HUB_OFFLINE=1"), "offline-empty", "Dockerfile")
    assert (found.line, found.severity) == (2, "warn")
    assert not of(image_of("ENV HF_HUB_OFFLINE=1", "RUN hf download Qwen/Qwen3-8B"), "offline-empty", "Dockerfile")
    assert not of(image_of("ENV HF_HUB_OFFLINE=0"), "offline-empty", "Dockerfile")
    (found,) = of(variables_of('HF_HUB_OFFLINE: "1"'), "offline-empty", "compose.yaml")
    assert found.severity == "error"
    assert not of(variables_of('HF_HUB_OFFLINE: "1"'), "cache-volume", "compose.yaml"), "nothing is downloaded"
    own = variables_of('HF_HUB_OFFLINE: "1"', "own/vllm:1")
    assert not of(own, "offline-empty", "compose.yaml"), "the model may be in it"


def test_a_token_from_the_build_stays_in_the_image() -> None:
    (found,) = of(image_of("ARG HF_TOKEN", "ENV HF_TOKEN=${HF_TOKEN}"), "secret-in-file", "Dockerfile")
    assert found.line == 3 and "stays in the image" in found.message
    assert not of(image_of("ARG HF_HOME", "ENV HF_HOME=${HF_HOME}"), "secret-in-file", "Dockerfile")


@pytest.mark.parametrize("text", ["${MODEL:-Qwen/Qwen3-8B}", "${MODEL}", "$MODEL"])
def test_no_shell_reads_the_exec_form(text: str) -> None:
    dockerfile = f'FROM {IMAGE}\nENTRYPOINT ["vllm", "serve", "{text}"]\n'
    assert len(of(dockerfile, "literal-variable", "Dockerfile")) == 1
    assert not of(f"FROM {IMAGE}\nENTRYPOINT vllm serve {text}\n", "literal-variable", "Dockerfile")


def test_random_weights_are_named() -> None:
    (found,) = of(f"docker run --gpus all {IMAGE} Qwen/Qwen3-8B --load-format dummy", "dummy-weights")
    assert found.severity == "warn" and not of(f"docker run {IMAGE} a/b --load-format auto", "dummy-weights")


def quadlet(*lines: str) -> str:
    more = "\n".join(lines)
    return f"[Container]\nImage={IMAGE}\nAddDevice=nvidia.com/gpu=all\nExec=--model /models\n{more}\n"


def test_a_container_unit_is_judged_like_its_command() -> None:
    (found,) = of(quadlet("User=1000910000"), "nameless-user", "vllm.container")
    assert found.severity == "error" and found.line == 5
    assert not of(quadlet("ReadOnly=true"), "read-only-root", "vllm.container"), "podman puts memory at /tmp"
    assert not of(f"podman run --read-only {IMAGE} a/b", "read-only-root")
    (found,) = of(quadlet("ReadOnly=true", "ReadOnlyTmpfs=false"), "read-only-root", "vllm.container")
    assert found.line == 5


def stack(more: str, config: str = "{maxModelLen: 8192}", replicas: int = 1) -> str:
    return f"""servingEngineSpec:
  modelSpec:
  - name: q
    repository: vllm/vllm-openai
    tag: v0.27.0
    modelURL: Qwen/Qwen3-8B
    replicaCount: {replicas}
    requestGPU: 2
    pvcStorage: 50Gi
    vllmConfig: {config}
    {more}
"""


def test_a_setting_of_the_chart_counts_where_the_chart_reads_it() -> None:
    (found,) = of(stack("tensorParallelSize: 2"), "key-misplaced", "values.yaml")
    assert found.line == 11 and "vllmConfig" in found.message
    assert not of(stack("enableLoRA: true", "{tensorParallelSize: 2}"), "key-misplaced", "values.yaml")
    tools = stack("toolCallParser: hermes", "{tensorParallelSize: 2}")
    assert of(tools, "flag-without-effect", "values.yaml")
    assert not of(f"{tools}    enableTool: true\n", "flag-without-effect", "values.yaml")


CLAIM = """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: hf}
spec: {accessModes: [MODES]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: q}
spec:
  replicas: COUNT
  template:
    spec:
      containers:
      - {name: server, image: "vllm/vllm-openai:v0.27.0", args: [--model, Qwen/Qwen3-8B]}
      volumes: [{name: hf, persistentVolumeClaim: {claimName: hf}}]
"""


@pytest.mark.parametrize(
    ("modes", "replicas", "found"),
    [("ReadWriteOnce", 3, True), ("ReadWriteOnce", 1, False), ("ReadWriteOnce, ReadOnlyMany", 3, False)],
)
def test_replicas_do_not_share_a_volume_of_one_node(modes: str, replicas: int, found: bool) -> None:
    manifest = CLAIM.replace("MODES", modes).replace("COUNT", str(replicas))
    assert [one.line for one in of(manifest, "volume-one-node", "all.yaml")] == ([4] if found else [])
    values = stack(f"pvcAccessMode: [{modes}]", replicas=replicas)
    assert len(of(values, "volume-one-node", "values.yaml")) == found


@pytest.mark.parametrize(("mark", "goes_on"), [("EOF", "\\\\"), ("'EOF'", "\\")])
def test_a_unit_that_a_script_writes_is_what_the_shell_writes(mark: str, goes_on: str) -> None:
    model = "${DIR}" if mark == "EOF" else "/opt/m"
    script = f"""#!/bin/bash
DIR=/opt/m
cat >/etc/systemd/system/vllm.service <<{mark}
[Service]
ExecStart=/opt/vllm/bin/vllm serve {model} {goes_on}
  --host 127.0.0.1 --port 8080 {goes_on}
  --enable-auto-tool-choice
EOF
systemctl start vllm
"""
    answer = review(script, name="setup.sh")
    assert [(one.code, one.line) for one in answer.findings if one.code != "parser-missing"] == []
    assert [one.line for one in answer.findings] == [7], "every line of the unit is read, at its own place"
    assert len(answer.servers) == 1
