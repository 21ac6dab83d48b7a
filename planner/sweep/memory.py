"""Verdict and KV pool of every configuration of a grid, as arrays; equal to the scalar planner, bit for bit.

A batch that the grid leaves open is the engine's own here; :mod:`planner.sweep.batches` gives rows that do not start
with it the smaller one that a plan would take.

What depends on the layout and the length is computed once per cell by :mod:`planner.memory.budget` itself;
utilization and concurrency, which only enter comparisons, are numpy axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.facts.release import Release
from planner.memory.budget import RankBudget, rank_budgets
from planner.memory.term import Bound, Bounds
from planner.model import ModelSpec
from planner.planning.answer import VERDICTS
from planner.sweep.grid import Cell, Grid, cells

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBlock:
    """One cell's answers; arrays are ``[utilizations]`` or ``[utilizations, concurrencies]``."""

    cell: Cell
    utilizations: Floats
    concurrencies: Ints
    verdict: NDArray[np.int8]
    """``[utilizations, concurrencies]``: index into :data:`planner.planning.answer.VERDICTS`."""
    available_bytes: Ints
    """``[utilizations]``: for the KV cache of one GPU, expected."""
    available_low_bytes: Ints
    num_gpu_blocks: Ints
    tokens: Ints
    """``[utilizations]``: what the engine prints as KV cache size."""
    max_concurrency: Floats
    """``[utilizations]``: sequences of ``max_model_len`` the pool holds."""

    others: tuple[MemoryBlock, ...] = ()
    """The same configurations with smaller batches, of which some rows take one."""
    taken: NDArray[np.int8] | None = None
    """``[utilizations, concurrencies]``: 0 for this block, else the place in `others` from 1; None where all are 0."""

    def of(self, utilization: int, concurrency: int) -> MemoryBlock:
        """The block whose batch the row at these places takes."""
        place = 0 if self.taken is None else int(self.taken[utilization, concurrency])
        return self.others[place - 1] if place else self

    @property
    def size(self) -> int:
        """Configurations in the block."""
        return int(self.verdict.size)


def sweep_memory(grid: Grid, *, model: ModelSpec, release: Release) -> Iterator[MemoryBlock]:
    """Yield one block per cell of `grid`, in its order.

    Raises:
        InvalidRequest: for a KV data type that is not known.
    """
    import numpy as np

    utilizations = np.array(grid.gpu_memory_utilizations or (release.gpu_memory_utilization,), dtype=np.float64)
    concurrencies = np.array(grid.concurrencies, dtype=np.int64)
    for cell in cells(grid, model, release):
        ranks = rank_budgets(model, cell.gpus, cell.settings, release)
        assert len(ranks) == 1, "a sweep has no pipeline stages"
        yield judge(cell, ranks[0], utilizations, concurrencies)


def judge(cell: Cell, rank: RankBudget, utilizations: Floats, concurrencies: Ints) -> MemoryBlock:
    """Return one cell's answers; `rank` is its budget at its own utilization."""
    import numpy as np

    total = rank.total_bytes
    requested = np.ceil(total * utilizations).astype(np.int64)
    # The scalar planner subtracts the same terms from its own request, so their sum is the difference of the two.
    fixed = Bounds(*(rank.requested_bytes - available for available in rank.available))
    geometry, length = rank.geometry, cell.settings.max_model_len
    available, low = requested - fixed.expected, requested - fixed.worst
    blocks = np.maximum(available // geometry.block_bytes, 0)
    per_sequence = geometry.blocks_for(length)
    held = blocks / per_sequence
    tokens = blocks * geometry.block_size if geometry.tokens_rule == "blocks" else (held * length).astype(np.int64)
    fits = _holds(rank, requested, low, Bound.WORST, length, concurrencies)
    tight = _holds(rank, requested, available, Bound.EXPECTED, length, concurrencies)
    verdict = np.where(fits, 2, np.where(tight, 1, 0)).astype(np.int8)
    return MemoryBlock(
        cell=cell, utilizations=utilizations, concurrencies=concurrencies, verdict=verdict, available_bytes=available,
        available_low_bytes=low, num_gpu_blocks=blocks, tokens=tokens, max_concurrency=held,
    )  # fmt: skip


def _holds(
    rank: RankBudget, requested: Ints, available: Ints, bound: Bound, length: int, concurrencies: Ints
) -> NDArray[np.bool_]:
    """Whether nothing stops a configuration at `bound`: :func:`planner.planning.outcome.rank_fault` over two axes."""
    geometry = rank.geometry
    free = rank.free_at_start[bound]
    starts = (
        (requested <= free)
        & (rank.loading_peak_bytes <= free)
        & (rank.outside_budget_bytes[bound] <= rank.outside_budget_room_bytes + rank.requested_bytes - requested)
    )
    check = available - (geometry.block_bytes if geometry.null_block_reserved else 0)
    one = geometry.needed_bytes(length)
    roomy = (check > 0) & (one <= check)
    holds: NDArray[np.bool_] = (starts & roomy)[:, None] & (concurrencies[None, :] * one <= check[:, None])
    return holds


def block_rows(block: MemoryBlock) -> Iterator[dict[str, Any]]:
    """Yield one plain dict per configuration of a block, utilization outermost."""
    gpus = block.cell.gpus
    for i, utilization in enumerate(block.utilizations.tolist()):
        for j, concurrency in enumerate(block.concurrencies.tolist()):
            one = block.of(i, j)
            settings = one.cell.settings
            yield {
                "gpus": str(gpus),
                "gpu": gpus.spec.name,
                "gpu_count": gpus.total_gpus,
                "tensor_parallel_size": settings.tensor_parallel_size,
                "replicas": settings.replicas,
                "max_model_len": settings.max_model_len,
                "concurrency": concurrency,
                "kv_cache_dtype": settings.kv_cache_dtype,
                "num_speculative_tokens": settings.num_speculative_tokens,
                "spec_method": settings.spec_method or "",
                "gpu_memory_utilization": utilization,
                "max_num_seqs": settings.max_num_seqs,
                "max_num_batched_tokens": settings.max_num_batched_tokens,
                "verdict": VERDICTS[int(block.verdict[i, j])],
                "available_bytes": int(one.available_bytes[i]),
                "num_gpu_blocks": int(one.num_gpu_blocks[i]),
                "kv_cache_tokens": int(one.tokens[i]),
                "max_concurrency": float(one.max_concurrency[i]),
                "total_kv_cache_tokens": int(one.tokens[i]) * settings.replicas,
                "total_concurrency": float(one.max_concurrency[i]) * settings.replicas,
            }
