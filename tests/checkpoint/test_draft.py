"""A draft's checkpoint: what it adds to its target, and what it is refused for."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from hw_specs import parse_gpus
from planner import InvalidRequest, PlanRequest, plan
from planner.checkpoint import load_draft, load_model
from planner.errors import PlannerError
from planner.memory.weights import describe_draft, rank_weights
from planner.model import ModelSpec
from planner.rendering.command import serve_command
from planner.speed.predict import forecast, step_model_for
from planner.speed.workload import Workload

TARGET = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 14336, "num_hidden_layers": 32,
    "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
EAGLE3 = {
    "architectures": ["LlamaForCausalLMEagle3"], "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "num_hidden_layers": 1, "vocab_size": 128256,
    "draft_vocab_size": 32000,
}  # fmt: skip
SPECULATOR = {
    "architectures": ["Eagle3Speculator"], "speculators_model_type": "eagle3", "draft_vocab_size": 32000,
    "transformer_layer_config": {
        key: EAGLE3[key]
        for key in EAGLE3 if key not in ("architectures", "draft_vocab_size")
    },
    "speculators_config": {"proposal_methods": [{"speculative_tokens": 5}]},
}  # fmt: skip


def write(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> ModelSpec:
    return load_model(write(tmp_path / "target", TARGET))


def eagle3_bytes(hidden: int = 4096, inner: int = 14336, rows: int = 32000, tp: int = 1) -> int:
    """The tensors of llama_eagle3.py, listed one by one."""
    qkv, head = (32 + 8 + 8) * 128, 128
    tensors = [
        (qkv // tp, 2 * hidden), (hidden, 32 * head // tp), (2 * inner // tp, hidden), (hidden, inner // tp),
        (hidden,), (hidden,), (hidden,), (hidden,), (hidden, 3 * 4096), (rows // tp, hidden),
    ]  # fmt: skip
    return 2 * sum(prod(shape) for shape in tensors) + 8 * rows


@pytest.mark.parametrize("config", [EAGLE3, SPECULATOR], ids=["own", "speculators"])
@pytest.mark.parametrize("tp", [1, 2])
def test_an_eagle3_head_weighs_what_its_tensors_do(
    config: dict[str, Any], tp: int, tmp_path: Path, target: ModelSpec
) -> None:
    draft = load_draft(str(write(tmp_path / "draft", config)), target)
    assert (draft.method, draft.states_read, draft.head_rows) == ("eagle3", 3, 32000)
    (rank,) = rank_weights(replace(target, draft=draft), tensor_parallel_size=tp, draft=True)
    assert rank.draft_bytes == eagle3_bytes(tp=tp)


def test_a_narrower_head_brings_and_names_an_embedding_of_its_own(tmp_path: Path, target: ModelSpec) -> None:
    config = {**EAGLE3, "hidden_size": 2048, "head_dim": 128, "target_hidden_size": 4096}
    model = replace(target, draft=load_draft(str(write(tmp_path / "draft", config)), target))
    (rank,) = rank_weights(model, tensor_parallel_size=1, draft=True)
    assert rank.draft_bytes == eagle3_bytes(hidden=2048) + 2 * target.vocab_size * 2048
    words = describe_draft(model, tensor_parallel_size=1)
    assert words.startswith("1 layer,") and f"an embedding of {target.vocab_size:,} rows" in words


@pytest.mark.parametrize("said", [True, 0, 10**6, "5", None])
def test_a_number_of_tokens_that_cannot_be_is_not_proposed(said: object, tmp_path: Path, target: ModelSpec) -> None:
    config = {**EAGLE3, "speculators_config": {"proposal_methods": [{"speculative_tokens": said}]}}
    assert load_draft(str(write(tmp_path / "draft", config)), target).card_num_speculative_tokens == 0


def test_an_eagle_head_of_llama_shares_its_targets_output_head(tmp_path: Path, target: ModelSpec) -> None:
    config = {**TARGET, "architectures": ["EagleLlamaForCausalLM"], "num_hidden_layers": 1}
    draft = load_draft(str(write(tmp_path / "draft", config)), target)
    (rank,) = rank_weights(replace(target, draft=draft), tensor_parallel_size=1, draft=True)
    layer = 4096 * ((32 + 16) * 128 + 32 * 128 + 3 * 14336)
    assert rank.draft_bytes == 2 * (layer + 4096 + 2 * 4096 * 4096)


def test_a_draft_is_planned_forecast_and_started(tmp_path: Path, target: ModelSpec) -> None:
    folder = str(write(tmp_path / "draft", SPECULATOR))
    request = PlanRequest(gpus=parse_gpus("1xH100"), model=target, num_speculative_tokens=3, spec_model=folder)
    made, plain = plan(request), plan(PlanRequest(gpus=parse_gpus("1xH100"), model=target))
    assert made.settings.spec_method == "eagle3" and made.feasible
    assert made.ledger.line("weights.draft").bytes == eagle3_bytes()
    assert made.kv_cache.bytes_per_token_per_gpu * 32 == plain.kv_cache.bytes_per_token_per_gpu * 33
    argv = serve_command(made).argv
    said = json.loads(argv[argv.index("--speculative-config") + 1])
    assert said == {"model": folder, "method": "eagle3", "num_speculative_tokens": 3}
    load = Workload(prompt_tokens=256, output_tokens=256, concurrency=1)
    drafted, alone = forecast(made, load), forecast(plain, load)
    assert drafted.acceptance_length is not None and 2 < drafted.acceptance_length.expected < 3
    assert (
        alone.tpot_ms.expected / drafted.acceptance_length.expected < drafted.tpot_ms.expected < alone.tpot_ms.expected
    )


def test_a_pass_of_a_small_head_reads_less_than_one_of_the_whole_head(tmp_path: Path, target: ModelSpec) -> None:
    request = PlanRequest(gpus=parse_gpus("1xH100"), model=target, num_speculative_tokens=3)
    works = []
    for rows in (32000, 128256):
        folder = write(tmp_path / f"draft{rows}", {**EAGLE3, "draft_vocab_size": rows})
        works.append(step_model_for(plan(replace(request, spec_model=str(folder)))).work.draft)
    assert works[0] and works[1] and works[0].head_bytes * 128256 == works[1].head_bytes * 32000
    assert works[0].linears == works[1].linears


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({**EAGLE3, "architectures": ["DFlashDraftModel"]}, "class `DFlashDraftModel` is not described"),
        ({**EAGLE3, "hidden_size": 2048, "head_dim": 128}, "reads hidden states of 2048"),
        ({**EAGLE3, "num_key_value_heads": 4}, "4 KV heads"),
        ({**SPECULATOR, "speculators_model_type": "mlp"}, "of the kind `mlp`"),
        ({"architectures": ["LlamaForCausalLMEagle3"]}, "hidden_size"),
    ],
)
def test_other_drafts_are_refused_by_name(config: dict[str, Any], says: str, tmp_path: Path, target: ModelSpec) -> None:
    with pytest.raises(PlannerError, match=says):
        load_draft(str(write(tmp_path / "draft", config)), target)


def test_a_draft_that_is_not_here_is_not_guessed(target: ModelSpec) -> None:
    with pytest.raises(PlannerError, match="no draft checkpoint `org/some-draft` here"):
        load_draft("org/some-draft", target)
    with pytest.raises(InvalidRequest, match="drafts nothing without num_speculative_tokens"):
        plan(PlanRequest(gpus=parse_gpus("8xH200"), spec_model="mistralai/Mistral-Medium-3.5-128B-EAGLE"))


def test_the_shipped_draft_is_called_by_its_name() -> None:
    request = PlanRequest(gpus=parse_gpus("8xH200"), num_speculative_tokens=3)
    named = replace(request, spec_model="mistralai/Mistral-Medium-3.5-128B-EAGLE")
    assert plan(named).settings == plan(request).settings
    assert plan(named).ledger == plan(request).ledger
