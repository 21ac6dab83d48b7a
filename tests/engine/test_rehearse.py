"""The whole rehearsal from the command line, and the real geometry's KV cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.checkpoint import load_preset
from planner.cli import main
from planner.memory.kv_cache import KvGeometry, kv_bytes_per_token
from planner.serve.log.events import Figure, ServerReady
from planner.serve.preflight.installed import InstalledEngine
from planner.serve.process.launcher import launch
from planner.serve.process.start_order import StartOrder
from planner.serve.rehearsal.full_size_plan import FULL_SIZE_CHECKS
from planner.serve.rehearsal.twin import TwinSpec, make_twin
from planner.serve.verification.smoke import Expectations
from planner.serve.verification.verifier import verify
from tests.ports import own_port

from .conftest import ENV, follow_all

FP8_PLUGIN = Path(__file__).parent / "fp8_plugin"

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def test_a_text_only_plan_is_rehearsed(engine: InstalledEngine, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["rehearse", "--gpus", "1xMI300X", "--language-model-only", "--max-model-len", "16384", "--kv-cache-dtype"]
    assert main([*argv, "fp8", "--vllm", str(engine.executable), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    results = {result["name"]: result for result in document["verification"]["checks"]}
    assert "At most 0 image(s)" in results["image"]["seen"]
    assert results["speculative"]["seen"] == "no draft, as planned"
    assert "fp8" in results["kv-cache"]["seen"]
    assert "--language-model-only" in document["argv"]
    assert "VLLM_ROCM_USE_AITER" not in document["env"]
    assert any("FP8 kernels" in unproved for unproved in document["unproved"])


def test_the_models_own_dimensions_with_random_weights(
    engine: InstalledEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration alone is enough for the engine, and every check that asks nothing of the answers passes."""
    model = make_twin(tmp_path / "t", spec=TwinSpec(fp8=True, head_dim=32, image_size=448), weights=False).path
    argv = ["rehearse", "--full-size", "--gpus", "1xH200", "--model", str(model), "--max-model-len", "4096"]
    assert main([*argv, "--vllm", str(engine.executable), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {result["name"]: result["status"] for result in document["verification"]["checks"]} == dict.fromkeys(
        FULL_SIZE_CHECKS, "pass"
    )
    assert document["comparison"] is None


def test_a_package_that_breaks_every_chat_is_found(
    engine: InstalledEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server starts and is healthy; only a chat shows that mistral_common and vLLM do not fit."""
    monkeypatch.setenv("PYTHONPATH", str(engine.executable.parents[1] / "mistral_common_1.13"))
    argv = ["rehearse", "--gpus", "8xH200", "--max-model-len", "8192", "--vllm", str(engine.executable), "--json"]
    assert main(argv) == 6
    results = {result["name"]: result for result in json.loads(capsys.readouterr().out)["verification"]["checks"]}
    assert results["health"]["status"] == results["model"]["status"] == "pass"
    assert results["chat"]["status"] == "fail"
    assert "mistral_common" in results["chat"]["hint"]


def test_the_real_geometry_has_the_planned_blocks(engine: InstalledEngine, tmp_path: Path) -> None:
    real = load_preset()
    spec = TwinSpec(
        vision=False,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=real.num_hidden_layers,
        num_attention_heads=real.num_attention_heads,
        num_key_value_heads=real.num_key_value_heads,
        head_dim=real.head_dim,
    )
    twin = make_twin(tmp_path / "t", spec=spec)
    bytes_per_token = kv_bytes_per_token(real, layers=real.num_hidden_layers, tensor_parallel_size=1)
    geometry = KvGeometry(bytes_per_token=bytes_per_token, block_size=128, null_block_reserved=True)
    size_bytes, length = 2 * 2**30, 2048
    mode = [word for name in ("tokenizer-mode", "config-format", "load-format") for word in (f"--{name}", "mistral")]
    limits = ["--max-model-len", str(length), "--kv-cache-memory-bytes", str(size_bytes), "--max-num-seqs", "4"]
    argv = [str(engine.executable), "serve", str(twin.path), "--enforce-eager", *mode, *limits]
    run = launch(StartOrder.of_command(argv, env=ENV, port=own_port()))
    try:
        events = follow_all(run)
    finally:
        run.stop()
    assert isinstance(events[-1], ServerReady), run.read_log()[-2000:].decode()
    told = {event.name: event.value for event in events if isinstance(event, Figure)}
    assert told["kv_cache_tokens"] == geometry.tokens(geometry.num_blocks(size_bytes), length)


def test_the_fp8_twin_is_loaded_and_keeps_to_its_script(engine: InstalledEngine, tmp_path: Path) -> None:
    spec = TwinSpec(fp8=True, head_dim=32, image_size=448, draft_layers=2)
    twin = make_twin(tmp_path / "t", spec=spec)
    draft = json.dumps({"model": str(twin.draft_path), "method": "eagle", "num_speculative_tokens": 3})
    mode = [word for name in ("tokenizer-mode", "config-format", "load-format") for word in (f"--{name}", "mistral")]
    parsers = ["--enable-auto-tool-choice", "--tool-call-parser", "mistral", "--reasoning-parser", "mistral"]
    limits = ["--max-model-len", "4096", "--kv-cache-memory-bytes", "64M", "--max-num-seqs", "8"]
    argv = [str(engine.executable), "serve", str(twin.path), "--enforce-eager", *mode, *parsers, *limits]
    words = [*argv, "--speculative-config", draft]
    run = launch(StartOrder.of_command(words, env=ENV | {"PYTHONPATH": str(FP8_PLUGIN)}, port=own_port()))
    try:
        events = follow_all(run)
        assert isinstance(events[-1], ServerReady), run.read_log()[-3000:].decode()
        report = verify(run.url, Expectations(images=True, num_speculative_tokens=3), timeout_s=300)
    finally:
        run.stop()
    assert [(one.name, one.seen) for one in report.checks if one.status not in ("pass", "skip")] == []
    assert all("twin" in one.seen for one in report.checks if one.status == "skip")
    assert "fp8" in run.read_log().decode().lower()
