"""The KV cache as the engine computes it: blocks, tokens, lengths. It never estimates.

Source: vLLM 0.33.0 ``v1/core/kv_cache_planning.py`` and ``kv_cache_utils.py``; equal to that code on random vectors.
"""

from __future__ import annotations

from hw_specs.frozen import dataclass
from planner.errors import InvalidRequest
from planner.facts.vllm import vllm_facts
from planner.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class KvGeometry:
    """Size of one block on one rank and how lengths count in blocks."""

    bytes_per_token: int
    """One token on one rank, all of that rank's layers."""
    block_size: int
    """Tokens per block."""
    null_block_reserved: bool
    """Whether the start-up check keeps one block back (since 0.29)."""
    tokens_rule: str = "concurrency"
    """How the KV size line counts: ``concurrency`` or, up to 0.20, ``blocks``."""

    @property
    def block_bytes(self) -> int:
        """One block on one rank."""
        return self.bytes_per_token * self.block_size

    def blocks_for(self, length_tokens: int) -> int:
        """Blocks that one sequence of `length_tokens` needs."""
        return -(-length_tokens // self.block_size)

    def needed_bytes(self, length_tokens: int, sequences: int = 1) -> int:
        """Bytes of `sequences` sequences of `length_tokens`, null block not counted."""
        return self.blocks_for(length_tokens) * sequences * self.block_bytes

    def checkable_bytes(self, available_bytes: int) -> int:
        """What the start-up check compares with the need: the null block is taken off first."""
        return available_bytes - (self.block_bytes if self.null_block_reserved else 0)

    def num_blocks(self, available_bytes: int) -> int:
        """Blocks the engine allocates, the null block among them."""
        return max(0, available_bytes // self.block_bytes)

    def starts(self, available_bytes: int, length_tokens: int) -> bool:
        """Whether the engine's own check lets a server of `length_tokens` start."""
        check_bytes = self.checkable_bytes(available_bytes)
        return check_bytes > 0 and self.needed_bytes(length_tokens) <= check_bytes

    def longest(self, available_bytes: int, limit_tokens: int) -> int:
        """Longest length that passes the check, at most `limit_tokens`; what the failure text estimates.

        >>> KvGeometry(bytes_per_token=360448, block_size=16, null_block_reserved=True).longest(50 * 2**30, 262144)
        148928
        """
        blocks = self.checkable_bytes(available_bytes) // self.block_bytes
        return max(0, min(limit_tokens, blocks * self.block_size))

    def concurrency(self, blocks: int, length_tokens: int) -> float:
        """Sequences of `length_tokens` that `blocks` hold, as the engine prints it."""
        return blocks / self.blocks_for(length_tokens)

    def tokens(self, blocks: int, length_tokens: int) -> int:
        """Tokens that the engine's ``KV cache size`` line names."""
        if self.tokens_rule == "blocks":
            return blocks * self.block_size
        return int(self.concurrency(blocks, length_tokens) * length_tokens)


def vector_bytes(kv_cache_dtype: str, head_dim: int) -> int:
    """Bytes of one stored vector: one token, one head, K or V.

    Raises:
        InvalidRequest: for a data type whose page size is not known.

    >>> vector_bytes("nvfp4", 128)
    72
    """
    dtypes = vllm_facts().kv_cache.dtypes
    if kv_cache_dtype not in dtypes:
        raise InvalidRequest(
            "kv_cache_dtype",
            f"the page size of kv_cache_dtype `{kv_cache_dtype}` is not known",
            hint=f"known: {', '.join(dtypes)}",
        )
    dtype = dtypes[kv_cache_dtype]
    group = dtype.scale_group or head_dim
    return int(head_dim * dtype.bits // 8 + -(-head_dim // group) * dtype.scale_bytes)


def resolve_dtype(model: ModelSpec, kv_cache_dtype: str) -> str:
    """What ``auto`` means for this checkpoint: the KV scheme it declares, BF16 where it declares none."""
    if kv_cache_dtype != "auto":
        return kv_cache_dtype
    return model.kv_cache_scheme or "bfloat16"


def kv_bytes_per_token(
    model: ModelSpec, *, layers: int, tensor_parallel_size: int, kv_cache_dtype: str = "auto"
) -> int:
    """Bytes of one token on one rank with `layers` attention layers (target and draft).

    KV heads are replicated once there are more ranks than heads.
    """
    kv_heads = max(1, model.num_key_value_heads // tensor_parallel_size)
    return layers * kv_heads * 2 * vector_bytes(resolve_dtype(model, kv_cache_dtype), model.head_dim)
