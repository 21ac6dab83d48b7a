"""Every example runs, as its own text says."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from hw_specs import parse_gpus
from planner import PlanRequest, emit, plan

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60, env={**os.environ, **env}
    )


def test_pick_gpus() -> None:
    offers = ["--offer", "8xH200=22.00", "--offer", "4xB200=16.80", "--offer", "1xH100=2.00", "--offer", "9xX=1"]
    done = run(sys.executable, "examples/pick_gpus.py", "--context", "131072", *offers)
    assert (done.returncode, done.stdout.strip()) == (0, "4xB200")
    assert run(sys.executable, "examples/pick_gpus.py", "--offer", "1xH100=2.00").returncode == 3


@pytest.mark.parametrize("offer", ["8xH200=abc", "8xH200", "=3", "8xH200=-1", "8xH200=nan"])
def test_pick_gpus_names_an_offer_that_it_cannot_read(offer: str) -> None:
    done = run(sys.executable, "examples/pick_gpus.py", "--offer", offer)
    assert done.returncode == 2 and f"`{offer}` is not GPUS=PRICE_PER_HOUR" in done.stderr


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"request": {"uid": "1"}', '{"request": []}', "\udcff"])
def test_the_admission_check_says_when_there_is_no_review(text: str) -> None:
    done = subprocess.run(
        [sys.executable, "examples/admission_check.py"], input=text.encode("utf-8", "surrogateescape"),
        capture_output=True, cwd=ROOT, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith(b"stdin holds no AdmissionReview") and not done.stdout


@pytest.mark.parametrize("pod", [None, {}, {"spec": None}, {"spec": {"containers": [{"args": None, "command": [1]}]}}])
def test_the_admission_check_lets_through_what_it_cannot_read(pod: Any) -> None:
    answer = load("admission_check").review({"request": {"uid": "1", "object": pod}})
    assert answer["response"] == {"uid": "1", "allowed": True}


def test_fastapi_app() -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason="fastapi is not installed")
    client = testclient.TestClient(load("fastapi_app").app)
    answer = client.get("/plan", params={"gpus": "8xH200"})
    assert (answer.status_code, answer.json()["settings"]["max_model_len"]) == (200, 262144)
    assert client.get("/plan", params={"gpus": "1xH100"}).status_code == 409
    wrong = client.get("/plan", params={"gpus": "8xH2O0"})
    assert wrong.status_code == 422
    assert "H200" in wrong.json()["detail"]["hint"]


def test_ansible_filter() -> None:
    module = load("ansible_filter")
    m35_plan = module.FilterModule().filters()["m35_plan"]
    assert m35_plan("8xH200", context=131072)["feasible"] is True
    for bad in ({"gpus": "nonsense"}, {"gpus": None}, {"gpus": "8xH200", "max_num_seqz": 3}):
        with pytest.raises(module.AnsibleFilterError):
            m35_plan(**bad)


def pod(gpus: str, args: list[str], product: str = "NVIDIA-H200") -> dict[str, Any]:
    container = {"command": ["vllm", "serve"], "args": args, "resources": {"limits": {"nvidia.com/gpu": gpus}}}
    spec = {"nodeSelector": {"nvidia.com/gpu.product": product}, "containers": [container]}
    return {"request": {"uid": "7", "object": {"kind": "Pod", "spec": spec}}}


@pytest.mark.parametrize(
    ("gpus", "args", "allowed"),
    [
        ("8", ["--tensor-parallel-size", "8"], True),
        ("1", ["--max-model-len", "262144"], False),
        ("4", ["--tensor-parallel-size", "3"], False),
    ],
)
def test_admission_check(gpus: str, args: list[str], allowed: bool) -> None:
    review = pod(gpus, ["mistralai/Mistral-Medium-3.5-128B", *args])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "admission_check.py")], input=json.dumps(review), capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    response = json.loads(done.stdout)["response"]
    assert (response["uid"], response["allowed"]) == ("7", allowed)
    assert allowed or response["status"]["message"]


def emitted_pod(gpus: str, **settings: Any) -> dict[str, Any]:
    """The pod of our own manifest."""
    text = emit("kubernetes", plan(PlanRequest(gpus=parse_gpus(gpus), **settings)), unfit=True)
    (deployment,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]
    return found


def changed(pod: dict[str, Any], **container: Any) -> dict[str, Any]:
    pod = copy.deepcopy(pod)
    pod["spec"]["containers"][0] |= container
    return pod


MODEL = "mistralai/Mistral-Medium-3.5-128B"
LONG = ["--max-model-len", "262144", "--tensor-parallel-size", "1"]


def test_admission_judges_our_own_manifests_on_both_vendors() -> None:
    check = load("admission_check")
    assert check.verdict(emitted_pod("8xH200")) is None
    assert check.verdict(emitted_pod("8xMI300X")) is None
    for gpus in ("1xMI300X", "1xH200", "1xGH200-144"):
        pod = emitted_pod(gpus, language_model_only=True)
        assert "does not fit" in check.verdict(changed(pod, args=[MODEL, *LONG]))


@pytest.mark.parametrize(
    "container",
    [
        {"command": [], "args": [MODEL, *LONG]},
        {"command": [], "args": ["--model", MODEL, *LONG]},
        {"command": ["python3", "-m", "vllm.entrypoints.openai.api_server"], "args": ["--model", MODEL, *LONG]},
        {"command": ["/usr/bin/vllm", "serve"], "args": [MODEL, *LONG]},
    ],
)
def test_admission_reads_every_way_to_start_the_server(container: dict[str, Any]) -> None:
    assert load("admission_check").verdict(changed(emitted_pod("1xH200"), **container))


@pytest.mark.parametrize(
    "container",
    [
        {"args": ["Qwen/Qwen3-8B", *LONG]},
        {"args": [MODEL, *LONG, "--some-flag-of-tomorrow", "9"]},
        {"command": ["sh", "-c", "vllm serve something"], "args": []},
        {"image": "nginx", "command": [], "args": [MODEL, *LONG]},
    ],
)
def test_admission_lets_through_what_is_not_its_to_judge(container: dict[str, Any]) -> None:
    check = load("admission_check")
    assert check.verdict(changed(emitted_pod("1xH200"), **container)) is None
    assert check.verdict(pod("1", [MODEL, *LONG], product="TPU")["request"]["object"]) is None
    assert check.verdict({"spec": {"containers": [{"name": "web", "image": "nginx"}]}}) is None


@pytest.mark.parametrize(("gpus", "code", "says"), [("8xH200", 0, "go: fits"), ("1xH100", 3, "no-go: does not fit")])
def test_gate(gpus: str, code: int, says: str) -> None:
    m35_plan = Path(sys.executable).with_name("m35-plan")
    done = run("bash", "examples/gate.sh", GPUS=gpus, M35_PLAN=str(m35_plan))
    assert (done.returncode, says in done.stdout) == (code, True), done.stdout
