"""Writes model folders that hold a configuration and a tokenizer but no weights, for ``--load-format dummy``.

The full size and the same architecture with fewer decoder layers. It never writes a tensor.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from planner.serve.twin.spec import YARN, TwinSpec  # noqa: E402
from planner.serve.twin.tekken import tekken  # noqa: E402

FACTS = PROJECT / "planner" / "facts" / "models" / "mistral-medium-3.5-128b.toml"
FULL_LAYERS = 88
DRAFT_LAYERS = 2
"""The EAGLE draft is the trunk cut to these, without images."""


def params(*, layers: int, vision: bool) -> dict[str, object]:
    """Return ``params.json`` of the model cut to `layers`; the sizes come from the planner's facts."""
    facts = tomllib.loads(FACTS.read_text(encoding="utf-8"))
    document: dict[str, object] = {
        "dim": facts["hidden_size"],
        "n_layers": layers,
        "head_dim": facts["head_dim"],
        "hidden_dim": facts["intermediate_size"],
        "n_heads": facts["num_attention_heads"],
        "n_kv_heads": facts["num_key_value_heads"],
        "rope_theta": 1000000.0,
        "norm_eps": 1e-5,
        "vocab_size": facts["vocab_size"],
        "tied_embeddings": False,
        "max_position_embeddings": facts["max_position_embeddings"],
        "max_seq_len": facts["max_position_embeddings"],
        "yarn": dict(YARN),
        "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"},
    }
    if vision:
        tower = facts["vision"]
        document["vision_encoder"] = {
            "image_token_id": 10,
            "image_break_token_id": 12,
            "image_end_token_id": 13,
            "mm_projector_id": "patch_merge",
            "image_size": tower["max_image_size"],
            "rope_theta": 10000.0,
            "add_pre_mm_projector_layer_norm": True,
            "adapter_bias": False,
            **tower,
        }
    return document


def write_models(directory: Path, *, layers: list[int]) -> None:
    """Write one folder per cut (``cut8``, …, ``full`` for 88 layers) and ``draft``, all with one tokenizer."""
    facts = tomllib.loads(FACTS.read_text(encoding="utf-8"))
    spec = TwinSpec(vocab_size=facts["vocab_size"], image_size=facts["vision"]["max_image_size"])
    tokenizer = json.dumps(tekken(spec, ()))
    folders = {
        ("full" if count == FULL_LAYERS else f"cut{count}"): params(layers=count, vision=True) for count in layers
    }
    folders["draft"] = params(layers=DRAFT_LAYERS, vision=False)
    for name, document in folders.items():
        folder = directory / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        (folder / "tekken.json").write_text(tokenizer, encoding="utf-8")


if __name__ == "__main__":
    write_models(Path(sys.argv[1]), layers=[int(count) for count in sys.argv[2:]] or [8, 24, 44, FULL_LAYERS])
