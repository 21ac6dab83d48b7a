"""Preflight against a made-up environment: distributions, a parser and a hub cache that really lie on disk."""

from __future__ import annotations

import dataclasses
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hw_specs import parse_gpus
from planner.checkpoint.preset import load_preset
from planner.errors import InvalidRequest
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.serve import Endpoint, StartOrder, run_preflight
from planner.serve.check import Failed
from planner.serve.preflight import CHECKS
from planner.serve.preflight.machine import check_gpu_memory
from planner.serve.preflight.subject import Subject
from tests.ports import own_port

from .machine import MODEL, Machine, Start, one

pytestmark = pytest.mark.slow


def test_the_version_is_read_without_importing_anything(machine: Machine) -> None:
    assert one(machine.start(), "vllm").status == "pass"
    (machine.site / "vllm").mkdir()
    (machine.site / "vllm" / "__init__.py").write_text("raise SystemExit('imported')")
    assert one(machine.start(), "vllm").seen.startswith("0.33.0 at ")


@pytest.mark.parametrize(
    ("installed", "settings", "status", "words"),
    [
        ("0.19.1", {}, "fail", "needs 0.20.0 or newer"),
        ("0.20.0", {"num_speculative_tokens": 3}, "fail", "EAGLE drafts of this model needs 0.21.0"),
        ("0.32.0+cu129", {}, "warn", "0.32.0+cu129 is installed, the plan is for 0.33.0"),
        ("0.33.0+cpu", {}, "fail", "0.33.0+cpu is the CPU build, the plan is for "),
        ("0.33.0", {}, "pass", "0.33.0"),
        ("weird", {}, "unknown", "development build"),
    ],
)
def test_releases_against_the_model_s_needs(
    machine: Machine, installed: str, settings: dict[str, object], status: str, words: str
) -> None:
    machine.install("vllm", installed)
    result = one(machine.start(**settings), "vllm")  # type: ignore[arg-type]
    assert result.status == status and words in result.seen


def test_no_vllm_at_all(machine: Machine) -> None:
    start = machine.start()
    missing = Start(StartOrder.of_command(("/nowhere/vllm", "serve", MODEL)), start.plan)
    assert one(missing, "vllm").status == "fail"
    assert one(missing, "arguments").status == "unknown"
    (machine.site / "vllm-0.33.0.dist-info" / "METADATA").unlink()
    assert "has no vLLM" in one(machine.start(), "vllm").seen


def test_of_a_package_that_is_there_twice_the_imported_one_counts(machine: Machine, tmp_path: Path) -> None:
    machine.install("mistral_common", "1.12.0")
    behind = Machine(tmp_path / "behind")
    behind.install("mistral_common", "1.13.1")
    machine.env["PYTHONPATH"] += f":{behind.site}"
    assert (Subject(order=machine.start().order).versions or {})["mistral_common"] == "1.12.0"


@pytest.mark.parametrize(
    ("version", "engine", "status"),
    [
        ("1.13.0", "0.33.0", "fail"),
        ("1.13.1", "0.32.0", "fail"),
        ("1.12.0", "0.33.0", "pass"),
        ("1.13.1", "0.34.0", "warn"),
        ("1.11.0", "0.33.0", "fail"),
        ("1.13.1", "0.31.0", "pass"),
    ],
)
def test_the_mistral_common_that_breaks_chat(machine: Machine, version: str, engine: str, status: str) -> None:
    machine.install("vllm", engine)
    machine.install("mistral_common", version)
    result = one(machine.start(version=engine), "mistral_common")
    assert result.status == status
    assert bool(result.hint) == (status != "pass")


def test_an_old_transformers(machine: Machine) -> None:
    machine.install("transformers", "5.4.0")
    assert "needs 5.16.1" in one(machine.start(), "transformers").seen


@pytest.mark.parametrize("room", ["common", "launchers", "openai"])
def test_the_parser_is_found_in_each_of_its_places(machine: Machine, room: str) -> None:
    machine.add_parser(room)
    result = one(machine.start(), "arguments")
    assert result.status == "pass", result


def test_what_the_parser_refuses_is_repeated(machine: Machine) -> None:
    machine.add_parser()
    assert "unrecognized arguments: --enable-nonsense" in one(machine.start("--enable-nonsense"), "arguments").seen
    words = (str(machine.program), "serve", "M", "--enable-auto-tool-choice")
    alone = Start(StartOrder.of_command(words, env=machine.env, port=1))
    assert "requires --tool-call-parser" in one(alone, "arguments").seen


def test_an_abbreviation_is_no_flag(machine: Machine) -> None:
    machine.add_parser()
    result = one(machine.start("--enable-mm"), "arguments")
    assert result.status == "fail" and "`--enable-mm`: taken only as an abbreviation" in result.seen


def test_a_parser_that_cannot_be_asked_is_unknown(machine: Machine) -> None:
    machine.add_parser(text="import a_package_that_is_not_there")
    assert one(machine.start(), "arguments").status == "unknown"
    machine.add_parser(text="raise RuntimeError('Failed to infer device type')")
    result = one(machine.start(), "arguments")
    assert result.status == "unknown" and "Failed to infer device type" in result.seen


def test_an_image_is_not_looked_into(machine: Machine) -> None:
    start = machine.start(target="cuda")
    for name in ("vllm", "mistral_common", "transformers", "arguments"):
        assert one(start, name).status == "unknown"


def test_a_taken_port_and_a_free_one(machine: Machine) -> None:
    start = machine.start()
    assert one(start, "port").status == "pass"
    with socket.create_server(("127.0.0.1", start.order.endpoint.port)):
        result = one(start, "port")
    assert result.status == "fail" and "--port" in result.hint


def test_an_open_address_without_a_key(machine: Machine) -> None:
    base = machine.start()
    opened = dataclasses.replace(base.order, endpoint=Endpoint(host="0.0.0.0", port=1))
    assert one(Start(opened, base.plan), "api_key").status == "fail"
    keyed = {**machine.env, "VLLM_API_KEY": "secret-secret"}
    result = one(Start(dataclasses.replace(opened, env=keyed), base.plan), "api_key")
    assert result.status == "pass" and "secret-secret" not in result.seen


def test_no_gpu_here_is_a_failure_with_a_reason(machine: Machine) -> None:
    result = one(machine.start(), "gpus")
    assert result.status == "fail" and "8 needed" in result.seen and result.hint


def test_a_cpu_build_needs_no_gpu_unless_a_plan_counts_on_some(machine: Machine) -> None:
    machine.install("vllm", "0.32.0+cpu")
    planned = machine.start(version="0.32.0")
    alone = Start(StartOrder.of_command((*planned.order.argv[:2], "some/model"), env=machine.env, port=own_port()))
    names = ("gpus", "gpu_memory", "driver")
    assert {one(alone, name).status for name in (*names, "host_memory")} == {"pass"}
    assert {name: one(planned, name).status for name in names} == {
        "gpus": "fail", "gpu_memory": "skip", "driver": "skip"
    }  # fmt: skip
    assert one(alone, "vllm").status == "pass"
    assert one(planned, "vllm").status == "fail"


def test_docker_only_where_it_is_needed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(run_preflight(machine.start().order, only=["docker"])) == []
    monkeypatch.setattr("planner.serve.preflight.machine.shutil.which", lambda name: None)
    assert one(machine.start(target="cuda"), "docker").status == "fail"


def test_every_check_runs_and_keeps_to_one_line(machine: Machine) -> None:
    machine.add_parser()
    start = machine.start(num_speculative_tokens=3)
    results = list(run_preflight(start.order, plan=start.plan))
    # Those say nothing where no such variable is set, or no such driver is here.
    quiet = {
        "runtime",
        "nccl",
        "visible_devices",
        "allocator",
        "gone_variables",
        "unknown_variables",
        "variable_numbers",
        "host_ip",
        "hub",
        "driver_library",
        "variable_ports",
        "proxy",
        "gpu_override",
        "logging",
        "unplanned_flags",
        "variable_choices",
        "variable_files",
        "files",
        "packages",
        "shadows",
        "debugging",
        "library_variables",
        "numa",
        "architecture",
        "tokenizer",
        "quantization",
        "attention",
    }
    assert {result.name for result in results} >= set(CHECKS.names) - {"docker", "configuration"} - quiet
    assert all("\n" not in result.seen + result.hint and result.seen for result in results)
    assert all(result.hint for result in results if result.status == "fail")
    skipped = list(run_preflight(machine.start().order, only=["port", "api_key"], skip=["port"]))
    assert [result.name for result in skipped] == ["api_key"]
    with pytest.raises(InvalidRequest, match="there is no check `ports`"):
        list(run_preflight(machine.start().order, only=["ports"]))


def test_what_cannot_be_looked_at_is_unknown(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("planner.serve.preflight.machine.os.statvfs", broken)
    assert one(machine.start(), "shared_memory").status == "unknown"
    monkeypatch.setattr("planner.serve.preflight.checkpoint.shutil.disk_usage", broken)
    assert one(machine.start(), "disk").status == "unknown"


@pytest.mark.parametrize(
    ("layers", "free_gib", "words"),
    [
        (88, 12, "beside the KV cache the plan needs 67."),
        # 0.08 of the GPU holds the weights of these layers, but not what comes with them.
        (4, 11.9, "beside the KV cache the plan needs 13."),
        (88, 127, "--gpu-memory-utilization 0.89"),
        # Two ranks take 1.6 GiB before the engine looks: what is free now is not what it finds.
        (88, 129.5, "--gpu-memory-utilization 0.91"),
    ],
)
def test_a_smaller_share_is_named_only_where_the_plan_fits_into_it(layers: int, free_gib: float, words: str) -> None:
    """Seen on H200s that another server held: 0.08 of one was offered to models that need more."""
    whole = load_preset()
    model = replace(whole, layers=(replace(whole.layers[0], count=layers),))
    plan = make_plan(PlanRequest(gpus=parse_gpus("2xH200"), model=model, max_model_len=1024, vllm_version="0.33.0"))
    subject = Subject(order=StartOrder.of_command(("vllm", "serve", "some/model")), plan=plan)
    total = plan.gpus.memory_bytes
    busy = SimpleNamespace(label="0", free_bytes=int(free_gib * 2**30), engine_total_bytes=total, processes=[])
    # The cached look at this machine.
    vars(subject)["report"] = SimpleNamespace(selection=SimpleNamespace(chosen=[busy, busy]))
    vars(subject)["versions"] = {"vllm": "0.33.0"}
    with pytest.raises(Failed) as caught:
        check_gpu_memory(subject)
    assert words in caught.value.hint


@pytest.mark.parametrize(
    ("share", "enough"), [("0.9", False), ("0.1", True), (".9", False), ("1.5", True), ("x", True)]
)
def test_a_command_without_a_plan_may_not_ask_for_more_than_is_free(share: str, enough: bool) -> None:
    """Seen on an H200 of which 20 GB were free; what is no share at all the arguments are judged for."""
    words = ("vllm", "serve", "some/model", "--gpu-memory-utilization", share)
    subject = Subject(order=StartOrder.of_command(words))
    held = SimpleNamespace(name="python", pid=7)
    busy = SimpleNamespace(label="0", free_bytes=20 * 10**9, engine_total_bytes=150 * 10**9, processes=[held])
    vars(subject)["report"] = SimpleNamespace(selection=SimpleNamespace(chosen=[busy]))
    vars(subject)["versions"] = {"vllm": "0.33.0"}
    if enough:
        assert "free on GPU 0" in check_gpu_memory(subject)
        return
    with pytest.raises(Failed, match=r"held by python \(7\)") as caught:
        check_gpu_memory(subject)
    assert "--gpu-memory-utilization 0.13" in caught.value.hint
