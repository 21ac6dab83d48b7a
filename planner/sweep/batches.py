"""The smaller batch that a plan would take, for rows of a sweep that do not start with the engine's own.

It costs a few budgets for each cell where one can help, so it stands beside the arrays and not in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from planner.facts.policy import Batch, policy
from planner.facts.release import Release
from planner.memory.budget import rank_budgets
from planner.model import ModelSpec
from planner.planning.answer import VERDICTS
from planner.planning.question import default_batch
from planner.planning.solve import batch_sizes
from planner.sweep.memory import MemoryBlock, judge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DOES_NOT_FIT, FITS = VERDICTS.index("does-not-fit"), VERDICTS.index("fits")


def as_planned(blocks: Iterable[MemoryBlock], *, model: ModelSpec, release: Release) -> Iterator[MemoryBlock]:
    """Yield `blocks` of a grid that leaves the batch open, each row with the batch that a plan would take to fit.

    Rows that no batch lets start keep the engine's own.
    """
    for block in blocks:
        yield _as_planned(block, model, release)


def _as_planned(block: MemoryBlock, model: ModelSpec, release: Release) -> MemoryBlock:
    """The block whose rows take the batch that :func:`planner.planning.solve.solve` would, where one starts."""
    import numpy as np

    tier, judged = default_batch(block.cell.gpus, release), {block.cell.settings: block}
    crowded = np.flatnonzero(block.concurrencies > tier.max_num_seqs)
    if int(block.verdict.min()) == FITS and not len(crowded):
        return block

    def with_batch(batch: Batch | None, concurrency: int) -> MemoryBlock:
        settings = block.cell.settings
        seats, batched = batch_sizes(tier, batch, sequences=concurrency)
        batched = min(batched, seats * settings.max_model_len)
        settings = replace(settings, max_num_seqs=seats, max_num_batched_tokens=batched)
        if settings not in judged:
            (budget,) = rank_budgets(model, block.cell.gpus, settings, release)
            cell = replace(block.cell, settings=settings)
            judged[settings] = judge(cell, budget, block.utilizations, block.concurrencies)
        return judged[settings]

    verdict, taken, others = block.verdict.copy(), np.zeros_like(block.verdict), [block]
    low = np.repeat(block.available_low_bytes[:, None], len(block.concurrencies), axis=1)

    def take(other: MemoryBlock, column: int, rows: NDArray[np.bool_]) -> None:
        if not any(other is one for one in others):
            others.append(other)
        place = next(place for place, one in enumerate(others) if one is other)
        verdict[rows, column] = other.verdict[rows, column]
        low[rows, column], taken[rows, column] = other.available_low_bytes[rows], place

    for column in crowded.tolist():
        take(with_batch(None, int(block.concurrencies[column])), column, np.ones(len(low), dtype=bool))
    pending = _may_start(block, model, release) & (verdict < FITS)
    if pending.any():
        pending &= with_batch(policy().batches[-1], 1).verdict > DOES_NOT_FIT
    for batch in policy().batches:
        for column in np.flatnonzero((pending & (verdict < FITS)).any(axis=0)).tolist():
            other = with_batch(batch, int(block.concurrencies[column]))
            new, now, room = other.verdict[:, column], verdict[:, column], other.available_low_bytes
            better = (new > now) | ((new == now) & (room > low[:, column]))
            take(other, column, pending[:, column] & (now < FITS) & better)
    return replace(block, verdict=verdict, others=tuple(others[1:]), taken=taken)


def _may_start(block: MemoryBlock, model: ModelSpec, release: Release) -> NDArray[np.bool_]:
    """Where a smaller batch could help: it frees no more than all that is not weights takes."""
    import numpy as np

    (rank,) = rank_budgets(model, block.cell.gpus, block.cell.settings, release)
    if rank.loading_peak_bytes > rank.free_at_start.worst:
        return np.zeros_like(block.verdict, dtype=bool)
    most_freed = sum(term.high_bytes for term in rank.terms.values()) + rank.geometry.block_bytes
    needed = block.concurrencies * rank.geometry.needed_bytes(block.cell.settings.max_model_len)
    near: NDArray[np.bool_] = needed[None, :] - block.available_bytes[:, None] <= most_freed
    return near
