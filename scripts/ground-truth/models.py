"""Writes model folders for ``--load-format dummy``, which needs no weights, or with scripted weights.

    python models.py FOLDER [LAYERS…]              configuration and tokenizer of the full size and of cuts
    python models.py FOLDER 8 --weights            a whole checkpoint: the model's widths, 8 of its layers

Each is ``NAME/model`` with an EAGLE draft in ``NAME/draft``. The weights make the cut say what the small twin of a
rehearsal says, so that every check of a running server can pass.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from planner.checkpoint.preset import load_preset
from planner.serve.rehearsal.twin import TwinSpec, make_twin

FULL = load_preset()
CUTS = (8, 24, 44, FULL.num_hidden_layers)


def write_models(directory: Path, *, layers: list[int], weights: bool = False) -> None:
    """Write one folder per cut: ``cut8``, …, and ``full`` for all layers."""
    assert FULL.draft is not None
    for count in layers:
        cut = replace(FULL, layers=(replace(FULL.layers[0], count=count),))
        name = "full" if count == FULL.num_hidden_layers else f"cut{count}"
        # A draft of scripted weights would double the time; its configuration costs nothing.
        drafts = 0 if weights else FULL.draft.num_hidden_layers
        make_twin(directory / name, spec=TwinSpec.full_size(cut, draft_layers=drafts), weights=weights)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("layers", type=int, nargs="*", default=CUTS)
    parser.add_argument("--weights", action="store_true")
    args = parser.parse_args()
    write_models(args.folder, layers=list(args.layers), weights=args.weights)
