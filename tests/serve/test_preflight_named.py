"""What flags name on this machine: files, packages and modules, each there and not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from planner.serve import CheckResult, StartOrder, run_preflight
from tests.ports import own_port

from .machine import Machine


def checked(machine: Machine, name: str, *flags: str, target: str = "local", **env: str) -> CheckResult | None:
    words = (str(machine.program), "serve", "M", *flags)
    order = StartOrder.of_command(words, env=machine.env | env, port=own_port())
    return next(iter(run_preflight(dataclasses.replace(order, target=target), only=[name])), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "flags",
    [
        ["--ssl-keyfile", "/nowhere/key.pem"],
        ["--ssl-certfile=/nowhere/cert.pem"],
        ["--ssl_ca_certs", "/nowhere/ca.pem"],
        ["--config", "/nowhere/config.yaml"],
        ["--chat-template", "/nowhere/template.jinja"],
        ["--tokenizer", "/nowhere/tokenizer"],
        ["--enable-lora", "--lora-modules", "mine=org/name", "own=/nowhere/adapter"],
        ["--lora-modules", '{"name": "own", "path": "/nowhere/adapter"}'],
    ],
)
def test_a_file_that_a_flag_names_and_that_is_not_there(machine: Machine, flags: list[str]) -> None:
    result = checked(machine, "files", *flags)
    assert result is not None and result.status == "fail" and "/nowhere/" in result.seen and result.hint
    inside = checked(machine, "files", *flags, target="cuda")
    assert inside is not None and inside.status == "skip"


def test_an_adapter_has_its_configuration(machine: Machine, tmp_path: Path) -> None:
    words = ("--enable-lora", "--lora-modules", f"mine={tmp_path}", "--seed", "1")
    result = checked(machine, "files", *words)
    assert result is not None and result.status == "fail" and "adapter_config.json" in result.seen
    (tmp_path / "adapter_config.json").write_text("{}")
    result = checked(machine, "files", *words)
    assert result is not None and result.status == "pass"


@pytest.mark.parametrize(
    "flags",
    [
        ["--chat-template", "{{ messages }}/nowhere"],
        ["--chat-template", "tool_chat_template_mistral.jinja"],
        ["--tokenizer", "mistralai/Mistral-Medium-3.5-128B"],
        ["--lora-modules", "mine=org/name"],
        ["--served-model-name", "/nowhere"],
    ],
)
def test_what_is_not_a_path_is_not_looked_for(machine: Machine, flags: list[str]) -> None:
    assert checked(machine, "files", *flags) is None


@pytest.mark.parametrize(
    ("flags", "package"),
    [
        (["--distributed-executor-backend", "ray"], "ray"),
        (["--load-format", "runai_streamer"], "runai_model_streamer"),
        (["--load-format=tensorizer"], "tensorizer"),
        (["--data-parallel-backend", "ray"], "ray"),
    ],
)
def test_a_package_that_a_value_needs(machine: Machine, flags: list[str], package: str) -> None:
    machine.install("vllm", "0.33.0")
    result = checked(machine, "packages", *flags)
    assert result is not None and result.status == "fail" and package.replace("_", "-") in result.hint
    machine.install(package, "1.0")
    result = checked(machine, "packages", *flags)
    assert result is not None and result.status == "pass"
    assert checked(machine, "packages", "--load-format", "safetensors", "--distributed-executor-backend", "mp") is None


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ("random.py", "fail"),
        ("torch.py", "fail"),
        ("uvicorn.py", "fail"),
        ("vllm/__init__.py", "warn"),
        ("numpy/__init__.py", "warn"),
        ("typing_extensions.py", "warn"),
        ("test.py", None),
        ("vllm/notes.txt", None),
        ("mine.py", None),
    ],
)
def test_a_file_that_hides_a_module(machine: Machine, tmp_path: Path, file: str, status: str | None) -> None:
    mine = tmp_path / "mine"
    (mine / file).parent.mkdir(parents=True)
    (mine / file).touch()
    path = f"{mine}:{machine.site}"
    result = checked(machine, "shadows", PYTHONPATH=path)
    assert (result.status if result is not None else None) == status
    machine.install("vllm", "0.33.0")
    (mine / "vllm-0.33.0.dist-info").mkdir()
    assert checked(machine, "shadows", PYTHONPATH=path) is None, "a folder of installed packages hides nothing"


def test_the_working_folder_counts_for_a_module_that_is_run(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.install("vllm", "0.33.0")
    (tmp_path / "torch.py").touch()
    monkeypatch.chdir(tmp_path)
    words = ("python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "M")
    order = StartOrder.of_command(words, env=machine.env, port=own_port())
    assert [one.status for one in run_preflight(order, only=["shadows"])] == ["fail"]
    assert checked(machine, "shadows") is None


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
def test_an_option_that_the_allocator_does_not_have(machine: Machine, name: str) -> None:
    machine.install("vllm", "0.33.0")
    result = checked(machine, "allocator", **{name: "expandable_segment:True"})
    assert result is not None and result.status == "fail" and "`expandable_segments`" in result.hint
    result = checked(machine, "allocator", **{name: "something_newer:1"})
    assert result is not None and result.status == "warn"
    fine = "backend:native,large_segment_size_mb:40,roundup_power2_divisions:[256:1,512:2,>:8]"
    assert checked(machine, "allocator", **{name: fine}) is None
