"""From what a driver says to a :class:`GpuSpec`: by ids and totals first, by name last.

Totals alone lie (three products share 143771 MiB) and names do too (clouds rename cards), so no single sign
decides where another contradicts it. A card the catalogue does not hold is described by what the driver
reports, and every number so found says that it is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw_specs.catalog import list_gpus, normalise
from hw_specs.detect.devices import DetectedGpu, MatchedBy
from hw_specs.facts import architectures, lookalikes
from hw_specs.mig import NO_LINK, mig_slice, profile_with, scaled, share_of
from hw_specs.parts import partition
from hw_specs.spec import Fact, Fp8Kind, GpuSpec, Link, Vendor
from hw_specs.units import MIB, format_gib

_SAME_TOTAL_BYTES = 64 * MIB
"""Two readings of one product's driver total differ by less than this; two products by more, or not at all."""
_USUAL_TOTAL = 0.02
"""A total that is off by more than this share means a slice, another edition or ECC switched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A product, how it was recognised, and what does not agree."""

    spec: GpuSpec | None
    by: MatchedBy
    notes: tuple[str, ...] = ()


def match(gpu: DetectedGpu) -> Match:
    """Return the catalogue's entry that `gpu` is, if any."""
    for spec in list_gpus():
        if spec.vendor == gpu.vendor and gpu.pci_device_id in spec.pci_device_ids:
            return Match(spec=spec, by="pci-id", notes=_disagreements(gpu, spec))
    return _by_totals_or_name(gpu)


def _by_totals_or_name(gpu: DetectedGpu) -> Match:
    named = _by_name(gpu)
    others = {name for row in lookalikes().lookalike for name in row.names}
    alike = [] if gpu.name in others else [spec for spec in list_gpus() if _same_totals(gpu, spec)]
    if named is not None and named in alike:
        return Match(spec=named, by="name", notes=("recognised by name and memory; its PCI id is not known",))
    if len(alike) == 1 and gpu.slice_index is None:
        note = f"recognised as {alike[0].name} by architecture and memory; the driver calls it `{gpu.name}`"
        return Match(spec=alike[0], by="totals", notes=(note,))
    if named is not None and (gpu.driver_total_bytes is None or gpu.slice_index is not None):
        return Match(spec=named, by="name", notes=("recognised by name only",))
    if named is not None and gpu.pci_device_id is None and not alike:
        # A listing without ids has nothing better than the driver's name.
        return Match(spec=named, by="name", notes=_disagreements(gpu, named))
    return Match(spec=None, by="unknown")


def _by_name(gpu: DetectedGpu) -> GpuSpec | None:
    wanted = normalise(gpu.name)
    return next(
        (
            spec
            for spec in list_gpus()
            if spec.vendor == gpu.vendor and wanted in {normalise(name) for name in (spec.name, *spec.driver_names)}
        ),
        None,
    )


def _same_totals(gpu: DetectedGpu, spec: GpuSpec) -> bool:
    return (
        spec.vendor == gpu.vendor
        and spec.architecture == gpu.architecture
        and gpu.driver_total_bytes is not None
        and spec.driver_memory_bytes > 0
        and abs(gpu.driver_total_bytes - spec.driver_memory_bytes) <= _SAME_TOTAL_BYTES
    )


def _disagreements(gpu: DetectedGpu, spec: GpuSpec) -> tuple[str, ...]:
    """Say where a device recognised by its id is not what the catalogue says of it."""
    notes: list[str] = []
    if gpu.architecture is not None and gpu.architecture != spec.architecture:
        notes.append(f"the driver reports architecture {gpu.architecture}, {spec.name} has {spec.architecture}")
    total, usual = gpu.driver_total_bytes, spec.driver_memory_bytes
    divided = gpu.slice_index is not None or gpu.partition is not None
    if total is not None and usual and not divided and abs(total - usual) > _USUAL_TOTAL * usual:
        notes.append(
            f"the driver reports {format_gib(total)} GiB, {spec.name} has {format_gib(usual)}: "
            "a virtual GPU, or another memory mode"
        )
    return tuple(notes)


def spec_of(gpu: DetectedGpu, *, partitions: int = 1) -> GpuSpec:
    """Return the spec to plan one logical device with.

    Args:
        gpu: the device; its engine total must be known.
        partitions: logical devices that share its card; compute and bandwidth are divided by it.
    """
    found = match(gpu)
    whole = found.spec or _unknown(gpu)
    if gpu.slice_index is not None:
        # An unknown card is already described by what its slice reports.
        return _slice(gpu, whole) if found.spec else replace(whole, link=NO_LINK, max_gpus_per_node=1)
    if partitions > 1 and gpu.partition:
        return partition(whole, f"{whole.name} {gpu.partition}", partitions, gpu.compute_units)
    return whole


def _slice(gpu: DetectedGpu, whole: GpuSpec) -> GpuSpec:
    """A MIG slice: by its profile, else its part of the memory for bandwidth and of the SMs for compute."""
    total = gpu.driver_total_bytes or gpu.engine_total_bytes or 0
    profile = gpu.slice_name or (profile_with(whole, total) if total else None)
    part = mig_slice(whole, profile, memory_bytes=total or None, units=gpu.compute_units) if profile else None
    if part is not None:
        return part
    of_memory = min(total / whole.driver_memory_bytes, 1.0) if whole.driver_memory_bytes and total else 1.0
    of_compute = of_memory
    if gpu.compute_units and whole.compute_units:
        of_compute = min(gpu.compute_units / whole.compute_units, 1.0)
    part = share_of(
        whole,
        name=f"{whole.name} {gpu.partition}",
        of_compute=of_compute,
        of_memory=of_memory,
        units=gpu.compute_units,
        note=f"one MIG slice of the {whole.name}",
    )
    return replace(part, link=NO_LINK, max_gpus_per_node=1)


def _unknown(gpu: DetectedGpu) -> GpuSpec:
    """Describe a card the catalogue does not hold by what its driver reports.

    Speeds that no driver reports are scaled from the catalogue's weakest card of the same architecture, or of
    the nearest older one.
    """
    like = _sibling(gpu)
    units = gpu.compute_units or _units(gpu)
    share = units / like.compute_units if units and like.compute_units else 1.0
    engine = gpu.engine_total_bytes or 0
    fp8_kind = _fp8_kind(gpu.vendor, gpu.architecture)
    fp8 = scaled(like.fp8_flops_per_s, share) if fp8_kind in ("e4m3fn", "e4m3fnuz") else None
    driver = Fact(source="the driver of this machine", basis="measured")
    guess = Fact(source=f"scaled from {like.name} by compute units", basis="assumed", note="not in the catalogue")
    bandwidth = gpu.bandwidth_bytes_per_s or round(like.bandwidth_bytes_per_s * share)
    return GpuSpec(
        id=normalise(gpu.name),
        name=gpu.name,
        vendor=gpu.vendor,
        family=like.family if like.architecture == gpu.architecture else "unknown",
        architecture=gpu.architecture or like.architecture,
        driver_memory_bytes=gpu.driver_total_bytes or engine,
        engine_memory_bytes=engine,
        engine_memory_low_bytes=engine,
        engine_memory_high_bytes=engine,
        bandwidth_bytes_per_s=bandwidth,
        bf16_flops_per_s=round(like.bf16_flops_per_s * share),
        fp8_flops_per_s=fp8,
        fp4_flops_per_s=None,
        fp8_kind=fp8_kind,
        link=Link(
            name="as the driver reports",
            bytes_per_s=None,
            pair_bytes_per_s=None,
            fully_connected=False,
            domain_gpus=1,
            topology="not in the catalogue",
        ),
        max_gpus_per_node=8,
        compute_units=units,
        driver_names=(gpu.name,),
        pci_device_ids=() if gpu.pci_device_id is None else (gpu.pci_device_id,),
        facts={
            "*": driver,
            "bandwidth_bytes_per_s": driver if gpu.bandwidth_bytes_per_s else guess,
            "bf16_flops_per_s": guess,
            "fp8_flops_per_s": guess,
        },
        notes=("This card is not in the catalogue: memory is the driver's, speeds are guesses.",),
    )


def _sibling(gpu: DetectedGpu) -> GpuSpec:
    known = [spec for spec in list_gpus() if spec.vendor == gpu.vendor and spec.released]
    same = [spec for spec in known if spec.architecture == gpu.architecture]
    if not same:
        here = _order(gpu.architecture)
        older = [spec for spec in known if _order(spec.architecture) <= here]
        newest = max((_order(spec.architecture) for spec in older), default=None)
        same = [spec for spec in older if _order(spec.architecture) == newest] or known
    return min(same, key=lambda spec: (spec.bf16_flops_per_s, spec.id))


def _order(architecture: str | None) -> float:
    """Sort compute capabilities by number, gfx targets by their hexadecimal one."""
    text = architecture or ""
    try:
        return float(int(text[3:], 16)) if text.startswith("gfx") else float(text)
    except ValueError:
        return 0.0


def _units(gpu: DetectedGpu) -> int | None:
    if gpu.cores is None:
        return None
    facts = architectures().nvidia
    return gpu.cores // facts.cores_per_unit_exceptions.get(gpu.architecture or "", facts.cores_per_unit)


def _fp8_kind(vendor: Vendor, architecture: str | None) -> Fp8Kind:
    name, level, facts = architecture or "", _order(architecture), architectures()
    if vendor == "amd":
        if name.startswith(facts.amd.e4m3fnuz):
            return "e4m3fnuz"
        return "e4m3fn" if name.startswith(facts.amd.e4m3fn) else "none"
    if level >= facts.nvidia.native_fp8_from:
        return "e4m3fn"
    return "weight-only" if level >= facts.nvidia.weight_only_fp8_from else "none"
