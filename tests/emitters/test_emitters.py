"""What other engines read: every text loads, obeys its schema, and says the same as the plan."""

from __future__ import annotations

import dataclasses
import json
import shlex
from importlib.resources import files

import jsonschema
import pytest
import yaml

from planner import Deployment, InvalidRequest, Plan, emit, serve_command
from planner.cli import main
from planner.rendering.emitters import EMITTERS
from planner.rendering.emitters.deployment import SECRETS
from planner.rendering.emitters.docker import docker_argv
from planner.rendering.emitters.image import ANY_ADDRESS
from planner.rendering.multi_node import node_commands
from planner.serve import StartOrder

from .plans import ONE_NODE, REPLICAS, SPANNING, loaded, planned

SEVERAL = {"2x8xH200": SPANNING["2x8xH200"], "2x8xMI300X": REPLICAS["2x8xMI300X"]}


@pytest.fixture(params=ONE_NODE)
def one_node(request: pytest.FixtureRequest) -> Plan:
    return planned(request.param, ONE_NODE[request.param])


def inside(answer: Plan, **more: int) -> list[str]:
    """The engine's arguments in a container."""
    return list(serve_command(answer, host=ANY_ADDRESS, port=8000, **more).engine_args)  # type: ignore[arg-type]


def no_secret_values(text: str) -> None:
    for name in SECRETS:
        assert f"{name}=" not in text.replace(f"{name}= ", ""), "a secret's value would stand in the file"


def test_compose(one_node: Plan) -> None:
    text = emit("compose", one_node, Deployment(port=9000))
    document = yaml.safe_load(text)
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(document, schema)
    service = document["services"]["vllm"]
    assert [word.replace("$$", "$") for word in service["command"]] == inside(one_node)
    assert service["ports"] == ["127.0.0.1:9000:8000"]
    assert set(SECRETS) <= set(service["environment"])
    env = dict(item.split("=", 1) for item in service["environment"] if "=" in item)
    assert env == serve_command(one_node).env
    kind, probe = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL", "podman-compose 1.0 cuts the words of CMD"
    compile(shlex.split(probe)[2], "probe", "exec")
    assert "privileged" not in service
    assert "name" not in document, "docker-compose 1.29 refuses it"
    assert service["volumes"][0].startswith("${HF_HOME:-~/.cache"), "a nested default is read wrong by two of three"
    no_secret_values(text)


def unquote(text: str) -> list[str]:
    """systemd's quoting, as far as our units use it."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(text)]


def test_systemd(one_node: Plan) -> None:
    text = emit("systemd", one_node)
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    words = unquote(lines["ExecStart"])
    command = serve_command(one_node)
    assert words == ["/usr/bin/env", *command.argv]
    assert "DynamicUser=yes" in text.splitlines(), "no user need exist"
    assert f"HOME=/var/lib/{lines['StateDirectory']}" in text
    groups = "SupplementaryGroups=video render" in text.splitlines()
    assert groups == (one_node.gpus.spec.vendor == "amd")
    for name, value in command.env.items():
        assert f"Environment={name}={value}" in text
    no_secret_values(text)


def test_docker_publishes_on_loopback_and_takes_no_privileges(one_node: Plan) -> None:
    text = emit("docker", one_node)
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    assert "--privileged" not in words
    assert words[words.index("--publish") + 1] == "127.0.0.1:8000:8000"
    assert words[-len(inside(one_node)) :] == inside(one_node)
    assert ("/dev/kfd" in words) == (one_node.gpus.spec.vendor == "amd")
    assert "render" not in words, "not every image has that group"


@pytest.mark.parametrize(
    ("host", "published"),
    [("::1", "[::1]:9000:8000"), ("10.0.0.7", "10.0.0.7:9000:8000"), ("localhost", "127.0.0.1:9000:8000")],
)
def test_containers_publish_on_an_address(host: str, published: str) -> None:
    answer = planned("8xH200", {})
    words = shlex.split(emit("docker", answer, Deployment(host=host, port=9000)).replace("\\\n", " "))
    assert words[words.index("--publish") + 1] == published
    assert yaml.safe_load(emit("compose", answer, Deployment(host=host, port=9000)))["services"]["vllm"]["ports"] == [
        published
    ]
    for kind in ("docker", "compose"):
        with pytest.raises(InvalidRequest, match="gpu-7"):
            emit(kind, answer, Deployment(host="gpu-7"))


@pytest.mark.parametrize("kind", EMITTERS)
def test_a_host_that_is_none_is_refused_by_every_emitter(kind: str) -> None:
    with pytest.raises(InvalidRequest):
        emit(kind, planned("8xH200", {}), Deployment(host="127.0.0.1\nExecStartPre=/bin/sh"))


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
    for word in (*service["command"], *service["entrypoint"], service["volumes"][1]):
        assert "$" not in word.replace("$$", "")
    seen, *others = (word.replace("$$", "$") for word in service["command"])
    assert others == inside(answer)[1:]
    assert service["volumes"][1].replace("$$", "$") == f"{answer.model.name}:{seen}:ro"
    assert "CUDA_VISIBLE_DEVICES=GPU-$$x%" in service["environment"]


def test_systemd_reads_no_specifier_in_what_the_plan_says() -> None:
    answer = odd(planned("8xH200", {}))
    text = emit("systemd", answer)
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert unquote(lines["ExecStart"].replace("\\n", "\n")) == ["/usr/bin/env", *serve_command(answer).argv]
    assert "Environment=CUDA_VISIBLE_DEVICES=GPU-$x%%" in text.splitlines(), "a dollar means nothing in Environment="
    assert "%" not in lines["Description"].replace("%%", "")
    assert [line for line in text.splitlines() if line.startswith("x")] == []


@pytest.mark.parametrize("gpus", SEVERAL)
def test_docker_gives_every_node_its_command(gpus: str) -> None:
    answer = planned(gpus, SEVERAL[gpus])
    nodes = node_commands(answer, host="10.0.0.7", port=9000)
    texts = emit("docker", answer, Deployment(host="10.0.0.7", port=9000)).split("# node ")[1:]
    assert len(texts) == len(nodes) == 2
    for text, node in zip(texts, nodes, strict=True):
        assert node.command is not None
        # servers of their own have no head among them
        head = node.head and not all(one.head for one in nodes)
        assert text.startswith(f"{node.node}{', head' if head else ''}: {node.note}\n")
        words = shlex.split(text.split("\n", 1)[1].replace("\\\n", " "))
        assert tuple(words[-len(node.command.engine_args) :]) == node.command.engine_args
        # a published port would reach neither the other engines' ports nor a server bound inside the container
        assert words[words.index("--network") + 1] == "host"
        assert "--publish" not in words
    no_secret_values("".join(texts))


@pytest.mark.parametrize("gpus", SEVERAL)
def test_what_runs_on_one_machine_refuses_a_plan_for_several(gpus: str) -> None:
    answer = planned(gpus, SEVERAL[gpus])
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
    assert "on each of 2 nodes" in emit("systemd", answer)


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
        assert tuple(shlex.split(text, comments=True)[len(command.env) :]) == command.argv


@pytest.mark.parametrize("kind", EMITTERS)
def test_every_emitter_is_deterministic(kind: str) -> None:
    answer = loaded("8xH200")
    assert emit(kind, answer) == emit(kind, answer)


def test_an_unknown_emitter_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as caught:
        emit("helm", planned("8xH200", {}))
    assert "kubernetes" in (caught.value.hint or "")
