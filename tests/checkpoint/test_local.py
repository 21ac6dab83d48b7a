from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.checkpoint import load_model, load_preset
from planner.errors import UnreadableCheckpoint
from planner.memory.weights import rank_weights, rope_cache_bytes
from tests.checkpoint.checkpoints import LLAMA, M35_CONFIG, M35_PARAMS, Entries, m35_tensors, write_shard


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def bare(model: Any) -> Any:
    return replace(model, name="", native_format=True, download_bytes=None, checkpoint_bytes=None, architectures=())


@pytest.mark.parametrize("name, document", [("config.json", M35_CONFIG), ("params.json", M35_PARAMS)])
def test_each_configuration_alone_gives_the_preset(tmp_path: Path, name: str, document: object) -> None:
    model = load_model(write(tmp_path / name, document))
    assert bare(model) == bare(load_preset())
    assert model.native_format == (name == "params.json")
    assert rope_cache_bytes(model) == 67_108_864


def test_both_layouts_in_one_directory_count_once(tmp_path: Path) -> None:
    write(tmp_path / "config.json", M35_CONFIG)
    write(tmp_path / "params.json", M35_PARAMS)
    write_shard(tmp_path / "model.safetensors", m35_tensors(native=False))
    total = write_shard(tmp_path / "consolidated.safetensors", m35_tensors(native=True))
    model = load_model(tmp_path)
    assert model.native_format
    assert model.checkpoint_bytes == total == 133_605_834_656
    assert model.notes == ()
    assert replace(bare(model), draft=None) == replace(bare(load_preset()), draft=None)


def test_hf_layout_alone_reads_its_own_shards(tmp_path: Path) -> None:
    write(tmp_path / "config.json", M35_CONFIG)
    entries = m35_tensors(native=False)
    names = sorted(entries)
    half = len(names) // 2
    parts = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    for shard, members in parts.items():
        write_shard(tmp_path / shard, {name: entries[name] for name in members})
    places = {name: shard for shard, members in parts.items() for name in members}
    index = {"metadata": {"total_size": 133_605_834_656}, "weight_map": places}
    write(tmp_path / "model.safetensors.index.json", index)
    model = load_model(tmp_path)
    assert not model.native_format
    assert model.checkpoint_bytes == 133_605_834_656

    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    partial = load_model(tmp_path)
    assert partial.checkpoint_bytes == 133_605_834_656
    assert "1 of 2 shards are not here" in partial.notes[0]


def test_index_without_shards_gives_the_exact_total(tmp_path: Path) -> None:
    write(tmp_path / "config.json", M35_CONFIG)
    index = {"metadata": {"total_size": 133_605_834_656}, "weight_map": {"a": "model-00001-of-00003.safetensors"}}
    write(tmp_path / "model.safetensors.index.json", index)
    assert load_model(tmp_path).checkpoint_bytes == 133_605_834_656


def test_an_index_that_contradicts_the_dimensions_is_told(tmp_path: Path) -> None:
    write(tmp_path / "config.json", LLAMA)
    index = {"metadata": {"total_size": 32 * 10**9}, "weight_map": {"a": "model-00001-of-00003.safetensors"}}
    write(tmp_path / "model.safetensors.index.json", index)
    assert "vLLM keeps 14.96 GiB" in load_model(tmp_path).notes[0]


def llama(parts: dict[str, tuple[str, Any]], layers: int = 2) -> Entries:
    """A small Llama; `parts` maps suffix to dtype and a shape rule of (rows, columns)."""
    shapes = {
        "self_attn.q_proj": (256, 256), "self_attn.k_proj": (64, 256), "self_attn.v_proj": (64, 256),
        "self_attn.o_proj": (256, 256), "mlp.gate_proj": (512, 256), "mlp.up_proj": (512, 256),
        "mlp.down_proj": (256, 512),
    }  # fmt: skip
    entries: Entries = {
        "model.embed_tokens.weight": ("BF16", (1024, 256)),
        "lm_head.weight": ("BF16", (1024, 256)),
        "model.norm.weight": ("BF16", (256,)),
    }
    for layer in range(layers):
        for name in ("input_layernorm", "post_attention_layernorm"):
            entries[f"model.layers.{layer}.{name}.weight"] = ("BF16", (256,))
        for module, (rows, columns) in shapes.items():
            for suffix, (dtype, rule) in parts.items():
                entries[f"model.layers.{layer}.{module}.{suffix}"] = (dtype, rule(rows, columns))
    return entries


SMALL = {
    **LLAMA, "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 512, "vocab_size": 1024,
}  # fmt: skip
STORED: dict[str, tuple[dict[str, Any], int]] = {
    # parts of a linear, and bytes per rank that are on disk only: scales per tensor and the like
    "bf16": ({"weight": ("BF16", lambda r, c: (r, c))}, 0),
    "fp8": ({"weight": ("F8_E4M3", lambda r, c: (r, c)), "weight_scale": ("F32", lambda r, c: ())}, 14 * 4),
    "fp8-channel": ({"weight": ("F8_E4M3", lambda r, c: (r, c)), "weight_scale": ("F32", lambda r, c: (r, 1))}, 0),
    "fp8-block": (
        {"weight": ("F8_E4M3", lambda r, c: (r, c)),
         "weight_scale_inv": ("F32", lambda r, c: (-(-r // 128), c // 128))},
        16,  # k and v of 64 rows have a scale each on disk; the fused matrix needs one
    ),
    "int8-channel": ({"weight": ("I8", lambda r, c: (r, c)), "weight_scale": ("F32", lambda r, c: (r, 1))}, 0),
    "nvfp4": (
        {"weight": ("U8", lambda r, c: (r, c // 2)), "weight_scale": ("F8_E4M3", lambda r, c: (r, c // 16))}, 0,
    ),
    "mxfp4": (
        {"weight_packed": ("U8", lambda r, c: (r, c // 2)), "weight_scale": ("U8", lambda r, c: (r, c // 32))}, 0,
    ),
    "mxfp8": ({"weight": ("F8_E4M3", lambda r, c: (r, c)), "weight_scale": ("U8", lambda r, c: (r, c // 32))}, 0),
    "bnb8": ({"weight": ("I8", lambda r, c: (r, c)), "SCB": ("F32", lambda r, c: (r,))}, 0),
    "bnb4": (
        {"weight": ("U8", lambda r, c: (r * c // 2, 1)), "weight.absmax": ("F32", lambda r, c: (r * c // 64,))}, 0,
    ),
    "int4": (
        {"weight_packed": ("I32", lambda r, c: (r, c // 8)), "weight_scale": ("BF16", lambda r, c: (r, c // 128))}, 0,
    ),
    "gptq": (
        {"qweight": ("I32", lambda r, c: (c // 8, r)), "scales": ("BF16", lambda r, c: (c // 128, r)),
         "qzeros": ("I32", lambda r, c: (c // 128, r // 8)), "g_idx": ("I32", lambda r, c: (c,))},
        16384,  # the order of the groups is not kept
    ),
    "gptq-int8": (
        {"qweight": ("I32", lambda r, c: (c // 4, r)), "scales": ("BF16", lambda r, c: (c // 128, r)),
         "qzeros": ("I32", lambda r, c: (c // 128, r // 4)), "g_idx": ("I32", lambda r, c: (c,))},
        16384,
    ),
    "awq": (
        {"qweight": ("I32", lambda r, c: (c, r // 8)), "scales": ("BF16", lambda r, c: (c // 128, r)),
         "qzeros": ("I32", lambda r, c: (c // 128, r // 8))}, 0,
    ),
}  # fmt: skip


NAMES = {"awq": "int4", "gptq": "int4", "gptq-int8": "int8"}


@pytest.mark.parametrize("kind", STORED)
def test_headers_give_the_formats_and_the_bytes(tmp_path: Path, kind: str) -> None:
    parts, on_disk_only = STORED[kind]
    block = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    eight = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    write(tmp_path / "config.json", {**SMALL, **{"fp8-block": block, "bnb8": eight}.get(kind, {})})
    total = write_shard(tmp_path / "model.safetensors", llama(parts))
    model = load_model(tmp_path)
    assert {group.mlp.name for group in model.layers} == {NAMES.get(kind, kind)}
    assert model.checkpoint_bytes == total
    assert rank_weights(model, tensor_parallel_size=1)[0].total_bytes == total - on_disk_only


@pytest.mark.parametrize(
    "config, kind",
    [
        ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, "fp8-block"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8-channel"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "awq"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}, "gptq"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128, "sym": True, "desc_act": False}, "gptq-int8"),
        (
            {"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}}}},
            "fp8-channel",
        ),
        (
            {"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}}}},
            "int4",
        ),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "nvfp4"),
        (
            {"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}}}},
            "mxfp4",
        ),
        (
            {"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32}}}},
            "mxfp8",
        ),
        (
            {"quant_method": "quark", "export": {"kv_cache_group": []}, "exclude": ["lm_head"], "global_quant_config": {
                "weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32}}},
            "mxfp4",
        ),
        (
            {"quant_method": "quark", "export": {"kv_cache_group": []}, "exclude": ["lm_head"], "global_quant_config": {
                "weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}}},
            "fp8",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bnb8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bnb4"),
    ],
)  # fmt: skip
def test_configuration_and_headers_agree(tmp_path: Path, config: dict[str, Any], kind: str) -> None:
    write(tmp_path / "config.json", {**SMALL, "quantization_config": config})
    from_config = load_model(tmp_path)
    write_shard(tmp_path / "model.safetensors", llama(STORED[kind][0]))
    from_headers = load_model(tmp_path)
    assert from_config.layers == from_headers.layers


def test_modelopt_mixed_precision_and_its_kv_scheme(tmp_path: Path) -> None:
    named = {
        f"model.language_model.layers.{layer}.{block}": {
            "quant_algo": "NVFP4" if "mlp" in block and 4 <= layer < 87 else "FP8", "group_size": 16,
        }
        for layer in range(88)
        for block in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                      "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    }  # fmt: skip
    block = {
        "quant_method": "modelopt", "quant_algo": "MIXED_PRECISION",
        "kv_cache_scheme": {"num_bits": 8, "type": "float"},
        "quantized_layers": named, "ignore": ["lm_head", "model.vision_tower*", "model.multi_modal_projector*"],
    }  # fmt: skip
    model = load_model(write(tmp_path / "config.json", {**M35_CONFIG, "quantization_config": block}))
    preset = load_preset("mistral-medium-3.5-128b-nvfp4")
    assert (model.layers, model.kv_cache_scheme) == (preset.layers, preset.kv_cache_scheme)


def test_hf_quant_config_counts_where_the_configuration_has_no_block(tmp_path: Path) -> None:
    write(tmp_path / "config.json", SMALL)
    write(
        tmp_path / "hf_quant_config.json",
        {"producer": {"name": "modelopt"}, "quantization": {
            "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16,
            "exclude_modules": ["lm_head", "model.layers.0*"]}},
    )  # fmt: skip
    model = load_model(tmp_path)
    assert [(g.count, g.mlp.name) for g in model.layers] == [(1, "bf16"), (1, "nvfp4")]
    assert model.kv_cache_scheme == "fp8"


def test_partly_quantised_blocks_keep_their_formats(tmp_path: Path) -> None:
    block = {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.1", "mlp.down_proj"]}
    model = load_model(write(tmp_path / "config.json", {**SMALL, "quantization_config": block}))
    first, second = model.layers
    assert (first.attention.name, first.mlp.name) == ("fp8", "fp8")
    assert first.mlp_down is not None and first.mlp_down.name == "bf16"
    assert (second.attention.name, second.mlp.name, second.mlp_down) == ("bf16", "bf16", None)


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is cut off"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "not a safetensors file"),
        (lambda path: path.write_bytes(b""), "not a safetensors file"),
        (lambda path: path.write_bytes(b"\x10\0\0\0\0\0\0\0{"), "cut off inside its header"),
        (lambda path: write_shard(path, {"model.layers.0.self_attn.q_proj.weight": ("BF16", (2, 2))}), "hold 1 layers"),
    ],
)
def test_broken_shards_are_named(tmp_path: Path, damage: Any, words: str) -> None:
    write(tmp_path / "config.json", SMALL)
    path = tmp_path / "model.safetensors"
    write_shard(path, llama(STORED["bf16"][0]))
    damage(path)
    with pytest.raises(UnreadableCheckpoint, match=words):
        load_model(tmp_path)


def test_an_index_cannot_point_outside(tmp_path: Path) -> None:
    write(tmp_path / "config.json", SMALL)
    write(tmp_path / "model.safetensors.index.json", {"weight_map": {"a": "../../secret.safetensors"}})
    with pytest.raises(UnreadableCheckpoint, match="not a plain shard name"):
        load_model(tmp_path)


def test_a_directory_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCheckpoint, match=r"neither config\.json nor params\.json"):
        load_model(tmp_path)
