"""The rules of `review` on the words of a start: what is refused is named, and a good start is not accused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner.serve import CheckResult, StartOrder
from planner.serve.preflight import settings
from tests.ports import own_port

from .machine import Machine, Start, one

pytestmark = pytest.mark.slow

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 4096}


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "gpus_of_start", lambda subject: parse_gpus("1xH200"))


def checked(machine: Machine, *flags: str, config: dict[str, object] | None = None, **env: str) -> CheckResult:
    model = machine.root / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    words = (str(machine.program), "serve", str(model), *flags)
    return one(Start(StartOrder.of_command(words, env=machine.env | env, port=own_port())), "settings")


@pytest.mark.parametrize(
    ("flags", "named", "cure"),
    [
        (["--attention-backend", "FLASHY"], "FLASHY", "leave it out"),
        (["--kv-cache-dtype", "fp7"], "fp7", ""),
        (["--reasoning-parser", "mistrall"], "mistrall", "`mistral`"),
        (["--enable-auto-tool-choice", "--tool-call-parser", "mistrall"], "mistrall", "`mistral`"),
        (["--quantization", "fp88"], "fp88", "`fp8`"),
        (["--gpu-memory-utilization", "1.5"], "1.5", "at most 1"),
        (["--max-num-seqs", "1024", "--max-num-batched-tokens", "512"], "1024", "512"),
        (
            ["--max-num-batched-tokens", "512", "--max-model-len", "2048", "--no-enable-chunked-prefill"],
            "512",
            "--max-num-batched-tokens 2048",
        ),
        (["--data-parallel-size", "2"], "2 GPUs", ""),
        (["--max-model-len", "5000"], "4,096", "--max-model-len 4096"),
    ],
)
@pytest.mark.usefixtures("one_gpu")
def test_what_the_release_refuses_is_named(machine: Machine, flags: list[str], named: str, cure: str) -> None:
    result = checked(machine, *flags)
    assert result.status == "fail" and named in result.seen and cure in result.hint, result


@pytest.mark.parametrize(
    ("flags", "config", "env"),
    [
        ([], {}, {}),
        (["--max-model-len", "4096", "--kv-cache-dtype", "octave_k3v4", "--attention-backend", "FLASH_ATTN"], {}, {}),
        (["--max-model-len", "16384"], {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, {}),
        (["--max-model-len", "16384"], {"rope_parameters": {"full_attention": {"factor": 4.0}}}, {}),
        (["--max-model-len", "9000"], {"text_config": {"max_position_embeddings": 9000}}, {}),
        (["--max-model-len", "5000"], {}, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}),
        (["--max-model-len", "5000", "--hf-overrides", '{"max_position_embeddings": 8192}'], {}, {}),
        (["--chat-template", "{{ messages }}", "--max-num-seqs", "8"], {}, {}),
        (["--tensor-parallel-size", "1"], {"num_attention_heads": 7}, {}),
    ],
)
@pytest.mark.usefixtures("one_gpu")
def test_a_good_start_is_not_accused(
    machine: Machine, flags: list[str], config: dict[str, object], env: dict[str, str]
) -> None:
    result = checked(machine, *flags, config=config, **env)
    assert result.status == "pass", result


@pytest.mark.parametrize("choices", [{}, {"max_num_seqs": 16, "num_speculative_tokens": 3}])
def test_a_plan_s_own_command_is_not_accused(machine: Machine, choices: dict[str, object]) -> None:
    assert one(machine.start(**choices), "settings").status == "pass"  # type: ignore[arg-type]
    assert one(machine.start("--structured-outputs-config", '{"backends": "x"}'), "settings").status == "fail"


def test_another_command_is_not_judged(tmp_path: Path) -> None:
    alone = Start(StartOrder.of_command(("/bin/sleep", "1"), port=own_port()))
    assert one(alone, "settings").status == "unknown"
