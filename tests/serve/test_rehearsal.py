from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner import Plan, PlanRequest, load_preset, plan, serve_command
from planner.calibrate import keep
from planner.cli import main
from planner.errors import InvalidRequest, LaunchFailed
from planner.memory.weights import rank_weights
from planner.serve.log.remedy import calibration_record
from planner.serve.preflight.installed import InstalledEngine, find_engine
from planner.serve.process.runs import list_runs
from planner.serve.rehearsal.full_size_plan import FULL_SIZE_CHECKS, rehearsal_command, rehearsal_plan
from planner.serve.rehearsal.rehearse import rehearse
from planner.serve.verification.smoke import Expectations
from tests.ports import own_port

from .runs import wait_for

pytestmark = pytest.mark.slow

FAKE = Path(__file__).parent / "fakes" / "fake_engine.py"
GPU = InstalledEngine(executable=Path("/opt/vllm/bin/vllm"), version="0.33.0")
CPU = InstalledEngine(executable=Path("/opt/vllm/bin/vllm"), version="0.32.0+cpu")
PLUMBING = {"--host", "--port", "--served-model-name"}


def planned(gpus: str = "8xH200", **settings: object) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(gpus), **settings))  # type: ignore[arg-type]


PLANS = {
    "plain": planned(),
    "eagle": planned(num_speculative_tokens=3),
    "rocm": planned("1xMI300X", language_model_only=True, max_model_len=65536),
    "fp8 KV": planned("4xB200", kv_cache_dtype="fp8"),
    "odd KV": planned("8xB200", kv_cache_dtype="nvfp4"),
    "blocks": planned(block_size=64),
    "odd blocks": planned(block_size=16),
    "pipeline": planned(tensor_parallel_size=4, pipeline_parallel_size=2),
    "replicas": planned(tensor_parallel_size=4, replicas=2),
    "by hand": planned(kv_cache_memory_bytes=2**34, enforce_eager=True),
}


def options(argv: tuple[str, ...]) -> dict[str, str]:
    """Option → value of an argv, flags with an empty value."""
    found = {}
    for index, part in enumerate(argv):
        if part.startswith("--"):
            following = argv[index + 1] if index + 1 < len(argv) else "--"
            found[part] = "" if following.startswith("--") else following
    return found


@pytest.mark.parametrize("full_size", [False, True], ids=["tiny", "full size"])
@pytest.mark.parametrize("engine", [GPU, CPU], ids=["gpu", "cpu"])
@pytest.mark.parametrize("answer", PLANS.values(), ids=PLANS)
def test_every_difference_from_the_plan_is_named(answer: Plan, engine: InstalledEngine, full_size: bool) -> None:
    rehearsal = rehearsal_plan(answer, engine, full_size=full_size)
    draft = "/twin/draft" if rehearsal.twin.draft_layers else None
    command = rehearsal_command(answer, rehearsal, model="/twin/model", draft=draft, engine=engine, port=5)
    before, after = options(serve_command(answer).argv), options(command.argv)
    if "--speculative-config" in before:
        config = json.loads(before["--speculative-config"]) | {"model": "/twin/draft"}
        assert json.loads(after.pop("--speculative-config")) == config
        del before["--speculative-config"]
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} - PLUMBING
    named = {change.what for change in rehearsal.changes}
    if "--tensor-parallel-size" in named:
        named.add("--pipeline-parallel-size")
    assert changed <= named
    assert command.argv[:3] == ("/opt/vllm/bin/vllm", "serve", "/twin/model")
    assert after["--served-model-name"] == answer.model.name
    assert all(change.unproved for change in rehearsal.changes)


@pytest.mark.parametrize("answer", PLANS.values(), ids=PLANS)
def test_a_gpu_build_changes_the_checkpoint_alone(answer: Plan) -> None:
    rehearsal = rehearsal_plan(answer, GPU)
    assert [change.what for change in rehearsal.changes] == ["checkpoint"]
    assert rehearsal.twin.fp8
    assert rehearsal.expectations.num_gpu_blocks is None


@pytest.mark.parametrize("answer", PLANS.values(), ids=PLANS)
def test_at_full_size_a_gpu_build_must_meet_the_plan_itself(answer: Plan) -> None:
    rehearsal = rehearsal_plan(answer, GPU, full_size=True)
    assert [change.what for change in rehearsal.changes] == ["checkpoint", "--load-format"]
    assert not any("memory" in unproved for unproved in rehearsal.unproved)
    assert rehearsal.settings == answer.settings
    assert rehearsal.expectations == Expectations.from_plan(answer)
    draft = answer.model.draft if answer.settings.num_speculative_tokens else None
    made = rehearsal.twin.model_spec(answer.model.name)
    assert rank_weights(made, tensor_parallel_size=1, draft=draft is not None) == rank_weights(
        answer.model, tensor_parallel_size=1, draft=draft is not None
    )


@pytest.mark.parametrize("answer", PLANS.values(), ids=PLANS)
def test_a_cpu_build_gets_room_for_one_whole_sequence(answer: Plan) -> None:
    rehearsal = rehearsal_plan(answer, CPU)
    blocks, size = rehearsal.expectations.num_gpu_blocks, rehearsal.expectations.block_size
    assert blocks is not None
    assert size is not None
    assert size % 32 == 0
    assert (blocks - 1) * size >= answer.settings.max_model_len


def test_a_layout_that_no_twin_has_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="own checkpoint layout"):
        rehearsal_plan(planned(load_format="hf"), GPU)
    nvfp4 = plan(PlanRequest(gpus=parse_gpus("8xB200"), model=load_preset("mistral-medium-3.5-128b-nvfp4")))
    with pytest.raises(InvalidRequest, match="Hugging Face's checkpoint layout alone") as raised:
        rehearsal_plan(nvfp4, GPU)
    assert "--model" in str(raised.value.hint)


def test_several_nodes_are_rehearsed_on_a_cpu_build_only() -> None:
    answer = planned("2x8xH100", tensor_parallel_size=8, pipeline_parallel_size=2)
    assert "several ranks: sharding, collectives, NCCL or RCCL" in rehearsal_plan(answer, CPU).unproved
    with pytest.raises(InvalidRequest, match="cannot be rehearsed from one of them") as raised:
        rehearsal_plan(answer, GPU)
    assert "--gpus 8xH100" in str(raised.value.hint)


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    """A fake engine of release 0.33.0 in an environment of its own."""
    executable = tmp_path / "engine" / "bin" / "vllm"
    executable.parent.mkdir(parents=True)
    executable.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(FAKE))} "$@"\n')
    executable.chmod(0o755)
    # An interpreter beside it, as in a virtual environment, to be asked for the metadata.
    base = Path(sys.executable).resolve()
    (executable.parent / "python").symlink_to(base)
    (tmp_path / "engine" / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    metadata = tmp_path / "engine" / "lib" / python / "site-packages" / "vllm-0.33.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n")
    return executable


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, so that a test sees whether they are gone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_version_is_read_from_the_metadata(vllm: Path) -> None:
    engine = find_engine(str(vllm))
    assert (engine.version, engine.release, engine.cpu) == ("0.33.0", "0.33.0", False)


def test_no_engine_is_an_error_with_a_way_out() -> None:
    with pytest.raises(LaunchFailed, match="no executable `/none/vllm`") as raised:
        find_engine("/none/vllm")
    assert "--vllm" in str(raised.value.hint)


def test_a_rehearsal_runs_from_twin_to_report(vllm: Path, scratch: Path) -> None:
    stages: list[str] = []
    answer = planned(max_model_len=4096, num_speculative_tokens=3)
    report = rehearse(answer, engine=find_engine(str(vllm)), start_limit_s=30, on_stage=stages.append)
    assert report.verification is not None
    assert [result.seen for result in report.verification.failed] == []
    assert report.passed
    assert stages == ["twin", "start", "checks", "stop"]
    assert list(scratch.iterdir()) == []
    (run,) = list_runs()
    assert not run.status().alive
    assert json.loads((run.directory / "rehearsal.json").read_text())["passed"] is True


def test_what_is_rehearsed_is_what_would_be_launched(vllm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plans on this machine rest on what was measured here, and so does the rehearsal of one."""
    first = planned("1xMI300X", language_model_only=True)
    keep(calibration_record(first, terms={"outside_torch": 6 * 2**30}, run="an earlier start"))
    asked = ["--gpus", "1xMI300X", "--language-model-only"]
    lengths = []
    for argv in (["launch", *asked, "--dry-run"], ["rehearse", *asked, "--vllm", str(vllm)]):
        main([*argv, "--json"])  # what the fake engine serves is of no interest here
        words = json.loads(capsys.readouterr().out)["argv"]
        lengths.append(int(words[words.index("--max-model-len") + 1]))
    assert lengths[0] == lengths[1] < first.settings.max_model_len


def test_a_full_size_rehearsal_asks_nothing_of_the_answers_and_measures(
    vllm: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["rehearse", "--full-size", "--gpus", "8xH200", "--max-model-len", "4096", "--vllm", str(vllm)]
    assert main([*argv, "--skip", "long", "--skip", "kv-cache", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["full_size"] is True
    assert document["argv"][document["argv"].index("--load-format") + 1] == "dummy"
    assert document["twin_bytes"] == 0
    assert [result["name"] for result in document["verification"]["checks"]] == [
        name for name in FULL_SIZE_CHECKS if name not in ("long", "kv-cache")
    ]
    assert document["comparison"]["summary"]
    run = Path(document["run_directory"])
    assert json.loads((run / "plan.json").read_text())["settings"]["max_model_len"] == 4096
    assert list(scratch.iterdir()) == []


def test_a_cpu_host_without_the_memory_is_told_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.serve.preflight.machine.available_memory_bytes", lambda: 16 * 2**30)
    with pytest.raises(InvalidRequest, match=r"237\.87 GiB of host memory, and 16\.00 GiB are available"):
        rehearse(planned(), engine=CPU, full_size=True)


@pytest.mark.parametrize("stage", ["start", "checks"])
def test_an_interrupt_leaves_neither_server_nor_twin(stage: str, vllm: Path, scratch: Path) -> None:
    def interrupt(reached: str) -> None:
        if reached == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(planned(max_model_len=4096), engine=find_engine(str(vllm)), start_limit_s=30, on_stage=interrupt)
    assert list(scratch.iterdir()) == []
    assert [run for run in list_runs() if run.status().alive] == []


def test_a_killed_rehearsal_leaves_neither_server_nor_twin(
    vllm: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M35_FAKE_FAULT", "never-up")
    child = os.fork()
    if child == 0:
        try:
            rehearse(planned(max_model_len=4096), engine=find_engine(str(vllm)), start_limit_s=60)
        finally:
            os._exit(0)
    wait_for(lambda: [run for run in list_runs() if run.status().state == "running"])
    assert list(scratch.iterdir()) != []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (run,) = list_runs()
    wait_for(lambda: not run.status().alive)
    assert run.status().state == "stopped"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [("crash", 5, "did not come up"), ("colour-blind", 6, "failed: image"), ("never-up", 7, "did not come up")],
)
def test_each_failure_has_its_exit_code(
    fault: str,
    code: int,
    words: str,
    vllm: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("M35_FAKE_FAULT", fault)
    argv = ["rehearse", "--gpus", "8xH200", "--eagle", "--max-model-len", "4096", "--vllm", str(vllm)]
    assert main([*argv, "--start-limit", "1" if fault == "never-up" else "30"]) == code
    output = capsys.readouterr().out
    assert words in output
    assert "not rehearsed" in output
    assert max(map(len, output.splitlines()[:-1])) <= 80
    assert list(scratch.iterdir()) == []
    assert not list_runs()[0].status().alive


def test_a_failed_start_names_the_cause(
    vllm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("M35_FAKE_FAULT", "crash")
    assert main(["rehearse", "--gpus", "8xH200", "--vllm", str(vllm), "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["verification"] is None
    assert document["failure"]["evidence"]


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--gpus", "1xH100"], 3),
        (["--gpus", "8xH200", "--load-format", "hf"], 2),
        (["--gpus", "8xH200", "--skip", "nothing"], 2),
        (["--gpus", "8xH200", "--vllm", "/none"], 5),
    ],
)
def test_what_cannot_be_rehearsed_is_refused(
    argv: list[str], code: int, vllm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = [] if "--vllm" in argv else ["--vllm", str(vllm)]
    assert main(["rehearse", *argv, *engine]) == code
    assert "hint: " in capsys.readouterr().err
    assert list_runs() == []


def test_a_launched_run_brings_its_own_address_and_plan(vllm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan_options = ["--gpus", "8xH200", "--max-model-len", "4096", "--port", str(own_port())]
    assert main(["launch", *plan_options, "--vllm", str(vllm), "--no-check"]) == 0
    capsys.readouterr()
    assert main(["verify", "--run", "latest", "--only", "max-model-len", "--only", "chat"]) == 0
    # The fake draws draft tokens, and the run was planned without a draft.
    assert main(["verify", "--run", "latest", "--only", "speculative"]) == 6
    assert main(["verify", "http://127.0.0.1:1", "--run", "latest"]) == 2
    assert "no draft is planned" in capsys.readouterr().out
