"""One layout with its settings, and how it fares on every rank at each bound. It chooses nothing."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from hw_specs.frozen import dataclass
from planner.facts.policy import policy
from planner.memory.budget import RankBudget
from planner.memory.kv_cache import KvGeometry
from planner.memory.term import Bound
from planner.planning.answer import KvCache, Verdict
from planner.planning.question import Question
from planner.settings import Settings

Blocker = Literal["free", "load", "kv", "physical"]
"""What stops a start: see :func:`rank_fault`."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One layout with all settings chosen, and how it fares on every rank."""

    question: Question
    settings: Settings
    ranks: tuple[RankBudget, ...]
    too_short: bool = False
    """Whether no useful length fits at the low bound, so that a short one stands in to show what is missing."""

    @cached_property
    def tightest(self) -> RankBudget:
        """The rank with the fewest KV blocks at the expected bound."""
        return min(self.ranks, key=lambda rank: rank.available.expected // rank.geometry.block_bytes)

    @cached_property
    def verdict(self) -> Verdict:
        """``fits`` at the low bound, ``tight`` only at the expected one; never tight by our own choice."""
        if self.too_short:
            return "does-not-fit"
        if self.blocker(Bound.WORST) is None:
            return "fits"
        return "tight" if self.blocker(Bound.EXPECTED) is None else "does-not-fit"

    def blocker(self, bound: Bound) -> Blocker | None:
        """The first thing that stops it at `bound`; None if nothing does."""
        faults = (rank_fault(rank, self.settings.max_model_len, self.question.sequences, bound) for rank in self.ranks)
        return next((fault for fault in faults if fault), None)

    def stopped_otherwise(self, bound: Bound) -> bool:
        """Whether something else than the KV cache stops it at `bound`, whatever the length."""
        return any(
            max(rank.loading_peak_bytes, rank.requested_bytes) > rank.free_at_start[bound]
            or rank.outside_budget_bytes[bound] > rank.outside_budget_room_bytes
            for rank in self.ranks
        )

    @cached_property
    def shortfall_bytes(self) -> int:
        """Bytes missing on the worst rank: at the expected bound, or at the low one where only that fails."""
        if self.verdict != "does-not-fit":
            return 0
        bound = Bound.EXPECTED if self.blocker(Bound.EXPECTED) else Bound.WORST
        return max(1, *(self._missing_bytes(rank, bound) for rank in self.ranks))

    def _missing_bytes(self, rank: RankBudget, bound: Bound) -> int:
        geometry, free = rank.geometry, rank.free_at_start[bound]
        spare = geometry.block_bytes if geometry.null_block_reserved else 0
        needed = geometry.needed_bytes(self.settings.max_model_len, self.question.sequences) + spare
        return max(
            needed - rank.available[bound],
            rank.loading_peak_bytes - free,
            rank.requested_bytes - free,
            rank.outside_budget_bytes[bound] - rank.outside_budget_room_bytes,
        )

    @cached_property
    def surely_free_share(self) -> float:
        """Largest ``gpu_memory_utilization``, in hundredths, that is surely free at start and leaves room for what
        lives outside the budget; 0 if none."""
        shares = [
            min(
                rank.free_at_start.worst,
                rank.requested_bytes + rank.outside_budget_room_bytes - rank.outside_budget_bytes.worst,
            )
            / rank.total_bytes
            for rank in self.ranks
        ]
        return max(0, int(min(shares) * 100)) / 100

    @property
    def tokens_held(self) -> int:
        """Tokens that the pools of all servers hold at the expected bound."""
        return self.kv_cache.num_gpu_blocks * self.kv_cache.block_size * self.settings.replicas

    def sequences_that_fit(self, length_tokens: int, bound: Bound) -> int:
        """Sequences of `length_tokens` that the pool holds at `bound`."""
        return min(
            max(0, rank.geometry.checkable_bytes(rank.available[bound])) // rank.geometry.needed_bytes(length_tokens)
            for rank in self.ranks
        )

    def length_per_sequence(self, bound: Bound) -> int:
        """Tokens that each of the requested sequences may take at `bound`."""
        return min(room_tokens(rank.geometry, rank.available[bound], self.question.sequences, 0) for rank in self.ranks)

    def safe_length(self) -> int:
        """Longest length that each of the requested sequences may surely have, in round tokens; 0 where none starts.

        It may be shorter than what a plan chooses by itself.
        """
        if self.stopped_otherwise(Bound.WORST):
            return 0
        context, block = policy().context, self.settings.block_size
        length = max(0, self.length_per_sequence(Bound.WORST) // block - context.spare_blocks.value) * block
        step = context.round_tokens.value
        return length // step * step if length >= step else length

    def _longest(self, bound: Bound) -> int:
        """Longest length of one sequence that would start at `bound`; 0 when something else stops it."""
        if any(rank_fault(rank, 1, 1, bound) for rank in self.ranks):
            return 0
        return min(rank.geometry.longest(rank.available[bound], self.question.length_limit) for rank in self.ranks)

    @cached_property
    def kv_cache(self) -> KvCache:
        """The pool as the engine computes it: the smallest number of blocks over the ranks."""
        rank = self.tightest
        geometry, length = rank.geometry, self.settings.max_model_len
        blocks = min(r.geometry.num_blocks(r.available.expected) for r in self.ranks)
        return KvCache(
            bytes_per_token_per_gpu=geometry.bytes_per_token,
            block_size=geometry.block_size,
            available_bytes=rank.available.expected,
            available_low_bytes=rank.available.worst,
            available_high_bytes=rank.available.best,
            num_gpu_blocks=blocks,
            tokens=geometry.tokens(blocks, length),
            max_concurrency=geometry.concurrency(blocks, length),
            largest_max_model_len=self._longest(Bound.EXPECTED),
            largest_max_model_len_low=self._longest(Bound.WORST),
        )


def rank_fault(rank: RankBudget, length_tokens: int, sequences: int, bound: Bound) -> Blocker | None:
    """Return what stops one rank at `bound`, or None.

    ``free``: the engine's own start-up check; ``load``: the weights do not load; ``kv``: the KV check fails or too
    few sequences fit; ``physical``: what lives outside the budget does not fit beside it.
    """
    free = rank.free_at_start[bound]
    if rank.loading_peak_bytes > free:
        return "load"
    if rank.requested_bytes > free:
        return "free"
    geometry, available = rank.geometry, rank.available[bound]
    if not geometry.starts(available, length_tokens):
        return "kv"
    if geometry.needed_bytes(length_tokens, sequences) > geometry.checkable_bytes(available):
        return "kv"
    return "physical" if rank.outside_budget_bytes[bound] > rank.outside_budget_room_bytes else None


def room_tokens(geometry: KvGeometry, available_bytes: int, sequences: int, spare_blocks: int) -> int:
    """Return the tokens that each of `sequences` may take of `available_bytes`."""
    blocks = geometry.checkable_bytes(available_bytes) // geometry.block_bytes - spare_blocks
    return max(0, blocks // sequences * geometry.block_size)
