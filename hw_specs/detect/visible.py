"""Which GPUs the environment leaves visible, by the vendors' own rules. It reads a mapping, never ``os``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hw_specs.detect.devices import DetectedGpu

CUDA = "CUDA_VISIBLE_DEVICES"
CUDA_ORDER = "CUDA_DEVICE_ORDER"
HIP = "HIP_VISIBLE_DEVICES"
ROCR = "ROCR_VISIBLE_DEVICES"
VARIABLES = (CUDA, CUDA_ORDER, HIP, ROCR)

_LEADING_NUMBER = re.compile(r"\s*([+-]?[0-9]+)")


def hidden_by(gpus: Sequence[DetectedGpu], environment: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return, for each hidden GPU, the setting that hides it; keys are :func:`key`."""
    hidden: dict[tuple[str, str], str] = {}
    nvidia = engine_order([gpu for gpu in gpus if gpu.vendor == "nvidia"])
    amd = engine_order([gpu for gpu in gpus if gpu.vendor == "amd"])
    if CUDA in environment:
        keep = _cuda(environment[CUDA], nvidia)
        hidden |= {key(gpu): f"{CUDA}={environment[CUDA]}" for gpu in nvidia if key(gpu) not in keep}
    for name in (ROCR, HIP if HIP in environment else CUDA):
        if name in environment:
            left = [gpu for gpu in amd if key(gpu) not in hidden]
            keep = _pick(environment[name], left)
            hidden |= {key(gpu): f"{name}={environment[name]}" for gpu in left if key(gpu) not in keep}
    return hidden


def key(gpu: DetectedGpu) -> tuple[str, str]:
    """Identify a logical device within one report."""
    return gpu.vendor, gpu.label


def engine_order(gpus: Sequence[DetectedGpu]) -> list[DetectedGpu]:
    """Return GPUs in the order in which CUDA (by bus address) or HIP numbers them, slices behind their GPU."""
    return sorted(
        gpus,
        key=lambda gpu: (
            gpu.engine_index is None,
            gpu.engine_index or 0,
            gpu.pci_bus_id.lower(),
            gpu.index,
            -1 if gpu.slice_index is None else gpu.slice_index,
        ),
    )


def _cuda(value: str, gpus: list[DetectedGpu]) -> set[tuple[str, str]]:
    """Apply CUDA's rules; a GPU in MIG mode passes its visibility on to its slices."""
    whole = [gpu for gpu in gpus if gpu.slice_index is None]
    slices = [gpu for gpu in gpus if gpu.slice_index is not None]
    keep = _pick(value, whole, extra=slices)
    visible_parents = {gpu.index for gpu in whole if key(gpu) in keep}
    return keep | {key(gpu) for gpu in slices if gpu.index in visible_parents}


def _pick(value: str, gpus: Sequence[DetectedGpu], extra: Sequence[DetectedGpu] = ()) -> set[tuple[str, str]]:
    """Return the devices a list names.

    Numbers are read as C's strtoul reads them, the list ends at the first entry that names nothing or changes
    its form, and a repeated entry makes the whole list empty. Identifiers may be shortened while unambiguous.
    """
    found: list[tuple[str, str]] = []
    form: str | None = None
    for entry in value.split(","):
        kind, matches = _entry(entry, gpus, extra)
        if len(matches) != 1 or (form is not None and kind != form):
            break
        form = kind
        if matches[0] in found:
            return set()
        found.append(matches[0])
    return set(found)


def _entry(entry: str, gpus: Sequence[DetectedGpu], extra: Sequence[DetectedGpu]) -> tuple[str, list[tuple[str, str]]]:
    number = _LEADING_NUMBER.match(entry)
    if number:
        position = int(number.group(1))
        return "number", [key(gpus[position])] if 0 <= position < len(gpus) else []
    name = entry.strip().lower()
    if name.startswith("gpu-"):
        return "gpu", [key(gpu) for gpu in gpus if _same_uuid(gpu.uuid, name)]
    if name.startswith("mig-"):
        return "mig", [key(gpu) for gpu in extra if gpu.uuid.lower().startswith(name)]
    return "none", []


def _same_uuid(uuid: str, name: str) -> bool:
    """Compare by prefix; AMD writes its serial with and without leading zeros."""
    uuid = uuid.lower()
    return uuid.startswith(name) or uuid.removeprefix("gpu-").lstrip("0") == name.removeprefix("gpu-").lstrip("0")
