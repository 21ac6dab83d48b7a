"""Writes model folders for ``--load-format dummy``, which needs no weights, or with scripted weights.

    python models.py FOLDER [LAYERS…]              configuration and tokenizer of the full size and of cuts
    python models.py FOLDER 8 --weights            a whole checkpoint: the model's widths, 8 of its layers
    python models.py FOLDER --dense                configurations of dense models: an 8B in BF16, in FP8 and with an
                                                   EAGLE-3 draft, a 32B

Each is ``NAME/model`` with an EAGLE draft in ``NAME/draft``. The weights make the cut say what the small twin of a
rehearsal says, so that every check of a running server can pass.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from planner.checkpoint.preset import load_preset
from planner.serve.rehearsal.twin import TwinSpec, make_twin

FULL = load_preset()
CUTS = (8, 24, 44, FULL.num_hidden_layers)
DENSE_8B = {
    "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
    "rope_theta": 500000.0, "norm_eps": 1e-05, "vocab_size": 128256, "tied_embeddings": False,
    "max_position_embeddings": 131072, "max_seq_len": 131072,
}  # fmt: skip
"""The dimensions of Llama-3.1-8B, as its public configuration has them, in the form the engine reads here."""
FP8 = {"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}}
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "vocab_size": 128256, "tie_word_embeddings": False,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "bos_token_id": 128000, "eos_token_id": 128001,
}  # fmt: skip
"""The same in the Hugging Face form, which a draft of that form needs."""
LLAMA_8B_DRAFT = LLAMA_8B | {
    "architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 32000,
}  # fmt: skip
"""The dimensions of EAGLE3-LLaMA3.1-Instruct-8B; its context is the target's, which would otherwise be cut to 2,048."""
QWEN3_32B = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "hidden_size": 5120,
    "intermediate_size": 25600, "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 128, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "vocab_size": 151936, "tie_word_embeddings": False,
    "max_position_embeddings": 40960, "torch_dtype": "bfloat16", "bos_token_id": 151643, "eos_token_id": 151645,
    "attention_bias": False,
}  # fmt: skip
"""The dimensions of Qwen3-32B, as its public configuration has them."""
DENSE: dict[str, dict[str, dict[str, Any]]] = {
    "dense-8b": {"model/params.json": DENSE_8B},
    "dense-8b-fp8": {"model/params.json": DENSE_8B | FP8},
    "llama-8b": {"model/config.json": LLAMA_8B, "draft/config.json": LLAMA_8B_DRAFT},
    "qwen3-32b": {"model/config.json": QWEN3_32B},
}


def write_models(directory: Path, *, layers: list[int], weights: bool = False) -> None:
    """Write one folder per cut: ``cut8``, …, and ``full`` for all layers."""
    assert FULL.draft is not None
    for count in layers:
        cut = replace(FULL, layers=(replace(FULL.layers[0], count=count),))
        name = "full" if count == FULL.num_hidden_layers else f"cut{count}"
        # A draft of scripted weights would double the time; its configuration costs nothing.
        drafts = 0 if weights else FULL.draft.num_hidden_layers
        make_twin(directory / name, spec=TwinSpec.full_size(cut, draft_layers=drafts), weights=weights)


def write_dense(directory: Path) -> None:
    """Write the dense models; their tokenizer is the model's own, cut to a smaller vocabulary where theirs is."""
    with tempfile.TemporaryDirectory() as scratch:
        made = make_twin(Path(scratch) / "twin", spec=TwinSpec.full_size(FULL, draft_layers=0), weights=False).path
        tokenizer = json.loads((made / "tekken.json").read_text(encoding="utf-8"))
    most = tokenizer["config"]["default_vocab_size"]
    for name, files in DENSE.items():
        for path, configuration in files.items():
            file = directory / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(configuration, indent=2), encoding="utf-8")
            tokenizer["config"]["default_vocab_size"] = min(most, configuration["vocab_size"])
            (file.parent / "tekken.json").write_text(json.dumps(tokenizer), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("layers", type=int, nargs="*", default=CUTS)
    parser.add_argument("--weights", action="store_true")
    parser.add_argument("--dense", action="store_true")
    args = parser.parse_args()
    if args.dense:
        write_dense(args.folder)
        sys.exit()
    write_models(args.folder, layers=list(args.layers), weights=args.weights)
