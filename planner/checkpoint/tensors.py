"""From the tensors of a checkpoint to the formats of its layers; it checks them against the dimensions.

Names of both layouts are understood: ``model.layers.0.self_attn.q_proj.weight`` and ``layers.0.attention.wq.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from hw_specs.errors import shown
from planner.checkpoint.formats import MATRICES, MX_GROUP, LayerFormats, layer_groups, weight_format
from planner.checkpoint.headers import Tensor
from planner.errors import UnreadableCheckpoint, UnsupportedModel
from planner.model import BF16, LayerGroup, ModelSpec, WeightFormat

_LINEAR = re.compile(
    r"^(?:model\.|language_model\.)*layers\.(\d{1,5})\.(?:self_attn|attention|mlp|feed_forward)\.(\w+)\.(\w+)$"
)
_NATIVE = {
    "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj", "w1": "gate_proj", "w3": "up_proj",
    "w2": "down_proj",
}  # fmt: skip
_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
_PLAIN = {"BF16", "F16", "F32"}
_SCALES = ("weight_scale", "weight_scale_inv", "qscale_weight", "scales", "SCB")
_KNOWN = re.compile(
    r"(^|\.)(layers|embed_tokens|tok_embeddings|lm_head|output|norm|vision_tower|vision_encoder|multi_modal_projector"
    r"|vision_language_adapter|patch_merger|pre_mm_projector_norm|rotary_emb)(\.|$)"
)
STRANGE_SHARE = 0.005
"""Share of a checkpoint that may be tensors we do not know before the model is refused."""

Matrices = dict[tuple[int, str], dict[str, Tensor]]


def collect(tensors: Mapping[str, Tensor]) -> Matrices:
    """Return layer and matrix → part → tensor, of the decoder layers."""
    matrices: Matrices = {}
    for name, tensor in tensors.items():
        found = _LINEAR.match(name)
        if found:
            matrix = _NATIVE.get(found[2], found[2])
            for one in _FUSED.get(matrix, (matrix,)):
                if one in MATRICES:
                    matrices.setdefault((int(found[1]), one), {})[found[3]] = tensor
    return matrices


def _matrix_format(parts: Mapping[str, Tensor], rows: int, columns: int, where: str) -> WeightFormat:
    """How one matrix of `rows` by `columns` is stored.

    Raises:
        UnsupportedModel: for a storage that is not described.
    """
    scale = next((parts[name] for name in _SCALES if name in parts), None)
    weight = parts.get("weight")
    if weight is not None and weight.dtype in _PLAIN:
        return BF16
    if weight is not None and weight.dtype in ("F8_E4M3", "I8"):
        if scale is None:
            raise UnsupportedModel(f"{where} is {weight.dtype} without a scale")
        return _scaled(weight.dtype, scale, rows, columns, where)
    if weight is not None and weight.dtype == "U8" and scale is None and weight.bytes * 2 == rows * columns:
        return weight_format("bnb4")
    packed = next((parts[name] for name in ("weight_packed", "qweight", "weight") if name in parts), None)
    if packed is not None and scale is not None and packed.dtype in ("U8", "I32"):
        bits = packed.bytes * 8 / (rows * columns)
        if bits not in (4, 8) or (bits == 8 and packed.dtype != "I32"):
            raise UnsupportedModel(
                f"{where} is packed in {bits:g} bits per element: described are 4 and, of integers, 8"
            )
        groups = max(1, scale.elements // rows)
        if scale.dtype == "F8_E4M3" and groups * 16 == columns:
            return weight_format("nvfp4")
        if scale.dtype == "U8" and groups * MX_GROUP == columns:
            return weight_format("mxfp4")
        if scale.dtype in _PLAIN and groups * rows == scale.elements:
            zero = parts.get("weight_zero_point") or parts.get("qzeros")
            return weight_format(
                f"int{bits:.0f}",
                group_columns=-(-columns // groups) if groups > 1 else 0,
                zero_point_bits=round(bits) if zero is not None else 0,
            )
    dtype = packed.dtype if packed is not None else weight.dtype if weight is not None else "nothing"
    raise UnsupportedModel(f"{where} is stored as {dtype}, which is not described")


def _scaled(dtype: str, scale: Tensor, rows: int, columns: int, where: str) -> WeightFormat:
    if scale.elements <= 1:
        if dtype == "F8_E4M3":
            return weight_format("fp8")
    elif scale.dtype == "U8" and dtype == "F8_E4M3" and scale.elements * MX_GROUP == rows * columns:
        return weight_format("mxfp8")
    elif scale.elements == rows:
        return weight_format("fp8-channel" if dtype == "F8_E4M3" else "int8-channel")
    elif len(scale.shape) == 2 and dtype == "F8_E4M3":
        return weight_format(
            "fp8-block", group_rows=_power(rows / scale.shape[0]), group_columns=_power(columns / scale.shape[1])
        )
    raise UnsupportedModel(f"{where} has scales of shape {list(scale.shape)}, which is not described")


def _power(ratio: float) -> int:
    """Block side: the power of two that `ratio`, rounded down by a ragged last block, stands for."""
    side = 1
    while side < ratio:
        side *= 2
    return side


def _declared(group: LayerGroup, matrix: str) -> WeightFormat:
    if matrix == "o_proj":
        return group.attention_output or group.attention
    if matrix == "down_proj":
        return group.mlp_down or group.mlp
    return group.attention if matrix[0] in "qkv" else group.mlp


def _refined(stored: WeightFormat, declared: WeightFormat) -> WeightFormat:
    """`declared` for blocks, as one larger than the matrix has one scale whatever its size, and for who packed it."""
    if (stored.name, declared.name) == ("int8-channel", "bnb8"):
        return declared  # a byte an element and a scale a row both
    if stored.name != declared.name:
        return stored
    return declared if stored.name == "fp8-block" else replace(stored, packing=declared.packing)


def layer_formats(tensors: Mapping[str, Tensor], model: ModelSpec) -> tuple[LayerGroup, ...]:
    """Return the formats as the tensors have them; `model` gives the dimensions they must agree with.

    Raises:
        UnreadableCheckpoint: when tensors are missing or contradict the dimensions.
        UnsupportedModel: for a storage that is not described.
    """
    heads, head, kv = model.num_attention_heads, model.head_dim, model.num_key_value_heads
    hidden, inner = model.hidden_size, model.intermediate_size
    shapes = {
        "q_proj": (heads * head, hidden), "k_proj": (kv * head, hidden), "v_proj": (kv * head, hidden),
        "o_proj": (hidden, heads * head), "gate_proj": (inner, hidden), "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }  # fmt: skip
    fused_rows = {"qkv_proj": (heads + 2 * kv) * head, "gate_up_proj": 2 * inner}
    found = collect(tensors)
    declared = model.layer_formats
    highest = max((layer for layer, _ in found), default=-1) + 1
    if highest != model.num_hidden_layers:
        raise UnreadableCheckpoint(
            f"the tensors hold {highest} layers, the configuration says {model.num_hidden_layers}"
        )
    layers = []
    for layer in range(highest):
        by_matrix = {}
        for matrix, (rows, columns) in shapes.items():
            parts = found.get((layer, matrix))
            where = f"{matrix} of layer {layer}"
            if parts is None:
                raise UnreadableCheckpoint(f"the tensors hold no {where}")
            weight = parts.get("weight")
            if weight is not None and weight.dtype not in ("U8", "I32"):
                fused = next((name for name, members in _FUSED.items() if matrix in members), "")
                allowed = ((rows, columns), (fused_rows.get(fused, rows), columns))
                if weight.shape not in allowed:
                    raise UnreadableCheckpoint(
                        f"{where} is {list(weight.shape)}, the configuration says {[rows, columns]}"
                    )
                if weight.shape == allowed[1]:
                    rows = allowed[1][0]
            stored = _matrix_format(parts, rows, columns, where)
            by_matrix[matrix] = _refined(stored, _declared(declared[layer], matrix))
        layers.append(LayerFormats(layer=layer, by_matrix=by_matrix))
    return layer_groups(layers)


def refuse_strange(tensors: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint with a notable share of tensors that no described model has.

    Raises:
        UnsupportedModel: naming the largest of them.
    """
    total = sum(tensor.bytes for tensor in tensors.values())
    strange = {name: tensor.bytes for name, tensor in tensors.items() if not _KNOWN.search(name)}
    if sum(strange.values()) > STRANGE_SHARE * total:
        name = max(strange, key=strange.__getitem__)
        raise UnsupportedModel(f"the checkpoint holds tensors outside the described models, such as `{shown(name)}`")
