"""What bounds the batches of one replica; it never composes any."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What bounds a batch."""

    max_num_seqs: int
    max_num_batched_tokens: int
    num_blocks: int
    """KV blocks of one replica that requests can hold."""
    block_size: int = 16
    prefix_caching: bool = True
    """Whether blocks that are given back can be found again."""
    long_prefill_token_threshold: int = 0
    """Most tokens of one prompt in a step; 0 is without such a bound."""
    tokens_per_step: float = 1.0
    """Mean tokens that a decoding sequence gains in one step; more than 1 with a draft."""
