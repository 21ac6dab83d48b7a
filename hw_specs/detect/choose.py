"""Which of the GPUs found to plan for: the largest homogeneous set that the engine can use. It is pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hw_specs.detect.devices import DetectedGpu, Reading
from hw_specs.detect.match import match, spec_of
from hw_specs.detect.visible import CUDA, CUDA_ORDER, HIP, ROCR, engine_order
from hw_specs.parts import partitions
from hw_specs.spec import NOTABLE_BYTES, GpuSet, GpuSpec
from hw_specs.units import GIB, format_gib

_SHARED_FACTOR = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A device that is not planned for, and why."""

    gpu: DetectedGpu
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a reading amounts to."""

    gpu_set: GpuSet | None
    chosen: tuple[DetectedGpu, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()


def select(reading: Reading) -> Selection:
    """Return the GPUs to plan for.

    Devices are alike when vendor, product and partition are; the set with the most memory wins. Only one MIG
    slice is ever chosen, because a process can use only one.
    """
    left_out: list[LeftOut] = []
    groups: dict[tuple[str, ...], list[DetectedGpu]] = {}
    for gpu in reading.gpus:
        reason = _unusable(gpu)
        if reason:
            left_out.append(LeftOut(gpu=gpu, reason=reason))
        else:
            groups.setdefault(_kind(gpu), []).append(gpu)
    if not groups:
        return Selection(gpu_set=None, left_out=tuple(left_out))
    sets = {kind: _largest_usable(group) for kind, group in groups.items()}
    best = max(sets, key=lambda kind: (_memory(sets[kind]), len(sets[kind]), -sets[kind][0].index))
    chosen = engine_order(sets[best])
    partitions = _partitions(reading.gpus, chosen[0])
    spec = spec_of(chosen[0], partitions=partitions)
    for kind, group in groups.items():
        for gpu in group:
            if gpu not in chosen:
                left_out.append(LeftOut(gpu=gpu, reason=_why_left(gpu, same_kind=kind == best, spec=spec)))
    return _selection(reading, chosen, left_out, spec, partitions)


def _selection(
    reading: Reading,
    chosen: list[DetectedGpu],
    left_out: list[LeftOut],
    spec: GpuSpec,
    partitions: int,
) -> Selection:
    memory = min(gpu.engine_total_bytes or 0 for gpu in chosen)
    warnings = [f"GPU {gpu.label}: {note}" for gpu in chosen for note in gpu.notes]
    warnings = _once(warnings, chosen)
    free = _smallest([gpu.free_bytes for gpu in chosen])
    if partitions > 1 and _is_shared(chosen, spec, partitions):
        warnings.append(
            f"the {partitions} partitions of each card share one memory of {format_gib(memory)} GiB; "
            f"each is planned with its part, {format_gib(memory // partitions)} GiB"
        )
        memory, free = memory // partitions, None if free is None else free // partitions
    linked = _linked(reading, chosen)
    if linked is False:
        warnings.append(_link_warning(reading, chosen))
    if chosen[0].slice_index is not None:
        warnings.append("a process can use one MIG slice only, so the plan is for one")
    if chosen[0].catalogue_id is None and chosen[0].matched_by == "unknown":
        warnings.append(f"`{spec.name}` is not in the catalogue: memory is the driver's, speeds are guesses")
    if _mixed_cuda_order(reading):
        warnings.append("CUDA numbers mixed GPUs fastest first; set CUDA_DEVICE_ORDER=PCI_BUS_ID to number by address")
    holders = _holders(chosen)
    idle = [gpu for gpu in chosen if not _held(gpu)]
    unheld = _selection(reading, idle, [], spec, partitions).gpu_set if 0 < len(idle) < len(chosen) else None
    gpu_set = GpuSet(
        spec=spec,
        count=len(chosen),
        memory_override_bytes=memory,
        free_memory_bytes=free,
        linked=linked,
        origin=reading.origin,
        env=_env(reading, chosen),
        holders=holders,
        unheld=unheld,
    )
    return Selection(gpu_set=gpu_set, chosen=tuple(chosen), left_out=tuple(left_out), warnings=tuple(warnings))


def _unusable(gpu: DetectedGpu) -> str | None:
    if gpu.hidden_by:
        return f"hidden by {gpu.hidden_by}"
    if gpu.mig_enabled and gpu.slice_index is None:
        return "MIG is on: only its slices can be used"
    if (gpu.engine_total_bytes or 0) <= 0:
        return "the driver does not report its memory; give it as `--gpu-memory`"
    return None


def _kind(gpu: DetectedGpu) -> tuple[str, ...]:
    product = gpu.catalogue_id or f"{gpu.name}/{gpu.architecture}/{(gpu.driver_total_bytes or 0) // GIB}"
    return gpu.vendor, product, gpu.partition or ""


def _largest_usable(group: list[DetectedGpu]) -> list[DetectedGpu]:
    if group[0].slice_index is None:
        return group
    return [max(group, key=lambda gpu: (gpu.free_bytes or gpu.engine_total_bytes or 0, -gpu.index))]


def _memory(gpus: Sequence[DetectedGpu]) -> int:
    return sum(gpu.engine_total_bytes or 0 for gpu in gpus)


def _why_left(gpu: DetectedGpu, *, same_kind: bool, spec: GpuSpec) -> str:
    if same_kind and gpu.slice_index is not None:
        return "a process can use one MIG slice only"
    return f"of another kind than {spec.name}; one engine runs on GPUs of one kind"


def _once(warnings: list[str], chosen: list[DetectedGpu]) -> list[str]:
    """Say a note once when every GPU has it."""
    every = set.intersection(*(set(gpu.notes) for gpu in chosen)) if len(chosen) > 1 else set()
    shared = [f"every GPU: {note}" for note in chosen[0].notes if note in every]
    return shared + [text for text in warnings if not any(text.endswith(f": {note}") for note in every)]


def _smallest(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return min(known) if len(known) == len(sizes) else None


def _partitions(gpus: Sequence[DetectedGpu], gpu: DetectedGpu) -> int:
    """Number of logical devices on the card of `gpu`."""
    if gpu.slice_index is not None or not gpu.partition:
        return 1
    if not gpu.pci_bus_id:
        # A listing that names no boards.
        found = match(gpu).spec
        return partitions(found.id if found else None, gpu.compute_partition)
    return max(sum(other.vendor == gpu.vendor and other.board == gpu.board for other in gpus), 1)


def _is_shared(chosen: Sequence[DetectedGpu], spec: GpuSpec, partitions: int) -> bool:
    """Whether each partition reports the whole card's memory, so that their sum exceeds it."""
    return (chosen[0].driver_total_bytes or 0) * partitions > spec.driver_memory_bytes * _SHARED_FACTOR > 0


def _linked(reading: Reading, chosen: Sequence[DetectedGpu]) -> bool | None:
    """Whether every pair has a fast link; None when no probe knows."""
    kinds = _pair_kinds(reading, chosen)
    if not kinds or "unknown" in kinds.values():
        return None
    return all(kind in ("nvlink", "xgmi") for kind in kinds.values())


def _pair_kinds(reading: Reading, chosen: Sequence[DetectedGpu]) -> dict[tuple[int, int], str]:
    known = {(link.vendor, link.a, link.b): link.kind for link in reading.links}
    order = sorted(chosen, key=lambda gpu: gpu.index)
    return {
        (a.index, b.index): known.get((a.vendor, a.index, b.index), "unknown")
        for position, a in enumerate(order)
        for b in order[position + 1 :]
    }


def _link_warning(reading: Reading, chosen: Sequence[DetectedGpu]) -> str:
    slow = [pair for pair, kind in _pair_kinds(reading, chosen).items() if kind == "pcie"]
    total = len(chosen) * (len(chosen) - 1) // 2
    if len(slow) == total:
        return "the GPUs reach each other over PCIe only: tensor parallelism over them is slow"
    a, b = slow[0]
    return (
        f"{len(slow)} of {total} pairs of GPUs have no direct link (GPU {a} and {b}, …): "
        "tensor parallelism over all of them is slow"
    )


def _mixed_cuda_order(reading: Reading) -> bool:
    """Whether CUDA's default numbering may differ from the driver's."""
    products = {gpu.catalogue_id or gpu.name for gpu in reading.gpus if gpu.vendor == "nvidia"}
    return len(products) > 1 and reading.environment.get(CUDA_ORDER) != "PCI_BUS_ID" and CUDA in reading.environment


def _held(gpu: DetectedGpu) -> bool:
    """Whether something holds notable memory of it, seen as a process or only as what is missing."""
    missing = 0 if gpu.free_bytes is None else (gpu.engine_total_bytes or 0) - gpu.free_bytes
    return missing > NOTABLE_BYTES or bool(_holders([gpu]))


def _holders(chosen: Sequence[DetectedGpu]) -> tuple[str, ...]:
    """Name what holds memory, largest first."""
    found: list[tuple[int, str]] = []
    for gpu in chosen:
        told = 0
        for process in gpu.processes:
            size = process.used_bytes
            told += size or 0
            amount = "memory" if size is None else f"{format_gib(size)} GiB"
            name = process.name or "a process"
            found.append((size or 0, f"{name} (pid {process.pid}) holds {amount} on GPU {gpu.label}"))
        rest = (gpu.used_bytes or 0) - told
        if rest > NOTABLE_BYTES and all(process.used_bytes is not None for process in gpu.processes):
            text = f"processes that cannot be seen from here hold {format_gib(rest)} GiB on GPU {gpu.label}"
            found.append((rest, text))
    return tuple(text for _, text in sorted(found, key=lambda pair: -pair[0]))


def _env(reading: Reading, chosen: Sequence[DetectedGpu]) -> tuple[tuple[str, str], ...]:
    """The settings that make the engine see just the chosen GPUs; nothing where it sees just them anyway."""
    vendor = chosen[0].vendor
    if chosen[0].slice_index is not None:
        return ((CUDA, chosen[0].uuid),) if chosen[0].uuid else ()
    if not any(gpu.pci_bus_id or gpu.uuid for gpu in chosen):
        # Only a reading of the host itself says how its GPUs are numbered.
        return ()
    devices = engine_order([gpu for gpu in reading.gpus if gpu.vendor == vendor and gpu.slice_index is None])
    if len(devices) == len(chosen):
        return ()
    if vendor == "nvidia":
        numbers = ",".join(str(devices.index(gpu)) for gpu in chosen)
        return ((CUDA_ORDER, "PCI_BUS_ID"), (CUDA, numbers))
    rocr = reading.environment.get(ROCR)
    base = [gpu for gpu in devices if not (gpu.hidden_by or "").startswith(f"{ROCR}=")]
    numbers = ",".join(str(base.index(gpu)) for gpu in chosen)
    # The engine refuses two different lists, so the other name gets the same one where it is set.
    also = ((CUDA, numbers),) if CUDA in reading.environment else ()
    return (((ROCR, rocr),) if rocr is not None else ()) + ((HIP, numbers),) + also
