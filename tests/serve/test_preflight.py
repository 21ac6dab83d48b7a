"""Preflight against a made-up environment: distributions, a parser and a hub cache that really lie on disk."""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from hw_specs import parse_gpus
from planner.checkpoint.preset import load_preset
from planner.errors import InvalidRequest
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.rendering.command import serve_command
from planner.serve import CheckResult, Endpoint, StartOrder, run_preflight
from planner.serve.check import Failed
from planner.serve.preflight import CHECKS
from planner.serve.preflight.checkpoint import hub_cache, layout_state, snapshot_of
from planner.serve.preflight.machine import check_gpu_memory
from planner.serve.preflight.subject import Subject
from tests.ports import own_port

MODEL = "mistralai/Mistral-Medium-3.5-128B"
PARSER = """
import argparse
class FlexibleArgumentParser(argparse.ArgumentParser):
    def parse_args(self, args=None):
        return super().parse_args([a.split("=")[0].replace("_", "-") if a.startswith("--") else a for a in args])
"""
CLI_ARGS = """
def make_arg_parser(parser):
    parser.add_argument("model")
    for name in ("host", "port", "tensor-parallel-size", "max-model-len", "max-num-seqs", "max-num-batched-tokens",
                 "gpu-memory-utilization", "tokenizer-mode", "config-format", "load-format", "tool-call-parser",
                 "reasoning-parser"):
        parser.add_argument("--" + name)
    for name in ("enable-auto-tool-choice", "enable-mm-embeds"):
        parser.add_argument("--" + name, action="store_true")
    print("INFO an import may talk")
    return parser
def validate_parsed_serve_args(args):
    if args.enable_auto_tool_choice and not args.tool_call_parser:
        raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")
"""


class Start(NamedTuple):
    order: StartOrder
    plan: Plan | None = None


class Machine:
    """A folder that plays the engine's environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site = root / "site"
        self.program = root / "bin" / "vllm"
        self.program.parent.mkdir(parents=True)
        self.program.write_text(f"#!{sys.executable}\nraise SystemExit('never run')\n")
        self.program.chmod(0o755)
        self.env = {"PYTHONPATH": str(self.site), "HF_HOME": str(root / "hf"), "HF_HUB_OFFLINE": ""}

    def install(self, name: str, version: str) -> None:
        for old in self.site.glob(f"{name}-*.dist-info"):
            (old / "METADATA").unlink()
            old.rmdir()
        folder = self.site / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def add_parser(self, room: str = "common", text: str = CLI_ARGS) -> None:
        for folder in ("vllm", "vllm/entrypoints", f"vllm/entrypoints/{room}", "vllm/utils"):
            (self.site / folder).mkdir(parents=True, exist_ok=True)
            (self.site / folder / "__init__.py").touch()
        (self.site / "vllm" / "utils" / "argparse_utils.py").write_text(PARSER)
        (self.site / "vllm" / "entrypoints" / room / "cli_args.py").write_text(text)

    def start(
        self, *extra: str, gpus: str = "8xH200", version: str = "0.33.0", target: str = "local",
        checkpoint_bytes: int | None = None, **settings: object,
    ) -> Start:  # fmt: skip
        """A start of the plan; `checkpoint_bytes` makes the planned checkpoint as small as the cached one."""
        answer = make_plan(PlanRequest(gpus=parse_gpus(gpus), vllm_version=version, **settings))  # type: ignore[arg-type]
        if checkpoint_bytes is not None:
            answer = dataclasses.replace(
                answer, model=dataclasses.replace(answer.model, checkpoint_bytes=checkpoint_bytes)
            )
        argv = (str(self.program), *serve_command(answer).argv[1:], *extra)
        order = StartOrder.of_command(argv, env=self.env, port=own_port())
        return Start(dataclasses.replace(order, target=target), answer)

    def cache(self, files: dict[str, bytes], *, name: str = MODEL) -> Path:
        home = self.root / "hf" / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = home / "snapshots" / "abc"
        snapshot.mkdir(parents=True, exist_ok=True)
        (home / "blobs").mkdir(exist_ok=True)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text("abc")
        for number, (file, data) in enumerate(files.items()):
            blob = home / "blobs" / f"b{number}"
            blob.write_bytes(data)
            (snapshot / file).unlink(missing_ok=True)
            (snapshot / file).symlink_to(blob)
        return snapshot


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "machine")
    made.install("vllm", "0.33.0")
    made.install("mistral_common", "1.12.0")
    made.install("transformers", "5.19.0")
    return made


def one(start: Start, name: str) -> CheckResult:
    [result] = run_preflight(start.order, plan=start.plan, only=[name])
    return result


def tensors(size: int = 64, *, cut: int = 0) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(size)
    return whole[: len(whole) - cut]


def index(*names: str) -> bytes:
    return json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}}).encode()


NATIVE = {
    "params.json": b'{"dim": 12288}',
    "tekken.json": b'{"config": {}}',
    "consolidated.safetensors.index.json": index("consolidated-1.safetensors", "consolidated-2.safetensors"),
    "consolidated-1.safetensors": tensors(),
    "consolidated-2.safetensors": tensors(),
}
HF = {
    "config.json": b'{"text_config": {"rope_parameters": {"mscale_all_dim": 0.0}}}',
    "model.safetensors.index.json": index("model-1.safetensors"),
    "model-1.safetensors": tensors(),
}


# ---------------------------------------------------------------- the engine


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


# ---------------------------------------------------------------- the checkpoint


def test_a_complete_layout_in_the_cache(machine: Machine) -> None:
    machine.cache(NATIVE)
    start = machine.start(checkpoint_bytes=128)
    result = one(start, "checkpoint")
    assert result.status == "pass" and "mistral layout complete: 2 files" in result.seen
    assert one(start, "disk").seen == "nothing to download"


def test_whole_files_of_a_smaller_model_are_not_the_planned_one(machine: Machine) -> None:
    machine.cache(NATIVE)
    result = one(machine.start(), "checkpoint")
    assert result.status == "fail" and "0.00 GiB, this model's 124.43" in result.seen
    assert "124.43 GiB to download" in one(machine.start(), "disk").seen


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"consolidated-00001-of-00003.safetensors": tensors()}, "2 missing or damaged: consolidated-00002-of-00003"),
        ({**NATIVE, "consolidated.safetensors.index.json": b'{"weight_map": {"a": "cons'}, "index.json"),
        ({**NATIVE, "consolidated.safetensors.index.json": b"{}"}, "index.json"),
        ({"consolidated-1.safetensors": tensors()}, "index.json"),
        ({**NATIVE, "params.json": b""}, "params.json"),
        ({**NATIVE, "tekken.json": b"not json"}, "tekken.json"),
        ({**NATIVE, "consolidated-1.safetensors": b"\x02" + bytes(7) + b"[]"}, "consolidated-1.safetensors"),
    ],
)
def test_what_only_looks_complete_is_not(machine: Machine, files: dict[str, bytes], words: str) -> None:
    configs = {name: data for name, data in NATIVE.items() if name in ("params.json", "tekken.json")}
    machine.cache({**configs, **files})
    result = one(machine.start(checkpoint_bytes=64), "checkpoint")
    assert result.status == "warn" and words in result.seen


def test_shards_that_number_themselves_need_no_index(machine: Machine) -> None:
    shards = {f"consolidated-{n:05d}-of-00003.safetensors": tensors() for n in (1, 2, 3)}
    machine.cache({"params.json": NATIVE["params.json"], "tekken.json": NATIVE["tekken.json"], **shards})
    assert "3 files" in one(machine.start(checkpoint_bytes=192), "checkpoint").seen


@pytest.mark.parametrize("reference", [None, "another-commit"])
def test_only_the_snapshot_that_the_reference_names_counts(machine: Machine, reference: str | None) -> None:
    snapshot = machine.cache(NATIVE)
    main = snapshot.parent.parent / "refs" / "main"
    main.unlink() if reference is None else main.write_text(reference)
    assert snapshot_of(MODEL, machine.env) is None
    start = machine.start(checkpoint_bytes=128)
    assert one(start, "checkpoint").status == "warn"
    assert "to download" in one(start, "disk").seen and "nothing" not in one(start, "disk").seen
    offline = Start(dataclasses.replace(start.order, env={**machine.env, "HF_HUB_OFFLINE": "1"}), start.plan)
    assert one(offline, "checkpoint").status == "fail"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"consolidated-2.safetensors": None}, "consolidated-2.safetensors"),
        ({"consolidated-2.safetensors": tensors(cut=1)}, "consolidated-2.safetensors"),
        ({"consolidated-2.safetensors": b"12"}, "consolidated-2.safetensors"),
        ({"tekken.json": None}, "tekken.json"),
    ],
)
def test_missing_and_cut_files_are_named(machine: Machine, change: dict[str, bytes | None], words: str) -> None:
    machine.cache({name: data for name, data in {**NATIVE, **change}.items() if data is not None})
    result = one(machine.start(), "checkpoint")
    assert result.status == "warn" and words in result.seen and "--include" in result.hint
    start = machine.start()
    offline = Start(dataclasses.replace(start.order, env={**machine.env, "HF_HUB_OFFLINE": "1"}), start.plan)
    assert one(offline, "checkpoint").status == "fail"


def test_the_other_layout_is_not_the_planned_one(machine: Machine) -> None:
    machine.cache(HF)
    result = one(machine.start(checkpoint_bytes=64), "checkpoint")
    assert result.status == "warn" and "only the hf layout is here" in result.seen
    assert one(machine.start(load_format="hf", checkpoint_bytes=64), "checkpoint").status == "pass"


def test_an_empty_cache_says_how_to_fetch_one_layout(machine: Machine) -> None:
    result = one(machine.start(), "checkpoint")
    assert result.status == "warn" and "--include 'consolidated*'" in result.hint
    assert "--exclude 'consolidated*'" in one(machine.start(load_format="hf"), "checkpoint").hint


def test_disk_room_is_for_one_layout_less_what_is_here(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 100 * 2**30

    monkeypatch.setattr("planner.serve.preflight.checkpoint.shutil.disk_usage", lambda place: Usage)
    result = one(machine.start(), "disk")
    assert result.status == "fail" and "124.43 GiB to download, 100.00 GiB free" in result.seen
    assert "248.86 GiB" in result.hint and "GB " not in result.seen + result.hint
    Usage.free = 300 * 2**30
    assert one(machine.start(), "disk").status == "pass"


def test_the_draft_is_looked_for_where_one_is_used(machine: Machine) -> None:
    start = machine.start()
    assert list(run_preflight(start.order, plan=start.plan, only=["draft"])) == []
    start = machine.start(num_speculative_tokens=3)
    assert one(start, "draft").status == "warn"
    draft = {name: data for name, data in NATIVE.items() if "index" not in name and "-" not in name}
    machine.cache({**draft, "consolidated.safetensors": tensors()}, name=f"{MODEL}-EAGLE")
    assert one(start, "draft").status == "pass"


def test_the_yarn_trap(machine: Machine) -> None:
    bad = b'{"text_config": {"rope_parameters": {"mscale_all_dim": 1.0}}}'
    start = machine.start()
    assert list(run_preflight(start.order, plan=start.plan, only=["configuration"])) == []
    machine.cache({**NATIVE, **HF, "config.json": bad})
    assert one(machine.start(), "configuration").status == "warn"
    assert one(machine.start(load_format="hf"), "configuration").status == "fail"
    machine.install("vllm", "0.29.0")
    assert one(machine.start(load_format="hf", version="0.29.0"), "configuration").status == "warn"
    machine.cache({**NATIVE, **HF})
    assert one(machine.start(load_format="hf"), "configuration").status == "pass"


def test_the_cache_is_where_the_hub_says(tmp_path: Path) -> None:
    assert hub_cache({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}) == Path("/a")
    assert hub_cache({"HF_HOME": "/b"}) == Path("/b/hub")
    assert hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert hub_cache({"HOME": "/home/u"}) == Path("/home/u/.cache/huggingface/hub")
    assert snapshot_of("a/b", {"HF_HOME": str(tmp_path)}) is None
    assert not layout_state(tmp_path, "mistral").complete


# ---------------------------------------------------------------- the machine


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
        "gpus": "fail", "gpu_memory": "unknown", "driver": "fail"
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
        "debugging",
        "numa",
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
