"""The GPU catalogue: names to data files to :class:`GpuSpec`; it parses only the file that is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from hw_specs.errors import UnknownGpu, shown
from hw_specs.facts import FOLDER, index, vgpu_facts
from hw_specs.mig import mig_slice, profile_of, split_profile
from hw_specs.record import read_value
from hw_specs.spec import GpuSpec
from hw_specs.tables import read_toml

if TYPE_CHECKING:
    from hw_specs.parts import VgpuType

_VENDOR_WORDS = ("nvidia-", "amd-", "instinct-")
_COMPARED_CHARACTERS = 60
_WAY_OUT = "a card that is not listed is planned as its nearest relative with `--gpu-memory`"


def normalise(name: str) -> str:
    """Return the key under which `name` stands in ``names.toml``.

    Case, the vendor in front, and the choice of blank, ``_``, ``/`` or ``-`` between words do not matter.

    >>> normalise("nvidia/H100 SXM")
    'h100-sxm'
    """
    for separator in " _/\t":
        name = name.replace(separator, "-")
    key = "-".join(word for word in name.lower().split("-") if word)
    for word in _VENDOR_WORDS:
        key = key.removeprefix(word)
    return key


def names() -> Mapping[str, str]:
    """Return every known name, normalised, with the id it stands for.

    The table is an index over the GPUs' own files, written by ``scripts/gpu_reference.py``: to look one GPU up
    must not read all files.
    """
    return index().names


def get_gpu(name: str) -> GpuSpec:
    """Return the GPU that `name` stands for: an id, a product name, a driver's name, a label of a cluster.

    A MIG profile behind the card's name (``H100 MIG 1g.10gb``, ``a100_3g.20gb``) gives that slice, a mode of an AMD
    card (``MI300X CPX/NPS4``) one partition, a vGPU type (``NVIDIA H100XM-80C``) that virtual GPU.

    Raises:
        UnknownGpu: no entry has that name; the hint lists the nearest ones.

    >>> get_gpu("nvidia/h200").id
    'h200-sxm'
    >>> get_gpu("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb").name
    'H100 MIG 3g.40gb'
    """
    gpu_id = _id_of(name)
    if gpu_id is not None:
        return _load(gpu_id)
    from hw_specs.parts import named_partition, no_card, split_partition, split_vgpu  # a whole card needs none of it

    name = re.sub(r"[-_ ]shared$", "", name.strip(), flags=re.IGNORECASE)
    alone = profile_of(name)
    if alone is None and (parts := split_profile(name)):
        return _slice_called(*parts)
    mode, virtual = split_partition(name), split_vgpu(name)
    if mode is not None and (card := _id_of(mode[0])) is not None:
        return named_partition(_load(card), *mode[1:])
    if virtual is not None and (card := _id_of(virtual.card)) is not None:
        return _vgpu_called(card, virtual)
    having = [spec for spec in list_gpus() if mig_slice(spec, alone) is not None] if alone else []
    having.sort(key=lambda spec: not spec.link.fully_connected)
    refusal = no_card(name, list_gpus(), [spec.name for spec in having])
    raise refusal or UnknownGpu(f"no GPU is called `{shown(name)}`", hint=_nearest(name))


def _vgpu_called(card: str, kind: VgpuType) -> GpuSpec:
    if kind.series not in vgpu_facts().cuda_series:
        raise UnknownGpu(f"`{shown(kind.name)}` is a vGPU type without CUDA", hint="C and Q types run CUDA")
    if kind.profile:
        return _slice_called(card, kind.profile)
    from hw_specs.parts import vgpu

    return vgpu(_load(card), kind)


def _id_of(name: str) -> str | None:
    """The id behind a name; the signs between its words, and a mark that it is shared, do not matter."""
    key = normalise(name)
    found = names().get(key) or names().get(key.removesuffix("-shared"))
    return found or _joined_names().get(_joined(key.removesuffix("-shared")))


def _joined(name: str) -> str:
    joined = "".join(character for character in name if character.isalnum())
    for word in _VENDOR_WORDS:
        joined = joined.removeprefix(word.rstrip("-"))
    return joined


@cache
def _joined_names() -> dict[str, str]:
    """Names without the signs between their words: ``h100nvl``; one that would name two cards is left out."""
    found: dict[str, set[str]] = {}
    for name, gpu_id in names().items():
        found.setdefault(_joined(name), set()).add(gpu_id)
    return {name: ids.pop() for name, ids in found.items() if len(ids) == 1}


def _slice_called(card: str, profile: str) -> GpuSpec:
    """A slice of the card, or of the form of it that has the profile: 3g.20gb is not a slice of an A100 with 80 GB."""
    gpu_id = _id_of(card)
    if gpu_id is None:
        raise UnknownGpu(f"no GPU is called `{shown(card)}`", hint=_nearest(card))
    whole = _load(gpu_id)
    for spec in (whole, *forms_of(whole, normalise(card))):
        part = mig_slice(spec, profile)
        if part is not None:
            return part
    raise UnknownGpu(
        f"{whole.name} has no MIG profile `{shown(profile)}`",
        hint="`nvidia-smi mig -lgip` lists the profiles of a card; not every card can be divided",
    )


def forms_of(spec: GpuSpec, key: str) -> tuple[GpuSpec, ...]:
    """Return the other cards whose names begin with the words of `key`, switched ones first: a short name's doubt.

    >>> [one.name for one in forms_of(get_gpu("h200"), "h200")]
    ['H200-NVL']
    """
    ids = {gpu_id for name, gpu_id in names().items() if name.startswith(f"{key}-")} - {spec.id}
    return tuple(sorted((one for one in list_gpus() if one.id in ids), key=lambda one: not one.link.fully_connected))


def list_gpus() -> tuple[GpuSpec, ...]:
    """Return the whole catalogue, sorted by vendor (NVIDIA first), architecture and memory."""
    return _sorted(map(_load, set(names().values())))


def _sorted(specs: Iterable[GpuSpec]) -> tuple[GpuSpec, ...]:
    return tuple(sorted(specs, key=lambda spec: (spec.vendor != "nvidia", spec.released is False, _rank(spec))))


def larger_gpus(memory_bytes: int) -> Iterator[tuple[GpuSpec, ...]]:
    """Yield the GPUs that give an engine more memory than that, those of the same size together, smallest first.

    A GPU's file is read when its size is asked for, no sooner.

    >>> [spec.name for spec in next(larger_gpus(180 << 30))]
    ['GB200']
    """
    ids = _ids_by_memory()
    for size_bytes in sorted(size for size in ids if size > memory_bytes):
        yield _sorted(map(_load, ids[size_bytes]))


@cache
def _ids_by_memory() -> dict[int, list[str]]:
    ids: dict[int, list[str]] = {}
    for gpu_id, size_bytes in index().engine_memory_bytes.items():
        ids.setdefault(size_bytes, []).append(gpu_id)
    return ids


def find_gpus(text: str) -> tuple[GpuSpec, ...]:
    """Return the entries one of whose names contains `text`, in catalogue order; all of them for no text.

    >>> [spec.name for spec in find_gpus("mi32")]
    ['MI325X']
    """
    key = normalise(text)
    found = {gpu_id for name, gpu_id in names().items() if key in name}
    return tuple(spec for spec in list_gpus() if spec.id in found)


def _rank(spec: GpuSpec) -> tuple[float, int, str]:
    digits = "".join(character for character in spec.architecture if character.isdigit() or character == ".")
    return float(digits), spec.engine_memory_bytes, spec.id


def _nearest(name: str) -> str:
    """Name up to three GPUs that were probably meant."""
    from difflib import get_close_matches

    key = normalise(name)[:_COMPARED_CHARACTERS]
    near = [known for known in names() if known.startswith(key)] if len(key) > 1 else []
    near += get_close_matches(key, names(), n=8, cutoff=0.5)
    found: list[str] = []
    for alias in near:
        spec = _load(names()[alias])
        if spec.name not in found:
            found.append(spec.name)
    if not found:
        return f"`m35-plan gpus` lists the names; {_WAY_OUT}"
    nearest = ", ".join(f"`{one}`" for one in found[:3])
    return f"the nearest names are {nearest}; `m35-plan gpus` lists all; {_WAY_OUT}"


@cache
def _load(gpu_id: str) -> GpuSpec:
    """Read one data file.

    Raises:
        BadFacts: for a key too many, one too few or a value of another type, with file and key.
    """
    file = f"{gpu_id}.toml"
    raw = read_toml(file)
    # TOML has no word for a figure that is not published: it is left out.
    link = {"bytes_per_s": None, "pair_bytes_per_s": None, **raw.get("link", {})}
    full = {"fp8_flops_per_s": None, "fp4_flops_per_s": None, "compute_units": None, **raw, "link": link}
    spec: GpuSpec = read_value(full, GpuSpec, file, folder=FOLDER)
    return spec
