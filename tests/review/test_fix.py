"""Repairs: the smallest change, in the style of the text, that makes the review better."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from planner.review import review
from planner.review.findings import Edit
from planner.review.fix import apply, repair

MODEL = "mistralai/Mistral-Medium-3.5-128B"
POD = f"""\
apiVersion: v1
kind: Service
metadata: {{name: vllm}}
spec: {{selector: {{app: e}}, ports: [{{port: 8000}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: e}}
spec:
  template:
    metadata: {{labels: {{app: e}}}}
    spec:
      containers:   # one is enough
      - name: e
        image: vllm/vllm-openai:latest  # pinned one day
        args:
        - {MODEL}
        - --tensor-parallel-size=8
        - --swap-space=4      # old habit
        - "--max-num-seqs"
        - '128'
        resources: {{limits: {{nvidia.com/gpu: "8"}}}}
        readinessProbe: {{httpGet: {{path: /health, port: 8000}}}}
        volumeMounts: [{{mountPath: /dev/shm, name: s}}, {{mountPath: /root/.cache/huggingface, name: h}}]
      volumes: [{{name: s, emptyDir: {{medium: Memory}}}}, {{name: h, hostPath: {{path: /srv}}}}]
"""


def repaired(text: str, name: str) -> str:
    gpus = parse_gpus("8xH200")
    done = repair(text, lambda one: review(one, name=name, gpus=gpus, vllm_version="0.33.0"))
    assert not [one for one in done.after.findings if one.severity != "info"], done.after.findings
    return done.after.text


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_manifest_keeps_comments_order_and_quotes() -> None:
    gone, come = changed(POD, repaired(POD, "deploy.yaml"))
    assert gone == [
        "        image: vllm/vllm-openai:latest  # pinned one day",
        "        - --swap-space=4      # old habit",
    ]
    assert come == ["      enableServiceLinks: false", "        image: vllm/vllm-openai:v0.33.0  # pinned one day"]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.sh", f"vllm serve {MODEL} --swap-space 4 -tp 8", f"vllm serve {MODEL} -tp 8"),
        ("a.sh", f"vllm serve {MODEL} \\\n--swap-space 4 -tp 8\n", f"vllm serve {MODEL} \\\n-tp 8\n"),
        ("a.sh", f"vllm serve {MODEL} -tp 8 \\\n  --swap-space 4\n", f"vllm serve {MODEL} -tp 8\n"),
        (
            "a.sh",
            f"vllm serve {MODEL} -tp 8 --enable-prefix-caching True",
            f"vllm serve {MODEL} -tp 8 --enable-prefix-caching",
        ),
        ("a.sh", f"vllm serve {MODEL} --enforce-eager=false -tp 8", f"vllm serve {MODEL} --no-enforce-eager -tp 8"),
        ("a.sh", f"vllm serve {MODEL} --enforce-eager False -tp 8", f"vllm serve {MODEL} --no-enforce-eager -tp 8"),
        ("a.sh", f"vllm serve {MODEL}", f"vllm serve {MODEL} --tensor-parallel-size 8"),
        ("a.sh", f"TP=3\nvllm serve {MODEL} -tp $TP --host ::1\n", f"TP=8\nvllm serve {MODEL} -tp $TP --host ::1\n"),
        (
            "a.sh",
            f"docker run --gpus all -v h:/root/.cache vllm/vllm-openai {MODEL} -tp 8",
            f"docker run --ipc=host --gpus all -v h:/root/.cache vllm/vllm-openai:v0.33.0 {MODEL} -tp 8",
        ),
        (
            "compose.yaml",
            f"services:\n  e:\n    image: vllm/vllm-openai:v0.33.0\n    gpus: all\n    volumes: [h:/root/.cache]\n"
            f'    command: [{MODEL}, "-tp", "8", "--swap-space", "4"]\n',
            "services:\n  e:\n    ipc: host\n    image: vllm/vllm-openai:v0.33.0\n    gpus: all\n"
            f'    volumes: [h:/root/.cache]\n    command: [{MODEL}, "-tp", "8"]\n',
        ),
        (
            "e.service",
            f"[Service]\nExecStart=/opt/vllm serve {MODEL} --host 127.0.0.1 \\\n  -tp 8 --enable-reasoning\n",
            f"[Service]\nExecStart=/opt/vllm serve {MODEL} --host 127.0.0.1 \\\n  -tp 8\n",
        ),
    ],
)
def test_the_change_is_the_smallest(name: str, before: str, after: str) -> None:
    assert repaired(before, name) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            f"model: {MODEL}\nswap-space: 4  # old\ntensor-parallel-size: 8\n",
            f"model: {MODEL}\ntensor-parallel-size: 8\n",
        ),
        (f"{{model: {MODEL}, swap-space: 4, tensor-parallel-size: 8}}\n", None),
    ],
)
def test_a_key_goes_with_its_line_or_not_at_all(before: str, after: str | None) -> None:
    gpus = parse_gpus("8xH200")
    done = repair(before, lambda one: review(one, name="engine.yaml", gpus=gpus, vllm_version="0.33.0"))
    assert any(one.code == "flag-gone" for one in done.before.findings)
    assert done.after.text == (after or before)


def test_what_is_not_understood_is_not_touched() -> None:
    text = f"from vllm import LLM\nllm = LLM('{MODEL}', tensor_parallel_size=8, swap_space=4)\n"
    done = repair(text, lambda one: review(one, name="a.py", vllm_version="0.33.0"))
    assert done.after.text == text
    assert not done.diff()


def test_edits_are_made_from_the_end() -> None:
    assert apply("a b c", [Edit(0, 1, "xx"), Edit(4, 5, "")]) == "xx b "
