"""Parts of a GPU: MIG slices by the name of their profile, and what any part gets of the whole. It reads no driver."""

from __future__ import annotations

import re
from dataclasses import replace

from hw_specs.facts import mig_facts
from hw_specs.spec import Fact, GpuSpec, Link
from hw_specs.units import GIB

_PROFILE = r"(?:\d{1,2}c\.)?(?P<slices>\d{1,2})g\.(?P<gb>\d{1,4})gb(?:[+.-](?:me(?:\.all)?|gfx))?"
_NAMED = rf"(?P<card>.*?[a-z0-9])[-_ /:]+(?:mig[-_ ]+)?(?P<profile>{_PROFILE})"
_ALONE = rf"(?:mig[-_ ]+)?(?P<profile>{_PROFILE})"
NO_LINK = Link(
    name="none", bytes_per_s=None, pair_bytes_per_s=None, fully_connected=False, domain_gpus=1, topology="MIG slice"
)


def split_profile(name: str) -> tuple[str, str] | None:
    """Return card and profile of a name that ends in a MIG profile; None for every other name.

    >>> split_profile("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb.me")
    ('NVIDIA-H100-80GB-HBM3', '1g.10gb+me')
    """
    found = re.fullmatch(_NAMED, name.strip(), re.IGNORECASE)
    return (found["card"].rstrip("-_ /:"), _written(found["profile"])) if found else None


def profile_of(text: str) -> str | None:
    """Return the profile that a resource (``mig-1g.10gb.me``) or a listing (``MIG 1g.10gb+me``) names.

    >>> profile_of("mig-3g.71gb")
    '3g.71gb'
    """
    found = re.fullmatch(_ALONE, text.strip(), re.IGNORECASE)
    return _written(found["profile"]) if found else None


def _written(profile: str) -> str:
    """Resource names have a dot where drivers print a plus."""
    return re.sub(r"gb\.(me|gfx)", r"gb+\1", profile.lower())


def mig_slice(
    whole: GpuSpec, profile: str, *, memory_bytes: int | None = None, units: int | None = None
) -> GpuSpec | None:
    """Return the slice of `whole` that `profile` names; None where the card has no such profile.

    Args:
        whole: the card.
        profile: ``1g.10gb``, ``1g.10gb+me``.
        memory_bytes: what a driver says the slice has; the profile's own figure by default.
        units: its multiprocessors, where a driver says.
    """
    share = _memory_share(whole, profile)
    if share is None:
        return None
    slices = int(str(profile).partition("g.")[0].rpartition(".")[2])
    listed = _listed_gib(whole, profile, share)
    if memory_bytes is not None:
        memory, fact = memory_bytes, Fact(source="the driver", basis="measured")
    elif listed is not None and listed * GIB <= whole.engine_memory_bytes:
        memory, fact = round(listed * GIB), mig_facts().memory_fact
    else:
        memory = round(whole.engine_memory_bytes * share)
        fact = Fact(source=f"the profile's share of {whole.name}'s memory", basis="assumed")
    of_compute = slices / mig_facts().slices[whole.id]
    if units and whole.compute_units:
        of_compute = min(units / whole.compute_units, 1.0)
    part = share_of(
        whole,
        name=f"{whole.name} MIG {profile}",
        of_compute=of_compute,
        of_memory=share,
        units=units or (whole.compute_units and round(whole.compute_units * of_compute)),
        note=f"one MIG slice of the {whole.name}; a process uses one slice only",
    )
    return replace(
        part,
        driver_memory_bytes=memory,
        engine_memory_bytes=memory,
        engine_memory_low_bytes=memory,
        engine_memory_high_bytes=memory,
        driver_names=tuple(f"{name} MIG {profile}" for name in whole.driver_names),
        link=NO_LINK,
        max_gpus_per_node=1,
        facts={**part.facts, **dict.fromkeys(("driver_memory_bytes", "engine_memory_bytes"), fact)},
    )


def profile_with(whole: GpuSpec, memory_bytes: int) -> str | None:
    """Return the profile of `whole` whose listed memory is `memory_bytes`; None where none, or several, have it."""
    listed = mig_facts().memory_gib.get(whole.id, {})
    near = [name for name, size in listed.items() if abs(size * GIB - memory_bytes) < 0.02 * memory_bytes]
    return near[0] if len(near) == 1 else None


def _listed_gib(whole: GpuSpec, profile: str, share: float) -> float | None:
    """Listed memory of a profile, else of one with as many memory slices: 4g.40gb has what 3g.40gb has.

    A listing counts a whole card's memory a little larger than a process sees it.
    """
    listed = mig_facts().memory_gib.get(whole.id, {})
    alike = (size for other, size in listed.items() if _memory_share(whole, other) == share)
    return listed.get(_plain(profile)) or next(alike, None)


def _plain(profile: str) -> str:
    return re.sub(r"^\d+c\.", "", re.split(r"[+-]", profile)[0])


def _memory_share(whole: GpuSpec, profile: str) -> float | None:
    """Memory slices of a profile by its label, over those of the card."""
    found = re.fullmatch(_PROFILE, profile, re.IGNORECASE)
    facts = mig_facts()
    slices = facts.slices.get(whole.id)
    if found is None or slices is None or not whole.driver_memory_bytes:
        return None
    parts = facts.memory_slices[str(slices)]
    exact = int(found["gb"]) * GIB / whole.driver_memory_bytes * parts
    allowed = facts.with_memory[str(parts)].get(str(int(found["slices"])), ())
    return next((count / parts for count in allowed if abs(exact - count) <= facts.label.rounding), None)


def share_of(
    whole: GpuSpec, *, name: str, of_compute: float, of_memory: float, units: int | None, note: str
) -> GpuSpec:
    """Return a part of `whole`: bandwidth by its share of the memory, arithmetic by its share of the compute."""
    fact = Fact(source=note, basis="assumed", note="speeds scaled by its share")
    return replace(
        whole,
        id="-".join(name.lower().split()),
        name=name,
        bandwidth_bytes_per_s=round(whole.bandwidth_bytes_per_s * of_memory),
        bf16_flops_per_s=round(whole.bf16_flops_per_s * of_compute),
        fp8_flops_per_s=scaled(whole.fp8_flops_per_s, of_compute),
        fp4_flops_per_s=scaled(whole.fp4_flops_per_s, of_compute),
        measured_bf16_flops_per_s=None,
        measured_fp8_flops_per_s=None,
        compute_units=units,
        facts={**whole.facts, **dict.fromkeys(("bandwidth_bytes_per_s", "bf16_flops_per_s", "fp8_flops_per_s"), fact)},
        notes=(*whole.notes, note),
    )


def scaled(flops_per_s: int | None, share: float) -> int | None:
    """Return a share of a rate; None stays None."""
    return None if flops_per_s is None else round(flops_per_s * share)
