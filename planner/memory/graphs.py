"""CUDA and HIP graphs: what capturing takes, and the estimate that the engine subtracts for it.

Coefficients from ``facts/graphs.toml``.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from hw_specs.spec import Basis
from hw_specs.units import MIB, format_gib, gib
from planner.facts.graphs import Captured, Misses, graph_facts
from planner.facts.rows import Row, no_row
from planner.facts.vllm import vllm_facts
from planner.memory.collectives import fused_tokens
from planner.memory.graph_sizes import graph_sizes
from planner.memory.rank import Calibration, RankShape, measured_term
from planner.memory.term import Term, nothing

M = TypeVar("M", bound=Misses)


def graphs(shape: RankShape, calibration: Calibration | None = None) -> Term:
    """The graph estimate that the engine subtracts; nothing when it runs eagerly or does not subtract it."""
    rule = vllm_facts().rules["graph_estimate_vendors"]
    if not shape.captures:
        return nothing("graphs", _no_graphs(shape), rule.source)
    if shape.gpu.vendor not in shape.release.graph_estimate_vendors:
        return nothing("graphs", f"vLLM {shape.release.version} does not subtract them on this vendor", rule.source)
    measured = measured_term("graphs", calibration)
    if measured is not None:
        return measured
    hip = graph_facts().hip
    if shape.gpu.vendor in hip.vendors:
        return _hip(shape, hip.estimate_factor)
    return _v1(shape, "estimated") if shape.release.model_runner == "v1" else _estimated(shape)


def captured_graphs(shape: RankShape) -> Term:
    """What the captured graphs really take; the budget holds the estimate for them, if the release makes one."""
    if not shape.captures:
        return nothing("graphs", _no_graphs(shape), "")
    if shape.gpu.vendor in graph_facts().hip.vendors:
        return _hip(shape, 1.0)
    if shape.release.model_runner == "v1":
        return _v1(shape, "captured")
    row = _captured(shape)
    size = _captured_bytes(shape, row, row)
    low = size - _spared_bytes(shape, row)
    return _term(shape, row, size, low, size, "captured")


def _v1(shape: RankShape, what: Literal["estimated", "captured"]) -> Term:
    """Runner V1's estimate or capture: the form of V2's capture."""
    facts = graph_facts()
    rows = facts.captured_v1 if what == "captured" else (*facts.estimated_v1, *facts.captured_v1)
    row = _first("captured_v1", rows, shape)
    size = _captured_bytes(shape, row, row)
    return _term(shape, row, size, size, size, what)


def _hip(shape: RankShape, factor: float) -> Term:
    facts = graph_facts().hip
    sizes = graph_sizes(shape)
    pieces, full = sizes.pieces, sizes.full
    size = factor * (
        gib(facts.constant_gib) + MIB * (facts.per_piece_mib * pieces * (shape.layers + 1) + facts.per_full_mib * full)
    )
    bounds = next(row for row in facts.bounds if _applies(row, shape))
    return Term(
        name="graphs",
        bytes=round(size),
        low_bytes=round(bounds.low_factor * size),
        high_bytes=round(bounds.high_factor * size),
        basis=_basis(shape, "measured" if bounds.until else "assumed"),
        source=facts.source,
        formula=f"{factor:g} x ({facts.constant_gib} GiB + {facts.per_piece_mib} MiB x {pieces} sizes x "
        f"{shape.layers + 1} pieces + {facts.per_full_mib} MiB x {full} full sizes)",
        bounds=bounds.text,
    )


def _estimated(shape: RankShape) -> Term:
    """Runner V2 from 0.29 on: captures piecewise sizes and two full ones, and extrapolates the rest from the second."""
    row, cached = _first("estimated", graph_facts().estimated, shape), graph_facts().cached
    sizes = graph_sizes(shape)
    full, tokens = sizes.full, sizes.tokens
    captured = _captured(shape)
    once = _captured_bytes(shape, captured, row, copies=1)
    buffer = _attention_bytes(shape, tokens)
    images = not shape.language_model_only and shape.model.vision is not None
    large = buffer > cached.large_bytes
    twice = images or large or shape.tensor_parallel_size >= cached.large_ranks
    copies = cached.large_copies if twice else cached.small_copies
    once += max(0, full - 1) * cached.per_full_bytes
    least = cached.large_low_copies if large else cached.low_copies
    low, high = (once + round(many * buffer) for many in (least, cached.high_copies))
    low -= _spared_bytes(shape, row)
    return _term(shape, row, once + round(copies * buffer), low, high, "estimated", f" + {copies:g} buffers cached")


def _term(shape: RankShape, row: Misses, size: int, low: int, high: int, what: str, more: str = "") -> Term:
    found = graph_sizes(shape)
    pieces, full, tokens, cases = found.pieces, found.full, found.tokens, found.cases
    drafted = gib(row.draft_gib) if shape.draft_model else 0
    read_from = graph_facts().drafts.num_speculative_tokens
    other_draft = shape.speculative_tokens not in (0, read_from) and row.basis == "measured"
    return Term(
        name="graphs",
        bytes=size,
        low_bytes=min(size, max(low - drafted + gib(row.low_gib), gib(row.floor_gib), 0)),
        high_bytes=high + drafted + gib(row.high_gib) + _adapter_spread_bytes(shape, row),
        basis="derived" if other_draft and row.basis == "measured" else _basis(shape, row.basis),
        source=row.source,
        formula=f"{what} at {pieces} piecewise and {full} full {'sizes' if cases == 1 else 'graphs'}, {shape.layers} "
        f"layers, an attention buffer of {format_gib(_attention_bytes(shape, tokens))} GiB{more}"
        + (f"; {cases} graphs a size, for adapters" if cases > 1 else ""),
        bounds=row.bounds,
    )


def _adapter_spread_bytes(shape: RankShape, row: Misses) -> int:
    """What graphs with adapters may take more: each layer has twelve kernels more in them, of a price not known."""
    with_adapters = (graph_sizes(shape).cases - 1) * len(_sizes_of_layers(shape, row))
    return round(MIB * row.per_layer_mib * shape.layers * with_adapters)


def _basis(shape: RankShape, basis: Basis) -> Basis:
    """Coefficients were measured with the engine's own mode and sizes, and without adapters."""
    asked = (shape.lora, shape.cudagraph_mode, shape.cudagraph_capture_sizes, shape.max_cudagraph_capture_size)
    return "derived" if basis == "measured" and any(one is not None for one in asked) else basis


def _no_graphs(shape: RankShape) -> str:
    return f"no graphs with {'--enforce-eager' if shape.enforce_eager else 'cudagraph_mode NONE'}"


def _captured_bytes(shape: RankShape, row: Captured, layers: Misses, copies: float | None = None) -> int:
    """Attention buffers, a fixed part per size and one per piece; drafts bring graphs and buffers of their own."""
    if copies is None:
        copies = row.copies_one_rank if shape.tensor_parallel_size == 1 else row.copies
    found = graph_sizes(shape)
    tokens, steps, sizes = found.tokens, found.steps, found.cases * len(_sizes_of_layers(shape, layers))
    size: float = copies * _attention_bytes(shape, tokens)
    size += MIB * (row.per_size_mib * steps + layers.per_layer_mib * shape.layers * sizes)
    size += _unfused_bytes(shape, layers)
    if shape.draft_model:
        size += row.draft_step_copies * _attention_bytes(shape, tokens) + MIB * row.draft_per_size_mib * steps
        if shape.speculative_tokens > 1:
            size += _draft_bytes(shape, row)
    return round(size)


def _sizes_of_layers(shape: RankShape, row: Misses) -> tuple[int, ...]:
    """Tokens of the sizes that pay for each layer."""
    sizes = graph_sizes(shape)
    of_full = isinstance(row, Captured) and row.layers_of_full_sizes
    # Where pieces alone or whole steps alone are captured, what the other would have left is not there to be used.
    return sizes.of_full if of_full or not sizes.pieces else sizes.of_pieces


def _unfused_bytes(shape: RankShape, row: Misses) -> float:
    """What pieces take more whose all-reduce is not fused or, where that was told apart, goes to NCCL."""
    if shape.tensor_parallel_size == 1:
        return 0.0
    custom = row.custom_all_reduce_bytes // (2 * shape.model.hidden_size) if shape.linked else 0
    cheaper = max(fused_tokens(shape), custom)
    dearer = graph_sizes(shape).cases * sum(size > cheaper for size in _sizes_of_layers(shape, row))
    return MIB * (row.per_layer_unfused_mib - row.per_layer_mib) * dearer * shape.layers


def _spared_bytes(shape: RankShape, row: Misses) -> int:
    """What may not be taken: NCCL's part, and what the one EAGLE-3 head that was measured took less.

    With multicast torch's symmetric memory may take such tensors: that was not measured.
    """
    told_apart = row.custom_all_reduce_bytes and shape.fused_all_reduce == "auto"
    spared = _unfused_bytes(shape, row) if told_apart else 0.0
    if shape.spec_method == "eagle3":
        tokens = graph_sizes(shape).tokens
        spared += row.eagle3_spared_copies * _attention_bytes(shape, min(tokens, shape.max_num_seqs))
    return round(spared)


def _draft_bytes(shape: RankShape, row: Captured) -> float:
    """The largest of a draft's own decode graphs; one token has none.

    Its steps, each a graph or all of them in one, share their memory: four take what two take.
    """
    tokens = graph_sizes(shape).tokens
    one = shape.tensor_parallel_size == 1
    copies = row.draft_sequence_copies_one_rank if one else row.draft_sequence_copies
    return copies * _attention_bytes(shape, min(tokens, shape.max_num_seqs))


def _attention_bytes(shape: RankShape, tokens: int) -> int:
    """What attention takes in the largest full graph."""
    facts = graph_facts().attention
    v1 = shape.release.model_runner == "v1"
    if not v1 and shape.gpu.architecture.startswith(facts.workspace.architectures):
        return int(facts.workspace.bytes)
    if not shape.gpu.architecture.startswith(facts.architectures):
        return 0
    heads = shape.model.num_attention_heads // shape.tensor_parallel_size
    return int(facts.splits * heads * tokens * (shape.model.head_dim + 1) * facts.bytes)


def _captured(shape: RankShape) -> Captured:
    return _first("captured", graph_facts().captured, shape)


def _first(table: str, rows: tuple[M, ...], shape: RankShape) -> M:
    """First row of `table` whose keys all match."""
    for row in rows:
        if row.vendor == shape.gpu.vendor and _applies(row, shape):
            return row
    raise no_row("graphs.toml", table, f"{shape.gpu.vendor} and vLLM {shape.release.version}")


def _applies(row: Row, shape: RankShape) -> bool:
    return row.applies(
        architecture=shape.gpu.architecture,
        version=shape.release.version,
        tensor_parallel_size=shape.tensor_parallel_size,
    )
