"""Writes model folders without weights (configuration and tokenizer only); it downloads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHALLOW_LAYERS = 2
"""Depth of the models that only peaks are read from: a peak does not depend on depth (checked by the tests)."""
_CONTROL_TOKENS = {
    0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]", 10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]",
    13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]", 16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]", 32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]", 35: "[/THINK]",
}  # fmt: skip
_ORDINARY_SPECIALS = 1000


def write_model(folder: Path, facts: dict[str, Any], *, text_layers: int, vision_layers: int) -> None:
    """Write `params.json` and `tekken.json` of the model of `facts` (the planner's model file) at the given depth.

    `vision_layers` 0 leaves the vision encoder out, as in the draft.
    """
    folder.mkdir(parents=True, exist_ok=True)
    params: dict[str, Any] = {
        "dim": facts["hidden_size"],
        "n_layers": text_layers,
        "head_dim": facts["head_dim"],
        "hidden_dim": facts["intermediate_size"],
        "n_heads": facts["num_attention_heads"],
        "n_kv_heads": facts["num_key_value_heads"],
        "rope_theta": 1000000.0,
        "norm_eps": 1e-5,
        "vocab_size": facts["vocab_size"],
        "tied_embeddings": facts["tie_word_embeddings"],
        "max_position_embeddings": facts["max_position_embeddings"],
        "max_seq_len": facts["max_position_embeddings"],
        "yarn": {"original_max_position_embeddings": 4096, "factor": 64, "apply_scale": True, "beta": 4, "alpha": 1},
        "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"},
    }
    if vision_layers:
        vision = facts["vision"]
        params["vision_encoder"] = {
            "image_token_id": 10,
            "image_break_token_id": 12,
            "image_end_token_id": 13,
            "hidden_size": vision["hidden_size"],
            "num_hidden_layers": vision_layers,
            "intermediate_size": vision["intermediate_size"],
            "num_attention_heads": vision["num_attention_heads"],
            "num_channels": vision["num_channels"],
            "patch_size": vision["patch_size"],
            "image_size": vision["max_image_size"],
            "max_image_size": vision["max_image_size"],
            "spatial_merge_size": vision["spatial_merge_size"],
            "rope_theta": 10000.0,
            "mm_projector_id": "patch_merge",
            "add_pre_mm_projector_layer_norm": True,
            "adapter_bias": False,
        }
    (folder / "params.json").write_text(json.dumps(params, indent=2), encoding="utf-8")
    _write_tokenizer(folder, facts, images=bool(vision_layers))


def _write_tokenizer(folder: Path, facts: dict[str, Any], *, images: bool) -> None:
    import mistral_common

    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    size = facts["vocab_size"]
    tokenizer["vocab"] = tokenizer["vocab"][: size - _ORDINARY_SPECIALS]
    tokenizer["config"].update(
        num_vocab_tokens=len(tokenizer["vocab"]),
        default_vocab_size=size,
        default_num_special_tokens=_ORDINARY_SPECIALS,
        version="v13",
    )
    tokenizer["special_tokens"] = [
        {"rank": rank, "token_str": _CONTROL_TOKENS.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
        for rank in range(max(_CONTROL_TOKENS) + 1)
    ]
    for key in ("multimodal", "image"):
        tokenizer.pop(key, None)
    if images:
        vision = facts["vision"]
        tokenizer["image"] = {
            "image_patch_size": vision["patch_size"],
            "max_image_size": vision["max_image_size"],
            "spatial_merge_size": vision["spatial_merge_size"],
        }
    (folder / "tekken.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def write_hf_model(folder: Path, config: dict[str, Any]) -> None:
    """Write a Hugging Face `config.json`; for models that are only compared with measurements, without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
