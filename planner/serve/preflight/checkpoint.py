"""Checks of the checkpoint: is it here, whole, and of the right layout; is there room for it. It downloads nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw_specs.parsing import parse_json
from hw_specs.reading import UnreadableInput, read_bytes, read_text
from hw_specs.units import counted, format_gib
from planner.checkpoint.document import INDEX_LIMIT_BYTES, read_object
from planner.checkpoint.headers import read_header, read_index
from planner.errors import UnreadableCheckpoint
from planner.facts.preflight import preflight_facts
from planner.serve.check import Doubtful, Failed, Unknown
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value
from planner.serve.process.hub_cache import hub_cache

_INDEX = {"mistral": "consolidated.safetensors.index.json", "hf": "model.safetensors.index.json"}
_WHOLE = {"mistral": "consolidated.safetensors", "hf": "model.safetensors"}
_CONFIG = {"mistral": ("params.json", "tekken.json"), "hf": ("config.json",)}
_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<digits>\d+)-of-(?P<count>\d+)\.safetensors")
_LFS = b"version https://git-lfs"
_MOST_SHARDS = 10_000
_FETCH = {
    "mistral": "--include 'consolidated*' params.json tekken.json",
    "hf": "--exclude 'consolidated*'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutState:
    """How much of one layout of a checkpoint is on disk."""

    layout: str
    files: int
    """Weight files that are whole."""
    size_bytes: int
    """Their sizes together."""
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    """Files that are shorter than their own header says, or cannot be read as what they are."""
    data_bytes: int = 0
    """Tensors in the whole files, headers left out."""
    partial_bytes: int = 0
    """Already downloaded of files that are not whole yet."""

    @property
    def complete(self) -> bool:
        """Whether everything is here and whole."""
        return self.files > 0 and not self.missing and not self.broken


def snapshot_of(name: str, environment: Mapping[str, str]) -> Path | None:
    """Return the cached snapshot of the repository `name`; None when there is none."""
    home = hub_cache(environment) / f"models--{name.replace('/', '--')}"
    try:
        commit = read_text(home / "refs" / "main", most_bytes=4096).strip()
    except UnreadableInput:
        # The hub's own rule: without a reference nothing leads to a snapshot, and never to a neighbour.
        return None
    snapshot = home / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def layout_state(folder: Path, layout: str) -> LayoutState:
    """Return what `folder` holds of `layout`; files are compared with the size that their own header implies."""
    missing = [name for name in _CONFIG[layout] if not (folder / name).is_file()]
    broken = [name for name in _CONFIG[layout] if name not in missing and not _read_object(folder / name)]
    names = _weight_files(folder, layout)
    whole, size_bytes, data_bytes = 0, 0, 0
    if names is None:
        broken.append(_INDEX[layout])
    for name in names or ():
        path = folder / name
        if not path.is_file():
            missing.append(name)
            continue
        try:
            tensors = read_header(path)
        except UnreadableCheckpoint:
            broken.append(name)
            continue
        whole += 1
        size_bytes += path.stat().st_size
        data_bytes += sum(tensor.bytes for tensor in tensors.values())
    return LayoutState(
        layout=layout, files=whole, size_bytes=size_bytes, missing=tuple(missing), broken=tuple(broken),
        data_bytes=data_bytes, partial_bytes=_partial_bytes(folder),
    )  # fmt: skip


def _weight_files(folder: Path, layout: str) -> list[str] | None:
    """Names of all weight files of `layout`, and of the index where only it can tell them; None: it is spoilt."""
    index = folder / _INDEX[layout]
    if index.is_file():
        try:
            return sorted(read_index(index).shards)
        except UnreadableCheckpoint:
            return None
    if (folder / _WHOLE[layout]).exists():
        return [_WHOLE[layout]]
    pattern = "consolidated-*.safetensors" if layout == "mistral" else "model-*.safetensors"
    for path in folder.glob(pattern):
        if (match := _NUMBERED.fullmatch(path.name)) is not None:
            width, count = len(match["digits"]), int(match["count"])
            if count <= _MOST_SHARDS:
                names = (f"{match['stem']}-{n:0{width}d}-of-{match['count']}" for n in range(1, count + 1))
                return [f"{name}.safetensors" for name in names]
    return [_INDEX[layout], *sorted(path.name for path in folder.glob(pattern))]


def _partial_bytes(folder: Path) -> int:
    blobs = folder.parent.parent / "blobs"
    try:
        return sum(path.stat().st_size for path in blobs.glob("*.incomplete"))
    except OSError:
        return 0


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path, limit_bytes=INDEX_LIMIT_BYTES).values
    except UnreadableCheckpoint:
        return None


def folder_of(name: str, subject: Subject) -> Path | None:
    """Return the folder that the engine reads the model `name` from; None where it is not here."""
    local = Path(name)
    if local.is_dir():
        return local
    return snapshot_of(name, subject.environment)


def _offline(subject: Subject) -> bool:
    # The hub's own rule: the older variable counts where the newer one is not set.
    value = subject.environment.get("HF_HUB_OFFLINE") or subject.environment.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "TRUE", "YES", "ON")


def check_checkpoint(subject: Subject) -> str:
    """Whether the planned layout of the model is here and whole."""
    if subject.model is None:
        raise Unknown("the command names no model")
    planned = subject.plan.model.checkpoint_bytes if subject.plan is not None else None
    return _describe(subject.model, subject, _layout(subject), planned_bytes=planned)


def _layout(subject: Subject) -> str:
    """The layout that will be loaded: without a word about it the engine takes Mistral's own where it is."""
    if subject.plan is None and option_value(subject.engine_args, "load-format") in (None, "auto"):
        folder = folder_of(subject.model or "", subject)
        if folder is not None and any(folder.glob("consolidated*.safetensors")):
            return "mistral"
    return subject.load_format


def check_draft(subject: Subject) -> str | None:
    """The same for the EAGLE draft, where one is used."""
    text = option_value(subject.engine_args, "speculative-config")
    if text is None:
        return None
    try:
        name = parse_json(text).get("model")
    except (ValueError, AttributeError):
        raise Failed("--speculative-config is not a JSON object") from None
    if not name:
        return None
    return _describe(str(name), subject, "mistral")


def model_configuration(subject: Subject) -> dict[str, Any] | None:
    """Return the model's config.json, where it is here and the engine will read it; None elsewhere."""
    name = subject.model
    overridden = any(option_value(subject.engine_args, one) for one in ("hf-config-path", "hf-overrides"))
    if name is None or subject.order.in_container or overridden or _reads_params(subject):
        return None
    folder = folder_of(name, subject)
    return read_configuration(folder) if folder is not None else None


def read_configuration(folder: Path) -> dict[str, Any] | None:
    """Return the config.json of a folder; None where it is not there or not an object."""
    return _read_object(folder / "config.json")


def _reads_params(subject: Subject) -> bool:
    """Whether the configuration is Mistral's own; the engine takes it where both are and nothing else is asked for."""
    asked = option_value(subject.engine_args, "config-format")
    if asked in (None, "auto") and _layout(subject) == "mistral":
        folder = folder_of(subject.model or "", subject)
        return subject.load_format == "mistral" or (folder is not None and (folder / "params.json").is_file())
    return "mistral" in (subject.load_format, asked)


def _too_small(state: LayoutState, planned_bytes: int | None) -> bool:
    """Whether files that are whole by themselves hold less than the model that was planned for."""
    if planned_bytes is None:
        return False
    share = preflight_facts().checkpoint.least_share
    return state.data_bytes < share * planned_bytes


def _describe(name: str, subject: Subject, layout: str, *, planned_bytes: int | None = None) -> str:
    folder = folder_of(name, subject)
    if folder is not None and not os.access(folder, os.R_OK | os.X_OK):
        raise Failed(f"this user may not read `{folder}`", f"`chmod -R a+rX {folder}`, as its owner")
    if folder is None and Path(name).is_absolute():
        raise Failed(f"there is no folder `{name}`", "check the path of the model")
    state = layout_state(folder, layout) if folder is not None else None
    if planned_bytes is not None and state is not None and state.complete and _too_small(state, planned_bytes):
        raise Failed(
            f"the weights here are {format_gib(state.data_bytes)} GiB, this model's {format_gib(planned_bytes)}",
            f"it is another model, or a part of one: `hf download --force-download {name} {_FETCH[layout]}`",
        )
    if state is not None and state.complete:
        files = counted(state.files, "file")
        return f"{layout} layout complete: {files}, {format_gib(state.size_bytes)} GiB"
    other = "hf" if layout == "mistral" else "mistral"
    fetch = f"`hf download {name} {_FETCH[layout]}` fetches this layout alone"
    beside = layout_state(folder, other) if folder is not None else None
    if beside is not None and beside.complete and not _too_small(beside, planned_bytes):
        raise (Failed if folder == Path(name) else Doubtful)(
            f"only the {other} layout is here, {'the command' if subject.plan is None else 'the plan'} loads {layout}",
            f"--load-format {other} uses what is here; {fetch}",
        )
    if folder is not None and (pointer := _pointer(folder, state)):
        raise Failed(
            f"{pointer} is a pointer of Git LFS, not the file itself",
            "`git lfs install` and `git lfs pull` in that folder, or take what `hf download` fetches",
        )
    if folder is not None and folder == Path(name):
        faults = ", ".join([*(state.missing if state else ()), *(f"{part} is damaged" for part in _broken(state))][:4])
        raise Failed(f"not whole: {faults}", "copy the folder again")
    if _offline(subject):
        raise Failed(
            "not complete in the cache, and HF_HUB_OFFLINE forbids the download", f"unset HF_HUB_OFFLINE once: {fetch}"
        )
    place = hub_folder(subject)
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise Failed(
            f"not complete in the cache, and {place} cannot be written: nothing can be fetched into it",
            f"set HF_HOME to a folder that can be written, or as a user who may write there: {fetch}",
        )
    if state is None or not (state.files or state.broken or state.partial_bytes):
        raise Doubtful(f"not in {hub_cache(subject.environment)}", fetch)
    lacking = len(state.missing) + len(state.broken)
    raise Doubtful(
        f"{state.files} files whole, {lacking} missing or damaged: {_some(state)}",
        f"the start downloads the rest; {fetch}",
    )


def _pointer(folder: Path, state: LayoutState | None) -> str | None:
    """A file that ``git clone`` left as the name of its content."""
    for name in _broken(state):
        try:
            if read_bytes(folder / name, first_bytes=len(_LFS)) == _LFS:
                return name
        except UnreadableInput:
            continue
    return None


def _broken(state: LayoutState | None) -> tuple[str, ...]:
    return state.broken if state is not None else ()


def _some(state: LayoutState) -> str:
    names = [*state.missing, *state.broken]
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def check_disk(subject: Subject) -> str | None:
    """Whether there is room for what will really be downloaded: one layout, less what is here."""
    need = still_to_fetch_bytes(subject)
    plan = subject.plan
    if need is None or plan is None or (need > 0 and _offline(subject)):
        return None  # Offline nothing is fetched; the check of the checkpoint says what that means.
    if need <= 0:
        return "nothing to download"
    place = hub_folder(subject)
    free = shutil.disk_usage(place).free
    whole, both = plan.model.checkpoint_bytes, plan.model.download_bytes
    one_only = (
        f"; vLLM fetches one layout, a careless download of the repository {format_gib(both)} GiB"
        if both and whole and both > whole
        else ""
    )
    said = f"{format_gib(need)} GiB to download, {format_gib(free)} GiB free at {place}"
    if free < need:
        raise Failed(said, f"put HF_HOME on a larger disk{one_only}")
    return said + one_only


def still_to_fetch_bytes(subject: Subject) -> int | None:
    """Return how much the start will download into the hub's cache; None where no plan says so.

    Raises:
        Unknown: where the size of the checkpoint is not known.
    """
    name, plan = subject.model, subject.plan
    if name is None or Path(name).is_dir() or plan is None:
        return None
    whole = plan.model.checkpoint_bytes
    if whole is None:
        raise Unknown("the size of this checkpoint is not known")
    folder = snapshot_of(name, subject.environment)
    here = 0
    if folder is not None:
        state = layout_state(folder, subject.load_format)
        done = state.complete and not _too_small(state, whole)
        here = whole if done else min(whole, state.size_bytes + state.partial_bytes)
    return whole - here


def hub_folder(subject: Subject) -> Path:
    """Return the folder of the hub's cache, or the nearest one above it that is there."""
    place = hub_cache(subject.environment)
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
