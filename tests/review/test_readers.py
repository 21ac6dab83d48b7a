"""Every way in which a server is written leads to the same server, with its words at their places."""

# ruff: noqa: E501 - a way of writing is easier to read in one line

from __future__ import annotations

import pytest

from planner.review.case import Case
from planner.review.readers.read import read
from planner.review.text import Source

MODEL = "mistralai/Mistral-Medium-3.5-128B"
POD = f"""\
spec:
  nodeSelector: {{nvidia.com/gpu.product: NVIDIA-H200}}
  containers:
  - name: engine
    image: vllm/vllm-openai:v0.33.0
    args: [{MODEL}, --tensor-parallel-size, "8"]
    resources: {{limits: {{nvidia.com/gpu: "8"}}}}
"""


def indented(text: str, by: int) -> str:
    return "".join(" " * by + line for line in text.splitlines(keepends=True))


WAYS = {
    "line": ("", f"vllm serve {MODEL} --tensor-parallel-size 8"),
    "underscores-and-equals": ("", f"vllm serve {MODEL} --tensor_parallel_size=8"),
    "short": ("", f"vllm serve {MODEL} -tp 8"),
    "module": ("", f"python3 -m vllm.entrypoints.openai.api_server --model {MODEL} --tensor-parallel-size 8"),
    "model-as-a-flag": ("", f"vllm serve --tensor-parallel-size 8 --model={MODEL}"),
    "wrapped": ("", f"CUDA_DEVICE_ORDER=PCI_BUS_ID nohup uv run vllm serve {MODEL} -tp 8 > log 2>&1 &"),
    "array": (
        "a.sh", f'MODEL={MODEL}\nARGS=(\n  --tensor-parallel-size 8  # all\n)\nexec vllm serve "$MODEL" "${{ARGS[@]}}" "$@"\n',
    ),
    "appended-array": ("a.sh", f"A=()\nA+=(-tp 8)\nvllm serve {MODEL} ${{A[@]}}\n"),
    "default": ("a.sh", f'vllm serve "${{MODEL:-{MODEL}}}" -tp "${{TP:-8}}"\n'),
    "shell-in-a-shell": ("a.sh", f"tmux new-session -d -s x 'source env/bin/activate && vllm serve {MODEL} -tp 8'\n"),
    "docker": ("a.sh", f"docker run --gpus all -p127.0.0.1:8000:8000 -itd vllm/vllm-openai:v0.33.0 --model {MODEL} -tp 8"),
    "docker-entrypoint": (
        "a.sh", f'podman run --device nvidia.com/gpu=all --entrypoint bash vllm/vllm-openai:v0.33.0 -c "vllm serve {MODEL} -tp 8"',
    ),
    "compose-list": (
        "compose.yaml",
        f"services:\n  e:\n    image: vllm/vllm-openai:v0.33.0\n    command:\n    - {MODEL}\n    - --tensor-parallel-size\n    - '8'\n",
    ),
    "compose-text": (
        "compose.yaml",
        f"x-all: &all\n  image: vllm/vllm-openai:v0.33.0\nservices:\n  e:\n    <<: *all\n    command: >\n      --model {MODEL}\n"
        "      --tensor-parallel-size 8\n",
    ),
    "pod": ("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: e}\n" + POD),
    "deployment": (
        "d.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: e}\nspec:\n  template:\n" + indented(POD, 4),
    ),
    "job-in-a-list": (
        "-",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: batch/v1\n  kind: Job\n  metadata: {name: e}\n  spec:\n    template:\n"
        + indented(POD, 6),
    ),
    "command-of-a-pod": (
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: e}\nspec:\n  containers:\n  - name: e\n    image: x/y:1\n    env:\n"
        "    - {name: TP, value: '8'}\n    command: [/bin/bash, -c]\n    args:\n    - |\n      set -e\n"
        f"      vllm serve {MODEL} \\\n        --tensor-parallel-size $(TP)\n",
    ),
    "leader": (
        "lws.yaml",
        "apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {name: e}\nspec:\n  leaderWorkerTemplate:\n"
        "    size: 1\n    workerTemplate:\n" + indented(POD, 6),
    ),
    "inference-service": (
        "isvc.yaml",
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: e}\nspec:\n  predictor:\n    model:\n"
        f"      modelFormat: {{name: vLLM}}\n      storageUri: hf://{MODEL}\n      args: [--tensor-parallel-size=8]\n",
    ),
    "llm-inference-service": (
        "l.yaml",
        f"apiVersion: serving.kserve.io/v1alpha1\nkind: LLMInferenceService\nmetadata: {{name: e}}\nspec:\n  model: {{uri: 'hf://{MODEL}'}}\n"
        "  parallelism: {tensor: 8}\n",
    ),
    "ray-service": (
        "r.yaml",
        "apiVersion: ray.io/v1\nkind: RayService\nmetadata: {name: e}\nspec:\n  serveConfigV2: |\n    applications:\n    - args:\n"
        f"        llm_configs:\n        - model_loading_config: {{model_id: m, model_source: {MODEL}}}\n"
        "          engine_kwargs: {tensor_parallel_size: 8}\n",
    ),
    "modelservice": (
        "values.yaml",
        f"modelArtifacts: {{uri: 'hf://{MODEL}', name: m}}\ndecode:\n  parallelism: {{tensor: 8}}\n  containers:\n  - name: vllm\n"
        "    image: ghcr.io/llm-d/llm-d-cuda:v0.4.0\n    modelCommand: vllmServe\n",
    ),
    "production-stack": (
        "values.yaml",
        f"servingEngineSpec:\n  modelSpec:\n  - name: m\n    repository: vllm/vllm-openai\n    tag: v0.33.0\n    modelURL: {MODEL}\n"
        "    requestGPU: 8\n    vllmConfig: {tensorParallelSize: 8}\n",
    ),
    "sky": (
        "task.yaml",
        f"resources: {{accelerators: 'H200:8'}}\nenvs: {{M: {MODEL}}}\nrun: |\n  vllm serve $M \\\n    -tp $SKYPILOT_NUM_GPUS_PER_NODE\n",
    ),
    "dstack": (
        "x.dstack.yml", f"type: task\ncommands:\n  - vllm serve {MODEL} -tp $DSTACK_GPUS_NUM\nresources:\n  gpu: H200:8\n",
    ),
    "unit": (
        "e.service", f"[Service]\nEnvironment=\"TP=8\" M={MODEL}\nExecStart=/opt/v/bin/vllm serve ${{M}} \\\n  -tp ${{TP}}\n",
    ),
    "quadlet": (
        "e.container",
        f"[Container]\nImage=docker.io/vllm/vllm-openai:v0.33.0\nAddDevice=nvidia.com/gpu=all\nExec={MODEL} -tp 8\n",
    ),
    "python": ("a.py", f"from vllm import LLM\nTP = 8\nllm = LLM('{MODEL}', tensor_parallel_size=TP)\n"),
    "python-keywords": ("a.py", f"import vllm\nkw = dict(model='{MODEL}', tensor_parallel_size=8)\nvllm.LLM(**kw)\n"),
    "python-process": ("a.py", f"import subprocess\nsubprocess.run(['vllm', 'serve', '{MODEL}', '-tp', '8'])\n"),
    "configuration": ("engine.yaml", f"model: {MODEL}\ntensor-parallel-size: 8\n"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_leads_to_the_same_server(way: str) -> None:
    name, text = WAYS[way]
    artefact = read(Source(text, name))
    assert not artefact.unreadable
    (server,) = artefact.servers
    case = Case(server=server)
    assert case.model is not None, server.model
    assert case.model.name == MODEL
    assert server.number("tensor-parallel-size") == 8
    option = server.option("tensor-parallel-size")
    assert option is not None
    assert text[option.typed.start : option.typed.end].lstrip("-").startswith(("t", "TENSOR"))


@pytest.mark.parametrize(
    ("way", "gpus"),
    [("pod", "8xH200"), ("deployment", "8xH200"), ("leader", "8xH200"), ("sky", "8xH200"), ("dstack", "8xH200")],
)
def test_the_machine_is_read_where_it_is_said(way: str, gpus: str) -> None:
    name, text = WAYS[way]
    (server,) = read(Source(text, name)).servers
    assert str(Case(server=server).gpus) == gpus


def test_a_configuration_beside_is_read_and_the_line_counts_more() -> None:
    files = {"e.yaml": f"model: {MODEL}\ntensor-parallel-size: 4\nmax-num-seqs: 64\n"}
    (server,) = read(Source("vllm serve --config e.yaml -tp 8", "a.sh"), files.get).servers
    assert server.number("tensor-parallel-size") == 8
    assert server.number("max-num-seqs") == 64
    assert Case(server=server).model is not None


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("vllm serve $MODEL", "MODEL"),
        ("if [ -z $TP ]; then M=a/b; fi\nvllm serve $M", "M"),
        ("read M\nvllm serve $M", "M"),
        ("vllm serve $(cat model.txt)", "$(cat model.txt)"),
        ("vllm serve $1", "$1"),
    ],
)
def test_what_cannot_be_known_is_named_and_not_guessed(text: str, unknown: str) -> None:
    (server,) = read(Source(text, "a.sh")).servers
    assert server.model is not None
    assert server.model.unknown == (unknown,)


@pytest.mark.parametrize(
    "text",
    [
        "echo vllm serve a/b",
        "# vllm serve a/b",
        "cat <<EOF\nvllm serve a/b\nEOF",
        "pkill -f 'vllm serve'",
        "pip install vllm==0.33.0",
        "docker run --gpus all nginx:1",
    ],
)
def test_what_only_talks_of_a_server_is_none(text: str) -> None:
    assert not read(Source(text, "a.sh")).servers
