"""Buffers for LoRA adapters on one rank: each adapter of a step has an A and a B beside every linear layer.

They are made while the model loads, before the engine takes stock, whether or not an adapter is loaded. Source:
vllm/lora/layers of 0.19.0 to 0.33.0 (create_lora_weights), which all make the same tensors; facts/lora.toml.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from functools import lru_cache

from hw_specs.units import MIB, counted, format_gib
from planner.facts.lora import lora_facts
from planner.facts.overheads import Allocator, overhead_facts
from planner.facts.release import parse_version
from planner.memory.rank import RankShape
from planner.memory.term import Term, nothing
from planner.memory.weights import BF16_BYTES, matrices, split_layers
from planner.model import ModelSpec
from planner.settings import Lora

_PARTS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
_LINEARS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
TARGETS = frozenset((*_LINEARS, *(part for parts in _PARTS.values() for part in parts), "embed_tokens", "lm_head"))
"""Ends of the names of all modules that may have adapters, in any model that is described."""
_FLOAT32_BYTES = 4


def lora(shape: RankShape) -> Term:
    """What adapters take on one rank; nothing where none may be loaded."""
    asked = shape.lora
    if asked is None:
        return nothing("weights.lora", "no adapters without --enable-lora", lora_facts().modules.source)
    allocator = overhead_facts().allocator
    tensors = tuple(adapter_tensors(shape, asked))
    exact, reserved = sum(tensors), reserved_bytes(tensors, allocator)
    # Products of a linear layer's A for every token, in 32 bits, while a step runs.
    products = 3 * shape.max_num_batched_tokens * asked.max_lora_rank * _FLOAT32_BYTES
    return Term(
        name="weights.lora",
        bytes=reserved,
        low_bytes=exact,
        high_bytes=reserved + allocator.shared_segment_bytes + allocator.small_segment_bytes + products,
        basis="derived",
        source=lora_facts().modules.source,
        formula=f"{counted(asked.max_loras, 'adapter')} of rank {asked.max_lora_rank}: {format_gib(exact)} GiB of "
        f"tensors, {(reserved - exact) / MIB:.0f} MiB in the rest of torch's segments",
        bounds="low: the tensors alone; high: two segments more, and the products of one linear layer in a step",
    )


def adapter_tensors(shape: RankShape, asked: Lora) -> Iterator[int]:
    """Yield the bytes of each tensor on this rank, in the order in which the engine makes them."""
    model, facts = shape.model, lora_facts()
    slots = asked.max_loras * asked.max_lora_rank * BF16_BYTES
    ends = _named_ends(shape, asked)
    if shape.first_stage and "embed_tokens" in ends:
        yield from (slots * model.vocab_size, slots * model.hidden_size)
    layer = tuple(_layer(shape, asked))
    for _ in range(_own_layers(shape)):
        yield from layer
    if shape.last_stage and "lm_head" in ends:
        yield from (slots * model.hidden_size, slots * model.vocab_size)
    yield facts.indices.per_token_bytes * shape.max_num_batched_tokens
    yield facts.indices.per_sequence_bytes * shape.max_num_seqs


def adapter_bytes(model: ModelSpec, asked: Lora) -> int:
    """Bytes of one whole adapter of the largest rank, as the host keeps it."""
    group = model.layers[0]
    linears = sum(sum(parts) + len(parts) * columns for _, parts, columns in matrices(model, group, 1))
    return linears * model.num_hidden_layers * asked.max_lora_rank * BF16_BYTES


def _own_layers(shape: RankShape) -> int:
    """Decoder layers of the target on this rank: a draft has no adapters."""
    stages = split_layers(shape.model.num_hidden_layers, shape.pipeline_parallel_size)
    if shape.first_stage:
        return stages[0]
    return stages[-1] if shape.last_stage else max(stages[1:-1])


def _layer(shape: RankShape, asked: Lora) -> Iterator[int]:
    """A and B of the four linears of a layer.

    Column-parallel linears have whole A and the rank's rows of B, row-parallel ones the rank's columns of A and whole
    B; fully sharded, the other half is divided among the ranks as well.
    """
    tp, model = shape.tensor_parallel_size, shape.model
    merged = bool(set(model.engine_architectures) & set(lora_facts().modules.merged_architectures))
    over = tp if asked.fully_sharded_loras else 1
    rank, slots = asked.max_lora_rank, asked.max_loras * BF16_BYTES
    for name, (_, parts, columns) in zip(_LINEARS, matrices(model, model.layers[0], tp), strict=True):
        if not _is_target(name, shape, asked):
            continue
        row_parallel = name in ("o_proj", "down_proj")
        rows = (sum(parts),) if merged else parts
        yield from (slots * (rank if row_parallel else rank // over) * columns for _ in rows)
        yield from (slots * (one // over if row_parallel else one) * rank for one in rows)


def _named_ends(shape: RankShape, asked: Lora) -> set[str]:
    """Which of embedding and LM head have adapters."""
    own = set(shape.model.engine_architectures) & set(lora_facts().modules.embedding_architectures)
    return {name for name in ("embed_tokens", "lm_head") if own and _is_target(name, shape, asked)}


def _is_target(name: str, shape: RankShape, asked: Lora) -> bool:
    """Whether ``--lora-target-modules`` leaves adapters to the module."""
    if asked.lora_target_modules is None:
        return True
    parts = _PARTS.get(name, ())
    if parse_version(shape.release.version) < parse_version(lora_facts().modules.parts_named_since):
        parts = ()
    return bool({name, *parts} & {target.rpartition(".")[2] for target in asked.lora_target_modules})


@lru_cache(maxsize=64)
def reserved_bytes(tensors: tuple[int, ...], rules: Allocator) -> int:
    """Return what torch reserves for tensors that are made one after another, and never freed."""
    own = [size for size in map(rules.aligned, tensors) if size >= rules.large_bytes]
    rest = [size for size in map(rules.aligned, tensors) if size < rules.large_bytes]
    return (
        sum(-(-size // rules.segment_bytes) * rules.segment_bytes for size in own)
        + _shared((s for s in rest if s <= rules.small_bytes), rules.small_segment_bytes, rules.alignment_bytes)
        + _shared((s for s in rest if s > rules.small_bytes), rules.shared_segment_bytes, rules.remainder_bytes + 1)
    )


def _shared(sizes: Iterable[int], segment_bytes: int, least_rest_bytes: int) -> int:
    """Segments for `sizes`, each into the smallest rest that holds it; a smaller rest than the least stays with it."""
    rests: list[int] = []
    reserved = 0
    for size in sizes:
        at = bisect_left(rests, size)
        if at < len(rests):
            rest = rests.pop(at) - size
        else:
            rest, reserved = segment_bytes - size, reserved + segment_bytes
        if rest >= least_rest_bytes:
            insort(rests, rest)
    return reserved
