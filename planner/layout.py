"""Which tensor and pipeline sizes a model allows on some GPUs; it never looks at memory."""

from __future__ import annotations

from dataclasses import dataclass

from hw_specs.spec import GpuSet
from planner.model import ModelSpec


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Layout:
    """How the GPUs are shared out."""

    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    replicas: int = 1

    @property
    def gpus_per_replica(self) -> int:
        """GPUs of one server."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def __str__(self) -> str:
        stages = f" x PP{self.pipeline_parallel_size}" if self.pipeline_parallel_size > 1 else ""
        copies = f" x {self.replicas}" if self.replicas > 1 else ""
        return f"TP{self.tensor_parallel_size}{stages}{copies}"


def tensor_parallel_fault(model: ModelSpec, tensor_parallel_size: int, *, text_only: bool) -> str | None:
    """Return why the model cannot be split this way, or None.

    Source: the divisibility asserts of vLLM 0.33.0 layers (linear.py, vocab_parallel_embedding.py, pixtral.py).
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
    if model.vision and not text_only and model.vision.num_attention_heads % tp:
        return f"the vision tower's {model.vision.num_attention_heads} heads do not divide by {tp} (text-only would)"
    return None


def legal_tensor_parallel_sizes(model: ModelSpec, limit: int, *, text_only: bool) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `limit` that the model allows, ascending."""
    return tuple(tp for tp in range(1, limit + 1) if tensor_parallel_fault(model, tp, text_only=text_only) is None)


def tensor_parallel_limit(gpus: GpuSet) -> int:
    """GPUs that one fast link domain joins: a node, or several nodes of one rack-scale domain."""
    domain_nodes = max(1, gpus.spec.link.domain_gpus // max(1, gpus.count))
    return gpus.count * min(gpus.nodes, domain_nodes)


def layouts(model: ModelSpec, gpus: GpuSet, *, text_only: bool) -> tuple[Layout, ...]:
    """Every layout worth planning: each legal TP, alone and with the stages that use the GPUs it leaves.

    The first is the default: the largest TP of one node, one replica, or one per node where there are several.
    """
    found: list[Layout] = []
    sizes = legal_tensor_parallel_sizes(model, tensor_parallel_limit(gpus), text_only=text_only)
    in_node = [tp for tp in sizes if tp <= gpus.count]
    for tp in sorted(in_node, reverse=True):
        found.append(Layout(tensor_parallel_size=tp, replicas=_replicas(gpus, tp)))
    for tp in sorted(in_node, reverse=True):
        for pp in _stages(model, gpus, tp):
            found.append(
                Layout(
                    tensor_parallel_size=tp, pipeline_parallel_size=pp, replicas=max(1, gpus.total_gpus // (tp * pp))
                )
            )
    for tp in sizes:
        if tp > gpus.count:
            found.append(Layout(tensor_parallel_size=tp, replicas=max(1, gpus.total_gpus // tp)))
    return tuple(found)


def _replicas(gpus: GpuSet, tp: int) -> int:
    """Copies that fit when no server spans nodes."""
    return (gpus.count // tp) * gpus.nodes


def _stages(model: ModelSpec, gpus: GpuSet, tp: int) -> list[int]:
    """Pipeline sizes that use up a node, or all nodes, with `tp` GPUs per stage."""
    candidates = {gpus.count // tp, gpus.total_gpus // tp, gpus.nodes if tp == gpus.count else 1}
    return sorted(pp for pp in candidates if 1 < pp <= model.num_hidden_layers)
