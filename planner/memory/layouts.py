"""Which tensor and pipeline sizes a model allows on some GPUs; it never looks at memory."""

from __future__ import annotations

from hw_specs.spec import GpuSet
from planner.model import ModelSpec
from planner.settings import Layout

INT4_IN_A_WORD = 8
"""Values that are packed into 32 bits."""


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
    stored = _group_fault(model, tp)
    if stored:
        return stored
    if model.vision and not text_only and model.vision.num_attention_heads % tp:
        return f"the vision tower's {model.vision.num_attention_heads} heads do not divide by {tp} (text-only would)"
    return None


def _group_fault(model: ModelSpec, tp: int) -> str | None:
    """Return which weight's groups or blocks a shard would cut, or None.

    The engine checks each matrix when it is made. Groups of a row must be whole in every matrix, on one GPU too. Blocks
    must end at the shard's edge along the columns of a row-parallel matrix (o, down), and along the rows of what it
    merges (q, k, v; gate, up) at each seam, on one GPU too; elsewhere the last one may be cut. Four-bit integers are
    packed eight to a word along the rows. One scale per whole row has no edge inside it.

    Source: vLLM 0.33.0, quantization/utils/fp8_utils.py validate_fp8_block_shape; auto_awq.py create_weights;
    compressed_tensors_wNa16.py and kernels/linear/mixed_precision/marlin.py (a group must not straddle the shard);
    modelopt.py (16 columns).
    """
    head, hidden = model.head_dim, model.hidden_size
    attended, inner = model.num_attention_heads * head // tp, model.intermediate_size // tp
    kv_rows = max(model.num_key_value_heads // tp, 1) * head
    for group in dict.fromkeys(model.layers):
        output, down = group.attention_output or group.attention, group.mlp_down or group.mlp
        columns = (
            (output, "o_proj", attended, tp > 1),
            (down, "down_proj", inner, tp > 1),
            (group.attention, "q_proj, k_proj and v_proj", hidden, False),
            (group.mlp, "gate_proj and up_proj", hidden, False),
        )
        for fmt, matrix, width, shared in columns:
            blocks = fmt.group_rows > 1
            if fmt.group_columns and width % fmt.group_columns and (shared or not blocks):
                kind = "blocks" if blocks else "groups"
                return _refused(
                    f"{fmt.name} {kind} of {fmt.group_columns}", f"the {width} columns of {matrix}", shared, tp
                )
        rows = (
            (group.attention, "q_proj", attended),
            (group.attention, "k_proj", kv_rows),
            (group.mlp, "gate_proj", inner),
        )
        for fmt, matrix, height in rows:
            if fmt.group_rows > 1 and height % fmt.group_rows:
                return _refused(
                    f"{fmt.name} blocks of {fmt.group_rows} rows", f"the {height} rows of {matrix}", tp > 1, tp
                )
        packed = (
            (group.attention, "q_proj, k_proj and v_proj together", attended + 2 * kv_rows),
            (output, "o_proj", hidden),
            (group.mlp, "gate_proj and up_proj together", 2 * inner),
            (down, "down_proj", hidden),
        )
        for fmt, matrix, height in packed:
            if fmt.name == "int4" and height % INT4_IN_A_WORD:
                return _refused(f"words of {INT4_IN_A_WORD} {fmt.name}", f"the {height} rows of {matrix}", tp > 1, tp)
    return None


def _refused(unit: str, of: str, shared: bool, tp: int) -> str:
    where = f"that each of {tp} GPUs gets" if shared else "on one GPU" if tp == 1 else "of the model"
    return f"{unit} do not divide {of} {where}: vLLM refuses the quantised weight at load"


def legal_tensor_parallel_sizes(model: ModelSpec, limit: int, *, text_only: bool) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `limit` that the model allows, ascending."""
    return tuple(tp for tp in range(1, limit + 1) if tensor_parallel_fault(model, tp, text_only=text_only) is None)


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


def layouts(model: ModelSpec, gpus: GpuSet, *, text_only: bool) -> tuple[Layout, ...]:
    """Every layout worth planning: each legal TP, alone and with the stages that use the GPUs it leaves.

    The first is the default: the largest TP of one node, one replica, or one per node where there are several.
    """
    sizes = legal_tensor_parallel_sizes(model, tensor_parallel_limit(gpus), text_only=text_only)
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


def _stages(model: ModelSpec, gpus: GpuSet, tp: int) -> list[int]:
    """Pipeline sizes that use up a node, or all nodes where no stage is cut by a node's edge."""
    candidates = {gpus.count // tp}
    if gpus.count % tp == 0:
        candidates.add(gpus.total_gpus // tp)
    return sorted(pp for pp in candidates if 1 < pp <= model.num_hidden_layers)
