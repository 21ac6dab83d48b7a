"""Writes a twin to disk: params.json, tekken.json, consolidated.safetensors, and the same for its EAGLE draft.

It never leaves a half-written twin: everything is made beside the target and moved in one step.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hw_specs.errors import reason_of
from planner.errors import InvalidRequest
from planner.serve.process.scratch import scratch_folder
from planner.serve.rehearsal.twin.script import Script, scripted_words
from planner.serve.rehearsal.twin.spec import TwinSpec
from planner.serve.rehearsal.twin.tekken import tekken
from planner.serve.rehearsal.twin.tensors import E4M3_MAX, Tensor, bf16, bf16_value, e4m3, write_safetensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

MARK = ".m35-twin"
"""Empty file beside a twin's models, by which it is known again."""
NOISE = 0.02
"""Standard deviation of weights that the script leaves alone."""
ACTIVATION_ROOM = 1.12
"""Largest FP8 activation by the largest scripted one: a lone coordinate after a norm, sqrt(hidden_size)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A twin on disk."""

    spec: TwinSpec
    path: Path
    """Folder to serve."""
    draft_path: Path | None
    """Folder of the EAGLE draft, None without one."""
    checkpoint_bytes: int
    """Size of the target's tensor file; 0 where none was written."""


def make_twin(directory: Path, *, spec: TwinSpec, weights: bool = True) -> Twin:
    """Write the twin to ``directory/model`` and its draft to ``directory/draft``; the same spec, the same bytes.

    Without `weights` configuration and tokenizer alone: enough for an engine that fills its tensors at random.

    Raises:
        InvalidRequest: when `directory` holds something that is not a twin.
    """
    directory = directory.resolve()
    try:
        if directory.exists() and (not directory.is_dir() or not _may_be_replaced(directory)):
            raise InvalidRequest(
                "directory", f"`{directory}` exists and is not a twin", hint="name a new or an empty directory"
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(
            "directory",
            f"cannot write a twin to `{directory}`: {reason_of(error)}",
            hint="name a directory that you can write",
        ) from None
    with scratch_folder(f".{directory.name}-", parent=directory.parent) as fresh:
        fresh.chmod(0o755)  # a container's user must be able to read it
        maker = _Maker(spec)
        _write(fresh / "model", spec, params=spec.params(), tensors=maker.target() if weights else None)
        if spec.draft_layers:
            _write(fresh / "draft", spec, params=spec.draft_params(), tensors=maker.draft() if weights else None)
        (fresh / MARK).touch()
        shutil.rmtree(directory, ignore_errors=True)
        fresh.replace(directory)
    return Twin(
        spec=spec,
        path=directory / "model",
        draft_path=directory / "draft" if spec.draft_layers else None,
        checkpoint_bytes=(directory / "model" / "consolidated.safetensors").stat().st_size if weights else 0,
    )


def _may_be_replaced(directory: Path) -> bool:
    """Whether nothing is in it but a twin; a model of somebody's has the same names, and no mark beside it."""
    names = {entry.name for entry in directory.iterdir()}
    return not names or (MARK in names and names <= {"model", "draft", MARK})


def _write(folder: Path, spec: TwinSpec, *, params: dict[str, object], tensors: dict[str, Tensor] | None) -> None:
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(params, indent=2) + "\n", encoding="utf-8")
    (folder / "tekken.json").write_text(json.dumps(tekken(spec, scripted_words())), encoding="utf-8")
    if tensors is not None:
        write_safetensors(folder / "consolidated.safetensors", tensors)


class _Maker:
    """Tensors by their names in Mistral's layout."""

    def __init__(self, spec: TwinSpec) -> None:
        import numpy as np

        self.spec = spec
        self.script = Script.of(spec)
        self.activation_scale = ACTIVATION_ROOM * spec.hidden_size**0.5 / E4M3_MAX
        """Static, per tensor, as in the checkpoint."""
        self.random = np.random.Generator(np.random.PCG64(spec.seed))

    def noise(self, *shape: int) -> Matrix:
        import numpy as np

        return self.random.standard_normal(shape, dtype=np.float32) * np.float32(NOISE)

    def zeros(self, *shape: int) -> Matrix:
        import numpy as np

        return np.zeros(shape, np.float32)

    def ones(self, size: int) -> Tensor:
        return bf16(self.zeros(size) + 1)

    def target(self) -> dict[str, Tensor]:
        spec = self.spec
        tensors = {
            "tok_embeddings.weight": bf16(self.script.embedding(self.noise(spec.vocab_size, spec.hidden_size))),
            "norm.weight": self.ones(spec.hidden_size),
            "output.weight": bf16(self.script.output(self.noise(spec.vocab_size, spec.hidden_size))),
        }
        for layer in range(spec.num_hidden_layers):
            tensors |= self.layer(f"layers.{layer}", attention=self.script.attention() if layer == 0 else {})
        if spec.vision:
            tensors |= self.vision()
        return tensors

    def draft(self) -> dict[str, Tensor]:
        """Draft tensors; embedding and output are the target's and not stored."""
        tensors = {"norm.weight": self.ones(self.spec.hidden_size)}
        tensors |= self.linear("eagle_linear", self.script.draft_projection())
        for layer in range(self.spec.draft_layers):
            tensors |= self.layer(f"layers.{layer}", attention={})
        return tensors

    def layer(self, name: str, *, attention: dict[str, Matrix]) -> dict[str, Tensor]:
        """One decoder layer: with `attention` as given, else computing much and adding nothing."""
        spec = self.spec
        hidden, inner = spec.hidden_size, spec.intermediate_size
        query, kv = spec.num_attention_heads * spec.head_dim, spec.num_key_value_heads * spec.head_dim
        parts = {
            "wq": self.noise(query, hidden),
            "wk": self.noise(kv, hidden),
            "wv": self.noise(kv, hidden),
            "wo": self.zeros(hidden, query),
        } | attention
        tensors = {
            f"{name}.attention_norm.weight": self.ones(hidden),
            f"{name}.ffn_norm.weight": self.ones(hidden),
        }
        for part, matrix in parts.items():
            tensors |= self.linear(f"{name}.attention.{part}", matrix)
        for part, matrix in (
            ("w1", self.noise(inner, hidden)),
            ("w2", self.zeros(hidden, inner)),
            ("w3", self.noise(inner, hidden)),
        ):
            tensors |= self.linear(f"{name}.feed_forward.{part}", matrix)
        return tensors

    def linear(self, name: str, matrix: Matrix) -> dict[str, Tensor]:
        """A linear layer in the twin's format; FP8 scales are BF16 scalars of rank 0, as in the checkpoint."""
        import numpy as np

        if not self.spec.fp8:
            return {f"{name}.weight": bf16(matrix)}
        largest = float(np.abs(matrix).max())
        scale = bf16_value(largest / E4M3_MAX) or 1.0
        return {
            f"{name}.weight": e4m3((matrix / np.float32(scale)).astype(np.float32)),
            f"{name}.qscale_weight": bf16(np.array(scale, np.float32)),
            f"{name}.qscale_act": bf16(np.array(self.activation_scale, np.float32)),
        }

    def vision(self) -> dict[str, Tensor]:
        """The Pixtral tower, always BF16: patch colour in channels 0 to 2, layers that add nothing, the adapter."""
        import numpy as np

        spec = self.spec
        width, inner, patch = spec.vision_hidden_size, spec.vision_intermediate_size, spec.patch_size
        merged = spec.spatial_merge_size**2
        patches = self.zeros(width, 3, patch, patch)
        for colour in range(3):
            patches[colour, colour] = 1 / patch**2
        tensors = {
            "vision_encoder.patch_conv.weight": bf16(patches),
            "vision_encoder.ln_pre.weight": self.ones(width),
        }
        for layer in range(spec.vision_layers):
            name = f"vision_encoder.transformer.layers.{layer}"
            for part, matrix in (
                ("attention.wq", self.noise(width, width)),
                ("attention.wk", self.noise(width, width)),
                ("attention.wv", self.noise(width, width)),
                ("attention.wo", self.zeros(width, width)),
                ("feed_forward.w1", self.noise(inner, width)),
                ("feed_forward.w2", self.zeros(width, inner)),
                ("feed_forward.w3", self.noise(inner, width)),
            ):
                tensors[f"{name}.{part}.weight"] = bf16(matrix)
            tensors[f"{name}.attention_norm.weight"] = self.ones(width)
            tensors[f"{name}.ffn_norm.weight"] = self.ones(width)
        # The merger unfolds 2 x 2 patches channel by channel: channel c of the four stands at 4c … 4c + 3.
        merger = np.zeros((width, merged * width), np.float32)
        adapter = np.zeros((spec.hidden_size, width), np.float32)
        for colour in range(3):
            merger[colour, merged * colour : merged * (colour + 1)] = 1 / merged
            adapter[colour, colour] = 1
        return tensors | {
            "pre_mm_projector_norm.weight": self.ones(width),
            "patch_merger.merging_layer.weight": bf16(merger),
            "vision_language_adapter.w_in.weight": bf16(adapter),
            "vision_language_adapter.w_out.weight": bf16(self.script.image_projection()),
        }
