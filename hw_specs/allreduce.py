"""Measured all-reduce latencies and the engine's switching points; loaded only by whoever models speed.

It holds tables, not a model: no interpolation, no scaling from one GPU to another.
"""

from collections.abc import Mapping
from functools import cache
from typing import Literal, TypeVar

from hw_specs.facts import FOLDER, Origin
from hw_specs.record import Record, read_value
from hw_specs.tables import read_data

R = TypeVar("R")
Kernel = Literal["vllm", "vllm-tuned", "nccl"]
"""``vllm`` is what the engine picks, inside CUDA graphs, unfused."""


class AllreduceTable(Origin):
    """Latency of one all-reduce inside a node, by tensor-parallel size and message size."""

    kernel: Kernel
    version: str
    """Version of the engine or of NCCL that was measured."""
    us_by_tp: Mapping[int, Mapping[int, float]]
    """Tensor-parallel size → message bytes → microseconds; sizes ascend."""


class AllreduceTables(Record):
    """``allreduce/ID.json``: what was measured on one GPU."""

    gpu: str
    """Its id."""
    tables: tuple[AllreduceTable, ...]


class AllreduceThresholds(Origin):
    """``allreduce/thresholds.json``: message sizes at which the engine changes its all-reduce."""

    fusion_max_bytes: Mapping[str, Mapping[int, int]]
    """Architecture → tensor-parallel size → largest message that is fused with the norm behind it."""


def load_allreduce(gpu_id: str, *, kernel: Kernel = "vllm") -> AllreduceTable | None:
    """Return the table of one GPU, or None where none is published.

    Args:
        gpu_id: id of a catalogue entry, ``h200-sxm``.
        kernel: which of the kernels.

    Raises:
        BadFacts: for a file with a key too many, one too few or a value of another type.
    """
    return next((table for table in _tables(gpu_id) if table.kernel == kernel), None)


@cache
def _tables(gpu_id: str) -> tuple[AllreduceTable, ...]:
    try:
        return _read(gpu_id, AllreduceTables).tables
    except FileNotFoundError:
        return ()


@cache
def load_allreduce_thresholds() -> AllreduceThresholds:
    """Return the engine's switching points.

    Raises:
        BadFacts: as :func:`load_allreduce`.
    """
    return _read("thresholds", AllreduceThresholds)


def _read(stem: str, kind: type[R]) -> R:
    import json

    name = f"allreduce/{stem}.json"
    found: R = read_value(json.loads(read_data(name)), kind, name, folder=FOLDER)
    return found
