"""What other engines read: every text loads, obeys its schema, and says the same as the plan."""

from __future__ import annotations

import dataclasses
import json
import shlex
from importlib.resources import files
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from hw_specs import parse_gpus
from planner import InvalidRequest, Plan, PlanRequest, emit, plan, serve_command
from planner.cli import main
from planner.rendering.emitters import EMITTERS
from planner.rendering.emitters.docker import docker_argv
from planner.rendering.emitters.image import ANY_ADDRESS, SECRETS
from planner.rendering.multi_node import node_commands
from planner.serve import StartOrder

CASES: dict[str, dict[str, Any]] = {
    "8xH200": {},
    "1xMI300X": {"language_model_only": True},
    "8xMI300X": {"num_speculative_tokens": 3},
    "3xH200": {},
    "8xB200": {"tensor_parallel_size": 4},
}
SPANNING: dict[str, dict[str, Any]] = {
    "2x8xH200": {"tensor_parallel_size": 8, "pipeline_parallel_size": 2},
    "2x8xMI300X": {"tensor_parallel_size": 4},
}


def planned(gpus: str, settings: dict[str, Any]) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(gpus), **settings))


@pytest.fixture(params=CASES)
def one_node(request: pytest.FixtureRequest) -> Plan:
    return planned(request.param, CASES[request.param])


def inside(answer: Plan, **more: int) -> list[str]:
    """The engine's arguments in a container."""
    return list(serve_command(answer, host=ANY_ADDRESS, port=8000, **more).engine_args)  # type: ignore[arg-type]


def gpus_used(answer: Plan) -> int:
    settings = answer.settings
    return settings.layout.gpus_per_replica * settings.replicas


def no_secret_values(text: str) -> None:
    for name in SECRETS:
        assert f"{name}=" not in text.replace(f"{name}= ", ""), "a secret's value would stand in the file"


def test_compose(one_node: Plan) -> None:
    text = emit("compose", one_node, port=9000)
    document = yaml.safe_load(text)
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(document, schema)
    service = document["services"]["vllm"]
    assert [word.replace("$$", "$") for word in service["command"]] == inside(one_node)
    assert service["ports"] == ["127.0.0.1:9000:8000"]
    assert set(SECRETS) <= set(service["environment"])
    env = dict(item.split("=", 1) for item in service["environment"] if "=" in item)
    assert env == serve_command(one_node).env
    assert "privileged" not in service
    no_secret_values(text)


def kubernetes_objects(text: str) -> dict[str, Any]:
    found = {}
    for document in yaml.safe_load_all(text):
        found[document["kind"]] = document
        if not document["apiVersion"].startswith(("leaderworkerset", "serving.kserve")):
            kubernetes_validate.validate(document, "1.30", strict=True)
    return found


def check_container(container: dict[str, Any], answer: Plan, gpus: int) -> None:
    vendor = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}[answer.gpus.spec.vendor]
    assert container["resources"]["limits"] == {vendor: str(gpus)}
    plain = {item["name"]: item["value"] for item in container["env"] if "value" in item}
    assert plain.pop("HF_HOME") == "/cache"
    assert plain == serve_command(answer).env
    by_reference = {item["name"] for item in container["env"] if "valueFrom" in item}
    assert by_reference == set(SECRETS)
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_kubernetes(one_node: Plan) -> None:
    text = emit("kubernetes", one_node)
    found = kubernetes_objects(text)
    assert set(found) == {"PersistentVolumeClaim", "Deployment", "Service"}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == inside(one_node)
    check_container(container, one_node, gpus_used(one_node))
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 30 * 60, "134e9 bytes come down a slow line"
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    claim = found["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"]
    assert int(claim.removesuffix("Gi")) * 2**30 > 133_605_834_656
    assert found["Service"]["spec"]["selector"] == found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    no_secret_values(text)


def test_kubernetes_spreads_replicas_over_nodes() -> None:
    answer = planned("2x8xMI300X", SPANNING["2x8xMI300X"])
    deployment = kubernetes_objects(emit("kubernetes", answer))["Deployment"]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"] == inside(answer, local_replicas=2)


def test_a_deployment_cannot_span_nodes() -> None:
    answer = planned("2x8xH200", SPANNING["2x8xH200"])
    for kind in ("kubernetes", "kserve", "llm-d"):
        with pytest.raises(InvalidRequest) as caught:
            emit(kind, answer)
        assert "lws" in (caught.value.hint or "")


def test_lws_gives_each_pod_its_rank() -> None:
    answer = planned("2x8xH200", SPANNING["2x8xH200"])
    found = kubernetes_objects(emit("lws", answer))
    template = found["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 2
    pods = {}
    for role in ("leader", "worker"):
        spec = template[f"{role}Template"]["spec"]
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": role}, "spec": spec}, "1.30", strict=True
        )
        pods[role] = spec["containers"][0]
        check_container(pods[role], answer, 8)
        args = pods[role]["args"]
        assert args[args.index("--node-rank") + 1] == "$(LWS_WORKER_INDEX)"
        assert args[args.index("--master-addr") + 1] == "$(LWS_LEADER_ADDRESS)"
        assert ("--headless" in args) == (role == "worker")
    assert "startupProbe" in pods["leader"]
    assert "startupProbe" not in pods["worker"]
    assert found["Service"]["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


def test_kserve(one_node: Plan) -> None:
    predictor = kubernetes_objects(emit("kserve", one_node))["InferenceService"]["spec"]["predictor"]
    pod = {key: value for key, value in predictor.items() if key not in ("minReplicas", "maxReplicas")}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}, "1.30", strict=True
    )
    assert predictor["containers"][0]["args"] == inside(one_node)
    check_container(predictor["containers"][0], one_node, gpus_used(one_node))


def test_llm_d(one_node: Plan) -> None:
    values = yaml.safe_load(emit("llm-d", one_node))
    (container,) = values["decode"]["containers"]
    assert container["args"] == inside(one_node)
    assert values["decode"]["parallelism"]["tensor"] == one_node.settings.tensor_parallel_size
    assert values["prefill"]["create"] is False


def unquote(text: str) -> list[str]:
    """systemd's quoting, as far as our units use it."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(text)]


def test_systemd(one_node: Plan) -> None:
    text = emit("systemd", one_node)
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    words = unquote(lines["ExecStart"])
    command = serve_command(one_node)
    assert words == ["/usr/bin/env", *command.argv]
    for name, value in command.env.items():
        assert f"Environment={name}={value}" in text
    no_secret_values(text)


def test_docker_publishes_on_loopback_and_takes_no_privileges(one_node: Plan) -> None:
    text = emit("docker", one_node)
    words = shlex.split(text.replace("\\\n", " "))
    assert "--privileged" not in words
    assert words[words.index("--publish") + 1] == "127.0.0.1:8000:8000"
    assert words[-len(inside(one_node)) :] == inside(one_node)
    assert ("/dev/kfd" in words) == (one_node.gpus.spec.vendor == "amd")


@pytest.mark.parametrize(
    ("host", "published"),
    [("::1", "[::1]:9000:8000"), ("10.0.0.7", "10.0.0.7:9000:8000"), ("localhost", "127.0.0.1:9000:8000")],
)
def test_containers_publish_on_an_address(host: str, published: str) -> None:
    answer = planned("8xH200", {})
    words = shlex.split(emit("docker", answer, host=host, port=9000).replace("\\\n", " "))
    assert words[words.index("--publish") + 1] == published
    assert yaml.safe_load(emit("compose", answer, host=host, port=9000))["services"]["vllm"]["ports"] == [published]
    for kind in ("docker", "compose"):
        with pytest.raises(InvalidRequest, match="gpu-7"):
            emit(kind, answer, host="gpu-7")


@pytest.mark.parametrize("kind", EMITTERS)
def test_a_host_that_is_none_is_refused_by_every_emitter(kind: str) -> None:
    with pytest.raises(InvalidRequest):
        emit(kind, planned("8xH200", {}), host="127.0.0.1\nExecStartPre=/bin/sh")


def odd(answer: Plan) -> Plan:
    """The plan for a model and GPUs whose names hold what shells, Compose and systemd read as more than letters."""
    model = dataclasses.replace(answer.model, name="/models/$HOME/100% é\nx-")
    return dataclasses.replace(
        answer, model=model, gpus=dataclasses.replace(answer.gpus, env=(("CUDA_VISIBLE_DEVICES", "GPU-$x%"),))
    )


def test_compose_reads_no_variable_in_what_the_plan_says() -> None:
    answer = odd(planned("8xH200", {}))
    file = yaml.safe_load(emit("compose", answer))
    service = file["services"]["vllm"]
    assert [word.replace("$$", "\0").count("$") for word in service["command"]] == [0] * len(service["command"])
    assert [word.replace("$$", "$") for word in service["command"]] == inside(answer)
    assert "CUDA_VISIBLE_DEVICES=GPU-$$x%" in service["environment"]
    assert file["name"] == "100----x"


def test_systemd_reads_no_specifier_in_what_the_plan_says() -> None:
    answer = odd(planned("8xH200", {}))
    text = emit("systemd", answer)
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert unquote(lines["ExecStart"].replace("\\n", "\n")) == ["/usr/bin/env", *serve_command(answer).argv]
    assert "Environment=CUDA_VISIBLE_DEVICES=GPU-$x%%" in text.splitlines(), "a dollar means nothing in Environment="
    assert "%" not in lines["Description"].replace("%%", "")
    assert [line for line in text.splitlines() if line.startswith("x")] == []


@pytest.mark.parametrize("gpus", SPANNING)
def test_docker_gives_every_node_its_command(gpus: str) -> None:
    answer = planned(gpus, SPANNING[gpus])
    nodes = node_commands(answer, host="10.0.0.7", port=9000)
    texts = emit("docker", answer, host="10.0.0.7", port=9000).split("# node ")[1:]
    assert len(texts) == len(nodes) == 2
    for text, node in zip(texts, nodes, strict=True):
        assert node.command is not None
        assert text.startswith(f"{node.node}{', head' if node.head else ''}: {node.note}\n")
        words = shlex.split(text.split("\n", 1)[1].replace("\\\n", " "))
        assert tuple(words[-len(node.command.engine_args) :]) == node.command.engine_args
        # a published port would reach neither the other engines' ports nor a server bound inside the container
        assert words[words.index("--network") + 1] == "host"
        assert "--publish" not in words
    no_secret_values("".join(texts))


@pytest.mark.parametrize("gpus", SPANNING)
def test_what_runs_on_one_machine_refuses_a_plan_for_several(gpus: str) -> None:
    answer = planned(gpus, SPANNING[gpus])
    for refused in (
        lambda: emit("compose", answer),
        lambda: emit("argv", answer),
        lambda: docker_argv(answer, host="127.0.0.1", port=8000),
        lambda: StartOrder.docker(answer),
        lambda: StartOrder.local(answer),
    ):
        with pytest.raises(InvalidRequest, match="2 nodes") as caught:
            refused()
        assert "docker" in (caught.value.hint or "") or "shell" in (caught.value.hint or "")
    assert "node 0 of 2" in emit("systemd", answer)


@pytest.mark.parametrize("target", ["local", "docker"])
@pytest.mark.parametrize("command", ["launch", "check"])
def test_a_start_on_one_machine_refuses_a_plan_for_several(
    command: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--gpus", "2x8xH200", "--target", target]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 nodes" in said.err


@pytest.mark.parametrize("kind", ["argv", "env", "shell"])
def test_plain_forms(kind: str, one_node: Plan) -> None:
    command = serve_command(one_node)
    text = emit(kind, one_node)
    if kind == "argv":
        assert tuple(text.split("\n")) == command.argv
    elif kind == "env":
        assert dict(line.split("=", 1) for line in text.splitlines()) == command.env
    else:
        assert tuple(shlex.split(text)[len(command.env) :]) == command.argv


@pytest.mark.parametrize("kind", EMITTERS)
def test_every_emitter_is_deterministic(kind: str) -> None:
    answer = planned("8xH200", {})
    assert emit(kind, answer) == emit(kind, answer)


def test_an_unknown_emitter_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as caught:
        emit("helm", planned("8xH200", {}))
    assert "kubernetes" in (caught.value.hint or "")
