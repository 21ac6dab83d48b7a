"""Speed columns for the rows of a sweep; expected values, one simulation a row. It never judges memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hw_specs.spec import GpuSet
from planner.errors import InvalidRequest
from planner.model import ModelSpec
from planner.settings import Settings
from planner.speed.workload import Workload
from planner.sweep.memory import MemoryBlock, block_rows

COLUMNS = ("output_tokens_per_s", "ttft_ms", "tpot_ms", "latency_ms")
MOST_FORECASTS = 2000
"""Rows with a forecast per sweep; each is a simulation of some hundredths of a second."""


def rows_with_speed(
    blocks: Iterable[MemoryBlock],
    workload: Workload,
    *,
    concurrencies: Sequence[int | None],
    model: ModelSpec,
    vllm_version: str,
) -> Iterator[dict[str, Any]]:
    """Yield a row per configuration of `blocks` and number of requests in flight over all replicas; None: uncapped.

    The blocks say whether a server starts, so their own concurrency should be 1. The columns of the forecast are None
    where it does not, or where one request of the load is longer than the cache.

    Raises:
        InvalidRequest: when more than :data:`MOST_FORECASTS` rows would need a forecast.
    """
    made = 0
    for block in blocks:
        for row in block_rows(block):
            for concurrency in concurrencies:
                figures: dict[str, float] = {}
                if row["verdict"] != "does-not-fit":
                    made += 1
                    if made > MOST_FORECASTS:
                        raise InvalidRequest(
                            "gpus",
                            f"more than {MOST_FORECASTS:,} configurations fit, too many to forecast each",
                            hint="shorten an axis, or leave the load out",
                        )
                    load = dataclasses.replace(workload, concurrency=concurrency)
                    figures = _figures(block, row, load, model, vllm_version)
                yield row | {"concurrency": concurrency} | {name: figures.get(name) for name in COLUMNS}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Cache:
    num_gpu_blocks: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One configuration of a sweep, as far as its speed goes."""

    settings: Settings
    model: ModelSpec
    gpus: GpuSet
    vllm_version: str
    kv_cache: _Cache


def _figures(
    block: MemoryBlock, row: dict[str, Any], load: Workload, model: ModelSpec, vllm_version: str
) -> dict[str, float]:
    from planner.speed.predict import expected_figures

    settings = dataclasses.replace(
        block.cell.settings,
        **{name: row[name] for name in ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")},
    )
    if settings.max_model_len < load.longest_tokens:
        return {}
    served = _Row(
        settings=settings, model=model, gpus=block.cell.gpus, vllm_version=vllm_version,
        kv_cache=_Cache(num_gpu_blocks=row["num_gpu_blocks"]),
    )  # fmt: skip
    try:
        figures = expected_figures(served, load)
    except InvalidRequest:
        return {}
    return {name: getattr(figures, name) for name in COLUMNS}
