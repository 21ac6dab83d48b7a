"""``--model`` from the command line: plans of other models, and errors a person can act on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.cli import main
from tests.checkpoint.checkpoints import LLAMA, M35_CONFIG


def test_a_shipped_variant_is_planned_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "2xB200", "--model", "nvidia/Mistral-Medium-3.5-128B-NVFP4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"]["checkpoint_bytes"] == 95_224_812_960
    # Its KV cache is FP8 because the checkpoint says so: 88 layers x 4 heads x 256 bytes.
    assert document["kv_cache"]["bytes_per_token_per_gpu"] == 88 * 4 * 256
    # The Hugging Face layout shards the projector, Mistral's does not.
    line = next(line for line in document["ledger"] if line["name"] == "weights.vision")
    assert line["bytes"] / 2**30 == pytest.approx(2.506, abs=0.001)


def test_a_local_configuration_is_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    assert main(["--gpus", "1xH100", "--model", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["weights_bytes_per_gpu"] == [16_060_522_496]
    assert str(tmp_path) in document["command"]["argv"]
    assert "--tool-call-parser" not in document["command"]["argv"]


def test_what_reading_found_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    index = {"metadata": {"total_size": 32 * 10**9}, "weight_map": {"a": "model-00001-of-00003.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert main(["--gpus", "1xH100", "--model", str(tmp_path)]) == 0
    assert "vLLM keeps 14.96 GiB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8}, "mixture of experts"),
        ({**LLAMA, "hidden_size": "wide"}, "must be an integer"),
        ({**M35_CONFIG, "vision_config": {"model_type": "siglip"}}, "`siglip` tower"),
    ],
)
def test_refusals_are_one_line_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: object, words: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["--gpus", "1xH100", "--model", str(tmp_path)]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert words in seen.err and "Traceback" not in seen.err
