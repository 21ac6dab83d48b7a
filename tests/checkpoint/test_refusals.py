from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hw_specs.errors import M35Error
from planner.checkpoint import load_model
from planner.checkpoint.headers import read_header
from planner.errors import UnreadableCheckpoint, UnsupportedModel
from tests.checkpoint.checkpoints import LLAMA, M35_CONFIG, M35_PARAMS


def load(path: Path, document: object, name: str = "config.json") -> Any:
    (path / name).write_text(json.dumps(document), encoding="utf-8")
    return load_model(path / name)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 8},
            "mixture of experts",
        ),
        ({"model_type": "deepseek_v2", "kv_lora_rank": 512}, "multi-head latent attention"),
        ({"sliding_window": 4096}, "sliding-window"),
        (
            {"model_type": "qwen3", "architectures": None, "layer_types": ["full_attention", "sliding_attention"]},
            "sliding-window",
        ),
        ({"layer_types": ["linear_attention"]}, "hybrid"),
        ({"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]}, "`gemma2` is not described"),
        ({"model_type": "lama"}, "`lama` is not described"),
        ({"architectures": ["LlamaForCausalLMEagle"]}, "`LlamaForCausalLMEagle` is not described"),
        ({"vision_config": {"model_type": "siglip_vision_model"}}, "vision model `llama`"),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [1]}}, "`mrope` is not described"),
        ({"quantization_config": {"quant_method": "torchao"}}, "`torchao` is not described"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "quantises only experts with the method `mxfp4`"),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "bnb_4bit_quant_storage": "bfloat16"}},
            "stored as `bfloat16`",
        ),
        (
            {"quantization_config": {"quant_method": "quark", "export": {}, "layer_quant_config": {"*q_proj": {}}}},
            "per-layer Quark settings",
        ),
        ({"quantization_config": {"quant_method": "quark", "export": {}}}, "not quantised, or twice"),
        (
            {
                "quantization_config": {
                    "quant_method": "quark",
                    "export": {},
                    "global_quant_config": {"weight": {"dtype": "int4", "qscheme": "per_group", "group_size": 128}},
                }
            },
            "Quark's `int4` weights",
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3, "group_size": 128}}, "3-bit weight-only"),
        ({"quantization_config": {"quant_method": "awq", "bits": 8, "group_size": 128}}, "8-bit weight-only"),
        (
            {"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": ["q_proj"]}},
            "stores q_proj as bf16 and k_proj as fp8",
        ),
    ],
)
def test_what_is_outside_is_refused_by_name(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        load(tmp_path, {**LLAMA, **change})


@pytest.mark.parametrize(
    "change, words",
    [
        ({"moe": {"num_experts": 8}}, "mixture of experts"),
        ({"sliding_window": 4096}, "sliding-window"),
        ({"multimodal": {"whisper_model_args": {"encoder_args": {}}}}, "audio"),
        ({"quantization": {"qformat_weight": "int4"}}, "not described"),
        ({"q_lora_rank": 1536}, "multi-head latent attention"),
    ],
)
def test_native_models_outside_are_refused_by_name(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        load(tmp_path, {**M35_PARAMS, **change}, "params.json")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"hidden_size": 0}, "`hidden_size` in `config.json` must be an integer between 1"),
        ({"hidden_size": True}, "not a truth value|must be an integer"),
        ({"hidden_size": [4096]}, "not a list"),
        ({"num_hidden_layers": 10**9}, "between 1 and 4096"),
        ({"num_key_value_heads": 7}, "7 KV heads do not divide 32"),
        ({"vocab_size": None}, "`vocab_size`"),
        ({"max_position_embeddings": "many"}, "`many`"),
        ({"rope_scaling": 3}, "must be an object"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "ignore": ["re:(a+)+$"],
          "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "strategy": "tensor"}}}}}, "too complex"),
    ],
)  # fmt: skip
def test_impossible_values_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnreadableCheckpoint, match=words):
        load(tmp_path, {**LLAMA, **change})


def test_a_window_that_never_closes_is_no_window(tmp_path: Path) -> None:
    assert load(tmp_path, {**LLAMA, "sliding_window": 131072}).max_position_embeddings == 131072
    switched_off = {
        **LLAMA,
        "model_type": "qwen2",
        "architectures": None,
        "sliding_window": 4096,
        "use_sliding_window": False,
    }
    assert load(tmp_path, switched_off).qkv_bias


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"null", b"{", b'{"a": NaN}', b"\xff\xfe", b'{"hidden_size": 1' + b"0" * 5000 + b"}", b"[" * 200_000],
)
def test_bad_json_is_told(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(UnreadableCheckpoint, match=r"config\.json"):
        load_model(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
    | st.sampled_from(["fp8", "modelopt", "compressed-tensors", "awq", "gptq", "NVFP4", "MIXED_PRECISION", "pixtral"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = [
    "quant_method", "quant_algo", "quantized_layers", "ignore", "config_groups", "bits", "group_size", "weights",
    "kv_cache_scheme", "weight_block_size", "modules_to_not_convert", "quantization", "exclude_modules", "dynamic",
]  # fmt: skip


def paths(document: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in document.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += paths(value, (*before, key))
    return found


def changed(document: dict[str, Any], where: tuple[str, ...], value: object) -> dict[str, Any]:
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return copy


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_hostile_configurations_never_raise_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    base = data.draw(st.sampled_from([LLAMA, M35_CONFIG, M35_PARAMS]))
    document = base
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(paths(document)))
        document = changed(document, where, data.draw(VALUES))
    if data.draw(st.booleans()):
        block = data.draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
        document = {**document, "quantization_config": block, "quantization": block}
    try:
        load(tmp_path, document)
    except M35Error as error:
        assert str(error) and "\n" not in str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.dictionaries(st.text(max_size=5), VALUES, max_size=3) | VALUES, tail=st.binary(max_size=16))
def test_hostile_headers_never_raise_anything_else(tmp_path: Path, header: object, tail: bytes) -> None:
    path = tmp_path / "model.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + tail)
    try:
        read_header(path)
    except M35Error as error:
        assert str(error)
