"""Which runner serves a model in a release, as the engine's own lists decide it, and what follows for memory."""

from __future__ import annotations

from typing import Any

import pytest

from hw_specs import parse_gpus
from planner import PlanRequest, load_preset
from planner.checkpoint.document import Section
from planner.checkpoint.huggingface import read_huggingface
from planner.facts.release import resolve_release
from planner.model import ModelSpec
from planner.planning.question import Question, default_batch
from planner.settings import SpecMethod

DENSE = {
    "hidden_size": 4096, "intermediate_size": 12288, "max_position_embeddings": 40960, "num_attention_heads": 32,
    "num_hidden_layers": 36, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "tie_word_embeddings": False,
}  # fmt: skip
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def model(kind: str, **more: Any) -> ModelSpec:
    return read_huggingface(Section(origin="config.json", values={**DENSE, "model_type": kind, **more}), name="a-model")


def runner(spec: ModelSpec, version: str) -> str:
    return Question.unchecked(
        PlanRequest(gpus=parse_gpus("1xH200"), model=spec, vllm_version=version)
    ).release.model_runner


@pytest.mark.parametrize(
    ("kind", "architecture", "quantized", "since"),
    [
        ("qwen3", "Qwen3ForCausalLM", False, "0.22.0"),
        ("qwen3", None, False, "0.22.0"),
        ("llama", "LlamaForCausalLM", False, "0.23.0"),
        ("mistral", "MistralForCausalLM", False, "0.23.0"),
        ("qwen3", "Qwen3ForCausalLM", True, "0.24.0"),
        ("llama", "LlamaForCausalLM", True, "0.24.0"),
        ("qwen2", "Qwen2ForCausalLM", False, "0.25.1"),
        ("granite", "GraniteForCausalLM", False, "0.25.1"),
    ],
)
def test_the_runner_follows_the_engines_lists(kind: str, architecture: str | None, quantized: bool, since: str) -> None:
    named = {"architectures": [architecture]} if architecture else {}
    spec = model(kind, **named, **({"quantization_config": FP8} if quantized else {}))
    for version in ("0.20.0", "0.21.0", "0.22.0", "0.23.0", "0.24.0", "0.25.1", "0.33.0"):
        assert runner(spec, version) == ("v2" if version >= since else "v1"), version


def test_this_model_and_its_text_sibling_follow_their_own_classes() -> None:
    assert runner(load_preset(), "0.24.0") == "v1"
    assert runner(load_preset("devstral-2-123b"), "0.23.0") == "v1"
    assert runner(load_preset("devstral-2-123b"), "0.24.0") == "v2"


def test_an_early_v2_estimates_no_graphs_and_samples_greedily() -> None:
    release = resolve_release("0.23.0").for_model(("LlamaForCausalLM",), quantized=False)
    first = resolve_release("0.25.1")
    assert release.graph_estimate_vendors == first.graph_estimate_vendors == ()
    assert release.profiled_sampling == first.profiled_sampling
    assert release.for_model(("LlamaForCausalLM",), quantized=False) == release


@pytest.mark.parametrize(("method", "since"), [("ngram", "0.32.0"), ("suffix", "1"), (None, "0.25.1")])
def test_a_lookup_goes_back_to_v1_until_v2_does_it(method: SpecMethod | None, since: str) -> None:
    for version in ("0.24.0", "0.25.1", "0.28.0", "0.31.0", "0.32.0", "0.33.0"):
        release = Question.unchecked(
            PlanRequest(
                gpus=parse_gpus("1xH200"), vllm_version=version, spec_method=method,
                num_speculative_tokens=3 if method else 0,
            )
        ).release  # fmt: skip
        back = version < since
        assert release.model_runner == ("v1" if back else "v2"), version
        assert release.encoder_profiled or not back
        assert (release.profiled_sampling, bool(release.graph_estimate_vendors)) == ("full", True) or not back


def test_the_hugging_face_tower_is_sharded_where_the_native_one_is_not() -> None:
    release = resolve_release("0.19.1")
    assert not release.for_layout("mistral").vision_sharded
    assert release.for_layout("hf").vision_sharded
    assert resolve_release("0.33.0").for_layout("hf") is resolve_release("0.33.0")


@pytest.mark.parametrize(
    ("gpu", "version", "tokens", "sequences"),
    [
        ("A100", "0.19.1", 2048, 256), ("A100", "0.33.0", 2048, 256), ("A100-PCIe", "0.33.0", 2048, 256),
        ("A800", "0.33.0", 8192, 1024), ("L40S", "0.33.0", 2048, 256), ("RTX-PRO-6000", "0.20.0", 8192, 1024),
        ("RTX-PRO-6000", "0.33.0", 8192, 1024), ("H200", "0.33.0", 8192, 1024), ("B200", "0.27.0", 8192, 1024),
        ("B200", "0.28.0", 16384, 1024), ("MI300X", "0.33.0", 16384, 1024), ("GB10", "0.32.0", 2048, 256),
        ("GB10", "0.33.0", 2048, 256), ("H100 MIG 3g.40gb", "0.33.0", 2048, 256),
    ],
)  # fmt: skip
def test_batch_defaults_follow_memory_and_name(gpu: str, version: str, tokens: int, sequences: int) -> None:
    tier = default_batch(parse_gpus(gpu), resolve_release(version))
    assert (tier.max_num_batched_tokens, tier.max_num_seqs) == (tokens, sequences)
