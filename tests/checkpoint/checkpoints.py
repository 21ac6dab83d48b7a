"""Synthetic checkpoints: real safetensors headers over sparse files, so that 134 GB cost no disk."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

BITS = {"BF16": 16, "F8_E4M3": 8, "F32": 32, "U8": 8, "I32": 32, "I8": 8}
Entries = dict[str, tuple[str, tuple[int, ...]]]


def write_shard(path: Path, entries: Mapping[str, tuple[str, tuple[int, ...]]]) -> int:
    """Write a header over a hole and return the tensor bytes."""
    header, offset = {}, 0
    for name, (dtype, shape) in entries.items():
        size = math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return offset


M35_CONFIG = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "model_type": "mistral3",
    "spatial_merge_size": 2,
    "multimodal_projector_bias": False,
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "ministral3",
        "hidden_size": 12288,
        "num_hidden_layers": 88,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 28672,
        "vocab_size": 131072,
        "max_position_embeddings": 262144,
        "sliding_window": None,
        "q_lora_rank": None,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "yarn", "factor": 64.0, "original_max_position_embeddings": 4096},
    },
    "vision_config": {
        "model_type": "pixtral",
        "hidden_size": 1664,
        "num_hidden_layers": 48,
        "intermediate_size": 8192,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 1540,
    },
    "quantization_config": {
        "quant_method": "fp8",
        "activation_scheme": "static",
        "weight_block_size": None,
        "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
    },
}

M35_PARAMS = {
    "dim": 12288,
    "n_layers": 88,
    "head_dim": 128,
    "hidden_dim": 28672,
    "n_heads": 96,
    "n_kv_heads": 8,
    "vocab_size": 131072,
    "tied_embeddings": False,
    "max_position_embeddings": 262144,
    "sliding_window": None,
    "llama_4_scaling": None,
    "q_lora_rank": None,
    "yarn": {"original_max_position_embeddings": 4096, "factor": 64, "apply_scale": True, "beta": 4, "alpha": 1},
    "vision_encoder": {
        "hidden_size": 1664,
        "num_hidden_layers": 48,
        "intermediate_size": 8192,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 1540,
        "max_image_size": 1540,
        "num_channels": 3,
        "spatial_merge_size": 2,
        "adapter_bias": False,
        "mm_projector_id": "patch_merge",
        "add_pre_mm_projector_layer_norm": True,
    },
    "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"},
}

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
}


def m35_tensors(*, native: bool) -> Entries:
    """Every tensor of the official checkpoint, in one of its two layouts."""
    H, F, V, D, Fv = 12288, 28672, 131072, 1664, 8192
    entries: Entries = {}
    weight, activation = ("qscale_weight", "qscale_act") if native else ("weight_scale_inv", "activation_scale")
    text = "" if native else "model.language_model."
    vision = "vision_encoder.transformer.layers" if native else "model.vision_tower.transformer.layers"
    names = ("attention", "feed_forward") if native else ("self_attn", "mlp")
    linears = {
        (0, "wq" if native else "q_proj"): (H, H),
        (0, "wk" if native else "k_proj"): (1024, H),
        (0, "wv" if native else "v_proj"): (1024, H),
        (0, "wo" if native else "o_proj"): (H, H),
        (1, "w1" if native else "gate_proj"): (F, H),
        (1, "w3" if native else "up_proj"): (F, H),
        (1, "w2" if native else "down_proj"): (H, F),
    }
    for layer in range(88):
        for (block, name), shape in linears.items():
            module = f"{text}layers.{layer}.{names[block]}.{name}"
            entries[f"{module}.weight"] = ("F8_E4M3", shape)
            entries[f"{module}.{weight}"] = ("BF16", ())
            entries[f"{module}.{activation}"] = ("BF16", ())
        for norm in ("attention_norm", "ffn_norm") if native else ("input_layernorm", "post_attention_layernorm"):
            entries[f"{text}layers.{layer}.{norm}.weight"] = ("BF16", (H,))
    entries["tok_embeddings.weight" if native else f"{text}embed_tokens.weight"] = ("BF16", (V, H))
    entries["norm.weight" if native else f"{text}norm.weight"] = ("BF16", (H,))
    entries["output.weight" if native else "lm_head.weight"] = ("BF16", (V, H))
    for layer in range(48):
        for name, shape in {
            "attention.wq": (D, D), "attention.wk": (D, D), "attention.wv": (D, D), "attention.wo": (D, D),
            "feed_forward.w1": (Fv, D), "feed_forward.w3": (Fv, D), "feed_forward.w2": (D, Fv),
            "attention_norm": (D,), "ffn_norm": (D,),
        }.items():  # fmt: skip
            entries[f"{vision}.{layer}.{name}.weight"] = ("BF16", shape)
    tower = "vision_encoder" if native else "model.vision_tower"
    entries[f"{tower}.patch_conv.weight"] = ("BF16", (D, 3, 14, 14))
    entries[f"{tower}.ln_pre.weight"] = ("BF16", (D,))
    merger = "patch_merger" if native else "model.multi_modal_projector.patch_merger"
    entries[f"{merger}.merging_layer.weight"] = ("BF16", (D, 4 * D))
    norm = "pre_mm_projector_norm" if native else "model.multi_modal_projector.norm"
    entries[f"{norm}.weight"] = ("BF16", (D,))
    adapter = "vision_language_adapter.w_" if native else "model.multi_modal_projector.linear_"
    entries[f"{adapter}{'in' if native else '1'}.weight"] = ("BF16", (H, D))
    entries[f"{adapter}{'out' if native else '2'}.weight"] = ("BF16", (H, H))
    return entries
