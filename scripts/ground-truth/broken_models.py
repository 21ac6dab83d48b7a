"""A small dense model with weights, and what can be wrong with its folder. Standard library only."""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

HIDDEN, LAYERS, HEADS, HEAD_DIM, INNER, VOCABULARY = 256, 2, 2, 128, 512, 131072
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
    "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "head_dim": HEAD_DIM, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
    "vocab_size": VOCABULARY, "tie_word_embeddings": True, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ONE = b"\x00\x3c"
"""0.0078125 in BF16."""


def _tensors() -> dict[str, list[int]]:
    found = {"model.embed_tokens.weight": [VOCABULARY, HIDDEN], "model.norm.weight": [HIDDEN]}
    wide = HEADS * HEAD_DIM
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        found |= {f"{at}.self_attn.{one}_proj.weight": [wide, HIDDEN] for one in "qkv"}
        found |= {f"{at}.self_attn.o_proj.weight": [HIDDEN, wide], f"{at}.mlp.down_proj.weight": [HIDDEN, INNER]}
        found |= {f"{at}.mlp.{one}_proj.weight": [INNER, HIDDEN] for one in ("gate", "up")}
        found |= {f"{at}.{one}_layernorm.weight": [HIDDEN] for one in ("input", "post_attention")}
    return found


def _write_shard(path: Path, tensors: dict[str, list[int]]) -> None:
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + ONE * (at // 2))


def _spoil_config(folder: Path, spoil: str) -> bool:
    """Write the configuration that `spoil` names; False where it names none."""
    more: dict[str, dict[str, Any]] = {
        "architecture": {"architectures": ["MistralNextForCausalLM"]},
        "model-type": {"architectures": ["MistralNextForCausalLM"], "model_type": "mistral_next"},
        "no-architectures": {"architectures": None},
        "heads": {"num_attention_heads": 3, "num_key_value_heads": 2},
        "quantization": {"quantization_config": {"quant_method": "hqq_plus", "bits": 4}},
        "awq-group": {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 96, "zero_point": True}},
        "nvfp4": {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP5"}},
        "shapes": {"intermediate_size": 1024},
        "layers": {"num_hidden_layers": 3},
        "dtype": {"torch_dtype": "bfloat61"},
        "rope": {"rope_scaling": {"rope_type": "yarnn", "factor": 4.0}},
        "code": {"auto_map": {"AutoConfig": "configuration_mine.MineConfig"}, "model_type": "mine"},
        "text": {"hidden_size": "256"},
    }
    keys = dict(CONFIG)
    if spoil == "no-hidden-size":
        del keys["hidden_size"]
    elif spoil not in more:
        return False
    (folder / "config.json").write_text(json.dumps(keys | more.get(spoil, {}), indent=1))
    if spoil == "code":
        (folder / "configuration_mine.py").write_text("from transformers import PretrainedConfig\n")
    return True


def write_model(folder: Path, spoil: str = "", config: dict[str, Any] | None = None) -> Path:
    """Write the model into `folder`, broken as `spoil` says and with what `config` says otherwise; the folder.

    The tokenizer is the one file that TEKKEN, a variable, names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _tensors()
    first = {name: shape for name, shape in tensors.items() if "layers.1" not in name}
    second = {name: shape for name, shape in tensors.items() if "layers.1" in name}
    shards = [folder / f"model-0000{one}-of-00002.safetensors" for one in (1, 2)]
    left_out = {"no-tensor": "model.layers.1.mlp.down_proj.weight", "no-norm": "model.norm.weight"}.get(spoil)
    for shard, part in zip(shards, (first, second), strict=True):
        _write_shard(shard, {name: shape for name, shape in part.items() if name != left_out})
    names = {name: shard.name for shard, part in zip(shards, (first, second), strict=True) for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    tokenizer = folder / "tekken.json"
    tokenizer.unlink(missing_ok=True)
    if spoil == "tokenizer-cut":
        tokenizer.write_bytes(Path(os.environ["TEKKEN"]).read_bytes()[:100_000])
    elif spoil != "no-tokenizer":
        tokenizer.symlink_to(os.environ["TEKKEN"])
    if not _spoil_config(folder, spoil):
        (folder / "config.json").write_text(json.dumps(CONFIG | (config or {}), indent=1))
    size = shards[1].stat().st_size
    if spoil == "shard-cut":
        os.truncate(shards[1], size // 2)
    elif spoil == "shard-gone":
        shards[1].unlink()
    elif spoil == "shards-gone":
        for shard in shards:
            shard.unlink()
    elif spoil == "shard-empty":
        os.truncate(shards[1], 0)
    elif spoil == "shard-noise":
        shards[1].write_bytes(os.urandom(size))
    elif spoil == "shard-pointer":
        shards[1].write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {size}\n")
    elif spoil == "config-cut":
        (folder / "config.json").write_text(json.dumps(CONFIG, indent=1)[:120])
    elif spoil == "no-config":
        (folder / "config.json").unlink()
    elif spoil == "index-cut":
        (folder / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_ma')
    return folder
