"""The GPU catalogue: names to data files to :class:`GpuSpec`; it parses only the file that is asked for.

Data is read with ``pkgutil`` because ``importlib.resources`` costs more time than a whole plan.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pkgutil import get_data
from typing import Any

from hw_specs.errors import UnknownGpu, shown
from hw_specs.spec import Fact, GpuSpec, Link

_VENDOR_WORDS = ("nvidia-", "amd-", "instinct-")
_COMPARED_CHARACTERS = 60
_WAY_OUT = "a card that is not listed is planned as its nearest relative with `--gpu-memory`"


def read_data(name: str) -> bytes:
    """Return the bytes of ``hw_specs/data/<name>``, from a folder or a zip file alike."""
    content = get_data("hw_specs", f"data/{name}")
    if content is None:
        raise FileNotFoundError(f"hw_specs/data/{name}")
    return content


def read_toml(name: str) -> dict[str, Any]:
    """Return one TOML data file as plain values."""
    return tomllib.loads(read_data(name).decode())


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


@cache
def names() -> dict[str, str]:
    """Return every known name, normalised, with the id it stands for.

    The table is an index over the GPUs' own files, written by ``scripts/gpu_reference.py``: to look one GPU up
    must not read all files.
    """
    return {str(name): str(gpu_id) for name, gpu_id in read_toml("names.toml").items()}


def get_gpu(name: str) -> GpuSpec:
    """Return the GPU that `name` (an id, a product name or a driver's name) stands for.

    Raises:
        UnknownGpu: no entry has that name; the hint lists the nearest ones.

    >>> get_gpu("nvidia/h200").id
    'h200-sxm'
    """
    gpu_id = names().get(normalise(name))
    if gpu_id is None:
        raise UnknownGpu(f"no GPU is called `{shown(name)}`", hint=_nearest(name))
    return _load(gpu_id)


def list_gpus() -> tuple[GpuSpec, ...]:
    """Return the whole catalogue, sorted by vendor (NVIDIA first), architecture and memory."""
    specs = (_load(gpu_id) for gpu_id in set(names().values()))
    return tuple(sorted(specs, key=lambda spec: (spec.vendor != "nvidia", spec.released is False, _rank(spec))))


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


_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "name", "vendor", "family", "architecture", "fp8_kind"), str),
    **dict.fromkeys(("driver_memory_bytes", "engine_memory_bytes", "bandwidth_bytes_per_s", "bf16_flops_per_s"), int),
    **dict.fromkeys(("engine_memory_low_bytes", "engine_memory_high_bytes", "max_gpus_per_node"), int),
    **dict.fromkeys(("fp8_flops_per_s", "fp4_flops_per_s", "compute_units"), (int, type(None))),
    "released": bool,
}
"""What each key of a GPU's file must be; unknown and missing keys are refused by the constructors."""


class _Facts(Mapping[str, Fact]):
    """The ``[facts]`` table of a data file, parsed when somebody asks: sources are half of every file."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _facts(self) -> dict[str, Fact]:
        return {key: Fact(**fact) for key, fact in tomllib.loads(self._text)["facts"].items()}

    def __getitem__(self, key: str) -> Fact:
        return self._facts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)


@cache
def _load(gpu_id: str) -> GpuSpec:
    """Read one data file; its ``[facts]`` table stands last."""
    head, mark, facts = read_data(f"{gpu_id}.toml").decode().partition("[facts]\n")
    raw = tomllib.loads(head)
    link: dict[str, Any] = {"bytes_per_s": None, "pair_bytes_per_s": None, **raw.pop("link")}
    fields: dict[str, Any] = {"fp8_flops_per_s": None, "fp4_flops_per_s": None, "compute_units": None, **raw}
    for key in ("driver_names", "names", "pci_device_ids", "notes"):
        fields[key] = tuple(fields[key])
    try:
        spec = GpuSpec(**fields, link=Link(**link), facts=_Facts(mark + facts))
    except TypeError as error:
        raise TypeError(f"hw_specs/data/{gpu_id}.toml: {str(error).partition(') ')[2] or error}") from error
    for key, kinds in _KINDS.items():
        if not isinstance(getattr(spec, key), kinds):
            raise TypeError(f"hw_specs/data/{gpu_id}.toml: `{key}` is {getattr(spec, key)!r}")
    return spec
