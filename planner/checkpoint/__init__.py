"""Where model descriptions come from: shipped presets and local checkpoints. No model code is ever run."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache

from hw_specs.errors import shown
from planner.checkpoint.preset import DEFAULT_PRESET, draft_stems, load_preset, preset_stems
from planner.errors import UnreadableCheckpoint
from planner.model import DraftSpec, ModelSpec

__all__ = ["DEFAULT_PRESET", "load_draft", "load_model", "load_preset", "preset_stems"]


def load_model(name_or_path: str | os.PathLike[str]) -> ModelSpec:
    """Return the model called or stored at `name_or_path`.

    A path that exists is read: a checkpoint directory, a config.json or a params.json. Anything else is the stem or
    the repository of a shipped preset.

    Raises:
        UnreadableCheckpoint: when it is neither, or the files are broken or contradict themselves.
        UnsupportedModel: for a model outside the scope, by name.
    """
    from pathlib import Path  # only here: a shipped model needs no path, and a plan waits for the import

    name = os.fspath(name_or_path)
    if not name or "\0" in name:
        raise UnreadableCheckpoint("a model needs a name or a path", hint=_presets_hint())
    path = Path(name)
    try:
        exists = path.exists()
    except (OSError, ValueError):
        exists = False
    if not exists:
        return _preset(name)
    from planner.checkpoint.local import load_local

    # A container, a unit and another folder's shell must find it, too.
    return _recognised(load_local(Path(os.path.abspath(path))))  # noqa: PTH100 - links stay as they were typed


@lru_cache(maxsize=16)
def load_draft(name_or_path: str, target: ModelSpec) -> DraftSpec:
    """Return the draft stored at `name_or_path`, for `target`; its own shipped draft may be called by its name.

    Raises:
        UnreadableCheckpoint: when nothing readable is there, or it is another model's draft.
        UnsupportedModel: for a draft of another kind.
    """
    from pathlib import Path  # only where a draft is named

    if target.draft is not None and name_or_path == target.draft.name:
        return target.draft
    from planner.checkpoint.draft import load_draft as read

    path = Path(os.path.abspath(name_or_path))  # noqa: PTH100 - links stay as they were typed
    if not path.exists():
        own = f"; the model's own is `{target.draft.name}`" if target.draft else ""
        raise UnreadableCheckpoint(
            f"there is no draft checkpoint `{shown(name_or_path)}` here",
            hint=f"name its directory or its config.json{own}",
        )
    return read(path, target)


def _preset(name: str) -> ModelSpec:
    wanted = name.casefold()
    served = {stem: load_preset(stem).name for stem in preset_stems()}
    drafts = {stem: DraftSpec.named(stem).name for stem in draft_stems()}
    for stem, repository in (served | drafts).items():
        if wanted in (stem, repository.casefold(), repository.casefold().partition("/")[2]):
            return load_preset(stem)
    raise UnreadableCheckpoint(
        f"there is no file `{shown(name)}` and no shipped model of that name", hint=_presets_hint()
    )


def _presets_hint() -> str:
    return f"shipped: {', '.join(preset_stems())}; or name a checkpoint directory, its config.json or its params.json"


def _recognised(model: ModelSpec) -> ModelSpec:
    """Give a local copy of a shipped model what only the preset knows: its draft."""
    for stem in preset_stems():
        known = load_preset(stem)
        if known.draft and _dimensions(model) == _dimensions(known):
            return replace(model, draft=known.draft)
    return model


def _dimensions(model: ModelSpec) -> ModelSpec:
    """`model` without what differs between copies of one checkpoint."""
    return replace(
        model,
        name="",
        draft=None,
        checkpoint_bytes=None,
        download_bytes=None,
        native_format=False,
        architectures=(),
        notes=(),
    )
