"""One host of an inventory, and how what little a listing says becomes a report. It reads no text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hw_specs.catalog import forms_of, get_gpu, list_gpus, normalise
from hw_specs.detect.devices import DetectedGpu, Driver, MatchedBy
from hw_specs.detect.report import DetectionReport
from hw_specs.errors import UnknownGpu, shown
from hw_specs.mig import mig_slice, split_profile
from hw_specs.spec import GpuSet, GpuSpec, Vendor
from hw_specs.units import GIB, MIB, format_gib

MOST_GPUS = 256
"""Twice what any host shows: 8 cards in 8 partitions each, or 16 with 7 slices."""
_NUMBERED = 8
"""Entries of a listing that are named by their number."""
_ANOTHER_FORM = 0.06
"""Totals that differ by more are another form of a card; drivers and clouds stay within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What an inventory says of one host: GPUs, or why it has none that can be planned for."""

    name: str
    report: DetectionReport | None = None
    """Its devices, as a probe on the host itself would give them."""
    gpus: GpuSet | None = None
    """Its GPUs where the inventory names them outright."""
    notes: tuple[str, ...] = ()
    """What a reader should know before using the host; one phrase each."""
    problem: str | None = None
    """Why its GPUs cannot be planned for."""
    hint: str | None = None
    out_of_service: str | None = None
    """Why nothing new starts there: ``cordoned``, ``drained: fan``."""
    no_gpu: bool = False
    """Whether the inventory shows that it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A product as an inventory calls it, looked up."""

    name: str
    spec: GpuSpec | None
    profile: str | None = None
    """MIG profile, where the name is a slice's."""
    by: MatchedBy = "unknown"
    notes: tuple[str, ...] = ()
    hint: str | None = None
    """The nearest names, for one that the catalogue lacks."""


def identify(name: str, *, total_bytes: int | None = None, device_id: int | None = None) -> Found:
    """Look up what an inventory calls a GPU.

    Args:
        name: a driver's name, a label, a type; it may end in a MIG profile or in ``-SHARED``.
        total_bytes: what the driver says that a whole card has; it decides between the forms of a short name.
        device_id: PCI device id, which decides alone.
    """
    name = shown(name)
    parts = split_profile(name.removesuffix("-SHARED").removesuffix("-shared"))
    card, profile = parts or (name, None)
    if device_id is not None:
        for spec in list_gpus():
            if device_id in spec.pci_device_ids:
                return Found(name=name, spec=spec, profile=profile, by="pci-id")
    key = normalise(card).removesuffix("-shared")
    try:
        # With its profile, since not every form of a card has it.
        spec = get_gpu(name if profile else card)
        spec = get_gpu(spec.name.partition(" MIG ")[0])
    except UnknownGpu as error:
        several = (
            [one for one in list_gpus() if any(other.startswith(f"{key}-") for other in _keys(one))] if key else []
        )
        fitting = [one for one in several if _near(one, total_bytes)]
        if len(fitting) == 1:
            return Found(name=name, spec=fitting[0], profile=profile, by="name")
        return Found(name=name, spec=None, profile=profile, hint=error.hint)
    if profile is None and total_bytes is not None and not _near(spec, total_bytes):
        other = next((one for one in forms_of(spec, key) if _near(one, total_bytes)), None)
        if other is not None:
            return Found(name=name, spec=other, by="name")
        note = f"`{name}` reports {format_gib(total_bytes)} GiB, {spec.name} has {format_gib(spec.driver_memory_bytes)}"
        return Found(name=name, spec=spec, by="name", notes=(f"{note}: a virtual GPU, or another form of the card",))
    return Found(name=name, spec=spec, profile=profile, by="name", notes=_doubt(spec, key, name, total_bytes))


def _keys(spec: GpuSpec) -> set[str]:
    return {spec.id, *map(normalise, (spec.name, *spec.driver_names, *spec.names))}


def _near(spec: GpuSpec, total_bytes: int | None) -> bool:
    usual = spec.driver_memory_bytes
    return total_bytes is not None and abs(total_bytes - usual) <= _ANOTHER_FORM * usual


def _doubt(spec: GpuSpec, key: str, name: str, total_bytes: int | None) -> tuple[str, ...]:
    """Say what a short name leaves open; a driver's own name leaves nothing open, nor does a total."""
    if total_bytes is not None or key in map(normalise, spec.driver_names):
        return ()
    sizes = {round(one.engine_memory_bytes / GIB) for one in (spec, *forms_of(spec, key))}
    if len(sizes) < 2:
        return ()
    others = ", ".join(one.name for one in forms_of(spec, key))
    return (f"`{name}` may also be {others}: planned as {spec.name}, `--gpu-memory` says otherwise",)


def device(
    found: Found,
    *,
    index: int,
    vendor: Vendor,
    slice_index: int | None = None,
    total_bytes: int | None = None,
    reserved_bytes: int | None = None,
    architecture: str | None = None,
    **fields: Any,
) -> DetectedGpu:
    """Return one device as a probe would describe it; what the inventory leaves out is the catalogue's.

    Args:
        found: the product.
        index: its number on the host.
        vendor: the listing's word; the catalogue's wins.
        slice_index: number of the MIG slice; None for a whole GPU.
        total_bytes: what the driver says it has.
        reserved_bytes: what the driver keeps of it for itself.
        architecture: where the listing says it.
        fields: further fields of :class:`DetectedGpu`.
    """
    spec = found.spec
    if found.by == "name":
        # An id that the catalogue lacks says less than the driver's name.
        fields["pci_device_id"] = None
    engine = total_bytes
    if spec is not None and slice_index is None:
        reserve = spec.driver_memory_bytes - spec.engine_memory_bytes if reserved_bytes is None else reserved_bytes
        total_bytes = total_bytes or spec.driver_memory_bytes or None
        engine = total_bytes and total_bytes - reserve
    elif slice_index is not None and engine is None and spec is not None and found.profile is not None:
        part = mig_slice(spec, found.profile)
        total_bytes = engine = part.engine_memory_bytes if part else None
    elif engine is not None:
        engine -= reserved_bytes or 0
    if engine is not None and engine <= 0:
        # A total below what the driver keeps is a misread one: the card is named, and left out for want of a size.
        engine = None
    return replace(
        DetectedGpu(
            vendor=spec.vendor if spec else vendor,
            index=index,
            name=spec.driver_names[0] if spec and spec.driver_names else spec.name if spec else found.name,
            uuid="",
            pci_bus_id="",
            architecture=architecture or (spec.architecture if spec else None),
            driver_total_bytes=total_bytes,
            engine_total_bytes=engine,
            slice_index=slice_index,
            slice_name=found.profile if slice_index is not None else None,
            catalogue_id=spec.id if spec else None,
            matched_by=found.by,
        ),
        **fields,
    )


def host_of(
    name: str,
    devices: Iterable[DetectedGpu],
    *,
    drivers: tuple[Driver, ...] = (),
    notes: Iterable[str] = (),
    out_of_service: str | None = None,
) -> Host:
    """Return a host with `devices`; without any it is a host that has no GPU."""
    gpus = tuple(devices)
    name = shown(name) or "unnamed"
    if not gpus:
        return Host(name=name, no_gpu=True, notes=tuple(notes), out_of_service=out_of_service)
    if len(gpus) > MOST_GPUS:
        return Host(name=name, problem=f"{len(gpus):,} GPUs are more than any host has")
    report = DetectionReport(hostname=name, taken_at="", environment={}, drivers=drivers, gpus=gpus, origin="snapshot")
    return Host(name=name, report=report, notes=tuple(dict.fromkeys(notes)), out_of_service=out_of_service)


def unknown_host(name: str, found: Found, *, count: int | None, notes: Iterable[str] = ()) -> Host:
    """Return a host whose GPU the catalogue does not hold, and whose driver says too little to plan with."""
    each = f"{count} x " if count else ""
    return Host(
        name=shown(name) or "unnamed",
        problem=f"{each}`{found.name}` is not in the catalogue",
        hint=found.hint,
        notes=tuple(notes),
    )


def whole(entries: Iterable[Any], *, name: str, what: str) -> tuple[list[dict[str, Any]], tuple[Host, ...]]:
    """Return the entries of a listing that are objects, and a host that names the others; none where there are none.

    Args:
        entries: what a listing holds.
        name: what to call a host whose tool does not say its name.
        what: what an entry should be.
    """
    found: list[dict[str, Any]] = []
    others: list[int] = []
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, dict):
            found.append(entry)
        else:
            others.append(number)
    if not others:
        return found, ()
    more = f" and {len(others) - _NUMBERED} more" if len(others) > _NUMBERED else ""
    which = ", ".join(map(str, others[:_NUMBERED]))
    problem = (
        f"entry {which} is not {what}" if len(others) == 1 else f"entries {which}{more} are not {what.split()[-1]}s"
    )
    return found, (Host(name=shown(name) or "unnamed", problem=problem, hint="the others are planned"),)


def table(value: object) -> dict[str, Any]:
    """Return an object of a listing; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def tables(value: object) -> list[dict[str, Any]]:
    """Return the first objects of a list of a listing; none of anything else."""
    return [one for one in value if isinstance(one, dict)][:MOST_GPUS] if isinstance(value, list) else []


def count_of(text: object) -> int:
    """Return a count that a listing writes as a number or as text; 0 for anything else, and never an absurd one."""
    if isinstance(text, bool):
        return 0
    if isinstance(text, int):
        return min(max(text, 0), MOST_GPUS + 1)
    written = str(text).strip() if isinstance(text, str) else ""
    return min(int(written), MOST_GPUS + 1) if written.isascii() and written.isdecimal() and len(written) < 10 else 0


def mib(text: object) -> int | None:
    """Return the bytes of a size in MiB: a number, ``81559 MiB``, ``196592 MB`` as AMD's tools write MiB."""
    words = str(text).split() if isinstance(text, str | int | float) and not isinstance(text, bool) else []
    if not words or len(words) > 2 or len(words[0]) > 12:
        return None
    try:
        size = float(words[0])
    except ValueError:
        return None
    unit = words[1].lower() if len(words) > 1 else "mib"
    scale = {"b": 1, "kib": 1024, "kb": 1024, "mib": MIB, "mb": MIB, "gib": GIB, "gb": GIB}.get(unit)
    return round(size * scale) if scale is not None and 0 <= size * scale < 2**50 else None
