"""What one rank needs beside weights, activations and KV cache; coefficients from ``facts/overheads.toml``.

Symbols as in :mod:`planner.memory.activation`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from hw_specs.units import MIB, format_gib, gib
from planner.facts.overheads import SizedRow, overhead_facts
from planner.facts.rows import no_row
from planner.facts.vllm import vllm_facts
from planner.memory.activation import held_copy_bytes
from planner.memory.kv_cache import KvGeometry
from planner.memory.rank import Calibration, RankShape, measured_term
from planner.memory.term import Term, nothing


def buffers(shape: RankShape, calibration: Calibration | None = None) -> Term:
    """Tensors the runner keeps: sampling tables, input embeddings, block tables, by runner generation."""
    if not shape.release.buffers_counted:
        rule = vllm_facts().rules["buffers_counted"]
        return nothing("buffers", f"vLLM {shape.release.version} does not subtract them", rule.source)
    return measured_term("buffers", calibration) or _buffers(shape)


def uncounted_buffers(shape: RankShape) -> Term:
    """The same tensors where the engine does not subtract them: they live in the slack."""
    return nothing("buffers", "in the budget already", "") if shape.release.buffers_counted else _buffers(shape)


def _buffers(shape: RankShape) -> Term:
    facts = overhead_facts().buffers
    T, S, V, H = shape.max_num_batched_tokens, shape.max_num_seqs, shape.model.vocab_size, shape.model.hidden_size
    k = shape.speculative_tokens
    small = facts.v1 if shape.release.model_runner == "v1" else facts.v2
    rest = int(small.constant_bytes + small.per_token_bytes * T + small.per_sequence_bytes * S)
    parts: dict[str, int] = {}
    if shape.release.model_runner == "v1":
        blocks = -(-shape.max_model_len // 16)
        parts[f"embeddings {T} x {H} x 2"] = T * H * 2
        parts[f"block table {S} x {blocks} x 4"] = S * blocks * 4
    else:
        if shape.last_stage:
            parts[f"output counts {S} x {V} x 4"] = S * V * 4
            parts[f"masks {2 + k} x {S} x {V} / 8"] = S * V // 8 + S * (1 + k) * V // 8
            rest += 3 * S * 1024 * 4 + S * 128 * 4 + S * 1024 * 4 + S * 129 * 4
        if not shape.first_stage:
            parts[f"received states 2 x {T} x {H} x 2"] = 2 * T * H * 2
        if shape.vision is not None:
            parts[f"image embeddings {T} x {H} x 2"] = T * H * 2
    if shape.spec_method == "ngram" and shape.release.model_runner == "v2":
        parts |= _ngram_parts(shape)
    if shape.draft_model:
        parts[f"draft states {T} x {H} x 2"] = T * H * 2
        parts[f"draft embeddings {draft_embeddings_bytes(shape) // (2 * H)} x {H} x 2"] = draft_embeddings_bytes(shape)
    return Term.certain(
        "buffers",
        sum(parts.values()) + rest,
        basis="derived",
        source=facts.source,
        formula=" + ".join([*(f"{what} B" for what in parts), f"small tables {rest:,} B"]),
        bounds=facts.bounds,
    )


def _ngram_parts(shape: RankShape) -> dict[str, int]:
    """What looking for repeats on the GPU needs there: every token of every sequence, which V1 keeps on the host."""
    S, L, k = shape.max_num_seqs, shape.max_model_len, shape.speculative_tokens
    blocks = next((-(-L // size) for least, size in overhead_facts().buffers.ngram_blocks if least <= L), 1)
    return {
        f"token ids {S} x {L} x 4": S * L * 4,
        f"best match of {blocks} blocks {S} x {blocks} x 8": S * blocks * 8,
        f"drafted tokens 2 x {S} x {k} x 8": 2 * S * k * 8,
    }


def draft_embeddings_bytes(shape: RankShape) -> int:
    """The draft's input embeddings, where they have a tensor of their own: always on runner V1, for images on V2."""
    images = not shape.language_model_only and shape.model.vision is not None
    takes = shape.release.model_runner == "v1" or (images and shape.release.draft_takes_images)
    return 2 * shape.max_num_batched_tokens * shape.model.hidden_size if takes else 0


def segments(shape: RankShape) -> Term:
    """Memory that torch has reserved and not given out, where the engine subtracts it."""
    facts = overhead_facts().segments
    if not shape.release.buffers_counted:
        return nothing("segments", f"vLLM {shape.release.version} does not subtract them", facts.source)
    sizes = facts.images if shape.vision is not None else facts.text
    shares = shape.tensor_parallel_size > 1 and shape.linked and shape.gpu.vendor == facts.snapshot_vendor
    before = facts.free_at_snapshot_bytes if shares else 0
    formula = "reserved and not given out " + ("with a vision tower" if shape.vision is not None else "with text only")
    if before:
        formula += f" - {before / MIB:.0f} MiB that torch had free when the engine took stock"
    held = held_copy_bytes(shape)
    if held:
        formula += f" + the segment of a first compilation's copy of the embedding, {format_gib(held)} GiB"
    return Term(
        name="segments",
        bytes=sizes.expected_bytes - before + held,
        low_bytes=sizes.low_bytes - before,
        high_bytes=sizes.high_bytes - before + held_copy_bytes(shape, worst=True),
        basis=facts.basis,
        source=facts.source,
        formula=formula,
        bounds=facts.bounds,
    )


def outside_torch(shape: RankShape, calibration: Calibration | None = None) -> Term:
    """Memory outside torch that appears while profiling and therefore counts against the KV budget."""
    return measured_term("outside_torch", calibration) or sized_row("outside_torch", shape)


def context(shape: RankShape) -> Term:
    """What is gone before the engine takes stock: outside its budget, inside the slack."""
    return sized_row("context", shape)


def after_profiling(shape: RankShape, geometry: KvGeometry) -> Term:
    """What the engine allocates after the budget is decided: block tables, slot mapping, attention workspace."""
    blocks = geometry.blocks_for(shape.max_model_len)
    size_bytes = shape.max_num_batched_tokens * 8
    if shape.release.model_runner == "v2":
        size_bytes += 2 * shape.max_num_seqs * blocks * 4
    source = "vllm 0.33.0 initialize_kv_cache executed on a fake device"
    for row in overhead_facts().attention_workspace:
        if shape.gpu.architecture.startswith(row.architecture_prefix):
            heads = shape.model.num_attention_heads // shape.tensor_parallel_size
            size_bytes += (
                max(row.min_bytes, shape.max_num_batched_tokens * heads * row.bytes_per_token_head)
                + row.index_bytes_per_block * shape.max_num_seqs * blocks
            )
            source = row.source
    return Term.certain("after_profiling", size_bytes, basis="derived", source=source)


def loading_transient_bytes(shape: RankShape) -> int:
    """Bytes beside the weights while they load: requantised shards, or the draft's own embedding."""
    per_element = vllm_facts().loading.requantise_bytes_per_element.value
    model, tp = shape.model, shape.tensor_parallel_size
    fp8 = any(group.mlp.name == "fp8" for group in model.layers)
    shard = per_element * model.hidden_size * model.intermediate_size // tp if fp8 else 0
    draft = model.vocab_size * model.hidden_size * 2 // tp if shape.draft_model and shape.last_stage else 0
    return max(shard, draft)


def sized_row(table: Literal["outside_torch", "context"], shape: RankShape) -> Term:
    """First row of `table` whose keys all match."""
    return _sized_row(
        table,
        vendor=shape.gpu.vendor,
        architecture=shape.gpu.architecture,
        linked=shape.linked,
        last_stage=shape.last_stage,
        version=shape.release.version,
        world_size=shape.world_size,
        tensor_parallel_size=shape.tensor_parallel_size,
    )


@lru_cache(maxsize=1024)
def _sized_row(
    table: str,
    *,
    vendor: str,
    architecture: str,
    linked: bool,
    last_stage: bool,
    version: str,
    world_size: int,
    tensor_parallel_size: int,
) -> Term:
    def applies(row: SizedRow) -> bool:
        return (
            row.vendor == vendor
            and row.min_world <= world_size <= (row.max_world or world_size)
            and row.linked in (None, linked)
            and row.last_stage in (None, last_stage)
            and row.applies(architecture=architecture, version=version, tensor_parallel_size=tensor_parallel_size)
        )

    rows: tuple[SizedRow, ...] = getattr(overhead_facts(), table)
    row = next((row for row in rows if applies(row)), None)
    if row is None:
        raise no_row("overheads.toml", table, f"{vendor} with {world_size} ranks")
    return Term(
        name=table,
        bytes=gib(row.expected_gib),
        low_bytes=gib(row.low_gib),
        high_bytes=gib(row.high_gib),
        basis=row.basis,
        source=row.source,
        formula=f"{row.expected_gib:.2f} GiB",
        bounds=f"{row.low_gib:.2f} to {row.high_gib:.2f} GiB: {row.bounds}",
    )
