"""Weight bytes per rank, as vLLM shards them; exact arithmetic that never rounds.

Source: the layer classes of vLLM 0.33.0 (QKVParallelLinear, RowParallelLinear, VocabParallelEmbedding, pixtral.py),
executed on a fake device: 0 bytes difference at TP 1 to 16.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import groupby

from hw_specs.frozen import dataclass
from hw_specs.units import counted
from planner.facts.overheads import overhead_facts
from planner.model import LayerGroup, ModelSpec, VisionSpec, WeightFormat

BF16_BYTES = 2
_TOKEN_ID_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRules:
    """How an engine on some hardware stores what the model describes."""

    vision_sharded: bool = True
    """Whether tensor parallelism shards the vision tower's linears."""
    projector_sharded: bool = False
    """Whether it also shards the projector's two linears (Hugging Face layout)."""
    fp8_row_padding: tuple[int, int] = (0, 0)
    """``(multiple, padding)`` in bytes: an FP8 row of a multiple of the first gets the second more."""


PLAIN = WeightRules()
"""Nothing is stored in another way than the model describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankWeights:
    """Bytes on one rank, without RoPE table and without per-tensor scales."""

    text_bytes: int
    vision_bytes: int
    draft_bytes: int

    @property
    def total_bytes(self) -> int:
        """Target and draft together."""
        return self.text_bytes + self.vision_bytes + self.draft_bytes


@lru_cache(maxsize=256)
def split_layers(num_hidden_layers: int, pipeline_parallel_size: int) -> tuple[int, ...]:
    """Return the layers of each pipeline stage, as vLLM's ``get_pp_indices`` deals them.

    Left-over layers go to the stages before the last one, which also holds the output head.

    >>> split_layers(88, 3)
    (29, 30, 29)
    """
    base, left = divmod(num_hidden_layers, pipeline_parallel_size)
    layers = [base] * pipeline_parallel_size
    for offset in range(left):
        layers[-(offset + 2)] += 1
    return tuple(layers)


def _matrix(fmt: WeightFormat, rows: int, columns: int, rules: WeightRules) -> int:
    """Bytes of ``[rows, columns]``; FP8 rows are padded where the engine does so."""
    multiple, padding = rules.fp8_row_padding
    size_bytes = fmt.matrix_bytes(rows, columns)
    if padding and fmt.name == "fp8" and columns % multiple == 0:
        size_bytes += rows * padding
    return size_bytes


def matrices(model: ModelSpec, group: LayerGroup, tp: int) -> tuple[tuple[WeightFormat, tuple[int, ...], int], ...]:
    """The four matrices of a layer on one rank: format, rows of the parts they are merged from, columns."""
    head, hidden = model.head_dim, model.hidden_size
    attended, inner = model.num_attention_heads * head // tp, model.intermediate_size // tp
    kv_rows = max(model.num_key_value_heads, tp) * head // tp
    return (
        (group.attention, (attended, kv_rows, kv_rows), hidden),
        (group.attention_output or group.attention, (hidden,), attended),
        (group.mlp, (inner, inner), hidden),
        (group.mlp_down or group.mlp, (hidden,), inner),
    )


def _layer_tensors(model: ModelSpec, group: LayerGroup, tp: int, rules: WeightRules) -> tuple[int, ...]:
    """Bytes of the tensors of one decoder layer on one rank: attention, MLP, two norms, biases where there are any."""
    hidden, head = model.hidden_size, model.head_dim
    each = matrices(model, group, tp)
    qkv_rows, inner = sum(each[0][1]), model.intermediate_size // tp
    return (
        *(_matrix(fmt, sum(parts), columns, rules) for fmt, parts, columns in each),
        2 * hidden * BF16_BYTES,
        qkv_rows * BF16_BYTES if model.qkv_bias else 0,
        hidden * BF16_BYTES if model.output_bias else 0,
        (2 * inner + hidden) * BF16_BYTES if model.mlp_bias else 0,
        2 * head * BF16_BYTES if model.qk_norm else 0,
    )


def _layer_bytes(model: ModelSpec, group: LayerGroup, tp: int, rules: WeightRules) -> int:
    """One decoder layer on one rank."""
    return sum(_layer_tensors(model, group, tp, rules))


@lru_cache(maxsize=256)
def describe_text(model: ModelSpec, *, tensor_parallel_size: int, rules: WeightRules = PLAIN) -> str:
    """The text weights of a rank that holds the whole model depth, as a sum with its numbers."""
    terms = []
    for group, members in _runs(model.layer_formats).items():
        qkv, output, gate_up, down, *small = _layer_tensors(model, group, tensor_parallel_size, rules)
        stored = group.attention.name if group.attention == group.mlp else f"{group.attention.name}, {group.mlp.name}"
        terms.append(
            f"{members} layers ({stored}) x (qkv {qkv:,} + o {output:,} + gate and up {gate_up:,} + down {down:,} "
            f"+ norms {sum(small):,})"
        )
    ends = 1 if model.tie_word_embeddings else 2
    terms.append(
        f"{ends} x {embedding_bytes(model, tensor_parallel_size):,} embedding{' and head' if ends == 2 else ''}"
    )
    return " + ".join([*terms, f"{model.hidden_size * BF16_BYTES:,} last norm"])


def embedding_bytes(model: ModelSpec, tp: int) -> int:
    """Token embedding on one rank; vLLM pads the vocabulary to a multiple of 64 rows."""
    return -(-model.vocab_size // 64) * 64 * model.hidden_size * BF16_BYTES // tp


def _vision_bytes(model: ModelSpec, vision: VisionSpec, tp: int, rules: WeightRules) -> int:
    """Tower and projector on one rank: linears sharded, norms, patch convolution and merger replicated."""
    dim, inner, hidden = vision.hidden_size, vision.intermediate_size, model.hidden_size
    shards = tp if rules.vision_sharded else 1
    tower = vision.num_hidden_layers * ((4 * dim * dim + 3 * dim * inner) // shards + 2 * dim)
    patches = vision.num_channels * vision.patch_size**2 * dim + dim
    merger = vision.spatial_merge_size**2 * dim * dim if vision.spatial_merge_size > 1 else 0
    adapter = (dim * hidden + hidden * hidden) // (tp if rules.projector_sharded else 1)
    small = (dim if vision.projector_norm else 0) + (2 * hidden if vision.projector_bias else 0)
    return (tower + patches + merger + adapter + small) * BF16_BYTES


@lru_cache(maxsize=256)
def describe_vision(model: ModelSpec, *, tensor_parallel_size: int, rules: WeightRules = PLAIN) -> str:
    """The vision weights of one rank, as a sum with its numbers."""
    vision = model.vision
    if vision is None:
        return "no vision tower"
    dim, inner, hidden = vision.hidden_size, vision.intermediate_size, model.hidden_size
    shards = tensor_parallel_size if rules.vision_sharded else 1
    merger = f" + merger {vision.spatial_merge_size**2} x {dim}^2" if vision.spatial_merge_size > 1 else ""
    projector = f"({dim} + {hidden}) x {hidden}"
    if rules.projector_sharded and tensor_parallel_size > 1:
        projector += f" / {tensor_parallel_size}"
    return (
        f"2 B x ({vision.num_hidden_layers} layers x ((4 x {dim}^2 + 3 x {dim} x {inner}) / {shards} + 2 x {dim})"
        f"{merger} + projector {projector} + patches and norms)"
    )


def _draft_bytes(model: ModelSpec, tp: int, rules: WeightRules) -> int:
    """A draft on one rank: its layers, what stands in front of them, and its output head where it has one.

    Source: vllm/model_executor/models/mistral_eagle.py, llama_eagle.py, llama_eagle3.py.
    """
    draft = model.draft
    assert draft is not None
    own = draft.layers_of(model)
    (group,) = own.layers
    shards = tp if draft.projection_sharded else 1
    layers = draft.num_hidden_layers * _layer_bytes(own, group, tp, rules)
    norm = own.hidden_size * BF16_BYTES
    if draft.method != "eagle3":
        # Llama's EAGLE has no norm behind its layers and none in front of the first.
        projection = _matrix(draft.weights, own.hidden_size, 2 * own.hidden_size // shards, rules)
        return layers + projection + (norm if draft.projection_sharded else -norm)
    qkv_rows = sum(matrices(own, group, tp)[0][1])
    projection = _matrix(draft.weights, own.hidden_size, draft.states_read * model.hidden_size // shards, rules)
    # The first layer attends from embedding and hidden state side by side, each with a norm of its own.
    layers += _matrix(draft.weights, qkv_rows, own.hidden_size, rules) + norm
    apart = own.hidden_size != model.hidden_size
    embedding = embedding_bytes(replace(own, vocab_size=model.vocab_size), tp) if apart else 0
    names = draft.head_rows * _TOKEN_ID_BYTES if draft.head_rows != model.vocab_size else 0
    return layers + projection + norm + embedding_bytes(own, tp) + names + embedding


@lru_cache(maxsize=64)
def describe_draft(model: ModelSpec, *, tensor_parallel_size: int) -> str:
    """The draft's weights in words with their numbers."""
    draft = model.draft
    assert draft is not None
    own = draft.layers_of(model)
    shards = f" / {tensor_parallel_size}" if draft.projection_sharded else ""
    columns = 2 * own.hidden_size if draft.method != "eagle3" else draft.states_read * model.hidden_size
    head = f"a head of {own.vocab_size:,} rows" if draft.head_rows else "embedding and head are the target's"
    if own.hidden_size != model.hidden_size:
        head += f", an embedding of {model.vocab_size:,} rows"
    norm = " and a norm" if draft.projection_sharded or draft.method == "eagle3" else ""
    layers = counted(draft.num_hidden_layers, "layer")
    return f"{layers}, projection {columns} x {own.hidden_size}{shards}{norm}; {head}"


@lru_cache(maxsize=256)
def rank_weights(
    model: ModelSpec,
    *,
    tensor_parallel_size: int,
    pipeline_parallel_size: int = 1,
    language_model_only: bool = False,
    draft: bool = False,
    rules: WeightRules = PLAIN,
) -> tuple[RankWeights, ...]:
    """Return the bytes of one rank per pipeline stage; all ranks of a stage are equal.

    The embedding sits on the first stage, norm and output head on the last, the vision tower on the first, the draft
    on the last. With more than one stage a draft or tied weights need the embedding on the last stage too.
    """
    tp, pp = tensor_parallel_size, pipeline_parallel_size
    formats, stages, start = model.layer_formats, [], 0
    for stage, count in enumerate(split_layers(model.num_hidden_layers, pp)):
        first, last = stage == 0, stage == pp - 1
        text = sum(
            members * _layer_bytes(model, group, tp, rules)
            for group, members in _runs(formats[start : start + count]).items()
        )
        start += count
        embeddings = int(first) + int(last and not (model.tie_word_embeddings and pp == 1))
        if last and pp > 1 and draft and not model.tie_word_embeddings:
            embeddings += 1
        text += embeddings * embedding_bytes(model, tp)
        if last:
            text += model.hidden_size * BF16_BYTES
        vision = model.vision if first and not language_model_only else None
        stages.append(
            RankWeights(
                text_bytes=text,
                vision_bytes=_vision_bytes(model, vision, tp, rules) if vision else 0,
                draft_bytes=_draft_bytes(model, tp, rules) if draft and last else 0,
            )
        )
    return tuple(stages)


def _runs(formats: tuple[LayerGroup, ...]) -> dict[LayerGroup, int]:
    """How many layers of each kind there are."""
    runs: dict[LayerGroup, int] = {}
    for _, equal in groupby(formats, key=id):  # comparing whole groups once a layer costs most of a plan
        layers = list(equal)
        runs[layers[0]] = runs.get(layers[0], 0) + len(layers)
    return runs


def rope_cache_bytes(model: ModelSpec) -> int:
    """The RoPE table, one per rank: sized by the model's position limit, not by ``max_model_len``."""
    return (
        (model.rope_cache_positions or model.max_position_embeddings)
        * (model.rotary_dim or model.head_dim)
        * BF16_BYTES
    )


@lru_cache(maxsize=256)
def rounding_bytes(
    model: ModelSpec,
    *,
    tensor_parallel_size: int,
    pipeline_parallel_size: int = 1,
    rules: WeightRules = PLAIN,
) -> tuple[int, ...]:
    """Return what the allocator adds to the decoder's tensors, on one rank per pipeline stage."""
    tp, pp = tensor_parallel_size, pipeline_parallel_size
    formats, stages, start, allocator = model.layer_formats, [], 0, overhead_facts().allocator
    for stage, count in enumerate(split_layers(model.num_hidden_layers, pp)):
        added = sum(
            members * sum(map(allocator.rounding_bytes, _layer_tensors(model, group, tp, rules)))
            for group, members in _runs(formats[start : start + count]).items()
        )
        start += count
        ends = int(stage == 0) + int(stage == pp - 1 and not model.tie_word_embeddings)
        stages.append(added + ends * allocator.rounding_bytes(embedding_bytes(model, tp)))
    return tuple(stages)
