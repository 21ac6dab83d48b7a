"""Names of parts of a card, vGPU types and AMD's partitions, and of no card: architectures, profiles alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from hw_specs.errors import UnknownGpu, shown
from hw_specs.facts import partition_facts, vgpu_facts
from hw_specs.mig import profile_of, share_of
from hw_specs.spec import GpuSpec, Link
from hw_specs.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

# Expressions are compiled where they are needed: a plain card's name needs none of them.
_VGPU = r"(?i)(?:(?:grid|nvidia)[-_ ]+)*(?P<board>.*?)-(?:(?P<slices>\d)-)?(?P<gb>\d{1,3})(?P<kind>[cqba])(?P<me>me)?"
_PARTITION = r"(?i)(?P<card>.*?)[-_ /]+(?P<compute>[sdtqc]px)(?:[-_ /]*(?P<memory>nps[1248]))?"
_ARCHITECTURE = r"(?i)(?P<gfx>gfx[0-9a-f]{3,4})(?::.*)?|(?:sm|compute)_?(?P<cuda>\d{2,3})[af]?"
_NO_LINK = Link(
    name="none", bytes_per_s=None, pair_bytes_per_s=None, fully_connected=False, domain_gpus=1, topology="vGPU"
)


class VgpuType(NamedTuple):
    """What the name of a vGPU type says."""

    card: str
    """Id of its card where NVIDIA's short name of the board differs from the card's name, else that name."""
    gb: int
    """Framebuffer."""
    profile: str | None
    """The MIG profile behind it; None where it is a share of the card's time."""
    series: str
    """C, Q, B or A."""
    name: str
    """As the hypervisor lists it, without the vendor."""


def split_vgpu(name: str) -> VgpuType | None:
    """Return what the name of a vGPU type says; None for every other name.

    >>> split_vgpu("GRID A100D-80C")
    VgpuType(card='a100-pcie', gb=80, profile=None, series='C', name='A100D-80C')
    >>> split_vgpu("nvidia_h200x-1-18c").profile
    '1g.18gb'
    """
    found = re.fullmatch(_VGPU, name.strip())
    if found is None or not found["board"]:
        return None
    board = "-".join(re.split(r"[-_ ]+", found["board"].lower()))
    profile = f"{found['slices']}g.{found['gb']}gb" + ("+me" if found["me"] else "") if found["slices"] else None
    gb, series = int(found["gb"]), found["kind"].upper()
    card = vgpu_facts().boards.get(board, board)
    return VgpuType(card=card, gb=gb, profile=profile, series=series, name=f"{board.upper()}-{gb}{series}")


def vgpu(whole: GpuSpec, kind: VgpuType) -> GpuSpec:
    """Return a vGPU that shares the time of `whole`; speeds are those of its share of the framebuffer.

    Source: NVIDIA vGPU user guide: only types with the whole framebuffer take part in peer-to-peer transfers.
    """
    share = min(kind.gb * GIB / whole.driver_memory_bytes, 1.0) if whole.driver_memory_bytes else 1.0
    note = f"a vGPU of one {whole.name}; the hypervisor's driver may leave less memory, and others share its time"
    units = whole.compute_units
    part = share_of(whole, name=kind.name, of_compute=share, of_memory=share, units=units, note=note)
    part = _with_memory(part, share, note)
    return part if share == 1.0 else replace(part, link=_NO_LINK)


def split_partition(name: str) -> tuple[str, str, str | None] | None:
    """Return card, compute mode and memory mode of a partition's name; None for every other name.

    >>> split_partition("AMD Instinct MI300X CPX NPS4")
    ('AMD Instinct MI300X', 'CPX', 'NPS4')
    """
    found = re.fullmatch(_PARTITION, name.strip())
    return (found["card"], found["compute"].upper(), found["memory"] and found["memory"].upper()) if found else None


def partitions(card_id: str | None, mode: str | None) -> int:
    """How many devices one AMD card of a compute mode is.

    >>> partitions("mi300x", "CPX"), partitions("mi300a", "CPX")
    (8, 6)
    """
    facts = partition_facts()
    return {**facts.devices, **facts.devices_of.get(card_id or "", {})}.get(mode or "", 1)


def partition(whole: GpuSpec, name: str, count: int, units: int | None = None) -> GpuSpec:
    """Return one of the `count` partitions of `whole`: an equal part of everything."""
    note = f"one of the {count} partitions of one {whole.name}"
    part = share_of(whole, name=name, of_compute=1 / count, of_memory=1 / count, units=units, note=note)
    return replace(part, max_gpus_per_node=whole.max_gpus_per_node * count)


def named_partition(whole: GpuSpec, mode: str, memory: str | None) -> GpuSpec:
    """Return the partition that a name asks for, with its part of the card's memory.

    Raises:
        UnknownGpu: the card is not divided like that.
    """
    count = partitions(whole.id, mode)
    if count == 1:
        return whole
    if whole.vendor != "amd" or not whole.family.startswith("cdna") or whole.family in ("cdna", "cdna2"):
        raise UnknownGpu(f"{whole.name} has no {mode} mode", hint="AMD divides MI300 and later cards so")
    name = f"{whole.name} {mode}" + (f"/{memory}" if memory else "")
    units = whole.compute_units and whole.compute_units // count
    part = partition(whole, name, count, units)
    return _with_memory(part, 1 / count, f"one of the {count} partitions of one {whole.name}")


def _with_memory(part: GpuSpec, share: float, note: str) -> GpuSpec:
    fact = replace(part.facts["bandwidth_bytes_per_s"], source=note, note="its share of the card's memory")
    return replace(
        part,
        driver_memory_bytes=round(part.driver_memory_bytes * share),
        engine_memory_bytes=round(part.engine_memory_bytes * share),
        engine_memory_low_bytes=round(part.engine_memory_low_bytes * share),
        engine_memory_high_bytes=round(part.engine_memory_high_bytes * share),
        pci_device_ids=(),
        facts={**part.facts, **dict.fromkeys(("driver_memory_bytes", "engine_memory_bytes"), fact)},
    )


def no_card(name: str, known: Sequence[GpuSpec], having: Sequence[str]) -> UnknownGpu | None:
    """Return the refusal of a name that is an architecture's or a MIG profile's alone; None for any other name.

    Args:
        name: what was asked for.
        known: the catalogue.
        having: names of the cards that have the profile, where it is one.
    """
    profile = profile_of(name)
    if profile is not None:
        cards = ", ".join(f"`{card} MIG {profile}`" for card in having[:3])
        hint = f"write the card in front of it: {cards}" if cards else "`nvidia-smi mig -lgip` lists a card's profiles"
        return UnknownGpu(f"`{shown(name)}` is a MIG profile, and no card is named", hint=hint)
    found = re.fullmatch(_ARCHITECTURE, name.strip())
    if found is None:
        return None
    wanted = found["gfx"].lower() if found["gfx"] else f"{found['cuda'][:-1]}.{found['cuda'][-1]}"
    cards = ", ".join(f"`{spec.name}`" for spec in known if spec.architecture == wanted)
    hint = f"name the card: {cards}" if cards else "no card of it is in the catalogue; `m35-plan gpus` lists them"
    return UnknownGpu(f"`{shown(name)}` is an architecture, not a card", hint=hint)
