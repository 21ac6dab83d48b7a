"""What is on the GPUs beside the server that has ended, in words for a failure of memory. It asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hw_specs.units import GIB, format_gib
from planner.facts.log_lines import failures


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldMemory:
    """Memory in use on one GPU after the server's end."""

    index: int
    """As the driver counts."""
    used_bytes: int
    total_bytes: int
    before_bytes: int | None = None
    """The same at the launch; None where nobody looked."""


def held_words(held: Sequence[HeldMemory]) -> str:
    """Return who holds memory, as the first thing to do; empty where nobody looked."""
    facts = failures("memory").free_memory
    if not held or facts is None:
        return ""
    idle_bytes = facts.idle_gib * GIB
    full = [gpu for gpu in held if gpu.used_bytes > idle_bytes]
    if not full:
        was = [gpu for gpu in held if gpu.before_bytes is not None and gpu.before_bytes > idle_bytes]
        gone = f" (GPU {was[0].index} held {format_gib(was[0].before_bytes or 0)} GiB at the launch)" if was else ""
        return f"nothing else holds memory of the GPUs now that the server has ended{gone}"
    gpu = max(full, key=lambda one: one.used_bytes)
    before = f", {format_gib(gpu.before_bytes)} at the launch" if gpu.before_bytes is not None else ""
    others = f", {len(full) - 1} more GPUs hold some, too" if len(full) > 1 else ""
    return (
        f"GPU {gpu.index} still holds {format_gib(gpu.used_bytes)} of {format_gib(gpu.total_bytes)} GiB after the "
        f"server has ended{before}{others}: another process does; `nvidia-smi` or `amd-smi process` names it"
    )
