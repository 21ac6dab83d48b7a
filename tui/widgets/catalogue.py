"""Rows of the catalogue of GPUs, and which of them is meant by what was typed."""

from __future__ import annotations

from collections.abc import Sequence

from hw_specs import get_gpu
from hw_specs.spec import GpuSpec
from hw_specs.units import format_gib
from tui.widgets.columns import Column, Row

CATALOGUE = (Column("GPU"), Column("GiB", right=True), Column("link"))


def gpu_row(spec: GpuSpec) -> Row:
    """Return name, memory as the engine sees it, and link; every PCIe slot of a server has 16 lanes."""
    memory = format_gib(spec.engine_memory_bytes, decimals=1) if spec.engine_memory_bytes else "?"
    return Row(cells=(spec.name, memory, spec.link.name.removesuffix(" x16") if spec.released else "not out yet"))


def nearest(typed: str, ids: Sequence[str]) -> str:
    """Return the GPU that is meant: one that can be planned, of that very name, or whose name goes on like it."""
    text = typed.strip().casefold()

    def distance(gpu: str) -> tuple[bool, bool, bool]:
        spec = get_gpu(gpu)
        known = spec.name.casefold()
        return not spec.engine_memory_bytes, known != text, not known.startswith(text)

    return min(ids, key=distance)
