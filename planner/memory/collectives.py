"""What ranks that work together take to talk: communicators, and the workspace of the fused all-reduce.

Coefficients from ``facts/collectives.toml``. It knows nothing of what a single rank takes.
"""

from __future__ import annotations

from hw_specs.units import MIB, format_gib, gib
from planner.facts.collectives import FusedAllReduce, collective_facts
from planner.facts.release import parse_version
from planner.memory.rank import RankShape
from planner.memory.term import Term, nothing


def communicators(shape: RankShape) -> Term:
    """The communicators of one rank, made before the engine takes stock: one of torch's, one per group of several."""
    facts = collective_facts()
    if shape.world_size == 1:
        return nothing("communicators", "one rank", facts.communicators[0].source)
    row = next(
        row
        for row in facts.communicators
        if row.vendor == shape.gpu.vendor
        and (not row.architectures or shape.gpu.architecture.startswith(row.architectures))
    )
    groups = 1 + (shape.tensor_parallel_size > 1) + (shape.pipeline_parallel_size > 1)
    custom = shape.linked and shape.tensor_parallel_size > 1 and row.custom_all_reduce_bytes
    fixed = _symmetric_memory_bytes(shape) + int(custom)
    return Term(
        name="communicators",
        bytes=groups * gib(row.each_gib) + fixed,
        low_bytes=groups * gib(row.low_gib),
        high_bytes=groups * gib(row.high_gib) + fixed,
        basis=row.basis,
        source=row.source,
        formula=f"{groups} communicators x {row.each_gib:.2f} GiB + {fixed / MIB:.0f} MiB",
        bounds=row.bounds,
    )


def pipeline_transfers(shape: RankShape) -> Term:
    """What the first transfers between pipeline stages take, after profiling."""
    facts = collective_facts().pipeline_transfers
    if shape.pipeline_parallel_size == 1:
        return nothing("pipeline_transfers", "one stage", facts.source)
    expected = facts.first_gib if shape.first_stage else facts.later_gib
    measured = shape.gpu.architecture.startswith(facts.architectures)
    return Term(
        name="pipeline_transfers",
        bytes=gib(expected),
        low_bytes=gib(facts.low_gib if measured else 0.0),
        high_bytes=gib(facts.high_gib),
        basis=facts.basis if measured else "assumed",
        source=facts.source,
        formula=f"{expected} GiB on {'the first stage' if shape.first_stage else 'a later stage'}",
        bounds=facts.bounds,
    )


def _symmetric_memory_bytes(shape: RankShape) -> int:
    """The buffer of torch's symmetric-memory all-reduce, where the architecture has one."""
    if not shape.linked:
        return 0
    sizes = collective_facts().symmetric_memory.size_mib.get(shape.gpu.architecture, {})
    return int(sizes.get(str(shape.tensor_parallel_size), 0) * MIB)


def fused_all_reduce(shape: RankShape) -> Term:
    """FlashInfer's workspace for all-reduce fused with the norm, as far as it falls into the profile run."""
    facts = collective_facts().fused_all_reduce
    why = _not_fused(shape, facts)
    if not why and shape.enforce_eager:
        why = "nothing is fused with --enforce-eager"
    if why:
        return nothing("fused_all_reduce", why, facts.source)
    return _workspace("fused_all_reduce", shape, facts)


def late_all_reduce_workspace(shape: RankShape) -> Term:
    """The same workspace where it is first made after profiling: eager starts from 0.29 on, by a small step."""
    facts = collective_facts().fused_all_reduce
    late = shape.enforce_eager and shape.release.flashinfer_all_reduce and not _not_fused(shape, facts)
    if not late:
        return nothing("all_reduce_workspace", "made while profiling, or not at all", facts.source)
    return _workspace("all_reduce_workspace", shape, facts)


def fused_tokens(shape: RankShape) -> int:
    """The largest batch whose all-reduces are fused with the norm behind them; 0 where none is.

    Source: vLLM 0.33.0 allreduce_rms_fusion.py, which compiles larger batches without the fusion.
    """
    facts = collective_facts().fused_all_reduce
    if shape.enforce_eager or _not_fused(shape, facts):
        return 0
    return min(_max_size_bytes(shape, facts) // (2 * shape.model.hidden_size), shape.max_num_batched_tokens)


def _not_fused(shape: RankShape, facts: FusedAllReduce) -> str:
    """Why the engine makes no workspace; empty where it makes one."""
    tp = shape.tensor_parallel_size
    if tp == 1:
        return "one rank holds a whole layer"
    if shape.fused_all_reduce == "none":
        return "turned off"
    if not shape.gpu.architecture.startswith(facts.architectures):
        return "not on this architecture"
    if not shape.linked:
        return "no fast link between the ranks"
    if not _max_size_bytes(shape, facts):
        return f"not for {tp} ranks"
    if shape.pipeline_parallel_size > 1 and not shape.release.fused_with_pipeline:
        return "not with pipeline stages"
    return ""


def _max_size_bytes(shape: RankShape, facts: FusedAllReduce) -> int:
    """The largest tensor that goes through the workspace."""
    architecture, tp = shape.gpu.architecture, str(shape.tensor_parallel_size)
    release = parse_version(shape.release.version)
    sizes = [
        row.size_mib.get(architecture, {}).get(tp, 0) for row in facts.largest if release >= parse_version(row.since)
    ]
    return int(max(sizes) * MIB)


def _workspace(name: str, shape: RankShape, facts: FusedAllReduce) -> Term:
    backend = shape.release.fused_all_reduce_backend if shape.fused_all_reduce == "auto" else shape.fused_all_reduce
    buffers = sum(_workspace_bytes(shape, facts, one) for one in backend.split("+"))
    beside = facts.workspace.beside_bytes if shape.release.workspace_communicator else 0
    surely = any(
        row.applies(
            architecture=shape.gpu.architecture,
            version=shape.release.version,
            tensor_parallel_size=shape.tensor_parallel_size,
        )
        for row in facts.surely
    )
    highest = max(buffers, _workspace_bytes(shape, facts, "trtllm")) + facts.workspace.beside_bytes
    return Term(
        name=name,
        bytes=buffers + beside,
        low_bytes=buffers + beside if surely else 0,
        high_bytes=buffers + beside if surely else highest,
        basis=facts.basis,
        source=facts.source,
        formula=f"FlashInfer's {backend} workspace, {format_gib(buffers)} GiB of buffers"
        + (f" and {format_gib(beside)} GiB beside them" if beside else ""),
        bounds=facts.bounds,
    )


def _workspace_bytes(shape: RankShape, facts: FusedAllReduce, backend: str) -> int:
    """The buffers of one backend, rounded as its release's allocations are."""
    sizes, tp = facts.workspace, shape.tensor_parallel_size
    row = 2 * shape.model.hidden_size
    tokens = min(_max_size_bytes(shape, facts) // row, shape.max_num_batched_tokens)
    rounded = backend in shape.release.multicast_rounding
    rounding = sizes.multicast_granularity_bytes if rounded else sizes.segment_bytes

    def allocated(size_bytes: int) -> int:
        return -(-size_bytes // rounding) * rounding

    if backend == "trtllm":
        tensor = tp * tokens * row
        return allocated(tensor) + allocated(1) + allocated(sizes.lamport_buffers * tensor)
    one_shot = min(sizes.one_shot_bytes // (tp * row), tokens) * tp * row
    two_shot = 2 * -(-tokens // tp) * tp * row
    return allocated(sizes.lamport_buffers * max(one_shot, two_shot))
