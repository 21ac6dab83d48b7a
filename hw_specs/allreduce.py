"""Measured all-reduce latencies and the engine's switching points; loaded only by whoever models speed.

It holds tables, not a model: no interpolation, no scaling from one GPU to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hw_specs.spec import Basis, Fact
from hw_specs.tables import read_data


@dataclass(frozen=True, slots=True, kw_only=True)
class AllreduceTable:
    """Latency of one all-reduce inside a node, by tensor-parallel size and message size."""

    gpu: str
    """Id of the GPU it was measured on."""
    kernel: str
    """``vllm`` (what the engine picks, inside CUDA graphs, unfused), ``vllm-tuned`` or ``nccl``."""
    version: str
    """Version of the engine or of NCCL that was measured."""
    fact: Fact
    us_by_tp: dict[int, dict[int, float]]
    """Tensor-parallel size → message bytes → microseconds; sizes ascend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllreduceThresholds:
    """Message sizes at which the engine changes its all-reduce, by architecture and tensor-parallel size."""

    fact: Fact
    fusion_max_bytes: dict[str, dict[int, int]]
    """Architecture → size → largest message that is fused with the norm behind it."""


def load_allreduce(gpu_id: str, *, kernel: str = "vllm") -> AllreduceTable | None:
    """Return the table of one GPU, or None where none is published.

    Args:
        gpu_id: id of a catalogue entry, ``h200-sxm``.
        kernel: ``vllm``, ``vllm-tuned`` or ``nccl``.
    """
    return next((table for table in _tables(gpu_id) if table.kernel == kernel), None)


@cache
def _tables(gpu_id: str) -> tuple[AllreduceTable, ...]:
    import json

    try:
        raw = json.loads(read_data(f"allreduce/{gpu_id}.json"))
    except FileNotFoundError:
        return ()
    return tuple(
        AllreduceTable(
            gpu=raw["gpu"],
            kernel=table["kernel"],
            version=table["version"],
            fact=Fact(source=table["source"], basis=table["basis"]),
            us_by_tp={
                int(size): {int(message): float(us) for message, us in row.items()}
                for size, row in table["us_by_tp"].items()
            },
        )
        for table in raw["tables"]
    )


@cache
def load_allreduce_thresholds() -> AllreduceThresholds:
    """Return the engine's switching points."""
    import json

    raw = json.loads(read_data("allreduce/thresholds.json"))
    basis: Basis = raw["basis"]

    def by_architecture(table: dict[str, dict[str, int]]) -> dict[str, dict[int, int]]:
        return {name: {int(size): limit for size, limit in row.items()} for name, row in table.items()}

    return AllreduceThresholds(
        fact=Fact(source=raw["source"], basis=basis),
        fusion_max_bytes=by_architecture(raw["fusion_max_bytes_by_architecture_and_tp"]),
    )
