"""What two servers of one file take from each other, and doors that lead nowhere."""

from __future__ import annotations

import pytest

from hw_specs import parse_gpus
from planner.review import review
from planner.review.findings import Finding, Review
from planner.review.fix import repair

MODEL = "mistralai/Mistral-Medium-3.5-128B"
LINE = f"vllm serve {MODEL} -tp 4 --max-model-len 8192"


def judged(text: str, name: str = "run.sh", gpus: str = "8xH200") -> Review:
    return review(text, name=name, gpus=parse_gpus(gpus), vllm_version="0.33.0")


def of(answer: Review, code: str) -> list[Finding]:
    return [one for one in answer.findings if one.code == code]


def script(first: str, second: str, between: str = "") -> str:
    return f"#!/bin/bash\n{LINE} {first}\n{between}{LINE} {second}\n"


def composed(first: str, second: str, more: str = "") -> str:
    image = "image: vllm/vllm-openai:v0.33.0"
    return (
        f"services:\n  a:\n    {image}\n    command: {MODEL} -tp 4\n    ports: [{first}]\n"
        f"  b:\n    {image}\n    command: {MODEL} -tp 4\n    ports: [{second}]\n{more}"
    )


@pytest.mark.parametrize(("first", "second"), [("--port 8001 &", "--port 8001 &"), ("&", "--port 8000"), ("&", "")])
def test_a_second_server_cannot_have_the_same_port(first: str, second: str) -> None:
    answer = judged(script(first, second))
    (found,) = of(answer, "port-taken")
    assert found.line == 3
    assert answer.servers[0].verdict == "fits"
    assert answer.servers[1].verdict == "does-not-fit"


@pytest.mark.parametrize(
    "text",
    [
        script("--port 8001 &", "--port 8002 &"),
        script("--port 8001", "--port 8001"),
        script("--port 8001 && echo done", "--port 8001"),
        script("--port 8001 &", "--port 8001 &", "wait\n"),
        f"#!/bin/bash\nssh a {LINE} &\nssh b {LINE} &\n",
        f"#!/bin/bash\nif [ -n $A ]; then\n{LINE} &\nelse\n{LINE} &\nfi\n",
    ],
)
def test_servers_that_do_not_meet_are_left_alone(text: str) -> None:
    assert of(judged(text), "port-taken") == []
    assert of(judged(text), "too-few-gpus") == []


@pytest.mark.parametrize(
    ("first", "second", "more", "met"),
    [
        ('"8000:8000"', '"8000:8000"', "", True),
        ('"127.0.0.1:8000:8000"', '"8000:8000"', "", True),
        ('"8000:8000"', '{target: 8000, published: "8000"}', "", True),
        ('"127.0.0.1:8000:8000"', '"10.0.0.1:8000:8000"', "", False),
        ('"8000:8000"', '"8001:8000"', "", False),
        ('"8000:8000"', '"8000:8000"', "    profiles: [other]\n", False),
    ],
)
def test_published_ports_of_a_machine(first: str, second: str, more: str, met: bool) -> None:
    found = of(judged(composed(first, second, more), "compose.yaml"), "port-taken")
    assert [one.line for one in found] == ([9] if met else [])


def test_containers_in_the_background_share_the_machine_s_ports() -> None:
    line = f"docker run -d --gpus all --ipc host -p 8000:8000 vllm/vllm-openai:v0.33.0 {MODEL} -tp 4"
    assert len(of(judged(f"#!/bin/bash\n{line}\n{line}\n"), "port-taken")) == 1


@pytest.mark.parametrize(
    ("share", "gpus", "met"), [("0.9", "4xH200", True), ("0.45", "4xH200", False), ("0.9", "8xH200", False)]
)
def test_more_gpus_than_the_machine_has(share: str, gpus: str, met: bool) -> None:
    text = script(f"--port 8001 --gpu-memory-utilization {share} &", f"--gpu-memory-utilization {share} &")
    found = of(judged(text, gpus=gpus), "too-few-gpus")
    assert [one.line for one in found] == ([3] if met else [])


def deployed(port: str, declared: str, service: str, beside: str = "") -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: v}}
spec:
  selector: {{app: e}}
  ports: {service}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: e}}
spec:
  template:
    metadata: {{labels: {{app: e}}}}
    spec:
      containers:
      - name: e
        image: vllm/vllm-openai:v0.33.0
        args: ["{MODEL}", "--tensor-parallel-size", "8", "--port", "{port}"]
        ports: {declared}
        resources: {{limits: {{nvidia.com/gpu: "8"}}}}
{beside}"""


@pytest.mark.parametrize(
    ("port", "declared", "service", "beside", "line"),
    [
        ("8080", "[{containerPort: 8000}]", "[{port: 80, targetPort: 8000}]", "", 6),
        ("8080", "[]", "[{port: 8000}]", "", 6),
        ("8080", "[{containerPort: 8000}]", "[]", "", 19),
        ("8000", "[{containerPort: 8000}]", "[{port: 80, targetPort: 8000}]", "", None),
        ("8000", "[{containerPort: 8000}]", "[{port: 9090}, {port: 80, targetPort: 8000}]", "", None),
        ("8080", "[{containerPort: 8080, name: http}]", "[{port: 80, targetPort: http}]", "", None),
        ("8080", "[]", "[{port: 443}]", "      - {name: proxy, image: nginx}\n", None),
    ],
)
def test_a_service_must_lead_to_the_server(
    port: str, declared: str, service: str, beside: str, line: int | None
) -> None:
    found = of(judged(deployed(port, declared, service, beside), "deploy.yaml"), "port-mismatch")
    assert [one.line for one in found] == ([line] if line is not None else [])


def test_a_published_port_that_leads_nowhere_is_an_error() -> None:
    text = f"docker run --gpus all -p 8000:9000 vllm/vllm-openai:v0.33.0 {MODEL} -tp 8"
    (found,) = of(judged(text, ""), "port-mismatch")
    assert found.severity == "error"


def fixed(text: str, name: str = "", gpus: str = "8xH200") -> str:
    return repair(text, lambda one: judged(one, name, gpus)).after.text


@pytest.mark.parametrize(
    "args",
    [
        '["--model", "{}", "--tensor-paralel-size", "8"]',
        '["--model", "{}", "--tensor-paralel-size=8"]',
        "--model {} --tensor-parallel-sise 8",
    ],
)
def test_a_misspelt_flag_is_spelt_right(args: str) -> None:
    text = f"services:\n  a:\n    image: vllm/vllm-openai:v0.33.0\n    command: {args.format(MODEL)}\n"
    after = fixed(text, "compose.yaml")
    right = args.format(MODEL).replace("paralel", "parallel").replace("sise", "size")
    assert f"command: {right}\n" in after


def test_what_may_be_another_flag_is_not_guessed() -> None:
    text = f"vllm serve {MODEL} -tp 8 --enable-custom-all-reduce"
    assert "--disable-custom-all-reduce" not in fixed(text)


def test_the_length_that_was_asked_for_is_kept() -> None:
    text = f"vllm serve {MODEL} --gpu-memory-utilization 0.95 --max-model-len 12288"
    assert fixed(text, gpus="1xH200") == f"{text} --max-num-seqs 128"


def test_a_length_is_cut_to_what_surely_starts_and_not_to_its_half() -> None:
    more = "-tp 2 --gpu-memory-utilization 0.9 --max-num-seqs 64 --max-num-batched-tokens 2048 --language-model-only"
    text = f"vllm serve {MODEL} {more} --max-model-len 131072"
    after = judged(fixed(text, gpus="2xH100"), "", "2xH100").servers[0]
    assert after.verdict == "fits"
    assert after.plan is not None
    assert after.plan.kv_cache.largest_max_model_len_low - after.plan.settings.max_model_len < 2048


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("-tp 8 --max-model-len 8192 --tensor-parallel-size 4", 1),
        ("-tp 8 --max-model-len 8192 --tensor-parallel-size 8", 0),
        ("-tp 8 --allowed-origins a --allowed-origins b", 0),
    ],
)
def test_of_a_repeated_flag_the_last_wins(line: str, count: int) -> None:
    found = of(judged(f"vllm serve {MODEL} {line}", ""), "flag-repeated")
    assert len(found) == count
    assert all("the last one wins" in one.message for one in found)


@pytest.mark.parametrize(("more", "said"), [("", True), ("RUN pip install mistral_common==1.12.0\n", False)])
def test_an_image_without_its_companion_s_pin(more: str, said: bool) -> None:
    text = f'FROM vllm/vllm-openai:v0.33.0\n{more}CMD ["--model", "{MODEL}", "-tp", "8"]\n'
    found = of(judged(text, "Dockerfile"), "companion-not-pinned")
    assert [one.severity for one in found] == (["info"] if said else [])
    assert all("mistral_common==1.12.0" in one.message for one in found)
