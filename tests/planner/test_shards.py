"""Groups and blocks of a weight format end where a shard does: sizes that the engine refuses at load are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import get_gpu, parse_gpus
from planner import PlanRequest, load_preset, plan
from planner.checkpoint.document import Section
from planner.checkpoint.huggingface import read_huggingface
from planner.errors import InvalidRequest
from planner.facts.release import resolve_release
from planner.memory import layouts
from planner.model import ModelSpec, WeightFormat

QWEN = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 8192, "intermediate_size": 29568,
    "max_position_embeddings": 32768, "num_attention_heads": 64, "num_hidden_layers": 80, "num_key_value_heads": 8,
    "tie_word_embeddings": False, "vocab_size": 152064,
}  # fmt: skip
STORED = {
    "awq": {"bits": 4, "group_size": 128, "quant_method": "awq", "zero_point": True},
    "gptq": {"bits": 4, "group_size": 128, "quant_method": "gptq", "desc_act": False},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "config_groups": {"a": {"targets": ["Linear"], "weights": {
            "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}}},
    },
    "fp8 blocks": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}  # fmt: skip


def model(**changes: object) -> ModelSpec:
    return read_huggingface(Section(origin="config.json", values={**QWEN, **changes}), name="a-model")


def fault_of(spec: ModelSpec, tp: int, *, gpu: str = "H200", version: str = "0.33.0") -> str | None:
    return layouts.tensor_parallel_fault(spec, tp, text_only=True, gpu=get_gpu(gpu), release=resolve_release(version))


def legal_sizes(spec: ModelSpec, *, gpu: str = "H200", version: str = "0.33.0") -> tuple[int, ...]:
    return layouts.legal_tensor_parallel_sizes(
        spec, 8, text_only=True, gpu=get_gpu(gpu), release=resolve_release(version)
    )


def stored_as(fmt: WeightFormat, **changes: int) -> ModelSpec:
    base = model(**changes)
    return replace(base, layers=tuple(replace(group, attention=fmt, mlp=fmt) for group in base.layers))


@pytest.mark.parametrize("stored", STORED)
def test_231_groups_stay_on_one_gpu(stored: str) -> None:
    """29568 / 128 = 231, an odd number: whatever stores groups or blocks of 128 cannot be halved."""
    assert legal_sizes(model(quantization_config=STORED[stored])) == (1,)


def test_without_groups_the_same_model_is_split() -> None:
    assert legal_sizes(model()) == (1, 2, 4, 8)


def test_the_refusal_names_group_matrix_and_what_is_valid() -> None:
    request = PlanRequest(
        gpus=parse_gpus("2xH100"), model=model(quantization_config=STORED["awq"]), tensor_parallel_size=2
    )
    with pytest.raises(InvalidRequest, match=r"groups of 128 do not divide the 14784 columns of down_proj") as caught:
        plan(request)
    assert "1" in (caught.value.hint or "")


@given(
    tp=st.sampled_from([1, 2, 4, 8]),
    group=st.sampled_from([16, 32, 64, 128, 256]),
    inner=st.integers(1, 64).map(lambda n: n * 64),
)
def test_a_split_is_legal_exactly_when_every_group_is_whole(tp: int, group: int, inner: int) -> None:
    fmt = WeightFormat(name="int4", bits=4, group_rows=1, group_columns=group, scale_bytes=2)
    spec = stored_as(fmt, intermediate_size=inner)
    whole = inner // tp % group == 0 and spec.num_attention_heads * spec.head_dim // tp % group == 0
    assert (fault_of(spec, tp) is None) == (inner % tp == 0 and whole)


@given(
    tp=st.sampled_from([1, 2, 4, 8]), rows=st.sampled_from([64, 128]), inner=st.integers(1, 64).map(lambda n: n * 64)
)
def test_blocks_end_at_the_seams_of_merged_matrices_too(tp: int, rows: int, inner: int) -> None:
    fmt = WeightFormat(name="fp8-block", bits=8, group_rows=rows, group_columns=rows, scale_bytes=4)
    legal = fault_of(stored_as(fmt, intermediate_size=inner), tp) is None
    assert legal == (inner % tp == 0 and inner // tp % rows == 0)


def test_a_model_that_no_size_can_load_is_refused() -> None:
    fmt = WeightFormat(name="fp8-block", bits=8, group_rows=128, group_columns=128, scale_bytes=4)
    with pytest.raises(InvalidRequest, match="cannot be loaded: fp8-block blocks of 128 rows"):
        plan(PlanRequest(gpus=parse_gpus("8xH200"), model=stored_as(fmt, intermediate_size=29568 + 64)))


@pytest.mark.parametrize(
    ("kind", "version", "limit"),
    [
        ("yarn", "0.20.0", 131072),
        ("yarn", "0.29.0", 131072),
        ("yarn", "0.30.0", 32768),
        ("yarn", "0.33.0", 32768),
        ("llama3", "0.33.0", 32768),
        ("linear", "0.20.0", 131072),
        ("dynamic", "0.33.0", 131072),
    ],
)
def test_the_length_limit_follows_the_release(kind: str, version: str, limit: int) -> None:
    """YaRN's factor counts up to 0.29; `linear` and `dynamic` lengthen in every release."""
    scaled = model(rope_scaling={"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 32768})
    found = plan(PlanRequest(gpus=parse_gpus("8xH200"), model=scaled, vllm_version=version))
    assert found.settings.max_model_len == limit
    with pytest.raises(InvalidRequest, match="is beyond the model's"):
        plan(PlanRequest(gpus=parse_gpus("8xH200"), model=scaled, vllm_version=version, max_model_len=limit + 1))


def test_nvfp4_on_amd_is_said_to_be_emulated() -> None:
    nvfp4 = load_preset("mistral-medium-3.5-128b-nvfp4")
    codes = {
        gpus: {warning.code for warning in plan(PlanRequest(gpus=parse_gpus(gpus), model=nvfp4)).warnings}
        for gpus in ("1xMI300X", "1xB200")
    }
    assert "nvfp4-emulated" in codes["1xMI300X"]
    assert "nvfp4-emulated" not in codes["1xB200"]


@pytest.mark.parametrize("card", ["MI210", "MI250X"])
def test_a_card_without_fp8_says_why_and_what_it_can_run(card: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot load the FP8 weights") as caught:
        plan(PlanRequest(gpus=parse_gpus(f"8x{card}")))
    assert "BF16" in (caught.value.hint or "")
    assert plan(PlanRequest(gpus=parse_gpus(f"8x{card}"), model=model())).verdict != "impossible"


@pytest.mark.parametrize("stored", ["awq", "gptq", "compressed-tensors"])
def test_a_group_that_no_row_is_a_multiple_of_is_refused_on_one_gpu_too(stored: str) -> None:
    for changes in (
        {"intermediate_size": 8192 + 64},
        {
            "hidden_size": 64 * 100,
            "num_attention_heads": 50,
            "head_dim": 128,
            "num_key_value_heads": 10,
            "intermediate_size": 12800 + 64,
        },
    ):
        spec = model(quantization_config=STORED[stored], **changes)
        assert legal_sizes(spec) == ()
        fault = fault_of(spec, 1)
        assert fault is not None
        assert "groups of 128 do not divide" in fault


def test_the_last_block_of_an_unshared_row_may_be_cut() -> None:
    spec = model(quantization_config=STORED["fp8 blocks"], hidden_size=8192 + 64, head_dim=128)
    assert fault_of(spec, 1) is None


def test_four_bit_rows_fill_whole_words() -> None:
    """AWQ and GPTQ pack eight values to a word along the rows, compressed-tensors along the columns."""
    for packing, whole in (("awq", True), ("gptq", True), ("compressed-tensors", False)):
        channel = WeightFormat(name="int4", bits=4, group_rows=1, scale_bytes=2, packing=packing)
        spec = stored_as(channel, intermediate_size=8192 * 2 + 2)
        assert (fault_of(spec, 1) is not None) == whole
        assert fault_of(stored_as(channel), 1) is None


COLUMNS_64 = {"intermediate_size": 64 * 231 * 2, "hidden_size": 8192}
"""Halved, a down projection of 231 x 64 columns: whole groups of 64, no whole tile of 128."""
GROUPS_OF_64 = {
    "awq": {**STORED["awq"], "group_size": 64},
    "gptq": {**STORED["gptq"], "group_size": 64},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "config_groups": {"a": {"targets": ["Linear"], "weights": {
            "num_bits": 4, "type": "int", "strategy": "group", "group_size": 64, "symmetric": True}}},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("stored", "gpu", "version", "legal"),
    [
        ("gptq", "A100", "0.22.0", False),
        ("compressed-tensors", "A100", "0.22.0", False),
        ("gptq", "H100", "0.20.0", True),  # Machete
        ("awq", "A100", "0.20.0", True),  # AWQ's own kernel
        ("gptq", "A100", "0.23.0", True),  # Humming
        ("compressed-tensors", "L40S", "0.33.0", True),  # Marlin pads
        ("gptq", "MI300X", "0.20.0", True),  # Triton
    ],
)
def test_whole_tiles_are_asked_for_until_a_kernel_takes_any_shape(
    stored: str, gpu: str, version: str, legal: bool
) -> None:
    spec = model(quantization_config=GROUPS_OF_64[stored], **COLUMNS_64)
    fault = fault_of(spec, 2, gpu=gpu, version=version)
    assert (fault is None) == legal, fault
    assert fault is None or "down_proj" in fault


@pytest.mark.parametrize(
    ("gpu", "version", "legal"),
    [("A100", "0.23.0", False), ("A100", "0.24.0", True), ("H100", "0.20.0", True), ("MI300X", "0.20.0", True)],
)
def test_weight_only_fp8_needs_whole_tiles_until_marlin_pads(gpu: str, version: str, legal: bool) -> None:
    """96 columns are neither 128 nor 64."""
    spec = stored_as(WeightFormat.named("fp8"), intermediate_size=8 * 96)
    assert (fault_of(spec, 8, gpu=gpu, version=version) is None) == legal


def test_this_model_is_split_by_every_release_on_every_card() -> None:
    for stem in ("mistral-medium-3.5-128b", "mistral-medium-3.5-128b-nvfp4"):
        for version in ("0.20.0", "0.23.0", "0.33.0"):
            for gpu in ("A100", "H100", "B200", "L40S"):
                assert legal_sizes(load_preset(stem), gpu=gpu, version=version) == (1, 2, 4, 8)


def test_the_tiles_that_are_named_are_those_of_the_card() -> None:
    spec = model(quantization_config=GROUPS_OF_64["gptq"], **COLUMNS_64)
    fault = fault_of(spec, 2, gpu="A100", version="0.22.0")
    assert fault is not None and fault.endswith("which tiles of 64 by 128 do not fill")


MX = {
    bits: {"quant_method": "compressed-tensors", "config_groups": {"a": {"targets": ["Linear"], "weights": {
        "num_bits": bits, "type": "float", "strategy": "group", "group_size": 32}}}}
    for bits in (4, 8)
}  # fmt: skip
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}


@pytest.mark.parametrize(
    ("stored", "tp", "gpu", "version", "words"),
    [
        (BNB, 1, "H200", "0.27.0", None),
        (BNB, 1, "H200", "0.28.0", "vLLM 0.28.0 reads no bitsandbytes weights"),
        (BNB, 2, "H200", "0.27.0", "cuts no stored bitsandbytes weights"),
        (MX[4], 2, "H200", "0.33.0", None), (MX[4], 2, "MI355X", "0.33.0", None),
        (MX[4], 1, "MI300X", "0.26.0", "no kernel for compressed-tensors' MXFP4 on AMD"),
        (MX[8], 1, "H200", "0.19.1", "does not know compressed-tensors' MXFP8"), (MX[8], 1, "H200", "0.20.0", None),
    ],
)  # fmt: skip
def test_formats_that_a_release_does_not_take_are_refused_with_the_rule(
    stored: dict[str, object], tp: int, gpu: str, version: str, words: str | None
) -> None:
    fault = fault_of(model(quantization_config=stored), tp, gpu=gpu, version=version)
    assert fault is None if words is None else fault and words in fault


@pytest.mark.parametrize(
    ("gpu", "warned"), [("8xMI300X", True), ("8xMI355X", False), ("8xH200", False)]
)  # fmt: skip
def test_mx_formats_are_emulated_where_nothing_multiplies_them(gpu: str, warned: bool) -> None:
    answer = plan(PlanRequest(gpus=parse_gpus(gpu), model=model(quantization_config=MX[4])))
    assert any(one.code == "mxfp4-emulated" for one in answer.warnings) is warned
