"""Which tensor and pipeline sizes a model allows on some GPUs; it never looks at memory."""

from __future__ import annotations

from functools import lru_cache

from hw_specs.spec import GpuSet, GpuSpec
from planner.facts.release import Release
from planner.memory.shards import stored_fault
from planner.model import ModelSpec
from planner.settings import Layout


def tensor_parallel_fault(
    model: ModelSpec, tensor_parallel_size: int, *, text_only: bool, gpu: GpuSpec, release: Release
) -> str | None:
    """Return why the model cannot be split this way on this GPU by this release, or None.

    Source: the divisibility asserts of vLLM 0.33.0 layers (linear.py, vocab_parallel_embedding.py, pixtral.py), and
    what :func:`planner.memory.shards.stored_fault` says of the weights.
    """
    tp = tensor_parallel_size
    if model.num_attention_heads % tp:
        return f"{model.num_attention_heads} attention heads do not divide by {tp}"
    kv = model.num_key_value_heads
    if kv % tp and tp % kv:
        return f"{kv} KV heads cannot be shared by {tp} GPUs"
    if model.intermediate_size % tp:
        return f"the MLP width {model.intermediate_size} does not divide by {tp}"
    if (-(-model.vocab_size // 64) * 64) % tp:
        return f"the vocabulary of {model.vocab_size} does not divide by {tp}"
    stored = stored_fault(model, tp, gpu=gpu, release=release)
    if stored:
        return stored
    if model.vision and not text_only and model.vision.num_attention_heads % tp:
        return f"the vision tower's {model.vision.num_attention_heads} heads do not divide by {tp} (text-only would)"
    return None


@lru_cache(maxsize=64)
def legal_tensor_parallel_sizes(
    model: ModelSpec, limit: int, *, text_only: bool, gpu: GpuSpec, release: Release
) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `limit` that the model allows, ascending."""
    return tuple(
        tp
        for tp in range(1, limit + 1)
        if tensor_parallel_fault(model, tp, text_only=text_only, gpu=gpu, release=release) is None
    )


def tensor_parallel_limit(gpus: GpuSet) -> int:
    """GPUs that one fast link domain joins: a node, or several nodes of one rack-scale domain.

    A domain no larger than the board never leaves its node, however few of the board's GPUs are used.
    """
    most, domain = gpus.spec.max_gpus_per_node, gpus.spec.link.domain_gpus
    return gpus.count * (min(gpus.nodes, domain // most) if domain > most else 1)


def most_replicas(gpus: GpuSet, gpus_per_replica: int) -> int:
    """Servers of one size that fit: each stays inside one node or fills whole nodes; 0 where it can do neither."""
    if gpus_per_replica <= gpus.count:
        return (gpus.count // gpus_per_replica) * gpus.nodes
    return 0 if gpus_per_replica % gpus.count else gpus.nodes // (gpus_per_replica // gpus.count)


def layouts(model: ModelSpec, gpus: GpuSet, *, text_only: bool, release: Release) -> tuple[Layout, ...]:
    """Every layout worth planning: each legal TP, alone and with the stages that use the GPUs it leaves.

    The first is the default: the largest TP of one node, one replica, or one per node where there are several.
    """
    limit = tensor_parallel_limit(gpus)
    sizes = legal_tensor_parallel_sizes(model, limit, text_only=text_only, gpu=gpus.spec, release=release)
    in_node = sorted((tp for tp in sizes if tp <= gpus.count), reverse=True)
    shapes = [(tp, 1) for tp in in_node]
    shapes += [(tp, pp) for tp in in_node for pp in _stages(model, gpus, tp)]
    shapes += [(tp, 1) for tp in sizes if tp > gpus.count]
    found = ((tp, pp, most_replicas(gpus, tp * pp)) for tp, pp in shapes)
    return tuple(
        Layout(tensor_parallel_size=tp, pipeline_parallel_size=pp, replicas=replicas)
        for tp, pp, replicas in found
        if replicas
    )


def stretched_layouts(model: ModelSpec, gpus: GpuSet, *, text_only: bool, release: Release) -> tuple[Layout, ...]:
    """Tensor parallelism over whole nodes that no fast link joins: slow, so only for what runs no other way."""
    fast, total = tensor_parallel_limit(gpus), gpus.total_gpus
    sizes = legal_tensor_parallel_sizes(model, total, text_only=text_only, gpu=gpus.spec, release=release)
    return tuple(
        Layout(tensor_parallel_size=tp, replicas=replicas)
        for tp in sizes
        if tp > fast and (replicas := most_replicas(gpus, tp))
    )


def _stages(model: ModelSpec, gpus: GpuSet, tp: int) -> list[int]:
    """Pipeline sizes that use up a node, or all nodes where no stage is cut by a node's edge."""
    candidates = {gpus.count // tp}
    if gpus.count % tp == 0:
        candidates.add(gpus.total_gpus // tp)
    return sorted(pp for pp in candidates if 1 < pp <= model.num_hidden_layers)
