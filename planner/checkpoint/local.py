"""A local checkpoint directory, or its configuration alone, as a model description.

It never reads weights, never runs model code and never uses the network.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hw_specs.errors import shown
from planner.checkpoint.document import Section, read_object
from planner.checkpoint.headers import Tensor, read_header, read_index
from planner.checkpoint.huggingface import limits, read_huggingface
from planner.checkpoint.mistral import read_mistral
from planner.checkpoint.tensors import layer_formats, refuse_strange
from planner.errors import UnreadableCheckpoint
from planner.memory.weights import rank_weights
from planner.model import ModelSpec

PARAMS, CONFIG, SEPARATE_QUANTIZATION = "params.json", "config.json", "hf_quant_config.json"
_FILE_LIMIT = 2000
MISMATCH_SHARE = 0.005
"""How far index and dimensions may differ before a note says so."""


def load_local(path: Path) -> ModelSpec:
    """Return the model that the directory or configuration file at `path` describes.

    Raises:
        UnreadableCheckpoint: when nothing readable is there, or it contradicts itself.
        UnsupportedModel: for a model outside the scope, by name.
    """
    if path.is_dir():
        return _load_directory(path)
    if path.suffix == ".gguf":
        raise UnreadableCheckpoint(
            f"`{shown(path.name)}` is a GGUF file: vLLM plans are made from safetensors checkpoints",
            hint="name the directory or the config.json of the original checkpoint",
        )
    if path.suffix == ".safetensors":
        raise UnreadableCheckpoint(
            f"`{shown(path.name)}` holds tensors and no configuration", hint="name the directory that it lies in"
        )
    section = read_object(path)
    # vLLM takes a folder or a repository, whatever the file with the configuration is called.
    name = str(path.parent)
    model = (
        read_mistral(section, name=name)
        if "dim" in section and "n_layers" in section
        else read_huggingface(section, name=name)
    )
    if path.name in (PARAMS, CONFIG):
        return model
    note = f"`{shown(path.name)}` is a configuration alone: the command serves its folder, which must be a checkpoint"
    return replace(model, notes=(*model.notes, note))


def _load_directory(path: Path) -> ModelSpec:
    """Choose the layout that vLLM would load, and read the other one's configuration only for what is missing.

    vLLM takes Mistral's layout where consolidated*.safetensors are present; the other layout's shards hold the same
    weights once more and are not counted.
    """
    try:
        present = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise UnreadableCheckpoint(f"cannot read `{shown(str(path))}`: {error.strerror or error}") from None
    native_files = sorted(n for n in present if n.startswith("consolidated") and n.endswith(".safetensors"))
    hf_files = sorted(n for n in present if n.endswith(".safetensors") and not n.startswith("consolidated"))
    native = PARAMS in present and (bool(native_files) or not hf_files)
    if not native and CONFIG not in present:
        raise UnreadableCheckpoint(
            f"`{shown(str(path))}` holds neither {CONFIG} nor {PARAMS}", hint="name a checkpoint's directory"
        )
    config = read_object(path / CONFIG) if CONFIG in present else None
    if native:
        model = read_mistral(read_object(path / PARAMS), name=str(path), positions=_positions(config))
    else:
        assert config is not None
        separate = read_object(path / SEPARATE_QUANTIZATION) if SEPARATE_QUANTIZATION in present else None
        model = read_huggingface(config, name=str(path), quantization=separate)
    index = "consolidated.safetensors.index.json" if native else "model.safetensors.index.json"
    return _with_sizes(
        path, model, files=native_files if native else hf_files, index=index if index in present else None
    )


def _positions(config: Section | None) -> int | None:
    """The position limit of a config.json, which vLLM takes where params.json has none."""
    if config is None:
        return None
    text = config.section("text_config") or config
    if "max_position_embeddings" not in text:
        return None
    return text.integer("max_position_embeddings", limit=limits().positions)


def _with_sizes(path: Path, model: ModelSpec, *, files: list[str], index: str | None) -> ModelSpec:
    """Add what headers and index say: exact bytes and, with all shards present, the formats themselves."""
    listed = read_index(path / index) if index else None
    wanted = list(listed.shards) if listed else files
    if not wanted:
        return _noted(model, listed.total_bytes if listed else None)
    missing = sorted(set(wanted) - set(files))
    if missing:
        total = listed.total_bytes if listed else None
        if len(missing) < len(wanted):
            note = (
                f"{len(missing)} of {len(wanted)} shards are not here: sizes follow from the index and the dimensions"
            )
            model = replace(model, notes=(*model.notes, note))
        return _noted(model, total)
    if len(wanted) > _FILE_LIMIT:
        raise UnreadableCheckpoint(f"`{shown(path.name)}` holds more than {_FILE_LIMIT} shards")
    tensors: dict[str, Tensor] = {}
    for name in wanted:
        for tensor, entry in read_header(path / name).items():
            if tensor in tensors:
                raise UnreadableCheckpoint(
                    f"tensor `{shown(tensor)}` is in more than one file", hint="two layouts may lie in one directory"
                )
            tensors[tensor] = entry
    refuse_strange(tensors)
    model = replace(model, layers=layer_formats(tensors, model))
    return _noted(model, sum(tensor.bytes for tensor in tensors.values()))


def _noted(model: ModelSpec, total_bytes: int | None) -> ModelSpec:
    """Set the checkpoint's size, with a note where it is not what the dimensions give."""
    if total_bytes is None:
        return model
    expected_bytes = rank_weights(model, tensor_parallel_size=1)[0].total_bytes
    notes = model.notes
    if abs(total_bytes - expected_bytes) > MISMATCH_SHARE * total_bytes:
        notes = (
            *notes,
            f"the checkpoint holds {total_bytes / 2**30:.2f} GiB where vLLM keeps {expected_bytes / 2**30:.2f} GiB: "
            "another precision on disk, a stored copy of tied weights, or something not described",
        )
    return replace(model, checkpoint_bytes=total_bytes, notes=notes)
