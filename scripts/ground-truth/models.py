"""Writes model folders for ``--load-format dummy``, which needs no weights, or with scripted weights.

    python models.py FOLDER [LAYERS…]              configuration and tokenizer of the full size and of cuts
    python models.py FOLDER 8 --weights            a whole checkpoint: the model's widths, 8 of its layers
    python models.py FOLDER --dense                configuration of a dense 8B in BF16, for loads

Each is ``NAME/model`` with an EAGLE draft in ``NAME/draft``. The weights make the cut say what the small twin of a
rehearsal says, so that every check of a running server can pass.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

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
    """Write ``dense-8b``; its tokenizer is the model's own, cut to the smaller vocabulary."""
    folder = directory / "dense-8b" / "model"
    make_twin(folder, spec=TwinSpec.full_size(FULL, draft_layers=0), weights=False)
    made = folder / "model"
    tokenizer = json.loads((made / "tekken.json").read_text(encoding="utf-8"))
    tokenizer["config"]["default_vocab_size"] = DENSE_8B["vocab_size"]
    (folder / "tekken.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "params.json").write_text(json.dumps(DENSE_8B, indent=2), encoding="utf-8")
    for file in made.iterdir():
        file.unlink()
    made.rmdir()


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
