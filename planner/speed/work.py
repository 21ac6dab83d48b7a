"""What one step reads, multiplies and sends on one GPU: exact arithmetic on the dimensions; it never knows a speed.

Bytes are bytes, FLOPs are multiply-adds counted twice, and both are per rank of `tensor_parallel_size`.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.memory.kv_cache import kv_bytes_per_token
from planner.model import DraftSpec, ModelSpec, WeightFormat

_BF16_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearWork:
    """The linear layers that share one number format, over all decoder layers of one rank."""

    arithmetic: str
    """Peak that bounds them: ``bf16``, ``fp8`` or ``fp4``."""
    weight_bytes: float
    """Read once per step."""
    flops_per_token: float
    unpacks: bool = False
    """Whether its weights are integers that are widened before they are multiplied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankWork:
    """One rank's share of a forward pass."""

    num_layers: int
    linears: tuple[LinearWork, ...]
    kv_bytes_per_token: int
    """Written once and read by every later step of its sequence."""
    attention_flops_per_pair: float
    """For one query token against one cached token, over all layers."""
    head_bytes: float
    """Output matrix, read once per step in which a token is sampled."""
    head_flops_per_row: float
    vocab_size: int
    allreduces: int
    """Collectives per pass; two per layer and one for the embedding, none without tensor parallelism."""
    message_bytes_per_token: int
    draft: RankWork | None = None
    """One pass of the draft."""
    once: tuple[LinearWork, ...] = ()
    """Of a draft: what it does once for the tokens of a step, not in each of its passes."""
    vision_flops_per_image: float = 0.0
    vision_bytes: float = 0.0


def _arithmetic(weights: WeightFormat) -> str:
    if weights.name.startswith("fp8"):
        return "fp8"
    if weights.name.endswith("fp4"):
        return "fp4"
    return "bf16"


def _linears(
    model: ModelSpec, groups: tuple[tuple[int, WeightFormat, WeightFormat], ...], tp: int
) -> tuple[LinearWork, ...]:
    kv_heads = max(model.num_key_value_heads, tp)
    attention = model.hidden_size * model.head_dim * (2 * model.num_attention_heads + 2 * kv_heads) / tp
    mlp = 3 * model.hidden_size * model.intermediate_size / tp
    sums: dict[tuple[str, bool], list[float]] = {}
    for count, attention_format, mlp_format in groups:
        for elements, weights in ((attention, attention_format), (mlp, mlp_format)):
            entry = sums.setdefault((_arithmetic(weights), weights.name in ("int4", "int8")), [0.0, 0.0])
            scale_bits = (
                8 * weights.scale_bytes / ((weights.group_rows or 1) * weights.group_columns)
                if weights.scale_bytes and weights.group_columns
                else 0.0
            )
            entry[0] += count * elements * (weights.bits + scale_bits) / 8
            entry[1] += count * elements * 2
    return tuple(
        LinearWork(arithmetic=name, weight_bytes=weight_bytes, flops_per_token=flops, unpacks=unpacks)
        for (name, unpacks), (weight_bytes, flops) in sums.items()
    )


def main_arithmetic(model: ModelSpec) -> str:
    """Return the peak that bounds most of the model's linear layers: ``bf16``, ``fp8`` or ``fp4``."""
    linears = _linears(model, tuple((g.count, g.attention, g.mlp) for g in model.layers), 1)
    return max(linears, key=lambda linear: linear.flops_per_token).arithmetic


def _vision(model: ModelSpec, tp: int) -> tuple[float, float]:
    """FLOPs of the largest image and bytes of the tower; full attention over its patches."""
    vision = model.vision
    if vision is None:
        return 0.0, 0.0
    patches = vision.max_image_patches
    width, inner = vision.hidden_size, vision.intermediate_size
    per_layer = 4 * width * width + 3 * width * inner
    projector = 4 * width * width + width * model.hidden_size + model.hidden_size**2
    flops = vision.num_hidden_layers * (2 * patches * per_layer + 4 * patches**2 * width) / tp
    flops += 2 * vision.max_image_embeddings * projector
    return flops, _BF16_BYTES * (vision.num_hidden_layers * per_layer / tp + projector)


def _draft_work(model: ModelSpec, spec: DraftSpec, tp: int, kv_cache_dtype: str) -> RankWork:
    """One pass of a draft: its layers, the projection in front of them, and an output head, its own or the target's."""
    own = spec.layers_of(model)
    hidden, layers, bits = own.hidden_size, spec.num_hidden_layers, spec.weights.bits
    kv_rows = max(own.num_key_value_heads, tp) * own.head_dim / tp
    eagle3 = spec.method == "eagle3"
    read = spec.states_read * model.hidden_size if eagle3 else 2 * hidden
    projection = read * hidden / (tp if spec.projection_sharded else 1)
    # EAGLE-3's first layer attends from embedding and hidden state side by side.
    wider = hidden * (own.num_attention_heads * own.head_dim / tp + 2 * kv_rows) if eagle3 else projection
    (linear,) = _linears(own, ((layers, spec.weights, spec.weights),), tp)
    combine = LinearWork(
        arithmetic=linear.arithmetic, weight_bytes=projection * bits / 8, flops_per_token=2 * projection
    )
    return RankWork(
        num_layers=layers,
        linears=(
            LinearWork(
                arithmetic=linear.arithmetic,
                weight_bytes=linear.weight_bytes + wider * bits / 8,
                flops_per_token=linear.flops_per_token + 2 * wider,
            ),
        ),
        kv_bytes_per_token=kv_bytes_per_token(
            own, layers=layers, tensor_parallel_size=tp, kv_cache_dtype=kv_cache_dtype
        ),
        attention_flops_per_pair=4 * own.num_attention_heads / tp * own.head_dim * layers,
        head_bytes=_BF16_BYTES * own.vocab_size * hidden / tp,
        head_flops_per_row=2 * own.vocab_size * hidden / tp,
        vocab_size=own.vocab_size,
        allreduces=2 * layers + 2 if tp > 1 else 0,
        message_bytes_per_token=_BF16_BYTES * hidden,
        once=(combine,) if eagle3 else (),
    )


def rank_work(
    model: ModelSpec,
    *,
    tensor_parallel_size: int = 1,
    kv_cache_dtype: str = "auto",
    language_model_only: bool = False,
    with_draft: bool = False,
) -> RankWork:
    """Return what one rank of `tensor_parallel_size` does per step, over all layers of the model."""
    tp = tensor_parallel_size
    heads = model.num_attention_heads / tp
    layers = model.num_hidden_layers
    draft = None
    if with_draft and model.draft is not None:
        draft = _draft_work(model, model.draft, tp, kv_cache_dtype)
    vision_flops, vision_bytes = (0.0, 0.0) if language_model_only else _vision(model, tp)
    return RankWork(
        num_layers=layers,
        linears=_linears(model, tuple((g.count, g.attention, g.mlp) for g in model.layers), tp),
        kv_bytes_per_token=kv_bytes_per_token(
            model, layers=layers, tensor_parallel_size=tp, kv_cache_dtype=kv_cache_dtype
        ),
        attention_flops_per_pair=4 * heads * model.head_dim * layers,
        head_bytes=_BF16_BYTES * model.vocab_size * model.hidden_size / tp,
        head_flops_per_row=2 * model.vocab_size * model.hidden_size / tp,
        vocab_size=model.vocab_size,
        allreduces=2 * layers + 1 if tp > 1 else 0,
        message_bytes_per_token=_BF16_BYTES * model.hidden_size,
        draft=draft,
        vision_flops_per_image=vision_flops,
        vision_bytes=vision_bytes,
    )
