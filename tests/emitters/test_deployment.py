"""What a user adds to a plan: honoured or refused by every target, and nothing is emitted that cannot start."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from hw_specs import parse_gpus
from planner import EMITTERS, Deployment, InvalidRequest, Plan, PlanRequest, Targets, Workload, emit, emit_files
from planner.cli import main
from planner.planning.choose_by_speed import plan_for_workload
from planner.rendering.emitters.image import pin_script

from .plans import REPLICAS, SPANNING, loaded, planned

LOADED = loaded("8xH200")
WORDS = {
    "name": "chat-one",
    "namespace": "llm-apps",
    "image": "registry.internal/vllm:mine",
    "image_digest": "sha256:" + "0a" * 32,
    "storage_class": "fast-disk",
    "secret": "some-keys",
    "pull_secret": "some-registry",
    "env": (("MARK", "seen-here"),),
    "labels": (("team", "seen-there"),),
    "port": 9137,
    "prometheus": "http://somewhere.else:9090",
}
"""One value for each setting, such as stands nowhere by itself."""


def written(value: object) -> str:
    return value[0][1] if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("field", WORDS)
@pytest.mark.parametrize("kind", EMITTERS)
def test_a_setting_is_honoured_or_refused(kind: str, field: str) -> None:
    said = Deployment(**{field: WORDS[field]})
    try:
        text = "\n".join(emit_files(kind, LOADED, said).values())
    except InvalidRequest as refusal:
        assert refusal.field == field
        assert kind in str(refusal)
    else:
        assert written(WORDS[field]) in text, f"{kind} drops {field} without a word"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7"])
@pytest.mark.parametrize("kind", EMITTERS)
def test_a_host_is_honoured_or_refused(kind: str, host: str) -> None:
    try:
        text = emit(kind, LOADED, deployment=Deployment(host=host))
    except InvalidRequest as refusal:
        assert refusal.field == "host"
    else:
        assert host in text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "3.5-128b"), ("name", "a" * 60), ("namespace", "Upper"), ("secret", "a b"), ("image_digest", "latest"),
        ("image", "a b"), ("env", (("A B", "x"),)), ("env", (("HF_TOKEN", "hf_secret"),)), ("env", (("A", "x\ny"),)),
        ("labels", (("team", "a b"),)), ("prometheus", "somewhere"), ("port", 0), ("head_address", "a b"),
    ],
)  # fmt: skip
def test_what_a_cluster_would_refuse_is_refused_here(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Deployment(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("kind", EMITTERS)
def test_a_plan_that_does_not_fit_is_not_emitted(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidRequest, match="does not fit"):
        emit(kind, planned("1xH200", {"max_model_len": 262144}))
    arguments = ["--gpus", "1xH200", "--max-model-len", "262144", "--emit", kind]
    assert main(arguments) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "does not fit" in said.err
    if kind in ("keda", "hpa"):
        return  # what does not fit has no forecast
    assert main([*arguments, "--emit-unfit"]) == 3
    asked = capsys.readouterr().out
    assert asked or kind == "env", "an empty environment is an empty text"
    if kind not in ("argv", "env"):
        assert "does not fit" in asked.split("apiVersion")[0]


@pytest.mark.parametrize("kind", EMITTERS)
def test_tight_stands_in_the_head(kind: str) -> None:
    answer = dataclasses.replace(LOADED, verdict="tight")
    if kind not in ("argv", "env"):
        assert "tight: it starts if every uncertain term is as expected" in emit(kind, answer)


def test_a_local_checkpoint_is_mounted_where_the_container_looks() -> None:
    answer = planned("8xH200")
    local = dataclasses.replace(answer, model=dataclasses.replace(answer.model, name="/data/my model"))
    words = shlex.split(emit("docker", local).replace("\\\n", " "))
    assert "/data/my model:/models/my model:ro" in words
    assert words[words.index("vllm") + 1] == "/models/my model"
    service = yaml.safe_load(emit("compose", local))["services"]["vllm"]
    assert service["command"][0] == "/models/my model"
    assert "/data/my model:/models/my model:ro" in service["volumes"]
    assert "'/data/my model'" in emit("shell", local), "a shell of this machine finds it where it is"
    unit = emit("systemd", local).splitlines()
    assert 'BindReadOnlyPaths="/data/my model"' in unit
    assert "ProtectHome=tmpfs" in unit
    for kind in ("skypilot", "dstack"):
        with pytest.raises(InvalidRequest, match="elsewhere"):
            emit(kind, local)
    relative = dataclasses.replace(answer, model=dataclasses.replace(answer.model, name="./x"))
    with pytest.raises(InvalidRequest, match="absolute"):
        emit("docker", relative)


@pytest.mark.parametrize(("version", "installs"), [("1.13.1", True), ("2.0.0", True), ("1.12.0", False)])
def test_the_pin_installs_only_where_the_image_has_the_bad_one(version: str, installs: bool, tmp_path: Path) -> None:
    """The script itself, in a shell, beside a Python that has that mistral_common and notes what pip is asked."""
    asked = tmp_path / "asked"
    info = tmp_path / "site" / f"mistral_common-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mistral_common\nVersion: {version}\n")
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] && {{ echo "$@" >{asked}; exit 0; }}\nexec {shutil.which("python3")} "$@"\n'
    )
    python.chmod(0o755)
    env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        ["sh", "-c", pin_script(("1.12.0", "1.13.0"), target="/pinned")], env=env, check=False, timeout=60
    )
    assert done.returncode == 0
    assert asked.exists() == installs
    if installs:
        assert asked.read_text().split()[-1] == "mistral_common==1.12.0"


def test_a_container_starts_the_server_it_was_given_behind_the_pin(tmp_path: Path) -> None:
    """The entry point of the emitted line, run by a real shell with stand-ins for Python and vLLM."""
    words = shlex.split(emit("docker", planned("8xH200")).replace("\\\n", " "))
    script, rest = words[words.index("-c") + 1], words[words.index("-c") + 2 :]
    for name, text in (("python3", "#!/bin/sh\nexit 0\n"), ("vllm", '#!/bin/sh\nprintf "%s\\n" "$@"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script, *rest], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n")[:-1] == ["serve", *rest[1:]]


@pytest.mark.parametrize("gpus", ["8xMI300X", "8xH200", "2x8xH200"])
def test_systemd_reads_the_unit(gpus: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze")
    unit = tmp_path / "vllm.service"
    unit.write_text(emit("systemd", planned(gpus, SPANNING.get(gpus, {}))) + "\n")
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stderr.splitlines() if str(unit) in line or "vllm.service" in line]
    assert said == []


def test_one_unit_serves_every_node_of_a_server() -> None:
    text = emit("systemd", planned("2x8xH200", SPANNING["2x8xH200"]))
    (start,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    words = start.split()
    assert words[words.index("--node-rank") + 1] == "${NODE_RANK}"
    assert words[words.index("--master-addr") + 1] == "${HEAD_ADDRESS}"
    assert words[-1] == "$HEADLESS"
    assert "Environment=HEADLESS=" in text.splitlines(), "node 0 says nothing"
    assert "EnvironmentFile=/etc/m35-plan/node.env" in text.splitlines(), "without it the unit must not start"
    alone = emit("systemd", planned("2x8xH200", REPLICAS["2x8xH200"]))
    assert "--node-rank" not in alone
    assert "on each of 2 nodes" in alone


@pytest.fixture(scope="module")
def missing() -> Plan:
    return plan_for_workload(
        PlanRequest(gpus=parse_gpus("8xH200")),
        Workload(prompt_tokens=4096, output_tokens=512, concurrency=64),
        targets=Targets(ttft_ms=100, tokens_per_s=1e6),
    )


@pytest.mark.parametrize("kind", sorted(set(EMITTERS) - {"argv", "env"}))
def test_an_artefact_says_which_targets_the_plan_misses(kind: str, missing: Plan) -> None:
    if kind in ("keda", "hpa"):
        with pytest.raises(InvalidRequest, match="targets"):
            emit(kind, missing)
        return
    text = emit(kind, missing)
    assert "verdict: fits, but misses TTFT 100 ms by" in text
    assert "1e+06 tokens/s by" in text


@pytest.mark.parametrize("kind", sorted(set(EMITTERS) - {"argv", "env", "keda", "hpa"}))
def test_an_artefact_says_that_a_plan_is_tight(kind: str) -> None:
    text = emit(kind, planned("1xH200", {"max_model_len": 8192}))
    assert "verdict: tight" in text
    assert "if every uncertain term is as expected" in text


def test_the_heads_address_is_put_in() -> None:
    answer = planned("2x8xH200", SPANNING["2x8xH200"])
    for kind in ("shell", "docker"):
        text = emit(kind, answer, deployment=Deployment(head_address="10.0.0.1"))
        assert text.count("--master-addr 10.0.0.1") == 2
        assert "HEAD_ADDRESS" not in text


def task_script(kind: str, gpus: str, settings: dict[str, object]) -> tuple[dict[str, object], str]:
    document = yaml.safe_load(emit(kind, planned(gpus, settings)))
    return document, document["run"] if kind == "skypilot" else "\n".join(document["commands"])


NODE_VARIABLES = {
    "skypilot": {"SKYPILOT_NODE_RANK": "{rank}", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"},
    "dstack": {"DSTACK_NODE_RANK": "{rank}", "DSTACK_MASTER_NODE_IP": "10.0.0.1"},
}


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", NODE_VARIABLES)
def test_a_task_over_nodes_gives_each_its_rank(kind: str, rank: int, tmp_path: Path) -> None:
    document, script = task_script(kind, "2x8xH200", SPANNING["2x8xH200"])
    assert document["num_nodes" if kind == "skypilot" else "nodes"] == 2
    for name, text in (("python3", "#!/bin/sh\nexit 0\n"), ("vllm", '#!/bin/sh\nprintf "%s\\n" "$@"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    given = {name: value.format(rank=rank) for name, value in NODE_VARIABLES[kind].items()}
    env = {**os.environ, **given, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True, timeout=60)
    words = done.stdout.split("\n")[:-1]
    assert words[words.index("--master-addr") + 1] == "10.0.0.1"
    assert words[words.index("--node-rank") + 1] == str(rank)
    assert ("--headless" in words) == (rank == 1)
    assert words[-1] != ""


@pytest.mark.parametrize("kind", NODE_VARIABLES)
def test_servers_of_their_own_are_replicas_of_a_service(kind: str) -> None:
    document, script = task_script(kind, "2x8xH200", {})
    replicas = document["service"]["replicas"] if kind == "skypilot" else document["replicas"]  # type: ignore[index]
    assert replicas == 2
    assert "--data-parallel" not in script
    assert "num_nodes" not in document


def test_files_are_written_where_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "8xH200", "--emit", "llm-d", "--output", str(tmp_path / "new")]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == list(
        emit_files("llm-d", planned("8xH200"))
    )
    (tmp_path / "file").write_text("")
    assert main(["--gpus", "8xH200", "--emit", "llm-d", "--output", str(tmp_path / "file" / "new")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "name"), [("json", "plan.json"), ("markdown", "plan.md"), ("html", "plan.html")])
def test_a_page_is_written_where_it_is_asked_for(
    kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--gpus", "8xH200", "--emit", kind]) == 0
    printed = capsys.readouterr().out
    assert main(["--gpus", "8xH200", "--emit", kind, "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name)]
    assert (tmp_path / name).read_text(encoding="utf-8") == printed


@pytest.mark.parametrize("kind", ["shell", "docker", "systemd"])
def test_servers_behind_a_balancer_are_told_to_be_reachable_and_have_no_head(kind: str) -> None:
    text = emit(kind, planned("2x8xH200"))
    assert "load balancer" in text
    assert "`--host ADDRESS`, with VLLM_API_KEY set" in text
    assert ", head" not in text
    assert "node 0, head" in emit("shell", planned("2x8xH200", SPANNING["2x8xH200"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--output", "."], "no `--emit TARGET`"), (["--json", "--emit", "shell"], "give one of them")],
)
def test_what_would_be_dropped_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "8xH200", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_place_without_a_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "8xH200", "--namespace", "llm"]) == 2
    assert "--emit TARGET" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpus", "name", "memory"),
    [("8xA100-SXM", "A100", "79GB.."), ("8xA100-40GB", "A100", "39GB.."), ("8xMI355X", "MI355X", None)],
)
def test_dstack_asks_for_the_size_where_a_name_stands_for_several(gpus: str, name: str, memory: str | None) -> None:
    answer = planned(gpus, {"vllm_version": "0.32.0"})
    asked = yaml.safe_load(emit("dstack", answer, unfit=True))["resources"]["gpu"]
    assert asked["name"] == [name]
    assert asked.get("memory") == memory
